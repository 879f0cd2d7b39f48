# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""The answer alone: what the tasks `debug` say, and what failed."""

from __future__ import annotations

import json
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = r"""
---
name: answer
type: stdout
short_description: The answer alone
version_added: 0.2.0
description:
  - Prints what the tasks C(debug) of a playbook say, text as it is and data as JSON, and nothing else. What failed goes to standard error.
  - The program C(slipway) on the controller sets it for the playbooks whose answer is the point, as C(status) and C(logs).
author:
  - The Slipway authors
requirements:
  - C(stdout_callback) in C(ansible.cfg), or C(ANSIBLE_STDOUT_CALLBACK=slipway.vps.answer)
"""

DEBUG = "ansible.builtin.debug"


class CallbackModule(CallbackBase):  # type: ignore[misc]  # ansible-core ships no types
    """What an answer is made of."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "slipway.vps.answer"

    def v2_runner_on_ok(self, result: Any) -> None:
        self._handle_warnings(result._result)
        if result._task.resolved_action == DEBUG and "msg" in result._result:
            self._display.display(_text(result._result["msg"]))

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        self._handle_warnings(result._result)
        if not ignore_errors:
            self._error(result)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        if not result._task.ignore_unreachable:
            self._error(result)

    def v2_playbook_on_no_hosts_matched(self) -> None:
        self._display.display("No host of the inventory is meant: what --limit and target say matches none.", stderr=True)

    def _error(self, result: Any) -> None:
        found = result._result
        # Of a loop the items say it.
        said = [one.get("msg") for one in found.get("results", []) if one.get("failed")] or [found.get("msg")]
        for text in said:
            where = "" if result._task.run_once else f"{result._host.get_name()}: "
            self._display.display(f"{where}{_text(text or 'failed')}", color="red", stderr=True)


def _text(said: Any) -> str:
    """Lines as lines, text as it is, data as JSON."""
    if isinstance(said, list) and all(isinstance(line, str) for line in said):
        return "\n".join(said)
    return said if isinstance(said, str) else json.dumps(said, indent=2)
