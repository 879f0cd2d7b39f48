# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""The text of systemd's EnvironmentFile= (systemd.exec(5)): written by a filter, read back by the release module."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_ASSIGNMENT = re.compile(r'^([A-Za-z_][A-Za-z0-9_]*)="((?:[^"\\]|\\.)*)"$', flags=re.MULTILINE | re.DOTALL)


def environment_file(values: Mapping[str, Any]) -> str:
    """Text that sets ``values``, one variable after the other, sorted."""
    return "".join(f"{name}={_quoted(_plain(values[name]))}\n" for name in sorted(values))


def _quoted(text: str) -> str:
    return '"' + re.sub(r'(["\\`$])', r"\\\1", text) + '"'


def _plain(value: Any) -> str:
    # 12-factor apps read booleans as text; "true" is what most of them parse.
    return str(value).lower() if isinstance(value, bool) else str(value)


def parse_environment(text: str) -> dict[str, str]:
    """The inverse of `environment_file`; other spellings that systemd would accept are not read."""
    return {name: re.sub(r"\\(.)", r"\1", value, flags=re.DOTALL) for name, value in _ASSIGNMENT.findall(text)}
