"""The program that keeps the certificate: when it asks the CA, how long it waits, and what it says."""

from __future__ import annotations

import contextlib
import http.server
import importlib.util
import json
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

SOURCE = Path(__file__).parents[2] / "roles/tls/files/certificate.py"
NOW = 1_795_000_000.0
DAY = 86400
URL = "https://ca.example/directory"


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("slipway_certificate", SOURCE)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


tls = load()


def settings(tmp_path: Path = Path("/nowhere"), **changes: Any) -> dict[str, Any]:
    return {
        **{"app": "blog", "source": "acme", "names": ["blog.example.com", "www.blog.example.com"], "directory_url": URL},
        **{"email": "ops@example.com", "webroot": str(tmp_path / "webroot"), "profile": "", "dns_plugin": "", "dns_credentials": ""},
        **{"dns_propagation_seconds": 0, "preflight": True, "dry_run_first": False, "resolvers": []},
        **{"certificate": str(tmp_path / "fullchain.pem"), "key": str(tmp_path / "privkey.pem"), "status": str(tmp_path / "tls.json")},
        **{"certbot_config": "", "reload_unit": "nginx.service", "retry_seconds": 300},
        **changes,
    }


def config(tmp_path: Path = Path("/nowhere"), **changes: Any) -> Any:
    return tls.Config.parse(json.dumps(settings(tmp_path, **changes)))


def certificate(lifetime: float = 90, left: float = 60, names: tuple[str, ...] = ("blog.example.com", "www.blog.example.com")) -> Any:
    """A certificate of so many days, of which so many are left."""
    ends = NOW + left * DAY
    return tls.Certificate(tuple(sorted(names)), "CN=blog.example.com", "CN=Some CA", ends - lifetime * DAY, ends, "f")


def wanted(cert: Any, **changes: Any) -> list[str]:
    arguments = {"wanted": ["blog.example.com", "www.blog.example.com"], "server": URL, "directory_url": URL, "now": NOW, **changes}
    found: list[str] = tls.reasons(cert, **arguments)
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


def test_a_wrong_clock_does_not_renew_at_every_turn() -> None:
    """[E2] 60 days ahead, a fresh certificate is due again at once: asked for once, and not at the next turn."""
    old = certificate(left=30)
    assert wanted(old, issued_at=NOW - 60 * DAY)
    assert wanted(old, issued_at=NOW) == []
    assert wanted(old, issued_at=NOW - 26 * DAY) == []
    # Whoever adds a name does not have to wait for that.
    assert wanted(old, issued_at=NOW, wanted=["blog.example.com"]) == ["it has other names"]


def test_what_openssl_says_is_understood() -> None:
    text = (
        "subject=CN = blog.example.com\nissuer=C = US, O = Let's Encrypt, CN = E7\nnotBefore=Nov 20 11:32:31 2026 GMT\n"
        "notAfter=Feb 18 11:32:30 2027 GMT\nX509v3 Subject Alternative Name: \n    DNS:www.Blog.example.com, DNS:blog.example.com\n"
    )
    cert = tls.parse_certificate(text, "f")
    assert cert.names == ("blog.example.com", "www.blog.example.com")
    assert cert.issuer == "C=US, O=Let's Encrypt, CN=E7" and round(cert.lifetime / DAY) == 90
    with pytest.raises(tls.CertificateError, match="not understood"):
        tls.parse_certificate("subject=CN = x\n", "f")


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
    assert tls.covered(name, names) is good


# --- Waiting ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "waits"),
    [
        ("preflight", [5, 10, 15, 15]),
        ("unreachable", [5, 10, 20, 40, 60, 60]),
        ("refused", [15, 30, 60, 120, 240, 480, 480]),
        ("limited", [60, 120, 240, 480, 720, 720]),
        ("busy", [5, 5]),
    ],
)
def test_waiting_times_grow_to_a_limit(kind: str, waits: list[int]) -> None:
    """[E2] In minutes: what costs the CA nothing is tried often, a refusal is not."""
    assert [tls.wait_seconds(kind, number, 300) / 60 for number in range(1, len(waits) + 1)] == waits
    # After a year of failures, too.
    assert tls.wait_seconds(kind, 100_000, 300) / 60 == waits[-1]


def test_refusals_stay_below_the_limit_of_lets_encrypt() -> None:
    """[E2] Five failed validations of a name in an hour, and the name is locked: the waiting times alone make three."""
    state, now, times = tls.State(), NOW, []
    while now < NOW + tls.HOUR:
        times.append(now)
        state.failed("certificate", tls.Failure("refused", "no"), now, 300, 0.9)
        now = tls.moment(state.next_try)
    assert len(times) <= 3
    assert tls.refusals_left(times, NOW + 1800) >= 1
    assert tls.refusals_left([NOW - 10, NOW - 20, NOW - 30, NOW - 40], NOW) == 0
    assert tls.refusals_left([NOW - 3700] * 9, NOW) == 4


def test_an_operator_need_not_wait_for_us_but_for_the_ca() -> None:
    """[E2] `run --now` goes past our own waiting time, never past a limit that the CA stated."""
    state = tls.State()
    state.failed("preflight", tls.Failure("preflight", "no"), NOW, 300, 1.0)
    assert state.waiting(NOW + 1, asked=False) == NOW + 300
    assert state.waiting(NOW + 1, asked=True) is None
    state.failed("certificate", tls.Failure("limited", "too many", NOW + 7 * DAY), NOW, 300, 1.0)
    assert state.waiting(NOW + 1, asked=True) == NOW + 7 * DAY
    assert state.waiting(NOW + 7 * DAY + 1, asked=False) is None
    state = tls.State()
    state.failed("certificate", tls.Failure("unreachable", "503", NOW + 7200), NOW, 300, 1.0)
    assert state.waiting(NOW + 1, asked=True) == NOW + 7200, "a CA that is being repaired says when to come back"


def test_failures_of_another_kind_begin_anew() -> None:
    state = tls.State()
    for kind, expected in (("preflight", 1), ("preflight", 2), ("refused", 1), ("refused", 2), ("preflight", 1)):
        state.failed("x", tls.Failure(kind, "no"), NOW, 300, 1.0)
        assert state.failures == expected


def stored(**changes: Any) -> dict[str, Any]:
    """A state as it stands in the file."""
    cfg = config()
    state = {
        **{"wish": cfg.wish, "directory_url": URL, "stage": "certificate", "kind": "limited", "reason": "too many", "failures": 3},
        **{"tried_at": tls.stamp(NOW - 60), "next_try": tls.stamp(NOW + 600), "blocked_until": tls.stamp(NOW + 600)},
        **{"refusals": [tls.stamp(NOW - 60), tls.stamp(NOW - 7200)], "issued_at": tls.stamp(NOW - DAY), "rehearsed": cfg.wish},
    }
    return {**state, **changes}


def test_the_state_survives_the_disk() -> None:
    state = tls.State.of(stored(), config(), NOW)
    assert (state.failures, state.waiting(NOW, True), state.refusals) == (3, NOW + 600, [tls.stamp(NOW - 60)])


def test_another_wish_does_not_wait_for_the_old_one() -> None:
    """[E2] A domain is taken off the list: what failed for the longer list says nothing. The refusals of this hour still count."""
    state = tls.State.of(stored(), config(names=["blog.example.com"]), NOW)
    assert state.failures == 0 and state.waiting(NOW, False) is None and len(state.refusals) == 1 and state.rehearsed == ""
    assert state.issued_at == tls.stamp(NOW - DAY)


def test_another_ca_knows_nothing_of_the_first_ones_limits() -> None:
    state = tls.State.of(stored(), config(directory_url="https://other.example/"), NOW)
    assert state.failures == 0 and state.refusals == [] and state.waiting(NOW, True) is None


@pytest.mark.parametrize("days", [5, 60])
def test_times_that_a_wrong_clock_left_are_forgotten(days: int) -> None:
    """[E2] The clock was ahead and is right again: nothing waits until then."""
    ahead = NOW + days * DAY
    times = {"tried_at": tls.stamp(ahead), "next_try": tls.stamp(ahead + 600), "blocked_until": tls.stamp(ahead + 600)}
    state = tls.State.of(stored(**times, issued_at=tls.stamp(ahead), refusals=[tls.stamp(ahead)]), config(), NOW)
    assert state.waiting(NOW, False) is None and state.issued_at is None and state.refusals == []


@pytest.mark.parametrize("rubbish", [None, 7, [], {"unknown": 1}, {"tried_at": "yesterday", "next_try": 12}])
def test_a_damaged_state_is_a_new_one(rubbish: Any) -> None:
    assert tls.State.of(rubbish, config(), NOW).waiting(NOW, False) is None


# --- What certbot says --------------------------------------------------------------------------

REFUSED = """\
Saving debug log to /var/log/letsencrypt/letsencrypt.log
Requesting a certificate for blog.example.com and www.blog.example.com

Certbot failed to authenticate some domains (authenticator: webroot). The Certificate Authority reported these problems:
  Domain: www.blog.example.com
  Type:   dns
  Detail: DNS problem: query timed out looking up A for www.blog.example.com; DNS problem:
    SERVFAIL looking up AAAA

Hint: The Certificate Authority failed to download the temporary challenge files created by Certbot.

Some challenges have failed.
Ask for help or search for solutions at https://community.letsencrypt.org.
"""
LIMITED = """\
An unexpected error occurred:
too many failed authorizations (5) for \
"blog.example.com" in the last 1h0m0s, retry after 2026-11-18 18:30:00 UTC: see https://letsencrypt.org/docs/rate-limits/
"""
# What certbot's log has at its end; the nonce before it did no harm.
LOG = """\
2026-11-20 12:32:01,1:DEBUG:acme.client:Received response:
HTTP 400
Content-Type: application/problem+json

{"type": "urn:ietf:params:acme:error:badNonce", "detail": "JWS has an invalid anti-replay nonce", "status": 400}
2026-11-20 12:32:01,2:DEBUG:certbot._internal.log:Exiting abnormally:
Traceback (most recent call last):
  File "/usr/lib/python3/dist-packages/acme/client.py", line 1, in _check_response
    raise messages.Error.from_json(jobj)
acme.messages.Error: urn:ietf:params:acme:error:TYPE :: The description :: The detail.
2026-11-20 12:32:01,3:ERROR:certbot._internal.log:An unexpected error occurred:
"""
DOWN = """\
An unexpected error occurred:
requests.exceptions.ConnectionError: HTTPSConnectionPool(host='acme', port=14000): Max retries exceeded with url: /dir \
(Caused by NewConnectionError('<object>: Failed to establish a new connection: [Errno 111] Connection refused'))
Ask for help or search for solutions at https://community.letsencrypt.org.
"""


def test_a_refusal_is_told_by_name() -> None:
    """[E2] Also when the words of the CA sound like one that is down."""
    failure = tls.classify(REFUSED, "HTTP 429\nRetry-After: 60", NOW)
    assert failure.kind == "refused" and failure.until is None
    detail = "DNS problem: query timed out looking up A for www.blog.example.com; DNS problem: SERVFAIL looking up AAAA"
    assert failure.reason == f"www.blog.example.com: {detail} (dns)"


def test_a_limit_is_kept_until_the_ca_says() -> None:
    """[E2] In the words of Let's Encrypt, of its newer form, and in the header that only certbot's log has."""
    until = tls.moment("2026-11-18T18:30:00Z")
    failure = tls.classify(LIMITED, "", until - 3000)
    assert (failure.kind, failure.until) == ("limited", until)
    assert tls.stated_limit("retry after 2026-11-18T18:30:00.123Z", until - 10) == until
    silent = LIMITED.replace("retry after 2026-11-18 18:30:00 UTC", "")
    assert tls.classify(silent, "Received response:\nHTTP 429\nRetry-After: 7200\n\n{}", NOW).until == NOW + 7200
    assert tls.classify(silent, "", NOW).until is None
    # In the past, or so far off that it is no limit.
    assert tls.stated_limit("retry after 2020-01-01 00:00:00 UTC", NOW) is None
    assert tls.stated_limit("Retry-After: 99999999", NOW) is None


@pytest.mark.parametrize(
    ("name", "kind"),
    [("rateLimited", "limited"), ("serverInternal", "unreachable"), ("badNonce", "unreachable"), ("externalAccountRequired", "refused")],
)
def test_the_type_of_the_error_is_in_the_log_alone(name: str, kind: str) -> None:
    """[E2] certbot shows only its details; that of the last error counts, not that of an answer in between."""
    failure = tls.classify("An unexpected error occurred:\nThe detail.\n", LOG.replace("TYPE", name), NOW)
    assert (failure.kind, failure.reason) == (kind, "The detail.")


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (DOWN, "unreachable"),
        ("urn:ietf:params:acme:error:serverInternal :: The server experienced an internal error", "unreachable"),
        ("certbot timed out after 900 s", "unreachable"),
        ("urn:ietf:params:acme:error:badNonce :: The client sent an unacceptable anti-replay nonce", "unreachable"),
        ("Another instance of Certbot is already running.", "busy"),
        ("urn:ietf:params:acme:error:externalAccountRequired :: must include externalAccountBinding", "refused"),
        ("certbot: error: unrecognized arguments: --frobnicate", "broken"),
        ("", "broken"),
    ],
)
def test_kinds_of_failure(said: str, kind: str) -> None:
    failure = tls.classify(said, "", NOW)
    assert failure.kind == kind and failure.reason


def test_the_reason_has_no_greetings() -> None:
    reason = tls.certbot_reason(DOWN)
    assert "Connection refused" in reason and "Ask for help" not in reason and "unexpected" not in reason


# --- The words for certbot ----------------------------------------------------------------------


def test_certbot_is_asked_for_the_names_by_webroot() -> None:
    """[E2] ECDSA P-256, all names; certbot's own timer leaves it alone."""
    words = tls.certbot_arguments(config(), "", dry_run=False)
    text = " ".join(words)
    assert "--domains blog.example.com,www.blog.example.com --renew-with-new-domains --no-autorenew" in text
    assert "--key-type ecdsa --elliptic-curve secp256r1 --webroot --webroot-path /nowhere/webroot --force-renewal" in text
    assert f"--server {URL}" in text and "--config" not in words
    assert tls.certbot_arguments(config(), "", dry_run=True)[-1] == "--dry-run" and "--force-renewal" not in tls.certbot_arguments(
        config(), "", True
    )


def test_certbot_is_asked_by_dns() -> None:
    """[E2] The plugin, its credentials and its time; no webroot."""
    changes: dict[str, Any] = {"dns_plugin": "rfc2136", "dns_credentials": "/etc/blog/tls-dns.ini", "dns_propagation_seconds": 30}
    text = " ".join(tls.certbot_arguments(config(**changes), "", dry_run=False))
    assert "--authenticator dns-rfc2136 --dns-rfc2136-credentials /etc/blog/tls-dns.ini --dns-rfc2136-propagation-seconds 30" in text
    assert "webroot" not in text
    assert "credentials" not in " ".join(tls.certbot_arguments(config(dns_plugin="route53"), "", dry_run=False))


def test_secrets_are_in_a_file_and_profiles_where_certbot_knows_them() -> None:
    """[E2] Nothing secret in the process list."""
    words = tls.certbot_arguments(config(certbot_config="/etc/blog/tls-certbot.ini", profile="shortlived"), "--preferred-profile", False)
    assert words[words.index("--config") + 1] == "/etc/blog/tls-certbot.ini" and not any("eab" in word for word in words)
    assert words[words.index("--preferred-profile") + 1] == "shortlived"
    assert "shortlived" not in tls.certbot_arguments(config(profile="shortlived"), "", False)


@pytest.mark.parametrize("change", [{"source": "buy"}, {"names": []}, {"retry_seconds": 0}, {"retry_seconds": "soon"}, {"names": None}])
def test_an_unusable_configuration_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(tls.CertificateError, match="not usable"):
        config(**change)


# --- DNS ----------------------------------------------------------------------------------------


def reply(question: bytes, records: list[tuple[int, bytes]], code: int = 0, short: bool = False) -> bytes:
    """A name server's answer, with a CNAME first, and names as pointers."""
    head = question[:2] + struct.pack(">HHHHH", 0x8180 | code | (0x0200 if short else 0), 1, len(records), 0, 0)
    body = b"".join(b"\xc0\x0c" + struct.pack(">HHIH", kind, 1, 60, len(data)) + data for kind, data in records)
    return head + question[12:] + body


def test_answers_of_dns() -> None:
    question = tls.dns_query("blog.example.com", "A", 7)
    alias = (5, b"\x03www\xc0\x0c")
    found = tls.dns_answer(reply(question, [alias, (1, bytes([192, 0, 2, 7])), (1, bytes([192, 0, 2, 8]))]), "A", 7)
    assert found == (["192.0.2.7", "192.0.2.8"], "", False)
    question = tls.dns_query("blog.example.com", "AAAA", 8)
    assert tls.dns_answer(reply(question, [(28, b"\x20\x01\x0d\xb8" + b"\0" * 11 + b"\1")]), "AAAA", 8)[0] == ["2001:db8::1"]
    assert "NXDOMAIN" in tls.dns_answer(reply(question, [], code=3), "AAAA", 8)[1]
    assert tls.dns_answer(reply(question, [], short=True), "AAAA", 8)[2]


@pytest.mark.parametrize(
    "data", [b"", b"\0\7", b"\0\7\x81\x80\0\1\0\1\0\0\0\0\xc0", b"\0\7\x81\x80\0\0\0\1\0\0\0\0\0\0\1\0\1\0\0\0\0\0\4\1"]
)
def test_nonsense_of_dns_is_an_error(data: bytes) -> None:
    with pytest.raises(tls.CertificateError):
        tls.dns_answer(data, "A", 7)


def test_an_answer_to_another_question_is_none() -> None:
    question = tls.dns_query("blog.example.com", "A", 7)
    with pytest.raises(tls.CertificateError, match="another question"):
        tls.dns_answer(reply(question, [(1, bytes(4))]), "A", 8)


class Zone(tls.Resolver):  # type: ignore[misc, name-defined]
    """A resolver whose servers are functions of the question's type."""

    def __init__(self, **servers: Callable[[bytes, bool], bytes]) -> None:
        super().__init__(list(servers))
        self.answers = servers

    def _exchange(self, server: str, question: bytes, kind: socket.SocketKind) -> bytes:
        return self.answers[server](question, kind == socket.SOCK_STREAM)


def of_type(question: bytes) -> int:
    return int(struct.unpack(">H", question[-4:-2])[0])


def test_the_second_server_is_asked_when_the_first_is_silent() -> None:
    def silent(question: bytes, tcp: bool) -> bytes:
        raise TimeoutError("timed out")

    def good(question: bytes, tcp: bool) -> bytes:
        return reply(question, [(1, bytes([192, 0, 2, 7]))] if of_type(question) == 1 else [])

    assert Zone(a=silent, b=good).addresses("blog.example.com") == (["192.0.2.7"], "")
    found, problem = Zone(a=silent).addresses("blog.example.com")
    assert found == [] and "a does not answer: timed out" in problem


def test_a_long_answer_is_asked_for_again_by_tcp() -> None:
    def server(question: bytes, tcp: bool) -> bytes:
        return reply(question, [(1, bytes([192, 0, 2, 7]))] if tcp and of_type(question) == 1 else [], short=not tcp)

    assert Zone(a=server).addresses("blog.example.com") == (["192.0.2.7"], "")


def test_a_zone_that_fails_for_one_type_is_a_problem() -> None:
    """[E2] The CA looks at A and AAAA, and refuses when either fails (a broken DNSSEC, for example)."""

    def server(question: bytes, tcp: bool) -> bytes:
        return reply(question, [(1, bytes([192, 0, 2, 7]))]) if of_type(question) == 1 else reply(question, [], code=2)

    found, problem = Zone(a=server).addresses("blog.example.com")
    assert found == ["192.0.2.7"] and "SERVFAIL" in problem


def test_name_servers_of_the_host() -> None:
    assert tls.name_servers("# a\nsearch x\nnameserver 192.0.2.1\nnameserver  2001:db8::53\n") == ["192.0.2.1", "2001:db8::53"]


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
    said = tls.verdict(status, body, "token", "Apache")
    assert said == "" if not words else words in said and "Apache" in said


def test_what_is_wrong_is_said_with_what_it_should_be() -> None:
    """[E2] The name, what it resolves to, and this host's addresses."""
    own = ["203.0.113.7", "2001:db8::7"]
    findings = [
        tls.Finding("blog.example.com", "203.0.113.7"),
        tls.Finding("blog.example.com", "2001:db8::99", "port 80 does not answer: timed out"),
        tls.Finding("www.blog.example.com", problem="has no address in DNS: NXDOMAIN (there is no such name)"),
        tls.Finding("old.example.com", "203.0.113.7", "it answers 404 instead of the token"),
    ]
    blog, www, old = tls.explain(findings, own).split("; ")
    assert blog == (
        "blog.example.com resolves to 2001:db8::99, should be 203.0.113.7 or 2001:db8::7 [2001:db8::99: port 80 does not answer: timed out]"
    )
    assert www == "www.blog.example.com has no address in DNS: NXDOMAIN (there is no such name), should be 203.0.113.7 or 2001:db8::7"
    assert "resolves to 203.0.113.7, which is this host, but it answers 404" in old
    assert tls.explain(findings[:1], own) == ""


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
    wish = config(tmp_path, names=["blog.example.com", "moved.example.com", "circle.example.com", "half.example.com", "none.example.com"])
    names.found["circle.example.com"] = ["192.0.2.7"]
    with web(tmp_path / "webroot", monkeypatch) as asked:
        findings = tls.preflight(wish, names)
    said = {(finding.name, finding.address): finding.problem for finding in findings}
    assert said[("blog.example.com", "192.0.2.7")] == said[("blog.example.com", "2001:db8::bad")] == ""
    assert said[("moved.example.com", "192.0.2.7")] == "", "the CA follows redirects"
    assert "redirects" in said[("circle.example.com", "192.0.2.7")]
    assert said[("half.example.com", "192.0.2.7")] == "" and "timed out" in said[("half.example.com", "192.0.2.66")]
    assert said[("none.example.com", "")] == "has no address in DNS: NXDOMAIN"
    assert len([line for line in asked if line.startswith("blog.example.com/.well-known/acme-challenge/slipway-")]) == 3
    assert list((tmp_path / "webroot" / tls.CHALLENGE).iterdir()) == []


def test_preflight_is_not_fooled_by_another_web_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """[E2] It answers port 80, and lacks the token."""
    (tmp_path / "elsewhere").mkdir()
    with web(tmp_path / "elsewhere", monkeypatch):
        findings = tls.preflight(config(tmp_path, names=["blog.example.com"]), Names(blog_example_com=["192.0.2.7"]))
    assert [finding.problem for finding in findings] and "answers 404 instead of the token" in findings[0].problem


# --- Turns --------------------------------------------------------------------------------------


class Desk:
    """A host without certbot and nginx: what they would do is written here."""

    def __init__(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> None:
        self.folder, self.monkeypatch = tmp_path, monkeypatch
        self.config = config(tmp_path, **changes)
        self.live = tmp_path / "live"
        monkeypatch.setattr(tls.Config, "lineage", property(lambda _: self.live))
        monkeypatch.setattr(tls.Config, "renewal", property(lambda _: tmp_path / "renewal.conf"))
        monkeypatch.setattr(tls.Keeper, "certbot", lambda keeper, option, dry_run: self.certbot(dry_run))
        monkeypatch.setattr(
            tls.Keeper, "compare", lambda keeper: "" if self.served == self.config.certificate.read_text() else "it differs"
        )
        monkeypatch.setattr(tls, "run", self.run)
        monkeypatch.setattr(tls, "preflight", lambda *_: self.findings)
        monkeypatch.setattr(tls, "own_addresses", lambda: ["203.0.113.7"])
        monkeypatch.setattr(tls, "SERVED_TIMEOUT", 0)
        self.clock = time.time()
        monkeypatch.setattr(tls.time, "time", lambda: self.clock)
        self.findings: list[Any] = []
        self.failure: Any = None
        self.served: str = ""
        self.asked: list[str] = []
        self.reloads = 0
        self.nginx_works = True
        for part in ("fullchain", "privkey"):
            (tmp_path / f"placeholder-{part}.pem").write_text(pem(tmp_path, ["blog.example.com"], 3650))
            (tmp_path / f"{part}.pem").symlink_to(tmp_path / f"placeholder-{part}.pem")
        self.served = self.config.certificate.read_text()

    def run(self, argv: list[str], **words: Any) -> tuple[int, str]:
        if argv[:2] == ["systemctl", "reload"]:
            self.reloads += 1
            if self.nginx_works:
                self.served = self.config.certificate.read_text()
            return 0, ""
        if argv[0] in ("systemctl", "nginx"):
            return 0, "" if argv[0] == "systemctl" else 'nginx: [emerg] unknown directive "x"'
        return ORIGINAL_RUN(argv, **words)  # type: ignore[no-any-return]

    def certbot(self, dry_run: bool) -> Any:
        self.asked.append("dry run" if dry_run else "certificate")
        if self.failure is None and not dry_run:
            self.issue()
        return self.failure

    def issue(self, days: float = 90) -> None:
        self.live.mkdir(exist_ok=True)
        for part in ("fullchain", "privkey"):
            (self.live / f"{part}.pem").write_text(pem(self.folder, list(self.config.names), int(days)))
        (self.folder / "renewal.conf").write_text(f"[renewalparams]\nserver = {self.config.directory_url}\n")

    def turn(self, asked: bool = False, force: bool = False) -> Any:
        return tls.Keeper(self.config).turn(asked, force)

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.config.status.read_text())
        return found


ORIGINAL_RUN = tls.run


def pem(folder: Path, names: list[str], days: int) -> str:
    """A new certificate."""
    words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", str(days)]
    words += ["-subj", f"/CN={names[0]}", "-addext", "subjectAltName=" + ",".join(f"DNS:{name}" for name in names)]
    return subprocess.run([*words, "-keyout", str(folder / "key")], check=True, capture_output=True, text=True).stdout


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    return Desk(tmp_path, monkeypatch)


WRONG = tls.Finding("www.blog.example.com", "192.0.2.99", "port 80 does not answer: timed out")


def test_from_placeholder_to_certificate(desk: Desk) -> None:
    """[E2] DNS is wrong first and right later: the CA is asked when it is right, and the certificate is served without anybody."""
    desk.findings = [WRONG]
    first = desk.turn(asked=True)
    assert (first.state, first.exit_status, desk.asked) == ("alarm", 1, []), first
    assert "browsers refuse the placeholder" in first.summary
    assert "www.blog.example.com resolves to 192.0.2.99, should be 203.0.113.7" in first.summary
    desk.clock += 60
    desk.findings = []
    assert desk.turn().state == "alarm" and desk.asked == [], "the waiting time is not over"
    desk.clock += 300
    last = desk.turn()
    assert (last.state, desk.asked, desk.reloads) == ("ok", ["certificate"], 1), last
    assert desk.served == (desk.live / "fullchain.pem").read_text() and desk.config.certificate.readlink() == desk.live / "fullchain.pem"
    status = desk.status()
    assert status["certificate"]["served"] and status["certificate"]["source"] == "acme" and status["attempt"]["failures"] == 0
    assert desk.turn(asked=True).state == "ok" and desk.asked == ["certificate"] and desk.reloads == 1, "the second turn does nothing"


def test_a_ca_that_is_down_changes_nothing_that_is_served(desk: Desk) -> None:
    """[E2] The old certificate stays, attempts go on, and below a third it is an alarm."""
    desk.turn()
    served = desk.served
    desk.failure = tls.Failure("unreachable", "Connection refused")
    desk.clock += 56 * DAY
    trying = desk.turn()
    assert (trying.state, trying.exit_status) == ("trying", 75) and "Connection refused" in trying.summary, trying
    assert len(desk.asked) == 2
    desk.turn()
    assert len(desk.asked) == 2, "not again before its time"
    desk.clock += 5 * DAY
    alarm = desk.turn()
    assert (alarm.state, alarm.exit_status) == ("alarm", 1) and "less than a third" in alarm.summary, alarm
    assert desk.served == served and len(desk.asked) == 3
    desk.failure = None
    desk.clock += 2 * tls.HOUR
    desk.turn()
    assert desk.served != served and len(desk.asked) == 4


def test_a_clock_that_is_ahead_asks_once(desk: Desk) -> None:
    """[E2] 60 days ahead: one renewal, then none at every turn, and the alarm names the clock."""
    desk.turn()
    desk.clock += 61 * DAY
    alarm = desk.turn()
    assert desk.asked == ["certificate"] * 2
    assert alarm.state == "alarm" and "the clock of this host is wrong" in alarm.summary and "timedatectl" in alarm.fix
    for _ in range(5):
        desk.clock += tls.HOUR
        desk.turn()
    assert desk.asked == ["certificate"] * 2
    desk.clock -= 61 * DAY
    assert desk.turn().state == "ok" and desk.asked == ["certificate"] * 2


def test_the_dry_run_comes_first_and_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """[E2] `tls_dry_run_first`: where it fails, production is never asked."""
    desk = Desk(tmp_path, monkeypatch, dry_run_first=True)
    desk.failure = tls.Failure("refused", "CAA record forbids it")
    assert "dry run: CAA record" in desk.turn().summary
    assert desk.asked == ["dry run"]
    desk.failure = None
    desk.turn(asked=True)
    desk.turn(force=True)
    assert desk.asked == ["dry run", "dry run", "certificate", "certificate"]


def test_four_refusals_an_hour_and_no_more(desk: Desk) -> None:
    """[E2] Even for an operator who asks again and again."""
    desk.failure = tls.Failure("refused", "www.blog.example.com: 403 (unauthorized)")
    for _ in range(9):
        desk.clock += 30
        standing = desk.turn(asked=True)
    assert len(desk.asked) == 4
    assert "refused 4 times within the hour" in standing.summary


def test_nginx_that_does_not_take_it_is_an_alarm(desk: Desk) -> None:
    """[E2] The certificate served is compared with the one on the disk; nginx's own words say why it differs."""
    desk.nginx_works = False
    alarm = desk.turn()
    assert alarm.state == "alarm" and "it differs" in alarm.summary and "unknown directive" in alarm.summary, alarm
    assert desk.status()["certificate"]["served"] is False


def test_your_own_certificate_is_watched_and_never_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """[E2] The alarm says what to do with it."""
    desk = Desk(tmp_path, monkeypatch, source="own")
    (tmp_path / "own.pem").write_text(pem(tmp_path, ["*.example.com", "*.blog.example.com"], 90))
    assert desk.turn().state == "ok" and desk.reloads == 1
    assert desk.config.certificate.readlink() == desk.config.key.readlink() == tmp_path / "own.pem"
    desk.clock += 61 * DAY
    alarm = desk.turn(asked=True)
    assert alarm.state == "alarm" and "tls_certificate_file" in alarm.fix and desk.asked == []


def test_a_refused_new_name_leaves_the_old_certificate(desk: Desk) -> None:
    """[E2] A domain is added and does not point here: the others are served as before."""
    desk.turn()
    served = desk.served
    desk.config = config(desk.folder, names=["blog.example.com", "www.blog.example.com", "new.example.com"])
    desk.findings = [tls.Finding("new.example.com", problem="has no address in DNS")]
    trying = desk.turn()
    assert trying.state == "trying" and "new.example.com" in trying.summary and desk.served == served
    desk.findings = []
    assert desk.turn(asked=True).state == "ok" and desk.served != served


def test_news_in_the_journal_have_priorities_and_are_not_repeated(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    """[E2] An alarm is an error to the journal, once in six hours."""
    desk.findings = [WRONG]

    def lines() -> str:
        tls.Keeper(desk.config, journal=True).turn(False, False)
        return capsys.readouterr().out

    assert "<3>alarm: no certificate yet" in lines()
    desk.clock += 60
    assert lines() == ""
    desk.clock += 7 * tls.HOUR
    assert "<3>alarm" in lines()
    desk.findings = []
    desk.clock += tls.HOUR
    assert "<5>ok: " in lines()


def test_an_account_that_the_ca_does_not_know_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """[E2] The CA was built anew: once aside, once again, and not in a circle."""
    monkeypatch.setattr(tls, "ACCOUNTS", tmp_path / "accounts")
    folder = tmp_path / "accounts/ca.example/directory"
    folder.mkdir(parents=True)
    said = [(1, "The detail."), (0, "")]
    monkeypatch.setattr(tls, "run", lambda *_, **__: said.pop(0))
    monkeypatch.setattr(tls, "appended", lambda *_: LOG.replace("TYPE", "accountDoesNotExist"))
    assert tls.Keeper(config(tmp_path)).certbot("", dry_run=False) is None
    assert said == [] and [path.name.partition("-")[0] for path in folder.parent.iterdir()] == ["directory.unknown"]
    said = [(1, "The detail.")]
    assert tls.Keeper(config(tmp_path)).certbot("", dry_run=False).kind == "refused", "there is no account to put aside"


def test_the_command_line(tmp_path: Path) -> None:
    """What cannot work says so, in one line."""
    (tmp_path / "tls.json").write_text("{}")
    words = [sys.executable, str(SOURCE), "--config", str(tmp_path / "tls.json")]
    result = subprocess.run([*words, "check"], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (2, "") and "not usable: KeyError: 'app'" in result.stderr
    (tmp_path / "tls.json").write_text(json.dumps(settings(tmp_path)))
    assert subprocess.run([*words, "check"], check=False).returncode == 0
