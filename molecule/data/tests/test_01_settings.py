"""PostgreSQL is as large as the host allows, and its connections suffice for the worst moment."""

from __future__ import annotations

import re
from typing import Any

from deploys import playbook
from helpers import must
from states import admin

#: 2 workers x (3 threads + 1) x 2 releases, and what is kept for others.
WEB, NEEDED = 16, 16 + 5 + 5 + 3


def test_settings_follow_from_the_host(host: Any) -> None:
    """[D1] [D2] What the server says is what was computed, and none waits for a restart."""
    memory = int(must(host, "getconf _PHYS_PAGES")) * int(must(host, "getconf PAGE_SIZE"))
    buffers = int(admin(host, "SELECT setting::bigint * 8192 FROM pg_settings WHERE name = 'shared_buffers'"))
    assert 0.9 * memory / 12 < buffers <= memory / 12, f"{buffers / memory:.3f} of the memory"
    # With room for more apps: a change would restart the server.
    assert admin(host, "SHOW max_connections") == "200"
    assert admin(host, "SHOW random_page_cost") == "1.1" and admin(host, "SHOW wal_compression") not in ("off", "")
    assert admin(host, "SELECT name FROM pg_settings WHERE pending_restart") == ""
    # The files that decide who connects are ours, and read.
    assert admin(host, "SHOW hba_file").endswith("/slipway_hba.conf")
    assert admin(host, "SELECT error FROM pg_hba_file_rules WHERE error IS NOT NULL") == ""


def test_too_few_connections_are_refused_before_anything_changes(host: Any) -> None:
    """[D2] [K10] With the arithmetic."""
    began = admin(host, "SELECT pg_postmaster_start_time()")
    outcome = playbook("data", host, {"postgres_max_connections": NEEDED - 1})
    assert outcome.status != 0 and f"{NEEDED - 1} is less than the {NEEDED} connections" in outcome.output, str(outcome)
    assert re.search(rf"web +{WEB} += 2 workers x 4 connections", outcome.output), str(outcome)
    assert "changed=0" in outcome.output and admin(host, "SELECT pg_postmaster_start_time()") == began
