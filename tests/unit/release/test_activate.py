"""The step activate: one release takes over from another."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.slipway.vps.plugins.module_utils.deploy_steps import StepError
from ansible_collections.slipway.vps.plugins.module_utils.releases import FAILED, LIVE, READY, RETIRED, ROLLED_BACK, Release, Store

from .fakes import NEW, OLD, OLDER, REHEARSAL, TASK, Existing, Host, Make, refused, state, untouched, whole


def test_the_new_release_serves_before_the_old_one_stops(
    deploy: Make, existing: Existing, root: Path, host: Host, serving: Release
) -> None:
    """[S1] [S2] New noted and started, then the links moved, then written down, and only then the old one told to end: none refused."""
    existing(NEW, READY)
    assert deploy(release=NEW).do("activate") == {"changed": True, "release": NEW, "overlap": True, "output": ""}
    assert host.did == [
        f"{NEW} is ready",
        f"next -> {NEW}",
        "start blog.service",
        f"start blog@{NEW}.service",
        f"previous -> {OLD}",
        f"current -> {NEW}",
        "next -> none",
        f"{NEW} is live",
        f"end blog@{OLD}.service",
        f"{OLD} is retired",
    ]
    assert host.active == {"blog.socket", "blog.service", f"blog@{NEW}.service"}
    found = Store(root / "srv").live()
    assert found and (found.id, found.live_at) == (NEW, "2026-11-20T07:22:01+00:00")
    assert (found.replaces, found.rolled_back_from, found.on_trial) == (OLD, None, True)


def test_nobody_waits_for_the_old_release_to_finish(deploy: Make, existing: Existing, root: Path, host: Host, serving: Release) -> None:
    """[S1] A worker may take hours. What is ending is not taken for the rest of an interrupted switch."""
    existing(NEW, READY, fingerprint=deploy().builder.fingerprint())
    host.lingers = OLD
    assert deploy(release=NEW).do("activate")["changed"] is True
    assert host.clock == 0 and host.ending == {f"blog@{OLD}.service"}
    assert (state(root, OLD), state(root, NEW)) == (RETIRED, LIVE)
    deploy(release=NEW).do("watch")
    assert deploy().do("plan")["repair"] is False
    host.did.clear()
    assert deploy(release=NEW).do("activate")["changed"] is False
    assert host.did == []
    existing(OLDER, READY)
    deploy(release=OLDER).do("activate")
    assert [line for line in host.did if line.startswith("end")] == [f"end blog@{OLD}.service blog@{NEW}.service"]


def test_an_old_release_that_cannot_be_told_to_end_is_told_by_the_next_run(
    deploy: Make, existing: Existing, root: Path, host: Host, serving: Release
) -> None:
    """[S1] The switch has happened by then; it still answers, and the next run sees that."""
    existing(NEW, READY, fingerprint=deploy().builder.fingerprint())
    host.fails = {f"end blog@{OLD}": "Transport endpoint is not connected"}
    assert deploy(release=NEW).do("activate")["changed"] is True
    deploy(release=NEW).do("watch")
    assert Store(root / "srv").live_id() == NEW and deploy().do("plan")["repair"] is True
    host.fails = {}
    deploy(release=NEW).do("activate")
    assert host.serving == {NEW} and deploy().do("plan")["repair"] is False


def test_a_second_activation_changes_nothing(deploy: Make, serving: Release, host: Host) -> None:
    """[S1] Idempotent."""
    assert deploy(release=OLD).do("activate") == {"changed": False, "release": OLD, "overlap": True, "output": ""}
    assert host.did == []


def test_background_processes_move_with_the_release(deploy: Make, existing: Existing, host: Host) -> None:
    """[A15] The new worker starts with the new release; the old ones stop, also one that the new release no longer has."""
    host.active |= {"blog.socket", "blog.service"}
    existing(OLD, LIVE, current=True, running=True, processes=["beat", "worker"])
    existing(NEW, READY, processes=["worker"])
    deploy(release=NEW).do("activate")
    assert host.active == {"blog.socket", "blog.service", f"blog@{NEW}.service", f"blog-worker@{NEW}.service"}
    assert host.did.index(f"start blog-worker@{NEW}.service") < host.did.index(f"current -> {NEW}")
    ends = [line.split()[1:] for line in host.did if line.startswith(("stop", "end"))]
    assert ends == [[f"{unit}@{OLD}.service" for unit in ("blog", "blog-beat", "blog-worker")]]


def test_a_worker_that_still_drains_starts_again_by_itself(deploy: Make, existing: Existing, root: Path, host: Host) -> None:
    """[S1 A15] Back to a release that was just left: its worker's task may take hours, its Gunicorn is waited for."""
    host.active |= {"blog.socket", "blog.service"}
    existing(OLD, RETIRED, processes=["beat", "worker"])
    existing(NEW, LIVE, current=True, running=True)
    host.ending = {f"blog@{OLD}.service", f"blog-worker@{OLD}.service"}
    deploy(release=OLD, leave_as=ROLLED_BACK).do("activate")
    started = [line for line in host.did if line.startswith(("start", "queue"))]
    units = [f"start blog@{OLD}.service", f"start blog-beat@{OLD}.service", f"queue blog-worker@{OLD}.service"]
    assert started == ["start blog.service", *units] and not [line for line in host.did if line.startswith("stop")]
    assert 0 < host.clock < TASK and host.ending == {f"blog-worker@{OLD}.service"}
    assert whole(root, host).id == OLD and (state(root, OLD), state(root, NEW)) == (LIVE, ROLLED_BACK)
    host.finish()
    assert host.active == {"blog.socket", "blog.service", *(f"{unit}@{OLD}.service" for unit in ("blog", "blog-beat", "blog-worker"))}


def test_a_queued_worker_of_a_release_that_is_left_does_not_come_back(deploy: Make, existing: Existing, host: Host) -> None:
    """[A15] Back to a release whose worker still drains, and on to another before that is done: it never works beside the new one."""
    host.active |= {"blog.socket", "blog.service"}
    existing(OLDER, LIVE, current=True, running=True)
    existing(OLD, RETIRED, processes=["worker"])
    existing(NEW, READY, processes=["worker"])
    host.ending = {f"blog-worker@{OLD}.service"}
    deploy(release=OLD, leave_as=ROLLED_BACK).do("activate")
    deploy(release=NEW).do("activate")
    host.finish()
    assert host.active == {"blog.socket", "blog.service", f"blog@{NEW}.service", f"blog-worker@{NEW}.service"}


def test_a_start_that_fails_waits_for_no_worker(deploy: Make, existing: Existing, host: Host, serving: Release) -> None:
    """[A15] It still drains, and is told not to start again after that."""
    existing(OLDER, RETIRED, processes=["beat", "worker"])
    host.ending = {f"blog-beat@{OLDER}.service"}
    host.fails = {f"start blog-worker@{OLDER}": "redis is down"}
    with pytest.raises(StepError, match="redis is down"):
        deploy(release=OLDER).do("activate")
    assert host.clock < TASK
    host.finish()
    assert host.active == {"blog.socket", "blog.service", f"blog@{OLD}.service"}


def test_a_worker_that_cannot_be_queued_is_a_failed_start(
    deploy: Make, existing: Existing, root: Path, host: Host, serving: Release
) -> None:
    """[A15] A release without its worker is none."""
    existing(OLDER, RETIRED, processes=["worker"])
    host.ending = {f"blog-worker@{OLDER}.service"}
    host.fails = {"queue": "Unit blog-worker@.service is masked."}
    with pytest.raises(StepError, match="is masked") as failure:
        deploy(release=OLDER).do("activate")
    assert failure.value.step == "start" and host.serving == {OLD}
    untouched(root, host)


def test_what_an_interrupted_switch_left_is_stopped(deploy: Make, existing: Existing, host: Host, serving: Release) -> None:
    """[S1] Killed between the start and the stop: two releases answer; the next run leaves one."""
    host.active.add(f"blog@{OLDER}.service")
    assert deploy(release=OLD).do("activate")["changed"] is True
    assert host.active == {"blog.socket", "blog.service", f"blog@{OLD}.service"}
    assert not [line for line in host.did if line.startswith(("stop", "end")) and OLD in line]


def test_a_rehearsal_that_was_left_is_stopped_by_the_next_run(deploy: Make, existing: Existing, root: Path, host: Host) -> None:
    """[S1] It holds memory and connections to the database, also when the operator goes on with what is live."""
    existing(OLD, LIVE, current=True, running=True, fingerprint=deploy().builder.fingerprint())
    existing(NEW, READY)
    host.active |= {"blog.socket", "blog.service", REHEARSAL}
    assert deploy().do("plan")["repair"] is True
    assert deploy(release=OLD).do("activate")["changed"] is True
    assert REHEARSAL not in host.active and state(root, NEW) == READY
    # Also when its rehearsal had just ended: what waits for nothing is removed.
    assert deploy().do("plan")["repair"] is True
    assert deploy().do("prune")["removed"] == [NEW] and deploy().do("plan")["repair"] is False


def test_what_was_stopped_by_hand_is_started_again(deploy: Make, root: Path, serving: Release, host: Host) -> None:
    """[A9] The run that finds nothing new still leaves the app up, and does not touch current."""
    host.active.remove(f"blog@{OLD}.service")
    assert deploy(release=OLD).do("activate") == {"changed": True, "release": OLD, "overlap": True, "output": ""}
    assert f"blog@{OLD}.service" in host.active
    assert not [line for line in host.did if line.startswith(("stop", "end"))]
    found = Store(root / "srv").live()
    assert found and found.live_at == serving.live_at, "it has not gone live anew"


def test_the_first_release_opens_the_socket_first(deploy: Make, existing: Existing, host: Host) -> None:
    """[S1] systemd refuses a socket whose service is active; and without blog.service it would start an instance itself."""
    existing(NEW, READY)
    host.active.add("blog.service")
    deploy(release=NEW).do("activate")
    started = [line for line in host.did if line.startswith(("start", "stop"))]
    assert started == ["stop blog.service", "start blog.socket", "start blog.service", f"start blog@{NEW}.service"]


@pytest.mark.parametrize("fails", [f"start blog@{NEW}.service", f"start blog-worker@{NEW}.service"])
def test_a_start_that_fails_leaves_the_old_release_live(
    deploy: Make, existing: Existing, root: Path, host: Host, serving: Release, fails: str
) -> None:
    """[S1] What was started of the new one is stopped again; the reason is kept."""
    existing(NEW, READY, processes=["worker"])
    host.fails = {fails: "MemoryError"}
    with pytest.raises(StepError, match="MemoryError"):
        deploy(release=NEW).do("activate")
    refused(root, NEW, "start", "MemoryError")
    untouched(root, host)
    assert host.active == {"blog.socket", "blog.service", f"blog@{OLD}.service"}
    assert not [line for line in host.did if line.startswith(("end", "current", f"stop blog@{OLD}"))]


def test_a_live_release_that_does_not_start_keeps_its_files(deploy: Make, serving: Release, root: Path, host: Host) -> None:
    """[S1] It is all there is: it may start the next time (after the database has come back, say)."""
    host.active.remove(f"blog@{OLD}.service")
    host.fails = {f"start blog@{OLD}": "database is down"}
    with pytest.raises(StepError, match="database is down"):
        deploy(release=OLD).do("activate")
    assert state(root, OLD) == LIVE and (root / "srv/releases" / OLD / "blog.py").exists()


def test_a_release_that_served_before_survives_a_failed_start(
    deploy: Make, existing: Existing, serving: Release, root: Path, host: Host
) -> None:
    """[S1] Going back to it must not destroy it: the next try may find the database up again."""
    existing(OLDER, RETIRED)
    host.fails = {f"start blog@{OLDER}": "database is down"}
    with pytest.raises(StepError, match="database is down"):
        deploy(release=OLDER).do("activate")
    assert state(root, OLDER) == RETIRED and (root / "srv/releases" / OLDER / "blog.py").exists()
    untouched(root, host)


@pytest.mark.parametrize("name", [None, "20990101T000000-none"])
def test_a_release_that_does_not_exist_is_named(deploy: Make, serving: Release, root: Path, host: Host, name: str | None) -> None:
    """[S1] Rather than an activation of nothing."""
    for act in ("migrate", "rehearse", "activate"):
        with pytest.raises(StepError, match="there is no release"):
            deploy(release=name).do(act)
    untouched(root, host)


def test_a_repair_that_fails_leaves_what_still_serves(deploy: Make, existing: Existing, host: Host) -> None:
    """[S1] A worker of the live release does not start: its Gunicorn goes on serving all the while."""
    host.active |= {"blog.socket", "blog.service", f"blog@{OLD}.service"}
    existing(OLD, LIVE, current=True, processes=["worker"])
    host.fails = {f"start blog-worker@{OLD}": "redis is down"}
    with pytest.raises(StepError, match="redis is down"):
        deploy(release=OLD).do("activate")
    assert f"blog@{OLD}.service" in host.active
    assert not [line for line in host.did if line.startswith(("stop", "end")) and f"blog@{OLD}" in line], "visitors were cut off"


def test_the_releases_before_keep_their_assets_reachable(deploy: Make, existing: Existing, root: Path, host: Host) -> None:
    """[E6] The two that served last, by the times in their manifests; never what only was built, or failed."""
    host.active |= {"blog.socket", "blog.service"}
    srv = root / "srv"

    def links() -> list[str]:
        return [link.readlink().name if (link := srv / f"previous-{number}").is_symlink() else "" for number in (1, 2)]

    existing(OLDER, READY)
    existing("20261117T072201-fa11ed00", FAILED)
    deploy(release=OLDER).do("activate")
    assert links() == ["", ""]
    host.clock += 10
    existing(OLD, READY)
    deploy(release=OLD).do("activate")
    assert links() == [OLDER, ""]
    host.clock += 10
    existing(NEW, READY)
    deploy(release=NEW).do("activate")
    assert links() == [OLD, OLDER]
    host.clock += 10
    deploy(release=OLDER).do("activate")
    assert links() == [NEW, OLD]
    assert str((srv / "previous-1").readlink()) == f"releases/{NEW}"


def test_assets_are_found_at_every_moment_of_a_switch(deploy: Make, existing: Existing, root: Path, host: Host, serving: Release) -> None:
    """[E6] Whenever a release runs, nginx has a link to it: pages of the new one ask for its files before `current` has moved."""
    existing(NEW, READY)
    srv = root / "srv"
    seen: list[str] = []

    class Watched(list[str]):
        def append(self, line: str) -> None:
            super().append(line)
            links = {link.readlink().name for name in ("current", "next", "previous-1", "previous-2") if (link := srv / name).is_symlink()}
            running = {unit.split("@")[1].removesuffix(".service") for unit in host.active if "@" in unit}
            seen.append(f"{line}: {running - links}")

    host.did = Watched()
    deploy(release=NEW).do("activate")
    assert len(seen) > 8 and [moment for moment in seen if not moment.endswith("set()")] == []


@pytest.mark.parametrize("mark", [RETIRED, ROLLED_BACK])
def test_what_is_let_go_is_marked_as_asked(deploy: Make, existing: Existing, root: Path, host: Host, serving: Release, mark: str) -> None:
    """[S1] Retired by a deploy; rolled-back by a rollback, so that neither deploy nor rollback chooses it unasked."""
    existing(NEW, READY)
    deploy(release=NEW, leave_as=mark).do("activate")
    assert state(root, OLD) == mark
    found = Store(root / "srv").load(NEW)
    assert found and found.rolled_back_from == (OLD if mark == ROLLED_BACK else None)
