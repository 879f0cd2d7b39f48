# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""The distribution's Redis on its TCP port, which Slipway's own do not need."""

from __future__ import annotations

from collections.abc import Iterator

from ..facts import Facts, Redis
from ..finding import LEAVE, REPLACE, Finding, count
from ..needs import REDIS_PORT, REDIS_UNIT, Needs
from .ports import who

#: A snapshot of nothing has about this many bytes.
EMPTY = 200


def findings(facts: Facts, needs: Needs) -> Iterator[Finding]:
    """It is stopped without a question only when it runs, holds nothing, and nobody is connected."""
    if not needs.redis:
        return
    redis, id_ = facts.redis, f"port:{REDIS_PORT}"
    if _in_use(redis):
        if not redis.active:
            seen = f"not running, started at boot, {redis.size} bytes on the disk"
        elif redis.keys is None:
            seen = "it does not say what it holds (a password?)"
        else:
            seen = f"{count(redis.keys, 'key')}, {count(redis.clients or 0, 'client')} connected now"
        yield Finding(
            id_,
            "Redis is here already, and somebody uses it; the apps' own have sockets and no port",
            f"{REDIS_UNIT}: {seen}",
            {
                LEAVE: f"{REDIS_UNIT} goes on as it is, beside the apps' own",
                REPLACE: f"{REDIS_UNIT} is stopped and disabled; its data stay in /var/lib/redis",
            },
        )
    for holder in (one for one in facts.listeners if one.port == REDIS_PORT and one.unit != REDIS_UNIT):
        what = (
            f"{holder.process or 'another program'} listens on port {REDIS_PORT}, and stays: the apps' own Redis have sockets and no port"
        )
        yield Finding(id_, what, who([holder]), {LEAVE: "this is not said again"}, refuses=False)


def _in_use(redis: Redis) -> bool:
    if redis.active:
        return redis.keys != 0 or redis.clients != 0
    return redis.enabled and redis.size > EMPTY
