# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""What an operator may say of the app's Redis (role redis)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ansible_collections.slipway.vps.plugins.module_utils.database_url import readable
from ansible_collections.slipway.vps.plugins.module_utils.redis_url import LIMITS
from ansible_collections.slipway.vps.plugins.module_utils.resolve import REDIS_SCHEMES
from ansible_collections.slipway.vps.plugins.module_utils.rules.problem import Problem, Values

_POLICIES = (
    *("noeviction", "allkeys-lru", "allkeys-lfu", "allkeys-random", "volatile-lru", "volatile-lfu", "volatile-random", "volatile-ttl"),
)


def bad_redis(values: Values) -> Iterator[Problem]:
    """One Redis has one policy: what must not be forgotten and what may be do not go together."""
    use = values.get("redis_use", ["sessions", "queue"])
    if use == []:
        yield Problem("redis_use", "is empty", "write app_services: [postgres] for an app without Redis, or [] for one without either")
    elif not isinstance(use, list) or set(map(str, use)) - {"sessions", "queue", "cache"}:
        yield Problem("redis_use", f"{use!r} is not a list of sessions, queue, cache", "write, for example, redis_use: [sessions, queue]")
    elif "cache" in use and len(set(use)) > 1:
        fix = "write redis_use: [sessions, queue] and app_redis_cache: true (a second Redis, REDIS_CACHE_URL)"
        yield Problem("redis_use", "mixes a cache with what must not be forgotten, and one Redis has one policy for all it holds", fix)
    if (policy := values.get("redis_maxmemory_policy", _POLICIES[0])) not in _POLICIES:
        yield Problem("redis_maxmemory_policy", f"{policy!r} is none of Redis's policies", f"use one of {', '.join(_POLICIES)}")
    if (persistence := values.get("redis_persistence", "aof")) not in ("aof", "none"):
        yield Problem("redis_persistence", f"{persistence!r} is unknown", "use aof or none")
    for name in ("redis_maxmemory", "redis_cache_maxmemory"):
        # Redis takes 0 for "no limit", and a number without a unit for bytes: 128 would be full at once.
        if not re.fullmatch(r"[1-9]\d*(kb?|mb?|gb?)", str(values.get(name, "1mb")).lower()):
            yield Problem(name, f"{values[name]!r} is no size with its unit", f"write, for example, {name}: 128mb")


def bad_spelling(values: Values) -> Iterator[Problem]:
    """What is said in a library's spelling is a URL, too."""
    for name in ("app_redis_kombu_url", "app_redis_limits_url"):
        if values.get(name) and not readable(values[name], (*REDIS_SCHEMES, LIMITS)):
            yield Problem(name, "is no URL of a Redis", "remove it: it follows from REDIS_URL")


RULES = ((bad_redis, ()), (bad_spelling, ("app_redis_kombu_url", "app_redis_limits_url")))
