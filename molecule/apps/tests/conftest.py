"""Fixtures of the scenario: playbooks against entries of one machine, and visitors of one of its apps."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
from deploys import ROOT, Outcome, invocation, outcome_of
from fixtures import acme_root, address, neighbour
from load import OpenLoop
from machine import Play, Visit

__all__ = ["acme_root", "address", "neighbour"]


@pytest.fixture(scope="session")
def play() -> Play:
    """Run a playbook as an operator would, with ``words`` (``--limit``) and, with ``says``, entries that say something more."""

    def run(name: str, *words: str, says: dict[str, dict[str, Any]] | None = None, folder: Path | None = None, **variables: Any) -> Outcome:
        command, environment = invocation(ROOT / name, None, variables)
        if says and folder:
            # A second source of the inventory wins over the first, folder by folder.
            source = Path(tempfile.mkdtemp(dir=folder))
            (source / "host_vars").mkdir()
            (source / "hosts.yml").write_text(json.dumps({"app_servers": {"hosts": {entry: {} for entry in says}}}))
            for entry, variables_of_entry in says.items():
                (source / f"host_vars/{entry}.yml").write_text(json.dumps(variables_of_entry))
            environment["ANSIBLE_INVENTORY"] += f",{source}"
        return outcome_of([*command, *words], environment, ROOT, timeout=1800)

    return run


@pytest.fixture
def visit(address: str, acme_root: Path) -> Visit:
    """Visitors of an app, ten requests a second, every third of them a row in the ledger."""

    def arrive(name: str) -> OpenLoop:
        prefix = f"{name}-{os.urandom(4).hex()}"
        # A new site is loaded by a reload, which may close a kept connection just as it is used; browsers then ask again.
        return OpenLoop(address, f"{name}.slipway.test", acme_root, prefix=prefix, rate=10, post_every=3, resend=True)

    return arrive
