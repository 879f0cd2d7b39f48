"""What the contract says of the smoke test, and where its secrets are: in none of the model, of messages, and of a run's output."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.parsing.vault import VaultLib, VaultSecret
from render import model_of, render, secrets_of

from .conftest import ROOT, Tool
from .inventory import SECRET, Inventory
from .test_contract import check, only

CANARY = "c4n4ry-password"
READ = {"name": "the form", "path": "/login"}
STEPS: list[dict[str, Any]] = [
    {"name": "the front page", "path": "/?lang=de", "contains": "Willkommen", "without": ["Traceback"], "timeout": 2.5},
    READ,
    {"name": "log in", "path": "/login", "form": {"user": "smoke", "password": CANARY, "x": [1, None, True]}, "csrf": "t", "status": 302},
    {"name": "write", "path": "/api", "json": {"a": [1, {"b": None}]}, "headers": {"X-Key": CANARY, "N": 1}, "keep": {"id": r"(\d+)"}},
    {"name": "upload", "path": "/up", "form": {"a": "{unique}"}, "file": {"name": "a.png", "base64": "aGVsbG8="}, "status": [200, 201]},
    {"name": "remove", "path": "/api/{id}?x={unique}", "method": "DELETE", "status": 204},
    {"name": "search", "path": "/s", "method": "PUT", "body": "<a/>"},
]


def step(**changes: Any) -> dict[str, Any]:
    return {**{"name": "write", "path": "/notes"}, **changes}


def test_a_good_smoke_test_is_taken() -> None:
    """[K6] [K10] Each kind of step."""
    assert check(app_smoke=STEPS) == [] and check(app_smoke=[]) == []


@pytest.mark.parametrize(
    ("changes", "what", "fix"),
    [
        ({"name": ""}, "step 2 has no name", "name:"),
        ({"name": ["x"]}, "step 2 has no name", "name:"),
        ({"name": "the form"}, "'the form' is the name of two steps", "of its own"),
        ({"expect": 200}, "there is no key 'expect'", "use name, path"),
        ({"stauts": 200}, "there is no key 'stauts'", "did you mean status?"),
        ({"path": None}, "path is missing", "a slash first"),
        ({"path": "notes"}, "path is 'notes'", "a slash first"),
        ({"path": "https://blog.example.com/"}, "path is 'https://blog.example.com/'", "a slash first"),
        ({"path": "/a b"}, "path is '/a b'", "a slash first"),
        ({"path": "/notes/{id}"}, "no step before keeps {id}, which path names", "keep: {id:"),
        ({"path": "/notes/{Id-1}"}, "no step before keeps {Id-1}", "a-z"),
        ({"method": "post"}, "method is 'post'", "POST"),
        ({"method": "GET", "form": {}}, "GET has no form", "/search?q=hello"),
        ({"form": {}, "json": {}}, "form and json are two bodies", "only form and file"),
        ({"json": {}, "file": {"name": "a", "content": "b"}}, "json and file are two bodies", "only form and file"),
        ({"body": {"a": 1}}, "body is a dictionary", "json:"),
        ({"form": ["a"]}, "form is no dictionary of texts", "json: takes what is nested"),
        ({"form": {"a": {"b": CANARY}}}, "form is no dictionary of texts", "json: takes what is nested"),
        ({"headers": "Accept: x"}, "headers is no dictionary of texts", "Accept-Language"),
        ({"headers": {"X-Key": f"{CANARY}\n"}}, "the header 'X-Key' cannot be sent", "one line"),
        ({"headers": {"X Key": CANARY}}, "the header 'X Key' cannot be sent", "without blanks"),
        ({"headers": {"Cookie": CANARY}}, "the header Cookie is the test's own", "cookies are kept"),
        ({"file": "a.txt"}, "file is text", "file: {field"),
        ({"file": {"name": "a"}}, "file needs a name, and either content or base64", "file: {field"),
        ({"file": {"content": "a"}}, "file needs a name, and either content or base64", "file: {field"),
        ({"file": {"name": "a", "content": "b", "base64": ""}}, "either content or base64", "file: {field"),
        ({"file": {"name": "a", "content": 1}}, "a value that is no text", "quotes"),
        ({"file": {"name": "a", "path": "/etc/passwd"}}, "file has unknown keys: path", "use field, name"),
        ({"file": {"name": "a", "base64": f"{CANARY}!"}}, "base64 of file is not base64", "base64 --wrap=0"),
        ({"status": "200"}, "status is '200'", "[200, 302]"),
        ({"status": []}, "status is []", "[200, 302]"),
        ({"status": [200, 2000]}, "status is [200, 2000]", "[200, 302]"),
        ({"contains": 42}, "contains is no text", "quotes"),
        ({"without": ["a", ""]}, "without is no text", "quotes"),
        ({"csrf": True}, "csrf is the bool True", "csrf_token"),
        ({"keep": "id"}, "keep is text", "keep: {id:"),
        ({"keep": {"id": "("}}, "keep: id is no regular expression (missing )", "parentheses"),
        ({"keep": {"Id": "x"}}, "'Id' cannot be the name of what is kept", "a-z"),
        ({"keep": {"unique": "x"}}, "'unique' cannot be the name of what is kept", "not unique"),
        ({"timeout": 60}, "timeout is 60", "at most 10"),
        ({"timeout": 0}, "timeout is 0", "at most 10"),
        ({"timeout": "soon"}, "timeout is 'soon'", "seconds"),
    ],
)
def test_what_is_wrong_with_a_step(changes: dict[str, Any], what: str, fix: str) -> None:
    """[K10] [K6] The variable, the step and what to write; of what would be sent nothing."""
    found = check(app_smoke=[READ, step(**changes)])
    only(found, "app_smoke", what, fix)
    assert CANARY not in found[0].what + found[0].fix
    if "step 2" not in what and "the name of two" not in what:
        assert found[0].what.startswith("'write': ")


def test_the_first_step_has_no_page_before_it() -> None:
    """[K10]"""
    only(check(app_smoke=[step(form={}, csrf="csrf_token")]), "app_smoke", "this is the first step", "in a step before it")
    only(check(app_smoke=["/"]), "app_smoke", "step 1 is text", "- {name: the front page, path: /}")
    only(check(app_smoke="/"), "app_smoke", "must be a list", "app_smoke: [/]")


def test_the_file_and_line_are_named(tmp_path: Path) -> None:
    """[K10] As of every input."""
    said = Inventory(tmp_path, {"blog": {"app_smoke": [step(path="notes")]}}).refusal("blog")
    assert f"file: {tmp_path}/host_vars/blog.yml:4" in said and "app_smoke 'write': path is 'notes'" in said, said


# --- Secrets --------------------------------------------------------------------------------------


def test_the_model_has_no_step() -> None:
    """[A11] It is shown, and lies readable on the host; `app_secret` has them, with each path below the app's prefix."""
    assert CANARY not in json.dumps(model_of(app_smoke=STEPS)) and "Willkommen" not in json.dumps(model_of(app_smoke=STEPS))
    assert secrets_of(app_smoke=STEPS).smoke == STEPS
    assert [one["path"] for one in secrets_of(app_smoke=STEPS[:2], app_url_prefix="/blog").smoke] == ["/blog/?lang=de", "/blog/login"]
    assert secrets_of().smoke == []


def test_what_the_program_on_the_host_reads() -> None:
    """[K6] JSON, with what made it."""
    document = json.loads(render("base", "etc/app/smoke.json.j2", app_smoke=STEPS))
    assert document["steps"] == STEPS and document["_comment"].endswith("slipway:base")


def test_only_root_reads_the_steps() -> None:
    """[A11] The file has its mode, and its task shows nothing."""
    tasks = {task["name"]: task for task in yaml.safe_load((ROOT / "roles/base/tasks/app.yml").read_text())}
    task = tasks["app | Write the smoke test"]
    assert (task["ansible.builtin.template"]["mode"], task["no_log"]) == ("0600", "{{ not app.log_secrets }}") and task["diff"]
    walks = [path for path in ROOT.glob("playbooks/*.yml") if "app_secret.smoke" in path.read_text()]
    assert walks, "no playbook sends it"
    for path in walks:
        assert all("b64encode" in line for line in path.read_text().splitlines() if "app_secret.smoke" in line), path


PLAY = """
- import_playbook: contract.yml
- hosts: all
  gather_facts: false
  tasks:
    - ansible.builtin.template: {src: "%s", dest: "%s/smoke.json", mode: "0600"}
      no_log: "{{ not app.log_secrets }}"
    - slipway.vps.verify:
        app: "{{ app }}"
        database_url: ""
        smoke_encoded: "{{ app_secret.smoke | to_json | b64encode }}"
        thorough: false
      check_mode: true
      failed_when: false
    - ansible.builtin.copy: {content: "{{ app_secret.inputs }}", dest: "%s/inputs"}
"""


def test_a_run_shows_nothing_of_it(tool: Tool, tmp_path: Path) -> None:
    """[A11] At the most talkative; a password of an inline vault, one of a vaulted variable, and a date, reach the host as text."""
    (tmp_path / "word").write_text("word")
    vault = VaultLib([("default", VaultSecret(b"word"))])
    sealed = vault.encrypt(CANARY).decode().replace("\n", "\n          ")
    (tmp_path / "play.yml").write_text(PLAY % (ROOT / "roles/base/templates/etc/app/smoke.json.j2", tmp_path, tmp_path))
    (tmp_path / "contract.yml").write_text((ROOT / "playbooks/contract.yml").read_text())
    where = {
        "ansible_host": "203.0.113.10",
        "ansible_connection": "local",
        "app_machine": "m",
        "ansible_python_interpreter": sys.executable,
    }
    said = f"""\
app_domains: [blog.example.com]
app_name: blog
app_smoke:
  - name: log in
    path: /login
    form:
      first: !vault |
          {sealed}
      second: "{{{{ vault_password }}}}"
      day: 2026-01-02
    """
    inventory = Inventory(tmp_path, {"blog": said}, {"app_secrets": {"SECRET_KEY": SECRET}, "vault_password": f"{CANARY}-2"}, blog=where)
    done = tool(
        *("ansible-playbook", "-vvv", "--diff", "--vault-password-file", str(tmp_path / "word")),
        *("-i", str(inventory.folder / "hosts.yml"), str(tmp_path / "play.yml")),
    )
    output = done.stdout + done.stderr
    assert done.returncode == 0 and "VALUE_SPECIFIED_IN_NO_LOG_PARAMETER" in output, output
    assert CANARY not in output and CANARY not in (tmp_path / "inputs").read_text()
    (step,) = json.loads((tmp_path / "smoke.json").read_text())["steps"]
    assert step["form"] == {"first": CANARY, "second": f"{CANARY}-2", "day": "2026-01-02"}
