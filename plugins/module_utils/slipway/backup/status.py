# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""How the backups of an app stand: what is overdue, what has failed and was not made good since."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from ..core import clock, files
from ..core.status import FAILED, OK, UNKNOWN, Status
from ..core.units import is_active
from .config import Config

SUBJECT = "backups"
#: Beside the backups: the last success of each step, and its failure where none came since.
FILE = "status.json"
CRON = Path("/etc/cron.d")
#: Hours after which a nightly backup is missing: a day, and two for a long night.
OVERDUE = 26
#: The step that fails, and the note of its success.
STEPS = {"create": "last_success", "verify": "last_verified", "offsite": "last_offsite", "pitr": "last_pitr"}
NEVER = ": never"


def failures(noted: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """The failure of each step that nothing has made good, with ``at`` and ``reason``."""
    found = {str(step): dict(failure) for step, failure in (noted.get("failures") or {}).items()}
    # Until 0.1 there was one for all steps.
    former = noted.get("last_failure")
    return {former["step"]: dict(former), **found} if former else found


def expected(config: Config, offsite: bool) -> list[str]:
    """The steps that a night has."""
    wanted = {"create": True, "verify": config.proof, "offsite": offsite, "pitr": config.copies_cluster and config.engine == "pgbackrest"}
    return [step for step, due in wanted.items() if due]


def troubles(noted: Mapping[str, Any], now: datetime, steps: Sequence[str]) -> Iterator[str]:
    """What is overdue, of the steps of a night, and which failure nothing has made good since."""
    at: dict[str, datetime] = {}
    for step in STEPS:
        entry = noted.get(STEPS[step]) or {}
        if stamp := entry.get("at") or entry.get("taken_at"):
            at[step] = datetime.fromisoformat(stamp)
    for step in steps:
        name = STEPS[step].removeprefix("last_")
        if step not in at:
            yield f"{name}{NEVER}"
        elif at[step] < now - timedelta(hours=OVERDUE):
            yield f"{name}: {at[step].isoformat()}, more than {OVERDUE} hours ago"
    for step, failure in failures(noted).items():
        if step in STEPS and (step not in at or datetime.fromisoformat(failure["at"]) > at[step]):
            yield f"{step} failed at {failure['at']}: {failure['reason']}"


def judge(config: Config, noted: Mapping[str, Any], offsite: bool, young: bool) -> Status:
    """How the backups stand.

    :arg noted: status.json.
    :arg offsite: copies elsewhere are wanted.
    :arg young: the schedule has not had its first night; what was never done may be to come.
    """
    found = [*troubles(noted, clock.utc_now(), expected(config, offsite))]
    last = noted.get("last_success") or {}
    fix = f"journalctl -t {config.app}-backup; then: slipway {config.app} backup nightly"
    if not found:
        return Status(SUBJECT, OK, f"newest {last.get('name')}, all is well", since=last.get("taken_at"))
    if young and all(trouble.endswith(NEVER) for trouble in found):
        return Status(SUBJECT, UNKNOWN, "the first night is to come", fix)
    since = min((failure["at"] for step, failure in failures(noted).items() if step in STEPS), default=None)
    return Status(SUBJECT, FAILED, "; ".join(found), fix, since)


def probe(config: Config, path: Path, cron: Path = CRON) -> Status:
    """How the backups of the configuration in ``path`` stand now, without their schedule; changes nothing."""
    schedule = cron / f"{config.app}-backup"
    young = schedule.is_file() and time.time() - schedule.stat().st_mtime < OVERDUE * 3600
    offsite = path.with_name("backup-offsite.json").exists()
    return judge(config, files.read_json(config.backup_dir / FILE), offsite, young)


def scheduled(config: Config, path: Path, cron: Path = CRON) -> Status:
    """The same, and whether cron takes them each night."""
    schedule = cron / f"{config.app}-backup"
    if not schedule.is_file() or not is_active("cron.service"):
        told = f"no cron job takes backups ({schedule}, cron.service)"
        return Status(SUBJECT, FAILED, told, "ansible-playbook slipway.vps.site --tags keep")
    return probe(config, path, cron)
