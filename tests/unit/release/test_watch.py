"""The step watch: the new release while it serves, and the way back."""

from __future__ import annotations

import contextlib
import re
import shutil
from pathlib import Path
from typing import Any, NoReturn

import pytest
from ansible_collections.slipway.vps.plugins.module_utils import deploy_switch
from ansible_collections.slipway.vps.plugins.module_utils.burnin import FEWEST
from ansible_collections.slipway.vps.plugins.module_utils.deploy_steps import StepError
from ansible_collections.slipway.vps.plugins.module_utils.releases import LIVE, READY, RETIRED, ROLLED_BACK, Release, Store
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core.run import CommandError

from .fakes import NEW, OLD, OLDER, Existing, Host, Make, back, state


def test_a_release_that_serves_well_stays(deploy: Make, root: Path, host: Host, switched: None) -> None:
    """[S1] For as long as asked; with what was seen beside what the release before did in as long, since a quiet burn-in says little."""
    host.serve(OLD, 200, 500, ago=30)
    host.serve(OLD, *[500] * 50, ago=31)
    host.later = [(5, lambda: host.serve(NEW, *[200] * 8, 404, 500))]
    result = deploy(release=NEW, burn_in=30.0).do("watch")
    assert 30 <= host.clock < 32
    seen = (
        "10 requests, 1 answered 5xx, 0 tracebacks; the release before, as long before the switch: 2 requests, 1 answered 5xx, 0 tracebacks"
    )
    assert result == {"changed": False, "release": NEW, "output": seen}
    # Asked once a second as well, and found good.
    assert host.asked == [("nginx", "/healthz/ready", "blog.example.com"), ("nginx", "/", "blog.example.com")] * 32
    assert host.did == [f"{NEW} is live"] and host.serving == {NEW}
    found = Store(root / "srv").live()
    assert found and (found.id, found.on_trial, found.failure) == (NEW, False, None)
    host.did.clear()
    assert deploy(release=NEW, burn_in=30.0).do("watch")["output"] == "" and host.did == [], "it is watched once"


@pytest.mark.parametrize(
    ("visits", "path"),
    [([(502, "Bad Gateway")], "/healthz/ready"), ([(200, ""), (500, "boom")], "/"), ([(0, "timed out")], "/healthz/ready")],
)
def test_a_public_endpoint_that_the_switch_broke_brings_the_old_one_back(
    deploy: Make, root: Path, host: Host, switched: None, visits: list[tuple[int, str]], path: str
) -> None:
    """[S1] By itself and at once, without the burn-in."""
    host.visits = list(visits)
    host.clock += 1
    with pytest.raises(StepError) as failure:
        deploy(release=NEW, burn_in=30.0).do("watch")
    assert host.clock == 1
    assert (failure.value.step, failure.value.outcome) == ("public endpoint", f"switched back to {OLD} by itself")
    assert f"GET https://blog.example.com{path} answered {visits[-1][0] or 'nothing'}: {visits[-1][1]}" in failure.value.evidence
    back(root, host, "public endpoint", f"https://blog.example.com{path}")


@pytest.mark.parametrize("status", [301, 401, 404, 429])
def test_a_public_endpoint_that_refuses_is_not_broken(deploy: Make, host: Host, switched: None, status: int) -> None:
    """[S1] A login, a redirect, a maintenance page behind a password."""
    host.visits = [(status, "")]
    assert deploy(release=NEW).do("watch")["release"] == NEW


def test_a_public_endpoint_that_was_broken_before_is_not_blamed(
    deploy: Make, existing: Existing, root: Path, host: Host, serving: Release
) -> None:
    """[S1] nginx is down, the certificate is absent, or the old release was broken: going back would mend nothing, and it is said."""
    existing(NEW, READY)
    host.visits = [(502, "Bad Gateway")]
    deploy(release=NEW).do("rehearse")
    deploy(release=NEW).do("activate")
    found = Store(root / "srv").load(NEW)
    assert found and found.served_before is False
    said = "Not served through nginx, neither before the switch nor after it: GET https://blog.example.com/healthz/ready answered 502"
    assert deploy(release=NEW, burn_in=2.0).do("watch")["output"].startswith(said)
    found = Store(root / "srv").live()
    assert found and (found.id, found.state, found.on_trial) == (NEW, LIVE, False)


def test_what_was_found_good_is_not_switched_away_from_later(deploy: Make, root: Path, host: Host, switched: None) -> None:
    """[S1] A run that repairs something finds the public endpoint broken: that is said, and has another cause than the switch."""
    deploy(release=NEW).do("watch")
    host.did.clear()
    host.visits = [(502, "Bad Gateway")]
    with pytest.raises(StepError, match="answered 502: Bad Gateway") as failure:
        deploy(release=NEW, burn_in=30.0).do("watch")
    assert failure.value.outcome == f"release {NEW} serves, and was found good when it went live"
    assert host.did == [] and Store(root / "srv").live_id() == NEW


@pytest.mark.parametrize("maintenance", [True, False])
def test_during_maintenance_the_front_page_is_not_asked(deploy: Make, root: Path, host: Host, switched: None, maintenance: bool) -> None:
    """[S1] It answers 503, which is what it is for."""
    (root / "srv/maintenance").mkdir()
    if maintenance:
        (root / "srv/maintenance/index.html").touch()
    deploy(release=NEW).do("watch")
    assert ("/" in {url for _, url, _ in host.asked}) is not maintenance


def test_a_release_that_does_worse_is_switched_away_from(deploy: Make, root: Path, host: Host, switched: None) -> None:
    """[S1] As soon as the verdict is in, not at the end of the burn-in."""
    host.later = [(3, lambda: host.serve(NEW, *[500] * 4, 200))]
    host.serve(OLD, *[200] * 20, ago=10)
    with pytest.raises(StepError, match=r"the new release answered 5xx in 80% of 5 requests, the release before in 0% of 20") as failure:
        deploy(release=NEW, burn_in=30.0).do("watch")
    assert host.clock < 5
    assert failure.value.outcome == f"switched back to {OLD} by itself" and f"journal of blog@{NEW}.service" in failure.value.evidence
    back(root, host, "burn-in", "answered 5xx in 80%")


@pytest.mark.parametrize(("times", "worse"), [(FEWEST, True), (FEWEST - 1, False)])
def test_a_public_endpoint_that_fails_in_the_burn_in(deploy: Make, root: Path, host: Host, switched: None, times: int, worse: bool) -> None:
    """[S1] Nobody else may have come: what we ask for counts. Once or twice is no verdict."""
    # The readiness path and the front page in turn, until the readiness path fails.
    host.visits = [*[(200, "")] * 6, *[(502, "Bad Gateway")] * times, (200, "")]
    with pytest.raises(StepError, match="answered 502") if worse else contextlib.nullcontext():
        deploy(release=NEW, burn_in=30.0).do("watch")
    if worse:
        back(root, host, "burn-in", "answered 502")
    else:
        assert host.clock >= 30 and Store(root / "srv").live_id() == NEW


def test_doors_that_open_again_are_counted_anew(deploy: Make, root: Path, host: Host, switched: None) -> None:
    """[S1] Now and then one request is lost somewhere."""
    host.visits = [(200, ""), (200, ""), *[(502, ""), (200, ""), (200, "")] * 5, (200, "")]
    deploy(release=NEW, burn_in=30.0).do("watch")
    assert Store(root / "srv").live_id() == NEW


def test_a_journal_that_cannot_be_read_is_said_so(
    deploy: Make, root: Path, host: Host, switched: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """[S1] There is no verdict then, and who serves is said; the next run looks again."""

    def gone(*words: Any) -> NoReturn:
        raise CommandError("No journal files were found")

    monkeypatch.setattr(deploy_switch, "journal_between", gone)
    with pytest.raises(StepError, match="No journal files") as failure:
        deploy(release=NEW, burn_in=30.0).do("watch")
    assert (failure.value.step, failure.value.outcome) == ("burn-in", f"release {NEW} serves")
    found = Store(root / "srv").live()
    assert found and found.on_trial is True and deploy().do("plan")["repair"] is True


def test_tracebacks_count_too(deploy: Make, root: Path, host: Host, switched: None) -> None:
    """[S1] An app that hides its errors behind a 200."""
    host.clock += 1
    host.serve(NEW, *[200] * 10, tracebacks=5)
    with pytest.raises(StepError, match="raised in 50% of 10 requests"):
        deploy(release=NEW, burn_in=30.0).do("watch")
    back(root, host, "burn-in", "raised in")


def test_what_troubles_both_is_no_ones_fault(deploy: Make, root: Path, host: Host, switched: None) -> None:
    """[S1] The release before answered as badly, and it does now: the database is down, and going back would not help."""
    host.serve(OLD, *[500] * 20, ago=1)
    host.later = [(2, lambda: host.serve(NEW, *[500] * 20))]
    assert "20 requests, 20 answered 5xx" in deploy(release=NEW, burn_in=5.0).do("watch")["output"]
    assert Store(root / "srv").live_id() == NEW


@pytest.mark.parametrize("front", [False, True])
def test_a_release_before_that_is_no_better_does_not_take_over(deploy: Make, root: Path, host: Host, switched: None, front: bool) -> None:
    """[S1] The database went down with the switch or after it: the old one is rehearsed, is not ready either, and nothing is switched."""
    host.visits = [(500, "database is down")]
    if front:
        host.front = (500, "database is down")
    else:
        host.answers = [(503, "database is down")]
    with pytest.raises(StepError) as failure:
        deploy(release=NEW, ready_timeout=-1).do("watch")
    assert failure.value.outcome == f"release {NEW} stays live"
    assert f"Going back to {OLD} would not help, or failed as well:" in failure.value.evidence
    assert host.serving == {NEW} and Store(root / "srv").live_id() == NEW and (state(root, OLD), state(root, NEW)) == (RETIRED, LIVE)
    assert not [line for line in host.did if line.startswith((f"start blog@{OLD}", "current"))]
    found = Store(root / "srv").live()
    assert found and found.on_trial is False and found.failure and found.failure["step"] == "public endpoint"
    assert deploy().do("plan")["repair"] is False


def test_what_was_answered_between_switch_and_watch_counts(deploy: Make, root: Path, host: Host, switched: None) -> None:
    """[S1] Ansible is slow: seconds of the new release's service may have passed. What a unit of that name said long ago does not."""
    host.serve(NEW, *[200] * 1000, ago=1)
    host.serve(NEW, *[500] * 5)
    host.clock += 4
    with pytest.raises(StepError, match="100% of 5"):
        deploy(release=NEW, burn_in=30.0).do("watch")
    back(root, host, "burn-in", "100%")


@pytest.mark.parametrize("tolerance", [0.05, 0.6])
def test_the_tolerance_decides(deploy: Make, host: Host, switched: None, tolerance: float) -> None:
    """[S1] How much worse is worse."""
    host.serve(NEW, *[500] * 5, *[200] * 5)
    with contextlib.nullcontext() if tolerance > 0.5 else pytest.raises(StepError, match="50%"):
        deploy(release=NEW, burn_in=2.0, burn_in_tolerance=tolerance).do("watch")


def test_a_new_release_that_dies_is_noticed(deploy: Make, root: Path, host: Host, switched: None) -> None:
    """[S1] It answers nothing any more, so there is nothing to count."""
    host.later = [(2, lambda: host.active.discard(f"blog@{NEW}.service"))]
    with pytest.raises(StepError, match=rf"blog@{NEW}\.service has stopped"):
        deploy(release=NEW, burn_in=30.0).do("watch")
    assert host.clock < 4
    assert Store(root / "srv").live_id() == OLD and state(root, NEW) == ROLLED_BACK
    assert f"blog@{OLD}.service" in host.active


def test_the_way_back_takes_the_workers_along(deploy: Make, existing: Existing, root: Path, host: Host) -> None:
    """[A15] The old ones start again, also those that the new release no longer had."""
    host.active |= {"blog.socket", "blog.service"}
    existing(OLD, LIVE, current=True, running=True, processes=["beat", "worker"])
    before = set(host.active)
    existing(NEW, READY, processes=["mailer", "worker"])
    deploy(release=NEW).do("activate")
    assert host.active == {"blog.socket", "blog.service", *(f"{unit}@{NEW}.service" for unit in ("blog", "blog-mailer", "blog-worker"))}
    host.visits = [(502, "")]
    with pytest.raises(StepError, match="502"):
        deploy(release=NEW).do("watch")
    assert host.active == before


@pytest.mark.parametrize("gone", ["never", "pruned", "stripped"])
def test_without_a_release_before_the_new_one_stays(deploy: Make, existing: Existing, root: Path, host: Host, gone: str) -> None:
    """[S1] Bad is better than nothing, and it is said."""
    host.active |= {"blog.socket", "blog.service"}
    if gone != "never":
        existing(OLD, LIVE, current=True, running=True)
    existing(NEW, READY)
    deploy(release=NEW).do("activate")
    if gone == "pruned":
        shutil.rmtree(root / "srv/releases" / OLD)
    if gone == "stripped":
        Store(root / "srv").strip(OLD)
    host.visits = [(502, "Bad Gateway")]
    with pytest.raises(StepError) as failure:
        deploy(release=NEW).do("watch")
    assert failure.value.outcome == f"there is no release to go back to, so release {NEW} stays live"
    found = Store(root / "srv").live()
    assert found and (found.id, found.state) == (NEW, LIVE)
    assert found.failure and found.failure["step"] == "public endpoint" and found.on_trial is False
    assert f"blog@{NEW}.service" in host.active


def test_a_way_back_that_fails_is_said_so(deploy: Make, root: Path, host: Host, switched: None) -> None:
    """[S1] Both reasons; the new one stays, since it is what there is."""
    host.visits, host.fails = [(502, "Bad Gateway")], {f"start blog@{OLD}": "Address already in use"}
    with pytest.raises(StepError) as failure:
        deploy(release=NEW).do("watch")
    assert failure.value.outcome == f"release {NEW} stays live"
    assert re.search(rf"(?s)502.*Going back to {OLD} would not help, or failed as well:\nAddress already in use", failure.value.evidence)
    found = Store(root / "srv").live()
    assert found and (found.id, found.state, found.on_trial) == (NEW, LIVE, False) and host.serving == {NEW}


def test_the_way_back_without_memory_for_two(deploy: Make, root: Path, host: Host, switched: None) -> None:
    """[S1] The new one stops first, behind the held socket; rehearsed was the old one all the same."""
    host.clock += 1
    host.available, host.visits = 0, [(502, "Bad Gateway")]
    with pytest.raises(StepError, match="502") as failure:
        deploy(release=NEW).do("watch")
    assert failure.value.outcome == f"switched back to {OLD} by itself"
    stop, start = host.did.index(f"stop blog@{NEW}.service"), host.did.index(f"start blog@{OLD}.service")
    assert host.did.index(f"start blog-rehearsal@{OLD}.service") < stop < start and host.serving == {OLD}
    assert (state(root, OLD), state(root, NEW)) == (LIVE, ROLLED_BACK)


def test_the_way_back_without_memory_may_fail(deploy: Make, root: Path, host: Host, switched: None) -> None:
    """[S1] The new one comes back: bad is better than nothing."""
    host.available, host.visits, host.fails = 0, [(502, "Bad Gateway")], {f"start blog@{OLD}": "MemoryError"}
    with pytest.raises(StepError, match="MemoryError") as failure:
        deploy(release=NEW).do("watch")
    assert failure.value.outcome == f"release {NEW} stays live"
    assert host.serving == {NEW} and Store(root / "srv").live_id() == NEW


def test_a_first_release_is_not_burnt_in(deploy: Make, existing: Existing, root: Path, host: Host) -> None:
    """[S1] There is nothing to go back to, so nothing is decided."""
    existing(NEW, READY)
    host.visits = [(502, ""), (200, "")]
    deploy(release=NEW).do("rehearse")
    deploy(release=NEW).do("activate")
    assert deploy(release=NEW, burn_in=30.0).do("watch") == {"changed": False, "release": NEW, "output": ""}
    found = Store(root / "srv").live()
    assert host.clock == 0 and found and (found.replaces, found.on_trial) == (None, False)


def test_a_burn_in_of_zero_is_off(deploy: Make, existing: Existing, root: Path, host: Host, serving: Release) -> None:
    """[S1] A release that is gone back to has served before, and badly perhaps, while the database was down: that is history."""
    host.serve(OLDER, *[500] * 50, *[200] * 50, tracebacks=50)
    existing(OLDER, RETIRED)
    deploy(release=OLDER, leave_as=ROLLED_BACK).do("activate")
    assert deploy(release=OLDER, burn_in=0.0).do("watch")["release"] == OLDER
    assert host.clock == 0
    assert Store(root / "srv").live_id() == OLDER and state(root, OLD) == ROLLED_BACK


def test_what_is_not_live_is_not_watched(deploy: Make, existing: Existing, host: Host, serving: Release) -> None:
    """[S1] Another run was faster."""
    existing(NEW, READY)
    assert deploy(release=NEW, burn_in=30.0).do("watch") == {"changed": False, "release": NEW, "output": ""}
    assert host.asked == [] and host.clock == 0
