# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""The controller's half of the module program: the program as this collection has it, packed for the host."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import yaml
from ansible.plugins.action import ActionBase

COLLECTION = Path(__file__).resolve().parents[2]
SOURCE = COLLECTION / "plugins/module_utils/slipway"


def files(source: Path = SOURCE) -> dict[str, bytes]:
    """The program's files by their path below the folder that holds the package."""
    return {str(path.relative_to(source.parent)): path.read_bytes() for path in sorted(source.rglob("*.py"))}


def packed(found: dict[str, bytes]) -> str:
    """A zip of the files as base64; the same for the same files."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in sorted(found.items()):
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    return base64.b64encode(buffer.getvalue()).decode()


def collection_version(root: Path = COLLECTION) -> str:
    """The collection's version: galaxy.yml in a clone, MANIFEST.json where it was installed."""
    if (root / "galaxy.yml").exists():
        return str(yaml.safe_load((root / "galaxy.yml").read_text())["version"])
    return str(json.loads((root / "MANIFEST.json").read_text())["collection_info"]["version"])


def version(found: dict[str, bytes], collection: str) -> str:
    """A name for this program: 0.1.0-5f1c0a9e3b2d. Another content is another folder."""
    digest = hashlib.sha256()
    for name, content in sorted(found.items()):
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    return f"{collection}-{digest.hexdigest()[:12]}"


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible-core ships no types
    """Gives the module what stands on the controller."""

    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        found = files()
        words = {**self._task.args, "version": version(found, collection_version()), "archive": packed(found)}
        result.update(self._execute_module(module_name="slipway.vps.program", module_args=words, task_vars=task_vars))
        return result
