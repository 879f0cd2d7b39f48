"""Error pages: small, and built without session or database, since either may be the reason."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

from flask import Flask, make_response, render_template
from flask.typing import ResponseReturnValue
from redis.exceptions import RedisError
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from werkzeug.exceptions import HTTPException, InternalServerError, ServiceUnavailable

from .logging import request_id

OUTAGES = (RedisError, OperationalError, InterfaceError, PoolTimeoutError)


def init_app(app: Flask) -> None:
    app.register_error_handler(HTTPException, show)
    app.jinja_env.globals["request_id"] = request_id

    folder = Path(app.static_folder or "")

    @cache
    def asset(name: str) -> str:
        """A static file's URL, with its content in it: nginx lets browsers keep static files for a year."""
        digest = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        return f"{app.static_url_path}/{name}?v={digest[:12]}"

    app.jinja_env.globals["asset"] = asset


def show(error: HTTPException) -> ResponseReturnValue:
    if isinstance(error, InternalServerError) and isinstance(error.original_exception, OUTAGES):
        error = ServiceUnavailable(retry_after=5)
    if error.code is None or error.code < 400:  # a redirect that was raised
        return error
    template = "404.html" if error.code == 404 else "error.html"
    response = make_response(render_template(template, error=error), error.code)
    for name, value in error.get_headers():
        if name.lower() not in ("content-type", "content-length"):
            response.headers[name] = value  # Allow, Retry-After
    return response
