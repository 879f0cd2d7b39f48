# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""The distribution's Redis on its TCP port, which Slipway's own do not need."""

from __future__ import annotations

from collections.abc import Iterator

from ..asked import REDIS_PORT, REDIS_UNIT, Asked
from ..facts import Facts
from ..finding import LEAVE, REPLACE, Finding, count

#: A snapshot of nothing has about this many bytes.
EMPTY = 200


def findings(facts: Facts, asked: Asked) -> Iterator[Finding]:
    """It is stopped without a question only when it runs, holds nothing, and nobody is connected."""
    redis = facts.redis
    if not asked.redis or not (redis.active or redis.enabled):
        return
    if redis.active and redis.keys == 0 and redis.clients == 0:
        return
    if not redis.active and redis.size <= EMPTY:
        return
    if redis.active and redis.keys is None:
        seen = "it does not say what it holds (a password?)"
    elif redis.active:
        seen = f"{count(redis.keys or 0, 'key')}, {count(redis.clients or 0, 'client')} connected now"
    else:
        seen = f"not running, started at boot, {redis.size} bytes on the disk"
    yield Finding(
        f"port:{REDIS_PORT}",
        f"Redis is here already on port {REDIS_PORT}, and somebody uses it; the apps' own have sockets and no port",
        f"{REDIS_UNIT}: {seen}",
        {
            LEAVE: f"{REDIS_UNIT} goes on as it is, beside the apps' own",
            REPLACE: f"{REDIS_UNIT} is stopped and disabled; its data stay in /var/lib/redis",
        },
    )
