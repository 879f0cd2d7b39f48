"""`init`: small apps as people bring them, what is found in each, and whether the inventory that is written would deploy."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.slipway.vps.plugins.module_utils.discover import discover
from ansible_collections.slipway.vps.plugins.module_utils.discover.findings import Findings, Value
from ansible_collections.slipway.vps.plugins.module_utils.discover.inventory import APP, HOSTS, VAULT, answers, files, scalar
from ansible_collections.slipway.vps.plugins.module_utils.rules.placeholder import PLACEHOLDER
from ansible_collections.slipway.vps.plugins.modules import init
from ansible_collections.slipway.vps.plugins.modules.init import InitError, app_name, clone

from .conftest import ROOT
from .inventory import Inventory

APPS = sorted(path for path in (ROOT / "tests/apps").iterdir() if (path / "init.yml").exists())
EXAMPLE = ROOT / "examples/flask-app"
#: What nobody can guess; whoever asks for no more deploys unchanged but for these.
ASKED_OF_ALL = {"app_domains", "acme_email", "ansible_host"}


@cache
def found_in(path: Path) -> Findings:
    return discover(path)


def options() -> set[str]:
    specs = [yaml.safe_load(path.read_text())["argument_specs"] for path in ROOT.glob("roles/*/meta/argument_specs.yml")]
    return {name for spec in specs for point in spec.values() for name in point.get("options", {})}


def summary(found: Findings) -> dict[str, Any]:
    """What init.yml of an app says; secrets by their names."""
    variables = found.variables()
    secrets: dict[str, Any] = {name: list(variables.pop(name)) for name in ("app_secrets", "app_build_secrets") if name in variables}
    asks = {f"{one.variable}.{one.key}".rstrip("."): one.ask for one in found.questions}
    mend = [note.text for note in found.notes if note.stops]
    told: dict[str, Any] = {"variables": variables, **secrets, "asks": asks, "mend": mend}
    return {key: value for key, value in told.items() if value}


def written(path: Path, found: Findings) -> dict[str, str]:
    source = {"type": "path", "path": str(path)}
    return files("blog", path.name, source, found, {})


@pytest.mark.parametrize("path", APPS, ids=lambda path: path.name)
def test_what_is_found(path: Path) -> None:
    """[F8] Of each app exactly what its init.yml says: values, questions, what is to be mended."""
    assert summary(found_in(path / "source")) == yaml.safe_load((path / "init.yml").read_text())


@pytest.mark.parametrize("path", [*(path / "source" for path in APPS), EXAMPLE], ids=lambda path: path.parent.name)
def test_what_is_written_is_an_inventory_that_the_contract_takes(path: Path, tmp_path: Path) -> None:
    """[F8] Once its placeholders are filled in, and every value is what was found."""
    found = found_in(path)
    texts = written(path, found)
    variables = yaml.safe_load(texts[APP])
    secrets = yaml.safe_load(texts.get(VAULT, "---\n{}"))
    expected = {**found.variables(), "app_name": "blog", "app_domains": [PLACEHOLDER], "acme_email": PLACEHOLDER}
    expected["app_source"] = {"type": "path", "path": str(path), **expected.get("app_source", {})}
    assert {**variables, **secrets} == expected
    assert set(expected) <= options()

    filled = yaml.safe_load(yaml.safe_dump({**variables, **secrets}).replace(PLACEHOLDER, "shop.wsgi:make"))
    filled |= {"app_domains": ["blog.example.com"], "acme_email": "you@example.com"}
    if "DATABASE_URL" in filled.get("app_secrets", {}):
        elsewhere = "app_services" in filled
        filled["app_secrets"]["DATABASE_URL"] = "mysql+pymysql://u:p@db.example.com/blog" if elsewhere else "postgresql:///blog"
    assert not refusal(tmp_path, filled, "203.0.113.10")


@pytest.mark.parametrize("name", ["flask-factory", "app-in-function", "env-example", "django-settings-split"])
def test_what_is_left_open_is_refused_and_nothing_else(name: str, tmp_path: Path) -> None:
    """[F8] Each placeholder once, also where other values are made of one."""
    found = found_in(ROOT / "tests/apps" / name / "source")
    said = [yaml.safe_load(text) for path, text in written(tmp_path, found).items() if path != HOSTS]
    message = refusal(tmp_path, {key: value for one in said for key, value in one.items()}, PLACEHOLDER)
    assert {line.split()[1] for line in message.splitlines() if line.startswith("- ")} == ASKED_OF_ALL | {
        one.variable for one in found.questions
    }
    assert message.count("is still to be filled in") == message.count("\n- ") == 3 + len(found.questions), message


def refusal(folder: Path, variables: dict[str, Any], host: str) -> str:
    """What the contract says of an inventory with these variables."""
    (folder / "group_vars").mkdir(parents=True)
    (folder / "group_vars/app_servers.yml").write_text(yaml.safe_dump(variables))
    (folder / "hosts.yml").write_text(yaml.safe_dump({"app_servers": {"hosts": {"blog": {"ansible_host": host}}}}))
    inventory = Inventory.__new__(Inventory)
    inventory.folder = folder
    inventory.read()
    return inventory.refusal("blog")


def test_most_deploy_unchanged() -> None:
    """[F8] But for domain, e-mail address and host; the rest say what they ask, or what is to be mended in the app."""
    told = {path.name: yaml.safe_load((path / "init.yml").read_text()) for path in APPS}
    unchanged = [name for name, said in told.items() if not said.get("asks") and not said.get("mend")]
    print(f"{len(unchanged)} of {len(told)} deploy unchanged")
    assert len(told) >= 60
    assert len(unchanged) >= 45, sorted(set(told) - set(unchanged))


@pytest.mark.parametrize(
    ("code", "path"),
    [
        ("@app.websocket('/ws/{room}')\nasync def talk(websocket, room): ...", "/ws/"),
        (
            "router = APIRouter(prefix='/live')\n@router.websocket('/prices')\nasync def prices(websocket): ...\n"
            "app.include_router(router)",
            "/live/prices",
        ),
        ("app.add_websocket_route('/feed', None)", "/feed"),
        ("@app.websocket('/room{number}')\nasync def talk(websocket, number): ...", ""),
        ("@app.websocket('/')\nasync def talk(websocket): ...", ""),
    ],
)
def test_a_connection_is_upgraded_where_the_app_has_a_websocket(code: str, path: str, tmp_path: Path) -> None:
    """[F9 E5] And only there; a path that is no location of nginx is left to the operator."""
    (tmp_path / "main.py").write_text(f"from fastapi import APIRouter, FastAPI\napp = FastAPI()\n{code}\n")
    (tmp_path / "requirements.txt").write_text("fastapi\n")
    found = discover(tmp_path)
    assert found.variables().get("nginx_locations", []) == ([{"path": path, "websocket": True}] if path else [])
    assert path or any("nginx_locations" in note.text for note in found.notes)


# --- Tables and secrets ---------------------------------------------------------------------------

FLASK = "import click, sqlite3\nfrom flask import Flask\napp = Flask(__name__)\n"


@pytest.mark.parametrize(
    ("files", "command"),
    [
        ({"app.py": FLASK + "sqlite3.connect('data/x.db')\n@app.cli.command('init-db')\ndef f(): ...\n"}, "flask init-db"),
        ({"app.py": FLASK + "sqlite3.connect('data/x.db')\n@click.command()\ndef create_tables_command(): ...\n"}, "flask create-tables"),
        ({"app.py": FLASK + "sqlite3.connect('data/x.db')\n", "init_db.py": "import sqlite3\n"}, "python init_db.py"),
    ],
)
def test_tables_are_made_once_where_a_command_makes_them(files: dict[str, str], command: str, tmp_path: Path) -> None:
    """[F9] As in Flask's tutorial: without tables the first release would not be ready, and a second call would clear them."""
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert discover(tmp_path).variables()["app_migrate_command"] == f"sh -c 'test -s data/x.db || {command}'"


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("@click.command('init-db')\ndef f(): ...\n", "flask init-db"),
        ("sqlite3.connect('data/a; b.db')\n@click.command('init-db')\ndef f(): ...\n", "flask init-db"),
        ("db.create_all()\n", "create_all"),
    ],
)
def test_without_a_file_to_look_at_the_way_to_the_tables_is_told(code: str, told: str, tmp_path: Path) -> None:
    """[F9] Nobody can see from outside whether a server's tables are there, nor what a command does to them."""
    (tmp_path / "app.py").write_text(f"{FLASK}db = None\n{code}")
    found = discover(tmp_path)
    assert "app_migrate_command" not in found.variables() and any(told in note.text for note in found.notes)


def test_other_commands_are_left_alone(tmp_path: Path) -> None:
    """[F9] So is every one of an app that has a tool for migrations."""
    (tmp_path / "app.py").write_text(f"{FLASK}sqlite3.connect('data/x.db')\n@app.cli.command('create-user')\ndef f(): ...\n")
    assert "app_migrate_command" not in discover(tmp_path).variables()
    (tmp_path / "init_db.py").write_text("")
    (tmp_path / "requirements.txt").write_text("flask-migrate\n")
    assert "app_migrate_command" not in discover(tmp_path).variables()


@pytest.mark.parametrize(
    "line", ["app.config.from_mapping(SECRET_KEY='dev')", "app.config['SECRET_KEY'] = 'dev'", "app.secret_key = 'dev'"]
)
def test_a_secret_in_the_code_is_told(line: str, tmp_path: Path) -> None:
    """[F9]"""
    (tmp_path / "app.py").write_text(f"{FLASK}{line}\n")
    assert any("holds SECRET_KEY itself" in note.text for note in discover(tmp_path).notes)


# --- Files of other people ------------------------------------------------------------------------


def test_nothing_of_the_app_is_run(tmp_path: Path) -> None:
    """A file that would leave a trace when it is imported, with code that does not compile beside it."""
    (tmp_path / "app.py").write_text("open('/tmp/slipway-init-ran', 'w')\nfrom flask import Flask\napp = Flask(__name__)\n")
    (tmp_path / "broken.py").write_text("def (:\n")
    (tmp_path / "latin.py").write_bytes(b"# \xe9\n")
    (tmp_path / "pyproject.toml").write_text("not [toml")
    (tmp_path / "package.json").write_text("[1]")
    assert discover(tmp_path).variables()["app_wsgi"] == "app:app"
    assert not Path("/tmp/slipway-init-ran").exists()


def test_nothing_outside_of_the_app_is_read(tmp_path: Path) -> None:
    """A link in a repository leads to the operator's own files."""
    (tmp_path / "own").mkdir()
    (tmp_path / "own/secret.py").write_text("from flask import Flask\nprivate = Flask(__name__)\n")
    (tmp_path / "app").mkdir()
    (tmp_path / "app/wsgi.py").symlink_to(tmp_path / "own/secret.py")
    assert discover(tmp_path / "app").variables()["app_wsgi"] == PLACEHOLDER


@pytest.mark.parametrize("value", ["{{ lookup('pipe', 'id') }}", "a {% set x = 1 %}", "{# x", {"command": "{{ app_shared }} {{ 1 }}"}])
def test_an_apps_files_put_no_template_into_the_inventory(value: Any) -> None:
    """Ansible would run it on the controller. Expressions of init itself pass."""
    found = Findings()
    found.add([Value("app_processes", value, "Procfile: worker", "worker"), Value("app_env", "{{ app_shared }}/x", "app.py", "X")])
    assert found.variables() == {"app_env": {"X": "{{ app_shared }}/x"}}
    assert [note.text for note in found.notes] == [
        "Procfile: worker holds braces that Ansible would evaluate: write app_processes yourself"
    ]


@pytest.mark.parametrize(
    "text", ["a: b", "yes", "1.10", "#x", "'", '"', "a\nb", "\u2028", "- a", "!x", "x #y", "", " a", "null", "é", "a\\b", "%a"]
)
def test_every_text_is_written_so_that_yaml_reads_the_same(text: str) -> None:
    assert yaml.safe_load(f"x: {scalar(text)}") == {"x": text}


def test_a_comment_ends_where_it_ends(tmp_path: Path) -> None:
    """A file's name may hold a line break."""
    found = Findings()
    found.add([Value("app_wsgi", "app:app", "a\napp_log_secrets: true")])
    assert "app_log_secrets" not in yaml.safe_load(written(tmp_path, found)[APP])


# --- The name -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("app", "name"),
    [
        *(("../blog", "blog"), ("/home/ada/My Blog/", "my-blog"), ("https://git.example.com/ada/Shop.git", "shop")),
        *(("git@git.example.com:ada/2048.git", "app-2048"), ("../shop/backend", "shop"), ("redis", "redis-app"), ("x" * 40, "x" * 31)),
    ],
)
def test_the_name_follows_from_the_address(app: str, name: str) -> None:
    assert app_name(app, "") == name


def test_a_name_that_will_not_do_is_refused() -> None:
    """[F8] With the rule of the contract."""
    with pytest.raises(InitError, match=r"NAME=.*'Shop!'.*use 2 to 31"):
        app_name("../blog", "Shop!")


# --- The playbook ---------------------------------------------------------------------------------


def run(folder: Path, *words: str) -> str:
    """`ansible-playbook playbooks/init.yml` as somebody in ``folder`` calls it; what it shows."""
    settings = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")}
    settings |= {
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        "ANSIBLE_HOME": str(folder / ".ansible"),
        "PWD": str(folder),
        "LC_ALL": "C.UTF-8",
    }
    program = [str(Path(sys.executable).parent / "ansible-playbook"), str(ROOT / "playbooks/init.yml"), *words]
    done = subprocess.run(program, cwd=folder, env=settings, text=True, capture_output=True, timeout=120, check=False)
    return f"{done.stdout}{done.stderr}\nstatus={done.returncode}"


def test_the_second_run_shows_what_differs_and_writes_nothing(tmp_path: Path) -> None:
    """[F8] Check mode writes nothing; the first run three files; what was filled in is no difference, and no secret is shown."""
    app = tmp_path / "blog"
    app.mkdir()
    (app / "app.py").write_text("import os\nfrom flask import Flask\napp = Flask(__name__)\napp.secret_key = os.environ['SECRET_KEY']\n")
    (app / "requirements.txt").write_text("flask\n")
    assert "Would write inventories/blog/hosts.yml" in run(tmp_path, "-e", "app=blog", "--check")
    assert not (tmp_path / "inventories").exists()

    first = run(tmp_path, "-e", "app=blog")
    folder = tmp_path / "inventories/blog"
    assert "status=0" in first and "Then: ansible-playbook -i inventories/blog" in first, first
    secret = yaml.safe_load((folder / VAULT).read_text())["app_secrets"]["SECRET_KEY"]
    assert (folder / VAULT).stat().st_mode & 0o777 == 0o600 and len(secret) == 64 and secret not in first
    text = (folder / APP).read_text().replace(f"[{PLACEHOLDER}]", "[blog.example.com]").replace(PLACEHOLDER, "you@example.com", 2)
    (folder / APP).write_text(text)
    (folder / HOSTS).write_text((folder / HOSTS).read_text().replace(PLACEHOLDER, "203.0.113.10"))

    (app / "Procfile").write_text("web: gunicorn app:app\nworker: python work.py\n")
    (app / "app.py").write_text((app / "app.py").read_text() + "import more\n")
    (app / "more.py").write_text("import os\nTOKEN = os.environ['HOOK_TOKEN']\n")
    before = {path: path.read_text() for path in folder.rglob("*") if path.is_file()}
    second = run(tmp_path, "-e", "app=blog")
    assert "status=0" in second and "changed=0" in second, second
    assert "inventories/blog is there, and stays as it is." in second
    assert "command: python work.py" in second and "has no app_secrets.HOOK_TOKEN" in second
    assert secret not in second and "-app_domains" not in second and "203.0.113.10" not in second, second
    assert {path: path.read_text() for path in folder.rglob("*") if path.is_file()} == before


def test_a_repository_is_cloned_and_its_address_is_the_source(tmp_path: Path) -> None:
    """[F9] Of a git address app_source names the branch that was looked at; a folder that is none is refused with what to say."""
    app = tmp_path / "shop.git"
    app.mkdir()
    (app / "app.py").write_text("from flask import Flask\napp = Flask(__name__)\n")
    who = ["-c", "user.name=Ada", "-c", "user.email=ada@example.com"]
    for words in (["init", "-q", "-b", "trunk"], ["add", "."], [*who, "commit", "-q", "-m", "Begin"]):
        subprocess.run(["git", *words], cwd=app, check=True)
    shown = run(tmp_path, "-e", f"app=file://{app}", "-e", "app_name=kiosk")
    assert "Wrote inventories/kiosk/hosts.yml" in shown, shown
    said = yaml.safe_load((tmp_path / "inventories/kiosk" / APP).read_text())
    assert said["app_source"] == {"type": "git", "repo": f"file://{app}", "version": "trunk"} and said["app_name"] == "kiosk"
    assert "is no folder: say the folder of the app" in run(tmp_path, "-e", "app=nowhere")
    assert "say the folder of the app, or the address" in run(tmp_path)


def test_a_token_in_an_address_is_not_shown(tmp_path: Path) -> None:
    with pytest.raises(InitError) as caught:
        clone("https://ada:s3cret@127.0.0.1:9/blog.git", tmp_path / "app")
    assert "s3cret" not in str(caught.value) and "cannot be cloned" in str(caught.value)


def test_a_token_in_an_address_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """app.yml is no place for it, and is not encrypted."""
    monkeypatch.setattr(init, "clone", lambda url, folder: (folder.mkdir(), "main")[1])
    found, source, title = init.look("https://ada:s3cret@git.example.com/blog.git", tmp_path, tmp_path / "inventories/blog")
    assert source == {"type": "git", "repo": "https://git.example.com/blog.git", "version": "main"}
    assert "s3cret" not in "".join(files("blog", title, source, found, {}).values())
    assert any("deploy_key" in note.text for note in found.notes)


def test_an_encrypted_vault_is_left_alone() -> None:
    """What is in it cannot be known, and is no mistake."""
    assert answers({VAULT: "$ANSIBLE_VAULT;1.1;AES256\n61\n", APP: "app_env: !unsafe x\n"}) == {"app_env": "x"}
