"""Fixtures of the whole-path scenario."""

from __future__ import annotations

import pytest
from helpers import App


@pytest.fixture(scope="session")
def app() -> App:
    return App()
