"""The extensions, and how they are tied to the app. Nothing here opens a connection."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flask import Flask, Request, current_app, request
from flask_login import LoginManager
from flask_migrate import Migrate
from flask_session import Session
from flask_session.redis import RedisSessionInterface
from flask_sqlalchemy import SQLAlchemy
from flask_wtf import CSRFProtect
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry
from sqlalchemy import Engine, create_engine
from sqlalchemy.pool import NullPool

from .models import Base

db = SQLAlchemy(model_class=Base)
migrate = Migrate(directory=Path(__file__).with_name("migrations"))
login = LoginManager()
csrf = CSRFProtect()


OUTAGE = "logbook.outage"


class RedisSessions(RedisSessionInterface):
    """Sessions in Redis that stay out of the way of the health pages, and of the error page in an outage:
    without Redis the request still gets an (empty, unwritable) session, and need_sessions ends it properly."""

    def open_session(self, app: Flask, request: Request) -> Any:
        if request.path.startswith("/healthz/"):
            return self.make_null_session(app)
        try:
            return super().open_session(app, request)
        except RedisError as error:
            request.environ[OUTAGE] = error
            return self.make_null_session(app)


def need_sessions() -> None:
    if error := request.environ.get(OUTAGE):
        raise error


def init_app(app: Flask) -> None:
    app.before_request(need_sessions)  # before the CSRF check, which would blame the visitor
    db.init_app(app)
    migrate.init_app(app, db)
    csrf.init_app(app)
    login.init_app(app, add_context_processor=False)

    app.extensions["redis"] = None
    if app.config["REDIS_URL"]:
        app.extensions["redis"] = client = Redis.from_url(
            app.config["REDIS_URL"],
            socket_connect_timeout=1,
            socket_timeout=1,
            retry=Retry(NoBackoff(), 1),  # a connection that Redis closed while idle, no more
        )
        app.session_interface = RedisSessions(app, client, app.config["SESSION_KEY_PREFIX"])
    else:
        Session(app)


def redis() -> Redis | None:
    """This app's Redis, or None where sessions live elsewhere (development, tests)."""
    client: Redis | None = current_app.extensions["redis"]
    return client


def probe() -> Engine:
    """An engine for health checks: a fresh connection each time, so that a pool whose connections hang or are
    all busy cannot make a check wait, and limits on both the connection and the statement."""
    engine: Engine | None = current_app.extensions.get("logbook_probe")
    if engine is None:
        limits = {"connect_timeout": 2, "options": "-c statement_timeout=1000"}
        url = db.engine.url
        connect_args = limits if url.get_backend_name() == "postgresql" else {}
        engine = create_engine(url, poolclass=NullPool, connect_args=connect_args)
        current_app.extensions["logbook_probe"] = engine
    return engine
