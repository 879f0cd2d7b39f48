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
import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

#: building -> ready -> live -> retired; a step that fails leaves failed, and only the manifest.
BUILDING, READY, LIVE, RETIRED, FAILED = "building", "ready", "live", "retired", "failed"
MANIFEST = "release.json"
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
    state: str = BUILDING
    created_at: str = ""
    created_by: str = ""
    live_at: str | None = None
    python: str | None = None
    lock: str | None = None
    schema_before: str | None = None
    schema_after: str | None = None
    processes: list[str] = field(default_factory=list)
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

    def folder(self, release_id: str) -> Path:
        return self.releases / release_id

    def load(self, release_id: str) -> Release | None:
        """The manifest of ``release_id``, or None when there is none that can be read."""
        try:
            data = json.loads((self.folder(release_id) / MANIFEST).read_text())
            known = {name: data[name] for name in Release.__dataclass_fields__ if name in data}
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
        link = self.root / f".current-{os.getpid()}"
        link.unlink(missing_ok=True)
        link.symlink_to(self.folder(release_id).relative_to(self.root))
        link.replace(self.current)

    def strip(self, release_id: str) -> None:
        """Remove all of a release but its manifest."""
        for path in self.folder(release_id).iterdir():
            if path.name != MANIFEST:
                remove(path)

    def remove(self, release_id: str) -> None:
        remove(self.folder(release_id))


def remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def write_atomically(path: Path, text: str, mode: int, owner: tuple[int, int] | None = None) -> None:
    """Replace ``path`` by ``text`` in one step, on disk before it is visible."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(handle, "w") as stream:
            stream.write(text)
            stream.flush()
            os.fchmod(stream.fileno(), mode)
            if owner:
                os.fchown(stream.fileno(), *owner)
            os.fsync(stream.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


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


def prunable(releases: Iterable[Release], live: str | None, keep: int) -> list[str]:
    """Ids that may go, oldest first.

    Kept are the live release, the ``keep`` newest that served before it, and as many failure manifests. So the last good
    release stays as long as ``keep`` is at least 1. What was built and never served goes: nothing points at it.
    """
    everything = list(releases)
    served = [r.id for r in everything if r.state in (LIVE, RETIRED) and r.id != live]
    failed = [r.id for r in everything if r.state == FAILED]
    abandoned = [r.id for r in everything if r.state in (BUILDING, READY) and r.id != live]
    return sorted([*served[: max(0, len(served) - keep)], *failed[: max(0, len(failed) - keep)], *abandoned])
