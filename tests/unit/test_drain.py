"""A server's end and the replacement of its workers lose nothing (roles/server/files/slipway_drain.py): each server, really run."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest
from ansible_collections.slipway.vps.plugins.module_utils.servers import SERVERS, WSGI

from .conftest import ROOT

FULL = os.environ.get("SLIPWAY_FULL") == "1"
BOTH = [(name, interface) for name, known in SERVERS.items() if name != "gunicorn" for interface in known.interfaces]
#: Each server, with each interface that it speaks: the code for the other is another.
ALL = pytest.mark.parametrize(("name", "interface"), BOTH, ids=[f"{name}-{interface}" for name, interface in BOTH])
#: Those that replace workers.
REPLACING = pytest.mark.parametrize(
    ("name", "interface"), [(name, interface) for name, interface in BOTH if SERVERS[name].recycles], ids=lambda value: value
)
VALUES = {
    **{"workers": 2, "threads": 4, "memory_share": 0.5, "worker_memory": 100, "timeout": 30, "graceful_timeout": 20, "backlog": 512},
    **{"max_requests": 0, "max_requests_jitter": 0, "log_level": "info", "access_log": False, "quiet": [], "domain": "localhost"},
    **{"warm_up_paths": [], "warm_up_timeout": 5},
}
APP = """
import asyncio, os, time

def wsgi(environ, start_response):
    environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
    time.sleep(float(environ["QUERY_STRING"]))
    body = str(os.getpid()).encode()
    start_response("201 Created", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]

async def asgi(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    while (await receive()).get("more_body"):
        pass
    await asyncio.sleep(float(scope["query_string"]))
    body = str(os.getpid()).encode()
    headers = [(b"content-type", b"text/plain"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 201, "headers": headers})
    await send({"type": "http.response.body", "body": body})
"""


@pytest.fixture(scope="session")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python with all servers, in the versions that a release gets."""
    folder = tmp_path_factory.mktemp("servers")
    wanted = [one for name, known in SERVERS.items() if name != "gunicorn" for one in known.requirements]
    for words in (["venv", "--quiet", str(folder)], ["pip", "install", "--quiet", "--python", str(folder / "bin/python"), *wanted]):
        subprocess.run(["uv", *words], check=True, timeout=120)
    return folder / "bin/python"


class Visitor(NamedTuple):
    """A connection, as nginx opens one for each request."""

    connection: socket.socket

    def ask(self, seconds: float = 0) -> str:
        """A POST that takes ``seconds``: the worker that has answered, or what went wrong."""
        request = f"POST /?{seconds} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 10\r\n\r\n0123456789"
        try:
            with self.connection:
                self.connection.sendall(request.encode())
                answer = b"".join(iter(lambda: self.connection.recv(65536), b""))
        except OSError as error:
            return repr(error)
        head, _, body = answer.partition(b"\r\n\r\n")
        return body.decode() if b" 201 " in head.splitlines()[0] else repr(answer)


class Hosted:
    """A socket that outlives servers, as systemd's does, and what stands in a host's folders."""

    def __init__(self, folder: Path, python: Path, name: str, interface: str, **values: int) -> None:
        self.folder, self.python, self.name, self.interface = folder, python, name, interface
        server = folder / "etc/server"
        shutil.copytree(ROOT / "roles/server/files", server, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "plugins/module_utils/workers.py", server / "slipway_workers.py")
        (folder / "etc/server.json").write_text(json.dumps({**VALUES, **values, "interface": interface}))
        (folder / "release").mkdir()
        (folder / "release/slow.py").write_text(APP)
        (folder / "release/.server").write_text(name)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.bind(str(folder / "s"))
        self.socket.listen(512)
        self.started: list[subprocess.Popen[bytes]] = []

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    def start(self) -> subprocess.Popen[bytes]:
        """A release's server, when all its workers serve."""
        run = self.folder / f"run{len(self.started)}"
        run.mkdir()
        systemd, ready = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM), threading.Event()
        systemd.bind(str(run / "systemd"))

        def listen() -> None:
            while systemd.recv(100) == b"READY=1":
                ready.set()

        threading.Thread(target=listen, daemon=True).start()
        environment = {
            **{name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
            **{"SLIPWAY_WSGI": f"slow:{self.interface}", "RUNTIME_DIRECTORY": str(run), "NOTIFY_SOCKET": str(run / "systemd")},
        }
        command = [str(self.python), str(self.folder / "etc/server/slipway_server.py")]
        # As descriptor 3, where systemd puts it.
        words = ["bash", "-c", f'exec 3<&{self.socket.fileno()}; exec "$@"', "bash", *command]
        with (self.folder / "log").open("ab") as log:
            main = subprocess.Popen(
                words,
                cwd=self.folder / "release",
                env=environment,
                pass_fds=[self.socket.fileno()],
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.started.append(main)
        assert ready.wait(30), self.log
        until = time.monotonic() + 30
        while (run / "cold").exists():
            assert time.monotonic() < until and main.poll() is None, self.log
            time.sleep(0.02)
        return main

    def visitor(self) -> Visitor:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(15)
        connection.connect(str(self.folder / "s"))
        return Visitor(connection)

    def ask(self, seconds: float = 0) -> str:
        return self.visitor().ask(seconds)

    def visits(self, number: int) -> list[str]:
        """So many one after the other, until one fails."""
        answers: list[str] = []
        while len(answers) < number and (not answers or answers[-1].isdecimal()):
            answers.append(self.ask(0.05))
        return answers

    def close(self) -> None:
        for main in self.started:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(main.pid, signal.SIGKILL)
            main.wait()
        self.socket.close()


Host = Callable[..., Hosted]


@pytest.fixture
def host(tmp_path: Path, python: Path) -> Iterator[Host]:
    made: list[Hosted] = []

    def make(name: str, interface: str, **values: int) -> Hosted:
        made.append(Hosted(tmp_path, python, name, interface, **values))
        return made[-1]

    yield make
    for one in made:
        one.close()


@ALL
def test_the_end_waits_for_what_was_accepted(host: Host, name: str, interface: str) -> None:
    """[S1 A7] Also for a connection whose request comes after SIGTERM. What connects later waits for the next server."""
    hosted = host(name, interface)
    main = hosted.start()
    with ThreadPoolExecutor(8) as pool:
        begun = [pool.submit(hosted.ask, 1.5) for _ in range(2)]
        opened = [hosted.visitor() for _ in range(4)]
        time.sleep(0.5)
        main.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        later = pool.submit(hosted.ask)
        pids = [visitor.ask() for visitor in opened] + [one.result() for one in begun]
        assert all(pid.isdecimal() for pid in pids), pids
        assert main.wait(10) == 0, hosted.log
        assert not later.done()
        hosted.start()
        assert later.result().isdecimal() and later.result() not in pids


@REPLACING
def test_a_worker_is_replaced_and_nothing_is_lost(host: Host, name: str, interface: str) -> None:
    """[A8] [S1] After `server_max_requests`; 600 requests by eight clients meet several replacements."""
    hosted = host(name, interface, max_requests=60)
    main = hosted.start()
    with ThreadPoolExecutor(8) as pool:
        answers = [pid for some in pool.map(lambda _: hosted.visits(75), range(8)) for pid in some]
    assert all(pid.isdecimal() for pid in answers), Counter(pid for pid in answers if not pid.isdecimal())
    assert len(set(answers)) > 3 and main.poll() is None, Counter(answers)
    main.send_signal(signal.SIGTERM)
    assert main.wait(15) == 0, hosted.log


@pytest.mark.parametrize("name", ["granian", "waitress"])
def test_the_end_comes_in_any_case(host: Host, name: str) -> None:
    """[A7] A request that takes longer than `server_graceful_timeout` is not waited for, nor one after a second SIGTERM."""
    hosted = host(name, WSGI, graceful_timeout=1)
    for signals, seconds in ((1, 1.0), (2, 0.3)):
        main = hosted.start()
        with ThreadPoolExecutor(1) as pool:
            pool.submit(hosted.ask, 20)
            time.sleep(0.3)
            began = time.monotonic()
            for _ in range(signals):
                main.send_signal(signal.SIGTERM)
                time.sleep(0.1)
            main.wait(15)
            assert seconds - 0.2 < time.monotonic() - began < seconds + 7, hosted.log


def test_a_server_that_ends_by_itself_is_noticed(host: Host) -> None:
    """[A9] The main process ends with it, with its exit code, so that systemd starts it again."""
    hosted = host("granian", WSGI)
    main = hosted.start()
    server = Path(f"/proc/{main.pid}/task/{main.pid}/children").read_text().split()[0]
    os.kill(int(server), signal.SIGKILL)
    assert main.wait(10) == 128 + signal.SIGKILL


@ALL
@pytest.mark.skipif(not FULL, reason="make proofs: 20 switches under 100,000 requests")
def test_a_hundred_thousand_requests_in_twenty_switches(host: Host, name: str, interface: str) -> None:
    """[S1 S2] By 32 clients without a pause; two releases hold the socket at once."""
    hosted = host(name, interface)
    seen: Counter[str] = Counter()
    stop = threading.Event()

    def visit() -> None:
        while not stop.is_set():
            answer = hosted.ask(0.001)
            seen["answered" if answer.isdecimal() else answer] += 1

    main = hosted.start()
    with ThreadPoolExecutor(32) as pool:
        for _ in range(32):
            pool.submit(visit)
        try:
            for number in range(1, 21):
                following = hosted.start()
                while seen.total() < number * 5000:
                    time.sleep(0.05)
                main.send_signal(signal.SIGTERM)
                assert main.wait(30) == 0, hosted.log
                main = following
        finally:
            stop.set()
    print(f"{name} {interface}: {dict(seen)}", file=sys.stderr)
    assert set(seen) == {"answered"} and seen["answered"] >= 100_000
