"""The proof of a backup: a restore into a throw-away cluster, and what counts against the backup and what does not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from ansible_collections.slipway.vps.plugins.module_utils.slipway.backup import database, host, proof
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core import lock

from .backup_play import Play, play

__all__ = ["play_host"]


@pytest.fixture(name="play")
def play_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Play:
    return play(tmp_path, monkeypatch)


def result(play: Play, name: str) -> dict[str, object]:
    return dict(json.loads((play.backups / name / "proof.json").read_text()))


def test_a_restored_backup_is_proven(play: Play, capsys: pytest.CaptureFixture[str]) -> None:
    """[D3] Restored, counted, its pages checked, and the result kept with how long it took."""
    assert play.run("create") == 0
    (name,) = play.complete()
    assert play.run("verify") == 0
    kept = result(play, name)
    assert kept["good"] is True and kept["rows"] == 42 and kept["tables"] == 2 and isinstance(kept["restore_seconds"], float)
    assert play.status()["last_verified"]["name"] == name and isinstance(play.status()["last_verified"]["duration_seconds"], float)
    assert "2 tables, 42 rows, all as noted" in capsys.readouterr().out
    assert "--heapallindexed" in play.said("amchecks")
    assert not (play.root / "proof").exists() and play.there() == ["demo"], "something of the cluster is left, or the live one was touched"


def test_the_cluster_is_reached_over_its_own_socket_only(play: Play) -> None:
    """[D3] No port; everything that is asked goes there; last in line for processor and disk."""
    assert play.run("create") == 0
    before = len(play.said("asked").splitlines())
    assert play.run("verify") == 0
    (server,) = play.said("servers").splitlines()
    assert "listen_addresses= " in f"{server} " and f"unix_socket_directories={play.root / 'proof'}" in server
    asked = play.said("asked").splitlines()[before:]
    assert len(asked) > 5 and all(f"--host {play.root / 'proof'} " in line for line in asked)
    assert host.IDLE == ("nice", "-n", "19", "ionice", "-c", "3")


def test_the_roles_of_the_dump_are_there(play: Play) -> None:
    """[D3] Rights that are granted to another role would end the restore."""
    assert play.run("create") == 0
    assert play.run("verify") == 0
    assert 'CREATE ROLE "demo_ro"' in play.said("queries")


@pytest.mark.parametrize(
    ("what", "text", "words"),
    [
        ("restored_rows", '["public.alembic_version", 1]\n["public.note", 40]\n', "public.note has 40 rows instead of 41"),
        ("restored_rows", '["public.note", 41]\n', "public.alembic_version is missing"),
        ("revision", "older\n", "the restored schema is ['older'], the backup's ['abc123']"),
        ("tables", "1\n", "has 1 tables, the backup 2"),
        ("pg_restore", "could not read from input file", "could not read from input file"),
        ("amcheck", 'index "note_pkey" lacks matching index tuple', "lacks matching index tuple"),
    ],
)
def test_what_is_not_as_noted_is_no_good(play: Play, what: str, text: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    """[D3] Loud: exit status, status.json, the log; and the backup counts for nothing."""
    assert play.run("create") == 0
    (name,) = play.complete()
    play.say(what, text)
    assert play.run("verify") == 1
    assert words in capsys.readouterr().err
    assert result(play, name)["good"] is False and words in str(result(play, name)["reason"])
    assert "verify" in play.status()["failures"] and "last_verified" not in play.status()
    assert "ERROR verify" in play.said("log/backup.log") and not (play.root / "proof").exists()
    assert play.run("list") == 0
    assert "NO GOOD" in capsys.readouterr().out


@pytest.mark.parametrize("file", ["db.dump/1.dat", "db.dump/toc.dat", "files.tar.gz"])
def test_a_flipped_byte_anywhere_is_found(play: Play, file: str) -> None:
    """[D3] Also in what a restore of the database would not read."""
    assert play.run("create") == 0
    (name,) = play.complete()
    path = play.backups / name / file
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert play.run("verify") == 1
    assert "sha256 differs" in str(result(play, name)["reason"])
    assert play.run("nightly") == 0, "the next night does not repair it"
    assert [result(play, name)["good"] for name in play.complete()] == [False, True]


@pytest.mark.parametrize("trouble", ["room", "full disk", "no server", "no pg_restore", "does not start", "signal"])
def test_what_is_not_the_backups_fault_is_not_held_against_it(play: Play, trouble: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """[D3] Loud all the same; a backup that was proven before stays so."""
    assert play.run("create") == 0
    assert play.run("verify") == 0
    (name,) = play.complete()
    if trouble == "room":
        play.settings["reserve_mb"] = 10**9
    elif trouble == "full disk":
        play.say("pg_restore", "could not extend file: No space left on device")
    elif trouble == "no server":
        monkeypatch.setattr(database, "PROGRAMS", play.root / "nowhere")
    elif trouble == "no pg_restore":
        monkeypatch.setattr(shutil, "which", lambda tool: None if tool == "pg_restore" else tool)
    elif trouble == "does not start":
        monkeypatch.setattr(proof, "START_WAIT", 0.1)
        (play.root / "bin/psql").write_text("#!/bin/sh\necho no such socket >&2\nexit 2\n")
    else:

        def stopped(*_: object) -> None:
            raise host.StoppedError("stopped by signal SIGTERM")

        monkeypatch.setattr(proof, "check_pages", stopped)
    assert play.run("verify") == 1
    assert result(play, name)["good"] is True and not (play.root / "proof").exists()
    assert "verify" in play.status()["failures"]


def test_a_missing_server_says_what_to_install(play: Play, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert play.run("create") == 0
    monkeypatch.setattr(database, "PROGRAMS", play.root / "nowhere")
    assert play.run("verify") == 1
    assert "apt install postgresql-17, or backup_proof: false" in capsys.readouterr().err


def test_the_newest_with_uploads_is_proven(play: Play) -> None:
    """[D3] A restore point that a deploy took in the night is not what the night's backup is."""
    assert play.run("create") == 0
    (name,) = play.complete()
    assert play.run("create", "--database-only") == 0
    assert play.run("verify") == 0
    assert play.status()["last_verified"]["name"] == name
    assert play.run("verify", "latest") == 0
    assert play.status()["last_verified"]["name"] == name
    assert play.run("verify", play.complete()[-1]) == 0
    assert play.status()["last_verified"]["name"] != name


def test_a_deploy_can_take_its_restore_point_during_a_proof(play: Play) -> None:
    """[D3] A proof may take minutes; only a second proof is turned away."""
    assert play.run("create") == 0
    with lock.locked(play.backups / ".lock-reading", "proof"):
        assert play.run("create", "--database-only") == 0
        assert play.run("verify") == 75


def test_a_night_without_a_backup_still_proves_the_one_before(play: Play) -> None:
    """[D3] A step that fails does not keep the next from its work, and the exit status says so."""
    assert play.run("create") == 0
    play.say("pg_dump", "no")
    assert play.run("nightly") == 1
    assert play.status()["last_verified"]["name"] == play.complete()[0]
    assert "ERROR nightly: create failed, tidy, verify, prune went well" in play.said("log/backup.log")
