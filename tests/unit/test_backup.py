"""The backup program: its rules, and what it leaves behind when something goes wrong."""

from __future__ import annotations

import importlib.util
import json
import os
import pwd
import re
import sys
import tarfile
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

SOURCE = Path(__file__).parents[2] / "roles/backup/files/backup.py"
NOW = datetime(2026, 11, 20, 3, 30, tzinfo=timezone.utc)
LISTING = """\
;
; Archive created at 2026-11-20 08:31:49 UTC
;
7; 2615 16482 SCHEMA - s demo
2; 3079 16401 EXTENSION - postgis
3484; 0 0 COMMENT - EXTENSION postgis
219; 1259 16391 TABLE public alembic_version demo
220; 1259 16396 TABLE public note demo
221; 1259 16483 VIEW public v demo
222; 1259 16490 TABLE ATTACH public part demo
3476; 0 16391 TABLE DATA public alembic_version demo
3329; 2606 16395 CONSTRAINT public alembic_version alembic_version_pkey demo
"""


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("slipway_backup", SOURCE)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


backup = load()


def names(*days: float, label: str = "") -> list[str]:
    """Names of backups taken so many days ago."""
    return [backup.backup_name(NOW - timedelta(days=day), label) for day in days]


# --- Names and retention ------------------------------------------------------------------------


def test_a_name_is_utc_and_sorts_by_time() -> None:
    east = timezone(timedelta(hours=5))
    assert backup.backup_name(NOW.astimezone(east)) == "20261120T033000Z"
    assert backup.backup_name(NOW, "before-upgrade") == "20261120T033000Z-before-upgrade"
    assert backup.taken_at("20261120T033000Z-before-upgrade") == NOW
    assert sorted(names(3, 1, 2)) == names(3, 2, 1)


@pytest.mark.parametrize("label", ["../x", "Upper", "-first", "a b", "x" * 41, "new\nline", "é"])
def test_a_label_cannot_leave_the_folder(label: str) -> None:
    with pytest.raises(backup.BackupError, match="label"):
        backup.backup_name(NOW, label)


@pytest.mark.parametrize("name", [".partial-20261120T033000Z", "20261320T033000Z", "20261120", "lost+found", "20261120T033000Z/.."])
def test_other_folders_are_no_backups(name: str) -> None:
    assert backup.taken_at(name) is None


def test_retention_removes_what_is_older_than_the_days() -> None:
    assert backup.expired(names(0, 13.9, 14, 14.1, 30), NOW, 14) == names(30, 14.1)


def test_retention_never_removes_the_newest() -> None:
    assert backup.expired(names(40), NOW, 14) == []
    assert backup.expired(names(60, 50, 40), NOW, 14) == names(60, 50)


def test_retention_leaves_alone_what_is_no_backup() -> None:
    assert backup.expired([*names(0), "notes", ".partial-20200101T000000Z"], NOW, 14) == []


def test_space_follows_the_last_backup_and_without_one_the_data() -> None:
    assert backup.space_needed(1000, 999_999, 50) == 1550
    assert backup.space_needed(None, 999_999, 50) == 1_000_049


# --- What a dump says about itself ----------------------------------------------------------------


def test_tables_are_counted_without_their_data_and_attachments() -> None:
    assert backup.table_count(LISTING) == 2


@pytest.mark.parametrize(
    ("dumped", "live", "before", "words"),
    [(0, 3, 0, "the database has 3"), (0, 0, 5, "before this one holds 5")],
)
def test_an_empty_dump_is_refused(dumped: int, live: int, before: int, words: str) -> None:
    assert words in (backup.refusal(dumped, live, before) or "")


def test_a_database_that_never_had_a_table_is_fine() -> None:
    assert backup.refusal(0, 0, 0) is None
    assert backup.refusal(3, 3, 9) is None


def test_revisions_are_read_from_the_dump() -> None:
    sql = "SET x = 0;\nCOPY public.alembic_version (version_num) FROM stdin;\nb2\na1\n\\.\n\nSELECT 1;\n"
    assert backup.copied_rows(sql) == ["a1", "b2"]
    assert backup.copied_rows("SET x = 0;\n") == []


def test_only_privileged_extensions_are_made_by_the_superuser() -> None:
    assert backup.extensions(LISTING) == {"postgis"}
    assert backup.restore_passes(LISTING, set()) == [("", False)]
    passes = backup.restore_passes(LISTING, {"postgis"})
    assert [superuser for _, superuser in passes] == [False, True, False]
    assert passes[0][0].split()[3] == "SCHEMA"
    assert passes[1][0].count("EXTENSION") == 2
    assert sum(len(text.splitlines()) for text, _ in passes) == len(backup.toc_entries(LISTING))


def test_identifiers_and_strings_are_quoted() -> None:
    assert backup.quote('my-"app') == '"my-""app"'
    assert backup.literal("o'clock") == "'o''clock'"


@pytest.mark.parametrize("text", ["{", "{}", "[]", '{"app": "x"}'])
def test_a_broken_configuration_is_named(text: str) -> None:
    with pytest.raises(backup.BackupError, match="configuration"):
        backup.Config.parse(text)


# --- The program, with PostgreSQL's tools played by scripts ------------------------------------------

PSQL = """#!/bin/sh
for query; do :; done
echo "$query" >> "$PLAY/queries"
echo "$PGOPTIONS $*" >> "$PLAY/asked"
case "$query" in
*"SHOW data_directory"*) echo "$PLAY" ;;
*"SELECT pg_database_size"*) echo 1000 ;;
*pg_encoding_to_char*) echo "UTF8|C.UTF-8|C.UTF-8|1000|17.1" ;;
*"count(*)"*) cat "$PLAY/tables" ;;
*"FROM pg_tables"*) echo public.alembic_version ;;
*"SELECT version_num"*) echo abc123 ;;
*"FROM pg_database WHERE datname"*) echo 1 ;;
*RENAME*) cat "$PLAY/rename" >&2; test ! -s "$PLAY/rename" ;;
esac
"""
PG_DUMP = """#!/bin/sh
echo the-dump
echo "$*" >> "$PLAY/dumps"
cat "$PLAY/pg_dump" >&2
test ! -s "$PLAY/pg_dump"
"""
PG_RESTORE = """#!/bin/sh
cat > /dev/null
echo "$*" >> "$PLAY/restores"
case "$*" in
*--list*) cat "$PLAY/listing" ;;
*alembic_version*) printf 'COPY public.alembic_version (version_num) FROM stdin;\\nabc123\\n\\\\.\\n' ;;
*--exit-on-error*) cat "$PLAY/pg_restore" >&2; test ! -s "$PLAY/pg_restore" ;;
*--file=/dev/null*) cat "$PLAY/truncated" >&2; test ! -s "$PLAY/truncated" ;;
esac
"""


class Play:
    """A host on which PostgreSQL's tools do what a test says."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.backups = root / "backups"
        self.log = root / "log" / "backup.log"
        self.shared = root / "shared"
        for folder in (self.backups, self.shared, root / "bin"):
            folder.mkdir()
        (self.shared / "upload.txt").write_text("hello")
        for tool, text in (("psql", PSQL), ("pg_dump", PG_DUMP), ("pg_restore", PG_RESTORE)):
            (root / "bin" / tool).write_text(text)
            (root / "bin" / tool).chmod(0o755)
        for empty in ("rename", "pg_dump", "pg_restore", "truncated", "queries", "restores"):
            self.say(empty, "")
        self.say("tables", "2\n")
        self.say("listing", LISTING.replace("postgis", "pg_trgm"))
        me = pwd.getpwuid(os.geteuid()).pw_name
        self.settings: dict[str, Any] = {
            "admin": me,
            "app": "demo",
            "backup_dir": str(self.backups),
            "database": "demo",
            "keep_days": 14,
            "log_file": str(self.log),
            "paths": [str(self.shared), str(root / "not-there")],
            "proxy_group": "www-data",
            "reserve_mb": 1,
            "shared": str(self.shared),
            "socket_dir": "/run/postgresql",
            "user": me,
        }

    def say(self, what: str, text: str) -> None:
        (self.root / what).write_text(text)

    def run(self, *arguments: str) -> int:
        config = self.root / "backup.json"
        config.write_text(json.dumps(self.settings))
        return int(backup.main(["--config", str(config), *arguments]))

    def complete(self) -> list[str]:
        return sorted(path.name for path in self.backups.iterdir() if not path.name.startswith(".") and path.is_dir())

    def partial(self) -> list[str]:
        return sorted(path.name for path in self.backups.glob(".partial*"))

    def status(self) -> dict[str, Any]:
        return dict(json.loads((self.backups / "status.json").read_text()))

    def fake(self, name: str) -> Path:
        """A complete backup of another day."""
        folder = self.backups / name
        folder.mkdir()
        files = {}
        for file in ("db.dump", "files.tar.gz"):
            (folder / file).write_text(file)
            files[file] = {"bytes": len(file), "sha256": backup.sha256(folder / file)}
        manifest = {"name": name, "bytes": 20, "tables": 2, "schema_revisions": [], "files": files, "paths": []}
        (folder / "manifest.json").write_text(json.dumps(manifest))
        return folder


@pytest.fixture
def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Play:
    monkeypatch.setenv("PLAY", str(tmp_path))
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setattr(backup.syslog, "syslog", lambda *_: None)
    monkeypatch.setattr(backup.signal, "signal", lambda *_: None)
    return Play(tmp_path)


def test_create_leaves_one_complete_folder(play: Play, capsys: pytest.CaptureFixture[str]) -> None:
    assert play.run("--json", "create", "--label", "before-upgrade") == 0
    printed = json.loads(capsys.readouterr().out)
    (name,) = play.complete()
    assert name == printed["name"] and name.endswith("-before-upgrade")
    manifest = json.loads((play.backups / name / "manifest.json").read_text())
    assert manifest["schema_revisions"] == ["abc123"] and manifest["tables"] == 2 and manifest["postgres"] == "17.1"
    assert manifest["files"]["db.dump"]["sha256"] == backup.sha256(play.backups / name / "db.dump")
    with tarfile.open(play.backups / name / "files.tar.gz") as archive:
        assert str(play.shared).lstrip("/") + "/upload.txt" in archive.getnames()
    assert play.partial() == []
    assert play.status()["last_success"]["name"] == name and "last_failure" not in play.status()
    assert f"INFO create {name}: complete" in play.log.read_text()
    assert (play.backups / name).stat().st_mode & 0o077 == 0


def test_a_table_that_somebody_has_locked_ends_a_backup(play: Play) -> None:
    """[D3] After a minute, and it is a failure that is noted: one that waits for ever is one that nobody hears of."""
    assert backup.LOCK_WAIT == 60
    play.say("pg_dump", "canceling statement due to lock timeout")
    assert play.run("create") == 1
    (dump,) = (play.root / "dumps").read_text().splitlines()
    assert dump.split()[-1] == "--lock-wait-timeout=60s"
    assert "lock timeout" in play.status()["last_failure"]["reason"] and play.partial() == []


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
        patch.setattr(backup, "disk_usage", lambda paths: 2**60 if paths else 0)
        assert play.run("create") == 1
    assert "free some" in play.status()["last_failure"]["reason"]
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
    assert words in play.status()["last_failure"]["reason"] and "last_success" not in play.status()
    assert words in capsys.readouterr().err and f"ERROR create: {words}" in play.log.read_text()


def test_a_failure_removes_no_older_backup(play: Play) -> None:
    old = play.fake("20200101T000000Z").name
    play.fake("20200102T000000Z")
    play.say("pg_dump", "no")
    assert play.run("create") == 1
    assert old in play.complete() and len(play.complete()) == 2


def test_a_success_removes_the_expired_complete_ones_only(play: Play) -> None:
    play.fake("20200101T000000Z")
    incomplete = play.fake("20200102T000000Z")
    (incomplete / "manifest.json").unlink()
    shorter = play.fake("20200103T000000Z")
    (shorter / "db.dump").write_text("")
    assert play.run("create") == 0
    assert play.complete()[:2] == ["20200102T000000Z", "20200103T000000Z"] and len(play.complete()) == 3


def test_a_database_that_lost_its_tables_is_no_backup(play: Play) -> None:
    play.fake("20200101T000000Z")
    play.say("tables", "0\n")
    play.say("listing", ";\n")
    assert play.run("create") == 1
    assert "before this one holds 2" in play.status()["last_failure"]["reason"]


def test_a_second_run_is_refused_and_leaves_the_first_alone(play: Play, capsys: pytest.CaptureFixture[str]) -> None:
    at_work = play.backups / ".partial-20261120T033000Z"
    at_work.mkdir()
    # The program's own lock, held by the program: a lock of another kind would not show that it excludes itself.
    config = backup.Config.parse(json.dumps(play.settings))
    with backup.Backups(config, backup.Log(config.log_file, "test")).locked():
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
    assert "free some" in play.status()["last_failure"]["reason"] and play.partial() == []


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
    assert "dropdb 'demo_before_" in capsys.readouterr().out


@pytest.mark.parametrize("trouble", ["checksum", "pg_restore", "tables", "rename"])
def test_a_failed_restore_leaves_the_live_database_alone(play: Play, trouble: str) -> None:
    assert play.run("create") == 0
    (play.root / "queries").write_text("")
    if trouble == "checksum":
        dump = play.backups / play.complete()[0] / "db.dump"
        dump.write_bytes(bytes([dump.read_bytes()[0] ^ 1]) + dump.read_bytes()[1:])
    else:
        play.say(trouble, "1\n")
    assert play.run("restore", "latest") == 1
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
    assert (play.root / "queries").read_text().count("pg_terminate_backend") == backup.SWAP_ATTEMPTS


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
