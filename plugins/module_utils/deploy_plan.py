# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""What a run would do: which release is wanted, and what going back to one reverts. Changes nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from ansible_collections.slipway.vps.plugins.module_utils.deploy_build import Builder
from ansible_collections.slipway.vps.plugins.module_utils.deploy_migrate import Migrator
from ansible_collections.slipway.vps.plugins.module_utils.deploy_steps import HostedApp, StepError
from ansible_collections.slipway.vps.plugins.module_utils.deploy_switch import Switcher
from ansible_collections.slipway.vps.plugins.module_utils.environment import parse_environment
from ansible_collections.slipway.vps.plugins.module_utils.releases import (
    BUILDING,
    FAILED,
    LIVE,
    READY,
    RETIRED,
    ROLLED_BACK,
    Release,
    held_back,
    last_good,
    reusable,
)
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core.run import CommandError, command
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core.units import is_active
from ansible_collections.slipway.vps.plugins.module_utils.slipway.rebuild import check_packages
from ansible_collections.slipway.vps.plugins.module_utils.slipway.releases import code_of
from ansible_collections.slipway.vps.plugins.module_utils.source import without_secrets


class Planner:
    """The steps `plan` and `plan_rollback`."""

    def __init__(self, app: HostedApp, builder: Builder, migrator: Migrator, switcher: Switcher) -> None:
        self.app = app
        self.settings = app.settings
        self.store = app.store
        self.builder = builder
        self.migrator = migrator
        self.switcher = switcher

    def plan(self) -> dict[str, Any]:
        """Compare what is wanted with what is live."""
        live = self.store.live()
        wanted = self.builder.fingerprint()
        if live and live.fingerprint == wanted:
            return {"changed": False, "needed": False, "repair": self.needs_repair(live), "release": live.id}
        held = held_back(self.store.all(), wanted, live)
        if live and held and not self.settings.force:
            warning = (
                f"What is asked for is release {held.id}, which was rolled away from ({(held.failure or {}).get('step', 'by hand')}); "
                f"{live.id} stays live. Deploy another version, or this one all the same with -e release_force=true."
            )
            return {"changed": False, "needed": False, "repair": self.needs_repair(live), "release": live.id, "warnings": [warning]}
        waiting = reusable(self.store.all(), wanted)
        diff = {
            "before": f"{live.id} {code_of(asdict(live), 40)}\n" if live else "",
            "after": f"{self.settings.commit or without_secrets(self.settings.requirement or self.settings.identity)}\n",
        }
        return {
            **{"changed": self.settings.check_mode, "needed": True, "repair": False, "release": waiting.id if waiting else ""},
            "diff": {**diff, "before_header": f"{self.settings.name} live", "after_header": f"{self.settings.name} wanted"},
        }

    def needs_repair(self, live: Release) -> bool:
        """An earlier run was cut off: something of the live release does not run, or is not settled, or another one is not done with."""
        settled = live.state == LIVE and not live.on_trial and all(map(is_active, self.app.units(live)))
        waiting = any(r.state in (BUILDING, READY) for r in self.store.all() if r.id != live.id)
        return not settled or waiting or self.switcher.left_over(live)

    def plan_rollback(self) -> dict[str, Any]:
        """Choose the release to go back to, and say what that reverts."""
        live = self.store.live()
        if live is None:
            raise StepError("rollback", "no release is live, so there is nothing to go back from")
        if failed := self.failed_since(live):
            return {**self.nothing_to_leave(live, failed), "changed": False, "needed": False, "release": live.id, "newer": live.id}
        target = self.target(live)
        self.refuse_without_python(live, target)
        newer = live if target.id != live.id else self.store.load(live.rolled_back_from or "") or live
        lines = [
            f"from     {newer.id}",
            f"to       {target.id}, which went live on {target.live_at}",
            f"code     {code_of(asdict(newer))} -> {code_of(asdict(target))}",
            "packages " + ("the same" if newer.lock == target.lock else f"reverted with the environment of {target.id}"),
            f"python   {newer.python} -> {target.python}" if newer.python != target.python else f"python   {newer.python}",
            *self.environment_lines(newer, target),
            *self.units_lines(newer, target),
            "secrets  today's; they are not reverted",
            *self.schema_lines(newer, self.migrator.schema_if_known(newer), target),
            "data     not reverted",
        ]
        result = {"changed": False, "release": target.id, "newer": newer.id, "plan": lines, "schema": target.schema_after or ""}
        return {**result, "needed": target.id != newer.id or self.needs_repair(live)}

    def refuse_without_python(self, live: Release, target: Release) -> None:
        """A release whose Python went with an upgrade of the system cannot start, whatever its manifest says."""
        if target.id == live.id:
            return
        folder = self.store.folder(target.id)
        try:
            command(*check_packages(folder / ".venv/bin/python", self.settings.config_dir), account=self.app.account, cwd=folder)
        except (CommandError, OSError):
            built = f"{target.id} was built for Python {target.python or 'of another version'}"
            mend = f"`slipway {self.settings.name} rebuild --release {target.id}`"
            raise StepError(
                "rollback",
                f"{built}, and this host's Python does not find its packages: it could not start.\nOn the host, {mend} gives it a Python"
                " again, and this command can be repeated; or deploy its version anew (app_source).",
            ) from None

    def failed_since(self, live: Release) -> Release | None:
        """The last deploy since the live release took over, where it came to nothing: then nobody asks to leave the live one.

        Unless a release is named, or it is forced, or an interrupted rollback is to be finished.
        """
        if self.settings.release or self.settings.force or self.half_way(live):
            return None
        failed = [r for r in self.store.all() if r.state == FAILED and (r.failure or {}).get("at", "") >= str(live.live_at)]
        gone = self.store.load(live.rolled_back_from or "")
        # One that a rollback by hand left has no failure.
        return failed[-1] if failed else gone if gone and gone.failure else None

    def nothing_to_leave(self, live: Release, failed: Release) -> dict[str, Any]:
        what = "was switched away from by itself" if failed.state == ROLLED_BACK else "never went live"
        before = last_good(self.store.all(), live)
        lines = [
            f"nothing to go back from: the last deploy, {failed.id}, failed ({(failed.failure or {}).get('step')}) and {what}",
            f"{live.id}, the release before it, serves",
        ]
        if before:
            lines.append(f"to leave that one too: -e release={before.id}")
        return {"plan": lines, "schema": live.schema_after or ""}

    def target(self, live: Release) -> Release:
        """The release named, or the last good one before the live one."""
        if not self.settings.release and self.half_way(live):
            return live
        everything = self.store.all()
        known = ", ".join(f"{r.id} ({r.state})" for r in everything if r.id != live.id) or "none"
        if not self.settings.release:
            target = last_good(everything, live)
            if target is None:
                raise StepError("rollback", f"no good release served before {live.id}. Others: {known}. Name one: -e release=<id>")
            return target
        target = self.store.load(self.settings.release)
        if target is None or target.state not in (LIVE, RETIRED, ROLLED_BACK):
            raise StepError("rollback", f"{self.settings.release} is no release that has served. There are: {known}")
        return target

    def half_way(self, live: Release) -> bool:
        """The rollback that led here was cut off, or left the schema that is now to go back as well: it is finished, not repeated."""
        newer = self.store.load(live.rolled_back_from or "")
        if newer is None:
            return False
        if live.on_trial or live.state != LIVE or newer.state != ROLLED_BACK:
            return True
        now_at = self.migrator.schema_if_known(live) if self.settings.downgrade else None
        return bool(now_at and live.schema_after and now_at != live.schema_after)

    def environment_lines(self, live: Release, target: Release) -> Iterator[str]:
        """Which variables differ; names only, since a value may be meant for few eyes."""
        new, old = (
            parse_environment((self.store.folder(r.id) / "environment").read_bytes().decode()) if self.store.folder(r.id).is_dir() else {}
            for r in (live, target)
        )
        names = sorted(n for n in {*new, *old} if new.get(n) != old.get(n) and not n.startswith("SLIPWAY_"))
        yield f"config   {'reverted: ' + ', '.join(names) if names else 'the same'}"

    def units_lines(self, live: Release, target: Release) -> Iterator[str]:
        """Which workers and timers stop, start or change; what changes of them by name, since a command may be meant for few eyes."""
        for word, new, old in (("workers", live.processes, target.processes), ("timers", live.timers, target.timers)):
            both = sorted(new.keys() & old.keys())
            changed = [f"{name} ({', '.join(differing(new[name], old[name]))})" for name in both if new[name] != old[name]]
            moves = {"stop": sorted(new.keys() - old.keys()), "start": sorted(old.keys() - new.keys()), "change": changed}
            yield f"{word:<8} {'; '.join(f'{verb} ' + ', '.join(names) for verb, names in moves.items() if names) or 'the same'}"

    def schema_lines(self, live: Release, now_at: str | None, target: Release) -> Iterator[str]:
        """What happens to the schema, and what would have to."""
        if now_at == target.schema_after:
            yield f"schema   {now_at or 'none'}, the same"
        elif not self.settings.downgrade:
            hint = f"; {target.id} left it at {target.schema_after} (-e schema=true goes back to that)" if target.schema_after else ""
            yield f"schema   stays at {now_at}{hint}"
        elif not (now_at and target.schema_after):
            evidence = f"the schema stays: its revision now ({now_at}) or under {target.id} ({target.schema_after}) is not known"
            raise StepError("downgrade", evidence)
        else:
            steps = self.migrator.path_down(live, target.schema_after)
            stuck = [f"{s.revision} ({s.doc})" for s in steps if not s.undone]
            if stuck:
                raise StepError(
                    "downgrade", f"these migrations have no downgrade: {', '.join(stuck)}. Go back without -e schema=true, or restore."
                )
            yield f"schema   {now_at} -> {target.schema_after or 'base'}: undoes {', '.join(f'{s.revision} ({s.doc})' for s in steps)}"


def differing(new: Mapping[str, Any], old: Mapping[str, Any]) -> list[str]:
    """Names of what two definitions do not agree about."""
    if not (new and old):
        return ["as its own unit has it: the release noted no more than its name"]
    return sorted(key for key in {*new, *old} if new.get(key) != old.get(key))
