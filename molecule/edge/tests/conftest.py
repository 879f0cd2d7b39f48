"""Fixtures of the scenario: an edge as visitors, a crowd and an attacker see it, and what arrived behind it."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
import testinfra
from fixtures import acme_root, address, app, names, visitor
from helpers import App, must
from raw import Front

__all__ = ["acme_root", "address", "app", "names", "visitor"]


@pytest.fixture(scope="session")
def neighbour() -> Any:
    """Another machine on the same network."""
    return testinfra.get_host("docker://slipway-edge-acme")


@pytest.fixture(scope="module")
def front(app: App, address: str) -> Front:
    """The public endpoint for whoever wants to send bytes."""
    return Front(address, app.domain)


Lines = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def logged(host: Any, app: App) -> Lines:
    """What nginx has logged since the test began."""
    return since(host, f"/var/log/nginx/{app.name}.access.log")


@pytest.fixture
def seen(host: Any, app: App) -> Lines:
    """What has arrived at the app since the test began (molecule/edge/probe.py)."""
    return since(host, f"{app.logs}/seen.jsonl")


def since(host: Any, path: str) -> Lines:
    start = int(must(host, f"stat -c %s {path} 2>/dev/null || echo 0")) + 1

    def lines() -> list[dict[str, Any]]:
        # nginx writes bytes as they came, also those that are no UTF-8.
        text = base64.b64decode(must(host, f"tail -c +{start} {path} | base64 -w0")).decode("latin-1")
        return [json.loads(line) for line in text.split("\n") if line]

    return lines
