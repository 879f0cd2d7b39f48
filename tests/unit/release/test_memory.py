"""The step activate where two releases do not fit into memory."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.slipway.vps.plugins.module_utils import deploy_steps
from ansible_collections.slipway.vps.plugins.module_utils.deploy_steps import StepError
from ansible_collections.slipway.vps.plugins.module_utils.releases import LIVE, READY, RETIRED, Release

from .fakes import MIB, NEW, OLD, OLDER, TASK, Existing, Host, Make, refused, state, untouched


def test_without_memory_for_two_the_old_one_stops_first(deploy: Make, existing: Existing, root: Path, host: Host, serving: Release) -> None:
    """[S1] Behind the held socket, and it is said with the numbers."""
    existing(NEW, READY)
    host.used, host.available = 300 * MIB, 359 * MIB
    result = deploy(release=NEW).do("activate")
    assert (result["changed"], result["overlap"]) == (True, False)
    assert "the live one uses 300 MiB, 359 MiB are available" in result["output"] and "none was refused" in result["output"]
    stop, start = host.did.index(f"stop blog@{OLD}.service"), host.did.index(f"start blog@{NEW}.service")
    assert stop < start and not [line for line in host.did if "blog.socket" in line]
    assert {"blog.socket", "blog.service"} <= host.active
    assert (state(root, OLD), state(root, NEW)) == (RETIRED, LIVE)


@pytest.mark.parametrize(("available", "margin", "overlap"), [(360, 1.2, True), (359, 1.2, False), (300, 1.0, True), (599, 2.0, False)])
def test_the_margin_decides(
    deploy: Make, existing: Existing, host: Host, serving: Release, available: int, margin: float, overlap: bool
) -> None:
    """[S1] From what the live instance really uses."""
    existing(NEW, READY)
    host.used, host.available = 300 * MIB, available * MIB
    assert deploy(release=NEW, memory_margin=margin).do("activate")["overlap"] is overlap


def test_without_memory_what_is_still_ending_is_waited_for(deploy: Make, existing: Existing, host: Host, serving: Release) -> None:
    """[S1] The release before the last one holds its memory until it is gone."""
    host.ending = {f"blog@{OLDER}.service"}
    existing(NEW, READY)
    host.available = 0
    deploy(release=NEW).do("activate")
    assert f"stop blog@{OLD}.service blog@{OLDER}.service" in host.did and host.ending == set()


def test_without_memory_nobody_waits_for_a_worker(deploy: Make, existing: Existing, root: Path, host: Host) -> None:
    """[S1 A15] Told to end like Gunicorn, and left to its task: visitors wait in the socket until the new one is up."""
    host.active |= {"blog.socket", "blog.service"}
    existing(OLDER, RETIRED, processes=["worker"])
    existing(OLD, LIVE, current=True, running=True, processes=["beat", "worker"])
    existing(NEW, READY, processes=["worker"])
    host.available, host.lingers, host.ending = 0, OLD, {f"blog@{OLDER}.service", f"blog-worker@{OLDER}.service"}
    deploy(release=NEW).do("activate")
    told = f"end blog@{OLD}.service blog-beat@{OLD}.service blog-worker@{OLD}.service"
    (stop,) = (line for line in host.did if line.startswith("stop"))
    assert set(stop.split()[1:]) == {f"blog@{OLD}.service", f"blog@{OLDER}.service"}
    assert host.did.index(told) < host.did.index(stop) < host.did.index(f"start blog@{NEW}.service")
    assert host.clock < TASK and host.ending == {f"blog-{unit}.service" for unit in (f"beat@{OLD}", f"worker@{OLD}", f"worker@{OLDER}")}
    assert host.active == {"blog.socket", "blog.service", f"blog@{NEW}.service", f"blog-worker@{NEW}.service"}
    assert (state(root, OLD), state(root, NEW)) == (RETIRED, LIVE)


def test_without_memory_a_worker_that_still_drains_comes_back_afterwards(deploy: Make, existing: Existing, root: Path, host: Host) -> None:
    """[S1 A15] The new release does not start: the old one serves at once, its worker goes on when its task is done."""
    host.active |= {"blog.socket", "blog.service"}
    existing(OLD, LIVE, current=True, running=True, processes=["worker"])
    before = set(host.active)
    existing(NEW, READY, processes=["worker"])
    host.available, host.lingers, host.fails = 0, OLD, {f"start blog@{NEW}": "MemoryError"}
    with pytest.raises(StepError, match="MemoryError"):
        deploy(release=NEW).do("activate")
    assert host.did.index(f"start blog@{OLD}.service") < host.did.index(f"queue blog-worker@{OLD}.service")
    assert host.clock < TASK and host.active == before - {f"blog-worker@{OLD}.service"}
    refused(root, NEW, "start", "MemoryError")
    untouched(root, host)
    host.finish()
    assert host.active == before


def test_memory_does_not_matter_where_nothing_runs(deploy: Make, existing: Existing, host: Host) -> None:
    """[S1] The first release, and one after a live release that is down; a repair starts what belongs there."""
    host.available = 0
    existing(OLDER, READY)
    assert deploy(release=OLDER).do("activate")["overlap"] is True
    host.active.remove(f"blog@{OLDER}.service")
    assert deploy(release=OLDER).do("activate")["overlap"] is True
    host.active.remove(f"blog@{OLDER}.service")
    existing(NEW, READY)
    assert deploy(release=NEW).do("activate")["overlap"] is True


def test_without_memory_a_failed_start_brings_the_old_one_back(deploy: Make, existing: Existing, root: Path, host: Host) -> None:
    """[S1] With its workers; nothing else has changed."""
    host.active |= {"blog.socket", "blog.service"}
    existing(OLD, LIVE, current=True, running=True, processes=["worker"])
    before = set(host.active)
    existing(NEW, READY)
    host.available = 0
    host.fails = {f"start blog@{NEW}": "MemoryError"}
    with pytest.raises(StepError, match="MemoryError") as failure:
        deploy(release=NEW).do("activate")
    assert host.active == before
    assert host.did.index(f"start blog@{NEW}.service") < host.did.index(f"start blog@{OLD}.service")
    refused(root, NEW, "start", "MemoryError")
    untouched(root, host)
    assert failure.value.step == "start"


def test_an_old_release_that_does_not_come_back_is_said_so(
    deploy: Make, existing: Existing, root: Path, host: Host, serving: Release
) -> None:
    """[S1] The first failure stays the reason, and nobody is told that nothing happened."""
    existing(NEW, READY)
    host.available = 0
    host.fails = {f"start blog@{NEW}": "MemoryError", f"start blog@{OLD}": "database is down"}
    with pytest.raises(StepError, match=r"(?s)MemoryError.*database is down") as failure:
        deploy(release=NEW).do("activate")
    assert failure.value.outcome != deploy_steps.UNTOUCHED
    assert state(root, OLD) == LIVE and (root / "srv/releases" / OLD / "blog.py").exists()
