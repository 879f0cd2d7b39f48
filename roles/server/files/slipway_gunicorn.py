# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
# slipway:server
"""What Gunicorn's configuration does besides setting values: the log of requests, and the warm-up of workers.

gunicorn.conf.py imports it from the folder `gunicorn` beside itself, with the Python of the app's release: it needs Python 3.9, the
standard library and Gunicorn.
"""

from __future__ import annotations

import gc
import json
import os
import threading
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar
from wsgiref.util import setup_testing_defaults

from gunicorn import glogging, util

Value = TypeVar("Value", str, int)
#: Chunks of an answer that the warm-up reads; an endless stream ends there.
CHUNKS = 1000


def setting(name: str, default: Value) -> Value:
    """The environment variable ``name`` in the type of ``default``, which counts where it is absent or empty.

    ValueError where the variable is no number and ``default`` is one: Gunicorn then does not start, and says so.
    """
    return type(default)(os.environ.get(name) or default)


def runtime_folder() -> Path:
    """The folder of this release below /run, the last that the unit names; without systemd, the memory."""
    return Path(os.environ.get("RUNTIME_DIRECTORY", "/dev/shm").split(":")[-1])


def chown(path: str, uid: int, gid: int) -> None:
    """Gunicorn's own, for a file that belongs to somebody else: the sandbox refuses the call, also where it would change nothing."""
    if (uid, gid) != (os.geteuid(), os.getegid()):
        os.chown(path, uid, gid)


util.chown = chown


class Logger(glogging.Logger):  # type: ignore[misc, unused-ignore]
    """A line of JSON for each request. Gunicorn's own collects every header of a request for that, which takes three times as long."""

    encode = json.JSONEncoder(separators=(",", ":")).encode
    #: Paths whose requests are not logged.
    quiet: frozenset[str] = frozenset()

    def access(self, resp: Any, req: Any, environ: dict[str, Any], request_time: Any) -> None:
        path = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
        if path in self.quiet or not self.cfg.accesslog:
            return
        entry = {
            "logger": "gunicorn.access",
            "request_id": environ.get("HTTP_X_REQUEST_ID"),
            "client": environ.get("HTTP_X_FORWARDED_FOR"),
            "method": environ.get("REQUEST_METHOD"),
            "path": path,
            "status": int(str(resp.status or 0).split()[0]),
            "bytes": getattr(resp, "sent", None),
            "duration_us": request_time.seconds * 1_000_000 + request_time.microseconds,
        }
        self.access_log.info("%s", self.encode(entry))


def logger(quiet: Iterable[str]) -> type[Logger]:
    """A `Logger` that leaves out requests of these paths: health checks would drown the requests of visitors."""
    return type("Logger", (Logger,), {"quiet": frozenset(quiet)})


def keep_shared(server: Any) -> None:
    """Gunicorn's hook `when_ready`: what the master has loaded stays in memory that its workers share with it.

    Python's collector would write to all of it, at the latest when a worker ends: measured with five workers of the example app, 67,000
    pages were copied and 2.0 to 2.8 s of CPU time went by until they had ended; 0.4 s with this.
    """
    gc.collect()
    gc.freeze()


class WarmUp:
    """A worker's first request fills caches and opens connections. It is ours, not a visitor's.

    While the file `cold` is in the release's runtime folder, the release before serves as well (module slipway.vps.release).
    """

    def __init__(self, paths: Sequence[str], domain: str, timeout: float) -> None:
        """:arg timeout: seconds for all paths; then visitors come, as they would without this."""
        self.paths = paths
        self.domain = domain
        self.timeout = timeout
        #: Without systemd nobody looks at the file.
        self.watched = "RUNTIME_DIRECTORY" in os.environ
        self.cold = runtime_folder() / "cold"

    def on_starting(self, server: Any) -> None:
        """Gunicorn's hook, before it has workers."""
        if self.watched:
            self.cold.write_text("workers that answer still miss\n")

    def post_worker_init(self, worker: Any) -> None:
        """Gunicorn's hook, in each worker when it has the app."""
        visitor = threading.Thread(target=self.visit, args=(worker,), daemon=True)
        visitor.start()
        # Whatever the app waits for.
        visitor.join(self.timeout)
        if self.watched:
            self.cold.with_name(f"warm-{worker.pid}").touch()
            if len(list(self.cold.parent.glob("warm-*"))) >= worker.cfg.workers:
                self.cold.unlink(missing_ok=True)

    def visit(self, worker: Any) -> None:
        """Ask the worker's app for each path."""
        if threading.get_native_id() != os.getpid():
            # This thread alone (gevent has but one): visitors come first.
            os.nice(10)
        # An ASGI worker has none: its app wants an event loop.
        if not getattr(worker, "wsgi", None):
            return
        for path in self.paths:
            try:
                body = worker.wsgi(self.request(path), start_response)
                list(islice(body, CHUNKS))
                getattr(body, "close", lambda: None)()
            except Exception as error:
                worker.log.warning("warm-up: GET %s: %r", path, error)

    def request(self, path: str) -> dict[str, Any]:
        """What nginx would make of a visitor's GET."""
        prefix = os.environ.get("SCRIPT_NAME", "")
        environ: dict[str, Any] = {
            **{
                "SCRIPT_NAME": prefix,
                "PATH_INFO": path.removeprefix(prefix),
                "HTTP_HOST": self.domain,
                "REMOTE_ADDR": "",
                "wsgi.url_scheme": "https",
            },
            **{"HTTP_X_FORWARDED_FOR": "127.0.0.1", "HTTP_X_FORWARDED_PROTO": "https", "HTTP_X_FORWARDED_HOST": self.domain},
            **{"HTTP_USER_AGENT": "slipway-warm-up", "wsgi.multithread": True, "wsgi.multiprocess": True},
        }
        setup_testing_defaults(environ)
        return environ


def start_response(status: str, headers: Any, exc_info: Any = None) -> Callable[[bytes], None]:
    """WSGI's; what is said is not of interest."""
    return lambda data: None
