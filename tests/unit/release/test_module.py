"""The module around the steps: the lock, the messages, what is answered."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest
from ansible_collections.slipway.vps.plugins.module_utils import deploy_switch
from ansible_collections.slipway.vps.plugins.module_utils.deploy import ACTIONS, Deploy
from ansible_collections.slipway.vps.plugins.module_utils.deploy_steps import StepError
from ansible_collections.slipway.vps.plugins.module_utils.lock import TTL, Holder, Lock
from ansible_collections.slipway.vps.plugins.module_utils.releases import READY, ROLLED_BACK, Release, Store
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core.run import CommandError
from ansible_collections.slipway.vps.plugins.modules import release as module

from .fakes import MODULES, NEW, OLD, Existing, Host, Make, files, untouched


def test_two_deploys_do_not_work_at_once(tmp_path: Path) -> None:
    """[S1] The second is told so at once; the lock goes with its owner, also when that fails."""
    with module.exclusive(tmp_path), pytest.raises(StepError, match="another deploy works on") as failure, module.exclusive(tmp_path):
        raise AssertionError("two at once")
    assert failure.value.step == "lock"
    with pytest.raises(RuntimeError), module.exclusive(tmp_path):
        raise RuntimeError
    with module.exclusive(tmp_path):
        pass


def test_a_bare_host_needs_no_lock(tmp_path: Path) -> None:
    """A dry run on a new host: there is no folder yet, and none is made."""
    with module.exclusive(tmp_path / "srv"):
        pass
    assert not (tmp_path / "srv").exists()


def test_the_message_says_what_failed_and_what_serves() -> None:
    """[S1] Step, evidence, what serves now, what to do."""
    text = module.message(StepError("migration", "lock timeout"), OLD, "ansible-playbook deploy.yml")
    assert text.splitlines() == [
        f"The step 'migration' failed; nothing was switched. Release {OLD} serves.",
        "lock timeout",
        "Next: correct the cause, then ansible-playbook deploy.yml.",
    ]
    assert "No release is live yet." in module.message(StepError("import", "x"), "", "run it again")
    assert "; it went back. Release" in module.message(StepError("burn-in", "x", "it went back"), OLD, "run it again")


def test_the_module_answers(deploy: Make, run: Callable[[Deploy], dict[str, Any]], host: Host, serving: Release) -> None:
    """[S1] Success names what is live after the step, failure names the step and what goes on serving."""
    built = deploy(action="prepare")
    assert run(built) == {"changed": True, "needed": True, "migrates": False, "release": NEW, "live": OLD}
    host.fails = {f"start blog@{NEW}": "Worker failed to boot"}
    switched = deploy(release=NEW, action="activate")
    answer = run(switched)
    assert (answer["failed"], answer["step"], answer["live"], answer["release"]) == (True, "start", OLD, NEW)
    assert f"Release {OLD} serves.\nWorker failed to boot" in answer["msg"] and "run it again" in answer["msg"]


@pytest.mark.parametrize("error", [CommandError("Failed to connect to bus"), OSError(28, "No space left on device")])
def test_whatever_fails_is_answered(
    deploy: Make,
    existing: Existing,
    run: Callable[[Deploy], dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    serving: Release,
    error: Exception,
) -> None:
    """[S1] Never a traceback: who serves, why, and what to do next."""
    existing(NEW, READY)

    def fail(*words: Any) -> NoReturn:
        raise error

    monkeypatch.setattr(
        deploy_switch if isinstance(error, CommandError) else Store, "memory_used" if isinstance(error, CommandError) else "save", fail
    )
    answer = run(deploy(action="activate", release=NEW))
    assert answer["failed"] and str(error) in answer["msg"] and f"Release {OLD} serves." in answer["msg"]


def test_the_module_works_under_the_lock(deploy: Make, run: Callable[[Deploy], dict[str, Any]], root: Path, host: Host) -> None:
    """[S1] A second run that finds the lock taken does nothing."""
    built = deploy(action="prepare")
    with module.exclusive(root / "srv"):
        assert run(built)["step"] == "lock"
    assert host.did == []


def held(root: Path, ttl: float = TTL) -> Lock:
    """The lock of the app, which this run holds."""
    lock = Lock(root / "srv")
    lock.acquire(Holder("mine", "ada"), ttl)
    return lock


def test_the_last_step_gives_the_lock_back(
    deploy: Make, run: Callable[[Deploy], dict[str, Any]], root: Path, host: Host, serving: Release, existing: Existing
) -> None:
    """[S1] Where it fails the run keeps it, for what it still has to do; and nobody else's lock is given back."""
    existing(NEW, READY)
    lock = held(root)
    last = deploy(action="go_live", release=NEW, token="mine", give_back=True)
    host.fails = {f"start blog@{NEW}": "no such module"}
    assert run(last)["failed"] and lock.file.exists()
    host.fails = {}
    existing(NEW, READY)
    assert run(last)["given_back"] is True and not lock.file.exists()
    assert "given_back" not in run(deploy(action="go_live", release=NEW))


def test_a_lock_that_is_lost_during_a_step_is_a_failure(
    deploy: Make, run: Callable[[Deploy], dict[str, Any]], root: Path, host: Host, serving: Release, existing: Existing
) -> None:
    """[S1] Another run took over while this one was stopped: whoever reads this must not think that all is well."""
    existing(NEW, READY)
    lock = held(root)
    renewed: list[str] = []

    def steal() -> None:
        renewed.append(json.loads(lock.file.read_text())["token"])
        lock.release("mine")
        Lock(root / "srv").acquire(Holder("theirs", "bob", "ci"))

    plain = host.start_unit

    def start(unit: str) -> None:
        if unit == f"blog@{NEW}.service":
            steal()
        plain(unit)

    host.start_unit = start  # type: ignore[method-assign]
    for place in MODULES:
        if hasattr(place, "start_unit"):
            setattr(place, "start_unit", start)  # noqa: B010
    switched = deploy(release=NEW, token="mine", action="activate")
    answer = run(switched)
    assert renewed == ["mine"]
    assert (answer["failed"], answer["step"], answer["live"], answer["release"]) == (True, "lock", NEW, NEW)
    assert "was lost" in answer["msg"] and "bob@ci" in answer["msg"]


def test_a_lock_that_is_not_ones_own_stops_the_step(
    deploy: Make, run: Callable[[Deploy], dict[str, Any]], root: Path, host: Host, serving: Release
) -> None:
    """[S1] Before it does anything."""
    Lock(root / "srv").acquire(Holder("theirs", "bob"))
    answer = run(deploy(token="mine", action="prepare"))
    assert (answer["failed"], answer["step"]) == (True, "lock") and "bob" in answer["msg"]
    assert host.did == []
    untouched(root, host)


def test_a_step_renews_its_lock(deploy: Make, run: Callable[[Deploy], dict[str, Any]], root: Path, host: Host) -> None:
    """[S1] And leaves it to the next step."""
    lock = held(root, ttl=1)
    before = json.loads(lock.file.read_text())["expires_at"]
    assert run(deploy(token="mine", action="prepare"))["changed"] is True
    assert json.loads(lock.file.read_text())["expires_at"] > before
    lock.check("mine")


@pytest.mark.parametrize("act", ["plan", "list", "plan_rollback"])
def test_looking_needs_no_lock(
    deploy: Make, run: Callable[[Deploy], dict[str, Any]], root: Path, host: Host, history: Release, act: str
) -> None:
    """[S1 K7] During a long build of another run, too: only then can a second run get as far as the lock, and wait for that."""
    with module.exclusive(root / "srv"):
        answer = run(deploy(action=act))
    assert "failed" not in answer, answer["msg"]


@pytest.mark.parametrize("act", [act for act in ACTIONS if act not in ("plan", "list", "plan_rollback")])
def test_a_step_that_changes_something_works_alone(
    deploy: Make, run: Callable[[Deploy], dict[str, Any]], root: Path, host: Host, history: Release, act: str
) -> None:
    """[S1] Whatever the controller believes."""
    before = files(root)
    with module.exclusive(root / "srv"):
        answer = run(deploy(action=act, release=OLD))
    assert (answer["failed"], answer["step"]) == (True, "lock")
    assert {name: text for name, text in files(root).items() if name != "srv/.deploy.lock"} == before


def test_warnings_reach_the_operator(deploy: Make, run: Callable[[Deploy], dict[str, Any]], existing: Existing, serving: Release) -> None:
    """[S1] As Ansible shows them."""
    existing(NEW, ROLLED_BACK, fingerprint=deploy().builder.fingerprint())
    answer = run(deploy(action="plan"))
    assert answer["warned"] and NEW in answer["warned"][0] and "warnings" not in answer
