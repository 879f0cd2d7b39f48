# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""The servers that can run an app, and what each of them can do (docs/servers.md). How each is started: roles/server/files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

WSGI, ASGI = "wsgi", "asgi"


@dataclass(frozen=True)
class Known:
    """What is known of a server."""

    #: What a release's environment gets, unless the app brings it; versions of 2026-11.
    requirements: tuple[str, ...]
    #: Interfaces between server and app that it speaks, the usual one first.
    interfaces: tuple[str, ...] = (WSGI,)
    #: Replaces a worker after so many requests (`server_max_requests`).
    recycles: bool = True
    #: Ends a worker that answers nothing (`server_timeout`).
    times_out: bool = False
    #: Has several processes.
    workers: bool = True


SERVERS: Mapping[str, Known] = MappingProxyType(
    {
        "gunicorn": Known(("gunicorn==27.0.1",), (WSGI, ASGI), times_out=True),
        "granian": Known(("granian==2.8.9",), (WSGI, ASGI), recycles=False),
        # The same program as uwsgi, as a wheel: nothing has to be compiled.
        "uwsgi": Known(("pyuwsgi==2.0.30.post1",), times_out=True),
        "waitress": Known(("waitress==3.0.2",), recycles=False, workers=False),
        "hypercorn": Known(("hypercorn==0.18.0",), (ASGI, WSGI)),
        "uvicorn": Known(("uvicorn[standard]==0.54.0",), (ASGI,)),
    }
)
#: Classes of Gunicorn's workers that answer a bounded number of requests at once.
THREADED = ("auto", "sync", "gthread")
#: Gunicorn's extra for this class of worker names what that imports besides; an app may bring a Gunicorn of its own without it.
GEVENT = ("gunicorn[gevent]==27.0.1", "gevent==26.9.0")


#: What starts the server, in ``<config_dir>/server`` of each app: another app on the machine may have it from another version of Slipway.
#: Each before what imports it.
PROGRAMS = (
    *("slipway_workers.py", "slipway_warmup.py", "slipway_access.py", "slipway_drain.py", "slipway_threads.py"),
    *("slipway_gunicorn.py", "slipway_entry.py", "slipway_server.py"),
)


def runtime_files(server: str, app: str, config_dir: str) -> list[str]:
    """Files and folders that a running process has read: a change of one asks for a new release."""
    configuration = "gunicorn.conf.py" if server == "gunicorn" else "server.json"
    programs = [f"{config_dir}/server/{name}" for name in PROGRAMS]
    return [f"{config_dir}/{configuration}", *programs, f"/etc/systemd/system/{app}@.service", f"{config_dir}/units"]


def requirements(server: str, worker_class: str) -> list[str]:
    """What the environment of a release needs for its server."""
    return list(GEVENT if (server, worker_class) == ("gunicorn", "gevent") else SERVERS[server].requirements)


def interface(server: str, worker_class: str, said: str) -> str:
    """The interface that is said, or the one that the rest of the inputs means."""
    if said:
        return said
    if server == "gunicorn":
        return ASGI if worker_class == "asgi" else WSGI
    return WSGI if WSGI in SERVERS[server].interfaces else ASGI


def at_once(server: Mapping[str, Any]) -> int | None:
    """How many requests one worker answers at once; None where nothing limits it.

    :arg server: C(threads), and C(name), C(interface) and C(worker_class) where they are not the usual ones.
    """
    name, worker_class = str(server.get("name", "gunicorn")), str(server.get("worker_class", "auto"))
    if server.get("interface") == ASGI or name == "hypercorn" or (name == "gunicorn" and worker_class not in THREADED):
        return None
    return 1 if (name, worker_class) == ("gunicorn", "sync") else int(server["threads"])
