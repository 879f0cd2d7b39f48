#!/usr/bin/env python3
"""What `make bench-http` runs: this deployment against the same app as Gunicorn's, nginx's and Flask's own docs deploy it. Asserts nothing.

    bench_http.py [--host CONTAINER] [--neighbour CONTAINER] [--domain NAME] [--rounds N] [--seconds N]

STOCK is a second container beside the first: sync workers (as many as here), nginx without kept connections to them, an RSA-2048
certificate, nginx's own gzip. Both answer on core 0, the client asks from core 1; one after the other, in turns, and the median of the
rounds counts. Per CPU second: of what nginx and Gunicorn used, so that it is right on a busy machine, too. The neighbour's wrk is
a closed loop: its percentiles leave out who would have come while it waited.
"""

from __future__ import annotations

import argparse
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from testhost import platform

ROOT = Path(__file__).resolve().parents[1]
STOCK, STOCK_DOMAIN = "slipway-stock", "stock.slipway.test"
#: A view that says one word and asks nobody. Neither side logs it: else this would measure the journal.
HELLO = "/healthz/live"
CONNECTIONS = 64

SETUP = r"""
set -e
apt-get install -y --no-install-recommends nginx openssl python3-venv curl >/dev/null 2>&1
useradd --system app
python3 -m venv /srv/venv
/srv/venv/bin/pip install --quiet --requirement /srv/app/requirements.txt
openssl req -x509 -newkey rsa:2048 -nodes -days 90 -subj /CN=$DOMAIN -addext subjectAltName=DNS:$DOMAIN \
    -out /etc/ssl/stock.pem -keyout /etc/ssl/stock.key 2>/dev/null
mkdir -p /srv/uploads /srv/instance && chown -R app /srv/app /srv/uploads /srv/instance
# https://docs.gunicorn.org/en/stable/deploy.html: systemd, and nginx as the example there.
cat >/etc/systemd/system/gunicorn.service <<UNIT
[Unit]
Requires=gunicorn.socket
After=network.target
[Service]
Type=notify
User=app
Group=app
RuntimeDirectory=gunicorn
WorkingDirectory=/srv/app
Environment=LOGBOOK_CONFIG=development SECRET_KEY=0d3f1c0a5b7d9e8462a1b3c5d7e9f0123456789a DATABASE_URL=sqlite:////srv/instance/x.db
Environment=UPLOAD_FOLDER=/srv/uploads PROXY_HOPS=1
ExecStart=/srv/venv/bin/gunicorn --workers $WORKERS 'logbook:create_app()'
ExecReload=/bin/kill -s HUP \$MAINPID
KillMode=mixed
TimeoutStopSec=5
PrivateTmp=true
[Install]
WantedBy=multi-user.target
UNIT
cat >/etc/systemd/system/gunicorn.socket <<UNIT
[Socket]
ListenStream=/run/gunicorn.sock
SocketUser=www-data
[Install]
WantedBy=sockets.target
UNIT
cat >/etc/nginx/sites-enabled/default <<SITE
upstream app_server {
  server unix:/run/gunicorn.sock fail_timeout=0;
}
server {
  listen 443 ssl;
  server_name $DOMAIN;
  ssl_certificate /etc/ssl/stock.pem;
  ssl_certificate_key /etc/ssl/stock.key;
  client_max_body_size 4G;
  keepalive_timeout 5;
  access_log off;
  location /static/ {
    alias /srv/app/logbook/static/;
  }
  location / {
    proxy_set_header X-Forwarded-For \$proxy_add_x_forwarded_for;
    proxy_set_header X-Forwarded-Proto \$scheme;
    proxy_set_header Host \$http_host;
    proxy_redirect off;
    proxy_pass http://app_server;
  }
}
SITE
systemctl daemon-reload
systemctl enable --quiet --now gunicorn.socket
systemctl restart nginx
"""


def run(*words: str, ok: tuple[int, ...] = (0,)) -> str:
    result = subprocess.run(words, text=True, capture_output=True, check=False)
    if result.returncode not in ok:
        raise SystemExit(f"bench_http: `{' '.join(words[:5])} …` exited {result.returncode}:\n{(result.stdout + result.stderr)[-1500:]}")
    return result.stdout


def inside(container: str, script: str) -> str:
    return run("docker", "exec", container, "sh", "-c", script)


@contextmanager
def stock(host: str, workers: int) -> Iterator[None]:
    """The second container, on the first one's network, for as long as it is needed."""
    network = run(
        "docker", "container", "inspect", "--format={{range $name, $_ := .NetworkSettings.Networks}}{{$name}}{{end}}", host
    ).strip()
    shared, command = platform("host")
    options = [*shared, f"--network={network}", f"--network-alias={STOCK_DOMAIN}", f"--hostname={STOCK}"]
    run("docker", "run", "--detach", f"--name={STOCK}", *options, "slipway-test:trixie", *command)
    try:
        run("docker", "exec", STOCK, "mkdir", "-p", "/srv/app")
        run("docker", "cp", "-q", f"{ROOT}/examples/flask-app/.", f"{STOCK}:/srv/app")
        run("docker", "exec", f"--env=DOMAIN={STOCK_DOMAIN}", f"--env=WORKERS={workers}", STOCK, "sh", "-c", SETUP)
        inside(STOCK, f"curl -skf --retry 30 --retry-all-errors --retry-delay 1 https://localhost{HELLO} -H 'Host: {STOCK_DOMAIN}'")
        yield
    finally:
        run("docker", "rm", "--force", "--volumes", STOCK)


@contextmanager
def pinned(servers: list[str], client: str) -> Iterator[None]:
    """Servers on core 0, the client on core 1: neither takes the other's time."""
    cores = {
        name: run("docker", "container", "inspect", "--format={{.HostConfig.CpusetCpus}}", name).strip() for name in [*servers, client]
    }
    every = f"0-{len(Path('/proc/cpuinfo').read_text().split('processor')) - 2}"
    for name in cores:
        run("docker", "update", "--cpuset-cpus", "1" if name == client else "0", name)
    try:
        yield
    finally:
        for name, before in cores.items():
            run("docker", "update", "--cpuset-cpus", before or every, name)


def wrk(neighbour: str, domain: str, seconds: int) -> tuple[float, float, float]:
    """Requests a second, p50 and p99 in ms, over kept TLS connections."""
    command = f"wrk --threads 1 --connections {CONNECTIONS} --duration {seconds}s --timeout 10s --latency https://{domain}{HELLO}"
    said = inside(neighbour, command)
    if failed := re.search(r"(Non-2xx.*|Socket errors.*)", said):
        print(f"  {domain}: {failed[1]}")
    rate = re.search(r"Requests/sec:\s+([\d.]+)", said)
    assert rate, said
    return float(rate[1]), milliseconds(said, "50%"), milliseconds(said, "99%")


def milliseconds(said: str, name: str) -> float:
    found = re.search(rf"{name}\s+([\d.]+)(us|ms|s)", said)
    assert found, said
    return float(found[1]) * {"us": 0.001, "ms": 1, "s": 1000}[found[2]]


def handshakes(container: str, neighbour: str, domain: str, batches: int = 8) -> tuple[float, float]:
    """Full handshakes a second, each with one static file; and in a second of the server's own CPU time, however slow the client is.

    h2load resumes no session (wrk does). 300 at a time: STOCK's nginx holds no more than 768 connections.
    """
    before = cpu_seconds(container)
    command = f"h2load --h1 -t 1 -c 300 -n 300 -m 1 https://{domain}/static/anchor.svg"
    said = inside(neighbour, f"for i in $(seq {batches}); do {command}; done")
    took = [float(number) * (0.001 if unit == "ms" else 1) for number, unit in re.findall(r"finished in ([\d.]+)(m?s),", said)]
    done = sum(map(int, re.findall(r"(\d+) 2xx", said)))
    assert len(took) == batches, said
    return done / sum(took), done / max(cpu_seconds(container) - before, 0.01)


def cpu_seconds(container: str, programs: str = "nginx") -> float:
    """CPU time that these programs have had so far (a pattern of their names)."""
    ticks = inside(container, f"cat $(pgrep '{programs}' | sed 's,.*,/proc/&/stat,')")
    return sum(sum(map(int, line.rsplit(")", 1)[1].split()[11:13])) for line in ticks.splitlines()) / 100


def static_bytes(neighbour: str, domain: str) -> int:
    """What a browser of today downloads of the app's style."""
    ask = (
        f"import http.client,ssl;c=http.client.HTTPSConnection('{domain}',context=ssl._create_unverified_context());"
        "c.request('GET','/static/logbook.css',headers={'Accept-Encoding':'gzip, br'});print(len(c.getresponse().read()))"
    )
    return int(inside(neighbour, f'python3 -c "{ask}"'))


def direct(host: str, domain: str, socket: str, seconds: int) -> dict[str, float]:
    """What is left of Gunicorn's rate when nginx and TLS stand before it: one client, on the host, for both ways."""

    def rate(where: str) -> tuple[float, float]:
        before = cpu_seconds(host, "gunicorn")
        said = inside(host, f"h2load --h1 -t 1 -c {CONNECTIONS} -D {seconds} {where} 2>&1")
        found = re.search(r"finished in [\d.]+\w+, ([\d.]+) req/s", said)
        assert found and " 0 2xx" not in said, said
        return float(found[1]), float(found[1]) * seconds / (cpu_seconds(host, "gunicorn") - before)

    headers = f"-H 'Host: {domain}' -H 'X-Forwarded-Proto: https' -H 'X-Forwarded-For: 192.0.2.1' -H 'X-Forwarded-Host: {domain}'"
    alone, alone_cpu = rate(f"-B unix:{socket} {headers} http://{domain}{HELLO}")
    through, through_cpu = rate(f"--connect-to 127.0.0.1:443 https://{domain}{HELLO}")
    return {"requests/s": through / alone, "requests per CPU s of Gunicorn": through_cpu / alone_cpu}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", default="slipway-demo")
    parser.add_argument("--neighbour", default="slipway-acme")
    parser.add_argument("--domain", default="demo.slipway.test")
    parser.add_argument("--socket", default="/run/demo/gunicorn.sock")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=5)
    arguments = parser.parse_args()
    host, neighbour, seconds = arguments.host, arguments.neighbour, arguments.seconds
    for container, packages in ((neighbour, "wrk nghttp2-client"), (host, "nghttp2-client")):
        inside(container, f"command -v h2load >/dev/null || apt-get install -y --no-install-recommends {packages} >/dev/null 2>&1")
    # The master is not a worker.
    workers = int(inside(host, "pgrep -c -f '[.]venv/bin/gunicorn'")) - 1
    print(f"{workers} workers of Gunicorn each, {CONNECTIONS} kept connections, {arguments.rounds} rounds of {seconds} s, in turns")
    found: dict[str, dict[str, list[float]]] = {"slipway": {}, "stock": {}}
    kept: dict[str, list[float]] = {}
    with stock(host, workers), pinned([host, STOCK], neighbour):
        time.sleep(1)
        sides = {"slipway": (host, arguments.domain), "stock": (STOCK, STOCK_DOMAIN)}
        for _, domain in sides.values():
            wrk(neighbour, domain, 2)
        for number in range(arguments.rounds):
            for side, (container, domain) in sides.items():
                before = cpu_seconds(container, "nginx|gunicorn")
                rate, p50, p99 = wrk(neighbour, domain, seconds)
                spent = cpu_seconds(container, "nginx|gunicorn") - before
                new, cheap = handshakes(container, neighbour, domain)
                figures = {
                    "requests/s": rate,
                    "requests/CPU s": rate * seconds / spent,
                    "p50 ms": p50,
                    "p99 ms": p99,
                    "handshakes/s": new,
                    "handshakes/CPU s": cheap,
                }
                for name, figure in figures.items():
                    found[side].setdefault(name, []).append(figure)
                print(f"  round {number + 1} {side:8}" + "".join(f"  {name} {figure:,.1f}" for name, figure in figures.items()), flush=True)
            for name, share in direct(host, arguments.domain, arguments.socket, seconds).items():
                kept.setdefault(name, []).append(share)
        sizes = {side: static_bytes(neighbour, domain) for side, (_, domain) in sides.items()}
    print(f"\n{'':28}{'slipway':>12}{'STOCK':>12}{'ratio':>8}{'spread of the ratio':>24}")
    for name in found["stock"]:
        ours, theirs = found["slipway"][name], found["stock"][name]
        ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
        middle = statistics.median(ratios)
        spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
        print(f"{name:28}{statistics.median(ours):12,.1f}{statistics.median(theirs):12,.1f}{middle:8.2f}{spread:>24}")
    print(f"{'bytes of logbook.css':28}{sizes['slipway']:12,}{sizes['stock']:12,}{sizes['slipway'] / sizes['stock']:8.2f}")
    for name, shares in kept.items():
        spread = f"{min(shares):.2f} to {max(shares):.2f}"
        print(f"nginx with TLS keeps {statistics.median(shares):.2f} ({spread}) of Gunicorn's own {name} on its socket")
    return 0


if __name__ == "__main__":
    sys.exit(main())
