"""Fixtures of the scenario: a host, and a CA and a name server that can be led astray."""

from __future__ import annotations

from typing import Any

import pytest
import testinfra
from fixtures import address, app
from ladder import Ladder

__all__ = ["address", "app"]


@pytest.fixture(scope="session")
def neighbour() -> Any:
    """The CA and the name server."""
    return testinfra.get_host("docker://slipway-tls-acme")


@pytest.fixture
def ladder(host: Any, neighbour: Any) -> Ladder:
    return Ladder(host, neighbour)
