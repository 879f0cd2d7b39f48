# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""Variables that had another name before: inventories that say it go on working."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

#: Settings that were Gunicorn's alone, and are any server's now.
_SERVER = (
    *("worker_class", "workers", "threads", "worker_memory", "memory_share", "preload", "warm_up_paths", "warm_up_timeout"),
    *("timeout", "graceful_timeout", "max_requests", "max_requests_jitter", "backlog", "log_level", "access_log"),
    *("limit_nofile", "tasks_max", "memory_max"),
)
#: The name of today to the one before.
FORMER = {f"server_{name}": f"gunicorn_{name}" for name in _SERVER}
#: Names that have no effect any more, and why.
_CONNECTION = "nginx asks each request on a connection of its own (docs/servers.md)"
_MODEL = "app_server decides it; another version of the server is named by the app, or by release_requirements_custom"
GONE = {
    **dict.fromkeys(("nginx_upstream_keepalive", "nginx_upstream_keepalive_timeout", "gunicorn_keepalive"), _CONNECTION),
    **{f"{role}_{name}": _MODEL for role in ("server", "gunicorn") for name in ("requirements", "runtime_files")},
    **{f"release_{name}_auto": _MODEL for name in ("requirements", "runtime_files")},
}


def said_before(variables: Mapping[str, Any]) -> dict[str, Any]:
    """What is said under a former name, under today's, unless that is said, too."""
    return {name: variables[former] for name, former in FORMER.items() if former in variables and name not in variables}


def renamed(variables: Mapping[str, Any]) -> dict[str, Any]:
    """The variables under today's names, without those that are gone."""
    old = {*FORMER.values(), *GONE}
    return {**{name: value for name, value in variables.items() if name not in old}, **said_before(variables)}


def note(given: Iterable[str]) -> list[str]:
    """A sentence for all former names that are said, and one for each that is gone."""
    known = set(given)
    pairs = [f"{former} is {name} now" for name, former in FORMER.items() if former in known]
    said = [f"{'; '.join(pairs)}. The former names go on working; rename them when you come by."] if pairs else []
    return said + [f"{name} has no effect any more: {why}. Remove it when you come by." for name, why in GONE.items() if name in known]
