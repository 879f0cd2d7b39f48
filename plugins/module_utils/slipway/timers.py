# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""The commands that an app runs on a calendar (`app_timers`), and how they ended the last time."""

from __future__ import annotations

from .app import App
from .core.run import command
from .core.status import FAILED, OK, Status
from .core.units import is_active
from .releases import Releases

SUBJECT = "timers"
_SHOWN = ("Result", "ExecMainStatus", "ExecMainStartTimestamp", "ExecMainExitTimestamp", "ActiveState")


def status(app: App) -> Status:
    """Those of the live release: each is on, and its last run went well."""
    names = sorted(Releases.of(app).live().get("timers", {}))
    off = [name for name in names if not is_active(f"{app.name}-{name}.timer")]
    if off:
        unit = f"{app.name}-{off[0]}.timer"
        return Status(SUBJECT, FAILED, f"not active: {', '.join(off)}", f"systemctl start {unit}; journalctl -u {unit} -n 50")
    last = {name: last_run(f"{app.name}-{name}.service") for name in names}
    bad = {name: run for name, run in last.items() if run.get("Result", "success") != "success"}
    if bad:
        said = "; ".join(
            f"{name} failed ({_why(run)}) at {run.get('ExecMainStartTimestamp') or 'an unknown time'}" for name, run in bad.items()
        )
        unit = f"{app.name}-{next(iter(bad))}"
        return Status(SUBJECT, FAILED, said, f"journalctl -u {unit} -n 50; then, to run it now: systemctl start {unit}.service")
    told = [f"{name} {_when(run)}" for name, run in last.items()]
    return Status(SUBJECT, OK, "; ".join(told) or "none")


def last_run(unit: str) -> dict[str, str]:
    """What systemd remembers of the last run; of before the last boot, nothing."""
    shown = command("systemctl", "show", *(f"--property={name}" for name in _SHOWN), "--timestamp=utc", unit)
    return dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)


def _why(run: dict[str, str]) -> str:
    code = run.get("Result", "")
    return f"exit status {run.get('ExecMainStatus')}" if code == "exit-code" else code


def _when(run: dict[str, str]) -> str:
    if run.get("ActiveState") in ("activating", "deactivating"):
        return "runs"
    if ended := run.get("ExecMainExitTimestamp"):
        return f"ended well at {ended}"
    return "has not run since the host was booted"
