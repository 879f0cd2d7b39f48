# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""The controller's half of the module verify: its clock, and whether the ports of the host can be reached from here."""

from __future__ import annotations

import errno
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ansible.plugins.action import ActionBase

PORTS = (80, 443)
#: Seconds for a connection.
PATIENCE = 3


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible-core ships no types
    """Looks from here, and lets the host look."""

    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        variables = task_vars or {}
        outside = dict(self._task.args.get("outside") or {})
        address = str(self._connection.get_option("host") or "") if self._connection.transport == "ssh" else ""
        if address and "ports" not in outside:
            outside["ports"] = seen(address, int(self._connection.get_option("port") or 22))
        outside.setdefault("time", time.time())
        arguments = {**self._task.args, "outside": outside}
        result.update(self._execute_module(module_name="slipway.vps.verify", module_args=arguments, task_vars=variables))
        return result


def seen(address: str, ssh: int) -> dict[str, str]:
    """Each port, and what came of a connection: ``open``, or what happened.

    Nothing where SSH's own port cannot be reached either: then Ansible comes by another way (ProxyJump), and visitors do not.
    """
    if reach(address, ssh) != "open":
        return {}
    with ThreadPoolExecutor(len(PORTS)) as pool:
        return dict(zip(map(str, PORTS), pool.map(lambda port: reach(address, port), PORTS), strict=True))


def reach(address: str, port: int) -> str:
    """What comes of a connection."""
    try:
        socket.create_connection((address, port), PATIENCE).close()
    except TimeoutError:
        return f"no answer within {PATIENCE} s"
    except OSError as error:
        return "refused" if error.errno == errno.ECONNREFUSED else str(error)
    return "open"
