from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import fakeredis
import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from logbook import create_app
from logbook.auth import hash_password
from logbook.extensions import db
from logbook.logging import JsonHandler
from logbook.models import User

SECRET = "3f9c1d7a5e2b8046" * 3
PASSWORD = "correct horse battery"
PASSWORD_HASH = hash_password(PASSWORD)

PRODUCTION = {
    "SECRET_KEY": SECRET,
    "DATABASE_URL": "postgresql:///logbook?host=/nonexistent",
    "REDIS_URL": "unix:///nonexistent/redis.sock?db=0",
    "UPLOAD_FOLDER": "/nonexistent/uploads",
}

PREFIXES = ("FLASK_", "LOGBOOK_", "SLIPWAY_", "SECRET_KEY", "DATABASE_URL", "DB_POOL_SIZE", "REDIS_URL", "PROXY_HOPS")
OURS = (*PREFIXES, "TRUSTED_HOSTS", "UPLOAD_FOLDER", "MAX_CONTENT_LENGTH", "LOG_LEVEL")


class Client(FlaskClient):
    """Reads every answer to its end, as a browser does: only then is the request over, and logged."""

    def open(self, *args: Any, **options: Any) -> TestResponse:
        options.setdefault("buffered", True)
        return super().open(*args, **options)


Environment = Callable[..., None]
MakeApp = Callable[..., Flask]


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[Environment]:
    """An environment without any variable of ours, and a way to set some. None removes."""
    for name in [name for name in os.environ if name.startswith(OURS)]:
        if not name.startswith("LOGBOOK_TEST_"):
            monkeypatch.delenv(name)

    def change(values: Mapping[str, str | None] | None = None, /, **more: str | None) -> None:
        for name, value in {**(values or {}), **more}.items():
            if value is None:
                monkeypatch.delenv(name, raising=False)
            else:
                monkeypatch.setenv(name, value)

    yield change
    root = logging.getLogger()
    root.handlers = [handler for handler in root.handlers if not isinstance(handler, JsonHandler)]


@pytest.fixture
def make_app(environment: Environment, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MakeApp]:
    """Builds an app of the Testing kind with a database of its own; keywords go into the environment."""
    contexts = []

    def make(overrides: Mapping[str, Any] | None = None, /, **more: str | None) -> Flask:
        folder = tmp_path_factory.mktemp("app")
        environment(
            LOGBOOK_CONFIG="testing",
            SECRET_KEY=SECRET,
            DATABASE_URL=f"sqlite:///{folder}/logbook.db",
            UPLOAD_FOLDER=str(folder / "uploads"),
        )
        environment(more)
        app = create_app(overrides)
        app.test_client_class = Client
        if app.config["DATABASE_URL"].startswith(f"sqlite:///{folder}"):
            with app.app_context():
                db.create_all()
                db.session.add(User(name="ada", password_hash=PASSWORD_HASH))
                db.session.commit()
        contexts.append(app)
        return app

    yield make
    for app in contexts:
        with app.app_context():
            db.engine.dispose()


@pytest.fixture
def app(make_app: MakeApp) -> Flask:
    return make_app()


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.fixture
def fake_redis() -> fakeredis.FakeRedis:
    return fakeredis.FakeRedis()


def token(client: FlaskClient, path: str = "/login") -> str:
    """The CSRF token in a page's form, as a browser would send it back."""
    found = re.search(r'name="csrf_token"[^>]* value="([^"]+)"', client.get(path).text)
    assert found, f"no form in {path}"
    return found[1]


def log_in(client: FlaskClient, name: str = "ada", password: str = PASSWORD) -> Any:
    return client.post("/login", data={"name": name, "password": password, "csrf_token": token(client)})
