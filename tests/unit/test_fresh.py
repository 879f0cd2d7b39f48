"""A connection that shares nothing with the one that is kept open: what ssh is told, how often it is tried, what is said of a failure."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.errors import AnsibleError
from ansible_collections.slipway.vps.plugins.plugin_utils.fresh import PAUSE, TRIES, Fresh, Login

from .conftest import ROOT


class Connection:
    """As much of Ansible's ssh connection as is used."""

    def __init__(self, **options: Any) -> None:
        self._options: dict[str, Any] = {"ssh_args": "-o ControlMaster=auto -o ControlPersist=10m", "remote_user": "root", "password": "pw"}
        self._options |= {"use_tty": True, "pipelining": True, **options}
        self._play_context = type("Context", (), {"password": "pw"})()
        self.resets = 0

    def get_option(self, name: str) -> Any:
        return self._options[name]

    def _build_command(self) -> None:
        """Only Ansible's own ssh plugin has it."""

    def reset(self) -> None:
        self.resets += 1


class Action:
    """As much of an action plugin: what each attempt comes to, and with which connection it was made."""

    def __init__(self, connection: Any, *outcomes: Any) -> None:
        self._connection, self.outcomes = connection, list(outcomes)
        self.used: list[Any] = []

    def _get_remote_user(self) -> str:
        return str(self._connection.get_option("remote_user"))

    def _low_level_execute_command(self, command: str, sudoable: bool = True) -> dict[str, Any]:
        self.used.append((self._connection, command, sudoable))
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, str):
            raise AnsibleError(outcome)
        return {"rc": 0, "stdout": "0\n", "stderr": "", **outcome}


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    slept: list[float] = []
    monkeypatch.setattr("time.sleep", slept.append)
    return slept


def test_nothing_is_shared_with_the_connection_that_is_open() -> None:
    """[K5] What is said first counts to ssh; the kept one is untouched, and is back afterwards."""
    kept = Connection()
    action = Action(kept, {})
    assert Fresh(action).login() == Login("root", True, "a new SSH connection")
    (used, command, sudoable) = action.used[0]
    assert used is not kept and action._connection is kept and (command, sudoable) == ("id -u", True)
    words = used.get_option("ssh_args")
    assert words.index("ControlPath=none") < words.index("ControlMaster=auto") and words.index("ControlMaster=no") < words.index(
        "ControlPersist=10m"
    )
    assert kept.get_option("ssh_args") == "-o ControlMaster=auto -o ControlPersist=10m" and kept._play_context.password == "pw"
    assert used.get_option("use_tty") is False
    # ssh's own retries would come at once.
    assert used.get_option("reconnection_retries") == 0


def test_by_key_means_by_nothing_else() -> None:
    """[K5] Also where the run was told a password."""
    action = Action(Connection(), {}, {})
    assert Fresh(action).login(user="ada", port=2222, by_key=True).ok
    used = action.used[0][0]
    assert "PreferredAuthentications=publickey" in used.get_option("ssh_args") and "BatchMode=yes" in used.get_option("ssh_args")
    assert (used.get_option("password"), used._play_context.password) == (None, None)
    assert (used.get_option("remote_user"), used.get_option("port")) == ("ada", 2222)
    assert Fresh(action).login().ok and action.used[1][0].get_option("password") == "pw"


def test_tries_are_few_and_far_between(pauses: list[float]) -> None:
    """[K5] `ufw limit` refuses the sixth new connection in 30 s, and begins anew with each; sshd's penalty for a refusal lasts 5 s."""
    action = Action(Connection(), "timed out", "timed out", {})
    assert Fresh(action).login().ok and pauses == [PAUSE, PAUSE]
    action = Action(Connection(), *["timed out"] * 9)
    assert not Fresh(action).login().ok and len(action.used) == TRIES
    in_half_a_minute = 1 + int(30 // PAUSE)
    # And those before the change: the run's own, whether it has a key, two admins.
    assert in_half_a_minute + 2 <= 5 and PAUSE > 5 and TRIES * 10 + (TRIES - 1) * PAUSE < 60


@pytest.mark.parametrize(
    ("outcome", "why"),
    [
        (
            "Failed to connect to the host via ssh: Warning: Permanently added 'x'\nada@x: Permission denied (publickey).",
            "ada@x: Permission denied (publickey).",
        ),
        ({"rc": 1, "stdout": "", "stderr": "sudo: a password is required\n"}, "sudo: a password is required"),
        ({"rc": 3, "stdout": "", "stderr": ""}, "the command ended with status 3"),
    ],
)
def test_the_reason_is_sshs_own(outcome: Any, why: str) -> None:
    """[F8] One line; and whoever comes in but does not become root has not come in."""
    assert Fresh(Action(Connection(), outcome), tries=1).login(user="ada") == Login("ada", False, why)


def test_where_there_is_no_ssh() -> None:
    """[K5] Docker, local: the connection is made anew, and it is said that this proves less; somebody else cannot be asked for."""

    class Docker(Connection):
        _build_command = property()

    kept = Docker()
    action = Action(kept, {}, {"stdout": "x\n"})
    assert Fresh(action).login() == Login("root", True, "a new connection, not over SSH") and kept.resets == 1
    assert Fresh(action, tries=1).login(by_key=True) == Login("root", False, "this run does not come in over SSH")


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("192.0.2.7 50000 203.0.113.1 2222\nada\n", (True, "ada", "192.0.2.7", 2222)),
        ("2001:db8::7 50000 2001:db8::1 22\nroot\n", (True, "root", "2001:db8::7", 22)),
        ("root\n", (False, "root", "", 0)),
    ],
)
def test_how_the_run_comes_in(said: str, expected: tuple[Any, ...]) -> None:
    """[K5] As the user who logged in: sudo drops the variable."""
    action = Action(Connection(), {"stdout": said})
    session = Fresh(action).session()
    assert (session.ssh, session.user, session.address, session.port) == expected and action.used[0][2] is False


# --- With Ansible itself, and a program instead of ssh ------------------------------------------------------------------------------------

SSH = """#!{python}
import subprocess, sys
words = sys.argv[1:]
options = [w for w in words if w.startswith(("Control", "User=", "Port=", "PreferredAuthentications"))]
with open("{log}", "a") as log:
    print(*options, file=log)
if "ControlPath=none" in words and open("{answer}").read().strip() == "refused":
    sys.stderr.write("web1: Permission denied (publickey).\\n")
    sys.exit(255)
command = " ".join(words[words.index("web1") + 1 :])
sys.exit(subprocess.run(["/bin/sh", "-c", command]).returncode)
"""
PLAY = """
- hosts: web1
  gather_facts: false
  tasks:
    - slipway.vps.guard:
        name: test
        state: proven
        tries: 1
"""


@pytest.fixture(params=["linear", "slipway.vps.mitogen"])
def proven(tmp_path: Path, request: pytest.FixtureRequest) -> Callable[[str], tuple[subprocess.CompletedProcess[str], list[str]]]:
    """Run a play that proves, against an ssh that answers as told."""
    log, answer, program = tmp_path / "log", tmp_path / "answer", tmp_path / "ssh"
    program.write_text(SSH.format(python=sys.executable, log=log, answer=answer))
    program.chmod(0o755)
    (tmp_path / "play.yml").write_text(PLAY)
    variables = {
        **{"ansible_ssh_executable": str(program), "ansible_python_interpreter": sys.executable, "ansible_user": "ada"},
        **{"ansible_pipelining": True, "ansible_remote_tmp": str(tmp_path / "tmp")},
    }
    (tmp_path / "hosts.yml").write_text(json.dumps({"all": {"hosts": {"web1": variables}}}))

    def run(how: str) -> tuple[subprocess.CompletedProcess[str], list[str]]:
        answer.write_text(how)
        log.write_text("")
        settings = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_HOME": str(tmp_path), "ANSIBLE_NOCOLOR": "1"}
        settings |= {"ANSIBLE_COLLECTIONS_PATH": str(ROOT / "collections"), "ANSIBLE_STRATEGY": request.param}
        words = [str(Path(sys.executable).parent / "ansible-playbook"), "-i", str(tmp_path / "hosts.yml"), str(tmp_path / "play.yml")]
        result = subprocess.run(words, env=settings, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
        return result, [line for line in log.read_text().splitlines() if line]

    return run


def test_ansibles_own_plugin_takes_it(proven: Callable[[str], tuple[subprocess.CompletedProcess[str], list[str]]]) -> None:
    """[K5] One connection apart from the kept one, as the inventory's user; then the module over the kept one."""
    result, asked = proven("come in")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "ControlPath=none" in asked[0].split()[1] and 'User="ada"' in asked[0]
    assert len(asked) > 1 and not any("ControlPath=none" in line for line in asked[1:])


def test_a_refusal_fails_the_task(proven: Callable[[str], tuple[subprocess.CompletedProcess[str], list[str]]]) -> None:
    """[K5] With ssh's words; the change is taken back over the kept connection."""
    result, asked = proven("refused")
    assert result.returncode == 2 and "a new connection as ada does not come in" in result.stdout, result.stdout + result.stderr
    assert "Permission denied (publickey)" in result.stdout
    assert "ControlPath=none" in asked[0] and len(asked) > 1 and not any("ControlPath=none" in line for line in asked[1:])
