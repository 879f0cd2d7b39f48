"""The ledger: one row per accepted request. Deploy tests post to it while releases are switched, then count.

There only when LOGBOOK_LEDGER=1.
"""

from __future__ import annotations

from flask import Blueprint, Flask, current_app, jsonify, request
from flask.typing import ResponseReturnValue
from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError

from .extensions import csrf, db
from .models import LedgerLine

bp = Blueprint("ledger", __name__, url_prefix="/ledger")
csrf.exempt(bp)


def init_app(app: Flask) -> None:
    if app.config["LEDGER"]:
        app.register_blueprint(bp)


@bp.post("")
def add() -> ResponseReturnValue:
    body = request.get_json(silent=True)
    key = body.get("key") if isinstance(body, dict) else None
    if not isinstance(key, str) or not 1 <= len(key) <= 100:
        return jsonify(error="a key of 1 to 100 characters is required"), 400
    line = LedgerLine(key=key, release=current_app.config["RELEASE"])
    db.session.add(line)
    try:
        db.session.commit()
    except IntegrityError:  # the key is there already
        db.session.rollback()
        return jsonify(error="this key is in the ledger already", key=key), 409
    return jsonify(key=key, release=current_app.config["RELEASE"]), 201


@bp.get("/count")
def count() -> ResponseReturnValue:
    return jsonify(count=db.session.scalar(select(func.count()).select_from(LedgerLine)))
