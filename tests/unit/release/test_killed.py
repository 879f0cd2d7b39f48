"""A deploy, a migration or a rollback that is killed at any point is finished by the next run."""

from __future__ import annotations

import contextlib
import copy
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.slipway.vps.plugins.module_utils.deploy_steps import StepError
from ansible_collections.slipway.vps.plugins.module_utils.releases import LIVE, READY, RETIRED, ROLLED_BACK, Release, Store

from .fakes import (
    BACKUP,
    MIB,
    NEW,
    OLD,
    OLDER,
    TASK,
    UP,
    Existing,
    Host,
    KilledError,
    Make,
    back,
    change,
    migrations,
    rolled_back,
    state,
    steps_of,
    whole,
)


def deployed(deploy: Make, **more: Any) -> None:
    """A run of the deploy, as its role puts the steps together."""
    assert steps_of("deploy.yml") == ["plan", "prepare", "migrate", "go_live"]
    planned = deploy(**more).do("plan")
    if planned["needed"] or planned["repair"]:
        built = deploy(**more).do("prepare")
        if built["needed"]:
            deploy(**more, release=built["release"]).do("migrate")
        deploy(**more, release=built["release"]).do("go_live")


def cuts(root: Path, host: Host, act: Callable[[], object]) -> Iterator[str]:
    """``act`` from the same start again and again, killed after its first effect, its second … until it comes to its end."""
    start = copy.deepcopy(vars(host))
    shutil.copytree(root / "srv", root / "start", symlinks=True)
    for lives in range(1, 100):
        vars(host).update(copy.deepcopy(start))
        shutil.rmtree(root / "srv")
        shutil.copytree(root / "start", root / "srv", symlinks=True)
        host.lives = lives
        try:
            with contextlib.suppress(StepError):
                act()
            return
        except KilledError:
            host.lives = None
            host.clock += 60
            yield f"killed after {lives}: {host.did[-1]}"
    raise AssertionError("it has no end")


def settled(deploy: Make, root: Path, host: Host, name: str, **more: Any) -> None:
    """One release serves, was found good, and nothing is left to do."""
    live = whole(root, host)
    assert (live.id, live.state, live.on_trial) == (name, LIVE, False)
    assert host.active == {"blog.socket", "blog.service", f"blog@{name}.service"}
    assert not (root / "srv/next").is_symlink()
    planned = deploy(**more).do("plan")
    assert (planned["needed"], planned["repair"]) == (False, False)


def test_a_deploy_that_is_killed_anywhere_is_finished_by_the_next(deploy: Make, root: Path, host: Host, waiting: None) -> None:
    """[S1] Somebody serves all the time, and running it again ends in the same state; from there it goes back to the release before."""
    for where in cuts(root, host, lambda: deployed(deploy)):
        whole(root, host)
        deployed(deploy)
        settled(deploy, root, host, NEW)
        assert deploy().do("plan_rollback")["release"] == OLD, where
    settled(deploy, root, host, NEW)
    assert [state(root, name) for name in (OLDER, OLD)] == [RETIRED, RETIRED]


def test_a_migration_that_is_killed_anywhere_is_finished_by_the_next(deploy: Make, root: Path, host: Host, waiting: None) -> None:
    """[S1] [D1] Imported, backed up and migrated; the way back still leads to where the first run began."""
    migrations(root, host, True, True)
    more = {"migrate_command": UP, "restore_point_command": BACKUP}
    change(root, NEW, fingerprint=deploy(**more).builder.fingerprint())
    seen: set[str] = set()
    for where in cuts(root, host, lambda: deployed(deploy, **more)):
        seen |= {part for part in ("check-step", BACKUP, "migrate-step") if part in where}
        whole(root, host)
        deployed(deploy, **more)
        settled(deploy, root, host, NEW, **more)
        found = Store(root / "srv").live()
        assert found and (found.schema_before, found.schema_after) == ("0001", "0002"), where
        assert found.restore_point == "20261120T072201Z-before", where
    assert seen == {"check-step", BACKUP, "migrate-step"}


@pytest.mark.parametrize("available", [0, 1000 * MIB])
def test_a_switch_between_workers_that_is_killed_anywhere_waits_for_none(
    deploy: Make, existing: Existing, root: Path, host: Host, available: int
) -> None:
    """[S1 A15] Back to a release whose own worker still finishes what it began when it served before; the other one has a task, too."""
    host.active |= {"blog.socket", "blog.service"}
    existing(OLD, RETIRED, processes=["worker"])
    existing(NEW, LIVE, current=True, running=True, processes=["worker"])
    host.available, host.lingers, host.ending = available, f"worker@{NEW}", {f"blog-worker@{OLD}.service"}
    for where in cuts(root, host, lambda: rolled_back(deploy)):
        begun, live = host.clock, Store(root / "srv").live()
        if live and (live.id == NEW or live.on_trial):
            rolled_back(deploy)
        assert host.clock - begun < TASK, where
        host.finish()
        assert host.active == {"blog.socket", "blog.service", f"blog@{OLD}.service", f"blog-worker@{OLD}.service"}, where
        assert (state(root, OLD), state(root, NEW)) == (LIVE, ROLLED_BACK), where


def test_a_deploy_that_is_killed_anywhere_can_be_rolled_back(deploy: Make, root: Path, host: Host, waiting: None) -> None:
    """[S1] To the release before the live one, whichever that is by then; never to the one that was cut off."""
    for where in cuts(root, host, lambda: deployed(deploy)):
        expected = OLDER if whole(root, host).id == OLD else OLD
        rolled_back(deploy)
        assert Store(root / "srv").live_id() == expected and host.serving == {expected}, where


def test_a_deploy_that_is_killed_anywhere_can_be_thought_better_of(deploy: Make, root: Path, host: Host, waiting: None) -> None:
    """[S1] The next run wants another version: what was cut off is neither left running nor live."""
    for where in cuts(root, host, lambda: deployed(deploy)):
        deployed(deploy, identity="another", commit="")
        live = whole(root, host)
        assert live.id not in (OLD, NEW) and host.serving == {live.id}, where
        assert (live.state, live.on_trial) == (LIVE, False)


def test_a_rollback_that_is_killed_anywhere_is_finished_by_the_next(deploy: Make, root: Path, host: Host, history: Release) -> None:
    """[S1] Not repeated: one release back, not two, and the plan says so. What its last step noted is where it ends."""
    for where in cuts(root, host, lambda: rolled_back(deploy)):
        live = whole(root, host)
        if live.id == OLD and not live.on_trial:
            assert live.state == LIVE and host.serving == {OLD}, where
            continue
        planned = rolled_back(deploy)
        assert (planned["release"], planned["newer"], planned["needed"]) == (OLD, NEW, True), where
        live = whole(root, host)
        assert (live.id, live.state, live.on_trial) == (OLD, LIVE, False) and host.serving == {OLD}, where


def test_a_rollback_that_is_killed_anywhere_is_not_undone_by_a_deploy(deploy: Make, root: Path, host: Host, history: Release) -> None:
    """[S1] CI deploys what is just being rolled away from: as soon as the old release is the live one that is finished instead."""
    change(root, NEW, fingerprint=deploy().builder.fingerprint())
    for where in cuts(root, host, lambda: rolled_back(deploy)):
        before = whole(root, host).id
        deployed(deploy)
        assert whole(root, host).id == before and host.serving == {before}, where
        assert deploy().do("plan")["needed"] is False and deploy().do("plan")["repair"] is False


def test_a_rollback_with_the_schema_that_is_killed_anywhere_is_finished(deploy: Make, root: Path, host: Host, history: Release) -> None:
    """[A13] Code first, then the schema: cut off in between, the next run brings the schema back and goes no release further."""
    migrations(root, host, True, True)
    host.revision = "0002"
    for name, at in ((NEW, "0002"), (OLD, "0001"), (OLDER, "0001")):
        change(root, name, schema_after=at)
    for where in cuts(root, host, lambda: rolled_back(deploy, downgrade=True)):
        if host.revision == "0002":
            planned = rolled_back(deploy, downgrade=True)
            assert (planned["release"], planned["newer"], planned["schema"]) == (OLD, NEW, "0001"), where
        assert host.revision == "0001" and whole(root, host).id == OLD and host.serving == {OLD}, where


def test_a_way_back_that_is_killed_anywhere_is_finished_by_the_next_deploy(deploy: Make, root: Path, host: Host, waiting: None) -> None:
    """[S1] Somebody serves all the time; in the end it is the old one, and the bad one is not deployed again by the same run."""
    deploy(release=NEW).do("activate")
    host.visits = [(502, "Bad Gateway")]
    for where in cuts(root, host, lambda: deploy(release=NEW).do("watch")):
        whole(root, host)
        host.visits = [(502, "Bad Gateway") if Store(root / "srv").live_id() == NEW else (200, "")]
        with contextlib.suppress(StepError):
            deployed(deploy)
        settled(deploy, root, host, OLD)
        found = Store(root / "srv").load(NEW)
        assert found and found.failure and found.failure["step"] == "public endpoint", where


def test_a_trial_that_was_cut_off_goes_on(deploy: Make, root: Path, host: Host, switched: None) -> None:
    """[S1] The next run of the same deploy judges by all that was answered since the switch."""
    host.serve(NEW, *[500] * 5)
    host.clock += 3600
    with pytest.raises(StepError, match="100% of 5"):
        deployed(deploy, burn_in=30.0)
    back(root, host, "burn-in", "100%")


def test_marks_that_a_killed_deploy_left_are_made_by_the_next(deploy: Make, root: Path, host: Host, waiting: None) -> None:
    """[S1] Only one manifest says live."""
    for where in cuts(root, host, lambda: deployed(deploy)):
        deployed(deploy)
        assert (state(root, OLD), state(root, NEW)) == (RETIRED, LIVE), where


def test_marks_that_a_killed_rollback_left_are_made_by_the_next(deploy: Make, root: Path, host: Host, history: Release) -> None:
    """[S1] Two rollbacks never lead back to what the first one left."""
    for where in cuts(root, host, lambda: rolled_back(deploy)):
        live = whole(root, host)
        if live.id == NEW or live.on_trial or state(root, NEW) == LIVE:
            rolled_back(deploy)
        assert (state(root, OLD), state(root, NEW)) == (LIVE, ROLLED_BACK), where
        host.clock += 60
        assert deploy().do("plan_rollback")["release"] == OLDER, where


def test_a_link_that_a_killed_switch_left_goes_with_the_next_run(deploy: Make, root: Path, host: Host, waiting: None) -> None:
    """[E6] The operator goes on with what is live: nginx serves no assets of what is not."""
    change(root, OLD, fingerprint=deploy(identity="old").builder.fingerprint())
    for where in cuts(root, host, lambda: deploy(release=NEW).do("activate")):
        if whole(root, host).id == OLD:
            deployed(deploy, identity="old")
            assert host.serving == {OLD} and not (root / "srv/next").is_symlink(), where


def test_a_way_back_that_is_killed_anywhere_is_finished_by_a_rollback(deploy: Make, root: Path, host: Host, waiting: None) -> None:
    """[S1] The operator wants to get away from the bad release: neither two back nor to the bad one."""
    deploy(release=NEW).do("activate")
    host.visits = [(502, "Bad Gateway")]
    for where in cuts(root, host, lambda: deploy(release=NEW).do("watch")):
        host.visits = [(200, "")]
        if state(root, NEW) != ROLLED_BACK:
            rolled_back(deploy)
        assert whole(root, host).id == OLD and host.serving == {OLD}, where
        assert (state(root, OLD), state(root, NEW)) == (LIVE, ROLLED_BACK), where


def test_what_was_found_bad_is_never_taken_for_a_good_one(deploy: Make, root: Path, host: Host, waiting: None) -> None:
    """[S1] The switch back was cut off, and the next run brings another version: it does not make a good one of the bad one."""
    deploy(release=NEW).do("activate")
    host.visits = [(502, "Bad Gateway")]
    for where in cuts(root, host, lambda: deploy(release=NEW).do("watch")):
        host.visits = [(200, "")]
        deployed(deploy, identity="another", commit="")
        assert (state(root, OLD), state(root, NEW)) == (RETIRED, ROLLED_BACK), where
        assert deploy().do("plan_rollback")["release"] == OLD, where


def test_what_was_rolled_away_from_is_never_taken_for_a_good_one(deploy: Make, root: Path, host: Host, history: Release) -> None:
    """[S1] The rollback was cut off, and the next run brings another version."""
    for where in cuts(root, host, lambda: rolled_back(deploy)):
        away = Store(root / "srv").live_id() == OLD
        deployed(deploy, identity="another", commit="")
        assert state(root, NEW) == (ROLLED_BACK if away else RETIRED), where


def test_a_live_release_whose_switch_was_cut_off_keeps_its_files(deploy: Make, existing: Existing, root: Path, host: Host) -> None:
    """[S1] Killed before its manifest said live; the repair fails since Redis is down: what serves must not lose its files."""
    host.active |= {"blog.socket", "blog.service", f"blog@{NEW}.service"}
    existing(OLD, LIVE, running=True)
    existing(NEW, READY, current=True, processes=["worker"], on_trial=True, replaces=OLD)
    host.fails = {f"start blog-worker@{NEW}": "redis is down"}
    with pytest.raises(StepError, match="redis is down"):
        deploy(release=NEW).do("activate")
    assert whole(root, host).id == NEW and state(root, NEW) == READY


def test_what_was_rolled_away_from_half_way_is_not_deployed_again(deploy: Make, existing: Existing, root: Path, host: Host) -> None:
    """[S1] It went live without its manifest saying so; it is rolled away from; the next deploy only has something to repair."""
    host.active |= {"blog.socket", "blog.service"}
    existing(OLD, LIVE, running=True)
    existing(NEW, READY, current=True, running=True, on_trial=True, replaces=OLD, fingerprint=deploy().builder.fingerprint())
    rolled_back(deploy)
    host.active.discard(f"blog@{OLD}.service")
    deployed(deploy)
    assert whole(root, host).id == OLD and state(root, NEW) == ROLLED_BACK


def test_a_rollback_that_a_deploy_finishes_is_not_burnt_in(deploy: Make, root: Path, host: Host, history: Release) -> None:
    """[S1] Somebody left the newer release for a reason that no journal knows: a few errors do not bring it back."""
    change(root, NEW, fingerprint=deploy().builder.fingerprint())
    deploy(release=OLD, leave_as=ROLLED_BACK).do("activate")
    host.serve(OLD, *[500] * 5)
    host.clock += 1
    deployed(deploy, burn_in=30.0)
    assert whole(root, host).id == OLD and host.clock == 1


def test_a_public_endpoint_that_only_the_cut_off_switch_closed_is_blamed(deploy: Make, root: Path, host: Host, waiting: None) -> None:
    """[S1] Without memory for two the old one was stopped first, and then the run was killed."""
    host.available = 0

    def switch() -> None:
        deploy(release=NEW).do("rehearse")
        deploy(release=NEW).do("activate")

    closed = 0
    for where in cuts(root, host, switch):
        if not host.serving:
            host.visits = [(504, "Gateway Time-out")]
            closed += 1
        switch()
        found = Store(root / "srv").live()
        assert found and (found.id, found.served_before) == (NEW, True), where
    assert closed, "no run was cut off while nobody served"


@pytest.mark.parametrize("lingers", ["", f"blog@{OLD}"])
def test_the_live_release_comes_back_when_the_next_run_fails_as_well(
    deploy: Make, root: Path, host: Host, waiting: None, lingers: str
) -> None:
    """[S1] Without memory for two: killed when the old one was stopped already, or was about to end, and now the new one is not ready."""
    host.available, host.lingers = 0, lingers
    for where in cuts(root, host, lambda: deploy(release=NEW).do("activate")):
        host.answers = [(503, "database is down")]
        with contextlib.suppress(StepError):
            deployed(deploy, ready_timeout=-1)
        host.finish()
        assert host.serving == {Store(root / "srv").live_id()}, where


def test_what_is_gone_back_to_is_what_served_last(deploy: Make, existing: Existing, root: Path, host: Host) -> None:
    """[S1] Also when the deploy before was killed before it marked it."""
    host.active |= {"blog.socket", "blog.service"}
    existing(OLD, LIVE)
    existing(NEW, LIVE, current=True, running=True, on_trial=True, replaces=OLD)
    host.clock += 60
    rolled_back(deploy)
    found, left = (Store(root / "srv").load(name) for name in (OLD, NEW))
    assert found and left and str(found.live_at) > str(left.live_at)


def test_a_downgrade_that_was_cut_off_between_two_steps_is_finished(deploy: Make, root: Path, host: Host, history: Release) -> None:
    """[A13] Alembic with a transaction per migration: the schema is neither here nor there, and no second release is left."""
    migrations(root, host, True, True, True)
    for name, at in ((NEW, "0003"), (OLD, "0001"), (OLDER, "0001")):
        change(root, name, schema_after=at)
    host.revision = "0003"
    rolled_back(deploy)
    host.revision = "0002"
    rolled_back(deploy, downgrade=True)
    assert whole(root, host).id == OLD and host.revision == "0001"
