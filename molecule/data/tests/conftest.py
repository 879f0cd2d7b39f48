"""Fixtures of the scenario: a host whose data are looked at, killed and moved while visitors ask."""

from __future__ import annotations

import secrets
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from deploys import ROOT
from fixtures import acme_root, address, app, names, neighbour, visitor
from helpers import FULL, App
from load import OpenLoop
from states import Copy, Visitors
from vaults import NAME, Vault

__all__ = ["acme_root", "address", "app", "names", "neighbour", "visitor"]
#: Tests that take longer than they tell.
LONG = "test_05_again"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Without SLIPWAY_FULL=1 the long ones are not there; molecule names each file, so they cannot be passed over sooner."""
    if not FULL:
        items[:] = [item for item in items if LONG not in item.nodeid]


@pytest.fixture
def visitors(app: App, address: str, acme_root: Path, request: pytest.FixtureRequest) -> Visitors:
    """Visitors of a rate: every second request writes, unless told otherwise."""

    def arrive(rate: float = 10, post_every: int = 2) -> OpenLoop:
        prefix = f"{request.node.originalname}-{secrets.token_hex(4)}"
        return OpenLoop(address, app.domain, acme_root, prefix=prefix, rate=rate, post_every=post_every)

    return arrive


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Copy:
    """Copies of the example app, to be changed."""

    def copy(name: str) -> Path:
        tree = tmp_path_factory.mktemp("source") / name
        shutil.copytree(ROOT / "examples/flask-app", tree, ignore=shutil.ignore_patterns("__pycache__", ".*_cache", "*.egg-info"))
        return tree

    return copy


@pytest.fixture(scope="module")
def vault(tmp_path_factory: pytest.TempPathFactory, host: Any) -> Vault:
    return Vault(tmp_path_factory.mktemp("vault"), host)


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Certificate and key of the database."""
    folder = tmp_path_factory.mktemp("tls")
    certificate, key = folder / "db.pem", folder / "db-key.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30"),
            *("-subj", f"/CN={NAME}", "-addext", f"subjectAltName=DNS:{NAME}", "-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )
    return certificate, key


@pytest.fixture(scope="module")
def server(host: Any, address: str, certificate: tuple[Path, Path]) -> dict[str, Any]:
    """A database that is used over TLS: this host's, by the name that other hosts would use."""
    return {
        # This host is both sides: it has addresses of its own on the network and of the loopback.
        "postgres_allow": [address, "127.0.0.1"],
        "postgres_tls_certificate_file": str(certificate[0]),
        "postgres_tls_key_file": str(certificate[1]),
        "postgres_ca_file": str(certificate[0]),
        "postgres_memory_share": 0.25,
        "postgres_app_hosts": 1,
    }
