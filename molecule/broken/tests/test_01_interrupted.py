"""Deploys that are cut off, at each task and at each step, by another deploy and by a freeze.

Visitors ask all the time. What is cut off leaves a whole release serving, and the next run finishes the job.
The short form takes some of the points; SLIPWAY_FULL=1 takes all of them.
"""

from __future__ import annotations

import contextlib
import json
import re
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from cuts import Assassin, Run
from deploys import Outcome, Traffic, playbook
from helpers import FULL, App, must, run_in_app
from states import live as live_id
from states import sql
from trees import Tree, manifests, units, written_once

#: The controller vanishes after one of these tasks.
TASKS = [
    "deploy | Build the release",
    "deploy | Rehearse the release, switch to it",
]
#: In the full form after each task from the first that writes to the host for this deploy.
MORE_TASKS = [
    "configure | Write Gunicorn's configuration and the units",
    "configure | Write the folders and the environment",
    "configure | Write the secret environment",
    "source_path | Pack the folder",
    "source_path | Note what is wanted",
    "deploy | Compare what is wanted",
    "lock | Draw a token",
    "lock | Take the lock",
    "deploy | Upload the source",
    "deploy | Migrate the database",
    "unlock | Give the lock back",
]
#: The module is killed in one of these steps; what it says in the journal as it begins, and seconds after that.
STEPS: list[tuple[str, float]] = [
    ("migrate: migration", 0),
    ("activate: start", 0),
]
MORE_STEPS: list[tuple[str, float]] = [
    ("prepare: source", 0),
    ("prepare: virtual environment", 0),
    ("prepare: dependencies", 0),
    ("prepare: dependencies", 0.5),
    # The last one, and short: it may be over before the blow comes.
    ("prepare: environment", 0.01),
    ("migrate: import", 0),
    ("migrate: restore point", 0),
    ("rehearse: start", 0),
    ("rehearse: readiness", 0),
    # Somewhere in the seconds in which Gunicorn starts, and in what comes after that.
    *(("activate: start", later / 4) for later in range(2, 13, 2)),
    ("prepare: bytecode", 0),
    ("watch: public endpoint", 0),
    ("watch: burn-in", 0),
]
#: A burn-in, so that there is one to be cut off in; and a lock that is soon free when its owner is dead.
USUAL = {"deploy_burn_in": 2, "release_lock_ttl": 5}


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without Mitogen, whose one process on the host would be killed with the module."""
    monkeypatch.setenv("ANSIBLE_STRATEGY", "linear")


@pytest.fixture(scope="module")
def tree(host: Any, app: App, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tree]:
    """The app, to be changed by every test; in the end the schema is the example's again."""
    tree = Tree(tmp_path_factory.mktemp("source") / "tree")
    schema = tree.head()
    yield tree
    with contextlib.suppress(AssertionError):  # After a failure the live release may not know the way.
        run_in_app(host, app, f"db downgrade {schema}")


def must_be_whole(host: Any, app: App) -> str:
    """Whatever was cut off: `current` leads to a release that is all there, and runs. Its manifest may not say so yet."""
    live = live_id(host, app)
    manifest = manifests(host, app)[live]
    assert manifest["state"] == "live" or (manifest["state"] == "ready" and manifest["on_trial"]), manifest
    must(host, f"systemctl is-active '{app.name}@{live}.service' {app.name}.socket {app.name}.service")
    must(host, f"{app.current}/.venv/bin/python -c 'import flask, sqlalchemy'")
    return live


def must_be_settled(host: Any, app: App) -> str:
    """Nothing is left of a deploy but what it brought."""
    live = must_be_whole(host, app)
    deadline = time.monotonic() + 60
    while any(unit.endswith(" deactivating") for unit in units(host, app)) and time.monotonic() < deadline:
        time.sleep(0.5)
    assert units(host, app) == [f"{app.name}@{live}.service active"]
    states = {name: found.get("state") for name, found in manifests(host, app).items()}
    assert [name for name, state in states.items() if state == "live"] == [live], states
    assert set(states.values()) <= {"live", "retired", "failed"}, states
    # Its workers' heartbeat files are made in a folder of its own there.
    assert must(host, f"ls -A /run/{app.name}").split() == sorted([live, "gunicorn.sock"])
    assert host.run(f"ls -d /run/{app.name}-rehearsal").rc != 0
    # That of a run that was killed after all else was done: in nobody's way once it has expired.
    lock = host.run(f"cat {app.root}/.lease.json")
    assert lock.rc != 0 or datetime.fromisoformat(json.loads(lock.stdout)["expires_at"]) < datetime.now(timezone.utc), lock.stdout
    left = must(
        host, f"find {app.root} -maxdepth 1 -name '.*-*'; ls -A {app.root}/incoming; find {app.root}/releases -name '.release.json-*'"
    )
    assert left == "", left
    return live


def must_have_been_served(host: Any, app: App, traffic: Traffic) -> None:
    traffic.must_be_served()
    written_once(host, app, traffic.written)


def converge(host: Any, tree: dict[str, str], **variables: Any) -> Outcome:
    """The same deploy once more, as the operator is told to."""
    outcome = playbook("deploy", host, {**USUAL, "app_source": tree, "lock_wait": 60, **variables})
    assert outcome.status == 0, str(outcome)
    return outcome


def version(host: Any, app: App) -> str:
    return must(host, f"cat {app.current}/VERSION").strip()


# --- The controller vanishes ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", [*TASKS, *(MORE_TASKS if FULL else [])])
def test_controller_killed(host: Any, app: App, traffic: Traffic, tree: Tree, task: str) -> None:
    """[S1] Ansible is killed after a task, and all its connections with it."""
    tree.revision("table", f"CREATE TABLE of_version_{tree.versions} (id integer)", f"DROP TABLE of_version_{tree.versions}")
    source = tree.changed()
    with traffic:
        with Run("deploy", host, {**USUAL, "app_source": source}) as run:
            assert run.until(task), "".join(run.lines)
            run.kill()
        must_be_whole(host, app)
        converge(host, source)
    must_have_been_served(host, app, traffic)
    must_be_settled(host, app)
    assert version(host, app) == str(tree.versions)


def test_who_holds_the_lock_of_the_dead(host: Any, app: App, tree: Tree) -> None:
    """[S1] Until its lock expires the next run says whose it is; one that waits has it then."""
    source = tree.changed()
    with Run("deploy", host, {**USUAL, "app_source": source, "release_lock_ttl": 60}) as run:
        assert run.until("lock | Take the lock"), "".join(run.lines)
        run.kill()
    refused = playbook("deploy", host, {**USUAL, "app_source": source})
    assert refused.status != 0, str(refused)
    assert re.search(r"A deploy by ada@\S+ .*works on demo since", refused.output), str(refused)
    assert "lock_wait=120" in refused.output, str(refused)
    # It is said who was cut off.
    assert re.search(r"A deploy by ada@\S+ .*ended without giving its lock back", converge(host, source, lock_wait=300).output)
    must_be_settled(host, app)


# --- The module is killed ---------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("plain")
@pytest.mark.parametrize(("step", "later"), [*STEPS, *(MORE_STEPS if FULL else [])])
def test_module_killed(host: Any, app: App, traffic: Traffic, tree: Tree, step: str, later: float) -> None:
    """[S1 A13] The module is killed on the host in a step; what it started goes on."""
    before = sql(host, app, "select version_num from alembic_version")
    # It fails when it runs twice; killed in it, it is still at work when the next deploy comes to it.
    table, seconds = f"slow_{tree.versions}", 25 if step == "migrate: migration" else 1
    head = tree.revision("slow", f"CREATE TABLE {table} (id integer); SELECT pg_sleep({seconds})", f"DROP TABLE {table}")
    source = tree.changed()
    with traffic:
        with Assassin(host, f"{app.name}: {step}", later) as assassin:
            cut = playbook("deploy", host, {**USUAL, "app_source": source})
            result = assassin.result()
        assert result == "killed" or (later and result == "too late"), f"{result}: {cut}"
        # Later than at its begin the blow may fall when the step has just said how it went.
        assert (cut.status != 0) == (result == "killed") or later, str(cut)
        must_be_whole(host, app)
        again = converge(host, source)
    must_have_been_served(host, app, traffic)
    live = must_be_settled(host, app)
    assert version(host, app) == str(tree.versions), str(again)
    manifest = manifests(host, app)[live]
    # What one needs to go back: where the schema was before, not where the first try left it.
    assert (manifest["schema_before"], manifest["schema_after"]) == (before, head), manifest


@pytest.mark.usefixtures("plain")
def test_cut_off_and_then_thought_better_of(host: Any, app: App, traffic: Traffic, tree: Tree) -> None:
    """[S1] After a deploy that was cut off in its rehearsal the operator goes on with what is live: nothing of the other stays."""
    playbook("deploy", host, {**USUAL, "app_source": tree.changed()})
    before = must_be_settled(host, app)
    version_before = (tree.folder / "VERSION").read_text()
    with traffic:
        with Assassin(host, f"{app.name}: rehearse: readiness") as assassin:
            cut = playbook("deploy", host, {**USUAL, "app_source": tree.changed()})
            assert assassin.result() == "killed" and cut.status != 0, str(cut)
        (tree.folder / "VERSION").write_text(version_before)
        converge(host, tree.source)
    must_have_been_served(host, app, traffic)
    assert must_be_settled(host, app) == before


# --- Two at once, and none at all -------------------------------------------------------------------------------------


def test_two_deploys_at_once(host: Any, app: App, traffic: Traffic, tree: Tree, tmp_path: Path) -> None:
    """[S1] While one works another is refused, and told whose turn it is; one that waits finds that all is done."""
    source = tree.changed()
    with traffic, Run("deploy", host, {**USUAL, "release_lock_ttl": 120, "app_source": source, "deploy_burn_in": 30}, user="ada") as first:
        assert first.until("lock | Take the lock"), "".join(first.lines)
        waits = Run("deploy", host, {**USUAL, "app_source": source, "lock_wait": 900}, user="ben")
        refused = playbook("deploy", host, {**USUAL, "app_source": Tree(tmp_path / "other").source})
        assert refused.status != 0, str(refused)
        assert re.search(r"A deploy by ada@\S+ .*works on demo since", refused.output), str(refused)
        done, found = first.outcome(), waits.outcome()
    assert done.status == 0, str(done)
    assert found.status == 0, str(found)
    must_have_been_served(host, app, traffic)
    must_be_settled(host, app)
    assert version(host, app) == str(tree.versions)


def test_freeze(host: Any, app: App, tree: Tree) -> None:
    """[S1] Nothing is deployed while the app is frozen, whoever tries is told why, and afterwards all is as before."""
    before = live_id(host, app)
    source = tree.changed()
    frozen = playbook("freeze", host, {"reason": "the audit runs until Friday"})
    assert frozen.status == 0, str(frozen)
    try:
        refused = playbook("deploy", host, {**USUAL, "app_source": source, "lock_wait": 60})
        assert refused.status != 0 and "the audit runs until Friday" in refused.output and "unfreeze" in refused.output, str(refused)
        assert must_be_settled(host, app) == before
    finally:
        unfrozen = playbook("unfreeze", host)
    assert unfrozen.status == 0, str(unfrozen)
    converge(host, source)
    assert must_be_settled(host, app) != before
