"""The machine starts again, and nobody is there to help."""

from __future__ import annotations

import subprocess
import time
from typing import Any

from helpers import App, journal, must
from states import Visitors, live, manifest, must_be_served, running


def test_the_live_release_and_only_it_comes_up(host: Any, app: App, visitors: Visitors) -> None:
    """[A9 S1] After a reboot what was live is live, no other release runs, and the site answers."""
    before = live(host, app)
    others = must(host, f"ls {app.root}/releases").split()
    assert len(others) > 1, "with a single release on the host this proves nothing"
    container = host.backend.get_hostname()
    subprocess.run(["docker", "restart", "--time", "30", container], check=True, capture_output=True, timeout=120)
    deadline = time.monotonic() + 90
    while host.run(f"systemctl is-active '{app.name}@{before}.service' && systemctl is-active nginx").rc != 0:
        assert time.monotonic() < deadline, f"{running(host, app)}\n{journal(host, f'{app.name}@*', f'{app.name}.service')}"
        time.sleep(1)
    assert live(host, app) == before and manifest(host, app, before)["state"] == "live"
    assert running(host, app) == [f"{app.name}@{before}.service"]

    arrivals = visitors(rate=20)
    # A restart may bring another address.
    arrivals.address = must(host, "ip -4 -o addr show eth0").split()[3].split("/")[0]
    with arrivals:
        time.sleep(3)
    must_be_served(arrivals, host, app)
