# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""The releases of an app, as their manifests tell: which one is live, and how it stands."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any

from .app import App
from .core.files import read_json
from .core.status import DEGRADED, FAILED, OK, UNKNOWN, Status
from .core.text import table

SUBJECT = "release"
MANIFEST = "release.json"
DEPLOY = "ansible-playbook slipway.vps.deploy"


def version_of(manifest: Mapping[str, Any]) -> str:
    """What the operator calls the version of a release: a tag or branch, a requirement, the name of an archive; a folder has none."""
    asked, source = manifest.get("asked") or {}, manifest.get("source") or {}
    address = str(asked.get("url") or asked.get("file") or "").partition("?")[0]
    return str(asked.get("version") or asked.get("requirement") or source.get("requirement") or PurePath(address).name)


def digest_of(manifest: Mapping[str, Any], length: int = 8) -> str:
    """The start of the commit, or of the checksum of an archive or a folder; a package has neither."""
    source = manifest.get("source") or {}
    identity = str(source.get("commit") or source.get("identity") or "")
    return identity[:length] if re.match(r"[0-9a-f]{40}", identity) and not source.get("requirement") else ""


def code_of(manifest: Mapping[str, Any], length: int = 12) -> str:
    """What tells the code of two releases apart: the digest, or the requirement of a package."""
    return digest_of(manifest, length) or version_of(manifest) or str((manifest.get("source") or {}).get("commit") or "")[:length]


class Releases:
    """``/srv/<app>/releases``, read only."""

    def __init__(self, root: Path, current: Path, releases: Path) -> None:
        self.root, self.current, self.folder = root, current, releases

    @classmethod
    def of(cls, app: App) -> Releases:
        """Those of an app."""
        return cls(app.root, app.current, app.releases)

    @property
    def closed(self) -> bool:
        """Whether visitors get the maintenance page."""
        return (self.root / "maintenance" / "index.html").exists()

    def live_id(self) -> str:
        """The release that `current` leads to; empty when there is none."""
        try:
            return self.current.readlink().name
        except OSError:
            return ""

    def live_manifest(self) -> dict[str, Any]:
        """What is known of the live release; empty when there is none."""
        live = self.live_id()
        return read_json(self.folder / live / MANIFEST) if live else {}

    def manifests(self) -> list[dict[str, Any]]:
        """Of every release that has one, newest first."""
        found = (read_json(path) for path in self.folder.glob(f"*/{MANIFEST}"))
        return sorted((manifest for manifest in found if manifest.get("id")), key=lambda manifest: str(manifest["id"]), reverse=True)

    def live(self) -> dict[str, Any]:
        """The manifest of the live release; empty when there is none."""
        return read_json(self.folder / live / MANIFEST) if (live := self.live_id()) else {}

    def status(self) -> Status:
        """How the live release stands."""
        live, manifests = self.live_id(), self.manifests()
        manifest = next((found for found in manifests if found["id"] == live), {})
        if not live:
            return Status(SUBJECT, UNKNOWN if not manifests else FAILED, "no release is live", DEPLOY)
        since = manifest.get("live_at")
        asked = version_of(manifest)
        told = f"{live}{f' ({asked})' if asked else ''} is live"
        if manifest.get("on_trial"):
            return Status(SUBJECT, DEGRADED, f"{told}, and still watched after its switch", DEPLOY, since)
        newest = manifests[0] if manifests else {}
        if newest.get("state") in ("failed", "rolled-back") and str(newest["id"]) > live:
            why = (newest.get("failure") or {}).get("reason", "").strip().split("\n")[0]
            later = f"the newer {newest['id']} {newest['state']}: {why or 'see its release.json'}"
            return Status(SUBJECT, DEGRADED, f"{told}; {later}", DEPLOY, since)
        return Status(SUBJECT, OK, told, since=since)


def add(subjects: Any, common: argparse.ArgumentParser) -> None:
    """The words of the command line."""
    subjects.add_parser("releases", parents=[common], help="the releases, newest first; * is live").set_defaults(handler=main)


def main(options: argparse.Namespace) -> int:
    """List them."""
    releases = Releases.of(App.load(options.app))
    live, manifests = releases.live_id(), releases.manifests()
    if options.json:
        print(json.dumps({"live": live or None, "releases": manifests}))
        return 0
    rows = [
        {
            "release": f"{manifest['id']}{' *' if manifest['id'] == live else ''}",
            "state": manifest.get("state", ""),
            "live since": manifest.get("live_at") or "",
            "version": version_of(manifest),
            "commit": digest_of(manifest),
            "schema": manifest.get("schema_after") or manifest.get("schema_before") or "",
            "who": manifest.get("created_by") or "",
        }
        for manifest in manifests
    ]
    print(table(rows) if rows else f"No release in {releases.folder} yet: {DEPLOY}")
    return 0
