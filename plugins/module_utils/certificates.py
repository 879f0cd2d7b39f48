# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""Whether an operator's own certificate, its chain and its key fit each other and the app's names.

Runs on the controller, with the library that Ansible itself needs for its vault.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from typing import NamedTuple

from ansible_collections.slipway.vps.plugins.module_utils.slipway.core.x509 import uncovered

try:
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import serialization
except ImportError:  # pragma: no cover  # ansible-core itself needs it
    x509 = None  # type: ignore[assignment]


class Violation(NamedTuple):
    """What does not fit: ``part`` is certificate or key."""

    part: str
    what: str
    fix: str


def violations(certificate: str, key: str, names: Sequence[str], now: datetime | None = None) -> Iterator[Violation]:
    """Every reason why a server cannot use this certificate with this key for these names.

    :arg certificate: PEM, the certificate first, then its chain.
    :arg key: PEM, without passphrase.
    """
    if x509 is None:  # pragma: no cover
        return
    now = now or datetime.now(timezone.utc)
    try:
        chain = x509.load_pem_x509_certificates(certificate.encode())
    except ValueError as error:
        yield Violation("certificate", f"holds no certificate in PEM ({_first_line(error)})", "-----BEGIN CERTIFICATE----- must be in it")
        chain = []
    private = None
    try:
        private = serialization.load_pem_private_key(key.encode(), password=None)
    except TypeError:
        yield Violation("key", "has a passphrase, and nobody is there to type it", "openssl pkey -in KEY -out PLAIN; keep it in the vault")
    except (ValueError, NotImplementedError) as error:
        yield Violation("key", f"holds no private key in PEM ({_first_line(error)})", "-----BEGIN PRIVATE KEY----- must be in it")
    if not chain:
        return
    leaf = chain[0]
    if private is not None and _public(private.public_key()) != _public(leaf.public_key()):
        yield Violation("key", f"belongs to another certificate than {_name(leaf)}", "give the key that the certificate was asked for with")
    yield from _chain(chain)
    yield from _names(leaf, names)
    for place, one in enumerate(chain, start=1):
        if one.not_valid_after_utc <= now:
            yield Violation("certificate", f"number {place}, {_name(one)}, ended on {one.not_valid_after_utc:%Y-%m-%d}", "get a new one")
        elif one.not_valid_before_utc > now:
            begins = f"{one.not_valid_before_utc:%Y-%m-%d %H:%M} UTC"
            yield Violation("certificate", f"number {place}, {_name(one)}, begins on {begins}", "wait, or look at this machine's clock")


def _chain(chain: Sequence[x509.Certificate]) -> Iterator[Violation]:
    """Each certificate is signed by the one after it; a public one does not come alone."""
    order = "the file holds the certificate, then whoever signed it, then whoever signed that"
    for place, (lower, upper) in enumerate(itertools.pairwise(chain), start=1):
        try:
            lower.verify_directly_issued_by(upper)
        except (ValueError, TypeError, InvalidSignature):
            wanted = _name(lower, issuer=True)
            what = f"number {place + 1} of it, {_name(upper)}, did not sign number {place}, {_name(lower)} (its issuer is {wanted})"
            yield Violation("certificate", what, order)
            return
    if len(chain) == 1 and chain[0].issuer != chain[0].subject and _issuer_is_published(chain[0]):
        what = f"holds {_name(chain[0])} without its chain: {_name(chain[0], issuer=True)} is missing"
        yield Violation("certificate", what, "add the intermediate certificates that your CA gave you (fullchain)")


def _issuer_is_published(certificate: x509.Certificate) -> bool:
    """Whether it says where its issuer can be fetched: public CAs do, and their intermediates are in no browser."""
    try:
        access = certificate.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
    except x509.ExtensionNotFound:
        return False
    return any(entry.access_method == x509.oid.AuthorityInformationAccessOID.CA_ISSUERS for entry in access)


def _names(leaf: x509.Certificate, names: Sequence[str]) -> Iterator[Violation]:
    try:
        own = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(x509.DNSName)
    except x509.ExtensionNotFound:
        own = []
    if absent := uncovered(own, names):
        what = f"is for {', '.join(own) or 'no name at all'}, and not for {', '.join(absent)}"
        yield Violation("certificate", what, "get one with every name of app_domains, or shorten that list")


def _public(key: object) -> bytes:
    """A public key, comparable."""
    encoded: bytes = key.public_bytes(  # type: ignore[attr-defined]  # every kind of key has it
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return encoded


def _name(certificate: x509.Certificate, issuer: bool = False) -> str:
    return (certificate.issuer if issuer else certificate.subject).rfc4514_string() or "without a name"


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0][:120]
