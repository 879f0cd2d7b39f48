"""Fixtures of the scenario: a bare host for each test, as a container like the scenario's own."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator

import pytest
import testhost

Bare = Callable[[], str]
NETWORK = "slipway-preflight"


@pytest.fixture
def bare() -> Iterator[Bare]:
    """Starts one and returns its name; systemd is up."""
    started: list[str] = []

    def start() -> str:
        name = f"slipway-prepared-{len(started)}"
        subprocess.run(["docker", "rm", "--force", name], capture_output=True, check=False)
        options, command = testhost.platform("host")
        words = ["docker", "run", "--detach", f"--name={name}", f"--hostname={name}", f"--network={NETWORK}", *options]
        subprocess.run([*words, "slipway-test:trixie", *command], check=True, capture_output=True)
        started.append(name)
        up = ("docker", "exec", name, "sh", "-c", "systemctl is-system-running || true")
        testhost.wait(f"the start of {name}", lambda: testhost.run(*up).strip() in ("running", "degraded"))
        # The image has no host keys, and sshd would be tried again while states are compared.
        testhost.run("docker", "exec", name, "sh", "-c", "ssh-keygen -A >/dev/null && systemctl reset-failed ssh && systemctl start ssh")
        return name

    yield start
    for name in started:
        subprocess.run(["docker", "rm", "--force", name], capture_output=True, check=False)
