# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""Filters of the release role."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.slipway.vps.plugins.module_utils.source import without_secrets


class FilterModule:
    """What the release role says of a source."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"without_secrets": without_secrets}
