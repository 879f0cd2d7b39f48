# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""The model as a document for programs on the host."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

#: What a run of Ansible adds to the model, or what belongs to one run alone. Which version is wanted each release says itself.
_PASSING = ("changed", "failed", "leads", "log_secrets", "machine", "source")


def app_document(app: Mapping[str, Any]) -> str:
    """``/etc/<app>/app.json``: the app without secrets, and the name of its machine."""
    facts = {key: value for key, value in app.items() if key not in _PASSING}
    # Whether ufw is there is the machine's, and verify asks.
    of_machine = {"machine": app["machine"]["name"], "firewall": app["machine"]["firewall"]}
    return json.dumps({**facts, **of_machine}, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


class FilterModule:
    """The collection's filters of the model."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"app_document": app_document}
