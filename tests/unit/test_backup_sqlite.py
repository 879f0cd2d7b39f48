"""Files of SQLite in a backup: real ones, written to while they are copied."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.slipway.vps.plugins.module_utils.slipway.backup import sqlite
from ansible_collections.slipway.vps.plugins.module_utils.slipway.backup.rules import sealed
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core import files
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core.errors import SlipwayError
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core.run import Account, as_account

from .backup_play import Play, play

__all__ = ["isso"]
Printed = pytest.CaptureFixture[str]


@pytest.fixture
def isso(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Play:
    """An app without PostgreSQL, its comments in a file that an open connection writes to (WAL)."""
    made = play(tmp_path, monkeypatch)
    made.settings.update(database="", sqlite=[str(made.shared / "comments.db")])
    return made


@pytest.fixture
def comments(isso: Play) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(isso.shared / "comments.db", isolation_level=None, timeout=1, check_same_thread=False)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("CREATE TABLE note (text)")
    connection.execute("CREATE INDEX by_text ON note (text)")
    connection.execute("CREATE TABLE alembic_version (version_num)")
    connection.execute("INSERT INTO alembic_version VALUES ('abc123')")
    connection.executemany("INSERT INTO note VALUES (?)", [(f"note {number}",) for number in range(500)])
    yield connection
    connection.close()


def rows(connection: sqlite3.Connection) -> int:
    return int(connection.execute("SELECT count(*) FROM note").fetchone()[0])


def created(play: Play, capsys: Printed, *words: str) -> dict[str, Any]:
    assert play.run("--json", "create", *words) == 0, play.said("log/backup.log")
    return dict(json.loads(capsys.readouterr().out.strip().splitlines()[-1]))


def members(play: Play, name: str) -> set[str]:
    with tarfile.open(play.backups / name / "files.tar.gz") as archive:
        return {Path(one).name for one in archive.getnames()}


def test_a_backup_holds_a_copy_of_one_moment(isso: Play, comments: sqlite3.Connection, capsys: Printed) -> None:
    """[F6] [D3] With its rows; the plain copy of the files leaves the file and its log out, and PostgreSQL is never asked."""
    manifest = created(isso, capsys)
    (entry,) = manifest["sqlite"].values()
    assert entry["rows"] == {"note": 500, "alembic_version": 1} and entry["declared"] and manifest["schema_revisions"] == ["abc123"]
    assert "sqlite/comments.db.gz" in manifest["files"] and "db.dump/toc.dat" not in manifest["files"]
    plain = members(isso, manifest["name"])
    assert "upload.txt" in plain and not {name for name in plain if name.startswith("comments")}
    assert not isso.said("asked") and not (isso.root / "dumps").exists()
    assert isso.run("list") == 0
    assert " 2 " in capsys.readouterr().out
    assert isso.run("check", "latest") == 0 and isso.run("verify") == 0
    proof = json.loads((isso.backups / manifest["name"] / "proof.json").read_text())
    assert (proof["good"], proof["tables"], proof["rows"]) == (True, 2, 501)


def test_copies_while_a_writer_writes(isso: Play, comments: sqlite3.Connection, capsys: Printed) -> None:
    """[F6] [D3] Each copy is whole, and has as many rows as were counted; each transaction is in it wholly or not at all."""
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            comments.execute("BEGIN")
            comments.execute("INSERT INTO note VALUES ('one')")
            comments.execute("INSERT INTO note VALUES ('two')")
            comments.execute("COMMIT")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(5):
            manifest = created(isso, capsys)
            assert manifest["sqlite"]["comments.db"]["rows"]["note"] % 2 == 0
            assert isso.run("verify", manifest["name"]) == 0
    finally:
        stop.set()
        writer.join()
    assert rows(comments) > 500


def test_what_is_counted_is_what_is_copied(
    isso: Play, comments: sqlite3.Connection, capsys: Printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """[F6] [D3] Also when somebody writes between the count and the copy."""
    transfer = sqlite._transfer

    def later(*words: Any) -> None:
        comments.execute("INSERT INTO note VALUES ('in between')")
        transfer(*words)

    monkeypatch.setattr(sqlite, "_transfer", later)
    manifest = created(isso, capsys)
    assert manifest["sqlite"]["comments.db"]["rows"]["note"] == 500 and rows(comments) == 501
    assert isso.run("verify", manifest["name"]) == 0


@pytest.mark.parametrize("damage", ["rows", "index", "pages", "cut"])
def test_a_copy_that_is_no_good_is_found(isso: Play, comments: sqlite3.Connection, capsys: Printed, damage: str) -> None:
    """[F6] [D3] By what it holds, also where its checksum was made anew."""
    name = created(isso, capsys)["name"]
    packed, plain = isso.backups / name / "sqlite/comments.db.gz", isso.root / "plain.db"
    plain.write_bytes(subprocess.run(["gzip", "-dc", packed], check=True, capture_output=True).stdout)
    if damage == "rows":
        with sqlite3.connect(plain) as connection:
            connection.execute("DELETE FROM note WHERE rowid = 7")
        connection.close()
    elif damage == "index":
        # One letter of one entry: as many rows as ever, and a question that uses the index finds others.
        content = bytearray(plain.read_bytes())
        places = [match.start() for match in re.finditer(b"note 499", content)]
        assert len(places) == 2
        content[places[-1] : places[-1] + 8] = b"note 4X9"
        plain.write_bytes(content)
    elif damage == "pages":
        content = bytearray(plain.read_bytes())
        content[8192 : 8192 + 64] = b"\xff" * 64
        plain.write_bytes(content)
    else:
        plain.write_bytes(plain.read_bytes()[:8192])
    packed.write_bytes(subprocess.run(["gzip", "-c", plain], check=True, capture_output=True).stdout)
    manifest = json.loads((isso.backups / name / "manifest.json").read_text())
    manifest["files"]["sqlite/comments.db.gz"] = {"bytes": packed.stat().st_size, "sha256": files.sha256(packed)}
    (isso.backups / name / "manifest.json").write_text(json.dumps(sealed(manifest)))
    assert isso.run("verify", name) == 1
    assert "comments.db" in isso.status()["failures"]["verify"]["reason"]
    # And nothing is replaced by it.
    assert isso.run("restore", name) == 1 and rows(comments) == 500


def test_a_restore_goes_into_the_open_file(isso: Play, comments: sqlite3.Connection, capsys: Printed) -> None:
    """[F6] [D3] Who has it open sees the old rows, then the new ones; what it replaces is a backup of its own."""
    name = created(isso, capsys)["name"]
    comments.execute("DELETE FROM note WHERE rowid > 100")
    assert isso.run("restore", name) == 0
    said = capsys.readouterr().out
    assert rows(comments) == 500
    (kept,) = [line.split()[-1] for line in said.splitlines() if line.startswith("  sudo slipway demo backup restore ")]
    assert kept.endswith("-before-restore") and "2 tables, 501 rows: SQLite comments.db" in said
    # The line can be pasted.
    assert isso.run("restore", kept) == 0 and rows(comments) == 100


def test_a_damaged_file_is_replaced(isso: Play, comments: sqlite3.Connection, capsys: Printed) -> None:
    """[F6] [D3] That is what a restore is for; the log of the old file does not go with the new one."""
    name = created(isso, capsys)["name"]
    comments.close()
    live = isso.shared / "comments.db"
    live.write_bytes(b"no database" * 1000)
    live.with_name("comments.db-wal").write_bytes(b"old")
    assert isso.run("restore", name) == 0
    said = capsys.readouterr().out
    assert "comments.db was damaged, is kept with the ending .damaged" in said and "systemctl restart 'demo@*'" in said
    assert live.with_name("comments.db.damaged").read_bytes().startswith(b"no database")
    assert not live.with_name("comments.db-wal").exists() and not list(isso.backups.glob("*before-restore"))
    with sqlite3.connect(live) as connection:
        assert connection.execute("SELECT count(*) FROM note").fetchone() == (500,)
    connection.close()


def test_a_file_that_lost_its_tables_is_no_backup(isso: Play, comments: sqlite3.Connection, capsys: Printed) -> None:
    """[F6] [D3] As with a dump: the night before is not replaced by nothing. An app that has made none yet is fine."""
    created(isso, capsys)
    comments.close()
    for path in isso.shared.glob("comments.db*"):
        path.unlink()
    assert isso.run("create") == 1
    assert "holds 2" in isso.status()["failures"]["create"]["reason"] and isso.partial() == []


def test_a_file_that_is_not_made_yet(isso: Play, capsys: Printed) -> None:
    """[F6] The first night may come before the first visitor."""
    assert created(isso, capsys)["sqlite"] == {}
    assert isso.run("verify") == 0


def test_files_that_nobody_named(isso: Play, capsys: Printed) -> None:
    """[F6] [D3] Whatever begins as SQLite's files do is copied in the same way; what only looks like one stays a plain file."""
    isso.settings["sqlite"] = []
    other = isso.shared / "instance/other.sqlite"
    other.parent.mkdir()
    connection = sqlite3.connect(other, isolation_level=None)
    connection.execute("CREATE TABLE t (a)")
    (isso.shared / "fake.db").write_bytes(sqlite.MAGIC + b"upload" * 100)
    os.mkfifo(isso.shared / "pipe")
    (isso.shared / "link").symlink_to("/dev/zero")
    manifest = created(isso, capsys)
    assert {name: entry["declared"] for name, entry in manifest["sqlite"].items()} == {"instance/other.sqlite": False}
    assert "fake.db" in members(isso, manifest["name"]) and "other.sqlite" not in members(isso, manifest["name"])
    # A restore point holds what is known to be the app's; a restore of the database leaves uploads alone.
    assert created(isso, capsys, "--database-only")["sqlite"] == {}
    connection.execute("INSERT INTO t VALUES (1)")
    assert isso.run("restore", manifest["name"]) == 0
    assert connection.execute("SELECT count(*) FROM t").fetchone() == (1,)
    assert isso.run("restore", manifest["name"], "--files") == 0
    assert connection.execute("SELECT count(*) FROM t").fetchone() == (0,)
    connection.close()


def test_beside_postgres(isso: Play, comments: sqlite3.Connection, capsys: Printed) -> None:
    """[F6] Both are in the backup, and both come back."""
    isso.settings["database"] = "demo"
    manifest = created(isso, capsys)
    assert manifest["tables"] == 2 and manifest["database"] == "demo" and manifest["sqlite"]["comments.db"]["rows"]["note"] == 500
    comments.execute("DELETE FROM note")
    assert isso.run("--json", "restore", manifest["name"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert rows(comments) == 500 and (result["tables"], result["rows"]) == (4, 543)
    assert result["kept_as"] and result["kept_in"]
    assert isso.run("verify", manifest["name"]) == 0


def test_a_dump_does_not_come_back_without_postgres(isso: Play, capsys: Printed) -> None:
    """[F6] The message says what to write."""
    isso.settings["database"] = "demo"
    name = created(isso, capsys)["name"]
    isso.settings["database"] = ""
    assert isso.run("restore", name) == 1
    assert "add postgres to it" in capsys.readouterr().err


# --- Files ----------------------------------------------------------------------------------------


def test_newer_files_stay_and_are_named(isso: Play, capsys: Printed) -> None:
    """[D3] [F6] A restore with files loses nothing that came after the backup; each file that it brought back is named."""
    isso.settings["sqlite"] = []
    for name in ("gone.txt", "older.txt", "newer.txt", "same.txt"):
        (isso.shared / name).write_text("backup")
        os.utime(isso.shared / name, (1_700_000_000, 1_700_000_000))
    name = created(isso, capsys)["name"]
    (isso.shared / "gone.txt").unlink()
    for changed, when in (("older.txt", 1_600_000_000), ("newer.txt", 1_800_000_000)):
        (isso.shared / changed).write_text("live")
        os.utime(isso.shared / changed, (when, when))
    (isso.shared / "since.txt").write_text("live")
    assert isso.run("--json", "restore", name, "--files") == 0
    result = json.loads(capsys.readouterr().out)
    texts = {path.name: path.read_text() for path in isso.shared.glob("*.txt")}
    assert texts["gone.txt"] == texts["older.txt"] == "backup" and texts["newer.txt"] == texts["since.txt"] == "live"
    assert (sorted(result["files_back"]), result["files_newer"]) == (["gone.txt", "older.txt"], ["newer.txt"])
    assert "Files put back: 2" in result["report"] and "  newer.txt" in result["report"]


# --- With the app's rights --------------------------------------------------------------------------


@pytest.mark.skipif(os.geteuid() != 0, reason="another user's rights can be taken by root alone")
def test_work_is_done_with_the_apps_rights() -> None:
    """[A11] [F6] In a process of its own, which has none of root's."""
    nobody = Account.of("nobody")
    assert as_account(nobody, lambda: [os.getuid(), os.geteuid(), os.getgroups()]) == [nobody.uid, nobody.uid, []]
    assert os.geteuid() == 0 and as_account(None, lambda: "here") == "here"
    with pytest.raises(SlipwayError, match="nobody was to do ended with status 1"):
        as_account(nobody, lambda: 1 / 0)
    with pytest.raises(SlipwayError, match="Permission denied"):
        sqlite.ask(Path("/root/none.db"), nobody)


def test_a_lock_is_not_waited_for_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """[D3] [F6] Python's own backup would: each way fails within its time, and the file stays as it is."""
    monkeypatch.setattr(sqlite, "LOCK_WAIT", 0.3)
    live, copied = tmp_path / "live.db", tmp_path / "copy.db"
    connection = sqlite3.connect(live, isolation_level=None)
    connection.execute("CREATE TABLE t (a)")
    sqlite.copy(live, copied, None)
    connection.execute("BEGIN EXCLUSIVE")
    with pytest.raises(SlipwayError, match="locked"):
        sqlite.copy(live, tmp_path / "other.db", None)
    with pytest.raises(SlipwayError, match="locked"):
        sqlite.put_back(copied, live, None)
    connection.execute("ROLLBACK")
    connection.close()


def test_a_run_that_still_works_keeps_its_folder(isso: Play, comments: sqlite3.Connection, capsys: Printed) -> None:
    """[D3 A9] Somebody's by hand, beside the night's: in its sandbox /proc hides the other. What a killed run left is removed."""
    place = Path(isso.settings["proof_dir"])
    with subprocess.Popen(["true"]) as ended:
        ended.wait()
    names = {number: place.with_name(f"{place.name}-sqlite-{number}") for number in (str(os.getppid()), str(ended.pid), "x")}
    for folder in names.values():
        folder.mkdir(parents=True)
    created(isso, capsys)
    assert [folder.exists() for folder in names.values()] == [True, False, False]
