# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
# slipway:server
"""The app as a server other than Gunicorn loads it: `slipway_entry:warmed` makes it.

What Gunicorn does by its settings is done here once for all other servers: a line of JSON for each request, the scheme and the prefix as
nginx says them, and the warm-up. It runs with the Python of the app's release: it needs Python 3.9 and the standard library.
"""

from __future__ import annotations

import ast
import importlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from random import randint
from typing import Any

from slipway_access import line
from slipway_drain import Worker
from slipway_warmup import WarmUp

#: What the role server writes: /etc/<app>/server.json, beside the folder of this file.
CONFIG = Path(__file__).resolve().parents[1] / "server.json"


class EntryError(Exception):
    """SLIPWAY_WSGI does not lead to an app."""


def config() -> dict[str, Any]:
    """The values of server.json."""
    found: dict[str, Any] = json.loads(CONFIG.read_text())
    return found


def load(entry: str) -> Any:
    """The app that `module:name` or `module:factory(arguments)` names.

    EntryError where it names none; ImportError as the module raises it.
    """
    module, _, expression = entry.partition(":")
    found = importlib.import_module(module)
    try:
        wanted = ast.parse(expression or "application", mode="eval").body
        call = wanted if isinstance(wanted, ast.Call) else None
        name = call.func if call else wanted
        if not isinstance(name, ast.Name):
            raise ValueError(entry)
        positional = [ast.literal_eval(one) for one in call.args] if call else []
        named = {str(one.arg): ast.literal_eval(one.value) for one in call.keywords} if call else {}
    except (SyntaxError, ValueError) as error:
        raise EntryError(f"{entry!r} is neither module:name nor module:factory()") from error
    if not hasattr(found, name.id):
        raise EntryError(f"there is no {name.id!r} in {module}")
    app = getattr(found, name.id)
    app = app(*positional, **named) if call else app
    if not callable(app):
        raise EntryError(f"{entry!r} is no app: it cannot be called")
    return app


class Log:
    """A line for each request on standard output, in one write: the journal keeps lines apart."""

    def __init__(self, server: str, on: bool, quiet: list[str]) -> None:
        """:arg quiet: paths that are left out: health checks would drown the requests of visitors."""
        self.server, self.on, self.quiet = server, on, frozenset(quiet)
        #: Called after each request.
        self.counted: Callable[[], object] = lambda: None

    def write(self, started: float, nginx: tuple[Any, Any], method: str, path: str, status: int, sent: int) -> None:
        self.counted()
        if self.on and path not in self.quiet:
            taken = int((time.monotonic() - started) * 1_000_000)
            os.write(1, f"{line(self.server, nginx, method, path, status, sent, taken)}\n".encode())


class Wsgi:
    """A WSGI app behind nginx."""

    def __init__(self, app: Any, log: Log, prefix: str) -> None:
        self.app, self.log, self.prefix = app, log, prefix

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        started, told = time.monotonic(), ["500"]
        # Only nginx can connect to the socket, and it says for whom it asks.
        environ["wsgi.url_scheme"] = environ.get("HTTP_X_FORWARDED_PROTO", environ.get("wsgi.url_scheme", "http"))
        environ["REMOTE_ADDR"] = ""
        if self.prefix and environ.get("PATH_INFO", "").startswith(self.prefix):
            environ["SCRIPT_NAME"] = self.prefix
            environ["PATH_INFO"] = environ["PATH_INFO"].removeprefix(self.prefix)

        def start(status: str, *more: Any) -> Any:
            told[0] = status
            return start_response(status, *more)

        answer = Answer(self.log, started, environ, told)
        try:
            answer.body = self.app(environ, start)
        except BaseException:
            answer.close()
            raise
        return answer


class Answer:
    """The body of an answer, which is logged when it has been sent."""

    def __init__(self, log: Log, started: float, environ: dict[str, Any], told: list[str]) -> None:
        self.log, self.started, self.environ, self.told = log, started, environ, told
        self.body: Any = ()
        self.sent = 0

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self.body:
            self.sent += len(chunk)
            yield chunk

    def close(self) -> None:
        try:
            getattr(self.body, "close", lambda: None)()
        finally:
            environ = self.environ
            path = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
            nginx = environ.get("HTTP_X_REQUEST_ID"), environ.get("HTTP_X_FORWARDED_FOR")
            self.log.write(self.started, nginx, environ.get("REQUEST_METHOD", ""), path, int(self.told[0].split()[0]), self.sent)


class Asgi:
    """An ASGI app behind nginx."""

    def __init__(self, app: Any, log: Log) -> None:
        self.app, self.log = app, log

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        started, status, sent = time.monotonic(), 500, 0
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        secure = headers.get(b"x-forwarded-proto") == "https"
        plain = "ws" if scope["type"] == "websocket" else "http"
        scope = {**scope, "scheme": f"{plain}s" if secure else plain}

        async def tell(message: dict[str, Any]) -> None:
            nonlocal status, sent
            if message["type"] == "http.response.start":
                status = message["status"]
            elif message["type"] == "websocket.accept":
                status = 101
            sent += len(message.get("body") or b"")
            await send(message)

        try:
            await self.app(scope, receive, tell)
        finally:
            nginx = headers.get(b"x-request-id"), headers.get(b"x-forwarded-for")
            self.log.write(started, nginx, scope.get("method", "GET"), scope["path"], status, sent)


@cache
def wrapped() -> Any:
    """The app, logged."""
    values = config()
    app = load(os.environ["SLIPWAY_WSGI"])
    log = Log(os.environ.get("SLIPWAY_SERVER", ""), values["access_log"], values["quiet"])
    return Asgi(app, log) if values["interface"] == "asgi" else Wsgi(app, log, os.environ.get("SCRIPT_NAME", ""))


def warmed() -> Any:
    """The app in a worker, when it has answered its first request; systemd is told that the release serves."""
    values = config()
    app = wrapped()
    bare = None if values["interface"] == "asgi" else app.app
    warm_up(values).worker(os.getpid(), bare, int(os.environ["SLIPWAY_WORKERS"]), lambda text: print(text, file=sys.stderr, flush=True))
    if "SLIPWAY_CONTROL" in os.environ:
        server, limit = os.environ["SLIPWAY_SERVER"], 0
        if values["max_requests"] and server in ("hypercorn", "uvicorn"):
            # Their own way to replace a worker closes connections that it has not read.
            limit = values["max_requests"] + randint(0, values["max_requests_jitter"])
        app.log.counted = Worker(os.environ["SLIPWAY_CONTROL"], os.environ["SLIPWAY_SOCKET"], limit).count
        if server == "hypercorn":
            # Its workers have no end of their own on this signal, and one that is killed ends all.
            signal.signal(signal.SIGTERM, leave)
    return app


def leave(number: int, frame: object) -> None:
    """End this process, once, as Python does."""
    signal.signal(number, signal.SIG_IGN)
    sys.exit()


def warm_up(values: dict[str, Any]) -> WarmUp:
    """What a worker asks itself first."""
    return WarmUp(values["warm_up_paths"], domain=values["domain"], timeout=values["warm_up_timeout"])
