# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""Ask dpkg before apt: most runs install nothing (documentation: plugins/modules/packages.py)."""

from __future__ import annotations

import re
import shlex
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

#: A package without a version, an architecture or a pattern: what dpkg can be asked for as it is.
_PLAIN = re.compile(r"[a-z0-9][a-z0-9+.-]+")
#: Where apt notes what came as a dependency only, and may go with what needed it.
_STATES = "/var/lib/apt/extended_states"
#: What apt is told besides the names. `lock_timeout` in seconds: apps of one machine install side by side, a compiler takes its time.
_APT = {"update_cache": True, "cache_valid_time": 3600, "install_recommends": False, "lock_timeout": 600}


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible-core ships no types
    """Leaves to M(ansible.builtin.apt) what is not installed yet."""

    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        names = self._task.args.get("name")
        if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
            raise AnsibleActionFail(f"name is {names!r}, and must be a list of packages")
        if self._are_installed(names):
            return {**result, "changed": False}
        words = {**_APT, "name": names}
        return {**result, **self._execute_module(module_name="ansible.builtin.apt", module_args=words, task_vars=task_vars)}

    def _are_installed(self, names: list[str]) -> bool:
        """Whether each of them is installed, and for its own sake."""
        if not all(_PLAIN.fullmatch(name) for name in names):
            return False
        words = shlex.join(names)
        pattern = "|".join(re.escape(name) for name in names)
        asked = (
            f"dpkg-query --show --showformat='${{db:Status-Status}} ${{Package}}\\n' {words} 2>/dev/null;"
            f" grep -sxE -A2 {shlex.quote(f'Package: ({pattern})')} {_STATES} | grep -x 'Auto-Installed: 1'"
        )
        said = str(self._low_level_execute_command(asked)["stdout"]).splitlines() if names else []
        return "Auto-Installed: 1" not in said and {f"installed {name}" for name in names} <= set(said)
