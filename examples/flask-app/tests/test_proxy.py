"""What the app believes about its client."""

from __future__ import annotations

import pytest

from .conftest import MakeApp

FORWARDED = {
    "X-Forwarded-For": "203.0.113.9",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Host": "log.example",
}


def test_without_a_proxy_forwarded_headers_are_ignored(make_app: MakeApp) -> None:
    """[E5] PROXY_HOPS=0, the default: anyone could have written these headers."""
    answer = make_app().test_client().get("/whoami", headers=FORWARDED).json
    assert answer is not None
    assert (answer["remote_addr"], answer["scheme"], answer["host"]) == ("127.0.0.1", "http", "localhost")


def test_one_hop(make_app: MakeApp) -> None:
    """[E5] PROXY_HOPS=1: what nginx wrote counts."""
    answer = make_app(PROXY_HOPS="1").test_client().get("/whoami", headers=FORWARDED).json
    assert answer is not None
    assert (answer["remote_addr"], answer["scheme"], answer["host"]) == ("203.0.113.9", "https", "log.example")


@pytest.mark.parametrize(
    ("hops", "chain", "seen"),
    [
        ("1", "203.0.113.9", "203.0.113.9"),
        ("1", "6.6.6.6, 203.0.113.9", "203.0.113.9"),
        ("2", "203.0.113.9, 10.0.0.1", "203.0.113.9"),
        ("2", "6.6.6.6, 203.0.113.9, 10.0.0.1", "203.0.113.9"),
        ("2", "6.6.6.6", "127.0.0.1"),
    ],
)
def test_only_the_trusted_hops_count(make_app: MakeApp, hops: str, chain: str, seen: str) -> None:
    """[E5] What a visitor wrote in front of the trusted hops is ignored."""
    client = make_app(PROXY_HOPS=hops).test_client()
    answer = client.get("/whoami", headers={"X-Forwarded-For": chain}).json
    assert answer is not None
    assert answer["remote_addr"] == seen


def test_untrusted_host(make_app: MakeApp) -> None:
    """[A17] Any other host gets 400, on the health pages too; the page names the request."""
    client = make_app(TRUSTED_HOSTS="log.example, .ships.example").test_client()
    for host in ("log.example", "log.example:8443", "ships.example", "a.ships.example"):
        assert client.get("/", headers={"Host": host}).status_code == 200
    for path in ("/", "/healthz/ready", "/whoami"):
        answer = client.get(path, headers={"Host": "evil.example"})
        assert answer.status_code == 400
        assert answer.headers["X-Request-ID"] in answer.text


def test_untrusted_forwarded_host(make_app: MakeApp) -> None:
    """[A17] [E5] The host that the proxy passes on is the one that is checked."""
    client = make_app(TRUSTED_HOSTS="log.example", PROXY_HOPS="1").test_client()
    assert client.get("/whoami", headers={"X-Forwarded-Host": "log.example"}).status_code == 200
    forged = {"Host": "log.example", "X-Forwarded-Host": "evil.example"}
    assert client.get("/whoami", headers=forged).status_code == 400
