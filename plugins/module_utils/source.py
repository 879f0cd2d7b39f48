# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""What the operator asked to deploy (`app_source`), as a manifest may keep it: without secrets."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from typing import Any

#: What of `app_source` is kept. A deploy key is not.
KEPT = ("type", "repo", "version", "url", "file", "path", "subdirectory", "requirement")
#: What stands for a secret.
MASK = "***"
_USERINFO = re.compile(r"([\w+.-]+)://([^/\s]*)@")
_QUERY = re.compile(r"(://[^\s?#]*)\?[^\s#]*")


def without_secrets(text: str) -> str:
    """``text`` with the userinfo and the query of each URL in it replaced by `MASK`: either may be a token.

    The user name alone of an SSH address stays; it is no secret.
    """

    def masked(found: re.Match[str]) -> str:
        scheme, userinfo = found.groups()
        return found[0] if scheme.endswith("ssh") and ":" not in userinfo else f"{scheme}://{MASK}@"

    return _QUERY.sub(rf"\1?{MASK}", _USERINFO.sub(masked, text))


def uncovered(masked: str, encoded: str) -> str:
    """What an argument of a module means: itself, or the text that another argument holds in Base64.

    A module's arguments are printed and written into the journal, so one that may hold a secret comes twice: masked to be seen, and
    encoded to be hidden. (To hide the text itself would hide it wherever it occurs, also within a path that is returned.)
    """
    return base64.b64decode(encoded).decode() if encoded else masked


def asked_for(source: Mapping[str, Any]) -> dict[str, str]:
    """The parts of `app_source` that say what is deployed, without secrets."""
    return {name: without_secrets(str(source[name])) for name in KEPT if source.get(name)}
