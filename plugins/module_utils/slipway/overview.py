# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""How an app, or all apps of the machine, stand: `slipway <app> status` and `slipway status`."""

from __future__ import annotations

import argparse
import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from . import services, timers
from .app import ETC, App, names
from .backup import status as backups
from .backup.config import Config as BackupConfig
from .core.clock import stamp
from .core.errors import SlipwayError
from .core.files import read_json
from .core.status import OK, UNKNOWN, Status, worst
from .core.x509 import read_certificate
from .releases import SUBJECT as RELEASE
from .releases import Releases, version_of
from .tls.config import Config as TlsConfig
from .tls.judgement import SUBJECT as CERTIFICATE
from .tls.keeper import Keeper

EXIT_NOT_OK = 1


def statuses(name: str, etc: Path = ETC) -> Iterator[Status]:
    """Each subject of an app. One that cannot be told is unknown, and does not keep the others from being told."""
    subjects: dict[str, Callable[[], Status]] = {
        RELEASE: lambda: Releases.of(App.load(name, etc)).status(),
        services.SUBJECT: lambda: services.status(App.load(name, etc)),
        timers.SUBJECT: lambda: timers.status(App.load(name, etc)),
        CERTIFICATE: lambda: Keeper(TlsConfig.parse(_text(etc / name / "tls.json"))).probe()[0],
        backups.SUBJECT: lambda: _backups(etc / name / "backup.json"),
    }
    for subject, probe in subjects.items():
        try:
            yield probe()
        except (SlipwayError, OSError) as error:
            yield Status(subject, UNKNOWN, str(error), "ansible-playbook slipway.vps.site")


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise SlipwayError(f"there is no {path}") from error


def _backups(path: Path) -> Status:
    return backups.scheduled(BackupConfig.parse(_text(path)), path)


def brief(name: str, etc: Path = ETC) -> dict[str, Any]:
    """What a table of several machines shows of an app besides its states; nothing of what cannot be told."""
    found: dict[str, Any] = {}
    with contextlib.suppress(SlipwayError, OSError):
        live = Releases.of(App.load(name, etc)).live()
        found.update(release=live.get("id"), version=version_of(live), live_at=live.get("live_at"))
    with contextlib.suppress(SlipwayError, OSError):
        certificate = read_certificate(TlsConfig.parse(_text(etc / name / "tls.json")).certificate)
        found["certificate_ends"] = stamp(certificate.ends) if certificate else None
    with contextlib.suppress(SlipwayError, OSError):
        noted = read_json(BackupConfig.parse(_text(etc / name / "backup.json")).backup_dir / backups.FILE)
        found["backup_at"] = (noted.get("last_success") or {}).get("taken_at")
        found["proof_at"] = (noted.get("last_verified") or {}).get("at")
    return {key: value for key, value in found.items() if value}


def add(subjects: Any, common: argparse.ArgumentParser) -> None:
    """The words of the command line."""
    subjects.add_parser("status", parents=[common], help="release, services, certificate, backups").set_defaults(handler=main)


def main(options: argparse.Namespace) -> int:
    """Of one app; exit status 0 only when all is well."""
    if options.app not in (known := names()):
        raise SlipwayError(f"there is no app {options.app!r} on this machine; there are: {', '.join(known) or 'none'}")
    return show({options.app: [*statuses(options.app)]}, options.json)


def machine(as_json: bool) -> int:
    """Of all apps."""
    return show({name: [*statuses(name)] for name in names()}, as_json)


def show(found: dict[str, list[Status]], as_json: bool) -> int:
    """Print how apps stand."""
    if as_json:
        apps = {
            name: {"state": worst(all_of), "subjects": [status.data() for status in all_of], "brief": brief(name)}
            for name, all_of in found.items()
        }
        print(json.dumps({"apps": apps}, indent=2))
    else:
        for name, all_of in found.items():
            print(f"{name}: {worst(all_of)}")
            print("\n".join(f"  {line}" for status in all_of for line in status.text().splitlines()))
        if not found:
            print("No app on this machine yet.")
    return 0 if all(worst(all_of) == OK for all_of in found.values()) else EXIT_NOT_OK
