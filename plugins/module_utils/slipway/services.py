# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""The units of an app."""

from __future__ import annotations

from .app import App
from .core.run import CommandError, command
from .core.status import FAILED, OK, UNKNOWN, Status
from .core.units import is_active
from .releases import Releases

SUBJECT = "services"


def status(app: App) -> Status:
    """Whether all units run that should."""
    live = Releases.of(app).live_id()
    if not live:
        return Status(SUBJECT, UNKNOWN, "no release is live, so nothing should run", "ansible-playbook slipway.vps.deploy")
    units = [*app.units(live, Releases.of(app).live()), f"{app.name}-tls.timer"]
    down = [unit for unit in units if not is_active(unit)]
    if down:
        return Status(SUBJECT, FAILED, f"not active: {', '.join(down)}", f"journalctl -u {down[0]} -n 50; systemctl start {down[0]}")
    return Status(SUBJECT, OK, f"{len(units)} units are active", since=_since(f"{app.name}@{live}.service"))


def _since(unit: str) -> str | None:
    try:
        words = ("systemctl", "show", "--property=ActiveEnterTimestamp", "--value", "--timestamp=utc", unit)
        day, clock = command(*words).split()[1:3]
        return f"{day}T{clock}Z"
    except (CommandError, OSError, ValueError):
        return None
