"""The machines of molecule/preflight are data: each names a finding that there is, and its shell can be read."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

from ansible_collections.slipway.vps.plugins.module_utils.preflight.finding import known
from ansible_collections.slipway.vps.plugins.module_utils.preflight.needs import Needs

from ..conftest import ROOT
from ..inventory import Inventory


def module() -> ModuleType:
    """molecule/shared/tests/prepared.py, which only the scenario imports."""
    spec = importlib.util.spec_from_file_location("slipway_prepared", ROOT / "molecule/shared/tests/prepared.py")
    assert spec and spec.loader
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = loaded
    spec.loader.exec_module(loaded)
    return loaded


PREPARED = module()
HOSTS, CROWDS = PREPARED.HOSTS, PREPARED.CROWDS


def test_there_are_many_and_each_is_one_of_its_own() -> None:
    """[F3] At least 25; every kind of finding that a container can show."""
    assert len(HOSTS) >= 25 and len({host.name for host in HOSTS}) == len(HOSTS)
    kinds = {host.id.partition(":")[0] for host in HOSTS}
    assert kinds >= {
        "port",
        "site",
        "nginx",
        "database",
        "role",
        "firewall",
        "user",
        "group",
        "path",
        "unit",
        "file",
        "apt",
        "system",
        "disk",
        "noexec",
    }


def test_the_crowds_are_of_them() -> None:
    """[F3] The short form has at least 25; of each finding one is on a machine, and what is only said is not lost beside what refuses."""
    by_name = {host.name: host for host in HOSTS}
    crowds = [[by_name[name] for name in names] for names in CROWDS]
    assert sum(map(len, crowds)) >= 25
    for crowd in crowds:
        assert len({host.id for host in crowd}) == len(crowd) and len({host.warns for host in crowd}) == 1


def test_each_names_a_finding_that_the_contract_knows(tmp_path: Path) -> None:
    """[F3] For the app of the scenario."""
    inventory = Inventory(tmp_path, {"demo": {"app_domains": ["demo.slipway.test"]}})
    ids = known(Needs.of(inventory.app("demo")["machine"]))
    assert not [host.id for host in HOSTS if host.id not in ids]


def test_each_is_a_few_lines_of_shell() -> None:
    for host in HOSTS:
        result = subprocess.run(["sh", "-n", "-c", host.shell], capture_output=True, text=True, check=False)
        assert result.returncode == 0 and host.shell.count("\n") < 14, f"{host.name}: {result.stderr}"
