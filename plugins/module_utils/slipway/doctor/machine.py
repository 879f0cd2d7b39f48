# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""The machine: room, memory, clock, updates, and what has failed on it."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.run import attempt
from ..core.units import headroom, journal
from .findings import BrokenHopError, Seen, TroubleError

if TYPE_CHECKING:
    from ..hops import RequestPath

#: Percent of a file system that are taken: nearly full, and full. PostgreSQL stops at 100, and nobody wants to be there at night.
NEARLY, FULL = 90, 97
#: Where an app and what it needs keep files.
PLACES = ("/", "/var", "/var/log", "/var/lib/postgresql", "/var/lib/redis", "/tmp", "/boot")
#: Percent of memory that is still free: less is too little.
MEMORY = 4
#: Seconds that the clock may be off: certificates, sessions and one-time codes go wrong beyond that.
CLOCK = 30
#: Days after which a security update should have been installed by the nightly run.
UPDATES = 3
_TIMEKEEPERS = ("systemd-timesyncd", "chrony", "chronyd", "ntpsec", "ntp", "openntpd")


def room(path: RequestPath) -> str:
    """Each file system has room, for bytes and for files."""
    found, told = [], []
    for mount, place in mounts([*PLACES, *map(str, (path.known.root, path.known.backup_dir, path.known.log_dir))]):
        usage = os.statvfs(place)
        percent = taken(usage.f_blocks - usage.f_bfree, usage.f_bavail)
        files = taken(usage.f_files - usage.f_ffree, usage.f_favail) if usage.f_files else 0
        told.append(f"{mount} {percent} %")
        values = {"mount": mount, "percent": str(percent)}
        evidence = f"{mount}: {percent} % taken, {usage.f_bavail * usage.f_frsize // 2**20} MiB free"
        database = mount.startswith("/var/lib/postgresql") and path.known.database.get("local")
        if percent >= FULL:
            found.append(Seen("database-disk" if database else "disk-full", evidence, values))
        elif percent >= NEARLY:
            found.append(Seen("disk-nearly-full", evidence, values))
        if files >= FULL:
            evidence = f"{mount}: {files} % of {usage.f_files} inodes taken"
            found.append(Seen("inodes-full", evidence, {"mount": mount, "percent": str(files)}))
    if found:
        raise TroubleError(found)
    return ", ".join(told)


def mounts(places: Iterable[str]) -> Iterator[tuple[str, str]]:
    """The file systems that places are on, each once: where it is mounted, and a place in it."""
    seen = set()
    for place in places:
        if not Path(place).is_dir() or (device := Path(place).stat().st_dev) in seen:
            continue
        seen.add(device)
        top = Path(place).resolve()
        while not os.path.ismount(top) and top != top.parent:
            top = top.parent
        yield str(top), place


def taken(used: int, free: int) -> int:
    """Percent, as df says it: rounded up, without what is root's alone."""
    return -(-100 * used // (used + free)) if used + free else 0


def memory(path: RequestPath) -> str:
    """Some memory is free, on the machine and within the app's share."""
    values = {}
    for line in Path("/proc/meminfo").read_text(encoding="utf-8").splitlines():
        name, _, rest = line.partition(":")
        values[name] = int(rest.split()[0]) * 1024
    total, free = values["MemTotal"], values.get("MemAvailable", 0)
    swap = values.get("SwapFree", 0)
    if free + swap < total * MEMORY // 100:
        raise BrokenHopError(f"{mib(free)} of {mib(total)} free", "memory-pressure", free=mib(free), all=mib(total), **largest())
    left = headroom(path.known.slice) if path.known.slice else None
    limit = _limit(path.known.slice)
    if left is not None and limit and left < limit * MEMORY // 100:
        text = f"{path.known.slice}: {mib(left)} of {mib(limit)} left"
        raise BrokenHopError(text, "memory-pressure", free=mib(left), all=f"{mib(limit)}, the app's share", **largest(path.known.user))
    return f"{mib(free)} of {mib(total)} free"


def _limit(unit: str) -> int:
    said = attempt(["systemctl", "show", "--property=MemoryMax", "--value", unit])[1].strip() if unit else ""
    return int(said) if said.isdigit() and int(said) < 2**60 else 0


def largest(user: str = "") -> dict[str, str]:
    """Who uses the most memory."""
    said = attempt(["ps", *(("-u", user) if user else ("-e",)), "-o", "rss=,comm=", "--sort=-rss"])[1].split("\n")[0].split(None, 1)
    return {"who": said[1], "used": mib(int(said[0]) * 1024)} if len(said) == 2 and said[0].isdigit() else {}


def mib(size: int) -> str:
    """Bytes, for people."""
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size // 2**20} MiB"


def clock(path: RequestPath) -> str:
    """The clock is right by the controller's, where one asks; and something sets it."""
    known = path.outside.get("time")
    if known is not None:
        # The controller notes its time before it asks: the way here is part of the difference.
        off = time.time() - float(known)
        if abs(off) > CLOCK:
            raise BrokenHopError(f"{off:+.0f} s by the controller's clock", "clock-off", seconds=f"{off:+.0f}")
    if attempt(["systemd-detect-virt", "--quiet", "--container"])[0] == 0:
        return "its host's: this is a container"
    running = [name for name in _TIMEKEEPERS if attempt(["systemctl", "is-active", "--quiet", name])[0] == 0]
    if not running:
        raise BrokenHopError(f"none of {', '.join(_TIMEKEEPERS)} runs", "clock-alone")
    return f"set by {running[0]}"


def updates(path: RequestPath) -> str:
    """Security updates come by night; one that needs a reboot says so."""
    found = []
    for mark in (Path("/run/reboot-required"), Path("/var/run/reboot-required")):
        if mark.exists():
            packages = Path(f"{mark}.pkgs").read_text(encoding="utf-8").split() if Path(f"{mark}.pkgs").exists() else []
            names = ", ".join(dict.fromkeys(packages)) or "a package that does not say its name"
            found.append(Seen("reboot-pending", f"{mark} is there: {names}", {"packages": names}))
            break
    pending = security_updates() if overdue() else []
    if pending:
        shown = ", ".join(pending[:5]) + (f" and {len(pending) - 5} more" if len(pending) > 5 else "")
        found.append(Seen("updates-pending", shown, {"count": str(len(pending))}))
    if found:
        raise TroubleError(found)
    return "none is overdue"


def overdue(now: float | None = None) -> bool:
    """Whether no nightly run has installed updates for `UPDATES` days; a machine that is younger has had none."""
    stamps = [Path("/var/lib/apt/periodic", name) for name in ("unattended-upgrades-stamp", "upgrade-stamp")]
    times = [stamp.stat().st_mtime for stamp in (*stamps, Path("/var/lib/slipway")) if stamp.exists()]
    return (now or time.time()) - max(times, default=0) > UPDATES * 86400


def security_updates() -> list[str]:
    """Packages of which a security update is known and not installed."""
    status, said = attempt(["apt-get", "--simulate", "--quiet", "-o", "Debug::NoLocking=1", "upgrade"])
    return re.findall(r"^Inst (\S+) .*-[Ss]ecurity", said, flags=re.MULTILINE) if status == 0 else []


def failed_units(path: RequestPath) -> str:
    """What has failed on the machine. The app's own units are other looks' matter."""
    status, said = attempt(["systemctl", "list-units", "--failed", "--plain", "--no-legend", "--full"])
    own = re.compile(rf"(nginx|postgresql@?[\w.-]*|redis-server@{path.name}(-cache)?|{path.name}([@.-].*)?)\.(service|socket|timer)")
    units = [line.split()[0] for line in said.splitlines() if line.split()] if status == 0 else []
    others = [unit for unit in units if not own.fullmatch(unit) and not path.is_of_another_app(unit)]
    if others:
        told = ((unit, journal(unit, 1) or "no word in its journal") for unit in others)
        raise TroubleError([Seen("unit-failed", f"{unit}: {said}", {"unit": unit}) for unit, said in told])
    return "none"
