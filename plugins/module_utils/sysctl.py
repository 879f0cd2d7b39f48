# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""Settings of the kernel: those that this kernel has, that nobody else has decided, and that may be changed here."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

#: Where settings of an operator may stand. /usr/lib is the distribution's, and ours comes after it.
PLACES = ("etc/sysctl.conf", "etc/sysctl.d/*.conf", "run/sysctl.d/*.conf", "usr/local/lib/sysctl.d/*.conf")


@dataclass
class Outcome:
    """What became of the wanted settings."""

    #: Written to the file, in order.
    kept: dict[str, str] = field(default_factory=dict)
    #: Other than now: name to the present value.
    differ: dict[str, str] = field(default_factory=dict)
    #: This kernel does not have them.
    absent: list[str] = field(default_factory=list)
    #: An operator's file says them: name to file.
    theirs: dict[str, str] = field(default_factory=dict)
    #: The kernel refuses them here (a container): name to reason.
    refused: dict[str, str] = field(default_factory=dict)


class Kernel:
    """The settings of a kernel, below ``root``."""

    def __init__(self, root: Path = Path("/")) -> None:
        self.root = root

    def path(self, name: str) -> Path:
        # A name may hold dots of its own behind a slash: net/ipv4/conf/eth0.100/forwarding.
        return self.root / "proc/sys" / (name if "/" in name else name.replace(".", "/"))

    def value(self, name: str) -> str:
        """The present value, blanks as one; empty where it cannot be read."""
        try:
            return " ".join(self.path(name).read_text().split())
        except OSError:
            return ""

    def network(self, name: str) -> bool:
        """Whether a container may change it. Its network is its own; all else, writable or not, is the kernel of others."""
        return name.startswith("net") and os.access(self.path(name), os.W_OK)

    def look(self, wanted: Mapping[str, str], own: Path) -> Outcome:
        """What is to be done; ``own`` is the file that is ours."""
        found, said = Outcome(), self._said(own)
        for name, value in wanted.items():
            if name in said:
                found.theirs[name] = said[name]
            elif not self.path(name).exists():
                found.absent.append(name)
            else:
                found.kept[name] = value
                if self.value(name) != " ".join(value.split()):
                    found.differ[name] = self.value(name)
        return found

    def apply(self, found: Outcome) -> list[str]:
        """Set what differs; the names of what was set."""
        done = []
        for name in found.differ:
            try:
                self.path(name).write_text(f"{found.kept[name]}\n")
                done.append(name)
            except OSError as error:
                found.refused[name] = str(error.strerror)
        return done

    def _said(self, own: Path) -> dict[str, str]:
        """What other files than ours say: name to file."""
        found = {}
        for path in (path for place in PLACES for path in sorted(self.root.glob(place))):
            text = path.read_text(errors="replace") if path.is_file() else ""
            # Files of this project come from the same hands.
            if path.resolve() == own.resolve() or "# slipway:" in text:
                continue
            found.update({name: f"/{path.relative_to(self.root)}" for name in names(text)})
        return found


def names(text: str) -> Iterator[str]:
    """The settings that a file of sysctl.d says."""
    for line in text.splitlines():
        if found := re.match(r"\s*-?\s*([\w.*/-]+)\s*=", line):
            yield found[1]


def rendered(found: Outcome, reasons: Mapping[str, str], head: Sequence[str]) -> str:
    """The file: each setting under its reason."""
    lines = [f"# {line}".rstrip() for line in head]
    for name, value in found.kept.items():
        if reasons.get(name):
            lines += ["", f"# {reasons[name]}"]
        lines.append(f"{name} = {value}")
    return "\n".join(lines) + "\n"
