"""Render a role's template as Ansible would: its own Templar, the contract's defaults, the role's, and a scenario."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import init_plugin_loader
from ansible.template import Templar, trust_as_template

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
    init_plugin_loader([str(ROOT / "collections")])
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


def variables(role: str, **scenario: Any) -> dict[str, Any]:
    """The variables that a task of ``role`` sees: defaults, the operator's, the role's own, then the scenario."""
    return {
        "ansible_managed": "Ansible managed",
        "ansible_check_mode": False,
        "inventory_hostname": "web1",
        # Where lookups of the role's own files look.
        "ansible_search_path": [str(ROOT / "roles" / role)],
        "role_path": str(ROOT / "roles" / role),
        **_load(ROOT / "roles/app/defaults/main.yml"),
        **_load(ROOT / f"roles/{role}/defaults/main.yml"),
        **_trusted(OPERATOR),
        **_load(ROOT / f"roles/{role}/vars/main.yml"),
        **_trusted(scenario),
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
