# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""An app's half of the state document. Every field is named here: whatever else a manifest holds, a secret for one, stays where it is."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from .. import overview
from ..app import App
from ..backup import rules, status
from ..backup.config import Config as BackupConfig
from ..backup.store import PROOF, Backups
from ..core.files import read_json
from ..core.run import Account, command
from ..core.status import worst
from ..core.units import show
from ..releases import Releases, digest_of, version_of
from ..tls.config import Config as TlsConfig
from ..tls.keeper import Keeper
from ..verify import database_of

#: Of each list the newest.
RELEASES, BACKUPS = 20, 40
_UNIT = ("Id", "ActiveState", "ActiveEnterTimestamp", "MemoryCurrent", "CPUUsageNSec", "TasksCurrent", "NRestarts")
_SLICE = ("MemoryCurrent", "MemoryMax", "CPUUsageNSec", "TasksCurrent", "TasksMax")


def named(app: App) -> dict[str, Any]:
    """What is known without looking."""
    return {
        **{"domain": app.domain, "names": list(app.names), "prefix": app.prefix},
        "sandbox": {name: app.sandbox.get(name) for name in ("level", "network", "allowed")},
    }


def probes(app: App, etc: Path) -> dict[str, Callable[[], Any]]:
    """Each field, and how it is seen."""
    return {
        "status": partial(standing, app, etc),
        "releases": partial(releases, app),
        "certificate": partial(certificate, etc / app.name / "tls.json"),
        "backups": partial(backups, etc / app.name / "backup.json"),
        "units": partial(units, app),
        "slice": partial(slice_of, app),
        "database": partial(database, app),
    }


def serving(app: App) -> list[str]:
    """Services of the live release."""
    found = Releases.of(app)
    live = found.live_id()
    return [unit for unit in app.units(live, found.live()) if unit.endswith(".service")] if live else []


def standing(app: App, etc: Path) -> dict[str, Any]:
    """What ``slipway <app> status`` says."""
    found = list(overview.statuses(app.name, etc))
    return {"state": worst(found), "subjects": [one.data() for one in found]}


def releases(app: App) -> dict[str, Any]:
    """Newest first, as their manifests tell; with the size of each."""
    found = Releases.of(app)
    live = found.live_id()
    return {
        "live": live or None,
        "closed": found.closed,
        "all": [_release(manifest, live, app.releases) for manifest in found.manifests()[:RELEASES]],
    }


def _release(manifest: dict[str, Any], live: str, folder: Path) -> dict[str, Any]:
    failure = manifest.get("failure") or {}
    return {
        **{
            name: manifest.get(name) for name in ("id", "state", "created_at", "created_by", "live_at", "restore_point", "rolled_back_from")
        },
        "live": manifest["id"] == live,
        "version": version_of(manifest),
        "commit": digest_of(manifest),
        "schema": manifest.get("schema_after") or manifest.get("schema_before"),
        "on_trial": bool(manifest.get("on_trial")),
        # The reason may go on with what the build printed.
        "failure": {"step": failure.get("step"), "reason": str(failure.get("reason") or "").strip().split("\n")[0]} if failure else None,
        "bytes": _size(folder / str(manifest["id"])),
    }


def _size(folder: Path) -> int:
    return sum(entry.stat(follow_symlinks=False).st_size for entry in _files(str(folder)))


def _files(folder: str) -> Iterator[os.DirEntry[str]]:
    with os.scandir(folder) as found:
        for entry in found:
            if entry.is_dir(follow_symlinks=False):
                yield from _files(entry.path)
            else:
                yield entry


def certificate(path: Path) -> dict[str, Any] | None:
    """What the file that keeps it up to date says of it: names, issuer, times."""
    facts = Keeper(TlsConfig.parse(path.read_text(encoding="utf-8"))).probe()[1]["certificate"]
    return dict(facts) if facts else None


def backups(path: Path) -> dict[str, Any]:
    """Newest first, with what a restore has shown of each; and what has failed since."""
    config = BackupConfig.parse(path.read_text(encoding="utf-8"))
    # Read as `Backups` does, which keeps a log, and is for those that write.
    folders = sorted((entry for entry in config.backup_dir.iterdir() if rules.taken_at(entry.name)), key=lambda entry: entry.name)
    read = {folder: Backups.read_manifest(folder) for folder in folders[-BACKUPS:]}
    noted = read_json(config.backup_dir / status.FILE)
    return {
        "proves": config.proof,
        "keep_days": config.keep_days,
        "all": [_backup(folder, manifest) for folder, manifest in reversed(read.items()) if manifest],
        "damaged": [folder.name for folder, manifest in read.items() if not manifest],
        "failures": {
            step: {"at": failure.get("at"), "reason": str(failure.get("reason") or "").split("\n")[0]}
            for step, failure in status.failures(noted).items()
        },
        "offsite_at": (noted.get("last_offsite") or {}).get("at"),
        "offsite": path.with_name("backup-offsite.json").exists(),
    }


def _backup(folder: Path, manifest: dict[str, Any]) -> dict[str, Any]:
    tables, rows = rules.contents(manifest)
    proof = read_json(folder / PROOF)
    kept = ("good", "at", "restore_seconds", "rows", "reason")
    return {
        **{name: manifest.get(name) for name in ("name", "label", "taken_at", "bytes", "duration_seconds")},
        **{"whole": rules.is_whole(manifest), "tables": tables, "rows": rows},
        "proof": {name: proof.get(name) for name in kept} if proof else None,
    }


def units(app: App) -> list[dict[str, Any]]:
    """Of the live release, the socket among them."""
    found = Releases.of(app)
    live = found.live_id()
    shown = show(_UNIT, *app.units(live, found.live())) if live else []
    return [
        {
            **{"unit": one.get("Id", ""), "state": one.get("ActiveState", ""), "since": _utc(one.get("ActiveEnterTimestamp", ""))},
            **{"memory": _number(one, "MemoryCurrent"), "cpu_seconds": _seconds(one), "tasks": _number(one, "TasksCurrent")},
            "restarts": _number(one, "NRestarts"),
        }
        for one in shown
    ]


def slice_of(app: App) -> dict[str, Any] | None:
    """What all units of the app use together, and may use; None where it has no limits together."""
    if not app.slice:
        return None
    (one,) = show(_SLICE, app.slice)
    return {
        **{"memory": _number(one, "MemoryCurrent"), "memory_max": _number(one, "MemoryMax"), "cpu_seconds": _seconds(one)},
        **{"tasks": _number(one, "TasksCurrent"), "tasks_max": _number(one, "TasksMax")},
    }


def _number(shown: dict[str, str], name: str) -> int | None:
    """None for "[not set]", "infinity", and the largest number there is: nothing is accounted, or there is no limit."""
    said = shown.get(name, "")
    return int(said) if said.isdigit() and int(said) < 2**60 else None


def _seconds(shown: dict[str, str]) -> float | None:
    used = _number(shown, "CPUUsageNSec")
    return None if used is None else round(used / 1e9, 1)


def _utc(said: str) -> str | None:
    """ "Fri 2026-11-27 07:23:00 UTC" as ISO 8601."""
    words = said.split()
    return f"{words[1]}T{words[2]}Z" if len(words) == 4 else None


def database(app: App) -> dict[str, Any] | None:
    """Its size, asked as the app would; None where it is no PostgreSQL."""
    variables = database_of(app)
    if variables is None:
        return None
    # With a service file, which is root's alone, root asks: the password is nobody else's.
    account = None if "PGSERVICEFILE" in variables else Account.of(app.user, app.group)
    said = command("psql", "-XAtqc", "SELECT pg_database_size(current_database())", account=account, environment=variables)
    return {"bytes": int(said)}
