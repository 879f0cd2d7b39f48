"""Names and addresses before the CA is asked."""

from __future__ import annotations

import contextlib
import http.server
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest
from ansible_collections.slipway.vps.plugins.module_utils.slipway.tls import names, preflight

from .tls_desk import config

Behaviour = Callable[[str, bool], "tuple[list[str], int] | None"]


class NameServer:
    """A name server of its own: ``behaviour`` gets the question's type and whether it came by TCP; None is silence."""

    def __init__(self, address: str, port: int, behaviour: Behaviour) -> None:
        self.behaviour = behaviour
        self.udp, self.tcp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM), socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.udp.bind((address, port))
        self.port: int = self.udp.getsockname()[1]
        self.tcp.bind((address, self.port))
        self.tcp.listen()
        threading.Thread(target=self._by_udp, daemon=True).start()
        threading.Thread(target=self._by_tcp, daemon=True).start()

    def _answer(self, question: bytes, tcp: bool) -> bytes | None:
        query = dns.message.from_wire(question)
        (asked,) = query.question
        said = self.behaviour(dns.rdatatype.to_text(asked.rdtype), tcp)
        if said is None:
            return None
        records, code = said
        answer = dns.message.make_response(query)
        answer.set_rcode(dns.rcode.Rcode(code))
        alias = dns.name.from_text("alias.example.com.")
        if records:
            answer.answer.append(dns.rrset.from_text(asked.name, 60, "IN", "CNAME", str(alias)))
            answer.answer.append(dns.rrset.from_text(alias, 60, "IN", asked.rdtype, *records))
        return answer.to_wire()

    def _by_udp(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                question, client = self.udp.recvfrom(4096)
                if (answer := self._answer(question, tcp=False)) is not None:
                    self.udp.sendto(answer, client)

    def _by_tcp(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                channel, _ = self.tcp.accept()
                with channel, channel.makefile("rb") as stream:
                    (length,) = struct.unpack(">H", stream.read(2))
                    if (answer := self._answer(stream.read(length), tcp=True)) is not None:
                        channel.sendall(struct.pack(">H", len(answer)) + answer)

    def close(self) -> None:
        for channel in (self.udp, self.tcp):
            channel.close()


@pytest.fixture
def zone() -> Iterator[Callable[..., names.Resolver]]:
    """A resolver whose servers behave as they are told."""
    made: list[NameServer] = []

    def resolver(*behaviours: Behaviour) -> names.Resolver:
        port = 0
        for number, behaviour in enumerate(behaviours, start=1):
            made.append(NameServer(f"127.0.0.{number}", port, behaviour))
            port = made[-1].port
        # Short only where nobody answers: a busy machine may take a second to answer.
        patience = 0.3 if behaviours == (silent,) else 1 if silent in behaviours else 10
        return names.Resolver([f"127.0.0.{number}" for number in range(1, len(behaviours) + 1)], timeout=patience, port=port)

    yield resolver
    for server in made:
        server.close()


def good(kind: str, tcp: bool) -> tuple[list[str], int]:
    return (["192.0.2.7"] if kind == "A" else []), 0


def silent(kind: str, tcp: bool) -> None:
    return None


def test_addresses_of_both_kinds_by_way_of_an_alias(zone: Callable[..., names.Resolver]) -> None:
    """[E2] IPv4 first."""

    def both(kind: str, tcp: bool) -> tuple[list[str], int]:
        return (["192.0.2.8", "192.0.2.7"] if kind == "A" else ["2001:db8::1"]), 0

    assert zone(both).addresses("blog.example.com") == (["192.0.2.7", "192.0.2.8", "2001:db8::1"], "")


def test_a_name_that_is_not_there(zone: Callable[..., names.Resolver]) -> None:
    """[E2] Said in DNS's own word; one that has no address is another matter; nor is one that DNS cannot hold a crash."""
    missing = zone(lambda kind, tcp: ([], 3))
    assert missing.addresses("blog.example.com") == ([], "NXDOMAIN (there is no such name)")
    found, problem = missing.addresses("x" * 64 + ".example.com")
    assert found == [] and "63" in problem
    assert zone(lambda kind, tcp: ([], 0)).addresses("blog.example.com") == ([], "")


def test_the_second_server_is_asked_when_the_first_is_silent(zone: Callable[..., names.Resolver]) -> None:
    assert zone(silent, good).addresses("blog.example.com") == (["192.0.2.7"], "")


def test_a_server_that_does_not_answer_is_named(zone: Callable[..., names.Resolver]) -> None:
    """[E2] [K8] The operator learns which one."""
    found, problem = zone(silent).addresses("blog.example.com")
    assert found == [] and "the name server 127.0.0.1 does not answer: " in problem and "timed out" in problem


def test_a_zone_that_fails_for_one_type_is_a_problem(zone: Callable[..., names.Resolver]) -> None:
    """[E2] The CA looks at A and AAAA, and refuses when either fails (a broken DNSSEC, for example)."""
    found, problem = zone(lambda kind, tcp: good(kind, tcp) if kind == "A" else ([], 2)).addresses("blog.example.com")
    assert found == ["192.0.2.7"]
    assert problem == "the name server 127.0.0.1 answers SERVFAIL (the zone may be broken, DNSSEC too)"


def test_name_servers_of_the_host() -> None:
    assert names.name_servers("# a\nsearch x\nnameserver 192.0.2.1\nnameserver  2001:db8::53\n") == ["192.0.2.1", "2001:db8::53"]


# --- Preflight ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (200, b"token\n", ""),
        (200, b"<h1>Welcome</h1>", "another machine, or another site"),
        (404, b"", "answers 404 instead"),
        (503, b"token", "answers 503"),
    ],
)
def test_verdicts(status: int, body: bytes, words: str) -> None:
    said = preflight.verdict(status, body, "token", "Apache")
    assert said == "" if not words else words in said and "Apache" in said


def test_what_is_wrong_is_said_with_what_it_should_be() -> None:
    """[E2] The name, what it resolves to, and this host's addresses."""
    own = ["203.0.113.7", "2001:db8::7"]
    findings = [
        preflight.Finding("blog.example.com", "203.0.113.7"),
        preflight.Finding("blog.example.com", "2001:db8::99", "port 80 does not answer: timed out"),
        preflight.Finding("www.blog.example.com", problem="has no address in DNS: NXDOMAIN (there is no such name)"),
        preflight.Finding("old.example.com", "203.0.113.7", "it answers 404 instead of the token"),
    ]
    blog, www, old = preflight.explain(findings, own).split("; ")
    assert blog == (
        "blog.example.com resolves to 2001:db8::99, should be 203.0.113.7 or 2001:db8::7 [2001:db8::99: port 80 does not answer: timed out]"
    )
    assert www == "www.blog.example.com has no address in DNS: NXDOMAIN (there is no such name), should be 203.0.113.7 or 2001:db8::7"
    assert "resolves to 203.0.113.7, which is this host, but it answers 404" in old
    assert preflight.explain(findings[:1], own) == ""


@contextlib.contextmanager
def web(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A web server on a port of its own that serves ``folder``; the program's port 80 leads to it, whatever the address."""
    asked: list[str] = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: Any, **words: Any) -> None:
            super().__init__(*args, directory=str(folder), **words)

        def do_GET(self) -> None:
            asked.append(f"{self.headers['Host']}{self.path}")
            if self.headers["Host"] == "moved.example.com":
                self.send_response(302)
                self.send_header("Location", f"http://blog.example.com{self.path}")
                self.end_headers()
            elif self.headers["Host"] == "circle.example.com":
                self.send_response(301)
                self.send_header("Location", self.path)
                self.end_headers()
            else:
                super().do_GET()

        def log_message(self, *args: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    original = socket.create_connection

    def connect(address: tuple[str, int], **words: Any) -> socket.socket:
        if address[0] == "192.0.2.66":
            raise TimeoutError("timed out")
        return original(("127.0.0.1", server.server_port), **words)

    monkeypatch.setattr(socket, "create_connection", connect)
    try:
        yield asked
    finally:
        server.shutdown()
        server.server_close()


class Names:
    """Addresses by name."""

    def __init__(self, **found: list[str]) -> None:
        self.found = {name.replace("_", "."): addresses for name, addresses in found.items()}

    def addresses(self, name: str) -> tuple[list[str], str]:
        return self.found.get(name, []), "" if name in self.found else "NXDOMAIN"


def test_preflight_asks_each_address_of_each_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """[E2] A and AAAA; the token is really fetched, and gone afterwards."""
    names = Names(
        blog_example_com=["192.0.2.7", "2001:db8::bad"], moved_example_com=["192.0.2.7"], half_example_com=["192.0.2.7", "192.0.2.66"]
    )
    wanted = config(tmp_path, names=["blog.example.com", "moved.example.com", "circle.example.com", "half.example.com", "none.example.com"])
    names.found["circle.example.com"] = ["192.0.2.7"]
    with web(tmp_path / "webroot", monkeypatch) as asked:
        findings = preflight.preflight(wanted, names)
    said = {(finding.name, finding.address): finding.problem for finding in findings}
    assert said[("blog.example.com", "192.0.2.7")] == said[("blog.example.com", "2001:db8::bad")] == ""
    assert said[("moved.example.com", "192.0.2.7")] == "", "the CA follows redirects"
    assert "redirects" in said[("circle.example.com", "192.0.2.7")]
    assert said[("half.example.com", "192.0.2.7")] == "" and "timed out" in said[("half.example.com", "192.0.2.66")]
    assert said[("none.example.com", "")] == "has no address in DNS: NXDOMAIN"
    assert len([line for line in asked if line.startswith("blog.example.com/.well-known/acme-challenge/slipway-")]) == 3
    assert list((tmp_path / "webroot" / preflight.CHALLENGE).iterdir()) == []


def test_preflight_is_not_fooled_by_another_web_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """[E2] It answers port 80, and lacks the token."""
    (tmp_path / "elsewhere").mkdir()
    with web(tmp_path / "elsewhere", monkeypatch):
        findings = preflight.preflight(config(tmp_path, names=["blog.example.com"]), Names(blog_example_com=["192.0.2.7"]))
    assert [finding.problem for finding in findings] and "answers 404 instead of the token" in findings[0].problem
