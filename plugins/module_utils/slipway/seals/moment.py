# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""Since when a thing is as it is: from the file system, systemd, the journal, and the logs of packages."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from ..core.run import attempt
from .observe import Difference
from .traces import Traces, at, journal

#: Kinds whose names are paths.
PATHS = ("file", "content", "link", "place")
#: Files that change with an account, with ufw, with sshd's ports, and with what comes up at boot.
ACCOUNTS = ("/etc/passwd", "/etc/shadow", "/etc/group", "/etc/gshadow")
FIREWALL = ("/etc/ufw", "/etc/ufw/user.rules", "/etc/ufw/user6.rules", "/etc/ufw/ufw.conf", "/etc/default/ufw")
SSHD = ("/etc/ssh", "/etc/ssh/sshd_config", "/etc/ssh/sshd_config.d", "/etc/ssh/sshd_config.d/*")
UNITS = ("/etc/systemd/system", "/etc/systemd/system/*.wants", "/etc/systemd/system/*.requires")


class Moment(NamedTuple):
    """When something changed, in seconds since 1970: then, or with ``latest`` then or earlier."""

    at: float
    latest: bool = False


def moment(found: Difference, after: float, traces: Traces) -> Moment | None:
    """When a difference came about; None where nothing says so.

    :arg after: when it was not there yet: a time before that is another change's.
    """
    when = _moment(found, after, traces)
    return when if when and when.at >= after else None


def _moment(found: Difference, after: float, traces: Traces) -> Moment | None:
    thing, what = found.thing, found.what
    if thing.kind in PATHS:
        return _of_path(Path(thing.name), what, after)
    if thing.kind == "names":
        return _of_path(Path(thing.name, what), "", after)
    if thing.kind == "package":
        named = [one.begin for one in traces.transactions if thing.name in one.packages]
        return Moment(max(named)) if named else None
    if thing.kind in ("user", "group"):
        noted = [one.at for one in traces.accounts if f"'{thing.name}'" in one.message or f" {thing.name} " in f"{one.message} "]
        return Moment(max(noted)) if noted else _latest(ACCOUNTS)
    if thing.kind == "unit":
        return _of_unit(found, after)
    return {"firewall": _latest(FIREWALL), "sshd": _latest(SSHD)}.get(thing.kind)


def _of_path(path: Path, what: str, after: float) -> Moment | None:
    try:
        seen = path.lstat()
    except OSError:
        return _latest([str(path.parent)])
    if what == "something there":
        return None
    # When it was last written, if that is not what somebody has set; owner and mode, and a name, change with the inode.
    written = seen.st_mtime if what in ("content", "") and after <= seen.st_mtime <= seen.st_ctime else seen.st_ctime
    return Moment(written)


def _latest(patterns: Iterable[str]) -> Moment | None:
    """When the last of some files changed: what is asked about did not change later."""
    times = [_changed(path) for pattern in patterns for path in Path("/").glob(pattern.lstrip("/"))]
    return Moment(max(times), latest=True) if any(times) else None


def _changed(path: Path) -> float:
    """When its inode changed; 0 where it is gone."""
    try:
        return path.lstat().st_ctime
    except OSError:
        return 0.0


def _of_unit(found: Difference, after: float) -> Moment | None:
    if found.what == "state":
        # systemd's own clock begins with the boot.
        since = attempt(["systemctl", "show", "--property=StateChangeTimestampMonotonic", "--value", "--", found.thing.name])[1].strip()
        if since.isdigit() and int(since):
            return Moment(time.time() - (time.clock_gettime(time.CLOCK_MONOTONIC) - int(since) / 1e6))
        # It forgets a unit that is off and not on at boot.
        noted = journal(after, "_PID=1", f"UNIT={found.thing.name}")
        return Moment(at(noted[-1])) if noted else None
    if found.what in ("unit file", "drop-ins"):
        new = set(found.now.split()) - set(found.was.split())
        return Moment(max(map(_changed, map(Path, new)))) if new else None
    return _latest(UNITS)
