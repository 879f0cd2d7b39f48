# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""Attempts at a certificate: what a failure means, how long to wait after it, and what is remembered of it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ..core.clock import DAY, HOUR, moment, stamp
from .config import Config

#: Let's Encrypt locks a name for failed validations after five an hour. One is left for the operator's own attempts.
REFUSALS_PER_HOUR = 4
#: First and longest wait after a failure, in units of ``retry_seconds`` (300 s): our own probe of DNS costs the CA nothing
#: (5 to 15 min), a CA that does not answer little (5 min to 1 h), a refusal counts (15 min to 8 h).
WAITS = {"preflight": (1, 3), "busy": (1, 1), "unreachable": (1, 12), "refused": (3, 96), "limited": (12, 144), "broken": (3, 96)}
#: A name that the certificate has stays in it until it has failed for so long: a fault of DNS may pass.
PATIENCE = DAY
#: A wait beyond this is no wait but a clock that was wrong. The longest limit of Let's Encrypt is a week.
LONGEST_WAIT = 8 * DAY


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
    # What the CA saw when it came to us may sound like a CA that is down.
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


@dataclass
class State:
    """What is remembered between two runs: part of the status file."""

    #: What failed belongs to this desired state.
    desired: str = ""
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
    #: Names whose preflight fails, and since when.
    failing: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, data: Any, config: Config, now: float) -> State:
        """The state in ``data``, without what is about something else, and without times that a wrong clock has left."""
        known = data if isinstance(data, Mapping) else {}
        # Its name until 0.1: a limit of the CA must outlive an upgrade.
        known = {**({"desired": known["wish"]} if "wish" in known else {}), **known}
        state = cls(**{key: value for key, value in known.items() if key in cls.__dataclass_fields__})
        if state.directory_url != config.directory_url:
            state = cls(issued_at=state.issued_at, issued_profile=state.issued_profile)
        elif state.desired != config.desired:
            kept = ("refusals", "issued_at", "issued_profile", "failing")
            state = cls(**{key: getattr(state, key) for key in kept})
        state.desired, state.directory_url = config.desired, config.directory_url
        if (moment(state.tried_at) or 0) > now:
            state.failures, state.next_try, state.blocked_until = 0, None, None
        if (moment(state.issued_at) or 0) > now:
            state.issued_at = None
        state.refusals = [text for text in state.refusals if 0 <= now - (moment(text) or 0) < HOUR]
        return state

    def note_failing(self, names: Iterable[str], now: float) -> None:
        """These fail the preflight now; the others do not, or nobody asks for them any more."""
        self.failing = {name: self.failing.get(name) or str(stamp(now)) for name in names}

    def given_up(self, now: float) -> set[str]:
        """Names that have failed for so long that visitors cannot come here by them."""
        return {name for name, since in self.failing.items() if now - (moment(since) or now) >= PATIENCE}

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
