"""The units and Gunicorn's configuration, as text."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from render import render, value

UNITS = "etc/systemd/system"
PROCESSES = {"worker": {"command": "celery -A blog worker --hostname=%h", "stop_timeout": 300}, "beat": {"command": "celery -A blog beat"}}


def lines(template: str, **scenario: Any) -> list[str]:
    return render("gunicorn", f"{UNITS}/{template}", **scenario).splitlines()


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the role makes of /etc/demo: Gunicorn's configuration, and the program that it imports."""
    folder = tmp_path_factory.mktemp("demo")
    install(folder)
    return folder


def install(folder: Path, **scenario: Any) -> str:
    """Write what the role writes below the app's configuration; returns the text of gunicorn.conf.py."""
    for file in value("gunicorn", "__gunicorn_files", app_config_dir=str(folder), **scenario):
        path = Path(file["path"])
        if path.is_relative_to(folder):
            path.parent.mkdir(exist_ok=True)
            path.write_text(file["content"])
    return (folder / "gunicorn.conf.py").read_text()


def configuration(environment: dict[str, str] | None = None, **scenario: Any) -> dict[str, Any]:
    """What Gunicorn would read, in a process of its own: the file runs with a stand-in for Gunicorn's logger."""
    with tempfile.TemporaryDirectory() as folder:
        return read(install(Path(folder), **scenario), environment)


def read(text: str, environment: dict[str, str] | None) -> dict[str, Any]:
    program = (
        "import json,sys,types;g=types.ModuleType('gunicorn');g.glogging=types.SimpleNamespace(Logger=object);sys.modules['gunicorn']=g\n"
        f"scope={{}};exec({text!r},scope)\n"
        "print(json.dumps({k:v for k,v in scope.items() if isinstance(v,(str,int,list,type(None))) and not k.startswith('__')}))"
    )
    result = subprocess.run(
        [sys.executable, "-c", program],
        env={"SLIPWAY_WSGI": "blog:app", **(environment or {})},
        text=True,
        capture_output=True,
        check=True,
    )
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_socket_is_for_the_proxy_only() -> None:
    """[A5] Group and mode of the socket, and the unit that takes its connections."""
    unit = lines("app.socket.j2")
    for line in ("ListenStream=/run/demo/gunicorn.sock", "SocketGroup=www-data", "SocketMode=0660", "Backlog=2048", "Service=demo.service"):
        assert line in unit


def test_instances_share_the_socket() -> None:
    """[S1 A7] systemd hands the listening socket to every instance; stopping gives requests longer than Gunicorn does."""
    unit = lines("app@.service.j2", gunicorn_graceful_timeout=50)
    for line in ("Sockets=demo.socket", "Type=notify", "KillMode=mixed", "StartLimitIntervalSec=0", "Restart=always", "TimeoutStopSec=60"):
        assert line in unit


def test_rehearsal_is_private() -> None:
    """[S1] Another socket, one worker, no restart: and no share in the visitors' socket."""
    unit = lines("app-rehearsal@.service.j2")
    start = next(line for line in unit if line.startswith("ExecStart="))
    assert "--workers 1" in start and "--bind unix:/run/demo-rehearsal/gunicorn.sock" in start
    assert {"Restart=no", "KillSignal=SIGKILL", "SuccessExitStatus=SIGKILL"} <= {*unit} and not [
        line for line in unit if line.startswith("Sockets=")
    ]


@pytest.mark.parametrize("template", ["app@.service.j2", "app-rehearsal@.service.j2", "app-process@.service.j2"])
def test_every_process_is_sandboxed(template: str) -> None:
    """[A5 A9] The same user, environment and limits for whatever runs code of the app."""
    unit = lines(template, item={"key": "worker", "value": PROCESSES["worker"]})
    for line in (
        "User=demo",
        "EnvironmentFile=/srv/demo/releases/%i/environment",
        "EnvironmentFile=-/etc/demo/secrets",
        "ProtectSystem=strict",
        "NoNewPrivileges=yes",
        "CapabilityBoundingSet=",
        "TasksMax=512",
    ):
        assert line in unit
    assert not [line for line in unit if line.startswith("MemoryMax=")]
    assert "MemoryMax=512M" in lines(template, item={"key": "worker", "value": PROCESSES["worker"]}, gunicorn_memory_max="512M")


def test_boot_starts_the_live_release_and_its_processes() -> None:
    """[A9 A15] One line per unit of a release, each following `current`."""
    starts = [line for line in lines("app.service.j2", app_processes=PROCESSES) if line.startswith("ExecStart=")]
    assert [line.split('"')[1].split("@")[0] for line in starts] == ["demo", "demo-beat", "demo-worker"]
    assert all(line.startswith("ExecStart=-") and "readlink /srv/demo/current" in line for line in starts)


def test_process_command_is_kept_literal() -> None:
    """[A15] systemd expands % and $ in a command; the operator's are meant for the command."""
    unit = lines("app-process@.service.j2", item={"key": "worker", "value": {"command": 'run --at %h "$X"', "stop_timeout": 300}})
    assert 'ExecStart=/bin/sh -c "exec run --at %%h \\"$$X\\""' in unit
    assert "TimeoutStopSec=300" in unit


def test_configuration_defaults() -> None:
    """[A2 A7 A8] Gunicorn's values as the project promises them."""
    found = configuration()
    expected = {"wsgi_app": "blog:app", "worker_class": "gthread", "threads": 4, "timeout": 30, "graceful_timeout": 30, "keepalive": 75}
    assert {key: found[key] for key in expected} == expected
    assert (found["preload_app"], found["control_socket_disable"], found["accesslog"], found["bind"]) == (True, True, "-", [])


def test_environment_overrides() -> None:
    """[A2] Each setting by an environment variable, in its own type."""
    found = configuration({"WEB_CONCURRENCY": "7", "GUNICORN_THREADS": "2", "GUNICORN_TIMEOUT": "90", "GUNICORN_WORKER_CLASS": "sync"})
    assert (found["workers"], found["threads"], found["timeout"], found["worker_class"]) == (7, 2, 90, "sync")


def test_workers_are_bounded_by_memory() -> None:
    """[A3] However many cores: never more workers than the memory holds, and always one."""
    assert configuration(gunicorn_worker_memory=10_000_000)["workers"] == 1
    assert configuration(gunicorn_workers=3)["workers"] == 3


@pytest.mark.parametrize(("worker_class", "needs"), [("gthread", 1), ("sync", 1), ("gevent", 2), ("asgi", 1)])
def test_worker_classes(worker_class: str, needs: int) -> None:
    """[A4] One variable chooses the class and brings what it needs."""
    assert configuration(gunicorn_worker_class=worker_class)["worker_class"] == worker_class
    requirements = value("gunicorn", "gunicorn_requirements", gunicorn_worker_class=worker_class)
    assert len(requirements) == needs and requirements[0].startswith("gunicorn==")
    assert (worker_class == "gevent") == any(name.startswith("gevent==") for name in requirements)


def test_runtime_files_cover_every_unit() -> None:
    """[S1 A15] Whatever a running process would not notice asks for a new release: of what the role writes, all but who starts it."""
    written = {file["path"] for file in value("gunicorn", "__gunicorn_files + __gunicorn_process_units", app_processes=PROCESSES)}
    starters = {f"/etc/systemd/system/demo{kind}" for kind in (".socket", ".service", "-rehearsal@.service")}
    assert set(value("gunicorn", "gunicorn_runtime_files", app_processes=PROCESSES)) == written - starters
    assert value("gunicorn", "gunicorn_runtime_files", app_processes=PROCESSES) == [
        "/etc/demo/gunicorn.conf.py",
        "/etc/demo/gunicorn/slipway_gunicorn.py",
        "/etc/demo/gunicorn/slipway_workers.py",
        "/etc/systemd/system/demo@.service",
        "/etc/systemd/system/demo-beat@.service",
        "/etc/systemd/system/demo-worker@.service",
    ]


#: Boots two workers of the rendered configuration one after the other; what the app was asked, how nice it was, and who was cold.
BOOT = """
import json, os, pathlib, sys, threading, time, types
glogging = types.SimpleNamespace(Logger=object)
sys.modules["gunicorn"] = types.SimpleNamespace(glogging=glogging)
scope, asked, said, cold = {}, [], [], []
exec(sys.argv[1], scope)
folder = pathlib.Path(os.environ["RUNTIME_DIRECTORY"])
before = os.getpriority(os.PRIO_PROCESS, 0)
cfg = types.SimpleNamespace(workers=2)
log = types.SimpleNamespace(warning=lambda text, *words: said.append(text % words))

def app(environ, start_response):
    nice = os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) - before
    keys = ("REQUEST_METHOD", "PATH_INFO", "HTTP_HOST", "HTTP_X_FORWARDED_PROTO")
    asked.append([*(environ[key] for key in keys), nice])
    if environ["PATH_INFO"] == "/slow":
        time.sleep(60)
    if environ["PATH_INFO"] == "/broken":
        raise RuntimeError("no database")
    start_response("200 OK", [])(b"")
    return [b"x"]

scope["on_starting"](None)
cold.append((folder / "cold").exists())
for pid, wsgi in ((7, app), (8, app if len(sys.argv) < 3 else None)):
    scope["post_worker_init"](types.SimpleNamespace(pid=pid, wsgi=wsgi, cfg=cfg, log=log))
    cold.append((folder / "cold").exists())
print(json.dumps({"asked": asked, "said": said, "cold": cold, "nice": os.getpriority(os.PRIO_PROCESS, 0) - before}), flush=True)
os._exit(0)
"""


def boot(folder: Path, *words: str, **scenario: Any) -> dict[str, Any]:
    (folder / "etc").mkdir()
    text = install(folder / "etc", **scenario)
    environment = {"SLIPWAY_WSGI": "blog:app", "RUNTIME_DIRECTORY": str(folder)}
    result = subprocess.run(
        [sys.executable, "-c", BOOT, text, *words], env=environment, text=True, capture_output=True, check=True, timeout=30
    )
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_each_worker_asks_itself_first(tmp_path: Path) -> None:
    """[S1] As a visitor through nginx would, and behind the visitors; the last one that answers takes the mark away."""
    found = boot(tmp_path, app_health_ready="/healthz/ready")
    paths = [["GET", "/healthz/ready", "demo.slipway.test", "https", 10], ["GET", "/", "demo.slipway.test", "https", 10]]
    assert found == {"asked": 2 * paths, "said": [], "cold": [True, True, False], "nice": 0}


def test_an_app_that_cannot_answer_yet_starts_all_the_same(tmp_path: Path) -> None:
    """[A14] The database may come later: that is said, and waited for only so long."""
    found = boot(tmp_path, gunicorn_warm_up_paths=["/broken", "/slow", "/never"], gunicorn_warm_up_timeout=1)
    assert [entry[1] for entry in found["asked"]] == 2 * ["/broken", "/slow"]
    assert found["said"] == 2 * ["warm-up: GET /broken: RuntimeError('no database')"]
    assert found["cold"] == [True, True, False]


def test_without_an_app_to_ask_a_worker_counts_as_warm(tmp_path: Path) -> None:
    """[A4] An ASGI worker keeps its app elsewhere."""
    found = boot(tmp_path, "asgi", gunicorn_warm_up_paths=["/"])
    assert (len(found["asked"]), found["cold"]) == (1, [True, True, False])


#: Logs one request with the rendered configuration's logger.
LOG = """
import datetime, json, sys, types
class Base:
    def __init__(self, accesslog):
        self.cfg = types.SimpleNamespace(accesslog=accesslog)
        self.access_log = types.SimpleNamespace(info=lambda text, *words: print(text % words))
sys.modules["gunicorn"] = types.SimpleNamespace(glogging=types.SimpleNamespace(Logger=Base))
scope = {}
exec(sys.argv[1], scope)
environ = {"PATH_INFO": json.loads(sys.argv[2]), "REQUEST_METHOD": "GET", "HTTP_X_REQUEST_ID": "4f2a", "HTTP_X_FORWARDED_FOR": "192.0.2.7"}
response = types.SimpleNamespace(status=json.loads(sys.argv[3]), sent=12)
scope["logger_class"](sys.argv[4] == "on" and "-").access(response, None, environ, datetime.timedelta(seconds=1.5))
"""


def logged(installed: Path, path: str, status: Any = "200 OK", log: str = "on") -> str:
    text = (installed / "gunicorn.conf.py").read_text()
    command = [sys.executable, "-c", LOG, text, json.dumps(path), json.dumps(status), log]
    return subprocess.run(command, env={"SLIPWAY_WSGI": "blog:app"}, text=True, capture_output=True, check=True).stdout


def test_a_request_is_one_line_of_json(installed: Path) -> None:
    """[K1] As the burn-in finds it; whatever a visitor asks for stays inside its string."""
    line = logged(installed, '/a "quoted"\n%s\u00ff')
    assert line.startswith('{"logger":"gunicorn.access"') and line.count("\n") == 1
    assert json.loads(line) == {
        **{"logger": "gunicorn.access", "request_id": "4f2a", "client": "192.0.2.7", "method": "GET", "path": '/a "quoted"\n%s\u00ff'},
        **{"status": 200, "bytes": 12, "duration_us": 1_500_000},
    }


@pytest.mark.parametrize(("status", "number"), [(404, 404), ("500 Internal Server Error", 500), (None, 0)])
def test_the_status_is_a_number(installed: Path, status: Any, number: int) -> None:
    """[K1] However the worker's class keeps it."""
    assert json.loads(logged(installed, "/", status))["status"] == number


def test_health_checks_are_not_logged(installed: Path) -> None:
    """[K1] Nor is anything where the log is off."""
    assert [logged(installed, *words) for words in (("/healthz/live",), ("/healthz/ready",), ("/", "200 OK", "off"))] == ["", "", ""]
