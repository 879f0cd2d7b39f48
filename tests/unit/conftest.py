"""What the unit tests share."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from ansible.plugins.loader import init_plugin_loader

ROOT = Path(__file__).parents[2]
# Before any import of `ansible_collections`: Ansible's own importer cannot take the name over later.
init_plugin_loader([str(ROOT / "collections")])
Tool = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(scope="session")
def tool(tmp_path_factory: pytest.TempPathFactory) -> Tool:
    """Run one of Ansible's programs from the repository, with nothing of this machine's settings."""
    home = tmp_path_factory.mktemp("ansible")

    def run(name: str, *words: str) -> subprocess.CompletedProcess[str]:
        settings = {
            **{key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")},
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_HOME": str(home),
            "XDG_CACHE_HOME": str(home / "cache"),
            # Tests look for tasks and their results; what is printed for people: test_output.py.
            "SLIPWAY_OUTPUT": "full",
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_LOCALHOST_WARNING": "0",
            "LC_ALL": "C.UTF-8",
        }
        program = Path(sys.executable).parent / name
        return subprocess.run([program, *words], cwd=ROOT, env=settings, text=True, capture_output=True, timeout=300, check=False)

    return run
