# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""What an operator may say of the database (role postgres)."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict

from ansible_collections.slipway.vps.plugins.module_utils.database_url import OTHER, POSTGRESQL, SQLITE, DatabaseUrl, kind_of, parse
from ansible_collections.slipway.vps.plugins.module_utils.postgres_settings import Client, demand, too_few
from ansible_collections.slipway.vps.plugins.module_utils.resolve import (
    SERVER_NAMES,
    is_driver,
    names,
    resolve_server,
    services,
    stated_urls,
)
from ansible_collections.slipway.vps.plugins.module_utils.rules.app import bad_processes
from ansible_collections.slipway.vps.plugins.module_utils.rules.environment import other_server
from ansible_collections.slipway.vps.plugins.module_utils.rules.problem import Problem, Values

#: Fewest characters of a database password that other hosts may try.
PASSWORD_MIN = 16
#: Numbers of other roles that go into the sum of connections.
_COUNTS = (*("server_workers", "server_threads", "postgres_app_hosts", "postgres_connections_admin", "postgres_connections_backup"),)
#: What the sum needs of Gunicorn's settings.
_SERVER = tuple(f"server_{name}" for name in (*SERVER_NAMES.values(), "worker_memory", "memory_share"))
_COUNT = re.compile(r"[1-9]\d{0,5}")


def too_few_connections(values: Values) -> Iterator[Problem]:
    """The app can ask for more connections than PostgreSQL gives.

    Where the number of workers follows from the host's size the role postgres does this sum, before it changes anything.
    """
    custom = values.get("postgres_settings_custom")
    limit = (custom.get("max_connections") if isinstance(custom, Mapping) else None) or values.get("postgres_max_connections", "auto")
    numbers = {
        **{name: limit for name in ("postgres_max_connections",) if str(limit) != "auto"},
        **{name: values[name] for name in _COUNTS if name in values and str(values[name]) != "auto"},
    }
    # Nothing need be kept for others.
    wrong = [
        name for name, value in numbers.items() if not _COUNT.fullmatch(str(value)) and not ("_connections_" in name and str(value) == "0")
    ]
    for name in wrong:
        yield Problem(name, f"is {numbers[name]!r}, and must be a whole number, 1 at least", "write a number")
    share = str(values.get("postgres_memory_share", 0.25))
    if not re.fullmatch(r"0?\.\d*[1-9]\d*|1(\.0*)?", share):
        yield Problem("postgres_memory_share", f"is {share!r}, and must be more than 0 and 1 at most", "write, for example, 0.25")
    if int(values.get("app_database_pool", 0)) < 0:
        yield Problem("app_database_pool", "is less than 0", "write the pool's size, or 0 for as many as there are threads")
        return
    processes = values.get("app_processes", {})
    if wrong or str(limit) == "auto" or "postgres" not in services(values) or any(bad_processes(values)) or any(other_server(values)):
        return
    client = Client(
        str(values.get("app_name", "")),
        asdict(resolve_server(values, 1)),
        int(values.get("postgres_app_hosts") or 1),
        int(values.get("app_database_pool", 0)),
        processes,
    )
    kept = {part: int(values.get(f"postgres_connections_{name}", 5)) for part, name in (("administration", "admin"), ("backup", "backup"))}
    shares = demand([client], None, **kept)
    if shares and (violation := too_few(shares, int(limit))):
        yield Problem(*violation)


def bad_database(values: Values) -> Iterator[Problem]:
    """One database, wherever it is stated, and nobody in between who can pose as it."""
    if "postgres" not in services(values):
        return
    # The others are for the rules of services.py.
    stated = {place: url for place, url in stated_urls(values).items() if kind_of(url) not in (SQLITE, OTHER)}
    known: dict[str, DatabaseUrl] = {}
    for place, url in stated.items():
        variable, _, key = place.partition(" ")
        try:
            known[place] = parse(url)
        except ValueError as error:
            yield Problem(variable, f"{key} will not do: {error}".strip(), _URL_FIX if not key else _NAME_FIX.format(key=key))
    first = next(iter(known), "")
    for place, parts in known.items():
        variable, _, key = place.partition(" ")
        yield from _bad_url(variable, key, parts)
        if parts != known[first]:
            yield Problem(variable, f"{key or 'it'} and {first} name two databases".strip(), "keep one of them")
    if first:
        yield from _other_name(values, first, known[first])
    own = names(values)["app_database_url"]
    if len(known) == len(stated) and (first or kind_of(own) == POSTGRESQL):
        yield from _bad_server(values, known[first] if first else parse(own))


#: What to write instead of a URL that is none.
_URL_FIX = "write postgresql://<role>:<password>@<host>/<database>?sslmode=verify-full&sslrootcert=…"
_NAME_FIX = (
    "{key} is the app's database for backups and migrations too, and they are PostgreSQL's: write postgresql://…, or give it another name"
)


def _other_name(values: Values, place: str, parts: DatabaseUrl) -> Iterator[Problem]:
    """`app_database` and the URL are not two sources."""
    name = values.get("app_database")
    if name and parts.database and str(name) != parts.database:
        yield Problem("app_database", f"is {name}, and {place} names the database {parts.database}", "remove app_database: the URL says it")


def _bad_url(variable: str, key: str, parts: DatabaseUrl) -> Iterator[Problem]:
    subject = f"{key} " if key else ""
    if not parts.database:
        yield Problem(variable, f"{subject}names no database", "write it after the host: postgresql://…/blog")
    if parts.port and not (parts.port.isdigit() and 0 < int(parts.port) < 65536):
        yield Problem(
            variable, f"{subject}has port {parts.port!r}, which is none", "write a number from 1 to 65535, or leave it out for 5432"
        )
    if not parts.local and not parts.verified:
        what = f"sends data and password to whoever answers as {parts.host}: sslmode is {parts.query.get('sslmode') or 'not set'}"
        yield Problem(variable, subject + what, "add ?sslmode=verify-full&sslrootcert=… (see docs/data.md, Another host)")
    elif not parts.local and not parts.query.get("sslrootcert"):
        fix = "add &sslrootcert=/etc/ssl/certs/ca-certificates.crt, or your own CA's file (app_files)"
        yield Problem(variable, f"{subject}asks for a checked certificate, and does not say which CAs are trusted", fix)


def _bad_server(values: Values, parts: DatabaseUrl) -> Iterator[Problem]:
    """A PostgreSQL that other hosts may use."""
    allow = values.get("postgres_allow") or []
    if isinstance(allow, str):
        yield Problem("postgres_allow", f"must be a list, and is {allow!r}", f"write postgres_allow: [{allow}]")
        return
    for address in allow:
        if not _is_network(str(address)):
            fix = "write, for example, [192.0.2.10, 198.51.100.0/24]"
            yield Problem("postgres_allow", f"{address!r} is no address and no network", fix)
    if not allow:
        return
    if parts.local:
        fix = "write into the vault postgresql://<app>_1:<password>@<this host>/<database>?sslmode=verify-full&sslrootcert=…"
        yield Problem("app_database_url", "leads to the app's own host, and postgres_allow lets other hosts in", fix)
    elif not parts.user or len(parts.password) < PASSWORD_MIN:
        fix = "generate one: python3 -c 'import secrets; print(secrets.token_urlsafe(24))'"
        yield Problem("app_database_url", f"needs a role and a password of {PASSWORD_MIN} characters at least", fix)
    elif parts.user in (values.get("app_name"), "postgres"):
        fix = f"use {values.get('app_name')}_1 (and {values.get('app_name')}_2 for the next password: docs/data.md)"
        yield Problem("app_database_url", f"logs in as {parts.user}, which owns the data and has no password", fix)
    for name in ("postgres_tls_certificate_file", "postgres_tls_key_file"):
        if not values.get(name):
            yield Problem(
                name, "is not set, and other hosts may connect: over TLS only", "a path on this machine; docs/data.md shows how to make one"
            )


def _is_network(text: str) -> bool:
    try:
        ipaddress.ip_network(text)
    except ValueError:
        return False
    return True


def bad_driver(values: Values) -> Iterator[Problem]:
    """The driver of the URL that is derived; one that is said names its own."""
    driver = str(values.get("app_database_driver") or "")
    if driver and not is_driver(driver):
        yield Problem(
            "app_database_driver", f"{driver!r} is no name of a driver", "write psycopg, psycopg2, asyncpg or pg8000, or remove it"
        )
    elif driver and "postgres" not in services(values):
        yield Problem("app_database_driver", "is set, and the app uses no PostgreSQL", "remove it")
    elif driver and (stated := next((place for place, url in stated_urls(values).items() if kind_of(url) == POSTGRESQL), "")):
        fix = f"remove it, and write postgresql+{driver}://… there"
        yield Problem("app_database_driver", f"is set, and {stated} is a URL, which names its driver itself", fix)


def gone(values: Values) -> Iterator[Problem]:
    """Variables that have been replaced."""
    if "postgres_shared_buffers" in values:
        fix = f"write postgres_settings_custom: {{shared_buffers: {values['postgres_shared_buffers']}}}, or nothing"
        yield Problem("postgres_shared_buffers", "is no variable any more: the host's memory decides", fix)


RULES = (
    (bad_database, ("app_name", "app_domains", "app_services", "app_database", "app_database_url", "app_env", "app_secrets")),
    (bad_driver, ("app_database_driver", "app_services", "app_database_url", "app_env", "app_secrets")),
    (gone, ()),
    (too_few_connections, ("app_processes", "app_services", "app_env", "app_secrets", "app_database_pool", *_SERVER)),
)
