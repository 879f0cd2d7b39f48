"""Fixtures of the whole-path scenario."""

from __future__ import annotations

from typing import Any

import pytest
import testinfra
from by_host import pytest_xdist_make_scheduler
from fixtures import acme_root, address, app, names, visitor
from helpers import FULL, App, run_in_app
from hops import broken_before

__all__ = ["acme_root", "address", "app", "names", "pytest_xdist_make_scheduler", "visitor"]

PASSWORD = "a long password for tests"


@pytest.fixture(scope="session")
def neighbour() -> Any:
    """Another machine on the same network."""
    return testinfra.get_host("docker://slipway-neighbour")


@pytest.fixture(scope="module")
def behind(host: Any, request: pytest.FixtureRequest) -> list[str]:
    """Broken hops that explain whatever fails in this file."""
    return broken_before(host, request.module.__name__)


@pytest.fixture(autouse=True)
def hop(host: Any, behind: list[str], request: pytest.FixtureRequest) -> None:
    """Leave a failure to the file of the hop that causes it. The run is red all the same: see pytest_sessionfinish."""
    test = f"{request.module.__name__}::{request.function.__name__}"
    if causes := behind or broken_before(host, test):
        pytest.skip(f"behind {' and '.join(causes)}")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "on(debian): what does not differ between the Debians is shown on this one, unless SLIPWAY_FULL=1")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A file that names its hosts runs on those alone: molecule's --hosts would overrule it. So does a test that is marked `on`."""

    def wanted(item: pytest.Item) -> bool:
        named = getattr(item.getparent(pytest.Module), "obj", None)
        hosts = getattr(named, "testinfra_hosts", [])
        one = item.get_closest_marker("on")
        there = not one or FULL or one.args[0] in item.nodeid
        return there and (not hosts or any(f"[{host}" in item.nodeid for host in hosts))

    items[:] = filter(wanted, items)


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """A test that was left out proves nothing, so a run that left one out has failed, whatever the others say."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    left_out = [report for report in reporter.stats.get("skipped", []) if "behind " in str(report.longrepr)] if reporter else []
    if left_out and exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(scope="module")
def account(host: Any, app: App, behind: list[str]) -> tuple[str, str]:
    """A user of the app, made as an operator makes one."""
    if behind:
        pytest.skip(f"behind {' and '.join(behind)}")
    run_in_app(host, app, f"user add keeper <<'WORD'\n{PASSWORD}\nWORD")
    return "keeper", PASSWORD
