"""Fixtures of the scenario: an operator with a key, who comes in over SSH."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from by_host import pytest_xdist_make_scheduler
from fixtures import address
from operators import Operator

__all__ = ["address", "pytest_xdist_make_scheduler"]


@pytest.fixture(scope="module")
def operator(host: Any, address: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    """Somebody whose key the machine's root has; after each file of tests it is as it was rented, as far as sshd goes."""
    found = Operator(host, address, tmp_path_factory.mktemp("operator"))
    found.give_root_the_key()
    yield found
    found.close()


@pytest.fixture
def tmp_log(tmp_path: Path) -> Path:
    return tmp_path / "run.log"
