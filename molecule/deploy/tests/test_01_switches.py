"""Deploys and rollbacks in a row, and nobody notices: four, or twenty with SLIPWAY_FULL=1."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from helpers import FULL, App, must
from load import Wrk
from states import Visitors, live
from switches import must_alternate, rows, switch

PAIRS = 10 if FULL else 2


def test_switches_lose_nothing(host: Any, app: App, visitors: Visitors, crowd: Wrk, tmp_path: Path) -> None:
    """[S1 S2 A13] No request refused, cut off or answered by an error, no row lost or doubled, and `current` right after each."""
    before = live(host, app)
    writers = visitors(rate=10, post_every=1)
    with crowd, writers:
        outcome, seen = switch(host, app, tmp_path, writers.prefix, PAIRS)
    summary = crowd.summary
    assert outcome.status == 0, str(outcome)
    must_alternate(seen, app, before, writers.prefix, PAIRS)
    # Their lock is the same: the newer has the environment of the one before. uv makes this file anew in each that it builds.
    made = must(host, f"ls -d {app.root}/releases/*/ | tail -2 | xargs -I@ stat -c %i @.venv/CACHEDIR.TAG").split()
    assert len(made) == 2 and len({*made}) == 1, "the environment was built, and not taken over"

    print(f"wrk: {summary}; POST: {dict(writers.counts())}, p99 {writers.p(0.99) * 1000:.0f} ms, most {writers.p(1) * 1000:.0f} ms")
    assert summary and summary.lost == 0, f"{summary}\n{crowd.output}"
    assert set(writers.counts()) == {"POST 201"}, f"writers saw {dict(writers.counts())}"
    found, sent = Counter(rows(host, app, writers.prefix)), Counter(writers.sent)
    assert found == sent, f"missing {list(sent - found)[:5]}, too many {list(found - sent)[:5]}"
    assert len(sent) >= 100 and summary.requests >= 500, f"{len(sent)} of {summary.requests} requests wrote"
