"""The app as a server other than Gunicorn loads it: import, scheme, prefix, log, warm-up and notification."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import pytest

from .conftest import ROOT

VALUES = {
    "interface": "wsgi",
    "access_log": True,
    "quiet": ["/up"],
    "warm_up_paths": ["/"],
    "warm_up_timeout": 5,
    "max_requests": 0,
    "domain": "blog.example.com",
}
APP = """
import os
asked = []
def app(environ, start_response):
    asked.append((environ["wsgi.url_scheme"], environ["SCRIPT_NAME"], environ["PATH_INFO"], environ.get("REMOTE_ADDR")))
    if environ["PATH_INFO"] == "/broken":
        raise RuntimeError("no database")
    start_response("404 Not Found" if environ["PATH_INFO"] == "/none" else "200 OK", [("Content-Type", "text/plain")])
    return iter([b"one", b"three"])
def create(name="x", *, on=False):
    assert (name, on) == ("prod", True)
    return app
async def asgi(scope, receive, send):
    await send({"type": "http.response.start", "status": 201, "headers": [(b"x-scheme", scope["scheme"].encode())]})
    await send({"type": "http.response.body", "body": b"four"})
number = 5
"""


@pytest.fixture
def entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The module as the host has it, below an app's configuration."""
    folder = tmp_path / "etc/server"
    folder.mkdir(parents=True)
    for source in (ROOT / "roles/server/files").glob("slipway_*.py"):
        (folder / source.name).write_text(source.read_text())
    (tmp_path / "release").mkdir()
    (tmp_path / "release/blogging.py").write_text(APP)
    (tmp_path / "etc/server.json").write_text(json.dumps(VALUES))
    for name in ("slipway_entry", "slipway_warmup", "slipway_access", "slipway_drain", "blogging"):
        sys.modules.pop(name, None)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.syspath_prepend(str(tmp_path / "release"))
    for name, value in (("SLIPWAY_WSGI", "blogging:app"), ("SLIPWAY_WORKERS", "2"), ("SLIPWAY_SERVER", "granian")):
        monkeypatch.setenv(name, value)
    import slipway_entry

    yield slipway_entry
    for name in ("slipway_entry", "slipway_warmup", "slipway_access", "slipway_drain", "blogging"):
        sys.modules.pop(name, None)


def ask(app: Any, path: str = "/", **headers: str) -> tuple[str, bytes]:
    environ: dict[str, Any] = {"SCRIPT_NAME": "", "PATH_INFO": path, "HTTP_X_FORWARDED_PROTO": "https", "QUERY_STRING": "", **headers}
    setup_testing_defaults(environ)
    told: list[str] = []

    def start_response(status: str, headers: Any, exc_info: Any = None) -> Any:
        told.append(status)
        return lambda data: None

    body: Any = validator(app)(environ, start_response)
    try:
        return told[0], b"".join(body)
    finally:
        body.close()


def logged(capfd: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capfd.readouterr().out.splitlines()]


@pytest.mark.parametrize("said", ["blogging:app", "blogging:create('prod', on=True)"])
def test_an_app_is_named_as_for_gunicorn(entry: ModuleType, said: str) -> None:
    """[A2] A callable, or a factory with literal arguments."""
    assert callable(entry.load(said))


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("blogging:absent", "there is no 'absent' in blogging"),
        ("blogging:number", "cannot be called"),
        ("blogging:create(os)", "neither module:name nor"),
        ("blogging:app.x", "neither module:name nor"),
        ("blogging:app(", "neither module:name nor"),
    ],
)
def test_what_is_no_app_is_said(entry: ModuleType, said: str, words: str) -> None:
    """[F8] By the step `import` of a deploy, before anybody is switched."""
    with pytest.raises(entry.EntryError, match=words):
        entry.load(said)
    with pytest.raises(ModuleNotFoundError):
        entry.load("blogs:app")


def test_a_request_is_one_line_of_json(entry: ModuleType, capfd: pytest.CaptureFixture[str]) -> None:
    """[K1] The same line as Gunicorn's, so that the burn-in finds it; the body counts when it has been sent."""
    assert ask(entry.wrapped(), "/a", HTTP_X_REQUEST_ID="4f2a", HTTP_X_FORWARDED_FOR="192.0.2.7") == ("200 OK", b"onethree")
    text = capfd.readouterr().out
    found = json.loads(text)
    assert text.startswith('{"logger":"granian.access"') and found.pop("duration_us") >= 0
    assert found == {
        **{"logger": "granian.access", "request_id": "4f2a", "client": "192.0.2.7"},
        **{"method": "GET", "path": "/a", "status": 200, "bytes": 8},
    }


def test_health_checks_are_not_logged_and_failures_are(entry: ModuleType, capfd: pytest.CaptureFixture[str]) -> None:
    """[K1] An app that raises has answered 500."""
    app = entry.wrapped()
    ask(app, "/up")
    ask(app, "/none")
    with pytest.raises(RuntimeError):
        ask(app, "/broken")
    assert [(line["path"], line["status"]) for line in logged(capfd)] == [("/none", 404), ("/broken", 500)]


def test_the_proxy_is_believed(entry: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """[E3] Only nginx can open the socket: scheme and prefix are what it says, and the peer's address is nobody's, as with Gunicorn."""
    monkeypatch.setenv("SCRIPT_NAME", "/blog")
    ask(entry.wrapped(), "/blog/post", REMOTE_ADDR="0.0.0.0")
    import blogging  # type: ignore[import-not-found]

    assert blogging.asked == [("https", "/blog", "/post", "")]


def test_an_asgi_app(entry: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """[A4] The same for ASGI; its lifespan is its own."""
    (tmp_path / "etc/server.json").write_text(json.dumps({**VALUES, "interface": "asgi"}))
    monkeypatch.setenv("SLIPWAY_WSGI", "blogging:asgi")
    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/a",
        "scheme": "http",
        "headers": [(b"x-forwarded-proto", b"https"), (b"x-request-id", b"7")],
    }
    asyncio.run(entry.wrapped()(scope, None, send))
    assert sent[0]["headers"] == [(b"x-scheme", b"https")] and scope["scheme"] == "http"
    (line,) = logged(capfd)
    assert (line["request_id"], line["method"], line["path"], line["status"], line["bytes"]) == ("7", "POST", "/a", 201, 4)


def test_the_last_worker_that_has_answered_makes_it_warm(entry: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """[S1] [A14] Each asks itself and leaves its mark; the mark of the whole goes with the last."""
    run = tmp_path / "run"
    run.mkdir()
    monkeypatch.setenv("RUNTIME_DIRECTORY", f"/run/rehearsal:{run}")
    entry.warm_up(entry.config()).begin()
    assert (run / "cold").exists()
    for number in (1, 2):
        monkeypatch.setattr(os, "getpid", lambda number=number: number)
        app = entry.warmed()
        assert (run / f"warm-{number}").exists() and (run / "cold").exists() is (number < 2)
    import blogging

    assert [entry[2] for entry in blogging.asked] == ["/", "/"] and ask(app)[0] == "200 OK"


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """The program in a release's folder, as the unit starts it."""
    command = [sys.executable, str(folder.parent / "etc/server/slipway_server.py"), *words]
    return subprocess.run(command, cwd=folder, text=True, capture_output=True, timeout=60, check=False)


@pytest.fixture
def release(entry: ModuleType, tmp_path: Path) -> Path:
    """A release with a virtual environment of nothing but what the tests bring."""
    (tmp_path / "etc/server/slipway_workers.py").write_text((ROOT / "plugins/module_utils/workers.py").read_text())
    (tmp_path / "release/.server").write_text("waitress\n")
    return tmp_path / "release"


def test_the_app_is_imported_before_it_serves(release: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """[A14] What `--check-config` is for; what is wrong is at the end of what it says."""
    assert run(release, "--check-config").returncode == 0
    monkeypatch.setenv("SLIPWAY_WSGI", "blogging:absent")
    failed = run(release, "--check-config")
    assert failed.returncode and "there is no 'absent' in blogging" in failed.stderr


def test_what_a_worker_says_reaches_systemd_from_the_main_process(release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """[S1] [F6] systemd listens to no other (NotifyAccess=main); the process that workers begin in passes it on."""
    (tmp_path / "run").mkdir()
    (release / "waitress").mkdir()
    (release / "waitress/__init__.py").write_text("wasyncore = None")
    # A server that has its app in another process, too.
    (release / "waitress/server.py").write_text(
        "import subprocess, sys\n"
        "def create_server(app, **options):\n"
        "    word = 'import os, slipway_entry; assert \"NOTIFY_SOCKET\" not in os.environ; slipway_entry.warmed()'\n"
        "    subprocess.run([sys.executable, '-c', word], check=True)\n"
        "    sys.exit()\n"
    )
    more = {"workers": 2, "threads": 4, "memory_share": 0.5, "worker_memory": 128, "backlog": 8, "timeout": 30, "graceful_timeout": 30}
    (tmp_path / "etc/server.json").write_text(json.dumps({**VALUES, **more}))
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path / "run"))
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "systemd"))
    command = [sys.executable, str(tmp_path / "etc/server/slipway_server.py"), "--workers=2", "--bind", f"unix:{tmp_path}/s"]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "systemd"))
        systemd.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        systemd.settimeout(30)
        main = subprocess.Popen(command, cwd=release)
        for _ in range(2):
            words, ancillary, _, _ = systemd.recvmsg(100, socket.CMSG_SPACE(12))
            (pid,) = {struct.unpack("iii", data)[0] for _, _, data in ancillary}
            assert (words, pid) == (b"READY=1", main.pid)
        assert main.wait(30) == 0


def test_a_python_that_does_not_find_the_server_is_noticed(release: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """[S1] After an upgrade of the system. Which server it is the release says; an older one has Gunicorn."""
    monkeypatch.setenv("PYTHONPATH", str(release))
    (release / "gunicorn.py").write_text("raise ImportError('the last Python had it')")
    for name, said in (("waitress", "No module named 'waitress'"), ("gunicorn", "the last Python had it")):
        (release / ".server").write_text(name)
        failed = run(release, "--check-packages")
        assert failed.returncode and said in failed.stderr
    (release / ".server").unlink()
    assert "the last Python had it" in run(release, "--check-packages").stderr
    (release / "gunicorn.py").write_text("")
    assert run(release, "--check-packages").returncode == 0
