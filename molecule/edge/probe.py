"""The example app with a probe around it: what of a request arrives here, and pages that the edge's tests need.

Every request is written down as it was seen, one JSON line each, in SEEN (by request id): the tests compare that with what
nginx logged. Below /probe/ stand a page that takes 50 ms, one that says what it was told, a stream of events and a WebSocket.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from typing import Any

from logbook import create_app as create_logbook  # type: ignore[import-not-found]  # beside it where it runs

SEEN = "/var/log/demo/seen.jsonl"
WEBSOCKET = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

Start = Callable[[str, list[tuple[str, str]]], Any]


class Probe:
    """WSGI middleware, outermost: it sees what Gunicorn understood, before any of the app."""

    def __init__(self, app: Callable[[dict[str, Any], Start], Iterable[bytes]]) -> None:
        self.app = app

    @cached_property
    def log(self) -> int:
        """Opened when the first request comes: what imports the app to try it may write nowhere."""
        return os.open(SEEN, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)

    def __call__(self, environ: dict[str, Any], start: Start) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if not path.startswith("/healthz/"):
            headers = {name: value for name, value in environ.items() if name.startswith("HTTP_")}
            seen = {
                "request_id": environ.get("HTTP_X_REQUEST_ID", ""),
                "method": environ["REQUEST_METHOD"],
                "uri": environ["RAW_URI"],
                "script": environ["SCRIPT_NAME"],
                "length": environ.get("CONTENT_LENGTH", ""),
                "headers": headers,
            }
            os.write(self.log, json.dumps(seen).encode() + b"\n")
        if not path.startswith("/probe/"):
            return self.app(environ, start)
        page = getattr(self, f"page_{path.removeprefix('/probe/').strip('/')}", None)
        if page is None:
            return self.text(start, "not a probe\n", "404 NOT FOUND")
        found: Iterable[bytes] = page(environ, start)
        return found

    def text(self, start: Start, body: str, status: str = "200 OK") -> Iterable[bytes]:
        start(status, [("Content-Type", "text/plain"), ("Content-Length", str(len(body.encode())))])
        return [body.encode()]

    def page_hello(self, environ: dict[str, Any], start: Start) -> Iterable[bytes]:
        return self.text(start, "hello\n")

    def page_slow(self, environ: dict[str, Any], start: Start) -> Iterable[bytes]:
        time.sleep(0.05)
        return self.text(start, "slow\n")

    def page_body(self, environ: dict[str, Any], start: Start) -> Iterable[bytes]:
        """How much of a body arrived."""
        return self.text(start, f"{len(environ['wsgi.input'].read())}\n")

    def page_crash(self, environ: dict[str, Any], start: Start) -> Iterable[bytes]:
        """Ends the worker in the middle of the request: nginx is left without an answer."""
        os._exit(1)

    def page_refuse(self, environ: dict[str, Any], start: Start) -> Iterable[bytes]:
        """An error of the app's own: nginx has to let it pass as it is."""
        return self.text(start, "the app's own words\n", f"{environ['QUERY_STRING']} REFUSED")

    def page_events(self, environ: dict[str, Any], start: Start) -> Iterable[bytes]:
        start("200 OK", [("Content-Type", "text/event-stream"), ("Cache-Control", "no-store")])
        return self.events()

    def events(self) -> Iterator[bytes]:
        for number in range(3):
            yield f"data: {number}\n\n".encode()
            time.sleep(1)

    def page_socket(self, environ: dict[str, Any], start: Start) -> Iterable[bytes]:
        """A WebSocket that says one word and closes, spoken on Gunicorn's own socket."""
        key = environ.get("HTTP_SEC_WEBSOCKET_KEY", "").encode()
        if environ.get("HTTP_UPGRADE", "").lower() != "websocket":
            return self.text(start, "no WebSocket\n", "426 UPGRADE REQUIRED")
        accept = base64.b64encode(hashlib.sha1(key + WEBSOCKET, usedforsecurity=False).digest()).decode()
        connection = environ["gunicorn.socket"]
        head = ["HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade", f"Sec-WebSocket-Accept: {accept}"]
        connection.sendall("\r\n".join([*head, "", ""]).encode() + b"\x81\x05hello" + b"\x88\x00")
        raise ConnectionError("the WebSocket is over")


def create_app() -> Any:
    app = create_logbook()
    app.wsgi_app = Probe(app.wsgi_app)
    return app
