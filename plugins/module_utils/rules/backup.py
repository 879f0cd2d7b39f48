# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""What an operator may say of backups (role backup)."""

from __future__ import annotations

from collections.abc import Iterator

from ansible_collections.slipway.vps.plugins.module_utils.rules.problem import Problem, Values


def bad_time(values: Values) -> Iterator[Problem]:
    for name, most in (("backup_hour", 23), ("backup_minute", 59)):
        if not 0 <= int(values.get(name, 0)) <= most:
            yield Problem(name, f"is {values[name]}, and there are 0 to {most}", f"write, for example, {name}: 3")


RULES = ((bad_time, ()),)
