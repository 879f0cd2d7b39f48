# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""Filters for the verbs that answer: a command's words, lines of several hosts, how apps stand, where an app is."""

from __future__ import annotations

import contextlib
import errno
import json
import shlex
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.slipway.vps.plugins.filter.text import human_age
from ansible_collections.slipway.vps.plugins.module_utils.commands import shell_syntax, words
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core.status import UNKNOWN

#: Length of a time as `journalctl --output=short-iso-precise` writes it, without its zone, which is UTC.
STAMP = len("2026-11-20T07:22:01.000000")


def command_words(command: Any) -> list[str]:
    """The words of a command: a list as it is, a text taken apart as the commands of the inventory are."""
    if not isinstance(command, str):
        return [str(word) for word in command]
    if syntax := shell_syntax(command):
        raise AnsibleFilterError(f"{syntax!r} is for a shell, and none is there: sh -c '…' brings one")
    try:
        return words(command)
    except ValueError as error:
        raise AnsibleFilterError(f"{command!r} is no command: {error}") from error


def log_lines(results: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The lines of several hosts, in order of time; each begins with its host where there are several."""
    found = [(at, host, line) for host, result in results.items() for at, line in _stamped(result.get("stdout_lines") or [])]
    return [f"{host}: {line}" if len(results) > 1 else line for _, host, line in sorted(found, key=lambda entry: entry[0])]


def _stamped(lines: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Each line with its time; one without has that of the line before, to which it belongs."""
    at = ""
    for line in lines:
        with contextlib.suppress(ValueError):
            at = datetime.fromisoformat(line[:STAMP]).isoformat(timespec="microseconds")
        yield at, line


# --- status -----------------------------------------------------------------------------------------


def standings(entries: Sequence[str], hostvars: Mapping[str, Any]) -> list[dict[str, Any]]:
    """How the app of each entry stands: its state, what is known of it, and what is not well.

    :arg hostvars: of each entry `app`, and `__status`, the result of `slipway <app> status --json`.
    """
    return [_standing(entry, hostvars[entry]["app"], hostvars[entry]["__status"]) for entry in entries]


def _standing(entry: str, app: Mapping[str, Any], result: Mapping[str, Any]) -> dict[str, Any]:
    known = {"app": str(app["name"]), "entry": entry, "machine": str(app["machine"]["name"])}
    found, why = _answer(known["app"], result)
    if why:
        subjects = [{"subject": "machine", "state": UNKNOWN, "evidence": why, "fix": _fix(result), "since": None}]
        return {**known, "state": "no answer", "subjects": subjects}
    return {**known, **found.get("brief", {}), "state": found["state"], "subjects": found["subjects"]}


def status_rows(apps: Sequence[Mapping[str, Any]], at: datetime | None = None) -> list[dict[str, str]]:
    """The same as rows of a table."""
    return [
        {
            **{name: str(app.get(name, "")) for name in ("app", "machine", "release", "state")},
            "since": human_age(app.get("live_at"), at),
            "services": next((str(one["state"]) for one in app["subjects"] if one["subject"] == "services"), ""),
            "certificate": _days(app.get("certificate_ends"), at),
            "backup": human_age(app.get("backup_at"), at),
            "proof": human_age(app.get("proof_at"), at),
        }
        for app in apps
    ]


def _answer(app: str, result: Mapping[str, Any]) -> tuple[Mapping[str, Any], str]:
    """What the host said of the app, or why nothing is known."""
    with contextlib.suppress(ValueError, KeyError, TypeError):
        return json.loads(result.get("stdout") or "")["apps"][app], ""
    said = str(result.get("stderr") or result.get("msg") or "the host said nothing").strip()
    # What the module `command` says of it depends on Ansible's version.
    absent = result.get("rc") == errno.ENOENT and not result.get("stderr")
    return {}, "Slipway's program is not on this machine yet" if absent else said.splitlines()[-1].removeprefix("Task failed: ")


def _fix(result: Mapping[str, Any]) -> str:
    if result.get("unreachable") or "timedout" in result:
        return "ssh to it; then its provider's console"
    return "ansible-playbook slipway.vps.site"


def _days(ends: str | None, at: datetime | None) -> str:
    """Days that are left."""
    try:
        left = datetime.fromisoformat(str(ends).replace("Z", "+00:00")) - (at or datetime.now(timezone.utc))
    except ValueError:
        return ""
    return f"{left.total_seconds() / 86400:.0f}d"


# --- open -------------------------------------------------------------------------------------------


def ways_in(app: Mapping[str, Any], address: str) -> list[str]:
    """The URLs of an app, and the curl line that reaches it before its name leads there.

    :arg address: of its machine: a name is looked up on the controller.
    """
    urls = [f"https://{name}{app.get('prefix') or ''}/" for name in (app["domain"], *app["aliases"])]
    line = shlex.join(["curl", "--resolve", f"{app['domain']}:443:{_number(address)}", urls[0]])
    return [*urls, "", "Before DNS leads there (--insecure as long as there is no certificate either):", f"  {line}"]


def _number(address: str) -> str:
    """The address as curl wants it."""
    with contextlib.suppress(OSError):
        address = str(socket.getaddrinfo(address, 443, type=socket.SOCK_STREAM)[0][4][0])
    return f"[{address}]" if ":" in address else address


class FilterModule:
    """The collection's filters for verbs."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {
            "command_words": command_words,
            "log_lines": log_lines,
            "standings": standings,
            "status_rows": status_rows,
            "ways_in": ways_in,
        }
