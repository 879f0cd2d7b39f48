# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""The one form in which every subject says how it stands; read by `slipway status`, by verify and by monitoring."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

OK, DEGRADED, FAILED, UNKNOWN = "ok", "degraded", "failed", "unknown"
#: From bad to good: of several subjects the worst one counts.
ORDER = (FAILED, UNKNOWN, DEGRADED, OK)


@dataclass(frozen=True)
class Status:
    """How one subject of an app stands.

    :arg subject: what it is about: certificate, backups, release, services.
    :arg state: ``ok``: nothing is to be done. ``degraded``: visitors notice nothing, and it is tried again by itself. ``failed``:
        somebody has to act. ``unknown``: it cannot be told, for example because it is not set up yet.
    :arg since: when that state began, ISO 8601 in UTC; None where nobody has noted it.
    :arg evidence: what was seen, in a sentence. Never a secret.
    :arg fix: what to do about it; empty where nothing is to be done.
    """

    subject: str
    state: str
    evidence: str
    fix: str = ""
    since: str | None = None

    def data(self) -> dict[str, Any]:
        """The same as JSON has it."""
        return asdict(self)

    def text(self) -> str:
        """The same for people: a line, and the fix in a second one."""
        line = f"{self.subject}: {self.state}: {self.evidence}"
        return f"{line}\n  fix: {self.fix}" if self.fix else line


def worst(statuses: Iterable[Status]) -> str:
    """The state of them all; unknown when there are none."""
    states = {status.state for status in statuses}
    return next((state for state in ORDER if state in states), UNKNOWN)
