"""The socket between nginx and Gunicorn."""

from __future__ import annotations

from typing import Any

from helpers import App, must, through_socket


def test_only_the_proxy_may_open_it(host: Any, app: App) -> None:
    """[A5] Gunicorn believes every peer of its socket, so nobody but nginx may be one."""
    file = host.file(app.socket)
    assert (file.is_socket, oct(file.mode), file.group) == (True, "0o660", "www-data"), must(host, f"ls -l {app.socket}")
    assert through_socket(host, app, "/healthz/live")[0] == 200
    status, reason = through_socket(host, app, "/healthz/live", user="nobody")
    assert (status, "PermissionError" in reason) == (0, True), reason


def test_systemd_holds_it(host: Any, app: App) -> None:
    """[S1 A9] The socket outlives every release: it is a unit of its own, up at boot, with a queue for a switch."""
    unit = host.service(f"{app.name}.socket")
    assert unit.is_enabled and unit.is_running, must(host, f"systemctl status {app.name}.socket --no-pager || true")
    assert f"Service={app.name}.service" in must(host, f"systemctl cat {app.name}.socket").splitlines()
    queue = next(line.split()[3] for line in must(host, "ss -lxH").splitlines() if app.socket in line)
    assert int(queue) == 2048, f"backlog {queue}"


def test_nothing_listens_on_tcp(host: Any, app: App) -> None:
    """[A5 K5] Gunicorn is reachable through its socket only."""
    listening = must(host, "ss -Hltnp")
    assert "gunicorn" not in listening and "python" not in listening, listening
