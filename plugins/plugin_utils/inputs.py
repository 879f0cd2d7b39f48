# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""What the layers of an app are given, to a digest of each part: another digest, and a layer has something to do."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Collection, Mapping
from typing import Any

MODEL, SECRETS = "the model", "the secrets"
#: What of an app is no matter of the others on its machine.
_OWN = ("build", "environment", "source")
#: Which version of the app is wanted: the release's alone, and another one with each deploy.
_VERSION = ("repo", "version", "path", "file", "url", "checksum", "requirement", "subdirectory", "type")


def digests(model: Mapping[str, Any], secrets: Mapping[str, Any], said: Mapping[str, Any], roles: Collection[str]) -> dict[str, str]:
    """Name of each part to its digest.

    :arg model: what the contract returns.
    :arg secrets: the same of what is secret.
    :arg said: the operator's variables, resolved.
    :arg roles: names of all roles; a variable is whose name it begins with.
    """
    found = {MODEL: digest(without_version(model)), SECRETS: digest(without_version(secrets))}
    for role in roles:
        # Everything of `app_*` is in the model.
        if role != "app" and (own := {name: value for name, value in said.items() if owner(name, roles) == role}):
            found[f"variables of {role}"] = digest(own)
    return found


def owner(variable: str, roles: Collection[str]) -> str:
    """The role whose prefix a variable has; empty when none has it."""
    return max((role for role in roles if variable.startswith(f"{role}_")), key=len, default="")


def without_version(model: Mapping[str, Any]) -> dict[str, Any]:
    found = copy.deepcopy(dict(model))
    found["source"] = {key: value for key, value in (found.get("source") or {}).items() if key not in _VERSION}
    for app in (found.get("machine") or {}).get("apps", []):
        for key in _OWN:
            app.pop(key, None)
    return found


def digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()
