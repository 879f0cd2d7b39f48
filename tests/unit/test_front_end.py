"""The program `slipway` on the controller: its verbs and their options, which inventory it takes, the line that it prints and runs."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import json
import os
import re
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from ansible.cli.playbook import PlaybookCLI

from .conftest import ROOT

PROGRAM = ROOT / "slipway"
#: Layers of site, what each playbook begins with, and the other half of a pair that others import.
NO_VERBS = {"base", "edge", "data", "serve", "keep", "contract"}
CANARY = "c4n4ry-7f3e"


@pytest.fixture(scope="module")
def program() -> ModuleType:
    """The program, which is no package."""
    loader = importlib.machinery.SourceFileLoader("slipway_front_end", str(PROGRAM))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


Say = Callable[..., list[str]]


@pytest.fixture
def say(program: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Say:
    """Type `slipway …` in a folder with inventories; the words of the line that would be run, which are those that are printed."""
    (tmp_path / "ansible.cfg").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ANSIBLE_INVENTORY", raising=False)
    monkeypatch.setattr(program, "program", lambda: "ansible-playbook")
    monkeypatch.setattr(program, "CHECKOUT", False)

    def typed(*words: str, inventories: tuple[str, ...] = ("blog",)) -> list[str]:
        for name in inventories:
            (tmp_path / "inventories" / name).mkdir(parents=True, exist_ok=True)
        ran: list[list[str]] = []

        def run(verb: object, line: list[str], environment: dict[str, str]) -> int:
            ran.append(line)
            return 0

        monkeypatch.setattr(program, "run", run)
        capsys.readouterr()
        assert program.main(words) == 0
        said = capsys.readouterr()
        assert said.out == "" and said.err.startswith("$ ansible-playbook ")
        assert shlex.split(said.err[2:]) == ran[0], said.err
        return ran[0][1:]

    return typed


def refusal(program: ModuleType, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """What is said of a line that is not understood."""
    with pytest.raises(SystemExit) as ended:
        program.main(words)
    assert ended.value.code == 2
    return capsys.readouterr().err


# --- The table --------------------------------------------------------------------------------------


def test_readme_and_program_have_the_same_verbs(program: ModuleType) -> None:
    """[F10] Every playbook that is no layer is a verb, and a row of README; no verb without a playbook stays for long."""
    rows = set(re.findall(r"^\| `(?:playbooks/)?(\w+)\.yml`", (ROOT / "README.md").read_text(), re.MULTILINE))
    # README has both in one row.
    rows |= {"unfreeze"} if "playbooks/unfreeze.yml" in (ROOT / "README.md").read_text() else set()
    there = {path.stem for path in (ROOT / "playbooks").glob("*.yml")} - NO_VERBS
    assert there == {name for name in program.EVERY if (ROOT / f"playbooks/{name}.yml").exists()} == rows & {*program.EVERY, *there}
    assert rows <= {*program.EVERY}


def test_options_are_the_playbooks_switches(program: ModuleType) -> None:
    """[F10] None is left out, and none is made up: the page that lists them is generated from the playbooks."""
    takes = {name: {*verb.takes} for name, verb in program.EVERY.items()}
    assert takes["rollback"] == {"release", "schema"} and takes["restore"] == {"backup", "files", "fetch", "until", "undo", "drop"}
    assert takes["logs"] == {"request", "follow", "since", "lines"} and takes["status"] == {"json"} and takes["backup"] == {"label"}
    assert takes["maintenance"] == {"message"} and takes["run"] == set() and takes["remove"] == set() and takes["drill"] == {"from"}
    flags = {name for verb in program.EVERY.values() for name, (flag, _) in verb.takes.items() if flag}
    assert {"schema", "follow", "json", "files", "go"} <= flags and not flags & {"release", "request", "backup", "label"}
    for verb in program.EVERY.values():
        assert not {program.option(name) for name in verb.takes} & {"--limit", "--tags", "--check", "--diff", "--inventory", "--help"}


def test_it_is_one_small_program_of_the_standard_library() -> None:
    """[F10] At most 300 lines, executable, and nothing to be installed for it."""
    text = PROGRAM.read_text()
    assert len(text.splitlines()) <= 300 and os.access(PROGRAM, os.X_OK)
    imported = set(re.findall(r"^(?:import|from) (\w+)", text, re.MULTILINE))
    assert not imported & {"ansible", "ansible_collections", "yaml", "jinja2"}


def test_ansibles_options_are_told_apart(program: ModuleType) -> None:
    """[F10] Which of them take a value: as ansible-playbook itself has it."""
    playbook = PlaybookCLI(["ansible-playbook", "x.yml"])
    playbook.init_parser()
    for action in playbook.parser._actions:
        for option in action.option_strings:
            if option not in ("-h", "--help", "-i", "--inventory", "--inventory-file"):
                assert program.length(option) == (1 if action.nargs == 0 else 2), option
    assert [program.length(word) for word in ("-vvv", "-CD", "-f5", "--limit=x", "-lblog")] == [1] * 5


# --- The line ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "line"),
    [
        ("deploy", "slipway.vps.deploy"),
        ("deploy blog", "slipway.vps.deploy"),
        ("site --tags edge --check --diff -vv", "slipway.vps.site --tags edge --check --diff -vv"),
        ("-v site", "slipway.vps.site -v"),
        ("rollback --release 20261120T072201-aaaaaaa --schema", "slipway.vps.rollback -e release=20261120T072201-aaaaaaa -e schema=true"),
        ("rollback --release=1 shop web1", "slipway.vps.rollback --limit shop,web1 -e release=1"),
        ("backup --label before-upgrade", "slipway.vps.backup -e label=before-upgrade"),
        ("restore --backup latest --files", "slipway.vps.restore -e backup=latest -e files=true"),
        ("maintenance on", "slipway.vps.maintenance -e on=true"),
        ("maintenance off shop", "slipway.vps.maintenance --limit shop -e on=false"),
        ("logs --request 5f1c -f shop", "slipway.vps.logs --limit shop -e request=5f1c -e follow=true"),
        ("logs -n 5", "slipway.vps.logs -e lines=5"),
        # Of a verb that does not follow, -f is Ansible's.
        ("status -f 5", "slipway.vps.status -f 5"),
        ("status --json -l shop", "slipway.vps.status -e json=true -l shop"),
        ("remove shop", "slipway.vps.remove -e entry=shop"),
        ("drill spare --from /tmp/x", "slipway.vps.drill -e from=/tmp/x -e target=spare"),
        ("upgrade-database --go", "slipway.vps.upgrade_database -e go=true"),
        ("deploy -- --start-at-task x -e a=1", "slipway.vps.deploy --start-at-task x -e a=1"),
        ("deploy --ask-vault-pass -K", "slipway.vps.deploy --ask-vault-pass -K"),
        ("run shop -- flask db current -x", """slipway.vps.run --limit shop -e '{"command": ["flask", "db", "current", "-x"]}'"""),
    ],
)
def test_what_is_typed_and_what_is_run(say: Say, typed: str, line: str) -> None:
    """[F10] Options of the verb are switches of its playbook, entries are --limit, all else goes to ansible-playbook."""
    assert say(*shlex.split(typed)) == ["-i", "inventories/blog", *shlex.split(line)]


@pytest.mark.parametrize("odd", ["two words", "$HOME; id", 'it\'s "q"', "{{ 7*7 }}", "a=b c=d", "ünï", "-x"])
def test_odd_words_stay_as_they_are(say: Say, odd: str) -> None:
    """[F10] For a shell that the line is pasted into, for Ansible, and for its templates."""
    for words in (("freeze", "--reason", odd), ("run", "--", odd)):
        option, value = say(*words)[-2:]
        plain = re.fullmatch(r"reason=([\w-]+)", value)
        (found,) = [plain[1]] if plain else json.loads(value).values()
        assert option == "-e" and found in (odd, {"__ansible_unsafe": odd}, [odd], [{"__ansible_unsafe": odd}])
        assert ("__ansible_unsafe" in value) == ("{" in odd)


def test_init_needs_no_inventory(say: Say) -> None:
    """[F9] It writes one."""
    assert say("init", "../blog", inventories=()) == ["slipway.vps.init", "-e", "app=../blog"]
    assert say("init", "--app-name", "blog", "../b", inventories=()) == ["slipway.vps.init", "-e", "app_name=blog", "-e", "app=../b"]


@pytest.mark.parametrize(
    "secret",
    [
        f"-e db_password={CANARY}",
        f"-e 'API_TOKEN=\"{CANARY} x\"'",
        f"""-e '{{"app_secrets": {{"SECRET_KEY": "{CANARY}"}}}}'""",
        f"-e url=postgresql://blog:{CANARY}@db/blog",
        f"--extra-vars=secret_key={CANARY}",
        f"-e 'a=1 vault_pass={CANARY}'",
    ],
)
def test_no_secret_is_printed(program: ModuleType, secret: str) -> None:
    """[F10] It is handed on, and not shown: a terminal is scrolled back, a log of CI is kept."""
    words = ["ansible-playbook", *shlex.split(secret)]
    assert CANARY not in (said := program.shown(words, {})) and "…" in said
    assert program.shown(["x", "--private-key=~/.ssh/id", "-e", "release=1"], {}) == "x '--private-key=~/.ssh/id' -e release=1"


# --- Inventories ------------------------------------------------------------------------------------


def test_which_inventory(say: Say, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """[F10] The only one; of several the one that is named, as a word or with -i; from a folder below; the shipped ones do not count."""
    assert say("status", "blog", "web1", inventories=("blog", "shop", "example", "demo")) == [
        *("-i", "inventories/blog", "slipway.vps.status", "--limit", "web1")
    ]
    assert say("-i", "shop", "status", "blog") == ["-i", "inventories/shop", "slipway.vps.status", "--limit", "blog"]
    assert say("status", "-i", "/etc/hosts.yml")[:2] == ["-i", "/etc/hosts.yml"]
    assert say("status", "demo")[:2] == ["-i", "inventories/demo"]
    (tmp_path / "src").mkdir()
    monkeypatch.chdir(tmp_path / "src")
    monkeypatch.setenv("ANSIBLE_CONFIG", "/dev/null")
    assert say("status", "shop", inventories=())[:2] == ["-i", "../inventories/shop"]
    monkeypatch.setenv("ANSIBLE_INVENTORY", "/elsewhere")
    assert say("status", "web1", inventories=()) == ["slipway.vps.status", "--limit", "web1"]


def test_the_demo_where_there_is_no_other(say: Say) -> None:
    """[F10] After `make demo` in a fresh clone."""
    assert say("status", inventories=("demo", "example"))[:2] == ["-i", "inventories/demo"]


def test_unknown_and_ambiguous_are_said(
    program: ModuleType, say: Say, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """[F8] Each with the line to type."""
    assert "there is no inventory in inventories/" in (said := refusal(program, capsys, "deploy")) and "slipway init ../blog" in said
    say("status", "blog", inventories=("blog", "shop"))
    assert refusal(program, capsys, "deploy") == (
        "slipway: there are several inventories, say which:\n  slipway deploy blog\n  slipway deploy shop\n"
    )
    assert "'blgo' is none of them:\n  slipway deploy blog\n" in refusal(program, capsys, "deploy", "blgo")
    assert refusal(program, capsys, "deplyo") == "slipway: there is no verb 'deplyo'; did you mean deploy? (slipway --help lists them)\n"
    assert "there is no verb 'xyzzy' (" in refusal(program, capsys, "xyzzy")
    assert "--release needs a value" in refusal(program, capsys, "rollback", "blog", "--release")
    assert "say on|off" in refusal(program, capsys, "maintenance", "blog") and "say APP" in refusal(program, capsys, "init")
    assert "say -- COMMAND" in refusal(program, capsys, "run", "blog")
    monkeypatch.undo()
    monkeypatch.setattr(program, "HERE", tmp_path)
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr("sys.argv", ["/nowhere/slipway"])
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    with pytest.raises(SystemExit):
        program.program()
    assert "ansible-playbook is not installed: make setup" in capsys.readouterr().err


# --- Help and completion ----------------------------------------------------------------------------


def test_help_is_a_page(program: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    """[F10] Every verb on it, and every verb has one, with its options; it fits a terminal."""
    pages: dict[str, str] = {}
    for name in ("", *program.EVERY):
        assert program.main([*([name] if name else []), "--help"]) == 0
        pages[name] = capsys.readouterr().out
    for name, verb in program.EVERY.items():
        assert re.search(rf"^  {name} +\S", pages[""], re.MULTILINE), name
        assert pages[name].startswith(f"slipway {name}") and f"{name}.yml" in pages[name]
        assert all(program.option(option) in pages[name] for option in verb.takes)
    assert program.main([]) == 0 and capsys.readouterr().out == pages[""]
    wide = [line for page in pages.values() for line in page.splitlines() if len(line) > 100]
    assert not wide, wide


def test_completion_knows_the_table(program: ModuleType, tmp_path: Path) -> None:
    """[F10] In bash: verbs first, then the verb's options and the inventories."""
    (tmp_path / "inventories/blog").mkdir(parents=True)

    def complete(*words: str) -> set[str]:
        typed = " ".join(map(shlex.quote, ("slipway", *words)))
        script = f"{program.completion()}\nCOMP_WORDS=({typed}); COMP_CWORD={len(words)}; _slipway; printf '%s\\n' \"${{COMPREPLY[@]}}\""
        done = subprocess.run(["bash", "-euc", script], cwd=tmp_path, text=True, capture_output=True, check=True, timeout=60)
        return {*done.stdout.split()}

    assert complete("") == {*program.EVERY, "completion", "--help"}
    for name, verb in program.EVERY.items():
        words = {program.option(option) for option in verb.takes} | ({"on", "off"} if name == "maintenance" else set())
        assert complete(name, "") == words | {"blog", "--help"}, name
    assert complete("rollback", "--re") == {"--release"} and complete("deploy", "bl") == {"blog"}


def test_every_verb_has_one_line_in_the_table(program: ModuleType) -> None:
    """[F10] That is all that a new playbook needs."""
    text = PROGRAM.read_text()
    for name in program.EVERY:
        assert len(re.findall(rf'^        Verb\("{name}", .*\),$', text, re.MULTILINE)) == 1, name


def test_what_sets_it_up() -> None:
    """[F10] `make setup` links it beside Ansible; the collection that is built has it."""
    assert 'ln -sf ../../slipway "$venv/bin/slipway"' in (ROOT / ".ci/setup").read_text()
    ignored: list[Any] = yaml.safe_load((ROOT / "galaxy.yml").read_text())["build_ignore"]
    assert "slipway" not in ignored and "docs" not in ignored
