# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""Do something that no process of the app may see half of, without refusing a request: they wait in the app's socket meanwhile."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from .app import App
from .core.run import CommandError, command
from .core.units import is_active, start_unit, stop_units
from .releases import Releases

#: Seconds after which systemd starts the app again though nobody is left who would: this program may be killed meanwhile.
AT_MOST = 120


@contextlib.contextmanager
def paused(app: App) -> Iterator[None]:
    """The live release finishes its requests and ends, and starts anew afterwards, with connections of its own.

    Its workers may take hours over a task; they are not waited for, and start anew when it is done.
    """
    live = Releases.of(app)
    unit = f"{app.name}@{live.live_id()}.service"
    if not live.live_id() or not is_active(unit):
        yield
        return
    guard = f"{app.name}-resume-step"
    stop_units(f"{guard}.timer")
    command("systemd-run", "--quiet", "--collect", f"--unit={guard}", f"--on-active={AT_MOST}", "systemctl", "start", unit)
    try:
        stop_units(unit)
        yield
    finally:
        _resume(unit, guard)
    for other in app.units(live.live_id(), live.live()):
        if other not in (unit, f"{app.name}.socket") and is_active(other):
            command("systemctl", "restart", "--no-block", other)


def _resume(unit: str, guard: str) -> None:
    try:
        start_unit(unit)
    except CommandError as error:
        raise CommandError(f"{unit} does not start again, requests wait, and systemd goes on trying:\n{error}") from error
    finally:
        stop_units(f"{guard}.timer")
