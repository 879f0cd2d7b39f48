# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""What the modules ask of the host: commands as another user, units, the journal, HTTP. All of it is the program's own core."""

from __future__ import annotations

from ansible_collections.slipway.vps.plugins.module_utils.slipway.core.http import Answer, ask, get, visit
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core.run import Account, CommandError, command, tail
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core.units import (
    end_units,
    instances,
    is_active,
    is_ending,
    journal,
    journal_between,
    journal_since,
    memory_available,
    memory_used,
    queue_unit,
    start_unit,
    stop_units,
)

__all__ = [
    "Account",
    "Answer",
    "CommandError",
    "ask",
    "command",
    "end_units",
    "get",
    "instances",
    "is_active",
    "is_ending",
    "journal",
    "journal_between",
    "journal_since",
    "memory_available",
    "memory_used",
    "queue_unit",
    "start_unit",
    "stop_units",
    "tail",
    "visit",
]
