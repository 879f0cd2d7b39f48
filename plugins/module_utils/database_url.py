# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""The URL of the app's database: where it leads, what is secret in it, and how it is told to libpq."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit, urlunsplit

_SCHEME = re.compile(r"postgres(ql)?(\+\w+)?")
#: SQLite's, as SQLAlchemy, Django and Celery's result backend spell it.
_SQLITE = re.compile(r"(?:db\+)?sqlite3?(?:\+\w+)?:(.*)", re.DOTALL)
#: What a URL leads to.
POSTGRESQL, SQLITE, OTHER = "postgresql", "sqlite", "other"
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
#: Parameters of a URL that libpq has a variable for, besides those of `DatabaseUrl`.
_VARIABLES = {
    **{name: f"PG{name.upper()}" for name in ("sslmode", "sslrootcert", "sslcert", "sslkey", "options")},
    **{"channel_binding": "PGCHANNELBINDING", "target_session_attrs": "PGTARGETSESSIONATTRS"},
}


class DatabaseUrl(NamedTuple):
    """Its parts, as text; empty where the URL does not say."""

    user: str
    password: str
    host: str
    port: str
    database: str
    query: dict[str, str]

    @property
    def over_socket(self) -> bool:
        """The database is on this host, and the kernel says who connects."""
        return not self.host or self.host.startswith("/")

    @property
    def local(self) -> bool:
        """Nothing leaves the host."""
        return self.over_socket or self.host in _LOOPBACK

    @property
    def verified(self) -> bool:
        """The client checks whom it talks to."""
        return self.query.get("sslmode") in ("verify-ca", "verify-full")


def parse(url: str) -> DatabaseUrl:
    """The parts of ``url``; ValueError, which does not repeat it, when it is no PostgreSQL URL."""
    try:
        parts = urlsplit(url)
        port = "" if parts.port is None else str(parts.port)
    except ValueError as error:
        raise ValueError("it cannot be read as a URL (percent-encode special characters of the password)") from error
    if not _SCHEME.fullmatch(parts.scheme) or not url.startswith(f"{parts.scheme}://"):
        raise ValueError("it does not begin with postgresql://")
    query = {key: values[0] for key, values in parse_qs(parts.query).items()}
    return DatabaseUrl(
        user=unquote(parts.username or "") or query.pop("user", ""),
        password=unquote(parts.password or "") or query.pop("password", ""),
        host=query.pop("host", "") or unquote(parts.hostname or ""),
        port=port or query.pop("port", ""),
        database=unquote(parts.path.lstrip("/")) or query.pop("dbname", ""),
        query=query,
    )


def kind_of(url: str) -> str:
    """What ``url`` leads to: PostgreSQL, SQLite, another database; empty when it is no URL."""
    if _SQLITE.fullmatch(url):
        return SQLITE
    scheme, _, rest = url.partition("://")
    if _SCHEME.fullmatch(scheme):
        # What is wrong with the rest is for `parse` to say.
        return POSTGRESQL
    return OTHER if rest and readable(url, {scheme.lower()}) else ""


def sqlite_file(url: str) -> str:
    """The file of a SQLite URL: absolute with four slashes, relative with three; empty for one in memory, or no SQLite URL."""
    match = _SQLITE.fullmatch(url)
    path = match[1].partition("?")[0].removeprefix("//") if match else ""
    path = path.removeprefix("/").removeprefix("file:")
    return "" if path == ":memory:" else path


def sqlite_url(url: str, path: str) -> str:
    """The URL of the file ``path``, which is absolute, in the spelling of ``url``."""
    return f"{url.partition(':')[0]}:///{path}"


def shown(url: str) -> str:
    """What may be shown of the URL of a database that Slipway does not know: such URLs hide passwords in many places."""
    parts = urlsplit(url)
    return f"{parts.scheme} on {parts.hostname or 'this host'}"


def readable(url: str, schemes: Collection[str]) -> bool:
    """Whether ``url`` can be read as a URL of one of these schemes."""
    try:
        parts = urlsplit(url)
        return url.lower().startswith(f"{parts.scheme}://") and parts.scheme in schemes and (parts.port or 1) > 0
    except ValueError:
        return False


def without_password(url: str) -> str:
    """``url`` as it may be shown."""
    if kind_of(url) == SQLITE:
        return url
    parts = urlsplit(url)
    login, at, host = parts.netloc.rpartition("@")
    query = "&".join(pair for pair in parts.query.split("&") if not pair.startswith("password="))
    # An empty host (a socket) keeps its slashes: `urlunsplit` would leave them out.
    shown = urlunsplit(("", "", parts.path, query, parts.fragment))
    return f"{parts.scheme}://{login.partition(':')[0]}{at}{host}{shown}"


def libpq(url: str) -> dict[str, str]:
    """libpq's variables for ``url``: unlike an argument they do not show in the list of processes."""
    parts = parse(url)
    values = {
        "PGDATABASE": parts.database,
        "PGHOST": parts.host,
        "PGPORT": parts.port,
        "PGUSER": parts.user,
        "PGPASSWORD": parts.password,
        "PGCONNECT_TIMEOUT": "5",
        **{variable: parts.query.get(name, "") for name, variable in _VARIABLES.items()},
    }
    return {key: value for key, value in values.items() if value}
