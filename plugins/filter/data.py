# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""Filters about the database's URL, its passwords, and how secrets are replaced."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.slipway.vps.plugins.module_utils.database_url import libpq, parse, without_password
from ansible_collections.slipway.vps.plugins.module_utils.environment import parse_environment
from ansible_collections.slipway.vps.plugins.module_utils.rotation import rotation
from ansible_collections.slipway.vps.plugins.module_utils.scram import matches, verifier


def database_url(url: str) -> dict[str, Any]:
    """The URL's parts, whether it leads to this host's socket, and whether it holds a password; all empty for what is no URL."""
    try:
        parts = parse(str(url))
    except ValueError:
        return {"user": "", "password": "", "host": "", "port": "", "database": "", "over_socket": False, "secret": False}
    return {**parts._asdict(), "over_socket": parts.over_socket, "secret": bool(parts.password)}


def scram(password: str, stored: str = "") -> str:
    """What PostgreSQL keeps of ``password``: ``stored`` where that is a verifier of it, else a new one."""
    return stored if matches(str(stored), str(password)) else verifier(str(password))


def rotate(wanted: Mapping[str, Any], current: str) -> dict[str, Any]:
    """How to come to the secrets ``wanted`` from those that the app has: the text of its secret environment file."""
    return rotation(parse_environment(str(current)), wanted)._asdict()


class FilterModule:
    """The collection's filters of the layer data."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {
            "database_url": database_url,
            "libpq": lambda url: libpq(str(url)),
            "rotate": rotate,
            "scram": scram,
            "scram_matches": lambda stored, password: matches(str(stored), str(password)),
            "without_password": lambda url: without_password(str(url)),
        }
