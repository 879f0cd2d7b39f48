"""How the roles ask sshd for its ports."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml

ROLES = Path(__file__).resolve().parents[2] / "roles"


@pytest.fixture(params=["firewall", "fail2ban"])
def question(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The command of a role, with a folder of the test's in place of the host's."""
    tasks = yaml.safe_load((ROLES / request.param / "tasks/configure.yml").read_text())
    text = next(str(task["ansible.builtin.shell"]) for task in tasks if task["name"].endswith("Ask sshd for its ports"))
    return text.replace("/usr/sbin/sshd", str(tmp_path / "sshd")).replace("/run/sshd", str(tmp_path / "run"))


def ask(question: str) -> tuple[int, str]:
    result = subprocess.run(["/bin/sh", "-c", question], capture_output=True, text=True, check=False)
    return result.returncode, result.stdout


@pytest.mark.parametrize("there", [True, False])
def test_an_sshd_that_has_not_started_yet(question: str, tmp_path: Path, there: bool) -> None:
    """[K2] With ssh.socket sshd has no folder before the first connection, and names no port without."""
    program, folder = tmp_path / "sshd", tmp_path / "run"
    program.write_text(f"#!/bin/sh\n[ -d {folder} ] || {{ echo Missing privilege separation directory >&2; exit 255; }}\necho port 2222\n")
    program.chmod(0o755)
    if there:
        folder.mkdir(mode=0o755)
    assert ask(question) == (0, "port 2222\n")
    assert folder.stat().st_mode & 0o777 == 0o755


def test_a_machine_without_sshd(question: str, tmp_path: Path) -> None:
    """[K2] Nothing is said, and nothing is made."""
    assert ask(question) == (0, "") and not (tmp_path / "run").exists()


def test_a_configuration_that_sshd_does_not_take(question: str, tmp_path: Path) -> None:
    """[K2] Its ports are not known then: the run stops before it changes the firewall."""
    program = tmp_path / "sshd"
    program.write_text("#!/bin/sh\nexit 255\n")
    program.chmod(0o755)
    assert ask(question)[0] == 255
