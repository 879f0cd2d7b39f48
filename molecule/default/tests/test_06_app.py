"""The app of the live release, asked where nginx asks it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from helpers import App, journal, live_unit, must, run_in_app, through_socket, until


def test_live_and_ready(host: Any, app: App) -> None:
    """[A14] Liveness and readiness are two answers."""
    for path in ("/healthz/live", "/healthz/ready"):
        status, body = through_socket(host, app, path)
        assert status == 200, f"{path}: {status} {body}\n{journal(host, live_unit(host, app))}"


# `systemctl stop postgresql` alone returns while the cluster still answers: it is ordered after its clusters, so it stops before them.
@pytest.mark.parametrize(
    ("service", "named"),
    [("redis-server@demo", "redis"), ("postgresql 'postgresql@*'", "database")],
    ids=["redis", "database"],
)
def test_an_outage_makes_it_unready_and_nothing_else(host: Any, app: App, service: str, named: str) -> None:
    """[A14] Without its data the app says so; it is neither dead nor restarted, and recovers by itself."""
    master = host.service(live_unit(host, app)).systemd_properties["MainPID"]
    must(host, f"systemctl stop {service}")
    try:
        status, body = through_socket(host, app, "/healthz/ready")
        assert status == 503 and named in body, f"{status} {body}"
        assert through_socket(host, app, "/healthz/live")[0] == 200
    finally:
        must(host, f"systemctl start {service}")
    assert until(lambda: through_socket(host, app, "/healthz/ready")[0] == 200), through_socket(host, app, "/healthz/ready")
    assert host.service(live_unit(host, app)).systemd_properties["MainPID"] == master


def test_version_tells_what_is_live(host: Any, app: App) -> None:
    """[A13] Release, commit and schema revision, the same in the app, in the manifest and in the database."""
    status, body = through_socket(host, app, "/version")
    assert status == 200, body
    version = json.loads(body)
    manifest = json.loads(must(host, f"cat {app.current}/release.json"))
    assert version["release"] == manifest["id"] == must(host, f"readlink {app.current}").strip().split("/")[-1]
    assert version["commit"] == (manifest["source"]["commit"] or manifest["source"]["identity"])
    head = run_in_app(host, app, "db heads").split()[0]
    assert version["schema"] == manifest["schema_after"] == head


def test_manifest(host: Any, app: App) -> None:
    """[A13] release.json holds what a rollback needs to know."""
    manifest = json.loads(must(host, f"cat {app.current}/release.json"))
    assert manifest["state"] == "live"
    for key in ("id", "fingerprint", "source", "created_at", "created_by", "live_at", "python", "lock"):
        assert manifest[key], f"{key} is empty: {manifest}"
    assert must(host, f"{app.current}/.venv/bin/python --version").split()[1] == manifest["python"]


def test_environment_is_the_contract(host: Any, app: App) -> None:
    """[A11 A17] What Slipway promises an app to find, without a secret in it."""
    text = must(host, f"cat {app.current}/environment")
    for line in (
        'DATABASE_URL="postgresql:///demo?host=/run/postgresql"',
        'FLASK_DEBUG="0"',
        'PROXY_HOPS="1"',
        'REDIS_URL="unix:///run/redis-demo/redis.sock?db=0"',
        f'TRUSTED_HOSTS="{app.domain},{app.alias}"',
    ):
        assert line in text.splitlines(), text
    assert "SECRET" not in text


def test_logs_are_json_with_the_request_id(host: Any, app: App) -> None:
    """[K1] The app's own lines carry id, path, status and duration."""
    through_socket(host, app, "/version")

    def told() -> dict[str, Any] | None:
        lines = must(host, f"journalctl --sync; journalctl -u {live_unit(host, app)} -o cat --no-pager -n 100").splitlines()
        entries = [json.loads(line) for line in lines if line.startswith("{") and '"logger":"gunicorn.access"' not in line]
        return next((e for e in reversed(entries) if e.get("path") == "/version"), None)

    entry = until(told)
    assert entry, journal(host, live_unit(host, app))
    assert entry["request_id"] and entry["status"] == 200 and entry["duration_ms"] >= 0
