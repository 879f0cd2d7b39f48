# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""What may be in the report, field by field: whatever else a host or a task returns stays out of it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from ansible_collections.slipway.vps.plugins.plugin_utils.outcome import Failure, Outcome, inventory_words, next_steps

#: Characters and lines of a text; entries of a list. A host that says more is not believed to have more to say.
TEXT, LINES, ENTRIES = 2000, 14, 200

STATUS = {"subject": str, "state": str, "since": str, "evidence": str, "fix": str}
ADVICE = {"where": str, "what": str, "fix": str}
CHECK = {"hop": str, "check": str, "result": str, "evidence": str, "fix": str, "seconds": float, "advice": [ADVICE]}
FINDING = {"id": str, "hop": str, "severity": str, "what": str, "evidence": str, "cause": str, "fix": str}
#: What M(slipway.vps.verify) and M(slipway.vps.doctor) return.
WALK = {"checks": [CHECK], "findings": [FINDING]}
RELEASE = {
    **dict.fromkeys(("id", "state", "version", "commit", "schema", "created_at", "created_by", "live_at", "rolled_back_from"), str),
    **{"live": bool, "on_trial": bool, "bytes": int, "failure": {"step": str, "reason": str}},
}
PROOF = {"good": bool, "at": str, "restore_seconds": float, "rows": int, "reason": str}
BACKUP = {"name": str, "label": str, "taken_at": str, "bytes": int, "whole": bool, "tables": int, "rows": int, "proof": PROOF}
UNIT = {
    **{"unit": str, "state": str, "since": str, "memory": int, "cpu_seconds": float, "tasks": int, "restarts": int},
    "exposure": float,
}
APP = {
    **{"domain": str, "names": [str], "prefix": str, "protocols": [str]},
    "sandbox": {"level": str, "network": str, "allowed": [str]},
    "status": {"state": str, "subjects": [STATUS]},
    "releases": {"live": str, "closed": bool, "all": [RELEASE]},
    "certificate": {
        **{"names": [str], "issuer": str, "not_before": str, "not_after": str, "renew_at": str, "alarm_at": str, "source": str},
        **{"left_days": float, "lifetime_days": float, "left_share": float, "served": bool},
    },
    "backups": {
        **{"all": [BACKUP], "damaged": [str], "failures": {"*": {"at": str, "reason": str}}},
        **{"proves": bool, "keep_days": int, "offsite": bool, "offsite_at": str},
    },
    "units": [UNIT],
    "slice": {"memory": int, "memory_max": int, "cpu_seconds": float, "tasks": int, "tasks_max": int},
    "database": {"bytes": int},
}
MACHINE = {
    **{"name": str, "system": str, "kernel": str, "architecture": str, "cpus": int, "booted_at": str, "processes": int},
    **{"load": [float], "clock_synchronized": bool},
    "memory": {"total": int, "available": int, "swap_total": int, "swap_free": int, "pressure": float},
    "disks": [{"holds": [str], "total": int, "free": int, "inodes": int, "inodes_free": int}],
    "updates": {"pending": int, "security": int, "names": [str], "looked_at": str},
    "reboot": {"required": bool, "packages": [str]},
    "ports": [{"protocol": str, "port": int, "process": str}],
    "exposure": {"*": float},
}
#: What M(slipway.vps.state) returns.
STATE = {"format": int, "taken_at": str, "seconds": float, "machine": MACHINE, "apps": {"*": APP}, "gaps": {"*": str}}


def pick(value: Any, shape: Any) -> Any:
    """Of a value what its shape names; None for what is of another kind.

    :arg shape: a type; a list with the shape of its entries; a dictionary with the shape of each field, or of all (``*``).
    """
    if isinstance(shape, dict):
        if not isinstance(value, Mapping):
            return None
        if "*" in shape:
            return {_text(name): pick(value[name], shape["*"]) for name in list(value)[:ENTRIES]}
        return {name: pick(value.get(name), one) for name, one in shape.items()}
    if isinstance(shape, list):
        return [found for one in value[:ENTRIES] if (found := pick(one, shape[0])) is not None] if isinstance(value, (list, tuple)) else []
    if shape is str:
        return _text(value) if isinstance(value, str) else None
    if shape is bool or isinstance(value, bool):
        return value if isinstance(value, bool) and shape is bool else None
    if shape is float:
        return float(value) if isinstance(value, (int, float)) else None
    return int(value) if isinstance(value, int) else None


def _text(value: Any) -> str:
    """Not endless, and without control characters: an escape sequence is nothing to read."""
    lines = ["".join(one if one.isprintable() else " " for one in line) for line in str(value).splitlines()]
    text = "\n".join([*lines[:LINES], "…"] if len(lines) > LINES else lines)
    return text if len(text) <= TEXT else f"{text[:TEXT]}…"


def run_of(outcome: Outcome, target: str) -> dict[str, Any]:
    """The run itself; ``target``: the page as the run was told."""
    return {
        "playbook": _text(outcome.playbook),
        "started": outcome.started,
        "ended": outcome.ended or outcome.started,
        "check": any(change.would for change in outcome.changes),
        "next": [_text(line) for line in next_steps(outcome)],
        "look": shlex.join(["ansible-playbook", *inventory_words(), "slipway.vps.verify", "-e", f"report={target}"]),
    }


def host_of(outcome: Outcome, host: str) -> dict[str, Any]:
    """What the run did to one host."""
    app = outcome.apps.get(host)
    return {
        "host": _text(host),
        "app": _text(app.name) if app else "",
        "url": _text(app.url) if app else "",
        "seconds": outcome.seconds_of(host),
        "stopped": outcome.stopped(host),
        "changes": [
            {"play": _text(one.play), "task": _text(one.task), "details": [_text(detail) for detail in one.details], "would": one.would}
            for one in outcome.changes_of(host)[:ENTRIES]
        ],
        "failures": [_failure(one) for one in outcome.failures_of(host)],
        "warnings": [_text(one.text) for one in outcome.warnings if one.host == host][:ENTRIES],
    }


def _failure(one: Failure) -> dict[str, Any]:
    return {
        **{"play": _text(one.play), "task": _text(one.task), "unreachable": one.unreachable},
        **{"message": _text(one.message), "points": [[_text(what), _text(fix)] for what, fix in one.points[:ENTRIES]]},
    }
