"""When and what is upgraded: what the controller refuses."""

from __future__ import annotations

from typing import Any

import pytest

from .test_contract import check


@pytest.mark.parametrize(
    "said",
    [
        {"updates_hour": 0, "updates_window_hours": 12, "updates_spread_minutes": 0, "updates_reboot": "04:30"},
        {"updates_hour": "23", "updates_reboot": "never"},
        {"updates_origins_custom": ["site=apt.postgresql.org", "origin=Debian,codename=${distro_codename},label=Debian"]},
        {"updates_exclude": ["linux-image-", "postgresql-1[57]$"]},
    ],
)
def test_what_is_right_is_taken(said: dict[str, Any]) -> None:
    """[K10] Nothing is refused that is right."""
    assert check(**said) == []


@pytest.mark.parametrize(
    ("said", "what", "fix"),
    [
        ({"updates_hour": 24}, "is 24", "0 to 23"),
        ({"updates_window_hours": 0}, "is 0", "1 to 12"),
        ({"updates_spread_minutes": 1000}, "is 1000", "0 to 720"),
        # YAML reads 14:30 without quotes as 870.
        ({"updates_reboot": 870}, "the number 870", '"14:30"'),
        ({"updates_reboot": "4:30"}, "no time of the day", '"04:30"'),
        ({"updates_reboot": "always"}, "no time of the day", "never"),
        ({"updates_origins": ["Debian"]}, "no pattern", "site="),
        ({"updates_origins_custom": ['site=x"; };']}, "no pattern", "site="),
        ({"updates_exclude": ["linux("]}, "no regular expression", "linux-image-"),
        ({"updates_exclude": ['x"']}, "quotation mark", "leave it out"),
    ],
)
def test_what_would_be_read_otherwise_is_refused(said: dict[str, Any], what: str, fix: str) -> None:
    """[K10] [F8] With the variable and what to write."""
    (problem,) = check(**said)
    assert problem.variable == next(iter(said)) and what in problem.what and fix in problem.fix, problem
