"""What the edge agrees to in a handshake: Debian 13, TLS 1.2 and 1.3."""

from __future__ import annotations

from typing import Any

import pytest
from helpers import App, must


def handshake(neighbour: Any, app: App, options: str) -> str:
    """What OpenSSL of Debian 13 says about a handshake with the public endpoint."""
    command = f"openssl s_client -connect {app.domain}:443 -servername {app.domain} {options} </dev/null 2>&1"
    return str(neighbour.run(f"timeout 10 sh -c '{command}'").stdout)


def test_post_quantum_key_exchange(neighbour: Any, app: App) -> None:
    """[E3] The first choice of those who know it, and there for those who insist on it."""
    for options in ("", "-groups X25519MLKEM768"):
        said = handshake(neighbour, app, options)
        assert "Negotiated TLS1.3 group: X25519MLKEM768" in said, said
    assert "Peer Temp Key: X25519, 253 bits" in handshake(neighbour, app, "-groups X25519"), "who does not know it is served all the same"


@pytest.mark.parametrize("options", ["-tls1_2", "-tls1_2 -groups X25519:P-256", "-tls1_3"])
def test_both_versions_are_offered(neighbour: Any, app: App, options: str) -> None:
    """[E3] field case 15: senders of webhooks and some CDNs speak no TLS 1.3. With 1.2 they name the certificate's curve, too."""
    assert "Cipher is (NONE)" not in handshake(neighbour, app, options)


@pytest.mark.parametrize("options", ["-groups P-521", "-sigalgs RSA-PSS+SHA256"])
def test_what_the_guideline_leaves_out(neighbour: Any, app: App, options: str) -> None:
    """[E3] No other groups; and the certificate is ECDSA, so nobody is served RSA."""
    said = handshake(neighbour, app, options)
    assert "alert" in said and "Cipher is (NONE)" in said, said


def test_certificate_is_ecdsa(neighbour: Any, app: App) -> None:
    """[E2] P-256: signing costs a fourteenth of RSA-2048."""
    said = handshake(neighbour, app, "")
    assert "type: ecdsa_secp256r1_sha256" in said or "Peer signature type: ecdsa" in said, said


def test_sessions_are_resumed(neighbour: Any, app: App) -> None:
    """[E3] A visitor who comes back pays no full handshake."""
    # The session comes after the handshake: a request makes sure that it has arrived.
    request = f'(printf "GET /probe/hello HTTP/1.1\\r\\nHost: {app.domain}\\r\\nConnection: close\\r\\n\\r\\n"; sleep 1)'
    client = f"openssl s_client -connect {app.domain}:443 -servername {app.domain}"
    first = must(neighbour, f"{request} | timeout 10 {client} -sess_out /tmp/session 2>&1")
    again = must(neighbour, f"{request} | timeout 10 {client} -sess_in /tmp/session 2>&1")
    assert "New, TLSv1.3" in first and "Reused, TLSv1.3" in again, again


def test_nothing_is_accepted_early(neighbour: Any, app: App) -> None:
    """[E3] No 0-RTT: what is sent again to a late-comer could be sent by anyone."""
    assert "Max Early Data: 0" in handshake(neighbour, app, "") or "Early data was not sent" in handshake(neighbour, app, "")


def test_only_three_ports_answer(neighbour: Any, app: App) -> None:
    """[K5] nmap from a neighbour: every TCP port."""
    said = must(neighbour, f"nmap -Pn -n -p- --min-rate 5000 --max-retries 1 -oG - {app.domain}")
    ports = sorted(int(word.split("/")[0]) for word in said.replace(",", " ").split() if "/open/" in word)
    assert ports == [22, 80, 443], said
