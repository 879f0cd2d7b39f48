"""What the contract says of an app's share of its machine, and whom it may talk to."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.slipway.vps.plugins.module_utils.redis_url import stays_here
from ansible_collections.slipway.vps.plugins.module_utils.resolve import resolve_resources
from ansible_collections.slipway.vps.plugins.module_utils.rules import limits

from .test_contract import check, only

SAID: dict[str, Any] = {"app_memory_max": "auto", "app_tasks_max": "auto", "app_cpu_weight": 100}


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        *(("app_memory_max", value) for value in ("600", "0M", "120%", "0%", "half", "600 M", "600MB", "")),
        *(("app_tasks_max", value) for value in ("5", "many", "0", "101%")),
        *(("release_build_memory", value) for value in ("512", "none")),
        *(("server_memory_max", value) for value in ("512", "512MB")),
        *(("app_cpu_weight", value) for value in (0, 10001, -1)),
    ],
)
def test_a_limit_that_systemd_would_pass_over_is_refused(variable: str, value: Any) -> None:
    """[A9] [F8] With an example of one that it takes."""
    only(check(**{variable: value}), variable, repr(value) if isinstance(value, str) else str(value), "write")


@pytest.mark.parametrize(
    "inputs",
    [
        {"app_memory_max": "600M", "app_tasks_max": "400", "release_build_memory": "40%", "server_memory_max": "512M"},
        {"app_memory_max": "infinity", "app_tasks_max": "12.5%", "server_memory_max": ""},
        SAID,
    ],
)
def test_limits_that_do(inputs: dict[str, Any]) -> None:
    """[A9]"""
    assert check(**inputs) == []


def test_the_share_of_one_app_and_of_several() -> None:
    """[A9] [F2] One that runs wild beside others leaves them more than half."""
    alone, beside = resolve_resources(SAID, "blog", 1), resolve_resources(SAID, "blog-shop", 3)
    assert (alone.slice, alone.memory_max, alone.tasks_max, alone.weight) == ("slipway-blog.slice", "80%", "80%", 100)
    assert (beside.slice, beside.memory_max, beside.tasks_max) == ("slipway-blog_shop.slice", "40%", "40%")
    assert resolve_resources({**SAID, "app_memory_max": "600M"}, "blog", 3).memory_max == "600M"


@pytest.mark.parametrize(
    "inputs",
    [
        {"app_database_url": "postgresql://u:p@db.example.com/blog?sslmode=verify-full&sslrootcert=system"},
        {"app_redis_url": "redis://:p@cache.example.com:6379/0"},
        {"app_database_url": "mysql://u:p@db.example.com/blog", "app_services": ["redis"]},
    ],
)
def test_an_app_that_talks_to_this_host_alone_has_nothing_elsewhere(inputs: dict[str, Any]) -> None:
    """[A9] [F8] It would start, and reach nothing."""
    found = check(app_network="local", **inputs)
    assert [problem.variable for problem in found] == ["app_network"] and "elsewhere" in found[0].what, found
    assert check(**inputs) == []


def test_an_app_that_talks_to_this_host_alone() -> None:
    """[A9] Its own database and Redis are here."""
    assert check(app_network="local") == []
    assert check(app_network="local", app_redis_url="redis://localhost:6379/1") == []
    assert stays_here("unix:///run/x.sock") and stays_here("redis://[::1]/0") and not stays_here("rediss://cache.example.com/0")
    assert stays_here("redis://[")


def test_a_word_that_is_no_network() -> None:
    """[F8]"""
    only(check(app_network="intranet"), "app_network", "'intranet'", "any, local")


def test_a_command_that_the_sandbox_would_end_is_noted() -> None:
    """[F6] [F8] node dies before it says anything of its own."""
    processes = {"ssr": {"command": "/usr/bin/node server.js"}, "worker": {"command": "celery -A blog worker"}}
    (note,) = limits.notes({"app_processes": processes, "app_sandbox_allow": []})
    assert note.startswith("app_processes: ssr runs node") and "[jit]" in note
    assert not [*limits.notes({"app_processes": processes, "app_sandbox_allow": ["jit"]})] and not [*limits.notes({})]
