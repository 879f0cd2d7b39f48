# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""What all steps of a deploy share: the app they work on, how they run its commands, and what a failure leaves behind."""

from __future__ import annotations

import syslog
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ansible_collections.slipway.vps.plugins.module_utils.build_advice import advised, import_advice
from ansible_collections.slipway.vps.plugins.module_utils.confinement import APP, barred, starved
from ansible_collections.slipway.vps.plugins.module_utils.deploy_settings import Settings
from ansible_collections.slipway.vps.plugins.module_utils.rehearsal import HINT, READ_ONLY, TOLD, explanation
from ansible_collections.slipway.vps.plugins.module_utils.releases import BUILDING, FAILED, READY, Release, Store, now
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core.delivery import Delivery
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core.run import Account, CommandError, command, tail
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core.units import is_active
from ansible_collections.slipway.vps.plugins.module_utils.source import without_secrets

UNTOUCHED = "nothing was switched"
#: Seconds to wait for a command that an interrupted run left: a long migration, mostly.
LEFT_OVER = 600


class StepError(Exception):
    """A step of the deploy failed; the text is the evidence. ``outcome`` says what that means for who serves now."""

    def __init__(self, step: str, evidence: str, outcome: str = UNTOUCHED) -> None:
        super().__init__(evidence)
        self.step = step
        self.evidence = evidence
        self.outcome = outcome


class HostedApp:
    """The app on this host: its releases, its account, its units, and how its commands are run."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.store = Store(settings.root)
        #: What is being done, as the journal names it. `go_live` does one action after the other.
        self.action = settings.action

    @property
    def account(self) -> Account:
        return Account.of(self.settings.user, self.settings.group)

    @property
    def delivery(self) -> Delivery:
        """How the app comes by its secrets."""
        return self.settings.confinement.secrets

    def unit(self, release_id: str, process: str = "") -> str:
        return f"{self.settings.name}{'-' if process else ''}{process}@{release_id}.service"

    def units(self, release: Release) -> list[str]:
        """Gunicorn of a release, and its background processes."""
        return [self.unit(release.id), *(self.unit(release.id, process) for process in release.processes)]

    def wanted(self) -> Release:
        release = self.store.load(self.settings.release)
        if release is None:
            raise StepError("manifest", f"there is no release {self.settings.release!r} below {self.store.releases}")
        return release

    @contextmanager
    def step(self, name: str, outcome: str = UNTOUCHED) -> Iterator[None]:
        """Whatever goes wrong inside is a failure of the step ``name``. The journal gets a line: `journalctl -t slipway`."""
        syslog.openlog("slipway", 0, syslog.LOG_DAEMON)
        syslog.syslog(syslog.LOG_INFO, f"{self.settings.name}: {self.action}: {name}")
        try:
            yield
        except (CommandError, OSError) as error:
            # Installers and git print the address that failed.
            raise StepError(name, without_secrets(tail(str(error))), outcome) from error

    @contextmanager
    def failing(self, release: Release) -> Iterator[None]:
        """A failed step is written into the manifest, and all else of the release goes.

        A release that has served before is left as it is: a passing fault must not destroy what one wants to go back to.
        """
        try:
            yield
        except StepError as failure:
            # A live one in state ready is one that a switch was cut off at.
            if release.state in (BUILDING, READY) and release.id != self.store.live_id():
                release.state = FAILED
                release.failure = self.capsule(failure)
                # In this order: on a full disk the manifest can only be written when the rest has gone.
                self.store.strip(release.id)
                self.store.save(release)
            raise

    def capsule(self, failure: StepError) -> dict[str, str]:
        """What is kept of a failure, with the release it belongs to."""
        return {"step": failure.step, "reason": failure.evidence, "at": now().isoformat(timespec="seconds"), "retry": self.settings.retry}

    def transient(self, what: str, release: Release, *words: str, settings: tuple[str, ...] = ()) -> str:
        """Run a command of the release with the environment its service will have. One that an interrupted run left is waited for."""
        unit = self.step_unit(what)
        deadline = time.monotonic() + LEFT_OVER
        while is_active(unit):
            if time.monotonic() > deadline:
                raise CommandError(f"{unit}, which an interrupted run left, still works after {LEFT_OVER} s: systemctl status {unit}")
            time.sleep(1)
        folder = self.store.folder(release.id)
        environment = (
            f"EnvironmentFile={folder}/environment",
            self.delivery.property(),
            f"Environment=PATH={folder}/.venv/bin:/usr/local/bin:/usr/bin:/bin",
            f"ReadWritePaths={' '.join(self.settings.writable)}",
        )
        own = f"{folder}/{words[0]}" if words[0].startswith(".venv/") else words[0]
        return self.run_as_app(unit, folder, self.delivery.words([own, *words[1:]]), (*environment, *settings))

    def rehearsed_with(self, release: Release) -> dict[str, str]:
        """Variables of a release that is tried. It may write where the app is said to need that, where no release serves yet whose data it
        could harm, and where it has served itself."""
        free = self.settings.rehearsal_writes or release.live_at is not None or self.store.live_id() is None
        return TOLD if free else {**TOLD, **READ_ONLY}

    @contextmanager
    def trying(self, release: Release) -> Iterator[None]:
        """A failure for want of leave to write says so, with the variable that mends it."""
        try:
            yield
        except StepError as failure:
            if note := barred(failure.evidence):
                raise StepError(failure.step, f"{failure.evidence}\n{note}", failure.outcome) from failure
            why = explanation(failure.evidence) or (HINT if failure.step == "readiness" else "")
            if why in failure.evidence or "PGOPTIONS" not in self.rehearsed_with(release):
                raise
            raise StepError(failure.step, f"{failure.evidence}\n{why}", failure.outcome) from failure

    def check_entry_point(self, release: Release) -> None:
        """Import the app as its server will."""
        words = (".venv/bin/python", f"{self.settings.config_dir}/server/slipway_server.py", "--check-config")
        settings = tuple(f'Environment="{name}={value}"' for name, value in self.rehearsed_with(release).items())
        with self.trying(release), self.step("import"):
            try:
                self.transient("check", release, *words, settings=settings)
            except CommandError as error:
                raise CommandError(advised(str(error), import_advice), error.status) from None

    def step_unit(self, what: str) -> str:
        """A unit for a step's command: it is found again, and only one can run, when the run that began it is gone."""
        return f"{self.settings.name}-{what}-step.service"

    def run_as_app(self, unit: str, folder: Path, words: Sequence[str], settings: Iterable[str], kind: str = APP) -> str:
        """Run a command as the app's user in a unit of its own, which may write only where ``settings`` say."""
        limit = self.settings.confinement.memory_max()
        try:
            return command(
                *("systemd-run", "--quiet", "--wait", "--pipe", "--collect", f"--unit={unit}"),
                *(f"--uid={self.settings.user}", f"--gid={self.settings.group}", f"--working-directory={folder}"),
                *(f"--property={value}" for value in (*self.settings.confinement.properties(kind, limit), *settings)),
                # systemd would put variables of its own in for $X.
                *(word.replace("$", "$$") for word in (f"{folder}/{words[0]}" if words[0].startswith(".venv/") else words[0], *words[1:])),
            )
        except CommandError as error:
            if why := starved(unit, str(error), limit):
                raise CommandError(f"{error}\n{why}", error.status) from None
            raise
