"""Two ways to cut a deploy off: the controller vanishes, or the module on the host is killed."""

from __future__ import annotations

import contextlib
import os
import queue
import re
import signal
import subprocess
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from deploys import ROOT, Outcome, invocation

#: Run on the host: kill the process that says a line in the journal, as soon as it has said it.
ASSASSIN = r"""
import json, os, signal, subprocess, sys, time
line, later = sys.argv[1], float(sys.argv[2])
follow = ["journalctl", "--follow", "--lines=0", "--identifier=slipway", "--output=json", "--output-fields=MESSAGE,_PID"]
journal = subprocess.Popen(follow, stdout=subprocess.PIPE)
signal.signal(signal.SIGALRM, lambda *_: journal.kill())
signal.alarm(1200)
print(os.getpid(), flush=True)
for entry in map(json.loads, journal.stdout):
    if entry["MESSAGE"] == line:
        time.sleep(later)
        try:
            os.kill(int(entry["_PID"]), signal.SIGKILL)
            print("killed", flush=True)
        except ProcessLookupError:
            print("too late", flush=True)
        break
journal.kill()
"""


class Assassin:
    """Waits on the host for the step of a deploy that is named in the journal's ``line``, and kills the module in it.

    Used as a context manager, so that it never outlives its test.
    """

    def __init__(self, host: Any, line: str, later: float = 0) -> None:
        self.host = host
        self.command = ["docker", "exec", host.backend.get_hostname(), "python3", "-c", ASSASSIN, line, str(later)]

    def __enter__(self) -> Assassin:
        self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout
        self.pid = int(self.process.stdout.readline())
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.host.run(f"kill {self.pid}")
            self.process.kill()
        self.process.wait()

    def result(self) -> str:
        """killed, too late, or nothing when the line never came."""
        try:
            return self.process.communicate(timeout=5)[0].strip()
        except subprocess.TimeoutExpired:
            return ""


class Run:
    """A playbook in the background, that can be killed at a task with all that it started on this machine."""

    def __init__(self, name: str, host: Any, variables: dict[str, Any], user: str = "ada") -> None:
        command, environment = invocation(ROOT / f"playbooks/{name}.yml", host, variables)
        # Without Mitogen: it ends what it began on the host when the controller vanishes, which is the easier case.
        environment |= {"ANSIBLE_DISPLAY_SKIPPED_HOSTS": "1", "USER": user, "ANSIBLE_STRATEGY": "linear"}
        self.process = subprocess.Popen(
            command, cwd=ROOT, env=environment, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        self.lines: list[str] = []
        self._news: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def __enter__(self) -> Run:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.process.poll() is None:
            self.kill()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.lines.append(line)
            self._news.put(line)
        self._news.put(None)

    def until(self, task: str, timeout: float = 600) -> bool:
        """Wait until the task has ended, well or not; False when the run ends without it."""
        deadline, reached = time.monotonic() + timeout, False
        while (line := self._news.get(timeout=max(0.1, deadline - time.monotonic()))) is not None:
            if line.startswith("TASK ["):
                reached = task in line
            elif reached and re.match(r"(ok|changed|skipping|included|fatal): ", line):
                return True
        return False

    def kill(self) -> None:
        """As a closed laptop does: Ansible, its workers and their connections are gone at once. What they began on the host is not."""
        for pid in descendants(self.process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()

    def outcome(self, timeout: float = 1200) -> Outcome:
        status = self.process.wait(timeout)
        while self._news.get(timeout=10) is not None:
            pass
        return Outcome(status, "".join(self.lines))


def descendants(root: int) -> list[int]:
    """``root`` and all processes that come from it."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(folder.name))
    found = [root]
    for pid in found:
        found += children.get(pid, [])
    return found
