# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""What roles read off the machine, and that may change without anybody touching what they manage."""

from __future__ import annotations

import os
from pathlib import Path

#: The names under which `inputs` has them.
SYSTEM, KERNEL, SIZE, SESSION = "the system", "the kernel", "the machine's size", "the login that this run comes in by"


def facts() -> dict[str, str]:
    """The distribution, the kernel, memory and processors, and the login of this run, where it comes over SSH.

    Who comes in, from where and by which port decides which logins and ports are closed, and who is never banned.
    """
    system = Path("/etc/os-release").read_text(encoding="utf-8", errors="replace") if Path("/etc/os-release").exists() else ""
    version = {line for line in system.splitlines() if line.startswith(("ID=", "VERSION_ID="))}
    # To a sixteenth of a gigabyte: the kernel reserves a little more or less with each start.
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // (64 << 20)
    return {
        SYSTEM: " ".join(sorted(version)),
        KERNEL: os.uname().release,
        SIZE: f"{memory} {os.cpu_count()}",
        SESSION: session(),
    }


def session(process: int | None = None, root: Path = Path("/proc")) -> str:
    """``ada from 192.0.2.7 at port 22``; empty where this is no session of SSH.

    sudo drops SSH_CONNECTION: the processes that this one comes from have it.
    """
    number = process or os.getpid()
    while number > 1:
        try:
            environment = (root / str(number) / "environ").read_text(encoding="utf-8", errors="replace")
            status = (root / str(number) / "status").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""
        said = dict(entry.split("=", 1) for entry in environment.split("\0") if "=" in entry)
        # "address port address port": the client's, then the server's.
        if len(ends := said.get("SSH_CONNECTION", "").split()) == 4:
            return f"{said.get('LOGNAME') or said.get('USER', '')} from {ends[0]} at port {ends[3]}"
        number = next((int(line.split()[1]) for line in status.splitlines() if line.startswith("PPid:")), 0)
    return ""
