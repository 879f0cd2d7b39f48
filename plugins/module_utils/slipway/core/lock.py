# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""A kernel lock: one at a time. The kernel lets go of it when its holder dies, so it is never stale."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from .clock import utc_now
from .errors import SlipwayError

#: Seconds between two attempts.
PAUSE = 0.5


class LockedError(SlipwayError):
    """Another run is under way."""


@contextlib.contextmanager
def locked(path: Path, what: str, patience: float = 0) -> Iterator[None]:
    """Hold the lock in the file ``path`` for the time of a block.

    :arg what: what its holder does, for the message.
    :arg patience: seconds to wait for it; math.inf waits for as long as it takes. LockedError after that, with the holder.
    """
    deadline = time.monotonic() + patience
    with path.open("a+", encoding="utf-8") as handle:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() >= deadline:
                    handle.seek(0)
                    holder = handle.read().strip() or "unknown"
                    raise LockedError(f"another {what} is under way ({holder}); try again later") from error
                time.sleep(PAUSE)
        handle.truncate(0)
        handle.write(f"pid {os.getpid()} since {utc_now().isoformat()}")
        handle.flush()
        yield
