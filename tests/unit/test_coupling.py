"""A role reads its own variables, the model and facts: what it needs from another role comes through the play.

Ansible would not notice: in a list of roles each one sees the defaults of all the others. What the model derives is derived nowhere else:
tests/unit/test_derived_once.py.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml
from jinja2 import meta, nodes

from .conftest import ROOT

ROLES = sorted(path.name for path in (ROOT / "roles").iterdir() if path.is_dir())
#: What Ansible itself gives to every task. Facts only as ansible_facts['x']: injected ones are switched off.
MAGIC = {
    *("ansible_check_mode", "ansible_facts", "ansible_failed_result", "ansible_managed", "ansible_run_tags"),
    *("inventory_dir", "inventory_hostname"),
    *("item", "lookup", "omit", "query", "role_path", "vars"),
}
#: What the contract returns, for everybody (roles/app/tasks/contract.yml). The operator's app_* are for the contract alone.
MODEL = {"app", "app_secret"}
#: Names for the operator's own expressions, which the contract sets and no role reads.
PLACES = {
    *("app_domain", "app_user", "app_group", "app_root", "app_releases", "app_current", "app_shared", "app_config_dir", "app_files_dir"),
    *("app_log_dir", "app_backup_dir", "app_socket"),
}
#: Inputs of the contract without its prefix, and the roles that may read them.
INPUTS = {"acme_email": {"app", "tls"}}
#: What an operator says with -e for one run, and the role that has it as the default of a variable of its own.
SWITCHES = {"deploy_burn_in": {"release"}, "deploy_restore_point_max": {"release"}, "lock_wait": {"release"}}
EXCEPTIONS = {**INPUTS, **SWITCHES}
#: Keys whose value is an expression without braces.
EXPRESSIONS = {"when", "until", "changed_when", "failed_when", "that", "var"}
FOLDERS = ("defaults", "handlers", "meta", "tasks", "templates", "vars")


class UnreadableError(Exception):
    """Part of a role that this scan cannot read."""


def sources(role: Path) -> Iterator[tuple[str, str]]:
    """Every Jinja text of a role, and where it stands."""
    for path in sorted(path for folder in FOLDERS for path in (role / folder).rglob("*") if path.is_file()):
        where = str(path.relative_to(role))
        if path.suffix == ".j2":
            yield where, path.read_text()
        elif path.suffix in (".yml", ".yaml"):
            yield from ((where, text) for text in expressions(yaml.safe_load(path.read_text())))
        else:
            raise UnreadableError(f"{where} is neither YAML nor a template")


def expressions(node: Any, bare: bool = False) -> Iterator[str]:
    """Every string below a YAML node that Ansible would evaluate."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield from expressions(key)
            yield from expressions(value, bare=key in EXPRESSIONS)
    elif isinstance(node, list):
        for value in node:
            yield from expressions(value, bare)
    elif isinstance(node, str):
        if "{{" in node or "{%" in node:
            yield node
        elif bare:
            yield "{{ " + node + " }}"


def parse(text: str) -> tuple[jinja2.Environment, nodes.Template]:
    environment = jinja2.Environment(extensions=["jinja2.ext.do"])
    tree = environment.parse(text)
    # Ansible's filters and tests are not at hand, and need not be: only names count.
    for used in tree.find_all((nodes.Filter, nodes.Test)):
        environment.filters.setdefault(used.name, environment.filters["string"])
        environment.tests.setdefault(used.name, environment.tests["defined"])
    return environment, tree


def names(text: str) -> set[str]:
    """Variables that a Jinja text reads from outside, also by way of `vars` and of `lookup('vars')`."""
    environment, tree = parse(text)
    used = meta.find_undeclared_variables(tree)
    for node in tree.find_all(nodes.Getattr):
        if isinstance(node.node, nodes.Name) and node.node.name == "vars":
            used.add(node.attr)
    for item in tree.find_all(nodes.Getitem):
        if isinstance(item.node, nodes.Name) and item.node.name == "vars":
            used.add(item.arg.value if isinstance(item.arg, nodes.Const) else "vars[…]")
    for call in tree.find_all(nodes.Call):
        words = [word.value for word in call.args if isinstance(word, nodes.Const)]
        if isinstance(call.node, nodes.Name) and words and str(words[0]).split(".")[-1] in ("vars", "varnames"):
            used.update(map(str, words[1:]) if len(words) == len(call.args) else ["lookup('vars', …)"])
    return used - set(environment.globals)


def foreign(role: str, used: set[str]) -> set[str]:
    """Names that the role may not read."""
    own = (f"{role}_", f"__{role}_")
    return {name for name in used if not name.startswith(own) and name not in MAGIC | MODEL and role not in EXCEPTIONS.get(name, set())}


@pytest.mark.parametrize("role", ROLES)
def test_a_role_reads_its_own_variables_only(role: str) -> None:
    """[F1] And the model, and facts."""
    read = [(where, name) for where, text in sources(ROOT / "roles" / role) for name in sorted(foreign(role, names(text)))]
    assert not read, f"role {role} reads what is not its own: " + ", ".join(f"{name} ({where})" for where, name in read)


@pytest.mark.parametrize("role", ROLES)
def test_a_role_sets_its_own_variables_only(role: str) -> None:
    """Registers, facts, loop variables and the variables of tasks carry the role's name: all of them outlive or shadow."""
    for path in sorted((ROOT / "roles" / role).glob("*/*.yml")):
        if path.parent.name in ("tasks", "handlers"):
            for name in written(yaml.safe_load(path.read_text())):
                if (role, path.name) == ("app", "contract.yml"):
                    # What other apps say of the machine is set by its own name.
                    assert name in MODEL | PLACES | {"{{ item.key }}"}, f"the contract sets {name}"
                else:
                    assert name.startswith(f"__{role}_"), f"{path.name} sets {name}, which is not __{role}_*"
        if path.parent.name in ("defaults", "vars"):
            prefix = f"{role}_" if path.parent.name == "defaults" else f"__{role}_"
            for name in yaml.safe_load(path.read_text()) or {}:
                assert name.startswith(prefix), f"{path.parent.name}/{path.name} sets {name}, which is not {prefix}*"


def written(tasks: Any) -> Iterator[str]:
    for task in tasks or []:
        yield from [task["register"]] if "register" in task else []
        yield from [task["loop_control"]["loop_var"]] if "loop_var" in task.get("loop_control", {}) else []
        yield from task.get("vars", {})
        yield from (name for name in task.get("ansible.builtin.set_fact", {}) if name != "cacheable")
        for part in ("block", "rescue", "always"):
            yield from written(task.get(part))


@pytest.mark.parametrize("role", ROLES)
def test_a_role_asks_for_features_not_for_distributions(role: str) -> None:
    """`nginx -V`, `pg_lsclusters`: what a release is called says nothing of a backport, or of the next release."""
    pattern = re.compile(r"ansible_(distribution|os_family|lsb)|ansible_facts(\.|\[['\"])(distribution|os_family|lsb)")
    for where, text in sources(ROOT / "roles" / role):
        assert not pattern.search(text), f"{where}: {text}"


# --- Plays --------------------------------------------------------------------------------------

PLAYS = sorted((ROOT / "playbooks").glob("*.yml"))
#: What an operator says with -e for one run of a playbook.
SAID = {
    *(
        "back",
        "backup",
        "drift",
        "command",
        "drop",
        "entry",
        "fetch",
        "files",
        "follow",
        "from",
        "go",
        "json",
        "label",
        "lines",
        "message",
        "method",
        "on",
        "reason",
        "release",
        "report",
        "request",
        "schema",
        "since",
        "target",
        "things",
        "undo",
        "until",
    ),
}
#: What plays hand from one role to another.
HANDED_OVER = {"nginx_firewall_rules", "postgres_firewall_rules"}
#: What else a play reads, and why.
PLAY_EXCEPTIONS = {
    # The deploys of a rotation are given other secrets than the vault's, one after the other.
    "app_secrets": {"rotate.yml"},
    # What an import of a rotation says: the first contract of a run does not hold for it.
    "resolve_again": {"contract.yml"},
    # What an import says that a deploy follows: only then is the source looked at, and a release made.
    "deploys": {"contract.yml", "serve.yml"},
    # What an import says that follows upon a run: then the walk leaves out what no run changes.
    "after_a_run": {"verify.yml"},
    # What an import says that is about some layers, or about none (drift.yml).
    "layers_only": {"preflight.yml"},
    # One table for all hosts.
    "ansible_play_hosts": {"drift.yml"},
    # Without copies elsewhere there is nothing to drill with; the role says it too late.
    "backup_offsite_repository": {"drill.yml"},
    # There is no inventory yet that could say it: it is written.
    "app_name": {"init.yml"},
    # It runs here, with the Python that has what Ansible has.
    "ansible_playbook_python": {"init.yml"},
    # The address for a curl line: how the machine is reached from here.
    "ansible_host": {"open.yml"},
    "ansible_connection": {"open.yml"},
    # What the hosts have answered, in one table or in one order.
    "hostvars": {"drift.yml", "logs.yml", "status.yml"},
}
#: What Ansible gives to a play, besides.
PLAY_MAGIC = MAGIC | MODEL | SAID | HANDED_OVER | {"_raw_params", "ansible_play_hosts_all", "group_names", "groups", "now"}


def foreign_to(play: Path, used: set[str]) -> set[str]:
    """Names that a play may not read: the operator's app_*, and what belongs to a role alone."""
    own = f"__{play.stem.removeprefix('un')}"
    return {name for name in used - PLAY_MAGIC if not name.startswith(own) and play.name not in PLAY_EXCEPTIONS.get(name, set())}


@pytest.mark.parametrize("play", PLAYS, ids=lambda path: path.stem)
def test_a_play_reads_the_model(play: Path) -> None:
    """[F1] [F2] And what it hands from one role to another; nothing private of a role, and no input of the contract."""
    read = {name for text in expressions(yaml.safe_load(play.read_text())) for name in foreign_to(play, names(text))}
    assert not read, f"{play.name} reads {', '.join(sorted(read))}"


def test_the_scan_of_plays_sees_a_violation() -> None:
    play = ROOT / "playbooks/verify.yml"
    for name in ("app_name", "app_socket", "__backup_command", "nginx_packages", "__rotate", "server_workers", "app_secrets"):
        assert foreign_to(play, {name, "app", "__verify", "target"}) == {name}
    assert foreign_to(ROOT / "playbooks/unfreeze.yml", {"__freeze_reason"}) == set()


def test_every_exception_of_plays_is_needed() -> None:
    """One that nobody uses any more is a hole."""
    read: dict[str, set[str]] = {}
    for play in PLAYS:
        for text in expressions(yaml.safe_load(play.read_text())):
            for name in names(text):
                read.setdefault(name, set()).add(play.name)
    assert {name: read.get(name, set()) for name in PLAY_EXCEPTIONS} == PLAY_EXCEPTIONS
    assert set(read) >= HANDED_OVER | SAID, f"nobody reads {sorted((HANDED_OVER | SAID) - set(read))}"


#: They run on no host of an operator, or are the contract, or only import others.
WITHOUT = ("contract", "init", "site")


@pytest.mark.parametrize("play", [play for play in PLAYS if play.stem not in WITHOUT], ids=lambda path: path.stem)
def test_every_playbook_begins_with_the_contract(play: Path) -> None:
    """[F1] [K10] Nothing runs on input that nobody has judged; a playbook that imports others leaves it to them."""
    first = next(part for part in yaml.safe_load(play.read_text()) if part.get("hosts") != "localhost")
    assert "ansible.builtin.import_playbook" in first, f"{play.name} begins with a play of its own"
    target = first["ansible.builtin.import_playbook"]
    assert target == "contract.yml" or (ROOT / "playbooks" / target).exists()


@pytest.mark.parametrize("play", PLAYS, ids=lambda path: path.stem)
def test_the_machines_part_runs_once(play: Path) -> None:
    """[F2] On the entry that leads; two that ran it at once would meet on the package manager's lock."""
    for part in yaml.safe_load(play.read_text()):
        for task in part.get("tasks", []):
            role = task.get("ansible.builtin.import_role") or task.get("ansible.builtin.include_role") or {}
            if role.get("tasks_from") == "machine":
                conditions = task.get("when") if isinstance(task.get("when"), list) else [task.get("when")]
                assert re.match(r"app\.leads\b", str(conditions[0])), f"{play.name}: {task['name']}"


@pytest.mark.parametrize("play", PLAYS, ids=lambda path: path.stem)
def test_the_last_import_of_a_role_has_no_condition_of_one_app(play: Path) -> None:
    """[D1] [F2] Of handlers with one name Ansible keeps the last import's, with that import's condition: PostgreSQL was not restarted."""
    for part in yaml.safe_load(play.read_text()):
        conditions: dict[str, list[str]] = {}
        for task in part.get("tasks", []):
            if role := task.get("ansible.builtin.import_role"):
                conditions.setdefault(role["name"], []).append(str(task.get("when", "")))
        for name, said in conditions.items():
            assert len(said) == 1 or not re.search(r"\bapp\.", said[-1]), f"{play.name}: {name} is imported last when {said[-1]}"


# --- The scan itself ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        *("{{ nginx_packages }}", "{{ x | default(nginx_packages) }}", "{% if nginx_packages | length %}{% endif %}"),
        *("{% for x in nginx_packages %}{{ x }}{% endfor %}", "{{ vars.nginx_packages }}", "{{ vars['nginx_packages'] }}"),
        *("{% macro m(vars) %}{{ vars.nginx_packages }}{% endmacro %}", "{{ lookup('vars', 'nginx_packages') }}"),
        *("{{ query('ansible.builtin.vars', 'nginx_packages') }}", "{{ {'a': [nginx_packages]} }}", "{{ a ~ nginx_packages[0].b }}"),
        *("{{ '%s' | format(nginx_packages) }}", "{{ a is version(nginx_packages, '>') }}", "{% set a = nginx_packages %}{{ a }}"),
    ],
)
def test_the_scan_sees_a_name(text: str) -> None:
    assert "nginx_packages" in names(text)
    assert "nginx_packages" in foreign("tls", names(text))
    assert "nginx_packages" not in foreign("nginx", names(text))


@pytest.mark.parametrize(
    "text",
    ["nginx_packages", "{{ 'nginx_packages' }}", "{# {{ nginx_packages }} #}", "{{ a.nginx_packages }}", "{% set nginx_packages = 1 %}"],
)
def test_the_scan_sees_only_names(text: str) -> None:
    assert "nginx_packages" not in names(text)


def test_the_scan_knows_the_model_from_the_inputs() -> None:
    """[F1] A role that reads an input would go past what the contract adopts."""
    assert foreign("nginx", names("{{ app.socket ~ app_secret.environment ~ app_socket ~ app_name }}")) == {"app_socket", "app_name"}


def test_the_scan_looks_into_every_kind_of_file(tmp_path: Path) -> None:
    """A foreign name in each place where a role can read one."""
    files = {
        "defaults/main.yml": "tls_a: '{{ nginx_a }}'",
        "vars/main.yml": "__tls_b:\n  - x: '{{ nginx_b }}'",
        "meta/argument_specs.yml": "argument_specs: {main: {options: {tls_c: {default: '{{ nginx_c }}'}}}}",
        "handlers/main.yml": "[{name: x, when: nginx_d | bool}]",
        "tasks/main.yml": (
            "[{block: [{ansible.builtin.assert: {that: [nginx_e]}, until: nginx_f, changed_when: [nginx_g], loop: '{{ nginx_h }}'}],"
            " when: [true, nginx_i is defined], vars: {__tls_x: '{{ nginx_j }}'}},"
            " {ansible.builtin.set_fact: {'{{ nginx_k }}': 1}, failed_when: not nginx_l, name: 'x {{ nginx_m }}'}]"
        ),
        "templates/etc/x.j2": "{% if nginx_n %}{% endif %}{{ hostvars['other'].x }} {{ ansible_distribution }} {{ loop }}",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    found = {name for _, text in sources(tmp_path) for name in foreign("tls", names(text))}
    assert found == {*(f"nginx_{letter}" for letter in "abcdefghijklmn"), "hostvars", "ansible_distribution", "loop"}


def test_the_scan_says_what_it_cannot_read(tmp_path: Path) -> None:
    """A file that it would pass over is a hole."""
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks/main.json").write_text("[]")
    with pytest.raises(UnreadableError, match=r"main\.json"):
        list(sources(tmp_path))


def test_every_exception_is_needed() -> None:
    """An exception that nobody uses any more is a hole."""
    for name, roles in INPUTS.items():
        assert name in yaml.safe_load((ROOT / "roles/app/meta/argument_specs.yml").read_text())["argument_specs"]["main"]["options"]
        assert readers(name) | {"app"} == roles
    for name, roles in SWITCHES.items():
        assert readers(name) == roles, name


def readers(name: str) -> set[str]:
    return {role for role in ROLES for _, text in sources(ROOT / "roles" / role) if name in names(text)}


@pytest.mark.parametrize("switch", SWITCHES)
def test_a_switch_is_the_default_of_a_variable(switch: str) -> None:
    """A run without it has a value all the same; tasks and templates read the role's own name, which an inventory can set."""
    for role in SWITCHES[switch]:
        values = yaml.safe_load((ROOT / "roles" / role / "defaults/main.yml").read_text()).values()
        (default,) = (value for value in values if isinstance(value, str) and switch in names(value))
        assert re.fullmatch(rf"{{{{ {switch} \| default\(.+\) }}}}", default), default
        places = {where for where, text in sources(ROOT / "roles" / role) if switch in names(text)}
        assert places <= {"defaults/main.yml", "meta/argument_specs.yml"}, f"{switch} is read in {places}"


def test_a_role_may_read_its_exceptions_only() -> None:
    """What one role may read is no licence for the others."""
    assert foreign("release", {"lock_wait", "deploy_burn_in", "acme_email"}) == {"acme_email"}
    assert foreign("nginx", {"lock_wait", "acme_email"}) == {"lock_wait", "acme_email"}


def registered(tasks: list[dict[str, Any]], skippable: bool = False) -> Iterator[tuple[str, bool]]:
    """Each name that tasks register, and whether its task may be skipped."""
    for task in tasks:
        may = skippable or "when" in task
        for part in ("block", "rescue", "always"):
            yield from registered(task.get(part, []), may)
        if "register" in task:
            yield task["register"], may


@pytest.mark.parametrize("path", sorted((ROOT / "roles").glob("*/tasks/*.yml")), ids=lambda path: f"{path.parts[-3]}/{path.name}")
def test_a_skipped_task_overwrites_no_result(path: Path) -> None:
    """[F4] A task that is skipped registers, too: a second task with the name of the first makes an empty result of it."""
    found = [*registered(yaml.safe_load(path.read_text()))]
    assert not {name for name, may in found if may} & {name for name, count in Counter(name for name, _ in found).items() if count > 1}
