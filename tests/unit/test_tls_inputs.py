"""What the contract makes of the inputs about TLS: above all an operator's own certificate, looked at before anything changes."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from ansible_collections.slipway.vps.plugins.module_utils.certificates import violations
from ansible_collections.slipway.vps.plugins.module_utils.rules.problem import Problem
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from .conftest import ROOT, Tool
from .test_contract import check, only

NOW = datetime(2026, 11, 20, tzinfo=timezone.utc)
NAMES = ["blog.example.com", "www.blog.example.com"]


class Issued(NamedTuple):
    """A certificate with its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    def key_pem(self, passphrase: bytes = b"") -> str:
        hidden = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
        return self.key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, hidden).decode()


def issue(
    name: str, by: Issued | None = None, names: list[str] | None = None, days: tuple[float, float] = (-1, 89), public: bool = False
) -> Issued:
    """A certificate of ``name``, signed by another one or by itself; ``public`` ones say where their issuer is to be had."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    begins, ends = (NOW + timedelta(days=number) for number in days)
    builder = (
        x509.CertificateBuilder().subject_name(subject).issuer_name(by.certificate.subject if by else subject).public_key(key.public_key())
    )
    builder = builder.serial_number(x509.random_serial_number()).not_valid_before(begins).not_valid_after(ends)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(one) for one in names]), critical=False)
    if public:
        where = x509.AccessDescription(
            x509.oid.AuthorityInformationAccessOID.CA_ISSUERS, x509.UniformResourceIdentifier("http://ca.example/ca")
        )
        builder = builder.add_extension(x509.AuthorityInformationAccess([where]), critical=False)
    return Issued(builder.sign(by.key if by else key, hashes.SHA256()), key)


ROOT_CA = issue("Root")
MIDDLE = issue("Intermediate", ROOT_CA)
LEAF = issue("blog.example.com", MIDDLE, NAMES, public=True)
OTHER = issue("other.example.com", MIDDLE, NAMES)


def said(certificate: str, key: str, names: list[str] | None = None) -> list[tuple[str, str]]:
    return [(violation.part, violation.what) for violation in violations(certificate, key, names or NAMES, NOW)]


@pytest.mark.parametrize(
    "pem",
    [LEAF.pem + MIDDLE.pem, LEAF.pem + MIDDLE.pem + ROOT_CA.pem, OTHER.pem, issue("self", None, NAMES).pem],
    ids=["chain", "with its root", "of a private CA", "self-signed"],
)
def test_what_fits_is_taken(pem: str) -> None:
    """[E2] The usual full chain; a certificate that needs none."""
    key = {LEAF.pem: LEAF, OTHER.pem: OTHER}.get(pem[: pem.index("-----END CERTIFICATE-----") + 26])
    if key:
        assert said(pem, key.key_pem()) == []
    else:
        assert all(part == "key" for part, _ in said(pem, LEAF.key_pem()))


def test_a_wildcard_is_good_for_its_names() -> None:
    """[E2] For one label; and a wildcard that is asked for has to be there."""
    wild = issue("w", None, ["*.example.com"])
    assert said(wild.pem, wild.key_pem(), ["blog.example.com"]) == []
    assert said(wild.pem, wild.key_pem(), ["*.example.com"]) == []
    assert said(wild.pem, wild.key_pem(), ["blog.example.com", "*.blog.example.com"])[0][1].endswith("and not for *.blog.example.com")
    assert "not for example.com" in said(wild.pem, wild.key_pem(), ["example.com"])[0][1]


@pytest.mark.parametrize(
    ("certificate", "key", "part", "words"),
    [
        (LEAF.pem + MIDDLE.pem, OTHER.key_pem(), "key", "belongs to another certificate than CN=blog.example.com"),
        (LEAF.pem + MIDDLE.pem, LEAF.key_pem(b"secret"), "key", "has a passphrase"),
        (LEAF.pem + MIDDLE.pem, LEAF.pem, "key", "holds no private key"),
        (LEAF.key_pem(), LEAF.key_pem(), "certificate", "holds no certificate"),
        ("", LEAF.key_pem(), "certificate", "holds no certificate"),
        (
            LEAF.pem + ROOT_CA.pem,
            LEAF.key_pem(),
            "certificate",
            "CN=Root, did not sign number 1, CN=blog.example.com (its issuer is CN=Intermediate)",
        ),
        (LEAF.pem, LEAF.key_pem(), "certificate", "without its chain: CN=Intermediate is missing"),
    ],
    ids=["other key", "passphrase", "no key", "key as certificate", "empty", "wrong chain", "no chain"],
)
def test_what_does_not_fit_is_named(certificate: str, key: str, part: str, words: str) -> None:
    """[E2] Which of key, chain and names it is."""
    found = said(certificate, key)
    assert len(found) == 1 and found[0][0] == part and words in found[0][1], found


def test_a_chain_in_the_wrong_order_is_named() -> None:
    """[E2] The intermediate first: the key then belongs to the second one."""
    assert ("key", "belongs to another certificate than CN=Intermediate") in said(MIDDLE.pem + LEAF.pem, LEAF.key_pem())


@pytest.mark.parametrize(("days", "words"), [((-90, -1), "ended on 2026-11-19"), ((2, 90), "begins on 2026-11-22")])
def test_a_certificate_out_of_its_time(days: tuple[float, float], words: str) -> None:
    old = issue("old", None, NAMES, days)
    found = said(old.pem, old.key_pem())
    assert len(found) == 1 and words in found[0][1], found


# --- The contract's rules -----------------------------------------------------------------------


CHAIN, KEY = LEAF.pem + MIDDLE.pem, LEAF.key_pem()


def own(certificate: Any = CHAIN, key: Any = KEY, **changes: Any) -> list[Problem]:
    texts = {"tls_certificate_text": certificate, "tls_key_text": key}
    found = check(**{"tls_certificate_file": "blog.pem", "tls_key_file": "blog.key", **texts, **changes})
    return [problem for problem in found if "ended on" not in problem.what and "begins on" not in problem.what]


def test_an_own_certificate_is_checked_by_the_contract() -> None:
    """[E2] Before anything changes; the variable that is named holds the file that does not fit."""
    assert own() == []
    only(own(key=OTHER.key_pem()), "tls_key_file", "belongs to another certificate", "asked for with")
    only(own(app_domains=[*NAMES, "new.example.com"]), "tls_certificate_file", "not for new.example.com", "app_domains")
    only(own(key=OSError("no such file")), "tls_key_file", "cannot be read: no such file", "a path on this machine")


def test_one_file_alone_is_refused() -> None:
    only(check(tls_certificate_file="blog.pem"), "tls_key_file", "is not set, and tls_certificate_file is", "set both")
    only(check(tls_key_file="blog.key"), "tls_certificate_file", "is not set, and tls_key_file is", "set both")


def test_wildcards_need_dns() -> None:
    """[E2] A CA gives them only by DNS-01; nothing redirects to one."""
    wild = ["example.com", "*.example.com"]
    only(check(app_domains=wild), "app_domains", "only by DNS", "tls_dns_plugin")
    assert check(app_domains=wild, tls_dns_plugin="cloudflare") == []
    only(check(app_domains=wild[::-1], tls_dns_plugin="cloudflare"), "app_domains", "no single name", "plain name first")


@pytest.mark.parametrize(
    ("changes", "variable", "words"),
    [
        ({"tls_directory_url": "http://ca.example/dir"}, "tls_directory_url", "not the https:// address"),
        ({"tls_directory_url": "ca.example"}, "tls_directory_url", "not the https:// address"),
        ({"tls_eab_kid": "kid-1"}, "tls_eab_hmac_key", "is not set, and tls_eab_kid is"),
        ({"tls_eab_hmac_key": "abc"}, "tls_eab_kid", "is not set"),
        ({"tls_eab_kid": "kid-1", "tls_eab_hmac_key": "a b+c/"}, "tls_eab_hmac_key", "not base64url"),
        ({"tls_profile": "short lived"}, "tls_profile", "not a plain name"),
        ({"tls_dns_plugin": "dns-cloudflare"}, "tls_dns_plugin", "begins with dns-"),
        ({"tls_dns_plugin": "; rm"}, "tls_dns_plugin", "not a plain name"),
        ({"tls_dns_credentials": "x = y"}, "tls_dns_plugin", "is not set, and tls_dns_credentials is"),
        ({"tls_resolvers": ["dns.example.com"]}, "tls_resolvers", "not an IP address"),
        ({"tls_resolvers": ["9.9.9.9."]}, "tls_resolvers", "not an IP address"),
        ({"tls_resolvers": "9.9.9.9"}, "tls_resolvers", "must be a list"),
        ({"tls_retry_seconds": 0}, "tls_retry_seconds", "not a number of seconds"),
        ({"tls_retry_seconds": "5m"}, "tls_retry_seconds", "must be a whole number"),
    ],
)
def test_inputs_for_the_ca(changes: dict[str, Any], variable: str, words: str) -> None:
    """[E2] Refused with the variable and the fix, before anything changes."""
    found = check(**changes)
    assert [problem.variable for problem in found] == [variable] and words in found[0].what and found[0].fix, found


def test_good_inputs_for_the_ca() -> None:
    eab = {"tls_eab_kid": "kid-1", "tls_eab_hmac_key": "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"}
    assert (
        check(tls_directory_url="https://acme:14000/dir", tls_profile="shortlived", tls_resolvers=["9.9.9.9", "2620:fe::fe"], **eab) == []
    )
    assert check(tls_dns_plugin="rfc2136", tls_dns_credentials="dns_rfc2136_server = 192.0.2.1", tls_retry_seconds="300") == []


def test_no_secret_is_in_a_message() -> None:
    """[E2] Messages name the variable, never the key."""
    secret = "not base64! 4f2c"
    assert all(secret not in "".join(problem) for problem in check(tls_eab_kid="k", tls_eab_hmac_key=secret))
    assert all("BEGIN PRIVATE" not in "".join(problem) for problem in own(certificate="", key=LEAF.key_pem()))


def test_the_whole_way_through_ansible(tool: Tool, tmp_path: Path) -> None:
    """[E2] Files on the controller, relative to the playbook: the run stops with the variable, its line and the fix."""
    (tmp_path / "files").mkdir()
    (tmp_path / "files/blog.pem").write_text(LEAF.pem + MIDDLE.pem)
    (tmp_path / "files/blog.key").write_text(OTHER.key_pem())
    (tmp_path / "group_vars").mkdir()
    (tmp_path / "group_vars/all.yml").write_text(
        "app_name: blog\napp_domains: [blog.example.com]\napp_wsgi: blog:app\napp_source: {type: path, path: .}\n"
        "tls_certificate_file: blog.pem\ntls_key_file: blog.key\n"
    )
    (tmp_path / "play.yml").write_text(
        "- hosts: localhost\n  gather_facts: false\n  tasks:\n    - ansible.builtin.import_role:\n        name: slipway.vps.app\n"
    )
    (tmp_path / "hosts.yml").write_text("all: {hosts: {localhost: {ansible_connection: local}}}\n")
    result = tool("ansible-playbook", "-i", str(tmp_path / "hosts.yml"), str(tmp_path / "play.yml"))
    assert result.returncode != 0
    assert "tls_key_file belongs to another certificate than CN=blog.example.com" in result.stdout + result.stderr
    assert f"{tmp_path}/group_vars/all.yml:6" in result.stdout + result.stderr
    assert "BEGIN" not in result.stdout + result.stderr
    assert ROOT.exists()
