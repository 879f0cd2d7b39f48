# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""The controller's half of the module guard: it brings the program that reverts, and proves that a new connection comes in."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase
from ansible_collections.slipway.vps.plugins.action.program import collection_version, files, packed, version
from ansible_collections.slipway.vps.plugins.plugin_utils.fresh import TRIES, Fresh


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible-core ships no types
    """Arm, prove or end a guard."""

    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        variables = task_vars or {}
        result: dict[str, Any] = super().run(tmp, variables)
        state = self._task.args.get("state", "reported")
        if state == "armed" and (failed := self._bring_program(variables)):
            return {**result, **failed}
        if state == "proven":
            return {**result, **self._prove(variables)}
        return {**result, **self._module(state, variables)}

    def _module(self, state: str, variables: dict[str, Any]) -> dict[str, Any]:
        words = {**self._task.args, "state": state}
        return dict(self._execute_module(module_name="slipway.vps.guard", module_args=words, task_vars=variables))

    def _bring_program(self, variables: dict[str, Any]) -> dict[str, Any]:
        """The timer starts the program: an older one on the host may know of no guard. What went wrong, if anything did."""
        found = files()
        words = {"version": version(found, collection_version()), "archive": packed(found)}
        said = dict(self._execute_module(module_name="slipway.vps.program", module_args=words, task_vars=variables))
        return said if said.get("failed") else {}

    def _prove(self, variables: dict[str, Any]) -> dict[str, Any]:
        if self._task.check_mode:
            return {"changed": False, "skipped": True, "proof": "nothing is proven in check mode"}
        login = Fresh(self, int(self._task.args.get("tries") or TRIES)).login(port=int(self._task.args.get("port") or 0))
        if login.ok:
            return {**self._module("disarmed", variables), "proof": login.why}
        who = login.user or "the run's own user"
        what = f"The change of {self._task.args['name']} is not kept: a new connection as {who} does not come in ({login.why})."
        return {"changed": False, "failed": True, "proof": login.why, "msg": f"{what}\n{self._take_back(variables)}"}

    def _take_back(self, variables: dict[str, Any]) -> str:
        """Over the connection that is open still; how that went."""
        try:
            said = self._module("reverted", variables)
        except AnsibleError as error:
            said = {"failed": True, "msg": error.message}
        if not said.get("failed"):
            return "It was taken back over the connection that is still open: the host is as it was."
        return f"It could not be taken back from here ({said.get('msg')}): the host does it by itself, within minutes."
