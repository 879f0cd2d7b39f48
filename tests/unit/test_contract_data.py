"""The contract's rules about the database: its connections, and how it is reached."""

from __future__ import annotations

from typing import Any

import pytest

from .test_contract import check, only

#: 4 workers x 5 connections x 2 releases + 5 + 5 + 3, and the worker's 5 x 2.
NEEDED = 63


def connections(**changes: Any) -> list[Any]:
    return check(**{"gunicorn_workers": 4, "postgres_max_connections": NEEDED, **changes})


def test_connections_that_fit_are_taken() -> None:
    """[D2] Exactly as many as can be asked for."""
    assert connections() == []
    # Computed from what is needed, or not known before the host is looked at: the role postgres does the sum.
    assert connections(postgres_max_connections="auto", gunicorn_workers=400) == []
    assert connections(gunicorn_workers="auto", postgres_max_connections=10) == []


@pytest.mark.parametrize(
    ("changes", "needed"),
    [
        ({"postgres_max_connections": NEEDED - 1}, NEEDED),
        ({"postgres_max_connections": "62"}, NEEDED),
        ({"gunicorn_workers": 5}, NEEDED + 10),
        ({"gunicorn_threads": 5}, NEEDED + 8),
        ({"app_database_pool": 6}, 4 * 6 * 2 + 6 * 2 + 13),
        ({"postgres_app_hosts": 2}, 2 * NEEDED - 13),
        ({"postgres_connections_admin": 6}, NEEDED + 1),
        ({"postgres_connections_backup": 6}, NEEDED + 1),
        ({"app_processes": {"worker": {"command": "celery", "connections": 6}}}, NEEDED + 2),
        ({"app_env": {"WEB_CONCURRENCY": 5, "MAIL_PORT": 25}}, NEEDED + 10),
        ({"postgres_settings_custom": {"max_connections": 50}, "postgres_max_connections": "auto"}, NEEDED),
    ],
)
def test_too_few_connections_are_refused(changes: dict[str, Any], needed: int) -> None:
    """[D2] [K10] With the arithmetic, before anything changes."""
    found = connections(**changes)
    only(found, "postgres_max_connections", f"less than the {needed} connections", "fewer gunicorn_workers")
    assert f"{needed}" in found[0].what.splitlines()[-1] and "x 2 releases" in found[0].what, found


@pytest.mark.parametrize(
    ("variable", "name", "value"),
    [
        *(("postgres_max_connections", "postgres_max_connections", value) for value in ("many", 0, -1, "1e3", [20])),
        *(("gunicorn_workers", "gunicorn_workers", value) for value in ("four", 0, True)),
        ("gunicorn_threads", "gunicorn_threads", "auto four"),
        ("postgres_app_hosts", "postgres_app_hosts", 0),
    ],
)
def test_numbers_that_are_none_are_refused(variable: str, name: str, value: Any) -> None:
    """[K10] Rather than with a traceback of the sum."""
    only(connections(**{name: value}), variable, "must be a whole number, 1 at least", "write a number")


def test_an_environment_that_overrules_gunicorn_is_a_number_too() -> None:
    only(connections(app_env={"WEB_CONCURRENCY": "two", "MAIL_PORT": 25}), "app_env", "(app_env.WEB_CONCURRENCY) is 'two'", "write a number")


def test_a_pool_is_not_negative() -> None:
    only(connections(app_database_pool=-1), "app_database_pool", "less than 0", "0 for as many as there are threads")


@pytest.mark.parametrize("value", [0, "some", -2, None])
def test_a_process_says_its_connections_as_a_number(value: Any) -> None:
    found = connections(app_processes={"worker": {"command": "celery", "connections": value}})
    only(found, "app_processes", "which is no number of 1 or more", "connections: 5")
