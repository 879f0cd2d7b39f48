# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""Writes the report of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.plugins.callback import CallbackBase
from ansible_collections.slipway.vps.plugins.plugin_utils.outcome import CONTRACT, Outcome

DOCUMENTATION = r"""
---
name: report
type: aggregate
short_description: Writes the report of a run
version_added: 0.2.0
description:
  - With C(-e report=report.html) a run of C(site.yml), C(deploy.yml) or C(verify.yml) ends with a page about it; relative to the folder
    that it was started in. One file, which needs no network.
  - Without C(report) it does nothing. A run that fails has its page, too.
  - "It is switched on in C(ansible.cfg): C(callbacks_enabled = slipway.vps.seal, slipway.vps.report)."
author:
  - The Slipway authors
requirements:
  - C(callbacks_enabled) in C(ansible.cfg)
"""

WALKS, STATE = ("slipway.vps.verify", "slipway.vps.doctor"), "slipway.vps.state"


class CallbackModule(CallbackBase):  # type: ignore[misc]  # ansible-core ships no types
    """Notes what the run comes to, and writes the page at its end."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "slipway.vps.report"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        self.outcome = Outcome()
        self.target = ""
        #: What the page needs of a host besides: its walk along the path, its state document, the name of its machine.
        self.seen: dict[str, dict[str, Any]] = {}
        self.variables: Any = None

    def v2_playbook_on_start(self, playbook: Any) -> None:
        self.outcome.playbook = Path(str(playbook._file_name)).stem

    def v2_playbook_on_play_start(self, play: Any) -> None:
        self.variables = play.get_variable_manager()
        self.target = str(self.variables.extra_vars.get("report") or "")
        self.outcome.on_play(play)

    def v2_runner_on_start(self, host: Any, task: Any) -> None:
        if self.target:
            self.outcome.on_start(host, task)

    def v2_runner_item_on_ok(self, result: Any) -> None:
        if self.target:
            self.outcome.on_item(result)

    def v2_runner_item_on_failed(self, result: Any) -> None:
        if self.target:
            self.outcome.on_item(result, failed=True)

    def v2_runner_on_ok(self, result: Any) -> None:
        if self.target:
            self.outcome.on_ok(result)
            self._look(result)

    def v2_runner_on_skipped(self, result: Any) -> None:
        if self.target:
            self.outcome.on_skipped(result)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        if self.target:
            self.outcome.on_failed(result, ignored=ignore_errors)
            self._look(result)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        if self.target:
            self.outcome.on_unreachable(result)

    def v2_playbook_on_stats(self, stats: Any) -> None:
        if not self.target:
            return
        # Jinja and the rest only where a page is wanted.
        from ansible_collections.slipway.vps.plugins.plugin_utils.report import page

        self.outcome.on_end()
        target = Path(self.target).expanduser()
        try:
            page.write(target, self.outcome, self.seen, self._variables())
        except OSError as error:
            self._display.warning(f"The report was not written: {error}. Name another file: -e report=<file>.html")
        else:
            self._display.display(f"Report: {target.absolute()}")

    def _look(self, result: Any) -> None:
        """Keep what the page shows; of a task with no_log there is nothing to keep."""
        host, action, said = str(result.host.get_name()), str(result.task.resolved_action), result.result
        kept = self.seen.setdefault(host, {})
        if action in WALKS and (found := {name: said[name] for name in ("checks", "findings") if name in said}):
            kept["walk"] = {**kept.get("walk", {}), **found}
        elif action == STATE and "state" in said:
            kept["state"] = said["state"]
        elif action == CONTRACT and isinstance(machine := said.get("machine"), dict):
            kept["machine"] = str(machine.get("name") or "")

    def _variables(self) -> dict[str, Any]:
        """Of each host: its secrets are what the page must not show."""
        inventory = self.variables._inventory
        known = {host: inventory.get_host(host) for host in self.outcome.hosts}
        return {name: self.variables.get_vars(host=host, include_hostvars=False) for name, host in known.items() if host}
