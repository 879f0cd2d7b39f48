# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""PostgreSQL's settings for a host of a size, and how many connections its apps can ask for.

Pure: it is told the host's size and what the app's server does, and reads nothing. Where a formula comes from stands beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ansible_collections.slipway.vps.plugins.module_utils.servers import at_once
from ansible_collections.slipway.vps.plugins.module_utils.workers import automatic_workers

KIB, MIB, GIB = 2**10, 2**20, 2**30

#: What an idle connection takes of its own: 1.3 to 2 MiB (A. Freund, "Measuring the Memory Overhead of a Postgres Connection", 2020).
CONNECTION = 2 * MIB
#: `superuser_reserved_connections`: PostgreSQL's default. No app gets these.
RESERVED = 3
#: SQLAlchemy's own pool (pool_size 5 + max_overflow 10), where the number of threads is no limit.
POOL = 15
#: Connections of a background process that does not say how many it opens.
PROCESS = 5
#: Releases that run at once: while one takes over from the other, both hold their connections.
RELEASES = 2

#: `max_connections` to begin with: room for more apps, since a change restarts the server.
ROOM = 200


class Host(NamedTuple):
    """The size of a host; memory and disk in bytes."""

    memory: int
    cores: int
    disk: int


class Share(NamedTuple):
    """Who asks for connections, how the number comes about, and the number."""

    who: str
    how: str
    connections: int


class Setting(NamedTuple):
    """A line of postgresql.conf, and why it has this value."""

    name: str
    value: str
    why: str


def workers(server: Mapping[str, Any], host: Host | None) -> int | None:
    """The app's workers on one host; None when they depend on a host whose size is not known."""
    if str(server["workers"]) != "auto":
        return int(server["workers"])
    if host is None:
        return None
    share, worker_memory = float(server["memory_share"]), int(server["worker_memory"])
    return automatic_workers(host.cores, host.memory, share=share, worker_memory=worker_memory)


def per_worker(server: Mapping[str, Any], pool: int) -> tuple[int, str]:
    """Connections of one worker, and how that comes about: its pool where the operator names one, else what its threads can use."""
    if pool:
        return pool, f"{pool} connections (app_database_pool)"
    if threads := at_once(server):
        # A thread holds one connection; a readiness check that does not trust the pool opens one more.
        return threads + 1, f"{threads + 1} connections ({threads} thread{'s' if threads > 1 else ''} + 1 for health checks)"
    return POOL, f"{POOL} connections (SQLAlchemy's pool: nothing limits what a worker answers at once)"


class Client(NamedTuple):
    """What one app connects with.

    :ivar server: C(workers), C(threads), C(worker_memory), C(memory_share) of the server; C(name), C(interface) and C(worker_class).
    :ivar hosts: how many hosts the app runs on.
    :ivar pool: most connections of one process; 0: what its threads can use.
    :ivar processes: `app_processes`.
    """

    name: str
    server: Mapping[str, Any]
    hosts: int = 1
    pool: int = 0
    processes: Mapping[str, Any] = {}

    @classmethod
    def of(cls, app: Mapping[str, Any]) -> Client:
        """From the model's facts of an app."""
        database = app["database"]
        return cls(str(app["name"]), app["server"], int(database["hosts"]), int(database["pool"]), app["processes"])


def app_shares(client: Client, host: Host | None, prefix: str = "") -> list[Share] | None:
    """What one app asks for at the worst moment, a switch from one release to the next; None when the number of workers is not known."""
    count = workers(client.server, host)
    if count is None:
        return None
    each, how = per_worker(client.server, client.pool)
    several = f"{client.hosts} hosts x " if client.hosts > 1 else ""
    how = f"{several}{count} worker{'s' if count > 1 else ''} x {how} x {RELEASES} releases"
    shares = [Share(f"{prefix}web", how, client.hosts * count * each * RELEASES)]
    for name, entry in sorted(client.processes.items()):
        most = int(entry.get("connections") or client.pool or PROCESS)
        shares.append(
            Share(f"{prefix}process {name}", f"{several}{most} connections x {RELEASES} releases", client.hosts * most * RELEASES)
        )
    return shares


def demand(clients: Sequence[Client], host: Host | None, *, administration: int = 5, backup: int = 5) -> list[Share] | None:
    """Everything that connects at the worst moment, when all apps of a server switch releases; None when it cannot be known here.

    :arg clients: the apps.
    :arg host: the host that they run on.
    """
    found = [app_shares(client, host, f"{client.name}: " if len(clients) > 1 else "") for client in clients]
    known = [shares for shares in found if shares is not None]
    if len(known) < len(found):
        return None
    return [
        *(share for shares in known for share in shares),
        Share("administration", "migrations, psql, monitoring", administration),
        Share("backup", "parallel dump, restore test", backup),
        Share("superuser", "superuser_reserved_connections", RESERVED),
    ]


def total(shares: list[Share]) -> int:
    return sum(share.connections for share in shares)


def arithmetic(shares: list[Share]) -> str:
    """The sum, a line for each part."""
    width = max(len(share.who) for share in shares)
    lines = [f"{share.who.ljust(width)}  {share.connections:>4}  = {share.how}" for share in shares]
    return "\n".join([*lines, f"{'needed'.ljust(width)}  {total(shares):>4}"])


def suggested(shares: list[Share], budget: int) -> int:
    """`max_connections` for these: `ROOM`, or the next hundred, as far as ``budget`` bytes hold them; what is needed in any case."""
    needed = -(-total(shares) // 10) * 10
    roomy = max(ROOM, -(-total(shares) // 100) * 100)
    return max(needed, min(roomy, budget // CONNECTION // 10 * 10))


class Violation(NamedTuple):
    """Why the connections do not fit: what is wrong, and what to do."""

    variable: str
    what: str
    fix: str


def too_few(shares: list[Share], most: int) -> Violation | None:
    """``most`` connections are too few for what the app can ask for."""
    needed = total(shares)
    if needed <= most:
        return None
    indented = "\n".join(f"    {line}" for line in arithmetic(shares).splitlines())
    what = f"{most} is less than the {needed} connections that can be asked for while two releases run side by side:\n{indented}"
    fix = "remove it (then it is computed), or set fewer server_workers, server_threads or a smaller app_database_pool"
    return Violation("postgres_max_connections", what, fix)


def too_much(most: int, host: Host, share: float) -> Violation | None:
    """The memory that PostgreSQL may count on does not hold the processes of ``most`` connections."""
    budget = int(host.memory * share)
    if most * CONNECTION <= budget:
        return None
    what = (
        f"{most} x {CONNECTION // MIB} MiB = {most * CONNECTION // MIB} MiB for connections alone,"
        f" and PostgreSQL may count on {budget // MIB} MiB (postgres_memory_share {share:g} of {host.memory // MIB} MiB)"
    )
    fix = "set fewer server_workers or a smaller app_database_pool, or raise postgres_memory_share, or take a larger host"
    return Violation("postgres_max_connections", what, fix)


def _between(least: int, value: float, most: int) -> int:
    return int(max(least, min(value, most)))


def _size(size: int) -> str:
    return f"{size // MIB}MB" if size % MIB == 0 else f"{size // KIB}kB"


def _whole(size: float, unit: int = MIB) -> int:
    return int(size) // unit * unit


def settings(host: Host, connections: int, share: float, storage: str = "ssd", busy: int = 0) -> list[Setting]:
    """The settings that depend on the host.

    :arg connections: `max_connections`.
    :arg share: how much of the host's memory PostgreSQL may count on: all but a reserve on a host of its own, less beside an app.
    :arg storage: ssd or hdd.
    :arg busy: how many of the connections the apps can ask for; 0: all.
    """
    budget = host.memory * share
    # The manual ("Resource Consumption"): a quarter of the memory of a host that does nothing else. With a share of 3/4 a third is that.
    buffers = _whole(_between(32 * MIB, budget / 3, 64 * GIB))
    # Half of the connections at work, each with two sorts or hashes: PGTune's formula for the web, which allows three for all of them.
    work = _whole(_between(MIB, (budget - buffers) / (busy or connections), 256 * MIB), 256 * KIB)
    # PGTune: a sixteenth. The manual: autovacuum may take it autovacuum_max_workers times.
    maintenance = _whole(_between(16 * MIB, budget / 16, GIB))
    # A twentieth of the disk; 4 GB at most, as recovery after a crash reads all of it.
    wal = _whole(_between(256 * MIB, host.disk / 20, 4 * GIB))
    parallel = min(4, host.cores // 2)
    vacuums = _between(3, host.cores // 4, 8)
    found = [
        Setting("max_connections", str(connections), "what can be asked for, see above, and room for more"),
        Setting("shared_buffers", _size(buffers), "a third of PostgreSQL's memory"),
        Setting("effective_cache_size", _size(_whole(budget)), "PostgreSQL's memory, with the system's cache of its files"),
        Setting("work_mem", _size(work), "the rest, for half of the connections with two sorts each"),
        Setting("maintenance_work_mem", _size(maintenance), "a sixteenth of PostgreSQL's memory"),
        Setting("max_wal_size", _size(wal), "a twentieth of the disk, 4 GB at most: a crash replays it"),
        Setting("min_wal_size", _size(_whole(wal / 4)), "a quarter of max_wal_size, reused rather than made anew"),
        # The manual ("WAL Configuration"): less to write and to archive, for little CPU.
        Setting("wal_compression", "on", "less to write and to archive"),
        Setting("max_worker_processes", str(max(8, host.cores)), "one for each core, 8 at least"),
        Setting("max_parallel_workers", str(max(1, host.cores)), "one for each core"),
        Setting("max_parallel_workers_per_gather", str(parallel), "half of the cores, 4 at most: other visitors want theirs"),
        Setting("autovacuum_max_workers", str(vacuums), "a quarter of the cores, 3 at least"),
        # The defaults (0.2, 0.1) wait for a fifth of a table: a large one is then cleaned late and long.
        Setting("autovacuum_vacuum_scale_factor", "0.05", "after 5 % of a table has changed: sooner and shorter"),
        Setting("autovacuum_analyze_scale_factor", "0.02", "the planner knows a growing table better"),
    ]
    if storage == "ssd":
        found += [
            # The manual ("Query Planning"): as cheap as sequential reads, nearly. 4 is for disks that turn.
            Setting("random_page_cost", "1.1", "solid state: no seeks"),
            Setting("effective_io_concurrency", "200", "solid state: many reads at once"),
            Setting("autovacuum_vacuum_cost_limit", "1000", "solid state: five times PostgreSQL's pace for turning disks"),
        ]
    return found


class Plan(NamedTuple):
    """What is written, what is shown, and why it cannot be."""

    settings: list[Setting]
    arithmetic: str
    violations: list[Violation]


def plan(host: Host, shares: list[Share], wanted: Any, custom: Mapping[str, Any], share: float, storage: str = "ssd") -> Plan:
    """The settings for a host and its apps.

    :arg wanted: `postgres_max_connections`, a number or auto.
    :arg custom: `postgres_settings_custom`; what stands there wins, and is judged like the rest.
    """
    chosen = custom.get("max_connections", wanted)
    connections = suggested(shares, int(host.memory * share)) if str(chosen) == "auto" else int(chosen)
    found = [reason for reason in (too_few(shares, connections), too_much(connections, host, share)) if reason]
    lines = [
        Setting(line.name, str(custom[line.name]), "yours (postgres_settings_custom)") if line.name in custom else line
        for line in settings(host, connections, share, storage, min(total(shares), connections))
    ]
    if str(wanted) != "auto" and "max_connections" not in custom:
        lines[0] = lines[0]._replace(why="yours (postgres_max_connections)")
    return Plan(lines, arithmetic(shares), found)
