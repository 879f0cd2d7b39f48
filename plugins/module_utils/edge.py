# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""nginx's locations: the paths that lead to the app, each with what the operator asks for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.slipway.vps.plugins.module_utils.resolve import truthy

#: How long a stream or a WebSocket may be silent, in seconds, where nothing else is said.
STREAM_TIMEOUT = 3600


def zones(limits: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The zones that count requests: one of its own for each limit, unless limits name a common one."""
    found: dict[str, dict[str, Any]] = {}
    for number, limit in enumerate(limits, start=1):
        name = str(limit.get("zone") or number)
        found.setdefault(name, {"zone": name, "rate": str(limit["rate"])})
    return list(found.values())


def locations(
    limits: Sequence[Mapping[str, Any]],
    asked: Sequence[Mapping[str, Any]],
    extra: Mapping[str, str],
    quiet: Sequence[str] = (),
    files: Sequence[str] = (),
    prefix: str = "",
) -> list[dict[str, Any]]:
    """One location for each path that a list names; several lists may name the same path.

    :arg limits: `nginx_rate_limits`.
    :arg asked: `nginx_locations`.
    :arg extra: the operator's lines for a path (`nginx_extra.location`).
    :arg quiet: paths that are asked every few seconds and not logged.
    :arg files: prefixes that are served from files and have locations of their own.
    :arg prefix: the path below which the app is: paths of the operator are the app's own, ``quiet`` and ``files`` have it already.
    """
    found: dict[str, dict[str, Any]] = {}

    def location(path: str) -> dict[str, Any]:
        # A path that ends in a slash covers all below it; any other is exactly that path.
        match = path if path.endswith("/") else f"= {path}"
        blank = {"quiet": False, "limits": [], "body_size": "", "timeout": 0, "stream": False, "websocket": False, "extra": ""}
        return found.setdefault(path, {"path": path, "match": match, **blank})

    location(f"{prefix}/")
    for path in quiet:
        location(path)["quiet"] = True
    for number, limit in enumerate(limits, start=1):
        zone = str(limit.get("zone") or number)
        location(prefix + str(limit["path"]))["limits"].append({"zone": zone, "burst": int(limit.get("burst") or 0)})
    for entry in asked:
        wanted = location(prefix + str(entry["path"]))
        socket = truthy(entry.get("websocket", False))
        stream = socket or truthy(entry.get("stream", False))
        wanted.update(
            body_size=str(entry.get("body_size") or ""),
            stream=stream,
            websocket=socket,
            timeout=int(entry.get("timeout") or (STREAM_TIMEOUT if stream else 0)),
        )
    for path, text in extra.items():
        if f"{prefix}{path}" not in files:
            location(f"{prefix}{path}")["extra"] = str(text)
    return list(found.values())
