# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""Refuse bad input before anything on the host changes (documentation: plugins/modules/contract.py)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase
from ansible_collections.slipway.vps.plugins.module_utils.contract import OTHERS, Problem, problems
from ansible_collections.slipway.vps.plugins.module_utils.edge import edge_problems

_ROLE = Path(__file__).resolve().parents[2] / "roles" / "app"


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible-core ships no types
    """Collect the contract's variables as this host sees them, and report every problem at once."""

    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        variables = task_vars or {}
        result: dict[str, Any] = super().run(tmp, variables)
        spec = _options(_ROLE)
        names = [name for name in variables if name.startswith("app_")]
        values, unresolved = self._resolve(variables, [*spec, *OTHERS])
        values.update(self._own_certificate(values))
        found = [*problems(values, names, spec), *edge_problems({**values, **self._edge(variables)})]
        # A value that refers to a missing input fails too; only the missing input is worth reporting.
        if not found:
            found = unresolved
        result["changed"] = False
        if found:
            result["failed"] = True
            result["msg"] = _message(found, variables)
        return result

    def _resolve(self, variables: Mapping[str, Any], names: list[str]) -> tuple[dict[str, Any], list[Problem]]:
        values: dict[str, Any] = {}
        unresolved: list[Problem] = []
        for name in names:
            if name not in variables:
                continue
            try:
                values[name] = self._templar.template(variables[name])
            except AnsibleError as error:
                unresolved.append(Problem(name, f"cannot be resolved: {error.message}", "correct the expression"))
        return values, unresolved

    def _edge(self, variables: Mapping[str, Any]) -> dict[str, Any]:
        """What is said of nginx, as far as it can be known here: a play without that role does not see its defaults."""
        names = [name for name in variables if name.startswith("nginx_")]
        return self._resolve(variables, [*names, "gunicorn_backlog"])[0]

    def _own_certificate(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """What the operator's certificate and key hold (decrypted when they are in the vault), or why they cannot be read."""
        found: dict[str, Any] = {}
        for part in ("certificate", "key"):
            if not (name := values.get(f"tls_{part}_file")):
                continue
            try:
                path = self._loader.get_real_file(self._find_needle("files", str(name)))
                found[f"tls_{part}_text"] = Path(path).read_text(errors="replace")
                self._loader.cleanup_tmp_file(path)
            except AnsibleError as error:
                found[f"tls_{part}_text"] = OSError(str(error.message).partition("\n")[0])
            except OSError as error:
                found[f"tls_{part}_text"] = error
        return found


def _options(role: Path) -> dict[str, Any]:
    specs = yaml.safe_load((role / "meta" / "argument_specs.yml").read_text())
    options: dict[str, Any] = specs["argument_specs"]["main"]["options"]
    return options


def _message(found: list[Problem], variables: Mapping[str, Any]) -> str:
    inventory = variables.get("inventory_dir")
    root = Path(inventory) if inventory else None
    lines = ["Nothing was changed: the input is not complete or not right."]
    for problem in found:
        lines.append(f"- {problem.variable} {problem.what}.")
        lines.append(f"  file: {_place(problem.variable, root)}")
        lines.append(f"  fix:  {problem.fix}")
    lines.append("Then run the same command again.")
    return "\n".join(lines)


def _place(variable: str, root: Path | None) -> str:
    """The line that sets ``variable``, or the file where it belongs."""
    usual = "group_vars/app_servers/app.yml"
    if root is None:
        return f"{usual} of your inventory"
    definition = re.compile(rf"\s*{re.escape(variable)}\s*:")
    for path in _variable_files(root):
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), start=1):
            if definition.match(line):
                return f"{path}:{number}"
    return str(root / usual)


def _variable_files(root: Path) -> Iterator[Path]:
    for folder in ("host_vars", "group_vars"):
        yield from sorted(path for path in (root / folder).rglob("*") if path.is_file() and path.suffix in ("", ".yml", ".yaml"))
    yield from sorted(path for path in root.glob("*.y*ml"))
