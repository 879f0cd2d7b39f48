# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""The machine's half of the state document: what it is, what it has left, and what waits to be updated."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ..app import App
from ..core.clock import stamp
from ..core.run import attempt, command, tail
from . import hardening

#: Places of every machine that may have a disk of their own; those of the apps come to them.
PLACES = ("/", "/var", "/var/lib/postgresql", "/var/log", "/home")
#: Written by apt's own job each time that it could ask for news; the lists themselves where that job is not there.
NEWS = ("/var/lib/apt/periodic/update-success-stamp", "/var/lib/apt/lists")
#: `libssl3/stable-security 3.0.13-1 <architecture> [upgradable from: 3.0.11-1]`
WAITING = re.compile(r"^([^/\s]+)/(\S+) \S+ \S+ \[upgradable", re.MULTILINE)
#: Names of packages that are told; the numbers count them all.
NAMED = 20


def probes(apps: Sequence[App]) -> dict[str, Callable[[], Any]]:
    """Each field, and how it is seen."""
    places = [*PLACES, *(str(path) for app in apps for path in (app.root, app.shared, app.backup_dir))]
    return {
        "name": lambda: os.uname().nodename,
        "system": system,
        "kernel": lambda: os.uname().release,
        "architecture": lambda: os.uname().machine,
        "cpus": os.cpu_count,
        "load": lambda: [round(value, 2) for value in os.getloadavg()],
        "booted_at": booted_at,
        "processes": processes,
        "memory": memory,
        "disks": partial(disks, places),
        "clock_synchronized": clock_synchronized,
        "updates": updates,
        "reboot": reboot,
        "ports": hardening.ports,
    }


def system(path: Path = Path("/etc/os-release")) -> str:
    """Debian GNU/Linux 13 (trixie)."""
    found = re.search(r'^PRETTY_NAME="?([^"\n]*)', path.read_text(encoding="utf-8"), re.MULTILINE)
    return found[1] if found else ""


def booted_at(stat: Path = Path("/proc/stat")) -> str | None:
    """When the kernel started."""
    found = re.search(r"^btime (\d+)", stat.read_text(encoding="utf-8"), re.MULTILINE)
    return stamp(float(found[1])) if found else None


def processes(proc: Path = Path("/proc")) -> int:
    """How many there are."""
    return sum(entry.name.isdigit() for entry in proc.iterdir())


def memory(proc: Path = Path("/proc")) -> dict[str, Any]:
    """Bytes; and in percent of the last minute how long somebody waited for memory, where the kernel says so."""
    found = {
        name: int(size) * 1024
        for name, size in re.findall(r"^(\w+):\s+(\d+) kB", (proc / "meminfo").read_text(encoding="utf-8"), re.MULTILINE)
    }
    try:
        waited = re.search(r"^some .*avg60=([\d.]+)", (proc / "pressure/memory").read_text(encoding="utf-8"))
    except OSError:
        waited = None
    return {
        "total": found["MemTotal"],
        "available": found["MemAvailable"],
        "swap_total": found.get("SwapTotal", 0),
        "swap_free": found.get("SwapFree", 0),
        "pressure": float(waited[1]) if waited else None,
    }


def disks(places: Sequence[str]) -> list[dict[str, Any]]:
    """Each file system that holds one of the places: which ones, and its bytes and inodes; free is what an app may still use."""
    found: dict[int, dict[str, Any]] = {}
    for place in dict.fromkeys(places):
        if not Path(place).is_dir():
            continue
        device = Path(place).stat().st_dev
        if device in found:
            found[device]["holds"].append(place)
            continue
        there = os.statvfs(place)
        found[device] = {
            "holds": [place],
            "total": there.f_blocks * there.f_frsize,
            "free": there.f_bavail * there.f_frsize,
            # None on file systems that have as many as they like.
            "inodes": there.f_files or None,
            "inodes_free": there.f_favail if there.f_files else None,
        }
    return list(found.values())


def clock_synchronized() -> bool | None:
    """Whether a time server has been reached; None where systemd does not know, and in a container, whose clock is another machine's."""
    if attempt(["systemd-detect-virt", "--quiet", "--container"], 5)[0] == 0:
        return None
    said = command("timedatectl", "show", "--property=NTPSynchronized", "--value").strip()
    return {"yes": True, "no": False}.get(said)


def updates(news: Sequence[str] = NEWS) -> dict[str, Any]:
    """Packages that wait, as apt knows since it last asked for news."""
    # It takes a fifth of the time that a simulated upgrade takes.
    status, said = attempt(["apt", "list", "--upgradable"], 10)
    if status != 0:
        raise ValueError(tail(said, 1))
    waiting = WAITING.findall(said)
    security = [name for name, suites in waiting if "-security" in suites]
    asked = next((Path(path).stat().st_mtime for path in news if Path(path).exists()), None)
    return {"pending": len(waiting), "security": len(security), "names": security[:NAMED], "looked_at": stamp(asked)}


def reboot(run: Path = Path("/run")) -> dict[str, Any]:
    """Whether an update waits for the machine to be started anew, and which packages want that."""
    wanted = run / "reboot-required.pkgs"
    names = sorted(set(wanted.read_text(encoding="utf-8").split())) if wanted.exists() else []
    return {"required": (run / "reboot-required").exists(), "packages": names[:NAMED]}
