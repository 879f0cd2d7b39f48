"""Fixtures of the scenario: a ledger that is written to all the time, and the backup program."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import Any

import pytest
from fixtures import app
from helpers import App, must
from nights import LEDGER, WRITER, Keep

__all__ = ["app"]


@pytest.fixture
def keep(host: Any, app: App) -> Iterator[Keep]:
    keep = Keep(host, app)
    as_app = "runuser -u demo -- psql -Xq -h /run/postgresql -d demo -c"
    must(host, f"{as_app} {shlex.quote(LEDGER)}; mkdir -p /srv/uploads /mnt/elsewhere && echo hello > /srv/uploads/file.txt")
    yield keep
    for name in keep.aside():
        must(host, f"runuser -u postgres -- dropdb '{name}'")


@pytest.fixture
def writer(keep: Keep) -> Iterator[None]:
    """Somebody writes to the ledger for the time of a test."""
    unit = "slipway-test-writer"
    must(keep.host, f"systemd-run --quiet --collect --unit={unit} --uid=demo sh -c {shlex.quote(WRITER)}")
    yield
    keep.host.run(f"systemctl stop {unit}")
