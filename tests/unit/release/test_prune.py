"""The steps prune and list, and check mode of every step."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ansible_collections.slipway.vps.plugins.module_utils.deploy import ACTIONS
from ansible_collections.slipway.vps.plugins.module_utils.releases import BUILDING, FAILED, LIVE, READY, RETIRED, Release

from .fakes import NEW, OLD, OLDER, UP, Existing, Host, Make, files, listed


def test_pruning_keeps_what_can_be_gone_back_to(deploy: Make, existing: Existing, root: Path, serving: Release) -> None:
    """[S1] At least one, whatever is asked for."""
    for day in (10, 11, 12):
        existing(f"202611{day}T000000-aa", RETIRED)
    assert deploy(keep=0).do("prune") == {"changed": True, "removed": ["20261110T000000-aa", "20261111T000000-aa"], "release": OLD}
    assert listed(root / "srv/releases") == ["20261112T000000-aa", OLD]
    assert deploy(keep=0).do("prune")["changed"] is False


def test_what_still_runs_is_not_pruned(deploy: Make, existing: Existing, root: Path, host: Host, serving: Release) -> None:
    """[S1] A worker may take hours to finish its task, and loads code as it goes."""
    for day in (10, 11, 12):
        existing(f"202611{day}T000000-aa", RETIRED, processes=["worker"])
    host.ending = {"blog-worker@20261110T000000-aa.service"}
    assert deploy(keep=1).do("prune")["removed"] == ["20261111T000000-aa"]
    host.ending.clear()
    assert deploy(keep=1).do("prune")["removed"] == ["20261110T000000-aa"]
    assert deploy(keep=1, check_mode=True).do("prune")["changed"] is False


def test_list_shows_the_manifests(deploy: Make, existing: Existing, serving: Release) -> None:
    """[K7] Oldest first, ready for JSON."""
    existing(NEW, FAILED, failure={"step": "import", "reason": "x"})
    result = deploy().do("list")
    assert [(entry["id"], entry["state"]) for entry in result["releases"]] == [(OLD, LIVE), (NEW, FAILED)]
    assert (result["release"], result["changed"]) == (OLD, False)
    json.dumps(result)


@pytest.mark.parametrize("act", [act for act in ACTIONS if act != "plan_rollback"])
def test_check_mode_changes_nothing(deploy: Make, existing: Existing, root: Path, host: Host, serving: Release, act: str) -> None:
    """[S1] Neither files nor units; and it says what would change."""
    existing(OLDER, BUILDING)
    existing(NEW, READY)
    before, active = files(root), set(host.active)
    host.revision, host.scripts = "0002", [("0001", "step 1", True), ("0002", "step 2", True)]
    result = deploy(check_mode=True, release=NEW, migrate_command=UP, schema="0001").do(act)
    assert files(root) == before and host.active == active
    assert [line for line in host.did if "revisions-step" not in line] == []
    assert result["changed"] is (act in ("plan", "prepare", "migrate", "activate", "go_live", "downgrade", "upgrade", "prune"))
