"""What Slipway's own tests use: the ledger, and faults on demand. Both are off unless asked for."""

from __future__ import annotations

import time

import pytest
from flask.testing import FlaskClient

from .conftest import MakeApp


def test_ledger_is_off_by_default(client: FlaskClient) -> None:
    """[S1]"""
    assert client.get("/ledger/count").status_code == 404


def test_ledger_counts_each_key_once(make_app: MakeApp) -> None:
    """[S1] A request that arrived twice is seen, and so is one that got lost."""
    client = make_app(LOGBOOK_LEDGER="1", SLIPWAY_RELEASE="r1").test_client()
    for key in ("a", "b"):
        answer = client.post("/ledger", json={"key": key})
        assert (answer.status_code, answer.json) == (201, {"key": key, "release": "r1"})
    assert client.post("/ledger", json={"key": "a"}).status_code == 409
    assert client.get("/ledger/count").json == {"count": 2}


@pytest.mark.parametrize("body", [{}, {"key": ""}, {"key": 1}, {"key": "a" * 101}, [], "text"])
def test_ledger_wants_a_key(make_app: MakeApp, body: object) -> None:
    """[S1]"""
    assert make_app(LOGBOOK_LEDGER="1").test_client().post("/ledger", json=body).status_code == 400


@pytest.mark.parametrize(
    ("fault", "statuses"),
    [
        ("", (200, 200, 200)),
        ("ready", (200, 500, 200)),
        ("all", (200, 200, 500)),
        ("later:0", (200, 200, 500)),
        ("later:60", (200, 200, 200)),
        ("slow:60", (200, 200, 200)),
    ],
)
def test_faults(make_app: MakeApp, fault: str, statuses: tuple[int, int, int]) -> None:
    """[S1] [A12]"""
    client = make_app(LOGBOOK_FAULT=fault).test_client()
    assert tuple(client.get(path).status_code for path in ("/healthz/live", "/healthz/ready", "/")) == statuses


def test_slow(make_app: MakeApp, monkeypatch: pytest.MonkeyPatch) -> None:
    """[A7]"""
    client = make_app(LOGBOOK_FAULT="slow:200").test_client()
    waits: list[float] = []
    monkeypatch.setattr("logbook.faults.time.sleep", waits.append)
    client.get("/healthz/live")
    assert waits == []
    client.get("/whoami")
    assert waits == [0.2]


def test_later(make_app: MakeApp, monkeypatch: pytest.MonkeyPatch) -> None:
    """[S1] All is well for a while, and then nothing is but the health pages: what a burn-in is for."""
    clock = [1000.0]
    monkeypatch.setattr("logbook.faults.time.monotonic", lambda: clock[-1])
    client = make_app(LOGBOOK_FAULT="later:5").test_client()
    for now, status in ((1000.0, 200), (1004.9, 200), (1005.0, 500), (1100.0, 500)):
        clock.append(now)
        assert client.get("/whoami").status_code == status
        assert client.get("/healthz/ready").status_code == 200


@pytest.mark.parametrize("fault", ["import", "unknown", "slow", "slow:soon", "ready:1", "later", "later:-1"])
def test_bad_release_does_not_start(make_app: MakeApp, fault: str) -> None:
    """[A6] [S1]"""
    with pytest.raises(RuntimeError, match="LOGBOOK_FAULT"):
        make_app(LOGBOOK_FAULT=fault)
