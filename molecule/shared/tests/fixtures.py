"""Fixtures that the scenarios share: a conftest.py imports those it wants."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import testinfra
from deploys import Traffic
from helpers import App, acme_certificate, must


@pytest.fixture(scope="module")
def app(host: Any) -> App:
    name = must(host, "hostname").strip()
    return App(domain=f"{name}.slipway.test", alias=f"www.{name}.slipway.test")


@pytest.fixture(scope="module")
def address(host: Any) -> str:
    """The host's address on the scenario's network."""
    return must(host, "ip -4 -o addr show eth0").split()[3].split("/")[0]


@pytest.fixture(scope="session")
def neighbour() -> Any:
    """Another machine on the scenario's network: its ACME server."""
    return testinfra.get_host(f"docker://slipway-{os.environ['MOLECULE_SCENARIO_NAME']}-acme")


@pytest.fixture
def traffic(app: App, acme_root: Path) -> Traffic:
    """Two visitors who ask for as long as the longest deploy of a test takes."""
    return Traffic(app, acme_root, limit=6000)


@pytest.fixture(scope="session")
def acme_root(neighbour: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root certificate that the ACME server signs with."""
    path = tmp_path_factory.mktemp("acme") / "root.pem"
    path.write_text(acme_certificate(neighbour))
    return path


@pytest.fixture(autouse=True)
def names(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The app's names lead to the host under test, as public DNS would say."""
    if not {"visitor", "traffic"} & set(request.fixturenames):
        return
    app: App = request.getfixturevalue("app")
    address: str = request.getfixturevalue("address")
    original = socket.getaddrinfo

    def resolve(name: Any, *args: Any, **kwargs: Any) -> Any:
        return original(address if name in (app.domain, app.alias) else name, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)


@pytest.fixture
def visitor(acme_root: Path) -> Iterator[requests.Session]:
    """A browser of sorts: keeps cookies, and believes the certificate only if the CA signed it."""
    with requests.Session() as session:
        session.verify = str(acme_root)
        # Otherwise REQUESTS_CA_BUNDLE of this machine would win over the line above.
        session.trust_env = False
        yield session
