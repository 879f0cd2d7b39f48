"""Other servers behind the same switch: there and back, and nobody notices. Two in a row, or each by itself with SLIPWAY_FULL=1."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from deploys import playbook
from helpers import FULL, App, must
from load import Wrk
from states import Visitors, live
from switches import environment, must_alternate, rows, switch

SERVERS = [("granian",), ("uwsgi",), ("waitress",), ("hypercorn",)] if FULL else [("granian", "uwsgi")]
#: With ten deploys and ten rollbacks for each in the long form.
PAIRS = 10 if FULL else 0


def program(host: Any, app: App) -> str:
    """The command line of what serves."""
    unit = f"{app.name}@{live(host, app)}.service"
    return must(host, f"tr '\\0' ' ' </proc/$(systemctl show --property=MainPID --value {unit})/cmdline")


def deployed(host: Any, app: App, server: str) -> None:
    outcome = playbook("deploy", host, {"app_server": server, "app_env": environment(app), "deploy_burn_in": 0})
    assert outcome.status == 0, str(outcome)
    assert must(host, f"cat {app.current}/.server").strip() == server


@pytest.mark.parametrize("servers", SERVERS, ids="-".join)
def test_a_switch_to_another_server_loses_nothing(
    host: Any, app: App, visitors: Visitors, crowd: Wrk, tmp_path: Path, servers: tuple[str, ...]
) -> None:
    """[S1 S2 A13] [K6] From Gunicorn to it, to the next, and back by a rollback; each answers through the one socket."""
    before = live(host, app)
    writers = visitors(rate=10, post_every=1)
    with crowd, writers:
        for server in servers:
            deployed(host, app, server)
            said = program(host, app)
            assert "gunicorn" not in said and (server in said or "slipway_server.py" in said), said
            if PAIRS:
                now = live(host, app)
                outcome, seen = switch(host, app, tmp_path, writers.prefix, PAIRS, app_server=server)
                assert outcome.status == 0, str(outcome)
                must_alternate(seen, app, now, writers.prefix, PAIRS)
        back = playbook("rollback", host, {"release": before})
        assert back.status == 0 and live(host, app) == before and "gunicorn" in program(host, app), str(back)
    summary = crowd.summary
    print(
        f"{servers}: wrk {summary}; POST {dict(writers.counts())}, p99 {writers.p(0.99) * 1000:.0f} ms, most {writers.p(1) * 1000:.0f} ms"
    )
    assert summary and summary.lost == 0 and summary.requests >= 500, f"{summary}\n{crowd.output}"
    assert set(writers.counts()) == {"POST 201"} and sorted(rows(host, app, writers.prefix)) == sorted(writers.sent)
