# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""Walk the request path of an app, hop by hop, on its host."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: verify
short_description: Walk the request path of an app, hop by hop, on its host
version_added: 0.1.0
description:
  - Looks at each hop between a visitor and the database, in order, by itself, so that the hop that is broken is named and not only
    the 502 that follows from it. Changes nothing.
  - Fails when a check fails; the result has all checks either way.
author:
  - The Slipway authors
options:
  name:
    description: Name of the app.
    type: str
    required: true
  domains:
    description: Domain names; the first is canonical.
    type: list
    elements: str
    required: true
  user:
    description: User of the app.
    type: str
    required: true
  group:
    description: Its group.
    type: str
    required: true
  socket:
    description: Socket between nginx and Gunicorn.
    type: path
    required: true
  proxy_group:
    description: Group that may open it.
    type: str
    required: true
  root:
    description: Folder of the app.
    type: path
    required: true
  ready:
    description: Readiness path.
    type: str
    required: true
  certificate:
    description: Certificate that nginx should serve.
    type: path
    required: true
  certificate_status:
    description: Status file of the program that keeps it; says why there is none.
    type: path
    required: true
  database_url:
    description: Database of the app.
    type: str
    required: true
  redis_socket:
    description: Socket of the app's Redis.
    type: path
    required: true
  backup_dir:
    description: Folder of the backups.
    type: path
    required: true
  backup_command:
    description: The program that takes them, with its options; it is asked for its C(status). Without it only the schedule is looked at.
    type: str
    default: ""
attributes:
  check_mode:
    description: Changes nothing in either mode.
    support: full
"""

EXAMPLES = r"""
- name: Walk the request path
  slipway.vps.verify:
    name: blog
    domains: [blog.example.com]
    user: blog
    group: blog
    socket: /run/blog/gunicorn.sock
    proxy_group: www-data
    root: /srv/blog
    ready: /healthz/ready
    certificate: /etc/ssl/blog/fullchain.pem
    certificate_status: /var/lib/slipway/blog-tls.json
    database_url: postgresql:///blog?host=/run/postgresql
    redis_socket: /run/redis-blog/redis.sock
    backup_dir: /var/backups/blog
    backup_command: /usr/local/bin/slipway blog backup
"""

RETURN = r"""
checks:
  description: All checks in the order of the path, each with C(hop), C(check), C(result), C(evidence) and C(fix).
  type: list
  elements: dict
  returned: always
broken:
  description: Those that failed by themselves. A check that failed because of another hop has C(behind <hop>) as its result.
  type: list
  elements: dict
  returned: always
"""

import grp
import http.client
import json
import re
import shlex
import socket
import ssl
import stat
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.slipway.vps.plugins.module_utils.database_url import libpq, parse
from ansible_collections.slipway.vps.plugins.module_utils.releases import Store
from ansible_collections.slipway.vps.plugins.module_utils.system import (
    Account,
    CommandError,
    command,
    get,
    instances,
    is_active,
    journal,
    tail,
    visit,
)

CRON = Path("/etc/cron.d")
#: Seconds until a schedule must have brought its first backup: a day, and two hours for a long night.
FIRST_NIGHT = 26 * 3600


class BrokenHopError(Exception):
    """A check failed; the text is what was seen."""


class RequestPath:
    """The request path of one app on this host. Each method is one check: it returns what it saw, or raises."""

    def __init__(self, parameters: dict[str, Any]) -> None:
        self.p = parameters
        self.name: str = parameters["name"]
        self.domain: str = parameters["domains"][0]
        self.store = Store(Path(parameters["root"]))

    def firewall(self) -> str:
        status = command("ufw", "status")
        if "Status: active" not in status:
            raise BrokenHopError(status.strip())
        closed = [port for port in ("80/tcp", "443/tcp") if not any(line.startswith(port) for line in status.splitlines())]
        if closed:
            raise BrokenHopError(f"no rule opens {' and '.join(closed)}")
        return "active; 80 and 443 open"

    def tls(self) -> str:
        served = self.served_certificate()
        on_disk = ssl.PEM_cert_to_DER_cert(Path(self.p["certificate"]).read_text().split("-----END")[0] + "-----END CERTIFICATE-----\n")
        if served != on_disk:
            raise BrokenHopError(f"the certificate served is not the one in {self.p['certificate']}")
        with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
            file.write(ssl.DER_cert_to_PEM_cert(served))
            file.flush()
            facts = dict(
                line.split("=", 1)
                for line in command("openssl", "x509", "-in", file.name, "-noout", "-subject", "-issuer", "-enddate").splitlines()
                if "=" in line
            )
            names = command("openssl", "x509", "-in", file.name, "-noout", "-ext", "subjectAltName")
        named = re.findall(r"DNS:([^,\s]+)", names)
        absent = [domain for domain in self.p["domains"] if domain not in named and f"*.{domain.partition('.')[2]}" not in named]
        left = (datetime.fromtimestamp(ssl.cert_time_to_seconds(facts["notAfter"]), timezone.utc) - datetime.now(timezone.utc)).days
        if absent:
            raise BrokenHopError(f"the certificate does not name {', '.join(absent)}. {self.cause()}".strip())
        if facts["subject"].strip() == facts["issuer"].strip():
            raise BrokenHopError(f"the placeholder is served: no certificate has been issued yet. {self.cause()}".strip())
        if left < 1:
            raise BrokenHopError(f"the certificate ended on {facts['notAfter']}. {self.cause()}".strip())
        if not is_active(f"{self.name}-tls.timer"):
            raise BrokenHopError(f"nothing renews the certificate: {self.name}-tls.timer is not active")
        return f"issued by{facts['issuer'].replace(' = ', '=').replace('CN=', ' CN=', 1).replace('  ', ' ')}; {left} days left"

    def cause(self) -> str:
        """Why the certificate is not what it should be, in the words of the program that keeps it."""
        try:
            return str(json.loads(Path(self.p["certificate_status"]).read_text())["attempt"]["reason"])
        except (OSError, ValueError, KeyError, TypeError):
            return ""

    def served_certificate(self) -> bytes:
        context = ssl.create_default_context()
        # What is served is compared with the file, so a private CA is as good as a public one here.
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        try:
            with (
                socket.create_connection(("127.0.0.1", 443), timeout=5) as plain,
                context.wrap_socket(plain, server_hostname=self.domain) as tls,
            ):
                return tls.getpeercert(binary_form=True) or b""
        except OSError as error:
            raise BrokenHopError(f"no TLS on port 443: {error}") from error

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
        path = Path(self.p["socket"])
        if not is_active(f"{self.name}.socket"):
            raise BrokenHopError(f"{self.name}.socket is not active")
        status = path.stat()
        mode, group = stat.S_IMODE(status.st_mode), grp.getgrgid(status.st_gid).gr_name
        if mode != 0o660 or group != self.p["proxy_group"]:
            raise BrokenHopError(f"{path} has mode {mode:04o} and group {group}; 0660 and {self.p['proxy_group']} are due")
        return f"{path} 0660 {group}"

    def gunicorn(self) -> str:
        live = self.store.live_id()
        if not live:
            raise BrokenHopError("no release is live")
        unit = f"{self.name}@{live}.service"
        if not is_active(unit):
            raise BrokenHopError(f"{unit} is not active\n{journal(unit, 10)}")
        others = [other for other in instances(self.name) if other != unit]
        if others:
            raise BrokenHopError(f"besides {unit} there still runs {', '.join(others)}")
        return f"release {live}"

    def app(self) -> str:
        answer = get(Path(self.p["socket"]), self.p["ready"], self.domain)
        if answer.status != 200:
            raise BrokenHopError(f"GET {self.p['ready']} answered {answer.status or 'nothing'}: {tail(answer.body, 3)[:300]}")
        return f"GET {self.p['ready']} 200"

    def postgres(self) -> str:
        url = self.p["database_url"]
        if not url.startswith("postgres"):
            return "not used"
        account = Account.of(self.p["user"], self.p["group"])
        try:
            version = command("psql", "-XAtqc", "SHOW server_version", account=account, environment=libpq(url))
        except (CommandError, OSError) as error:
            raise BrokenHopError(tail(str(error), 3)) from error
        there = parse(url)
        way = f"as {self.p['user']} over its socket" if there.over_socket else f"as {there.user or self.p['user']} on {there.host}"
        return f"{version.split()[0]}, {way}"

    def redis(self) -> str:
        account = Account.of(self.p["user"], self.p["group"])
        try:
            answer = command("redis-cli", "-s", self.p["redis_socket"], "ping", account=account).strip()
        except (CommandError, OSError) as error:
            raise BrokenHopError(tail(str(error), 3)) from error
        if answer != "PONG":
            raise BrokenHopError(answer)
        return "PONG"

    def backup(self) -> str:
        schedule = CRON / f"{self.name}-backup"
        if not schedule.is_file() or not is_active("cron.service"):
            raise BrokenHopError(f"no cron job takes backups ({schedule}, cron.service)")
        newest = sorted(path.parent.name for path in Path(self.p["backup_dir"]).glob("*/manifest.json"))
        said = f"scheduled; newest {newest[-1]}" if newest else "scheduled; none taken yet"
        if not self.p["backup_command"]:
            return said
        try:
            command(*shlex.split(self.p["backup_command"]), "status")
        except CommandError as error:
            reason = re.search(r"^error: status: (.*)", str(error), re.MULTILINE)
            troubles = reason[1].split("; ") if reason else [tail(str(error), 3)]
            # What a host's first night has yet to bring.
            young = time.time() - schedule.stat().st_mtime < FIRST_NIGHT
            if not young or not all(trouble.endswith(": never") for trouble in troubles):
                raise BrokenHopError("; ".join(troubles)) from error
            return f"{said}; the first night is to come"
        return f"{said}; all is well"

    def logs(self) -> str:
        rule = Path(f"/etc/logrotate.d/{self.name}")
        if not rule.is_file():
            raise BrokenHopError(f"{rule} is absent")
        return "rotated"

    def front_door(self) -> str:
        if self.store.closed:
            return "closed for maintenance (playbooks/maintenance.yml -e on=false opens it)"
        answer = visit(self.domain, "/")
        if not answer.status:
            raise BrokenHopError(f"no answer: {answer.body}")
        if answer.status >= 500:
            raise BrokenHopError(f"GET https://{self.domain}/ answered {answer.status}; request id {answer.request_id}")
        return f"GET https://{self.domain}/ {answer.status}"


class Check(NamedTuple):
    """One look at one hop. ``behind``: hops without which it cannot succeed, so that their failure explains its own."""

    hop: str
    check: str
    look: Callable[[RequestPath], str]
    fix: str
    behind: tuple[str, ...] = ()


SITE = "ansible-playbook site.yml --tags"
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
    Check("gunicorn", "the live release runs", RequestPath.gunicorn, "ansible-playbook playbooks/deploy.yml; journalctl -u '{name}@*'"),
    Check("app", "ready", RequestPath.app, "journalctl -u '{name}@*' -n 50", ("socket", "gunicorn", "postgres", "redis")),
    Check("postgres", "reachable as the app", RequestPath.postgres, f"{SITE} data; journalctl -u 'postgresql@*'"),
    Check("redis", "reachable as the app", RequestPath.redis, f"{SITE} data; journalctl -u redis-server@{{name}}"),
    Check("backup", "taken by cron", RequestPath.backup, f"{SITE} keep; then: journalctl -t {{name}}-backup, and playbooks/backup.yml"),
    Check("logs", "rotated", RequestPath.logs, f"{SITE} keep"),
    Check(
        "front door",
        "a visitor's request",
        RequestPath.front_door,
        "journalctl -u '{name}@*' -n 50",
        ("nginx", "socket", "gunicorn", "app"),
    ),
)


def walk(path: RequestPath, checks: Sequence[Check] = CHECKS) -> list[dict[str, str]]:
    """All checks in order. One that fails does not stop the rest; one that fails because of another hop is said to be behind it."""
    found = []
    for check in checks:
        try:
            result, evidence = "ok", check.look(path)
        except (BrokenHopError, CommandError, OSError, KeyError, ValueError) as error:
            result, evidence = "BROKEN", str(error) or type(error).__name__
        fix = check.fix.format(name=path.name)
        found.append({"hop": check.hop, "check": check.check, "result": result, "evidence": evidence, "fix": fix})
    broken = {row["hop"] for row in found if row["result"] == "BROKEN"}
    for row, check in zip(found, checks, strict=True):
        causes = [hop for hop in check.behind if hop in broken]
        if row["result"] == "BROKEN" and causes:
            row["result"] = f"behind {' and '.join(causes)}"
    return found


def main() -> None:
    text = {"type": "str", "required": True}
    path = {"type": "path", "required": True}
    module = AnsibleModule(
        argument_spec={
            **dict.fromkeys(("name", "user", "group", "proxy_group", "ready"), text),
            "database_url": {**text, "no_log": True},
            **dict.fromkeys(("socket", "root", "certificate", "certificate_status", "redis_socket", "backup_dir"), path),
            "domains": {"type": "list", "elements": "str", "required": True},
            "backup_command": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    checks = walk(RequestPath(module.params))
    broken = [check for check in checks if check["result"] == "BROKEN"]
    result: dict[str, Any] = {"changed": False, "checks": checks, "broken": broken}
    if broken:
        module.fail_json(msg=f"{len(broken)} of {len(checks)} checks failed: {', '.join(c['hop'] for c in broken)}", **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
