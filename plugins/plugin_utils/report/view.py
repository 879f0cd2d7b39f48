# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""The page in words: what is drawn, in which state, and what stands beside it. The template only lays it out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from . import figures
from .figures import DEGRADED, FAILED, FULL, NEVER, OK, UNKNOWN, count, duration, size
from .problems import of_machine, problems

#: From bad to good.
ORDER = (FAILED, DEGRADED, UNKNOWN, OK)
#: The same of what a station can be: behind a broken one nobody knows how it is itself.
BEHIND = "behind"
STATIONS = (FAILED, BEHIND, DEGRADED, UNKNOWN, OK)
#: The stations of the request path, as the checks call them, and their names on the page.
TRUNK = {
    **{"public endpoint": "Visitor", "dns": "DNS", "firewall": "Firewall", "tls": "Certificate", "nginx": "nginx"},
    **{"socket": "Socket", "server": "Server", "app": "App"},
}
DATA = {"postgres": "PostgreSQL", "sqlite": "SQLite", "database": "Database", "redis": "Redis"}
#: What may stand in a link.
ADDRESS = re.compile(r"https://[A-Za-z0-9.-]+(:\d+)?(/[\w./-]*)?")
#: Versions of TLS that nobody should speak any more, and how they are called.
OLD = {"TLSv1": "1.0", "TLSv1.1": "1.1"}
#: Releases and backups that are listed at once; the others are behind a click.
SHOWN = 5
#: Names in the headline.
NAMED = 3


def page(run: Mapping[str, Any], hosts: Sequence[Mapping[str, Any]], now: datetime) -> dict[str, Any]:
    """Everything that the template shows."""
    entries = [_entry(number, host, now) for number, host in enumerate(hosts, 1)]
    machines = _machines(entries, now)
    found = [{**one, "of": entry["title"]} for entry in entries for one in entry["problems"]]
    found += [{**one, "of": f"machine {machine['title']}"} for machine in machines for one in of_machine(machine, hosts)]
    found.sort(key=lambda one: ORDER.index(one["state"]))
    state = _worst([*(entry["state"] for entry in entries), *(one["state"] for one in found)])
    return {
        "headline": _headline(entries, found),
        "state": state,
        "facts": _facts(run, entries),
        "when": {"iso": now.isoformat(), "text": figures.date(now)},
        **{"check": run["check"], "next": run["next"], "look": run["look"]},
        "problems": found,
        "entries": entries,
        "machines": machines,
    }


def _worst(states: Iterable[str]) -> str:
    known = set(states)
    return next((state for state in ORDER if state in known), UNKNOWN)


def _headline(entries: Sequence[Mapping[str, Any]], found: Sequence[Mapping[str, Any]]) -> str:
    failed, weak = ([one for one in found if one["state"] == state] for state in (FAILED, DEGRADED))
    whose = list(dict.fromkeys(one["of"] for one in failed))
    if len(whose) == 1:
        return f"{whose[0]}: {failed[0]['title']}{f' and {len(failed) - 1} more' if failed[1:] else ''}"
    if whose:
        where = ", ".join(whose) if len(whose) <= NAMED else f"on {len(whose)} apps and machines"
        return f"{count(len(failed), 'thing')} need you: {where}"
    if weak:
        return f"It works, with {count(len(weak), 'thing')} to look at"
    if all(entry["state"] == UNKNOWN for entry in entries):
        return "Nothing was looked at"
    return "All is well"


def _facts(run: Mapping[str, Any], entries: Sequence[Mapping[str, Any]]) -> list[str]:
    changes = sum(entry["changed"] for entry in entries)
    word = "would be made" if run["check"] else "made"
    return [
        *([run["playbook"]] if run["playbook"] else []),
        count(len(entries), "host"),
        duration(run["ended"] - run["started"]),
        f"{count(changes, 'change')} {word}" if changes else "nothing would change" if run["check"] else "nothing changed",
    ]


# --- An app -------------------------------------------------------------------------------------


def _entry(number: int, host: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    document = host["state"] or {}
    apps = document.get("apps") or {}
    name = host["app"] or next(iter(apps), "")
    app = apps.get(name) or {}
    found = problems(host, app)
    walked = host["walk"]["checks"] if host["walk"] else []
    state = _worst(one["state"] for one in found) if found else OK if walked or app else UNKNOWN
    title = name or host["host"]
    changes = _changes(host["changes"])
    return {
        "title": title,
        "anchor": f"app-{number}",
        "host": host["host"],
        "url": host["url"] if ADDRESS.fullmatch(host["url"]) else "",
        "state": state,
        "problems": found,
        "stopped": host["stopped"],
        "seconds": duration(host["seconds"]) if host["seconds"] else "",
        "path": _path(walked) if walked else None,
        "releases": _releases(app.get("releases"), now),
        "certificate": _certificate(app, now),
        "backups": _backups(app.get("backups"), now),
        "usage": _usage(app, now),
        "units": _units(app, now),
        "hardening": _app_hardening(app),
        "changes": changes,
        "warnings": _warnings(host),
        "changed": sum(len(group["tasks"]) for group in changes),
        "would": any(one["would"] for one in host["changes"]),
        "machine": host["machine"] or host["host"],
        "facts": document.get("machine"),
        "gaps": [{"what": name.replace(".", ": ", 1), "why": why} for name, why in (document.get("gaps") or {}).items()],
        "unknown": [one for one in ((app.get("status") or {}).get("subjects") or []) if one.get("state") == UNKNOWN],
        "looked": figures.time(document.get("taken_at"), now),
    }


def _changes(found: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """By play, in the order of the run."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for one in found:
        groups.setdefault(one["play"], []).append({"task": one["task"], "details": one["details"]})
    return [{"play": play, "tasks": tasks} for play, tasks in groups.items()]


def _warnings(host: Mapping[str, Any]) -> list[str]:
    """Those of tasks; advice of the walk stands among the problems."""
    advice = [one["what"] for check in (host["walk"] or {}).get("checks") or [] for one in check["advice"] if one["what"]]
    return [text for text in dict.fromkeys(host["warnings"]) if not any(what in text for what in advice)]


# --- The path -----------------------------------------------------------------------------------


def _path(checks: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Its stations in order. The line to a station is cut where no request gets there."""
    stations = {hop: _station(hop, label, checks) for hop, label in {**TRUNK, **DATA}.items()}
    trunk, cut = [], False
    for hop in TRUNK:
        if not (station := stations[hop]):
            continue
        # What a visitor gets says nothing of a single station.
        cut = cut or (station["state"] == FAILED and hop != "public endpoint")
        trunk.append({**station, "cut": cut and hop != "public endpoint"})
    data = [{**station, "cut": cut or station["state"] == FAILED} for hop in DATA if (station := stations[hop])]
    known = {*TRUNK, *DATA}
    others = [
        station
        for hop in dict.fromkeys(str(one["hop"]) for one in checks if one["hop"] not in known)
        if (station := _station(hop, hop, checks))
    ]
    took = sum(one["seconds"] or 0 for one in checks)
    return {
        **{"trunk": trunk, "data": data, "cut": cut, "others": others, "rows": [_row(one) for one in checks]},
        "took": duration(took) if took else "",
        "good": all(one["result"] == "ok" for one in checks),
        "count": count(len(checks), "check"),
    }


def _station(hop: str, label: str, checks: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    own = [one for one in checks if one["hop"] == hop]
    if not own:
        return None
    worst = min((_judged(one["result"]) for one in own), key=lambda judged: STATIONS.index(judged[0]))
    took = [one["seconds"] for one in own if one["seconds"] is not None]
    return {"label": label, "state": worst[0], "word": worst[1], "time": duration(sum(took)) if took else ""}


def _judged(result: str | None) -> tuple[str, str]:
    """The state of a check, and the word for it."""
    text = result or ""
    known = {"ok": (OK, "ok"), "warning": (DEGRADED, "warning"), "BROKEN": (FAILED, "broken")}
    return known.get(text) or ((BEHIND, text) if text.startswith(BEHIND) else (UNKNOWN, text or UNKNOWN))


def _row(one: Mapping[str, Any]) -> dict[str, Any]:
    state, word = _judged(one["result"])
    label = {**TRUNK, **DATA}.get(str(one["hop"]), one["hop"])
    time = duration(one["seconds"]) if one["seconds"] is not None else ""
    return {"hop": label, "check": one["check"], "state": state, "word": word, "evidence": one["evidence"] or "", "time": time}


# --- Releases, certificate, backups -------------------------------------------------------------


def _releases(found: Mapping[str, Any] | None, now: datetime) -> dict[str, Any] | None:
    if not found or not found["all"]:
        return None
    rows = []
    for one in found["all"]:
        failure = one.get("failure") or {}
        state = OK if one["live"] else FAILED if one["state"] in ("failed", "rolled-back") else UNKNOWN
        facts = [one["commit"], f"schema {one['schema']}" if one["schema"] else "", size(one["bytes"]), one["created_by"]]
        rows.append(
            {
                "title": one["version"] or one["id"],
                "id": one["id"],
                "state": DEGRADED if one["on_trial"] and one["live"] else state,
                "word": "live, watched" if one["on_trial"] and one["live"] else "live" if one["live"] else one["state"],
                "time": figures.time(one["live_at"] or one["created_at"], now),
                "facts": [fact for fact in facts if fact],
                "why": ": ".join(filter(None, (failure.get("step"), failure.get("reason")))),
            }
        )
    live = next((row for row in rows if row["word"].startswith("live")), None)
    return {"rows": rows, "live": live, "line": figures.timeline(found["all"], now), "closed": found["closed"], "shown": SHOWN}


def _certificate(app: Mapping[str, Any], now: datetime) -> dict[str, Any] | None:
    found, spoken = app.get("certificate"), app.get("protocols") or []
    if not found:
        return None
    line = figures.lifetime(found, now)
    left = found["left_days"]
    bad = found["source"] == "placeholder" or found["served"] is False or (line or {}).get("state") == FAILED
    issuer = re.search(r"(?:^|[,/ ])O=([^,/]+)", found["issuer"] or "") or re.search(r"CN=([^,/]+)", found["issuer"] or "")
    return {
        **{"names": found["names"], "issuer": issuer[1].strip() if issuer else found["issuer"], "line": line},
        **{"left": "" if left is None else count(max(0, int(left)), "day"), "state": FAILED if bad else OK},
        "ends": figures.time(found["not_after"], now),
        "renews": figures.time(found["renew_at"], now),
        "placeholder": found["source"] == "placeholder",
        "source": "your own" if found["source"] == "own" else "",
        "served": found["served"],
        "tls": _fact("TLS", ", ".join(OLD.get(name, name[4:]) for name in spoken), DEGRADED if OLD.keys() & set(spoken) else OK)
        if spoken
        else None,
    }


def _backups(found: Mapping[str, Any] | None, now: datetime) -> dict[str, Any] | None:
    if not found:
        return None
    rows = [_backup(one, bool(found["proves"]), now) for one in found["all"]]
    line = figures.nights(found["all"], found["damaged"], now)
    proven = sum(night["state"] == "proven" for night in line)
    taken = sum(night["state"] in ("proven", "taken") for night in line)
    failures = [
        {"step": step, "time": figures.time(one["at"], now), "why": one["reason"]} for step, one in (found["failures"] or {}).items() if one
    ]
    copied = figures.time(found["offsite_at"], now)
    return {
        **{"rows": rows, "line": line, "damaged": found["damaged"], "failures": failures, "shown": SHOWN},
        "newest": rows[0] if rows else None,
        "summary": f"{taken} of {count(len(line), 'day')} with a backup, {proven} proven by a restore" if line else "",
        "offsite": f"copied elsewhere {copied['about']}"
        if copied
        else "never copied elsewhere"
        if found["offsite"]
        else "not copied elsewhere",
        "offsite_state": (OK if copied else FAILED) if found["offsite"] else UNKNOWN,
        "keep": f"kept for {count(found['keep_days'], 'day')}" if found["keep_days"] else "",
    }


def _backup(one: Mapping[str, Any], proves: bool, now: datetime) -> dict[str, Any]:
    proof = one["proof"]
    if proof and proof["good"]:
        took = f" in {duration(proof['restore_seconds'])}" if proof["restore_seconds"] is not None else ""
        state, word = OK, f"restored{took}" + (f", {count(proof['rows'], 'row')}" if proof["rows"] is not None else "")
    elif proof:
        state, word = FAILED, f"no good: {proof['reason'] or 'it could not be restored'}"
    else:
        state, word = UNKNOWN, "not proven" if proves else "taken"
    kind = one["label"] or ("whole" if one["whole"] else "database")
    return {
        "name": one["name"],
        "kind": kind,
        "time": figures.time(one["taken_at"], now),
        "size": size(one["bytes"]),
        "state": state,
        "word": word,
    }


# --- Use and hardening --------------------------------------------------------------------------


def _usage(app: Mapping[str, Any], now: datetime) -> list[dict[str, Any]]:
    used = app.get("slice") or {}
    limit = used.get("memory_max")
    bars = [
        figures.meter("Memory", used.get("memory"), limit, f"{size(used.get('memory'))} of {size(limit)}"),
        figures.meter("Tasks", used.get("tasks"), used.get("tasks_max"), f"{used.get('tasks')} of {used.get('tasks_max')}"),
    ]
    return [bar for bar in bars if bar]


def _units(app: Mapping[str, Any], now: datetime) -> list[dict[str, Any]]:
    rows = []
    for one in app.get("units") or []:
        active = one["state"] == "active"
        restarts = one["restarts"] or 0
        facts = [
            size(one["memory"]) if one["memory"] and not str(one["unit"]).endswith(".socket") else "",
            f"{duration(one['cpu_seconds'])} of CPU" if one["cpu_seconds"] else "",
            f"restarted {count(restarts, 'time')}" if restarts else "",
        ]
        state = FAILED if not active else DEGRADED if restarts else OK
        rows.append(
            {
                "name": one["unit"] or "",
                "state": state,
                "word": one["state"],
                "time": figures.time(one["since"], now),
                "facts": list(filter(None, facts)),
            }
        )
    return rows


def _app_hardening(app: Mapping[str, Any]) -> dict[str, Any] | None:
    bars = [figures.exposed(one["unit"] or "", one["exposure"]) for one in app.get("units") or [] if one["exposure"] is not None]
    rows = []
    box = app.get("sandbox") or {}
    if box.get("level"):
        opened = f"; open for {', '.join(box['allowed'])}" if box["allowed"] else "; nothing is open"
        rows.append(_fact("Sandbox", f"{box['level']}{opened}", OK if box["level"] == "full" else UNKNOWN))
        rows.append(
            _fact("Network", {"any": "talks to anybody", "local": "talks to this machine alone"}.get(box["network"], box["network"]), OK)
        )
    return {"bars": bars, "rows": rows} if bars or rows else None


def _fact(label: str, text: str, state: str = OK) -> dict[str, str]:
    return {"label": label, "text": text, "state": state}


def _machines(entries: Sequence[Mapping[str, Any]], now: datetime) -> list[dict[str, Any]]:
    """Each machine once, with all its apps."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for entry in entries:
        if entry["facts"]:
            found.setdefault(entry["machine"], []).append(entry)
    return [
        {**_machine(those[0]["facts"], now), "apps": [one["title"] for one in those], "anchor": f"machine-{number}", "entry": name}
        for number, (name, those) in enumerate(found.items(), 1)
    ]


def _machine(facts: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    memory, booted = facts["memory"] or {}, figures.instant(facts["booted_at"])
    load, cpus = facts["load"], facts["cpus"] or 1
    total, available = memory.get("total"), memory.get("available")
    used = total - available if total is not None and available is not None else None
    swap = memory.get("swap_total") or 0
    swapped = swap - (memory.get("swap_free") or 0)
    bars = [
        figures.meter(
            "Processor", load[0] if load else None, cpus, f"load {load[0]:.2f} for {count(cpus, 'CPU')}" if load else "", NEVER, NEVER
        ),
        figures.meter("Memory", used, total, f"{size(used)} of {size(total)}", FULL, NEVER),
        figures.meter("Swap", swapped, swap, f"{size(swapped)} of {size(swap)}", NEVER, NEVER),
        *(bar for disk in facts["disks"] or [] for bar in _disk(disk)),
    ]
    return {
        "title": facts["name"] or "machine",
        "about": [
            fact for fact in (facts["system"], f"kernel {facts['kernel']}" if facts["kernel"] else "", facts["architecture"]) if fact
        ],
        "up": f"up {duration((now - booted).total_seconds())}" if booted and booted < now else "",
        "bars": [bar for bar in bars if bar],
        "rows": _posture(facts, now),
        "exposure": [figures.exposed(unit, value) for unit, value in (facts["exposure"] or {}).items() if value is not None],
    }


def _disk(disk: Mapping[str, Any]) -> list[dict[str, Any]]:
    place = (disk["holds"] or ["?"])[0]
    total, free, inodes, left = disk["total"], disk["free"], disk["inodes"], disk["inodes_free"]
    bars = [
        figures.meter(f"Disk {place}", None if free is None or not total else total - free, total, f"{size(free)} free of {size(total)}"),
        figures.meter(
            f"Inodes {place}", None if left is None or not inodes else inodes - left, inodes, f"{left or 0:,} free".replace(",", "\u202f")
        ),
    ]
    return [bar for bar in bars if bar]


def _posture(facts: Mapping[str, Any], now: datetime) -> list[dict[str, str]]:
    """What a glance at the machine's safety shows."""
    rows, news, reboot = [], facts["updates"], facts["reboot"] or {}
    if news and news["security"] is not None:
        asked = figures.time(news["looked_at"], now)
        since = f" (apt looked {asked['about']})" if asked else ""
        waiting = f"{count(news['security'], 'package')} wait: {', '.join(news['names'])}" if news["security"] else f"none wait{since}"
        rows.append(_fact("Security updates", waiting, DEGRADED if news["security"] else OK))
    if reboot.get("required") is not None:
        why = f"needed, for {', '.join(reboot['packages'])}" if reboot["packages"] else "needed"
        rows.append(_fact("Reboot", why if reboot["required"] else "not needed", DEGRADED if reboot["required"] else OK))
    if facts["clock_synchronized"] is not None:
        synced = facts["clock_synchronized"]
        rows.append(_fact("Clock", "synchronised" if synced else "not synchronised", OK if synced else DEGRADED))
    if facts["ports"]:
        ports = [
            f"{one['port']}{'' if one['protocol'] == 'tcp' else '/' + str(one['protocol'])} {one['process'] or ''}".strip()
            for one in facts["ports"]
        ]
        rows.append(_fact("Listens for others", ", ".join(ports), OK))
    pressure = (facts["memory"] or {}).get("pressure")
    if pressure is not None:
        rows.append(_fact("Memory pressure", f"{pressure:.1f} % of the last minute", DEGRADED if pressure >= 10 else OK))
    return rows
