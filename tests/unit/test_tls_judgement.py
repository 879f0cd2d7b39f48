"""When the CA is asked for a certificate, and what a certificate says of itself."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core import x509
from ansible_collections.slipway.vps.plugins.module_utils.slipway.tls import judgement

from .tls_desk import DAY, NOW, URL, certificate


def wanted(cert: Any, **changes: Any) -> list[str]:
    arguments = {"wanted": ["blog.example.com", "www.blog.example.com"], "server": URL, "directory_url": URL, "now": NOW, **changes}
    found: list[str] = judgement.reasons(cert, **arguments)
    return found


# --- Age ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lifetime", "renewed_with", "alarm_with"),
    # 160 hours is what Let's Encrypt's shortlived has.
    [(90, 36, 30), (64, 25.6, 21.333), (45, 18, 15), (160 / 24, 80 / 24, 53.333 / 24)],
)
def test_renewal_and_alarm_go_by_the_share_of_the_lifetime(lifetime: float, renewed_with: float, alarm_with: float) -> None:
    """[E2] Right for certificates of 90, 64, 45 and 6 days: renewal begins before the alarm would."""
    assert wanted(certificate(lifetime, renewed_with + 0.01)) == []
    assert len(wanted(certificate(lifetime, renewed_with - 0.01))) == 1
    cert = certificate(lifetime, alarm_with)
    assert abs(cert.alarm_at - NOW) < 0.01 * DAY
    # The CA may be down for a tenth of the lifetime of any but the shortest before somebody has to look, and for a day there.
    assert cert.alarm_at - cert.renew_at >= (DAY if lifetime < 10 else 0.06 * lifetime * DAY)


def test_a_certificate_that_fits_stays() -> None:
    """[E2] In another order and case, too."""
    assert wanted(certificate(), wanted=["WWW.blog.example.com", "blog.example.com"]) == []


@pytest.mark.parametrize(
    ("cert", "changes", "reason"),
    [
        (None, {}, "there is none"),
        (certificate(names=("blog.example.com",)), {}, "other names"),
        (certificate(), {"wanted": ["blog.example.com"]}, "other names"),
        (certificate(), {"server": "https://staging.example/directory"}, "another directory"),
        (certificate(left=-1), {}, "expired"),
        (certificate(left=30), {}, "33 %"),
    ],
)
def test_why_the_ca_is_asked(cert: Any, changes: dict[str, Any], reason: str) -> None:
    """[E2] A name more or less, another CA, or age."""
    found = wanted(cert, **changes)
    assert len(found) == 1 and reason in found[0], found


def test_a_wrong_clock_does_not_renew_in_every_run() -> None:
    """[E2] 60 days ahead, a fresh certificate is due again at once: asked for once, and not in the next run."""
    old = certificate(left=30)
    assert wanted(old, issued_at=NOW - 60 * DAY)
    assert wanted(old, issued_at=NOW) == []
    assert wanted(old, issued_at=NOW - 26 * DAY) == []
    # Whoever adds a name does not have to wait for that.
    assert wanted(old, issued_at=NOW, wanted=["blog.example.com"]) == ["it has other names"]


def test_what_openssl_says_is_understood() -> None:
    text = (
        "issuer=C = US, O = Let's Encrypt, CN = E7\nnotBefore=Nov 20 11:32:31 2026 GMT\n"
        "notAfter=Feb 18 11:32:30 2027 GMT\nX509v3 Subject Alternative Name: \n    DNS:www.Blog.example.com, DNS:blog.example.com\n"
    )
    cert = x509.parse_certificate(text, "f")
    assert cert.names == ("blog.example.com", "www.blog.example.com")
    assert cert.issuer == "C=US, O=Let's Encrypt, CN=E7" and round(cert.lifetime / DAY) == 90
    with pytest.raises(x509.CertificateError, match="not understood"):
        x509.parse_certificate("issuer=CN = x\n", "f")


@pytest.mark.parametrize(
    ("name", "names", "good"),
    [
        ("a.example.com", ["a.example.com"], True),
        ("a.example.com", ["*.example.com"], True),
        ("example.com", ["*.example.com"], False),
        ("a.b.example.com", ["*.example.com"], False),
    ],
)
def test_a_wildcard_stands_for_one_label(name: str, names: list[str], good: bool) -> None:
    assert x509.covers(names, name) is good
