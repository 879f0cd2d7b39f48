"""The ledger: one row per accepted request. Deploy tests post to it while releases are switched, then count.

There only when LOGBOOK_LEDGER=1.
"""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Flask, current_app, jsonify, request
from flask.typing import ResponseReturnValue
from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError

from .background import later, slow_ledger
from .extensions import csrf, db
from .models import LedgerLine

LONGEST = 600  # seconds that a task of the tests may take

bp = Blueprint("ledger", __name__, url_prefix="/ledger")
csrf.exempt(bp)


def init_app(app: Flask) -> None:
    if app.config["LEDGER"]:
        app.register_blueprint(bp)


@bp.post("")
def add() -> ResponseReturnValue:
    key = _body().get("key")
    if not _is_key(key):
        return jsonify(error="a key of 1 to 100 characters is required"), 400
    line = LedgerLine(key=key, release=current_app.config["RELEASE"])
    db.session.add(line)
    try:
        db.session.commit()
    except IntegrityError:  # the key is there already
        db.session.rollback()
        return jsonify(error="this key is in the ledger already", key=key), 409
    return jsonify(key=key, release=current_app.config["RELEASE"]), 201


@bp.post("/later")
def add_later() -> ResponseReturnValue:
    """The same, by the worker and after so many seconds."""
    body = _body()
    key, seconds = body.get("key"), body.get("seconds")
    if not (_is_key(key) and _is_seconds(seconds)):
        return jsonify(error=f"a key of 1 to 100 characters and 0 to {LONGEST} seconds are required"), 400
    if not later(slow_ledger, key, seconds):
        return jsonify(error="the queue is down", key=key), 503
    return jsonify(key=key, seconds=seconds), 202


@bp.get("/count")
def count() -> ResponseReturnValue:
    return jsonify(count=db.session.scalar(select(func.count()).select_from(LedgerLine)))


def _body() -> dict[str, Any]:
    body = request.get_json(silent=True)
    return body if isinstance(body, dict) else {}


def _is_key(key: object) -> bool:
    return isinstance(key, str) and 1 <= len(key) <= 100


def _is_seconds(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= LONGEST
