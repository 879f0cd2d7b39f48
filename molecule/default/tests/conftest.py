"""Fixtures of the whole-path scenario."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import testinfra
from helpers import App, must, run_in_app
from hops import broken_before

PASSWORD = "a long password for tests"


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
    """Another machine on the same network."""
    return testinfra.get_host("docker://slipway-neighbour")


@pytest.fixture(scope="session")
def acme_root(neighbour: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root certificate that the ACME server signs with."""
    fetch = (
        "import ssl,urllib.request as u;"
        "print(u.urlopen('https://localhost:15000/roots/0',context=ssl._create_unverified_context()).read().decode())"
    )
    path = tmp_path_factory.mktemp("acme") / "root.pem"
    path.write_text(must(neighbour, f'python3 -c "{fetch}"'))
    return path


@pytest.fixture(scope="module")
def behind(host: Any, request: pytest.FixtureRequest) -> list[str]:
    """Broken hops that explain whatever fails in this file."""
    return broken_before(host, request.module.__name__)


@pytest.fixture(autouse=True)
def hop(behind: list[str]) -> None:
    """Leave a failure to the file of the hop that causes it. The run is red all the same: see pytest_sessionfinish."""
    if behind:
        pytest.skip(f"behind {' and '.join(behind)}")


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """A test that was left out proves nothing, so a run that left one out has failed, whatever the others say."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    left_out = [report for report in reporter.stats.get("skipped", []) if "behind " in str(report.longrepr)] if reporter else []
    if left_out and exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


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


@pytest.fixture(scope="module")
def account(host: Any, app: App) -> tuple[str, str]:
    """A user of the app, made as an operator makes one."""
    run_in_app(host, app, f"user add keeper <<'WORD'\n{PASSWORD}\nWORD")
    return "keeper", PASSWORD
