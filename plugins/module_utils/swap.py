# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""A swap file: how large, and where there is none."""

from __future__ import annotations

import re
from typing import NamedTuple

MIB = 2**20
GIB = 2**30
#: Memory up to, and the share of it that is swap. Red Hat, "Recommended system swap space" (RHEL 9, Managing storage devices): twice the
#: memory up to 2 GB, as much as memory up to 8 GB, at least 4 GB beyond.
TABLE = ((2 * GIB, 2.0), (8 * GIB, 1.0))
LARGEST = 4 * GIB
#: Of the free disk no more than this share goes to swap: the database lives there, too.
DISK_SHARE = 0.25
SMALLEST = 256 * MIB
#: File systems on which a plain file can be swapped to. On btrfs it must not be copied on write, on ZFS it deadlocks.
FILE_SYSTEMS = ("ext2", "ext3", "ext4", "xfs")


class Host(NamedTuple):
    """What a host has."""

    memory: int
    free: int
    file_system: str
    #: Name of the container's technology; empty on a machine.
    container: str
    #: Active swap that is not ours.
    others: tuple[str, ...]


class Plan(NamedTuple):
    """Bytes of the swap file; 0 and why, where there is none."""

    size: int
    why: str


def plan(host: Host, wanted: str) -> Plan:
    """How large the swap file is to be.

    :arg wanted: auto, none, or a size as 2G.
    """
    if wanted == "none":
        return Plan(0, "base_swap is none")
    if host.container:
        return Plan(0, f"this is a container ({host.container}), whose host swaps for it")
    if host.others:
        return Plan(0, f"there is swap already: {', '.join(host.others)}")
    if host.file_system not in FILE_SYSTEMS:
        return Plan(0, f"a file on {host.file_system or 'this file system'} cannot simply be swapped to; make a swap partition")
    size = parsed(wanted) if wanted != "auto" else _by_memory(host.memory)
    if wanted == "auto":
        size = min(size, int(host.free * DISK_SHARE) // MIB * MIB)
    if size < SMALLEST or size > host.free - GIB:
        return Plan(0, f"the disk has {host.free // MIB} MB free, and swap would take too much of it")
    return Plan(size, "")


def _by_memory(memory: int) -> int:
    factor = next((factor for limit, factor in TABLE if memory <= limit), 0.0)
    return min(int(memory * factor), LARGEST) // MIB * MIB if factor else LARGEST


def parsed(text: str) -> int:
    """Bytes of 512M or 2G; ValueError for anything else."""
    found = re.fullmatch(r"([1-9]\d{0,5})([MG])", text)
    if not found:
        raise ValueError(f"{text!r} is no size")
    return int(found[1]) * (GIB if found[2] == "G" else MIB)
