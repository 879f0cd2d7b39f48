# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""The URL of a Redis in the spelling of each client library: over a Unix socket no two of them agree.

Tried with celery 5.7, kombu 5.7, limits 5.8, redis 8.1, rq 3.0, Flask-Caching 2.5, Flask-Session 0.8 and Flask-SocketIO 5.7
(tests/unit/test_redis_url.py holds the table, and tries those that are installed).
"""

from __future__ import annotations

from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

#: Kombu: Celery, and Flask-SocketIO's queue, which goes through Kombu on a socket.
KOMBU = "redis+socket"
#: limits: Flask-Limiter.
LIMITS = "redis+unix"
#: redis-py: RQ, Flask-Caching, Flask-Session.
PLAIN = "unix"
#: What each spelling calls the number of the database.
_DATABASE = {KOMBU: "virtual_host", LIMITS: "db", PLAIN: "db"}


def spelled(url: str, scheme: str) -> str:
    """``url`` as a library takes it whose scheme for a socket is ``scheme``; of a Redis over TCP all spell it alike."""
    try:
        parts = urlsplit(url)
    except ValueError:
        # The contract refuses it, and says why.
        return url
    query = dict(parse_qsl(parts.query))
    if parts.scheme in ("redis", "rediss"):
        if parts.scheme == "rediss" and scheme == KOMBU and "ssl_cert_reqs" not in query:
            # Kombu would trust whoever answers.
            return urlunsplit(parts._replace(query=urlencode({**query, "ssl_cert_reqs": "required"})))
        return url
    number = query.pop("db", "") or query.pop("virtual_host", "") or "0"
    login, at, _ = parts.netloc.rpartition("@")
    return f"{scheme}://{login}{at}{parts.path}?{urlencode({_DATABASE[scheme]: number, **query})}"


def stays_here(url: str) -> bool:
    """Whether nothing leaves the host on the way to it."""
    try:
        return urlsplit(url).hostname in (None, "localhost", "127.0.0.1", "::1") or urlsplit(url).scheme not in ("redis", "rediss")
    except ValueError:
        return True
