"""PostgreSQL is as large as the host allows, and its connections suffice for the worst moment."""

from __future__ import annotations

import re
import threading
import time
from typing import Any

from deploys import Outcome, playbook
from helpers import App, must
from load import Wrk
from states import admin
from switches import environment

#: 2 workers x (3 threads + 1) x 2 releases, and what is kept for others.
WEB, NEEDED = 16, 16 + 5 + 5 + 3


def test_settings_follow_from_the_host(host: Any) -> None:
    """[D1] [D2] What the server says is what was computed, and none waits for a restart."""
    memory = int(must(host, "getconf _PHYS_PAGES")) * int(must(host, "getconf PAGE_SIZE"))
    buffers = int(admin(host, "SELECT setting::bigint * 8192 FROM pg_settings WHERE name = 'shared_buffers'"))
    assert 0.9 * memory / 12 < buffers <= memory / 12, f"{buffers / memory:.3f} of the memory"
    assert admin(host, "SHOW max_connections") == str(-(-NEEDED // 10) * 10)
    assert admin(host, "SHOW random_page_cost") == "1.1" and admin(host, "SHOW wal_compression") not in ("off", "")
    assert admin(host, "SELECT name FROM pg_settings WHERE pending_restart") == ""
    # The files that decide who connects are ours, and read.
    assert admin(host, "SHOW hba_file").endswith("/slipway_hba.conf")
    assert admin(host, "SELECT error FROM pg_hba_file_rules WHERE error IS NOT NULL") == ""


def test_a_second_run_shows_the_plan_and_changes_nothing(host: Any) -> None:
    """[D1] [D2] The arithmetic and each setting with its reason, in every run."""
    outcome = playbook("data", host)
    assert outcome.status == 0 and re.search(r"changed=0 ", outcome.output), str(outcome)
    web = rf"web +{WEB} += 2 workers x 4 connections \(3 threads \+ 1 for health checks\) x 2 releases"
    assert re.search(web, outcome.output), str(outcome)
    assert re.search(rf"needed +{NEEDED}\b", outcome.output) and "a third of PostgreSQL's memory" in outcome.output, str(outcome)


def test_too_few_connections_are_refused_before_anything_changes(host: Any) -> None:
    """[D2] [K10] With the arithmetic."""
    began = admin(host, "SELECT pg_postmaster_start_time()")
    outcome = playbook("data", host, {"postgres_max_connections": NEEDED - 1})
    assert outcome.status != 0 and f"{NEEDED - 1} is less than the {NEEDED} connections" in outcome.output, str(outcome)
    assert "changed=0" in outcome.output and admin(host, "SELECT pg_postmaster_start_time()") == began


def test_the_arithmetic_is_true(host: Any, app: App, crowd: Wrk) -> None:
    """[D2] In a switch under a crowd the app never has more connections than were counted, and comes near them: the sum is no guess."""
    said: list[Outcome] = []
    deploy = threading.Thread(
        target=lambda: said.append(playbook("deploy", host, {"app_env": environment(app, SWITCH="sum"), "deploy_burn_in": 10}))
    )
    most = 0
    with crowd:
        deploy.start()
        while deploy.is_alive():
            most = max(most, int(admin(host, f"SELECT count(*) FROM pg_stat_activity WHERE usename = '{app.name}'")))
            time.sleep(0.3)
        deploy.join()
    assert said and said[0].status == 0, said and str(said[0])
    assert crowd.summary and crowd.summary.lost == 0, crowd.output
    print(f"at most {most} connections, {WEB} counted")
    assert WEB / 2 < most <= WEB, f"{most} connections, {WEB} counted"
