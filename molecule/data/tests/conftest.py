"""Fixtures of the scenario: a host whose data are looked at, killed and moved while visitors ask."""

from __future__ import annotations

import secrets
import shutil
from pathlib import Path
from typing import Any

import pytest
from deploys import ROOT
from fixtures import acme_root, address, app, names, neighbour, visitor
from helpers import App
from load import OpenLoop, Wrk
from states import Copy, Visitors

__all__ = ["acme_root", "address", "app", "names", "neighbour", "visitor"]


@pytest.fixture
def visitors(app: App, address: str, acme_root: Path, request: pytest.FixtureRequest) -> Visitors:
    """Visitors of a rate: every second request writes, unless told otherwise."""

    def arrive(rate: float = 10, post_every: int = 2) -> OpenLoop:
        prefix = f"{request.node.originalname}-{secrets.token_hex(4)}"
        return OpenLoop(address, app.domain, acme_root, prefix=prefix, rate=rate, post_every=post_every)

    return arrive


@pytest.fixture
def crowd(app: App, neighbour: Any) -> Wrk:
    """More connections than the app has threads, each asking again at once."""
    return Wrk(neighbour.backend.name, f"https://{app.domain}/", connections=16, pause=0)


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Copy:
    """Copies of the example app, to be changed."""

    def copy(name: str) -> Path:
        tree = tmp_path_factory.mktemp("source") / name
        shutil.copytree(ROOT / "examples/flask-app", tree, ignore=shutil.ignore_patterns("__pycache__", ".*_cache", "*.egg-info"))
        return tree

    return copy
