# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""The log of a subject: lines in the app's log folder, errors also on stderr and in the journal."""

from __future__ import annotations

import contextlib
import os
import sys
import syslog
from pathlib import Path

from .clock import STAMP, utc_now


class Log:
    """Lines in the app's log folder; errors also on stderr and in the journal."""

    def __init__(self, path: Path, tag: str) -> None:
        """Log to ``path``; ``tag`` names the lines in the journal."""
        self.path = path
        syslog.openlog(tag, facility=syslog.LOG_CRON)

    def _append(self, level: str, message: str) -> None:
        line = f"{utc_now().strftime(STAMP)} {level} {message}\n"
        self.path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        # The app may write to this folder, and this runs as root: never through a link that it left there.
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o640)
        with os.fdopen(descriptor, "a", encoding="utf-8") as handle:
            handle.write(line)

    def info(self, message: str) -> None:
        """A line that nobody has to read today."""
        try:
            self._append("INFO", message)
        except OSError as error:
            # A backup without its log line is worth more than no backup; the journal says so.
            syslog.syslog(syslog.LOG_WARNING, f"{message} (not in {self.path}: {error})")

    def error(self, message: str) -> None:
        """A line that somebody has to read."""
        print(f"error: {message}", file=sys.stderr)
        syslog.syslog(syslog.LOG_ERR, message)
        with contextlib.suppress(OSError):
            self._append("ERROR", message)
