# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""Obtain the certificate of one app, keep it fresh, and see that it is what nginx serves.

One run reconciles: it probes the certificate; when one has to be obtained, it asks every name for a token first
(``preflight``), then the CA (by certbot); moves the links that nginx reads, reloads it, compares what it serves with what
is on the disk; and writes down how things stand. A timer runs it every few minutes, Ansible runs it first: there is no
other path to a certificate. What failed is tried again later and later; a limit that the CA states is kept.
"""

from __future__ import annotations

import json
import math
import random
import re
import sys
import time
from dataclasses import asdict, replace
from typing import Any

from ..core.clock import DAY, HOUR, days, moment, stamp
from ..core.files import read_json, relink, write_atomically
from ..core.http import served_certificate
from ..core.lock import locked
from ..core.run import attempt
from ..core.status import FAILED, OK, Status
from ..core.x509 import Certificate, CertificateError, first_certificate, is_placeholder, read_certificate, uncovered
from .attempts import REFUSALS_PER_HOUR, Failure, State, refusals_left
from .certbot import Certbot, profile_option
from .config import Config
from .judgement import OTHER_NAMES, judge, reasons
from .names import Resolver
from .preflight import explain, own_addresses, preflight

#: Seconds until nginx's new workers must serve what the disk has.
SERVED_TIMEOUT = 20
OWN = "own.pem"
#: Unchanged news is repeated in the journal after so long.
REPEAT = 6 * HOUR


class Keeper:
    """The certificate of one app."""

    def __init__(self, config: Config, journal: bool = False) -> None:
        self.config = config
        self.journal = journal
        self.changed = False
        #: Those of the names that the CA is asked for now.
        self.asking = config.certified
        #: Which of the others fail, and why.
        self.absent = ""
        self.state = State.of(self._noted().get("attempt"), config, time.time())

    # --- words ---

    def say(self, message: str, priority: int = 6) -> None:
        """A line for the journal, with its priority, or for whoever runs this."""
        prefix = f"<{priority}>" if self.journal else ""
        for line in message.splitlines():
            print(f"{prefix}{line}", file=sys.stdout if self.journal else sys.stderr, flush=True)

    # --- steps ---

    def server(self) -> str:
        """The directory that certbot's certificate is from."""
        try:
            found = re.search(r"^server = (\S+)$", self.config.renewal.read_text(encoding="utf-8"), flags=re.MULTILINE)
        except OSError:
            return ""
        return found.group(1) if found else ""

    def wanted(self, now: float) -> list[str]:
        """Why a certificate has to be obtained."""
        if self.config.source != "acme":
            return []
        current = read_certificate(self.config.lineage / "fullchain.pem")
        found = reasons(current, self.config.certified, self.server(), self.config.directory_url, now, moment(self.state.issued_at))
        if current and self.state.issued_profile is not None and self.state.issued_profile != self.config.profile:
            found.append("it has another profile")
        return found

    def obtain(self, why: list[str], asked: bool) -> None:
        """Ask for a certificate, unless it is too early for that."""
        now = time.time()
        if until := self.state.waiting(now, asked):
            if asked:
                self.say(f"the CA asks to wait until {stamp(until)}: {self.state.reason}", 4)
            return
        self.say(f"a certificate for {', '.join(self.config.names)} is due: {'; '.join(why)}", 5)
        self.absent = ""
        stage, failure = self.attempt(now, why)
        now = time.time()
        if failure:
            # Hosts that failed together do not come back together.
            self.state.failed(stage, failure, now, self.config.retry_seconds, random.uniform(0.9, 1.1))
            self.say(f"{stage} failed: {failure.reason}. Next attempt after {self.state.next_try}", 4)
        else:
            self.state.succeeded(now, self.config.profile)
            self.changed = True
            fresh = read_certificate(self.config.lineage / "fullchain.pem")
            self.say(f"obtained: {', '.join(fresh.names) if fresh else 'nothing'}, until {stamp(fresh.ends if fresh else 0)}", 5)
            if self.absent:
                # The others join when they pass: asked again and again, as after any failed preflight.
                self.state.failed("preflight", Failure("preflight", self.absent), now, self.config.retry_seconds, random.uniform(0.9, 1.1))
                self.say(f"not all names yet: {self.absent}. Next attempt after {self.state.next_try}", 4)
            if fresh and now >= fresh.renew_at:
                self.say(f"the clock of this host is {days(now - fresh.begins)} ahead of the new certificate: timedatectl", 4)

    def ready_names(self, why: list[str], now: float) -> tuple[str, ...]:
        """The names to ask the CA for: those that pass. None when that would be no gain, or would take one from visitors."""
        good = tuple(name for name in self.config.certified if name not in self.state.failing)
        current = read_certificate(self.config.lineage / "fullchain.pem")
        held = set(current.names) if current else set()
        lost = (held & set(self.config.certified)) - set(good) - self.state.given_up(now)
        no_gain = why == [OTHER_NAMES] and set(good) <= held <= set(self.config.certified)
        return () if self.config.names[0] in self.state.failing or lost or no_gain else good

    def attempt(self, now: float, why: list[str]) -> tuple[str, Failure | None]:
        """Up the ladder: preflight, dry run, the certificate. Where it ended, and why."""
        self.asking = self.config.certified
        if self.config.preflight and not self.config.dns_plugin:
            try:
                findings = preflight(self.config, Resolver.of(self.config))
            except OSError as error:
                return "preflight", Failure("preflight", f"the token could not be put into {self.config.webroot}: {error}")
            self.state.note_failing(dict.fromkeys(finding.name for finding in findings if finding.problem), now)
            self.absent = explain(findings, own_addresses())
            self.asking = self.ready_names(why, now)
            if not self.asking:
                return "preflight", Failure("preflight", self.absent)
        if refusals_left((moment(text) or 0 for text in self.state.refusals), now) <= 0:
            oldest = min(moment(text) or now for text in self.state.refusals)
            reason = f"the CA has refused {REFUSALS_PER_HOUR} times within the hour, its own limit is near"
            return "certificate", Failure("busy", reason, oldest + HOUR)
        option = profile_option() if self.config.profile else ""
        if self.config.profile and not option:
            self.say(f"this certbot knows no profiles (tls_profile: {self.config.profile}): the CA's default", 4)
        if self.config.dry_run_first and self.state.rehearsed != self.config.desired:
            if failure := self.certbot(option, dry_run=True):
                return "dry run", failure
            self.state.rehearsed = self.config.desired
        return "certificate", self.certbot(option, dry_run=False)

    def certbot(self, option: str, dry_run: bool) -> Failure | None:
        """Run certbot; None when it succeeded."""
        certbot = Certbot(replace(self.config, names=self.asking))
        failure = certbot.request(option, dry_run)
        if certbot.forgotten:
            unknown = f"{self.config.directory_url} does not know this host's account"
            self.say(f"{unknown}: a new one is made, the old one is in {certbot.forgotten}", 4)
        return failure

    def serve(self, why: list[str]) -> str:
        """Move the links to the right certificate, let nginx read it, and see that it serves it. What is wrong, if anything is."""
        links = (self.config.certificate, self.config.key)
        lineage = [self.config.lineage / path.name for path in links]
        own = self.config.certificate.with_name(OWN)
        if self.config.source == "own" and own.exists():
            moved = [relink(link, own) for link in links]
            self.changed = self.changed or any(moved)
        if self.config.source == "acme" and all(path.exists() for path in lineage):
            current = read_certificate(lineage[0])
            # One with other names is better than the placeholder, and worse than what is served by now.
            better = not why or self.placeholder() or not self.config.certificate.exists() or self.is_gain(current, why)
            if current and current.ends > time.time() and better:
                moved = [relink(link, target) for link, target in zip(links, lineage, strict=True)]
                self.changed = self.changed or any(moved)
        if attempt(["systemctl", "is-active", "--quiet", self.config.reload_unit])[0] != 0:
            return f"{self.config.reload_unit} is not active: nothing is served"
        problem = self.compare()
        if not problem:
            return ""
        status, said = attempt(["systemctl", "reload", self.config.reload_unit])
        self.changed = True
        deadline = time.monotonic() + SERVED_TIMEOUT
        # Old workers answer until the new ones are up.
        while (problem := self.compare()) and time.monotonic() < deadline:
            time.sleep(0.2)
        if problem and status == 0:
            _, said = attempt(["nginx", "-t", "-q"])
        return f"{problem} {' / '.join(said.split(chr(10))[-4:])}".strip() if problem else ""

    def is_gain(self, current: Certificate | None, why: list[str]) -> bool:
        """Whether a certificate that lacks some names has all of ours that the one served has."""
        served = read_certificate(self.config.certificate)
        if why != [OTHER_NAMES] or not current or not served:
            return False
        return set(uncovered(current.names, self.config.names)) <= set(uncovered(served.names, self.config.names))

    def placeholder(self) -> bool:
        """Whether the links lead to the placeholder."""
        return is_placeholder(self.config.certificate)

    def compare(self) -> str:
        """What is wrong with what nginx serves."""
        try:
            disk = first_certificate(self.config.certificate.read_text(encoding="utf-8", errors="replace"))
            served = served_certificate(self.config.names[0])
        except (OSError, CertificateError) as error:
            return f"no handshake for {self.config.names[0]} on port 443: {error}."
        return "" if served == disk else f"{self.config.reload_unit} does not serve the certificate in {self.config.certificate}."

    # --- verbs ---

    def reconcile(self, asked: bool, force: bool) -> Status:
        """Make the certificate what it should be, as far as that can be done now.

        Another run is waited for, since it does the same work.
        """
        self.config.status.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        with locked(self.config.status.with_suffix(".lock"), f"run for {self.config.app}", math.inf):
            self.state = State.of(self._noted().get("attempt"), self.config, time.time())
            why = self.wanted(time.time())
            if force and self.config.source == "acme":
                why = why or ["asked for"]
            if why:
                self.obtain(why, asked or force)
            why = self.wanted(time.time())
            if force and self.state.reason:
                why = why or ["asked for"]
            if not why:
                self.state.failures, self.state.reason, self.state.kind, self.state.stage, self.state.next_try = 0, "", "", "", None
            return self.conclude(why, self.serve(why))

    def deployed(self) -> Status:
        """After certbot has renewed by itself, because somebody told it to."""
        why = self.wanted(time.time())
        return self.conclude(why, self.serve(why))

    def probe(self) -> tuple[Status, dict[str, Any]]:
        """How things stand now, and all that is known; changes nothing."""
        now = time.time()
        why, served = self.wanted(now), self.compare()
        certificate = read_certificate(self.config.certificate)
        status = self._dated(judge(self.config, certificate, self.placeholder(), served, self.state, why, now), None)
        return status, self._details(status, certificate, served, why, now)

    def conclude(self, why: list[str], served: str) -> Status:
        """Judge, write the status file, and say what is new."""
        now = time.time()
        certificate = read_certificate(self.config.certificate)
        status = self._dated(judge(self.config, certificate, self.placeholder(), served, self.state, why, now), now)
        old = self._noted()
        said_at = moment(old.get("said_at"))
        news = status.state != old.get("state") or self.changed or said_at is None or not 0 <= now - said_at < REPEAT
        if self.journal and news and status.state != OK:
            self.say(f"{status.state}: {status.evidence}\nfix: {status.fix}", 3 if status.state == FAILED else 4)
        elif self.journal and status.state != old.get("state"):
            self.say(f"ok: {status.evidence}", 5)
        noted = {**self._details(status, certificate, served, why, now), "said_at": stamp(now) if news else old.get("said_at")}
        write_atomically(self.config.status, json.dumps(noted, indent=2) + "\n", 0o644)
        return status

    def _dated(self, status: Status, now: float | None) -> Status:
        """The status with the time since when it is so: what was noted, or now."""
        old = self._noted()
        since = old.get("since") if old.get("state") == status.state else None
        return replace(status, since=since or stamp(now))

    def _details(self, status: Status, certificate: Certificate | None, served: str, why: list[str], now: float) -> dict[str, Any]:
        """The status file: the schema that all subjects have, and what is known of the certificate."""
        known = {"app": self.config.app, "checked_at": stamp(now), "wanted": why, "attempt": asdict(self.state)}
        return {**status.data(), **known, "certificate": self.facts(certificate, served, now)}

    def facts(self, certificate: Certificate | None, served: str, now: float) -> dict[str, Any] | None:
        """The certificate for the status file."""
        if certificate is None:
            return None
        return {
            "source": "placeholder" if self.placeholder() else self.config.source,
            "names": list(certificate.names),
            "issuer": certificate.issuer,
            "sha256": certificate.fingerprint,
            "not_before": stamp(certificate.begins),
            "not_after": stamp(certificate.ends),
            "lifetime_days": round(certificate.lifetime / DAY, 2),
            "left_days": round((certificate.ends - now) / DAY, 2),
            "left_share": round(certificate.share(now), 4),
            "renew_at": stamp(certificate.renew_at),
            "alarm_at": stamp(certificate.alarm_at),
            "served": not served,
        }

    def _noted(self) -> dict[str, Any]:
        return read_json(self.config.status)
