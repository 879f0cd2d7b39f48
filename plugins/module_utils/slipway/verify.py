# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""Walk the request path of an app, hop by hop: the hop that is broken is named, and not only the 502 that follows from it.

`slipway <app> verify` shows all checks; `slipway <app> doctor` the causes of what is wrong, and what mends it.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from .app import App
from .core.errors import SlipwayError
from .core.status import DEGRADED
from .core.text import table
from .doctor import client, data, machine, serve, smoke
from .doctor.findings import BrokenHopError, Finding, Problem, Seen, TroubleError, diagnose, found
from .doctor.problems import BY_ID
from .hops import HURRY, PATIENCE, AdviceError, RequestPath
from .pages import Advice


class Check(NamedTuple):
    """One probe of one hop. ``behind``: hops without which it cannot succeed, so that their failure explains its own."""

    hop: str
    check: str
    probe: Callable[[RequestPath], str]
    fix: str
    behind: tuple[str, ...] = ()
    #: Whether the app has this hop.
    used: Callable[[RequestPath], bool] = lambda path: True
    #: Not asked in the walk after each deploy: it tells of what no deploy changes.
    thorough: bool = False


SITE = "ansible-playbook slipway.vps.site --tags"


def _postgres(path: RequestPath) -> bool:
    return path.database is not None


def _own_postgres(path: RequestPath) -> bool:
    return path.database is not None and bool(path.known.database.get("over_socket"))


CHECKS = (
    Check("dns", "names lead here", client.dns, "see your domain's DNS", thorough=True),
    Check("dns", "ports from outside", client.outside, "the provider's firewall", ("nginx", "firewall")),
    Check("firewall", "ufw is active", RequestPath.firewall, f"{SITE} edge; then: ufw status verbose"),
    Check(
        "tls",
        "certificate served",
        RequestPath.tls,
        f"let each domain point at this host; {{name}}-tls.timer tries again, {SITE} edge at once",
        ("nginx",),
    ),
    Check("nginx", "ports 80 and 443", client.ports, "ss -ltnp"),
    Check("nginx", "server and configuration", RequestPath.nginx, "nginx -t; journalctl -u nginx"),
    Check("redirect", "HTTP to HTTPS", RequestPath.redirect, f"nginx -t; {SITE} edge", ("nginx",)),
    Check("nginx", "who comes", serve.hops, "nginx_trusted_proxies", thorough=True),
    Check("socket", "only the proxy may open it", RequestPath.socket, f"{SITE} serve; then: systemctl status {{name}}.socket"),
    Check("server", "the live release runs", RequestPath.server, "ansible-playbook slipway.vps.deploy; journalctl -u '{name}@*'"),
    Check("server", "its processes run", serve.processes, "journalctl -u '{name}-*' -n 50", ("postgres", "redis")),
    Check("server", "workers are free", serve.queue, "server_workers, server_threads", ("server",)),
    Check("server", "requests lately", serve.lately, "journalctl -u '{name}@*' -n 50", thorough=True),
    Check("release", "no deploy was cut off", serve.release, "ansible-playbook slipway.vps.deploy", thorough=True),
    Check("app", "ready", RequestPath.app, "journalctl -u '{name}@*' -n 50", ("socket", "server", "postgres", "sqlite", "redis")),
    Check("uploads", "files can be kept and served", serve.uploads, f"{SITE} serve"),
    Check("postgres", "reachable as the app", RequestPath.postgres, f"{SITE} data; journalctl -u 'postgresql@*'", used=_postgres),
    Check("postgres", "locks and connections", data.strain, "pg_stat_activity", ("postgres",), _own_postgres, thorough=True),
    Check("schema", "as the release expects", data.schema, "ansible-playbook slipway.vps.deploy", ("postgres",), _postgres),
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
    Check("redis", "takes and keeps", data.redis, f"{SITE} data", ("redis",), lambda path: path.known.redis_local),
    Check("timers", "run, and ran well", RequestPath.timers, "journalctl -u '{name}-<timer>' -n 50", ("server",)),
    Check("backup", "taken by cron", RequestPath.backup, f"{SITE} keep; then: journalctl -t {{name}}-backup, and slipway.vps.backup"),
    Check("logs", "rotated", RequestPath.logs, f"{SITE} keep"),
    Check("machine", "room on the disks", machine.room, "df -h"),
    Check("machine", "memory", machine.memory, "free -h"),
    Check("machine", "clock", machine.clock, "timedatectl", thorough=True),
    Check("machine", "updates", machine.updates, "unattended-upgrade -v", thorough=True),
    Check("machine", "units", machine.failed_units, "systemctl --failed", thorough=True),
    Check(
        "public endpoint",
        "a visitor's request",
        RequestPath.public_endpoint,
        "journalctl -u '{name}@*' -n 50",
        ("nginx", "tls", "socket", "server", "app"),
    ),
    Check(
        "smoke",
        "as app_smoke says",
        smoke.smoke,
        "app_smoke, or the app: slipway {name} logs --request <id>",
        ("nginx", "tls", "socket", "server", "app", "public endpoint"),
        used=lambda path: bool(path.smoke),
    ),
    Check("pages", "as a browser sees them", RequestPath.pages, "see above", ("nginx", "socket", "server", "app", "public endpoint")),
)


class Walk(NamedTuple):
    """What a walk found.

    :arg rows: each check in order, with its result: ``ok``, ``warning``, ``BROKEN``, or ``behind <hop>``.
    :arg findings: the problems that explain what is not ok; none where all is well.
    """

    rows: list[dict[str, Any]]
    findings: list[Finding]

    @property
    def broken(self) -> list[dict[str, Any]]:
        """The checks that failed by themselves."""
        return [row for row in self.rows if row["result"] == "BROKEN"]

    @property
    def advice(self) -> list[dict[str, str]]:
        """What a browser would refuse, and the like: it fails nothing."""
        return [item for row in self.rows for item in row["advice"]]

    def data(self) -> dict[str, Any]:
        """The same as JSON has it."""
        findings = [finding._asdict() for finding in self.findings]
        return {"checks": self.rows, "broken": self.broken, "findings": findings, "advice": self.advice}


def walk(path: RequestPath, checks: Sequence[Check] = CHECKS, thorough: bool = True) -> Walk:
    """All checks in order. One that fails does not stop the rest; one that fails because of another hop is said to be behind it.

    :arg thorough: with the checks of what no deploy changes.
    """
    asked = [check for check in checks if check.used(path) and (thorough or not check.thorough)]
    rows: list[dict[str, Any]] = []
    findings: list[Finding] = []
    for check in asked:
        begun = time.monotonic()
        path.patience = HURRY if any(row["result"] == "BROKEN" and row["hop"] in check.behind for row in rows) else PATIENCE
        row, seen = ask(path, check)
        rows.append({**row, "seconds": round(time.monotonic() - begun, 2)})
        findings += [finding_of(path, check, one) for one in seen]
    broken = {row["hop"] for row in rows if row["result"] == "BROKEN"}
    for row, check in zip(rows, asked, strict=True):
        causes = [hop for hop in check.behind if hop in broken and hop != check.hop]
        if row["result"] == "BROKEN" and causes:
            row["result"] = f"behind {' and '.join(causes)}"
    return Walk(rows, diagnose(findings, explanations(findings, asked)))


def ask(path: RequestPath, check: Check) -> tuple[dict[str, Any], list[Seen]]:
    """One check: its row, and the problems that it saw."""
    advice: list[Advice] = []
    seen: list[Seen] = []
    try:
        result, evidence = "ok", check.probe(path)
    except AdviceError as error:
        advice, seen = error.found, error.seen
        result, evidence = "warning", f"{len(advice)}, below"
    except (BrokenHopError, TroubleError) as error:
        seen, evidence = error.seen, str(error)
        known = [BY_ID[one.problem] for one in seen if one.problem in BY_ID]
        result = "warning" if len(known) == len(seen) and all(problem.severity == DEGRADED for problem in known) else "BROKEN"
    except (SlipwayError, OSError, KeyError, ValueError) as error:
        result, evidence = "BROKEN", str(error) or type(error).__name__
        seen = [Seen("", evidence)]
    except Exception as error:
        # A fault in one check must not hide what the others find.
        result, evidence = "BROKEN", f"the check itself failed: {type(error).__name__}: {error}"
        seen = [Seen("", evidence)]
    row = {"hop": check.hop, "check": check.check, "result": result, "evidence": evidence, "fix": check.fix.format(name=path.name)}
    return {**row, "advice": [item._asdict() for item in advice]}, seen


def finding_of(path: RequestPath, check: Check, seen: Seen) -> Finding:
    """A problem that a check saw; one that has no name is the check's own."""
    own = Problem(f"{check.hop.replace(' ', '-')}-broken", check.hop, f"{check.check}: this is not so", "see the evidence", check.fix)
    values = {"app": path.name, "name": path.name, "domain": path.domain, **seen.values}
    return found(BY_ID.get(seen.problem, own), seen.evidence, values)


def explanations(findings: Sequence[Finding], checks: Sequence[Check]) -> dict[str, set[str]]:
    """By id of a problem: the hops and problems that follow from it."""
    explained = {}
    for finding in findings:
        named = set(BY_ID[finding.id].explains) if finding.id in BY_ID else set()
        if finding.severity != DEGRADED:
            named |= {check.hop for check in checks if finding.hop in check.behind}
        explained[finding.id] = named
    return explained


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
    verify = subjects.add_parser("verify", parents=[common], help="walk the request path, hop by hop, and do what app_smoke says")
    verify.set_defaults(handler=main)
    doctor = subjects.add_parser("doctor", parents=[common], help="what is wrong, why, and what mends it; asks what verify asks")
    doctor.set_defaults(handler=doctor_main)


def main(options: argparse.Namespace) -> int:
    """Exit status 1 when a hop is broken."""
    app = App.load(options.app)
    walked = walk(RequestPath(app, database_of(app), smoke=smoke.steps_of(app)))
    if options.json:
        print(json.dumps(walked.data()))
    else:
        print(table([{name: check[name] for name in ("hop", "check", "result", "evidence")} for check in walked.rows]))
        for check in walked.broken:
            print(f"{check['hop']}: {check['check']} failed.\n  saw: {check['evidence']}\n  fix: {check['fix']}")
        for item in walked.advice:
            print(f"warning: {item['where']}: {item['what']}\n  fix: {item['fix']}")
    return 1 if walked.broken else 0


#: Exit statuses of `doctor`: somebody has to act, or visitors notice nothing yet.
EXIT_FAILED, EXIT_DEGRADED = 1, 3


def doctor_main(options: argparse.Namespace) -> int:
    """Exit status 0: nothing is wrong; 1: something has failed; 3: something is degraded."""
    app = App.load(options.app)
    walked = walk(RequestPath(app, database_of(app), smoke=smoke.steps_of(app)))
    if options.json:
        print(json.dumps(walked.data()))
    else:
        print(told(app.name, walked.findings, len(walked.rows)))
    states = {finding.severity for finding in walked.findings}
    return 0 if not states else EXIT_DEGRADED if states == {DEGRADED} else EXIT_FAILED


def told(app: str, findings: Sequence[Finding], checks: int) -> str:
    """The findings for people, the first that is broken on the path first."""
    if not findings:
        return f"{app}: nothing is wrong ({checks} checks)."
    lines = [f"{app}: {len(findings)} problem{'s' * (len(findings) > 1)}"]
    for finding in findings:
        lines += ["", f"{finding.hop}: {finding.what}{' (visitors are served)' if finding.severity == DEGRADED else ''}"]
        lines += [f"  saw:   {finding.evidence}", f"  cause: {finding.cause}", f"  fix:   {finding.fix}"]
    return "\n".join(lines)
