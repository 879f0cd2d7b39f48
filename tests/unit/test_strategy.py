"""The strategy slipway.vps.mitogen: carried by Mitogen where it can be, else as Ansible does it, after a warning."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from ansible_collections.slipway.vps.plugins.strategy import mitogen

from .conftest import ROOT

PLAY = """
- hosts: localhost
  connection: ssh
  gather_facts: false
  tasks:
    - name: Who carries it
      ansible.builtin.ping:
      ignore_unreachable: true
"""


def run(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """A play whose only task finds no sshd: its failure shows who has asked for the connection."""
    (folder / "play.yml").write_text(PLAY)
    settings = {"ANSIBLE_COLLECTIONS_PATH": str(ROOT / "collections"), "ANSIBLE_STRATEGY": "slipway.vps.mitogen", "ANSIBLE_NOCOLOR": "1"}
    settings |= {"ANSIBLE_SSH_EXECUTABLE": "/bin/false", "ANSIBLE_HOME": str(folder), "ANSIBLE_DEPRECATION_WARNINGS": "0"}
    words = [str(Path(sys.executable).parent / "ansible-playbook"), "-vvv", "-i", "localhost,", str(folder / "play.yml")]
    return subprocess.run(
        words, env={**os.environ, **settings, **environment}, cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )


def test_mitogen_carries_the_tasks(tmp_path: Path) -> None:
    """What fails is Mitogen's connection."""
    said = run(tmp_path)
    assert "EOF on stream" in said.stdout and "[WARNING]: Mitogen" not in said.stdout + said.stderr, said.stdout + said.stderr


def test_without_mitogen_the_tasks_run_as_ever(tmp_path: Path) -> None:
    """[F8] The warning says what to install."""
    (tmp_path / "ansible_mitogen.py").write_text("raise ImportError('it was removed')\n")
    said = run(tmp_path, PYTHONPATH=str(tmp_path))
    assert "Failed to connect to the host via ssh" in said.stdout, said.stdout + said.stderr
    assert "Mitogen is not installed (it was removed): pip install mitogen==" in said.stderr, said.stderr


@pytest.mark.parametrize("version", ["2.18.9", "2.22.0", "2.22.0rc1"])
def test_a_version_that_mitogen_was_not_tested_with(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    """[F8] Nothing of Mitogen is used."""
    monkeypatch.setattr(mitogen, "__version__", version)
    assert mitogen.mixin() == (mitogen.Nothing, f"Mitogen was not tested with ansible-core {version}")
