# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""Walk the request path of an app, hop by hop: the hop that is broken is named, and not only the 502 that follows from it."""

from __future__ import annotations

import argparse
import grp
import http.client
import json
import stat
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from . import timers
from .app import App
from .backup import sqlite
from .backup.config import Config
from .backup.status import scheduled
from .core.clock import DAY, stamp
from .core.errors import SlipwayError
from .core.files import read_json
from .core.http import UnixConnection, get, served_certificate, visit
from .core.run import Account, CommandError, command, tail
from .core.status import FAILED
from .core.text import table
from .core.units import is_active, journal, serving_units
from .core.x509 import describe, first_certificate, is_placeholder, uncovered
from .health import probe
from .pages import Advice, Reader
from .releases import Releases


class BrokenHopError(SlipwayError):
    """A check failed; the text is what was seen."""


class AdviceError(SlipwayError):
    """A check found nothing broken, and something that visitors would notice."""

    def __init__(self, found: Sequence[Advice]) -> None:
        super().__init__("\n".join(f"{advice.where}: {advice.what}" for advice in found))
        self.found = list(found)


class RequestPath:
    """The request path of one app on this host. Each method is one check: it returns what it saw, or raises."""

    def __init__(self, app: App, database: Mapping[str, str] | None) -> None:
        """Walk the path of ``app``; ``database``: libpq's variables for its database, None when that is no PostgreSQL."""
        self.known, self.name, self.domain, self.database = app, app.name, app.domain, database
        self.releases = Releases.of(app)

    def firewall(self) -> str:
        if not self.known.firewall:
            return "left to another firewall (preflight_answers), which has to open 80 and 443"
        status = command("ufw", "status")
        if "Status: active" not in status:
            raise BrokenHopError(status.strip())
        closed = [port for port in ("80/tcp", "443/tcp") if not any(line.startswith(port) for line in status.splitlines())]
        if closed:
            raise BrokenHopError(f"no rule opens {' and '.join(closed)}")
        return "active; 80 and 443 open"

    def tls(self) -> str:
        """The certificate on the disk is served, is good for every domain, and is kept fresh."""
        try:
            served = served_certificate(self.domain)
        except OSError as error:
            raise BrokenHopError(f"no TLS on port 443: {error}") from error
        if served != first_certificate(self.known.certificate.read_text(encoding="utf-8", errors="replace")):
            raise BrokenHopError(f"the certificate served is not the one in {self.known.certificate}")
        certificate = describe(served)
        absent = uncovered(certificate.names, self.known.names)
        if self.domain in absent:
            raise BrokenHopError(f"the certificate does not name {', '.join(absent)}. {self.cause()}".strip())
        if is_placeholder(self.known.certificate):
            raise BrokenHopError(f"the placeholder is served: no certificate has been issued yet. {self.cause()}".strip())
        left = int((certificate.ends - time.time()) // DAY)
        if left < 1:
            raise BrokenHopError(f"the certificate ends on {stamp(certificate.ends)}. {self.cause()}".strip())
        if not is_active(f"{self.name}-tls.timer"):
            raise BrokenHopError(f"nothing renews the certificate: {self.name}-tls.timer is not active")
        if absent:
            # The canonical name is served; the others join when they pass.
            what = f"the certificate does not name {', '.join(absent)} yet. {self.cause()}".strip()
            fix = f"let it point at this host; {self.name}-tls.timer adds it, or at once: slipway {self.name} tls run --now"
            raise AdviceError([Advice("tls", what, fix)])
        return f"issued by {certificate.issuer}; {left} days left"

    def cause(self) -> str:
        """Why the certificate is not what it should be, in the words of the program that keeps it."""
        return str((read_json(self.known.certificate_status).get("attempt") or {}).get("reason") or "")

    def nginx(self) -> str:
        if not is_active("nginx.service"):
            raise BrokenHopError(f"nginx.service is not active\n{journal('nginx.service', 5)}")
        try:
            command("nginx", "-t", "-q")
        except CommandError as error:
            raise BrokenHopError(str(error)) from error
        return "active; configuration valid"

    def redirect(self) -> str:
        connection = http.client.HTTPConnection("127.0.0.1", 80, timeout=5)
        try:
            connection.request("GET", "/", headers={"Host": self.domain})
            response = connection.getresponse()
        except OSError as error:
            raise BrokenHopError(f"no answer on port 80: {error}") from error
        finally:
            connection.close()
        target = response.getheader("Location") or ""
        if response.status not in (301, 308) or not target.startswith(f"https://{self.domain}/"):
            raise BrokenHopError(f"http://{self.domain}/ answered {response.status} {target}")
        return f"{response.status} to {target}"

    def socket(self) -> str:
        path = self.known.socket
        if not is_active(f"{self.name}.socket"):
            raise BrokenHopError(f"{self.name}.socket is not active")
        status = path.stat()
        mode, group = stat.S_IMODE(status.st_mode), grp.getgrgid(status.st_gid).gr_name
        if mode != 0o660 or group != self.known.proxy_group:
            raise BrokenHopError(f"{path} has mode {mode:04o} and group {group}; 0660 and {self.known.proxy_group} are due")
        return f"{path} 0660 {group}"

    def server(self) -> str:
        live = self.releases.live_id()
        if not live:
            raise BrokenHopError("no release is live")
        unit = f"{self.name}@{live}.service"
        if not is_active(unit):
            raise BrokenHopError(f"{unit} is not active\n{journal(unit, 10)}")
        # A release that systemd is stopping answers its last requests; on a busy machine that takes seconds.
        others = [other for other in serving_units(self.name) if other != unit]
        if others:
            raise BrokenHopError(f"besides {unit} there still runs {', '.join(others)}")
        opened = f"; the sandbox is open for {', '.join(self.known.openings)}" if self.known.openings else ""
        return f"release {live}{opened}"

    def timers(self) -> str:
        """Each waits for its next time, and the last run went well."""
        found = timers.status(self.known)
        if found.state == FAILED:
            raise BrokenHopError(f"{found.evidence}. {found.fix}")
        return found.evidence

    def app(self) -> str:
        """The readiness path that is named, or that the rehearsal of the live release found."""
        noted = str(self.releases.live_manifest().get("ready") or "")
        found = probe(lambda path: get(self.known.socket, path, self.domain), self.known.ready, noted, self.known.prefix)
        if not found.good:
            raise BrokenHopError(found.told())
        return f"GET {found.path} {found.answer.status}"

    def postgres(self) -> str:
        """Reached as the app reaches it."""
        assert self.database is not None
        # With a service file, which is root's alone, root asks: the password is nobody else's.
        account = None if "PGSERVICEFILE" in self.database else Account.of(self.known.user, self.known.group)
        try:
            version = command("psql", "-XAtqc", "SHOW server_version", account=account, environment=self.database)
        except (CommandError, OSError) as error:
            raise BrokenHopError(tail(str(error), 3)) from error
        parts = self.known.database
        over = f"as {self.known.user} over its socket" if parts["over_socket"] else f"as {parts['user']} on {parts['host'] or 'localhost'}"
        return f"{version.split()[0]}, {over}"

    def sqlite(self) -> str:
        """Each file opens, with the app's rights."""
        account = Account.of(self.known.user, self.known.group)
        found = []
        for path in self.known.sqlite:
            try:
                found.append(f"{path.name}: {sqlite.ask(path, account)} tables")
            except sqlite.AbsentError:
                found.append(f"{path.name}: not made yet")
            except SlipwayError as error:
                raise BrokenHopError(f"{path}: {error}") from error
        return ", ".join(found)

    def other(self) -> str:
        """Nothing is asked of it: how would be the app's own affair."""
        return f"{self.known.database['url']}: neither backed up nor restored by Slipway (docs/data.md, Other databases)"

    def redis(self) -> str:
        account = Account.of(self.known.user, self.known.group)
        try:
            answer = command("redis-cli", "-s", self.known.redis_socket, "ping", account=account).strip()
        except (CommandError, OSError) as error:
            raise BrokenHopError(tail(str(error), 3)) from error
        if answer != "PONG":
            raise BrokenHopError(answer)
        return "PONG"

    def backup(self) -> str:
        """Taken each night, and none is overdue."""
        path = self.known.config_dir / "backup.json"
        if not path.exists():
            raise BrokenHopError(f"no backups are set up: there is no {path}")
        found = scheduled(Config.parse(path.read_text(encoding="utf-8")), path)
        if found.state == FAILED:
            raise BrokenHopError(found.evidence)
        return found.evidence

    def logs(self) -> str:
        rule = Path(f"/etc/logrotate.d/{self.name}")
        if not rule.is_file():
            raise BrokenHopError(f"{rule} is absent")
        return "rotated"

    def public_endpoint(self) -> str:
        if self.releases.closed:
            return "closed for maintenance (slipway.vps.maintenance -e on=false opens it)"
        front = f"{self.known.prefix}/"
        answer = visit(self.domain, front)
        if not answer.status:
            raise BrokenHopError(f"no answer: {answer.body}")
        if answer.status >= 500:
            raise BrokenHopError(f"GET https://{self.domain}{front} answered {answer.status}; request id {answer.request_id}")
        return f"GET https://{self.domain}{front} {answer.status}"

    def pages(self) -> str:
        """Pages and static files as a browser gets them."""
        if self.releases.closed:
            return "closed for maintenance"
        reader = Reader(self.domain, self.app_headers)
        found = list(reader.static(self.known.current, dict(self.known.static)))
        for path in self.known.verify_paths:
            found += reader.read(path)
        if found:
            raise AdviceError(found)
        return f"{', '.join(self.known.verify_paths)}: nothing that a browser would refuse"

    def app_headers(self, path: str) -> list[str]:
        """Names of the headers that the app itself sends: what it does not, nginx fills in."""
        connection = UnixConnection(self.known.socket, timeout=30)
        try:
            headers = {"Host": self.domain, "X-Forwarded-Proto": "https", "X-Forwarded-Host": self.domain, "Accept": "text/html"}
            connection.request("GET", path, headers=headers)
            return [name.lower() for name, _ in connection.getresponse().getheaders()]
        except (OSError, http.client.HTTPException):
            return []
        finally:
            connection.close()


class Check(NamedTuple):
    """One probe of one hop. ``behind``: hops without which it cannot succeed, so that their failure explains its own."""

    hop: str
    check: str
    probe: Callable[[RequestPath], str]
    fix: str
    behind: tuple[str, ...] = ()
    #: Whether the app has this hop.
    used: Callable[[RequestPath], bool] = lambda path: True


SITE = "ansible-playbook slipway.vps.site --tags"
CHECKS = (
    Check("firewall", "ufw is active", RequestPath.firewall, f"{SITE} edge; then: ufw status verbose"),
    Check(
        "tls",
        "certificate served",
        RequestPath.tls,
        f"let each domain point at this host; {{name}}-tls.timer tries again, {SITE} edge at once",
        ("nginx",),
    ),
    Check("nginx", "server and configuration", RequestPath.nginx, "nginx -t; journalctl -u nginx"),
    Check("nginx", "HTTP to HTTPS", RequestPath.redirect, f"nginx -t; {SITE} edge"),
    Check("socket", "only the proxy may open it", RequestPath.socket, f"{SITE} serve; then: systemctl status {{name}}.socket"),
    Check("server", "the live release runs", RequestPath.server, "ansible-playbook slipway.vps.deploy; journalctl -u '{name}@*'"),
    Check("app", "ready", RequestPath.app, "journalctl -u '{name}@*' -n 50", ("socket", "server", "postgres", "sqlite", "redis")),
    Check(
        "postgres",
        "reachable as the app",
        RequestPath.postgres,
        f"{SITE} data; journalctl -u 'postgresql@*'",
        used=lambda path: path.database is not None,
    ),
    Check(
        "sqlite",
        "opens as the app",
        RequestPath.sqlite,
        "slipway {name} backup list; then: ansible-playbook slipway.vps.restore -e backup=<name>",
        used=lambda path: bool(path.known.sqlite),
    ),
    Check("database", "outside of Slipway", RequestPath.other, "-", used=lambda path: path.known.database.get("kind") == "other"),
    Check(
        "redis",
        "reachable as the app",
        RequestPath.redis,
        f"{SITE} data; journalctl -u redis-server@{{name}}",
        used=lambda path: path.known.redis_local,
    ),
    Check("timers", "run, and ran well", RequestPath.timers, "journalctl -u '{name}-<timer>' -n 50", ("server",)),
    Check("backup", "taken by cron", RequestPath.backup, f"{SITE} keep; then: journalctl -t {{name}}-backup, and slipway.vps.backup"),
    Check("logs", "rotated", RequestPath.logs, f"{SITE} keep"),
    Check(
        "public endpoint",
        "a visitor's request",
        RequestPath.public_endpoint,
        "journalctl -u '{name}@*' -n 50",
        ("nginx", "socket", "server", "app"),
    ),
    Check("pages", "as a browser sees them", RequestPath.pages, "see above", ("nginx", "socket", "server", "app", "public endpoint")),
)


def walk(path: RequestPath, checks: Sequence[Check] = CHECKS) -> list[dict[str, Any]]:
    """All checks in order. One that fails does not stop the rest; one that fails because of another hop is said to be behind it."""
    found: list[dict[str, Any]] = []
    checks = [check for check in checks if check.used(path)]
    for check in checks:
        advice: list[Advice] = []
        try:
            result, evidence = "ok", check.probe(path)
        except AdviceError as error:
            advice = error.found
            result, evidence = "warning", f"{len(advice)}, below"
        except (SlipwayError, OSError, KeyError, ValueError) as error:
            result, evidence = "BROKEN", str(error) or type(error).__name__
        fix = check.fix.format(name=path.name)
        row = {"hop": check.hop, "check": check.check, "result": result, "evidence": evidence, "fix": fix}
        found.append({**row, "advice": [item._asdict() for item in advice]})
    broken = {row["hop"] for row in found if row["result"] == "BROKEN"}
    for row, check in zip(found, checks, strict=True):
        causes = [hop for hop in check.behind if hop in broken]
        if row["result"] == "BROKEN" and causes:
            row["result"] = f"behind {' and '.join(causes)}"
    return found


def database_of(app: App) -> dict[str, str] | None:
    """libpq's variables for the app's database, without a password of its own: that of another host is in root's service file."""
    if not app.database.get("name"):
        return None
    if app.database["over_socket"]:
        known = {"PGHOST": "socket_dir", "PGPORT": "port", "PGDATABASE": "name", "PGUSER": "user"}
        return {variable: str(app.database[part]) for variable, part in known.items()}
    return {
        "PGSERVICEFILE": str(app.config_dir / "backup-database.service"),
        "PGSERVICE": "slipway",
        "PGDATABASE": str(app.database["name"]),
    }


def add(subjects: Any, common: argparse.ArgumentParser) -> None:
    """The words of the command line."""
    subjects.add_parser("verify", parents=[common], help="walk the request path, hop by hop; changes nothing").set_defaults(handler=main)


def main(options: argparse.Namespace) -> int:
    """Exit status 1 when a hop is broken."""
    app = App.load(options.app)
    checks = walk(RequestPath(app, database_of(app)))
    broken = [check for check in checks if check["result"] == "BROKEN"]
    advice = [item for check in checks for item in check["advice"]]
    if options.json:
        print(json.dumps({"checks": checks, "broken": broken, "advice": advice}))
    else:
        print(table([{name: check[name] for name in ("hop", "check", "result", "evidence")} for check in checks]))
        for check in broken:
            print(f"{check['hop']}: {check['check']} failed.\n  saw: {check['evidence']}\n  fix: {check['fix']}")
        for item in advice:
            print(f"warning: {item['where']}: {item['what']}\n  fix: {item['fix']}")
    return 1 if broken else 0
