"""Fixtures of the scenario: playbooks against entries of one machine, and visitors of one of its apps."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from deploys import ROOT, Outcome, invocation
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
            # A second source of the inventory wins over the first.
            extra = folder / "says.yml"
            extra.write_text(json.dumps({"app_servers": {"hosts": says}}))
            environment["ANSIBLE_INVENTORY"] += f",{extra}"
        result = subprocess.run(
            [*command, *words],
            cwd=ROOT,
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
            timeout=600,
        )
        return Outcome(result.returncode, result.stdout)

    return run


@pytest.fixture
def visit(address: str, acme_root: Path) -> Visit:
    """Visitors of an app, ten requests a second, every third of them a row in the ledger."""

    def arrive(name: str) -> OpenLoop:
        return OpenLoop(address, f"{name}.slipway.test", acme_root, prefix=f"{name}-{os.urandom(4).hex()}", rate=10, post_every=3)

    return arrive
