"""Tests of two Debians side by side: a conftest.py that imports `pytest_xdist_make_scheduler` has a process for each of them."""

from __future__ import annotations

import re
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]  # it ships no types


class ByHost(LoadScopeScheduling):  # type: ignore[misc]
    """The tests of one host run one after the other, those of two hosts side by side."""

    def _split_scope(self, nodeid: str) -> str:
        found = re.search(r"\[\w+://[\w-]*?(bookworm|trixie)", nodeid)
        return found[1] if found else "no host"


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByHost:
    """Share the tests out by host. pytest-xdist has groups of its own (loadgroup); version 3.8 does not see them under pytest 9.2."""
    return ByHost(config, log)
