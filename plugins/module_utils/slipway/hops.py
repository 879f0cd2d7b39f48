# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""The hops of the request path of an app, each asked by itself."""

from __future__ import annotations

import functools
import grp
import http.client
import os
import re
import stat
import time
import urllib.parse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from . import timers
from .app import App, names
from .backup import sqlite
from .backup.config import Config
from .backup.status import scheduled
from .core.clock import DAY, stamp
from .core.errors import SlipwayError
from .core.files import read_json
from .core.http import PublicConnection, UnixConnection, get, served_certificate, visit
from .core.run import Account, CommandError, as_account, attempt, command, tail
from .core.status import FAILED
from .core.units import is_active, journal, serving_units
from .core.x509 import describe, first_certificate, is_placeholder, uncovered
from .doctor import data, serve
from .doctor.findings import BrokenHopError, Seen
from .health import probe
from .pages import Advice, Reader, fetch
from .releases import Releases


class AdviceError(SlipwayError):
    """A check found nothing broken, and something that visitors would notice."""

    def __init__(self, found: Sequence[Advice], seen: Sequence[Seen] = ()) -> None:
        """:arg seen: those that are problems which have a name."""
        super().__init__("\n".join(f"{advice.where}: {advice.what}" for advice in found))
        self.found, self.seen = list(found), list(seen)


#: Seconds for an answer of the app: nginx waits for 35; behind a broken hop nobody has to be waited for.
PATIENCE, HURRY = 35.0, 1.0


class RequestPath:
    """The request path of one app on this host. Each method is one check: it returns what it saw, or raises."""

    def __init__(
        self,
        app: App,
        database: Mapping[str, str] | None,
        outside: Mapping[str, Any] | None = None,
        smoke: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        """Walk the path of ``app``.

        :arg database: libpq's variables for its database, None when that is no PostgreSQL.
        :arg outside: what the controller saw: ``time`` in seconds since 1970, ``ports`` to ``open`` or what happened.
        :arg smoke: steps of the smoke test; they may hold secrets.
        """
        self.known, self.name, self.domain, self.database = app, app.name, app.domain, database
        self.outside, self.smoke = outside or {}, smoke
        self.releases = Releases.of(app)
        self.patience = PATIENCE

    # --- What several checks ask ------------------------------------------------------------------

    def query(self, sql: str) -> str:
        """What PostgreSQL answers the app; CommandError when it does not."""
        assert self.database is not None
        # With a service file, which is root's alone, root asks: the password is nobody else's.
        account = None if "PGSERVICEFILE" in self.database else Account.of(self.known.user, self.known.group)
        return command("psql", "-XAtqc", sql, account=account, environment={"PGCONNECT_TIMEOUT": "5", **self.database})

    def listening(self) -> dict[int, set[str]]:
        """The programs that listen at each TCP port."""
        found: dict[int, set[str]] = {}
        for line in attempt(["ss", "--no-header", "--listening", "--tcp", "--numeric", "--processes"])[1].splitlines():
            parts = line.split()
            if len(parts) > 4 and parts[3].rpartition(":")[2].isdigit():
                found.setdefault(int(parts[3].rpartition(":")[2]), set()).update(re.findall(r'"([^"]+)",pid=', line))
        return found

    def unit_at(self, port: int) -> str:
        """The unit of the program that listens at a port."""
        said = attempt(["ss", "--no-header", "--listening", "--tcp", "--numeric", "--processes", f"sport = :{port}"])[1]
        pid = re.search(r"pid=(\d+)", said)
        unit = attempt(["ps", "-o", "unit=", "-p", pid[1]])[1].strip() if pid else ""
        return unit if unit not in ("", "-") else "its unit"

    def is_of_another_app(self, unit: str) -> bool:
        """Whether a unit is one of another app's of this machine."""
        return any(re.match(rf"{re.escape(name)}([@.-]|$)", unit) for name in names() if name != self.name)

    # --- The hops ---------------------------------------------------------------------------------

    def firewall(self) -> str:
        if not self.known.firewall:
            return "left to another firewall (preflight_answers), which has to open 80 and 443"
        status = command("ufw", "status")
        if "Status: active" not in status:
            raise BrokenHopError(status.strip(), "ufw-inactive")
        closed = [port for port in ("80/tcp", "443/tcp") if not any(line.startswith(port) for line in status.splitlines())]
        if closed:
            raise BrokenHopError(f"no rule opens {' and '.join(closed)}", "ufw-closed", ports=" and ".join(closed))
        return "active; 80 and 443 open"

    def tls(self) -> str:
        """The certificate on the disk is served, is good for every domain, and is kept fresh."""
        try:
            kept = first_certificate(self.known.certificate.read_text(encoding="utf-8", errors="replace"))
        except (OSError, SlipwayError) as error:
            raise BrokenHopError(f"{self.known.certificate}: {error}", "tls-file", certificate=self.known.certificate) from error
        try:
            served = served_certificate(self.domain)
        except OSError as error:
            raise BrokenHopError(f"no TLS on port 443: {error}", "tls-closed") from error
        if served != kept:
            raise BrokenHopError(f"the certificate served is not the one in {self.known.certificate}", "tls-not-served")
        certificate = describe(served)
        absent = uncovered(certificate.names, self.known.names)
        attempt_of = read_json(self.known.certificate_status).get("attempt") or {}
        why = str(attempt_of.get("reason") or "")
        refused = {"unreachable": "ca-unreachable", "limited": "ca-limit"}.get(str(attempt_of.get("kind") or ""), "")

        def broken(evidence: str, problem: str, **values: str) -> BrokenHopError:
            directory = str(attempt_of.get("directory_url") or "the CA's directory")
            reason = why or f"journalctl -u {self.name}-tls says more"
            return BrokenHopError(f"{evidence}. {why}".strip(), problem, reason=reason, directory=directory, **values)

        if self.domain in absent:
            raise broken(f"the certificate does not name {', '.join(absent)}", refused or "tls-names", names=", ".join(absent))
        if is_placeholder(self.known.certificate):
            raise broken("the placeholder is served: no certificate has been issued yet", refused or "tls-placeholder")
        left = int((certificate.ends - time.time()) // DAY)
        if left < 1:
            raise broken(f"the certificate ends on {stamp(certificate.ends)}", refused or "tls-expired")
        if time.time() >= certificate.alarm_at:
            raise broken(f"less than a third of its lifetime is left, {left} days", refused or "tls-renewal")
        if not is_active(f"{self.name}-tls.timer"):
            raise BrokenHopError(f"nothing renews the certificate: {self.name}-tls.timer is not active", "tls-timer")
        if absent:
            # The canonical name is served; the others join when they pass.
            what = f"the certificate does not name {', '.join(absent)} yet. {why}".strip()
            fix = f"let it point at this host; {self.name}-tls.timer adds it, or at once: slipway {self.name} tls run --now"
            raise AdviceError([Advice("tls", what, fix)])
        return f"issued by {certificate.issuer}; {left} days left"

    def nginx(self) -> str:
        if not is_active("nginx.service"):
            raise self.nginx_is_down()
        try:
            command("nginx", "-t", "-q")
        except CommandError as error:
            raise BrokenHopError(str(error), "nginx-config") from error
        return "active; configuration valid"

    def nginx_is_down(self) -> BrokenHopError:
        """Why: what its configuration, the ports and its journal say."""
        said = journal("nginx.service", 5)
        status, tested = attempt(["nginx", "-t", "-q"])
        if ipv6 := re.search(r".*socket\(\) \[::\].*Address family not supported.*", f"{tested}\n{said}"):
            return BrokenHopError(f"nginx.service is not active\n{ipv6[0].strip()}", "kernel-without-ipv6")
        if status != 0:
            return BrokenHopError(f"nginx.service is not active\n{tested.strip()}", "nginx-config")
        return BrokenHopError(f"nginx.service is not active\n{said}", "nginx-down")

    def redirect(self) -> str:
        connection = http.client.HTTPConnection("127.0.0.1", 80, timeout=5)
        try:
            connection.request("GET", "/", headers={"Host": self.domain})
            response = connection.getresponse()
        except OSError as error:
            raise BrokenHopError(f"no answer on port 80: {error}", "redirect-wrong") from error
        finally:
            connection.close()
        target = response.getheader("Location") or ""
        if response.status not in (301, 308) or not target.startswith(f"https://{self.domain}/"):
            raise BrokenHopError(f"http://{self.domain}/ answered {response.status} {target}", "redirect-wrong")
        return f"{response.status} to {target}"

    def socket(self) -> str:
        path = self.known.socket
        if not is_active(f"{self.name}.socket"):
            raise BrokenHopError(f"{self.name}.socket is not active", "socket-missing")
        try:
            status = path.stat()
        except OSError as error:
            raise BrokenHopError(str(error), "socket-missing") from error
        mode, group = stat.S_IMODE(status.st_mode), grp.getgrgid(status.st_gid).gr_name
        if mode != 0o660 or group != self.known.proxy_group:
            due = f"0660 and {self.known.proxy_group} are due"
            raise BrokenHopError(f"{path} has mode {mode:04o} and group {group}; {due}", "socket-permissions", path=path)
        if not as_account(Account.of(self.known.proxy_user, self.known.proxy_group), lambda: os.access(path, os.R_OK | os.W_OK)):
            raise BrokenHopError(f"{self.known.proxy_user} cannot reach {path}", "socket-permissions", path=path)
        return f"{path} 0660 {group}"

    def server(self) -> str:
        live = self.releases.live_id()
        if not live:
            raise BrokenHopError("no release is live", "release-none", current=self.known.current)
        unit = f"{self.name}@{live}.service"
        if not is_active(unit):
            seen = serve.why(unit)
            raise BrokenHopError(f"{unit} is not active\n{journal(unit, 10)}\n{seen.evidence}", seen.problem, **seen.values)
        # A release that systemd is stopping answers its last requests; on a busy machine that takes seconds.
        others = [other for other in serving_units(self.name) if other != unit]
        if others:
            raise BrokenHopError(f"besides {unit} there still runs {', '.join(others)}", "server-beside", unit=" ".join(others))
        opened = f"; the sandbox is open for {', '.join(self.known.openings)}" if self.known.openings else ""
        return f"release {live}{opened}"

    def timers(self) -> str:
        """Each waits for its next time, and the last run went well."""
        found = timers.status(self.known)
        if found.state == FAILED:
            off = found.evidence.startswith("not active: ")
            timer = found.evidence.removeprefix("not active: ").replace(",", " ").split()[0]
            raise BrokenHopError(f"{found.evidence}. {found.fix}", "timer-off" if off else "timer-failed", timer=timer)
        return found.evidence

    def app(self) -> str:
        """The readiness path that is named, or that the rehearsal of the live release found."""
        noted = str(self.releases.live_manifest().get("ready") or "")
        found = probe(
            lambda path: get(self.known.socket, path, self.domain, min(5, self.patience)), self.known.ready, noted, self.known.prefix
        )
        if not found.good:
            raise BrokenHopError(found.told(), "app-refuses-host" if found.answer.status == 400 else "app-not-ready")
        return f"GET {found.path} {found.answer.status}"

    def postgres(self) -> str:
        """Reached as the app reaches it."""
        try:
            version = self.query("SHOW server_version")
        except (CommandError, OSError) as error:
            values = {"used": "all", "most": "them", "who": "pg_stat_activity says who has them"}
            raise BrokenHopError(tail(str(error), 3), data.refusal(str(error)), **values) from error
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
                raise BrokenHopError(f"{path}: {error}", "sqlite-broken", path=path) from error
        return ", ".join(found)

    def other(self) -> str:
        """Nothing is asked of it: how would be the app's own affair."""
        return f"{self.known.database['url']}: neither backed up nor restored by Slipway (docs/data.md, Other databases)"

    def redis(self) -> str:
        account = Account.of(self.known.user, self.known.group)
        try:
            answer = command("redis-cli", "-s", self.known.redis_socket, "ping", account=account).strip()
        except (CommandError, OSError) as error:
            raise BrokenHopError(tail(str(error), 3), "redis-refused" if "Permission denied" in str(error) else "redis-down") from error
        if "Permission denied" in answer:
            raise BrokenHopError(answer, "redis-refused")
        if answer != "PONG":
            raise BrokenHopError(answer, "redis-down")
        return "PONG"

    def backup(self) -> str:
        """Taken each night, and none is overdue."""
        path = self.known.config_dir / "backup.json"
        if not path.exists():
            raise BrokenHopError(f"no backups are set up: there is no {path}", "backup-unscheduled")
        found = scheduled(Config.parse(path.read_text(encoding="utf-8")), path)
        if found.state == FAILED:
            unscheduled, stale, unproven = (word in found.evidence for word in ("no cron job", "success:", "verif"))
            kind = "backup-unscheduled" if unscheduled else "backup-stale" if stale else "backup-proof" if unproven else "backup-failed"
            raise BrokenHopError(found.evidence, kind)
        return found.evidence

    def logs(self) -> str:
        rule = Path(f"/etc/logrotate.d/{self.name}")
        if not rule.is_file():
            raise BrokenHopError(f"{rule} is absent", "logs-unrotated", path=rule)
        return "rotated"

    def public_endpoint(self) -> str:
        if self.releases.closed:
            return "closed for maintenance (slipway.vps.maintenance -e on=false opens it)"
        front = f"{self.known.prefix}/"
        answer = visit(self.domain, front, self.patience)
        if not answer.status:
            raise BrokenHopError(f"no answer: {answer.body}", "endpoint-error", status="no answer", request="<id>")
        if answer.status >= 500:
            text = f"GET https://{self.domain}{front} answered {answer.status}; request id {answer.request_id}"
            raise BrokenHopError(text, "endpoint-error", status=answer.status, request=answer.request_id)
        if answer.status in (301, 302, 303, 307, 308) and self.leads_to_itself(front):
            raise BrokenHopError(f"GET https://{self.domain}{front} leads back to itself", "redirect-loop", path=front)
        return f"GET https://{self.domain}{front} {answer.status}"

    def leads_to_itself(self, path: str) -> bool:
        """Whether redirects of this site, followed as a browser does, come back to where they were."""
        seen: set[str] = set()
        while path not in seen and len(seen) < 10:
            seen.add(path)
            connection = PublicConnection(self.domain, 10)
            try:
                connection.request("GET", path, headers={"Host": self.domain})
                response = connection.getresponse()
                target = urllib.parse.urlsplit(urllib.parse.urljoin(f"https://{self.domain}{path}", response.getheader("Location") or ""))
            except (OSError, http.client.HTTPException):
                return False
            finally:
                connection.close()
            if response.status not in (301, 302, 303, 307, 308) or target.hostname != self.domain:
                return False
            path = (target.path or "/") + (f"?{target.query}" if target.query else "")
        return True

    def pages(self) -> str:
        """Pages and static files as a browser gets them."""
        if self.releases.closed:
            return "closed for maintenance"
        if self.patience < PATIENCE:
            raise BrokenHopError("not read: the app does not answer")
        reader = Reader(self.domain, self.app_headers, functools.partial(fetch, timeout=self.patience))
        found = list(reader.static(self.known.current, dict(self.known.static)))
        place = self.known.current / ".static"
        seen = [Seen("static-missing", f"{one.where}: {one.what}", {"path": one.where, "place": str(place)}) for one in found]
        for path in self.known.verify_paths:
            found += reader.read(path)
        if found:
            raise AdviceError(found, seen)
        return f"{', '.join(self.known.verify_paths)}: nothing that a browser would refuse"

    def app_headers(self, path: str) -> list[str]:
        """Names of the headers that the app itself sends: what it does not, nginx fills in."""
        connection = UnixConnection(self.known.socket, timeout=self.patience)
        try:
            headers = {"Host": self.domain, "X-Forwarded-Proto": "https", "X-Forwarded-Host": self.domain, "Accept": "text/html"}
            connection.request("GET", path, headers=headers)
            return [name.lower() for name, _ in connection.getresponse().getheaders()]
        except (OSError, http.client.HTTPException):
            return []
        finally:
            connection.close()
