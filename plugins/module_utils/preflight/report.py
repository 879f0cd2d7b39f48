# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""Findings and answers put together, and what the operator reads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .finding import REPLACE, VARIABLE, Finding, count

#: Where the answers are written.
FILE = "group_vars/app_servers/app.yml"


@dataclass
class Report:
    """What stops the run, what is only said, and what was answered."""

    open: list[Finding] = field(default_factory=list)
    #: Answered with a choice that it does not have.
    impossible: list[tuple[Finding, str]] = field(default_factory=list)
    said: list[Finding] = field(default_factory=list)
    answered: list[tuple[Finding, str]] = field(default_factory=list)

    @property
    def refuses(self) -> bool:
        return bool(self.open or self.impossible)


def report(findings: Iterable[Finding], answers: Mapping[str, str]) -> Report:
    """Each finding where it belongs. An answer to what is not found any more is right, too: it was carried out by an earlier run."""
    found = Report()
    for finding in findings:
        choice = answers.get(finding.id)
        if choice is not None and choice not in finding.choices:
            found.impossible.append((finding, choice))
        elif choice is not None:
            found.answered.append((finding, choice))
        elif finding.refuses:
            found.open.append(finding)
        else:
            found.said.append(finding)
    return found


def as_data(finding: Finding, answer: str = "") -> dict[str, Any]:
    """A finding for whoever reads the module's result."""
    return {
        "id": finding.id,
        "what": finding.what,
        "evidence": finding.evidence,
        "choices": dict(finding.choices),
        "lines": {choice: finding.line(choice) for choice in finding.choices},
        "fix": finding.fix,
        "refuses": finding.refuses,
        "answer": answer,
    }


def refusal(found: Report, unknown: Iterable[str] = ()) -> str:
    """What is said when the run stops: everything at once, what can be answered and how."""
    number = len(found.open) + len(found.impossible)
    lines = [f"Nothing was changed: {count(number, 'thing')} on this machine {'needs' if number == 1 else 'need'} a decision."]
    for finding, choice in found.impossible:
        lines += _described(finding, f"the answer {choice} cannot be carried out")
    for finding in found.open:
        lines += _described(finding)
    choices = [finding for finding in (*(one for one, _ in found.impossible), *found.open) if finding.choices]
    if choices:
        lines += [f"Answers are in {VARIABLE} ({FILE}), for example:", f"  {VARIABLE}:"]
        lines += [f'    "{finding.id}": {next(iter(finding.choices))}' for finding in choices]
    lines += [f"Not known: {one}" for one in unknown]
    return "\n".join([*lines, *_warnings(found)])


def _described(finding: Finding, more: str = "") -> list[str]:
    lines = [f"- {finding.id}: {finding.what}{'; ' + more if more else ''}."]
    lines.append(f"    seen: {finding.evidence}")
    lines += [f"    {choice}: {does}\n      write: {finding.line(choice)}" for choice, does in finding.choices.items()]
    if finding.fix:
        lines.append(f"    {'or' if finding.choices else 'fix'}: {finding.fix}")
    return lines


def notes(found: Report, ours: bool = False) -> list[str]:
    """What is said when the run goes on. On a machine of ours what was adopted or left is so already."""
    due = [(finding, choice) for finding, choice in found.answered if choice == REPLACE or not ours]
    lines = [f"{finding.id}: {choice}: {finding.choices[choice]} (seen: {finding.evidence})" for finding, choice in due]
    return [*lines, *_warnings(found)]


def _warnings(found: Report) -> list[str]:
    """What stops no run, and should be known."""
    lines = []
    for finding in found.said:
        lines.append(f"WARNING: {finding.id}: {finding.what} ({finding.evidence})")
        lines += [f"  fix: {finding.fix}"] if finding.fix else []
        lines += [f"  not to hear of it again: {finding.line(choice)}" for choice in finding.choices]
    return lines
