# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""What was found in an app: values for the contract's variables, each with its source; questions; notes."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.slipway.vps.plugins.module_utils.rules.placeholder import PLACEHOLDER

#: Variables that are lists: findings add to them.
LISTS = frozenset(
    {
        *(
            "app_required_env",
            "app_build_commands",
            "app_build_packages",
            "app_shared_paths",
            "app_extras",
            "app_groups",
        ),
        *("app_sandbox_allow", "app_services", "app_sqlite", "nginx_locations"),
    }
)


#: The expressions that findings themselves are made with.
_OWN = re.compile(
    r"\{\{ (app_(shared|log_dir|files_dir|redis_url|redis_socket|user|database|database_socket_dir)|app_domains \| (first|join\(','\))"
    r"|app_domains \| map\('regex_replace', '\^', 'https://'\) \| join\(','\)|inventory_dir) \}\}"
)


@dataclass(frozen=True)
class Value:
    """One value: of a variable, of a key of a variable that is a dictionary, or an item of one that is a list."""

    variable: str
    value: Any
    #: Where it comes from: `Procfile: web`.
    source: str
    key: str = ""
    #: What only the operator can know; the value is a placeholder then.
    ask: str = ""


@dataclass(frozen=True)
class Note:
    """What the operator should know, and no variable can hold. `stops`: the app does not deploy before it is mended."""

    text: str
    stops: bool = False


Finding = Value | Note


def question(variable: str, ask: str, source: str, key: str = "") -> Value:
    """A value that the contract refuses until somebody has filled it in."""
    return Value(variable, PLACEHOLDER, source, key, ask)


def generated(key: str, source: str) -> Value:
    """A secret of the app's own that nobody has to know."""
    return Value("app_secrets", secrets.token_hex(32), source, key)


def is_plain(value: Any) -> bool:
    """Whether a value is text as it stands. An app's files may come from anybody, and Ansible runs what stands in double braces."""
    if isinstance(value, dict):
        return all(is_plain(key) and is_plain(item) for key, item in value.items())
    return not re.search(r"\{[{%#]", _OWN.sub("", str(value)))


@dataclass
class Findings:
    """All findings of a run; what was found first wins."""

    values: list[Value] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)

    def add(self, found: Iterable[Finding]) -> None:
        for one in found:
            if isinstance(one, Value) and not (is_plain(one.value) and is_plain(one.key)):
                one = Note(f"{one.source} holds braces that Ansible would evaluate: write {one.variable} yourself")
            if isinstance(one, Note):
                if one not in self.notes:
                    self.notes.append(one)
            elif not any(self._same(one, other) for other in self.values):
                self.values.append(one)

    def _same(self, one: Value, other: Value) -> bool:
        alike = (one.variable, one.key) == (other.variable, other.key)
        return alike and (one.variable not in LISTS or one.value == other.value)

    @property
    def questions(self) -> list[Value]:
        return [value for value in self.values if value.ask]

    def variables(self) -> dict[str, Any]:
        """Every variable with its whole value, as YAML would read it."""
        found: dict[str, Any] = {}
        for one in self.values:
            if one.variable in LISTS:
                items = found.setdefault(one.variable, [])
                items += [] if one.value is None else [one.value]
            elif one.key:
                found.setdefault(one.variable, {})[one.key] = one.value
            else:
                found[one.variable] = one.value
        return found
