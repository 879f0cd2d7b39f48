# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""What a run of a playbook comes to: what changed, what failed and what mends it, how long each host took.

A callback plugin feeds an `Outcome` with what Ansible tells it, and shows it: as text while it runs, or as a page at its end. No result is
kept as a whole, and of a task with ``no_log`` nothing but its name.
"""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from ansible import constants as C  # noqa: N812  as everywhere in Ansible
from ansible import context
from ansible_collections.slipway.vps.plugins.plugin_utils.recorded import things

DEBUG = ("debug", "ansible.builtin.debug")
#: The task whose result is the model of an app.
CONTRACT = "slipway.vps.contract"
HIDDEN = "What it says is hidden, for it handles secrets (no_log)."
#: So many names are said of a change, and so many lines of what a command printed before it failed.
NAMES, TAIL = 4, 12


@dataclass(frozen=True)
class App:
    """The app that an inventory host is."""

    name: str
    #: Where visitors find it.
    url: str


class Where(NamedTuple):
    """What a result is of."""

    host: str
    play: str
    task: str


@dataclass(frozen=True)
class Change:
    """A task that changed something on a host, or would (``--check``)."""

    host: str
    play: str
    task: str
    #: What was changed: files, units, packages, items. Empty where the task does not say.
    details: tuple[str, ...] = ()
    would: bool = False

    @property
    def detail(self) -> str:
        """The details in one line."""
        return _joined(self.details)


@dataclass(frozen=True)
class Failure:
    """A task that ended a host's run. What was ignored or rescued is none."""

    host: str
    play: str
    task: str
    #: All of what the task says, with its lines.
    message: str
    unreachable: bool = False
    #: File and line of the task.
    path: str = ""
    #: Its play ends for all hosts.
    stops_all: bool = False

    @property
    def reason(self) -> str:
        """Its first line; with the last, where the first only announces it."""
        found = [line.strip() for line in self.message.splitlines() if line.strip()] or [""]
        return f"{found[0]} {found[-1]}" if found[0].endswith(":") and len(found) > 1 else found[0]

    @property
    def points(self) -> list[tuple[str, str]]:
        """What is wrong, and the fix of it, as often as the message says ``fix: …``; without any, the reason and an empty text."""
        found, what = [], self.reason
        for line in self.message.splitlines():
            if fix := _FIX.match(line):
                found.append((what, fix[1].strip()))
            elif _HEAD.match(line) and not _THEN.match(line):
                what = line.strip().removeprefix("- ")
        return found or [(self.reason, "")]

    def same(self, other: Failure) -> bool:
        """Whether another host failed at the same task for the same reason."""
        return (self.play, self.task, self.message) == (other.play, other.task, other.message)

    @property
    def then(self) -> str:
        """What the message says to do next; empty where it does not."""
        return next((line.strip() for line in self.message.splitlines() if _THEN.match(line)), "")


#: The lines of a message that other parts of the collection write (docs/development.md).
_FIX = re.compile(r"\s*fix:\s*(.+)")
_THEN = re.compile(r"\s*(?:Then|Next)\b.*[^\s:]\s*$")
_HEAD = re.compile(r"[-\w/.'\"<]")


@dataclass(frozen=True)
class Warned:
    """A warning of a task."""

    host: str
    play: str
    task: str
    text: str


@dataclass
class Outcome:
    """One run of a playbook."""

    #: Its name: site, deploy …
    playbook: str = ""
    started: float = field(default_factory=time.time)
    #: None while it runs.
    ended: float | None = None
    changes: list[Change] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    warnings: list[Warned] = field(default_factory=list)
    #: Of hosts whose contract was resolved.
    apps: dict[str, App] = field(default_factory=dict)
    #: By host and play in the order of the run: seconds that its tasks took.
    seconds: dict[str, dict[str, float]] = field(default_factory=dict)
    _play: Any = None
    _begun: dict[tuple[str, str], float] = field(default_factory=dict)
    #: Of loops that are going on: what items changed, and why some failed.
    _items: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    _refused: dict[tuple[str, str], list[str]] = field(default_factory=dict)

    # --- What Ansible tells ---

    def on_play(self, play: Any) -> None:
        self._play = play

    def on_start(self, host: Any, task: Any) -> None:
        """A task begins on a host (``v2_runner_on_start``)."""
        self._begun[str(host), task._uuid] = time.monotonic()

    def on_item(self, result: Any, failed: bool = False) -> None:
        """An item of a loop went well or not. Items come first, then the task as a whole."""
        label = _label(result)
        if failed:
            text = message(result)
            self._refused.setdefault(key_of(result), []).append(f"{label}: {text}" if label and text != HIDDEN else text)
        elif result.is_changed() and not hidden(result):
            self._items.setdefault(key_of(result), []).extend(details(result) or ([label] if label else []))

    def on_ok(self, result: Any) -> None:
        """A task went well, and may have changed something."""
        where = self._ended(result)
        if result.task.resolved_action == CONTRACT and not hidden(result) and (name := result.result.get("name")):
            url = f"https://{result.result.get('domain', '')}{result.result.get('prefix') or ''}/"
            self.apps[where.host] = App(str(name), url)
        items, _ = self._of_items(result)
        if result.is_changed():
            self._changed(where, result, items if loops(result.task) else details(result))

    def on_skipped(self, result: Any) -> None:
        self._ended(result)
        self._of_items(result)

    def on_failed(self, result: Any, ignored: bool = False) -> None:
        """A task failed, which is no failure where that is ignored, or a rescue takes over."""
        where, (items, refused) = self._ended(result), self._of_items(result)
        if items or (ignored and result.is_changed()):
            self._changed(where, result, items)
        if not ignored and not self._rescued(where.host, result.task):
            self._fails(where, result, "\n".join(dict.fromkeys(refused)))

    def on_unreachable(self, result: Any) -> None:
        """A host cannot be reached, which is no failure where that is ignored."""
        where = self._ended(result)
        if not result.task.ignore_unreachable:
            self._fails(where, result, unreachable=True)

    def on_end(self) -> None:
        self.ended = time.time()

    # --- What it comes to ---

    @property
    def hosts(self) -> list[str]:
        """Those that a task ran for, in the order of the run."""
        return list(self.seconds)

    @property
    def busy(self) -> list[str]:
        """Those that a task runs for now."""
        return [host for host, _ in list(self._begun)]

    def changes_of(self, host: str) -> list[Change]:
        return [change for change in self.changes if change.host == host]

    def failures_of(self, host: str) -> list[Failure]:
        return [failure for failure in self.failures if failure.host == host]

    def seconds_of(self, host: str) -> float:
        return sum(self.seconds.get(host, {}).values())

    def stopped(self, host: str) -> bool:
        """Whether it did not go on because another one failed."""
        return not self.failures_of(host) and any(failure.stops_all for failure in self.failures)

    # --- How it is found out ---

    def _changed(self, where: Where, result: Any, said: Iterable[str]) -> None:
        found = () if hidden(result) else tuple(dict.fromkeys(said))
        self.changes.append(Change(*where, found, bool(result.task.check_mode)))

    def _fails(self, where: Where, result: Any, text: str = "", unreachable: bool = False) -> None:
        path, stops_all = str(result.task.get_path() or ""), bool(getattr(self._play, "any_errors_fatal", False))
        self.failures.append(Failure(*where, text or message(result), unreachable, path, stops_all))

    def _ended(self, result: Any) -> Where:
        """A task has ended on a host: its time is counted, its warnings are kept."""
        where = Where(str(result.host.get_name()), self._play.get_name().strip() if self._play else "", title(result.task))
        begun, now = self._begun.pop(key_of(result), None), time.monotonic()
        plays = self.seconds.setdefault(where.host, {})
        plays[where.play] = plays.get(where.play, 0.0) + (now - begun if begun is not None else 0.0)
        found = [str(text) for text in result.result.get("warnings") or []]
        if result.task.action in DEBUG and not hidden(result):
            found += [line for line in lines(result.result.get("msg", "")) if line.startswith("WARNING: ")]
        self.warnings += [Warned(*where, text.removeprefix("WARNING: ")) for text in found]
        return where

    def _of_items(self, result: Any) -> tuple[list[str], list[str]]:
        """What items of a loop that has ended changed, and why some failed."""
        return self._items.pop(key_of(result), []), self._refused.pop(key_of(result), [])

    def _rescued(self, host: str, task: Any) -> bool:
        """Whether a rescue takes over: then Ansible has taken the host back into the play before it tells of the failure."""
        block = task._parent
        while block is not None:
            if getattr(block, "rescue", None):
                return host not in getattr(self._play, "_removed_hosts", ())
            block = block._parent
        return False


# --- Of one result --------------------------------------------------------------------------------


def title(task: Any) -> str:
    """The name of a task, as people know it: without the collection."""
    return str(task.get_name()).strip().removeprefix("slipway.vps.").replace(" : ", ": ", 1)


def hidden(result: Any) -> bool:
    """Whether nothing of it may be shown (``no_log``)."""
    said = result.result
    return bool(result.task.no_log or said.get("_ansible_no_log") or "censored" in said)


def lines(text: Any) -> list[str]:
    """What a message says, line by line; some are lists."""
    if isinstance(text, (list, tuple)):
        return [line for one in text for line in lines(one)]
    return str(text).rstrip().splitlines()


def message(result: Any) -> str:
    """Why a task failed: its message, and of a command the end of what it printed."""
    if hidden(result):
        return HIDDEN
    said = result.result
    found = lines(said.get("msg") or said.get("reason") or "It failed, and does not say why.")
    for layer in _LAYERS:
        found[0] = found[0].removeprefix(layer)
    printed = next((text for name in ("module_stderr", "stderr", "module_stdout", "stdout") if (text := _printed(said.get(name)))), [])
    if "rc" in said or "module_stderr" in said:
        # In the words of one ansible-core or another.
        if len(found) == 1 and "non-zero return code" in found[0]:
            found = [f"{printed.pop().strip() if printed else 'It printed nothing'} (exit status {said['rc']})"]
        found += [f"  {line}" for line in printed]
    if "assertion" in said and said.get("msg") == "Assertion failed":
        found.append(f"  {said['assertion']}")
    return "\n".join(found)


#: Before the reason, Ansible says who has noticed.
_LAYERS = ("Task failed: ", "Action failed: ", "Module failed: ")


def _printed(text: Any) -> list[str]:
    """The end of what a command printed."""
    return [line for line in lines(text or "") if line.strip()][-TAIL:]


#: Lists in the results of modules that say what was changed, and not only what is managed.
_CHANGED = ("changes", "paths", "set", "commands")
#: Kinds of things whose name does not say what they are.
_WORDS = ("package", "user", "group", "role", "database", "extension")
#: Kinds without a name of their own.
_NAMELESS = ("clusters", "firewall", "settings", "sshd")


def details(result: Any) -> list[str]:
    """What a task changed, from its result, or what it manages, from its arguments."""
    action, args, said = str(result.task.resolved_action), result.task.args, result.result
    if action.startswith("slipway.vps.") or action == "community.general.ufw":
        for name in _CHANGED:
            if isinstance(found := said.get(name), list) and found:
                return [_line(one) for one in found]
    try:
        found = things(action, args, said)
    except (KeyError, TypeError, ValueError, AttributeError):
        # A module of somebody else.
        return [_line(args[name]) for name in ("path", "dest", "name") if isinstance(args.get(name), str)][:1]
    return [_line(text) for text in _named(found, str(args.get("state") or ""))]


def _named(found: Iterable[tuple[str, str]], state: str) -> Iterator[str]:
    for kind, name in found:
        if not name or kind in _NAMELESS:
            continue
        if kind in _WORDS:
            yield f"{kind} {name.rsplit('/', 1)[-1]}"
        elif kind == "unit" and state in ("restarted", "reloaded", "started", "stopped"):
            yield f"{name} {state}"
        else:
            yield name


def _joined(names: Iterable[str]) -> str:
    """The first of them, and how many there are besides."""
    found = list(names)
    more = f" and {len(found) - NAMES} more" if len(found) > NAMES else ""
    return ", ".join(found[:NAMES]) + more


def _line(value: Any) -> str:
    """One line without control characters, and not too long."""
    text = "".join(char if char.isprintable() else " " for char in str(value))
    return text if len(text) <= 160 else f"{text[:157]}..."


def _label(result: Any) -> str:
    """What an item is called, where that is a word and not a structure."""
    label = result.result.get("_ansible_item_label", result.result.get("item"))
    return _line(label) if isinstance(label, str) else ""


def loops(task: Any) -> bool:
    return task.loop is not None or bool(task.loop_with)


def key_of(result: Any) -> tuple[str, str]:
    """Host and task of a result: there is one task at a time for each host."""
    return str(result.host.get_name()), str(result.task._uuid)


# --- What comes next ------------------------------------------------------------------------------

#: Playbooks after which visitors meet something else than before.
_DEPLOYS = ("site", "serve", "deploy", "rollback")


def next_steps(outcome: Outcome) -> list[str]:
    """What to do after a run, a line each: what failures say, or where the app is."""
    if outcome.failures:
        return list(dict.fromkeys(_after_failure(failure) for failure in outcome.failures))
    if context.CLIARGS.get("check"):
        return [f"Then, to do it: {again()}"]
    if outcome.playbook not in _DEPLOYS:
        return []
    urls = dict.fromkeys(app.url for app in outcome.apps.values())
    return [*(f"Open {url}" for url in urls), f"Whenever you like: {' '.join(['ansible-playbook', *inventory_words()])} slipway.vps.verify"]


def _after_failure(failure: Failure) -> str:
    if failure.then:
        return f"{failure.then.rstrip('.')}: {again()}" if "same command" in failure.then else failure.then
    if failure.unreachable:
        come_in = shlex.join(["ansible", *inventory_words(), failure.host, "-m", "ansible.builtin.ping"])
        return f"Then: {come_in}; when it answers, {again()}"
    if any(fix for _, fix in failure.points):
        return f"Then: {again()}"
    return f"Then correct the cause, and run it again; with -v you see more: {again('-v')}"


# --- How the run was called -----------------------------------------------------------------------


def inventory_words() -> list[str]:
    """The ``-i`` of this run, as a person would write it from this folder."""
    given = context.CLIARGS.get("inventory") or ()
    if list(given) == list(C.DEFAULT_HOST_LIST):
        return []
    return [word for one in given for word in ("-i", one if "," in one else _near(one))]


def again(*words: str) -> str:
    """The command of this run, to be given again. What it said with ``-e`` may be secret: only that there was something is said.

    :arg words: more for it, such as ``-v``.
    """
    said = context.CLIARGS
    parts = ["ansible-playbook", *inventory_words(), *(_near(one) for one in said.get("args") or ())]
    parts += ["--limit", str(said["subset"])] if said.get("subset") else []
    for option, name in (("--tags", "tags"), ("--skip-tags", "skip_tags")):
        parts += [option, ",".join(sorted(said[name]))] if set(said.get(name) or ()) - {"all"} else []
    return shlex.join([*parts, *words]) + (" -e …" if said.get("extra_vars") else "")


def _near(path: str) -> str:
    """A path below this folder without it; others, and names that are no path, as they are."""
    full = Path(path)
    return str(full.relative_to(Path.cwd())) if full.is_absolute() and full.is_relative_to(Path.cwd()) else path
