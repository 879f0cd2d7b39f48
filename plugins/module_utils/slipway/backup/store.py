# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""The backups of one app on this host: take one, list them, check one, remove the expired."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..core import clock, files
from ..core.lock import LockedError, locked
from ..core.log import Log
from ..core.run import is_running
from . import host, sqlite
from .config import Config
from .database import Server
from .paths import sources
from .rules import (
    BackupError,
    Copy,
    backup_name,
    contents,
    differences,
    expired,
    human,
    is_whole,
    literal,
    refusal,
    sealed,
    space_needed,
    table_count,
    taken_at,
)
from .status import FILE as STATUS
from .status import failures

DUMP = "db.dump"
FILES = "files.tar.gz"
#: Copies of the files of SQLite, each under its path below the shared folder, compressed.
SQLITE = "sqlite"
MANIFEST = "manifest.json"
#: Beside the manifest once a restore has shown what the backup is worth.
PROOF = "proof.json"
FORMAT = 2
#: --rsyncable: one changed upload changes one place of the archive, so that a copy elsewhere grows by little.
GZIP = "gzip --rsyncable"


class Backups:
    """The backups of one app."""

    def __init__(self, config: Config, log: Log, patience: float = 0) -> None:
        """Work with the backups of ``config``; so many seconds of ``patience`` when somebody else does."""
        self.patience = patience
        self.config = config
        self.log = log
        self.database = Server(config.socket_dir, config.admin, config.jobs, service=config.service, port=config.port)
        self.folder = config.backup_dir

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Nobody else writes backups or databases meanwhile."""
        with locked(self.folder / ".lock", "backup or restore", self.patience):
            yield

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """No backup is removed meanwhile. Not the lock of those that write: a deploy need not wait for a proof."""
        with locked(self.folder / ".lock-reading", "proof or copy"):
            yield

    # --- what there is ---

    def complete(self) -> dict[str, dict[str, Any]]:
        """Manifests of the complete backups, oldest first."""
        found = {}
        for path in sorted(self.folder.iterdir()):
            if taken_at(path.name) and (manifest := self.read_manifest(path)):
                found[path.name] = manifest
        return found

    def damaged(self) -> list[str]:
        """Folders that are named like a backup and are none."""
        whole = self.complete()
        return sorted(path.name for path in self.folder.iterdir() if taken_at(path.name) and path.name not in whole)

    @staticmethod
    def read_manifest(path: Path) -> dict[str, Any] | None:
        """The manifest of a folder that holds all that it names; None for every other folder."""
        try:
            manifest: dict[str, Any] = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
            same = all((path / name).stat().st_size == entry["bytes"] for name, entry in manifest["files"].items())
            intact = manifest.get("format", 1) < FORMAT or sealed(manifest)["digest"] == manifest.get("digest")
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None
        return manifest if same and intact and manifest.get("name") == path.name else None

    def find(self, name: str) -> tuple[Path, dict[str, Any]]:
        """The backup called ``name`` (or the ``latest``) and its manifest."""
        complete = self.complete()
        if name == "latest" and complete:
            name = list(complete)[-1]
        if name not in complete:
            known = ", ".join(complete) or "none"
            raise BackupError(f"there is no complete backup {name!r} in {self.folder}; complete ones: {known}")
        return self.folder / name, complete[name]

    def proof(self, name: str) -> dict[str, Any] | None:
        """What a restore has shown of the backup; None while none has been tried."""
        return files.read_json(self.folder / name / PROOF) or None

    def is_proven(self, name: str) -> bool:
        """Whether a restore of it went well. Where none is tried, being complete has to do."""
        return bool((self.proof(name) or {"good": not self.config.proof}).get("good"))

    def status(self) -> dict[str, Any]:
        """The last success of each step, and the failures that nothing has made good."""
        return files.read_json(self.folder / STATUS)

    def note(self, **change: Mapping[str, Any]) -> None:
        """Keep in status.json what has just happened."""
        files.write_atomically(self.folder / STATUS, json.dumps({**self.status(), **change}, indent=2) + "\n")

    def _note_failures(self, found: Mapping[str, Any]) -> None:
        noted = {key: value for key, value in self.status().items() if key != "last_failure"}
        files.write_atomically(self.folder / STATUS, json.dumps({**noted, "failures": found}, indent=2) + "\n")

    @contextlib.contextmanager
    def noting(self, step: str) -> Iterator[None]:
        """A failure of the block is kept in status.json, with its reason, until the step has succeeded again."""
        try:
            yield
            if step in failures(self.status()):
                self._note_failures({known: failure for known, failure in failures(self.status()).items() if known != step})
        except LockedError:
            raise
        except Exception as error:
            with contextlib.suppress(OSError):
                failure = {"at": clock.utc_now().isoformat(), "reason": str(error) or type(error).__name__}
                self._note_failures({**failures(self.status()), step: failure})
            raise

    # --- create ---

    def create(self, label: str = "", database_only: bool = False) -> dict[str, Any]:
        """Take a backup; remove the expired ones only after it is complete."""
        backup_name(clock.utc_now(), label)
        # A restore point is for its deploy, which fails with the reason: no night was missed.
        with self.locked(), self.noting("restore point" if database_only else "create"):
            manifest = self._create(label, database_only)
            kept = {key: manifest[key] for key in ("name", "taken_at", "bytes", "duration_seconds")}
            # A restore point is no backup: whoever watches the time of the last one looks for the uploads too.
            self.note(**{"last_restore_point" if database_only else "last_success": kept})
            self._prune()
        return manifest

    def create_from(self, source: Server, label: str) -> dict[str, Any]:
        """Take a backup of the database as another server has it."""
        with self.locked(), self.noting("recover"):
            return self._create(label, True, source)

    def put_aside(self) -> str:
        """A backup of the files of SQLite alone, which a restore is about to replace; its name, empty where there are none.

        The lock is held. A file that is damaged is left out: the restore itself keeps it.
        """
        account = host.account(self.config.user)
        good = [path for path in self.config.sqlite if sqlite.opens(path, account)]
        return str(self._create("before-restore", True, aside=good)["name"]) if good else ""

    def _create(self, label: str, database_only: bool, source: Server | None = None, aside: Sequence[Path] | None = None) -> dict[str, Any]:
        started = time.monotonic()
        self._clean()
        name = backup_name(clock.utc_now(), label)
        while (self.folder / name).exists():
            time.sleep(0.2)
            name = backup_name(clock.utc_now(), label)
        self.log.info(f"create {name}: begin")
        before = list(self.complete().values())
        paths = [] if database_only else sources(self.config.paths)
        kind = "database" if database_only else "whole"
        alike = [manifest for manifest in before if is_whole(manifest) == (kind == "whole")]
        self._check_space(int(alike[-1]["bytes"]) if alike else None, paths)
        partial = self.folder / f"{files.PARTIAL}{name}"
        files.make_folder(partial)
        try:
            content: dict[str, Any] = {"database": "", "schema_revisions": [], "tables": 0, "rows": {}}
            if self.config.database and aside is None:
                former = [int(manifest["tables"]) for manifest in before if manifest.get("database", "?")]
                content = self._dump(source or self.database, partial / DUMP, former[-1] if former else 0)
            # Of another moment of the cluster there is no other moment of the files.
            declared = self.config.sqlite if aside is None else aside
            copied = {} if source else self._copy_sqlite(partial / SQLITE, declared, paths, before if aside is None else [])
            content["sqlite"] = copied
            revisions = {one for file in copied.values() for one in file["revisions"]}
            content["schema_revisions"] = content["schema_revisions"] or sorted(revisions)
            self._archive(partial / FILES, paths, [self.config.shared / name for name in copied])
            sums = files.checksums(partial)
            manifest = sealed(
                {
                    "format": FORMAT,
                    "name": name,
                    "app": self.config.app,
                    "kind": kind,
                    "label": label,
                    "taken_at": (taken_at(name) or clock.utc_now()).isoformat(),
                    "duration_seconds": round(time.monotonic() - started, 1),
                    "bytes": sum(entry["bytes"] for entry in sums.values()),
                    "files": sums,
                    "paths": paths,
                    **content,
                }
            )
            files.write_atomically(partial / MANIFEST, json.dumps(manifest, indent=2) + "\n")
            files.sync_tree(partial)
            files.move(partial, self.folder / name)
        except BaseException:
            with contextlib.suppress(OSError):
                files.remove(partial)
            raise
        tables, rows = contents(manifest)
        self.log.info(
            f"create {name}: complete, {human(manifest['bytes'])}, {tables} tables, {rows} rows,"
            f" schema {','.join(manifest['schema_revisions']) or 'unversioned'}, {manifest['duration_seconds']} s"
        )
        return manifest

    def _check_space(self, previous: int | None, paths: Sequence[str]) -> None:
        upper_bound = 0
        if previous is None:
            known = self.config.database
            size = int(self.database.sql(f"SELECT pg_database_size({literal(known)})")) if known else 0
            upper_bound = size + files.disk_usage(paths) + files.disk_usage(map(str, self.config.sqlite))
        self.check_room(self.folder, space_needed(previous, upper_bound, 0), "keep fewer days, ")

    def check_room(self, place: Path, wanted: int, advice: str = "") -> None:
        """Stop before a disk is full: the database may live on it, too."""
        free, needed = files.free_space(place), wanted + self.config.reserve_mb * files.CHUNK
        if free < needed:
            raise host.RoomError(
                f"{human(free)} free at {place}, {human(needed)} wanted (reserve {self.config.reserve_mb} MiB):"
                f" free some, {advice}or lower backup_reserve_mb"
            )

    def _dump(self, server: Server, target: Path, tables_before: int) -> dict[str, Any]:
        """Write the dump and read it back; what it holds."""
        database = self.config.database
        with server.snapshot(database) as moment:
            moment.begin_count()
            compressed = server.dump(database, target, moment, self.config.compression)
            rows = moment.counts()
        listing = server.read_dump(target, "--list")
        # The table of contents comes first: only reading to the end finds a dump that was cut short.
        server.read_dump(target, "--file=/dev/null")
        tables = table_count(listing)
        if reason := refusal(tables, len(rows), tables_before):
            raise BackupError(f"empty dump refused: {reason}")
        return {
            "database": database,
            "compression": compressed,
            "schema_revisions": server.revisions_of(target),
            "tables": tables,
            "rows": rows,
            **server.shape(database),
        }

    # --- SQLite ---

    @contextlib.contextmanager
    def workplace(self) -> Iterator[Path]:
        """A folder of the app's own for the time of a block: its files of SQLite are opened with its rights."""
        place = self.config.proof_dir.with_name(f"{self.config.proof_dir.name}-sqlite-{os.getpid()}")
        # Of runs that were killed; this number may be one of them.
        for left in place.parent.glob(f"{self.config.proof_dir.name}-sqlite-*"):
            number = left.name.rpartition("-")[2]
            if left == place or not (number.isdigit() and is_running(int(number))):
                files.remove(left)
        files.make_folder(place, self.config.user)
        try:
            yield place
        finally:
            with contextlib.suppress(OSError):
                files.remove(place)

    def _copy_sqlite(
        self, target: Path, declared: Sequence[Path], paths: Sequence[str], before: Sequence[Mapping[str, Any]]
    ) -> dict[str, dict[str, Any]]:
        """Copy the files of SQLite: those that the app is known to have, and with the uploads whatever else is one; what they hold."""
        shared = self.config.shared
        others = [path for path in sqlite.found_below(shared) if path not in declared] if str(shared) in paths else []
        account = host.account(self.config.user)
        copied: dict[str, dict[str, Any]] = {}
        if not declared and not others:
            return copied
        with self.workplace() as place:
            for path in [*declared, *others]:
                name, copy = str(path.relative_to(shared)), place / "copy"
                copy.unlink(missing_ok=True)
                known = path in declared
                try:
                    if path.is_file():
                        self.check_room(place, path.stat().st_size)
                    found = sqlite.copy(path, copy, account)
                except sqlite.AbsentError:
                    found = {"rows": {}, "revisions": []}
                except host.RoomError:
                    raise
                except BackupError as error:
                    if known:
                        raise BackupError(f"{path}: {error}") from error
                    # An upload that only looks like one: it is kept as it is, with the other files.
                    self.log.info(f"{path} is no SQLite file that can be copied ({error}): it is kept as a plain file")
                    continue
                if known and (reason := self._lost(name, found["rows"], before)):
                    raise BackupError(f"empty copy of {path} refused: {reason}")
                if copy.exists():
                    size = copy.stat().st_size
                    self._pack(copy, target / f"{name}.gz")
                    copied[name] = {**found, "bytes": size, "declared": known}
        return copied

    @staticmethod
    def _lost(name: str, rows: Mapping[str, int], before: Sequence[Mapping[str, Any]]) -> str:
        """Why a file without a table is none that should replace the backups of one that had some."""
        former: Mapping[str, int] = next(
            (manifest["sqlite"][name]["rows"] for manifest in reversed(before) if name in manifest.get("sqlite", {})), {}
        )
        return f"it is gone or has no table any more; the backup before this one holds {len(former)}" if former and not rows else ""

    @staticmethod
    def _pack(source: Path, target: Path) -> None:
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with source.open("rb") as reading, target.open("xb") as writing:
            host.run([*GZIP.split(), "-1"], stdin=reading, stdout=writing)

    def unpack_sqlite(self, folder: Path, name: str, place: Path) -> Path:
        """The copy of a file of SQLite out of the backup in ``folder``, in a `workplace`."""
        target = place / "copy"
        files.remove(target)
        with (folder / SQLITE / f"{name}.gz").open("rb") as reading, target.open("xb") as writing:
            host.run(["gzip", "--decompress"], stdin=reading, stdout=writing)
        files.hand_over(target, self.config.user)
        return target

    def check_sqlite(self, copy: Path, name: str, manifest: Mapping[str, Any]) -> int:
        """Read a copy to its end and compare it with what was noted when it was taken; how many rows were counted."""
        try:
            found = sqlite.prove(copy, host.account(self.config.user))
        except BackupError as error:
            raise BackupError(f"{name}: {error}") from error
        if wrong := differences(manifest["sqlite"][name]["rows"], found):
            raise BackupError(f"{name}: the rows are not those of the backup: {'; '.join(wrong[:5])}")
        return sum(found.values())

    def _archive(self, target: Path, paths: Sequence[str], copied: Sequence[Path]) -> None:
        names = [path.lstrip("/") for path in paths]
        # What SQLite writes at this moment would be torn; the copies hold it whole.
        excludes = [f"--exclude={str(path).lstrip('/')}" for path in sqlite.with_companions([*copied, *self.config.sqlite])]
        # 1 means that a file changed or went away while tar read it: the app is running, that is no failure.
        with target.open("xb") as handle:
            command = ["tar", "--create", "--sort=name", f"--use-compress-program={GZIP}", "--directory=/", "--file=-"]
            command += ["--anchored", "--no-wildcards", *excludes] if excludes else []
            host.run([*command, "--files-from=/dev/null", "--", *names], stdout=handle, accept=(0, 1))
        self.read_archive(target)

    @staticmethod
    def read_archive(archive: Path) -> None:
        """Read an archive of files to its end."""
        with archive.open("rb") as handle:
            host.run(["tar", "--list", "--gzip", "--file=-"], stdin=handle)

    # --- remove ---

    def _clean(self) -> None:
        """Remove what interrupted runs left. We hold the lock: nobody is at work there."""
        for path in self.folder.glob(f"{files.PARTIAL}*"):
            self.log.info(f"remove {path.name}, left by an interrupted run")
            files.remove(path)

    def prune(self) -> None:
        """Remove the expired backups."""
        with self.locked(), self.noting("prune"):
            self._prune()

    def _prune(self) -> None:
        copies = [Copy(name, is_whole(manifest), self.is_proven(name)) for name, manifest in self.complete().items()]
        doomed = expired(copies, clock.utc_now(), self.config.keep_days, self.config.keep_count)
        # While somebody reads a backup none is removed: the next run does it.
        with contextlib.suppress(LockedError), self.reading():
            for name in doomed:
                # Under a temporary name first: a removal that is interrupted must not leave half a backup.
                partial = self.folder / f"{files.PARTIAL}expired-{name}"
                files.move(self.folder / name, partial)
                files.remove(partial)
                self.log.info(f"remove {name}, older than {self.config.keep_days} days")

    # --- check ---

    def check(self, name: str) -> dict[str, Any]:
        """Prove that a backup is what was written, and that its archives can be read to the end."""
        path, manifest = self.find(name)
        self.verify_files(path, manifest)
        if manifest["database"]:
            self.database.read_dump(path / DUMP, "--file=/dev/null")
        self.check_copies(path, manifest)
        self.read_archive(path / FILES)
        self.log.info(f"check {manifest['name']}: good")
        return manifest

    def check_copies(self, path: Path, manifest: Mapping[str, Any]) -> int:
        """Prove the copies of files of SQLite; how many rows were counted."""
        names = list(manifest.get("sqlite", {}))
        if not names:
            return 0
        with self.workplace() as place:
            self.check_room(place, max(int(manifest["sqlite"][name]["bytes"]) for name in names))
            return sum(self.check_sqlite(self.unpack_sqlite(path, name, place), name, manifest) for name in names)

    @staticmethod
    def verify_files(path: Path, manifest: Mapping[str, Any]) -> None:
        """Compare each file with its checksum."""
        for name, recorded in manifest["files"].items():
            if files.sha256(path / name) != recorded["sha256"]:
                raise BackupError(f"{path / name} is not what was backed up (sha256 differs); take another backup")

    def check_restored(self, server: Server, database: str, manifest: Mapping[str, Any]) -> int:
        """Compare a restored database with what was noted when it was dumped; how many rows were counted."""
        tables = server.tables(database)
        if tables != manifest["tables"]:
            raise BackupError(f"the restored database has {tables} tables, the backup {manifest['tables']}")
        revisions = server.revisions(database)
        if revisions != manifest["schema_revisions"]:
            raise BackupError(f"the restored schema is {revisions}, the backup's {manifest['schema_revisions']}")
        found = server.counts(database)
        # The version before noted none.
        if wrong := differences(manifest.get("rows", found), found):
            more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
            raise BackupError(f"the restored rows are not those of the backup: {'; '.join(wrong[:5])}{more}")
        return sum(found.values())
