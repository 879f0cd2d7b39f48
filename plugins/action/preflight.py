# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""The controller's half of the module preflight: its clock, and patience with what ends by itself."""

from __future__ import annotations

import time
from typing import Any

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

#: Seconds between two looks.
PAUSE = 5


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible-core ships no types
    """Looks once; again only while the package manager or cloud-init is at work."""

    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        patience = int(self._task.args.get("wait") or 0)
        began = time.monotonic()
        while True:
            found = self._look(task_vars)
            busy = found.get("busy") or []
            waited = time.monotonic() - began
            if not busy or waited >= patience or self._settled(found, busy) or self._in_vain(found, busy):
                break
            why = "; ".join(f"{one['what']}: {one['evidence']}" for one in busy)
            Display().display(f"{(task_vars or {}).get('inventory_hostname')}: waited {waited:.0f} s of {patience} s: {why}")
            time.sleep(min(PAUSE, max(patience - waited, 0)))
        result.update(found)
        return result

    def _look(self, task_vars: dict[str, Any] | None) -> dict[str, Any]:
        words = {**self._task.args, "now": time.time()}
        found: dict[str, Any] = self._execute_module(module_name="slipway.vps.preflight", module_args=words, task_vars=task_vars)
        return found

    @staticmethod
    def _in_vain(found: dict[str, Any], busy: list[dict[str, Any]]) -> bool:
        """The run is refused for another reason anyway. What cloud-init has not made yet may be that reason: it is waited for."""
        waited_for = {one["id"] for one in busy}
        others = (one for one in found.get("findings", []) if one["refuses"] and one["answer"] not in one["choices"])
        return waited_for == {"apt:lock"} and any(one["id"] not in waited_for for one in others)

    @staticmethod
    def _settled(found: dict[str, Any], busy: list[dict[str, Any]]) -> bool:
        """Everything that is at work was answered: the operator does not want to wait for it."""
        answers = {one["id"]: one["answer"] for one in found.get("findings", [])}
        return all(answers.get(one["id"]) for one in busy)
