# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""What the operator asked to deploy (`app_source`), as a manifest may keep it: without secrets."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from ansible_collections.slipway.vps.plugins.module_utils.slipway.core.text import without_secrets as without_secrets

#: What of `app_source` is kept. A deploy key is not.
KEPT = ("type", "repo", "version", "url", "file", "path", "subdirectory", "requirement")


def uncovered(masked: str, encoded: str) -> str:
    """What an argument of a module means: itself, or the text that another argument holds in Base64.

    A module's arguments are printed and written into the journal, so one that may hold a secret comes twice: masked to be seen, and
    encoded to be hidden. (To hide the text itself would hide it wherever it occurs, also within a path that is returned.)
    """
    return base64.b64decode(encoded).decode() if encoded else masked


def asked_for(source: Mapping[str, Any]) -> dict[str, str]:
    """The parts of `app_source` that say what is deployed, without secrets."""
    return {name: without_secrets(str(source[name])) for name in KEPT if source.get(name)}
