"""Gunicorn and its unit."""

from __future__ import annotations

import json
from typing import Any

from helpers import App, journal, live_unit, must, through_socket, until


def running_environment(host: Any, app: App) -> dict[str, str]:
    """The environment of the running master."""
    pid = host.service(live_unit(host, app)).systemd_properties["MainPID"]
    text = must(host, f"cat /proc/{pid}/environ")
    return dict(item.split("=", 1) for item in text.split("\0") if "=" in item)


def test_the_live_release_runs_and_only_it(host: Any, app: App) -> None:
    """[S1 A9] One instance: the one that `current` names."""
    running = must(host, f"systemctl list-units --plain --no-legend --state=active '{app.name}@*.service'").split("\n")
    assert [line.split()[0] for line in running if line] == [live_unit(host, app)], journal(host, f"{app.name}@*")


def test_runs_as_the_app_without_a_shell(host: Any, app: App) -> None:
    """[A5] Every process belongs to the app's user, which nobody can log in as."""
    owners = set(must(host, "ps -C gunicorn -o user=").split())
    assert owners == {app.name}, owners
    user = host.user(app.name)
    assert user.shell == "/usr/sbin/nologin" and user.uid < 1000
    assert must(host, f"passwd --status {app.name}").split()[1] == "L"


def test_not_the_development_server(host: Any, app: App) -> None:
    """[A1] Gunicorn from the release's own environment, with debug off."""
    master = host.service(live_unit(host, app)).systemd_properties["MainPID"]
    release = live_unit(host, app).split("@")[1].removesuffix(".service")
    assert f"{app.root}/releases/{release}/.venv/bin/gunicorn" in must(host, f"cat /proc/{master}/cmdline")
    assert running_environment(host, app)["FLASK_DEBUG"] == "0"


def test_entry_point(host: Any, app: App) -> None:
    """[A6] Debian 12 runs `module:callable`, Debian 13 `module:factory()`."""
    wanted = "logbook.wsgi:app" if "bookworm" in app.domain else "logbook:create_app()"
    assert running_environment(host, app)["SLIPWAY_WSGI"] == wanted


def test_workers_fit_the_host(host: Any, app: App) -> None:
    """[A2 A3 A4] 2 x cores + 1 threaded workers, unless memory allows fewer."""
    cores = int(must(host, "nproc"))
    memory = int(must(host, "awk '/MemTotal/ {print $2}' /proc/meminfo")) / 1024
    expected = max(1, min(2 * cores + 1, int(memory * 0.5 / 128)))
    master = host.service(live_unit(host, app)).systemd_properties["MainPID"]
    workers = must(host, f"ps --ppid {master} -o pid=").split()
    assert len(workers) == expected, must(host, f"ps --ppid {master} -f")
    assert "Using worker: slipway_threads.ThreadWorker" in must(host, f"journalctl -u {live_unit(host, app)} --no-pager")


def test_unit_survives_and_drains(host: Any, app: App) -> None:
    """[A7 A9] Restarted whenever it ends, stopped only after its requests had time to finish, bounded in resources."""
    properties = host.service(live_unit(host, app)).systemd_properties
    assert properties["Restart"] == "always" and properties["StartLimitIntervalUSec"] == "0"
    assert properties["KillMode"] == "mixed" and properties["TimeoutStopUSec"] == "40s"
    assert int(properties["LimitNOFILE"]) == 65536 and int(properties["TasksMax"]) == 512
    config = must(host, f"cat {app.config}/gunicorn.conf.py")
    assert 'setting("GUNICORN_TIMEOUT", 30)' in config and 'setting("GUNICORN_GRACEFUL_TIMEOUT", 30)' in config


def test_sandbox(host: Any, app: App) -> None:
    """[A9] The app writes below shared/ and nowhere else: not into its own code, nor into /etc."""
    properties = host.service(live_unit(host, app)).systemd_properties
    assert (
        properties["NoNewPrivileges"] == "yes"
        and properties["ProtectSystem"] == "strict"
        and properties.get("CapabilityBoundingSet", "") == ""
    )
    pid = properties["MainPID"]

    def may_write(folder: str) -> bool:
        probe = f"nsenter --target {pid} --mount setpriv --reuid={app.name} --regid={app.name} --clear-groups touch {folder}/.probe"
        return bool(host.run(probe).rc == 0)

    assert may_write(app.shared)
    must(host, f"rm {app.shared}/.probe")
    for folder in (f"{app.current}/", f"{app.current}/.venv", f"{app.root}/cache", app.config, "/etc", "/usr/local", "/root"):
        assert not may_write(folder), f"the app may write into {folder}"


def test_comes_back_when_killed(host: Any, app: App) -> None:
    """[A9 A14] A killed master is replaced, and requests wait in the socket meanwhile instead of being refused."""
    unit = live_unit(host, app)
    before = host.service(unit).systemd_properties["MainPID"]
    must(host, f"systemctl kill --signal=KILL {unit}")
    status, body = through_socket(host, app, "/healthz/ready")
    assert status == 200, f"{status} {body}\n{journal(host, unit)}"
    assert host.service(unit).systemd_properties["MainPID"] != before


def test_boot_brings_the_live_release(host: Any, app: App) -> None:
    """[A9 S1] What boot starts is the socket and the app as a whole, and those start the live release."""
    unit = live_unit(host, app)
    assert host.service(f"{app.name}.service").is_enabled
    must(host, f"systemctl stop {app.name}.socket {app.name}.service '{app.name}@*.service'")
    assert not host.service(unit).is_running
    must(host, f"systemctl start {app.name}.socket {app.name}.service")
    status, body = through_socket(host, app, "/healthz/ready")
    assert status == 200, f"{status} {body}\n{journal(host, f'{app.name}*')}"
    assert host.service(unit).is_running


def test_dependencies_are_the_pinned_ones(host: Any, app: App) -> None:
    """[A10] An environment of the release's own, holding exactly the versions the app's lock names, compiled."""
    names = "import importlib.metadata as m; print(*sorted(d.name.lower().replace('_', '-') + '==' + d.version for d in m.distributions()))"
    installed = must(host, f'{app.current}/.venv/bin/python -c "{names}"').split()
    # A project with a build system is installed where it is; its own version stands in its pyproject.toml.
    installed = [name for name in installed if not name.startswith("logbook==")]
    locked = must(host, f"grep -oE '^[a-zA-Z0-9_.-]+==[^ ;]+' {app.current}/requirements.txt").lower().replace("_", "-").split()
    assert installed and set(installed) <= set(locked), set(installed) - set(locked)
    assert must(host, f"find {app.current}/.venv/ -path '*/flask/__pycache__/app.*.pyc'").strip()


def test_secrets_stay_where_they_belong(host: Any, app: App) -> None:
    """[A11] The secret is in one file of root's and in the app's memory: not in units, arguments, journal or the release."""
    file = host.file(f"{app.config}/secrets")
    assert (file.user, oct(file.mode)) == ("root", "0o600")
    assert running_environment(host, app)["SECRET_KEY"].startswith("canary-")
    for command in (
        f"systemctl show '{app.name}*' --no-pager",
        "ps -eo args",
        "journalctl --no-pager",
        f"grep -rIE 'canary-(3f1c|7a5b)' {app.root} /etc/systemd /var/log --exclude-dir=source || true",
    ):
        said = must(host, f"{{ {command}; }} | grep -v 'grep\\|sh -c' || true")
        # The key, and the password that the smoke test logs in with.
        assert "canary-3f1c" not in said and "canary-7a5b" not in said, command


def test_files_of_the_app(host: Any, app: App) -> None:
    """[A11] app_files are readable for the app and for nobody else."""
    file = host.file(f"{app.config}/files/banner.txt")
    assert (file.user, file.group, oct(file.mode)) == ("root", app.name, "0o640")
    assert file.content_string == "canary-4d2e in a file of the app\n"
    assert host.run(f"runuser -u nobody -- cat {app.config}/files/banner.txt").rc != 0


def test_access_log_is_json(host: Any, app: App) -> None:
    """[K1] One JSON object per request, with the request id; health checks are not logged."""
    through_socket(host, app, "/healthz/live")
    through_socket(host, app, "/version")

    # Gunicorn writes its line after the answer.
    def access() -> list[dict[str, Any]]:
        lines = must(host, f"journalctl --sync; journalctl -u {live_unit(host, app)} -o cat --no-pager -n 200").splitlines()
        return [json.loads(line) for line in lines if line.startswith('{"logger":"gunicorn.access"')]

    assert until(lambda: any(entry["path"] == "/version" and entry["status"] == 200 for entry in access())), access()[-5:]
    assert not any(entry["path"].startswith("/healthz") for entry in access())
