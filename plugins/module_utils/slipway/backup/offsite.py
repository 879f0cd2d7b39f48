# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""Copies elsewhere: encrypted and deduplicated by restic, in a folder, on an SFTP server, or in an S3 bucket."""

from __future__ import annotations

import contextlib
import json
import re
import shlex
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ..core import clock, files
from . import host
from .rules import BackupError, Copy, expired, is_whole, taken_at
from .store import Backups

PROVEN = "proven"
#: Seconds for the first answer, unless the configuration says so. restic goes on trying for a quarter of an hour; nobody would hear of it.
ANSWER_WAIT = 120
#: What restic says when the key does not fit, in every version; those since 0.17 also end with 12.
WRONG_PASSWORD = "wrong password or no key found"
#: What this program remembers of the repository, in the folder of the backups.
KNOWN = "offsite.json"


@dataclass(frozen=True)
class Offsite:
    """``/etc/<app>/backup-offsite.json``: where, and with which keys. Root's alone."""

    repository: str
    password_file: Path
    environment: Mapping[str, str]
    options: tuple[str, ...]
    ssh_key: Path | None
    known_hosts: Path | None
    keep_days: int
    keep_count: int
    check_days: int
    answer_wait: int

    @classmethod
    def parse(cls, text: str) -> Offsite:
        """Read the configuration, or say which part of it is wrong."""
        try:
            data = json.loads(text)
            return cls(
                repository=str(data["repository"]),
                password_file=Path(data["password_file"]),
                environment={str(key): str(value) for key, value in data["environment"].items()},
                options=tuple(str(option) for option in data["options"]),
                ssh_key=Path(data["ssh_key"]) if data["ssh_key"] else None,
                known_hosts=Path(data["known_hosts"]) if data["known_hosts"] else None,
                keep_days=int(data["keep_days"]),
                keep_count=int(data["keep_count"]),
                check_days=max(int(data["check_days"]), 1),
                answer_wait=int(data.get("answer_wait", ANSWER_WAIT)),
            )
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise BackupError(f"the configuration of the copies elsewhere is not usable: {type(error).__name__}: {error}") from error


# --- Pure -----------------------------------------------------------------------------------------------


def sftp_command(repository: str, key: Path | None, known_hosts: Path | None) -> str:
    """How restic reaches an SFTP server: with our key and the server's, and without ever asking; nothing for other places."""
    if not repository.startswith("sftp:"):
        return ""
    rest = repository.removeprefix("sftp:")
    if rest.startswith("//"):
        parts = urlsplit(repository)
        target, port = f"{parts.username}@{parts.hostname}" if parts.username else str(parts.hostname), parts.port
    else:
        target, port = rest.partition(":")[0], None
    words = ["ssh", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes", "-o", "ConnectTimeout=20", "-o", "ServerAliveInterval=30"]
    words += ["-i", str(key), "-o", "IdentitiesOnly=yes"] if key else []
    words += ["-o", f"UserKnownHostsFile={known_hosts}"] if known_hosts else []
    words += ["-p", str(port)] if port else []
    return shlex.join([*words, target, "-s", "sftp"])


def named(snapshots: Iterable[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """The snapshots of each backup, oldest first."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for snapshot in sorted(snapshots, key=lambda snapshot: str(snapshot["time"])):
        for tag in snapshot.get("tags") or []:
            if taken_at(tag):
                found.setdefault(tag, []).append(snapshot)
    return found


def is_proven(snapshot: Mapping[str, Any]) -> bool:
    """Whether a restore of it went well, on the host that made it."""
    return PROVEN in (snapshot.get("tags") or [])


def damaged_packs(said: str) -> list[str]:
    """The parts of a repository that restic found broken and would repair."""
    return sorted({word for ids in re.findall(r"repair packs((?: [0-9a-f]{64})+)", said) for word in ids.split()})


# --- Effects --------------------------------------------------------------------------------------------


class Copies:
    """The copies elsewhere of one app's backups."""

    def __init__(self, backups: Backups, offsite: Offsite) -> None:
        """Keep copies of ``backups`` at ``offsite``."""
        self.backups, self.offsite, self.log = backups, offsite, backups.log

    def _restic(self, *words: str, timeout: float | None = None, folder: str = "/") -> str:
        offsite = self.offsite
        # The password by file: a variable of the environment can be read in /proc, an argument by everybody.
        command = ["restic", "--repo", offsite.repository, "--password-file", str(offsite.password_file)]
        command += ["--cache-dir", f"/var/cache/slipway-restic/{self.backups.config.app}"]
        ssh = sftp_command(offsite.repository, offsite.ssh_key, offsite.known_hosts)
        command += ["--option", f"sftp.command={ssh}"] if ssh else []
        try:
            return host.run([*command, *offsite.options, *words], environment=offsite.environment, timeout=timeout, folder=folder)
        except host.ProgramError as error:
            if WRONG_PASSWORD in error.output:
                raise BackupError(
                    f"the password in {offsite.password_file} does not open {offsite.repository};"
                    " set backup_offsite_password to the one that the repository was made with"
                ) from error
            raise

    def _tags(self, *tags: str) -> list[str]:
        return [f"--tag={tag}" for tag in (f"app:{self.backups.config.app}", *tags)]

    def snapshots(self) -> list[dict[str, Any]]:
        """What there is of this app."""
        # One option with commas asks for all of the tags.
        said = self._restic("snapshots", "--json", f"--tag=app:{self.backups.config.app}", timeout=self.offsite.answer_wait * 5)
        try:
            found: list[dict[str, Any]] = json.loads(said) or []
        except ValueError as error:
            raise BackupError(f"restic's list of snapshots is no JSON: {said[:200]!r}") from error
        return found

    # --- the repository ---

    @property
    def _known(self) -> Path:
        return self.backups.folder / KNOWN

    def _remembered(self) -> dict[str, Any]:
        try:
            known: dict[str, Any] = json.loads(self._known.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return known if known.get("repository") == self.offsite.repository else {}

    def _remember(self, **change: Any) -> None:
        content = {"repository": self.offsite.repository, **self._remembered(), **change}
        files.write_atomically(self._known, json.dumps(content, indent=2) + "\n")

    def open(self, make: bool = False) -> None:
        """Make sure that this is the repository, and the one of last time.

        A disk that is not mounted looks like an empty folder: only one that has never been seen is made.
        """
        known = self._remembered()
        try:
            identity = self._identity()
        except host.ProgramError as error:
            if known:
                raise BackupError(
                    f"{self.offsite.repository} does not answer as a repository any more: {error}."
                    f" Is it mounted, reachable, in its old place? If it is gone for good, remove {self._known}"
                ) from error
            if not make:
                raise
            try:
                self._restic("init", timeout=self.offsite.answer_wait)
            except BackupError as second:
                # `init` leaves one that exists alone, so this is the reason why neither worked.
                raise BackupError(f"{self.offsite.repository} can be neither opened nor made: {second}") from error
            self.log.info(f"offsite: {self.offsite.repository} was made")
            identity = self._identity()
        if known and known.get("id") != identity:
            raise BackupError(
                f"{self.offsite.repository} is another repository than last time; if that is meant to be so, remove {self._known}"
            )
        if not known:
            self._remember(id=identity)

    def _identity(self) -> str:
        said = self._restic("cat", "config", "--json", timeout=self.offsite.answer_wait)
        try:
            return str(json.loads(said[said.index("{") :])["id"])
        except (ValueError, KeyError, TypeError) as error:
            raise BackupError(f"restic's configuration is no JSON: {said[:200]!r}") from error

    # --- copy ---

    def copy(self) -> dict[str, Any]:
        """Copy what is not there yet, look after the repository, remove what is expired there."""
        backups = self.backups
        with backups.reading(), backups.noting("offsite"):
            self.open(make=True)
            # Locks of runs that were killed; those of living ones stay.
            self._restic("unlock", timeout=self.offsite.answer_wait)
            heal = self._repair()
            there = named(self.snapshots())
            copied = [name for name in self._wanted(there, heal) if self._copy(name, heal)]
            self._mark(there)
            self._check()
            removed = self._expire()
            result = {"at": clock.utc_now().isoformat(), "repository": self.offsite.repository, "copied": copied, "removed": removed}
            backups.note(last_offsite=result)
        self.log.info(f"offsite: copied {', '.join(copied) or 'nothing new'}; removed {', '.join(removed) or 'nothing'}")
        return result

    def _wanted(self, there: Mapping[str, Any], everything: bool) -> list[str]:
        """Backups that belong there: whole, not known to be bad, and not about to be removed there as too old."""
        backups, oldest = self.backups, clock.utc_now() - timedelta(days=self.offsite.keep_days)
        return [
            name
            for name, manifest in backups.complete().items()
            if is_whole(manifest)
            and (everything or name not in there)
            and (backups.proof(name) or {}).get("good", True)
            and (when := taken_at(name))
            and when > oldest
        ]

    def _copy(self, name: str, force: bool) -> bool:
        path, manifest = self.backups.find(name)
        # What went bad on this disk must not become the copy.
        self.backups.verify_files(path, manifest)
        tags = self._tags(name, *([PROVEN] if self.backups.is_proven(name) else []))
        options = ["--json", "--host", self.backups.config.app, *(["--force"] if force else [])]
        said = self._restic("backup", *options, *tags, str(path))
        summaries = [line for line in said.splitlines() if '"summary"' in line]
        try:
            snapshot = str(json.loads(summaries[-1])["snapshot_id"])
        except (IndexError, ValueError, KeyError) as error:
            raise BackupError(f"restic ended well and named no snapshot of {name}") from error
        self.log.info(f"offsite: {name} is snapshot {snapshot[:8]}")
        return True

    def _mark(self, there: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
        """Tell the copies of backups that were proven in the meantime: only those count when others are removed."""
        complete = self.backups.complete()
        for name, snapshots in there.items():
            if name in complete and self.backups.is_proven(name):
                for snapshot in snapshots:
                    if not is_proven(snapshot):
                        self._restic("tag", f"--add={PROVEN}", str(snapshot["id"]), timeout=self.offsite.answer_wait * 5)

    def _check(self) -> None:
        """The structure each time, and of the data one part of ``check_days``: all of it is read in as many days."""
        days = self.offsite.check_days
        part = f"{clock.utc_now().toordinal() % days + 1}/{days}"
        try:
            self._restic("check", f"--read-data-subset={part}")
        except host.ProgramError as error:
            packs = damaged_packs(error.output)
            self._remember(damaged=packs)
            way = "the next run repairs it" if packs else f"see `restic -r {self.offsite.repository} check --read-data`"
            raise BackupError(f"{self.offsite.repository} is damaged: {error}; nothing was removed there, {way}") from error
        if self._remembered().get("damaged"):
            self._remember(damaged=[])

    def _repair(self) -> bool:
        """Take out what the last run found broken; the backups that are still here are then copied again, and fill the holes."""
        packs = [str(pack) for pack in self._remembered().get("damaged") or []]
        if not packs:
            return False
        self.log.info(f"offsite: repair {len(packs)} damaged packs")
        # What it takes out it leaves in the folder that it works in.
        with tempfile.TemporaryDirectory(prefix="slipway-") as scratch:
            self._restic("repair", "packs", *packs, folder=scratch)
        return True

    def _expire(self) -> list[str]:
        """Remove what is older than the days, never the newest proven ones; and of doubles the older."""
        there = named(self.snapshots())
        offsite = self.offsite
        copies = [Copy(name, True, any(map(is_proven, snapshots))) for name, snapshots in there.items()]
        gone = expired(copies, clock.utc_now(), offsite.keep_days, offsite.keep_count)
        doomed = [snapshot for name in gone for snapshot in there[name]]
        doomed += [snapshot for name, snapshots in there.items() if name not in gone for snapshot in snapshots[:-1]]
        if doomed:
            self._restic("forget", *(str(snapshot["id"]) for snapshot in doomed))
            self._restic("prune")
        return gone

    # --- bring back ---

    def listed(self) -> list[dict[str, Any]]:
        """The backups there, oldest first."""
        self.open()
        return [
            {"name": name, "proven": any(map(is_proven, snapshots)), "snapshot": str(snapshots[-1]["id"])[:8]}
            for name, snapshots in sorted(named(self.snapshots()).items())
        ]

    def fetch(self, name: str) -> dict[str, Any]:
        """Bring the folder of a backup back to this host: under a temporary name, checked, and then renamed."""
        backups = self.backups
        self.open()
        there = named(self.snapshots())
        if name == "latest" and there:
            name = max(there)
        if name not in there:
            raise BackupError(f"there is no copy {name!r} in {self.offsite.repository}; there are: {', '.join(sorted(there)) or 'none'}")
        with backups.locked(), backups.noting("fetch"):
            if name in backups.complete():
                return backups.find(name)[1]
            snapshot = there[name][-1]
            partial = backups.folder / f"{files.PARTIAL}fetch-{name}"
            if partial.exists():
                files.remove(partial)
            files.make_folder(partial)
            try:
                self._restic("restore", str(snapshot["id"]), "--target", str(partial))
                found = partial / str(snapshot["paths"][0]).lstrip("/")
                manifest = backups.read_manifest(found)
                if manifest is None:
                    raise BackupError(f"the copy of {name} is not complete")
                backups.verify_files(found, manifest)
                files.sync_tree(found)
                # A damaged one of this name may be the reason for asking.
                if (backups.folder / name).exists():
                    files.move(backups.folder / name, backups.folder / f"{files.PARTIAL}damaged-{name}")
                files.move(found, backups.folder / name)
            finally:
                with contextlib.suppress(OSError):
                    files.remove(partial)
        self.log.info(f"offsite: {name} was fetched")
        return manifest
