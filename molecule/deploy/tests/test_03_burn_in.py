"""A release that is good in rehearsal and bad in service, and a host too small for two releases."""

from __future__ import annotations

import time
from typing import Any

from deploys import playbook
from helpers import App
from states import Visitors, live, manifest, must_be_served, running
from switches import environment


def test_burn_in_switches_back(host: Any, app: App, visitors: Visitors) -> None:
    """[S1 S2 K6] Pages turn into errors some seconds after the switch: the release before takes over by itself, and stays."""
    before = live(host, app)
    bad = {"app_env": environment(app, LOGBOOK_FAULT="later:20"), "deploy_burn_in": 60}
    arrivals = visitors(rate=10)
    with arrivals:
        outcome = playbook("deploy", host, bad)
        until = time.monotonic()
        time.sleep(4)
    assert outcome.status != 0, str(outcome)
    assert "The step 'burn-in' failed" in outcome.output and f"switched back to {before} by itself" in outcome.output, str(outcome)
    assert live(host, app) == before and manifest(host, app, before)["state"] == "live"
    assert running(host, app) == [f"{app.name}@{before}.service"]
    marked = [r for r in _releases(host, app) if r["failure"] and r["failure"]["step"] == "burn-in"]
    assert [r["state"] for r in marked] == ["rolled-back"] and "answered 5xx" in marked[0]["failure"]["reason"], marked

    # Errors of the new release are what this is about; a connection that failed or a wait is not.
    assert set(arrivals.lost()) <= {"GET 500", "POST 500"} and arrivals.lost(), dict(arrivals.counts())
    after = {answer.said for answer in arrivals.answers if answer.due >= until}
    assert after == {"200", "201"}, f"after it had gone back visitors saw {after}"
    assert sum(arrivals.lost().values()) < 0.5 * len(arrivals.answers), dict(arrivals.counts())


def test_what_was_rolled_away_from_is_refused(host: Any, app: App, visitors: Visitors) -> None:
    """[S1] The same once more changes nothing, and says why and what to do."""
    before = live(host, app)
    with visitors(rate=10) as arrivals:
        again = playbook("deploy", host, {"app_env": environment(app, LOGBOOK_FAULT="later:20"), "deploy_burn_in": 60})
    assert again.status == 0 and "was rolled away from (burn-in)" in again.output and "release_force=true" in again.output, str(again)
    assert live(host, app) == before
    must_be_served(arrivals, host, app)


def test_too_little_memory_for_two(host: Any, app: App, visitors: Visitors) -> None:
    """[S1 A3] The old release ends before the new one starts; requests wait meanwhile, none is refused, and the operator is told."""
    before = live(host, app)
    with visitors(rate=10) as arrivals:
        outcome = playbook("deploy", host, {"app_env": environment(app, SWITCH="small"), "release_memory_margin": 100000})
    assert outcome.status == 0 and "Too little memory for two instances: the live one uses" in outcome.output, str(outcome)
    assert live(host, app) != before and running(host, app) == [f"{app.name}@{live(host, app)}.service"]
    must_be_served(arrivals, host, app)
    longest = max(answer.seconds for answer in arrivals.answers)
    print(f"the longest wait was {longest:.2f} s")
    assert longest > 0.5, f"nobody waited ({longest:.2f} s), so the two ran side by side"


def _releases(host: Any, app: App) -> list[dict[str, Any]]:
    return [manifest(host, app, name) for name in host.run(f"ls {app.root}/releases").stdout.split()]
