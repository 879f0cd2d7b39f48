"""The sandbox of each unit as systemd has it, and that what runs is in it."""

from __future__ import annotations

from typing import Any

from helpers import App, live_unit, must

#: systemd's figure for each unit, 0 is locked and 10 is open (tests/templates/test_sandbox.py: why nginx is above 2, and the mean).
AT_MOST = {
    **{"nginx.service": 2.2, "fail2ban.service": 1.9, "redis-server@demo.service": 0.3},
    **{"demo.service": 0.5, "demo-rebuild.service": 2.3, "demo-tls.service": 1.6, "demo-backup.service": 1.7},
}


def cluster(host: Any) -> str:
    version, name = must(host, "pg_lsclusters --no-header").split()[:2]
    return f"postgresql@{version}-{name}.service"


def exposure(host: Any, unit: str) -> float:
    said = must(host, f"systemd-analyze security --no-pager '{unit}'").strip().splitlines()[-1]
    return float(said.split(": ")[1].split()[0])


def test_no_unit_is_more_exposed_than_it_must_be(host: Any, app: App) -> None:
    """[A9] What systemd has loaded, whoever else wrote a drop-in."""
    units = {**AT_MOST, live_unit(host, app): 1.2, cluster(host): 1.5}
    found = {unit: exposure(host, unit) for unit in units}
    assert not {unit: figure for unit, figure in found.items() if figure > units[unit]}, found


def test_what_runs_is_in_its_sandbox(host: Any, app: App) -> None:
    """[A9] A drop-in holds from the next start on: each process has started since."""
    for unit in (live_unit(host, app), "nginx.service", cluster(host), "redis-server@demo.service"):
        pid = host.service(unit).systemd_properties["MainPID"]
        assert must(host, f"grep NoNewPrivs /proc/{pid}/status").split()[1] == "1", unit
        # A filter of system calls.
        assert must(host, f"grep '^Seccomp:' /proc/{pid}/status").split()[1] == "2", unit


def test_nginx_keeps_four_rights(host: Any) -> None:
    """[A9] Ports, its workers' user, and its logs."""
    pid = host.service("nginx.service").systemd_properties["MainPID"]
    assert int(must(host, f"grep CapEff /proc/{pid}/status").split()[1], 16) == 1 << 10 | 1 << 7 | 1 << 6 | 1 << 1
    must(host, "systemctl reload nginx")
    must(host, "logrotate --force /etc/logrotate.d/nginx && sleep 1 && test -s /var/log/nginx/demo.access.log.1")
    assert "emerg" not in must(host, "tail -n 50 /var/log/nginx/error.log")


def test_postgresql_has_no_jit_and_no_network(host: Any) -> None:
    """[A9 D1] Machine code made at run time would end its session; on a socket alone there is nobody else to talk to."""
    psql = "setpriv --reuid postgres --regid postgres --init-groups psql -XAtqc"
    assert must(host, f"{psql} 'SHOW jit'").strip() == "off"
    properties = host.service(cluster(host)).systemd_properties
    assert properties["User"] == "postgres" and properties["RestrictAddressFamilies"] == "AF_UNIX"


def test_the_apps_units_are_in_its_slice(host: Any, app: App) -> None:
    """[A9 A4] With the limits of all of them together."""
    for unit in (live_unit(host, app), "redis-server@demo.service"):
        assert host.service(unit).systemd_properties["Slice"] == "slipway-demo.slice", unit
        pid = host.service(unit).systemd_properties["MainPID"]
        assert "slipway-demo.slice" in must(host, f"cat /proc/{pid}/cgroup"), unit
    limits = dict(
        line.split("=", 1) for line in must(host, "systemctl show slipway-demo.slice -p MemoryMax -p TasksMax -p CPUWeight").splitlines()
    )
    memory = int(must(host, "awk '/MemTotal/ {print $2}' /proc/meminfo")) * 1024
    assert 0.7 * memory < int(limits["MemoryMax"]) < 0.9 * memory and limits["TasksMax"].isdigit(), limits


def test_a_command_by_hand_is_in_the_sandbox_too(host: Any, app: App) -> None:
    """[F10 A9] As the service would run it: it reads what the app reads, and writes nowhere else."""
    said = must(host, "slipway demo run -- sh -c 'cat /proc/self/cgroup; grep NoNewPrivs /proc/self/status; printenv SECRET_KEY'")
    assert "slipway-demo.slice" in said and "NoNewPrivs:\t1" in said and "canary-" in said
    assert host.run("slipway demo run -- touch /etc/demo/x").rc != 0
