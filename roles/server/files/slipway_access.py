# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
# slipway:server
"""The line of JSON that is logged for a request, the same from each server. It needs Python 3.9 and the standard library."""

from __future__ import annotations

import atexit
import json
import os
import threading
import time
from typing import Any

#: Seconds between two writes of one process. Each write wakes the journal: on one core with 64 visitors a request that writes a row to
#: PostgreSQL took 2.1 ms of the server's CPU time with a write for each line, 1.7 ms with one for all lines of this time, 1.7 ms without
#: lines; medians of turns, 2026-11-28.
PAUSE = 0.05

encode = json.JSONEncoder(separators=(",", ":")).encode


def line(server: str, nginx: tuple[Any, Any], method: Any, path: str, status: int, sent: Any, duration_us: int) -> str:
    """One request.

    :arg nginx: the request's id and the client's address, as nginx says them.
    :arg sent: bytes of the body; None where the server does not know.
    """
    request_id, client = nginx
    entry = {"logger": f"{server}.access", "request_id": request_id, "client": client, "method": method, "path": path}
    return encode({**entry, "status": status, "bytes": sent, "duration_us": duration_us})


class Lines:
    """Lines on standard output. The first is written at once, those that follow within `PAUSE` together.

    A process that is killed loses those that wait.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.kept: list[str] = []
        self.timed = False
        self.written = 0.0
        atexit.register(self.write)

    def add(self, text: str) -> None:
        with self.lock:
            self.kept.append(text)
            if self.timed:
                return
            left = self.written + PAUSE - time.monotonic()
            timer = threading.Timer(left, self.write)
            timer.daemon = True
            self.timed = left > 0
            try:
                if self.timed:
                    timer.start()
            except RuntimeError:
                # The unit may have no more threads.
                self.timed = False
        if not self.timed:
            self.write()

    def write(self) -> None:
        """All that are kept."""
        with self.lock:
            self.timed = False
            rest = "".join(f"{text}\n" for text in self.kept).encode()
            self.kept.clear()
            self.written = time.monotonic()
            while rest:
                rest = rest[os.write(1, rest) :]
