# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""A command on the host of a task whose output comes while it runs, or which somebody else runs: the words that start it there.

The words are the connection plugin's own, with the inventory's address, user, port, key and arguments, and its way to become root.
"""

from __future__ import annotations

import copy
import os
import selectors
import shlex
import subprocess
from collections.abc import Callable, Sequence
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase
from ansible.plugins.become import BecomeBase
from ansible.plugins.connection import ConnectionBase
from ansible_collections.slipway.vps.plugins.plugin_utils.fresh import own_plugin

SHELL = "/bin/sh"
#: What sudo may not do where a person sits at the terminal: read the password from the command's input, or refuse to ask.
_NOT_AT_A_TERMINAL = ("-S", "-n")
Say = Callable[[str, str], None]


class Stream:
    """How the host of a task is reached."""

    def __init__(self, action: ActionBase) -> None:
        self.action, self.own = action, own_plugin(action)
        self.ssh = hasattr(self.own, "_build_command")

    @property
    def possible(self) -> bool:
        """Whether there are such words: over SSH with a key, and on the controller itself."""
        if self.ssh:
            return not (self.own.get_option("password") or self.own._play_context.password)
        return str(self.own.transport) == "local"

    @property
    def asks(self) -> bool:
        """Whether a password is needed to become who the task is."""
        return bool(self.own.become and self.own.become.get_option("become_pass"))

    def words(self, command: Sequence[str], terminal: bool = False) -> list[str]:
        """The words for somebody else: nothing but the command's own output comes back.

        :arg terminal: a person is at the other end, and answers what sudo asks.
        """
        return self._words(command, self.own.become and _quiet(self.own.become, terminal), terminal)

    def run(self, command: Sequence[str], say: Say) -> int:
        """Run it here; its exit status. ``say`` is told each line, as it comes, with `stdout` or `stderr`."""
        if not self.asks:
            return _attend(_started(self.words(command), subprocess.DEVNULL), say)
        become = copy.copy(self.own.become)
        process = _started(self._words(command, become), subprocess.PIPE)
        return _attend(process, say, _Door(process, become))

    def _words(self, command: Sequence[str], become: BecomeBase | None, terminal: bool = False) -> list[str]:
        """What the connection plugin would start."""
        seen: list[str] = []

        def catch(words: Any, in_data: bytes | None = None, sudoable: bool = True, checkrc: bool = True) -> tuple[int, bytes, bytes]:
            seen.extend([SHELL, "-c", words] if isinstance(words, str) else [os.fsdecode(word) for word in words])
            return 0, b"", b""

        other: ConnectionBase = copy.copy(self.own)
        other._options, other.become = dict(self.own._options), become
        if self.ssh:
            other._options["use_tty"], other._run = terminal, catch
        else:
            other.exec_command = catch
        kept, self.action._connection = self.action._connection, other
        try:
            # Not the action's own method: Mitogen has put its own there.
            ActionBase._low_level_execute_command(self.action, shlex.join(command), executable=SHELL)
        finally:
            self.action._connection = kept
        return seen


def _quiet(become: BecomeBase, terminal: bool) -> BecomeBase:
    """The same way to become somebody, without Ansible's line that says it has worked; at a terminal, without Ansible's answer either."""
    other = copy.copy(become)

    def plain(command: str, shell: Any, noexe: bool = False) -> str:
        exe = getattr(shell, "executable", None)
        return f"{exe} -c {shlex.quote(command)}" if exe and not noexe else shlex.quote(command)

    other._build_success_command = plain
    if terminal:
        flags = shlex.split(become.get_option("become_flags") or "")
        # sudo's default has all in one word each: -H -S -n.
        other._options = {
            **become._options,
            "become_pass": None,
            "become_flags": shlex.join(flag for flag in flags if flag not in _NOT_AT_A_TERMINAL),
        }
    return other


class _Door:
    """What comes before the command: the question for a password, and the line that says that it was right."""

    def __init__(self, process: subprocess.Popen[bytes], become: BecomeBase) -> None:
        self.process, self.become = process, become
        self.held = {"stdout": b"", "stderr": b""}
        self.answered = False

    def passed(self, channel: str, chunk: bytes) -> bytes | None:
        """What of the output is the command's; None as long as nothing is."""
        self.held[channel] += chunk
        said = b"".join(self.held.values())
        if self.become.check_success(self.held["stdout"]):
            self._answer(b"")
            return bytes(self.become.strip_become_success(self.held["stdout"]))
        if self.answered and self.become.check_incorrect_password(said):
            self.process.kill()
            raise AnsibleError(f"Incorrect {self.become.name} password")
        if not self.answered and self.become.check_password_prompt(said):
            self._answer(os.fsencode(str(self.become.get_option("become_pass"))) + b"\n")
        return None

    def _answer(self, text: bytes) -> None:
        """Once, and nothing more: the command has no input."""
        if self.process.stdin and not self.answered:
            self.answered = True
            self.process.stdin.write(text)
            self.process.stdin.close()


def _started(words: list[str], stdin: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(words, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def _attend(process: subprocess.Popen[bytes], say: Say, door: _Door | None = None) -> int:
    """Tell each line as it comes; the exit status."""
    rest = {"stdout": b"", "stderr": b""}
    with selectors.DefaultSelector() as waiting, process:
        for channel in rest:
            waiting.register(getattr(process, channel), selectors.EVENT_READ, channel)
        while waiting.get_map():
            for key, _ in waiting.select():
                chunk = os.read(key.fd, 65536)
                if not chunk:
                    waiting.unregister(key.fileobj)
                    continue
                if door:
                    passed = door.passed(key.data, chunk)
                    if passed is None:
                        continue
                    door, chunk = None, passed
                *lines, rest[key.data] = (rest[key.data] + chunk).split(b"\n")
                for line in lines:
                    say(key.data, line.decode(errors="replace"))
        if door:
            rest["stderr"] = b"".join(door.held.values())
        for channel, last in rest.items():
            if last:
                say(channel, last.decode(errors="replace").rstrip("\n"))
    return process.returncode
