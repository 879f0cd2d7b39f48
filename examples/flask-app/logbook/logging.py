"""One JSON object per line, and one request id from nginx to the last log line and back to the client."""

from __future__ import annotations

import json
import logging
import re
import sys
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import click
from flask import Flask
from werkzeug.wsgi import ClosingIterator, get_path_info

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

REQUEST_ID = re.compile(r"[A-Za-z0-9-]{8,64}")

log = logging.getLogger("logbook.request")
_request: ContextVar[dict[str, Any] | None] = ContextVar("logbook_request", default=None)


def init_app(app: Flask) -> None:
    """Send every logger's lines to stdout. A command's stdout is its answer, so there they go to stderr."""
    command = click.get_current_context(silent=True) is not None
    handler = JsonHandler(sys.stderr if command else sys.stdout)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers = [other for other in root.handlers if not isinstance(other, JsonHandler)] + [handler]
    root.setLevel(app.config["LOG_LEVEL"])


def request_id() -> str | None:
    current = _request.get()
    return current["request_id"] if current else None


def note_user(name: str | None) -> None:
    """From here on, this request's lines carry the user's name."""
    if (current := _request.get()) is not None:
        current["user"] = name


@contextmanager
def about(fields: dict[str, Any]) -> Iterator[None]:
    """In here, every line carries these fields: what a task does is not part of a request."""
    token = _request.set(fields)
    try:
        yield
    finally:
        _request.reset(token)


class JsonHandler(logging.StreamHandler):  # type: ignore[type-arg]  # not subscriptable before 3.11
    """A type of our own, so that init_app replaces this handler and no other."""


class JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= _request.get() or {}
        line |= getattr(record, "outcome", {})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class RequestLog:
    """The outermost layer: names the request, and logs it once when its last byte has been handed over."""

    def __init__(self, wsgi_app: WSGIApplication) -> None:
        self.wsgi_app = wsgi_app

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        started = time.perf_counter()
        given = environ.get("HTTP_X_REQUEST_ID", "")
        identity = given if REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        method, path = environ["REQUEST_METHOD"], get_path_info(environ)
        _request.set({"request_id": identity, "user": None, "method": method, "path": path})
        status = 500

        def start(line: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
            nonlocal status
            status = int(line.split(" ", 1)[0])
            return start_response(line, [*headers, ("X-Request-ID", identity)], *rest)

        def finish() -> None:
            duration = round((time.perf_counter() - started) * 1000, 1)
            level = logging.DEBUG if path.startswith("/healthz/") else logging.INFO
            outcome = {"status": status, "duration_ms": duration}
            log.log(level, "%s %s %s", method, path, status, extra={"outcome": outcome})
            _request.set(None)

        try:
            body = self.wsgi_app(environ, start)
        except BaseException:
            finish()
            raise
        return ClosingIterator(body, finish)
