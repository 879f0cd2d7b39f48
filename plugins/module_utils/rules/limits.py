# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""What an app may use of its machine, and whom it may talk to."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ansible_collections.slipway.vps.plugins.module_utils.database_url import OTHER, POSTGRESQL, kind_of, parse
from ansible_collections.slipway.vps.plugins.module_utils.redis_url import stays_here
from ansible_collections.slipway.vps.plugins.module_utils.resolve import database_url, redis_url
from ansible_collections.slipway.vps.plugins.module_utils.rules.problem import Problem, Values

#: As systemd takes them (systemd.resource-control(5)). A bare number would be bytes.
_PERCENT = r"(100|[1-9]\d?)(\.\d{1,2})?%"
_MEMORY = re.compile(rf"[1-9]\d*[KMGT]|{_PERCENT}|infinity")
_TASKS = re.compile(rf"[1-9]\d{{1,6}}|{_PERCENT}|infinity")
_ASKED = {"app_memory_max": _MEMORY, "app_tasks_max": _TASKS, "release_build_memory": _MEMORY, "server_memory_max": _MEMORY}
_EXAMPLE = {
    "app_memory_max": "600M, 40%, or auto",
    "app_tasks_max": "400, 40%, or auto",
    "release_build_memory": "600M, 40%, or auto",
    "server_memory_max": "512M, or leave it empty for none",
}


def bad_limits(values: Values) -> Iterator[Problem]:
    """systemd passes over a limit that it cannot read, and the unit runs without one."""
    for name, pattern in _ASKED.items():
        none = "" if name == "server_memory_max" else "auto"
        said = str(values.get(name, none))
        if said != none and not pattern.fullmatch(said):
            yield Problem(name, f"is {said!r}, which is no limit to systemd", f"write, for example, {_EXAMPLE[name]}")
    weight = str(values.get("app_cpu_weight", 100))
    if not (weight.isascii() and weight.isdigit() and 1 <= int(weight) <= 10000):
        yield Problem("app_cpu_weight", f"is {weight}", "write a number from 1 to 10000; other apps have 100")


def bad_network(values: Values) -> Iterator[Problem]:
    """An app that talks to this host alone reaches nothing elsewhere."""
    if values.get("app_network") != "local":
        return
    url = database_url(values)
    if kind_of(url) == OTHER or (kind_of(url) == POSTGRESQL and not parse(url).local):
        yield Problem("app_network", "is local, and the app's database is elsewhere", "remove it, or use a database of this host")
    if (redis := redis_url(values)) and not stays_here(redis):
        yield Problem("app_network", "is local, and the app's Redis is elsewhere", "remove it, or use a Redis of this host")


#: Programs that make machine code at run time.
_MAKERS = ("bun", "chromium", "deno", "java", "luajit", "node", "npm", "npx", "pypy", "pypy3")


def notes(values: Values) -> Iterator[str]:
    """Commands that the sandbox would let die at their first line."""
    if "jit" in (values.get("app_sandbox_allow") or []):
        return
    for variable in ("app_processes", "app_timers"):
        for name, entry in (values.get(variable) or {}).items():
            program = str(entry.get("command") or "").split(" ")[0].rpartition("/")[2]
            if program in _MAKERS:
                yield f"{variable}: {name} runs {program}, which makes machine code at run time: say app_sandbox_allow: [jit]."


RULES = (
    (bad_limits, ("app_memory_max", "app_tasks_max", "release_build_memory", "server_memory_max", "app_cpu_weight")),
    (bad_network, ("app_network", "app_name", "app_domains", "app_env", "app_secrets", "app_database_url", "app_services")),
)
