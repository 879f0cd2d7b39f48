# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""Collects what the tasks of a layer manage, from their own arguments and results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.plugins.callback import CallbackBase
from ansible_collections.slipway.vps.plugins.plugin_utils.recorded import (
    ANSWERS,
    COLLECTION,
    OPEN,
    Answers,
    Layer,
    digest,
    question,
    things,
)

DOCUMENTATION = r"""
---
name: seal
type: aggregate
short_description: Collects what the tasks of a layer manage
version_added: 0.2.0
description:
  - Prints nothing. With it, a layer that is as the last run left it is done in one round trip; see M(slipway.vps.seal).
  - "It is switched on in C(ansible.cfg): C(callbacks_enabled = slipway.vps.seal). Without it every run does everything."
author:
  - The Slipway authors
requirements:
  - C(callbacks_enabled) in C(ansible.cfg)
"""

ASKED = "slipway.vps.seal"


class CallbackModule(CallbackBase):  # type: ignore[misc]  # ansible-core ships no types
    """Notes each task of a layer that went well, for the host that it was about."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "slipway.vps.seal"
    CALLBACK_NEEDS_ENABLED = True

    def v2_runner_on_ok(self, result: Any) -> None:
        host, task = str(result._host.get_name()), result._task
        if task.resolved_action == ASKED:
            self._turn(host, result._result, result._task_fields["args"])
        # Of a loop each item was seen already.
        elif task.loop is None and not task.loop_with:
            self._note(host, result)

    def v2_runner_item_on_ok(self, result: Any) -> None:
        self._note(str(result._host.get_name()), result)

    def v2_runner_on_skipped(self, result: Any) -> None:
        self._skip(result)

    def v2_runner_item_on_skipped(self, result: Any) -> None:
        self._skip(result)

    def _turn(self, host: str, result: dict[str, Any], args: dict[str, Any]) -> None:
        """A layer begins where one is asked about; it ends where it is recorded, or is told not to be done."""
        # Workers to come have it from here: it takes a tenth of a second.
        digest()
        OPEN.pop(host, None)
        if others := result.get("others"):
            ANSWERS[host] = Answers(question(args), others)
        if not result.get("intact", True):
            OPEN[host] = Layer(str(args["layer"]), list(result.get("differences", [])))
            # What this layer does may be what another one had left otherwise; also that of another app on the same machine.
            ANSWERS.clear()

    def _note(self, host: str, result: Any) -> None:
        task = result._task
        # What is done elsewhere is none of this host's.
        if host not in OPEN or result._task_fields.get("delegate_to"):
            return
        try:
            found = things(str(task.resolved_action), result._task_fields["args"], result._result)
        except (KeyError, TypeError) as error:
            # Better no record than one that lacks something.
            self._display.warning(f"{task.get_path()}: what this task manages is not known ({error!r}), so its layer is not recorded.")
            del OPEN[host]
            return
        OPEN[host].tasks.setdefault(_where(task), []).extend(found)
        if result._task_fields.get("no_log"):
            OPEN[host].hidden.add(_where(task))

    def _skip(self, result: Any) -> None:
        if layer := OPEN.get(str(result._host.get_name())):
            layer.skipped.add(_where(result._task))


def _where(task: Any) -> str:
    """File and line of a task: below the collection, wherever that lies."""
    path = Path(str(task.get_path() or ""))
    return str(path.relative_to(COLLECTION)) if path.is_relative_to(COLLECTION) else str(path)
