# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""From one release to another while visitors are served: rehearse, start beside the old one, watch, and let the old one go."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

from ansible_collections.slipway.vps.plugins.module_utils.burnin import Tally, tally, verdict
from ansible_collections.slipway.vps.plugins.module_utils.deploy_steps import Context, StepError
from ansible_collections.slipway.vps.plugins.module_utils.releases import LIVE, RETIRED, ROLLED_BACK, Release, by_service, now
from ansible_collections.slipway.vps.plugins.module_utils.system import (
    CommandError,
    command,
    get,
    instances,
    is_active,
    journal,
    journal_since,
    memory_available,
    memory_used,
    start_unit,
    stop_units,
    tail,
    visit,
)

#: Seconds between two looks at the journal during the burn-in.
WATCH_EVERY = 1.0


class Switching(Context):
    """The steps `rehearse`, `activate`, `watch` and `settle`."""

    # --- rehearse -----------------------------------------------------------------------------------------------------

    def rehearse(self) -> dict[str, Any]:
        """Start the release on a private socket and ask it, before any visitor does."""
        release = self.wanted()
        if release.id == self.store.live_id() or self.check_mode:
            return {"changed": False, "release": release.id}
        unit = f"{self.name}-rehearsal@{release.id}.service"
        # One that an interrupted run left holds the private socket.
        if left := instances(f"{self.name}-rehearsal"):
            stop_units(*left)
        # A switch that was interrupted may have started it already; it drains, and serves again when it has been rehearsed.
        if running := [serving for serving in self.units(release) if is_active(serving)]:
            stop_units(*running)
        with self.failing(release):
            try:
                with self.step("start"):
                    start_unit(unit)
                with self.step("readiness"):
                    self.await_ready(unit)
            finally:
                stop_units(unit)
        return {"changed": False, "release": release.id}

    def await_ready(self, unit: str) -> None:
        path = Path("/run") / f"{self.name}-rehearsal" / "gunicorn.sock"
        deadline = time.monotonic() + self.p["ready_timeout"]
        while (answer := get(path, self.p["ready"], self.p["host"])).status != 200:
            if time.monotonic() > deadline or not is_active(unit):
                said = f"GET {self.p['ready']} answered {answer.status or 'nothing'}: {answer.body.strip()[:500]}"
                raise StepError("readiness", f"{said}\n{journal(unit)}")
            time.sleep(0.25)
        front = get(path, "/", self.p["host"], timeout=30)
        if front.status == 0 or front.status >= 500:
            said = f"It says it is ready, but GET / answered {front.status or 'nothing'}: {front.body.strip()[:500]}"
            raise StepError("readiness", f"{said}\n{journal(unit)}")

    # --- activate -----------------------------------------------------------------------------------------------------

    def activate(self) -> dict[str, Any]:
        """Start the release on the shared socket and make it the live one. With C(keep_warm) the old one serves on beside it."""
        release = self.wanted()
        previous = self.store.live()
        switched = self.store.live_id() != release.id
        stopped = [unit for unit in self.units(release) if not is_active(unit)]
        strays = self.strays(release)
        changed = bool(switched or stopped or strays or release.state != LIVE)
        result: dict[str, Any] = {"changed": changed, "release": release.id, "overlap": True}
        if not changed or self.check_mode:
            return result
        replaced = previous if previous and previous.id != release.id else None
        if switched:
            release.served_before = self.front_door() is None
            release.replaces = replaced.id if replaced else None
        crowded = self.crowded(previous) if switched else ""
        self.store.point_next_at(release.id)
        try:
            with self.failing(release):
                if crowded:
                    result.update(overlap=False, output=crowded)
                    self.restart_into(release, strays)
                else:
                    self.start(release)
        except StepError:
            self.store.point_next_at(None)
            raise
        release.state, release.failure = LIVE, None
        if switched:
            release.live_at = now().isoformat(timespec="seconds")
        self.store.save(release)
        self.make_current(release)
        if not (self.p["keep_warm"] and replaced and not crowded):
            self.settle()
        return result

    def make_current(self, release: Release) -> None:
        """Move the links, the outgoing release's first: at no moment do its assets, or the new one's, lie nowhere."""
        self.store.point_previous_at(r.id for r in by_service(self.store.all()) if r.id != release.id)
        self.store.point_current_at(release.id)
        self.store.point_next_at(None)

    def start(self, release: Release) -> None:
        with self.step("start"):
            self.open_socket()
            # What runs already serves: a repair that fails must not stop it.
            stopped = [unit for unit in self.units(release) if not is_active(unit)]
            try:
                for unit in stopped:
                    start_unit(unit)
            except CommandError:
                stop_units(*reversed(stopped))
                raise

    def open_socket(self) -> None:
        """The socket first, then the app as a whole: while that is active systemd leaves the socket's connections to the instances.

        The other way round systemd refuses to open a socket whose service is active already.
        """
        if not is_active(f"{self.name}.socket"):
            stop_units(f"{self.name}.service")
            start_unit(f"{self.name}.socket")
        start_unit(f"{self.name}.service")

    def crowded(self, previous: Release | None) -> str:
        """Why two instances do not fit into memory, measured by what the live one uses; empty when they do."""
        used = sum(memory_used(unit) for unit in (self.units(previous) if previous else []) if is_active(unit))
        available = memory_available()
        if used * self.p["memory_margin"] <= available:
            return ""
        return (
            f"Too little memory for two instances: the live one uses {used // 2**20} MiB, {available // 2**20} MiB are available."
            " It was stopped first; requests waited in the socket meanwhile, none was refused."
        )

    def restart_into(self, release: Release, old: list[str]) -> None:
        """Without room for two: stop the old one and start the new one behind the held socket. If that fails the old one comes back."""
        self.open_socket()
        stop_units(*old)
        try:
            self.start(release)
        except StepError as failure:
            try:
                for unit in old:
                    start_unit(unit)
            except CommandError as error:
                evidence = f"{failure.evidence}\nThe release before does not start again either:\n{tail(str(error))}"
                raise StepError(failure.step, evidence, "the old release was stopped for want of memory, and nobody serves") from error
            raise

    def strays(self, release: Release) -> list[str]:
        """Instances of other releases that still run: the previous one's, and what an interrupted switch left."""
        names = {process for known in [release, *self.store.all()] for process in known.processes}
        running = [unit for template in (self.name, *(f"{self.name}-{n}" for n in sorted(names))) for unit in instances(template)]
        return [unit for unit in running if not unit.endswith(f"@{release.id}.service")]

    # --- watch --------------------------------------------------------------------------------------------------------

    def front_door(self) -> str | None:
        """Why a visitor is not served, or None. The readiness path and, unless maintenance is on, the front page, through nginx."""
        closed = (self.store.root / "maintenance" / "index.html").exists()
        for path in (self.p["ready"],) if closed else (self.p["ready"], "/"):
            answer = visit(self.p["host"], path)
            if answer.status == 0 or answer.status >= 500:
                return f"GET https://{self.p['host']}{path} answered {answer.status or 'nothing'}: {answer.body.strip()[:300]}"
        return None

    def watch(self) -> dict[str, Any]:
        """Look at the new release while it serves. If it is no good, the one before takes over again."""
        release = self.wanted()
        previous = self.store.load(release.replaces or "")
        if self.check_mode or release.id != self.store.live_id():
            return {"changed": False, "release": release.id, "output": ""}
        with self.step("front door"):
            problem = self.front_door()
        if problem and release.served_before is not False:
            self.switch_back(release, previous, StepError("front door", problem))
        said = f"Not served through nginx, neither before the switch nor after it: {problem}. " if problem else ""
        if not self.p["burn_in"]:
            return {"changed": False, "release": release.id, "output": said}
        with self.step("burn-in"):
            new, old, problem = self.burn_in(release, previous)
        if problem:
            self.switch_back(release, previous, StepError("burn-in", f"{problem}\n{journal(self.unit(release.id))}"))
        seen = f"{new.requests} requests, {new.errors} answered 5xx, {new.tracebacks} tracebacks"
        beside = f"; the release before beside it: {old.requests}, {old.errors}, {old.tracebacks}" if old else ""
        return {"changed": False, "release": release.id, "output": said + seen + beside}

    def burn_in(self, release: Release, previous: Release | None) -> tuple[Tally, Tally | None, str | None]:
        """Count what both releases answer, for as long as asked or until the verdict is in."""
        units = [self.unit(release.id)]
        if previous and is_active(self.unit(previous.id)):
            units.append(self.unit(previous.id))
        # Without a release to go back to there is nothing to decide.
        deadline = time.monotonic() + (self.p["burn_in"] if previous else 0)
        counts = {unit: Tally() for unit in units}
        with tempfile.TemporaryDirectory(prefix="slipway-") as folder:
            cursors = {unit: Path(folder) / str(number) for number, unit in enumerate(units)}
            for unit in units[1:]:
                # What the old one said before the switch does not count.
                journal_since(unit, cursors[unit])
            while True:
                for unit in units:
                    counts[unit] = counts[unit].plus(tally(journal_since(unit, cursors[unit])))
                new, old = counts[units[0]], counts[units[1]] if len(units) > 1 else None
                problem = verdict(new, old, self.p["burn_in_tolerance"])
                if not problem and not is_active(units[0]):
                    problem = f"{units[0]} has stopped"
                if problem or time.monotonic() >= deadline:
                    return new, old, problem
                time.sleep(WATCH_EVERY)

    def switch_back(self, release: Release, previous: Release | None, failure: StepError) -> None:
        """The release before takes over again; this one is marked, kept for a look, and never chosen again by default."""
        if previous is None or not (self.store.folder(previous.id) / ".venv").is_dir():
            release.failure = self.capsule(failure)
            self.store.save(release)
            raise StepError(failure.step, failure.evidence, f"there is no release to go back to, so {release.id} stays live") from failure
        try:
            for unit in self.units(previous):
                start_unit(unit)
        except CommandError as error:
            evidence = f"{failure.evidence}\nGoing back to {previous.id} failed as well:\n{tail(str(error))}"
            raise StepError(failure.step, evidence, f"{release.id} stays live") from error
        previous.state, previous.live_at = LIVE, now().isoformat(timespec="seconds")
        self.store.save(previous)
        self.make_current(previous)
        release.state, release.failure = ROLLED_BACK, self.capsule(failure)
        self.store.save(release)
        stop_units(*self.strays(previous))
        raise StepError(failure.step, failure.evidence, f"switched back to {previous.id} by itself") from failure

    # --- settle -------------------------------------------------------------------------------------------------------

    def settle(self) -> dict[str, Any]:
        """Let the releases that are no longer live finish what they have begun, and end."""
        live = self.store.live()
        if live is None or self.check_mode:
            return {"changed": False, "release": live.id if live else ""}
        strays = self.strays(live)
        if strays:
            with self.step("drain", outcome=f"the switch itself succeeded: release {live.id} serves"):
                command("systemctl", "stop", *strays)
        for other in self.store.all():
            if other.state == LIVE and other.id != live.id:
                other.state = self.p["leave_as"]
                self.store.save(other)
        return {"changed": bool(strays), "release": live.id}


#: What the release that was live before becomes: retired after a deploy, rolled-back after a rollback.
LEAVE_AS = (RETIRED, ROLLED_BACK)
