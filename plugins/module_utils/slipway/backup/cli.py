# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""`slipway <app> backup`: take, list, prove, copy and restore the backups of one app.

A backup is one folder, ``<backup_dir>/<UTC time>[-<label>]/``: ``db.dump`` (pg_dump, one file per table), ``files.tar.gz``
(uploads and configuration) and ``manifest.json``. It is written under a temporary name, read back, and renamed when it
is complete: what carries a name like ``20261120T033000Z`` is whole. Each night the newest is restored into a throw-away
cluster; only then it counts (``proof.json``). A restore goes into a new database, is checked there, and takes the old
one's place by a rename; the old one is kept.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, NoReturn

from ..app import App
from ..core.errors import SlipwayError
from ..core.lock import LockedError
from ..core.log import Log
from ..core.status import OK
from ..pause import paused
from . import host
from .config import Config
from .offsite import Copies, Offsite
from .pitr import Pitr
from .proof import Proof
from .restore import Restore
from .rules import BackupError, contents, human
from .sqlite import DAMAGED
from .status import probe
from .store import Backups

EXIT_FAILED = 1
EXIT_LOCKED = 75  # EX_TEMPFAIL: try again later
#: No backups are set up for this app: a deploy then goes on without a restore point.
EXIT_UNCONFIGURED = 78  # EX_CONFIG
#: Seconds that cron's run waits for a deploy's restore point or a restore.
PATIENCE = 900
#: How many files a report names.
SHOWN = 20

Result = tuple[dict[str, Any], str]


def describe(backups: Backups) -> str:
    """The backups as a table, and what to type next."""
    rows = [
        (
            *(name, human(manifest["bytes"]), str(contents(manifest)[0]), ",".join(manifest["schema_revisions"]) or "-"),
            {None: "not yet", True: "yes", False: "NO GOOD"}[(backups.proof(name) or {}).get("good")],
        )
        for name, manifest in backups.complete().items()
    ]
    lines = [f"{name}  damaged or incomplete" for name in backups.damaged()]
    if not rows:
        return "\n".join([f"No backup in {backups.folder} yet.", *lines])
    table = [("NAME", "SIZE", "TABLES", "SCHEMA", "RESTORED"), *rows]
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    return "\n".join(["  ".join(map(str.ljust, row, widths)).rstrip() for row in table] + lines)


def _listed(what: str, names: Sequence[str]) -> list[str]:
    shown = [f"  {name}" for name in names[:SHOWN]]
    more = [f"  and {len(names) - SHOWN} more (--json names them all)"] if len(names) > SHOWN else []
    return [f"{what}: {len(names)}", *shown, *more]


def report_restore(result: Mapping[str, Any]) -> str:
    """What a restore did, and what may have to follow."""
    what = [f"into the database {result['database']} (requests waited meanwhile)"] if result["database"] else []
    what += [f"SQLite {name}" for name in result["sqlite"]]
    lines = [f"Restored {result['name']}, {result['tables']} tables, {result['rows']} rows: {', '.join(what) or 'it holds no database'}."]
    command = f"sudo slipway {result['app']} backup"
    if result["kept_as"]:
        lines.append(f"The database it replaced is kept as {result['kept_as']}. To go back to it, on the host:")
        lines.append(f"  {command} undo {result['kept_as']}")
        lines.append("To drop it, on the host:")
        lines.append(f"  {command} drop {result['kept_as']}")
    if result["kept_in"]:
        lines.append(f"The SQLite files as they were are in the backup {result['kept_in']}. To go back to them, on the host:")
        lines.append(f"  {command} restore {result['kept_in']}")
    if result["sqlite_replaced"]:
        lines.append(f"{', '.join(result['sqlite_replaced'])} was damaged, is kept with the ending {DAMAGED}, and is a new file.")
        lines.append("The app has the old one open until, on the host:")
        lines.append(f"  sudo systemctl restart '{result['app']}@*'")
    if result["files"]:
        lines += _listed("Files put back", result["files_back"])
        lines += _listed("Files that are newer here, and were kept", result["files_newer"])
        lines += ["To take the backup's, move them away and restore again."] if result["files_newer"] else []
    was, now = (",".join(result[key]) or "none" for key in ("schema_revisions_before", "schema_revisions"))
    if was != now:
        lines.append(f"The schema went from {was} to {now}: deploy, so that the migrations of the live release run.")
    return "\n".join(lines)


def add(subjects: Any, common: argparse.ArgumentParser) -> None:
    """The words of the command line."""
    top = subjects.add_parser("backup", parents=[common], help="backups: create, list, status, verify, restore, …")
    top.add_argument("--config", type=Path, help="the configuration; /etc/<app>/backup.json unless given")
    verbs = top.add_subparsers(dest="verb", metavar="verb")
    top.set_defaults(handler=main, verb="status")

    def verb(name: str, text: str) -> argparse.ArgumentParser:
        made: argparse.ArgumentParser = verbs.add_parser(name, parents=[common], help=text)
        return made

    create = verb("create", "take a backup now")
    create.add_argument("--label", default="", help="ends the name: before-upgrade")
    create.add_argument("--database-only", action="store_true", help="without uploads and configuration: before a migration")
    verb("nightly", "create, verify and offsite, one after the other: what cron runs")
    verb("list", "the complete backups, oldest first")
    verb("status", "what is overdue or has failed; exit status 1 when something is")
    verb("check", "verify checksums and read the archives to the end").add_argument("name")
    verify = verb("verify", "restore into a throw-away cluster and compare with what was noted")
    verify.add_argument("name", nargs="?", default="", help="a name of `list`; the newest with uploads, unless named")
    restore = verb("restore", "bring a backup back; the replaced database is kept")
    restore.add_argument("name", help="a name of `list`, or latest")
    restore.add_argument("--files", action="store_true", help="the uploads too, over what is there")
    verb("kept", "the databases that restores have put aside")
    verb("drop", "drop a database of `kept`").add_argument("name")
    verb("undo", "let a database of `kept` be the live one again").add_argument("name")
    recover = verb("recover", "make a backup of how the database was at a moment; then restore it")
    recover.add_argument("until", help="2026-11-20 07:00:00, in UTC; or with a zone, as in 2026-11-20 08:00:00+01:00")
    verb("pitr", "copy the cluster, what changed of it, or all of it when that is due")
    verb("offsite", "copy elsewhere what is not there yet")
    verb("offsite-list", "the copies elsewhere")
    verb("fetch", "bring a copy back to this host").add_argument("name", help="a name of `offsite-list`, or latest")


class Program:
    """The verbs, one method each: the result as data and as text."""

    def __init__(self, backups: Backups, options: argparse.Namespace) -> None:
        """Do what ``options`` ask for with ``backups``."""
        self.backups, self.options = backups, options
        #: Whether the exit status is 0.
        self.good = True

    def _copies(self) -> Copies:
        path = self.options.config.with_name("backup-offsite.json")
        try:
            return Copies(self.backups, Offsite.parse(path.read_text(encoding="utf-8")))
        except FileNotFoundError as error:
            raise BackupError(f"there is no {path}: set backup_offsite_repository, and run slipway.vps.keep") from error

    def _has_offsite(self) -> bool:
        return bool(self.options.config.with_name("backup-offsite.json").exists())

    def _copy_elsewhere(self) -> Any:
        """In a unit of its own, which may reach the network, where this run is in one that may not."""
        if not (unit := os.environ.get("SLIPWAY_OFFSITE_UNIT")):
            return self._copies().copy()
        host.run(["systemctl", "start", unit])
        return self.backups.status()["last_offsite"]

    def _pitr(self) -> Pitr:
        if self.backups.config.engine != "pgbackrest":
            raise BackupError("without backup_engine: pgbackrest no moment but those of `list` can be brought back")
        return Pitr(self.backups)

    def _pause(self) -> AbstractContextManager[None]:
        """Where the app is not set up on this host nobody has to wait."""
        try:
            return paused(App.load(self.backups.config.app))
        except SlipwayError:
            return nullcontext()

    def create(self) -> Result:
        """Take a backup."""
        manifest = self.backups.create(self.options.label, self.options.database_only)
        return manifest, f"{manifest['name']}  {human(manifest['bytes'])}  {contents(manifest)[0]} tables"

    def nightly(self) -> Result:
        """Everything that is due in a night. A step that fails does not keep the next from its work."""
        self.backups.patience = PATIENCE
        steps: dict[str, Callable[[], Any]] = {"tidy": Restore(self.backups).tidy, "create": self.backups.create}
        if self.backups.config.proof:
            steps["verify"] = Proof(self.backups).prove
        if self.backups.config.copies_cluster and self.backups.config.engine == "pgbackrest":
            steps["pitr"] = lambda: self._pitr().copy()
        if self._has_offsite():
            steps["offsite"] = self._copy_elsewhere
        # What has just been proven may replace an older one.
        steps["prune"] = self.backups.prune
        done: dict[str, Any] = {}
        failed: list[str] = []
        for name, step in steps.items():
            try:
                done[name] = step()
            except host.StoppedError:
                raise
            except (SlipwayError, OSError) as error:
                # Each in a line of its own: the journal shows all that is wrong.
                self.backups.log.error(f"{name}: {error}")
                failed.append(name)
        if failed:
            raise BackupError(f"{', '.join(failed)} failed, {', '.join(done) or 'nothing'} went well")
        return done, f"{done['create']['name']}: {', '.join(done)} went well"

    def check(self) -> Result:
        """Read a backup to its end."""
        manifest = self.backups.check(self.options.name)
        return manifest, f"{manifest['name']} is good"

    def verify(self) -> Result:
        """Prove a backup by a restore."""
        proof = Proof(self.backups).prove(self.options.name)
        return (
            proof,
            f"{proof['name']} restores in {proof['restore_seconds']} s: {proof['tables']} tables, {proof['rows']} rows, all as noted",
        )

    def restore(self) -> Result:
        """Bring a backup back."""
        result = Restore(self.backups, self._pause).restore(self.options.name, self.options.files)
        text = report_restore(result)
        return {**result, "report": text.splitlines()}, text

    def kept(self) -> Result:
        """What restores have put aside."""
        kept = Restore(self.backups).kept()
        return {"kept": kept}, "\n".join(f"{entry['database']}  {human(entry['bytes'])}" for entry in kept) or "No database is put aside."

    def drop(self) -> Result:
        """Drop one of them."""
        entry = Restore(self.backups).drop(self.options.name)
        return entry, f"{entry['database']} is gone, {human(entry['bytes'])} are free again"

    def undo(self) -> Result:
        """Take a restore back."""
        result = Restore(self.backups, self._pause).undo(self.options.name)
        return result, f"{result['was']} is {result['database']} again; what was live is kept as {result['kept_as']}"

    def recover(self) -> Result:
        """A moment as a backup."""
        manifest = self._pitr().recover(self.options.until)
        return manifest, f"{manifest['name']} is how the database was at {manifest['until']}; to restore it: restore {manifest['name']}"

    def pitr(self) -> Result:
        """Copy the cluster."""
        result = self._pitr().copy()
        return result, f"{result['label']} ({result['type']})"

    def offsite(self) -> Result:
        """Copy elsewhere."""
        result = self._copies().copy()
        return result, f"copied {', '.join(result['copied']) or 'nothing new'} to {result['repository']}"

    def offsite_list(self) -> Result:
        """The copies elsewhere."""
        copies = self._copies().listed()
        lines = [f"{copy['name']}  {copy['snapshot']}  {'restored' if copy['proven'] else 'not yet restored'}" for copy in copies]
        return {"copies": copies}, "\n".join(lines) or "There is no copy yet."

    def fetch(self) -> Result:
        """Bring a copy back."""
        manifest = self._copies().fetch(self.options.name)
        return manifest, f"{self.backups.folder / manifest['name']} is here again; to restore it: restore {manifest['name']}"

    def list(self) -> Result:
        """What there is."""
        backups = self.backups
        proofs = {name: proof for name in backups.complete() if (proof := backups.proof(name))}
        data = {"backups": [*backups.complete().values()], "damaged": backups.damaged(), "proofs": proofs, "status": backups.status()}
        return data, describe(backups)

    def status(self) -> Result:
        """Whether somebody has to do something."""
        found = probe(self.backups.config, self.options.config)
        self.good = found.state == OK
        return {**found.data(), "noted": self.backups.status()}, found.text()


def _interrupted(number: int, _frame: object) -> NoReturn:
    raise host.StoppedError(f"stopped by signal {signal.Signals(number).name}")


def main(options: argparse.Namespace) -> int:
    """Do what ``options`` ask for; the exit status is 0 only when all of it is done."""
    os.umask(0o077)
    options.config = options.config or Path("/etc", options.app, "backup.json")
    if not options.config.exists():
        print(f"slipway: there is no {options.config}: ansible-playbook slipway.vps.site --tags keep writes it", file=sys.stderr)
        return EXIT_UNCONFIGURED
    log: Log | None = None
    try:
        config = Config.parse(options.config.read_text(encoding="utf-8"))
        log = Log(config.log_file, f"{config.app}-backup")
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(number, _interrupted)
        program = Program(Backups(config, log), options)
        data, text = getattr(program, options.verb.replace("-", "_"))()
    except Exception as error:
        # Cron throws away what is printed: a defect of this program has to be in the log, too.
        expected = isinstance(error, (SlipwayError, OSError))
        message = f"{options.verb}: {error if expected else traceback.format_exc()}"
        (log or Log(Path(os.devnull), "slipway-backup")).error(message)
        return EXIT_LOCKED if isinstance(error, LockedError) else EXIT_FAILED
    print(json.dumps(data) if options.json else text)
    return 0 if program.good else EXIT_FAILED
