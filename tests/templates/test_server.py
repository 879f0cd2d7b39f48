"""The units and Gunicorn's configuration, as text."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from render import ROOT, model_of, render, value

UNITS = "etc/systemd/system"
#: Units that a release brings itself.
PART_OF_A_RELEASE = ("app-process@.service.j2", "app-timer.service.j2", "app-timer.timer.j2")
TIMERS = {"nightly": {"command": "flask send --to 'a b'", "schedule": "Mon..Fri 03:30", "catch_up": True}}
PROCESSES = {"worker": {"command": "celery -A blog worker --hostname=%h", "stop_timeout": 300}, "beat": {"command": "celery -A blog beat"}}


def lines(template: str, **scenario: Any) -> list[str]:
    folder = "etc/app/units" if template in PART_OF_A_RELEASE else UNITS
    return render("server", f"{folder}/{template}", **scenario).splitlines()


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the role makes of /etc/demo: Gunicorn's configuration, and the program that it imports."""
    folder = tmp_path_factory.mktemp("demo")
    install(folder)
    return folder


def install(folder: Path, **scenario: Any) -> str:
    """Write what the role writes below the app's configuration; returns the text of gunicorn.conf.py."""
    for file in value("server", "__server_files", app_config_dir=str(folder), **scenario):
        path = Path(file["path"])
        if path.is_relative_to(folder):
            path.parent.mkdir(exist_ok=True)
            path.write_text(file["content"])
    return (folder / "gunicorn.conf.py").read_text()


def configuration(environment: dict[str, str] | None = None, version: int = 27, **scenario: Any) -> dict[str, Any]:
    """What Gunicorn would read, in a process of its own: the file runs with a stand-in for Gunicorn's logger."""
    with tempfile.TemporaryDirectory() as folder:
        return read(install(Path(folder), **scenario), environment, version)


def read(text: str, environment: dict[str, str] | None, version: int = 27) -> dict[str, Any]:
    program = (
        "import json,sys,types;g=types.ModuleType('gunicorn')\n"
        f"g.glogging,g.util,g.version_info=types.SimpleNamespace(Logger=object),types.SimpleNamespace(),({version}, 0, 1)\n"
        "sys.modules['gunicorn']=g\n"
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
    unit = lines("app@.service.j2", server_graceful_timeout=50)
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


def test_a_rehearsal_is_told_that_it_is_one() -> None:
    """[F6] By a file that the deploy writes; of two files systemd takes the later one's word, and that is the app's."""
    unit = lines("app-rehearsal@.service.j2")
    told = unit.index("EnvironmentFile=-/etc/demo/rehearsal")
    assert told < unit.index("EnvironmentFile=/srv/demo/releases/%i/environment") < unit.index("EnvironmentFile=-/etc/demo/secrets")
    assert "rehearsal" not in " ".join(line for line in lines("app@.service.j2") if line.startswith("EnvironmentFile"))


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
    assert "MemoryMax=512M" in lines(template, item={"key": "worker", "value": PROCESSES["worker"]}, server_memory_max="512M")


def test_boot_starts_the_live_release() -> None:
    """[A9] It follows `current`."""
    starts = [line for line in lines("app.service.j2", app_processes=PROCESSES) if line.startswith("ExecStart=")]
    assert all(line.startswith("ExecStart=-/bin/sh -c ") for line in starts)
    assert "exec systemctl start --no-block" in starts[0] and "readlink /srv/demo/current" in starts[0] and len(starts) == 2


@pytest.mark.parametrize(
    ("brings", "started"),
    [
        (["demo-mailer@.service", "demo-nightly.service", "demo-nightly.timer"], ["demo-mailer"]),
        ([], []),
        # Built before releases had their own: what the inventory says.
        (None, ["demo-worker", "demo-beat"]),
    ],
)
def test_boot_starts_the_processes_that_the_live_release_has(tmp_path: Path, brings: list[str] | None, started: list[str]) -> None:
    """[A15] And no timer's job; the shell of the unit, run with a systemctl that says what it is told."""
    release = tmp_path / "releases/20261120T072201-4f2a9c10"
    release.mkdir(parents=True)
    (tmp_path / "current").symlink_to("releases/20261120T072201-4f2a9c10")
    if brings is not None:
        (release / ".units").mkdir()
    for name in brings or []:
        (release / ".units" / name).touch()
    (tmp_path / "systemctl").write_text('#!/bin/sh\necho "$3"\n')
    (tmp_path / "systemctl").chmod(0o755)
    script = value("server", "__server_start_processes", app_processes=PROCESSES, app_current=str(tmp_path / "current"))
    said = subprocess.run(
        ["/bin/sh", "-c", script], env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, text=True, capture_output=True, check=True, cwd="/"
    ).stdout
    assert said.split() == [f"{name}@{release.name}.service" for name in started]


def test_process_command_is_kept_literal() -> None:
    """[A15] [F8] No shell reads it, and systemd expands nothing: quotes are all there is."""
    unit = lines(
        "app-process@.service.j2", item={"key": "worker", "value": {"command": """run --at %h '$X' "a b" """, "stop_timeout": 300}}
    )
    assert 'ExecStart=/usr/bin/env -- "run" "--at" "%%h" "$$X" "a b"' in unit
    assert "TimeoutStopSec=300" in unit


def units_of_the_next_release(**scenario: Any) -> dict[str, str]:
    """Name to text, as the role writes them for the build."""
    return {Path(file["path"]).name: file["content"] for file in value("server", "__server_release_units", **scenario)}


def test_the_units_of_processes_and_timers_are_left_for_the_release() -> None:
    """[A15] [F6] systemd gets them from the release; the mark tells an app's from another's."""
    found = units_of_the_next_release(app_processes=PROCESSES, app_timers=TIMERS)
    assert set(found) == {"demo-worker@.service", "demo-beat@.service", "demo-nightly.service", "demo-nightly.timer"}
    assert all("# slipway:app demo\n" in text for text in found.values())


def test_an_app_that_is_removed_takes_its_units_and_no_others() -> None:
    """[F2] The units of demo-shop, which begin alike, stay."""
    (find,) = (task for task in yaml.safe_load((ROOT / "roles/server/tasks/remove.yml").read_text()) if "ansible.builtin.find" in task)
    wanted = find["ansible.builtin.find"]["contains"]
    for text in units_of_the_next_release(app_processes=PROCESSES, app_timers=TIMERS).values():
        lines_of = text.splitlines(keepends=True)
        assert any(re.match(wanted.replace("{{ app.name }}", "demo"), one) for one in lines_of)
        assert not any(re.match(wanted.replace("{{ app.name }}", "demo"), one.replace("app demo", "app demo-shop")) for one in lines_of)


def test_a_timer_runs_a_command_of_the_live_release() -> None:
    """[F6] As the app, in its sandbox, under its name in the journal, to its end in the release in which it began."""
    found = units_of_the_next_release(app_timers=TIMERS)
    timer, service = (found[f"demo-nightly.{kind}"].splitlines() for kind in ("timer", "service"))
    assert {"OnCalendar=Mon..Fri 03:30", "Persistent=yes"} <= {*timer}
    wanted = {"Type=oneshot", "User=demo", "WorkingDirectory=/srv/demo/current", "EnvironmentFile=/srv/demo/current/environment"}
    wanted |= {"EnvironmentFile=-/etc/demo/secrets", "SyslogIdentifier=demo-nightly", "TimeoutStartSec=3600", "ProtectSystem=strict"}
    assert wanted <= {*service} and not [line for line in service if "%i" in line]
    (start,) = (line for line in service if line.startswith("ExecStart="))
    assert start.startswith('ExecStart=/bin/sh -c "PATH=') and start.endswith('" demo "flask" "send" "--to" "a b"')


OPEN = {
    "sendmail": ("NoNewPrivileges=no", "ReadWritePaths=/srv/demo/shared -/var/log/demo -/var/spool/postfix/maildrop"),
    "netlink": ("RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK",),
    "device:/dev/video0": ("DeviceAllow=/dev/video0 rw",),
    "jit": ("# MemoryDenyWriteExecute= is left out: app_sandbox_allow: jit",),
    "folder:/mnt/photos": ("ReadWritePaths=/srv/demo/shared -/var/log/demo /mnt/photos",),
}


@pytest.mark.parametrize("opening", OPEN)
@pytest.mark.parametrize("template", ["app@.service.j2", "app-rehearsal@.service.j2", "app-process@.service.j2", "app-timer.service.j2"])
def test_an_opening_of_the_sandbox_changes_what_it_must(template: str, opening: str) -> None:
    """[F6] In every unit that runs the app's code, and nothing else."""
    item = {"key": "x", "value": {"command": "x", "schedule": "daily", "catch_up": False, "timeout": 5}}
    plain, opened = {*lines(template, item=item)}, {*lines(template, item=item, app_sandbox_allow=[opening])}
    for expected in OPEN[opening]:
        assert any(line.startswith(expected) for line in opened - plain), opened - plain
    gone = {line.partition("=")[0] for line in plain - opened if not line.startswith("#")} - {line.partition("=")[0] for line in opened}
    filters = {"SystemCallFilter", "SystemCallArchitectures", "SystemCallErrorNumber", "RestrictAddressFamilies", "RestrictNamespaces"}
    filters |= {"RestrictRealtime", "RestrictSUIDSGID", "LockPersonality", "PrivateDevices", "ProtectKernelTunables"}
    filters |= {"ProtectKernelModules", "ProtectKernelLogs", "ProtectClock", "ProtectHostname", "MemoryDenyWriteExecute"}
    # systemd 252 turns NoNewPrivileges on with any of these, in a service with User=.
    # A group that a mail program takes has to be there.
    expected_gone = {"sendmail": filters | {"PrivateUsers"}, "device:/dev/video0": {"PrivateDevices"}, "jit": {"MemoryDenyWriteExecute"}}
    assert gone == expected_gone.get(opening, set())


OURS = "slipway_threads.ThreadWorker"


@pytest.mark.parametrize(
    ("named", "version", "found"),
    [
        ("auto", 27, (OURS, 1000)),
        ("auto", 26, (OURS, 1000)),
        ("auto", 25, ("gthread", 4)),
        ("auto", 28, ("gthread", 4)),
        ("gthread", 27, ("gthread", 4)),
        ("gevent", 28, ("gevent", 1000)),
    ],
)
def test_a_worker_takes_no_connection_that_has_to_wait(named: str, version: int, found: tuple[str, int]) -> None:
    """[A4] Ours with the Gunicorn that it was tested with; with another, as many connections as threads."""
    read = configuration(version=version, server_worker_class=named)
    assert (read["worker_class"], read["worker_connections"]) == found
    assert configuration({"GUNICORN_WORKER_CLASS": named}, version, server_worker_class="sync")["worker_class"] == found[0]


def test_configuration_defaults() -> None:
    """[A2 A7 A8] Gunicorn's values as the project promises them."""
    found = configuration()
    expected = {"wsgi_app": "blog:app", "worker_class": OURS, "threads": 4, "timeout": 30, "graceful_timeout": 30, "keepalive": 0}
    assert {key: found[key] for key in expected} == expected
    assert (found["preload_app"], found["control_socket_disable"], found["accesslog"], found["bind"]) == (True, True, "-", [])


def test_environment_overrides() -> None:
    """[A2] Each setting by an environment variable, in its own type."""
    found = configuration({"WEB_CONCURRENCY": "7", "GUNICORN_THREADS": "2", "GUNICORN_TIMEOUT": "90", "GUNICORN_WORKER_CLASS": "gthread"})
    assert (found["workers"], found["threads"], found["timeout"], found["worker_class"]) == (7, 2, 90, "gthread")


def test_workers_are_bounded_by_memory() -> None:
    """[A3] However many cores: never more workers than the memory holds, and always one."""
    assert configuration(server_worker_memory=10_000_000)["workers"] == 1
    assert configuration(server_workers=3)["workers"] == 3


@pytest.mark.parametrize(("worker_class", "needs"), [("auto", 1), ("gthread", 1), ("sync", 1), ("gevent", 2), ("asgi", 1)])
def test_worker_classes(worker_class: str, needs: int) -> None:
    """[A4] [K6] One variable chooses the class and brings what it needs; what gevent's worker imports besides, Gunicorn's extra names."""
    found = configuration(server_worker_class=worker_class)
    assert found["worker_class"] == (OURS if worker_class == "auto" else worker_class)
    assert found["threads"] == (1 if worker_class == "sync" else 4), "Gunicorn makes gthread of sync with threads"
    requirements = value("release", "release_requirements", server_worker_class=worker_class)
    assert len(requirements) == needs and requirements[0].startswith("gunicorn[gevent]==" if worker_class == "gevent" else "gunicorn==")
    assert (worker_class == "gevent") == any(name.startswith("gevent==") for name in requirements)


def test_a_worker_class_of_the_environment_brings_what_it_needs() -> None:
    """[K1] [K6] The process reads GUNICORN_WORKER_CLASS, whatever the variable says."""
    requirements = value("release", "release_requirements", app_env={"GUNICORN_WORKER_CLASS": "gevent"})
    assert requirements[0].startswith("gunicorn[gevent]==")


def test_runtime_files_cover_every_unit() -> None:
    """[S1 A15] Whatever a running process would not notice asks for a new release: of what the role writes, all but who starts it."""
    written = {file["path"] for file in value("server", "__server_files", app_processes=PROCESSES)} | {"/etc/demo/units"}
    units = value("server", "__server_release_units", app_processes=PROCESSES, app_timers=TIMERS)
    assert {str(Path(file["path"]).parent) for file in units} == {"/etc/demo/units"}
    starters = {f"/etc/systemd/system/demo{kind}" for kind in (".socket", ".service", "-rehearsal@.service", "-rebuild.service")}
    starters.add("/etc/demo/server.json")
    assert set(model_of(app_processes=PROCESSES)["server"]["runtime_files"]) == written - starters
    assert model_of(app_processes=PROCESSES)["server"]["runtime_files"] == [
        "/etc/demo/gunicorn.conf.py",
        *(
            f"/etc/demo/server/slipway_{name}.py"
            for name in ("workers", "warmup", "access", "drain", "threads", "gunicorn", "entry", "server")
        ),
        "/etc/systemd/system/demo@.service",
        "/etc/demo/units",
    ]


#: Boots two workers of the rendered configuration one after the other; what the app was asked, how nice it was, and who was cold.
BOOT = """
import gc, json, os, pathlib, sys, threading, time, types
glogging = types.SimpleNamespace(Logger=object)
sys.modules["gunicorn"] = types.SimpleNamespace(glogging=glogging, util=types.SimpleNamespace(), version_info=(27, 0, 1))
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
scope["when_ready"](None)
for pid, wsgi in ((7, app), (8, app if len(sys.argv) < 3 else None)):
    scope["post_worker_init"](types.SimpleNamespace(pid=pid, wsgi=wsgi, cfg=cfg, log=log))
    cold.append((folder / "cold").exists())
print(json.dumps({"asked": asked, "said": said, "cold": cold, "nice": os.getpriority(os.PRIO_PROCESS, 0) - before,
                  "shared": gc.get_freeze_count() > 1000}), flush=True)
os._exit(0)
"""


def boot(folder: Path, *words: str, **scenario: Any) -> dict[str, Any]:
    (folder / "etc").mkdir()
    text = install(folder / "etc", **scenario)
    environment = {"SLIPWAY_WSGI": "blog:app", "RUNTIME_DIRECTORY": str(folder), "SCRIPT_NAME": scenario.get("app_url_prefix", "")}
    result = subprocess.run(
        [sys.executable, "-c", BOOT, text, *words], env=environment, text=True, capture_output=True, check=True, timeout=120
    )
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_each_worker_asks_itself_first(tmp_path: Path) -> None:
    """[S1] As a visitor through nginx would, and behind the visitors; the last one that answers takes the mark away. What the master has
    loaded, no worker's collector writes to."""
    found = boot(tmp_path, app_health_ready="/healthz/ready")
    # 19 is the most there is.
    behind = min(10, 19 - os.getpriority(os.PRIO_PROCESS, 0))
    paths = [["GET", "/healthz/ready", "demo.slipway.test", "https", behind], ["GET", "/", "demo.slipway.test", "https", behind]]
    assert found == {"asked": 2 * paths, "said": [], "cold": [True, True, False], "nice": 0, "shared": True}


def test_a_worker_below_a_path_asks_for_the_apps_own(tmp_path: Path) -> None:
    """[S1] field case 28: SCRIPT_NAME is taken off, as Gunicorn does for a visitor."""
    found = boot(tmp_path, app_url_prefix="/blog", app_health_ready="/up")
    assert [entry[1] for entry in found["asked"]] == 2 * ["/up", "/"]
    assert "quiet=['/blog/healthz/live', '/blog/livez', '/blog/health/live', '/blog/up']" in render(
        "server", "etc/app/gunicorn.conf.py.j2", app_url_prefix="/blog", app_health_ready="/up"
    )


def test_an_app_that_cannot_answer_yet_starts_all_the_same(tmp_path: Path) -> None:
    """[A14] The database may come later: that is said, and waited for only so long."""
    found = boot(tmp_path, server_warm_up_paths=["/broken", "/slow", "/never"], server_warm_up_timeout=4)
    assert [entry[1] for entry in found["asked"]] == 2 * ["/broken", "/slow"]
    assert found["said"] == 2 * ["warm-up: GET /broken: RuntimeError('no database')"]
    assert found["cold"] == [True, True, False]


def test_without_an_app_to_ask_a_worker_counts_as_warm(tmp_path: Path) -> None:
    """[A4] An ASGI worker keeps its app elsewhere."""
    found = boot(tmp_path, "asgi", server_warm_up_paths=["/"])
    assert (len(found["asked"]), found["cold"]) == (1, [True, True, False])


#: Logs one request with the rendered configuration's logger.
LOG = """
import datetime, json, sys, types
class Base:
    def __init__(self, accesslog):
        self.cfg = types.SimpleNamespace(accesslog=accesslog)
        self.access_log = types.SimpleNamespace(info=lambda text, *words: print(text % words))
glogging = types.SimpleNamespace(Logger=Base)
sys.modules["gunicorn"] = types.SimpleNamespace(glogging=glogging, util=types.SimpleNamespace(), version_info=(27, 0, 1))
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


@pytest.mark.parametrize("unit", ["app@", "app-process@", "app-timer"])
@pytest.mark.parametrize(
    ("chosen", "waits"),
    [
        (["postgres", "redis"], " postgresql.service redis-server@demo.service"),
        (["postgres"], " postgresql.service"),
        (["redis"], " redis-server@demo.service"),
        ([], ""),
    ],
)
def test_a_unit_waits_for_the_services_that_the_app_uses(unit: str, chosen: list[str], waits: str) -> None:
    """[F6] At boot; what is left out does not exist."""
    item = {"key": "worker", "value": {"command": "celery", "timeout": 60}}
    (after,) = [line for line in lines(f"{unit}.service.j2", app_services=chosen, item=item) if line.startswith("After=")]
    assert after.endswith(f"network.target{waits}")
