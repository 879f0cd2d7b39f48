# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""The package manager: held, half done, or without sources; and the machine's first start, which uses it."""

from __future__ import annotations

from collections.abc import Iterator

from ..facts import Facts
from ..finding import LEAVE, Finding, some
from ..needs import Needs

_FIXES = {
    "apt:lock": "let it end (ps, journalctl -u apt-daily-upgrade), and run this again",
    "system:cloud-init": "look at what it waits for: cloud-init status --long",
}


def findings(facts: Facts, needs: Needs) -> Iterator[Finding]:
    del needs
    for busy in facts.busy:
        choices = {LEAVE: "go on all the same"} if busy.id == "system:cloud-init" else {}
        yield Finding(busy.id, busy.what, busy.evidence, choices, _FIXES[busy.id])
    # Who holds it is about to change just this.
    if facts.packages.interrupted and not any(busy.id == "apt:lock" for busy in facts.busy):
        what = "an installation of packages was interrupted: apt refuses to install anything else"
        yield Finding("apt:interrupted", what, some(facts.packages.interrupted), fix="dpkg --configure -a, then apt --fix-broken install")
    if facts.packages.sources == 0:
        what, fix = "apt has no source to install packages from", "write the distribution's sources into /etc/apt/sources.list.d/"
        yield Finding("apt:sources", what, "/etc/apt/sources.list and sources.list.d/ name none", fix=fix)
