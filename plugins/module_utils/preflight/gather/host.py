# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""The host as the gatherers ask it: files and commands, read-only, and never an error.

Tests put a folder and canned answers in its place.
"""

from __future__ import annotations

import os
import shutil
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from ...slipway.core.run import PATH, attempt

#: Seconds that one command may take: what is asked answers at once or not at all.
PATIENCE = 4.0
#: dpkg's list of packages is the largest file that is read.
_LARGEST = 20_000_000

Runner = Callable[[Sequence[str]], "tuple[int, str]"]


def run_here(words: Sequence[str]) -> tuple[int, str]:
    """Exit status and output of a command; 127 where there is none of that name."""
    program = shutil.which(words[0], path=PATH)
    return attempt([program, *words[1:]], timeout=PATIENCE) if program else (127, f"{words[0]} is not here")


def resolve_here(name: str) -> bool | None:
    """Whether a name has an address; None when nobody answers in time."""
    answers: list[bool] = []

    def ask() -> None:
        try:
            socket.getaddrinfo(name, None)
            answers.append(True)
        except OSError:
            answers.append(False)

    # The resolver cannot be told to be quick; a thread that hangs ends with this process.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(PATIENCE / 2)
    return answers[0] if answers else None


class Host:
    """The machine, or a folder that stands for it."""

    def __init__(self, root: Path = Path("/"), run: Runner = run_here, resolve: Callable[[str], bool | None] = resolve_here) -> None:
        self.root = root
        self._run = run
        self.resolve = resolve
        #: What could not be asked for.
        self.unknown: list[str] = []

    def path(self, path: str) -> Path:
        return self.root / path.lstrip("/")

    def text(self, path: str) -> str:
        """A file's text; empty where it is not there or cannot be read."""
        try:
            with self.path(path).open(encoding="utf-8", errors="replace") as stream:
                return stream.read(_LARGEST)
        except OSError:
            return ""

    def bytes(self, path: str) -> bytes:
        """The same, as it is."""
        try:
            return self.path(path).read_bytes()
        except OSError:
            return b""

    def exists(self, path: str) -> bool:
        """Whether something has this name, be it a link that leads nowhere."""
        return os.path.lexists(self.path(path))

    def names(self, folder: str) -> list[str]:
        """What is in a folder, sorted; nothing where there is none."""
        try:
            return sorted(path.name for path in self.path(folder).iterdir())
        except OSError:
            return []

    def link(self, path: str) -> str:
        """What a link leads to, as it is written; empty for anything else."""
        try:
            return str(self.path(path).readlink())
        except OSError:
            return ""

    def real(self, path: str) -> str:
        """Where a path leads to, through all links, be it there or not."""
        root = os.path.realpath(self.root)
        return "/" + os.path.realpath(self.path(path)).removeprefix(root).lstrip("/")

    def run(self, *words: str) -> tuple[int, str]:
        """Exit status and output of a command; 127 where there is none of that name."""
        return self._run(words)

    def output(self, *words: str) -> str:
        """A command's output; empty when it failed."""
        status, said = self.run(*words)
        return said if status == 0 else ""

    def processes(self) -> Iterator[str]:
        """The ids of all processes."""
        return (name for name in self.names("/proc") if name.isdigit())
