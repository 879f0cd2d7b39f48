# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
# slipway:server
"""A worker's first request fills caches and opens connections. It is ours, not a visitor's.

It runs with the Python of the app's release, whichever server that has: it needs Python 3.9 and the standard library.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any
from wsgiref.util import setup_testing_defaults

#: Chunks of an answer that the warm-up reads; an endless stream ends there.
CHUNKS = 1000


def runtime_folder() -> Path:
    """The folder of this release below /run, the last that the unit names; without systemd, the memory."""
    return Path(os.environ.get("RUNTIME_DIRECTORY", "/dev/shm").split(":")[-1])


class WarmUp:
    """Asks each worker's app for some paths before visitors do.

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

    def begin(self) -> None:
        """Before the server has workers."""
        if self.watched:
            self.cold.write_text("workers that answer still miss\n")

    def worker(self, pid: int, app: Callable[..., Any] | None, workers: int, warn: Callable[[str], object]) -> None:
        """In each of the workers, when it has the app. None: there is nobody to ask, since an ASGI app wants an event loop."""
        visitor = threading.Thread(target=self.visit, args=(app, warn), daemon=True)
        visitor.start()
        # Whatever the app waits for.
        visitor.join(self.timeout)
        if self.watched:
            self.cold.with_name(f"warm-{pid}").touch()
            if len(list(self.cold.parent.glob("warm-*"))) >= workers:
                self.cold.unlink(missing_ok=True)

    def visit(self, app: Callable[..., Any] | None, warn: Callable[[str], object]) -> None:
        """Ask the app for each path."""
        if threading.get_native_id() != os.getpid():
            # This thread alone (gevent has but one): visitors come first.
            os.nice(10)
        if app is None:
            return
        for path in self.paths:
            try:
                body = app(self.request(path), start_response)
                list(islice(body, CHUNKS))
                getattr(body, "close", lambda: None)()
            except Exception as error:
                warn(f"warm-up: GET {path}: {error!r}")

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
