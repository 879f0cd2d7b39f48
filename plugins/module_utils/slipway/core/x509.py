# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""Certificates: what one says of itself, and which names it is good for."""

from __future__ import annotations

import hashlib
import re
import ssl
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from .clock import DAY
from .errors import SlipwayError
from .run import attempt

#: Below a third of the lifetime somebody has to look. Renewal begins earlier, so that a CA that is down for some days
#: (6 of 90, 4 of 64, 3 of 45) wakes nobody.
ALARM_SHARE = 1 / 3
RENEW_SHARE = 0.4
#: A certificate of some days (Let's Encrypt's shortlived: 160 hours) is renewed at half, as certbot and the CA advise.
SHORT_LIVED = 10 * DAY
RENEW_SHARE_SHORT = 0.5
#: The role tls makes it; it signs itself, so that nginx can always start.
PLACEHOLDER = "placeholder-fullchain.pem"


class CertificateError(SlipwayError):
    """A certificate, or what should be one, is not usable."""


@dataclass(frozen=True)
class Certificate:
    """What a certificate says of itself. Times in seconds since 1970."""

    names: tuple[str, ...]
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
    """Read ``openssl x509 -noout -issuer -dates -ext subjectAltName``."""
    fields = {key: value.strip() for key, value in re.findall(r"^(issuer|notBefore|notAfter)=(.*)$", text, flags=re.MULTILINE)}
    try:
        begins, ends = (float(ssl.cert_time_to_seconds(fields[key])) for key in ("notBefore", "notAfter"))
        return Certificate(
            names=tuple(sorted({name.lower() for name in re.findall(r"DNS:([^,\s]+)", text)})),
            issuer=fields["issuer"].replace(" = ", "="),
            begins=begins,
            ends=ends,
            fingerprint=fingerprint,
        )
    except (KeyError, ValueError) as error:
        raise CertificateError(f"openssl describes the certificate in words that are not understood:\n{text}") from error


def covers(names: Iterable[str], name: str) -> bool:
    """Whether a certificate for ``names`` is good for ``name``: a wildcard stands for one label, and not for another wildcard."""
    name = name.lower()
    held = {other.lower() for other in names}
    return name in held or (not name.startswith("*.") and f"*.{name.partition('.')[2]}" in held)


def uncovered(names: Iterable[str], wanted: Iterable[str]) -> list[str]:
    """Those of the ``wanted`` names that a certificate for ``names`` is not good for."""
    held = list(names)
    return [name for name in wanted if not covers(held, name)]


def first_certificate(pem: str) -> bytes:
    """The first certificate of a PEM file, in DER."""
    match = re.search(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", pem, flags=re.DOTALL)
    if not match:
        raise CertificateError("there is no certificate in it")
    return ssl.PEM_cert_to_DER_cert(match.group())


def describe(der: bytes) -> Certificate:
    """What openssl says of a certificate in DER."""
    words = ["openssl", "x509", "-inform", "DER", "-noout", "-issuer", "-dates", "-ext", "subjectAltName"]
    status, text = attempt(words, stdin=der)
    # Without a subjectAltName openssl fails, and has said all else.
    if status != 0 and "notAfter" not in text:
        raise CertificateError(f"openssl cannot read the certificate: {text.strip()}")
    return parse_certificate(text, hashlib.sha256(der).hexdigest())


def is_placeholder(certificate: Path) -> bool:
    """Whether the file that nginx serves leads to the placeholder. An operator's own certificate may be self-signed as well."""
    return certificate.is_symlink() and certificate.readlink().name == PLACEHOLDER


def read_certificate(path: Path) -> Certificate | None:
    """The first certificate in a file; None when there is none, or no file."""
    try:
        der = first_certificate(path.read_text(encoding="utf-8", errors="replace"))
    except (OSError, CertificateError, ValueError):
        return None
    try:
        return describe(der)
    except CertificateError as error:
        raise CertificateError(f"{path}: {error}") from error
