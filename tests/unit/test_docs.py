"""The documentation that is generated says what the code does, and the repository holds nothing of the machine it was made on."""

from __future__ import annotations

import importlib
import inspect
import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import jinja2
import pytest
import yaml

from .conftest import ROOT, Tool

MODULES = sorted(path.stem for path in (ROOT / "plugins/modules").glob("*.py"))
ROLES = sorted(path.name for path in (ROOT / "roles").iterdir() if path.is_dir())
SIDECARS = {path.stem: path for path in (ROOT / "plugins/filter").glob("*.yml")}


def rendered(tool: Tool, kind: str, names: list[str]) -> dict[str, Any]:
    """What ansible-doc has to say of these names, as data."""
    result = tool("ansible-doc", "--type", kind, "--json", *(f"slipway.vps.{name}" for name in names))
    assert result.returncode == 0, result.stderr
    assert "[ERROR]" not in result.stderr and "[WARNING]" not in result.stderr, result.stderr
    found: dict[str, Any] = json.loads(result.stdout)
    assert sorted(found) == [f"slipway.vps.{name}" for name in names]
    return {name.rpartition(".")[2]: entry for name, entry in found.items()}


@pytest.fixture(scope="module")
def modules(tool: Tool) -> dict[str, Any]:
    return rendered(tool, "module", MODULES)


class AskedError(Exception):
    """A module has said which arguments it takes."""


def argument_spec(name: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    if name in ("pack", "stream"):
        arguments: dict[str, Any] = importlib.import_module(f"ansible_collections.slipway.vps.plugins.action.{name}").ARGUMENTS
        return arguments
    module = importlib.import_module(f"ansible_collections.slipway.vps.plugins.modules.{name}")
    seen: dict[str, Any] = {}

    def catch(**words: Any) -> NoReturn:
        seen.update(words)
        raise AskedError

    monkeypatch.setattr(module, "AnsibleModule", catch)
    with pytest.raises(AskedError):
        module.main()
    spec: dict[str, Any] = seen["argument_spec"]
    return spec


def shape(option: dict[str, Any]) -> dict[str, Any]:
    """What an option accepts, whether written in the documentation or in the code."""
    return {
        "type": option.get("type", "str"),
        "elements": option.get("elements"),
        "required": bool(option.get("required")),
        "default": option.get("default"),
        "choices": option.get("choices"),
    }


# These run on the controller, as action plugins; `contract` takes no arguments, and `packages` has a test of its own.
@pytest.mark.parametrize("name", [name for name in MODULES if name not in ("contract", "packages")])
def test_a_module_takes_what_its_documentation_says(name: str, modules: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Every option, with its type, default and choices."""
    documented = {key: shape(option) for key, option in modules[name]["doc"]["options"].items()}
    assert documented == {key: shape(option) for key, option in argument_spec(name, monkeypatch).items()}


def test_the_contract_takes_no_arguments(modules: dict[str, Any]) -> None:
    """Its inputs are the variables of the host."""
    assert not modules["contract"]["doc"].get("options")
    assert (ROOT / "plugins/action/contract.py").exists()


@pytest.mark.parametrize("name", MODULES)
def test_a_module_shows_what_it_returns_and_an_example(name: str, modules: dict[str, Any]) -> None:
    """The example is right: it names the module, and options that it has, all required ones among them."""
    entry = modules[name]
    assert entry["return"] and entry["doc"]["attributes"]["check_mode"]["support"]
    options = entry["doc"].get("options") or {}
    for task in yaml.safe_load(entry["examples"]):
        used = task[f"slipway.vps.{name}"] or {}
        assert set(used) <= set(options)
        assert {key for key, option in options.items() if option.get("required")} <= set(used)


def test_every_role_renders(tool: Tool) -> None:
    """With a description, and for each entry point."""
    for name, entry in rendered(tool, "role", ROLES).items():
        points = yaml.safe_load((ROOT / "roles" / name / "meta/argument_specs.yml").read_text())["argument_specs"]
        assert set(entry["entry_points"]) == set(points), name
        assert all(point["short_description"] for point in entry["entry_points"].values()), name


def filters() -> dict[str, Callable[..., Any]]:
    """All filters of the collection, by name."""
    names = [path.stem for path in (ROOT / "plugins/filter").glob("*.py")]
    modules = [importlib.import_module(f"ansible_collections.slipway.vps.plugins.filter.{name}") for name in names]
    return {name: function for module in modules for name, function in module.FilterModule().filters().items()}


def test_each_filter_has_its_documentation() -> None:
    """In a file of its own, as ansible-core wants it, and no file is left over from a filter that went."""
    assert set(SIDECARS) == set(filters())


@pytest.mark.parametrize("name", SIDECARS)
def test_a_filter_takes_what_its_documentation_says(name: str) -> None:
    """As many arguments, in this order, with these defaults; its example gives the result that stands below it."""
    text = yaml.safe_load(SIDECARS[name].read_text())
    documented = {key: option.get("default", inspect.Parameter.empty) for key, option in text["DOCUMENTATION"]["options"].items()}
    taken = [(key, given) for key, given in inspect.signature(filters()[name]).parameters.items() if key != "at"]
    assert [*documented][1:] == text["DOCUMENTATION"].get("positional", "").replace(",", " ").split() == [key for key, _ in taken][1:]
    for key, given in taken[1:]:
        assert documented[key] == (list(given.default) if isinstance(given.default, tuple) else given.default), key
    environment = jinja2.Environment(autoescape=False)
    environment.filters.update({f"slipway.vps.{key}": function for key, function in filters().items()})
    assert f"slipway.vps.{name}" in text["EXAMPLES"]
    for line, result in re.findall(r'"\{\{ (.*) \}\}"\n *# => (.*)', text["EXAMPLES"]):
        value = environment.compile_expression(yaml.safe_load(f'"{line}"'))()
        assert value == yaml.safe_load(result) or value == result


def test_antsibull_accepts_the_documentation(tool: Tool) -> None:
    """Of every role, module, filter and the action plugin, with what they refer to: this is what Ansible Galaxy renders."""
    words = ("--plugin-docs", "--validate-collection-refs", "dependent", "--disallow-unknown-collection-refs")
    result = tool("antsibull-docs", "lint-collection-docs", *words, ".")
    assert result.returncode == 0, result.stdout + result.stderr


# --- What must not be in the repository ---------------------------------------------------------

# In two parts, since this file is in the repository, too.
REGISTRIES = ["pypi" + ".org", "pythonhosted" + ".org", "deb.debian" + ".org", "registry.npmjs" + ".org"]
PLACES = ["/wor" + "k/", "farm" + "-bench"]


def repository() -> list[Path]:
    """All files that are committed, or about to be. An operator's own inventory in the clone is not ours to judge."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    paths = [ROOT / name for name in listed.stdout.split("\0") if name]
    return [path for path in paths if path.is_file() and not path.is_symlink()]


@pytest.mark.parametrize("word", [*REGISTRIES, *PLACES])
def test_the_repository_names_no_registry_and_no_place(word: str) -> None:
    """The machine's own settings say where packages come from; a company's network has its own index."""
    everything = repository()
    assert ROOT / "galaxy.yml" in everything and Path(__file__).resolve() in everything
    found = [
        str(path.relative_to(ROOT)) for path in everything if word.encode() in path.read_bytes() or word in str(path.relative_to(ROOT))
    ]
    assert not found, f"{word} is named in {', '.join(found)}"


def test_the_repository_holds_no_output() -> None:
    """A log of a run was committed once. What is ignored stays out, also where somebody insisted (`git add --force`)."""
    ignored = subprocess.run(["git", "ls-files", "--cached", "--ignored", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True)
    assert (ignored.returncode, ignored.stdout) == (0, "")
    for name in ("default.log", "molecule/edge/run.log", "bench.out", "nohup.out", "junit.xml"):
        assert subprocess.run(["git", "check-ignore", "--quiet", "--no-index", name], cwd=ROOT, check=False).returncode == 0, name
