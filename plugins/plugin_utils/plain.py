# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""What a run prints for people: what changes, what fails and what mends it, and how far it is.

Methods have the names of Ansible's events (``v2_…``). Of an event without one nothing is printed.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ansible import constants as C  # noqa: N812  as everywhere in Ansible
from ansible import context
from ansible.plugins.callback.default import CallbackModule as Default
from ansible_collections.slipway.vps.plugins.plugin_utils.last_run import LastRun, path_of
from ansible_collections.slipway.vps.plugins.plugin_utils.live import Live, Ticker, on_terminal
from ansible_collections.slipway.vps.plugins.plugin_utils.outcome import (
    DEBUG,
    Failure,
    Outcome,
    again,
    hidden,
    inventory_words,
    key_of,
    lines,
    loops,
    next_steps,
    title,
)


class Plain:
    """One run of a playbook after the other."""

    def __init__(self, owner: Default, heartbeat: float) -> None:
        """
        :arg owner: the callback plugin that Ansible knows.
        :arg heartbeat: seconds after which a step is said to go on, where there is no terminal.
        """
        self._owner, self._display, self._heartbeat = owner, owner._display, heartbeat
        self._live = Live(self._display, self._status) if on_terminal() else None
        self._ticker: Ticker | None = None
        self._outcome, self._last_run = Outcome(), LastRun(path_of())
        self._shown = 0, 0
        self._headed: set[str] = set()
        self._play = self._heading = self._step = self._note = ""
        self._spoke: tuple[str, str] | None = None
        self._sign, self._debugged = 0.0, False
        self._diffs: dict[tuple[str, str], str] = {}
        self._process = os.getpid()
        atexit.register(self._cut_off)

    # --- The run ---

    def v2_playbook_on_start(self, playbook: Any) -> None:
        said, path = context.CLIARGS, Path(playbook._file_name)
        names = [sorted(said.get(name) or ()) for name in ("tags", "skip_tags")]
        self._outcome, self._shown, self._headed, self._play = Outcome(path.stem), (0, 0), set(), ""
        self._last_run = LastRun(path_of(path.resolve(), inventory_words(), *names, said.get("subset"), said.get("check")))
        if said.get("check"):
            self._print("Check mode: what would change is said, and nothing is changed.")
        if self._live:
            self._live.start()
        self._ticker = Ticker(self._tick, 0.5)
        self._ticker.start()

    def v2_playbook_on_play_start(self, play: Any) -> None:
        self._outcome.on_play(play)
        former, self._play = self._play, play.get_name().strip()
        # A play of batches is one. The contract begins every layer, and has something to do once.
        self._heading, self._step = "" if self._play == former and not self._heading else self._play, ""
        # A debugger asks in its own way.
        self._debugged = bool(C.ENABLE_TASK_DEBUGGER) or play.strategy.endswith("debug")

    def v2_playbook_on_no_hosts_matched(self) -> None:
        self._print("  no host of the inventory", C.COLOR_SKIP)

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool = False) -> None:
        self._step, self._note, self._sign = title(task), "", time.monotonic()
        if self._heading and self._heading not in self._headed:
            self._head()
        self._last_run.step(self._play, self._step)
        if self._live:
            self._live.paused = self._debugged or bool(task.debugger)
            self._live.draw()

    v2_playbook_on_handler_task_start = v2_playbook_on_task_start

    def v2_runner_on_start(self, host: Any, task: Any) -> None:
        self._outcome.on_start(host, task)
        if self._live:
            self._live.draw()

    def v2_playbook_on_stats(self, stats: Any) -> None:
        self._outcome.on_end()
        self._heading = ""
        self.close()
        if not self._outcome.failures:
            self._last_run.save()
        for text, color in summary(self._outcome, sorted(stats.processed)):
            self._print(text, color)
        # One line for each host, as everywhere in Ansible.
        Default.v2_playbook_on_stats(self._owner, stats)
        for line in next_steps(self._outcome):
            self._print(line)

    def close(self) -> None:
        """Nothing is drawn any more."""
        if self._ticker:
            self._ticker.stop()
            self._ticker = None
        if self._live:
            self._live.stop()

    def _cut_off(self) -> None:
        """A run that never came to its end says where it was."""
        if self._ticker and os.getpid() == self._process:
            self.close()
            self._heading = ""
            if self._step:
                self._print(f"\nIt was cut off in {self._play}: {self._step}. Then: {again()}", C.COLOR_ERROR)

    # --- The tasks ---

    def v2_runner_on_ok(self, result: Any) -> None:
        self._outcome.on_ok(result)
        self._after(result)
        if not loops(result.task) and _speaks(result):
            self._say(result)
        if diff := self._diffs.pop(key_of(result), ""):
            self._print(diff)

    def v2_runner_item_on_ok(self, result: Any) -> None:
        self._outcome.on_item(result)
        self._after(result)
        if _speaks(result):
            self._say(result)

    def v2_runner_item_on_failed(self, result: Any) -> None:
        self._outcome.on_item(result, failed=True)
        self._after(result)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        self._outcome.on_failed(result, ignored=ignore_errors)
        self._after(result)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        self._outcome.on_unreachable(result)
        self._after(result)

    def v2_runner_on_skipped(self, result: Any) -> None:
        self._outcome.on_skipped(result)
        self._after(result)

    def v2_runner_retry(self, result: Any) -> None:
        self._note = f", try {result.result.get('attempts', 0) + 1} of {result.result.get('retries', 0) + 1}"

    def v2_on_file_diff(self, result: Any) -> None:
        # Before Ansible says that the task went well.
        found = result.result.get("results") if loops(result.task) else [result.result]
        changed = [one for one in found or () if isinstance(one, dict) and one.get("diff") and one.get("changed")]
        self._diffs[key_of(result)] = "".join(self._owner._get_diff(one["diff"]) for one in changed).rstrip("\n")

    def _after(self, result: Any) -> None:
        """Print what is new."""
        self._owner._handle_warnings(result.result)
        label, (changes, failures) = self._owner.host_label(result), self._shown
        self._shown = len(self._outcome.changes), len(self._outcome.failures)
        for change in self._outcome.changes[changes:]:
            verb, detail = "would change" if change.would else "changed", f" ({change.detail})" if change.details else ""
            self._print(f"  {verb}: [{label}] {change.task}{detail}", C.COLOR_CHANGED)
        for failure in self._outcome.failures[failures:]:
            color = C.COLOR_UNREACHABLE if failure.unreachable else C.COLOR_ERROR
            self._print(f"  {'UNREACHABLE' if failure.unreachable else 'FAILED'}: [{label}] {failure.task}", color)
            if any(failure.same(former) for former in self._outcome.failures[:failures]):
                self._print("    as above")
                continue
            where = [f"task path: {failure.path}"] if failure.path and self._owner.get_option("show_task_path_on_failure") else []
            self._print(_indented([*failure.message.splitlines(), *where]))

    def _say(self, result: Any) -> None:
        """What a task prints on purpose."""
        key, last = key_of(result), self._spoke
        self._owner._clean_results(result.result, result.task.action)
        said = result.result.get("msg")
        if isinstance(said, str) or (isinstance(said, list) and all(isinstance(one, str) for one in said)):
            text = _indented(lines(said))
        else:
            text = self._owner._dump_results(result.result).strip("\n")
        if text.strip():
            head = "" if key == last else f"  [{self._owner.host_label(result)}] {title(result.task)}:\n"
            self._print(head + text, C.COLOR_WARN if text.lstrip().startswith("WARNING: ") else None)
            self._spoke = key

    # --- Printing ---

    def _head(self) -> None:
        heading, self._heading = self._heading, ""
        self._headed.add(heading)
        self._print(heading, C.COLOR_HIGHLIGHT)

    def _print(self, text: str, color: str | None = None) -> None:
        if self._heading:
            self._head()
        self._spoke = None
        self._display.display(text, color=color)
        with contextlib.suppress(OSError):
            # To a pipe Python writes in blocks: somebody may be reading along.
            sys.stdout.flush()

    def _tick(self) -> None:
        if self._live:
            self._live.draw()
        elif self._outcome.busy and time.monotonic() - self._sign >= self._heartbeat:
            self._sign = time.monotonic()
            self._print(f"  still: {_hosts(self._outcome.busy)} {self._step}{self._note}, {span(self._last_run.in_step)}", C.COLOR_SKIP)

    def _status(self) -> str:
        """The live line."""
        if not self._step:
            return ""
        found = self._last_run.left()
        progress = f"{found[0]} %, about {span(found[1])} left" if found else span(self._last_run.elapsed)
        step = f", {span(self._last_run.in_step)}" if self._last_run.in_step >= 5 else ""
        return f"{progress} | {self._play} | {self._step}{self._note}{step} {_hosts(self._outcome.busy)}"


def summary(outcome: Outcome, hosts: list[str]) -> Iterator[tuple[str, str | None]]:
    """Failures with what mends them, then each host."""
    known: list[Failure] = []
    for failure in outcome.failures:
        if any(failure.same(former) for former in known):
            continue
        yield "" if known else "\nFailed", C.COLOR_ERROR
        known.append(failure)
        hosts_of = [other.host for other in outcome.failures if other.same(failure)]
        yield f"  [{', '.join(hosts_of)}] {failure.play}: {failure.task}", C.COLOR_ERROR
        for what, fix in failure.points:
            yield _indented([what, *([f"  fix: {fix}"] if fix else [])]), None
    yield "", None
    for host in hosts:
        app = outcome.apps.get(host)
        name = f"{host} ({app.name})" if app and app.name != host else host
        failed, changes = outcome.failures_of(host), outcome.changes_of(host)
        would = " to make" if any(change.would for change in changes) else ""
        count = f"{len(changes)} {'change' if len(changes) == 1 else 'changes'}{would}" if changes else "nothing changed"
        state = f"failed in {failed[0].play}" if failed else "stopped, since another host failed" if outcome.stopped(host) else "ok"
        color = C.COLOR_ERROR if failed else C.COLOR_CHANGED if changes else C.COLOR_OK
        yield f"{name}: {state}, {count}, {span(outcome.seconds_of(host))}", color


def span(seconds: float) -> str:
    """A time as people say it: 8 s, 1 min 20 s, 2 h 5 min."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _hosts(names: list[str]) -> str:
    return f"[{', '.join(names) if len(names) < 4 else f'{len(names)} hosts'}]" if names else ""


def _speaks(result: Any) -> bool:
    """Whether a task prints on purpose: what an assertion says that holds is said only where it has words for it."""
    if hidden(result):
        return False
    if result.task.resolved_action == "ansible.builtin.assert":
        return bool(result.result.get("_ansible_verbose_always") and result.task.args.get("success_msg"))
    return result.task.action in DEBUG or bool(result.result.get("_ansible_verbose_always"))


def _indented(found: list[str]) -> str:
    return textwrap.indent("\n".join(found), "    ")
