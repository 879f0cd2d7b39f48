"""PostgreSQL's settings: right for hosts from 512 MiB to 256 GiB, and never fewer connections than the app can ask for."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.slipway.vps.plugins.module_utils.postgres_settings import (
    CONNECTION,
    GIB,
    MIB,
    Client,
    Host,
    Share,
    arithmetic,
    demand,
    plan,
    settings,
    suggested,
    too_few,
    too_much,
    total,
)

from .conftest import ROOT

SIZES = [
    *((512 * MIB, 1, 10 * GIB), (1 * GIB, 1, 20 * GIB), (2 * GIB, 2, 40 * GIB), (4 * GIB, 2, 80 * GIB), (8 * GIB, 4, 160 * GIB)),
    *((32 * GIB, 8, 640 * GIB), (64 * GIB, 16, 1000 * GIB), (256 * GIB, 64, 4000 * GIB)),
]
HOSTS = [Host(*size) for size in SIZES]
SMALL = Host(2 * GIB, 2, 40 * GIB)


def size(text: str) -> int:
    """Bytes of a size as postgresql.conf spells it."""
    match = re.fullmatch(r"(\d+)(kB|MB|GB)", text)
    assert match, text
    return int(match[1]) * {"kB": 2**10, "MB": MIB, "GB": GIB}[match[2]]


#: What the role server says when nobody says otherwise.
DEFAULTS: dict[str, Any] = yaml.safe_load((ROOT / "roles/server/defaults/main.yml").read_text())
SERVER = {name: DEFAULTS[f"server_{name}"] for name in ("workers", "worker_class", "threads", "worker_memory", "memory_share")}


def values(host: Host, share: float = 0.25, storage: str = "ssd", server: dict[str, Any] | None = None) -> dict[str, str]:
    found = plan(host, shares_of(server or {}, host), "auto", {}, share, storage)
    return {line.name: line.value for line in found.settings}


def shares_of(server: dict[str, Any], host: Host | None = None, **more: Any) -> list[Share]:
    kept = {name: more.pop(name) for name in ("administration", "backup") if name in more}
    found = demand([Client("blog", {**SERVER, **server}, **more)], host, **kept)
    assert found is not None
    return found


# --- Settings -----------------------------------------------------------------------------------


@pytest.mark.parametrize("host", HOSTS, ids=lambda host: f"{host.memory // MIB}MiB")
@pytest.mark.parametrize("share", [0.25, 0.75])
def test_what_postgres_takes_stays_within_its_share(host: Host, share: float) -> None:
    """[D1] Page cache, and all connections that apps can ask for, each with one sort, in PostgreSQL's memory; or at the least there is."""
    found = values(host, share)
    budget = host.memory * share
    buffers, work = size(found["shared_buffers"]), size(found["work_mem"])
    connections = total(shares_of({}, host))
    assert buffers <= max(32 * MIB, budget / 3)
    assert work == MIB or buffers + connections * work <= budget, found
    assert MIB <= work <= 256 * MIB
    assert 16 * MIB <= size(found["maintenance_work_mem"]) <= max(16 * MIB, budget / 16)
    assert size(found["effective_cache_size"]) <= budget


@pytest.mark.parametrize(
    ("host", "share", "expected"),
    [
        # Worked out by hand from the formulas of the comments.
        (HOSTS[0], 0.25, ("60", "42MB", "128MB", "2560kB", "16MB", "512MB", "128MB", "0", "3")),
        (SMALL, 0.25, ("200", "170MB", "512MB", "5376kB", "32MB", "2048MB", "512MB", "1", "3")),
        (HOSTS[4], 0.25, ("200", "682MB", "2048MB", "13568kB", "128MB", "4096MB", "1024MB", "2", "3")),
        (HOSTS[4], 0.75, ("200", "2048MB", "6144MB", "40704kB", "384MB", "4096MB", "1024MB", "2", "3")),
        (HOSTS[-1], 0.75, ("1400", "65536MB", "196608MB", "102912kB", "1024MB", "4096MB", "1024MB", "4", "8")),
    ],
)
def test_the_figures_for_hosts_of_several_sizes(host: Host, share: float, expected: tuple[str, ...]) -> None:
    """[D1] [D2]"""
    found = values(host, share)
    names = (
        *("max_connections", "shared_buffers", "effective_cache_size", "work_mem", "maintenance_work_mem", "max_wal_size", "min_wal_size"),
        *("max_parallel_workers_per_gather", "autovacuum_max_workers"),
    )
    assert tuple(found[name] for name in names) == expected


def test_a_host_of_its_own_gets_a_quarter_for_the_page_cache() -> None:
    """What PostgreSQL's manual advises."""
    assert size(values(HOSTS[4], 0.75)["shared_buffers"]) == HOSTS[4].memory // 4


@pytest.mark.parametrize("host", HOSTS, ids=lambda host: f"{host.memory // MIB}MiB")
def test_values_are_within_what_postgres_takes(host: Host) -> None:
    """The limits of the manual: a value outside of them would stop the server from starting."""
    found = values(host)
    assert int(found["max_connections"]) + int(found["max_worker_processes"]) + int(found["autovacuum_max_workers"]) < 262143
    assert size(found["min_wal_size"]) >= 32 * MIB and size(found["max_wal_size"]) >= size(found["min_wal_size"])
    assert size(found["maintenance_work_mem"]) >= MIB
    assert int(found["max_parallel_workers"]) <= int(found["max_worker_processes"])


def test_turning_disks_keep_the_defaults_that_are_made_for_them() -> None:
    assert {"random_page_cost", "effective_io_concurrency", "autovacuum_vacuum_cost_limit"} <= set(values(SMALL))
    assert not {"random_page_cost", "effective_io_concurrency", "autovacuum_vacuum_cost_limit"} & set(values(SMALL, storage="hdd"))


def test_a_small_disk_is_not_filled_by_its_log() -> None:
    """[D1] A twentieth; not less than 256 MB, or checkpoints would follow each other."""
    assert values(Host(GIB, 1, 5 * GIB))["max_wal_size"] == "256MB"
    assert values(Host(GIB, 1, 4 * 1024 * GIB))["max_wal_size"] == "4096MB"


def test_every_setting_says_why() -> None:
    assert all(line.why for line in settings(SMALL, 50, 0.25))


# --- Connections --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("server", "more", "needed"),
    [
        # (workers x connections x 2 releases) + 5 + 5 + 3
        ({"workers": 4, "threads": 4}, {}, 4 * 5 * 2 + 13),
        ({"workers": 4, "threads": 8}, {}, 4 * 9 * 2 + 13),
        ({"workers": 4, "worker_class": "sync", "threads": 8}, {}, 4 * 2 * 2 + 13),
        ({"workers": 2, "worker_class": "gevent"}, {}, 2 * 15 * 2 + 13),
        ({"workers": 2, "worker_class": "asgi"}, {"pool": 20}, 2 * 20 * 2 + 13),
        ({"workers": 4, "threads": 8}, {"pool": 3}, 4 * 3 * 2 + 13),
        ({"workers": 4}, {"hosts": 3}, 3 * 4 * 5 * 2 + 13),
        ({"workers": 1}, {"processes": {"worker": {"command": "celery"}, "beat": {"command": "c", "connections": 1}}}, 10 + 10 + 2 + 13),
        ({"workers": 1}, {"processes": {"worker": {"command": "celery"}}, "pool": 2, "hosts": 2}, 2 * (4 + 4) + 13),
        ({"workers": 1}, {"administration": 2, "backup": 9}, 10 + 2 + 9 + 3),
    ],
)
def test_connections_are_added_up(server: dict[str, Any], more: dict[str, Any], needed: int) -> None:
    """[D2] Whoever can connect while two releases run."""
    assert total(shares_of(server, **more)) == needed


@pytest.mark.parametrize(("host", "workers"), [(HOSTS[0], 2), (HOSTS[1], 3), (SMALL, 5), (HOSTS[4], 9), (HOSTS[-1], 129)])
def test_automatic_workers_are_counted_as_gunicorn_will(host: Host, workers: int) -> None:
    """[A3] [D2] By cores, and never more than half of the memory holds."""
    assert shares_of({}, host)[0].connections == workers * 5 * 2
    assert demand([Client("blog", SERVER)], None) is None, "a number was made up for a host nobody has seen"


def test_all_apps_of_a_server_are_added_up() -> None:
    """[D2] [F2] Each under its name; what is kept for others is kept once. One app of unknown size makes the sum unknown."""
    blog, shop = Client("blog", {**SERVER, "workers": 2}), Client("shop", {**SERVER, "workers": 3}, processes={"worker": {}})
    found = demand([blog, shop], None)
    assert found and [share.who for share in found[:3]] == ["blog: web", "shop: web", "shop: process worker"]
    assert total(found) == 2 * 5 * 2 + 3 * 5 * 2 + 5 * 2 + 13
    assert demand([blog, Client("tiny", SERVER)], None) is None


def test_a_client_is_what_the_model_says() -> None:
    """[D2] [F2] The facts of an app, as the module gets them."""
    facts = {"name": "blog", "server": SERVER, "database": {"hosts": "2", "pool": 3}, "processes": {"worker": {"connections": 4}}}
    assert Client.of(facts) == Client("blog", SERVER, 2, 3, {"worker": {"connections": 4}})


def test_too_few_are_refused_with_the_arithmetic() -> None:
    """[D2] Exactly enough is enough."""
    shares = shares_of({"workers": 4}, processes={"worker": {}})
    assert too_few(shares, total(shares)) is None
    found = too_few(shares, total(shares) - 1)
    assert found and found.variable == "postgres_max_connections"
    assert f"{total(shares) - 1} is less than the {total(shares)} connections" in found.what
    for part in (
        "web",
        "4 workers x 5 connections (4 threads + 1 for health checks) x 2 releases",
        "process worker",
        "superuser",
        "needed",
    ):
        assert part in found.what
    assert "remove it" in found.fix


def test_the_lines_of_the_arithmetic_add_up() -> None:
    shares = shares_of({"workers": 3}, hosts=2)
    *lines, last = arithmetic(shares).splitlines()
    numbers = [int(line.split("  =")[0].split()[-1]) for line in lines]
    assert sum(numbers) == int(last.split()[-1]) == total(shares)
    assert "2 hosts x 3 workers" in lines[0]


@pytest.mark.parametrize("needed", [1, 9, 10, 63, 200, 201, 999])
def test_the_suggestion_always_fits(needed: int) -> None:
    """[D2] [F2] And has room for more apps: a change restarts the server."""
    shares = [Share("web", "", needed)]
    found = suggested(shares, 100 * GIB)
    assert too_few(shares, found) is None and found >= 200 and found % 100 == 0 and found - needed < max(200, 100)


@pytest.mark.parametrize(("needed", "budget", "most"), [(63, 256 * MIB, 120), (63, 100 * MIB, 70), (130, 256 * MIB, 130), (63, GIB, 200)])
def test_a_small_host_gets_what_its_memory_holds(needed: int, budget: int, most: int) -> None:
    """[D2] Never less than what can be asked for."""
    assert suggested([Share("web", "", needed)], budget) == most


def test_room_for_more_apps_takes_no_memory_from_the_sorts_of_those_that_are_there() -> None:
    """[D1] `work_mem` counts on the connections that can be asked for."""
    shares = shares_of({"workers": 4})
    found = {line.name: line.value for line in plan(HOSTS[4], shares, "auto", {}, 0.25).settings}
    assert found["max_connections"] == "200"
    exact = {line.name: line.value for line in settings(HOSTS[4], total(shares), 0.25)}
    assert found["work_mem"] == exact["work_mem"]


def test_memory_bounds_the_connections() -> None:
    """[D2] 2 MiB each, in what PostgreSQL may count on."""
    host = Host(GIB, 1, GIB)
    assert too_much(128, host, 0.25) is None
    found = too_much(129, host, 0.25)
    assert found and "129 x 2 MiB = 258 MiB" in found.what and "256 MiB" in found.what and "postgres_memory_share" in found.fix
    assert CONNECTION == 2 * MIB


@pytest.mark.parametrize("host", HOSTS, ids=lambda host: f"{host.memory // MIB}MiB")
def test_every_host_fits_with_the_defaults(host: Host) -> None:
    """[D2] Nobody who changes nothing is refused."""
    found = plan(host, shares_of({}, host), "auto", {}, 0.25)
    assert found.violations == []


# --- The plan -----------------------------------------------------------------------------------


def test_the_operators_settings_are_shown_and_judged() -> None:
    """[D1] [D2] Both ways to set max_connections; the drop-in's last word is the one that counts."""
    shares = shares_of({"workers": 2})
    found = plan(SMALL, shares, "auto", {"max_connections": 20, "work_mem": "8MB", "search_path": "x"}, 0.25)
    rows = {line.name: line for line in found.settings}
    assert rows["work_mem"][1:] == ("8MB", "yours (postgres_settings_custom)") and rows["max_connections"].value == "20"
    assert "search_path" not in rows
    assert [reason.variable for reason in found.violations] == ["postgres_max_connections"]
    ours = plan(SMALL, shares, "200", {}, 0.25)
    assert ours.settings[0] == ("max_connections", "200", "yours (postgres_max_connections)") and ours.violations == []
    assert plan(SMALL, shares, 200, {"max_connections": 60}, 0.25).settings[0].value == "60"


def test_the_module_reads_this_host(tmp_path: Path) -> None:
    """A folder that is not there yet is on the file system of the one above it."""
    from ansible_collections.slipway.vps.plugins.modules.postgres_plan import this_host

    host = this_host(tmp_path / "not" / "yet")
    assert host == this_host(tmp_path) and host.memory > 100 * MIB and host.cores >= 1 and host.disk > 0
