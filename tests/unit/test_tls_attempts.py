"""Attempts that failed: what certbot's words mean, how long is waited, and what is remembered."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core.clock import HOUR, moment, stamp
from ansible_collections.slipway.vps.plugins.module_utils.slipway.tls import attempts

from .tls_desk import DAY, NOW, URL, config


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
    assert [attempts.wait_seconds(kind, number, 300) / 60 for number in range(1, len(waits) + 1)] == waits
    # After a year of failures, too.
    assert attempts.wait_seconds(kind, 100_000, 300) / 60 == waits[-1]


def test_refusals_stay_below_the_limit_of_lets_encrypt() -> None:
    """[E2] Five failed validations of a name in an hour, and the name is locked: the waiting times alone make three."""
    state, now, times = attempts.State(), NOW, []
    while now < NOW + HOUR:
        times.append(now)
        state.failed("certificate", attempts.Failure("refused", "no"), now, 300, 0.9)
        now = moment(state.next_try) or 0
    assert len(times) <= 3
    assert attempts.refusals_left(times, NOW + 1800) >= 1
    assert attempts.refusals_left([NOW - 10, NOW - 20, NOW - 30, NOW - 40], NOW) == 0
    assert attempts.refusals_left([NOW - 3700] * 9, NOW) == 4


def test_an_operator_need_not_wait_for_us_but_for_the_ca() -> None:
    """[E2] `run --now` goes past our own waiting time, never past a limit that the CA stated."""
    state = attempts.State()
    state.failed("preflight", attempts.Failure("preflight", "no"), NOW, 300, 1.0)
    assert state.waiting(NOW + 1, asked=False) == NOW + 300
    assert state.waiting(NOW + 1, asked=True) is None
    state.failed("certificate", attempts.Failure("limited", "too many", NOW + 7 * DAY), NOW, 300, 1.0)
    assert state.waiting(NOW + 1, asked=True) == NOW + 7 * DAY
    assert state.waiting(NOW + 7 * DAY + 1, asked=False) is None
    state = attempts.State()
    state.failed("certificate", attempts.Failure("unreachable", "503", NOW + 7200), NOW, 300, 1.0)
    assert state.waiting(NOW + 1, asked=True) == NOW + 7200, "a CA that is being repaired says when to come back"


def test_failures_of_another_kind_begin_anew() -> None:
    state = attempts.State()
    for kind, expected in (("preflight", 1), ("preflight", 2), ("refused", 1), ("refused", 2), ("preflight", 1)):
        state.failed("x", attempts.Failure(kind, "no"), NOW, 300, 1.0)
        assert state.failures == expected


def stored(**changes: Any) -> dict[str, Any]:
    """A state as it stands in the file."""
    cfg = config()
    state = {
        **{"desired": cfg.desired, "directory_url": URL, "stage": "certificate", "kind": "limited", "reason": "too many", "failures": 3},
        **{"tried_at": stamp(NOW - 60), "next_try": stamp(NOW + 600), "blocked_until": stamp(NOW + 600)},
        **{"refusals": [stamp(NOW - 60), stamp(NOW - 7200)], "issued_at": stamp(NOW - DAY), "rehearsed": cfg.desired},
    }
    return {**state, **changes}


def test_the_state_survives_the_disk() -> None:
    state = attempts.State.of(stored(), config(), NOW)
    assert (state.failures, state.waiting(NOW, True), state.refusals) == (3, NOW + 600, [stamp(NOW - 60)])


def test_another_desired_state_does_not_wait_for_the_old_one() -> None:
    """[E2] A domain is taken off the list: what failed for the longer list says nothing. The refusals of this hour still count."""
    state = attempts.State.of(stored(), config(names=["blog.example.com"]), NOW)
    assert state.failures == 0 and state.waiting(NOW, False) is None and len(state.refusals) == 1 and state.rehearsed == ""
    assert state.issued_at == stamp(NOW - DAY)


def test_another_ca_knows_nothing_of_the_first_ones_limits() -> None:
    state = attempts.State.of(stored(), config(directory_url="https://other.example/"), NOW)
    assert state.failures == 0 and state.refusals == [] and state.waiting(NOW, True) is None


@pytest.mark.parametrize("days", [5, 60])
def test_times_that_a_wrong_clock_left_are_forgotten(days: int) -> None:
    """[E2] The clock was ahead and is right again: nothing waits until then."""
    ahead = NOW + days * DAY
    times = {"tried_at": stamp(ahead), "next_try": stamp(ahead + 600), "blocked_until": stamp(ahead + 600)}
    state = attempts.State.of(stored(**times, issued_at=stamp(ahead), refusals=[stamp(ahead)]), config(), NOW)
    assert state.waiting(NOW, False) is None and state.issued_at is None and state.refusals == []


@pytest.mark.parametrize("rubbish", [None, 7, [], {"unknown": 1}, {"tried_at": "yesterday", "next_try": 12}])
def test_a_damaged_state_is_a_new_one(rubbish: Any) -> None:
    assert attempts.State.of(rubbish, config(), NOW).waiting(NOW, False) is None


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
    failure = attempts.classify(REFUSED, "HTTP 429\nRetry-After: 60", NOW)
    assert failure.kind == "refused" and failure.until is None
    detail = "DNS problem: query timed out looking up A for www.blog.example.com; DNS problem: SERVFAIL looking up AAAA"
    assert failure.reason == f"www.blog.example.com: {detail} (dns)"


def test_a_limit_is_kept_until_the_ca_says() -> None:
    """[E2] In the words of Let's Encrypt, of its newer form, and in the header that only certbot's log has."""
    until = moment("2026-11-18T18:30:00Z") or 0
    failure = attempts.classify(LIMITED, "", until - 3000)
    assert (failure.kind, failure.until) == ("limited", until)
    assert attempts.stated_limit("retry after 2026-11-18T18:30:00.123Z", until - 10) == until
    silent = LIMITED.replace("retry after 2026-11-18 18:30:00 UTC", "")
    assert attempts.classify(silent, "Received response:\nHTTP 429\nRetry-After: 7200\n\n{}", NOW).until == NOW + 7200
    assert attempts.classify(silent, "", NOW).until is None
    # In the past, or so far off that it is no limit.
    assert attempts.stated_limit("retry after 2020-01-01 00:00:00 UTC", NOW) is None
    assert attempts.stated_limit("Retry-After: 99999999", NOW) is None


@pytest.mark.parametrize(
    ("name", "kind"),
    [("rateLimited", "limited"), ("serverInternal", "unreachable"), ("badNonce", "unreachable"), ("externalAccountRequired", "refused")],
)
def test_the_type_of_the_error_is_in_the_log_alone(name: str, kind: str) -> None:
    """[E2] certbot shows only its details; that of the last error counts, not that of an answer in between."""
    failure = attempts.classify("An unexpected error occurred:\nThe detail.\n", LOG.replace("TYPE", name), NOW)
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
    failure = attempts.classify(said, "", NOW)
    assert failure.kind == kind and failure.reason


def test_the_reason_has_no_greetings() -> None:
    reason = attempts.certbot_reason(DOWN)
    assert "Connection refused" in reason and "Ask for help" not in reason and "unexpected" not in reason
