# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""The controller's half of the module drift: what the collection is."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.slipway.vps.plugins.module_utils.slipway.seals.record import COLLECTION
from ansible_collections.slipway.vps.plugins.plugin_utils.recorded import digest


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible-core ships no types
    """Gives the module what stands on the controller."""

    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        words = {**self._task.args, "inputs": {**(self._task.args.get("inputs") or {}), COLLECTION: digest()}}
        return {**result, **self._execute_module(module_name="slipway.vps.drift", module_args=words, task_vars=task_vars)}
