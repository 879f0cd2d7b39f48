# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""Why a certificate has to be obtained, and how one stands."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..core.clock import days, moment, percent
from ..core.status import DEGRADED, FAILED, OK, Status
from ..core.x509 import Certificate, uncovered
from .attempts import State
from .config import Config

SUBJECT = "certificate"
OTHER_NAMES = "it has other names"
#: No renewal by age within this share of the lifetime after the last one: only a wrong clock asks for that, and would
#: ask in every run.
RENEW_PAUSE_SHARE = 0.3


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
        found.append(OTHER_NAMES)
    if server and server != directory_url:
        found.append("it is from another directory")
    if now >= certificate.renew_at and not recently(issued_at, certificate.lifetime, now):
        found.append("it has expired" if now >= certificate.ends else f"{percent(certificate.share(now))} of its lifetime is left")
    return found


def recently(issued_at: float | None, lifetime: float, now: float) -> bool:
    """Whether the last certificate was obtained so short ago that its age is no reason for the next one."""
    return issued_at is not None and 0 <= now - issued_at < lifetime * RENEW_PAUSE_SHARE


def program(config: Config) -> str:
    """How an operator calls this program for this app."""
    return f"slipway {config.app} tls"


def trouble(state: State, wanted: Sequence[str]) -> str:
    """What stopped the last attempt, and when the next one is; empty when none is due."""
    if not wanted or not state.reason:
        return ""
    told = f"{state.stage}: {state.reason}"
    return f"{told}. Attempt {state.failures}; the next one after {state.next_try}" if state.next_try else told


def judge(
    config: Config, certificate: Certificate | None, placeholder: bool, served: str, state: State, wanted: Sequence[str], now: float
) -> Status:
    """How the certificate stands: failed is for somebody to act on, degraded is still tried.

    :arg certificate: what the links lead to.
    :arg served: what is wrong with what nginx serves; empty when it is this certificate.
    :arg wanted: why another certificate is due (nothing when it is not).
    """
    trying = trouble(state, wanted)
    retry = f"put the cause right, {config.app}-tls.timer tries again by itself. At once: {program(config)} run --now"
    own = "put a new certificate at tls_certificate_file and tls_key_file, then: ansible-playbook slipway.vps.site --tags edge"
    fix = own if config.source == "own" else retry

    def failed(evidence: str, fix: str) -> Status:
        return Status(SUBJECT, FAILED, evidence.strip(), fix)

    if certificate is None:
        return failed(f"{config.certificate} is no certificate. {trying}", "ansible-playbook slipway.vps.site --tags edge")
    if placeholder:
        return failed(f"no certificate yet, browsers refuse the placeholder. {trying}", retry)
    left = certificate.ends - now
    good = f"{', '.join(certificate.names)} from {certificate.issuer}, {days(left)} ({percent(certificate.share(now))}) left"
    if left <= 0:
        return failed(f"the certificate has expired {days(-left)} ago. {trying}", fix)
    if served:
        return failed(served, f"nginx -t; systemctl reload {config.reload_unit}; then: {program(config)} run --now")
    if now >= certificate.alarm_at:
        issued = moment(state.issued_at)
        if config.source == "acme" and recently(issued, certificate.lifetime, now):
            ahead = f"obtained {days(now - (issued or now))} ago, and yet less than a third of the lifetime is left: {good}"
            return failed(f"the clock of this host is wrong. {ahead}", f"timedatectl; then: {program(config)} run --now")
        return failed(f"less than a third of the lifetime is left: {good}. {trying}", fix)
    if absent := uncovered(certificate.names, config.names):
        return Status(SUBJECT, DEGRADED, f"{', '.join(absent)} not in the certificate yet. {trying}".strip(), fix)
    if trying:
        return Status(SUBJECT, DEGRADED, f"{good}. Not renewed yet ({'; '.join(wanted)}). {trying}", fix)
    return Status(SUBJECT, OK, good)
