"""What the tests of every layer share: the app under test, and the evidence a failure must carry."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

#: The long form, of `make proofs`.
FULL = os.environ.get("SLIPWAY_FULL") == "1"


@dataclass(frozen=True)
class App:
    """Names and paths of the app under test: the contract's derivations, written out.

    They are spelled here a second time on purpose: a test that reads the role's own variables
    would agree with any mistake in them.
    """

    name: str = "demo"
    domain: str = "demo.slipway.test"
    alias: str = "www.demo.slipway.test"
    root: str = "/srv/demo"
    current: str = "/srv/demo/current"
    shared: str = "/srv/demo/shared"
    config: str = "/etc/demo"
    socket: str = "/run/demo/gunicorn.sock"
    database: str = "demo"
    redis_socket: str = "/run/redis-demo/redis.sock"
    backups: str = "/var/backups/demo"
    logs: str = "/var/log/demo"


def until(ask: Callable[[], Any], seconds: float = 60) -> Any:
    """The first answer that is something; the last one when the time is over."""
    deadline = time.monotonic() + seconds
    while not (answer := ask()) and time.monotonic() < deadline:
        time.sleep(0.3)
    return answer


def journal(host: Any, *units: str, lines: int = 20) -> str:
    """The last journal lines of ``units`` (of the whole host when none is named)."""
    args = " ".join(f"-u '{unit}'" for unit in units)
    return str(host.run(f"journalctl --sync; journalctl --no-pager -n {lines} {args}").stdout)


def must(host: Any, command: str) -> str:
    """Run ``command`` on the host and return its output; fail with all it said otherwise."""
    result = host.run(command)
    assert result.rc == 0, f"`{command}` exited {result.rc}\n{result.stdout}\n{result.stderr}"
    return str(result.stdout)


def run_in_app(host: Any, app: App, words: str) -> str:
    """Run a `flask` command in the live release, with the environment its service has."""
    return must(
        host,
        f"systemd-run --quiet --wait --pipe --collect --uid={app.name} --gid={app.name} --working-directory={app.current}/"
        f" -p EnvironmentFile={app.current}/environment -p EnvironmentFile={app.config}/secrets {app.current}/.venv/bin/flask {words}",
    )


def live_unit(host: Any, app: App) -> str:
    """The unit of the live release."""
    return f"{app.name}@{must(host, f'readlink {app.current}').strip().split('/')[-1]}.service"


def through_socket(host: Any, app: App, path: str, user: str = "www-data") -> tuple[int, str]:
    """GET ``path`` on Gunicorn's socket as ``user``; status 0 with the reason when there is no connection."""
    script = (
        "import http.client,socket,sys\n"
        "c=http.client.HTTPConnection('x');c.sock=socket.socket(socket.AF_UNIX);c.sock.settimeout(60)\n"
        "try:\n"
        f" c.sock.connect('{app.socket}');c.request('GET','{path}',headers={{'Host':'{app.domain}','X-Forwarded-Proto':'https'}})\n"
        " r=c.getresponse();print(r.status);print(r.read().decode())\n"
        "except OSError as e: print(0);print(repr(e))\n"
    )
    said = must(host, f'runuser -u {user} -- python3 -c "{script}"')
    status, _, body = said.partition("\n")
    return int(status), body.strip()


def acme_certificate(neighbour: Any) -> str:
    """The root that the ACME server on this host signs with."""
    fetch = (
        "import ssl,urllib.request as u;"
        "print(u.urlopen('https://localhost:15000/roots/0',context=ssl._create_unverified_context()).read().decode())"
    )
    return must(neighbour, f'python3 -c "{fetch}"')
