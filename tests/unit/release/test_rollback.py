"""The step plan_rollback: which release to go back to, and what that reverts."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from ansible_collections.slipway.vps.plugins.module_utils.deploy_steps import StepError
from ansible_collections.slipway.vps.plugins.module_utils.releases import (
    BUILDING,
    FAILED,
    LIVE,
    READY,
    RETIRED,
    ROLLED_BACK,
    Release,
    Store,
)

from .fakes import COMMIT, NEW, OLD, OLDER, OLDEST, Existing, Host, Make, change, files, line, migrations, rolled_back, state


def test_the_last_good_release_is_chosen(deploy: Make, root: Path, history: Release) -> None:
    """[S1] The one that served last before the live one."""
    planned = deploy().do("plan_rollback")
    assert (planned["changed"], planned["needed"], planned["release"]) == (False, True, OLD)


def test_the_order_of_service_counts_not_that_of_files_or_ids(deploy: Make, root: Path, history: Release) -> None:
    """[S1] After a rollback to an old one and a deploy, the old one is the last good; a copied or touched folder changes nothing."""
    change(root, OLDER, live_at="2026-11-19T23:00:00+00:00")
    for name, at in ((OLD, 2**31), (OLDER, 0), (NEW, 5)):
        for path in (root / "srv/releases" / name, root / "srv/releases" / name / "release.json"):
            os.utime(path, (at, at))
    assert deploy().do("plan_rollback")["release"] == OLDER


@pytest.mark.parametrize("bad", [ROLLED_BACK, FAILED, READY, BUILDING])
def test_a_release_rolled_away_from_is_never_chosen(deploy: Make, root: Path, history: Release, bad: str) -> None:
    """[S1] Nor one that failed, or never served."""
    change(root, OLD, state=bad)
    assert deploy().do("plan_rollback")["release"] == OLDER


def test_a_release_that_served_after_the_live_one_is_not_gone_back_to(
    deploy: Make, existing: Existing, root: Path, history: Release
) -> None:
    """[S1] A killed switch leaves such a manifest: it never took the link."""
    existing("20261121T072201-abcdef", LIVE)
    assert deploy().do("plan_rollback")["release"] == OLD


def test_a_burn_in_that_was_cancelled_leaves_its_last_good_release(deploy: Make, existing: Existing, root: Path, host: Host) -> None:
    """[S1] Ctrl-C while the new one is on trial, since it is bad; then rollback: the one before."""
    host.active |= {"blog.socket", "blog.service"}
    existing(OLDER, RETIRED)
    existing(OLD, LIVE, current=True, running=True)
    existing(NEW, READY)
    deploy(release=NEW).do("activate")
    planned = deploy().do("plan_rollback")
    assert (planned["release"], planned["newer"], planned["needed"]) == (OLD, NEW, True)


def test_two_rollbacks_go_back_twice(deploy: Make, root: Path, host: Host, history: Release) -> None:
    """[S1] What was rolled away from is marked, and not returned to by the next rollback."""
    newer = NEW
    for expected in (OLD, OLDER):
        host.clock += 60
        planned = rolled_back(deploy)
        assert (planned["release"], planned["newer"], planned["needed"]) == (expected, newer, True)
        assert Store(root / "srv").live_id() == expected and host.serving == {expected}
        newer = expected
    assert [state(root, name) for name in (NEW, OLD, OLDER)] == [ROLLED_BACK, ROLLED_BACK, LIVE]
    with pytest.raises(StepError, match=f"no good release served before {OLDER}"):
        deploy().do("plan_rollback")


def test_nothing_to_go_back_to_is_said_with_what_there_is(deploy: Make, root: Path, history: Release) -> None:
    """[S1] Name one of them."""
    for name in (OLD, OLDER):
        change(root, name, state=ROLLED_BACK)
    with pytest.raises(StepError) as failure:
        deploy().do("plan_rollback")
    assert failure.value.step == "rollback"
    assert f"Others: {OLDER} (rolled-back), {OLD} (rolled-back). Name one: -e release=<id>" in failure.value.evidence


def test_without_a_live_release_there_is_nothing_to_go_back_from(deploy: Make) -> None:
    with pytest.raises(StepError, match="no release is live"):
        deploy().do("plan_rollback")


def test_the_first_release_has_none_before(deploy: Make, serving: Release) -> None:
    with pytest.raises(StepError, match="Others: none"):
        deploy().do("plan_rollback")


@pytest.mark.parametrize("mark", [RETIRED, ROLLED_BACK])
def test_a_release_that_is_named_is_chosen(deploy: Make, root: Path, history: Release, mark: str) -> None:
    """[S1] Also one that was rolled away from: whoever names it wants it."""
    change(root, OLDER, state=mark)
    assert deploy(release=OLDER).do("plan_rollback")["release"] == OLDER


def test_a_release_that_is_named_is_chosen_also_half_way(deploy: Make, root: Path, history: Release) -> None:
    """[S1] The rollback before was cut off; now the operator wants to go further back."""
    deploy(release=OLD, leave_as=ROLLED_BACK).do("activate")
    assert deploy().do("plan_rollback")["release"] == OLD
    planned = deploy(release=OLDER).do("plan_rollback")
    assert (planned["release"], planned["newer"], planned["needed"]) == (OLDER, OLD, True)


def test_the_live_release_needs_nothing(deploy: Make, history: Release) -> None:
    """[S1] Idempotent."""
    assert deploy(release=NEW).do("plan_rollback")["needed"] is False


@pytest.mark.parametrize("name", ["20990101T000000-none", "../../etc", OLDEST, "current"])
@pytest.mark.parametrize("bad", [FAILED, READY, BUILDING])
def test_a_release_that_never_served_is_refused(
    deploy: Make, existing: Existing, root: Path, history: Release, name: str, bad: str
) -> None:
    """[S1] Or does not exist; with those that there are."""
    existing(OLDEST, bad)
    with pytest.raises(StepError) as failure:
        deploy(release=name).do("plan_rollback")
    there = f"{OLDEST} ({bad}), {OLDER} (retired), {OLD} (retired)"
    assert f"{name} is no release that has served. There are: {there}" in failure.value.evidence


def test_the_plan_says_what_goes_back_and_what_does_not(deploy: Make, root: Path, host: Host, history: Release) -> None:
    """[S1] Code, packages, interpreter, configuration, secrets, schema, data."""
    change(root, NEW, source={"commit": COMMIT}, lock="l2", python="3.13.5", schema_after="0002")
    change(root, OLD, source={"commit": "0ddba110" * 5}, lock="l1", python="3.13.5", schema_after="0001")
    host.revision = "0002"
    planned = deploy().do("plan_rollback")
    assert line(planned, "from") == f"from     {NEW}"
    assert OLD in line(planned, "to") and "2026-11-19T07:22:01" in line(planned, "to")
    assert line(planned, "code") == "code     4f2a9c100000 -> 0ddba1100ddb"
    assert line(planned, "packages") == f"packages reverted with the environment of {OLD}"
    assert line(planned, "python") == "python   3.13.5"
    assert line(planned, "config") == "config   the same"
    assert line(planned, "workers") == "workers  the same" and line(planned, "timers") == "timers   the same"
    assert "not reverted" in line(planned, "secrets") and "not reverted" in line(planned, "data")
    assert planned["schema"] == "0001"
    words = ["from", "to", "code", "packages", "python", "config", "workers", "timers", "secrets", "schema", "data"]
    assert [text.split()[0] for text in planned["plan"]] == words
    change(root, NEW, source={"commit": "", "identity": "blog[db]==7.2", "requirement": "blog[db]==7.2"})
    change(root, OLD, source={"commit": "", "identity": "blog[db]==7.1", "requirement": "blog[db]==7.1"})
    assert line(deploy().do("plan_rollback"), "code") == "code     blog[db]==7.2 -> blog[db]==7.1"
    change(root, OLD, lock="l2", python="3.12.1")
    planned = deploy().do("plan_rollback")
    assert line(planned, "packages") == "packages the same" and line(planned, "python") == "python   3.13.5 -> 3.12.1"


def test_the_plan_names_variables_and_never_their_values(deploy: Make, root: Path, history: Release) -> None:
    """[S1 A11] Changed, new and gone ones; not those that each release has of its own."""
    common = 'SAME="1"\nSLIPWAY_RELEASE="{}"\n'
    (root / "srv/releases" / NEW / "environment").write_text(common.format(NEW) + 'MAIL="hidden-one"\nADDED="hidden-two"\n')
    (root / "srv/releases" / OLD / "environment").write_text(common.format(OLD) + 'MAIL="hidden-three"\nGONE="hidden-four"\n')
    planned = deploy().do("plan_rollback")
    assert line(planned, "config") == "config   reverted: ADDED, GONE, MAIL"
    assert "hidden" not in json.dumps(planned)


@pytest.mark.parametrize(
    ("now_at", "target_at", "downgrade", "words"),
    [
        ("0002", "0002", False, "schema   0002, the same"),
        ("0002", "0002", True, "schema   0002, the same"),
        (None, None, True, "schema   none, the same"),
        ("0003", "0001", False, f"schema   stays at 0003; {OLD} left it at 0001 (-e schema=true goes back to that)"),
        ("0003", "0001", True, "schema   0003 -> 0001: undoes 0003 (step 3), 0002 (step 2)"),
    ],
)
def test_the_plan_says_what_happens_to_the_schema(
    deploy: Make, root: Path, host: Host, history: Release, now_at: str | None, target_at: str | None, downgrade: bool, words: str
) -> None:
    """[A13] It stays unless asked; then each migration that is undone is named."""
    migrations(root, host, True, True, True)
    host.revision = now_at
    change(root, OLD, schema_after=target_at)
    assert line(deploy(downgrade=downgrade).do("plan_rollback"), "schema") == words
    assert not any("downgrade-step" in did for did in host.did)


def test_code_goes_back_while_the_database_is_down(deploy: Make, root: Path, host: Host, history: Release) -> None:
    """[S1 A13] That may be why; only the schema cannot then."""
    change(root, OLD, schema_after="0001")
    host.fails = {"psql": "connection refused"}
    planned = deploy().do("plan_rollback")
    assert planned["release"] == OLD and line(planned, "schema").startswith("schema   stays at None")
    with pytest.raises(StepError, match="is not known") as failure:
        deploy(downgrade=True).do("plan_rollback")
    assert failure.value.step == "downgrade"


@pytest.mark.parametrize("known", ["m1", None])
def test_a_release_that_does_not_know_its_schema_is_not_gone_back_to_with_it(
    deploy: Make, root: Path, host: Host, history: Release, known: str | None
) -> None:
    """[A13] psql did not answer when it went live, or it had no migrations yet: neither is an empty database."""
    migrations(root, host, True, True)
    host.revision = "0002"
    change(root, OLD, schema_after=None, migrations=known)
    with pytest.raises(StepError) as failure:
        deploy(downgrade=True).do("plan_rollback")
    assert failure.value.step == "downgrade"
    planned = deploy().do("plan_rollback")
    assert planned["release"] == OLD and "stays at 0002" in line(planned, "schema")


def test_a_way_back_that_is_stuck_is_refused_by_the_plan(deploy: Make, root: Path, host: Host, history: Release) -> None:
    """[A13] Before anything is switched; with what stands in the way and two ways on."""
    migrations(root, host, True, False, True)
    host.revision = "0003"
    change(root, OLD, schema_after="0001")
    with pytest.raises(StepError, match=r"no downgrade: 0002 \(step 2\)\. Go back without -e schema=true, or restore") as failure:
        deploy(downgrade=True).do("plan_rollback")
    assert failure.value.step == "downgrade"
    assert Store(root / "srv").live_id() == NEW and host.revision == "0003"


def test_the_path_is_asked_of_the_newer_release(deploy: Make, root: Path, host: Host, history: Release) -> None:
    """[A13] As the app, with its environment; only it has the scripts."""
    migrations(root, host, True, True)
    host.revision = "0002"
    change(root, OLD, schema_after="0001")
    deploy(downgrade=True).do("plan_rollback")
    (asked,) = (did for did in host.did if "revisions-step" in did)
    assert f"--working-directory={root}/srv/releases/{NEW}" in asked and "--uid=blog" in asked
    assert asked.endswith(f"{root}/srv/releases/{NEW}/.venv/bin/python -c 0002 0001")


def test_a_path_that_cannot_be_found_is_a_failure_of_its_step(deploy: Make, root: Path, host: Host, history: Release) -> None:
    """[A13] With what Alembic says."""
    host.revision = "0002"
    host.fails = {"revisions-step": "Can't locate revision identified by '0002'"}
    change(root, OLD, schema_after="0001")
    with pytest.raises(StepError, match="Can't locate") as failure:
        deploy(downgrade=True).do("plan_rollback")
    assert failure.value.step == "migration path"


def test_planning_changes_nothing(deploy: Make, root: Path, host: Host, history: Release) -> None:
    """[S1] In either mode."""
    before, active = files(root), set(host.active)
    host.did.clear()
    assert deploy().do("plan_rollback") == deploy(check_mode=True).do("plan_rollback")
    asked = [line for line in host.did if not line.endswith(" --check-packages")]
    assert files(root) == before and host.active == active and asked == []


def test_a_release_whose_python_has_gone_is_refused(deploy: Make, root: Path, host: Host, history: Release) -> None:
    """[S1] [F8] After an upgrade of the system: it could not start. The message says what brings it back."""
    host.fails = {"slipway_server.py --check-packages": "No module named 'gunicorn'"}
    change(root, OLD, python="3.11.2")
    for named in ("", OLD):
        with pytest.raises(StepError, match=rf"{OLD} was built for Python 3\.11\.2.*\n.*slipway blog rebuild --release {OLD}") as failure:
            deploy(release=named).do("plan_rollback")
        assert failure.value.step == "rollback"


def test_a_rollback_serves_without_a_gap(deploy: Make, root: Path, host: Host, history: Release) -> None:
    """[S2 S1] The same switch as a deploy; the environment of then, from the release itself."""
    host.clock += 60
    host.did.clear()
    assert deploy(release=OLD, leave_as=ROLLED_BACK).do("activate") == {"changed": True, "release": OLD, "overlap": True, "output": ""}
    assert host.did == [
        f"{OLD} is retired",
        f"next -> {OLD}",
        "start blog.service",
        f"start blog@{OLD}.service",
        f"previous -> {NEW} {OLDER}",
        f"current -> {OLD}",
        "next -> none",
        f"{OLD} is live",
        f"end blog@{NEW}.service",
        f"{NEW} is rolled-back",
    ]
    found = Store(root / "srv").live()
    assert found and (found.id, found.live_at, found.replaces) == (OLD, "2026-11-20T07:23:01+00:00", NEW)
    assert (found.rolled_back_from, found.on_trial) == (NEW, True)
