# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""The controller's half of the module seal: what the collection is, and what this run has seen."""

from __future__ import annotations

from typing import Any

from ansible import context
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase
from ansible_collections.slipway.vps.plugins.module_utils.slipway.seals.record import COLLECTION as INPUT
from ansible_collections.slipway.vps.plugins.plugin_utils.recorded import ANSWERS, OPEN, digest, question


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible-core ships no types
    """Asks the host, or tells it what to keep."""

    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        if self._task.args.get("state") == "unfinished":
            # The callback plugin sees it, and the host has no part in it.
            return {**result, "changed": False}
        words = {**self._task.args, "tasks": [], "skipped": [], "found": []}
        host = str((task_vars or {})["inventory_hostname"])
        words["inputs"] = {**(words.get("inputs") or {}), INPUT: digest()}
        if words.get("state") == "recorded":
            layer = OPEN.get(host)
            if layer is None or layer.name != words["layer"] or not whole(layer.name):
                return {**result, "changed": False, "skipped": True, "skip_reason": "this run did not see the whole layer"}
            words["tasks"] = [{"where": where, "things": found, "hidden": where in layer.hidden} for where, found in layer.tasks.items()]
            words["skipped"], words["found"] = sorted(layer.skipped), layer.found
        elif boolean(words.get("full", False)):
            return {**result, "changed": False, "intact": False, "differences": [], "at": "", "things": 0}
        elif (known := ANSWERS.get(host)) and known.asked == question(self._task.args) and words["layer"] in known.layers:
            return {**result, "changed": False, **known.layers[words["layer"]]}
        else:
            words["others"] = [layer for layer in words.get("others") or [] if wanted(layer)]
        return {**result, **self._execute_module(module_name="slipway.vps.seal", module_args=words, task_vars=task_vars)}


def whole(layer: str) -> bool:
    """Whether this run does all of a layer."""
    asked = context.CLIARGS
    partial = asked.get("skip_tags") or asked.get("start_at_task") or asked.get("step") or asked.get("check")
    return not partial and wanted(layer)


def wanted(layer: str) -> bool:
    """Whether the tags of this run name a layer, or all."""
    return bool(set(context.CLIARGS.get("tags") or ["all"]) & {"all", layer})
