"""Any moment: when the cluster is copied whole, that a hole is found, and how a moment becomes a backup."""

from __future__ import annotations

import json
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.slipway.vps.plugins.module_utils.slipway.backup import pitr
from ansible_collections.slipway.vps.plugins.module_utils.slipway.backup.rules import BackupError

from .backup_play import Play, play

__all__ = ["play_host"]
NOW = datetime(2026, 11, 20, 3, 30, tzinfo=timezone.utc)


@pytest.fixture(name="play")
def play_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Play:
    made = play(tmp_path, monkeypatch)
    made.settings["engine"] = "pgbackrest"
    return made


def copy(kind: str, days_ago: float, error: bool = False) -> dict[str, Any]:
    return {"type": kind, "error": error, "timestamp": {"stop": (NOW - timedelta(days=days_ago)).timestamp()}}


def kinds(play: Play) -> list[str]:
    return [line.split()[0] for line in play.said("copies").splitlines()]


# --- Pure ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("copies", "kind"),
    [
        ([], "full"),
        ([copy("full", 1)], "incr"),
        ([copy("full", 6.4), copy("incr", 1)], "incr"),
        ([copy("full", 6.99), copy("incr", 1)], "full"),
        ([copy("full", 1, error=True)], "full"),
        ([copy("incr", 1)], "full"),
    ],
)
def test_the_cluster_is_copied_whole_when_that_is_due(copies: list[dict[str, Any]], kind: str) -> None:
    assert pitr.kind_due(copies, NOW, 7, broken=False) == kind
    assert pitr.kind_due(copies, NOW, 7, broken=True) == "full"


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("2026-11-20 07:00:00", "2026-11-20T07:00:00+00:00"),
        ("2026-11-20T07:00:00Z", "2026-11-20T07:00:00+00:00"),
        ("2026-11-20 08:00:00.5+01:00", "2026-11-20T07:00:00.500000+00:00"),
    ],
)
def test_a_moment_is_utc_unless_it_says_otherwise(text: str, utc: str) -> None:
    assert pitr.moment(text).isoformat() == utc


@pytest.mark.parametrize("text", ["", "yesterday", "2026-13-20 07:00:00", "20261120T033000Z-x"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(BackupError, match="is no time"):
        pitr.moment(text)


# --- Copies -------------------------------------------------------------------------------------------


def test_a_night_copies_and_proves_the_cluster(play: Play) -> None:
    """[D3] Whole the first time; older ones go only after the proof."""
    assert play.run("nightly") == 0
    assert play.run("nightly") == 0
    assert kinds(play) == ["full", "incr"]
    log = [line.split("error ", 1)[1] for line in play.said("pgbackrest.log").splitlines() if " info" not in line]
    assert [line.split()[0].replace("--pg1-path=" + str(play.root / "proof/data"), "restore") for line in log] == [
        *("backup", "restore", "expire", "restore", "backup", "expire")
    ]
    assert all("--no-expire-auto" in line for line in log if line.startswith("backup"))
    assert play.status()["last_pitr"]["label"] == "copy-2" and not (play.root / "proof").exists()


def test_copies_of_another_version_of_postgresql_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """[D3] After a move to 17 those of 15 stay in the archive: today's server cannot recover them, and the next copy is whole."""
    stanza = {
        "db": [{"id": 1, "version": "15"}, {"id": 2, "version": "17"}],
        "backup": [{"label": "old", "database": {"id": 1}}, {"label": "new", "database": {"id": 2}}],
    }
    known = object.__new__(pitr.Pitr)
    monkeypatch.setattr(known, "_pgbackrest", lambda *_: json.dumps([stanza]))
    assert [one["label"] for one in known.copies()] == ["new"]


def test_what_is_recovered_does_not_write_into_the_live_archive(play: Play) -> None:
    """[D3] Two servers in one archive ruin it."""
    assert play.run("pitr") == 0
    (restore,) = (line for line in play.said("pgbackrest.log").splitlines() if "restore" in line)
    assert "--archive-mode=off" in restore and f"--pg1-path={play.root / 'proof/data'}" in restore
    (server,) = play.said("servers").splitlines()
    assert "archive_mode=off" in server and "listen_addresses= " in f"{server} " and "hot_standby=off" in server


def test_the_proof_reaches_to_this_very_moment(play: Play) -> None:
    """[D3] The end of the archive would do as well, and a hole in it would look like one."""
    assert play.run("pitr") == 0
    (made,) = (line for line in play.said("queries").splitlines() if "pg_create_restore_point" in line)
    (restore,) = (line for line in play.said("pgbackrest.log").splitlines() if "restore" in line)
    name = made.split("'")[1]
    assert name.startswith("slipway-") and f"--type=name --target={name} --target-action=promote" in restore


def test_a_missing_segment_is_found_and_the_run_itself_repairs(play: Play, capsys: pytest.CaptureFixture[str]) -> None:
    """[D3] Loud, nothing is removed, and a whole copy is taken that needs nothing of the hole."""
    assert play.run("pitr") == 0
    play.say("hole", "FATAL: recovery ended before configured recovery target was reached\n")
    expired = play.said("pgbackrest.log").count(" expire")
    assert play.run("pitr") == 1
    said = capsys.readouterr().err
    assert "recovery ended before configured recovery target" in said and "copy-2 was taken anew, whole" in said
    assert kinds(play) == ["full", "full"] and play.said("pgbackrest.log").count(" expire") == expired
    assert "pitr" in play.status()["failures"]
    play.say("hole", "")
    assert play.run("pitr") == 0 and kinds(play) == ["full", "full", "incr"]


def test_an_archive_that_stands_still_is_told(play: Play, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """[D3] The bucket is full, the command fails: what is written now would be lost with the disk."""
    assert play.run("pitr") == 0
    monkeypatch.setattr(pitr, "ARCHIVE_WAIT", 0.3)
    play.say("archiver", "000000010000000000000006|000000010000000000000007\n")
    assert play.run("pitr") == 1
    assert "segment 000000010000000000000007 is not in the archive" in capsys.readouterr().err


@pytest.mark.parametrize("trouble", ["room", "no server"])
def test_what_is_not_the_copies_fault_costs_no_whole_copy(play: Play, trouble: str) -> None:
    """[D3] On a disk that is full a whole copy would be the last straw."""
    assert play.run("pitr") == 0
    if trouble == "room":
        play.settings["reserve_mb"] = 10**9
    else:
        for program in (play.root / "postgresql/17/bin").iterdir():
            program.unlink()
    assert play.run("pitr") == 1
    assert kinds(play) == ["full"]


def test_a_failed_copy_is_told_and_nothing_is_removed(play: Play, capsys: pytest.CaptureFixture[str]) -> None:
    play.say("pgbackrest", "ERROR: [082]: WAL segment was not archived before the 60000ms timeout\n")
    assert play.run("nightly") == 1
    assert "was not archived" in capsys.readouterr().err and " expire" not in play.said("pgbackrest.log")
    assert play.status()["last_success"]["name"] == play.complete()[0], "the dump of the night was not taken"


# --- A moment -----------------------------------------------------------------------------------------


def test_a_moment_becomes_a_backup_and_is_restored_like_one(play: Play, capsys: pytest.CaptureFixture[str]) -> None:
    """[D3] Beside the live database, compared with what was counted in the recovered one, swapped by a rename."""
    play.say("copies", f"full {int(time.time()) - 3600}\n")
    until = datetime.now(timezone.utc) - timedelta(minutes=10)
    assert play.run("--json", "recover", f"{until:%Y-%m-%d %H:%M:%S}") == 0
    manifest = json.loads(capsys.readouterr().out)
    (name,) = play.complete()
    assert manifest["name"] == name and name.endswith(f"-until-{until:%Y%m%dt%H%M%Sz}") and manifest["kind"] == "database"
    (restore,) = (line for line in play.said("pgbackrest.log").splitlines() if "restore" in line)
    assert f"--type=time --target={until:%Y-%m-%d %H:%M:%S}.000000+00 --target-action=promote" in restore
    (dump,) = play.said("dumps").splitlines()
    assert f"--host {play.root / 'proof'}" in dump, "the live database was dumped instead"
    assert not (play.root / "proof").exists() and play.there() == ["demo"]
    assert play.run("restore", name) == 0 and len(play.there()) == 2


def test_a_moment_after_which_nothing_was_written(play: Play) -> None:
    """[D3] A recovery stops before the first commit after its target, and fails where there is none: one is made, and archived first."""
    play.say("copies", f"full {int(time.time()) - 3600}\n")
    assert play.run("recover", f"{datetime.now(timezone.utc) - timedelta(minutes=10):%Y-%m-%d %H:%M:%S}") == 0
    queries = play.said("queries")
    assert queries.index("pg_current_xact_id") < queries.index("pg_create_restore_point") < queries.index("pg_switch_wal")


def test_an_archive_that_stands_still_does_not_bar_the_way_back(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    """[D3] What is broken now says nothing of a moment whose segments are there."""
    play.say("copies", f"full {int(time.time()) - 3600}\n")
    monkeypatch.setattr(pitr, "ARCHIVE_WAIT", 0.3)
    play.say("archiver", "000000010000000000000006|000000010000000000000007\n")
    assert play.run("recover", f"{datetime.now(timezone.utc) - timedelta(minutes=10):%Y-%m-%d %H:%M:%S}") == 0
    assert "is not in the archive" in play.said("log/backup.log")


@pytest.mark.parametrize(
    ("minutes", "words"),
    [(-10, "is still to come"), (120, "is before what can be brought back")],
)
def test_a_moment_that_cannot_be_is_refused_at_once(play: Play, minutes: float, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    play.say("copies", f"full {int(time.time()) - 3600}\n")
    until = datetime.now(timezone.utc) - timedelta(minutes=minutes)
    assert play.run("recover", f"{until:%Y-%m-%d %H:%M:%S}") == 1
    assert words in capsys.readouterr().err and " restore" not in play.said("pgbackrest.log")


def test_without_any_copy_no_moment_can_be_brought_back(play: Play, capsys: pytest.CaptureFixture[str]) -> None:
    assert play.run("recover", "2026-01-01 00:00:00") == 1
    assert "nothing yet" in capsys.readouterr().err


def test_a_hole_before_the_moment_leaves_everything_as_it_is(play: Play, capsys: pytest.CaptureFixture[str]) -> None:
    """[D3] No backup that is not how the database was."""
    play.say("copies", f"full {int(time.time()) - 3600}\n")
    play.say("hole", "FATAL: recovery ended before configured recovery target was reached\n")
    until = datetime.now(timezone.utc) - timedelta(minutes=10)
    assert play.run("recover", f"{until:%Y-%m-%d %H:%M:%S}") == 1
    assert "recovery ended before" in capsys.readouterr().err and play.complete() == [] and play.there() == ["demo"]


def test_dumps_alone_know_no_moments(play: Play, capsys: pytest.CaptureFixture[str]) -> None:
    play.settings["engine"] = "dump"
    for words in (["recover", "2026-01-01 00:00:00"], ["pitr"]):
        assert play.run(*words) == 1
        assert "without backup_engine: pgbackrest" in capsys.readouterr().err
    play.settings["engine"] = "barman"
    assert play.run("list") == 1


def test_the_second_app_of_a_machine_leaves_the_cluster_to_the_first(play: Play) -> None:
    """[D3] One stanza for the machine: its nights copy it once, and any app's moment comes out of it."""
    play.settings.update(copies_cluster=False, stanza="main", port=5433)
    assert play.run("nightly") == 0 and play.run("status") == 0
    assert "pgbackrest.log" not in {path.name for path in play.root.iterdir()}
    assert "--port 5433" in play.said("asked") and "--port 5433" in play.said("dumps")
    assert play.run("pitr") == 0
    assert "--stanza=main" in play.said("pgbackrest.log") and "--stanza=demo" not in play.said("pgbackrest.log")
