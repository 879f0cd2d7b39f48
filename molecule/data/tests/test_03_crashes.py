"""PostgreSQL and Redis are killed while visitors write: nothing that was promised is lost, and the app recovers unaided."""

from __future__ import annotations

import time
from typing import Any

import pytest
from helpers import App, journal, live_unit, must, through_socket
from states import Visitors
from switches import rows

CACHE = "/run/redis-demo-cache/redis.sock"
POSTMASTER = "head -1 /var/lib/postgresql/*/main/postmaster.pid"


def ready(host: Any, app: App, within: float) -> float:
    """Seconds until the app says that it is ready."""
    begun = time.monotonic()
    while through_socket(host, app, "/healthz/ready")[0] != 200:
        assert time.monotonic() - begun < within, (
            f"{through_socket(host, app, '/healthz/ready')}\n{journal(host, 'postgresql@*', lines=30)}"
        )
        time.sleep(0.1)
    return time.monotonic() - begun


def master(host: Any, app: App) -> str:
    return str(host.service(live_unit(host, app)).systemd_properties["MainPID"])


@pytest.mark.parametrize(
    "blow",
    [
        pytest.param(f"kill -9 $({POSTMASTER})", id="kill postgres"),
        pytest.param("systemctl restart postgresql@*-main", id="restart postgres"),
        pytest.param("systemctl kill --signal=KILL redis-server@demo", id="kill redis"),
        pytest.param("systemctl restart redis-server@demo", id="restart redis"),
    ],
)
def test_the_app_recovers_unaided(host: Any, app: App, visitors: Visitors, blow: str) -> None:
    """[D1] [D4] [A14] Ready within seconds, every row that was promised there once, and the app's process the same as before."""
    before = master(host, app)
    with visitors(rate=20) as arrivals:
        time.sleep(1)
        must(host, blow)
        took = ready(host, app, 60)
        time.sleep(1)
    print(f"ready after {took:.1f} s; visitors saw {dict(arrivals.counts())}")
    found = rows(host, app, arrivals.prefix)
    assert len(found) == len(set(found)) and set(arrivals.written) <= set(found), set(arrivals.written) - set(found)
    assert arrivals.written and arrivals.answers[-1].said in ("200", "201"), dict(arrivals.counts())
    assert master(host, app) == before, "the app was restarted"


def cli(socket: str, *words: str) -> str:
    return f"runuser -u demo -- redis-cli -s {socket} {' '.join(words)}"


def fill(socket: str, keys: int) -> str:
    """Write so many keys of 100 kB, one by one: what Redis answers, each with its number."""
    value = "x=$(head -c 100000 /dev/zero | tr '\\0' x)"
    return f'{value}; for i in $(seq {keys}); do echo "set slipway_fill$i $x ex 600"; done | {cli(socket)} | cut -c 1-40 | sort | uniq -c'


def test_the_cache_forgets_and_goes_on(host: Any) -> None:
    """[D4] Full, it drops what was not used for longest; a restart empties it."""
    assert must(host, cli(CACHE, "config", "get", "maxmemory-policy")).split()[1] == "allkeys-lru"
    assert must(host, fill(CACHE, 400)).split() == ["400", "OK"]
    stats = dict(line.split(":", 1) for line in must(host, cli(CACHE, "info", "stats")).splitlines() if ":" in line)
    assert int(stats["evicted_keys"]) > 100, stats["evicted_keys"]
    must(host, "systemctl restart redis-server@demo-cache")
    assert must(host, cli(CACHE, "dbsize")).strip() == "0"
    assert not must(host, "ls -A /var/lib/redis/demo-cache").strip()


def test_sessions_and_jobs_are_not_forgotten(host: Any, app: App) -> None:
    """[D4] Full, it refuses what is new, and says so; what is there stays, also what would expire some day."""
    socket = app.redis_socket
    limit = must(host, cli(socket, "config", "get", "maxmemory")).split()[1]
    must(host, cli(socket, "set", "slipway_session", "kept", "ex", "600"))
    used = int(must(host, cli(socket, "info", "memory")).split("used_memory:")[1].split()[0])
    try:
        must(host, cli(socket, "config", "set", "maxmemory", str(used + 2**20)))
        said = must(host, fill(socket, 100))
        assert "OOM command not allowed" in said and "OK" in said, said
        assert must(host, cli(socket, "get", "slipway_session")).strip() == "kept"
        kept = int(said.split("OK")[0].split()[-1])
        assert len(must(host, cli(socket, "--scan", "--pattern", "'slipway_fill*'")).split()) == kept
    finally:
        must(host, cli(socket, "config", "set", "maxmemory", limit))
        must(host, cli(socket, "del", "slipway_session", "$(seq -f slipway_fill%g 100)"))
