"""A module run in this process: what it says at its end, good or bad."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from ansible.module_utils.basic import AnsibleModule


class EndedError(Exception):
    """The module would have ended here."""


def call_module(module: Any, monkeypatch: pytest.MonkeyPatch, arguments: Mapping[str, Any], check: bool = False) -> dict[str, Any]:
    """Run its ``main`` with these arguments; a failure is a result with ``failed``."""
    said: dict[str, Any] = {}

    def end(_: Any, **result: Any) -> None:
        said.update(result)
        raise EndedError

    monkeypatch.setattr(AnsibleModule, "exit_json", end)
    monkeypatch.setattr(AnsibleModule, "fail_json", lambda self, **result: end(self, failed=True, **result))
    parameters = {"ANSIBLE_MODULE_ARGS": {**arguments, "_ansible_check_mode": check}}
    monkeypatch.setattr("ansible.module_utils.basic._ANSIBLE_ARGS", json.dumps(parameters).encode())
    monkeypatch.setattr("ansible.module_utils.basic._ANSIBLE_PROFILE", "legacy")
    with pytest.raises(EndedError):
        module.main()
    return said
