# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""The last line of a terminal, which says how far a run is, and makes room for whatever else is printed."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

from ansible.utils.display import get_text_width

#: To the begin of the line, and nothing of it is left.
_CLEAR = "\r\x1b[K"
#: Seconds between two drawings, however much happens.
_PAUSE = 0.1
#: What prints, and what asks a question and waits for the answer.
_PRINTS, _ASKS = ("display",), ("do_var_prompt", "prompt", "prompt_until")


def on_terminal(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether somebody looks at a terminal that can take a line back. A CI job may have one too, and keeps all that was ever drawn."""
    return sys.stdout.isatty() and environment.get("TERM", "dumb") != "dumb" and not environment.get("CI")


class Ticker(threading.Thread):
    """Does something at intervals until it is stopped, or fails."""

    def __init__(self, does: Callable[[], None], every: float) -> None:
        super().__init__(name="slipway-ticker", daemon=True)
        self._does, self._every, self._end = does, every, threading.Event()

    def run(self) -> None:
        while not self._end.wait(self._every):
            try:
                self._does()
            except Exception:
                # The run is what counts.
                return

    def stop(self) -> None:
        self._end.set()


class Live:
    """A line below everything else. Whoever prints by Ansible's display, workers and warnings too, takes it away first."""

    def __init__(self, display: Any, text: Callable[[], str]) -> None:
        self._display, self._text = display, text
        self._drawn, self._quiet, self._last = False, 0, 0.0
        self._process = os.getpid()
        #: Nothing is drawn, until somebody says otherwise.
        self.paused = False

    def start(self) -> None:
        for name in (*_PRINTS, *_ASKS):
            around = self._printing if name in _PRINTS else self.quiet
            setattr(self._display, name, partial(self._around, getattr(self._display, name), around))

    def stop(self) -> None:
        self.clear()
        for name in (*_PRINTS, *_ASKS):
            # Ansible's own is the class's.
            vars(self._display).pop(name, None)

    def draw(self, now: bool = False) -> None:
        """Write the line anew; a while after the last time, unless ``now``."""
        if self.paused or self._quiet or (not now and time.monotonic() - self._last < _PAUSE):
            return
        # Workers are forked under this lock, so none begins with it in other hands.
        with self._display._lock:
            self._last = time.monotonic()
            if text := fitting(self._text(), columns() - 1):
                self._write(_CLEAR + text)
                self._drawn = True

    def clear(self) -> None:
        with self._display._lock:
            if self._drawn:
                self._write(_CLEAR)
                self._drawn = False

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """Nothing is drawn meanwhile."""
        self._quiet += 1
        try:
            self.clear()
            yield
        finally:
            self._quiet -= 1

    @contextmanager
    def _printing(self) -> Iterator[None]:
        with self._display._lock:
            self.clear()
            yield

    def _around(self, function: Callable[..., Any], around: Callable[[], Any], *args: Any, **kwargs: Any) -> Any:
        # A worker sends what it has to say to this process.
        if os.getpid() != self._process:
            return function(*args, **kwargs)
        with around():
            return function(*args, **kwargs)

    def _write(self, text: str) -> None:
        try:
            sys.stdout.write(text)
            sys.stdout.flush()
        except OSError:
            # The terminal is gone.
            self._quiet += 1


def columns() -> int:
    """Columns of the terminal, 80 where it does not say; COLUMNS may be wrong, and a line that wraps cannot be taken back."""
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or 80
    except (OSError, ValueError):
        return 80


def fitting(text: str, width: int) -> str:
    """As much of a line as a terminal shows in one."""
    text = "".join(char if char.isprintable() else " " for char in text)[: max(0, width)]
    while text and not text.isascii() and get_text_width(text) > width:
        text = text[:-1]
    return text
