# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""What runs the app, and what it can do."""

from __future__ import annotations

from collections.abc import Iterator

from ansible_collections.slipway.vps.plugins.module_utils.rules.problem import Problem, Values
from ansible_collections.slipway.vps.plugins.module_utils.servers import SERVERS, interface


def speaks(values: Values) -> str:
    """The interface between server and app."""
    said = (
        str(values.get(name) or default)
        for name, default in (("app_server", "gunicorn"), ("server_worker_class", ""), ("app_interface", ""))
    )
    return interface(*said)


def other_interface(values: Values) -> Iterator[Problem]:
    """An interface that the server does not speak."""
    name, wanted = str(values.get("app_server") or "gunicorn"), speaks(values)
    if wanted not in SERVERS[name].interfaces:
        able = ", ".join(other for other, known in SERVERS.items() if wanted in known.interfaces)
        yield Problem("app_interface", f"is {wanted}, which {name} does not speak", f"set app_server to one of {able}")
    worker_class = str(values.get("server_worker_class") or "")
    if name == "gunicorn" and wanted == "wsgi" and worker_class == "asgi":
        yield Problem("app_interface", "is wsgi, and server_worker_class is asgi", "remove one of them")


def notes(values: Values) -> Iterator[str]:
    """What is said, and the chosen server has not."""
    name = str(values.get("app_server") or "gunicorn")
    known = SERVERS[name]
    if int(values.get("server_max_requests") or 0) and not known.recycles:
        yield f"{name} replaces no worker after a number of requests: server_max_requests has no effect (docs/servers.md)."
    if name != "gunicorn" and str(values.get("server_worker_class") or "auto") != "auto":
        yield f"server_worker_class is Gunicorn's: with app_server: {name} it has no effect."


RULES = ((other_interface, ("app_server", "app_interface", "server_worker_class")),)
