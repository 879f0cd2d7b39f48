# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""What the operator asked to deploy (`app_source`), as a manifest may keep it: without secrets."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

#: What of `app_source` is kept. A deploy key is not.
KEPT = ("type", "repo", "version", "url", "file", "path", "requirement")
_USERINFO = re.compile(r"([\w+.-]+)://([^/\s]*)@")
_QUERY = re.compile(r"(://[^\s?#]*)\?[^\s#]*")


def without_secrets(text: str) -> str:
    """``text`` with the userinfo and the query of each URL in it replaced by `***`: either may be a token.

    The user name alone of an SSH address stays; it is no secret.
    """

    def masked(found: re.Match[str]) -> str:
        scheme, userinfo = found.groups()
        return found[0] if scheme.endswith("ssh") and ":" not in userinfo else f"{scheme}://***@"

    return _QUERY.sub(r"\1?***", _USERINFO.sub(masked, text))


def asked_for(source: Mapping[str, Any]) -> dict[str, str]:
    """The parts of `app_source` that say what is deployed, without secrets."""
    return {name: without_secrets(str(source[name])) for name in KEPT if source.get(name)}
