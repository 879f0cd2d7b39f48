# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""A connection that shares nothing with the one that Ansible keeps open: the only proof that the next run comes in, too."""

from __future__ import annotations

import copy
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from ansible import constants
from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase
from ansible.plugins.connection import ConnectionBase
from ansible.plugins.loader import connection_loader

#: An attempt, and how long to wait for the next: with what a run has opened before, fewer than `ufw limit` counts (six in 30 s), and each
#: refusal's penalty (5 s, PerSourcePenalties of OpenSSH 9.8) is over before the next one.
TRIES, PAUSE = 3, 11.0
#: What is said first counts, to ssh: not the connection that is kept open.
_APART = "-o ControlMaster=no -o ControlPath=none -o ControlPersist=no"
_BY_KEY = "-o PreferredAuthentications=publickey -o PasswordAuthentication=no -o KbdInteractiveAuthentication=no -o BatchMode=yes"
#: Mitogen's plugins, and Ansible's own in whose place it puts them. By their full names it leaves those alone.
_OWN = {"mitogen_ssh": "ansible.builtin.ssh", "mitogen_docker": "community.docker.docker"}


@dataclass(frozen=True)
class Login:
    """Whether somebody comes in anew."""

    user: str
    ok: bool
    #: Why not, or with what it was proven.
    why: str


@dataclass(frozen=True)
class Session:
    """How this run comes in. All but ``user`` empty where that is not over SSH."""

    ssh: bool
    user: str
    #: Address of the controller, and port of sshd, as the host sees them.
    address: str = ""
    port: int = 0


class Fresh:
    """New connections to the host of a task."""

    def __init__(self, action: ActionBase, tries: int = TRIES, pause: float = PAUSE) -> None:
        self.action, self.tries, self.pause = action, tries, pause
        self.own = own_plugin(action)
        self.carried = self.own is not action._connection

    @property
    def ssh(self) -> bool:
        """Whether the run comes in over SSH; of others (docker, local) no second connection can be had."""
        return hasattr(self.own, "_build_command")

    def session(self) -> Session:
        """How this run comes in; asked over the connection that is open."""
        with self._over(self.own):
            said = self._ask("printenv SSH_CONNECTION; id -un", sudoable=False)["stdout"]
        # "client port server port"
        over_ssh = re.search(r"^(\S+) \d+ \S+ (\d+)$", said, flags=re.MULTILINE)
        user = (said.strip().splitlines() or [""])[-1]
        return Session(True, user, over_ssh[1], int(over_ssh[2])) if over_ssh and self.ssh else Session(False, user)

    def login(self, user: str = "", port: int = 0, by_key: bool = False) -> Login:
        """Come in anew and become who the task is, as often as `tries` says.

        :arg user: somebody else than the run's own user.
        :arg port: another than the run's own.
        :arg by_key: only with a key, whatever else the run was told.
        """
        found = self._try(user, port, by_key)
        for _ in range(self.tries - 1):
            if found.ok:
                break
            time.sleep(self.pause)
            found = self._try(user, port, by_key)
        return found

    def _try(self, user: str, port: int, by_key: bool) -> Login:
        user = user or str(self.action._get_remote_user() or "")
        try:
            with self._over(self._another(user, port, by_key)):
                said = self._ask("id -u")
        except AnsibleError as error:
            return Login(user, False, _reason(str(error.message)))
        if said["rc"] == 0:
            return Login(user, True, "a new SSH connection" if self.ssh else "a new connection, not over SSH")
        return Login(user, False, _reason(said["stderr"] or said["stdout"]) or f"the command ended with status {said['rc']}")

    def _ask(self, command: str, sudoable: bool = True) -> dict[str, Any]:
        """What a command answers, over the connection that the task has for the moment."""
        # Mitogen puts its own method into actions, too.
        execute = partial(ActionBase._low_level_execute_command, self.action) if self.carried else self.action._low_level_execute_command
        return dict(execute(command, sudoable=sudoable))

    @contextmanager
    def _over(self, connection: ConnectionBase) -> Iterator[None]:
        """For the time of a block the task has this connection."""
        kept, self.action._connection = self.action._connection, connection
        try:
            yield
        finally:
            self.action._connection = kept

    def _another(self, user: str, port: int, by_key: bool) -> ConnectionBase:
        """A new connection: AnsibleError where it is not over SSH and the user or the port is another."""
        if self.ssh:
            return self._apart(user, port, by_key)
        if port or by_key or user != str(self.action._get_remote_user() or ""):
            raise AnsibleError("this run does not come in over SSH")
        if not self.carried:
            self.own.reset()
        return self.own

    def _apart(self, user: str, port: int, by_key: bool) -> ConnectionBase:
        """An SSH connection like the one that is open, which shares nothing with it."""
        other = copy.copy(self.own)
        other._options, other._play_context = dict(self.own._options), copy.copy(self.own._play_context)
        changes: dict[str, Any] = {"ssh_args": f"{_APART} {_BY_KEY if by_key else ''} {other.get_option('ssh_args') or ''}"}
        changes |= {"reconnection_retries": 0, **({"remote_user": user} if user else {}), **({"port": port} if port else {})}
        # A terminal only where the run's own tasks need one.
        changes["use_tty"] = other.get_option("use_tty") and not other.get_option("pipelining")
        if by_key:
            changes["password"] = other._play_context.password = None
        for name, value in changes.items():
            other._options[name] = value
        return other


def own_plugin(action: ActionBase) -> ConnectionBase:
    """Ansible's own plugin for the connection of the task: the task's, or the one in whose place Mitogen has put its own."""
    kept = action._connection
    if getattr(kept, "_load_name", "") not in _OWN:
        return kept
    own = connection_loader.get(_OWN[kept._load_name], action._play_context, new_stdin=None)
    variables = action._templar.available_variables
    names = [name for name in constants.config.get_plugin_vars("connection", own._load_name) if name in variables]
    own.set_options(task_keys=action._task.dump_attrs(), var_options={name: action._templar.template(variables[name]) for name in names})
    own.set_become_plugin(kept.become)
    return own


def _reason(text: str) -> str:
    """The line that says it: ssh's last, after whatever it warns of."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1].removeprefix("Failed to connect to the host via ssh: ") if lines else ""
