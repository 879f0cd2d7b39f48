# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""The app: what its logs tell, whether its workers keep up, its releases, and its files."""

from __future__ import annotations

import json
import os
import stat
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.files import read_json
from ..core.run import Account, as_account, attempt
from ..core.units import is_active
from . import clues
from .findings import BrokenHopError, Seen, TroubleError

if TYPE_CHECKING:
    from ..hops import RequestPath

#: Looks at the queue of the socket, and seconds between them: a request may wait for a moment without harm.
LOOKS, PAUSE = 5, 0.1
#: Seconds for which a step of a deploy may be at work without its lock being renewed.
STALE = 600
#: Releases in these states are somebody's work.
UNFINISHED = ("building", "built", "migrating", "ready", "starting")
#: Bytes of the end of nginx's log that are read.
LOG_BYTES = 2**20


def why(unit: str) -> Seen:
    """Why a unit of the app does not run: by what systemd knows, and what its journal says."""
    words = ("Result", "ActiveState", "NRestarts", "ExecMainStatus")
    shown = attempt(["systemctl", "show", *(f"--property={name}" for name in words), unit])[1]
    state = dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)
    lines = attempt(["journalctl", "--no-pager", "--output=cat", "--lines=60", f"--unit={unit}"])[1].splitlines()
    again = state.get("NRestarts", "0")
    values = {"unit": unit}
    if state.get("Result") == "oom-kill":
        return Seen("out-of-memory", f"{unit}: killed for want of memory", values)
    stopped = state.get("ActiveState") == "inactive" and state.get("Result") == "success"
    clue = None if stopped else clues.first(lines)
    if clue:
        return Seen(clue.problem, clue.evidence, {**values, **clue.values})
    last = next((line for line in reversed(lines) if line.strip()), "no word in its journal")
    if again.isdigit() and int(again) > 1 and state.get("ActiveState") != "inactive":
        return Seen("crash-loop", f"{unit}: started {again} times; {last}", values)
    return Seen("server-down", f"{unit}: {state.get('ActiveState')}, {state.get('Result')}; {last}", values)


def processes(path: RequestPath) -> str:
    """What the app runs besides its server."""
    live = path.releases.live_id()
    units = list(path.known.units(live, path.releases.live()))[2:] if live else []
    down = [unit for unit in units if not is_active(unit)]
    if down:
        raise TroubleError([Seen("process-down", f"{unit}: {why(unit).evidence}", {"unit": unit}) for unit in down])
    return ", ".join(units) or "none"


def queue(path: RequestPath) -> str:
    """Requests do not wait at the socket for a free worker."""
    least = 1 << 30
    for _ in range(LOOKS):
        waiting = backlog(attempt(["ss", "--no-header", "--listening", "--unix"])[1], str(path.known.socket))
        if waiting is None:
            return "not known"
        least = min(least, waiting)
        if not least:
            return "nobody waits"
        time.sleep(PAUSE)
    raise BrokenHopError(f"{least} connections wait at {path.known.socket} for {LOOKS * PAUSE:.1f} s", "workers-saturated", queued=least)


def backlog(said: str, socket: str) -> int | None:
    """The connections that wait at a socket, from `ss`."""
    for line in said.splitlines():
        parts = line.split()
        if len(parts) > 4 and socket in parts:
            return int(parts[2]) if parts[2].isdigit() else None
    return None


def lately(path: RequestPath) -> str:
    """What nginx and the app have said of requests within the last minutes."""
    # Of this start of the server alone: what an earlier one died of is over.
    run = attempt(["systemctl", "show", "--property=InvocationID", "--value", f"{path.name}@{path.releases.live_id()}.service"])[1].strip()
    match = [f"_SYSTEMD_INVOCATION_ID={run}", "+", f"INVOCATION_ID={run}"]
    lines = attempt(["journalctl", "--no-pager", "--output=cat", f"--since=-{clues.MINUTES}min", *match])[1] if run else ""
    found = [*clues.read(recent(Path(f"/var/log/nginx/{path.name}.error.log")), clues.NGINX)]
    found += clues.read(lines.splitlines(), clues.REQUESTS)
    unique = {seen.problem: seen for seen in reversed(found)}
    if unique:
        raise TroubleError([*unique.values()])
    return f"nothing within {clues.MINUTES} minutes"


def recent(log: Path, now: float | None = None) -> Iterator[str]:
    """The lines of nginx's error log of the last minutes; it writes local time."""
    since = (now or time.time()) - clues.MINUTES * 60
    try:
        with log.open("rb") as stream:
            stream.seek(max(0, log.stat().st_size - LOG_BYTES))
            lines = stream.read().decode(errors="replace").splitlines()
    except OSError:
        return
    for line in lines:
        try:
            at = time.mktime(time.strptime(line[:19], "%Y/%m/%d %H:%M:%S"))
        except ValueError:
            continue
        if at >= since:
            yield line


def release(path: RequestPath) -> str:
    """No deploy was cut off, and no dead run holds the lock."""
    lock = read_json(path.known.root / ".lease.json")
    held = False
    if lock:
        expires = _moment(str(lock.get("expires_at") or ""))
        held = expires > time.time()
        if not held and time.time() - expires > STALE:
            owner = f"{lock.get('owner')}@{lock.get('host')}" if lock.get("host") else str(lock.get("owner"))
            raise BrokenHopError(f"the lock of {owner} expired at {lock.get('expires_at')}", "lock-dead", owner=owner)
    if not held:
        live = path.releases.live_id()
        for manifest in path.releases.manifests():
            if manifest.get("state") in UNFINISHED and manifest["id"] != live:
                text = f"{manifest['id']}: {manifest['state']} since {manifest.get('created_at')}, and nobody deploys"
                raise BrokenHopError(text, "release-half", release=manifest["id"], state=manifest["state"])
    return "a deploy is at work" if held else "no deploy was cut off"


def _moment(text: str) -> float:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return 0.0
    return (found if found.tzinfo else found.replace(tzinfo=timezone.utc)).timestamp()


def uploads(path: RequestPath) -> str:
    """The app may write where it keeps files, and nginx may read what it serves of them."""
    account, proxy = Account.of(path.known.user, path.known.group), Account.of(path.known.proxy_user)
    shared = path.known.shared
    served = {shared / folder for folder in path.known.uploads.values()}
    found = []
    for place in sorted({shared, *served}):
        if place.is_dir() and not may(account, place, os.W_OK | os.X_OK):
            owner = attempt(["stat", "--format=%U:%G %a", str(place)])[1].strip()
            values = {"path": str(place), "user": path.known.user, "group": path.known.group}
            found.append(Seen("uploads-permissions", f"{place}: {owner}", values))
    for place in sorted(served) if not found else ():
        files = sorted((one for one in place.glob("*") if one.is_file()), key=lambda one: one.stat().st_mtime) if place.is_dir() else []
        # What was kept last: the folder may be right, and what is in it not.
        refused = [target for target, mode in ((place, os.X_OK), *((one, os.R_OK) for one in files[-1:])) if not may(proxy, target, mode)]
        if place.is_dir() and refused:
            found.append(Seen("uploads-unreadable", f"{refused[0]}: {stat.filemode(refused[0].stat().st_mode)}", {"path": str(refused[0])}))
    if found:
        raise TroubleError(found)
    return f"{len(served) + 1} folders"


def may(account: Account, place: Path, mode: int) -> bool:
    """Whether a user has access."""
    return bool(as_account(account, lambda: os.access(place, mode)))


def hops(path: RequestPath) -> str:
    """Requests come from visitors, and not from a proxy that nginx does not know."""
    log = Path(f"/var/log/nginx/{path.name}.access.log")
    try:
        with log.open("rb") as stream:
            stream.seek(max(0, log.stat().st_size - LOG_BYTES // 4))
            lines = stream.read().decode(errors="replace").splitlines()[1:][-400:]
    except OSError:
        return "no log yet"
    entries = []
    for line in lines:
        try:
            entries.append(json.loads(line))
        except ValueError:
            continue
    # A client may send the header itself: only when nearly all come from one address with it, that is a proxy.
    forwarded = [entry for entry in entries if entry.get("forwarded_for") and entry.get("remote_addr") == entry.get("peer")]
    if len(forwarded) >= 20 and len(forwarded) > 0.8 * len(entries):
        peers = [str(entry.get("peer")) for entry in forwarded]
        proxy = max(set(peers), key=peers.count)
        if peers.count(proxy) > 0.8 * len(peers):
            text = f"{peers.count(proxy)} of the last {len(entries)} requests came from {proxy} with X-Forwarded-For"
            raise BrokenHopError(text, "proxy-hops", proxy=proxy, hops=path.known.proxy_hops)
    return f"{path.known.proxy_hops} hop{'s' * (path.known.proxy_hops != 1)}"
