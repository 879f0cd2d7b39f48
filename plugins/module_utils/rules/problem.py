# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""A reason to refuse an input, and what every rule needs to say one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

Values = Mapping[str, Any]
#: The name of an environment variable.
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Problem(NamedTuple):
    """One reason to refuse the input: the variable, what is wrong with it, and what to write instead."""

    variable: str
    what: str
    fix: str
    #: The key of a dictionary that is meant: it may stand in another file than the rest.
    key: str = ""


def kind(value: Any) -> str:
    """What a value is, in words: text, a list, a dictionary, the int 5."""
    if isinstance(value, Mapping):
        return "a dictionary"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, str):
        return "text"
    return f"the {type(value).__name__} {value!r}"
