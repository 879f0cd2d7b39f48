"""Packages: dpkg is asked first, on the machine that the tests run on, and apt only for what is missing."""

from __future__ import annotations

import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.slipway.vps.plugins.action import packages

#: On each Debian; the one that nobody has is asked for beside them.
THERE, MISSING = ["dpkg", "libc6", "bash"], "slipway-no-such-package"


class Install(packages.ActionModule):
    """The plugin with a host: this one."""

    def __init__(self, names: Any) -> None:
        self._task = SimpleNamespace(args={"name": names})
        self.apt: list[dict[str, Any]] = []

    def _low_level_execute_command(self, cmd: str) -> dict[str, str]:
        return {"stdout": subprocess.run(cmd, shell=True, text=True, capture_output=True, check=False).stdout}

    def _execute_module(self, module_name: str, module_args: dict[str, Any], task_vars: Any) -> dict[str, Any]:
        assert module_name == "ansible.builtin.apt"
        self.apt.append(module_args)
        return {"changed": True}


@pytest.fixture(autouse=True)
def states(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """apt's notes of what came as a dependency."""
    monkeypatch.setattr(ActionBase, "run", lambda self, tmp, task_vars: {})
    monkeypatch.setattr(packages, "_STATES", str(tmp_path / "extended_states"))
    return tmp_path / "extended_states"


def asked(names: Any) -> list[dict[str, Any]]:
    """What apt was told."""
    install = Install(names)
    assert install.run()["changed"] is bool(install.apt)
    return install.apt


@pytest.mark.parametrize("names", [[], ["bash"], THERE])
def test_what_is_installed_is_no_matter_for_apt(names: list[str]) -> None:
    """[S1] Nor is apt asked for nothing."""
    assert asked(names) == []


@pytest.mark.parametrize("name", [MISSING, "bash=5.2", "bash:amd64", "bas*", "bash/stable", "https://example.com/x.deb"])
def test_the_rest_is(name: str) -> None:
    """[S1] With all names, so that apt sees them at once; what is more than a name is apt's to judge."""
    assert asked([*THERE, name]) == [
        {"name": [*THERE, name], "update_cache": True, "cache_valid_time": 3600, "install_recommends": False, "lock_timeout": 600}
    ]


def test_what_came_as_a_dependency_is_kept_for_its_own_sake(states: Path) -> None:
    """[S1] apt notes that; an upgrade by night would take it away with what needed it."""
    states.write_text(
        "Package: bash\nArchitecture: amd64\nAuto-Installed: 0\n\nPackage: dpkg-dev\nArchitecture: amd64\nAuto-Installed: 1\n\n"
    )
    assert asked(["bash", "dpkg"]) == []
    states.write_text("Package: dpkg\nArchitecture: amd64\nAuto-Installed: 1\n\nPackage: bash\nArchitecture: amd64\nAuto-Installed: 0\n")
    assert asked(["bash"]) == [] and len(asked(["bash", "dpkg"])) == 1


@pytest.mark.parametrize("names", [None, "bash", [""], [1], {"bash": 1}])
def test_anything_but_names_is_refused(names: Any) -> None:
    with pytest.raises(AnsibleActionFail, match="must be a list of packages"):
        Install(names).run()
