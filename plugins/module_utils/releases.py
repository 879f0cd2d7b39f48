# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""Releases on disk: their manifests, which one is live, which may go.

What is known of a release stands in its `release.json`, never in a file's time: a copy, a restore or a
touched folder must not change what a rollback would choose.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ansible_collections.slipway.vps.plugins.module_utils.slipway.core.files import remove, write_atomically

#: building -> ready -> live -> retired; a step that fails before that leaves failed, and only the manifest. What was switched
#: away from because it was no good is rolled-back, and never chosen again by default.
BUILDING, READY, LIVE, RETIRED = "building", "ready", "live", "retired"
FAILED, ROLLED_BACK = "failed", "rolled-back"
MANIFEST = "release.json"
#: The name of the server that a release was built with: what starts it reads that (roles/server/files/slipway_server.py).
SERVER = ".server"
#: How many releases before the live one keep their assets reachable.
PREVIOUS = 2
_ID = re.compile(r"\d{8}T\d{6}-[0-9a-z]{1,12}")


@dataclass
class Release:
    """The manifest of one release.

    Times are ISO 8601 in UTC. `fingerprint` covers all that decides how the release behaves: source, extra requirements,
    Python, environment, secrets, configuration and units; two releases with the same one would be the same.
    """

    id: str
    fingerprint: str
    source: dict[str, Any]
    #: What the operator asked for: `type`, and `repo` with `version`, `url`, `file`, `path` or `requirement`; without secrets.
    asked: dict[str, str] = field(default_factory=dict)
    state: str = BUILDING
    created_at: str = ""
    created_by: str = ""
    live_at: str | None = None
    python: str | None = None
    lock: str | None = None
    #: What its virtual environment was made of (`of`, absent where that is not locked), and how the build left it (`left`): digests.
    environment: dict[str, str] = field(default_factory=dict)
    schema_before: str | None = None
    schema_after: str | None = None
    #: Digest of the migration scripts: the same as the live release's means that there is nothing to migrate.
    migrations: str | None = None
    #: Name of the backup taken before the migration.
    restore_point: str | None = None
    #: The readiness path that its rehearsal found, where `app_health_ready` names none.
    ready: str = ""
    #: What runs besides Gunicorn, name to definition; an empty one where the version that built the release noted the name alone.
    processes: dict[str, dict[str, Any]] = field(default_factory=dict)
    timers: dict[str, dict[str, Any]] = field(default_factory=dict)
    #: How this release's schema is made; None where nobody noted it.
    migrate_command: str | None = None
    #: The release that was live before this one, to go back to when this one turns out to be no good.
    replaces: str | None = None
    #: The same, where it was left because it was no good.
    rolled_back_from: str | None = None
    #: Whether a visitor was served when this release was switched to; if not, it is not to blame for that.
    served_before: bool | None = None
    #: From the switch until the release has been found good, or has been given up.
    on_trial: bool = False
    failure: dict[str, str] | None = None

    @property
    def commit(self) -> str:
        return str(self.source.get("commit") or self.source.get("identity") or "")


class Store:
    """The folder `/srv/<app>`: `releases/`, and `current`, the link to the live one."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.releases = root / "releases"
        self.current = root / "current"

    @property
    def closed(self) -> bool:
        """Whether visitors get the maintenance page."""
        return (self.root / "maintenance" / "index.html").exists()

    def folder(self, release_id: str) -> Path:
        return self.releases / release_id

    def load(self, release_id: str) -> Release | None:
        """The manifest of ``release_id``, or None when there is none that can be read."""
        try:
            data = json.loads((self.folder(release_id) / MANIFEST).read_text())
            known = {name: data[name] for name in Release.__dataclass_fields__ if name in data}
            if isinstance(known.get("processes"), list):
                known["processes"] = {str(name): {} for name in known["processes"]}
            return Release(**known)
        except (OSError, ValueError, TypeError):
            return None

    def save(self, release: Release) -> None:
        """Write the manifest so that a reader, or a crash, sees the old one or the new one."""
        write_atomically(self.folder(release.id) / MANIFEST, json.dumps(asdict(release), indent=2) + "\n", 0o640)

    def all(self) -> list[Release]:
        """Every release that has a manifest, oldest first."""
        if not self.releases.is_dir():
            return []
        names = sorted(path.name for path in self.releases.iterdir() if _ID.fullmatch(path.name))
        return [release for release in map(self.load, names) if release is not None]

    def unfinished(self) -> list[str]:
        """Folders that an interrupted build left: in state building, or without a manifest that can be read."""
        if not self.releases.is_dir():
            return []
        names = sorted(path.name for path in self.releases.iterdir() if _ID.fullmatch(path.name) and path.name != self.live_id())
        return [name for name in names if (found := self.load(name)) is None or found.state == BUILDING]

    def live_id(self) -> str | None:
        try:
            return self.current.readlink().name
        except OSError:
            return None

    def live(self) -> Release | None:
        name = self.live_id()
        return self.load(name) if name else None

    def point_current_at(self, release_id: str) -> None:
        """Move `current` in one step: it names the old release or the new one, and never nothing."""
        self._link(self.current, release_id)

    def point_next_at(self, release_id: str | None) -> None:
        """`next`: where nginx finds the assets of a release that answers already, while `current` has not moved yet."""
        if release_id:
            self._link(self.root / "next", release_id)
        else:
            (self.root / "next").unlink(missing_ok=True)

    def point_previous_at(self, release_ids: Iterable[str]) -> None:
        """`previous-1`, `previous-2`: where nginx finds the assets of pages that are still open in browsers."""
        names = list(release_ids)[:PREVIOUS]
        for number in range(1, PREVIOUS + 1):
            link = self.root / f"previous-{number}"
            if number <= len(names):
                self._link(link, names[number - 1])
            else:
                link.unlink(missing_ok=True)

    def _link(self, link: Path, release_id: str) -> None:
        new = self.root / f".{link.name}-{os.getpid()}"
        new.unlink(missing_ok=True)
        new.symlink_to(self.folder(release_id).relative_to(self.root))
        new.replace(link)

    def size(self, release_id: str) -> int:
        """Bytes of a release; links into uv's cache count in full."""
        return sum(path.lstat().st_size for path in self.folder(release_id).rglob("*"))

    def strip(self, release_id: str) -> None:
        """Remove all of a release but its manifest."""
        for path in self.folder(release_id).iterdir():
            if path.name != MANIFEST:
                remove(path)

    def remove(self, release_id: str) -> None:
        remove(self.folder(release_id))


def now() -> datetime:
    return datetime.now(timezone.utc)


def new_id(identity: str, at: datetime, taken: Iterable[str]) -> str:
    """A release id that sorts by time and shows the source: `20261120T072201-4f2a9c1`.

    ``identity`` is a commit or a checksum; anything else is hashed.
    """
    short = identity[:8] if re.fullmatch(r"[0-9a-f]{12,}", identity) else hashlib.sha256(identity.encode()).hexdigest()[:8]
    stamp = at.strftime("%Y%m%dT%H%M%S")
    candidates = [f"{stamp}-{short}", *(f"{stamp}-{short}{letter}" for letter in "bcdefghijklmnopqrstuvwxyz")]
    return next(candidate for candidate in candidates if candidate not in set(taken))


def fingerprint(parts: Iterable[str], files: Iterable[Path]) -> str:
    """A digest of ``parts`` and of the content of ``files`` (folders: of all files in them); a missing file counts as such."""
    digest = hashlib.sha256()

    def add(label: str, content: bytes) -> None:
        digest.update(f"{label}\0{len(content)}\0".encode() + content)

    for part in parts:
        add("part", part.encode())
    for path in files:
        members = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
        for member in members:
            add(str(member), member.read_bytes() if member.is_file() else b"(absent)")
    return digest.hexdigest()


def reusable(releases: Iterable[Release], wanted: str) -> Release | None:
    """The newest release that is built and waits, and is what ``wanted`` describes: an interrupted deploy's."""
    return next((r for r in reversed(list(releases)) if r.state == READY and r.fingerprint == wanted), None)


def held_back(releases: Iterable[Release], wanted: str, live: Release | None) -> Release | None:
    """The release that is what ``wanted`` describes and was rolled away from, or is just being."""
    away = live.rolled_back_from if live else None
    return next((r for r in reversed(list(releases)) if (r.state == ROLLED_BACK or r.id == away) and r.fingerprint == wanted), None)


def by_service(releases: Iterable[Release]) -> list[Release]:
    """Releases that served, the one that did so last first. Going back to an old one makes it the last."""
    return sorted((r for r in releases if r.live_at), key=lambda r: (str(r.live_at), r.id), reverse=True)


def last_good(releases: Iterable[Release], live: Release) -> Release | None:
    """What to go back to by default: the release that served last before the live one, and was not rolled away from."""
    before = (r for r in by_service(releases) if r.id != live.id and str(r.live_at) <= str(live.live_at))
    # LIVE too: nobody has marked it yet when a burn-in was cancelled.
    return next((r for r in before if r.state in (LIVE, RETIRED)), None)


def prunable(releases: Iterable[Release], live: str | None, keep: int) -> list[str]:
    """Ids that may go, oldest first.

    Kept are the live release, the ``keep`` good ones that served last before it, and as many failed or rolled-back ones. So the last
    good release stays as long as ``keep`` is at least 1. What was built and never served goes: nothing points at it.
    """
    everything = [r for r in releases if r.id != live]
    good = [r.id for r in by_service(everything) if r.state in (LIVE, RETIRED)]
    bad = [r.id for r in everything if r.state in (FAILED, ROLLED_BACK)]
    abandoned = [r.id for r in everything if r.state in (BUILDING, READY)]
    return sorted([*good[keep:], *bad[: max(0, len(bad) - keep)], *abandoned])
