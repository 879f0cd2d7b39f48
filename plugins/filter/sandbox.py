# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""The sandbox of a unit, for the template of the unit or of a drop-in; and how it comes by its secrets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible_collections.slipway.vps.plugins.module_utils.slipway.core.delivery import unit_text
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core.sandbox import ANY, FULL, sandbox, text


def sandbox_text(
    kind: str,
    level: str = FULL,
    openings: Mapping[str, Any] | None = None,
    writable: Sequence[str] = (),
    network: str = ANY,
    jit: bool = False,
    drop_in: bool = False,
) -> str:
    """The lines of the section [Service]."""
    return text(sandbox(kind, level=level, openings=openings, writable=writable, network=network, jit=jit), drop_in)


def delivered(unit: str, path: str, delivery: str, encrypted: bool) -> str:
    """The text of a unit that reads its secrets in a file, as ``delivery`` has it."""
    return unit_text(unit, str(path), str(delivery), encrypted)


class FilterModule:
    """The collection's filters of units."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"sandbox": sandbox_text, "delivered": delivered}
