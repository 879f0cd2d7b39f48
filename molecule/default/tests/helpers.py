"""What the tests of every layer share: the app under test, and the evidence a failure must carry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class App:
    """Names and paths of the app under test: the contract's derivations, written out.

    They are spelled here a second time on purpose: a test that reads the role's own variables
    would agree with any mistake in them.
    """

    name: str = "demo"
    domain: str = "demo.slipway.test"
    alias: str = "www.demo.slipway.test"
    root: str = "/srv/demo"
    current: str = "/srv/demo/current"
    shared: str = "/srv/demo/shared"
    config: str = "/etc/demo"
    socket: str = "/run/demo/gunicorn.sock"
    database: str = "demo"
    redis_socket: str = "/run/redis-demo/redis.sock"
    backups: str = "/var/backups/demo"
    logs: str = "/var/log/demo"


def journal(host: Any, *units: str, lines: int = 20) -> str:
    """The last journal lines of ``units`` (of the whole host when none is named)."""
    args = " ".join(f"-u '{unit}'" for unit in units)
    return str(host.run(f"journalctl --no-pager -n {lines} {args}").stdout)


def must(host: Any, command: str) -> str:
    """Run ``command`` on the host and return its output; fail with all it said otherwise."""
    result = host.run(command)
    assert result.rc == 0, f"`{command}` exited {result.rc}\n{result.stdout}\n{result.stderr}"
    return str(result.stdout)
