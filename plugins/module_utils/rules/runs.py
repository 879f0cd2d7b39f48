# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""What a release runs and what that may touch: commands, timers, shared paths, openings of the sandbox."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from ansible_collections.slipway.vps.plugins.module_utils.commands import shell_syntax, words
from ansible_collections.slipway.vps.plugins.module_utils.resolve import FOLDER, OPENINGS, PREFIXED
from ansible_collections.slipway.vps.plugins.module_utils.rules.problem import Problem, Values, kind

#: In a unit's name, as those of processes.
_NAME = re.compile(r"[a-z][a-z0-9]{0,30}")
#: Units that an app has besides its processes and timers.
OWN_UNITS = ("rehearsal", "tls", "backup", "rebuild")
_TIMER_KEYS = ("command", "schedule", "catch_up", "timeout")
_SECONDS = re.compile(r"[1-9]\d{0,6}")

# --- systemd.time(7), "Calendar events" ---------------------------------------------------------------------------------------
_SHORTHANDS = ("minutely", "hourly", "daily", "weekly", "monthly", "quarterly", "semiannually", "yearly", "annually")
_DAY = r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)[a-z]*"
_WEEKDAYS = re.compile(rf"{_DAY}((,|\.\.|-){_DAY})*,?", re.IGNORECASE)
_DATE = re.compile(r"[\d*][\d*,./]*([-~][\d*][\d*,./]*){1,2}")
_TIME = re.compile(r"[\d*][\d*,./]*(:[\d*][\d*,./]*){1,2}")
_ZONE = re.compile(r"UTC|[A-Z][A-Za-z]+(/[A-Za-z_+-]+\d*)+")
_CRON_FIELD = re.compile(r"(\*|\d+|[A-Za-z]{3})([-,/](\*|\d+|[A-Za-z]{3}))*")
_CRON_DAYS = ("Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


def bad_commands(values: Values) -> Iterator[Problem]:
    """No shell reads a command: its syntax would arrive as words, without an error."""
    yield from _bad_command("app_migrate_command", "", values.get("app_migrate_command", ""))
    for variable in ("app_processes", "app_timers"):
        for name, entry in values.get(variable, {}).items():
            if isinstance(entry, Mapping) and entry.get("command"):
                yield from _bad_command(variable, f"{name}: ", entry["command"])


def _bad_command(variable: str, whose: str, command: Any) -> Iterator[Problem]:
    if not isinstance(command, str):
        yield Problem(variable, f"{whose}the command is {kind(command)}", "write it as one text")
    elif syntax := shell_syntax(command):
        what = f"{whose}{syntax!r} in {command.strip()!r} is a shell's syntax, and the command runs without one"
        fix = (
            f"write env {syntax}… before the command"
            if syntax.endswith("=")
            else "if a shell is to read it: sh -c '…'; if it is text: quote it"
        )
        yield Problem(variable, what, fix)
    else:
        try:
            words(command)
        except ValueError:
            yield Problem(variable, f"{whose}a quote in {command!r} is not closed", "close it, or put the other kind of quotes around it")


def bad_stop_timeouts(values: Values) -> Iterator[Problem]:
    for name, entry in values.get("app_processes", {}).items():
        if isinstance(entry, Mapping) and not _SECONDS.fullmatch(str(entry.get("stop_timeout", 1))):
            yield Problem(
                "app_processes", f"{name} has stop_timeout {entry['stop_timeout']!r}", "write seconds, for example stop_timeout: 300"
            )


def bad_timers(values: Values) -> Iterator[Problem]:
    for name, entry in values.get("app_timers", {}).items():
        if not _NAME.fullmatch(str(name)):
            yield Problem("app_timers", f"{name!r} will not do in a unit name", "use a-z and 0-9, a letter first")
        elif name in OWN_UNITS or name in values.get("app_processes", {}):
            owner = "one of app_processes" if name in values.get("app_processes", {}) else "a unit that every app has"
            yield Problem("app_timers", f"{name!r} is {owner}", "use another name")
        if not isinstance(entry, Mapping) or not entry.get("command") or not entry.get("schedule"):
            fix = f"write {name}: {{command: flask send-reminders, schedule: '*-*-* 03:00'}}"
            yield Problem("app_timers", f"{name} needs a command and a schedule", fix)
            continue
        if unknown := sorted(set(map(str, entry)) - set(_TIMER_KEYS)):
            yield Problem("app_timers", f"{name} has unknown keys: {', '.join(unknown)}", f"use {', '.join(_TIMER_KEYS)}")
        if not _SECONDS.fullmatch(str(entry.get("timeout", 1))):
            yield Problem("app_timers", f"{name} has timeout {entry['timeout']!r}", "write seconds, for example timeout: 3600")
        if not isinstance(entry.get("catch_up", False), bool):
            yield Problem("app_timers", f"{name} has catch_up {entry['catch_up']!r}", "write true or false")
        yield from _bad_schedule(str(name), entry["schedule"])


def _bad_schedule(name: str, schedule: Any) -> Iterator[Problem]:
    text = str(schedule).strip()
    help_ = "systemd's OnCalendar: daily, 'Mon..Fri 08:30', '*:0/15' (try one: systemd-analyze calendar '…')"
    if not isinstance(schedule, str):
        yield Problem("app_timers", f"{name}: the schedule is {kind(schedule)}", f"put it in quotes; {help_}")
    elif text.startswith("@"):
        yield Problem("app_timers", f"{name}: {text!r} is cron's", f"write schedule: {text[1:].replace('midnight', 'daily')}")
    elif is_cron(text):
        same = calendar_of(text)
        fix = f"write schedule: '{same}'" if same else f"write {help_}"
        yield Problem("app_timers", f"{name}: {text!r} is cron's five fields, and systemd keeps the calendar here", fix)
    elif not is_calendar(text):
        yield Problem("app_timers", f"{name}: {text!r} is no schedule", f"write {help_}")


def is_cron(text: str) -> bool:
    """Minute, hour, day, month, weekday."""
    fields = text.split()
    return len(fields) == 5 and all(map(_CRON_FIELD.fullmatch, fields))


def calendar_of(cron: str) -> str:
    """The same for systemd, where that can be said without doubt; else nothing."""
    minute, hour, day, month, weekday = cron.split()
    number = re.compile(r"\d+")
    if weekday != "*" and (day, month) != ("*", "*"):
        # cron: one of both; systemd: both.
        return ""
    days = ""
    if weekday != "*":
        if not re.fullmatch(r"[0-7](-[0-7])?(,[0-7](-[0-7])?)*", weekday):
            return ""
        days = number.sub(lambda found: _CRON_DAYS[int(found[0])], weekday).replace("-", "..") + " "

    def field(text: str, width: int = 2) -> str:
        if text.startswith("*/"):
            return f"0/{text[2:]}"
        return number.sub(lambda found: found[0].zfill(width), text).replace("-", "..")

    if any(not re.fullmatch(r"\*(/\d+)?|\d+(-\d+)?(,\d+(-\d+)?)*", one) for one in (minute, hour)):
        return ""
    if any(not re.fullmatch(r"\*|\d+(-\d+)?(,\d+(-\d+)?)*", one) for one in (day, month)):
        return ""
    return f"{days}*-{field(month)}-{field(day)} {field(hour)}:{field(minute)}:00"


def is_calendar(text: str) -> bool:
    """Whether this can be a calendar event; the host's systemd has the last word (systemd-analyze)."""
    parts = text.split()
    if parts and _ZONE.fullmatch(parts[-1]):
        parts.pop()
    if len(parts) == 1 and parts[0].lower() in _SHORTHANDS:
        return True
    forms = [_WEEKDAYS, _DATE, _TIME]
    while parts and forms:
        if forms.pop(0).fullmatch(parts[0]):
            parts.pop(0)
            if not parts:
                return True
    return False


def bad_shared_paths(values: Values) -> Iterator[Problem]:
    """Each becomes a link in every release."""
    seen: list[str] = []
    static = {str(folder).strip("/"): prefix for prefix, folder in values.get("app_static", {}).items()}
    for path in values.get("app_shared_paths", []):
        plain = str(path).rstrip("/")
        parts = plain.split("/")
        if not plain or plain.startswith("/") or {"", ".", ".."} & set(parts) or re.search(r"[\x00-\x1f\\]", plain):
            what = f"{path!r} must be a path within the release"
            yield Problem("app_shared_paths", what, "write, for example, instance/ (a folder) or celerybeat-schedule (a file)")
            continue
        if parts[0] in (".venv", ".static", ".units", "environment", "release.json"):
            yield Problem("app_shared_paths", f"{path!r} is what every release has of its own", "leave it out")
        for other in seen:
            if _within(plain, other) or _within(other, plain):
                what = f"{path!r} is listed twice" if plain == other else f"{path!r} and {other!r} contain each other"
                yield Problem("app_shared_paths", what, "keep the outer one")
        for folder, prefix in static.items():
            if _within(plain, folder) or _within(folder, plain):
                what = f"{path!r} overlaps {folder!r} of app_static, which each release has of its own"
                yield Problem("app_shared_paths", what, f"serve it with app_uploads: {{{prefix}: {plain}}}, or take it out of app_static")
        seen.append(plain)


def _within(inner: str, outer: str) -> bool:
    return f"{inner}/".startswith(f"{outer}/")


def bad_openings(values: Values) -> Iterator[Problem]:
    known = f"use {', '.join(OPENINGS)}, device:/dev/… or folder:/…"
    for opening in values.get("app_sandbox_allow", []):
        word, colon, path = str(opening).partition(":")
        if not colon and word in OPENINGS:
            continue
        if not colon or word not in PREFIXED:
            yield Problem("app_sandbox_allow", f"{opening!r} is no opening of the sandbox", known)
        elif not FOLDER.fullmatch(path) or ".." in path.split("/") or (word == "device") != path.startswith("/dev/"):
            fix = "name a device, for example device:/dev/video0" if word == "device" else "name a folder, for example folder:/mnt/photos"
            yield Problem("app_sandbox_allow", f"{opening!r} names no {word}", fix)
        elif word == "folder" and _within(path.rstrip("/"), "/home"):
            yield Problem("app_sandbox_allow", f"{opening!r} is in a folder that no service sees", "keep the data below /srv or /mnt")
        elif word == "folder" and any(_within(path.rstrip("/"), kept) or path.rstrip("/") == "" for kept in _KEPT):
            what = f"{opening!r} would let the app change what runs on the host"
            yield Problem("app_sandbox_allow", what, "open a folder that holds data alone")


#: Folders in which whoever may write decides what root runs.
_KEPT = ("/bin", "/boot", "/etc", "/lib", "/lib64", "/proc", "/root", "/run", "/sbin", "/sys", "/usr")


RULES = (
    (bad_commands, ("app_migrate_command", "app_processes", "app_timers")),
    (bad_stop_timeouts, ("app_processes",)),
    (bad_timers, ("app_timers", "app_processes")),
    (bad_shared_paths, ("app_shared_paths", "app_static")),
    (bad_openings, ("app_sandbox_allow",)),
)
