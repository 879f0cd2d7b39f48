"""The doctor names the cause of what is broken, and nothing that follows from it; a healthy host has no problem.

The short form breaks the host in twelve ways, SLIPWAY_FULL=1 in all of them (molecule/shared/tests/faults.py). Each is mended again.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from faults import FAULTS, FRESH, Fault
from helpers import FULL, App, live_unit, must, until

#: One or two of each layer.
SHORT = (
    *("dns-elsewhere", "ufw-closed", "nginx-config", "tls-not-served", "socket-permissions", "import-error"),
    *("app-not-ready", "database-down", "database-lock", "redis-full", "backup-stale", "disk-full"),
)
CHOSEN = FAULTS if FULL else tuple({fault.problem: fault for fault in FAULTS if fault.problem in SHORT}.values())


def findings(host: Any, app: App) -> list[tuple[str, str]]:
    """What the doctor names, each with its evidence."""
    found = json.loads(host.run(f"slipway {app.name} doctor --json").stdout)
    return [(one["id"], one["evidence"]) for one in found["findings"]]


@pytest.mark.on("trixie")
def test_a_healthy_host_has_no_problem(host: Any, app: App) -> None:
    """[K8] After all that the tests before have done to it, within seconds."""
    must(host, f"APP={app.name}; {FRESH}")
    assert until(lambda: findings(host, app) == []), findings(host, app)
    assert host.run(f"slipway {app.name} doctor").rc == 0


@pytest.mark.on("trixie")
@pytest.mark.parametrize("fault", CHOSEN, ids=[f"{number}-{fault.problem}" for number, fault in enumerate(CHOSEN)])
def test_the_cause_is_named_and_nothing_else(host: Any, app: App, fault: Fault) -> None:
    """[K8] With its evidence, its cause and what mends it."""
    unit = live_unit(host, app)
    variables = {"APP": app.name, "DOMAIN": app.domain, "LIVE": unit.partition("@")[2].removesuffix(".service"), "UNIT": unit}
    must(host, f"APP={app.name}; {FRESH}")
    try:
        must(host, fault.script(False, **variables))
        # A server that does not start takes some seconds to say so.
        assert until(lambda: [problem for problem, _ in findings(host, app)] == [fault.problem], 20), findings(host, app)
    finally:
        must(host, fault.script(True, **variables))
        must(host, f"APP={app.name}; {FRESH}")
        assert until(lambda: findings(host, app) == []), f"not mended: {findings(host, app)}"
