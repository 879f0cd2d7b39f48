# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""A deploy on one host: its steps, put together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from ansible_collections.slipway.vps.plugins.module_utils.deploy_build import Builder
from ansible_collections.slipway.vps.plugins.module_utils.deploy_migrate import Migrator
from ansible_collections.slipway.vps.plugins.module_utils.deploy_plan import Planner
from ansible_collections.slipway.vps.plugins.module_utils.deploy_settings import Settings
from ansible_collections.slipway.vps.plugins.module_utils.deploy_steps import HostedApp
from ansible_collections.slipway.vps.plugins.module_utils.deploy_switch import Switcher
from ansible_collections.slipway.vps.plugins.module_utils.releases import held_back, prunable, reusable

#: What `go_live` does, one after the other.
GO_LIVE = ("rehearse", "activate", "watch", "prune")


class Deploy:
    """The app on this host, and those who work on it: one builds, one migrates, one switches, one plans."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.app = HostedApp(settings)
        self.store = self.app.store
        self.builder = Builder(self.app)
        self.migrator = Migrator(self.app)
        self.switcher = Switcher(self.app)
        self.planner = Planner(self.app, self.builder, self.migrator, self.switcher)

    def do(self, action: str) -> dict[str, Any]:
        """One of `ACTIONS`; returns what the module answers. StepError, CommandError or OSError when it fails."""
        self.app.action = action
        return ACTIONS[action](self)

    def prepare(self) -> dict[str, Any]:
        """Build what is wanted, unless an interrupted deploy has built it already."""
        wanted = self.builder.fingerprint()
        live = self.store.live()
        self.switcher.revive()
        held = None if self.settings.force else held_back(self.store.all(), wanted, live)
        # Another deploy may have brought it while this one waited for the lock.
        there = live if live and (held or live.fingerprint == wanted) else reusable(self.store.all(), wanted)
        needed = not (there and live and there.id == live.id)
        if self.settings.check_mode:
            return {"changed": needed, "needed": needed, "release": there.id if there else "", "migrates": needed}
        release = there or self.builder.build(wanted)
        # Asked here: mostly nothing is to be migrated, and that would be another call.
        migrates = needed and not self.migrator.settled(release)
        warnings = {"warnings": self.builder.warnings} if self.builder.warnings else {}
        return {"changed": not there, "needed": needed, "release": release.id, "migrates": migrates, **warnings}

    def go_live(self) -> dict[str, Any]:
        """From a release that is built to one that serves alone, in one call."""
        done = {action: self.do(action) for action in GO_LIVE}
        return {
            "changed": any(result["changed"] for result in done.values()),
            "release": done["activate"]["release"],
            "overlap": done["activate"]["overlap"],
            "output": "\n".join(filter(None, (result.get("output") for result in done.values()))),
            "removed": done["prune"]["removed"],
        }

    def prune(self) -> dict[str, Any]:
        """Remove what is no longer needed."""
        live = self.store.live()
        # A worker may take hours to finish its task.
        busy = {unit.split("@")[1].removesuffix(".service") for unit in (self.switcher.others(live) if live else [])}
        ids = [name for name in prunable(self.store.all(), self.store.live_id(), max(1, self.settings.keep)) if name not in busy]
        if not self.settings.check_mode:
            for release_id in ids:
                self.store.remove(release_id)
            self.switcher.units.tidy({live.id, *busy} if live else set(busy))
            if self.switcher.units.secrets_left():
                self.app.delivery.tidy()
            for archive in (self.store.root / "incoming").glob("*"):
                archive.unlink()
        return {"changed": bool(ids), "removed": ids, "release": self.store.live_id() or ""}

    def list(self) -> dict[str, Any]:
        """All manifests."""
        releases = [{**asdict(r), "size_bytes": self.store.size(r.id)} for r in self.store.all()]
        return {"changed": False, "releases": releases, "release": self.store.live_id() or ""}


#: What the module can be asked to do, in the order of a deploy and then of a rollback.
ACTIONS: dict[str, Callable[[Deploy], dict[str, Any]]] = {
    "plan": lambda deploy: deploy.planner.plan(),
    "prepare": Deploy.prepare,
    "migrate": lambda deploy: deploy.migrator.migrate(),
    "rehearse": lambda deploy: deploy.switcher.rehearse(),
    "activate": lambda deploy: deploy.switcher.activate(),
    "watch": lambda deploy: deploy.switcher.watch(),
    "go_live": Deploy.go_live,
    "plan_rollback": lambda deploy: deploy.planner.plan_rollback(),
    "downgrade": lambda deploy: deploy.migrator.downgrade(),
    "upgrade": lambda deploy: deploy.migrator.upgrade(),
    "prune": Deploy.prune,
    "list": Deploy.list,
}
