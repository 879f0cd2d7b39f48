# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""What `init` could not know and left for the operator: refused until it is filled in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ansible_collections.slipway.vps.plugins.module_utils.rules.problem import Problem, Values

#: Stands where a value is due.
PLACEHOLDER = "CHANGE-ME"


def unanswered(values: Values, names: frozenset[str]) -> Iterator[Problem]:
    """Each variable that still holds the placeholder, with the key below it.

    :arg values: as they are written: what an expression makes of a placeholder is filled in with it.
    """
    for name in sorted(names.intersection(values)):
        for key in _places(values[name]):
            what = f"{key} is still to be filled in".strip() if key else "is still to be filled in"
            yield Problem(name, what, f"write the value in place of {PLACEHOLDER}, or remove the line if the app does without")


def _places(value: Any, key: str = "") -> Iterator[str]:
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from _places(item, f"{key}.{name}".lstrip("."))
    elif isinstance(value, list):
        for item in value:
            yield from _places(item, key)
    elif isinstance(value, str) and value.strip() == PLACEHOLDER:
        yield key
