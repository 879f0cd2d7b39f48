# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""Bring a backup back: beside the live database, checked there, and then in its place by a rename."""

from __future__ import annotations

import contextlib
import re
import tarfile
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from ..core import clock, files
from . import host, sqlite
from .rules import BackupError, contents, is_whole, literal
from .store import DUMP, FILES, Backups

#: What a database is called that a restore has put aside.
KEPT = "{database}_before_{time:%Y%m%d%H%M%S}"


class Restore:
    """The way back for the backups of one app."""

    def __init__(self, backups: Backups, pause: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext) -> None:
        """Restore from ``backups``; while the databases change places the app is within ``pause``."""
        self.pause = pause
        self.backups, self.config, self.log, self.server = backups, backups.config, backups.log, backups.database

    def restore(self, name: str, with_files: bool) -> dict[str, Any]:
        """Bring a backup back; the database it replaces is kept."""
        backups = self.backups
        with backups.locked(), backups.noting("restore"):
            path, manifest = backups.find(name)
            self.log.info(f"restore {manifest['name']}: begin")
            backups.verify_files(path, manifest)
            if with_files and not is_whole(manifest):
                raise BackupError(f"{manifest['name']} holds the database alone; restore without --files")
            if manifest["database"] and not self.config.database:
                raise BackupError(
                    f"{manifest['name']} holds a database of PostgreSQL, and the app uses none (app_services); add postgres to it, run"
                    " site.yml, then restore"
                )
            if with_files and (str(self.config.shared) not in manifest["paths"] or not self.config.shared.is_dir()):
                raise BackupError(f"{self.config.shared} is not in the backup or not on this host; restore without --files")
            names = [name for name, entry in manifest.get("sqlite", {}).items() if entry["declared"] or with_files]
            result: dict[str, Any] = {"database": "", "kept_as": "", "schema_revisions": manifest["schema_revisions"]}
            # Before anything is replaced: a copy that is no good stops the restore.
            before, kept_in = self._revisions_of_files(), ""
            if names:
                backups.check_copies(path, manifest)
                kept_in = backups.put_aside()
            if manifest["database"]:
                result = self._restore_database(path / DUMP, manifest)
                before = result["schema_revisions_before"]
            replaced = self._restore_sqlite(path, manifest, names)
            databases = [*self.config.sqlite, *(self.config.shared / name for name in names)]
            back = self._restore_files(path / FILES, databases) if with_files else {}
        aside = result["kept_as"] or kept_in or "nowhere: there was nothing"
        self.log.info(f"restore {manifest['name']}: complete, what it replaced is {aside}")
        tables, rows = contents(manifest)
        return {
            **{"name": manifest["name"], "app": self.config.app, "files": with_files, "taken_at": manifest.get("taken_at")},
            **result,
            **{"tables": tables, "rows": rows, "schema_revisions_before": before},
            **{"sqlite": names, "sqlite_replaced": replaced, "kept_in": kept_in, **back},
        }

    def _revisions_of_files(self) -> list[str]:
        found = []
        for path in self.config.sqlite:
            # One that is damaged is what a restore is for.
            with contextlib.suppress(BackupError):
                found += sqlite.revisions(path, host.account(self.config.user))
        return sorted(set(found))

    def _restore_sqlite(self, path: Path, manifest: Mapping[str, Any], names: Sequence[str]) -> list[str]:
        """Bring files of SQLite back, each in one step for who has it open; those that were damaged, and had to be replaced."""
        if not names:
            return []
        account = host.account(self.config.user)
        replaced = []
        with self.backups.workplace() as place:
            for name in names:
                copy = self.backups.unpack_sqlite(path, name, place)
                if sqlite.put_back(copy, self.config.shared / name, account):
                    replaced.append(name)
                self.log.info(f"restore {manifest['name']}: {self.config.shared / name} is as it was")
        return replaced

    def tidy(self) -> None:
        """Drop what an interrupted restore left: it takes as much room as the live database."""
        with self.backups.locked():
            if self.config.database and self.server.exists(self._fresh):
                self.server.drop(self._fresh)
                self.log.info(f"drop {self._fresh}, left by an interrupted restore")

    @property
    def _fresh(self) -> str:
        return f"{self.config.database}_restore"

    def _restore_database(self, dump: Path, manifest: Mapping[str, Any]) -> dict[str, Any]:
        server, live = self.server, self.config.database
        fresh = self._fresh
        replaced = server.exists(live)
        kept_as = self._aside() if replaced else ""
        before = server.revisions(live) if replaced else []
        listing = server.read_dump(dump, "--list")
        # Two databases stand side by side for a while; a full disk would stop the live one. Another host's disk is not ours to see.
        if not server.service:
            self.backups.check_room(Path(server.sql("SHOW data_directory")), int(manifest["database_bytes"]))
        # What an interrupted restore left; this name belongs to this tool.
        server.drop(fresh)
        try:
            server.make(fresh, self.config.role, manifest)
            server.fill(fresh, dump, listing, self.config.role)
            self.backups.check_restored(server, fresh, manifest)
            # Where nothing is replaced there is nothing to take after: the role postgres lets one other role in.
            properties = server.properties(live) if replaced else server.welcome(live, self.config.reader)
            with self.pause():
                server.swap(live, fresh, kept_as, properties)
        except BaseException:
            with contextlib.suppress(BackupError):
                server.drop(fresh)
            raise
        return {
            "database": live,
            "kept_as": kept_as,
            "tables": manifest["tables"],
            "schema_revisions": manifest["schema_revisions"],
            "schema_revisions_before": before,
        }

    def _restore_files(self, archive: Path, databases: Sequence[Path]) -> dict[str, list[str]]:
        """Bring back the uploads that are gone or older than the backup's; newer ones, and other files, stay. Which are which.

        :arg databases: files of SQLite, which are brought back in their own way.
        """
        member = str(self.config.shared).lstrip("/")
        compared = self._compared(archive, member)
        # Of the version before, which knew none of them: its plain copy may be torn.
        left_out = {str(path.relative_to(self.config.shared)) for path in sqlite.with_companions(list(databases))}
        found = {kind: [name for name in names if name not in left_out] for kind, names in compared.items()}
        # By name: folders that are there stay as they are, and tar 1.35 with --keep-newer-files stops at one that is newer.
        wanted = [f"{member}/{name}" for name in (*found.pop("folders"), *found["files_back"])]
        if wanted:
            self._extract(archive, wanted)
        for name in found["files_newer"]:
            self.log.info(f"restore: {self.config.shared / name} is newer than the backup's, and was kept")
        return found

    def _extract(self, archive: Path, wanted: Sequence[str]) -> None:
        """Take these members out of the archive."""
        # As the app's user: a link that the app left in its own folder leads nowhere else. With the proxy's group, or
        # the kernel would take the setgid bit off the folders that hand this group on to new uploads.
        # (Not --no-overwrite-dir: it takes the bit off a folder while it writes there, seen with tar 1.34 and 1.35.)
        command = ["tar", "--extract", "--gzip", "--preserve-permissions", "--keep-newer-files", "--directory=/", "--file=-"]
        with archive.open("rb") as handle, tempfile.NamedTemporaryFile("w", prefix="slipway-", errors="surrogateescape") as names:
            names.write("\0".join(wanted))
            names.flush()
            files.hand_over(Path(names.name), self.config.user)
            command += ["--no-recursion", "--null", f"--files-from={names.name}"]
            host.run(command, user=self.config.user, groups=[self.config.proxy_group], stdin=handle)

    @staticmethod
    def _compared(archive: Path, member: str) -> dict[str, list[str]]:
        """What the archive has below ``member``: folders that are gone; files that are gone or older here, and newer ones."""
        folders: list[str] = []
        back: list[str] = []
        newer: list[str] = []
        with tarfile.open(archive, "r:gz") as reading:
            for entry in reading:
                if not entry.name.startswith(f"{member}/"):
                    continue
                if entry.isdir():
                    if not Path("/", entry.name).is_dir():
                        folders.append(entry.name.removeprefix(f"{member}/"))
                    continue
                try:
                    now = int(Path("/", entry.name).lstat().st_mtime)
                except OSError:
                    now = -1
                if now != int(entry.mtime):
                    (newer if now > entry.mtime else back).append(entry.name.removeprefix(f"{member}/"))
        return {"folders": folders, "files_back": back, "files_newer": newer}

    # --- what restores have put aside ---

    def _aside(self) -> str:
        """A name that no database has yet."""
        while self.server.exists(name := KEPT.format(database=self.config.database, time=clock.utc_now())):
            time.sleep(0.2)
        return name

    def kept(self) -> list[dict[str, Any]]:
        """The databases that restores have put aside, and their size."""
        if not self.config.database:
            return []
        query = (
            "SELECT datname, pg_database_size(oid) FROM pg_database"
            f" WHERE datname ~ {literal(f'^{re.escape(self.config.database)}_before_[0-9]{{14}}$')} ORDER BY datname"
        )
        rows = (line.rsplit("|", 1) for line in self.server.sql(query).splitlines())
        return [{"database": name, "bytes": int(size)} for name, size in rows]

    def drop(self, name: str) -> dict[str, Any]:
        """Drop a database that a restore has put aside; never another one."""
        with self.backups.locked():
            known = {entry["database"]: entry for entry in self.kept()}
            if name not in known:
                raise BackupError(f"{name!r} is no database that a restore has put aside; there are: {', '.join(known) or 'none'}")
            self.server.drop(name)
        self.log.info(f"drop {name}, put aside by a restore")
        return known[name]

    def undo(self, name: str) -> dict[str, Any]:
        """Put a database that was put aside back in its place; the one that is live is put aside instead."""
        with self.backups.locked():
            if name not in [entry["database"] for entry in self.kept()]:
                raise BackupError(f"{name!r} is no database that a restore has put aside; `kept` lists them")
            live = self.config.database
            kept_as = self._aside()
            with self.pause():
                self.server.swap(live, name, kept_as)
        self.log.info(f"undo: {name} is live again, what was live is {kept_as}")
        return {"database": live, "kept_as": kept_as, "was": name}
