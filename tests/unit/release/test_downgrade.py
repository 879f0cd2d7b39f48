"""The steps downgrade and upgrade: the schema of a rollback."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.slipway.vps.plugins.module_utils.deploy_steps import StepError
from ansible_collections.slipway.vps.plugins.module_utils.releases import LIVE

from .fakes import BACKUP, NEW, UP, Existing, Host, Make, migrations, state


def test_the_schema_goes_back_with_the_newer_releases_scripts(deploy: Make, existing: Existing, host: Host, root: Path) -> None:
    """[A13] Only they know the way; after a restore point."""
    existing(NEW, LIVE, current=True, schema_after="0003")
    migrations(root, host, True, True, True)
    host.revision = "0003"
    result = deploy(release=NEW, schema="0001", restore_point_command=BACKUP).do("downgrade")
    assert (result["changed"], result["release"], result["restore_point"]) == (True, NEW, "20261120T072201Z-before")
    assert host.revision == "0001"
    taken, down = (next(i for i, line in enumerate(host.did) if part in line) for part in ("backup.py", "downgrade-step"))
    assert taken < down and host.did[down].endswith(f"{NEW}/.venv/bin/flask db downgrade 0001")
    assert deploy(release=NEW, schema="0001", restore_point_command=BACKUP).do("downgrade")["changed"] is False


def test_a_migration_without_downgrade_stops_the_way_back(deploy: Make, existing: Existing, host: Host, root: Path) -> None:
    """[A13] Before any step of it, not halfway; with the names of those that stand in the way."""
    existing(NEW, LIVE, current=True, running=True)
    migrations(root, host, True, True, False, True)
    host.revision = "0004"
    with pytest.raises(StepError, match=r"no downgrade: 0003 \(step 3\)\. Nothing of the schema was changed") as failure:
        deploy(release=NEW, schema="0001").do("downgrade")
    assert failure.value.step == "downgrade" and host.revision == "0004"
    assert not any("downgrade-step" in line for line in host.did)
    assert state(root, NEW) == LIVE and (root / "srv/releases" / NEW / "blog.py").exists()
    # What is not on the way does not matter.
    assert deploy(release=NEW, schema="0003").do("downgrade")["changed"] is True


def test_the_schema_never_goes_back_to_before_its_beginning(deploy: Make, existing: Existing, host: Host, root: Path) -> None:
    """[A13] That would drop every table, and an empty target may as well mean that nobody knows."""
    existing(NEW, LIVE, current=True)
    migrations(root, host, True, True)
    host.revision = "0002"
    with pytest.raises(StepError) as failure:
        deploy(release=NEW, schema="", restore_point_command=BACKUP).do("downgrade")
    assert failure.value.step == "downgrade" and host.revision == "0002"
    assert host.did == []


def test_a_schema_that_cannot_be_read_is_not_changed(deploy: Make, existing: Existing, host: Host, root: Path) -> None:
    """[A13] Neither the way nor what stands in it is known, and there would be no restore point."""
    existing(NEW, LIVE, current=True)
    host.revision = "0002"
    host.fails = {"psql": "connection timed out"}
    with pytest.raises(StepError):
        deploy(release=NEW, schema="0001", restore_point_command=BACKUP).do("downgrade")
    assert not any("db downgrade" in line for line in host.did)


def test_a_downgrade_in_check_mode_changes_nothing(deploy: Make, existing: Existing, host: Host, root: Path) -> None:
    """[A13] And says whether it would."""
    existing(NEW, LIVE, current=True)
    migrations(root, host, True, True)
    host.revision = "0002"
    for target, would in (("0001", True), ("0002", False)):
        assert deploy(check_mode=True, release=NEW, schema=target, restore_point_command=BACKUP).do("downgrade")["changed"] is would
    assert not any("downgrade-step" in line or "backup.py" in line for line in host.did) and host.revision == "0002"


def test_a_way_back_that_did_not_help_is_gone_forward_again(deploy: Make, existing: Existing, host: Host, root: Path) -> None:
    """[A13] With the scripts of the release that serves, waiting for locks no longer than the way back did."""
    existing(NEW, LIVE, current=True, running=True, schema_after="0003")
    migrations(root, host, True, True, True)
    result = deploy(release=NEW, migrate_command=UP).do("upgrade")
    assert (result["changed"], result["release"], result["output"]) == (True, NEW, "said systemd-run") and host.revision == "0003"
    (line,) = host.did
    assert line.endswith(UP) and "lock_timeout=5000" in line and f"--working-directory={root}/srv/releases/{NEW}" in line
    assert state(root, NEW) == LIVE


def test_going_forward_again_without_migrations_does_nothing(deploy: Make, existing: Existing, host: Host) -> None:
    """[A13] Check mode only says so."""
    existing(NEW, LIVE, current=True)
    assert deploy(release=NEW).do("upgrade")["changed"] is False
    assert deploy(check_mode=True, release=NEW, migrate_command=UP).do("upgrade")["changed"] is True
    assert host.did == []


def test_going_forward_again_may_fail(deploy: Make, existing: Existing, host: Host, root: Path) -> None:
    """[A13] With what the command said; what serves is no worse than it was."""
    existing(NEW, LIVE, current=True, running=True)
    host.fails = {"upgrade-step": "canceling statement due to lock timeout"}
    with pytest.raises(StepError, match="lock timeout") as failure:
        deploy(release=NEW, migrate_command=UP).do("upgrade")
    assert failure.value.step == "migration" and state(root, NEW) == LIVE
