# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""What an operator may say of upgrades (role updates)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ansible_collections.slipway.vps.plugins.module_utils.rules.problem import Problem, Values

_CLOCK = re.compile(r"([01]\d|2[0-3]):[0-5]\d")
_RANGES = {"updates_hour": (0, 23), "updates_spread_minutes": (0, 720), "updates_window_hours": (1, 12)}


def bad_times(values: Values) -> Iterator[Problem]:
    for name, (least, most) in _RANGES.items():
        if name in values and not least <= int(values[name]) <= most:
            yield Problem(name, f"is {values[name]}", f"write a number of {least} to {most}")
    reboot = values.get("updates_reboot", "never")
    if isinstance(reboot, int):
        # YAML reads 14:30 as a number to the base of 60.
        yield Problem(
            "updates_reboot", f"is the number {reboot}", f'write it in quotes: updates_reboot: "{reboot // 60:02}:{reboot % 60:02}"'
        )
    elif reboot != "never" and not _CLOCK.fullmatch(str(reboot)):
        yield Problem("updates_reboot", f"{reboot!r} is no time of the day", 'write never, or for example "04:30"')


def bad_lists(values: Values) -> Iterator[Problem]:
    """What ends up in apt's configuration."""
    for name in ("updates_origins", "updates_origins_custom"):
        for origin in values.get(name) or []:
            if '"' in str(origin) or not re.fullmatch(r"\w+=[^,=]+(,\w+=[^,=]+)*", str(origin)):
                yield Problem(
                    name,
                    f"{origin!r} is no pattern of origins",
                    "write, for example, site=apt.postgresql.org (apt-cache policy shows them)",
                )
    for package in values.get("updates_exclude") or []:
        try:
            re.compile(str(package))
        except re.error as error:
            yield Problem("updates_exclude", f"{package!r} is no regular expression ({error})", "write, for example, linux-image-")
        if '"' in str(package):
            yield Problem("updates_exclude", f"{package!r} has a quotation mark", "leave it out")


RULES = (
    (bad_times, (*_RANGES, "updates_reboot")),
    (bad_lists, ("updates_origins", "updates_origins_custom", "updates_exclude")),
)
