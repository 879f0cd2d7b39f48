"""Whether a new release does worse than the one before it: what is counted, and what is enough for a verdict."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.slipway.vps.plugins.module_utils.burnin import FEWEST, Tally, tally, verdict

TRACEBACK = "Traceback (most recent call last):"


def access(status: Any, **more: Any) -> str:
    """A line of Gunicorn's access log as the role server writes it."""
    return json.dumps({"logger": "gunicorn.access", "status": status, **more}, separators=(",", ":"))


def test_requests_and_failed_ones_are_counted() -> None:
    """[S1] Only 5xx are the app's fault; the status may be text or a number."""
    assert tally([access(status) for status in (200, 302, 404, 499, 500, "503", "200", 599)]) == Tally(8, 3, 0)
    assert tally([]) == Tally(0, 0, 0)


@pytest.mark.parametrize(
    "line",
    [
        *("", "booting", '{"logger":"app","status":500}', '{"logger":"gunicorn.access"', '{"logger":"gunicorn.access"}'),
        *(access("-"), access(None), f"app says {access(500)}"),
    ],
)
def test_other_lines_are_no_requests(line: str) -> None:
    """[S1] The app's own lines, and one that was torn, stop nothing."""
    assert tally([line, access(200)]) == Tally(1, 0, 0)


def test_tracebacks_are_counted_once_each() -> None:
    """[S1] As text over several lines, or within one JSON line of the app's own logger; not in what a visitor asked for."""
    lines = [TRACEBACK, '  File "x.py", line 1', "ValueError", json.dumps({"logger": "app", "exc": f"{TRACEBACK}\n  File"})]
    assert tally(lines) == Tally(0, 0, 2)
    assert tally([access(200, path=f"/?q={TRACEBACK}")]) == Tally(1, 0, 0)


def test_tallies_add_up() -> None:
    assert Tally(1, 2, 3).plus(Tally(10, 20, 30)) == Tally(11, 22, 33)


def test_a_tally_says_what_was_seen() -> None:
    """[S1] Also when nobody came: a quiet burn-in says little."""
    assert Tally(8, 2, 1).said() == "8 requests, 2 answered 5xx, 1 tracebacks"
    assert Tally().said().startswith("0 requests")


@pytest.mark.parametrize(
    ("new", "old", "worse"),
    [
        # Nothing wrong, or nothing at all.
        (Tally(), Tally(), False),
        (Tally(100), Tally(100), False),
        # Too few to be anybody's fault.
        (Tally(FEWEST - 1, FEWEST - 1, FEWEST - 1), Tally(100), False),
        (Tally(FEWEST, FEWEST), Tally(100), True),
        # After one that nobody asked anything.
        (Tally(100, 5), Tally(), False),
        (Tally(100, 6), Tally(), True),
        # The same trouble as before, and more.
        (Tally(100, 50), Tally(100, 50), False),
        (Tally(100, 50), Tally(10, 5), False),
        (Tally(100, 54), Tally(100, 50), False),
        (Tally(100, 56), Tally(100, 50), True),
        (Tally(100, 50), Tally(1000, 50), True),
        # Better than the old one.
        (Tally(100, 10), Tally(100, 90), False),
        # Tracebacks, also outside of any request.
        (Tally(100, 0, 6), Tally(100), True),
        (Tally(100, 0, 6), Tally(100, 0, 6), False),
        (Tally(0, 0, 3), Tally(), True),
        (Tally(0, 0, 3), Tally(0, 0, 3), False),
        (Tally(0, 0, 3), Tally(50, 0, 0), True),
    ],
)
def test_the_verdict(new: Tally, old: Tally, worse: bool) -> None:
    """[S1] A larger share than the old one's plus the tolerance, and more than a few."""
    assert (verdict(new, old, 0.05) is not None) is worse


def test_the_tolerance_is_a_share() -> None:
    assert verdict(Tally(100, 30), Tally(), 0.3) is None and verdict(Tally(100, 31), Tally(), 0.3)
    assert verdict(Tally(100, 100), Tally(), 1.0) is None


def test_the_verdict_says_what_was_compared() -> None:
    """[S1] In numbers that an operator can judge."""
    alone = "the new release answered 5xx in 50% of 20 requests"
    assert verdict(Tally(20, 10), Tally(200, 4), 0.05) == f"{alone}, the release before in 2% of 200"
    assert verdict(Tally(20, 10), Tally(), 0.05) == alone
    assert verdict(Tally(20, 0, 10), Tally(), 0.05) == "the new release raised in 50% of 20 requests"
    # No share is more than all of it.
    assert verdict(Tally(0, 0, 3), Tally(), 0.05) == "the new release raised in 100% of 0 requests"
    assert verdict(Tally(100, 0, 3), Tally(1, 0, 500), 0.05) is None
