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
PAUSE = 0.05


class LockedError(SlipwayError):
    """Another run is under way."""


@contextlib.contextmanager
def locked(path: Path, what: str, patience: float = 0) -> Iterator[None]:
    """Hold the lock in the file ``path`` for the time of a block.

    :arg what: what its holder does, for the message.
    :arg patience: seconds to wait for it; math.inf waits for as long as it takes. LockedError after that, with the holder.
    """
    deadline = time.monotonic() + patience
    # For its owner alone: whoever can open a file can lock it. The file stays, or two could be locked.
    handle = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() >= deadline:
                    holder = os.pread(handle, 200, 0).decode(errors="replace").strip() or "unknown"
                    raise LockedError(f"another {what} is under way ({holder}); try again later") from error
                time.sleep(PAUSE)
        # The lock holds on a full disk, too; only its note is missing.
        with contextlib.suppress(OSError):
            os.ftruncate(handle, 0)
            os.pwrite(handle, f"pid {os.getpid()} since {utc_now().isoformat()}".encode(), 0)
        yield
    finally:
        os.close(handle)
