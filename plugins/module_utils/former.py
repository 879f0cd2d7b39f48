# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""Variables that had another name before: inventories that say it go on working."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

#: Settings that were Gunicorn's alone, and are any server's now.
_SERVER = (
    *("worker_class", "workers", "threads", "worker_memory", "memory_share", "preload", "warm_up_paths", "warm_up_timeout"),
    *("timeout", "graceful_timeout", "keepalive", "max_requests", "max_requests_jitter", "backlog", "log_level", "access_log"),
    *("limit_nofile", "tasks_max", "memory_max", "requirements", "runtime_files"),
)
#: The name of today to the one before.
FORMER = {f"server_{name}": f"gunicorn_{name}" for name in _SERVER}


def said_before(variables: Mapping[str, Any]) -> dict[str, Any]:
    """What is said under a former name, under today's, unless that is said, too."""
    return {name: variables[former] for name, former in FORMER.items() if former in variables and name not in variables}


def renamed(variables: Mapping[str, Any]) -> dict[str, Any]:
    """The variables under today's names."""
    former = set(FORMER.values())
    return {**{name: value for name, value in variables.items() if name not in former}, **said_before(variables)}


def note(given: Iterable[str]) -> list[str]:
    """One sentence for all former names that are said."""
    known = set(given)
    pairs = [f"{former} is {name} now" for name, former in FORMER.items() if former in known]
    return [f"{'; '.join(pairs)}. The former names go on working; rename them when you come by."] if pairs else []
