# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""The Redis of the distribution's own unit, which roles/redis stops: whether anybody keeps something in it, or uses it now."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from ..facts import Redis
from ..needs import REDIS_PORT
from .host import Host


def gather(host: Host, active: bool, enabled: bool) -> Redis:
    """
    :arg active: whether its unit runs, and at boot.
    """
    if not (active or enabled):
        return Redis()
    size = _size(host)
    if not active:
        return Redis(False, enabled, size=size)
    port = re.search(r"^port (\d+)", host.text("/etc/redis/redis.conf"), re.MULTILINE)
    said = host.output("redis-cli", "-p", port[1] if port else str(REDIS_PORT), "--no-auth-warning", "INFO")
    clients = re.search(r"^connected_clients:(\d+)", said, re.MULTILINE)
    if not clients:
        return Redis(True, enabled, size=size)
    keys = sum(int(number) for number in re.findall(r"^db\d+:keys=(\d+)", said, re.MULTILINE))
    # One of them is this question.
    return Redis(True, enabled, keys, max(int(clients[1]) - 1, 0), size)


def _size(host: Host) -> int:
    """Bytes of what it has on the disk: its snapshot and its log."""
    settings = dict(re.findall(r"^(dir|dbfilename|appenddirname)\s+\"?([^\s\"]+)", host.text("/etc/redis/redis.conf"), re.MULTILINE))
    folder = settings.get("dir", "/var/lib/redis")
    log = f"{folder}/{settings.get('appenddirname', 'appendonlydir')}"
    paths = [
        f"{folder}/{settings.get('dbfilename', 'dump.rdb')}",
        f"{folder}/appendonly.aof",
        *(f"{log}/{name}" for name in host.names(log)),
    ]
    return sum(_bytes(host, PurePosixPath(path)) for path in paths)


def _bytes(host: Host, path: PurePosixPath) -> int:
    try:
        return host.path(str(path)).stat().st_size
    except OSError:
        return 0
