# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""PostgreSQL and Redis: why they cannot be asked, and what they say of themselves."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ..core.run import Account, CommandError, command
from ..seals.observe import ask
from .findings import BrokenHopError, Seen, TroubleError

if TYPE_CHECKING:
    from ..hops import RequestPath

#: Seconds that a query may wait for a lock: the app's own limit is 10 (postgres_lock_timeout).
WAITS = 4
#: Percent of the connections that may be taken.
CONNECTIONS = 90
#: What psql says, and which problem that is.
REFUSALS = (
    (
        "database-password",
        r"password authentication failed|no password supplied|no pg_hba\.conf entry|[Pp]eer authentication failed|not permitted to log in",
    ),
    ("database-absent", r'(database|role) "[^"]+" does not exist'),
    ("database-connections", r"too many clients already|remaining connection slots|too many connections for"),
    ("database-down", r"No such file or directory|Connection refused|could not connect|not accepting connections|timeout expired"),
    ("database-down", r"the database system is (starting up|shutting down|in recovery mode)"),
)
_LOCKS = f"""
SELECT count(*) OVER () AS count, round(extract(epoch FROM clock_timestamp() - waiting.query_start)) AS seconds, holder.pid AS blocker,
  holder.usename AS who, holder.state AS state, left(waiting.query, 80) AS query
FROM pg_stat_activity waiting, unnest(pg_blocking_pids(waiting.pid)) AS held(pid) JOIN pg_stat_activity holder ON holder.pid = held.pid
WHERE waiting.wait_event_type = 'Lock' AND waiting.datname = {{database}}
  AND clock_timestamp() - waiting.query_start > interval '{WAITS} seconds'
  AND cardinality(pg_blocking_pids(holder.pid)) = 0 ORDER BY waiting.query_start LIMIT 1"""
_CONNECTIONS = """
SELECT count(*) AS used, current_setting('max_connections')::int AS most,
  mode() WITHIN GROUP (ORDER BY usename) AS who, count(*) FILTER (WHERE state LIKE 'idle%') AS idle
FROM pg_stat_activity WHERE backend_type = 'client backend'"""


def refusal(said: str) -> str:
    """The problem behind what psql said."""
    return next((problem for problem, pattern in REFUSALS if re.search(pattern, said)), "database-unreachable")


def strain(path: RequestPath) -> str:
    """Locks that others wait for, and connections that are taken; of a server on this machine."""
    server = f"{path.known.database['socket_dir']}:{path.known.database['port']}"
    name = str(path.known.database["name"]).replace("'", "''")
    found = []
    for row in ask(server, "postgres", _LOCKS.format(database=f"'{name}'")):
        values = {key: str(value) for key, value in row.items() if key != "query"}
        found.append(Seen("database-lock", f"{row['query']} waits since {row['seconds']} s for process {row['blocker']}", values))
    told = ""
    for row in ask(server, "postgres", _CONNECTIONS):
        used, most = int(str(row["used"])), int(str(row["most"]))
        told = f"{used} of {most} connections"
        if used * 100 >= most * CONNECTIONS:
            who = f"most are of {row['who']}, {row['idle']} idle"
            found.append(Seen("database-connections", f"{told}; {who}", {"used": str(used), "most": str(most), "who": who}))
    if found:
        raise TroubleError(found)
    return f"{told}; nothing waits for a lock" if told else "not known"


def schema(path: RequestPath) -> str:
    """The database is at the revision that the live release left it at."""
    manifest = path.releases.live_manifest()
    due = str(manifest.get("schema_after") or "")
    seen = revision(path)
    if due and seen != due:
        values = {"seen": seen or "none", "due": due, "command": "flask db upgrade"}
        raise TroubleError([Seen("schema-behind", f"alembic_version: {seen or 'none'}; {manifest.get('id')} left {due}", values)])
    return seen or "no migrations of Alembic"


def revision(path: RequestPath) -> str:
    """Alembic's revisions in the database; empty where there are none."""
    assert path.database is not None
    try:
        return ",".join(sorted(path.query("SELECT version_num FROM alembic_version").split()))
    except CommandError as error:
        if "does not exist" in str(error):
            return ""
        raise


def redis(path: RequestPath) -> str:
    """Redis takes what it is given, and can write it to the disk."""
    account = Account.of(path.known.user, path.known.group)
    info = parse(command("redis-cli", "-s", path.known.redis_socket, "info", account=account))
    used, most = int(info.get("used_memory", 0)), int(info.get("maxmemory", 0))
    told = f"{info.get('used_memory_human', used)} of {info.get('maxmemory_human', most)}"
    if most and used >= most * 0.98 and info.get("maxmemory_policy") == "noeviction":
        values = {"used": info.get("used_memory_human"), "most": info.get("maxmemory_human"), "socket": path.known.redis_socket}
        raise BrokenHopError(f"{told}, noeviction", "redis-full", **values)
    bad = [name for name in ("rdb_last_bgsave_status", "aof_last_write_status", "aof_last_bgrewrite_status") if info.get(name) == "err"]
    if bad:
        raise BrokenHopError(f"{', '.join(bad)}: err", "redis-unsaved")
    return told


def parse(info: str) -> Mapping[str, str]:
    """`redis-cli info`."""
    return dict(line.strip().split(":", 1) for line in info.splitlines() if ":" in line and not line.startswith("#"))
