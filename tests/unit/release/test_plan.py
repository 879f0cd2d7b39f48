"""What a run would do: what is wanted, what is live, and whether something has to be repaired."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.slipway.vps.plugins.module_utils.releases import FAILED, LIVE, READY, ROLLED_BACK, Release

from .fakes import NEW, OLD, OLDER, Existing, Host, Make


def test_nothing_is_needed_when_it_is_live(deploy: Make, existing: Existing) -> None:
    """[S1] The same source, configuration and interpreter: a second run changes nothing."""
    existing(OLD, LIVE, current=True, running=True, fingerprint=deploy().builder.fingerprint())
    assert deploy().do("plan") == {"changed": False, "needed": False, "repair": False, "release": OLD}


@pytest.mark.parametrize(
    "changes",
    [
        *(
            {"identity": "other"},
            {"wsgi": "blog:create_app()"},
            {"python": "python3.13"},
            {"processes": {"worker": {"command": "x"}}},
            {"migrate_command": "alembic upgrade head"},
        ),
        *(
            {"timers": {"nightly": {"command": "x", "schedule": "daily"}}},
            {"requirements": []},
            {"shared_paths": ["instance/"]},
            {"runtime_files": []},
            {"static": {"/static/": "blog/static"}},
        ),
    ],
)
def test_a_change_asks_for_a_new_release(deploy: Make, existing: Existing, changes: dict[str, Any]) -> None:
    """[S1] Anything that decides how the app behaves."""
    existing(OLD, LIVE, current=True, fingerprint=deploy().builder.fingerprint())
    planned = deploy(**changes).do("plan")
    assert (planned["changed"], planned["needed"], planned["repair"], planned["release"]) == (False, True, False, "")


def test_a_changed_file_or_interpreter_asks_for_a_new_release(deploy: Make, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """[A11] The environment is read at start only; a new Python leaves the old virtual environment without one."""
    before = deploy().builder.fingerprint()
    (root / "etc/environment").write_text('A="2"\n')
    changed = deploy().builder.fingerprint()
    monkeypatch.setattr(platform, "python_version", lambda: "3.99.0")
    assert len({before, changed, deploy().builder.fingerprint()}) == 3


def test_the_order_of_lists_asks_for_nothing(deploy: Make) -> None:
    """[S1] Dictionaries and lists of the inventory may be written in any order."""
    one = deploy(processes={"beat": {"a": 1, "b": 2}, "worker": {}}, requirements=["a==1", "b==2"], static={"/a/": "a", "/b/": "b"})
    other = deploy(processes={"worker": {}, "beat": {"b": 2, "a": 1}}, requirements=["b==2", "a==1"], static={"/b/": "b", "/a/": "a"})
    assert one.builder.fingerprint() == other.builder.fingerprint()


def test_a_release_that_waits_is_used_again(deploy: Make, existing: Existing, serving: Release, host: Host) -> None:
    """[S1] An interrupted deploy goes on where it was: nothing is built twice."""
    existing(NEW, READY, fingerprint=deploy().builder.fingerprint())
    assert (deploy().do("plan")["needed"], deploy().do("plan")["release"]) == (True, NEW)
    assert deploy().do("prepare") == {"changed": False, "needed": True, "release": NEW, "migrates": False}
    assert host.did == []


def test_a_failed_release_is_not_used_again(deploy: Make, existing: Existing, serving: Release) -> None:
    """[S1] The next run tries from the beginning."""
    existing(NEW, FAILED, fingerprint=deploy().builder.fingerprint())
    assert deploy().do("plan")["release"] == ""


def test_an_interrupted_switch_asks_for_a_repair(deploy: Make, existing: Existing, host: Host) -> None:
    """[S1] Nothing new is wanted, and yet: the release is down, or its worker is, or another one still runs beside it."""
    existing(OLD, LIVE, current=True, running=True, processes=["worker"], fingerprint=deploy().builder.fingerprint())
    running = set(host.active)
    assert deploy().do("plan")["repair"] is False
    for active in (running - {f"blog@{OLD}.service"}, running - {f"blog-worker@{OLD}.service"}, running | {f"blog@{OLDER}.service"}):
        host.active = active
        planned = deploy().do("plan")
        assert (planned["needed"], planned["repair"], planned["changed"]) == (False, True, False), active


def test_an_unfinished_manifest_asks_for_a_repair(deploy: Make, existing: Existing) -> None:
    """[S1] `current` names it, its manifest says something else."""
    existing(OLD, READY, current=True, running=True, fingerprint=deploy().builder.fingerprint())
    assert deploy().do("plan")["repair"] is True


def test_what_was_rolled_away_from_is_not_deployed_again_unasked(deploy: Make, existing: Existing, serving: Release, host: Host) -> None:
    """[S1] The same run again, in CI for example: the live release stays, the reason and two ways on are said."""
    failure = {"step": "burn-in", "reason": "x"}
    existing(NEW, ROLLED_BACK, fingerprint=deploy().builder.fingerprint(), failure=failure)
    planned = deploy().do("plan")
    assert (planned["changed"], planned["needed"], planned["repair"], planned["release"]) == (False, False, False, OLD)
    (warning,) = planned["warnings"]
    assert NEW in warning and "(burn-in)" in warning and f"{OLD} stays live" in warning and "release_force=true" in warning
    assert deploy(check_mode=True).do("plan")["changed"] is False
    forced = deploy(force=True).do("plan")
    assert (forced["needed"], forced["release"], "warnings" in forced) == (True, "", False), "what was rolled back is built anew"
    assert deploy(identity="another").do("plan")["needed"] is True


def test_what_somebody_rolled_away_from_is_said_so(deploy: Make, existing: Existing, serving: Release, host: Host) -> None:
    """[S1] And a release that is down is started even then."""
    existing(NEW, ROLLED_BACK, fingerprint=deploy().builder.fingerprint())
    host.active.remove(f"blog@{OLD}.service")
    planned = deploy().do("plan")
    assert "(by hand)" in planned["warnings"][0] and planned["repair"] is True


def test_without_a_live_release_nothing_is_held_back(deploy: Make, existing: Existing) -> None:
    """[S1] Something that may be bad is better than nothing at all."""
    existing(NEW, ROLLED_BACK, fingerprint=deploy().builder.fingerprint())
    assert deploy().do("plan")["needed"] is True


def test_the_plan_shows_a_diff(deploy: Make, serving: Release) -> None:
    """[S1] What is live and what would be; for a first deploy nothing is live."""
    assert deploy(commit="abc").do("plan")["diff"] == {
        **{"before": f"{OLD} {OLD}\n", "before_header": "blog live", "after": "abc\n", "after_header": "blog wanted"},
    }
    assert deploy(commit="", identity="blog==1.4").do("plan")["diff"]["after"] == "blog==1.4\n"


def test_the_first_plan_shows_that_nothing_is_live(deploy: Make) -> None:
    assert deploy().do("plan")["diff"]["before"] == ""
