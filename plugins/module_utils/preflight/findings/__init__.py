# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""Facts judged: pure functions, a file for each subject."""

from __future__ import annotations

from ..facts import Facts
from ..finding import Finding
from ..needs import Needs
from . import firewall, names, packages, ports, postgres, redis, sites, system

SUBJECTS = (system, packages, ports, sites, postgres, redis, firewall, names)


def judge(facts: Facts, needs: Needs) -> list[Finding]:
    """Everything that needs an answer or should be known, the most basic first; each id once."""
    found: dict[str, Finding] = {}
    # On another system nothing else that was asked means anything.
    if not facts.system.debian:
        return [*system.findings(Facts(system=facts.system), needs)][:1]
    for subject in SUBJECTS:
        for finding in subject.findings(facts, needs):
            found.setdefault(finding.id, finding)
    return list(found.values())
