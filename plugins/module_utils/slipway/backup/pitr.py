# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""Any moment of the last days: pgBackRest keeps whole copies of the cluster, what changed since, and every segment of the WAL."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from ..core import clock, files
from ..core.lock import locked
from . import host
from .database import Server
from .proof import Proof, check_pages
from .rules import BackupError, literal, major
from .store import Backups

#: Seconds for a server to replay what was written since the last copy of the night: as much as a day of WAL.
REPLAY_WAIT = 6 * 3600
#: Seconds for a segment to reach the archive.
ARCHIVE_WAIT = 120
#: A restored cluster has neither: Debian keeps them in /etc. What else is set comes with the command line.
FILES = {"postgresql.conf": "", "pg_hba.conf": "local all all peer\n", "pg_ident.conf": ""}


# --- Pure -----------------------------------------------------------------------------------------------


def moment(text: str) -> datetime:
    """The time that an operator means: UTC unless it says otherwise."""
    try:
        found = datetime.fromisoformat(text.strip().replace("Z", "+00:00"))
    except ValueError as error:
        raise BackupError(f"{text!r} is no time: 2026-11-20 07:00:00 (UTC), or with its zone, as in 2026-11-20 08:00:00+01:00") from error
    return found.replace(tzinfo=found.tzinfo or timezone.utc).astimezone(timezone.utc)


def kind_due(copies: Sequence[Mapping[str, Any]], now: datetime, full_days: int, broken: bool) -> str:
    """Whether the next copy of the cluster is whole, or what changed since the one before; of a broken one nothing is needed."""
    whole = [int(copy["timestamp"]["stop"]) for copy in copies if copy["type"] == "full" and not copy.get("error")]
    # Half a day less: the run of the same hour a week later is due, whichever second it ended in.
    fresh = whole and now.timestamp() - max(whole) < timedelta(days=full_days, hours=-12).total_seconds()
    return "incr" if fresh and not broken else "full"


# --- Effects --------------------------------------------------------------------------------------------


class Pitr:
    """The copies that pgBackRest keeps of the cluster that the app's database is in."""

    def __init__(self, backups: Backups) -> None:
        """Keep copies beside ``backups``."""
        self.backups, self.config, self.log, self.proof = backups, backups.config, backups.log, Proof(backups)

    def _pgbackrest(self, *words: str) -> str:
        command = ["pgbackrest", f"--stanza={self.config.stanza}", "--log-level-console=off", "--log-level-stderr=error", *words]
        return host.run(command, user=self.config.admin)

    def copies(self) -> list[dict[str, Any]]:
        """The copies of the cluster, oldest first; not those of the one before it (another version of PostgreSQL)."""
        said = self._pgbackrest("info", "--output=json")
        try:
            (stanza,) = json.loads(said)
            newest = max((one["id"] for one in stanza.get("db", ())), default=None)
            copies: list[dict[str, Any]] = [
                one for one in stanza["backup"] if newest is None or one.get("database", {}).get("id", newest) == newest
            ]
        except (ValueError, KeyError, TypeError) as error:
            raise BackupError(f"pgbackrest's list of copies is not as expected: {said[:200]!r}") from error
        return copies

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        with locked(self.backups.folder / ".lock-pitr", "copy of the cluster", self.backups.patience):
            yield

    def copy(self) -> dict[str, Any]:
        """Prove what there is, copy what changed since (or everything, each ``full_days``), and only then let older ones go."""
        backups = self.backups
        proof: dict[str, Any] = {}
        with self._locked(), backups.noting("pitr"):
            copies, broken = self.copies(), None
            if copies and self.config.proof:
                try:
                    proof = self._prove()
                except host.CIRCUMSTANCES:
                    raise
                except BackupError as error:
                    broken = error
            kind = kind_due(copies, clock.utc_now(), self.config.full_days, broken is not None)
            # Waits until every segment that it needs is in the archive, and fails when one does not come.
            self._pgbackrest("backup", f"--type={kind}", "--no-expire-auto")
            label = str(self.copies()[-1]["label"])
            if broken:
                raise BackupError(f"what was kept of the cluster cannot be recovered: {broken}; {label} was taken anew, whole") from broken
            if not copies and self.config.proof:
                proof = self._prove()
            self._pgbackrest("expire")
            result = {"at": clock.utc_now().isoformat(), "label": label, "type": kind, **proof}
            backups.note(last_pitr=result)
        self.log.info(f"pitr: {label} ({kind}), recovered in {proof.get('restore_seconds', '-')} s")
        return result

    def _prove(self) -> dict[str, Any]:
        """Recover the cluster to this moment, with every segment since its last copy, and look at each page of the app's database."""
        started = time.monotonic()
        # A name in the WAL: the end of the archive would do as well, and a hole in it would look like one.
        name = f"slipway-{clock.utc_now():%Y%m%dT%H%M%SZ}"
        self._archive(name)
        with self.recovered("--type=name", f"--target={name}", "--target-action=promote") as server:
            took = time.monotonic() - started
            check_pages(self._programs(), server, self.config.database)
        return {"restore_seconds": round(took, 1), "duration_seconds": round(time.monotonic() - started, 1)}

    def _archive(self, name: str) -> None:
        """Write ``name`` into the WAL, and wait until that segment is in the archive."""
        live = self.backups.database
        segment = live.sql(f"SELECT pg_walfile_name(pg_create_restore_point({literal(name)}))")
        live.sql("SELECT pg_switch_wal()")

        def archived() -> None:
            last, failed = live.sql("SELECT coalesce(last_archived_wal, ''), coalesce(last_failed_wal, '') FROM pg_stat_archiver").split(
                "|"
            )
            if last < segment:
                raise BackupError(f"segment {segment} is not in the archive (the last one is {last or 'none'}, failed: {failed or 'none'})")

        host.wait_until(archived, ARCHIVE_WAIT, "the archive of the WAL", lambda: "")

    def _close(self, until: datetime) -> None:
        """Let something be committed after ``until`` and reach the archive: a recovery stops before that, or fails."""
        live = self.backups.database
        try:
            live.sql("SELECT pg_current_xact_id()")
            self._archive(f"slipway-until-{until:%Y%m%dT%H%M%SZ}")
        except BackupError as error:
            # The way back must not depend on what is broken now: what has reached the archive may do.
            self.log.info(f"recover {until.isoformat()}: {error}")

    def _programs(self) -> Path:
        return self.proof.programs(major(self.backups.database.sql("SHOW server_version")))

    @contextlib.contextmanager
    def recovered(self, *target: str) -> Iterator[Server]:
        """The cluster as it was at ``target``, in a throw-away place, for the time of a block."""
        programs = self._programs()
        size = int(self.backups.database.sql("SELECT sum(pg_database_size(oid))::bigint FROM pg_database"))
        with self.backups.reading(), self.proof.place(programs, size * 5 // 4) as place:
            data = place / "data"
            files.make_folder(data, self.config.admin)
            # --archive-mode=off: what is recovered must not write into the archive of the live one.
            self._pgbackrest(f"--pg1-path={data}", *target, "--archive-mode=off", "restore")
            for name, text in FILES.items():
                (data / name).write_text(text)
                files.hand_over(data / name, self.config.admin)
            # hot_standby=off: it answers only when everything is replayed, and asks for no more connections than it needs.
            with self.proof.serving(programs, place, REPLAY_WAIT, hot_standby="off", wal_level="replica") as server:
                yield server

    def recover(self, text: str) -> dict[str, Any]:
        """A backup of the app's database as it was at a moment; to be restored like every other one."""
        until = moment(text)
        if until > clock.utc_now():
            raise BackupError(f"{until.isoformat()} is still to come")
        begins = min((int(copy["timestamp"]["stop"]) for copy in self.copies() if not copy.get("error")), default=None)
        if begins is None or until.timestamp() < begins:
            since = datetime.fromtimestamp(begins, timezone.utc).isoformat() if begins else "nothing yet"
            raise BackupError(f"{until.isoformat()} is before what can be brought back: {since}; `list` shows older backups")
        self._close(until)
        target = f"--target={until:%Y-%m-%d %H:%M:%S.%f}+00"
        with self._locked(), self.recovered("--type=time", target, "--target-action=promote") as server:
            manifest = self.backups.create_from(server, f"until-{until:%Y%m%dt%H%M%Sz}")
        self.log.info(f"recover {until.isoformat()}: {manifest['name']}")
        return {**manifest, "until": until.isoformat()}
