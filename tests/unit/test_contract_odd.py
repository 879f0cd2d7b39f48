"""What a user writes at night: no traceback, whatever YAML makes of it; a refusal names the variable."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.parsing.vault import VaultLib, VaultSecret
from ansible_collections.slipway.vps.plugins.action.contract import JOINED
from ansible_collections.slipway.vps.plugins.module_utils.resolve import resolve_machine, resolve_secrets
from ansible_collections.slipway.vps.plugins.module_utils.rules.inputs import merged
from ansible_collections.slipway.vps.plugins.module_utils.rules.machine import conflicts
from render import said_of, specs

from .conftest import ROOT, Tool
from .inventory import Inventory
from .test_contract import GOOD, ROLES, check

#: Values of every shape, none of which belongs anywhere in particular.
ODD: tuple[Any, ...] = (
    *(None, "", [], {}, 0, -1, 1.5, True, False, "auto", "ü☃", "a\x00b", "a\nb", "x" * 5000, 10**30, float("nan"), float("inf")),
    *([None], [[1]], [{"a": None}], ["a", 1], [""], {"a": None}, {"a": {"b": [1]}}, {1: 2}, {None: 1}, datetime.date(2026, 11, 27)),
    *("²", "٣", "-0", "1_000", "0x10", "{{", "%s", "../..", "/", "$(reboot)", "'; DROP", "http://[::1/x", "postgresql://[::1/x"),
    *("postgresql://h:99999999/x", "unix://", "redis://:@", "2001:db8::/129", ["2001:db8::/129"], [5], ["*.*"], ["*."], {"": ""}),
    *({"type": "git"}, {"type": None}, {"DATABASE_URL": 5}, {"DATABASE_URL": None}, {"REDIS_URL": [1]}, {"REDIS_URL": "redis://[x"}),
    *({"WEB_CONCURRENCY": "²"}, {"GUNICORN_TIMEOUT": -1}, {"TRUSTED_HOSTS": 5}, {"PROXY_HOPS": None}, {"SECRET_KEY": True}),
    *({"/": None}, {"/static/": "ü"}, {"worker": None}, {"worker": {"command": 5, "stop_timeout": "x", "connections": {}}}, {"a b": {}}),
    *({"http": 5, "server": None, "location": [1]}, [{"path": None}], [{"path": 5, "rate": None, "burst": []}], [{"port": "x"}]),
    *({"max_connections": []}, {"max_connections": "many"}, {"max_connections": None}, {"statement_timeout": None}),
)


#: The roles' defaults, resolved.
BASE = said_of()


def resolved(**changes: Any) -> None:
    """What the action plugin does with values that nobody refuses: the machine, conflicts with a neighbour, and the secrets."""
    said = merged({**BASE, **GOOD, **changes}, specs().options)
    machine = resolve_machine("x", {"blog": said, "shop": {**said, "app_name": "shop"}}, JOINED)
    list(conflicts({app.entry: app for app in machine.apps}, {"blog": changes, "shop": changes}))
    machine.facts()
    resolve_secrets(said)


@pytest.mark.parametrize("role", ROLES)
def test_no_value_of_any_variable_is_a_traceback(role: str) -> None:
    """[F8] [K10] Refused, with its own name among those that are reported, or resolved."""
    names = [name for name in specs().options if name.startswith(f"{role}_")]
    refused = 0
    for name in names:
        for value in ODD:
            found = check(**{name: value})
            refused += bool(found)
            assert all(problem.variable and problem.what and problem.fix for problem in found), (name, value, found)
            if not found:
                resolved(**{name: value})
    assert not names or refused > len(names), "hardly anything was refused"


@pytest.mark.parametrize(
    "name", ["app_domains", "app_name", "app_env", "app_secrets", "app_source", "app_database_url", "postgres_limits_app"]
)
def test_pairs_of_oddities(name: str) -> None:
    """[F8] A rule that reads two variables meets both of them broken."""
    for value in ODD:
        for other, also in (("app_processes", {"worker": None}), ("app_proxy_hops", "²"), ("server_workers", []), ("app_redis_url", 5)):
            found = check(**{name: value, other: also})
            assert found, (name, value, other)


@pytest.mark.parametrize(
    "name", [name for name, option in specs().options.items() if option.get("type") == "path" and name.startswith("app_")]
)
@pytest.mark.parametrize("path", ["srv/x", "~/x", "/srv/a b", "/srv/x;", '/srv/"x', "/srv/$x", "/srv/%i", "/srv/../etc", "/srv/x\n"])
def test_paths_that_units_or_nginx_would_read_otherwise(name: str, path: str) -> None:
    """[F8] [A5] Each of them lands in configuration files."""
    found = check(**{name: path})
    assert [problem.variable for problem in found] == [name] and "no absolute path" in found[0].what, found


@pytest.mark.parametrize("name", ["app_user", "app_group", "app_proxy_group"])
@pytest.mark.parametrize("account", ["Blog", "1blog", "a" * 32, "a b", "blög", "root:x", "-x"])
def test_accounts_that_useradd_refuses(name: str, account: str) -> None:
    """[F8] [A5]"""
    found = check(**{name: account})
    assert [problem.variable for problem in found] == [name] and "will not do as a user or a group" in found[0].what, found


@pytest.mark.parametrize(("name", "value"), [("backup_hour", 24), ("backup_hour", -1), ("backup_minute", "60")])
def test_a_time_that_no_clock_shows(name: str, value: Any) -> None:
    """[F8] [D3] It was taken modulo a day in silence."""
    found = check(**{name: value})
    assert [problem.variable for problem in found] == [name] and "there are 0 to" in found[0].what, found


@pytest.mark.parametrize(
    ("name", "value", "fix"),
    [
        ("backup_engine", "pgbackrests", "dump, pgbackrest"),
        ("server_worker_class", "threads", "auto, sync, gthread, gevent, asgi"),
        ("postgres_storage", "nvme", "ssd, hdd"),
        ("nginx_tls_policy", "old", "modern, intermediate"),
    ],
)
def test_a_value_that_is_none_of_the_choices(name: str, value: str, fix: str) -> None:
    """[F8] Before anything changes, rather than by the role that meets it."""
    if name not in specs().options:
        name = next(one for one, option in specs().options.items() if "modern" in map(str, option.get("choices", [])))
    found = check(**{name: value})
    assert [problem.variable for problem in found] == [name] and fix in found[0].fix, found


# --- As YAML and the vault bring it ---------------------------------------------------------------

GOOD_TEXT = "app_name: blog\napp_domains: [blog.example.com]\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["app_name is required", "app_domains is required"]),
        ("app_name:\napp_domains:\n", ["app_name is required", "app_domains is required"]),
        ("app_name: 2026-11-27\napp_domains: [x.example]\n", ["app_name must be text"]),
        ("app_name: yes\napp_domains: [x.example]\n", ["app_name must be text, and is the bool True"]),
        ("app_name: !unsafe '{{ x }}'\napp_domains: [x.example]\n", ["app_name '{{ x }}' will not do"]),
        (
            "app_name: блог\napp_domains: [блог.example]\n",
            ["app_name 'блог' will not do", "app_domains 'блог.example' is not a domain name"],
        ),
        (f"{GOOD_TEXT}app_socket: [/run/x]\n", ["app_socket must be text, and is a list"]),
        (f"{GOOD_TEXT}app_env: '{{{{ app_env }}}}'\n", ["app_env cannot be resolved"]),
        (f"{GOOD_TEXT}app_env: {{A: '{{{{'}}\n", ["app_env cannot be resolved"]),
        (f"{GOOD_TEXT}app_env: {{A: '{{{{ 1 / 0 }}}}'}}\n", ["app_env cannot be resolved"]),
        (f'{GOOD_TEXT}app_env: {{A: \'{{{{ lookup("ansible.builtin.file", "none") }}}}\'}}\n', ["app_env cannot be resolved"]),
        (f"{GOOD_TEXT}app_domains: '{{{{ nobody }}}}'\n", ["app_domains cannot be resolved"]),
        (f"{GOOD_TEXT}base_packages: '{{{{ nobody }}}}'\n", ["base_packages cannot be resolved"]),
        # All at once: what cannot be resolved beside what is wrong.
        (f"{GOOD_TEXT}app_wsgi: blog\napp_env: {{A: '{{{{ nobody }}}}'}}\n", ["app_wsgi 'blog' names no", "app_env cannot be resolved"]),
        # Only the missing input is worth reporting.
        ("app_domains: ['{{ app_name }}.example']\n", ["app_name is required"]),
    ],
)
def test_what_a_file_may_hold(tmp_path: Path, text: str, words: list[str]) -> None:
    """[F8] [K10] Each with its variable; nothing more is reported than what is said."""
    message = Inventory(tmp_path, {"blog": text}).refusal("blog")
    assert message.count("  fix:  ") == len(words), message
    assert all(f"- {one}" in message for one in words), message


SHOW = "- hosts: app_servers\n  gather_facts: false\n  tasks: [{ansible.builtin.debug: {msg: 'database={{ app.database.name }}'}}]\n"


def test_a_vault_without_its_password_is_no_traceback(tool: Tool, tmp_path: Path) -> None:
    """[F8] [A11] What cannot be decrypted is named; with the password it is read as any text."""
    secret = VaultSecret(b"password")
    cipher = VaultLib([("default", secret)]).encrypt("postgresql:///weblog?host=/run/postgresql", secret).decode()
    indented = "".join(f"    {line}\n" for line in cipher.splitlines())
    inventory = Inventory(tmp_path, {"blog": f"{GOOD_TEXT}app_database_url: !vault |\n{indented}", "shop": {}})
    message = inventory.refusal("blog")
    assert "- app_database_url cannot be resolved" in message and f"{tmp_path}/host_vars/blog.yml:3" in message, message
    assert "app_database_url" in inventory.refusal("shop", running=["shop"])
    (tmp_path / "host_vars/shop.yml").write_text("{}\n")
    (tmp_path / "password").write_text("password\n")
    (tmp_path / "play.yml").write_text((ROOT / "playbooks/contract.yml").read_text() + SHOW)
    words = ("-i", str(tmp_path / "hosts.yml"), str(tmp_path / "play.yml"), "--limit", "blog")
    read = tool("ansible-playbook", *words, "--vault-password-file", str(tmp_path / "password"))
    assert read.returncode == 0 and "database=weblog" in read.stdout, read.stdout + read.stderr


def test_an_encrypted_file_is_named_for_what_stands_in_it(tmp_path: Path) -> None:
    """[F8] The line cannot be found there, and the file can (it was app.yml)."""
    inventory = Inventory(tmp_path, {"blog": {}})
    secret = VaultSecret(b"password")
    text = yaml.safe_dump({"app_secrets": {"SECRET_KEY": "dev"}})
    (tmp_path / "host_vars/blog").mkdir()
    (tmp_path / "host_vars/blog.yml").rename(tmp_path / "host_vars/blog/app.yml")
    (tmp_path / "host_vars/blog/vault.yml").write_bytes(VaultLib([("default", secret)]).encrypt(text, secret))
    (tmp_path / "group_vars/app_servers.yml").write_text(
        yaml.safe_dump({"app_wsgi": "blog:app", "app_source": {"type": "path", "path": "."}, "acme_email": "ops@example.com"})
    )
    inventory.read()
    inventory.loader.set_vault_secrets([("default", secret)])
    message = inventory.refusal("blog")
    assert "SECRET_KEY is weak" in message and f"file: {tmp_path}/host_vars/blog/vault.yml" in message, message


@pytest.mark.parametrize(
    ("plain", "hidden"),
    [
        ({"app_secrets": {"SECRET_KEY": "{{ vault_secret_key }}"}}, {"vault_secret_key": "dev"}),
        ({"app_secrets": "{{ vault_secrets }}"}, {"vault_secrets": {"SECRET_KEY": "dev"}}),
        ({"app_secrets": {"TOKEN": "x"}}, {"app_secrets": {"SECRET_KEY": "dev"}}),
    ],
)
@pytest.mark.parametrize("encrypted", [True, False])
def test_a_weak_secret_is_where_its_value_stands(tmp_path: Path, plain: dict[str, Any], hidden: dict[str, Any], encrypted: bool) -> None:
    """[F8] Field case 38: in the vault, however app.yml refers to it."""
    inventory = Inventory(tmp_path, {"blog": plain})
    (tmp_path / "host_vars/blog").mkdir()
    (tmp_path / "host_vars/blog.yml").rename(tmp_path / "host_vars/blog/app.yml")
    secret, text = VaultSecret(b"password"), yaml.safe_dump(hidden)
    path = tmp_path / "host_vars/blog/vault.yml"
    path.write_bytes(VaultLib([("default", secret)]).encrypt(text, secret) if encrypted else text.encode())
    group = {"app_wsgi": "blog:app", "app_source": {"type": "path", "path": "."}, "acme_email": "ops@example.com"}
    (tmp_path / "group_vars/app_servers.yml").write_text(yaml.safe_dump(group))
    inventory.read()
    inventory.loader.set_vault_secrets([("default", secret)])
    message = inventory.refusal("blog")
    assert "SECRET_KEY is weak" in message and f"file: {path}" in message, message


@pytest.mark.parametrize(
    "text",
    [
        *("", "app_name:\n", "app_name: [x]\n", "app_name: '{{ nobody }}'\n", "app_name: shop\napp_domains: 5\n"),
        "app_name: shop\napp_domains: [shop.example.com]\napp_processes: [x]\ngunicorn_workers: {}\npostgres_limits_app: x\n",
        "app_name: shop\napp_domains: [shop.example.com]\napp_database_url: 'http://[x'\nbackup_hour: 99\n",
    ],
)
def test_a_broken_neighbour_is_no_traceback(tmp_path: Path, text: str) -> None:
    """[F2] [F8] Said by its own file where it is not in the run; an entry that names no app is none."""
    message = Inventory(tmp_path, {"blog": {}, "shop": text}).refusal("blog", running=["blog"])
    if "app_name" not in text:
        assert message == ""
    else:
        assert "of shop, on the same machine" in message and f"{tmp_path}/host_vars/blog.yml" not in message, message
