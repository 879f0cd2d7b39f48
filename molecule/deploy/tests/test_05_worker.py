"""A background process of the app is part of the release: it starts with the switch, and ends when its work is done."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from deploys import Outcome, playbook
from helpers import App, journal, until
from states import Visitors, live, manifest, must_be_served, running, sql
from switches import environment

PROCESSES = {"worker": {"command": "celery --app logbook.tasks worker --concurrency 1 --loglevel INFO", "stop_timeout": 120}}
#: Longer than a deploy needs from its rehearsal to its switch, so that the task still runs then; shorter than stop_timeout.
SECONDS = 45


def must_happen(what: str, seconds: float, host: Any, app: App, ready: Any) -> None:
    assert until(ready, seconds), f"{what} did not happen\n{journal(host, f'{app.name}-worker@*', lines=40)}"


def test_the_worker_is_switched_with_the_release(host: Any, app: App, visitors: Visitors, post: Any) -> None:
    """[A15 S1] The new worker starts with the switch; the old one finishes its task, which is done once, and by it."""
    first = playbook("deploy", host, {"app_env": environment(app, SWITCH="worker"), "app_processes": PROCESSES})
    assert first.status == 0, str(first)
    old = live(host, app)
    assert running(host, app, f"{app.name}-worker") == [f"{app.name}-worker@{old}.service"]

    said: list[Outcome] = []
    variables = {"app_env": environment(app, SWITCH="worker-2"), "app_processes": PROCESSES}
    with visitors(rate=10) as arrivals:
        deploy = threading.Thread(target=lambda: said.append(playbook("deploy", host, variables)))
        deploy.start()
        rehearsal = f"{app.name}-rehearsal"
        must_happen("the rehearsal", 120, host, app, lambda: running(host, app, rehearsal) or not deploy.is_alive())
        key = f"task-{arrivals.prefix}"
        assert post("/ledger/later", {"key": key, "seconds": SECONDS}) == 202
        must_happen(
            "the task's begin", 60, host, app, lambda: f"slow_ledger {key}: begins" in journal(host, f"{app.name}-worker@{old}", lines=50)
        )
        deploy.join(timeout=300)
    assert said and said[0].status == 0, said and str(said[0])
    new = live(host, app)
    assert new != old and running(host, app, f"{app.name}-worker") == [f"{app.name}-worker@{new}.service"]
    # The deploy does not wait for it: systemd does.
    counted = f"select count(*), min(release) from ledger where key = '{key}'"
    must_happen("the end of the task", 180, host, app, lambda: sql(host, app, counted) == f"1|{old}")
    # It was at work when the new release took over, or this proved nothing.
    written = sql(host, app, f"select created_at > '{manifest(host, app, new)['live_at']}' from ledger where key = '{key}'")
    assert written == "t", "the task had ended before the switch"
    must_be_served(arrivals, host, app)

    # And the new one works.
    later = f"{key}-2"
    assert post("/ledger/later", {"key": later, "seconds": 0}) == 202
    must_happen(
        "the task of the new worker", 60, host, app, lambda: sql(host, app, f"select release from ledger where key = '{later}'") == new
    )


@pytest.fixture
def post(app: App, visitor: Any) -> Any:
    def send(path: str, body: dict[str, Any]) -> int:
        return int(visitor.post(f"https://{app.domain}{path}", json=body, timeout=35).status_code)

    return send
