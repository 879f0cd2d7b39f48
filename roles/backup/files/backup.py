#!/usr/bin/python3
"""Take, list, check and restore the backups of one app.

A backup is one folder, ``<backup_dir>/<UTC time>[-<label>]/``: ``db.dump`` (pg_dump, custom format), ``files.tar.gz``
(uploads and configuration) and ``manifest.json``. It is written under a temporary name, read back, and renamed when it
is complete: what carries a name like ``20261120T033000Z`` is whole. A restore goes into a new database, is checked
there, and takes the old one's place by a rename; the old one is kept.

The first half is pure (names, retention, what a dump's table of contents says); the second half touches the host.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import json
import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import syslog
import tempfile
import time
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import IO, Any, NoReturn

DUMP = "db.dump"
FILES = "files.tar.gz"
MANIFEST = "manifest.json"
STATUS = "status.json"
PARTIAL = ".partial-"
NAME = re.compile(r"(?P<time>\d{8}T\d{6}Z)(-(?P<label>[a-z0-9][a-z0-9-]{0,39}))?")
LABEL = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
EXIT_FAILED = 1
EXIT_LOCKED = 75  # EX_TEMPFAIL: try again later
CHUNK = 1024 * 1024
SWAP_ATTEMPTS = 5
#: Seconds to wait for a table that somebody has locked. A backup that waits forever is one that nobody hears of.
LOCK_WAIT = 60


class BackupError(Exception):
    """Something an operator has to know; the text says what and, where possible, what to do."""


class LockedError(BackupError):
    """Another run is under way."""


# --- Pure: names and retention ------------------------------------------------------------------


def backup_name(now: datetime, label: str = "") -> str:
    """The folder name of a backup taken ``now``; names sort by time."""
    if label and not LABEL.fullmatch(label):
        raise BackupError(f"label {label!r}: use lower-case letters, digits and dashes, at most 40, not a dash first")
    stamp = now.astimezone(timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    return f"{stamp}-{label}" if label else stamp


def taken_at(name: str) -> datetime | None:
    """When the backup called ``name`` was taken; None when it is not a backup's name."""
    match = NAME.fullmatch(name)
    if not match:
        return None
    try:
        return datetime.strptime(match["time"], "%Y%m%dT%H%M%SZ").replace(tzinfo=timezone.utc)
    except ValueError:
        return None


def expired(complete: Iterable[str], now: datetime, keep_days: int) -> list[str]:
    """Which of the complete backups may go: older than ``keep_days``, and never the newest."""
    dated = sorted((when, name) for name in complete if (when := taken_at(name)))
    return [name for when, name in dated[:-1] if now - when > timedelta(days=keep_days)]


def space_needed(previous: int | None, upper_bound: int, reserve: int) -> int:
    """Bytes that must be free: half as much again as the last backup, or all there is to back up, plus a reserve."""
    return (upper_bound if previous is None else previous * 3 // 2) + reserve


# --- Pure: what a dump says about itself ----------------------------------------------------------


def toc_entries(listing: str) -> list[str]:
    """The entries of ``pg_restore --list``, without its comments."""
    return [line for line in listing.splitlines() if line.strip() and not line.startswith(";")]


def _described(entry: str) -> str:
    """``TABLE public note demo`` of ``219; 1259 16391 TABLE public note demo``."""
    parts = entry.split(maxsplit=3)
    return parts[3] if len(parts) == 4 else ""


def table_count(listing: str) -> int:
    """How many tables the dump defines."""
    return sum(bool(re.match(r"TABLE (?!DATA |ATTACH )", _described(entry))) for entry in toc_entries(listing))


def extensions(listing: str) -> set[str]:
    """Names of the extensions that the dump creates."""
    found = (re.match(r"EXTENSION - (\S+)", _described(entry)) for entry in toc_entries(listing))
    return {match[1] for match in found if match}


def restore_passes(listing: str, privileged: set[str]) -> list[tuple[str, bool]]:
    """How to restore the dump: lists for ``pg_restore --use-list``, each with whether it runs as the superuser.

    Everything belongs to the app's role; only extensions that an ordinary role may not create are made by the
    superuser, after the schemas they may live in. An empty list stands for the whole dump.
    """
    if not privileged:
        return [("", False)]
    schemas: list[str] = []
    special: list[str] = []
    rest: list[str] = []
    for entry in toc_entries(listing):
        what = _described(entry)
        match = re.match(r"(?:EXTENSION -|COMMENT - EXTENSION) (\S+)", what)
        target = special if match and match[1] in privileged else schemas if what.startswith("SCHEMA - ") else rest
        target.append(entry)
    return [("\n".join(part) + "\n", superuser) for part, superuser in ((schemas, False), (special, True), (rest, False)) if part]


def refusal(dumped: int, live: int, before: int) -> str | None:
    """Why a dump with ``dumped`` tables is no backup of a database that has ``live`` and had ``before`` tables.

    A database that never had a table is fine (an app that keeps nothing there): its uploads still want a backup.
    """
    if dumped == 0 and live > 0:
        return f"the dump holds no table, the database has {live}"
    if dumped == 0 and before > 0:
        return f"the database has no table any more; the backup before this one holds {before}"
    return None


def copied_rows(sql: str) -> list[str]:
    """Rows of the COPY blocks in a plain-text dump."""
    rows: list[str] = []
    inside = False
    for line in sql.splitlines():
        if inside and line == "\\.":
            inside = False
        elif inside:
            rows.append(line)
        elif line.startswith("COPY ") and line.endswith("FROM stdin;"):
            inside = True
    return sorted(rows)


def quote(identifier: str) -> str:
    """An SQL identifier; app names have dashes."""
    return '"' + identifier.replace('"', '""') + '"'


def literal(text: str) -> str:
    """An SQL string."""
    return "'" + text.replace("'", "''") + "'"


def human(size: int) -> str:
    """A size for people."""
    value = float(size)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


@dataclass(frozen=True)
class Config:
    """``/etc/<app>/backup.json``."""

    app: str
    user: str
    proxy_group: str
    database: str
    admin: str
    socket_dir: str
    backup_dir: Path
    log_file: Path
    shared: Path
    paths: tuple[str, ...]
    keep_days: int
    reserve_mb: int

    @classmethod
    def parse(cls, text: str) -> Config:
        """Read the configuration, or say which part of it is wrong."""
        try:
            data = json.loads(text)
            config = cls(
                app=str(data["app"]),
                user=str(data["user"]),
                proxy_group=str(data["proxy_group"]),
                database=str(data["database"]),
                admin=str(data["admin"]),
                socket_dir=str(data["socket_dir"]),
                backup_dir=Path(data["backup_dir"]),
                log_file=Path(data["log_file"]),
                shared=Path(data["shared"]),
                paths=tuple(str(path) for path in data["paths"]),
                keep_days=int(data["keep_days"]),
                reserve_mb=int(data["reserve_mb"]),
            )
        except (ValueError, TypeError, KeyError) as error:
            raise BackupError(f"the configuration is not usable: {type(error).__name__}: {error}") from error
        if config.keep_days < 1:
            raise BackupError(f"keep_days is {config.keep_days}: at least 1")
        return config


# --- Effects: files, processes, log ---------------------------------------------------------------


def utc_now() -> datetime:
    """The time, to the second."""
    return datetime.now(timezone.utc).replace(microsecond=0)


def sync(path: Path) -> None:
    """Put a file or a folder's entries on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_atomically(path: Path, text: str) -> None:
    """Readers see the old text or the new one, never half of it."""
    temporary = path.with_name(f"{PARTIAL}{path.name}")
    temporary.write_text(text, encoding="utf-8")
    sync(temporary)
    temporary.replace(path)
    sync(path.parent)


def sha256(path: Path) -> str:
    """Checksum of a file, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as handle:
        while chunk := handle.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def expand(patterns: Iterable[str]) -> list[str]:
    """The files and folders that the patterns find on this host."""
    return sorted({str(path) for pattern in patterns for path in Path("/").glob(pattern.lstrip("/"))})


def disk_usage(paths: Iterable[str]) -> int:
    """Bytes of the files in and below ``paths``."""
    total = 0
    for top in map(Path, paths):
        for path in (top, *top.rglob("*")):
            # A file may go away while we look.
            with contextlib.suppress(OSError):
                total += path.lstat().st_size
    return total


def run(
    argv: Sequence[str],
    *,
    user: str = "",
    groups: Sequence[str] = (),
    stdin: IO[bytes] | None = None,
    stdout: IO[bytes] | None = None,
    accept: tuple[int, ...] = (0,),
) -> str:
    """Run a program (as ``user``, when one is named); its output, or an error that carries what it said."""
    identity: dict[str, Any] = {}
    if user:
        try:
            account = pwd.getpwnam(user)
        except KeyError as error:
            raise BackupError(f"there is no system user {user}") from error
        if account.pw_uid != os.geteuid():
            identity = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": list(groups)}
    # PGHOST and the like in the operator's shell must not lead somewhere else.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PG")}
    try:
        result = subprocess.run(
            argv,
            stdin=stdin if stdin is not None else subprocess.DEVNULL,
            stdout=stdout if stdout is not None else subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd="/",
            env={**environment, "LC_ALL": "C.UTF-8"},
            check=False,
            **identity,
        )
    except OSError as error:
        raise BackupError(f"{argv[0]} could not be started: {error}") from error
    if result.returncode not in accept:
        said = " / ".join(result.stderr.decode(errors="replace").strip().splitlines()[-5:])
        raise BackupError(f"{argv[0]} exited {result.returncode}: {said or 'without a word'}")
    return result.stdout.decode(errors="replace") if stdout is None else ""


class Log:
    """Lines in the app's log folder; errors also on stderr and in the journal."""

    def __init__(self, path: Path, tag: str) -> None:
        """Log to ``path``; ``tag`` names the lines in the journal."""
        self.path = path
        syslog.openlog(tag, facility=syslog.LOG_CRON)

    def _append(self, level: str, message: str) -> None:
        line = f"{utc_now().strftime('%Y-%m-%dT%H:%M:%SZ')} {level} {message}\n"
        self.path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        # The app may write to this folder, and this runs as root: never through a link that it left there.
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o640)
        with os.fdopen(descriptor, "a", encoding="utf-8") as handle:
            handle.write(line)

    def info(self, message: str) -> None:
        """A line that nobody has to read today."""
        try:
            self._append("INFO", message)
        except OSError as error:
            # A backup without its log line is worth more than no backup; the journal says so.
            syslog.syslog(syslog.LOG_WARNING, f"{message} (not in {self.path}: {error})")

    def error(self, message: str) -> None:
        """A line that somebody has to read."""
        print(f"error: {message}", file=sys.stderr)
        syslog.syslog(syslog.LOG_ERR, message)
        with contextlib.suppress(OSError):
            self._append("ERROR", message)


class Database:
    """The app's PostgreSQL, as its superuser, over the socket."""

    def __init__(self, config: Config) -> None:
        """Talk to the server of ``config``."""
        self.config = config

    def sql(self, query: str, database: str = "postgres") -> str:
        """Run ``query`` (several statements are one transaction); rows as lines, columns parted by ``|``."""
        options = ["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set", "ON_ERROR_STOP=1"]
        where = ["--host", self.config.socket_dir, "--dbname", database]
        # Two commands: within one the two were a transaction, in which no database can be made or dropped.
        commands = ["--command", f"SET lock_timeout = '{LOCK_WAIT}s'", "--command", query]
        return run(["psql", *options, *where, *commands], user=self.config.admin).strip()

    def exists(self, database: str) -> bool:
        """Whether there is such a database."""
        return bool(self.sql(f"SELECT 1 FROM pg_database WHERE datname = {literal(database)}"))

    def tables(self, database: str) -> int:
        """How many tables it has, not counting the system's and the extensions'."""
        query = (
            "SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE c.relkind IN ('r', 'p') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'"
            " AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass"
            " AND d.objid = c.oid AND d.deptype = 'e')"
        )
        return int(self.sql(query, database))

    def revisions(self, database: str) -> list[str]:
        """The schema revisions that Alembic recorded."""
        query = "SELECT quote_ident(schemaname) || '.' || quote_ident(tablename) FROM pg_tables WHERE tablename = 'alembic_version'"
        places = self.sql(query, database).splitlines()
        found = (self.sql(f"SELECT version_num FROM {place}", database).splitlines() for place in places)
        return sorted(row for rows in found for row in rows)

    def dump(self, target: Path) -> None:
        """Write a dump in PostgreSQL's custom format (compressed) to ``target``."""
        command = ["pg_dump", "--format=custom", "--host", self.config.socket_dir, "--dbname", self.config.database]
        command += [f"--lock-wait-timeout={LOCK_WAIT}s"]
        with target.open("xb") as handle:
            run(command, user=self.config.admin, stdout=handle)

    def read_dump(self, dump: Path, *options: str) -> str:
        """What ``pg_restore`` makes of a dump without a database."""
        with dump.open("rb") as handle:
            return run(["pg_restore", *options], user=self.config.admin, stdin=handle)

    def fill(self, database: str, dump: Path, listing: str) -> None:
        """Restore ``dump`` into the empty ``database``, everything owned by the app's role."""
        trusted = "SELECT DISTINCT name FROM pg_available_extension_versions WHERE trusted OR NOT superuser"
        privileged = extensions(listing)
        if privileged:
            privileged -= set(self.sql(trusted, database).splitlines())
        for use_list, superuser in restore_passes(listing, privileged):
            command = ["pg_restore", "--exit-on-error", "--no-owner", "--host", self.config.socket_dir]
            command += ["--dbname", database] + ([] if superuser else [f"--role={self.config.user}"])
            with dump.open("rb") as handle, tempfile.NamedTemporaryFile("w", prefix="slipway-", suffix=".toc") as toc:
                if use_list:
                    toc.write(use_list)
                    toc.flush()
                    Path(toc.name).chmod(0o644)
                    command.append(f"--use-list={toc.name}")
                run(command, user=self.config.admin, stdin=handle)

    def swap(self, database: str, replacement: str, keep_as: str) -> None:
        """Let ``replacement`` take the place of ``database``, kept as ``keep_as``: one transaction, or nothing."""
        query = ""
        if self.exists(database):
            query = (
                f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = {literal(database)};"
                f"ALTER DATABASE {quote(database)} RENAME TO {quote(keep_as)};"
            )
        query += f"ALTER DATABASE {quote(replacement)} RENAME TO {quote(database)};"
        for attempt in range(1, SWAP_ATTEMPTS + 1):
            try:
                self.sql(query)
                return
            except BackupError as error:
                # The app reconnects at once; a session that slipped in between the two statements stops the rename.
                if "being accessed by other users" not in str(error) or attempt == SWAP_ATTEMPTS:
                    raise


# --- Verbs ------------------------------------------------------------------------------------------


class Backups:
    """The backups of one app."""

    def __init__(self, config: Config, log: Log) -> None:
        """Work with the backups of ``config``."""
        self.config = config
        self.log = log
        self.database = Database(config)
        self.folder = config.backup_dir

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """One run at a time. The kernel lets go of the lock when its holder dies, so it is never stale."""
        with (self.folder / ".lock").open("a+", encoding="utf-8") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                handle.seek(0)
                holder = handle.read().strip() or "unknown"
                raise LockedError(f"another backup or restore is under way ({holder}); try again later") from error
            handle.truncate(0)
            handle.write(f"pid {os.getpid()} since {utc_now().isoformat()}")
            handle.flush()
            yield

    def complete(self) -> dict[str, dict[str, Any]]:
        """Manifests of the complete backups, oldest first."""
        found = {}
        for path in sorted(self.folder.iterdir()):
            if taken_at(path.name) and (manifest := self._manifest(path)):
                found[path.name] = manifest
        return found

    def damaged(self) -> list[str]:
        """Folders that are named like a backup and are none."""
        whole = self.complete()
        return sorted(path.name for path in self.folder.iterdir() if taken_at(path.name) and path.name not in whole)

    @staticmethod
    def _manifest(path: Path) -> dict[str, Any] | None:
        try:
            manifest: dict[str, Any] = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
            sizes = {name: (path / name).stat().st_size for name in (DUMP, FILES)}
            whole = all(manifest["files"][name]["bytes"] == size for name, size in sizes.items())
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return manifest if whole and manifest.get("name") == path.name else None

    def find(self, name: str) -> tuple[Path, dict[str, Any]]:
        """The backup called ``name`` (or the ``latest``) and its manifest."""
        whole = self.complete()
        if name == "latest" and whole:
            name = list(whole)[-1]
        if name not in whole:
            known = ", ".join(whole) or "none"
            raise BackupError(f"there is no complete backup {name!r} in {self.folder}; complete ones: {known}")
        return self.folder / name, whole[name]

    # --- create ---

    def create(self, label: str = "", database_only: bool = False) -> dict[str, Any]:
        """Take a backup; remove the expired ones only after it is complete."""
        backup_name(utc_now(), label)
        with self.locked():
            try:
                manifest = self._create(label, database_only)
                kept = ("name", "taken_at", "bytes", "duration_seconds")
                # A restore point is no backup: whoever watches the time of the last one looks for the uploads too.
                self._status(**{"last_restore_point" if database_only else "last_success": {key: manifest[key] for key in kept}})
                self._prune()
            except BaseException as error:
                reason = str(error) or type(error).__name__
                with contextlib.suppress(OSError):
                    self._status(last_failure={"at": utc_now().isoformat(), "reason": reason})
                raise
        return manifest

    def _create(self, label: str, database_only: bool) -> dict[str, Any]:
        started = time.monotonic()
        self._clean()
        name = backup_name(utc_now(), label)
        while (self.folder / name).exists():
            time.sleep(0.2)
            name = backup_name(utc_now(), label)
        self.log.info(f"create {name}: begin")
        whole = list(self.complete().values())
        paths = [] if database_only else expand(self.config.paths)
        alike = [manifest for manifest in whole if bool(manifest.get("paths")) == bool(paths)]
        self._check_space(int(alike[-1]["bytes"]) if alike else None, paths)
        partial = self.folder / f"{PARTIAL}{name}"
        partial.mkdir(mode=0o700)
        try:
            content = self._dump(partial / DUMP, int(whole[-1]["tables"]) if whole else 0)
            self._archive(partial / FILES, paths)
            written = (partial / DUMP, partial / FILES)
            files = {path.name: {"bytes": path.stat().st_size, "sha256": sha256(path)} for path in written}
            manifest: dict[str, Any] = {
                "format": 1,
                "name": name,
                "app": self.config.app,
                "label": label,
                "taken_at": (taken_at(name) or utc_now()).isoformat(),
                "duration_seconds": round(time.monotonic() - started, 1),
                "bytes": sum(entry["bytes"] for entry in files.values()),
                "files": files,
                "paths": paths,
                **content,
            }
            write_atomically(partial / MANIFEST, json.dumps(manifest, indent=2) + "\n")
            for path in (*written, partial):
                sync(path)
            partial.rename(self.folder / name)
            sync(self.folder)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        self.log.info(
            f"create {name}: complete, {human(manifest['bytes'])}, {manifest['tables']} tables,"
            f" schema {','.join(manifest['schema_revisions']) or 'unversioned'}, {manifest['duration_seconds']} s"
        )
        return manifest

    def _check_space(self, previous: int | None, paths: Sequence[str]) -> None:
        upper_bound = 0
        if previous is None:
            size = self.database.sql(f"SELECT pg_database_size({literal(self.config.database)})")
            upper_bound = int(size) + disk_usage(paths)
        needed = space_needed(previous, upper_bound, self.config.reserve_mb * CHUNK)
        free = shutil.disk_usage(self.folder).free
        if free < needed:
            raise BackupError(
                f"{human(free)} free at {self.folder}, {human(needed)} wanted (reserve {self.config.reserve_mb} MiB):"
                " free some, keep fewer days, or lower backup_reserve_mb"
            )

    def _dump(self, target: Path, tables_before: int) -> dict[str, Any]:
        """Write the dump and read it back; what it holds."""
        database = self.config.database
        live = self.database.tables(database)
        self.database.dump(target)
        listing = self.database.read_dump(target, "--list")
        # The table of contents comes first in the file: only reading to the end finds a dump that was cut short.
        self.database.read_dump(target, "--file=/dev/null")
        tables = table_count(listing)
        if reason := refusal(tables, live, tables_before):
            raise BackupError(f"empty dump refused: {reason}")
        # Read from the dump, not from the database, which may have been migrated in the meantime.
        revisions = copied_rows(self.database.read_dump(target, "--data-only", "--table=alembic_version", "--file=-"))
        query = (
            "SELECT pg_encoding_to_char(encoding), datcollate, datctype, pg_database_size(oid),"
            f" current_setting('server_version') FROM pg_database WHERE datname = {literal(database)}"
        )
        encoding, collate, ctype, size, version = self.database.sql(query).split("|")
        return {
            "database": database,
            "database_bytes": int(size),
            "encoding": encoding,
            "collate": collate,
            "ctype": ctype,
            "postgres": version,
            "schema_revisions": revisions,
            "tables": tables,
        }

    def _archive(self, target: Path, paths: Sequence[str]) -> None:
        names = [path.lstrip("/") for path in paths]
        # 1 means that a file changed or went away while tar read it: the app is running, that is no failure.
        with target.open("xb") as handle:
            command = ["tar", "--create", "--gzip", "--directory=/", "--file=-", "--files-from=/dev/null", "--", *names]
            run(command, stdout=handle, accept=(0, 1))

    def _clean(self) -> None:
        """Remove what interrupted runs left. We hold the lock: nobody is at work there."""
        for path in self.folder.glob(f"{PARTIAL}*"):
            self.log.info(f"remove {path.name}, left by an interrupted run")
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def _prune(self) -> None:
        complete = self.complete()
        with_files = [name for name, manifest in complete.items() if manifest.get("paths")]
        for name in expired(complete, utc_now(), self.config.keep_days):
            # Restore points are newer, but hold the database alone.
            if name in with_files[-1:]:
                continue
            # Under a temporary name first: a removal that is interrupted must not leave half a backup.
            doomed = self.folder / f"{PARTIAL}expired-{name}"
            (self.folder / name).rename(doomed)
            shutil.rmtree(doomed)
            self.log.info(f"remove {name}, older than {self.config.keep_days} days")

    def _status(self, **change: Mapping[str, Any]) -> None:
        path = self.folder / STATUS
        write_atomically(path, json.dumps({**self.status(), **change}, indent=2) + "\n")

    def status(self) -> dict[str, Any]:
        """The last success and the last failure."""
        try:
            loaded = json.loads((self.folder / STATUS).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return loaded if isinstance(loaded, dict) else {}

    # --- check ---

    def check(self, name: str) -> dict[str, Any]:
        """Prove that a backup is what was written, and that its archives can be read to the end."""
        path, manifest = self.find(name)
        self._verify(path, manifest)
        self.database.read_dump(path / DUMP, "--file=/dev/null")
        with (path / FILES).open("rb") as handle:
            run(["tar", "--list", "--gzip", "--file=-"], stdin=handle)
        self.log.info(f"check {manifest['name']}: good")
        return manifest

    @staticmethod
    def _verify(path: Path, manifest: Mapping[str, Any]) -> None:
        for name, recorded in manifest["files"].items():
            if sha256(path / name) != recorded["sha256"]:
                raise BackupError(f"{path / name} is not what was backed up (sha256 differs); take another backup")

    # --- restore ---

    def restore(self, name: str, with_files: bool) -> dict[str, Any]:
        """Bring a backup back; the database it replaces is kept."""
        with self.locked():
            path, manifest = self.find(name)
            self.log.info(f"restore {manifest['name']}: begin")
            self._verify(path, manifest)
            if with_files and (str(self.config.shared) not in manifest["paths"] or not self.config.shared.is_dir()):
                raise BackupError(f"{self.config.shared} is not in the backup or not on this host; restore without --files")
            result = self._restore_database(path / DUMP, manifest)
            if with_files:
                self._restore_files(path / FILES)
        self.log.info(f"restore {manifest['name']}: complete, the replaced database is {result['kept_as'] or 'none'}")
        return {"name": manifest["name"], "files": with_files, **result}

    def _restore_database(self, dump: Path, manifest: Mapping[str, Any]) -> dict[str, Any]:
        live = self.config.database
        fresh = f"{live}_restore"
        replaced = self.database.exists(live)
        kept_as = f"{live}_before_{utc_now():%Y%m%d%H%M%S}" if replaced else ""
        before = self.database.revisions(live) if replaced else []
        listing = self.database.read_dump(dump, "--list")
        self._check_room(int(manifest["database_bytes"]))
        # What an interrupted restore left; this name belongs to this tool.
        self.database.sql(f"DROP DATABASE IF EXISTS {quote(fresh)} WITH (FORCE)")
        try:
            self.database.sql(
                f"CREATE DATABASE {quote(fresh)} OWNER {quote(self.config.user)} TEMPLATE template0"
                f" ENCODING {literal(manifest['encoding'])}"
                f" LC_COLLATE {literal(manifest['collate'])} LC_CTYPE {literal(manifest['ctype'])}"
            )
            self.database.sql(f"REVOKE CONNECT, TEMPORARY ON DATABASE {quote(fresh)} FROM PUBLIC")
            self.database.fill(fresh, dump, listing)
            self._check_restored(fresh, manifest)
            # Without statistics the first queries would be planned blindly.
            self.database.sql("ANALYZE", fresh)
            self.database.swap(live, fresh, kept_as)
        except BaseException:
            with contextlib.suppress(BackupError):
                self.database.sql(f"DROP DATABASE IF EXISTS {quote(fresh)} WITH (FORCE)")
            raise
        return {
            "database": live,
            "kept_as": kept_as,
            "tables": manifest["tables"],
            "schema_revisions": manifest["schema_revisions"],
            "schema_revisions_before": before,
        }

    def _check_room(self, wanted: int) -> None:
        """Two databases stand side by side for a while; a full disk would stop the live one."""
        data = self.database.sql("SHOW data_directory")
        free = shutil.disk_usage(data).free
        needed = wanted + self.config.reserve_mb * CHUNK
        if free < needed:
            raise BackupError(f"{human(free)} free at {data}, {human(needed)} wanted to restore beside the live one")

    def _check_restored(self, database: str, manifest: Mapping[str, Any]) -> None:
        tables = self.database.tables(database)
        if tables != manifest["tables"]:
            raise BackupError(f"the restored database has {tables} tables, the backup {manifest['tables']}")
        revisions = self.database.revisions(database)
        if revisions != manifest["schema_revisions"]:
            raise BackupError(f"the restored schema is {revisions}, the backup's {manifest['schema_revisions']}")

    def _restore_files(self, archive: Path) -> None:
        """Bring the uploads back, over what is there; other files stay."""
        member = str(self.config.shared).lstrip("/")
        # As the app's user: a link that the app left in its own folder leads nowhere else. With the proxy's group, or
        # the kernel would take the setgid bit off the folders that hand this group on to new uploads.
        # (Not --no-overwrite-dir: it takes the bit off a folder while it writes there, seen with tar 1.34 and 1.35.)
        command = ["tar", "--extract", "--gzip", "--preserve-permissions", "--directory=/", "--file=-", "--", member]
        with archive.open("rb") as handle:
            run(command, user=self.config.user, groups=[self.config.proxy_group], stdin=handle)


# --- Command line -----------------------------------------------------------------------------------


def describe(backups: Backups) -> str:
    """The backups as a table, and what to type next."""
    rows = [
        (name, human(manifest["bytes"]), str(manifest["tables"]), ",".join(manifest["schema_revisions"]) or "-")
        for name, manifest in backups.complete().items()
    ]
    if not rows:
        return f"No backup in {backups.folder} yet."
    table = [("NAME", "SIZE", "TABLES", "SCHEMA"), *rows]
    widths = [max(len(row[column]) for row in table) for column in range(4)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table]
    lines += [f"{name}  damaged or incomplete" for name in backups.damaged()]
    return "\n".join(lines)


def report_restore(result: Mapping[str, Any], admin: str) -> str:
    """What a restore did, and what may have to follow."""
    lines = [f"Restored {result['name']} into {result['database']}, {result['tables']} tables; sessions were ended."]
    if result["kept_as"]:
        lines.append(f"The database it replaced is kept. To drop it: sudo -u {admin} dropdb '{result['kept_as']}'")
    was, now = (",".join(result[key]) or "none" for key in ("schema_revisions_before", "schema_revisions"))
    if was != now:
        lines.append(f"The schema went from {was} to {now}: deploy, so that the migrations of the live release run.")
    return "\n".join(lines)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(prog="backup.py", description="Backups of one app: take, list, check, restore.")
    top.add_argument("--config", type=Path, required=True, help="/etc/<app>/backup.json")
    top.add_argument("--json", action="store_true", help="print the result as JSON")
    verbs = top.add_subparsers(dest="verb", required=True)
    create = verbs.add_parser("create", help="take a backup now")
    create.add_argument("--label", default="", help="ends the name: before-upgrade")
    create.add_argument("--database-only", action="store_true", help="without uploads and configuration: before a migration")
    verbs.add_parser("list", help="the complete backups, oldest first")
    verbs.add_parser("check", help="verify checksums and read the archives to the end").add_argument("name")
    restore = verbs.add_parser("restore", help="bring a backup back; the replaced database is kept")
    restore.add_argument("name", help="a name of `list`, or latest")
    restore.add_argument("--files", action="store_true", help="the uploads too, over what is there")
    return top


def perform(backups: Backups, options: argparse.Namespace) -> tuple[dict[str, Any], str]:
    """Do what was asked; the result as data and as text."""
    if options.verb == "create":
        manifest = backups.create(options.label, options.database_only)
        return manifest, f"{manifest['name']}  {human(manifest['bytes'])}  {manifest['tables']} tables"
    if options.verb == "check":
        manifest = backups.check(options.name)
        return manifest, f"{manifest['name']} is good"
    if options.verb == "restore":
        result = backups.restore(options.name, options.files)
        return result, report_restore(result, backups.config.admin)
    data = {"backups": list(backups.complete().values()), "damaged": backups.damaged(), "status": backups.status()}
    return data, describe(backups)


def _interrupted(number: int, _frame: object) -> NoReturn:
    raise BackupError(f"stopped by signal {signal.Signals(number).name}")


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; the exit status is 0 only when everything that was asked is done."""
    options = parser().parse_args(argv)
    os.umask(0o077)
    log: Log | None = None
    try:
        config = Config.parse(options.config.read_text(encoding="utf-8"))
        log = Log(config.log_file, f"{config.app}-backup")
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(number, _interrupted)
        data, text = perform(Backups(config, log), options)
    except Exception as error:
        # Cron throws away what is printed: a defect of this program has to be in the log, too.
        expected = isinstance(error, (BackupError, OSError))
        message = f"{options.verb}: {error if expected else traceback.format_exc()}"
        (log or Log(Path(os.devnull), "slipway-backup")).error(message)
        return EXIT_LOCKED if isinstance(error, LockedError) else EXIT_FAILED
    print(json.dumps(data) if options.json else text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
