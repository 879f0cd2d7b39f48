# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""A command on the host whose output is shown while it runs (documentation: plugins/modules/stream.py)."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.slipway.vps.plugins.plugin_utils.stream import Stream

ARGUMENTS: dict[str, Any] = {
    "argv": {"type": "list", "elements": "str", "required": True},
    "name": {"type": "str", "required": True},
    "label": {"type": "bool", "default": False},
}
#: A file of the front end's: it waits for the words of the command, and runs them itself, at its own terminal.
HAND_OVER = "SLIPWAY_HAND_OVER"
#: Set where that is a terminal.
TERMINAL = "SLIPWAY_TERMINAL"


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible-core ships no types
    """Runs it in a worker: what it displays goes to the run's own process, at once."""

    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        _, given = self.validate_argument_spec(argument_spec=ARGUMENTS)
        command: list[str] = given["argv"]
        if self._task.check_mode:
            return {**result, "skipped": True, "msg": f"would run {shlex.join(command)}"}
        host, stream = str((task_vars or {}).get("inventory_hostname", "")), Stream(self)
        waiting, terminal = os.environ.get(HAND_OVER, ""), bool(os.environ.get(TERMINAL))
        if waiting and stream.possible and (terminal or not stream.asks):
            _hand_over(waiting, words=stream.words(command, terminal))
            return {**result, "changed": True, "rc": 0, "handed_over": True}
        status = self._run(stream, command, f"{host}: " if given["label"] else "")
        if waiting:
            _hand_over(waiting, rc=status)
        failure = {"failed": True, "msg": f"{given['name']} exited {status}."} if status else {}
        return {**result, "changed": True, "rc": status, "handed_over": False, **failure}

    def _run(self, stream: Stream, command: list[str], label: str) -> int:
        """Run it here, and show what it says; the exit status."""

        def say(channel: str, line: str) -> None:
            self._display.display(f"{label}{line}", stderr=channel == "stderr")

        if stream.possible:
            return stream.run(command, say)
        # A connection of another kind, or one with a password, has its own way, and gives all at the end.
        said = self._low_level_execute_command(shlex.join(command))
        for channel in ("stdout", "stderr"):
            for line in said[f"{channel}_lines"]:
                say(channel, line)
        return int(said["rc"])


def _hand_over(path: str, **what: Any) -> None:
    with Path(path).open("a", encoding="utf-8") as file:
        file.write(json.dumps(what) + "\n")
