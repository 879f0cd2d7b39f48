"""Fixtures of the scenario: an operator with a key, who comes in over SSH."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from by_host import pytest_xdist_make_scheduler
from fixtures import address
from helpers import FULL
from operators import Operator

__all__ = ["address", "pytest_xdist_make_scheduler"]
#: Tests that take longer than they tell.
LONG = ("test_03_again", "test_lynis")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Without SLIPWAY_FULL=1 the long ones are not there; molecule names each file, so they cannot be passed over sooner."""
    if not FULL:
        items[:] = [item for item in items if not any(name in item.nodeid for name in LONG)]


@pytest.fixture(scope="module")
def operator(host: Any, address: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    """Somebody whose key the machine's root has: with each file of tests anew."""
    found = Operator(host, address, tmp_path_factory.mktemp("operator"))
    found.rent()
    yield found
    found.close()
