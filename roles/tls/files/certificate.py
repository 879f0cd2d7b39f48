#!/usr/bin/python3
"""Obtain the certificate of one app, keep it fresh, and see that it is what nginx serves.

``run`` is one turn: look at the certificate; when it has to be obtained, ask every name for a token first (``preflight``),
then the CA (by certbot); move the links that nginx reads, reload it, compare what it serves with what is on the disk; and
write down how things stand (``status``). A timer takes a turn every few minutes, Ansible takes the first one: there is no
other way to a certificate. What failed is tried again later and later; a limit that the CA states is kept.

Exit status: 0 all is well; 75 still trying, visitors notice nothing; 1 alarm; 2 cannot work at all.

The first half is pure (shares of a lifetime, waiting times, verdicts, what DNS, certbot and openssl say); the second half
touches the host.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import http.client
import ipaddress
import json
import os
import random
import re
import secrets
import socket
import ssl
import struct
import subprocess
import sys
import time
import urllib.parse
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple

EXIT_OK = 0
EXIT_ALARM = 1
EXIT_UNUSABLE = 2
EXIT_TRYING = 75  # EX_TEMPFAIL: the unit counts it as success

DAY = 86400
HOUR = 3600
#: Below a third of the lifetime somebody has to look. Renewal begins earlier, so that a CA that is down for some days
#: (6 of 90, 4 of 64, 3 of 45) wakes nobody.
ALARM_SHARE = 1 / 3
RENEW_SHARE = 0.4
#: A certificate of some days (Let's Encrypt's shortlived: 160 hours) is renewed at half, as certbot and the CA advise.
SHORT_LIVED = 10 * DAY
RENEW_SHARE_SHORT = 0.5
#: No renewal by age within this share of the lifetime after the last one: only a wrong clock asks for that, and would
#: ask at every turn.
RENEW_PAUSE_SHARE = 0.3
#: Let's Encrypt locks a name for failed validations after five an hour. One is left for the operator's own attempts.
REFUSALS_PER_HOUR = 4
#: First and longest wait after a failure, in units of ``retry_seconds`` (300 s): our own look at DNS costs the CA nothing
#: (5 to 15 min), a CA that does not answer little (5 min to 1 h), a refusal counts (15 min to 8 h).
WAITS = {"preflight": (1, 3), "busy": (1, 1), "unreachable": (1, 12), "refused": (3, 96), "limited": (12, 144), "broken": (3, 96)}
#: A wait beyond this is no wait but a clock that was wrong. The longest limit of Let's Encrypt is a week.
LONGEST_WAIT = 8 * DAY
#: Asked again when the CA rejects a nonce: nine of ten may be rejected, and a request still fails once in 30,000.
NONCE_TRIES = 100
CERTBOT_TIMEOUT = 900
SERVED_TIMEOUT = 20
PREFLIGHT_TIMEOUT = 10
REDIRECTS = 10
CHALLENGE = ".well-known/acme-challenge"
ACCOUNTS = Path("/etc/letsencrypt/accounts")
PLACEHOLDER = "placeholder-fullchain.pem"
OWN = "own.pem"
#: Unchanged news is repeated in the journal after so long.
REPEAT = 6 * HOUR


class CertificateError(Exception):
    """Something an operator has to know; the text says what and, where possible, what to do."""


# --- Pure: a certificate and its age --------------------------------------------------------------


@dataclass(frozen=True)
class Certificate:
    """What a certificate says of itself. Times in seconds since 1970."""

    names: tuple[str, ...]
    subject: str
    issuer: str
    begins: float
    ends: float
    fingerprint: str

    @property
    def lifetime(self) -> float:
        """How long it is valid in all."""
        return self.ends - self.begins

    def share(self, now: float) -> float:
        """What is left of the lifetime, between 0 and 1."""
        return min(1.0, max(0.0, (self.ends - now) / self.lifetime)) if self.lifetime > 0 else 0.0

    @property
    def renew_at(self) -> float:
        """When renewal begins."""
        share = RENEW_SHARE_SHORT if self.lifetime < SHORT_LIVED else RENEW_SHARE
        return self.ends - self.lifetime * share

    @property
    def alarm_at(self) -> float:
        """When somebody has to look."""
        return self.ends - self.lifetime * ALARM_SHARE


def parse_certificate(text: str, fingerprint: str) -> Certificate:
    """Read ``openssl x509 -noout -subject -issuer -dates -ext subjectAltName``."""
    fields = {key: value.strip() for key, value in re.findall(r"^(subject|issuer|notBefore|notAfter)=(.*)$", text, flags=re.MULTILINE)}
    try:
        begins, ends = (float(ssl.cert_time_to_seconds(fields[key])) for key in ("notBefore", "notAfter"))
        return Certificate(
            names=tuple(sorted({name.lower() for name in re.findall(r"DNS:([^,\s]+)", text)})),
            subject=fields["subject"].replace(" = ", "="),
            issuer=fields["issuer"].replace(" = ", "="),
            begins=begins,
            ends=ends,
            fingerprint=fingerprint,
        )
    except (KeyError, ValueError) as error:
        raise CertificateError(f"openssl describes the certificate in words that are not understood:\n{text}") from error


def covered(name: str, names: Iterable[str]) -> bool:
    """Whether a certificate for ``names`` is good for ``name``: a wildcard stands for one label."""
    return any(name == other or (other.startswith("*.") and name.partition(".")[2] == other[2:]) for other in names)


def reasons(
    certificate: Certificate | None, wanted: Iterable[str], server: str, directory_url: str, now: float, issued_at: float | None = None
) -> list[str]:
    """Why the CA has to be asked for a certificate; none means that the present one stays.

    :arg server: the directory that the present certificate is from.
    :arg issued_at: when the last one was obtained by this program.
    """
    if certificate is None:
        return ["there is none"]
    found = []
    if list(certificate.names) != sorted({name.lower() for name in wanted}):
        found.append("it has other names")
    if server and server != directory_url:
        found.append("it is from another directory")
    if now >= certificate.renew_at and not recently(issued_at, certificate.lifetime, now):
        found.append("it has expired" if now >= certificate.ends else f"{percent(certificate.share(now))} of its lifetime is left")
    return found


def recently(issued_at: float | None, lifetime: float, now: float) -> bool:
    """Whether the last certificate was obtained so short ago that its age is no reason for the next one."""
    return issued_at is not None and 0 <= now - issued_at < lifetime * RENEW_PAUSE_SHARE


def percent(share: float) -> str:
    """33 %."""
    return f"{share * 100:.0f} %"


def days(seconds: float) -> str:
    """29.4 days, or hours where days would say little."""
    return f"{seconds / DAY:.1f} days" if abs(seconds) >= 3 * DAY else f"{seconds / HOUR:.1f} hours"


def stamp(moment: float | None) -> str | None:
    """A time for people and programs."""
    return None if moment is None else datetime.fromtimestamp(int(moment), timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def moment(text: Any) -> float | None:
    """The time that ``stamp`` wrote; None when there is none."""
    try:
        return datetime.strptime(str(text), "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc).timestamp()
    except ValueError:
        return None


# --- Pure: failures and waiting -------------------------------------------------------------------


class Failure(NamedTuple):
    """Why there is no new certificate. ``kind`` decides how long to wait; ``until`` is what the CA said, if it did."""

    kind: str
    reason: str
    until: float | None = None


#: What certbot says when the CA did not answer, or not for a reason of ours.
_UNREACHABLE = re.compile(
    r"ConnectionError|NewConnectionError|Connection refused|ConnectTimeout|ReadTimeout|timed out|Temporary failure in name resolution"
    r"|Name or service not known|SSLError|CERTIFICATE_VERIFY_FAILED|error:serverInternal|service is down for maintenance"
    r"|error:badNonce|Network is unreachable|RemoteDisconnected|HTTP 50\d",
)
_LIMITED = re.compile(r"error:rateLimited|too many (requests|certificates|failed|new orders|currently pending)|HTTP 429", re.IGNORECASE)
_BUSY = re.compile(r"Another instance of Certbot is already running")
_VALIDATION = re.compile(r"failed to authenticate some domains|Certificate Authority reported these problems")
_REFUSED = re.compile(rf"urn:ietf:params:acme:error:|{_VALIDATION.pattern}")
_RETRY = re.compile(r"retry after (\d{4}-\d\d-\d\d)[ T](\d\d:\d\d:\d\d)(?:\.\d+)?(?: ?UTC|Z)?", re.IGNORECASE)
_RETRY_SECONDS = re.compile(r"^Retry-After: *(\d+)\s*$", re.IGNORECASE | re.MULTILINE)


def stated_limit(text: str, now: float) -> float | None:
    """Until when the CA wants to be left alone: the last time it names, in words or in a header; None when it names none."""
    found = [moment(f"{day}T{clock}Z") for day, clock in _RETRY.findall(text)]
    found += [now + int(seconds) for seconds in _RETRY_SECONDS.findall(text)[-1:]]
    later = [when for when in found if when is not None and now < when <= now + LONGEST_WAIT]
    return max(later) if later else None


#: A domain, the type of the error, and its details, which may take several lines.
_PROBLEM = re.compile(r"^ *Domain: *(\S+)\s+Type: *(\S+)\s+Detail: *(.+(?:\n(?! *(?:Domain|Hint|Type):|\s*$).+)*)", flags=re.MULTILINE)


def classify(said: str, log: str, now: float) -> Failure:
    """What certbot's words, and what it added to its log, mean for the next attempt."""
    reason = certbot_reason(said)
    said = f"{said}\n{acme_error(log)}"
    if _BUSY.search(said):
        return Failure("busy", reason)
    if _LIMITED.search(said):
        # The limit itself may be in a header.
        return Failure("limited", reason, stated_limit(f"{said}\n{log}", now))
    # What the CA saw on its way to us may sound like a CA that is down.
    if _UNREACHABLE.search(said) and not _VALIDATION.search(said):
        return Failure("unreachable", reason, stated_limit(log, now))
    return Failure("refused" if _REFUSED.search(said) else "broken", reason)


def acme_error(log: str) -> str:
    """What ended certbot, with the type of the error: on the screen it leaves that out.

    The log holds every answer of the CA, those that did no harm too; the traceback at its end is what counts.
    """
    found: list[str] = re.findall(r"^(?:acme\.)?messages\.Error: (urn:ietf:params:acme:error:.*)$", log, flags=re.MULTILINE)
    return found[-1] if found else ""


def certbot_reason(said: str) -> str:
    """The lines of certbot that say what went wrong, without its greetings and hints."""
    problems = _PROBLEM.findall(said)
    if problems:
        return "; ".join(f"{domain}: {' '.join(detail.split())} ({kind})" for domain, kind, detail in problems)
    dull = re.compile(
        r"Saving debug log|Ask for help|Requesting a certificate|Renewing an existing|Account registered|^Plugins selected|Simulating"
        r"|unexpected error occurred|^Please see the logfile|^Some challenges have failed|^Exiting"
    )
    lines = [line.strip() for line in said.splitlines() if line.strip() and not dull.search(line) and set(line.strip()) != {"-"}]
    return " / ".join(lines[-3:])[-600:] or "certbot failed without a word"


def wait_seconds(kind: str, failures: int, unit: float) -> float:
    """How long to leave it after so many failures in a row (1 is the first), without jitter."""
    first, longest = WAITS[kind]
    return float(min(first * 2 ** min(failures - 1, 30), longest) * unit)


def refusals_left(refusals: Iterable[float], now: float) -> int:
    """How often the CA may still refuse within this hour."""
    return REFUSALS_PER_HOUR - sum(0 <= now - when < HOUR for when in refusals)


# --- Pure: DNS --------------------------------------------------------------------------------------

TYPES = {"A": 1, "AAAA": 28}
CODES = {1: "FORMERR", 2: "SERVFAIL (the zone may be broken, DNSSEC too)", 3: "NXDOMAIN (there is no such name)", 4: "NOTIMP", 5: "REFUSED"}


def dns_query(name: str, kind: str, number: int) -> bytes:
    """A question for the addresses of ``name``."""
    labels = b"".join(struct.pack("B", len(label)) + label.encode("ascii") for label in name.rstrip(".").split("."))
    return struct.pack(">HHHHHH", number, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack(">HH", TYPES[kind], 1)


def dns_answer(data: bytes, kind: str, number: int) -> tuple[list[str], str, bool]:
    """Addresses, the name of the error if there is one, and whether the answer was cut short."""
    try:
        identifier, flags, questions, answers, _, _ = struct.unpack(">HHHHHH", data[:12])
        if identifier != number or not flags & 0x8000:
            raise CertificateError("the name server answers another question")
        position = 12
        for _ in range(questions):
            position = _past_name(data, position) + 4
        found = []
        for _ in range(answers):
            position = _past_name(data, position)
            record, _, _, length = struct.unpack(">HHIH", data[position : position + 10])
            position += 10
            if record == TYPES[kind]:
                found.append(str(ipaddress.ip_address(data[position : position + length])))
            position += length
    except (struct.error, IndexError, ValueError) as error:
        raise CertificateError(f"the name server's answer is not understood: {error}") from error
    code = flags & 0x000F
    return found, CODES.get(code, f"error {code}") if code else "", bool(flags & 0x0200)


def _past_name(data: bytes, position: int) -> int:
    while True:
        length = data[position]
        if length >= 0xC0:
            return position + 2
        position += 1 + length
        if length == 0:
            return position


def name_servers(resolv_conf: str) -> list[str]:
    """Whom the host asks."""
    return re.findall(r"^nameserver\s+(\S+)", resolv_conf, flags=re.MULTILINE)


# --- Pure: preflight --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Finding:
    """One name at one address; an empty ``address`` is a name that has none. ``problem`` is empty when the token came back."""

    name: str
    address: str = ""
    problem: str = ""


def verdict(status: int, body: bytes, token: str, server: str) -> str:
    """What is wrong with the answer to the request for the token."""
    if status == 200 and body.strip() == token.encode():
        return ""
    who = f" (Server: {server})" if server else ""
    if status == 200:
        return f"another machine, or another site, answers there: 200 with other content{who}"
    return f"it answers {status} instead of the token{who}"


def explain(findings: Iterable[Finding], own: Sequence[str]) -> str:
    """What is wrong, one sentence per name: what it resolves to, and what it should."""
    should = f"should be {' or '.join(own)}" if own else "should be this host"
    broken: dict[str, list[Finding]] = {}
    for finding in findings:
        broken.setdefault(finding.name, [])
        if finding.problem:
            broken[finding.name].append(finding)
    sentences = []
    for name, problems in broken.items():
        if not problems:
            continue
        if not problems[0].address:
            sentences.append(f"{name} {problems[0].problem}, {should}")
            continue
        mine = [finding for finding in problems if finding.address in own]
        others = [finding for finding in problems if finding.address not in own]
        if others:
            saw = "; ".join(f"{finding.address}: {finding.problem}" for finding in others)
            sentences.append(f"{name} resolves to {' and '.join(finding.address for finding in others)}, {should} [{saw}]")
        for finding in mine:
            sentences.append(
                f"{name} resolves to {finding.address}, which is this host, but {finding.problem} (is nginx up, is port 80 open?)"
            )
    return "; ".join(sentences)


# --- Pure: configuration and state ------------------------------------------------------------------


@dataclass(frozen=True)
class Config:
    """``/etc/<app>/tls.json``."""

    app: str
    source: str
    names: tuple[str, ...]
    directory_url: str
    email: str
    webroot: Path
    profile: str
    dns_plugin: str
    dns_credentials: str
    dns_propagation_seconds: int
    preflight: bool
    dry_run_first: bool
    resolvers: tuple[str, ...]
    certificate: Path
    key: Path
    status: Path
    certbot_config: str
    reload_unit: str
    retry_seconds: int

    @classmethod
    def parse(cls, text: str) -> Config:
        """Read the configuration, or say which part of it is wrong."""
        try:
            data = json.loads(text)
            config = cls(
                app=str(data["app"]),
                source=str(data["source"]),
                names=tuple(str(name) for name in data["names"]),
                directory_url=str(data["directory_url"]),
                email=str(data["email"]),
                webroot=Path(data["webroot"]),
                profile=str(data["profile"]),
                dns_plugin=str(data["dns_plugin"]),
                dns_credentials=str(data["dns_credentials"]),
                dns_propagation_seconds=int(data["dns_propagation_seconds"]),
                preflight=bool(data["preflight"]),
                dry_run_first=bool(data["dry_run_first"]),
                resolvers=tuple(str(address) for address in data["resolvers"]),
                certificate=Path(data["certificate"]),
                key=Path(data["key"]),
                status=Path(data["status"]),
                certbot_config=str(data["certbot_config"]),
                reload_unit=str(data["reload_unit"]),
                retry_seconds=int(data["retry_seconds"]),
            )
        except (ValueError, TypeError, KeyError) as error:
            raise CertificateError(f"the configuration is not usable: {type(error).__name__}: {error}") from error
        if config.source not in ("acme", "own"):
            raise CertificateError(f"the configuration is not usable: source is {config.source!r}, and must be acme or own")
        if not config.names or config.retry_seconds < 1:
            raise CertificateError("the configuration is not usable: names is empty, or retry_seconds below 1")
        return config

    @property
    def lineage(self) -> Path:
        """Where certbot keeps the certificate."""
        return Path("/etc/letsencrypt/live") / self.app

    @property
    def renewal(self) -> Path:
        """Where certbot keeps how it was obtained."""
        return Path("/etc/letsencrypt/renewal") / f"{self.app}.conf"

    @property
    def wish(self) -> str:
        """Changes with what is asked for: what failed for another wish says nothing about this one."""
        words = [self.directory_url, *sorted(self.names), self.profile, self.dns_plugin]
        return hashlib.sha256("\n".join(words).encode()).hexdigest()[:16]


def certbot_arguments(config: Config, profile_option: str, dry_run: bool) -> list[str]:
    """The words for certbot. What is secret stands in files."""
    arguments = ["certonly", "--non-interactive", "--agree-tos", "--email", config.email, "--server", config.directory_url]
    if config.certbot_config:
        arguments += ["--config", config.certbot_config]
    # Only this program renews: certbot's own timer knows no waiting times, and would renew a short-lived one at every run.
    arguments += ["--cert-name", config.app, "--domains", ",".join(config.names), "--renew-with-new-domains", "--no-autorenew"]
    arguments += ["--key-type", "ecdsa", "--elliptic-curve", "secp256r1"]
    if config.dns_plugin:
        arguments += ["--authenticator", f"dns-{config.dns_plugin}"]
        if config.dns_credentials:
            arguments += [f"--dns-{config.dns_plugin}-credentials", config.dns_credentials]
        if config.dns_propagation_seconds:
            arguments += [f"--dns-{config.dns_plugin}-propagation-seconds", str(config.dns_propagation_seconds)]
    else:
        arguments += ["--webroot", "--webroot-path", str(config.webroot)]
    if config.profile and profile_option:
        arguments += [profile_option, config.profile]
    # Asked for only when needed, so it is asked for with force: by itself certbot would keep one of another directory.
    return [*arguments, "--dry-run" if dry_run else "--force-renewal"]


@dataclass
class State:
    """What is remembered between two turns: part of the status file."""

    #: What failed belongs to this wish.
    wish: str = ""
    directory_url: str = ""
    stage: str = ""
    kind: str = ""
    reason: str = ""
    failures: int = 0
    tried_at: str | None = None
    next_try: str | None = None
    #: The CA's own limit: kept whoever asks.
    blocked_until: str | None = None
    refusals: list[str] = field(default_factory=list)
    issued_at: str | None = None
    issued_profile: str | None = None
    rehearsed: str = ""

    @classmethod
    def of(cls, data: Any, config: Config, now: float) -> State:
        """The state in ``data``, without what is about something else, and without times that a wrong clock has left."""
        known = data if isinstance(data, Mapping) else {}
        state = cls(**{key: value for key, value in known.items() if key in cls.__dataclass_fields__})
        if state.directory_url != config.directory_url:
            state = cls(issued_at=state.issued_at, issued_profile=state.issued_profile)
        elif state.wish != config.wish:
            kept = ("refusals", "issued_at", "issued_profile")
            state = cls(**{key: getattr(state, key) for key in kept})
        state.wish, state.directory_url = config.wish, config.directory_url
        if (moment(state.tried_at) or 0) > now:
            state.failures, state.next_try, state.blocked_until = 0, None, None
        if (moment(state.issued_at) or 0) > now:
            state.issued_at = None
        state.refusals = [text for text in state.refusals if 0 <= now - (moment(text) or 0) < HOUR]
        return state

    def waiting(self, now: float, asked: bool) -> float | None:
        """Until when nothing is tried. Whoever ``asked`` need not wait for us, but for the CA."""
        times = [moment(self.blocked_until)] if asked else [moment(self.blocked_until), moment(self.next_try)]
        later = [when for when in times if when is not None and now < when <= now + LONGEST_WAIT]
        return max(later) if later else None

    def failed(self, stage: str, failure: Failure, now: float, unit: float, jitter: float) -> None:
        """Write a failure down, and when to try again."""
        self.failures = self.failures + 1 if (self.stage, self.kind) == (stage, failure.kind) else 1
        self.stage, self.kind, self.reason, self.tried_at = stage, failure.kind, failure.reason, stamp(now)
        wait = wait_seconds(failure.kind, self.failures, unit) * jitter
        self.next_try = stamp(max(now + wait, failure.until or 0))
        if failure.kind == "limited" or (failure.kind == "unreachable" and failure.until):
            self.blocked_until = stamp(failure.until or now + wait)
        if failure.kind == "refused":
            self.refusals.append(str(stamp(now)))

    def succeeded(self, now: float, profile: str) -> None:
        """Forget the failures."""
        self.stage = self.kind = self.reason = ""
        self.failures, self.tried_at, self.next_try, self.blocked_until = 0, stamp(now), None, None
        self.issued_at, self.issued_profile = stamp(now), profile
        self.refusals = []


@dataclass(frozen=True)
class Standing:
    """How things stand: ``state`` is ok, trying or alarm."""

    state: str
    summary: str
    fix: str = ""

    @property
    def exit_status(self) -> int:
        """For the unit, the role and monitoring."""
        return {"ok": EXIT_OK, "trying": EXIT_TRYING}.get(self.state, EXIT_ALARM)


def judge(
    config: Config, certificate: Certificate | None, placeholder: bool, served: str, state: State, wanted: Sequence[str], now: float
) -> Standing:
    """How things stand.

    :arg certificate: what the links lead to.
    :arg served: what is wrong with what nginx serves; empty when it is this certificate.
    :arg wanted: why another certificate is due (nothing when it is not).
    """
    trying = ""
    if wanted and state.reason:
        trying = f"{state.stage}: {state.reason}"
        if state.next_try:
            trying += f". Attempt {state.failures}; the next one after {state.next_try}"
    retry = f"put the cause right, {config.app}-tls.timer tries again by itself. At once: {program(config)} run --now"
    if certificate is None:
        return Standing("alarm", f"{config.certificate} is no certificate. {trying}".strip(), "ansible-playbook site.yml --tags edge")
    if placeholder:
        return Standing("alarm", f"no certificate yet, browsers refuse the placeholder. {trying}".strip(), retry)
    left = certificate.ends - now
    good = f"{', '.join(certificate.names)} from {certificate.issuer}, {days(left)} ({percent(certificate.share(now))}) left"
    own = "put a new certificate at tls_certificate_file and tls_key_file, then: ansible-playbook site.yml --tags edge"
    fix = own if config.source == "own" else retry
    if left <= 0:
        return Standing("alarm", f"the certificate has expired {days(-left)} ago. {trying}".strip(), fix)
    if served:
        return Standing("alarm", served, f"nginx -t; systemctl reload {config.reload_unit}; then: {program(config)} run --now")
    if now >= certificate.alarm_at and config.source == "acme" and recently(moment(state.issued_at), certificate.lifetime, now):
        ahead = f"obtained {days(now - (moment(state.issued_at) or now))} ago, and yet less than a third of the lifetime is left: {good}"
        return Standing("alarm", f"the clock of this host is wrong. {ahead}", "timedatectl; then: " + f"{program(config)} run --now")
    if now >= certificate.alarm_at:
        return Standing("alarm", f"less than a third of the lifetime is left: {good}. {trying}".strip(), fix)
    absent = [name for name in config.names if not covered(name, certificate.names)]
    if absent:
        return Standing("trying", f"{', '.join(absent)} not in the certificate yet. {trying}".strip(), fix)
    if trying:
        return Standing("trying", f"{good}. Not renewed yet ({'; '.join(wanted)}). {trying}", fix)
    return Standing("ok", good)


def program(config: Config) -> str:
    """How this program is called for this app."""
    return f"/usr/local/lib/slipway/certificate.py --config /etc/{config.app}/tls.json"


# --- Effects: programs and files --------------------------------------------------------------------


def run(argv: Sequence[str], timeout: float = 60, stdin: bytes = b"", environment: Mapping[str, str] | None = None) -> tuple[int, str]:
    """Run a program; its exit status, and what it said on both channels."""
    try:
        result = subprocess.run(
            argv,
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=timeout,
            env={**os.environ, "LC_ALL": "C.UTF-8", **(environment or {})},
            check=False,
        )
    except subprocess.TimeoutExpired:
        return 124, f"{Path(argv[0]).name} timed out after {timeout:.0f} s"
    except OSError as error:
        return 127, f"{argv[0]} could not be started: {error}"
    return result.returncode, result.stdout.decode(errors="replace")


def first_certificate(pem: str) -> bytes:
    """The first certificate of a PEM file, in DER."""
    match = re.search(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", pem, flags=re.DOTALL)
    if not match:
        raise CertificateError("there is no certificate in it")
    return ssl.PEM_cert_to_DER_cert(match.group())


def read_certificate(path: Path) -> Certificate | None:
    """The first certificate in a file; None when there is none, or no file."""
    try:
        der = first_certificate(path.read_text(encoding="utf-8", errors="replace"))
    except (OSError, CertificateError, ValueError):
        return None
    words = ["openssl", "x509", "-inform", "DER", "-noout", "-subject", "-issuer", "-dates", "-ext", "subjectAltName"]
    status, text = run(words, stdin=der)
    if status != 0 and "notAfter" not in text:
        raise CertificateError(f"{path}: {text.strip()}")
    return parse_certificate(text, hashlib.sha256(der).hexdigest())


def write_atomically(path: Path, text: str, mode: int = 0o644) -> None:
    """Readers see the old text or the new one, never half of it."""
    temporary = path.with_name(f".partial-{path.name}")
    with temporary.open("w", encoding="utf-8") as handle:
        os.fchmod(handle.fileno(), mode)
        handle.write(text)
        handle.flush()
        os.fsync(handle.fileno())
    temporary.replace(path)


def relink(link: Path, target: Path) -> bool:
    """Let ``link`` lead to ``target``; whether that is a change."""
    if link.is_symlink() and link.readlink() == target:
        return False
    temporary = link.with_name(f".partial-{link.name}")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(target)
    temporary.replace(link)
    return True


# --- Effects: names and addresses -------------------------------------------------------------------


class Resolver:
    """Asks name servers, not the host's own list of names: /etc/hosts often has the domain at 127.0.1.1."""

    def __init__(self, servers: Sequence[str], timeout: float = 5) -> None:
        self.servers = servers
        self.timeout = timeout

    @classmethod
    def of(cls, config: Config) -> Resolver:
        """The servers that the operator named, or those of the host (behind systemd-resolved, which answers from /etc/hosts, too)."""
        if config.resolvers:
            return cls(config.resolvers)
        for path in (Path("/run/systemd/resolve/resolv.conf"), Path("/etc/resolv.conf")):
            with contextlib.suppress(OSError):
                if servers := name_servers(path.read_text(encoding="utf-8")):
                    return cls(servers)
        return cls(["127.0.0.1"])

    def addresses(self, name: str) -> tuple[list[str], str]:
        """All addresses of a name, IPv4 first, and why there are none."""
        found: list[str] = []
        problem = ""
        for kind in TYPES:
            addresses, error = self._ask(name, kind)
            found += [address for address in addresses if address not in found]
            problem = problem or error
        # Without an A record but with an AAAA there is no problem; a server that fails for one of them is one for the CA, too.
        return found, "" if found and problem.startswith("NXDOMAIN") else problem

    def _ask(self, name: str, kind: str) -> tuple[list[str], str]:
        problem = "no name server answers"
        for server in self.servers:
            for _ in range(2):
                number = secrets.randbelow(65536)
                try:
                    question = dns_query(name, kind, number)
                    addresses, code, short = dns_answer(self._exchange(server, question, socket.SOCK_DGRAM), kind, number)
                    if short:
                        addresses, code, _ = dns_answer(self._exchange(server, question, socket.SOCK_STREAM), kind, number)
                except (OSError, CertificateError, UnicodeError) as error:
                    problem = f"the name server {server} does not answer: {error or type(error).__name__}"
                    continue
                if not code or code.startswith("NXDOMAIN"):
                    return addresses, code
                problem = f"the name server {server} answers {code}"
                break
        return [], problem

    def _exchange(self, server: str, question: bytes, kind: socket.SocketKind) -> bytes:
        family = socket.AF_INET6 if ":" in server else socket.AF_INET
        with socket.socket(family, kind) as channel:
            channel.settimeout(self.timeout)
            channel.connect((server, 53))
            if kind == socket.SOCK_DGRAM:
                channel.send(question)
                return channel.recv(4096)
            channel.sendall(struct.pack(">H", len(question)) + question)
            with channel.makefile("rb") as stream:
                (length,) = struct.unpack(">H", stream.read(2))
                return stream.read(length)


def own_addresses() -> list[str]:
    """The addresses of this host that others can reach."""
    status, text = run(["ip", "-json", "address", "show", "scope", "global"])
    try:
        links = json.loads(text) if status == 0 else []
    except ValueError:
        return []
    # Not the bridges of containers.
    outside = [link for link in links if not re.match(r"docker|br-|veth|virbr|lxc", link.get("ifname", ""))]
    infos = [info for link in outside for info in link.get("addr_info", [])]
    return [info["local"] for info in infos if "local" in info and not info.get("temporary") and not info.get("deprecated")]


def fetch(url: str, address: str, resolver: Resolver, timeout: float = PREFLIGHT_TIMEOUT) -> tuple[int, bytes, str]:
    """What ``url`` answers at ``address``: status, body, and the server's name. Follows redirects as the CA does."""
    for _ in range(REDIRECTS):
        parts = urllib.parse.urlsplit(url)
        tls = parts.scheme == "https"
        connection = http.client.HTTPConnection(str(parts.hostname), 443 if tls else 80, timeout=timeout)
        plain = socket.create_connection((address, 443 if tls else 80), timeout=timeout)
        try:
            # The CA does not look at certificates on its way to the challenge.
            connection.sock = ssl._create_unverified_context().wrap_socket(plain, server_hostname=parts.hostname) if tls else plain
            connection.request("GET", parts.path or "/", headers={"Host": str(parts.hostname), "User-Agent": "slipway-preflight"})
            answer = connection.getresponse()
            body = answer.read(4096)
        finally:
            connection.close()
            plain.close()
        location = answer.getheader("Location") or ""
        if answer.status not in (301, 302, 303, 307, 308) or not location:
            return answer.status, body, answer.getheader("Server") or ""
        target = urllib.parse.urlsplit(urllib.parse.urljoin(url, location))
        if target.scheme not in ("http", "https") or target.port not in (None, 80, 443):
            return answer.status, body, answer.getheader("Server") or ""
        if target.hostname != parts.hostname:
            found, problem = resolver.addresses(str(target.hostname))
            if not found:
                raise OSError(f"it redirects to {target.hostname}, which has no address {problem}".rstrip())
            address = found[0]
        url = target.geturl()
    raise OSError(f"more than {REDIRECTS} redirects")


def preflight(config: Config, resolver: Resolver) -> list[Finding]:
    """Whether each name, at each of its addresses, leads to the challenges of this host."""
    folder = config.webroot / CHALLENGE
    folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    token, name = secrets.token_hex(16), f"slipway-{secrets.token_hex(8)}"
    path = folder / name
    write_atomically(path, token)
    try:
        return [finding for host in config.names for finding in _look(host, name, token, resolver)]
    finally:
        path.unlink(missing_ok=True)


def _look(host: str, name: str, token: str, resolver: Resolver) -> Iterator[Finding]:
    addresses, problem = resolver.addresses(host)
    if problem and not problem.startswith("NXDOMAIN"):
        yield Finding(host, problem=f"cannot be looked up: {problem}")
    elif not addresses:
        yield Finding(host, problem=f"has no address in DNS{': ' if problem else ''}{problem}")
    for address in addresses:
        try:
            status, body, server = fetch(f"http://{host}/{CHALLENGE}/{name}", address, resolver)
            yield Finding(host, address, verdict(status, body, token, server))
        except (OSError, http.client.HTTPException) as error:
            yield Finding(host, address, f"port 80 does not answer: {error or type(error).__name__}")


# --- Effects: certbot --------------------------------------------------------------------------------


def patient_certbot(arguments: Sequence[str]) -> int:
    """Certbot, but a nonce that the CA rejects is tried again more than the once that certbot does it (RFC 8555, 6.5)."""
    try:
        from acme import client, messages  # type: ignore[import-not-found]
        from certbot import main  # type: ignore[import-not-found]

        once = client.ClientNetwork._post_once
    except (ImportError, AttributeError):
        # Not the distribution's certbot, or one that is built otherwise: as it comes.
        os.execvp("certbot", ["certbot", *arguments])

    def post(self: Any, *args: Any, **kwargs: Any) -> Any:
        for _ in range(NONCE_TRIES - 1):
            try:
                return once(self, *args, **kwargs)
            except messages.Error as error:
                if error.code != "badNonce":
                    raise
        return once(self, *args, **kwargs)

    client.ClientNetwork.post = post
    result = main.main(list(arguments))
    if isinstance(result, str):
        print(result, file=sys.stderr)
        return 1
    return int(result or 0)


def profile_option() -> str:
    """How this certbot is told of a profile; empty when it knows none (before 4.0). Profiles come and go: preferred, not required."""
    _, text = run(["certbot", "--help", "all"])
    return next((option for option in ("--preferred-profile", "--required-profile") if option in text), "")


def appended(path: Path, size: int) -> str:
    """What was added to a log that had ``size`` bytes."""
    try:
        with path.open("rb") as handle:
            end = handle.seek(0, os.SEEK_END)
            handle.seek(size if size <= end else 0)
            return handle.read(4 * 1024 * 1024).decode(errors="replace")
    except OSError:
        return ""


# --- A turn --------------------------------------------------------------------------------------------


class Keeper:
    """The certificate of one app."""

    def __init__(self, config: Config, journal: bool = False) -> None:
        self.config = config
        self.journal = journal
        self.changed = False
        self.state = State.of(self._status().get("attempt"), config, time.time())

    # --- words ---

    def say(self, message: str, priority: int = 6) -> None:
        """A line for the journal, with its priority, or for whoever runs this."""
        prefix = f"<{priority}>" if self.journal else ""
        for line in message.splitlines():
            print(f"{prefix}{line}", file=sys.stdout if self.journal else sys.stderr, flush=True)

    # --- locks ---

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """One turn at a time; another one is waited for, since it does the same work. The kernel lets go when its holder dies."""
        self.config.status.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        with self.config.status.with_suffix(".lock").open("a", encoding="utf-8") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield

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
        found = reasons(current, self.config.names, self.server(), self.config.directory_url, now, moment(self.state.issued_at))
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
        stage, failure = self.attempt(now)
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
            if fresh and now >= fresh.renew_at:
                self.say(f"the clock of this host is {days(now - fresh.begins)} ahead of the new certificate: timedatectl", 4)

    def attempt(self, now: float) -> tuple[str, Failure | None]:
        """Up the ladder: preflight, dry run, the certificate. Where it ended, and why."""
        if self.config.preflight and not self.config.dns_plugin:
            try:
                wrong = explain(preflight(self.config, Resolver.of(self.config)), own_addresses())
            except OSError as error:
                wrong = f"the token could not be put into {self.config.webroot}: {error}"
            if wrong:
                return "preflight", Failure("preflight", wrong)
        if refusals_left((moment(text) or 0 for text in self.state.refusals), now) <= 0:
            oldest = min(moment(text) or now for text in self.state.refusals)
            reason = f"the CA has refused {REFUSALS_PER_HOUR} times within the hour, its own limit is near"
            return "certificate", Failure("busy", reason, oldest + HOUR)
        option = profile_option() if self.config.profile else ""
        if self.config.profile and not option:
            self.say(f"this certbot knows no profiles (tls_profile: {self.config.profile}): the CA's default", 4)
        if self.config.dry_run_first and self.state.rehearsed != self.config.wish:
            if failure := self.certbot(option, dry_run=True):
                return "dry run", failure
            self.state.rehearsed = self.config.wish
        return "certificate", self.certbot(option, dry_run=False)

    def certbot(self, option: str, dry_run: bool) -> Failure | None:
        """Run certbot; None when it succeeded."""
        log = Path("/var/log/letsencrypt/letsencrypt.log")
        size = log.stat().st_size if log.exists() else 0
        argv = [sys.executable, str(Path(__file__).resolve()), "certbot", *certbot_arguments(self.config, option, dry_run)]
        status, said = run(argv, timeout=CERTBOT_TIMEOUT, environment={"SLIPWAY_TLS": self.config.app})
        if status != 0 and "error:accountDoesNotExist" in acme_error(appended(log, size)) and self.forget_account():
            status, said = run(argv, timeout=CERTBOT_TIMEOUT, environment={"SLIPWAY_TLS": self.config.app})
        return None if status == 0 else classify(said, appended(log, size), time.time())

    def forget_account(self) -> bool:
        """Put an account aside that the CA does not know any more (it was built anew): certbot would offer it for ever."""
        parts = urllib.parse.urlsplit(self.config.directory_url)
        folder = ACCOUNTS / f"{parts.netloc}{parts.path}"
        if not folder.is_dir():
            return False
        aside = folder.with_name(f"{folder.name}.unknown-{stamp(time.time())}")
        folder.rename(aside)
        self.say(f"{self.config.directory_url} does not know this host's account: a new one is made, the old one is in {aside}", 4)
        return True

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
            better = not why or self.placeholder() or not self.config.certificate.exists()
            if current and current.ends > time.time() and better:
                moved = [relink(link, target) for link, target in zip(links, lineage, strict=True)]
                self.changed = self.changed or any(moved)
        if run(["systemctl", "is-active", "--quiet", self.config.reload_unit])[0] != 0:
            return f"{self.config.reload_unit} is not active: nothing is served"
        problem = self.compare()
        if not problem:
            return ""
        status, said = run(["systemctl", "reload", self.config.reload_unit])
        self.changed = True
        deadline = time.monotonic() + SERVED_TIMEOUT
        # Old workers answer until the new ones are up.
        while (problem := self.compare()) and time.monotonic() < deadline:
            time.sleep(0.2)
        if problem and status == 0:
            _, said = run(["nginx", "-t", "-q"])
        return f"{problem} {' / '.join(said.split(chr(10))[-4:])}".strip() if problem else ""

    def placeholder(self) -> bool:
        """Whether the links lead to the placeholder."""
        return self.config.certificate.is_symlink() and self.config.certificate.readlink().name == PLACEHOLDER

    def compare(self) -> str:
        """What is wrong with what nginx serves."""
        try:
            disk = first_certificate(self.config.certificate.read_text(encoding="utf-8", errors="replace"))
            context = ssl._create_unverified_context()
            with (
                socket.create_connection(("127.0.0.1", 443), timeout=5) as plain,
                context.wrap_socket(plain, server_hostname=self.config.names[0]) as tls,
            ):
                served = tls.getpeercert(binary_form=True)
        except (OSError, CertificateError) as error:
            return f"no handshake for {self.config.names[0]} on port 443: {error}."
        return "" if served == disk else f"{self.config.reload_unit} does not serve the certificate in {self.config.certificate}."

    # --- verbs ---

    def turn(self, asked: bool, force: bool) -> Standing:
        """One turn."""
        with self.locked():
            self.state = State.of(self._status().get("attempt"), self.config, time.time())
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

    def deployed(self) -> Standing:
        """After certbot has renewed by itself, because somebody told it to."""
        why = self.wanted(time.time())
        return self.conclude(why, self.serve(why))

    def conclude(self, why: list[str], served: str) -> Standing:
        """Judge, write the status file, and say what is new."""
        now = time.time()
        certificate = read_certificate(self.config.certificate)
        standing = judge(self.config, certificate, self.placeholder(), served, self.state, why, now)
        old = self._status()
        since = old.get("since") if old.get("state") == standing.state else None
        said_at = moment(old.get("said_at"))
        news = standing.state != old.get("state") or self.changed or said_at is None or not 0 <= now - said_at < REPEAT
        if self.journal and news and standing.state != "ok":
            self.say(f"{standing.state}: {standing.summary}\nfix: {standing.fix}", 3 if standing.state == "alarm" else 4)
        elif self.journal and standing.state != old.get("state"):
            self.say(f"ok: {standing.summary}", 5)
        status = {
            "app": self.config.app,
            "state": standing.state,
            "since": since or stamp(now),
            "summary": standing.summary,
            "fix": standing.fix,
            "checked_at": stamp(now),
            "said_at": stamp(now) if news else old.get("said_at"),
            "wanted": why,
            "certificate": self.facts(certificate, served, now),
            "attempt": asdict(self.state),
        }
        write_atomically(self.config.status, json.dumps(status, indent=2) + "\n")
        return standing

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

    def _status(self) -> dict[str, Any]:
        with contextlib.suppress(OSError, ValueError):
            return dict(json.loads(self.config.status.read_text(encoding="utf-8")))
        return {}

    def look(self) -> tuple[Standing, dict[str, Any]]:
        """How things stand now; changes nothing."""
        now = time.time()
        certificate = read_certificate(self.config.certificate)
        served = self.compare()
        why = self.wanted(now)
        standing = judge(self.config, certificate, self.placeholder(), served, self.state, why, now)
        facts = self.facts(certificate, served, now)
        return standing, {**asdict(standing), "wanted": why, "certificate": facts, "attempt": asdict(self.state)}


# --- Command line ----------------------------------------------------------------------------------------


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(prog="certificate.py", description=(__doc__ or "").splitlines()[0])
    top.add_argument("--config", required=True, type=Path, help="configuration of the app, /etc/<app>/tls.json")
    verbs = top.add_subparsers(dest="verb", required=True)
    turn = verbs.add_parser("run", help="one turn: obtain or renew when due, serve, compare")
    turn.add_argument("--now", action="store_true", help="do not wait for the next attempt's time (the CA's own limits are kept)")
    turn.add_argument("--force", action="store_true", help="a new certificate even when none is due")
    turn.add_argument("--journal", action="store_true", help="lines with priorities, and only news")
    turn.add_argument("--json", action="store_true", help="end with how things stand, as JSON")
    for verb, text in (("status", "how things stand; changes nothing"), ("preflight", "ask each name for a token; changes nothing")):
        verbs.add_parser(verb, help=text).add_argument("--json", action="store_true", help="as JSON")
    verbs.add_parser("check", help="read the configuration, nothing else")
    verbs.add_parser("deploy", help="serve what certbot has just renewed (its deploy hook)")
    return top


def show(standing: Standing) -> None:
    """How things stand, for people."""
    print(f"{standing.state}: {standing.summary}")
    if standing.fix:
        print(f"fix: {standing.fix}")


def main(argv: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == ["certbot"]:
        return patient_certbot(words[1:])
    arguments = parser().parse_args(words)
    try:
        config = Config.parse(arguments.config.read_text(encoding="utf-8"))
        if arguments.verb == "check":
            return EXIT_OK
        if arguments.verb == "preflight":
            return show_preflight(config, arguments.json)
        keeper = Keeper(config, getattr(arguments, "journal", False))
        if arguments.verb == "status":
            standing, facts = keeper.look()
            print(json.dumps(facts, indent=2)) if arguments.json else show(standing)
            return standing.exit_status
        if arguments.verb == "deploy":
            standing = keeper.deployed()
        else:
            standing = keeper.turn(arguments.now, arguments.force)
            if arguments.json:
                print(json.dumps({**asdict(standing), "changed": keeper.changed, "attempt": asdict(keeper.state)}))
        if arguments.verb != "run" or not (arguments.json or arguments.journal):
            show(standing)
        return standing.exit_status
    except (CertificateError, OSError) as error:
        print(f"{'<3>' if getattr(arguments, 'journal', False) else ''}certificate.py: {error}", file=sys.stderr)
        return EXIT_UNUSABLE


def show_preflight(config: Config, as_json: bool) -> int:
    """The preflight by itself."""
    findings, own = preflight(config, Resolver.of(config)), own_addresses()
    if as_json:
        print(json.dumps({"own": own, "findings": [asdict(finding) for finding in findings]}, indent=2))
    else:
        for finding in findings:
            print(f"{finding.name}  {finding.address or '-'}  {finding.problem or 'reaches this host'}")
        if wrong := explain(findings, own):
            print(wrong)
    return EXIT_ALARM if any(finding.problem for finding in findings) else EXIT_OK


if __name__ == "__main__":
    sys.exit(main())
