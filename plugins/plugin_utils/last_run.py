# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""How far a run is, and how much longer it takes, told from the last one of the same playbook and inventory."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
import zlib
from bisect import bisect_right
from collections.abc import Callable
from pathlib import Path

#: So many runs are kept, each in a file of some kilobytes.
KEPT = 50


class LastRun:
    """The steps of the last run with their times, and where this run stands among them."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self.path, self._clock = path, clock
        self._begun = self._since = clock()
        #: Of this run: each step, and how many seconds after the start it began.
        self._steps: list[tuple[int, float]] = []
        self._total, self._starts, self._known = 0.0, [0.0], {0: [0.0]}
        self._at: float | None = None
        self._reached = 0.0
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
            self._read(json.loads(path.read_text()))

    def _read(self, kept: dict[str, object]) -> None:
        steps = [(int(key), float(start)) for key, start in kept["steps"]]  # type: ignore[attr-defined]
        known: dict[int, list[float]] = {}
        for key, start in steps:
            known.setdefault(key, []).append(start)
        self._total, self._known, self._starts = float(kept["total"]), known, sorted(start for _, start in steps)  # type: ignore[arg-type]

    def step(self, play: str, task: str) -> None:
        """A step begins."""
        key = zlib.crc32(f"{play}\0{task}".encode())
        self._since = self._clock()
        self._steps.append((key, self._since - self._begun))
        # The next one of that name; one that the last run did not have says nothing of what is left.
        self._at = next((start for start in self._known.get(key, ()) if start >= self._reached), None)
        self._reached = max(self._reached, self._at or 0.0)

    @property
    def elapsed(self) -> float:
        return self._clock() - self._begun

    @property
    def in_step(self) -> float:
        """Seconds since the current step began."""
        return self._clock() - self._since

    def left(self) -> tuple[int, float] | None:
        """Percent that are done, and seconds that are left; None where the last run does not say."""
        if self._at is None or self._total <= 0:
            return None
        following = bisect_right(self._starts, self._at)
        end = self._starts[following] if following < len(self._starts) else self._total
        reached = min(self._at + self.in_step, end)
        return min(99, int(100 * reached / self._total)), max(0.0, self._total - reached)

    def save(self) -> None:
        """Keep this run for the next one to compare itself with. Where that cannot be written there is no estimate, and nothing else."""
        with contextlib.suppress(OSError):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            new = self.path.with_suffix(f".{os.getpid()}")
            new.write_text(json.dumps({"total": round(self.elapsed, 2), "steps": [[key, round(start, 2)] for key, start in self._steps]}))
            new.replace(self.path)
            files = sorted(self.path.parent.glob("*.json"), key=lambda path: path.stat().st_mtime, reverse=True)
            for old in files[KEPT:]:
                old.unlink()


def path_of(*words: object) -> Path:
    """The file of runs that are told apart by these words, below the user's cache folder."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    return cache / "slipway/runs" / f"{hashlib.sha256(json.dumps(words, default=str).encode()).hexdigest()[:16]}.json"
