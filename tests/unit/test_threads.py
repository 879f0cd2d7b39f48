"""The worker whose threads take connections themselves (roles/server/files/slipway_threads.py), run by the real Gunicorn."""

from __future__ import annotations

import http.client
import importlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest

FILES = Path(__file__).parents[2] / "roles/server/files"
APP = """
import os, time

def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/sleep":
        time.sleep(float(environ["QUERY_STRING"]))
    elif path == "/exit":
        raise SystemExit(3)
    body = f"{os.getpid()} {environ['wsgi.multithread']} {path}".encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
"""


class Served(NamedTuple):
    """A Gunicorn, and the socket that it inherited."""

    process: subprocess.Popen[str]
    path: str
    log: Path

    def ask(self, path: str, body: bytes = b"") -> tuple[int, str]:
        """The answer to one request on a connection of its own."""
        connection = http.client.HTTPConnection("localhost", timeout=60)
        connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.sock.connect(self.path)
        try:
            connection.request("POST" if body else "GET", path, body=body or None)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()


Serve = Callable[..., Served]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    started: list[Served] = []

    def make(*words: str, workers: int = 2, threads: int = 2) -> Served:
        (tmp_path / "slow.py").write_text(APP)
        path, log = f"{tmp_path}/s", tmp_path / "log"
        command = [
            sys.executable,
            "-m",
            "gunicorn",
            "--no-control-socket",
            f"--bind=unix:{path}",
            f"--workers={workers}",
        ]
        command += [
            f"--threads={threads}",
            "--worker-class=slipway_threads.ThreadWorker",
            *words,
            "slow:app",
        ]
        with log.open("w") as stream:
            process = subprocess.Popen(
                command,
                cwd=tmp_path,
                env={**os.environ, "PYTHONPATH": f"{tmp_path}:{FILES}"},
                stderr=stream,
                text=True,
            )
        served = Served(process, path, log)
        started.append(served)
        until = time.monotonic() + 30
        while log.read_text().count("Booting worker") < workers:
            assert time.monotonic() < until and process.poll() is None, log.read_text()
            time.sleep(0.05)
        return served

    yield make
    for served in started:
        served.process.kill()
        served.process.wait()


def timed(served: Served, path: str) -> tuple[float, str]:
    """Seconds until it was answered, and with what."""
    began = time.monotonic()
    status, body = served.ask(path)
    assert status == 200, body
    return time.monotonic() - began, body


def test_whoever_is_free_takes_the_next_request(serve: Serve) -> None:
    """[A4] With three of four threads asleep, quick requests do not wait for them; with all four, for the first that is free."""
    served = serve()
    with ThreadPoolExecutor(8) as pool:
        slow = [pool.submit(timed, served, "/sleep?2") for _ in range(3)]
        time.sleep(0.5)
        quick = sorted(timed(served, "/")[0] for _ in range(50))
        assert quick[-1] < 0.5, quick[-5:]
        assert max(one.result()[0] for one in slow) < 3
        began = time.monotonic()
        assert {body.split()[1] for _, body in pool.map(lambda _: timed(served, "/sleep?0.5"), range(8))} == {"True"}
        assert time.monotonic() - began < 1.9, "four at a time"


def test_short_requests_are_not_helped_with(monkeypatch: pytest.MonkeyPatch) -> None:
    """[A4] A second thread takes a connection once the first one's request is long; when none is at one, at once."""
    monkeypatch.syspath_prepend(str(FILES))
    threads = importlib.import_module("slipway_threads")
    turns = threads.Turns()
    with ThreadPoolExecutor(1) as pool:
        turns.wait()
        began = time.monotonic()
        turns.took()
        pool.submit(turns.wait).result(30)
        assert time.monotonic() - began >= threads.LONG
        turns.end()
    turns = threads.Turns()
    turns.wait()
    turns.took()
    turns.done()
    monkeypatch.setattr("time.sleep", lambda _: pytest.fail("it waited"))
    turns.wait()


def test_what_the_app_does_not_read_is_read_for_it(serve: Serve) -> None:
    """[A6] A client that sends 10 MB to a page that looks at none of it gets its answer, not a broken pipe."""
    served = serve(workers=1)
    assert served.ask("/", b"x" * 10_000_000)[0] == 200


def test_a_worker_is_replaced_and_nothing_is_lost(serve: Serve) -> None:
    """[A8] After `max_requests`; two hundred requests by eight clients meet several replacements."""
    served = serve("--max-requests=40")
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: timed(served, "/sleep?0.005"), range(200)))
    assert len({body.split()[0] for _, body in answers}) > 2, "none was replaced"
    assert max(seconds for seconds, _ in answers) < 5


def test_a_worker_that_answers_nothing_is_replaced(serve: Serve) -> None:
    """[A7] Not one that is at long requests while others come and go."""
    served = serve("--timeout=3", workers=1)
    with ThreadPoolExecutor(4) as pool:
        long = pool.submit(timed, served, "/sleep?6")
        time.sleep(0.2)
        for _ in range(12):
            timed(served, "/sleep?0.5")
        assert long.result()[0] < 7
        pid = served.ask("/")[1].split()[0]
        stuck = [pool.submit(served.ask, "/sleep?60") for _ in range(2)]
        time.sleep(0.2)
        began = time.monotonic()
        assert timed(served, "/")[1].split()[0] != pid and 2 < time.monotonic() - began < 10
        assert all(one.exception(20) for one in stuck)
    assert "WORKER TIMEOUT" in served.log.read_text()


def test_the_end_waits_for_what_was_begun(serve: Serve) -> None:
    """[A7] [S1] On SIGTERM; at once where there is nothing."""
    served = serve()
    with ThreadPoolExecutor(3) as pool:
        begun = [pool.submit(timed, served, "/sleep?1.5") for _ in range(3)]
        time.sleep(0.5)
        served.process.send_signal(signal.SIGTERM)
        assert all(one.result()[0] >= 1.5 for one in begun)
    assert served.process.wait(5) == 0
    idle = serve()
    began = time.monotonic()
    idle.process.send_signal(signal.SIGTERM)
    assert idle.process.wait(5) == 0 and time.monotonic() - began < 2


def test_an_app_that_ends_itself_ends_nobody_else(serve: Serve) -> None:
    """[A7] `SystemExit` in a view is an answer 500, and the thread goes on."""
    served = serve(workers=1)
    assert [served.ask("/exit")[0] for _ in range(5)] == [500] * 5 and served.ask("/")[0] == 200


def test_a_worker_without_its_threads_is_replaced(serve: Serve, tmp_path: Path) -> None:
    """[A7] What a thread cannot go on after ends the worker: it never serves with fewer than it should have."""
    (tmp_path / "sitecustomize.py").write_text(
        "import os, socket\n"
        "real = socket.socket.accept\n"
        "def accept(self):\n"
        "    if os.path.exists('fail'):\n"
        "        os.unlink('fail')\n"
        "        raise OSError(24, 'Too many open files')\n"
        "    return real(self)\n"
        "socket.socket.accept = accept\n"
    )
    served = serve(workers=1)
    pid = served.ask("/")[1].split()[0]
    (tmp_path / "fail").touch()
    assert served.ask("/")[0] == 200
    until = time.monotonic() + 10
    while (now := served.ask("/")[1].split()[0]) == pid:
        assert time.monotonic() < until
        time.sleep(0.1)
    assert now != pid and "Too many open files" in served.log.read_text()


@pytest.mark.skipif(os.environ.get("SLIPWAY_FULL") != "1", reason="make proofs: it installs two Gunicorns")
@pytest.mark.parametrize("version", ["==26.0.0", ">=27"])
def test_the_oldest_and_the_newest_gunicorn(version: str) -> None:
    """[A4] All of the above, with the first that THREADS_FIT names and the last that there is; a newer major version is not in it yet."""
    command = ["uv", "run", "--quiet", "--no-project", f"--with=gunicorn{version}", "--with=pytest", "python", "-m", "pytest", "-q"]
    command += ["--noconftest", "-p", "no:cacheprovider", "-c", os.devnull, "--rootdir", str(Path(__file__).parent), __file__]
    environment = {name: value for name, value in os.environ.items() if name != "SLIPWAY_FULL"}
    found = subprocess.run(command, env=environment, text=True, capture_output=True, check=False)
    assert found.returncode == 0 and "8 passed" in found.stdout, found.stdout[-3000:] + found.stderr[-1000:]
