# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""What is wrong with an app, or went wrong in the run: each thing once, with its evidence, its cause and its fix."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from .figures import DEGRADED, FAILED

#: The hop whose check says the same as a subject of the status.
HOPS = {"certificate": "tls", "backups": "backup", "services": "server", "timers": "timers"}
#: How a text begins that is typed as it stands.
_COMMAND = re.compile(r"(ansible-\w+|slipway|systemctl|systemd-cgtop|journalctl|timedatectl|nginx|ufw|apt|apt-get|du|df|sudo) ")


def problems(host: Mapping[str, Any], app: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The worst first, each in the form that the page shows.

    :arg host: what the run did to it, with its walk.
    :arg app: its part of the state document.
    """
    walk = host["walk"] or {}
    found = [*_findings(walk), *_checks(walk)]
    found += _failures(host, {str(one["fix"]) for one in walk.get("checks") or [] if one["fix"]})
    found += _statuses(app, walk)
    found += _advice(walk)
    return sorted(found, key=lambda one: one["state"] != FAILED)


#: What a machine lacks, as the page calls it: how doctor would name the same, and what to do about it.
_MACHINE = {
    "Security updates": ("update", "journalctl -u apt-daily-upgrade -n 50; then, to install them now: unattended-upgrade -v"),
    "Reboot": ("reboot", "systemctl reboot, at a quiet hour"),
    "Clock": ("clock", "timedatectl set-ntp true; then: timedatectl"),
    "Disk": ("disk", "du -xh --max-depth=2 {place} | sort -h | tail -20"),
    "Inodes": ("inode", "du -x --inodes --max-depth=2 {place} | sort -n | tail -20"),
    "Memory": ("memory", "systemd-cgtop --order=memory"),
}


def of_machine(machine: Mapping[str, Any], hosts: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """What the figures of a machine say, unless a check of one of its apps has said so."""
    walks = [host["walk"] or {} for host in hosts if (host["machine"] or host["host"]) == machine["entry"]]
    said = [f"{one['id']} {one['hop']} {one['what']}" for walk in walks for one in walk.get("findings") or []]
    said += [f"{one['hop']} {one['check']}" for walk in walks for one in walk.get("checks") or [] if one["result"] != "ok"]
    for row in (*machine["rows"], *machine["bars"]):
        kind, _, place = row["label"].partition(" /")
        word, fix = _MACHINE.get(kind) or _MACHINE.get(kind.split()[0], ("", ""))
        if row["state"] in (DEGRADED, FAILED) and not (word and any(word in one.lower() for one in said)):
            yield problem(row["state"], f"{row['label']}: {row['text']}", fix=fix.format(place=f"/{place}"))


def problem(state: str, title: str, where: str = "", evidence: str = "", cause: str = "", fix: str = "") -> dict[str, Any]:
    command = bool(_COMMAND.match(fix))
    return {
        **{"state": state, "title": title, "where": where, "evidence": evidence, "cause": cause},
        "fix": fix,
        "command": command,
    }


def _findings(walk: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """What doctor has found."""
    for one in walk.get("findings") or []:
        state = DEGRADED if one["severity"] == "degraded" else FAILED
        yield problem(state, one["what"] or one["id"] or "", one["hop"] or "", one["evidence"] or "", one["cause"] or "", one["fix"] or "")


def _checks(walk: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Checks that failed by themselves, unless doctor explains them."""
    explained = {one["hop"] for one in walk.get("findings") or []}
    for one in walk.get("checks") or []:
        if one["result"] == "BROKEN" and one["hop"] not in explained:
            yield problem(FAILED, f"{one['hop']} is broken", one["check"] or "", one["evidence"] or "", fix=one["fix"] or "")


def _failures(host: Mapping[str, Any], said: set[str]) -> Iterator[dict[str, Any]]:
    """Tasks that ended the run; ``said``: fixes that stand on the page already, with the check that they are of."""
    for one in host["failures"]:
        where = f"task “{one['task']}”, play “{one['play']}”" if one["play"] else f"task “{one['task']}”"
        points = [(what, fix) for what, fix in one["points"] if not (fix and fix in said)]
        for what, fix in points:
            title = "The host cannot be reached" if one["unreachable"] else what or "The run failed"
            # What a point says stands in its title.
            evidence = one["message"] if len(one["points"]) == 1 and one["message"].strip() != what else ""
            yield problem(FAILED, title, where, evidence, fix=fix)


def _statuses(app: Mapping[str, Any], walk: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Subjects that are not well, where no check of the path has said so."""
    told = {one["hop"] for one in walk.get("findings") or []} | {one["hop"] for one in walk.get("checks") or [] if one["result"] != "ok"}
    for one in (app.get("status") or {}).get("subjects") or []:
        if one["state"] in (DEGRADED, FAILED) and HOPS.get(one["subject"], "") not in told:
            yield problem(one["state"], f"{one['subject']}: {one['state']}", "", one["evidence"] or "", fix=one["fix"] or "")


def _advice(walk: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """What a visitor would notice, and nothing fails of."""
    for check in walk.get("checks") or []:
        for one in check["advice"]:
            yield problem(DEGRADED, one["what"] or "", one["where"] or "", fix=one["fix"] or "")
