"""The contract's rules about the database: its connections, and how it is reached."""

from __future__ import annotations

from typing import Any

import pytest

from .test_contract import check, only

#: 4 workers x 5 connections x 2 releases + 5 + 5 + 3, and the worker's 5 x 2.
NEEDED = 63


def connections(**changes: Any) -> list[Any]:
    return check(**{"server_workers": 4, "postgres_max_connections": NEEDED, **changes})


def test_connections_that_fit_are_taken() -> None:
    """[D2] Exactly as many as can be asked for."""
    assert connections() == []
    # Computed from what is needed, or not known before the host is looked at: the role postgres does the sum.
    assert connections(postgres_max_connections="auto", server_workers=400) == []
    assert connections(server_workers="auto", postgres_max_connections=10) == []


@pytest.mark.parametrize(
    ("changes", "needed"),
    [
        ({"postgres_max_connections": NEEDED - 1}, NEEDED),
        ({"postgres_max_connections": "62"}, NEEDED),
        ({"server_workers": 5}, NEEDED + 10),
        ({"server_threads": 5}, NEEDED + 8),
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
    only(found, "postgres_max_connections", f"less than the {needed} connections", "fewer server_workers")
    assert f"{needed}" in found[0].what.splitlines()[-1] and "x 2 releases" in found[0].what, found


@pytest.mark.parametrize(
    ("variable", "name", "value"),
    [
        *(("postgres_max_connections", "postgres_max_connections", value) for value in ("many", 0, -1, "1e3")),
        *(("server_workers", "server_workers", value) for value in ("four", 0)),
        ("postgres_app_hosts", "postgres_app_hosts", 0),
    ],
)
def test_numbers_that_are_none_are_refused(variable: str, name: str, value: Any) -> None:
    """[K10] Rather than with a traceback of the sum."""
    only(connections(**{name: value}), variable, "must be a whole number, 1 at least", "write a number")


@pytest.mark.parametrize(
    ("name", "value", "what"),
    [
        ("postgres_max_connections", [20], "must be text, and is a list"),
        ("server_workers", True, "must be text, and is the bool True"),
        ("server_threads", "auto four", "must be a whole number, and is 'auto four'"),
        ("server_memory_share", "half", "must be a number, and is 'half'"),
        ("server_worker_class", "gevant", "is 'gevant'"),
    ],
)
def test_numbers_of_another_type_are_refused_once(name: str, value: Any, what: str) -> None:
    """[K10] [F8] By the type that the spec documents; the sum does not see them."""
    only(connections(**{name: value}), name, what, "")


def test_an_environment_that_overrules_gunicorn_is_a_number_too() -> None:
    only(connections(app_env={"WEB_CONCURRENCY": "two", "MAIL_PORT": 25}), "app_env", "WEB_CONCURRENCY is 'two'", "write a number")


def test_an_empty_one_is_none() -> None:
    """As Gunicorn reads it. And nothing need be kept for others."""
    assert (
        connections(app_env={"WEB_CONCURRENCY": "", "MAIL_PORT": 25}, postgres_connections_admin=0, postgres_connections_backup="0") == []
    )


@pytest.mark.parametrize("share", [25, "25%", 0, "0.0", -0.5, 1.5, "", "half", True, [0.5]])
def test_a_share_of_the_memory_is_one(share: Any) -> None:
    """[D1] [K10] 25 for 25 % would ask for more memory than there is, and PostgreSQL would not start."""
    what = "more than 0 and 1 at most" if str(share).lstrip("-").replace(".", "").isdigit() else "must be a number"
    only(check(postgres_memory_share=share), "postgres_memory_share", what, "write")


def test_shares_that_will_do() -> None:
    for share in (0.25, "0.5", 0.05, ".3", 1, 1.0, "0.75"):
        assert check(postgres_memory_share=share) == []


def test_a_pool_is_not_negative() -> None:
    only(connections(app_database_pool=-1), "app_database_pool", "less than 0", "0 for as many as there are threads")


@pytest.mark.parametrize("value", [0, "some", -2, None])
def test_a_process_says_its_connections_as_a_number(value: Any) -> None:
    found = connections(app_processes={"worker": {"command": "celery", "connections": value}})
    only(found, "app_processes", "which is no number of 1 or more", "connections: 5")


# --- Where the database is ----------------------------------------------------------------------

TLS = "sslmode=verify-full&sslrootcert=/etc/ssl/certs/ca-certificates.crt"
PASSWORD = "Yk3-c0-Bq8rT_vL5nW2s"
SERVER: dict[str, Any] = {
    "app_database_url": f"postgresql://blog_1:{PASSWORD}@db.example.com/blog?{TLS}",
    "postgres_allow": ["192.0.2.10", "2001:db8::/64"],
    "postgres_tls_certificate_file": "db.pem",
    "postgres_tls_key_file": "db-key.pem",
}


@pytest.mark.parametrize(
    "url",
    [
        *("postgresql:///blog?host=/run/postgresql", "postgresql://localhost/blog", "postgresql://u:p@127.0.0.1:6432/blog"),
        *(f"postgresql://u:p@db.example.com/blog?{TLS}", f"postgres://u@db/blog?{TLS.replace('full', 'ca')}&sslcert=/x"),
        f"postgresql+psycopg:///blog?host=db.example.com&{TLS}",
    ],
)
def test_database_urls_that_will_do(url: str) -> None:
    """[D1]"""
    assert check(app_database_url=url) == []


@pytest.mark.parametrize(
    ("url", "what", "fix"),
    [
        ("mysql://u:hunter2@h/x", "does not begin with postgresql://", "app_services: [redis]"),
        ("postgresql://u:hun/ter2@h:x/x", "percent-encode", "postgresql://<role>"),
        (f"postgresql://u:hunter2@db/?{TLS}", "names no database", "after the host"),
        ("postgresql://u:hunter2@db.example.com/blog", "whoever answers as db.example.com: sslmode is not set", "sslmode=verify-full"),
        ("postgresql://u:hunter2@db.example.com/blog?sslmode=require", "sslmode is require", "sslmode=verify-full"),
        ("postgresql:///blog?host=192.0.2.7&sslmode=prefer", "whoever answers as 192.0.2.7", "sslmode=verify-full"),
        ("postgresql://u:hunter2@db/blog?sslmode=verify-full", "which CAs are trusted", "ca-certificates.crt"),
    ],
)
def test_database_urls_that_will_not_do(url: str, what: str, fix: str) -> None:
    """[D1] [K10] And none of them is repeated: there is a password in it."""
    found = check(app_database_url=url)
    only(found, "app_database_url", what, fix)
    assert "hunter2" not in str(found) and "ter2" not in str(found)


def test_a_server_for_other_hosts_is_taken() -> None:
    assert check(**SERVER) == []


@pytest.mark.parametrize(
    ("changes", "variable", "what"),
    [
        ({"postgres_allow": "192.0.2.10"}, "postgres_allow", "must be a list"),
        ({"postgres_allow": ["db.example.com"]}, "postgres_allow", "no address and no network"),
        # Host bits that are set: PostgreSQL would read it, and mean another network.
        ({"postgres_allow": ["192.0.2.10/24"]}, "postgres_allow", "no address and no network"),
        ({"app_database_url": "postgresql:///blog?host=/run/postgresql"}, "app_database_url", "leads to the app's own host"),
        ({"app_database_url": SERVER["app_database_url"].replace(PASSWORD, "short")}, "app_database_url", "16 characters at least"),
        ({"app_database_url": SERVER["app_database_url"].replace("blog_1", "")}, "app_database_url", "needs a role and a password"),
        ({"app_database_url": SERVER["app_database_url"].replace("blog_1", "blog")}, "app_database_url", "owns the data"),
        ({"app_database_url": SERVER["app_database_url"].replace("blog_1", "postgres")}, "app_database_url", "owns the data"),
        ({"postgres_tls_certificate_file": ""}, "postgres_tls_certificate_file", "over TLS only"),
        ({"postgres_tls_key_file": ""}, "postgres_tls_key_file", "over TLS only"),
    ],
)
def test_a_server_for_other_hosts_is_refused(changes: dict[str, Any], variable: str, what: str) -> None:
    """[D1] [K10] Over TLS, from named networks, with a role that can be replaced."""
    found = check(**{**SERVER, **changes})
    only(found, variable, what, "")
    assert PASSWORD not in str(found)


def test_a_variable_that_was_replaced_says_by_what() -> None:
    only(check(postgres_shared_buffers="1GB"), "postgres_shared_buffers", "no variable any more", "{shared_buffers: 1GB}")


# --- Former keys --------------------------------------------------------------------------------

KEY, FORMER = "3f8a1c5e9b7d2046f1e8c3a5907b6d4e2f8a1c5e", "9b7d2046f1e8c3a5907b6d4e2f8a1c5e3f8a1c5e"


def keys(fallbacks: Any) -> list[Any]:
    return check(app_secrets={"SECRET_KEY": KEY, "SECRET_KEY_FALLBACKS": fallbacks})


@pytest.mark.parametrize("fallbacks", ["", FORMER, f"{FORMER}, {KEY}"])
def test_former_keys_that_will_do(fallbacks: str) -> None:
    """[A11]"""
    assert keys(fallbacks) == []


@pytest.mark.parametrize("fallbacks", ["dev", f"{FORMER},short", "a" * 40, "change-me-change-me-change-me-change-me"])
def test_a_weak_former_key_is_refused(fallbacks: str) -> None:
    """[A11] What it signs is believed, as with the key itself."""
    only(keys(fallbacks), "app_secrets", "SECRET_KEY_FALLBACKS holds a weak key", "remove it")


def test_former_keys_are_secret() -> None:
    """[A11]"""
    only(
        check(app_env={"SECRET_KEY_FALLBACKS": FORMER, "MAIL_PORT": 25}),
        "app_env",
        "SECRET_KEY_FALLBACKS is a secret",
        "move it to app_secrets",
    )


# --- Redis --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        *({"redis_use": use} for use in (["sessions"], ["queue", "sessions"], ["cache"])),
        *({"redis_maxmemory": size} for size in ("128mb", "1GB", "64m", "500kb")),
        {"redis_maxmemory_policy": "volatile-ttl", "redis_persistence": "none", "redis_cache_maxmemory": "1gb"},
    ],
)
def test_redis_as_it_may_be(changes: dict[str, Any]) -> None:
    assert check(**changes) == []


@pytest.mark.parametrize(
    ("name", "value", "what", "fix"),
    [
        ("redis_use", ["sessions", "cache"], "one Redis has one policy", "app_redis_cache: true"),
        ("redis_use", ["cache", "queue"], "one Redis has one policy", "app_redis_cache: true"),
        ("redis_use", "sessions", "must be a list, and is text", "redis_use: [sessions]"),
        ("redis_use", ["locks"], "is not a list of", "[sessions, queue]"),
        ("redis_use", [], "is empty", "app_services: [postgres]"),
        ("redis_maxmemory_policy", "lru", "none of Redis's policies", "allkeys-lru"),
        ("redis_persistence", "rdb", "is unknown", "aof or none"),
        *(("redis_maxmemory", value, "no size with its unit", "128mb") for value in ("128", 128, "0", "0mb", "128 mb", "12.5mb")),
        ("redis_cache_maxmemory", "128", "no size with its unit", "redis_cache_maxmemory: 128mb"),
    ],
)
def test_redis_as_it_may_not_be(name: str, value: Any, what: str, fix: str) -> None:
    """[D4] [K10] Redis itself would take some of these, and forget sessions or fill up at once."""
    only(check(**{name: value}), name, what, fix)
