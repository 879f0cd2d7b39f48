#!/usr/bin/env python3
"""What `make bench-http` runs: one app behind each server as Slipway sets it up, and as the guides do (STOCK), in turns. Asserts nothing.

    bench_http.py [--rounds N] [--seconds N] [--servers a,b] [--workloads a,b] [--small] [--keep]

A bare Debian 13 (tools/demo.py) gets bench/app six times by site.yml, each time with another `app_server`. A second container beside it is
STOCK: as many sync workers of Gunicorn, nginx as in Gunicorn's manual, an RSA-2048 certificate; and STOCK gthread, the same with
`--threads 4`. Servers and nginx have core 0, the client core 1. Each run is a row of bench/results/http.csv; medians, ratios to STOCK and
spread are printed. How to read them: bench/README.md.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import NamedTuple

import demo
import yaml
from testhost import CACHE, ROOT, platform

SERVERS = ("gunicorn", "granian", "uwsgi", "waitress", "hypercorn", "uvicorn")
FILES, RESULTS = CACHE / "bench", ROOT / "bench/results/http.csv"
STOCK, STOCK_ADDRESS = "slipway-stock", "10.213.77.20"
#: Threads of Gunicorn's workers there, by the name of the unit.
STOCKS = {"stock": 1, "stock-gthread": 4}
#: The app with its static files. Not in this work tree: what git ignores would stay behind.
APP = Path(tempfile.gettempdir()) / "slipway-bench-app"
#: In the neighbour.
PROGRAM, UPLOAD, ROW = "/var/tmp/bench_load.py", "/var/tmp/upload", "/var/tmp/row"
COLUMNS = ("at", "system", "workload", "connections", "rate", "round", "figure", "value")


class Workload(NamedTuple):
    """What is asked, and how: words for bench_load.py."""

    path: str
    words: tuple[str, ...] = ()
    #: Asked over connections that are kept, for some seconds.
    timed: bool = True


WORKLOADS = {
    "hello": Workload("/hello"),
    "cpu 5 ms": Workload("/cpu"),
    "wait 50 ms": Workload("/wait"),
    "read": Workload("/read"),
    "write": Workload("/write", ("--data", ROW, "--header", "Content-Type: text/plain")),
    "static 1 MB": Workload("/static/megabyte.bin"),
    "handshakes": Workload("/static/dot.txt", ("--handshakes", "1800"), timed=False),
    # Of 20 threads; quick requests meanwhile, 80 a second.
    "busy": Workload("/hello", ("--busy", "18", "--connections", "4", "--rate", "80"), timed=False),
    "slow upload": Workload("/upload", ("--uploads", "8", "--data", UPLOAD, "--limit", "5M"), timed=False),
}
#: The guides' way: https://docs.gunicorn.org/en/stable/deploy.html, with sites as Debian's nginx has them.
SETUP = r"""
set -e
apt-get install -y --no-install-recommends nginx openssl python3-venv curl postgresql >/dev/null 2>&1
useradd --system app
python3 -m venv /srv/venv
/srv/venv/bin/pip install --quiet gunicorn==27.0.1 --requirement /srv/app/requirements.txt
runuser -u postgres -- createuser app && runuser -u postgres -- createdb --owner app app
openssl req -x509 -newkey rsa:2048 -nodes -days 90 -subj /CN=stock -addext "subjectAltName=DNS:*.slipway.test" \
    -out /etc/ssl/stock.pem -keyout /etc/ssl/stock.key 2>/dev/null
chown -R app /srv/app && cd /srv/app
runuser -u app -- env DATABASE_URL=postgresql:///app?host=/run/postgresql /srv/venv/bin/python benchmark.py
for pair in $STOCKS; do unit=${pair%%:*} threads=${pair##*:}
cat >/etc/systemd/system/$unit.service <<UNIT
[Unit]
Requires=$unit.socket
After=network.target
[Service]
Type=notify
User=app
Group=app
RuntimeDirectory=$unit
WorkingDirectory=/srv/app
Environment=DATABASE_URL=postgresql:///app?host=/run/postgresql
ExecStart=/srv/venv/bin/gunicorn --no-control-socket --workers $WORKERS --threads $threads benchmark:app
ExecReload=/bin/kill -s HUP \$MAINPID
KillMode=mixed
TimeoutStopSec=5
PrivateTmp=true
[Install]
WantedBy=multi-user.target
UNIT
cat >/etc/systemd/system/$unit.socket <<UNIT
[Socket]
ListenStream=/run/$unit.sock
SocketUser=www-data
[Install]
WantedBy=sockets.target
UNIT
cat >/etc/nginx/sites-enabled/$unit <<SITE
upstream $unit {
  server unix:/run/$unit.sock fail_timeout=0;
}
server {
  listen 443 ssl;
  server_name $unit.slipway.test;
  ssl_certificate /etc/ssl/stock.pem;
  ssl_certificate_key /etc/ssl/stock.key;
  client_max_body_size 4G;
  keepalive_timeout 5;
  location = /hello {
    access_log off;
    proxy_set_header Host \$http_host;
    proxy_pass http://$unit;
  }
  location /static/ {
    alias /srv/app/static/;
  }
  location / {
    proxy_set_header X-Forwarded-For \$proxy_add_x_forwarded_for;
    proxy_set_header X-Forwarded-Proto \$scheme;
    proxy_set_header Host \$http_host;
    proxy_redirect off;
    proxy_pass http://$unit;
  }
}
SITE
systemctl daemon-reload
systemctl enable --quiet --now $unit.socket
done
rm /etc/nginx/sites-enabled/default
systemctl restart nginx
"""


class System(NamedTuple):
    """One way to serve the app."""

    name: str
    container: str
    address: str
    domain: str
    #: Whose CPU time counts, besides nginx's.
    user: str


def run(*words: str) -> str:
    result = subprocess.run(words, text=True, capture_output=True, check=False)
    if result.returncode != 0:
        raise SystemExit(f"bench_http: `{' '.join(words[:6])} …` exited {result.returncode}:\n{(result.stdout + result.stderr)[-2500:]}")
    return result.stdout


def inside(container: str, script: str) -> str:
    return run("docker", "exec", container, "sh", "-c", script)


def of(server: str) -> System:
    name = f"{server}app"
    return System(server, demo.HOST, demo.ADDRESS, f"{name}.slipway.test", name)


STOCKED = [System(unit.replace("stock", "STOCK").replace("-", " "), STOCK, STOCK_ADDRESS, f"{unit}.slipway.test", "app") for unit in STOCKS]


# --- The machines -----------------------------------------------------------------------------------------------------


def inventory(servers: list[str], small: bool) -> Path:
    """An entry for each server, all of them one machine; the certificates are our own, of the kind that certbot asks for."""
    FILES.mkdir(parents=True, exist_ok=True)
    pem = f"-nodes -days 90 -subj /CN=bench -out {FILES}/cert.pem -keyout {FILES}/key.pem"
    names = ",".join(f"DNS:{of(server).domain}" for server in servers)
    if not (FILES / "cert.pem").exists():
        words = f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -addext subjectAltName={names} {pem}"
        run(*words.split())
    machine = {
        "ansible_host": demo.ADDRESS,
        "ansible_user": "admin",
        "ansible_ssh_private_key_file": str(demo.FILES / "id_ed25519"),
        "ansible_ssh_common_args": f"-o UserKnownHostsFile={demo.FILES / 'known_hosts'}",
    }
    shared = {
        "app_source": {"type": "path", "path": str(APP)},
        "app_migrate_command": "python benchmark.py",
        "app_health_ready": "/hello",
        "app_services": ["postgres"],
        "app_static": {"/static/": "static"},
        "app_secrets": {"SECRET_KEY": "3f1c0a5b7d9e8462a1b3c5d7e9f0123456789abcdef0fedcba98765432101234"},
        "tls_certificate_file": str(FILES / "cert.pem"),
        "tls_key_file": str(FILES / "key.pem"),
        "deploy_burn_in": 0,
        # All visitors are one client.
        "nginx_connection_limit": 0,
        # As if each were alone on the machine: the others have nothing to do.
        "server_memory_share": 0.5 * len(servers),
        # What auto makes of one core and 512 MB: a container sees all of the machine.
        **({"server_workers": 2} if small else {}),
    }
    hosts = {
        f"{server}app": {
            **machine,
            "app_name": f"{server}app",
            "app_domains": [of(server).domain],
            "app_server": server,
            "app_wsgi": "benchmark:asgi" if server == "uvicorn" else "benchmark:app",
        }
        for server in servers
    }
    file = FILES / "hosts.yml"
    file.write_text(yaml.safe_dump({"app_servers": {"hosts": hosts, "vars": shared}}))
    return file


def build(servers: list[str], small: bool) -> None:
    """Slipway's machine, by site.yml."""
    demo.up()
    shutil.rmtree(APP, ignore_errors=True)
    shutil.copytree(ROOT / "bench/app", APP)
    (APP / "static").mkdir()
    (APP / "static/megabyte.bin").write_bytes(os.urandom(1_000_000))
    (APP / "static/dot.txt").write_text(".\n")
    command = ["ansible-playbook", "-i", str(inventory(servers, small)), "site.yml"]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")}, check=False)
    if done.returncode != 0:
        raise SystemExit(f"bench_http: {' '.join(command)} exited {done.returncode}")


def build_stock(workers: int) -> None:
    """The guides' machine, beside it."""
    shared, command = platform("host")
    options = [*shared, f"--network={demo.NETWORK}", f"--ip={STOCK_ADDRESS}", f"--hostname={STOCK}"]
    run("docker", "run", "--detach", f"--name={STOCK}", *options, "slipway-test:trixie", *command)
    run("docker", "exec", STOCK, "mkdir", "-p", "/srv/app")
    run("docker", "cp", "-q", f"{APP}/.", f"{STOCK}:/srv/app")
    stocks = " ".join(f"{unit}:{threads}" for unit, threads in STOCKS.items())
    run("docker", "exec", f"--env=STOCKS={stocks}", f"--env=WORKERS={workers}", STOCK, "sh", "-c", SETUP)


@contextmanager
def pinned(servers: list[str], client: str, memory: str) -> Iterator[None]:
    """Servers on core 0, the client on core 1: neither takes the other's time."""
    every = f"0-{(os.cpu_count() or 1) - 1}"
    limits = [f"--memory={memory}", f"--memory-swap={memory}"] if memory else []
    for name in servers:
        run("docker", "update", "--cpuset-cpus=0", *limits, name)
    run("docker", "update", "--cpuset-cpus=1", client)
    try:
        yield
    finally:
        run("docker", "update", f"--cpuset-cpus={every}", client)


# --- Measuring --------------------------------------------------------------------------------------------------------


def cpu_seconds(system: System) -> tuple[float, float]:
    """CPU time that the server and nginx have had so far."""
    # By user: systemd counts nothing in a container with cgroup v1.
    count = (
        "cat $(pgrep -u %s | sed 's|.*|/proc/&/stat|') 2>/dev/null | sed 's/.*) //' | awk '{ ticks += $12 + $13 } END { print ticks + 0 }'"
    )
    said = inside(system.container, "; ".join(count % user for user in (system.user, "www-data"))).split()
    return int(said[0]) / 100, int(said[1]) / 100


def load(system: System, workload: Workload, *words: str) -> dict[str, float]:
    """One load, with the CPU time of the server and of nginx."""
    before = cpu_seconds(system)
    command = [*("docker", "exec", demo.ACME_NAME, "python3", PROGRAM), f"https://{system.domain}{workload.path}"]
    found: dict[str, float] = json.loads(run(*command, f"--connect={system.address}:443", *workload.words, *words))
    server, nginx = (now - then for now, then in zip(cpu_seconds(system), before, strict=True))
    if "handshakes" in found:
        found["handshakes/nginx CPU s"] = found["handshakes"] / max(nginx, 0.01)
    return {**found, "server CPU s": server, "nginx CPU s": nginx}


def measured(system: System, name: str, seconds: int) -> Iterator[tuple[int, float, dict[str, float]]]:
    """Closed loops of 64 and 256 connections, then a constant rate of half and four fifths of what that could do."""
    workload = WORKLOADS[name]
    if not workload.timed:
        words = [f"--seconds={seconds}"] if "--busy" in workload.words else []
        yield 0, 0, load(system, workload, *words)
        return
    most = 0.0
    for connections in (64, 256):
        found = load(system, workload, f"--connections={connections}", f"--seconds={seconds}")
        most = max(most, found["requests/s"])
        found["requests/CPU s"] = found["requests/s"] * seconds / max(found["server CPU s"] + found["nginx CPU s"], 0.01)
        found["nginx to server CPU"] = found["nginx CPU s"] / max(found["server CPU s"], 0.01)
        yield connections, 0, found
    for share in (0.5, 0.8):
        yield 64, share, load(system, workload, "--connections=64", f"--seconds={seconds}", f"--rate={most * share:.1f}")


def prepare_neighbour() -> None:
    """The client's programs and what it sends."""
    there = "command -v h2load >/dev/null && command -v curl >/dev/null"
    inside(demo.ACME_NAME, f"{there} || apt-get install -y --no-install-recommends nghttp2-client curl >/dev/null 2>&1")
    run("docker", "cp", "-q", str(ROOT / "tools/bench_load.py"), f"{demo.ACME_NAME}:{PROGRAM}")
    inside(demo.ACME_NAME, f"head -c 10000000 /dev/urandom >{UPLOAD}; echo a visit >{ROW}")


def show(rows: list[dict[str, object]]) -> None:
    """Medians and their ratios to STOCK."""
    found: dict[tuple[object, ...], list[float]] = {}
    for row in rows:
        key = (row["workload"], row["connections"], row["rate"], row["figure"], row["system"])
        found.setdefault(key, []).append(float(str(row["value"])))
    print(f"\n{'workload':14}{'conn.':>6}{'rate':>6}  {'figure':22}{'system':12}{'median':>12}{'least':>12}{'most':>12}{'to STOCK':>10}")
    for (workload, connections, rate, figure, system), values in found.items():
        if figure in ("server CPU s", "nginx CPU s") or (figure == "failed" and not any(values)):
            continue
        stock = found.get((workload, connections, rate, figure, "STOCK small" if str(system).endswith("small") else "STOCK"))
        middle = statistics.median(values)
        ratio = f"{middle / statistics.median(stock):10.2f}" if stock and statistics.median(stock) else ""
        label = f"{workload!s:14}{connections!s:>6}{rate!s:>6}  {figure!s:22}{system!s:12}"
        print(f"{label}{middle:12,.1f}{min(values):12,.1f}{max(values):12,.1f}{ratio}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--servers", default=",".join(SERVERS))
    parser.add_argument("--workloads", default=",".join(WORKLOADS))
    parser.add_argument("--small", action="store_true", help="512 MB for each machine")
    parser.add_argument("--keep", action="store_true", help="leave the machines, and take those that are there")
    options = parser.parse_args()
    servers = options.servers.split(",")
    systems = [*STOCKED, *(of(server) for server in servers)]
    rows: list[dict[str, object]] = []
    if not (options.keep and demo.running(STOCK)):
        build(servers, options.small)
        build_stock(2 * (1 if options.small else os.cpu_count() or 1) + 1)
    prepare_neighbour()
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    fresh = not RESULTS.exists()
    with RESULTS.open("a", newline="") as stream, pinned([demo.HOST, STOCK], demo.ACME_NAME, "512m" if options.small else ""):
        sheet = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
        if fresh:
            sheet.writeheader()
        for number in range(options.rounds):
            for name in options.workloads.split(","):
                for system in systems:
                    if name == "handshakes" and system not in (STOCKED[0], systems[-len(servers)]):
                        # nginx does them, whatever is behind it.
                        continue
                    for connections, rate, figures in measured(system, name, options.seconds):
                        at = datetime.now(timezone.utc).isoformat(timespec="seconds")
                        values = (at, f"{system.name}{' small' if options.small else ''}", name, connections, rate, number + 1)
                        label = dict(zip(COLUMNS, values, strict=False))
                        new = [{**label, "figure": figure, "value": round(value, 3)} for figure, value in figures.items()]
                        sheet.writerows(new)
                        stream.flush()
                        rows += new
                    print(f"round {number + 1}: {name}: {system.name}: {figures}", flush=True)
    show(rows)
    if not options.keep:
        run("docker", "rm", "--force", "--volumes", STOCK)
        demo.down()
    return 0


if __name__ == "__main__":
    sys.exit(main())
