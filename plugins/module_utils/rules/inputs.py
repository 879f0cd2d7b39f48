# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""Rules that hold for the inputs of every role: known names, required ones, types, and dictionaries that are merged by key."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ansible_collections.slipway.vps.plugins.module_utils.rules.problem import Problem, Values, kind

Spec = Mapping[str, Mapping[str, Any]]


#: What other tools call it, without the role's prefix.
_CALLED_ELSEWHERE = {"cron": "timers", "crontab": "timers", "periodic": "timers", "schedule": "timers", "environment": "env"}


def stray_names(names: Iterable[str], options: Spec, role: str) -> Iterator[Problem]:
    """Variables that carry a role's prefix and mean nothing to it: typos, or names from another version."""
    for name in sorted(names):
        known = [option for option in options if option.startswith(f"{role}_")]
        near = slip(name, known, role) or key_of(name, options, role) or nearest(name, known, role)
        what = "is not a variable of the contract" if role == "app" else f"is not a variable of the role {role}"
        yield Problem(
            name, what, f"did you mean {near}?" if near else "remove it, or give it another prefix; docs/settings.md lists every name"
        )


def key_of(name: str, options: Spec, role: str) -> str:
    """The variable that has what was said as one of its keys: `app_source: {subdirectory: …}`."""
    key = name.removeprefix(f"{role}_")
    holders = [
        one
        for one, option in options.items()
        if one.startswith(f"{role}_") and option.get("type") == "dict" and key in (option.get("options") or {})
    ]
    return f"{holders[0]}: {{{key}: …}}" if len(holders) == 1 else ""


def slip(name: str, known: Sequence[str], role: str) -> str:
    """The variable that is one slip of the keyboard away, or two where the name is long; the first letter is seldom one of two."""
    bare = name.removeprefix(f"{role}_")
    slips = {one: distance(bare, one.removeprefix(f"{role}_")) for one in known}
    near = [one for one in known if slips[one] <= (len(bare) >= 3) + (len(bare) >= 8 and one.removeprefix(f"{role}_")[0] == bare[0])]
    return min(near, key=lambda one: slips[one], default="")


def nearest(name: str, known: Sequence[str], role: str) -> str:
    """The variable that was meant: a slip, what other tools call it, words that continue a name, or some of its words."""
    # The prefix is alike in all of them: with it any short name would resemble any other.
    bare, there = name.removeprefix(f"{role}_"), {one.removeprefix(f"{role}_"): one for one in known}
    if (called := _CALLED_ELSEWHERE.get(bare)) in there:
        return there[str(called)]
    if near := slip(name, known, role):
        return near
    if begun := [one for one in known if name.startswith(one)]:
        return max(begun, key=len)
    words = set(bare.split("_"))
    partly = [one for one in there if words < set(one.split("_"))]
    # Where several names have these words nobody knows which one it was.
    return there[partly[0]] if len(partly) == 1 else ""


def distance(one: str, other: str) -> int:
    """How many letters have to be added, left out, replaced, or swapped with the next, to make ``other`` of ``one``."""
    rows = [list(range(len(other) + 1))]
    for i, letter in enumerate(one, 1):
        row = [i]
        for j, wanted in enumerate(other, 1):
            cost = min(rows[-1][j] + 1, row[-1] + 1, rows[-1][j - 1] + (letter != wanted))
            if i > 1 and j > 1 and letter == other[j - 2] and one[i - 2] == wanted:
                cost = min(cost, rows[-2][j - 2] + 1)
            row.append(cost)
        rows.append(row)
    return rows[-1][-1]


def wrong_types(values: Values, spec: Spec) -> Iterator[Problem]:
    """Values whose YAML type is not the one the spec names, or that are none of its choices.

    Ansible's own check would accept a string where a list is due (and later iterate over its letters).
    Text from `-e name=value` stands for a number or a boolean, so that is taken.
    """
    for name, option in spec.items():
        if name not in values or (values[name] is None and option.get("required")):
            continue
        due, value = option.get("type", "str"), values[name]
        if value is None:
            # `app_env:` with nothing below it: no default takes its place.
            yield Problem(name, "is there and has no value", f"remove the line, or write {name}: {_EMPTY.get(due, '…')}")
        elif due == "list" and not isinstance(value, list):
            yield Problem(name, f"must be a list, and is {kind(value)}", f"write {name}: [{value}]")
        elif due == "list" and option.get("elements") == "str" and not all(isinstance(item, str) for item in value):
            yield Problem(name, "must hold text only", "put each item in quotes")
        elif due == "dict" and not isinstance(value, Mapping):
            yield Problem(name, f"must be a dictionary, and is {kind(value)}", f"write 'key: value' lines below {name}:")
        elif due in ("str", "path") and (
            not isinstance(value, str if name.startswith("app_") else (str, int, float)) or isinstance(value, bool)
        ):
            # YAML reads off, on, yes and no as booleans.
            yield Problem(name, f"must be text, and is {kind(value)}", f'write {name}: "{value}"')
        elif due == "int" and not re.fullmatch(r"-?\d{1,18}", str(value), re.ASCII):
            yield Problem(name, f"must be a whole number, and is {value!r}", f"write {name}: {_example(option, 1)}")
        elif due == "float" and not _is_number(value):
            yield Problem(name, f"must be a number, and is {value!r}", f"write {name}: {_example(option, 0.5)}")
        elif due == "bool" and str(value).lower() not in {"true", "false", "yes", "no", "on", "off", "1", "0"}:
            yield Problem(name, f"must be true or false, and is {value!r}", f"write {name}: {str(option.get('default', False)).lower()}")
        elif "choices" in option and str(value) not in map(str, option["choices"]):
            yield Problem(
                name, f"is {value!r}", f"use one of {', '.join(map(str, option['choices']))} (in quotes, if YAML reads it otherwise)"
            )


def _is_number(value: Any) -> bool:
    try:
        return not isinstance(value, bool) and math.isfinite(float(value))
    except (TypeError, ValueError, OverflowError):
        return False


def _example(option: Mapping[str, Any], otherwise: Any) -> Any:
    """The default, where it is a value and no expression."""
    default = option.get("default", otherwise)
    return otherwise if "{{" in str(default) else default


#: How "nothing" is written.
_EMPTY = {"list": "[]", "dict": "{}", "str": '""'}


def missing(values: Values, spec: Spec) -> Iterator[Problem]:
    """Required inputs that are absent or empty: an empty string would satisfy Ansible's `required`."""
    examples = {
        "app_name": "app_name: blog",
        "app_domains": "app_domains: [blog.example.com]",
        "app_wsgi": "app_wsgi: blog:create_app()",
        "app_source": "app_source: {type: git, repo: https://git.example.com/blog.git, version: v1.0.0}",
    }
    for name, option in spec.items():
        if option.get("required") and not values.get(name):
            yield Problem(name, "is required and not set", f"write, for example, {examples.get(name, name + ': …')}")


def merged(values: Values, spec: Spec) -> dict[str, Any]:
    """``values`` with every dictionary that has defaults filled up from them: what is said of one key leaves the others alone."""
    return {
        name: {**spec[name]["default"], **value} if is_merged(spec.get(name, {})) and isinstance(value, Mapping) else value
        for name, value in values.items()
    }


def is_merged(option: Mapping[str, Any]) -> bool:
    """Whether an option is a dictionary whose defaults hold for each key by itself."""
    return option.get("type") == "dict" and isinstance(option.get("default"), Mapping) and bool(option["default"]) and "options" in option


def unknown_keys(values: Values, spec: Spec) -> Iterator[Problem]:
    """Keys that a dictionary with known keys does not have."""
    for name, option in spec.items():
        if is_merged(option) and isinstance(values.get(name), Mapping):
            known = sorted(option["options"])
            for key in sorted(set(map(str, values[name])) - set(known)):
                near = nearest(key, known, "")
                yield Problem(name, f"has no key {key!r}", f"did you mean {near}?" if near else f"use {', '.join(known)}")
