"""Render a role's template as Ansible would: its own Templar, the model that the contract resolves, the role's defaults, and a scenario."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from ansible_collections.slipway.vps.plugins.action.contract import JOINED, MODEL_INPUTS
from ansible_collections.slipway.vps.plugins.module_utils.model import Machine, Secrets
from ansible_collections.slipway.vps.plugins.module_utils.resolve import names, resolve_machine, resolve_secrets
from ansible_collections.slipway.vps.plugins.module_utils.rules.inputs import merged

ROOT = Path(__file__).resolve().parents[2]

# What an operator must say, with values that a wrong quotation or a wrong name would show.
OPERATOR: dict[str, Any] = {
    "app_name": "demo",
    "app_domains": ["demo.slipway.test", "www.demo.slipway.test"],
    "app_wsgi": "logbook:create_app()",
    "app_source": {"type": "path", "path": "/nowhere"},
    "acme_email": "ops@slipway.test",
}


@functools.cache
def _loader() -> DataLoader:
    return DataLoader()


def _trusted(value: Any) -> Any:
    """Mark every text of ``value`` as a template, as texts from an inventory are."""
    if isinstance(value, str):
        return trust_as_template(value)
    if isinstance(value, dict):
        return {key: _trusted(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_trusted(item) for item in value]
    return value


def _load(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    return dict(_loader().load_from_file(str(path), trusted_as_template=True) or {})


class Specs(NamedTuple):
    """What the roles of the collection say of their variables."""

    #: Name to option, of all entry points.
    options: dict[str, dict[str, Any]]
    defaults: dict[str, Any]


@functools.cache
def specs() -> Specs:
    options: dict[str, dict[str, Any]] = {}
    defaults: dict[str, Any] = {}
    for role in sorted(ROOT.glob("roles/*/meta/argument_specs.yml")):
        for spec in yaml.safe_load(role.read_text())["argument_specs"].values():
            options.update(spec.get("options", {}))
        defaults.update(_load(role.parents[1] / "defaults/main.yml"))
    return Specs(options, defaults)


def said_of(**inputs: Any) -> dict[str, Any]:
    """One entry's values as the resolver takes them: ``inputs`` over the operator's, over the roles' defaults, all of them resolved."""
    scope = {**specs().defaults, **_trusted(OPERATOR), **_trusted(inputs)}
    wanted = {name: scope[name] for name in scope if name.startswith("app_") or name in (*MODEL_INPUTS, *JOINED)}
    known = names({name: scope[name] for name in wanted if name in inputs or name in OPERATOR})
    templar = Templar(loader=_loader(), variables={**scope, **known})
    return {**scope, **merged({name: templar.template(value) for name, value in wanted.items()}, specs().options)}


def machine_of(apps: Mapping[str, Mapping[str, Any]], name: str = "192.0.2.1") -> Machine:
    """The machine of these entries, each with its inputs beside the operator's."""
    return resolve_machine(name, {entry: said_of(**inputs) for entry, inputs in apps.items()}, JOINED)


def model_of(**inputs: Any) -> dict[str, Any]:
    """``app`` as roles read it: the only app of its machine."""
    machine = machine_of({"web1": inputs})
    return {**asdict(machine.apps[0]), "machine": machine.facts(), "leads": True, "log_secrets": bool(inputs.get("app_log_secrets"))}


def secrets_of(**inputs: Any) -> Secrets:
    """``app_secret`` as roles read it."""
    return resolve_secrets(said_of(**inputs))


def variables(role: str, **scenario: Any) -> dict[str, Any]:
    """The variables that a task of ``role`` sees: the model, defaults, the role's own, then the scenario.

    The operator's ``app_*`` are not among them: a role that reads one would go past the model.
    """
    own = {name: value for name, value in scenario.items() if not name.startswith("app_")}
    return {
        "ansible_managed": "Ansible managed",
        "ansible_check_mode": False,
        "inventory_hostname": "web1",
        "acme_email": OPERATOR["acme_email"],
        # Where lookups of the role's own files look.
        "ansible_search_path": [str(ROOT / "roles" / role)],
        "role_path": str(ROOT / "roles" / role),
        "app": model_of(**scenario),
        "app_secret": {**asdict(secrets_of(**scenario)), "machine": {}},
        **_load(ROOT / f"roles/{role}/defaults/main.yml"),
        **_load(ROOT / f"roles/{role}/vars/main.yml"),
        **_trusted(own),
    }


def render(role: str, template: str, **scenario: Any) -> str:
    """The text of ``roles/<role>/templates/<template>`` with the template module's own whitespace rules."""
    templates = ROOT / "roles" / role / "templates"
    source = templates / template
    templar = Templar(loader=_loader(), variables=variables(role, **scenario))
    templar = templar.copy_with_new_env(searchpath=[str(templates), str(source.parent)])
    text = trust_as_template(source.read_text(encoding="utf-8"))
    return str(templar.template(text, escape_backslashes=False, overrides={"trim_blocks": True, "lstrip_blocks": False}))


def value(role: str, expression: str, **scenario: Any) -> Any:
    """What ``{{ expression }}`` is for a task of ``role``, in its own type."""
    templar = Templar(loader=_loader(), variables=variables(role, **scenario))
    return templar.template(trust_as_template("{{ " + expression + " }}"))
