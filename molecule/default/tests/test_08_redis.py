"""Redis: the app's own instance, on a socket of its group, bounded in memory."""

from __future__ import annotations

from typing import Any

import pytest
from helpers import App, journal, must


def cli(app: App, *words: str, user: str = "") -> str:
    return f"runuser -u {user or app.name} -- redis-cli -s {app.redis_socket} {' '.join(words)}"


@pytest.fixture
def unit(app: App) -> str:
    return f"redis-server@{app.name}.service"


def test_redis_listens_on_no_tcp_port(host: Any, app: App) -> None:
    """[D4 K5] Neither the app's instance nor the packaged one, which is off for good."""
    listening = must(host, "ss -ltnH")
    assert ":6379 " not in listening, listening
    assert must(host, cli(app, "config", "get", "port")).split() == ["port", "0"]
    packaged = host.service("redis-server")
    assert not packaged.is_running and not packaged.is_enabled


def test_the_app_reaches_its_redis(host: Any, app: App, unit: str) -> None:
    """[D4 D5] With the app's rights, over the socket."""
    result = host.run(cli(app, "ping"))
    assert result.stdout.strip() == "PONG", f"{result.stdout}{result.stderr}\n{journal(host, unit)}"


def test_nobody_else_opens_the_socket(host: Any, app: App) -> None:
    """[D4 K5] The folder and the socket belong to the app's group; the proxy has no business there."""
    for user in ("www-data", "nobody"):
        result = host.run(cli(app, "ping", user=user))
        assert "PONG" not in result.stdout and "Permission denied" in result.stdout + result.stderr, f"{user}: {result}"
    socket = host.file(app.redis_socket)
    assert (socket.user, socket.group, oct(socket.mode)) == ("redis", app.name, "0o660")
    folder = host.file(app.redis_socket.rpartition("/")[0])
    assert (folder.group, oct(folder.mode & 0o777)) == (app.name, "0o750")


def test_memory_is_bounded_and_nothing_is_dropped(host: Any, app: App) -> None:
    """[D4] A limit, and the policy for sessions and jobs: a full Redis refuses what is new, and loses nothing."""
    limit = int(must(host, cli(app, "config", "get", "maxmemory")).split()[1])
    assert limit == 128 * 1024 * 1024
    assert must(host, cli(app, "config", "get", "maxmemory-policy")).split()[1] == "noeviction"


def test_sessions_survive_a_restart(host: Any, app: App, unit: str) -> None:
    """[D4] What was written a second ago is there after Redis was killed."""
    assert must(host, cli(app, "set", "slipway_probe", "kept", "ex", "600")).strip() == "OK"
    before = must(host, f"systemctl show -p MainPID --value {unit}").strip()
    must(host, f"sleep 1.2; systemctl kill --signal=KILL {unit}")
    answers = f"{cli(app, 'ping')} 2>/dev/null | grep -q PONG"
    must(host, f"for i in 1 2 3 4 5 6 7 8 9 10; do sleep 0.5; {answers} && exit 0; done; exit 1")
    after = must(host, f"systemctl show -p MainPID --value {unit}").strip()
    assert before != after, "Redis was not restarted: the test proved nothing"
    value = must(host, cli(app, "get", "slipway_probe")).strip()
    must(host, cli(app, "del", "slipway_probe"))
    assert value == "kept", journal(host, unit)


def test_redis_comes_back_after_a_reboot(host: Any, app: App, unit: str) -> None:
    """[D4] The instance is enabled; its configuration is ours and not readable by everybody."""
    assert host.service(unit).is_enabled and host.service(unit).is_running
    config = host.file(f"/etc/redis/redis-{app.name}.conf")
    assert config.contains("Ansible managed") and config.contains("# slipway:redis")
    assert (config.user, config.group, oct(config.mode)) == ("root", "redis", "0o640")
