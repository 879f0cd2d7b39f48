"""Processes and timers are part of a release: what systemd has of them follows the switch, forwards and back."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path

import pytest
from ansible_collections.slipway.vps.plugins.module_utils.deploy_steps import StepError
from ansible_collections.slipway.vps.plugins.module_utils.releases import FAILED, LIVE, READY, RETIRED, ROLLED_BACK, Release, Store

from .fakes import NEW, OLD, OLDER, Existing, Host, KilledError, Make, change, line, listed, rolled_back, whole

MARK = "# slipway:app blog\n"
WORKER = {"command": "celery worker", "stop_timeout": 30}
NIGHTLY = {"command": "flask nightly", "schedule": "daily", "catch_up": False, "timeout": 3600}


def bring(root: Path, name: str, *units: str, words: str = "") -> None:
    """Units that a release was built with."""
    copies = root / "srv/releases" / name / ".units"
    copies.mkdir(exist_ok=True)
    for unit in units:
        (copies / unit).write_text(f"{MARK}{unit} {words}\n")


def timers(host: Host) -> set[str]:
    return {unit for unit in host.active if unit.endswith(".timer")}


@pytest.fixture
def two(root: Path, host: Host, existing: Existing) -> None:
    """The old release has a worker and a timer, the new one, which waits, a mailer and another timer."""
    host.active |= {"blog.socket", "blog.service"}
    existing(OLD, LIVE, current=True, running=True, processes={"worker": WORKER}, timers={"nightly": NIGHTLY})
    existing(NEW, READY, processes={"mailer": WORKER}, timers={"weekly": NIGHTLY})
    bring(root, OLD, "blog-worker@.service", "blog-nightly.timer", "blog-nightly.service")
    bring(root, NEW, "blog-mailer@.service", "blog-weekly.timer", "blog-weekly.service")


def test_a_build_keeps_the_units_and_the_definitions(deploy: Make, root: Path, host: Host) -> None:
    """[A15] [F6] With the command of the migration; a folder or a link of that name in the source counts for nothing."""
    (root / "tree/.units").symlink_to("/etc")
    (root / "etc/units").mkdir()
    (root / "etc/units/blog-worker@.service").write_text(MARK)
    deploy(processes={"worker": WORKER}, timers={"nightly": NIGHTLY}, migrate_command="alembic upgrade head").do("prepare")
    made = Store(root / "srv").load(NEW)
    assert made and (made.processes, made.timers, made.migrate_command) == (
        {"worker": WORKER},
        {"nightly": NIGHTLY},
        "alembic upgrade head",
    )
    copies = root / "srv/releases" / NEW / ".units"
    assert listed(copies) == ["blog-worker@.service"] and not copies.is_symlink()


def test_a_switch_brings_the_releases_own(deploy: Make, root: Path, host: Host, two: None) -> None:
    """[A15] [F6] The process before the release starts, the timers once it serves; what only the old one had goes."""
    deploy(release=OLD).do("activate")
    assert listed(root / "system") == ["blog-nightly.service", "blog-nightly.timer", "timers.target.wants"]
    host.did.clear()
    deploy(release=NEW).do("go_live")
    assert listed(root / "system") == [f"blog-mailer@{NEW}.service", "blog-weekly.service", "blog-weekly.timer", "timers.target.wants"]
    assert listed(root / "system/timers.target.wants") == ["blog-weekly.timer"]
    assert timers(host) == {"blog-weekly.timer"}
    order = ["reload units", f"start blog@{NEW}.service", f"start blog-mailer@{NEW}.service", f"current -> {NEW}"]
    order += [f"end blog@{OLD}.service blog-worker@{OLD}.service", "stop blog-nightly.timer", "reload units", "start blog-weekly.timer"]
    assert [did for did in host.did if did in order] == order
    assert deploy(release=NEW).do("activate")["changed"] is False


def test_a_job_that_runs_goes_on(deploy: Make, root: Path, host: Host, two: None) -> None:
    """[F6] Only its timer is stopped."""
    deploy(release=OLD).do("activate")
    host.active.add("blog-nightly.service")
    deploy(release=NEW).do("activate")
    assert "blog-nightly.service" in host.active


def test_going_back_brings_back_what_the_older_release_had(deploy: Make, root: Path, host: Host, two: None) -> None:
    """[S1] [A15] Its worker and its timer, whatever the inventory says by now; the plan says so first."""
    deploy(release=OLD).do("activate")
    deploy(release=NEW).do("go_live")
    host.clock += 60
    planned = rolled_back(deploy)
    assert line(planned, "workers") == "workers  stop mailer; start worker"
    assert line(planned, "timers") == "timers   stop weekly; start nightly"
    assert {f"blog@{OLD}.service", f"blog-worker@{OLD}.service", "blog-nightly.timer"} <= host.active
    assert not {f"blog-mailer@{NEW}.service", "blog-weekly.timer"} & host.active
    assert listed(root / "system") == ["blog-nightly.service", "blog-nightly.timer", f"blog-worker@{OLD}.service", "timers.target.wants"]


def test_a_release_that_is_no_good_takes_its_timers_along(deploy: Make, root: Path, host: Host, two: None) -> None:
    """[S1] [F6] Switched back by itself: the timers of the release before are back."""
    deploy(release=OLD).do("activate")
    deploy(release=NEW).do("rehearse")
    deploy(release=NEW).do("activate")
    host.visits = [(502, "Bad Gateway")]
    with pytest.raises(StepError, match="Bad Gateway"):
        deploy(release=NEW).do("watch")
    assert timers(host) == {"blog-nightly.timer"} and f"blog-worker@{OLD}.service" in host.active


def test_a_timer_whose_schedule_changed_is_started_anew(deploy: Make, root: Path, host: Host, two: None) -> None:
    """[F6] And one that did not is left alone."""
    deploy(release=OLD).do("activate")
    shutil.rmtree(root / "srv/releases" / NEW / ".units")
    bring(root, NEW, "blog-mailer@.service", "blog-nightly.service")
    bring(root, NEW, "blog-nightly.timer", words="at five")
    host.did.clear()
    deploy(release=NEW).do("activate")
    assert ("stop blog-nightly.timer" in host.did, "start blog-nightly.timer" in host.did) == (True, True)
    host.did.clear()
    deploy(release=NEW).do("activate")
    assert host.did == []


def test_a_timer_that_was_stopped_is_repaired(deploy: Make, root: Path, host: Host, two: None) -> None:
    """[F6] The next deploy sees it, though nothing else is wanted."""
    deploy(release=OLD).do("activate")
    change(root, OLD, fingerprint=deploy().builder.fingerprint())
    shutil.rmtree(root / "srv/releases" / NEW)
    assert deploy().do("plan")["repair"] is False
    host.active.remove("blog-nightly.timer")
    assert deploy().do("plan")["repair"] is True
    deploy(release=OLD).do("activate")
    assert timers(host) == {"blog-nightly.timer"}


def test_a_timer_that_does_not_start_is_a_failure_that_says_who_serves(deploy: Make, host: Host, two: None) -> None:
    """[F6] The switch has happened, and stays."""
    host.fails = {"start blog-weekly.timer": "Failed to parse calendar"}
    with pytest.raises(StepError, match="Failed to parse") as failure:
        deploy(release=NEW).do("activate")
    assert (failure.value.step, failure.value.outcome) == ("timers", f"release {NEW} serves")
    assert host.serving == {NEW}


def test_the_units_of_another_app_are_not_ours(deploy: Make, root: Path, host: Host, two: None) -> None:
    """[F2] The app blog-shop on the same machine: its names begin alike."""
    theirs = {
        "blog-shop-worker@20260101T000000-aa.service": "# slipway:app blog-shop\n",
        "blog-shop-nightly.timer": "# slipway:app blog-shop\n",
    }
    theirs |= {"blog-own.service": "[Unit]\n", "blog-shop@.service": "Description=blog-shop release %i (Gunicorn)\n"}
    for name, text in theirs.items():
        (root / "system" / name).write_text(text)
    deploy(release=NEW).do("go_live")
    assert set(theirs) <= set(listed(root / "system"))


def test_a_release_of_an_older_slipway_keeps_its_templates(deploy: Make, root: Path, host: Host, existing: Existing) -> None:
    """[A15] Manifests that note names alone are understood; its template stays until no such release is left."""
    host.active |= {"blog.socket", "blog.service"}
    existing(OLD, LIVE, current=True, running=True, processes=["worker"])
    existing(NEW, READY, processes={"worker": WORKER})
    bring(root, NEW, "blog-worker@.service")
    template = root / "system/blog-worker@.service"
    template.write_text("[Unit]\nDescription=blog worker of release %i\n")
    deploy(release=NEW).do("go_live")
    assert template.exists() and f"blog-worker@{NEW}.service" in host.active and f"blog-worker@{OLD}.service" not in host.active
    planned = deploy().do("plan_rollback")
    assert "worker (as its own unit has it" in line(planned, "workers")
    Store(root / "srv").remove(OLD)
    deploy(release=NEW).do("go_live")
    assert not template.exists() and f"blog-worker@{NEW}.service" in listed(root / "system")


def test_what_changes_of_a_worker_is_named(deploy: Make, root: Path, history: Release) -> None:
    """[S1] [A15] By its key: a command may hold what is meant for few eyes."""
    change(root, NEW, processes={"worker": {**WORKER, "command": "hidden-one"}}, timers={"nightly": {**NIGHTLY, "schedule": "weekly"}})
    change(root, OLD, processes={"worker": WORKER}, timers={"nightly": NIGHTLY})
    planned = deploy().do("plan_rollback")
    assert (
        line(planned, "workers") == "workers  change worker (command)" and line(planned, "timers") == "timers   change nightly (schedule)"
    )
    assert "hidden-one" not in str(planned)


def test_a_switch_with_timers_that_is_killed_anywhere_is_finished(deploy: Make, root: Path, host: Host, two: None) -> None:
    """[S1] [F6] By the next run: the timers are those of the release that is live in the end."""
    deploy(release=OLD).do("activate")
    start = copy.deepcopy(vars(host))
    for place in ("srv", "system"):
        shutil.copytree(root / place, root / f"{place}-start", symlinks=True)
    for lives in range(1, 60):
        vars(host).update(copy.deepcopy(start))
        for place in ("srv", "system"):
            shutil.rmtree(root / place)
            shutil.copytree(root / f"{place}-start", root / place, symlinks=True)
        host.lives = lives
        try:
            deploy(release=NEW).do("go_live")
            break
        except KilledError:
            host.lives = None
            host.clock += 60
        deploy(release=NEW).do("go_live")
        assert whole(root, host).id == NEW and timers(host) == {"blog-weekly.timer"}, host.did[-1]
        assert {f"blog-mailer@{NEW}.service"} <= host.active and f"blog-worker@{OLD}.service" not in host.active
    else:
        raise AssertionError("it has no end")
    assert lives > 10


# --- After a deploy that failed -------------------------------------------------------------------


def failed(root: Path, existing: Existing, at: str) -> str:
    """A deploy later than the live release's, which came to nothing."""
    name = "20261121T072201-badbad00"
    existing(name, FAILED, failure={"step": "migration", "reason": "x", "at": at, "retry": "x"})
    return name


def test_after_a_failed_deploy_there_is_nothing_to_go_back_from(deploy: Make, root: Path, existing: Existing, history: Release) -> None:
    """[S1] The healthy release stays; to leave it one has to say so."""
    name = failed(root, existing, "2026-11-21T07:23:00+00:00")
    planned = deploy().do("plan_rollback")
    assert (planned["needed"], planned["release"], planned["newer"]) == (False, NEW, NEW)
    assert planned["plan"][0] == f"nothing to go back from: the last deploy, {name}, failed (migration) and never went live"
    assert planned["plan"][-1] == f"to leave that one too: -e release={OLD}"
    for words in ({"release": OLD}, {"force": True}):
        assert deploy(**words).do("plan_rollback")["release"] == OLD


def test_a_deploy_that_failed_before_the_live_one_does_not_count(deploy: Make, root: Path, existing: Existing, history: Release) -> None:
    """[S1] The next one went well."""
    failed(root, existing, "2026-11-20T07:00:00+00:00")
    assert deploy().do("plan_rollback")["release"] == OLD


def test_after_a_switch_back_by_itself_there_is_nothing_to_go_back_from(
    deploy: Make, existing: Existing, root: Path, host: Host, serving: Release
) -> None:
    """[S1] The burn-in has done it already: OLD is what one would have gone back to."""
    existing(OLDER, RETIRED)
    existing(NEW, READY)
    deploy(release=NEW).do("rehearse")
    deploy(release=NEW).do("activate")
    host.visits = [(502, "Bad Gateway")]
    with pytest.raises(StepError):
        deploy(release=NEW).do("watch")
    planned = deploy().do("plan_rollback")
    assert (planned["needed"], planned["release"]) == (False, OLD)
    assert "was switched away from by itself" in planned["plan"][0]
    assert Store(root / "srv").load(NEW).state == ROLLED_BACK  # type: ignore[union-attr]


def test_the_schema_comes_back_by_the_newer_releases_own_command(
    deploy: Make, existing: Existing, host: Host, history: Release, root: Path
) -> None:
    """[A13] Whatever the inventory says today."""
    change(root, NEW, migrate_command="alembic upgrade head")
    deploy(release=NEW, migrate_command="flask other").do("upgrade")
    assert host.transients[-1][-3:] == ("alembic", "upgrade", "head")
