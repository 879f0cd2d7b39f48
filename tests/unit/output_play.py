"""Small playbooks, played for real on this machine: what they print into a pipe, and on a terminal."""

from __future__ import annotations

import errno
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from .conftest import ROOT

ANSIBLE_PLAYBOOK = str(Path(sys.executable).parent / "ansible-playbook")
#: What takes the live line away.
CLEAR = "\r\x1b[K"
COLUMNS = 100


@dataclass(frozen=True)
class Said:
    """How a run ended, and what it printed."""

    status: int
    out: str
    err: str = ""

    @property
    def screen(self) -> str:
        """What is left on a terminal, without colours."""
        shown = (line.rpartition(CLEAR)[2].rpartition("\r")[2] for line in self.out.replace("\r\n", "\n").split("\n"))
        return re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(shown))

    @property
    def drawn(self) -> list[str]:
        """Every live line."""
        return [text for text in re.findall(r"\r\x1b\[K([^\r\n\x1b]+)", self.out) if "|" in text]

    def __str__(self) -> str:
        return f"exit {self.status}\n{self.out}\n--- stderr\n{self.err}"


class Stage:
    """A folder with an inventory of local hosts, and playbooks in it."""

    def __init__(self, folder: Path, *hosts: str, **variables: Any) -> None:
        self.folder = folder
        usual = {"ansible_connection": "local", "ansible_python_interpreter": "{{ ansible_playbook_python }}", **variables}
        (folder / "hosts.yml").write_text(yaml.safe_dump({"all": {"hosts": {host: {} for host in hosts or ("blog",)}, "vars": usual}}))

    def write(self, plays: list[dict[str, Any]] | str, name: str = "play.yml") -> None:
        """A playbook; of plays that say no hosts, for all of them."""
        usual = {"hosts": "all", "gather_facts": False}
        (self.folder / name).write_text(
            plays if isinstance(plays, str) else yaml.safe_dump([{**usual, **play} for play in plays], sort_keys=False)
        )

    def settings(self, **environment: str) -> dict[str, str]:
        told = ("ANSIBLE_", "SLIPWAY_", "CI", "COLUMNS", "LINES", "PYTHONUNBUFFERED")
        return {
            **{name: value for name, value in os.environ.items() if not name.startswith(told)},
            **{"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_HOME": str(self.folder / "ansible")},
            **{"XDG_CACHE_HOME": str(self.folder / "cache"), "LC_ALL": "C.UTF-8", "TERM": "xterm"},
            **environment,
        }

    def run(self, *words: str, name: str = "play.yml", program: Sequence[str] = (ANSIBLE_PLAYBOOK,), **environment: str) -> Said:
        """Into a pipe."""
        words = (*program, "-i", "hosts.yml", name, *words)
        settings = self.settings(**environment)
        done = subprocess.run(
            words, cwd=self.folder, env=settings, timeout=120, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        return Said(done.returncode, done.stdout, done.stderr)

    def on_terminal(
        self, *words: str, answer: Callable[[str, int], str] = lambda *_: "", name: str = "play.yml", **environment: str
    ) -> Said:
        """On a terminal.

        :arg answer: what somebody types who has read so much at that terminal, each time something is printed.
        """
        process, terminal = pty.fork()
        if not process:
            os.chdir(self.folder)
            os.execve(ANSIBLE_PLAYBOOK, [ANSIBLE_PLAYBOOK, "-i", "hosts.yml", name, *words], self.settings(**environment))
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, COLUMNS, 0, 0))
        text, deadline = b"", time.monotonic() + 120
        while read := read_terminal(terminal, deadline):
            text += read
            if typed := answer(text.decode(errors="replace"), terminal):
                os.write(terminal, typed.encode())
        if time.monotonic() > deadline:
            os.kill(process, signal.SIGKILL)
        os.close(terminal)
        return Said(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), text.decode())


def read_terminal(terminal: int, deadline: float) -> bytes:
    """What comes next; nothing once the other side is gone, or at the deadline."""
    if not select.select([terminal], [], [], max(0.0, deadline - time.monotonic()))[0]:
        return b""
    try:
        return os.read(terminal, 65536)
    except OSError as error:
        # How Linux says that the other side is gone.
        assert error.errno == errno.EIO
        return b""
