"""The backup program: its rules, and what it leaves behind when something goes wrong."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tarfile
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from ansible_collections.slipway.vps.plugins.module_utils.slipway import cli
from ansible_collections.slipway.vps.plugins.module_utils.slipway.backup import cli as backup_cli
from ansible_collections.slipway.vps.plugins.module_utils.slipway.backup import database, rules, status
from ansible_collections.slipway.vps.plugins.module_utils.slipway.backup.config import Config
from ansible_collections.slipway.vps.plugins.module_utils.slipway.backup.rules import BackupError, Copy
from ansible_collections.slipway.vps.plugins.module_utils.slipway.backup.store import Backups
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core import files
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core.log import Log

from .backup_play import LISTING, Play, play

__all__ = ["play_host"]
NOW = datetime(2026, 11, 20, 3, 30, tzinfo=timezone.utc)


@pytest.fixture(name="play")
def play_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Play:
    return play(tmp_path, monkeypatch)


def names(*days: float, label: str = "") -> list[str]:
    """Names of backups taken so many days ago."""
    return [rules.backup_name(NOW - timedelta(days=day), label) for day in days]


def proven(*days: float) -> list[Copy]:
    return [Copy(name) for name in names(*days)]


def unproven(*days: float) -> list[Copy]:
    return [Copy(name, proven=False) for name in names(*days)]


def restore_points(*days: float) -> list[Copy]:
    return [Copy(name, whole=False) for name in names(*days)]


# --- Names and retention ------------------------------------------------------------------------


def test_a_name_is_utc_and_sorts_by_time() -> None:
    east = timezone(timedelta(hours=5))
    assert rules.backup_name(NOW.astimezone(east)) == "20261120T033000Z"
    assert rules.backup_name(NOW, "before-upgrade") == "20261120T033000Z-before-upgrade"
    assert rules.taken_at("20261120T033000Z-before-upgrade") == NOW
    assert sorted(names(3, 1, 2)) == names(3, 2, 1)


@pytest.mark.parametrize("label", ["../x", "Upper", "-first", "a b", "x" * 41, "new\nline", "é"])
def test_a_label_cannot_leave_the_folder(label: str) -> None:
    with pytest.raises(BackupError, match="label"):
        rules.backup_name(NOW, label)


@pytest.mark.parametrize("name", [".partial-20261120T033000Z", "20261320T033000Z", "20261120", "lost+found", "20261120T033000Z/.."])
def test_other_folders_are_no_backups(name: str) -> None:
    assert rules.taken_at(name) is None


def test_retention_removes_what_is_older_than_the_days() -> None:
    """[D3] Exactly so many days are not older."""
    assert rules.expired(proven(0, 13.9, 14, 14.1, 30), NOW, 14, 1) == names(30, 14.1)


def test_retention_keeps_the_newest_proven_ones_whatever_their_age() -> None:
    """[D3] The clock was wrong, or backups have failed for weeks."""
    assert rules.expired(proven(60, 50, 40), NOW, 14, 1) == names(60, 50)
    assert rules.expired(proven(60, 50, 40), NOW, 14, 2) == names(60)
    assert rules.expired(proven(60, 50, 40), NOW, 14, 7) == []
    assert rules.expired(proven(40), NOW, 14, 0) == [], "never none at all"


def test_an_unproven_backup_counts_for_nothing() -> None:
    """[D3] Bad ones that evicted the good: the newest proven one stays, however many newer ones there are."""
    assert rules.expired([*proven(40), *unproven(39, 20, 3, 0)], NOW, 14, 1) == []
    assert rules.expired([*proven(40, 30), *unproven(39, 20, 0)], NOW, 14, 1) == names(40, 39)
    assert rules.expired([*proven(40, 30), *unproven(20, 0)], NOW, 14, 2) == []


def test_without_a_proven_backup_none_is_removed() -> None:
    """[D3] Nobody knows which of them is worth anything."""
    assert rules.expired(unproven(60, 50, 0), NOW, 14, 1) == []
    assert rules.expired([*restore_points(60, 50, 0), *unproven(55)], NOW, 14, 1) == []


def test_restore_points_go_by_their_age_and_hold_no_place() -> None:
    """[D3] They are proven never or by hand, and say nothing of the uploads."""
    assert rules.expired([*proven(40, 1), *restore_points(30, 20, 3)], NOW, 14, 1) == sorted(names(40, 30, 20))
    assert rules.expired([*proven(40), *restore_points(30, 0)], NOW, 14, 1) == []


def test_retention_leaves_alone_what_is_no_backup() -> None:
    others = [Copy("notes"), Copy(".partial-20200101T000000Z")]
    assert rules.expired([*proven(0), *others], NOW, 14, 1) == []


@pytest.mark.parametrize(
    ("noted", "found", "line"),
    [
        ({"a": 1}, {"a": 1}, None),
        ({"a": 1}, {}, "a is missing"),
        ({}, {"a": 1}, "a was not there"),
        ({"a": 1}, {"a": 2}, "a has 2 rows instead of 1"),
    ],
)
def test_rows_are_compared_table_by_table(noted: dict[str, int], found: dict[str, int], line: str | None) -> None:
    assert rules.differences(noted, found) == ([line] if line else [])


def test_a_manifest_vouches_for_itself() -> None:
    manifest = rules.sealed({"name": "x", "rows": {"a": 1}})
    assert rules.sealed(manifest) == manifest
    assert rules.sealed({**manifest, "rows": {"a": 2}})["digest"] != manifest["digest"]


@pytest.mark.parametrize(
    ("said", "version"),
    [
        ("pg_dump (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)", 15),
        ("pg_dump (PostgreSQL) 17.6", 17),
        ("17.6 (Debian 17.6-0+deb13u1)", 17),
        ("18beta2", 18),
    ],
)
def test_versions_are_read(said: str, version: int) -> None:
    assert rules.major(said) == version


def test_zstd_where_pg_dump_has_it() -> None:
    """[D3] Debian 12's has not; what the operator says is left as it is."""
    assert rules.compression("auto", 15) == "1" and rules.compression("auto", 16) == rules.compression("auto", 17) == "zstd:3"
    assert rules.compression("lz4", 17) == "lz4" and rules.compression("9", 15) == "9"


def test_space_follows_the_last_backup_and_without_one_the_data() -> None:
    assert rules.space_needed(1000, 999_999, 50) == 1550
    assert rules.space_needed(None, 999_999, 50) == 1_000_049


# --- What a dump says about itself ----------------------------------------------------------------


def test_tables_are_counted_without_their_data_and_attachments() -> None:
    assert rules.table_count(LISTING) == 2


@pytest.mark.parametrize(
    ("dumped", "live", "before", "words"),
    [(0, 3, 0, "the database has 3"), (0, 0, 5, "before this one holds 5")],
)
def test_an_empty_dump_is_refused(dumped: int, live: int, before: int, words: str) -> None:
    assert words in (rules.refusal(dumped, live, before) or "")


def test_a_database_that_never_had_a_table_is_fine() -> None:
    assert rules.refusal(0, 0, 0) is None
    assert rules.refusal(3, 3, 9) is None


def test_revisions_are_read_from_the_dump() -> None:
    sql = "SET x = 0;\nCOPY public.alembic_version (version_num) FROM stdin;\nb2\na1\n\\.\n\nSELECT 1;\n"
    assert rules.copied_rows(sql) == ["a1", "b2"]
    assert rules.copied_rows("SET x = 0;\n") == []


def test_only_privileged_extensions_are_made_by_the_superuser() -> None:
    assert rules.extensions(LISTING) == {"postgis"}
    assert rules.restore_passes(LISTING, set()) == [("", False)]
    passes = rules.restore_passes(LISTING, {"postgis"})
    assert [superuser for _, superuser in passes] == [False, True, False]
    assert passes[0][0].split()[3] == "SCHEMA"
    assert passes[1][0].count("EXTENSION") == 2
    assert sum(len(text.splitlines()) for text, _ in passes) == len(rules.toc_entries(LISTING))


def test_identifiers_and_strings_are_quoted() -> None:
    assert rules.quote('my-"app') == '"my-""app"'
    assert rules.literal("o'clock") == "'o''clock'"


@pytest.mark.parametrize("text", ["{", "{}", "[]", '{"app": "x"}'])
def test_a_broken_configuration_is_named(text: str) -> None:
    with pytest.raises(BackupError, match="configuration"):
        Config.parse(text)


# --- The program -----------------------------------------------------------------------------------


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
    monkeypatch.setattr(backup_cli, "PATIENCE", 5)
    holder = subprocess.Popen(["flock", play.backups / ".lock", "sleep", "1"])
    try:
        while not (play.backups / ".lock").exists():
            pass
        assert play.run("nightly") == 0
    finally:
        holder.wait()


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
    assert "site.yml --tags keep" in capsys.readouterr().err


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
