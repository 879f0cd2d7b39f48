"""playbooks/rotate.yml: which secrets each of its deploys is given, and what stops it before anything changes.

The playbook itself runs, on this machine; the layers that it imports are replaced by one that writes down what it was given.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from .conftest import ROOT, Tool
from .test_postgres_plan import APP

OLD, NEW = "9b7d2046f1e8c3a5907b6d4e2f8a1c5e3f8a1c5e", "3f8a1c5e9b7d2046f1e8c3a5907b6d4e2f8a1c5e"
URL = "postgresql://{}:{}@db.example.com/blog?sslmode=verify-full&sslrootcert=/etc/blog/database-ca.pem"
FIRST, SECOND = "Yk3-c0-Bq8rT_vL5nW2s", "aZ9_mQ4-xR7tE1uP0oK6"


def rotate(tool: Tool, folder: Path, has: dict[str, str] | None, *words: str, **wanted: Any) -> tuple[int, str, list[dict[str, Any]]]:
    """Run it for an app that has these secrets; the status, the output, and the secret environment of each import."""
    books = folder / "playbooks"
    books.mkdir(parents=True)
    for name in ("rotate", "contract"):
        shutil.copy(ROOT / f"playbooks/{name}.yml", books)
    for name in ("data", "serve", "keep", "verify"):
        note = {"name": name, "secrets": "{{ app_secret.environment }}"}
        tasks: list[dict[str, Any]] = [
            {
                "ansible.builtin.shell": f"cat >> {folder}/seen",
                "args": {"stdin": "{{ note | to_json }}"},
                "vars": {"note": note},
                "no_log": True,
            },
        ]
        # As every playbook does: what is said at the import reaches the contract's play, too.
        contract = {"name": "Contract", "import_playbook": "contract.yml"}
        (books / f"{name}.yml").write_text(yaml.safe_dump([contract, {"hosts": "app_servers", "gather_facts": False, "tasks": tasks}]))
    secrets = folder / "secrets"
    if has is not None:
        secrets.write_text("".join(f'{name}="{value}"\n' for name, value in has.items()))
    here = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable, "ansible_become": False}
    variables = {**APP, "app_secrets_file": str(secrets), **wanted}
    (folder / "hosts.yml").write_text(yaml.safe_dump({"app_servers": {"hosts": {"here": here}, "vars": variables}}))
    result = tool("ansible-playbook", "-i", str(folder / "hosts.yml"), str(books / "rotate.yml"), *words)
    seen = [json.loads(line) for line in (folder / "seen").read_text().splitlines()] if (folder / "seen").exists() else []
    return result.returncode, result.stdout + result.stderr, seen


def test_both_keys_are_accepted_before_one_signs(tool: Tool, tmp_path: Path) -> None:
    """[A11] Old key with the new one accepted, then the new one with the old one accepted; no value is shown, not even with -vvv."""
    wanted = {"SECRET_KEY": NEW, "SECRET_KEY_FALLBACKS": OLD, "MAIL": "x"}
    status, output, seen = rotate(tool, tmp_path, {"SECRET_KEY": OLD, "MAIL": "x"}, "-vvv", app_secrets=wanted)
    assert status == 0, output
    assert [one["name"] for one in seen] == ["data", "serve", "serve", "keep", "verify"]
    first, last = (one["secrets"] for one in seen if one["name"] == "serve")
    assert first == {"SECRET_KEY": OLD, "SECRET_KEY_FALLBACKS": NEW, "MAIL": "x"}
    assert last == wanted == seen[-1]["secrets"]
    assert "SECRET_KEY: the new one is accepted first" in output
    assert OLD not in output and NEW not in output, output


def test_the_next_role_takes_over_from_the_former(tool: Tool, tmp_path: Path) -> None:
    """[A11] [D1] [D3] The database lets it in before the first deploy, and the backups log in with it before the former is retired."""
    url = URL.format("blog_2", SECOND)
    has = {"SECRET_KEY": OLD, "DATABASE_URL": URL.format("blog_1", FIRST)}
    status, output, seen = rotate(tool, tmp_path, has, app_secrets={"SECRET_KEY": OLD}, app_database_url=url)
    assert status == 0 and "blog_1 gives way to blog_2" in output, output
    assert [one["secrets"]["DATABASE_URL"] for one in seen] == [url] * 5
    assert FIRST not in output and SECOND not in output, output


@pytest.mark.parametrize(
    ("has", "wanted", "words", "reason"),
    [
        ({"SECRET_KEY": OLD}, {"app_secrets": {"SECRET_KEY": NEW}}, (), "SECRET_KEY_FALLBACKS: <the old key>"),
        (
            {"SECRET_KEY": OLD, "DATABASE_URL": URL.format("blog_1", FIRST)},
            {"app_secrets": {"SECRET_KEY": OLD}, "app_database_url": URL.format("blog_1", SECOND)},
            (),
            "for example blog_2, with a password of its own",
        ),
        ({"SECRET_KEY": OLD}, {}, ("-e", json.dumps({"app_secrets": {"SECRET_KEY": OLD}})), "-e app_secrets=… overrules"),
        ({"SECRET_KEY": OLD}, {"app_secrets": {"SECRET_KEY": "dev"}}, (), "SECRET_KEY is weak"),
    ],
)
def test_what_visitors_would_notice_is_refused(
    tool: Tool, tmp_path: Path, has: dict[str, str], wanted: dict[str, Any], words: tuple[str, ...], reason: str
) -> None:
    """[A11] [K10] Before anything changes, with what to write instead, and without a secret."""
    status, output, seen = rotate(tool, tmp_path, has, *words, **wanted)
    said = " ".join(output.split())
    assert status != 0 and seen == [] and "Nothing was changed" in said and reason in said, output
    assert not [secret for secret in (OLD, NEW, FIRST, SECOND) if secret in output], output


def test_without_a_change_it_is_a_deploy(tool: Tool, tmp_path: Path) -> None:
    """[A11] Also before the first one, when there are no secrets yet."""
    for name, has in (("same", {"SECRET_KEY": OLD}), ("none", None)):
        status, output, seen = rotate(tool, tmp_path / name, has, app_secrets={"SECRET_KEY": OLD})
        assert status == 0 and "the app has the secrets of the vault" in output, output
        assert [one["secrets"] for one in seen] == [{"SECRET_KEY": OLD}] * 5
