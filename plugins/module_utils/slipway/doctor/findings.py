# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""A problem, and one that was found."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from ..core.errors import SlipwayError
from ..core.status import DEGRADED, FAILED


class Problem(NamedTuple):
    """A rule of the doctor: what may be broken, why, and what mends it.

    :arg id: its name in JSON, in tests and in monitoring.
    :arg hop: the station of the request path that it is at, or ``machine``.
    :arg what: what is broken, in a sentence without its full stop.
    :arg cause: the likely cause.
    :arg fix: the command, or the variable, that mends it.
    :arg severity: ``failed``: somebody has to act. ``degraded``: visitors are served.
    :arg explains: hops, and ids of problems, whose trouble follows from this one: they are not named beside it.

    ``what``, ``cause`` and ``fix`` may hold ``{app}``, ``{domain}``, and values that the look gives.
    """

    id: str
    hop: str
    what: str
    cause: str
    fix: str
    severity: str = FAILED
    explains: tuple[str, ...] = ()


class Finding(NamedTuple):
    """A problem that was seen. ``evidence``: one line of what was seen; never a secret."""

    id: str
    hop: str
    severity: str
    what: str
    evidence: str
    cause: str
    fix: str


class Seen(NamedTuple):
    """What a look reports: the id of a problem, its evidence, and values for its texts."""

    problem: str
    evidence: str
    values: Mapping[str, str] = MappingProxyType({})


class BrokenHopError(SlipwayError):
    """A check failed; the text is what was seen.

    :arg problem: id of the problem, where the check knows it.
    """

    def __init__(self, evidence: str, problem: str = "", **values: object) -> None:
        super().__init__(evidence)
        self.seen = [Seen(problem, evidence, {name: str(value) for name, value in values.items()})]


class TroubleError(SlipwayError):
    """A check found one problem, or several at once."""

    def __init__(self, seen: Iterable[Seen]) -> None:
        self.seen = list(seen)
        super().__init__("; ".join(one.evidence for one in self.seen))


def found(problem: Problem, evidence: str, values: Mapping[str, str]) -> Finding:
    """The finding of a problem; a value that a text wants and nobody gave is an ellipsis."""

    class Known(dict[str, str]):
        def __missing__(self, key: str) -> str:
            return "…"

    known = Known(values)
    # What a log quotes may be an address with its password.
    line = re.sub(r"(://[^/\s:@]*):[^@\s]+@", r"\1:***@", " ".join(evidence.split()))
    texts = (text.format_map(known) for text in (problem.what, problem.cause, problem.fix))
    what, cause, fix = texts
    return Finding(problem.id, problem.hop, problem.severity, what, line if len(line) <= 400 else f"{line[:399]}…", cause, fix)


def diagnose(findings: Sequence[Finding], explains: dict[str, set[str]]) -> list[Finding]:
    """Those that do not follow from another one, in the order of the path; what is broken before what is degraded.

    :arg explains: by id of a problem: hops, and ids of problems, that follow from it.
    """
    findings = [*{one.id: one for one in reversed(findings)}.values()][::-1]
    roots = [one for one in findings if not any(_follows(one, other, explains) for other in findings)]
    # Two that explain each other: the first one stays.
    return sorted(roots or findings[:1], key=lambda one: one.severity == DEGRADED)


def _follows(one: Finding, other: Finding, explains: dict[str, set[str]]) -> bool:
    named = explains.get(other.id, set())
    return one.id != other.id and (one.id in named or (one.hop in named and one.hop != other.hop))
