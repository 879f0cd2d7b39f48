# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""From one release to another while visitors are served: rehearse, start beside the old one, let that one go, and watch."""

from __future__ import annotations

import contextlib
import tempfile
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from ansible_collections.slipway.vps.plugins.module_utils.burnin import FEWEST, Tally, tally, verdict
from ansible_collections.slipway.vps.plugins.module_utils.deploy_steps import HostedApp, StepError
from ansible_collections.slipway.vps.plugins.module_utils.deploy_units import Units
from ansible_collections.slipway.vps.plugins.module_utils.environment import environment_file
from ansible_collections.slipway.vps.plugins.module_utils.releases import LIVE, READY, RETIRED, ROLLED_BACK, Release, by_service, now
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core.files import write_atomically
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core.http import get, visit
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core.run import CommandError, tail
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core.units import (
    end_units,
    instances,
    is_active,
    is_ending,
    journal,
    journal_between,
    journal_since,
    memory_available,
    memory_used,
    queue_unit,
    serving_units,
    start_unit,
    stop_units,
)
from ansible_collections.slipway.vps.plugins.module_utils.slipway.health import FRONT, PLAIN, Probe, probe

#: Seconds between two looks at the new release during the burn-in.
WATCH_EVERY = 1.0
#: Seconds that the workers of a release get to answer their first request, which is ours; far above server_warm_up_timeout.
WARM_WITHIN = 15


class Switcher:
    """The steps `rehearse`, `activate` and `watch`."""

    def __init__(self, app: HostedApp) -> None:
        self.app = app
        self.settings = app.settings
        self.store = app.store
        self.units = Units(app)

    # --- rehearse -----------------------------------------------------------------------------------------------------

    def rehearse(self) -> dict[str, Any]:
        """Start the release on a private socket and ask it, before any visitor does."""
        release = self.app.wanted()
        if release.id == self.store.live_id() or self.settings.check_mode:
            return {"changed": False, "release": release.id}
        # A switch that was interrupted may have started it already; it drains, and serves again when it has been rehearsed.
        if running := [unit for unit in self.app.units(release) if is_active(unit)]:
            stop_units(*running)
            self.revive()
        # By the release before: what nginx does not serve now, the new one is not to blame for.
        if not release.on_trial:
            release.served_before = self.public_endpoint() is None
            self.store.save(release)
        with self.app.failing(release):
            found = self.try_out(release)
        if self.settings.ready:
            return {"changed": False, "release": release.id}
        return {"changed": False, "release": release.id, "output": f"readiness: {found}; set app_health_ready to fix it"}

    def revive(self) -> None:
        """Without memory for two an interrupted switch leaves the live one stopped: until the new release can serve, it does."""
        live = self.store.live()
        if live and not self.settings.check_mode and self.app.unit(live.id) not in serving_units(self.settings.name):
            with contextlib.suppress(StepError):
                self.restart_into(live, self.strays(live))

    def try_out(self, release: Release) -> str:
        """What it answered; StepError unless the release, on a private socket, is ready and answers the front page."""
        # One that an interrupted run left holds the private socket.
        stop_units(*self.rehearsals())
        unit = f"{self.settings.name}-rehearsal@{release.id}.service"
        # Read before the release's own environment, which wins.
        told = environment_file(self.app.rehearsed_with(release))
        write_atomically(self.settings.config_dir / "rehearsal", told, 0o644)
        try:
            with self.app.trying(release):
                found = self.rehearsed(unit, release)
        finally:
            stop_units(unit)
        noted = "" if self.settings.ready else found.path
        if noted != release.ready:
            release.ready = noted
            self.store.save(release)
        return f"GET {found.path} answers {found.answer.status}"

    def rehearsed(self, unit: str, release: Release) -> Probe:
        try:
            with self.app.step("start"):
                start_unit(unit)
        except StepError:
            # Gunicorn says in a line that it cannot import the app; where it cannot, a traceback says more.
            self.app.check_entry_point(release)
            raise
        with self.app.step("readiness"):
            return self.await_ready(unit)

    def rehearsals(self) -> list[str]:
        return instances(f"{self.settings.name}-rehearsal")

    def await_ready(self, unit: str) -> Probe:
        """Until the readiness path answers: the one that is named, or the first of the usual ones."""
        path = self.settings.rehearsal_socket
        deadline = time.monotonic() + self.settings.ready_timeout
        while not (found := probe(lambda url: get(path, url, self.settings.host), self.settings.ready, "", self.settings.prefix)).good:
            if time.monotonic() > deadline or not is_active(unit):
                raise StepError("readiness", f"{found.told()}\n{journal(unit)}")
            time.sleep(0.25)
        front = get(path, self.settings.prefix + FRONT, self.settings.host, timeout=30)
        if front.status == 0 or front.status >= 500:
            said = f"It says it is ready, but GET {self.settings.prefix}/ answered {front.status or 'nothing'}: {front.body.strip()[:500]}"
            raise StepError("readiness", f"{said}\n{journal(unit)}")
        return found

    # --- activate -----------------------------------------------------------------------------------------------------

    def activate(self) -> dict[str, Any]:
        """Start the release on the shared socket and make it the live one; the one before finishes its requests and ends."""
        release = self.app.wanted()
        live = self.store.live()
        switched = live is None or live.id != release.id
        stopped = [unit for unit in self.app.units(release) if not is_active(unit)]
        strays, rehearsals = self.strays(release), self.rehearsals()
        changed = bool(switched or stopped or release.state != LIVE or self.left_over(release))
        result: dict[str, Any] = {"changed": changed, "release": release.id, "overlap": True, "output": ""}
        if not changed or self.settings.check_mode:
            return result
        stop_units(*rehearsals)
        if switched:
            release.replaces = live.id if live else None
            release.rolled_back_from = live.id if live and self.settings.leave_as == ROLLED_BACK else None
            # Noted before anything starts: wherever this run is cut off, the next one knows what it has to finish.
            release.on_trial = True
            if release.state == LIVE:
                release.state = RETIRED
            self.store.save(release)
            result["output"] = self.crowded(live)
        result["overlap"] = not result["output"]
        self.store.point_next_at(release.id)
        try:
            with self.app.failing(release):
                if result["overlap"]:
                    self.start(release)
                else:
                    self.restart_into(release, strays)
        except StepError:
            self.store.point_next_at(None)
            if switched:
                release.on_trial = False
                self.store.save(release)
            raise
        self.make_current(release)
        self.settle(release)
        self.units.switch_timers(release)
        return result

    def make_current(self, release: Release) -> None:
        """Move the links, the outgoing release's first: at no moment do its assets, or the new one's, lie nowhere.

        The manifest last: a live release in another state than C(live) is one that a run was cut off at.
        """
        self.store.point_previous_at(r.id for r in by_service(self.store.all()) if r.id != release.id)
        self.store.point_current_at(release.id)
        self.store.point_next_at(None)
        if release.state != LIVE:
            release.state, release.live_at = LIVE, now().isoformat(timespec="seconds")
        release.failure = None
        self.store.save(release)

    def settle(self, live: Release) -> None:
        """The releases that are no longer live accept nothing more; systemd sees to it that they finish what they have begun."""
        # Also what is ending already: a worker may have been queued to start again after that.
        end_units(*self.others(live))
        left = self.unsettled(live)
        known = [live, self.store.load(live.replaces or ""), *left]
        away = {*(r.rolled_back_from for r in known if r), *(r.id for r in left if r.on_trial and r.failure)}
        # The bad ones first: what the others say of them is gone when they are marked themselves.
        for other in sorted(left, key=lambda other: other.id not in away):
            other.state = ROLLED_BACK if other.id in away else RETIRED
            other.on_trial = False
            self.store.save(other)

    def left_over(self, live: Release) -> bool:
        """Whether a run that was cut off left something to do besides starting the live release."""
        announced = (self.store.root / "next").is_symlink()
        left = self.strays(live) or self.rehearsals() or self.unsettled(live) or self.units.timers_differ(live)
        return announced or bool(left) or self.units.secrets_left()

    def unsettled(self, live: Release) -> list[Release]:
        """Releases that are marked as if they were live, or were when they were rolled away from."""
        others = [release for release in self.store.all() if release.id != live.id]
        return [r for r in others if r.state == LIVE or (r.state == READY and r.id == live.rolled_back_from)]

    def start(self, release: Release) -> None:
        with self.app.step("start"):
            self.open_socket()
            # What runs already serves: a repair that fails must not stop it.
            stopped = [unit for unit in self.app.units(release) if not is_active(unit)]
            if stopped:
                self.units.place(release)
            try:
                for unit in stopped:
                    self.launch(unit)
            except CommandError:
                # For what was only queued behind its own end nobody waits.
                draining = [unit for unit in stopped if is_ending(unit)]
                end_units(*draining)
                stop_units(*(unit for unit in reversed(stopped) if unit not in draining))
                raise
            self.await_warm(release)

    def await_warm(self, release: Release) -> None:
        """Until each worker has answered its first request: from then on the release is as quick as the one before.

        systemd calls Gunicorn started before it has workers. The file is gunicorn.conf.py's.
        """
        deadline = time.monotonic() + WARM_WITHIN
        while (self.settings.runtime_dir / release.id / "cold").exists() and time.monotonic() < deadline:
            time.sleep(0.05)

    def launch(self, unit: str) -> None:
        """Start a unit and wait until it is up; a worker that still finishes a task starts again when that is done."""
        if self.is_worker(unit) and is_ending(unit):
            queue_unit(unit)
        else:
            start_unit(unit)

    def is_worker(self, unit: str) -> bool:
        return not unit.startswith(f"{self.settings.name}@")

    def open_socket(self) -> None:
        """The socket first, then the app as a whole: while that is active systemd leaves the socket's connections to the instances.

        The other way round systemd refuses to open a socket whose service is active already.
        """
        if not is_active(f"{self.settings.name}.socket"):
            stop_units(f"{self.settings.name}.service")
            start_unit(f"{self.settings.name}.socket")
        start_unit(f"{self.settings.name}.service")

    def crowded(self, previous: Release | None) -> str:
        """Why two instances do not fit into memory, measured by what the live one uses; empty when they do."""
        used = sum(memory_used(unit) for unit in (self.app.units(previous) if previous else []) if is_active(unit))
        available = memory_available(self.settings.confinement.slice)
        if used * self.settings.memory_margin <= available:
            return ""
        return (
            f"Too little memory for two instances: the live one uses {used // 2**20} MiB, {available // 2**20} MiB are available."
            " It was stopped first; requests waited in the socket meanwhile, none was refused."
        )

    def restart_into(self, release: Release, old: list[str]) -> None:
        """Without room for two: stop the old one and start the new one behind the held socket. If that fails the old one comes back."""
        self.open_socket()
        end_units(*old)
        # Workers may take hours over a task; for those nobody waits in the socket.
        stop_units(*(unit for unit in (*old, *self.ending(release)) if not self.is_worker(unit)))
        try:
            self.start(release)
        except StepError as failure:
            try:
                for unit in old:
                    self.launch(unit)
            except CommandError as error:
                evidence = f"{failure.evidence}\nThe release before does not start again either:\n{tail(str(error))}"
                raise StepError(failure.step, evidence, "the old release was stopped for want of memory, and nobody serves") from error
            raise

    def strays(self, live: Release) -> list[str]:
        """Units of other releases that run: the previous one's, and what an interrupted switch left."""
        return [unit for unit in self.others(live) if not is_ending(unit)]

    def ending(self, live: Release) -> list[str]:
        """Units of other releases that finish what they have begun."""
        return [unit for unit in self.others(live) if is_ending(unit)]

    def others(self, live: Release) -> list[str]:
        names = {process for known in [live, *self.store.all()] for process in known.processes}
        running = [
            unit for template in (self.settings.name, *(f"{self.settings.name}-{n}" for n in sorted(names))) for unit in instances(template)
        ]
        return [unit for unit in running if not unit.endswith(f"@{live.id}.service")]

    # --- watch --------------------------------------------------------------------------------------------------------

    def public_paths(self) -> list[str]:
        """What is asked through nginx: the readiness path and the front page; during maintenance only what is let in."""
        live = self.store.live()
        front = self.settings.prefix + FRONT
        ready = self.settings.ready or (live.ready if live else "") or front
        if self.store.closed:
            return [ready] if ready == self.settings.ready or ready.removeprefix(self.settings.prefix) in PLAIN else []
        return list(dict.fromkeys((ready, front)))

    def public_endpoint(self) -> str | None:
        """Why a visitor is not served, or None."""
        for path in self.public_paths():
            answer = visit(self.settings.host, path)
            if answer.status == 0 or answer.status >= 500:
                return f"GET https://{self.settings.host}{path} answered {answer.status or 'nothing'}: {answer.body.strip()[:300]}"
        return None

    def watch(self) -> dict[str, Any]:
        """Look at the new release while it serves. If it is no good, the one before takes over again."""
        release = self.app.wanted()
        result: dict[str, Any] = {"changed": False, "release": release.id, "output": ""}
        if self.settings.check_mode or release.id != self.store.live_id():
            return result
        serves = f"release {release.id} serves"
        with self.app.step("public endpoint", outcome=serves):
            problem = self.public_endpoint()
        if not release.on_trial:
            if problem:
                raise StepError("public endpoint", problem, f"{serves}, and was found good when it went live")
            return result
        if problem and release.served_before is False:
            result["output"] = f"Not served through nginx, neither before the switch nor after it: {problem}."
        elif problem:
            self.switch_back(release, StepError("public endpoint", problem))
        elif self.settings.burn_in and release.replaces and not release.rolled_back_from:
            with self.app.step("burn-in", outcome=serves):
                result["output"], problem = self.burn_in(release)
            if problem:
                self.switch_back(release, StepError("burn-in", f"{problem}\n{journal(self.app.unit(release.id))}"))
        release.on_trial = False
        self.store.save(release)
        return result

    def burn_in(self, release: Release) -> tuple[str, str | None]:
        """Count what the release answers, to visitors and to us, for as long as asked or until the verdict is in.

        It is measured against what the release before answered just before the switch.
        """
        unit, before = self.app.unit(release.id), self.app.unit(release.replaces or "")
        since = datetime.fromisoformat(str(release.live_at)).timestamp()
        old = tally(journal_between(before, since - self.settings.burn_in, since))
        new, closed_doors = Tally(), 0
        deadline = time.monotonic() + self.settings.burn_in
        with tempfile.TemporaryDirectory(prefix="slipway-") as folder:
            cursor = Path(folder) / "cursor"
            while True:
                # We visit, too: a release that nobody asks has not shown that it is good.
                problem = self.public_endpoint()
                closed_doors = closed_doors + 1 if problem else 0
                new = new.plus(tally(journal_since(unit, cursor, since)))
                if worse := verdict(new, old, self.settings.burn_in_tolerance):
                    problem = worse
                elif not is_active(unit):
                    problem = f"{unit} has stopped"
                elif closed_doors < FEWEST:
                    problem = None
                if problem or time.monotonic() >= deadline:
                    return f"{new.said()}; the release before, as long before the switch: {old.said()}", problem
                time.sleep(WATCH_EVERY)

    def switch_back(self, release: Release, failure: StepError) -> None:
        """The release before takes over again; this one is marked, kept for a look, and never chosen again by default."""
        release.failure = self.app.capsule(failure)
        self.store.save(release)
        previous = self.store.load(release.replaces or "")
        stays = f"release {release.id} stays live"
        try:
            if previous is None or not (self.store.folder(previous.id) / ".venv").is_dir():
                raise StepError(failure.step, failure.evidence, f"there is no release to go back to, so {stays}")
            try:
                self.take_over(previous, release)
            except (StepError, CommandError) as error:
                evidence = f"{failure.evidence}\nGoing back to {previous.id} would not help, or failed as well:\n{tail(str(error))}"
                raise StepError(failure.step, evidence, stays) from error
        except StepError:
            release.on_trial = False
            self.store.save(release)
            raise
        previous.rolled_back_from, previous.on_trial = release.id, False
        if previous.state == LIVE:
            previous.state = RETIRED
        self.store.save(previous)
        self.make_current(previous)
        self.settle(previous)
        self.units.switch_timers(previous)
        raise StepError(failure.step, failure.evidence, f"switched back to {previous.id} by itself") from failure

    def take_over(self, previous: Release, release: Release) -> None:
        """Start the release before again, if it is any better: what troubles both, a database that is down, is not the new one's fault."""
        self.try_out(previous)
        if self.crowded(release):
            self.restart_into(previous, self.app.units(release))
        else:
            self.start(previous)


#: What the release that was live before becomes: retired after a deploy, rolled-back after a rollback.
LEAVE_AS = (RETIRED, ROLLED_BACK)
