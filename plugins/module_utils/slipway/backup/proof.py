# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""Prove a backup by restoring it: into a cluster that is made for it, reached over a socket of its own, and thrown away."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..core import clock, files
from . import database, host
from .database import Server
from .rules import BackupError, contents, is_whole, major, quote
from .store import DUMP, FILES, PROOF, Backups

#: Where Debian and Ubuntu keep the server's programs.
#: Seconds for an empty cluster to answer. It takes less than one; a busy disk is given time.
START_WAIT = 60
NO_ROOM = "No space left on device"
#: Nothing in it has to survive anything, and nobody but us may talk to it.
SETTINGS = {
    "archive_mode": "off",
    "autovacuum": "off",
    "fsync": "off",
    "full_page_writes": "off",
    "jit": "off",
    "listen_addresses": "",
    "logging_collector": "off",
    "maintenance_work_mem": "128MB",
    "max_connections": "20",
    "max_wal_senders": "0",
    "max_wal_size": "2GB",
    "shared_buffers": "128MB",
    "shared_preload_libraries": "",
    "synchronous_commit": "off",
    "unix_socket_permissions": "0700",
    "wal_level": "minimal",
}


class DamagedError(BackupError):
    """The backup itself is no good."""


@contextlib.contextmanager
def judging() -> Iterator[None]:
    """What fails in the block speaks against the backup; a full disk or a missing program, elsewhere, does not."""
    try:
        yield
    except host.CIRCUMSTANCES:
        raise
    except BackupError as error:
        # Somebody else filled the disk while we were at it.
        raise (host.RoomError if NO_ROOM in str(error) else DamagedError)(str(error)) from error


class Proof:
    """The nightly question whether a backup is worth anything."""

    def __init__(self, backups: Backups) -> None:
        """Prove one of ``backups``."""
        self.backups, self.config, self.log = backups, backups.config, backups.log

    def candidate(self) -> str:
        """The newest backup that holds everything. A restore point is newer at times, and says nothing of the uploads."""
        whole = [name for name, manifest in self.backups.complete().items() if is_whole(manifest)]
        if not whole:
            raise BackupError(f"there is no complete backup in {self.backups.folder} that could be restored")
        return whole[-1]

    def prove(self, name: str = "") -> dict[str, Any]:
        """Restore a backup (the newest, unless one is named), compare it with its manifest, and keep the result beside it."""
        backups = self.backups
        with backups.reading(), backups.noting("verify"):
            path, manifest = backups.find(name if name and name != "latest" else self.candidate())
            name = str(manifest["name"])
            self.log.info(f"verify {name}: begin")
            started = time.monotonic()
            try:
                found = self._prove(path, manifest)
            except DamagedError as error:
                self._keep(path, {"good": False, "reason": str(error)})
                raise BackupError(f"{name} is no good: {error}") from error
            proof = {"good": True, "duration_seconds": round(time.monotonic() - started, 1), **found}
            self._keep(path, proof)
            backups.note(last_verified={"name": name, "at": clock.utc_now().isoformat(), **proof})
        self.log.info(
            f"verify {name}: restored in {proof['restore_seconds']} s, {proof['rows']} rows, all good, {proof['duration_seconds']} s"
        )
        return {"name": name, **proof}

    def _keep(self, path: Path, proof: Mapping[str, Any]) -> None:
        files.write_atomically(path / PROOF, json.dumps({"at": clock.utc_now().isoformat(), **proof}, indent=2) + "\n")

    def _prove(self, path: Path, manifest: Mapping[str, Any]) -> dict[str, Any]:
        with judging():
            self.backups.verify_files(path, manifest)
            self.backups.read_archive(path / FILES)
            started = time.monotonic()
            copied = self.backups.check_copies(path, manifest)
        database = str(manifest["database"])
        tables, _ = contents(manifest)
        if not database:
            return {"restore_seconds": round(time.monotonic() - started, 1), "tables": tables, "rows": copied}
        programs = self.programs(major(str(manifest["postgres"])))
        with self.cluster(programs, int(manifest["database_bytes"])) as server:
            for role in sorted({*manifest.get("roles", []), self.config.role} - {self.config.admin}):
                server.sql(f"CREATE ROLE {quote(role)}")
            started = time.monotonic()
            with judging():
                server.make(database, self.config.role, manifest)
                server.fill(database, path / DUMP, server.read_dump(path / DUMP, "--list"), self.config.role)
                took = time.monotonic() - started
                rows = self.backups.check_restored(server, database, manifest)
                check_pages(programs, server, database)
        return {"restore_seconds": round(took, 1), "tables": tables, "rows": rows + copied}

    # --- the cluster ---

    def programs(self, version: int) -> Path:
        """Where the server of this version is installed, or else of the next newer one."""
        folder = database.folder_for(version, "initdb")
        if not folder:
            found, where = database.installed("initdb"), database.PROGRAMS
            raise host.MissingError(
                f"no PostgreSQL server {version} is installed to restore into ({where}: {', '.join(map(str, found)) or 'none'});"
                f" apt install postgresql-{version}, or backup_proof: false"
            )
        return folder

    def clean(self, programs: Path) -> None:
        """End and remove what an interrupted proof left."""
        place = self.config.proof_dir
        if (place / "data/postmaster.pid").exists():
            with contextlib.suppress(BackupError):
                command = [str(programs / "pg_ctl"), "stop", f"--pgdata={place / 'data'}", "--mode=immediate", "--silent"]
                host.run(command, user=self.config.admin)
        if place.exists():
            self.log.info(f"remove {place}, left by an interrupted run")
            files.remove(place)

    @contextlib.contextmanager
    def cluster(self, programs: Path, size: int) -> Iterator[Server]:
        """An empty cluster with room for a database of ``size`` bytes, for the time of a block."""
        admin = self.config.admin
        # The data, its indexes and the log of writing them.
        with self.place(programs, size * 3 // 2) as place:
            command = [*host.IDLE, str(programs / "initdb"), f"--pgdata={place / 'data'}", f"--username={admin}", "--no-sync"]
            host.run([*command, "--encoding=UTF8", "--no-locale", "--auth-local=peer", "--auth-host=reject"], user=admin)
            with self.serving(programs, place, START_WAIT) as server:
                yield server

    @contextlib.contextmanager
    def place(self, programs: Path, size: int) -> Iterator[Path]:
        """A folder of PostgreSQL's with ``size`` bytes of room, for the time of a block."""
        place = self.config.proof_dir
        self.clean(programs)
        self.backups.check_room(place, size)
        files.make_folder(place, self.config.admin)
        try:
            yield place
        finally:
            with contextlib.suppress(OSError):
                files.remove(place)

    @contextlib.contextmanager
    def serving(self, programs: Path, place: Path, patience: float, **settings: str) -> Iterator[Server]:
        """The server of the cluster in ``place``, once it answers, for the time of a block."""
        admin = self.config.admin
        chosen = {**SETTINGS, "unix_socket_directories": str(place), **settings}
        options = [word for name, value in chosen.items() for word in ("-c", f"{name}={value}")]
        server = Server(str(place), admin, self.config.jobs, host.IDLE)
        command = [*host.IDLE, str(programs / "postgres"), "-D", str(place / "data"), *options]
        with host.serving(command, place / "log", user=admin) as last_words:
            host.wait_until(lambda: server.sql("SELECT 1"), patience, "the throw-away cluster", last_words)
            yield server


def check_pages(programs: Path, server: Server, database: str) -> None:
    """Each table's pages and each index against its table, in the cluster that is about to be thrown away."""
    command = [*server.priority, str(programs / "pg_amcheck"), "--install-missing", "--heapallindexed", f"--jobs={server.jobs}"]
    host.run([*command, "--host", server.socket_dir, f"--database={database}"], user=server.admin)
