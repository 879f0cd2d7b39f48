# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
# slipway:server
"""Starts the server of a release, in the release's folder: `python slipway_server.py [--bind unix:PATH] [--workers N] [--check-config]`.

Which one it is the release says itself (`.server`), so that a rollback finds the one that it was built with.
Each gets the socket as its file descriptor 3, never a path: some remove the file when they end, and a switch needs the one socket that
two releases share. It runs with the Python of the app's release: it needs Python 3.9, the standard library and the server.
"""

from __future__ import annotations

import argparse
import importlib
import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import slipway_entry
from slipway_drain import Main
from slipway_warmup import runtime_folder
from slipway_workers import automatic_workers_here

#: The descriptor that systemd passes, and that every server is told.
FD = 3
#: The function that a worker calls for its app.
ENTRY = "slipway_entry:warmed"


def granian(values: dict[str, Any]) -> None:
    """WSGI and ASGI, in Rust. A worker takes no more connections than it has threads."""
    from granian import Granian
    from granian.constants import HTTPModes, Interfaces
    from granian.net import SocketHolder

    class Inherited(Granian):  # type: ignore[misc, unused-ignore]
        """Granian has no option for a socket that is open already (emmett-framework/granian#786)."""

        def _init_shared_socket(self) -> None:
            self._shd, self._sfd = SocketHolder(FD, True, self.backlog), FD
            # By this it goes to workers that are spawned.
            self._sso = socket.socket(fileno=FD)

    wsgi = values["interface"] == "wsgi"
    Inherited(
        ENTRY,
        factory=True,
        interface=Interfaces.WSGI if wsgi else Interfaces.ASGI,
        workers=values["workers"],
        http=HTTPModes.http1,
        blocking_threads=values["threads"] if wsgi else None,
        backpressure=values["threads"] if wsgi else None,
        backlog=values["backlog"],
        respawn_failed_workers=True,
        workers_kill_timeout=values["graceful_timeout"],
        log_access=False,
        log_level=values["log_level"],
    ).serve()


def uwsgi(values: dict[str, Any]) -> None:
    """WSGI, in C."""
    options: dict[str, Any] = {
        "http-socket": f"fd://{FD}",
        "module": f"{ENTRY}()",
        "pythonpath": str(Path(__file__).parent),
        "master": True,
        "need-app": True,
        "lazy-apps": True,
        "workers": values["workers"],
        "threads": values["threads"],
        # The thread that drains is one of Python's.
        "enable-threads": True,
        "listen": values["backlog"],
        "harakiri": values["timeout"],
        "worker-reload-mercy": values["graceful_timeout"],
        "max-requests": values["max_requests"],
        "max-requests-delta": values["max_requests_jitter"],
        # By default it keeps a worker for a minute in any case.
        "min-worker-lifetime": 1,
        # By default SIGTERM reloads.
        "die-on-term": True,
        "hook-master-start": "unix_signal:15 gracefully_kill_them_all",
        "disable-logging": True,
        "buffer-size": 65535,
        "single-interpreter": True,
        "thunder-lock": False,
    }
    words = [f"--{name}" if value is True else f"--{name}={value}" for name, value in options.items() if value]
    program = str(Path(sys.executable).with_name("uwsgi"))
    os.execv(program, [program, *words])


def waitress(values: dict[str, Any]) -> None:
    """WSGI, in one process with as many threads as others have in all their workers."""
    from waitress.server import create_server

    server = create_server(
        slipway_entry.warmed(),
        sockets=[socket.socket(fileno=FD)],
        threads=values["threads"] * values["workers"],
        backlog=values["backlog"],
        channel_timeout=values["timeout"],
        asyncore_use_poll=True,
        clear_untrusted_proxy_headers=False,
        ident=None,
    )
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit())
    server.run()


def hypercorn(values: dict[str, Any]) -> None:
    """WSGI and ASGI, in Python."""
    from hypercorn.config import Config
    from hypercorn.run import run

    settings = Config()
    settings.application_path = f"{values['interface']}:{ENTRY}()"
    settings.bind = [f"fd://{FD}"]
    settings.workers = values["workers"]
    settings.backlog = values["backlog"]
    settings.graceful_timeout = values["graceful_timeout"]
    settings.shutdown_timeout = values["graceful_timeout"]
    # nginx has limited what a request may be.
    settings.wsgi_max_body_size = sys.maxsize
    settings.loglevel = values["log_level"]
    settings.include_server_header = False
    sys.exit(run(settings))


def uvicorn(values: dict[str, Any]) -> None:
    """ASGI."""
    import uvicorn as server

    server.run(
        ENTRY,
        factory=True,
        fd=FD,
        workers=values["workers"],
        backlog=values["backlog"],
        timeout_graceful_shutdown=values["graceful_timeout"],
        log_level=values["log_level"],
        access_log=False,
        # The entry does what has to be done with nginx's headers.
        proxy_headers=False,
        server_header=False,
    )


class Adapter(NamedTuple):
    """How a server is started, and a module that its package brings."""

    serve: Callable[[dict[str, Any]], None]
    module: str


ADAPTERS = {
    "granian": Adapter(granian, "granian"),
    "uwsgi": Adapter(uwsgi, "uwsgidecorators"),
    "waitress": Adapter(waitress, "waitress"),
    "hypercorn": Adapter(hypercorn, "hypercorn"),
    "uvicorn": Adapter(uvicorn, "uvicorn"),
}


def gunicorn(words: list[str]) -> None:
    """WSGI and ASGI, with a configuration of its own, which does what is done here for the others."""
    program = str(Path(sys.executable).with_name("gunicorn"))
    os.execv(program, [program, "--config", str(Path(__file__).resolve().parents[1] / "gunicorn.conf.py"), *words])


def server_of(release: Path) -> str:
    """The server that a release was built with; one of an older Slipway has Gunicorn."""
    try:
        return (release / ".server").read_text().strip()
    except FileNotFoundError:
        return "gunicorn"


def listen(path: str, backlog: int) -> None:
    """Open a socket of our own as the descriptor that systemd would pass."""
    Path(path).unlink(missing_ok=True)
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    server.bind(path)
    server.listen(backlog)
    os.dup2(server.detach(), FD)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bind", help="unix:PATH, instead of the socket that systemd passes")
    parser.add_argument("--workers", type=int, help="instead of the configuration's")
    parser.add_argument("--check-config", action="store_true", help="import the app, and end")
    parser.add_argument(
        "--check-packages", action="store_true", help="import the server, and end: the release's packages are where its Python looks"
    )
    options = parser.parse_args()
    name = server_of(Path.cwd())
    if options.check_packages:
        importlib.import_module(ADAPTERS[name].module if name in ADAPTERS else name)
        return 0
    if name == "gunicorn":
        gunicorn(sys.argv[1:])
    # As Gunicorn does: the app's folder comes first, ours last.
    sys.path[:] = [str(Path.cwd()), *sys.path[1:], sys.path[0]]
    if options.check_config:
        slipway_entry.wrapped()
        return 0
    values = {**slipway_entry.config(), "server": name}
    said = os.environ.get("WEB_CONCURRENCY") or values["workers"]
    automatic = automatic_workers_here(share=values["memory_share"], worker_memory=values["worker_memory"])
    values["workers"] = options.workers or (automatic if str(said) == "auto" else int(said))
    # For processes of the server that begin with an empty memory.
    os.environ["PYTHONPATH"] = os.pathsep.join([sys.path[0], *filter(None, [os.environ.get("PYTHONPATH")]), sys.path[-1]])
    # waitress has one, whatever the number is.
    os.environ["SLIPWAY_WORKERS"] = str(1 if name == "waitress" else values["workers"])
    os.environ["SLIPWAY_SERVER"] = name
    if options.bind:
        listen(options.bind.removeprefix("unix:"), values["backlog"])
    os.set_inheritable(FD, True)
    with socket.socket(fileno=os.dup(FD)) as listener:
        os.environ["SLIPWAY_SOCKET"] = listener.getsockname()
    os.environ["SLIPWAY_CONTROL"] = str(runtime_folder() / "control")
    slipway_entry.warm_up(values).begin()
    program = Main(os.environ["SLIPWAY_CONTROL"], values["graceful_timeout"], os.environ.pop("NOTIFY_SOCKET", ""))
    if server := program.fork():
        return program.watch(server)
    ADAPTERS[name].serve(values)
    return 0


if __name__ == "__main__":
    sys.exit(main())
