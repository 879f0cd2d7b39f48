# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
# slipway:server
"""What Gunicorn's configuration does besides setting values: the class of worker, the log of requests, and the warm-up of workers.

gunicorn.conf.py imports it from the folder `server` beside itself, with the Python of the app's release: it needs Python 3.9, the
standard library and Gunicorn.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from gunicorn import glogging, util, version_info
from slipway_access import Lines, line
from slipway_warmup import WarmUp

Value = TypeVar("Value", str, int)

#: Gunicorn's major versions that slipway_threads.py was tested with: it builds on parts that Gunicorn may change.
THREADS_FIT = (26, 27)
#: Connections of one worker that Gunicorn takes where nothing else is said (its own default).
CONNECTIONS = 1000


def setting(name: str, default: Value) -> Value:
    """The environment variable ``name`` in the type of ``default``, which counts where it is absent or empty.

    ValueError where the variable is no number and ``default`` is one: Gunicorn then does not start, and says so.
    """
    return type(default)(os.environ.get(name) or default)


def class_of(named: str) -> str:
    """Gunicorn's name of a class of worker. ``auto``: ours, and gthread where the app brings another Gunicorn than ours was tested with."""
    if named != "auto":
        return named
    return "slipway_threads.ThreadWorker" if version_info[0] in THREADS_FIT else "gthread"


def connections(worker_class: str, threads: int) -> int:
    """How many connections a worker takes: gthread no more than it has threads, or quick requests would wait behind slow ones."""
    return threads if worker_class == "gthread" else CONNECTIONS


def chown(path: str, uid: int, gid: int) -> None:
    """Gunicorn's own, for a file that belongs to somebody else: the sandbox refuses the call, also where it would change nothing."""
    if (uid, gid) != (os.geteuid(), os.getegid()):
        os.chown(path, uid, gid)


util.chown = chown


class Logger(glogging.Logger):  # type: ignore[misc, unused-ignore]
    """A line of JSON for each request. Gunicorn's own collects every header of a request for that, which takes three times as long."""

    lines = Lines()
    #: Paths whose requests are not logged.
    quiet: frozenset[str] = frozenset()

    def access(self, resp: Any, req: Any, environ: dict[str, Any], request_time: Any) -> None:
        path = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
        if path in self.quiet or not self.cfg.accesslog:
            return
        nginx = environ.get("HTTP_X_REQUEST_ID"), environ.get("HTTP_X_FORWARDED_FOR")
        status, taken = int(str(resp.status or 0).split()[0]), request_time.seconds * 1_000_000 + request_time.microseconds
        self.lines.add(line("gunicorn", nginx, environ.get("REQUEST_METHOD"), path, status, getattr(resp, "sent", None), taken))


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


def warm_up(paths: Sequence[str], domain: str, timeout: float) -> tuple[Callable[[Any], None], Callable[[Any], None]]:
    """Gunicorn's hooks `on_starting` and `post_worker_init`, which let each worker ask itself before visitors do."""
    warmth = WarmUp(paths, domain, timeout)

    def on_starting(server: Any) -> None:
        warmth.begin()

    def post_worker_init(worker: Any) -> None:
        # An ASGI worker has none.
        warmth.worker(worker.pid, getattr(worker, "wsgi", None), worker.cfg.workers, worker.log.warning)

    return on_starting, post_worker_init
