"""How the backups stand: what is overdue, which step has failed, and what an earlier version noted."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from ansible_collections.slipway.vps.plugins.module_utils.slipway import cli
from ansible_collections.slipway.vps.plugins.module_utils.slipway.backup import status

from .backup_play import Play, play

__all__ = ["play_host"]
NOW = datetime(2026, 11, 20, 3, 30, tzinfo=timezone.utc)


@pytest.fixture(name="play")
def play_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Play:
    return play(tmp_path, monkeypatch)


def test_what_is_overdue_is_told(play: Play, capsys: pytest.CaptureFixture[str]) -> None:
    """[D3] For whoever watches: exit status 1 and a line for each."""
    assert play.run("status") == 1
    assert "backups: failed: success: never; verified: never" in capsys.readouterr().out
    assert play.run("nightly") == 0
    assert play.run("status") == 0
    play.say("pg_dump", "no")
    assert play.run("nightly") == 1
    assert play.run("status") == 1
    assert "create failed at" in capsys.readouterr().out
    assert play.run("--json", "status") == 1
    told = json.loads(capsys.readouterr().out)
    assert (told["subject"], told["state"], told["since"]) == ("backups", "failed", play.status()["failures"]["create"]["at"])
    assert "slipway demo backup nightly" in told["fix"]
    play.say("pg_dump", "")
    assert play.run("nightly") == 0 and play.run("status") == 0
    late = NOW + timedelta(days=9000)
    found = status.troubles(play.status(), late, ["create", "verify", "offsite"])
    assert [line.split(":")[0] for line in found] == ["success", "verified", "offsite"]


def test_a_failure_of_one_step_does_not_hide_another(play: Play) -> None:
    """[D3] Each is told until its own step has succeeded."""
    play.say("pg_dump", "no")
    play.say("restored_rows", "")
    play.fake("20261119T033000Z", proven=None)
    assert play.run("create") == 1 and play.run("verify") == 1
    assert set(play.status()["failures"]) == {"create", "verify"}
    play.say("pg_dump", "")
    assert play.run("create") == 0
    assert set(play.status()["failures"]) == {"verify"}


def test_the_failure_of_an_earlier_version_is_told(play: Play, capsys: pytest.CaptureFixture[str]) -> None:
    """[D3] It kept one for all steps."""
    assert play.run("nightly") == 0
    noted = play.status()
    old = {**noted, "last_failure": {"at": "2126-11-20T03:30:00+00:00", "step": "verify", "reason": "bad page"}}
    (play.backups / "status.json").write_text(json.dumps(old))
    assert play.run("status") == 1 and "verify failed at 2126-11-20T03:30:00+00:00: bad page" in capsys.readouterr().out
    assert play.run("nightly") == 0 and "last_failure" not in play.status() and play.run("status") == 0


def test_an_app_without_backups_is_another_matter_than_a_failure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """[D1] A deploy on a host whose layer keep is still to come goes on without a restore point."""
    assert cli.main(["demo", "backup", "--config", str(tmp_path / "backup.json"), "--json", "create"]) == 78
    assert "slipway.vps.site --tags keep" in capsys.readouterr().err
