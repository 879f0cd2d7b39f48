# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""Refuse bad input before anything on the host changes, and return the model (documentation: plugins/modules/contract.py)."""

from __future__ import annotations

import functools
import os
import re
import secrets as randomness
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase
from ansible.template import trust_as_template
from ansible_collections.slipway.vps.plugins.module_utils.former import FORMER, note, renamed, said_before
from ansible_collections.slipway.vps.plugins.module_utils.model import App
from ansible_collections.slipway.vps.plugins.module_utils.resolve import names, resolve_machine, resolve_secrets, stated_urls, truthy
from ansible_collections.slipway.vps.plugins.module_utils.rules import judge, notes
from ansible_collections.slipway.vps.plugins.module_utils.rules.inputs import merged
from ansible_collections.slipway.vps.plugins.module_utils.rules.machine import conflicts
from ansible_collections.slipway.vps.plugins.module_utils.rules.preflight import contradictions, unknown_answers
from ansible_collections.slipway.vps.plugins.module_utils.rules.problem import Problem
from ansible_collections.slipway.vps.plugins.module_utils.source_check import look
from ansible_collections.slipway.vps.plugins.plugin_utils.inputs import digests

ROLES = Path(__file__).resolve().parents[2] / "roles"
#: In place of a value that is not known: another one in each run.
UNKNOWN = randomness.token_hex()
#: What the contract itself registers; they carry the prefix of a role.
OWN_FACTS = frozenset({"app_secret"})
#: Inputs besides `app_*` that the model is made of; their defaults are the roles'.
MODEL_INPUTS = (
    *("postgres_allow", "postgres_readonly_users", "postgres_app_hosts"),
    *("postgres_max_connections", "postgres_connections_admin", "postgres_connections_backup"),
    *("postgres_limits_app", "postgres_limits_readonly", "postgres_limits_migrate"),
    *(f"server_{name}" for name in ("worker_class", "workers", "threads", "timeout", "graceful_timeout", "worker_memory", "memory_share")),
    *("backup_engine", "backup_hour", "backup_minute"),
    "base_sandbox",
)
#: Lists of the machine that every app may add to; they are joined instead of compared.
JOINED = ("base_packages", "firewall_rules_custom", "firewall_trusted", "postgres_packages_custom", "postgres_hba_custom")
#: The same for dictionaries: what one app says of a key holds for the machine.
MERGED = ("preflight_answers",)


@dataclass(frozen=True)
class Roles:
    """What the collection's roles document: options of all entry points, those of the machine's part, and defaults."""

    options: dict[str, dict[str, Any]]
    machine: frozenset[str]
    defaults: dict[str, Any]

    @functools.cached_property
    def names(self) -> list[str]:
        return sorted(path.name for path in ROLES.iterdir() if (path / "meta").is_dir())


@dataclass
class Entry:
    """One entry of the inventory: what it says, resolved."""

    name: str
    variables: Mapping[str, Any]
    values: dict[str, Any] = field(default_factory=dict)
    said: set[str] = field(default_factory=set)
    #: Names of today of what it says under a former one.
    former: set[str] = field(default_factory=set)
    unresolved: list[Problem] = field(default_factory=list)


class Finding(NamedTuple):
    """A problem, and the entry in whose files it is mended."""

    problem: Problem
    entry: Entry


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible-core ships no types
    """Judge the inputs of one entry, with all entries of its machine, and return the model or its secrets."""

    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        variables = task_vars or {}
        result: dict[str, Any] = super().run(tmp, variables)
        result["changed"] = False
        self._roles = self._read_roles()
        entry = self._read(str(variables["inventory_hostname"]), variables)
        part = self._task.args.get("part", "model")
        if part == "source":
            # Judged before; what can be seen of the source takes time, and only a deploy needs it.
            return {**result, **self._look_at_source(entry)}
        found = [Finding(problem, entry) for problem in self._judge(entry)]
        machine = entry.name
        entries = [entry]
        if not found:
            machine, entries, found = self._machine(entry, variables)
        if not found:
            found = self._judge_machine(entry, entries, variables)
        if found:
            return {**result, "failed": True, "msg": _message(found)}
        if part == "secrets":
            secrets = asdict(replace(resolve_secrets(entry.values), source=self._located(entry)[0]))
            facts = self._facts(entry, entries)
            inputs = self._inputs(entry, facts, self._model(entry, machine, entries, variables), secrets)
            return {**result, **secrets, "facts": facts, "inputs": inputs}
        if said := [*notes({**self._roles.defaults, **entry.values}), *note(variables)]:
            result["warnings"] = [*result.get("warnings", []), *said]
        return {**result, **self._model(entry, machine, entries, variables)}

    # --- What the inventory says ---------------------------------------------------------------

    def _read_roles(self) -> Roles:
        options: dict[str, dict[str, Any]] = {}
        machine: set[str] = set()
        defaults: dict[str, Any] = {}
        for role in sorted(path for path in ROLES.iterdir() if (path / "meta").is_dir()):
            for point, spec in yaml.load((role / "meta/argument_specs.yml").read_text(), yaml.CSafeLoader)["argument_specs"].items():
                options.update(spec.get("options", {}))
                machine.update(spec.get("options", {}) if point == "machine" else ())
            defaults.update(self._loader.load_from_file(str(role / "defaults/main.yml"), trusted_as_template=True) or {})
        return Roles(options, frozenset(machine), defaults)

    def _raw(self, variables: Mapping[str, Any], name: str) -> Mapping[str, Any]:
        """The variables of another entry, unresolved."""
        return {**variables["hostvars"].raw_get(name), "hostvars": variables["hostvars"]}

    def _read(self, name: str, variables: Mapping[str, Any]) -> Entry:
        """Resolve what an entry says and the defaults that the model is made of.

        Derived names are known to the operator's expressions (``{{ app_shared }}/uploads``); a URL in the app's environment
        counts as one that ``app_database_url`` says.
        """
        defaults = self._roles.defaults
        former, variables = said_before(variables), renamed(variables)
        entry = Entry(name, variables, former=set(former))
        entry.said = {
            variable for variable in self._roles.options if variable in variables and not _same(variables[variable], defaults.get(variable))
        }
        scope = {**defaults, **variables}
        first = {
            variable: scope[variable] for variable in entry.said if variable.startswith("app_") and not isinstance(scope[variable], dict)
        }
        self._resolve(entry, first, scope, quietly=True)
        if isinstance(entry.values.get("app_name"), str) and isinstance(entry.values.get("app_domains"), list):
            derived = names(entry.values)
            scope = {**scope, **{variable: derived[variable] for variable in derived.keys() - entry.said}}
        wanted = [*entry.said, *(name for name in defaults if name.startswith("app_")), *MODEL_INPUTS]
        self._resolve(entry, {variable: scope[variable] for variable in wanted if variable in scope}, scope)
        self._adopt_database(entry, scope)
        entry.values = merged(entry.values, self._roles.options)
        entry.values.update(self._own_certificate(entry.values))
        return entry

    def _adopt_database(self, entry: Entry, scope: dict[str, Any]) -> None:
        """Let ``{{ app_database_url }}`` be what the environment says, where another name of the environment refers to it."""
        if "app_database_url" in entry.said or not _is_mapping(entry.values, "app_env", "app_secrets"):
            return
        stated = [url for url in stated_urls(entry.values).values() if url != scope.get("app_database_url")]
        if stated:
            again: dict[str, Any] = {variable: scope[variable] for variable in ("app_env", "app_secrets") if variable in scope}
            self._resolve(entry, again, {**scope, "app_database_url": stated[0]}, quietly=True)

    def _resolve(self, entry: Entry, wanted: Mapping[str, Any], scope: Mapping[str, Any], quietly: bool = False) -> None:
        templar = self._templar.copy_with_new_env(available_variables=scope)
        for name, value in wanted.items():
            try:
                entry.values[name] = templar.template(value)
            except AnsibleError as error:
                # Another role's variable may need what only that role's tasks know.
                if not quietly and (name.startswith("app_") or name in (*MODEL_INPUTS, *JOINED, *MERGED)):
                    entry.unresolved.append(Problem(name, f"cannot be resolved: {_words(error)}", "correct the expression"))

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

    # --- The source ----------------------------------------------------------------------------

    def _located(self, entry: Entry) -> tuple[dict[str, Any], list[str]]:
        """`app_source` with absolute paths on the controller, and what to say of one that is not where it should be.

        A relative one begins at the inventory. It used to begin at the playbook: what is there alone is still found.
        """
        source, notes = dict(entry.values["app_source"]), []
        for key in ("path", "file"):
            said = Path(os.path.expandvars(str(source.get(key) or ""))).expanduser()
            if not source.get(key):
                continue
            playbook = Path(self._loader.get_basedir())
            place = Path(os.path.normpath(Path(str(entry.variables.get("inventory_dir") or playbook)) / said))
            former = Path(os.path.normpath(playbook / said))
            if not place.exists() and former.exists():
                notes.append(f"app_source.{key}: {said} is not there relative to the inventory; {former} is used, which is deprecated")
                place = former
            source[key] = str(place)
        return source, notes

    def _look_at_source(self, entry: Entry) -> dict[str, Any]:
        source, notes = self._located(entry)
        found = look({**entry.values, "app_source": source})
        if found.problems:
            return {"failed": True, "msg": _message(Finding(problem, entry) for problem in found.problems)}
        warnings = [f"{entry.name}: {note}." for note in [*notes, *found.notes]]
        return {"warnings": warnings} if warnings else {}

    # --- Judging -------------------------------------------------------------------------------

    def _judge(self, entry: Entry) -> list[Problem]:
        """Every reason to refuse what this entry says, most basic first."""
        given = [name for name in entry.variables if name not in OWN_FACTS]
        unresolved = frozenset(problem.variable for problem in entry.unresolved)
        found = judge(entry.values, given, entry.said, self._roles.options, self._roles.names, unresolved, entry.variables)
        # A value that refers to a missing input fails too; only the missing input is worth reporting.
        absent = [problem.variable for problem in found if problem.variable not in entry.values]
        return found + [problem for problem in entry.unresolved if not any(f"'{name}'" in problem.what for name in absent)]

    def _machine(self, entry: Entry, variables: Mapping[str, Any]) -> tuple[str, list[Entry], list[Finding]]:
        """The machine of an entry: its name, all entries that are on it, in the inventory's order, and what keeps it from being known."""
        mine, entries, found = "", [], []
        raw = {name: entry.variables if name == entry.name else self._raw(variables, name) for name in variables["groups"]["all"]}
        addresses: dict[str, str] = {}
        for name in [entry.name, *(name for name in raw if name != entry.name and "app_name" in raw[name])]:
            try:
                addresses[name] = self._address(name, raw[name])
            except AnsibleError as error:
                what = f"of {name} cannot be resolved, and it may be the same machine: {_words(error)}"
                found.append(Finding(Problem("ansible_host", what, "correct the expression, or say app_machine"), Entry(name, raw[name])))
        if not found:
            mine = addresses[entry.name]
            here = [name for name in raw if addresses.get(name) == mine]
            entries = [entry if name == entry.name else self._read(name, raw[name]) for name in here]
        return mine, entries, found

    def _address(self, name: str, variables: Mapping[str, Any]) -> str:
        """What entries of one machine have in common: `app_machine`, or the address and port that Ansible connects to."""
        templar = self._templar.copy_with_new_env(available_variables=variables)

        def said(*wanted: str) -> str:
            return next((str(templar.template(variables[key])).strip() for key in wanted if variables.get(key)), "")

        if machine := said("app_machine"):
            return machine
        if said("ansible_connection").rpartition(".")[2] == "local":
            return "localhost"
        port = said("ansible_port", "ansible_ssh_port")
        return (said("ansible_host", "ansible_ssh_host") or name).lower() + (f":{port}" if port and port != "22" else "")

    def _judge_machine(self, entry: Entry, entries: list[Entry], variables: Mapping[str, Any]) -> list[Finding]:
        """Whether the apps of this machine can share it."""
        found: list[Finding] = []
        for other in entries:
            bad = self._judge(other) if other is not entry else []
            # One that takes part in this run says itself what is wrong with it.
            if bad and other.name in variables.get("ansible_play_hosts_all", []):
                what = f"shares its machine with {other.name}, whose input is refused"
                return [Finding(Problem("app_name", what, "see what is said of that one"), entry)]
            found += [Finding(Problem(one.variable, f"of {other.name}, on the same machine: {one.what}", one.fix), other) for one in bad]
            found += [Finding(problem, other) for problem in self._unknown_of_machine(other)] if len(entries) > 1 else []
        if found:
            return found
        machine = resolve_machine(entry.name, {other.name: other.values for other in entries})
        said = {other.name: self._said_of_machine(other) for other in entries}
        by_name = {other.name: other for other in entries}
        disagreements = [*conflicts({app.entry: app for app in machine.apps}, said), *contradictions({e.name: e.values for e in entries})]
        if not disagreements:
            found += [Finding(problem, entry) for problem in unknown_answers(machine)]
        for conflict in disagreements:
            if entry.name in conflict.entries:
                places = " and ".join(_place(conflict.variable, by_name[name]) for name in conflict.entries)
                found.append(Finding(Problem(conflict.variable, f"{conflict.what} ({places})", conflict.fix), entry))
        return found

    def _unknown_of_machine(self, entry: Entry) -> Iterator[Problem]:
        """What an entry says of its machine in an expression that has no value before the host is looked at: others cannot take it over."""
        for name in sorted(entry.said & self._roles.machine - set(entry.values)):
            what = f"is the machine's, which has several apps, and what {entry.name} says of it needs facts of the host"
            yield Problem(name, what, "say it without facts")

    def _said_of_machine(self, entry: Entry) -> dict[str, Any]:
        scoped = (entry.said & self._roles.machine) - {*JOINED, *MERGED}
        return {name: entry.values[name] for name in scoped if name in entry.values}

    # --- What is returned ----------------------------------------------------------------------

    def _facts(self, entry: Entry, entries: list[Entry]) -> dict[str, Any]:
        """Variables that roles shall find: what this entry says under a former name, and what only other apps of the machine say of it,
        which holds for whichever entry the machine's part runs on."""
        own = {name: entry.values[name] for name in sorted(entry.former) if name in entry.values}
        others = {
            name: value
            for other in entries
            if other is not entry
            for name, value in self._said_of_machine(other).items()
            if name not in entry.said
        }
        return {**own, **others}

    def _inputs(self, entry: Entry, facts: Mapping[str, Any], model: Mapping[str, Any], secrets: Mapping[str, Any]) -> dict[str, str]:
        """What the layers of this entry are given, to a digest of each part: what it says, and what the files hold that it names."""
        # What has no value before the host is looked at may have any: a layer that is given it always has something to do.
        said = {name: entry.values.get(name, UNKNOWN) for name in entry.said}
        for name in [name for name in said if name.endswith("_file") and said[name]]:
            said[f"{name} holds"] = self._content(entry, "files", "ansible.builtin.file", said[name])
        templates = [file["template"] for file in secrets["files"].values() if "template" in file]
        held = {template: self._content(entry, "templates", "ansible.builtin.template", template) for template in templates}
        return digests(model, {**secrets, "templates": held}, {**said, **facts}, self._roles.names)

    def _content(self, entry: Entry, folder: str, lookup: str, name: Any) -> str:
        """A file of the controller as the roles read it."""
        scope = {**self._roles.defaults, **entry.variables, **entry.values, "slipway_file": str(name)}
        try:
            scope["slipway_file"] = self._find_needle(folder, str(name))
            templar = self._templar.copy_with_new_env(available_variables=scope)
            return str(templar.template(trust_as_template(f"{{{{ lookup('{lookup}', slipway_file) }}}}")))
        except AnsibleError:
            return UNKNOWN

    def _model(self, entry: Entry, name: str, entries: list[Entry], variables: Mapping[str, Any]) -> dict[str, Any]:
        machine = resolve_machine(name, {other.name: {**self._roles.defaults, **other.values} for other in entries}, JOINED)
        app: App = next(app for app in machine.apps if app.entry == entry.name)
        running = [host for host in variables.get("ansible_play_hosts_all", []) if host in machine.entries]
        return {
            **asdict(app),
            "machine": machine.facts(),
            # The machine's part of each layer runs once: on the first of its entries in this run.
            "leads": not running or running[0] == entry.name,
            "log_secrets": truthy(entry.values.get("app_log_secrets")),
        }


#: An expression that is another variable and nothing else.
_REFERENCE = re.compile(r"\{\{\s*(\w+)\s*\}\}")


def _words(error: AnsibleError) -> str:
    """Ansible's message, as the end of a sentence."""
    return str(error.message).strip().rstrip(".")


def _same(one: Any, other: Any) -> bool:
    return other is not None and type(one) is type(other) and bool(one == other)


def _is_mapping(values: Mapping[str, Any], *wanted: str) -> bool:
    return all(isinstance(values.get(name, {}), Mapping) for name in wanted)


def _message(found: Iterable[Finding]) -> str:
    lines = ["Nothing was changed: the input is not complete or not right."]
    for problem, entry in found:
        lines.append(f"- {problem.variable} {problem.what}.")
        lines.append(f"  file: {_place(problem.variable, entry, problem.key)}")
        lines.append(f"  fix:  {problem.fix}")
    lines.append("Then run the same command again.")
    return "\n".join(lines)


def _place(variable: str, entry: Entry, key: str = "") -> str:
    """The line that sets ``variable`` (or one ``key`` of it) for an entry, or the file where it belongs."""
    usual = f"group_vars/app_servers/{'vault' if variable == 'app_secrets' else 'app'}.yml"
    raw = entry.variables.get(variable)
    said = raw.get(key) if key and isinstance(raw, Mapping) else raw if key else None
    # `SECRET_KEY: "{{ vault_secret_key }}"`: what is wrong stands where that other name is set.
    if isinstance(said, str) and (other := _REFERENCE.fullmatch(said.strip())) and other[1] in entry.variables and other[1] != variable:
        entry.said.add(other[1])
        return _place(other[1], entry)
    if not entry.variables.get("inventory_dir"):
        return f"{usual} of your inventory"
    root = Path(str(entry.variables["inventory_dir"]))
    # One key may stand in a line of its own, or in the variable's.
    within = rf"\s*[\"']?{re.escape(key)}[\"']?\s*:|" if key else ""
    written = FORMER[variable] if variable in entry.former else variable
    definition = re.compile(rf"{within}\s*{re.escape(written)}\s*:{'.*' + re.escape(key) if key else ''}")
    encrypted = ""
    for path in _variable_files(root, entry):
        lines = path.read_text(errors="replace").splitlines()
        for number, line in enumerate(lines, start=1):
            if definition.match(line):
                return f"{path}:{number}"
        if lines and lines[0].startswith("$ANSIBLE_VAULT"):
            encrypted = encrypted or str(path)
    # What is set and stands in no readable file is in the vault.
    if encrypted and variable in entry.said:
        return encrypted
    return _place(variable, entry) if key and raw is not None else str(root / usual)


def _variable_files(root: Path, entry: Entry) -> Iterator[Path]:
    """Files that may set an entry's variables, the ones that win first."""
    for owner in (f"host_vars/{entry.name}", *(f"group_vars/{group}" for group in [*entry.variables.get("group_names", [])[::-1], "all"])):
        yield from (path for path in (root / owner, *(root / f"{owner}{suffix}" for suffix in (".yml", ".yaml"))) if path.is_file())
        yield from sorted(
            (path for path in (root / owner).rglob("*") if path.is_file() and path.suffix in ("", ".yml", ".yaml")), reverse=True
        )
    yield from sorted(path for path in root.glob("*.y*ml"))
