# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""The controller's half of the module release: an archive that lies here goes to the host in the same round trip."""

from __future__ import annotations

from typing import Any

from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible-core ships no types
    """Brings `archive` to the host where `upload` says so."""

    TRANSFERS_FILES = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        words = dict(self._task.args)
        if boolean(words.get("upload", False)) and not self._task.check_mode:
            # In the folder that Ansible makes for a task and removes after it.
            place = self._connection._shell.join_path(self._connection._shell.tmpdir or self._make_tmp_path(), "source.tar")
            words["archive"] = self._transfer_file(words["archive"], place)
        result.update(self._execute_module(module_name="slipway.vps.release", module_args=words, task_vars=task_vars))
        return result
