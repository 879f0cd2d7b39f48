"""The backup program: what it does, and what it leaves behind when something goes wrong."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tarfile
from datetime import datetime, timezone
from pathlib import Path

import pytest
from ansible_collections.slipway.vps.plugins.module_utils.slipway.backup import cli as backup_cli
from ansible_collections.slipway.vps.plugins.module_utils.slipway.backup import database, rules
from ansible_collections.slipway.vps.plugins.module_utils.slipway.backup.config import Config
from ansible_collections.slipway.vps.plugins.module_utils.slipway.backup.store import Backups
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core import files
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core.log import Log

from .backup_play import Play, play

__all__ = ["play_host"]
NOW = datetime(2026, 11, 20, 3, 30, tzinfo=timezone.utc)


@pytest.fixture(name="play")
def play_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Play:
    return play(tmp_path, monkeypatch)


def test_create_leaves_one_complete_folder(play: Play, capsys: pytest.CaptureFixture[str]) -> None:
    assert play.run("--json", "create", "--label", "before-upgrade") == 0
    printed = json.loads(capsys.readouterr().out)
    (name,) = play.complete()
    assert name == printed["name"] and name.endswith("-before-upgrade")
    manifest = json.loads((play.backups / name / "manifest.json").read_text())
    assert manifest["schema_revisions"] == ["abc123"] and manifest["tables"] == 2 and manifest["postgres"].startswith("17.6")
    assert manifest["files"]["db.dump/1.dat"]["sha256"] == files.sha256(play.backups / name / "db.dump/1.dat")
    assert set(manifest["files"]) == {"db.dump/1.dat", "db.dump/toc.dat", "files.tar.gz"} and manifest["kind"] == "whole"
    assert manifest["rows"] == {"public.alembic_version": 1, "public.note": 41} and manifest["compression"] == "zstd:3"
    with tarfile.open(play.backups / name / "files.tar.gz") as archive:
        assert str(play.shared).lstrip("/") + "/upload.txt" in archive.getnames()
    assert play.partial() == []
    assert play.status()["last_success"]["name"] == name and not play.status().get("failures")
    assert f"INFO create {name}: complete" in play.log.read_text()
    assert (play.backups / name).stat().st_mode & 0o077 == 0


def test_a_table_that_somebody_has_locked_ends_a_backup(play: Play) -> None:
    """[D3] After a minute, and it is a failure that is noted: one that waits for ever is one that nobody hears of."""
    assert database.LOCK_WAIT == 60
    play.say("pg_dump", "canceling statement due to lock timeout")
    assert play.run("create") == 1
    (dump,) = (play.root / "dumps").read_text().splitlines()
    assert dump.split()[-1] == "--lock-wait-timeout=60s"
    assert "lock timeout" in play.status()["failures"]["create"]["reason"] and play.partial() == []


def test_no_question_waits_for_a_lock_for_ever(play: Play) -> None:
    """[D3] Whatever is asked of the database, in a backup and in a restore."""
    assert play.run("create") == 0
    assert play.run("restore", *play.complete()) == 0
    asked = [line for line in (play.root / "asked").read_text().splitlines() if "--dbname" in line]
    assert len(asked) > 8 and [line for line in asked if not re.search(r"lock_timeout ?= ?'?60s", line)] == []


def test_databases_are_made_and_dropped_outside_of_a_transaction(play: Play) -> None:
    """[D3] Several statements in one command are a transaction, and PostgreSQL refuses these within one."""
    assert play.run("create") == 0
    assert play.run("restore", *play.complete()) == 0
    alone = [query for query in (play.root / "queries").read_text().splitlines() if re.search("(CREATE|DROP) DATABASE", query)]
    assert len(alone) >= 2 and [query for query in alone if ";" in query.rstrip("; ")] == []


def test_a_restore_point_holds_the_database_only(play: Play, capsys: pytest.CaptureFixture[str]) -> None:
    """Before a migration: gigabytes of uploads would make every deploy wait. It is a backup like the others all the same."""
    assert play.run("--json", "create", "--database-only", "--label", "before-20261120t072201-4f2a9c10") == 0
    printed = json.loads(capsys.readouterr().out)
    (name,) = play.complete()
    assert name == printed["name"] and name.endswith("-before-20261120t072201-4f2a9c10")
    assert printed["paths"] == [] and printed["tables"] == 2 and printed["schema_revisions"] == ["abc123"]
    with tarfile.open(play.backups / name / "files.tar.gz") as archive:
        assert archive.getnames() == []
    assert play.run("check", name) == 0
    assert play.run("list") == 0
    assert name in capsys.readouterr().out


def test_a_restore_point_brings_the_database_back(play: Play, capsys: pytest.CaptureFixture[str]) -> None:
    """The uploads of today stay; asked for them, it says that it has none, before anything is touched."""
    assert play.run("create", "--database-only") == 0
    (name,) = play.complete()
    (play.root / "queries").write_text("")
    assert play.run("restore", name, "--files") == 1
    assert "restore without --files" in capsys.readouterr().err
    assert (play.root / "queries").read_text() == ""
    assert play.run("restore", name) == 0
    assert 'ALTER DATABASE "demo_restore" RENAME TO "demo"' in (play.root / "queries").read_text()
    assert (play.shared / "upload.txt").read_text() == "hello"


def test_a_backup_after_a_restore_point_holds_everything(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    """The option is for one run. The database alone says nothing of the space that everything wants."""
    assert play.run("create", "--database-only") == 0
    (restore_point,) = play.complete()
    with monkeypatch.context() as patch:
        patch.setattr(files, "disk_usage", lambda paths: 2**60 if paths else 0)
        assert play.run("create") == 1
    assert "free some" in play.status()["failures"]["create"]["reason"]
    assert play.run("create") == 0
    (name,) = (name for name in play.complete() if name != restore_point)
    with tarfile.open(play.backups / name / "files.tar.gz") as archive:
        assert str(play.shared).lstrip("/") + "/upload.txt" in archive.getnames()


def test_a_restore_point_does_not_stand_for_the_backup_that_is_due(play: Play) -> None:
    """Whoever watches the time of the last backup has to see that the uploads have had none."""
    assert play.run("create") == 0
    before = play.status()["last_success"]
    assert play.run("create", "--database-only") == 0
    assert play.status()["last_success"] == before


def test_restore_points_do_not_push_the_last_whole_backup_out(play: Play) -> None:
    """Backups have failed for weeks, deploys have not: what is left of the uploads is the old one."""
    whole = play.fake("20200101T000000Z")
    manifest = json.loads((whole / "manifest.json").read_text())
    (whole / "manifest.json").write_text(json.dumps({**manifest, "paths": [str(play.shared)]}))
    assert play.run("create", "--database-only") == 0
    assert whole.name in play.complete()


@pytest.mark.parametrize(
    ("what", "said", "words"),
    [
        ("pg_dump", "FATAL: database is gone", "pg_dump exited 1: FATAL: database is gone"),
        ("truncated", "unexpected end of file", "pg_restore exited 1: unexpected end of file"),
        ("listing", "; an empty table of contents\n", "empty dump refused"),
    ],
)
def test_a_bad_dump_leaves_nothing_but_the_reason(play: Play, capsys: pytest.CaptureFixture[str], what: str, said: str, words: str) -> None:
    play.say(what, said)
    assert play.run("create") == 1
    assert play.complete() == [] and play.partial() == []
    assert words in play.status()["failures"]["create"]["reason"] and "last_success" not in play.status()
    assert words in capsys.readouterr().err and f"ERROR create: {words}" in play.log.read_text()


def test_a_failure_removes_no_older_backup(play: Play) -> None:
    old = play.fake("20200101T000000Z").name
    play.fake("20200102T000000Z")
    play.say("pg_dump", "no")
    assert play.run("create") == 1
    assert old in play.complete() and len(play.complete()) == 2


def test_a_success_removes_the_expired_complete_ones_only(play: Play) -> None:
    """[D3] Replaced by one that is proven; what is no backup is left for somebody to look at."""
    play.fake("20200101T000000Z")
    incomplete = play.fake("20200102T000000Z")
    (incomplete / "manifest.json").unlink()
    shorter = play.fake("20200103T000000Z")
    (shorter / "db.dump/toc.dat").write_text("")
    play.fake("20200104T000000Z")
    assert play.run("create") == 0
    assert play.complete()[:3] == ["20200102T000000Z", "20200103T000000Z", "20200104T000000Z"] and len(play.complete()) == 4


def test_a_backup_that_nobody_has_restored_replaces_none(play: Play) -> None:
    """[D3] Taken, complete, and perhaps worthless: the one of weeks ago that is proven stays, until this one is, too."""
    old = play.fake("20200101T000000Z").name
    play.fake("20200201T000000Z", proven=False)
    play.fake("20200301T000000Z", proven=None)
    assert play.run("create") == 0
    assert len(play.complete()) == 4 and old in play.complete()
    play.say("restored_rows", '["public.note", 41]\n')
    assert play.run("nightly") == 1
    assert len(play.complete()) == 5, "a backup that turned out to be bad has evicted a good one"
    play.say("restored_rows", play.said("rows"))
    assert play.run("nightly") == 0
    assert old not in play.complete() and len(play.complete()) == 3


def test_where_nothing_is_proven_complete_has_to_do(play: Play) -> None:
    """[D3] backup_proof: false. What a proof by hand found bad still counts for nothing."""
    play.settings["proof"] = False
    play.fake("20200101T000000Z", proven=None)
    play.fake("20200102T000000Z", proven=None)
    play.fake("20200103T000000Z", proven=False)
    assert play.run("create") == 0
    assert len(play.complete()) == 1


def test_nothing_is_removed_while_it_is_read(play: Play) -> None:
    """[D3] A proof or a copy is under way: the next run removes."""
    play.fake("20200101T000000Z")
    play.fake("20200102T000000Z")
    config = Config.parse(json.dumps(play.settings))
    with Backups(config, Log(config.log_file, "test")).reading():
        assert play.run("create") == 0
        assert len(play.complete()) == 3
    assert play.run("create") == 0
    assert "20200101T000000Z" not in play.complete()


def test_a_flipped_byte_in_a_manifest_makes_a_backup_none(play: Play, capsys: pytest.CaptureFixture[str]) -> None:
    """[D3] It says what the files must be, and how many rows there were."""
    assert play.run("create") == 0
    (name,) = play.complete()
    path = play.backups / name / "manifest.json"
    path.write_text(path.read_text().replace('"public.note": 41', '"public.note": 40'))
    assert play.run("list") == 0
    assert f"{name}  damaged or incomplete" in capsys.readouterr().out


def test_rows_are_counted_in_the_snapshot_of_the_dump(play: Play) -> None:
    """[D3] The same moment for every table of a parallel dump, and for the numbers."""
    play.say("snapshot", "00000003-0000001B-1\n")
    assert play.run("create") == 0
    (dump,) = play.said("dumps").splitlines()
    assert "--snapshot=00000003-0000001B-1" in dump and "--jobs=2" in dump and "--compress=zstd:3" in dump and "--format=directory" in dump


@pytest.mark.parametrize(
    ("what", "text", "words"),
    [
        ("snapshot", "", "psql exited 2: no snapshot"),
        ("rows", "no JSON\n", "the tables could not be counted"),
    ],
)
def test_a_backup_without_its_counts_is_none(play: Play, what: str, text: str, words: str) -> None:
    """[D3] What it is compared with would be missing."""
    play.say(what, text)
    assert play.run("create") == 1
    assert play.complete() == [] and play.partial() == [] and words in play.status()["failures"]["create"]["reason"]


def test_a_full_disk_leaves_the_last_good_copy_and_the_next_run_repairs(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    """[D3] pg_dump says so in the middle of its work."""
    good = play.fake("20261101T000000Z").name
    play.say("pg_dump", "could not write to file: No space left on device")
    assert play.run("create") == 1
    assert play.complete() == [good] and play.partial() == [] and "No space left" in play.status()["failures"]["create"]["reason"]
    play.say("pg_dump", "")
    with monkeypatch.context() as patch:

        def full(*_: object) -> None:
            raise OSError(28, "No space left on device")

        patch.setattr(files, "write_atomically", full)
        assert play.run("create") == 1
    assert play.complete() == [good] and play.partial() == []
    assert play.run("create") == 0
    assert len(play.complete()) == 2


def test_a_database_that_lost_its_tables_is_no_backup(play: Play) -> None:
    play.fake("20200101T000000Z")
    play.say("tables", "0\n")
    play.say("listing", ";\n")
    play.say("rows", "")
    assert play.run("create") == 1
    assert "before this one holds 2" in play.status()["failures"]["create"]["reason"]


def test_a_second_run_is_refused_and_leaves_the_first_alone(play: Play, capsys: pytest.CaptureFixture[str]) -> None:
    at_work = play.backups / ".partial-20261120T033000Z"
    at_work.mkdir()
    # The program's own lock, held by the program: a lock of another kind would not show that it excludes itself.
    config = Config.parse(json.dumps(play.settings))
    with Backups(config, Log(config.log_file, "test")).locked():
        assert play.run("create") == 75
        assert play.run("restore", "latest") == 75
    assert f"under way (pid {os.getpid()} since" in capsys.readouterr().err
    assert at_work.exists() and not (play.backups / "status.json").exists()


def test_leftovers_of_an_interrupted_run_go(play: Play) -> None:
    (play.backups / ".partial-20261120T033000Z").mkdir()
    (play.backups / ".partial-status.json").write_text("{")
    assert play.run("create") == 0
    assert play.partial() == []


def test_too_little_space_stops_before_the_dump(play: Play) -> None:
    play.settings["reserve_mb"] = 10**9
    assert play.run("create") == 1
    assert "free some" in play.status()["failures"]["create"]["reason"] and play.partial() == []


def test_the_log_is_not_written_through_a_link(play: Play, tmp_path: Path) -> None:
    play.log.parent.mkdir()
    target = tmp_path / "elsewhere"
    play.log.symlink_to(target)
    assert play.run("create") == 0
    assert not target.exists()


def test_restore_swaps_only_after_the_checks(play: Play, capsys: pytest.CaptureFixture[str]) -> None:
    assert play.run("create") == 0
    assert play.run("restore", "latest") == 0
    queries = (play.root / "queries").read_text()
    rename = queries.index("RENAME")
    assert queries.index('CREATE DATABASE "demo_restore"') < queries.rindex("count(*)") < rename
    assert 'ALTER DATABASE "demo" RENAME TO "demo_before_' in queries
    assert 'ALTER DATABASE "demo_restore" RENAME TO "demo"' in queries
    assert 'DROP DATABASE IF EXISTS "demo" ' not in queries
    assert "--exit-on-error --no-owner" in (play.root / "restores").read_text()
    assert play.there() == ["demo", play.there()[1]] and play.there()[1].startswith("demo_before_")
    assert f"drop {play.there()[1]}" in capsys.readouterr().out


@pytest.mark.parametrize("trouble", ["checksum", "pg_restore", "tables", "restored_rows", "revision", "rename"])
def test_a_failed_restore_leaves_the_live_database_alone(play: Play, trouble: str) -> None:
    assert play.run("create") == 0
    (play.root / "queries").write_text("")
    if trouble == "checksum":
        dump = play.backups / play.complete()[0] / "db.dump/1.dat"
        dump.write_bytes(bytes([dump.read_bytes()[0] ^ 1]) + dump.read_bytes()[1:])
    else:
        play.say(trouble, '["public.note", 40]\n' if trouble == "restored_rows" else "1\n")
    assert play.run("restore", "latest") == 1
    assert play.there() == ["demo"]
    queries = (play.root / "queries").read_text()
    if trouble != "rename":
        assert "RENAME" not in queries and "pg_terminate_backend" not in queries
    if trouble == "checksum":
        assert queries == ""
    else:
        assert queries.strip().endswith('DROP DATABASE IF EXISTS "demo_restore" WITH (FORCE)')


def test_a_session_that_slips_in_does_not_stop_the_swap(play: Play) -> None:
    assert play.run("create") == 0
    play.say("rename", 'database "demo" is being accessed by other users')
    assert play.run("restore", "latest") == 1
    assert (play.root / "queries").read_text().count("pg_terminate_backend") == database.SWAP_ATTEMPTS


def test_uploads_come_back_and_others_stay(play: Play) -> None:
    assert play.run("create") == 0
    (play.shared / "upload.txt").unlink()
    (play.shared / "newer.txt").write_text("newer")
    assert play.run("restore", "latest") == 0
    assert not (play.shared / "upload.txt").exists(), "without --files the uploads are not touched"
    assert play.run("restore", "latest", "--files") == 0
    assert (play.shared / "upload.txt").read_text() == "hello"
    assert (play.shared / "newer.txt").read_text() == "newer"


def test_an_unknown_name_says_what_there_is(play: Play, capsys: pytest.CaptureFixture[str]) -> None:
    play.fake("20200101T000000Z")
    assert play.run("restore", "20200202T000000Z") == 1
    assert "complete ones: 20200101T000000Z" in capsys.readouterr().err
    assert play.run("restore", "../20200101T000000Z") == 1


def test_list_tells_complete_from_damaged(play: Play, capsys: pytest.CaptureFixture[str]) -> None:
    assert play.run("list") == 0
    assert "No backup" in capsys.readouterr().out
    play.fake("20200101T000000Z")
    (play.fake("20200102T000000Z") / "files.tar.gz").unlink()
    assert play.run("list") == 0
    out = capsys.readouterr().out
    assert "20200101T000000Z  20 B" in out and "20200102T000000Z  damaged" in out


def test_check_reads_the_archives_and_finds_a_flipped_byte(play: Play) -> None:
    assert play.run("create") == 0
    assert play.run("check", "latest") == 0
    archive = play.backups / play.complete()[0] / "files.tar.gz"
    archive.write_bytes(archive.read_bytes()[:-1] + b"x")
    assert play.run("check", "latest") == 1


def test_what_is_set_and_granted_on_the_database_survives_a_restore(play: Play) -> None:
    """[D3] A dump does not bring it back: without it the timeouts of the app's role were gone after a restore."""
    assert play.run("create") == 0
    play.say("properties", "3351; 0 0 DATABASE PROPERTIES - demo demo\n")
    assert play.run("restore", "latest") == 0
    (swap,) = (line for line in play.said("queries").splitlines() if "RENAME" in line)
    assert swap.endswith('ALTER DATABASE "demo_restore" RENAME TO "demo";ALTER DATABASE demo SET work_mem TO 1;')


def test_a_database_that_was_lost_lets_its_reader_in_again(play: Play) -> None:
    """[D3] Nothing is there to take after: as the role postgres makes it, so that the next run of it changes nothing."""
    assert play.run("create") == 0
    for reader, ends in (("", 'RENAME TO "demo";'), ("1\n", 'GRANT CONNECT ON DATABASE "demo" TO "demo_readonly";')):
        (play.databases / "demo").rmdir()
        play.say("reader", reader)
        assert play.run("restore", "latest") == 0
        assert [line for line in play.said("queries").splitlines() if "RENAME" in line][-1].endswith(ends)


def test_the_configuration_of_the_version_before_will_do(play: Play) -> None:
    """[D3] The program is put in place before its configuration; a run that stops in between must not cost a night."""
    for new in ("compression", "engine", "full_days", "jobs", "keep_count", "proof", "proof_dir", "reader", "role", "service"):
        del play.settings[new]
    config = Config.parse(json.dumps(play.settings))
    assert config.role == play.settings["user"] and config.proof_dir == Path("/var/lib/demo-proof") and config.service is None
    assert play.run("create") == 0 and play.run("restore", "latest") == 0


def test_statements_of_a_database_are_picked_from_what_pg_restore_writes() -> None:
    making = "--\n\\restrict x\nSET a = 0;\nSELECT f();\nCREATE DATABASE d;\n\n"
    text = making + "ALTER ROLE a IN DATABASE d SET b TO 'c';\nGRANT ALL ON DATABASE d TO a;\n"
    assert rules.statements(text) == "ALTER ROLE a IN DATABASE d SET b TO 'c';\nGRANT ALL ON DATABASE d TO a;\n"
    listing = "1; 1262 1 DATABASE - d o\n2; 0 0 ACL - DATABASE d o\n3; 0 0 DATABASE PROPERTIES - d o\n4; 0 0 ACL public TABLE t o\n"
    assert rules.property_entries(listing) == "2; 0 0 ACL - DATABASE d o\n3; 0 0 DATABASE PROPERTIES - d o\n"


def test_a_backup_of_the_version_before_can_be_restored(play: Play) -> None:
    """[D3] One file instead of a folder, and no counts: what it has is compared."""
    play.fake("20200101T000000Z", old=True)
    assert play.run("check", "latest") == 1, "this one's archive is no archive"
    assert play.run("restore", "latest") == 0
    assert len(play.there()) == 2
    restored = [line for line in play.said("restores").splitlines() if "--exit-on-error" in line]
    assert restored and not any("--jobs" in line or "/proc/self/fd" in line for line in restored)


def test_a_replaced_database_can_be_put_back_or_dropped(play: Play, capsys: pytest.CaptureFixture[str]) -> None:
    """[D3] Kept until told otherwise; and only what a restore has put aside can be dropped."""
    assert play.run("create") == 0
    (play.databases / "demo/first").touch()
    assert play.run("restore", "latest") == 0
    _, aside = play.there()
    assert play.run("undo", aside) == 0
    assert (play.databases / "demo/first").exists() and len(play.there()) == 2
    for name in ("demo", "postgres", "demo_before_x", aside + "0"):
        assert play.run("drop", name) == 1
        assert "no database that a restore has put aside" in capsys.readouterr().err
    _, aside = play.there()
    assert play.run("kept") == 0 and aside in capsys.readouterr().out
    assert play.run("drop", aside) == 0
    assert play.there() == ["demo"]


def test_a_night_waits_for_a_deploy_that_takes_its_restore_point(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    """[D3] At half past three somebody deploys: that is no reason to have no backup that night."""
    assert backup_cli.PATIENCE >= 600
    monkeypatch.setattr(backup_cli, "PATIENCE", 60)
    holder = subprocess.Popen(["flock", play.backups / ".lock", "sh", "-c", "echo; sleep 1"], stdout=subprocess.PIPE)
    try:
        assert holder.stdout and holder.stdout.readline(), "it has the lock"
        assert play.run("nightly") == 0
    finally:
        holder.communicate()


def test_the_database_of_another_host_is_asked_over_the_network(play: Play) -> None:
    """[D3] As its service file says, by root: no superuser, no socket; the proof is a cluster of this host all the same."""
    play.settings.update(service="/etc/demo/backup-database.service", role="blog_1")
    assert play.run("nightly") == 0
    live = [line for line in play.said("asked").splitlines() if str(play.root / "proof") not in line]
    assert len(live) > 2 and all("--dbname service=slipway dbname='" in line and "--host" not in line for line in live)
    (dump,) = play.said("dumps").splitlines()
    assert "--dbname service=slipway dbname='demo'" in dump and "--host" not in dump
    assert play.run("restore", "latest") == 0 and len(play.there()) == 2
    assert 'CREATE DATABASE "demo_restore" OWNER "blog_1"' in play.said("queries") and "--role=blog_1" in play.said("restores")
    assert "data_directory" not in play.said("queries")
    assert rules.conninfo("it's\\x") == "'it\\'s\\\\x'"


@pytest.mark.parametrize(("versions", "taken"), [((15, 17), 15), ((17,), 17), ((17, 18), 17), ((14,), 0), ((), 0)])
def test_the_programs_are_those_of_the_servers_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, versions: tuple[int, ...], taken: int
) -> None:
    """[D1 D3] Two are installed while data move from one to the other: what one pg_dump writes, the older pg_restore cannot read."""
    for version in versions:
        (tmp_path / f"{version}/bin").mkdir(parents=True)
        (tmp_path / f"{version}/bin/pg_restore").touch()
    monkeypatch.setattr(database, "PROGRAMS", tmp_path)
    server = database.Server("/run/postgresql", "postgres")
    monkeypatch.setattr(server, "sql", lambda query: f"{taken or 16}.4 (Debian)")
    assert server._client("pg_restore") == (str(tmp_path / f"{taken}/bin/pg_restore") if taken else "pg_restore")
