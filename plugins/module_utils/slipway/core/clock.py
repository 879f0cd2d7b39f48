# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""Times and durations, and how they are written."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

HOUR = 3600
DAY = 86400
STAMP = "%Y-%m-%dT%H:%M:%SZ"


def utc_now() -> datetime:
    """The time, to the second."""
    return datetime.now(timezone.utc).replace(microsecond=0)


def stamp(moment: float | None) -> str | None:
    """A time, in seconds since 1970, for people and programs."""
    return None if moment is None else datetime.fromtimestamp(int(moment), timezone.utc).strftime(STAMP)


def moment(text: Any) -> float | None:
    """The time that `stamp` wrote; None when there is none."""
    try:
        return datetime.strptime(str(text), STAMP).replace(tzinfo=timezone.utc).timestamp()
    except ValueError:
        return None


def percent(share: float) -> str:
    """33 %."""
    return f"{share * 100:.0f} %"


def days(seconds: float) -> str:
    """29.4 days, or hours where days would say little."""
    return f"{seconds / DAY:.1f} days" if abs(seconds) >= 3 * DAY else f"{seconds / HOUR:.1f} hours"
