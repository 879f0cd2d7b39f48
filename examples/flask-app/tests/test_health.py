"""Health, version, identity."""

from __future__ import annotations

import platform
import socket
import time
from pathlib import Path

import fakeredis
import pytest
from flask import Flask
from flask.testing import FlaskClient

from logbook import create_app, extensions, health

from .conftest import PRODUCTION, SECRET, Environment, MakeApp


@pytest.fixture
def outage(environment: Environment) -> Flask:
    """Production with neither a database nor a Redis."""
    environment(PRODUCTION)
    return create_app()


def test_live_needs_nothing(outage: Flask) -> None:
    """[A14] Liveness is 200 during an outage of everything, even for a visitor with a session."""
    client = outage.test_client()
    client.set_cookie("logbook_session", "0123456789abcdef", secure=True)
    answer = client.get("/healthz/live", base_url="https://localhost")
    assert (answer.status_code, answer.json) == (200, {"status": "alive"})


def test_ready(make_app: MakeApp, fake_redis: fakeredis.FakeRedis) -> None:
    """[A14]"""
    app = make_app()
    app.extensions["redis"] = fake_redis
    answer = app.test_client().get("/healthz/ready")
    assert answer.status_code == 200
    assert answer.json == {"status": "ready", "checks": {"database": "ok", "redis": "ok"}}
    assert answer.headers["Cache-Control"] == "no-store"


def test_not_ready_names_what_is_down(outage: Flask) -> None:
    """[A14] [D5] 503 with the names, and neither a stack nor a secret."""
    answer = outage.test_client().get("/healthz/ready")
    assert answer.status_code == 503
    assert answer.json == {
        "status": "unavailable",
        "checks": {"database": "down", "redis": "down"},
        "down": ["database", "redis"],
    }
    assert SECRET not in answer.text
    assert "nonexistent" not in answer.text


def test_not_ready_when_only_redis_is_down(make_app: MakeApp) -> None:
    """[A14]"""
    server = fakeredis.FakeServer()
    server.connected = False
    app = make_app()
    app.extensions["redis"] = fakeredis.FakeRedis(server=server)
    answer = app.test_client().get("/healthz/ready")
    assert (answer.status_code, answer.json["down"]) == (503, ["redis"])  # type: ignore[index]


def test_ready_does_not_wait_for_a_service_that_hangs(environment: Environment, tmp_path: Path) -> None:
    """[A14] Both services accept the connection and then say nothing."""
    with socket.socket(socket.AF_UNIX) as postgres, socket.socket(socket.AF_UNIX) as redis:
        postgres.bind(str(tmp_path / ".s.PGSQL.5432"))
        postgres.listen()
        redis.bind(str(tmp_path / "redis.sock"))
        redis.listen()
        environment(PRODUCTION)
        environment(
            DATABASE_URL=f"postgresql:///logbook?host={tmp_path}",
            REDIS_URL=f"unix://{tmp_path}/redis.sock?db=0",
        )
        started = time.monotonic()
        answer = create_app().test_client().get("/healthz/ready")
    assert answer.json["down"] == ["database", "redis"]  # type: ignore[index]
    assert time.monotonic() - started < 6


def test_version(make_app: MakeApp) -> None:
    """[A13] Release, commit, schema revision, Python."""
    app = make_app(SLIPWAY_RELEASE="20261120T072201-abc1234", SLIPWAY_COMMIT="abc1234")
    with app.app_context():
        engine = extensions.probe()
        with engine.begin() as connection:
            connection.exec_driver_sql("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")
            connection.exec_driver_sql("INSERT INTO alembic_version VALUES ('0002_ledger')")
    assert app.test_client().get("/version").json == {
        "release": "20261120T072201-abc1234",
        "commit": "abc1234",
        "schema": "0002_ledger",
        "python": platform.python_version(),
    }


def test_version_without_a_schema(client: FlaskClient, outage: Flask) -> None:
    """[A13] Null where the database has no revision, or does not answer."""
    for visitor in (client, outage.test_client()):
        answer = visitor.get("/version").json
        assert answer is not None
        assert (answer["schema"], answer["release"], answer["commit"]) == (None, None, None)


def test_probe_is_apart_from_the_pool(app: Flask) -> None:
    """[A14] A pool whose connections are all busy does not make a check wait."""
    with app.app_context():
        assert extensions.probe() is not extensions.db.engine
        assert health.schema() is None
