# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""Facts judged: pure functions, a file for each subject."""

from __future__ import annotations

from ..asked import Asked
from ..facts import Facts
from ..finding import Finding
from . import firewall, names, packages, ports, postgres, redis, sites, system

SUBJECTS = (system, packages, ports, sites, postgres, redis, firewall, names)


def judge(facts: Facts, asked: Asked) -> list[Finding]:
    """Everything that needs an answer or should be known, the most basic first; each id once."""
    found: dict[str, Finding] = {}
    # On another system nothing else that was asked means anything.
    if not facts.system.debian:
        return [*system.findings(Facts(system=facts.system), asked)][:1]
    for subject in SUBJECTS:
        for finding in subject.findings(facts, asked):
            found.setdefault(finding.id, finding)
    return list(found.values())
