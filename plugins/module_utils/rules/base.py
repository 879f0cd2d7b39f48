# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""What an operator may say of the machine itself (role base)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ansible_collections.slipway.vps.plugins.module_utils.rules.problem import Problem, Values, kind
from ansible_collections.slipway.vps.plugins.module_utils.swap import parsed

_SETTING = re.compile(r"[a-z][\w-]*([./][\w.-]+)+")
_MODULE = re.compile(r"[a-z0-9][a-z0-9_-]*")


def bad_swap(values: Values) -> Iterator[Problem]:
    wanted = str(values.get("base_swap", "auto"))
    if wanted not in ("auto", "none"):
        try:
            parsed(wanted)
        except ValueError as error:
            yield Problem("base_swap", str(error), "write auto, none, or a size with its unit: 2G, 512M")


def bad_kernel(values: Values) -> Iterator[Problem]:
    """Settings and modules by the names that the kernel has."""
    for name, value in (values.get("base_kernel_settings_custom") or {}).items():
        if not _SETTING.fullmatch(str(name)):
            yield Problem("base_kernel_settings_custom", f"{name!r} is no setting of a kernel", "write, for example, vm.swappiness: 10")
        elif isinstance(value, bool) or not isinstance(value, (str, int)) or "\n" in str(value):
            yield Problem("base_kernel_settings_custom", f"{name} is {kind(value)}", f"write a number or a text: {name}: 1")
    for name in values.get("base_kernel_modules_off") or []:
        if not _MODULE.fullmatch(str(name)):
            yield Problem("base_kernel_modules_off", f"{name!r} is no module of a kernel", "write its name as lsmod shows it")


def bad_logins(values: Values) -> Iterator[Problem]:
    """What holds for whoever logs in."""
    # YAML reads 027 as a number: 23.
    if not re.fullmatch(r"0?[0-7]{3}", str(values.get("base_umask", "027"))) or isinstance(values.get("base_umask", ""), int):
        yield Problem("base_umask", f"{values['base_umask']!r} is no umask", 'write it in quotes: base_umask: "027"')
    if not 8 <= int(values.get("base_password_length", 14)) <= 64:
        yield Problem("base_password_length", f"is {values['base_password_length']}", "write a number of 8 to 64")
    if int(values.get("base_shell_timeout", 60)) < 0:
        yield Problem("base_shell_timeout", f"is {values['base_shell_timeout']}", "write minutes; 0 lets a prompt wait")


RULES = (
    (bad_swap, ("base_swap",)),
    (bad_kernel, ("base_kernel_settings_custom", "base_kernel_modules_off")),
    (bad_logins, ("base_umask", "base_password_length", "base_shell_timeout")),
)
