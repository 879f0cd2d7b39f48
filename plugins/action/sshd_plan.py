# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""The controller's half of the module sshd_plan: it sees how the run comes in, and what may be switched off."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.slipway.vps.plugins.module_utils.sshd import Comes, Wanted, decide, first_admins, needs_key_proof
from ansible_collections.slipway.vps.plugins.plugin_utils.fresh import Fresh


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible-core ships no types
    """Look at the host, try the logins that are needed, decide."""

    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        host = dict(self._execute_module(module_name="slipway.vps.sshd_plan", module_args=self._task.args, task_vars=task_vars))
        if host.get("failed") or not host.get("installed"):
            return {**result, **host}
        wanted = self._wanted()
        # One try each: nothing has changed yet that could need a moment.
        fresh = Fresh(self, tries=1)
        comes = self._comes(fresh, needs_key_proof(wanted, host["settings"]))
        decision = decide(wanted, host["settings"], comes, lambda: self._admin(fresh, wanted), host.get("own_ports") or ())
        return {**result, **host, **asdict(decision), "user": comes.user}

    def _wanted(self) -> Wanted:
        given = self._task.args
        return Wanted(
            port=int(given.get("port") or 0),
            root_login=str(given.get("root_login") or "auto"),
            password_login=str(given.get("passwords") or "auto"),
            admins=tuple(map(str, given.get("admins") or ())),
            trusted=tuple(map(str, given.get("trusted") or ())),
        )

    def _comes(self, fresh: Fresh, ask: bool) -> Comes:
        session = fresh.session()
        if not ask or not session.ssh:
            return Comes(session.ssh, session.user, session.address, session.port)
        login = fresh.login(by_key=True)
        return Comes(True, session.user, session.address, session.port, login.ok, login.why)

    def _admin(self, fresh: Fresh, wanted: Wanted) -> tuple[str, str]:
        """The first admin whose own login carries a run; without one, why the others' does not."""
        reasons = []
        for name in first_admins(wanted.admins):
            login = fresh.login(user=name, by_key=True)
            if login.ok:
                return name, ""
            reasons.append(f"{name}: {login.why}")
        return "", "; ".join(reasons)
