"""Certificates and the TLS policy, as a client meets them."""

from __future__ import annotations

import re
from typing import Any

import pytest
from helpers import App, must

FULLCHAIN, KEY = "/etc/ssl/demo/fullchain.pem", "/etc/ssl/demo/privkey.pem"


def handshake(host: Any, name: str | None, *options: str) -> str:
    """What openssl says about a handshake with this host, whether it succeeded or not."""
    sni = f"-servername {name}" if name else "-noservername"
    # Text only: with HTTP/2 the server's first frame would be in the output.
    printable = "tr -cd '\\11\\12\\40-\\176'"
    command = f"timeout 10 openssl s_client -connect 127.0.0.1:443 {sni} {' '.join(options)} </dev/null 2>&1 | {printable}"
    return str(host.run(command).stdout)


def refused(said: str) -> bool:
    """The server showed no certificate, so there is no session."""
    return "BEGIN CERTIFICATE" not in said


def fingerprint(host: Any, pem: str) -> str:
    return must(host, f"openssl x509 -noout -fingerprint -sha256 <<'PEM'\n{pem}\nPEM")


def first_certificate(text: str) -> str:
    found = re.search(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", text, re.DOTALL)
    assert found, f"no certificate in:\n{text}"
    return found.group()


def served_and_stored(host: Any, app: App) -> tuple[str, str]:
    served = first_certificate(handshake(host, app.domain))
    stored = first_certificate(must(host, f"cat {FULLCHAIN}"))
    return fingerprint(host, served), fingerprint(host, stored)


def directory_url(host: Any) -> str:
    """The CA the certificate came from: a dry run asks Let's Encrypt's staging directory unless told otherwise."""
    found = re.search(r"^server = (\S+)$", must(host, "cat /etc/letsencrypt/renewal/demo.conf"), re.MULTILINE)
    assert found, "certbot does not know where the certificate came from"
    return found.group(1)


def test_the_certificate_served_is_the_one_on_disk(host: Any, app: App) -> None:
    """[E2] And it is the CA's, not the placeholder."""
    served, stored = served_and_stored(host, app)
    assert served == stored, f"nginx serves {served} and the disk holds {stored}"
    facts = must(host, f"openssl x509 -in {FULLCHAIN} -noout -subject -issuer -dates -ext subjectAltName")
    assert "Slipway placeholder" not in facts, (
        f"the placeholder is served\n{facts}\n{must(host, 'tail -n 40 /var/log/letsencrypt/letsencrypt.log')}"
    )
    assert re.search(r"issuer=CN ?= ?Pebble", facts), f"not issued by the ACME CA of the test:\n{facts}"
    assert must(host, f"readlink {FULLCHAIN}").strip() == "/etc/letsencrypt/live/demo/fullchain.pem"
    assert must(host, f"readlink {KEY}").strip() == "/etc/letsencrypt/live/demo/privkey.pem"


def test_the_certificate_covers_every_name(host: Any, app: App) -> None:
    """[E2] Canonical name and alias, on an elliptic curve, with the chain."""
    text = must(host, f"openssl x509 -in {FULLCHAIN} -noout -text")
    assert set(re.findall(r"DNS:([^,\s]+)", text)) == {app.domain, app.alias}, text
    assert "prime256v1" in text, f"not a P-256 key:\n{text}"
    chain = handshake(host, app.domain, "-showcerts").count("BEGIN CERTIFICATE")
    assert chain >= 2, f"clients need the intermediate too; served: {chain} certificate(s)"


def test_keys_are_for_root_only(host: Any, app: App) -> None:
    """[E2] Neither the app nor the proxy's workers can read a key."""
    for key in (KEY, "/etc/ssl/demo/placeholder-privkey.pem"):
        for user in (app.name, "www-data"):
            tried = host.run(f"setpriv --reuid {user} --regid {user} --init-groups cat {key}")
            assert tried.rc != 0 and "PRIVATE KEY" not in tried.stdout, f"{user} can read {key}"
    assert must(host, f"stat -Lc '%U %a' {KEY}").strip() == "root 600"


def test_renewal_works(host: Any) -> None:
    """[E2] `renew --dry-run`: the CA's challenge reaches the webroot through the redirecting site."""
    result = host.run(f"certbot renew --dry-run --no-random-sleep-on-renew --server {directory_url(host)}")
    assert result.rc == 0 and "all simulated renewals succeeded" in result.stdout, f"{result.stdout}\n{result.stderr}"


def test_a_renewed_certificate_is_served_at_once(host: Any, app: App) -> None:
    """[E2] The deploy hook reloads nginx: nobody has to."""
    before, _ = served_and_stored(host, app)
    must(host, "certbot renew --force-renewal --no-random-sleep-on-renew --cert-name demo")
    must(host, "sleep 1")
    served, stored = served_and_stored(host, app)
    assert stored != before, "certbot renewed nothing"
    assert served == stored, f"after the renewal nginx still serves {served}; on disk is {stored}"


def test_renewal_is_scheduled(host: Any) -> None:
    """[E2] Also after a reboot, and by nobody else: certbot's own timer knows no waiting times."""
    assert must(host, "systemctl is-active demo-tls.timer").strip() == "active"
    assert must(host, "systemctl is-enabled demo-tls.timer").strip() == "enabled"
    assert "autorenew = False" in must(host, "cat /etc/letsencrypt/renewal/demo.conf")
    must(host, "systemctl start demo-tls.service")
    said = must(host, "/usr/local/bin/slipway demo tls status")
    assert said.startswith("certificate: ok: "), said


def test_what_the_tls_role_writes_says_so(host: Any) -> None:
    """[E2] And whose it is."""
    units = ("/etc/systemd/system/demo-tls.service", "/etc/systemd/system/demo-tls.timer")
    for path in ("/etc/letsencrypt/renewal-hooks/deploy/slipway-demo", "/etc/demo/tls.json", *units):
        assert "slipway:tls" in host.file(path).content_string, path


@pytest.mark.parametrize("name", ["stranger.example", None])
def test_unknown_names_get_no_certificate(host: Any, name: str | None) -> None:
    """[E2] Unknown or missing SNI: the handshake is refused, so the names of this host stay unknown too."""
    said = handshake(host, name)
    assert refused(said) and "unrecognized name" in said, said


@pytest.mark.parametrize("options", ["-tls1_3", "-tls1_2"])
def test_protocols_offered(host: Any, app: App, options: str) -> None:
    """[E3] TLS 1.2 and 1.3, whatever OpenSSL the host has."""
    said = handshake(host, app.domain, options)
    assert not refused(said) and "Cipher is (NONE)" not in said, said


@pytest.mark.parametrize(
    "options",
    [
        "-tls1_1 -cipher ALL:@SECLEVEL=0",
        "-tls1 -cipher ALL:@SECLEVEL=0",
        "-tls1_2 -cipher AES128-SHA:AES256-GCM-SHA384",
        "-tls1_2 -cipher ECDHE-ECDSA-AES128-SHA",
    ],
    ids=["TLS 1.1", "TLS 1.0", "no forward secrecy", "CBC"],
)
def test_what_is_weak_is_refused(host: Any, app: App, options: str) -> None:
    """[E3] Old protocols, and ciphers outside of Mozilla's intermediate list."""
    said = handshake(host, app.domain, options)
    # An alert is the server's: a client that refuses by itself would prove nothing.
    assert " alert " in said and refused(said), said


def test_http2(host: Any, app: App) -> None:
    """[E3] Negotiated by ALPN."""
    assert "ALPN protocol: h2" in handshake(host, app.domain, "-alpn h2,http/1.1")


def test_sessions_resume_from_the_cache_without_tickets(host: Any, app: App) -> None:
    """[E3] The cache is on, and no ticket key lies about."""
    said = handshake(host, app.domain, "-tls1_2", "-reconnect")
    assert said.count("Reused, TLSv1.2") >= 4, said
    assert "TLS session ticket:" not in said, said
    # In TLS 1.3 the session comes after the handshake: a request makes sure that it has arrived.
    ask = f"(printf 'GET /healthz/live HTTP/1.1\\r\\nHost: {app.domain}\\r\\nConnection: close\\r\\n\\r\\n'; sleep 1)"
    client = f"timeout 10 openssl s_client -connect 127.0.0.1:443 -servername {app.domain} 2>&1"
    must(host, f"{ask} | {client} -sess_out /tmp/session")
    said = must(host, f"{ask} | {client} -sess_in /tmp/session; rm -f /tmp/session")
    assert "Reused, TLSv1.3" in said, said


def test_the_best_key_exchange_both_sides_know(host: Any, app: App) -> None:
    """[E3] Post-quantum where OpenSSL has it (3.5); elsewhere the group's name would keep nginx from starting."""
    major, minor = map(int, must(host, "openssl version").split()[1].split(".")[:2])
    said = handshake(host, app.domain, "-tls1_3")
    if (major, minor) >= (3, 5):
        assert "Negotiated TLS1.3 group: X25519MLKEM768" in said, said
    else:
        assert "Server Temp Key: X25519" in said, said
