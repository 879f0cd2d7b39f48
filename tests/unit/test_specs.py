"""Each role's argument_specs say exactly what its defaults say: they are the source of the documentation."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.slipway.vps.plugins.action.contract import JOINED, MERGED, MODEL_INPUTS

from .conftest import ROOT

ROLES = sorted(path.name for path in (ROOT / "roles").iterdir() if path.is_dir())


def load(path: Path) -> dict[str, Any]:
    return (yaml.safe_load(path.read_text()) or {}) if path.exists() else {}


def entry_points(role: str) -> dict[str, dict[str, Any]]:
    specs: dict[str, dict[str, Any]] = load(ROOT / "roles" / role / "meta/argument_specs.yml")["argument_specs"]
    return specs


def options(role: str) -> dict[str, Any]:
    """The options of all entry points."""
    return {name: option for spec in entry_points(role).values() for name, option in (spec.get("options") or {}).items()}


def nested(options: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name, option in options.items():
        yield above + name, option
        yield from nested(option.get("options", {}), f"{above}{name}.")


def test_all_roles_are_looked_at() -> None:
    assert {"app", "base", "firewall", "tls", "nginx", "server", "release", "postgres", "redis", "backup", "logs", "preflight"} <= set(
        ROLES
    )


def formula(option: Mapping[str, Any], value: Any) -> bool:
    """A default that Jinja works out, of a type that no text is. antsibull-docs refuses it in a spec: the description says what it is."""
    kinds = (option["type"], option.get("elements"))
    return isinstance(value, str) and "{{" in value and bool({"int", "float", "bool", "dict"} & set(kinds))


@pytest.mark.parametrize("role", ROLES)
def test_every_default_is_documented_with_its_value(role: str) -> None:
    """A variable of defaults/main.yml without an option, or with another default there, is documented wrongly."""
    documented = options(role)
    for name, value in load(ROOT / "roles" / role / "defaults/main.yml").items():
        assert name in documented, f"{name} has no option in meta/argument_specs.yml"
        if formula(documented[name], value):
            assert "default" not in documented[name], f"{name}: antsibull-docs takes no formula for a {documented[name]['type']}"
            continue
        assert "default" in documented[name], f"{name} has no default in meta/argument_specs.yml"
        assert documented[name]["default"] == value, f"{name}: the spec says {documented[name]['default']!r}, the defaults {value!r}"
        assert type(documented[name]["default"]) is type(value), f"{name}: the types of the defaults differ"


@pytest.mark.parametrize("role", ROLES)
def test_every_documented_default_is_one(role: str) -> None:
    """Ansible checks a spec's types but fills in no default: one that only the spec has would leave the name undefined."""
    defaults = load(ROOT / "roles" / role / "defaults/main.yml")
    for name, option in options(role).items():
        assert "default" not in option or name in defaults, f"{name} has a default in the spec and none in defaults/main.yml"
        assert not (option.get("required") and name in defaults), f"{name} is required and has a default, so nobody has to set it"


@pytest.mark.parametrize("role", ROLES)
def test_required_inputs_are_shown_in_the_defaults(role: str) -> None:
    """As comments: an operator reads defaults/main.yml first."""
    text = (ROOT / "roles" / role / "defaults/main.yml").read_text()
    for name, option in options(role).items():
        # One of another entry point than the role's own halves comes from its playbook.
        if option.get("required") and any(
            name in entry_points(role).get(half, {}).get("options", {}) for half in ("main", "machine", "app")
        ):
            assert re.search(rf"^# {name}:", text, flags=re.MULTILINE), f"{name} is not in defaults/main.yml as a comment"


@pytest.mark.parametrize("role", ROLES)
def test_entry_points_agree(role: str) -> None:
    """An option that several entry points have is the same in each; every entry point has its tasks and its author."""
    points = entry_points(role)
    for point, spec in points.items():
        assert (ROOT / "roles" / role / "tasks" / f"{point}.yml").exists(), f"there is no tasks/{point}.yml"
        assert spec["author"] == "The Slipway authors" and spec["short_description"], point
        for name, option in spec.get("options", {}).items():
            assert option == options(role)[name], f"{name} differs between {point} and another entry point"


@pytest.mark.parametrize("role", ROLES)
def test_every_option_has_a_type_and_a_description(role: str) -> None:
    """Sub-options, too: without a description ansible-doc refuses the whole role."""
    for point, spec in entry_points(role).items():
        assert spec["description"], f"{point} has no description"
        for name, option in nested(spec.get("options", {})):
            assert option.get("description"), f"{point}: {name} has no description"
            assert option.get("type"), f"{point}: {name} has no type"
            assert option["type"] != "list" or option.get("elements"), f"{point}: {name} is a list of what?"
            if "choices" in option and "default" in option:
                assert option["default"] in option["choices"], f"{point}: the default of {name} is none of its choices"


@pytest.mark.parametrize("role", ROLES)
def test_options_carry_the_roles_prefix(role: str) -> None:
    """The contract has one more input, named as everybody names it."""
    for name in options(role):
        assert name.startswith(f"{role}_") or (role, name) == ("app", "acme_email"), f"{name} is not {role}_*"


@pytest.mark.parametrize("role", ROLES)
def test_roles_depend_on_nothing(role: str) -> None:
    """Composition happens in plays."""
    meta = load(ROOT / "roles" / role / "meta/main.yml")
    assert meta["dependencies"] == []
    info = meta["galaxy_info"]
    assert (info["role_name"], info["author"], info["license"]) == (role, "The Slipway authors", "MIT")
    assert info["min_ansible_version"] == "2.19"
    # All roles say the same about the systems they run on.
    assert info["platforms"] == load(ROOT / "roles/app/meta/main.yml")["galaxy_info"]["platforms"]


def test_what_the_model_is_made_of_is_documented() -> None:
    """[F1] [F2] Inputs by their names, and lists that the apps of a machine join: each is an option, of the right scope."""
    every = {name: option for role in ROLES for name, option in options(role).items()}
    machine = {name for role in ROLES for name in entry_points(role).get("machine", {}).get("options", {})}
    assert set(MODEL_INPUTS) | set(JOINED) <= set(every)
    assert {every[name]["type"] for name in JOINED} == {"list"}
    assert {every[name]["type"] for name in MERGED} == {"dict"} and set(MERGED) <= machine
    # Said per app, it would be joined and compared at once.
    assert set(JOINED) <= set(machine)


@pytest.mark.parametrize("role", ROLES)
def test_the_halves_of_a_role_are_separate(role: str) -> None:
    """[F2] What an app says of itself is its own: a name that both halves read is the machine's, and is refused when two apps differ."""
    both = set(entry_points(role).get("machine", {}).get("options", {})) & set(entry_points(role).get("app", {}).get("options", {}))
    assert both <= {"backup_jobs", "nginx_brotli", "nginx_http3", "tls_reload_unit"}, f"{sorted(both)} became the machine's"
    assert "main" not in entry_points(role) or "machine" not in entry_points(role), "an engine's role has two halves and no third"
