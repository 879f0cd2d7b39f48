# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""systemd's units and their journal."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

from .run import CommandError, attempt, command, tail

#: How `journalctl --show-cursor` begins its last line.
CURSOR = "-- cursor: "
#: States of a unit that runs, starts, or waits to be restarted.
SERVING = "active,activating,reloading"


def is_active(unit: str) -> bool:
    """Whether a unit runs."""
    return attempt(["systemctl", "is-active", "--quiet", unit])[0] == 0


def is_ending(unit: str) -> bool:
    """Whether a unit has been told to stop, and finishes what it has begun."""
    return command("systemctl", "show", "--property=ActiveState", "--value", unit).strip() == "deactivating"


def instances(template: str, states: str = f"{SERVING},deactivating") -> list[str]:
    """Units of a template (`blog` for `blog@.service`) that run, start, end or wait to be restarted."""
    listed = command(
        *("systemctl", "list-units", "--plain", "--no-legend", "--full", "--type=service"),
        *(f"--state={states}", f"{template}@*.service"),
    )
    return [line.split()[0] for line in listed.splitlines() if line.split()]


def serving_units(template: str) -> list[str]:
    """Instances of a template, without those that are ending: they take no new requests.

    In one question: asked for afterwards, one that was ending may have ended, and is no longer known to have been told to.
    """
    return instances(template, SERVING)


def journal(unit: str, lines: int = 30) -> str:
    """The last lines of the unit's last run. They are evidence of something else: that they cannot be read is no failure."""
    try:
        run = command("systemctl", "show", "--property=InvocationID", "--value", unit).strip()
        match = [f"_SYSTEMD_INVOCATION_ID={run}", "+", f"INVOCATION_ID={run}"] if run else [f"--unit={unit}"]
        return command("journalctl", "--no-pager", "--output=cat", f"--lines={lines}", *match).strip()
    except CommandError as error:
        return f"(the journal of {unit} cannot be read: {tail(str(error), 3)})"


def show(names: Sequence[str], *units: str) -> list[dict[str, str]]:
    """Properties of units, as systemd has them; times in UTC."""
    said = command("systemctl", "show", *(f"--property={name}" for name in names), "--timestamp=utc", *units)
    return [dict(line.split("=", 1) for line in block.splitlines() if "=" in line) for block in said.strip().split("\n\n")]


def start_unit(unit: str) -> None:
    """Start a unit and wait until it is up; what the journal says of it is the error otherwise."""
    try:
        command("systemctl", "start", unit)
    except CommandError as error:
        raise CommandError(f"{journal(unit)}\n{error}".strip()) from error


def queue_unit(unit: str) -> None:
    """Have a unit started as soon as it can be, and do not wait for that."""
    command("systemctl", "start", "--no-block", unit)


def stop_units(*units: str) -> None:
    """Stop units and wait until they are down. One that cannot be stopped is left to the caller's next probe.

    One that had failed is forgotten: `systemctl --failed` shall not name what a refused release has left.
    """
    if not units:
        return
    for verb in ("stop", "reset-failed"):
        with contextlib.suppress(CommandError):
            command("systemctl", verb, *units)


def end_units(*units: str) -> None:
    """Tell units to stop and do not wait: systemd sees to the rest, also when nobody is left who waits."""
    if not units:
        return
    with contextlib.suppress(CommandError):
        command("systemctl", "stop", "--no-block", *units)


def reload_units() -> None:
    """Let systemd read its unit files again."""
    command("systemctl", "daemon-reload")


#: Where a slice has its files: with cgroup v2, and with v1; each with what it calls the limit and what is in use.
CGROUPS = (
    ("/sys/fs/cgroup", "memory.max", "memory.current"),
    ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
)


def memory_available(slice_unit: str = "") -> int:
    """Bytes that can be used without swapping, the kernel's own estimate; and within a slice, where one is named."""
    free = 0
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            free = int(line.split()[1]) * 1024
    left = headroom(slice_unit) if slice_unit else None
    return free if left is None else min(free, left)


def headroom(slice_unit: str) -> int | None:
    """Bytes until a slice's limit, what its files have in memory not counted: the kernel gives that back. None: it has no limit."""
    status, said = attempt(["systemctl", "show", "--property=ControlGroup", "--value", slice_unit])
    group = said.strip().strip("/")
    for root, limit, usage in CGROUPS if status == 0 and group else ():
        folder = Path(root, group)
        try:
            most, used = (folder / limit).read_text().strip(), int((folder / usage).read_text())
            files = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines() if len(line.split()) == 2)
        except (OSError, ValueError):
            continue
        # The children's, too: v1 says those by another name.
        cached = sum(int(files.get(f"total_{name}", files.get(name, 0))) for name in ("active_file", "inactive_file"))
        return max(0, int(most) - used + cached) if most.isdigit() and int(most) < 2**60 else None
    return None


def memory_used(unit: str) -> int:
    """Bytes that a unit uses now; 0 when systemd does not say."""
    said = command("systemctl", "show", "--property=MemoryCurrent", "--value", unit).strip()
    # "[not set]", or the largest number there is, where nothing is accounted.
    return int(said) if said.isdigit() and int(said) < 2**60 else 0


def journal_since(unit: str, cursor: Path, since: float) -> list[str]:
    """Lines of a unit that are new since the last call with the same ``cursor`` file; with the first call, since that time."""
    # journalctl takes a cursor's file or a time, not both.
    where = ("--cursor-file", str(cursor)) if cursor.exists() else (f"--since=@{since:.3f}", "--show-cursor")
    said = command("journalctl", "--no-pager", "--quiet", "--output=cat", f"--unit={unit}", *where).splitlines()
    if said and said[-1].startswith(CURSOR) and not cursor.exists():
        cursor.write_text(said.pop().removeprefix(CURSOR))
    return said


def journal_between(unit: str, since: float, until: float) -> list[str]:
    """Lines of a unit between two times, in seconds since 1970."""
    times = (f"--since=@{since:.3f}", f"--until=@{until:.3f}")
    return command("journalctl", "--no-pager", "--quiet", "--output=cat", f"--unit={unit}", *times).splitlines()
