# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""What roles read off the machine, and that may change without anybody touching what they manage."""

from __future__ import annotations

import os
from pathlib import Path

#: The names under which `inputs` has them.
SYSTEM, KERNEL, SIZE, CLIENT = "the system", "the kernel", "the machine's size", "the address that this run comes from"


def facts() -> dict[str, str]:
    """The distribution, the kernel, memory and processors, and where the run comes from, where it comes over SSH."""
    system = Path("/etc/os-release").read_text(encoding="utf-8", errors="replace") if Path("/etc/os-release").exists() else ""
    version = {line for line in system.splitlines() if line.startswith(("ID=", "VERSION_ID="))}
    # To a sixteenth of a gigabyte: the kernel reserves a little more or less with each start.
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // (64 << 20)
    return {
        SYSTEM: " ".join(sorted(version)),
        KERNEL: os.uname().release,
        SIZE: f"{memory} {os.cpu_count()}",
        CLIENT: client(),
    }


def client(process: int | None = None, root: Path = Path("/proc")) -> str:
    """The address of SSH_CONNECTION; empty where there is none. sudo drops it: the processes that this one comes from have it."""
    number = process or os.getpid()
    while number > 1:
        try:
            environment = (root / str(number) / "environ").read_bytes().split(b"\0")
            status = (root / str(number) / "status").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""
        for entry in environment:
            if entry.startswith(b"SSH_CONNECTION="):
                return entry.partition(b"=")[2].split()[0].decode(errors="replace")
        number = next((int(line.split()[1]) for line in status.splitlines() if line.startswith("PPid:")), 0)
    return ""
