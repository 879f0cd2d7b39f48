# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""A folder of the controller as an archive (documentation: plugins/modules/pack.py)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.slipway.vps.plugins.module_utils.source_tree import SourceError
from ansible_collections.slipway.vps.plugins.module_utils.work_tree import commit, pack, release_folder

ARGUMENTS: dict[str, Any] = {
    "path": {"type": "path", "required": True},
    "subdirectory": {"type": "str", "default": ""},
    "dest": {"type": "path", "required": True},
}


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible-core ships no types
    """Packs it in Ansible's own process: a module on the controller would take four times as long."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        _, words = self.validate_argument_spec(argument_spec=ARGUMENTS)
        try:
            folder = release_folder(Path(words["path"]), words["subdirectory"])
            file, checksum = pack(folder, Path(words["dest"]))
        except (SourceError, OSError) as error:
            raise AnsibleActionFail(f"{error}.\nNothing was switched. Correct it, then run the same command again.") from error
        return {**result, "changed": False, "file": str(file), "checksum": checksum, "commit": commit(folder)}
