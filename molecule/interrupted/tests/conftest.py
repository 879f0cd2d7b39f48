"""Fixtures of the scenario: a host to which deploys are cut off."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import testinfra
from deploys import Traffic
from fixtures import acme_root, address, app, names
from helpers import App

__all__ = ["acme_root", "address", "app", "names"]


@pytest.fixture(scope="session")
def neighbour() -> Any:
    """Another machine on the same network: the ACME server."""
    return testinfra.get_host("docker://slipway-interrupted-acme")


@pytest.fixture
def traffic(app: App, acme_root: Path) -> Iterator[Traffic]:
    yield Traffic(app, acme_root)
