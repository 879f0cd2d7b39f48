# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""Ask many things at once, and wait no longer than is worth it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Mapping
from typing import Any, TypeVar

from ..core.errors import SlipwayError

Key = TypeVar("Key", bound=Hashable)


def together(probes: Mapping[Key, Callable[[], Any]], patience: float) -> tuple[dict[Key, Any], dict[Key, str]]:
    """What each probe returns, None for one that gave nothing; and for those, why.

    :arg patience: seconds for all of them. One that is late goes on in a thread that ends with the program.
    """
    found: dict[Key, Any] = {}
    gaps: dict[Key, str] = {}

    def ask(key: Key, probe: Callable[[], Any]) -> None:
        try:
            found[key] = probe()
        except (SlipwayError, OSError, ValueError, LookupError, TypeError) as error:
            gaps[key] = str(error).strip().split("\n")[0] or type(error).__name__

    until = time.monotonic() + patience
    threads = [threading.Thread(target=ask, args=pair, daemon=True) for pair in probes.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))
    # Copies: a late thread may still write.
    seen, missed = dict(found), dict(gaps)
    for key in probes:
        if key not in seen:
            seen[key] = None
            missed.setdefault(key, f"no answer within {patience:g} seconds")
    return {key: seen[key] for key in probes}, missed
