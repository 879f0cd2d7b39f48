"""Fixtures of the scenario: the inventory of all apps, playbooks that read it, and a browser for each app."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from brought import APPS, Brought, ansible, join
from deploys import ROOT, Outcome
from fixtures import acme_root, address, neighbour

__all__ = ["acme_root", "address", "neighbour"]


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "of(name): a test of one app; left out where that is not deployed")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The short form has fewer apps, and their tests alone."""
    there = {app.name for app in APPS}
    gone = [item for item in items if {mark.args[0] for mark in item.iter_markers("of")} - there]
    config.hook.pytest_deselected(items=gone)
    items[:] = [item for item in items if item not in gone]


@pytest.fixture(scope="session")
def apps() -> tuple[Brought, ...]:
    return APPS


@pytest.fixture(scope="session")
def inventory(apps: tuple[Brought, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return join(apps, tmp_path_factory.mktemp("owner"))


@pytest.fixture(scope="session")
def play(inventory: Path) -> Callable[..., Outcome]:
    """Run a playbook of the collection with the inventory of all apps."""

    def run(name: str, *words: str) -> Outcome:
        return ansible("-i", str(inventory), str(ROOT / name), *words, folder=inventory.parents[1])

    return run


@pytest.fixture
def browser(address: str, acme_root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[requests.Session]:
    """It believes a certificate only if the CA signed it; every name of the zone leads to the machine, as public DNS would say."""
    original = socket.getaddrinfo

    def resolve(name: Any, *words: Any, **more: Any) -> Any:
        return original(address if str(name).endswith(".slipway.test") else name, *words, **more)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    with requests.Session() as session:
        session.verify = str(acme_root)
        # Otherwise REQUESTS_CA_BUNDLE of this machine would win over the line above.
        session.trust_env = False
        yield session
