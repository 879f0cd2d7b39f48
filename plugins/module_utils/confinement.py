# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""How the commands of a deploy are confined: in the sandbox of what runs the app's code, and with limits of their own, so that a build or a
migration that wants too much ends itself and not what serves."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.slipway.vps.plugins.module_utils.slipway.core.delivery import FILE, Delivery
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core.sandbox import ANY, FULL, sandbox
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core.sandbox import properties as said
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core.units import journal, memory_available

MIB = 2**20
#: Bytes that a command leaves to what serves, and what it gets at least: when that is not there it is the first to go (OOMScoreAdjust).
RESERVE, LEAST = 128 * MIB, 256 * MIB
BUILD, APP = "build", "app"
#: What systemd notes of a unit that the kernel has ended for want of memory. With cgroup v1 it only sees the signal.
_RESULT = re.compile(r"Failed with result '([\w-]+)'")
_KILLED = re.compile(r"\bKilled\b|\bSIGKILL\b|signal 9\b|status=9/KILL|exited 137\b")

#: Packages that make machine code at run time, or bring a browser or node, which do; as the folders of their metadata begin.
JIT = (
    *("cairocffi", "jax", "jaxlib", "llvmlite", "lupa", "mini_racer", "numba", "playwright", "py_mini_racer", "pyppeteer", "pyvips"),
    *("soundfile", "taichi", "tensorflow", "torch", "triton"),
)
#: How they end where they may not: numba, LLVM, cffi's callbacks, LuaJIT, oneDNN, node. Tried with MemoryDenyWriteExecute.
_BARRED = re.compile(
    r"cannot allocate executable memory|Unable to allocate section memory|Cannot allocate write\+execute memory"
    r"|runtime code generation failed|could not create a primitive|Check failed: 12 == \(\*__errno_location"
)


@dataclass(frozen=True)
class Confinement:
    """What the model says of the app's sandbox and its limits."""

    #: Empty: the system's own.
    slice: str
    #: `app.sandbox`.
    sandbox: Mapping[str, Any]
    #: ``release_build_memory``.
    build_memory: str
    #: How the app comes by its secrets.
    secrets: Delivery

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Confinement:
        """From the module's parameter; what is not said is at its strictest."""
        return cls(
            slice=str(given.get("slice") or ""),
            sandbox=given.get("sandbox") or {},
            build_memory=str(given.get("build_memory") or "auto"),
            secrets=Delivery(Path(given["secrets_file"]), str(given.get("secrets_delivery") or FILE)).kept(),
        )

    def properties(self, kind: str, limit: str) -> Iterable[str]:
        """For systemd-run: of a command that builds, or that runs the app's code. ``limit``: as `memory_max` says."""
        level = str(self.sandbox.get("level") or FULL)
        if kind == BUILD:
            yield from said(sandbox(kind, level=level))
        else:
            network = str(self.sandbox.get("network") or ANY)
            yield from said(sandbox(kind, level=level, openings=self.sandbox, network=network))
        if self.slice:
            yield f"Slice={self.slice}"
        yield from ("OOMScoreAdjust=900", "OOMPolicy=kill", f"MemoryMax={limit}")

    def memory_max(self) -> str:
        """Most memory of a command that begins now; with swap it may be slow instead."""
        if self.build_memory != "auto":
            return self.build_memory
        return f"{max(LEAST, memory_available(self.slice) - RESERVE) // MIB}M"


def starved(unit: str, output: str, limit: str) -> str:
    """What to do about a command that was killed for want of memory; empty when it was not."""
    results = _RESULT.findall(noted := journal(unit, 20))
    if not (results[-1:] == ["oom-kill"] or _KILLED.search(output) or (results[-1:] == ["signal"] and _KILLED.search(noted))):
        return ""
    what = "The build" if "-build-" in unit else "The command"
    return (
        f"{what} ran out of memory: its limit was {limit} (release_build_memory). What serves was not touched. Give the machine more memory"
        " or swap, build less on it (app_source: {type: archive} or {type: package} with what is built already), or set the limit by hand."
    )


def barred(evidence: str) -> str:
    """What to do about an app that the sandbox kept from making machine code; empty when that is not what it died of."""
    if not _BARRED.search(evidence):
        return ""
    return "The app makes machine code at run time, which its sandbox refuses. Say app_sandbox_allow: [jit]."


def makes_code(environment: Path) -> list[str]:
    """Packages in a virtual environment that make machine code at run time."""
    found = (path.name.partition("-")[0].lower() for path in environment.glob("lib/python*/site-packages/*.dist-info"))
    return sorted({*found} & {*JIT})
