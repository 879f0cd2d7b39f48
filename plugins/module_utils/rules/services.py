# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""What an app uses of a machine: PostgreSQL, Redis, SQLite in its shared folder, or a database that Slipway does not know."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator

from ansible_collections.slipway.vps.plugins.module_utils.database_url import (
    OTHER,
    POSTGRESQL,
    SQLITE,
    kind_of,
    shown,
    sqlite_file,
    sqlite_url,
)
from ansible_collections.slipway.vps.plugins.module_utils.resolve import (
    DATABASE_NAMES,
    SERVICES,
    database_url,
    is_own_redis,
    names,
    redis_url,
    services,
    stated_urls,
    truthy,
)
from ansible_collections.slipway.vps.plugins.module_utils.rules.problem import Problem, Values

_INPUTS = ("app_name", "app_domains", "app_services", "app_env", "app_secrets", "app_database_url")


def bad_services(values: Values) -> Iterator[Problem]:
    """Each is one that Slipway runs, and named once."""
    said = list(values.get("app_services") or [])
    for service in said:
        if service not in SERVICES:
            fix = f"use {' and '.join(SERVICES)}, or [] for none; SQLite is app_sqlite, another database is a URL in app_secrets"
            yield Problem("app_services", f"{service!r} is no service that Slipway runs", fix)
    for service in sorted({service for service in said if said.count(service) > 1}):
        yield Problem("app_services", f"{service!r} is listed twice", "list each once")


def without_postgres(values: Values) -> Iterator[Problem]:
    """What needs PostgreSQL where it is left out: such a setting would be passed over in silence."""
    if "postgres" in services(values):
        return
    why = "app_services leaves postgres out" if values.get("app_services") is not None else "the app's database is a SQLite file"
    both = "add postgres to app_services" if values.get("app_services") is not None else "write app_services: [postgres, redis] for both"
    for place, url in stated_urls(values).items():
        variable, _, key = place.partition(" ")
        if kind_of(url) == POSTGRESQL:
            fix = f"{both} (a server elsewhere is backed up, too, and only its client is installed), or remove the URL"
            yield Problem(variable, f"{key or 'it'} is PostgreSQL, and {why}", fix)
    for name in ("app_database", "postgres_allow"):
        if values.get(name):
            yield Problem(name, f"is set, and {why}", f"remove it, or {both}")
    if values.get("backup_engine") == "pgbackrest":
        yield Problem("backup_engine", f"is pgbackrest, and {why}", f"remove it, or {both}")


def without_redis(values: Values) -> Iterator[Problem]:
    """The same of Redis."""
    if "redis" in services(values):
        return
    why = "app_services leaves redis out"
    if truthy(values.get("app_redis_cache")):
        fix = "remove it, or add redis to app_services (redis_use: [cache] for a Redis that is a cache and nothing else)"
        yield Problem("app_redis_cache", f"asks for a second Redis, and {why}", fix)
    if is_own_redis(redis_url(values), names(values)["app_redis_socket"]):
        place = next((name for name in ("app_env", "app_secrets") if "REDIS_URL" in (values.get(name) or {})), "app_redis_url")
        yield Problem(place, f"the URL leads to the app's own Redis, and {why}", "add redis to app_services, or remove the URL")


def bad_sqlite(values: Values) -> Iterator[Problem]:
    """A file that every release finds, that the app may write, and that backups hold: below the shared folder."""
    shared = names(values)["app_shared"]
    urls = stated_urls(values)
    for name in ("app_env", "app_secrets"):
        urls.update({f"{name} {key}": str(value) for key, value in (values.get(name) or {}).items()})
    for place, url in urls.items():
        variable, _, key = place.partition(" ")
        if kind_of(url) != SQLITE:
            continue
        path = sqlite_file(url)
        wanted = f"{shared}/{posixpath.basename(path) or values['app_name'] + '.db'}"
        if not path and key in (*DATABASE_NAMES, ""):
            what = f"{key or 'it'} is a SQLite database in memory, which each worker has for itself and a restart empties"
            yield Problem(variable, what, f"write {sqlite_url(url, wanted)}, or remove it for PostgreSQL")
        elif path and not inside(path, shared):
            relative = "" if path.startswith("/") else " (three slashes: a path in the release, which is read-only)"
            what = f"{key or 'it'} is the SQLite file {path}{relative}, not below {shared}: a release would not share it with the next"
            yield Problem(variable, what, f"write {sqlite_url(url, wanted)}, or remove it for PostgreSQL")
    for path in values.get("app_sqlite") or []:
        if not inside(posixpath.join(shared, path), shared):
            yield Problem("app_sqlite", f"{path!r} is no file below {shared}", "write its path below it, for example data/comments.db")


def inside(path: str, folder: str) -> bool:
    """Whether a path is one of a file below ``folder``."""
    return path.startswith(f"{folder}/") and ".." not in path.split("/") and not path.endswith("/") and posixpath.normpath(path) != folder


def unknown_database(values: Values) -> Iterator[Problem]:
    """Another kind of database needs a word of the operator's: nobody backs it up."""
    wanted = services(values)
    for place, url in stated_urls(values).items():
        variable, _, key = place.partition(" ")
        if kind_of(url) == OTHER and "postgres" in wanted:
            kept = [service for service in wanted if service != "postgres"]
            fix = f"write app_services: [{', '.join(kept)}], which says that you keep it elsewhere and back it up yourself; or write postgresql://…"
            yield Problem(variable, f"{key or 'it'} will not do: it does not begin with postgresql://", fix)
        elif not kind_of(url) and "postgres" not in wanted:
            fix = "write one, for example mysql+pymysql://…, with special characters of the password percent-encoded, or remove it"
            yield Problem(variable, f"{key or 'it'} is no URL of a database", fix)


def notes(values: Values) -> Iterator[str]:
    """What a run says of an input that is right, and whose consequence nobody should find out in need."""
    url = database_url(values)
    if kind_of(url) == OTHER:
        yield (
            f"The app's database ({shown(url)}) is not Slipway's: nobody backs it up or restores it here, a deploy takes no restore point"
            " of it before it migrates, and a rollback does not bring its schema back (docs/data.md, Other databases)."
        )


RULES = (
    (bad_services, ("app_services",)),
    (without_postgres, _INPUTS),
    (without_redis, (*_INPUTS, "app_redis_url", "app_redis_cache")),
    (bad_sqlite, (*_INPUTS, "app_sqlite", "app_shared")),
    (unknown_database, _INPUTS),
)
