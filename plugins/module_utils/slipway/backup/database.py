# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""PostgreSQL, as its superuser, over a socket: the live server, and the throw-away one that proves a backup."""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ..core import files
from . import host
from .rules import (
    BackupError,
    compression,
    conninfo,
    copied_rows,
    counted,
    extensions,
    literal,
    major,
    property_entries,
    quote,
    restore_passes,
    statements,
)

SWAP_ATTEMPTS = 5
#: Where Debian keeps the programs of each version.
PROGRAMS = Path("/usr/lib/postgresql")
#: What the server of another host is called in the service file.
SERVICE = "slipway"
#: Seconds to wait for a table that somebody has locked. A backup that waits forever is one that nobody hears of.
LOCK_WAIT = 60
#: A superuser in a database that an app may write to: only the system's own functions, and no limit made for the app's sessions.
OPTIONS = (
    f"-c lock_timeout={LOCK_WAIT}s -c statement_timeout=0 -c idle_in_transaction_session_timeout=0"
    " -c search_path=pg_catalog -c default_transaction_read_only=off"
)
#: What is restored is checked afterwards, and the rename that lets it live waits for the disk: until then nothing has to.
#: Indexes are what a restore waits for most; PostgreSQL's own 64 MB would sort them on the disk.
RESTORE_OPTIONS = f"{OPTIONS} -c synchronous_commit=off -c maintenance_work_mem=256MB"
#: The user's tables: not the system's, not an extension's (CREATE EXTENSION fills those).
TABLES = (
    "FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
    " WHERE c.relkind = ANY ({kinds}) AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'"
    " AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')"
)
#: Each answer of it is a question; \gexec asks them, within the same snapshot.
COUNT = (
    "SELECT format('SELECT json_build_array(%L, count(*)) FROM ONLY %I.%I', format('%I.%I', n.nspname, c.relname), n.nspname, c.relname) "
    + TABLES.format(kinds="'{r}'")
    + " ORDER BY n.nspname, c.relname"
)
#: How the database sorts and compares: a copy that does it in another way has other indexes.
SHAPE = (
    "SELECT json_build_object('encoding', pg_encoding_to_char(d.encoding), 'collate', d.datcollate, 'ctype', d.datctype,"
    " 'database_bytes', pg_database_size(d.oid), 'postgres', current_setting('server_version'),"
    " 'provider', coalesce(to_jsonb(d) ->> 'datlocprovider', 'c'),"
    " 'locale', coalesce(to_jsonb(d) ->> 'datlocale', to_jsonb(d) ->> 'daticulocale', ''),"
    " 'roles', (SELECT json_agg(rolname ORDER BY rolname) FROM pg_roles WHERE rolname !~ '^pg_'))"
    " FROM pg_database d WHERE d.datname = {name}"
)


@dataclass(frozen=True)
class Snapshot:
    """A moment of the database that several sessions see alike."""

    identity: str
    talk: host.Talk

    def begin_count(self) -> None:
        """Ask for the rows of every table; the answer comes while the dump is written."""
        self.talk.say(f"{COUNT} \\gexec")
        self.talk.say("\\echo counted")

    def counts(self) -> dict[str, int]:
        """Rows of every table."""
        lines = []
        while (line := self.talk.hear()) != "counted":
            lines.append(line)
        return counted(lines)


def installed(program: str) -> list[int]:
    """Versions of PostgreSQL that have this program here, the oldest first."""
    return sorted(int(path.parents[1].name) for path in PROGRAMS.glob(f"*/bin/{program}") if path.parents[1].name.isdigit())


def folder_for(version: int, program: str) -> Path | None:
    """Where this version has the program, or else the next newer one; None where neither is installed."""
    fitting = next((one for one in installed(program) if one >= version), None)
    return PROGRAMS / str(fitting) / "bin" if fitting else None


class Server:
    """A server: reached in ``socket_dir`` as its superuser ``admin``, or elsewhere as libpq's ``service`` file says."""

    def __init__(
        self, socket_dir: str, admin: str, jobs: int = 1, priority: Sequence[str] = (), service: Path | None = None, port: int = 5432
    ) -> None:
        """Talk to the server there, with ``jobs`` sessions at a time where that helps."""
        self.port = port
        self.socket_dir, self.jobs, self.priority, self.service = socket_dir, jobs, tuple(priority), service
        # The password of another host's server is for root's eyes only.
        self.admin = "" if service else admin

    def _where(self, database: str) -> list[str]:
        if self.service:
            return ["--dbname", f"service={SERVICE} dbname={conninfo(database)}"]
        return ["--host", self.socket_dir, "--port", str(self.port), "--dbname", database]

    @cached_property
    def _version(self) -> int:
        return major(self.sql("SHOW server_version"))

    def _client(self, program: str) -> str:
        """The program of the server's own version, or of the next newer one that is installed.

        Debian's wrapper takes the newest pg_dump and the oldest server's pg_restore where two versions are installed (while data move
        from one to the other), and that one cannot read what the other wrote.
        """
        folder = folder_for(self._version, program)
        return str(folder / program) if folder else program

    def _environment(self, options: str) -> dict[str, str]:
        return {"PGOPTIONS": options, **({"PGSERVICEFILE": str(self.service)} if self.service else {})}

    def _psql(self, database: str) -> list[str]:
        options = ["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set", "ON_ERROR_STOP=1"]
        return [*self.priority, "psql", *options, *self._where(database)]

    def sql(self, query: str, database: str = "postgres", options: str = OPTIONS) -> str:
        """Run ``query`` (several statements are one transaction); rows as lines, columns parted by ``|``."""
        command = [*self._psql(database), "--command", query]
        return host.run(command, user=self.admin, environment=self._environment(options)).strip()

    def exists(self, database: str) -> bool:
        """Whether there is such a database."""
        return bool(self.sql(f"SELECT 1 FROM pg_database WHERE datname = {literal(database)}"))

    def tables(self, database: str) -> int:
        """How many tables it has, not counting the system's and the extensions'."""
        return int(self.sql("SELECT count(*) " + TABLES.format(kinds="'{r,p}'"), database))

    def shape(self, database: str) -> dict[str, Any]:
        """Encoding, sort order, size, and the roles that there are."""
        answer = self.sql(SHAPE.format(name=literal(database)))
        try:
            shape: dict[str, Any] = json.loads(answer)
        except ValueError as error:
            raise BackupError(f"there is no database {database!r}") from error
        return shape

    def revisions(self, database: str) -> list[str]:
        """The schema revisions that Alembic recorded."""
        query = "SELECT quote_ident(schemaname) || '.' || quote_ident(tablename) FROM pg_tables WHERE tablename = 'alembic_version'"
        places = self.sql(query, database).splitlines()
        found = (self.sql(f"SELECT version_num FROM {place}", database).splitlines() for place in places)
        return sorted(row for rows in found for row in rows)

    def counts(self, database: str) -> dict[str, int]:
        """Rows of every table, now."""
        with self.snapshot(database) as moment:
            moment.begin_count()
            return moment.counts()

    # --- dump ---

    @contextlib.contextmanager
    def snapshot(self, database: str) -> Iterator[Snapshot]:
        """One moment of ``database``, for the time of a block."""
        with host.talking(self._psql(database), user=self.admin, environment=self._environment(OPTIONS)) as talk:
            talk.say("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;")
            talk.say("SELECT pg_export_snapshot();")
            yield Snapshot(talk.hear(), talk)

    def dump(self, database: str, target: Path, moment: Snapshot, wanted: str) -> str:
        """Write a dump folder, several tables at a time, as of ``moment``; how it is compressed."""
        compress = compression(wanted, major(host.run([self._client("pg_dump"), "--version"], user=self.admin)))
        files.make_folder(target, self.admin)
        # The folders above are root's alone: the descriptor leads past them. What is in the folder is synced later, by root.
        with files.opened(target) as (descriptor, path):
            command = [self._client("pg_dump"), "--format=directory", f"--jobs={self.jobs}", f"--compress={compress}", "--no-sync"]
            command += [f"--file={path}", f"--snapshot={moment.identity}", *self._where(database)]
            command += [f"--lock-wait-timeout={LOCK_WAIT}s"]
            host.run(command, user=self.admin, pass_fds=(descriptor,), environment=self._environment(""))
        return compress

    def read_dump(self, dump: Path, *options: str) -> str:
        """What ``pg_restore`` makes of a dump without a database."""
        return self._pg_restore(dump, options)

    def _pg_restore(self, dump: Path, options: Sequence[str], environment: Mapping[str, str] | None = None) -> str:
        command = [*self.priority, self._client("pg_restore"), *options]
        # A dump of a format before this one: one file.
        if dump.is_file():
            with dump.open("rb") as handle:
                return host.run(command, user=self.admin, stdin=handle, environment=environment)
        # It may have come from another host, where a user has another number.
        files.hand_over(dump, self.admin)
        with files.opened(dump) as (descriptor, path):
            return host.run([*command, path], user=self.admin, pass_fds=(descriptor,), environment=environment)

    def revisions_of(self, dump: Path) -> list[str]:
        """The schema revisions in a dump: the database may have been migrated in the meantime."""
        return copied_rows(self.read_dump(dump, "--data-only", "--table=alembic_version", "--file=-"))

    # --- restore ---

    def make(self, database: str, owner: str, shape: Mapping[str, Any]) -> None:
        """An empty database that sorts as the one of ``shape`` does, and that its owner alone may enter."""
        provider = {"i": "ICU_LOCALE", "b": "BUILTIN_LOCALE"}.get(str(shape.get("provider", "c")))
        names = {"ICU_LOCALE": "icu", "BUILTIN_LOCALE": "builtin"}
        locale = f" LOCALE_PROVIDER {names[provider]} {provider} {literal(str(shape['locale']))}" if provider else ""
        self.sql(
            f"CREATE DATABASE {quote(database)} OWNER {quote(owner)} TEMPLATE template0"
            f" ENCODING {literal(str(shape['encoding']))}"
            f" LC_COLLATE {literal(str(shape['collate']))} LC_CTYPE {literal(str(shape['ctype']))}{locale}"
        )
        self.sql(f"REVOKE CONNECT, TEMPORARY ON DATABASE {quote(database)} FROM PUBLIC")

    def drop(self, database: str) -> None:
        """Remove a database, whoever is in it."""
        self.sql(f"DROP DATABASE IF EXISTS {quote(database)} WITH (FORCE)")

    def fill(self, database: str, dump: Path, listing: str, owner: str) -> None:
        """Restore ``dump`` into the empty ``database``, everything owned by ``owner``."""
        trusted = "SELECT DISTINCT name FROM pg_available_extension_versions WHERE trusted OR NOT superuser"
        privileged = extensions(listing)
        if privileged:
            privileged -= set(self.sql(trusted, database).splitlines())
        # Standard input can be read by one job only.
        jobs = [] if dump.is_file() else [f"--jobs={self.jobs}"]
        for use_list, superuser in restore_passes(listing, privileged):
            options = ["--exit-on-error", "--no-owner", *self._where(database), *jobs]
            options += [] if superuser else [f"--role={owner}"]
            with _list(use_list) as chosen:
                self._pg_restore(dump, [*options, *chosen], self._environment(RESTORE_OPTIONS))
        # Without statistics the first queries would be planned blindly.
        self.sql("ANALYZE", database, RESTORE_OPTIONS)

    def properties(self, database: str) -> str:
        """Statements that set and grant on a database of this name what is set and granted there now."""
        with tempfile.TemporaryDirectory(prefix="slipway-") as scratch:
            dump = Path(scratch, "properties")
            files.make_folder(dump, self.admin)
            with files.opened(dump) as (descriptor, path):
                command = [self._client("pg_dump"), "--format=directory", "--schema-only", "--no-sync", f"--file={path}"]
                command += self._where(database)
                command += [f"--lock-wait-timeout={LOCK_WAIT}s"]
                host.run(command, user=self.admin, pass_fds=(descriptor,), environment=self._environment(""))
            entries = property_entries(self.read_dump(dump, "--create", "--list"))
            with _list(entries) as chosen:
                return statements(self.read_dump(dump, "--create", *chosen, "--file=-")) if entries else ""

    def welcome(self, database: str, reader: str) -> str:
        """The statement that lets the role ``reader`` into a database of this name; none when there is no such role."""
        known = reader and self.sql(f"SELECT 1 FROM pg_roles WHERE rolname = {literal(reader)}")
        return f"GRANT CONNECT ON DATABASE {quote(database)} TO {quote(reader)};" if known else ""

    def swap(self, database: str, replacement: str, keep_as: str, properties: str = "") -> None:
        """Let ``replacement`` take the place of ``database``, kept as ``keep_as``: one transaction, or nothing."""
        query = ""
        if keep_as:
            query = (
                f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = {literal(database)};"
                f"ALTER DATABASE {quote(database)} RENAME TO {quote(keep_as)};"
            )
        query += f"ALTER DATABASE {quote(replacement)} RENAME TO {quote(database)};{properties}"
        for attempt in range(1, SWAP_ATTEMPTS + 1):
            try:
                self.sql(query)
                return
            except BackupError as error:
                # The app reconnects at once; a session that slipped in between the two statements stops the rename.
                if "being accessed by other users" not in str(error) or attempt == SWAP_ATTEMPTS:
                    raise


@contextlib.contextmanager
def _list(entries: str) -> Iterator[list[str]]:
    """The option that restores only ``entries``; none for an empty list."""
    if not entries:
        yield []
        return
    with tempfile.NamedTemporaryFile("w", prefix="slipway-", suffix=".toc") as toc:
        toc.write(entries)
        toc.flush()
        Path(toc.name).chmod(0o644)
        yield [f"--use-list={toc.name}"]
