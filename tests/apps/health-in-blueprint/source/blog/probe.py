from flask import Blueprint

bp = Blueprint("probe", __name__)


@bp.route("/health")
def health():
    return "ok"
