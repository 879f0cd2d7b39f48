# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""Replacing secrets while visitors ask: which secrets the app is given on the way, so that every release accepts what any other gives out.

Two releases serve at once during a switch, on one host or on several. A cookie that the new one has signed may come back to the old
one. So the new key is made known first (the app accepts it), then used (the app signs with it), and the old one stays accepted.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from ansible_collections.slipway.vps.plugins.module_utils.database_url import parse

KEY, FALLBACKS, DATABASE = "SECRET_KEY", "SECRET_KEY_FALLBACKS", "DATABASE_URL"


class Rotation(NamedTuple):
    """The secrets of each deploy, what is replaced (never with a value), and why it cannot be done."""

    first: dict[str, Any]
    last: dict[str, Any]
    changes: list[str]
    problems: list[str]


def keys(text: Any) -> list[str]:
    """The keys of a list with commas between them."""
    return [part for part in map(str.strip, str(text or "").split(",")) if part]


def rotation(current: Mapping[str, str], wanted: Mapping[str, Any]) -> Rotation:
    """How to come from the secrets that the app has (none: it was never deployed) to those that the operator wants."""
    first = dict(wanted)
    changes: list[str] = []
    problems: list[str] = []
    old, new = str(current.get(KEY, "")), str(wanted.get(KEY, ""))
    if old and new and old != new:
        if old in keys(wanted.get(FALLBACKS)):
            changes.append(f"{KEY}: the new one is accepted first, then used; the old one stays accepted")
        else:
            problems.append(
                f"{KEY} is another one, and the one that the app signs with now is not in {FALLBACKS}: every session and every open form"
                f" would be void. Write into app_secrets (vault.yml): {FALLBACKS}: <the old key>, before those that are there already,"
                " with commas between them"
            )
        known = [key for key in (new, *keys(wanted.get(FALLBACKS)), *keys(current.get(FALLBACKS))) if key != old]
        first = {**first, KEY: old, FALLBACKS: ",".join(dict.fromkeys(known))}
    elif old and not new:
        problems.append(f"{KEY} is gone from app_secrets, and the app signs with one now: put it back, or a new one")
    change, problem = _database(str(current.get(DATABASE, "")), str(wanted.get(DATABASE, "")))
    changes += change
    problems += problem
    return Rotation(first, dict(wanted), changes, problems)


def _database(old: str, new: str) -> tuple[list[str], list[str]]:
    try:
        before, after = parse(old), parse(new)
    except ValueError:
        # None before or none now (the socket, where there is no password): nothing to overlap.
        return [], []
    same = (before.user, before.host, before.port) == (after.user, after.host, after.port)
    if before.password == after.password or not same:
        changed = before != after
        return ([f"{DATABASE}: {before.user} gives way to {after.user}; both may log in meanwhile"] if changed else []), []
    return [], [
        f"{DATABASE} has a new password for {after.user}, the role that the app logs in with now. PostgreSQL knows one password for each"
        " role: from its change until the switch every new connection would fail. Use the other one of two roles in turn, for example"
        f" {successor(after.user)}, with a password of its own"
    ]


def successor(user: str) -> str:
    """The other one of two roles: blog_1 and blog_2 in turn."""
    stem, _, number = user.rpartition("_")
    return f"{stem}_{2 if number == '1' else 1}" if stem and number in ("1", "2") else f"{user}_2"
