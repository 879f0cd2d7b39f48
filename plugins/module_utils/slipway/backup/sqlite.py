# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""SQLite files of an app: copied as of one moment while the app writes, counted in the same moment, proven, and brought back.

Every file is opened with the app's rights, in a process of its own: it is the app's, and so is what stands in it. A copy is made by
SQLite's own backup, so no reader and no writer sees half of it, and the app goes on meanwhile.
"""

from __future__ import annotations

import os
import sqlite3
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ..core.run import Account, as_account
from .rules import BackupError

#: How every file of SQLite begins that is not empty.
MAGIC = b"SQLite format 3\0"
#: What may lie beside a file, and is of no use without the moment that it belongs to.
COMPANIONS = ("-wal", "-shm", "-journal")
#: What a restore adds to the name of a file that is none of SQLite any more.
DAMAGED = ".damaged"
#: Seconds that a file may be locked by a writer, or by readers where it is brought back.
LOCK_WAIT = 60
#: SQLITE_DONE.
_DONE = 101
_TABLES = (
    "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND sql NOT LIKE 'CREATE VIRTUAL%'"
)


class AbsentError(BackupError):
    """There is no such file (yet)."""


def found_below(folder: Path) -> Iterator[Path]:
    """The files of SQLite in and below a folder, whatever they are called; no link is followed."""
    for place, _, names in os.walk(folder):
        yield from (path for path in (Path(place, name) for name in sorted(names)) if _is_sqlite(path))


def _is_sqlite(path: Path) -> bool:
    try:
        # It may be a pipe, or become a link while we look.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        return stat.S_ISREG(os.fstat(descriptor).st_mode) and os.read(descriptor, len(MAGIC)) == MAGIC
    except OSError:
        return False
    finally:
        os.close(descriptor)


def ask(path: Path, account: Account | None) -> int:
    """How many tables a file has: it opens."""
    return len(_working(account, lambda: _count_in(path, rows=False)))


def opens(path: Path, account: Account | None) -> bool:
    """Whether there is such a file, and it is one of SQLite."""
    try:
        ask(path, account)
    except BackupError:
        return False
    return True


def copy(path: Path, target: Path, account: Account | None) -> dict[str, Any]:
    """Write a copy as of one moment; the rows of each table, and Alembic's revisions, in that moment."""
    found: dict[str, Any] = _working(account, lambda: _copy(path, target))
    return found


def prove(path: Path, account: Account | None) -> dict[str, int]:
    """Read a copy to its end, each index against its table; the rows of each table."""
    found: dict[str, int] = _working(account, lambda: _prove(path))
    return found


def revisions(path: Path, account: Account | None) -> list[str]:
    """The schema revisions that Alembic recorded; none where there is no file."""
    try:
        found: list[str] = _working(account, lambda: _with(path, _revisions))
    except AbsentError:
        return []
    return found


def put_back(source: Path, path: Path, account: Account | None) -> bool:
    """Let ``path`` hold what the copy ``source`` does, in one step; whether the file itself had to be replaced.

    Who has the file open sees the old rows, then the new ones. Where it is damaged it is put aside, with the ending `DAMAGED`: then who has
    it open keeps the old one.
    """
    return bool(_working(account, lambda: _put_back(source, path)))


# --- With the app's rights --------------------------------------------------------------------------


def _working(account: Account | None, work: Callable[[], Any]) -> Any:
    def safely() -> Any:
        try:
            return {"found": work()}
        except AbsentError as error:
            return {"absent": str(error)}
        except (sqlite3.Error, OSError) as error:
            return {"error": str(error)}

    answer = as_account(account, safely)
    if "absent" in answer:
        raise AbsentError(answer["absent"])
    if "error" in answer:
        raise BackupError(answer["error"])
    return answer["found"]


def _open(path: Path, mode: str = "rw") -> sqlite3.Connection:
    if mode == "rw" and not path.is_file():
        raise AbsentError(f"there is no file {path}")
    connection = sqlite3.connect(f"file:{quote(str(path))}?mode={mode}", uri=True, timeout=LOCK_WAIT, isolation_level=None)
    # What stands in a view or a trigger of the app's is not to be run by us.
    connection.execute("PRAGMA trusted_schema = OFF")
    return connection


def _with(path: Path, question: Callable[[sqlite3.Connection], Any]) -> Any:
    connection = _open(path)
    try:
        return question(connection)
    finally:
        connection.close()


def _names(connection: sqlite3.Connection) -> list[str]:
    return [str(name) for (name,) in connection.execute(_TABLES)]


def _counts(connection: sqlite3.Connection) -> dict[str, int]:
    return {name: int(connection.execute(f"SELECT count(*) FROM {_quoted(name)}").fetchone()[0]) for name in _names(connection)}


def _count_in(path: Path, rows: bool) -> dict[str, int]:
    found: dict[str, int] = _with(path, _counts if rows else lambda connection: dict.fromkeys(_names(connection), 0))
    return found


def _revisions(connection: sqlite3.Connection) -> list[str]:
    if "alembic_version" not in _names(connection):
        return []
    return sorted(str(row[0]) for row in connection.execute("SELECT version_num FROM alembic_version"))


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _copy(path: Path, target: Path) -> dict[str, Any]:
    source = _open(path)
    made = sqlite3.connect(target, isolation_level=None)
    try:
        # Within one transaction of reading: what is counted is what is copied.
        source.execute("BEGIN")
        found = {"rows": _counts(source), "revisions": _revisions(source)}
        _transfer(source, made)
    finally:
        made.close()
        source.close()
    return found


def _transfer(source: sqlite3.Connection, target: sqlite3.Connection) -> None:
    """All pages in one step. Python would wait for a lock for ever."""
    deadline = time.monotonic() + LOCK_WAIT

    def impatient(status: int, remaining: int, total: int) -> None:
        if status != _DONE and time.monotonic() > deadline:
            raise sqlite3.OperationalError(f"database is locked for more than {LOCK_WAIT} s")

    source.backup(target, pages=-1, progress=impatient)


def _prove(path: Path) -> dict[str, int]:
    connection = _open(path)
    try:
        said = [str(line) for (line,) in connection.execute("PRAGMA integrity_check(5)")]
        if said != ["ok"]:
            raise sqlite3.DatabaseError(f"integrity_check: {'; '.join(said)}")
        return _counts(connection)
    finally:
        connection.close()


def _put_back(source: Path, path: Path) -> bool:
    path.parent.mkdir(parents=True, exist_ok=True)
    copied = _open(source)
    try:
        try:
            live = _open(path, "rwc")
            try:
                _transfer(copied, live)
            finally:
                live.close()
        except sqlite3.DatabaseError as error:
            if "locked" in str(error) or "full" in str(error):
                raise
        else:
            return False
        fresh = path.with_name(f".partial-{path.name}")
        fresh.unlink(missing_ok=True)
        made = sqlite3.connect(fresh, isolation_level=None)
        try:
            _transfer(copied, made)
        finally:
            made.close()
    finally:
        copied.close()
    # Never the new file beside the log of the old one: SQLite would write that into it.
    for companion in (*COMPANIONS, ""):
        old = path.with_name(path.name + companion)
        if old.exists():
            old.replace(path.with_name(path.name + DAMAGED + companion))
    fresh.replace(path)
    return True


def with_companions(paths: Sequence[Path]) -> list[Path]:
    """The files, and what SQLite keeps beside each."""
    return [path.with_name(path.name + suffix) for path in paths for suffix in ("", *COMPANIONS)]
