"""The step go_live: rehearse, activate, watch and prune in one call."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest
from ansible_collections.slipway.vps.plugins.module_utils import deploy_switch
from ansible_collections.slipway.vps.plugins.module_utils.deploy import ACTIONS, Deploy
from ansible_collections.slipway.vps.plugins.module_utils.releases import BUILDING, READY, Release, Store

from .fakes import NEW, OLD, OLDER, Existing, Host, Make


def test_going_live_is_one_call(deploy: Make, existing: Existing, host: Host, root: Path, serving: Release) -> None:
    """[S1] All steps in their order; what each has to say, and what prune removed."""
    existing(OLDER, BUILDING)
    existing(NEW, READY)
    result = deploy(release=NEW, memory_margin=1e9).do("go_live")
    assert (result["changed"], result["release"], result["overlap"], result["removed"]) == (True, NEW, False, [OLDER])
    assert result["output"].startswith("Too little memory for two instances")
    found = Store(root / "srv").live()
    assert found and (found.id, found.on_trial) == (NEW, False)
    rehearsed, started = (host.did.index(f"start blog{kind}@{NEW}.service") for kind in ("-rehearsal", ""))
    assert rehearsed < started
    assert deploy(release=NEW).do("go_live")["changed"] is False


def test_the_step_that_failed_is_named(
    deploy: Make, existing: Existing, run: Callable[[Deploy], dict[str, Any]], host: Host, serving: Release, monkeypatch: pytest.MonkeyPatch
) -> None:
    """[S1] Not the call, but what it was at."""
    existing(NEW, READY)

    def fail(*_: Any) -> NoReturn:
        raise OSError(28, "No space left on device")

    monkeypatch.setitem(ACTIONS, "prune", fail)
    answer = run(deploy(action="go_live", release=NEW))
    assert (answer["failed"], answer["step"], answer["live"]) == (True, "prune", NEW)


def test_the_old_release_serves_until_the_new_one_is_warm(
    deploy: Make, existing: Existing, host: Host, serving: Release, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """[S1] A worker's first request, which is slow, is ours; and an app that never gets warm is waited for only so long."""
    existing(NEW, READY)
    cold = tmp_path / "blog" / NEW / "cold"
    cold.parent.mkdir(parents=True)
    cold.touch()
    waited: list[bool] = []

    def sleep(_: float) -> None:
        waited.append(f"blog@{OLD}.service" in host.active)
        host.clock += 1
        if len(waited) == 3:
            cold.unlink()

    monkeypatch.setattr("time.sleep", sleep)
    deploy(release=NEW, runtime_dir=str(tmp_path / "blog")).do("activate")
    assert waited == [True, True, True]
    waited.clear()
    (tmp_path / "blog" / OLD).mkdir()
    (tmp_path / "blog" / OLD / "cold").touch()
    # What is taken away this time is another file.
    cold = tmp_path / "other"
    cold.touch()
    deploy(release=OLD, runtime_dir=str(tmp_path / "blog")).do("activate")
    assert len(waited) == deploy_switch.WARM_WITHIN
