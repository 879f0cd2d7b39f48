# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""Whether a new release does worse than the one it replaces."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import NamedTuple

from ansible_collections.slipway.vps.plugins.module_utils.servers import SERVERS

#: Fewer failures than this are no verdict: a single one may be a visitor's doing.
FEWEST = 3
_ACCESS = re.compile(rf'{{"logger":"({"|".join(SERVERS)})\.access"')


class Tally(NamedTuple):
    """What one release answered."""

    requests: int = 0
    errors: int = 0
    tracebacks: int = 0

    def plus(self, other: Tally) -> Tally:
        return Tally(self.requests + other.requests, self.errors + other.errors, self.tracebacks + other.tracebacks)

    def said(self) -> str:
        return f"{self.requests} requests, {self.errors} answered 5xx, {self.tracebacks} tracebacks"

    def share(self, count: int) -> float:
        """``count`` per request; a traceback outside of any request weighs as one per request."""
        return count / max(self.requests, count, 1)


def tally(lines: Iterable[str]) -> Tally:
    """Count the server's access lines, the answers 5xx among them, and tracebacks, in lines of the journal."""
    requests = errors = tracebacks = 0
    for line in lines:
        if _ACCESS.match(line):
            try:
                status = int(json.loads(line)["status"])
            except (ValueError, KeyError, TypeError):
                continue
            requests += 1
            errors += status >= 500
        elif "Traceback (most recent call last)" in line:
            tracebacks += 1
    return Tally(requests, errors, tracebacks)


def verdict(new: Tally, old: Tally, tolerance: float) -> str | None:
    """Why the new release is worse than the one before it was, or None.

    :arg tolerance: how much larger a share of failed requests may be, 0 to 1.
    """
    for what, count, before in (("answered 5xx", new.errors, old.errors), ("raised", new.tracebacks, old.tracebacks)):
        share, usual = new.share(count), old.share(before)
        if count >= FEWEST and share > usual + tolerance:
            compared = f", the release before in {usual:.0%} of {old.requests}" if old.requests else ""
            return f"the new release {what} in {share:.0%} of {new.requests} requests{compared}"
    return None
