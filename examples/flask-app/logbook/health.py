"""What a probe, an operator and a test ask: alive? ready? which release? whom do you see?"""

from __future__ import annotations

import logging
import platform
from collections.abc import Callable

from alembic.migration import MigrationContext
from flask import Blueprint, Flask, Response, current_app, jsonify, request
from flask.typing import ResponseReturnValue
from redis.exceptions import RedisError
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from .extensions import probe, redis
from .logging import request_id

log = logging.getLogger(__name__)

bp = Blueprint("health", __name__)


def init_app(app: Flask) -> None:
    app.register_blueprint(bp)


@bp.get("/healthz/live")
def live() -> ResponseReturnValue:
    """Only says that this process answers: a database outage must not get the app restarted."""
    return jsonify(status="alive")


@bp.get("/healthz/ready")
def ready() -> ResponseReturnValue:
    """Says whether a request sent here would find what it needs."""
    checks: dict[str, Callable[[], object]] = {"database": _ask_database}
    if client := redis():
        checks["redis"] = client.ping
    results = {name: _answer(name, ask) for name, ask in checks.items()}
    down = [name for name, result in results.items() if result != "ok"]
    if down:
        return jsonify(status="unavailable", checks=results, down=down), 503
    return jsonify(status="ready", checks=results)


@bp.get("/version")
def version() -> ResponseReturnValue:
    return jsonify(
        release=current_app.config["RELEASE"],
        commit=current_app.config["COMMIT"],
        schema=schema(),
        python=platform.python_version(),
    )


@bp.get("/whoami")
def whoami() -> ResponseReturnValue:
    """The client as the app sees it: proves that the proxy's headers count and a visitor's do not."""
    return jsonify(
        remote_addr=request.remote_addr,
        scheme=request.scheme,
        host=request.host,
        request_id=request_id(),
    )


@bp.after_request
def never_cache(response: Response) -> Response:
    response.headers["Cache-Control"] = "no-store"
    return response


def schema() -> str | None:
    """The revision that the database is at; None when it has none or does not answer."""
    try:
        with probe().connect() as connection:
            return MigrationContext.configure(connection).get_current_revision()
    except SQLAlchemyError:
        return None


def _ask_database() -> None:
    with probe().connect() as connection:
        connection.execute(text("SELECT 1"))


def _answer(name: str, ask: Callable[[], object]) -> str:
    try:
        ask()
    except (SQLAlchemyError, RedisError, OSError) as error:
        log.warning("not ready: %s is down (%s)", name, type(error).__name__)  # the text could tell too much
        return "down"
    return "ok"
