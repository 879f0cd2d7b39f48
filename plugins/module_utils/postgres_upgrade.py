# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""Which PostgreSQL the data are in, which could hold them, and how they get there. Pure: the module asks the host."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

#: Bytes that have to stay free for the log of the move, and for everybody else.
RESERVE = 500 * 2**20
#: Bytes a second, as a plain disk of a VPS does it: copied as files, and read, written and indexed anew.
COPY_RATE, DUMP_RATE = 150 * 10**6, 12 * 10**6
#: The same for reading every row, to count them; done twice.
COUNT_RATE = 400 * 10**6
#: Seconds for stopping, starting, and for statistics of a small database.
BASE_SECONDS = 30
#: Collations that no version of the C library sorts differently.
STEADY = frozenset({"C", "POSIX", "C.UTF-8", "C.UTF8", "C.utf8", "ucs_basic"})
#: What pg_upgradecluster calls them.
METHODS = {"copy": "upgrade", "clone": "clone", "link": "link", "dump": "dump"}


class Obstacle(NamedTuple):
    """A reason why nothing can be moved, and what to do."""

    what: str
    fix: str


@dataclass(frozen=True)
class Cluster:
    """A line of pg_lsclusters."""

    version: str
    name: str
    port: int
    running: bool
    data: str
    config: str

    @property
    def label(self) -> str:
        return f"{self.version}/{self.name}"

    @property
    def unit(self) -> str:
        return f"postgresql@{self.version}-{self.name}.service"

    @classmethod
    def of(cls, line: Mapping[str, Any]) -> Cluster:
        """From ``pg_lsclusters -j``, whose numbers are texts in some versions."""
        return cls(
            version=str(line["version"]),
            name=str(line["cluster"]),
            port=int(line["port"]),
            running=str(line.get("running", "")).lower() in ("1", "true") or str(line.get("status", "")).startswith("online"),
            data=str(line["pgdata"]),
            config=str(line["configdir"]),
        )


@dataclass(frozen=True)
class Host:
    """What the module has found."""

    clusters: Sequence[Cluster]
    #: Major versions whose server is installed.
    installed: Collection[str]
    #: Names of installed packages that begin with postgresql.
    packages: Collection[str] = ()
    #: Bytes of the data, and bytes that are free beside them.
    size: int = 0
    free: int = 0
    #: Whether files can be copied without copying their blocks (btrfs, XFS).
    reflinks: bool = False
    #: Databases of the old cluster that hold somebody's data, to how they sort.
    collations: Mapping[str, str] = field(default_factory=dict)
    #: Databases of a cluster that already has the new version's name, besides PostgreSQL's own; None where it is stopped and holds some.
    in_the_way: Sequence[str] | None = ()


@dataclass(frozen=True)
class Move:
    """From one cluster to another."""

    old: Cluster
    new: str
    method: str
    why: str
    seconds: int
    needs: int
    #: An empty cluster that the package made when the new version was installed; it is removed.
    empty: Cluster | None
    obstacles: Sequence[Obstacle]


def current(host: Host, port: int) -> Cluster | None:
    """The cluster that the apps reach."""
    return next((cluster for cluster in host.clusters if cluster.port == port), None)


def kept(host: Host, port: int) -> Cluster | None:
    """The older cluster that an earlier move has left: the newest of those with the same name."""
    here = current(host, port)
    older = [one for one in host.clusters if here and one.name == here.name and _number(one.version) < _number(here.version)]
    return max(older, key=lambda one: _number(one.version), default=None)


def newest(host: Host) -> str:
    """The newest version whose server is installed."""
    return max(host.installed, key=_number, default="0")


def twin(clusters: Iterable[Cluster], old: Cluster, version: str) -> Cluster | None:
    """The cluster that has the name which the new one would get."""
    return next((one for one in clusters if (one.version, one.name) == (version, old.name) and one is not old), None)


def plan(host: Host, port: int, method: str = "auto", version: str = "") -> Move | None:
    """What a move would be; None where the data are in the version that is wanted, or in a newer one, or nowhere.

    :arg method: auto, or one of `METHODS`.
    :arg version: the version that is wanted; the newest that is installed where nothing is said.
    """
    old, wanted = current(host, port), version or newest(host)
    if old is None or _number(wanted) <= _number(old.version):
        return None
    chosen, why = (method, "as postgres_upgrade_method says") if method != "auto" else choose(host)
    needs = {"copy": host.size, "dump": host.size * 5 // 4}.get(chosen, 0) + RESERVE
    rate = {"copy": COPY_RATE, "dump": DUMP_RATE}.get(chosen)
    seconds = BASE_SECONDS + 2 * host.size // COUNT_RATE + (host.size // rate if rate else 0)
    there = twin(host.clusters, old, wanted)
    return Move(old, wanted, chosen, why, seconds, needs, there, list(_obstacles(host, old, wanted, chosen, needs, there)))


def choose(host: Host) -> tuple[str, str]:
    """How the data get there, and why so. Never by link: it leaves no way back."""
    unsteady = sorted(f"{name} ({how})" for name, how in host.collations.items() if how not in STEADY)
    if unsteady:
        return "dump", f"indexes are built anew: the C library of a newer system may sort {', '.join(unsteady)} differently"
    if host.reflinks:
        return "clone", "this file system copies files without copying their blocks"
    return "copy", "files are copied as they are; no text is sorted by a locale of the C library"


def _obstacles(host: Host, old: Cluster, new: str, method: str, needs: int, there: Cluster | None) -> Iterator[Obstacle]:
    if new not in host.installed:
        yield Obstacle(f"PostgreSQL {new} is not installed", "run ansible-playbook slipway.vps.site --tags data first")
    if not old.running:
        yield Obstacle(f"{old.label}, where the data are, does not run", f"systemctl start {old.unit}, and see why it was down")
    if there and host.in_the_way is None:
        what = f"{there.label} is there, stopped, and holds data: those of an earlier move, or somebody's"
        yield Obstacle(what, f"pg_dropcluster --stop {there.version} {there.name}, if nobody needs them")
    elif there and host.in_the_way:
        what = f"{there.label} is there and holds databases: {', '.join(host.in_the_way)}"
        yield Obstacle(what, f"save them, then pg_dropcluster --stop {there.version} {there.name}")
    if missing := missing_packages(host.packages, old.version, new):
        yield Obstacle(f"packages of {old.version} have no counterpart of {new}: {', '.join(missing)}", f"apt install {' '.join(missing)}")
    if host.free < needs:
        what = f"{_mib(needs)} are needed beside the data ({method}), and {_mib(host.free)} are free"
        yield Obstacle(what, "free some, or take -e method=link, which needs nothing and leaves no way back but a backup")


def missing_packages(packages: Collection[str], old: str, new: str) -> list[str]:
    """Packages of the new version that somebody has for the old one: servers, clients, and extensions."""
    wanted = (re.sub(rf"-{old}(?=-|$)", f"-{new}", name) for name in packages if re.search(rf"-{old}(?=-|$)", name))
    # What contrib was is part of the server; documentation and debug symbols are nobody's data.
    return sorted({name for name in wanted if not re.search(r"-(dbgsym|doc)|^postgresql-contrib-|-jit-llvm", name)} - set(packages))


def described(move: Move, size: int, free: int) -> list[str]:
    """For the operator, before anything happens."""
    minutes = max(1, round(move.seconds / 60))
    way = f"{move.old.label} stays as it is; what is written after the move would be lost"
    if move.method == "link":
        way = f"none but a backup: {move.old.label} shares its files with the new one"
    return [
        f"from      PostgreSQL {move.old.label} on port {move.old.port}, {_mib(size)}",
        f"to        PostgreSQL {move.new}/{move.old.name}, on the same port",
        f"how       {move.method}: {move.why}",
        f"disk      {_mib(move.needs)} needed, {_mib(free)} free",
        f"closed    about {minutes} min for visitors (the maintenance page); an estimate from the size",
        f"way back  {way}",
        *([f"removed   the empty cluster {move.empty.label}, which the package made"] if move.empty and not move.obstacles else []),
    ]


def counts_differ(before: Mapping[str, int], after: Mapping[str, int]) -> list[str]:
    """Tables that do not have as many rows as before, in words."""
    return [
        f"{table}: {before.get(table, 'absent')} before, {after.get(table, 'absent')} after"
        for table in sorted({*before, *after})
        if before.get(table) != after.get(table)
    ]


def parse_counts(answers: Iterable[str]) -> dict[str, int]:
    """``database|schema.table|rows`` lines."""
    found: dict[str, int] = {}
    for line in answers:
        if line.strip():
            database, _, rest = line.partition("|")
            table, _, rows = rest.rpartition("|")
            found[f"{database}.{table}"] = int(rows)
    return found


def _number(version: str) -> float:
    return float(version or 0)


def _mib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size // 2**20} MiB"
