"""Runs and hosts as the report gets them: what the pages of its tests, and the picture in the docs, are made of."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import Any

from ansible_collections.slipway.vps.plugins.plugin_utils.report import document

#: When each of these runs has ended.
NOW = datetime(2026, 11, 28, 7, 42, 10, tzinfo=timezone.utc)
GB, MB = 10**9, 10**6


def ago(days: float = 0, hours: float = 0, minutes: float = 0) -> str:
    return (NOW - timedelta(days=days, hours=hours, minutes=minutes)).strftime("%Y-%m-%dT%H:%M:%SZ")


def check(hop: str, name: str, evidence: str, seconds: float, result: str = "ok", fix: str = "", **more: Any) -> dict[str, Any]:
    return {"hop": hop, "check": name, "result": result, "evidence": evidence, "fix": fix, "seconds": seconds, "advice": [], **more}


def checks(name: str = "blog", domain: str = "blog.example.com") -> list[dict[str, Any]]:
    """A healthy walk."""
    return [
        check("firewall", "ufw is active", "active; 80 and 443 open", 0.081),
        check("tls", "certificate served", "issued by C=US, O=Let's Encrypt, CN=R11; 61 days left", 0.043),
        check("nginx", "server and configuration", "active; configuration valid", 0.052),
        check("nginx", "HTTP to HTTPS", f"308 to https://{domain}/", 0.003),
        check("socket", "only the proxy may open it", f"/run/{name}/gunicorn.sock 0660 www-data", 0.009),
        check("server", "the live release runs", "release 20261125T100610-9f2c817; the sandbox is open for mail", 0.024),
        check("app", "ready", "GET /healthz/ready 200", 0.012),
        check("postgres", "reachable as the app", f"17.6, as {name} over its socket", 0.031),
        check("redis", "reachable as the app", "PONG", 0.006),
        check("timers", "run, and ran well", "digest ended well at Sat 2026-11-28 06:00:04 UTC", 0.019),
        check("backup", "taken by cron", "newest 20261128T024100Z, all is well", 0.014),
        check("logs", "rotated", "rotated", 0.001),
        check("public endpoint", "a visitor's request", f"GET https://{domain}/ 200", 0.047),
        check("pages", "as a browser sees them", "/, /posts/1: nothing that a browser would refuse", 0.138),
    ]


def release(number: int, days: float, state: str = "retired", **changes: Any) -> dict[str, Any]:
    moment = NOW - timedelta(days=days)
    return {
        "id": f"{moment:%Y%m%dT%H%M%S}-9f2c81{number}",
        **{"state": state, "live": state == "live", "on_trial": False, "version": f"v1.{number}.0", "commit": f"9f2c81{number}a"},
        **{
            "created_at": ago(days, minutes=2),
            "live_at": ago(days),
            "created_by": "ada",
            "schema": f"4e1f0{number}",
            "bytes": 86 * MB + number * MB,
        },
        "failure": None,
        **changes,
    }


def releases() -> dict[str, Any]:
    failure = {"step": "rehearse", "reason": "GET /healthz/ready answered 500"}
    failed = release(6, 3.4, "failed", live_at=None, failure=failure)
    live = release(7, 2.9, "live", version="v1.6.1")
    return {
        "live": live["id"],
        "closed": False,
        "all": [live, failed, release(5, 9), release(4, 16.5), release(3, 17.1), release(2, 31), release(1, 44)],
    }


def backups(days: int = 14) -> dict[str, Any]:
    def one(back: int) -> dict[str, Any]:
        moment = (NOW - timedelta(days=back)).replace(hour=2, minute=41, second=0)
        proof = {"good": True, "at": ago(back, hours=4), "restore_seconds": 3.1 + back / 10, "rows": 18203 - 40 * back}
        return {
            **{"name": f"{moment:%Y%m%dT%H%M%SZ}", "label": "", "taken_at": moment.isoformat(), "bytes": 48 * MB - back * MB // 5},
            **{"whole": True, "tables": 23, "rows": 18203 - 40 * back, "proof": proof if back != 5 else None},
        }

    return {
        **{"all": [one(back) for back in range(days)], "damaged": [], "failures": {}, "proves": True, "keep_days": 14},
        **{"offsite": True, "offsite_at": ago(hours=4)},
    }


def certificate(domain: str = "blog.example.com", left: float = 61) -> dict[str, Any]:
    begins, ends = NOW - timedelta(days=90 - left), NOW + timedelta(days=left)
    return {
        **{"names": [domain, f"www.{domain}"], "issuer": "C=US, O=Let's Encrypt, CN=R11", "source": "acme", "served": True},
        **{
            "not_before": begins.isoformat(),
            "not_after": ends.isoformat(),
            "lifetime_days": 90.0,
            "left_days": left,
            "left_share": left / 90,
        },
        **{"renew_at": (begins + timedelta(days=54)).isoformat(), "alarm_at": (begins + timedelta(days=60)).isoformat()},
    }


def unit(name: str, **changes: Any) -> dict[str, Any]:
    usual = {"state": "active", "since": ago(2.9), "memory": 212 * MB, "cpu_seconds": 1740.2, "tasks": 21, "restarts": 0, "exposure": 1.3}
    return {"unit": name, **usual, **changes}


def app(name: str = "blog", domain: str = "blog.example.com") -> dict[str, Any]:
    subjects = [
        {"subject": "release", "state": "ok", "evidence": "v1.6.1 is live", "fix": "", "since": ago(2.9)},
        {"subject": "backups", "state": "ok", "evidence": "newest 20261128T024100Z, all is well", "fix": "", "since": None},
    ]
    return {
        **{"domain": domain, "names": [domain, f"www.{domain}"], "prefix": "", "protocols": ["TLSv1.2", "TLSv1.3"]},
        "sandbox": {"level": "full", "network": "any", "allowed": ["mail"]},
        "status": {"state": "ok", "subjects": subjects},
        **{"releases": releases(), "certificate": certificate(domain), "backups": backups()},
        "units": [
            unit(f"{name}.socket", memory=None, cpu_seconds=None, tasks=None, exposure=None),
            unit(f"{name}@20261125T100610-9f2c817.service"),
            unit(f"{name}-worker@20261125T100610-9f2c817.service", memory=128 * MB, cpu_seconds=412.7, tasks=5),
        ],
        "slice": {"memory": 351 * MB, "memory_max": 1200 * MB, "cpu_seconds": 2153.0, "tasks": 26, "tasks_max": 512},
        "database": {"bytes": 164 * MB},
    }


def machine(name: str = "web1") -> dict[str, Any]:
    return {
        **{"name": name, "system": "Debian GNU/Linux 13 (trixie)", "kernel": "6.12.57+deb13-amd64", "architecture": "x86_64", "cpus": 2},
        **{"load": [0.31, 0.22, 0.18], "booted_at": ago(24.4), "processes": 143, "clock_synchronized": True},
        "memory": {"total": 4 * GB, "available": int(2.3 * GB), "swap_total": GB, "swap_free": int(0.97 * GB), "pressure": 0.0},
        "disks": [
            {
                "holds": ["/", "/var", f"/srv/{name}"],
                "total": 40 * GB,
                "free": int(24.6 * GB),
                "inodes": 2_621_440,
                "inodes_free": 2_403_118,
            },
            {"holds": ["/var/backups"], "total": 20 * GB, "free": int(11.2 * GB), "inodes": None, "inodes_free": None},
        ],
        "updates": {"pending": 4, "security": 0, "names": [], "looked_at": ago(hours=3.2)},
        "reboot": {"required": False, "packages": []},
        "ports": [
            *({"protocol": "tcp", "port": port, "process": process} for port, process in ((22, "sshd"), (80, "nginx"), (443, "nginx"))),
        ],
        "exposure": {"nginx.service": 2.2, "postgresql@17-main.service": 2.5, "redis-server@blog.service": 1.6},
    }


def state(name: str = "blog", domain: str = "blog.example.com", on: str = "web1", **changes: Any) -> dict[str, Any]:
    about = {"machine": {**machine(on), **changes}, "apps": {name: app(name, domain)}}
    return {"format": 1, "taken_at": ago(minutes=0.1), "seconds": 1.4, **about, "gaps": {}}


CHANGES = [
    {
        "play": "Socket to Gunicorn to the live release",
        "task": "release: Build the release",
        "details": ["20261125T100610-9f2c817"],
        "would": False,
    },
    {"play": "Socket to Gunicorn to the live release", "task": "release: Migrate the database", "details": ["4e1f07"], "would": False},
    {"play": "Socket to Gunicorn to the live release", "task": "release: Switch visitors over", "details": [], "would": False},
    {
        "play": "Client to firewall to nginx and TLS",
        "task": "nginx: Write the site",
        "details": ["/etc/nginx/sites-available/blog.conf"],
        "would": False,
    },
    {"play": "Client to firewall to nginx and TLS", "task": "nginx: Reload nginx", "details": ["nginx.service reloaded"], "would": False},
]


def host(name: str = "blog", **changes: Any) -> dict[str, Any]:
    """One entry of the inventory, as `document` lets it through."""
    given = {
        **{"host": name, "app": name, "url": f"https://{name}.example.com/", "seconds": 74.2, "stopped": False, "machine": "web1"},
        **{"changes": CHANGES, "failures": [], "warnings": [], "walk": {"checks": checks(name), "findings": []}, "state": state(name)},
        **changes,
    }
    walk, known = given["walk"], given["state"]
    return {**given, "walk": document.pick(walk, document.WALK) if walk else None, "state": document.pick(known, document.STATE)}


def run(**changes: Any) -> dict[str, Any]:
    usual = {"playbook": "deploy", "started": NOW.timestamp() - 74.2, "ended": NOW.timestamp(), "check": False}
    look = "ansible-playbook -i inventories/blog slipway.vps.verify -e report=report.html"
    return {**usual, "next": ["Open https://blog.example.com/"], "look": look, **changes}


def broken(name: str = "blog") -> dict[str, Any]:
    """PostgreSQL is down, and the run says so."""
    fix = "ansible-playbook slipway.vps.site --tags data; journalctl -u 'postgresql@*'"
    found = checks(name)
    evidence = (
        'psql: error: connection to server on socket "/run/postgresql/.s.PGSQL.5432" failed: No such file or directory\n'
        "Is the server running locally and accepting connections on that socket?"
    )
    for one in found:
        if one["hop"] == "postgres":
            one.update(
                result="BROKEN", evidence=evidence, fix="ansible-playbook slipway.vps.site --tags data; journalctl -u 'postgresql@*'"
            )
        if one["hop"] in ("app", "public endpoint"):
            one.update(result=f"behind {'postgres' if one['hop'] == 'app' else 'app'}", evidence="GET /healthz/ready answered 503")
    failure = {
        **{
            "play": "Verify",
            "task": "Stop when a hop is broken",
            "unreachable": False,
        },
        "message": f"postgres: reachable as the app failed.\n  fix: {fix}",
        "points": [["postgres: reachable as the app failed.", fix]],
    }
    return host(name, walk={"checks": found, "findings": []}, failures=[failure])


def tired(name: str = "shop") -> dict[str, Any]:
    """It works, and the machine has its troubles."""
    found = checks(name, f"{name}.example.com")
    found[-1].update(result="warning", evidence="1, below")
    found[-1]["advice"] = [{"where": "/", "what": "static/app.css is missing", "fix": "app_static"}]
    disks = [{"holds": ["/"], "total": 20 * GB, "free": int(1.1 * GB), "inodes": 100, "inodes_free": 60}]
    waiting = {"pending": 9, "security": 2, "names": ["libssl3t64", "openssl"], "looked_at": ago(hours=3)}
    known = state(
        name, f"{name}.example.com", "web2", disks=disks, updates=waiting, reboot={"required": True, "packages": ["linux-image-amd64"]}
    )
    known["apps"][name]["backups"] = {**backups(6), "failures": {"offsite": {"at": ago(hours=4), "reason": "connection refused"}}}
    known["apps"][name]["certificate"] = certificate(f"{name}.example.com", 34)
    known["gaps"] = {f"{name}.database": "no answer within 3 seconds"}
    return host(name, walk={"checks": found, "findings": []}, state=known, machine="web2", changes=[])


def long() -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Names as long as they may be, and evidence without a space."""
    name, word = "a" * 32, "x" * 300
    found = host(name, host=f"{name}.{word[:60]}", state=state(name, f"{'b' * 60}.{'c' * 60}.example.com"), machine=word[:60])
    for check in found["walk"]["checks"]:
        check.update(evidence=word, check=f"{check['check']} {word[:80]}")
    found["walk"]["checks"][2].update(result="BROKEN", fix=f"ansible-playbook {word}")
    found["changes"] = [{"play": word[:90], "task": word, "details": [word, word], "would": False}] * 3
    found["state"]["machine"].update(name=word[:64], kernel=word[:60])
    for release in found["state"]["apps"][name]["releases"]["all"]:
        release.update(version=word[:100], created_by=word[:40])
    for unit in found["state"]["apps"][name]["units"]:
        unit.update(unit=word[:200])
    return run(), [found, host()]


def situations() -> Mapping[str, tuple[dict[str, Any], list[dict[str, Any]]]]:
    """By name the run and its hosts."""
    return {
        "healthy": (run(), [host()]),
        "broken": (run(playbook="verify", next=["Then: ansible-playbook -i inventories/blog slipway.vps.verify"]), [broken()]),
        "two": (run(playbook="site"), [host(), tired("shop"), broken("wiki")]),
        "long": long(),
    }


def times(value: Any) -> list[str]:
    """Every text in a document that is a time."""
    if isinstance(value, dict):
        return [text for one in value.values() for text in times(one)]
    if isinstance(value, list):
        return [text for one in value for text in times(one)]
    return [value] if isinstance(value, str) and value[:3] == "202" and "T" in value and ":" in value else []
