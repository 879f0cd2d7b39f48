"""Several apps on one machine: who is on it, who runs its part, what each may say of it, and what they may not do to each other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from render import specs

from .conftest import ROOT, Tool
from .inventory import ADDRESS, SECRET, Inventory, RefusedError

HERE: dict[str, Any] = {"ansible_host": ADDRESS}
TLS = "sslmode=verify-full&sslrootcert=/etc/ssl/certs/ca-certificates.crt"


def entries(inventory: Inventory, entry: str) -> list[str]:
    found: list[str] = inventory.app(entry)["machine"]["entries"]
    return found


# --- Who is on a machine --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("blog", "shop", "together"),
    [
        (HERE, HERE, True),
        (HERE, {"ansible_host": "203.0.113.11"}, False),
        # Said by name: without ansible_host the entry's own name is the address.
        ({}, {}, False),
        ({}, {"ansible_host": "blog"}, True),
        (HERE, {**HERE, "ansible_port": 22}, True),
        (HERE, {**HERE, "ansible_port": "22"}, True),
        (HERE, {**HERE, "ansible_port": 2222}, False),
        ({**HERE, "ansible_port": 2222}, {**HERE, "ansible_port": "2222"}, True),
        ({**HERE, "ansible_user": "root"}, {**HERE, "ansible_user": "deploy"}, True),
        ({"ansible_host": "Web1.example.com"}, {"ansible_host": "web1.example.com "}, True),
        (HERE, {"ansible_ssh_host": ADDRESS}, True),
        ({"ansible_connection": "local"}, {"ansible_connection": "ansible.builtin.local", "ansible_host": "x"}, True),
        ({"ansible_connection": "local"}, HERE, False),
        ({**HERE, "app_machine": "web1"}, {"ansible_host": "10.0.0.1", "app_machine": "web1"}, True),
        ({**HERE, "app_machine": "web1"}, {**HERE, "app_machine": "web2"}, False),
        ({**HERE, "app_machine": "web1"}, HERE, False),
        ({"ansible_host": "{{ inventory_hostname[:0] }}" + ADDRESS}, HERE, True),
    ],
)
def test_entries_with_one_address_are_one_machine(tmp_path: Path, blog: dict[str, Any], shop: dict[str, Any], together: bool) -> None:
    """[F2] By what Ansible connects to, or by app_machine; both entries see the same."""
    inventory = Inventory(tmp_path, {"blog": {}, "shop": {}}, None, blog=blog, shop=shop)
    assert entries(inventory, "blog") == (["blog", "shop"] if together else ["blog"])
    assert entries(inventory, "shop") == (["blog", "shop"] if together else ["shop"])
    names = {inventory.app(entry)["machine"]["name"] for entry in ("blog", "shop")}
    assert len(names) == (1 if together else 2)


def test_one_app_needs_to_know_nothing(tmp_path: Path) -> None:
    """[F2] app.yml as ever; the entry is the machine."""
    app = Inventory(tmp_path, {"web1": {"app_name": "blog"}}, None, web1={}).app("web1")
    assert (app["name"], app["entry"], app["machine"]["name"], app["leads"]) == ("blog", "web1", "web1", True)
    assert [one["name"] for one in app["machine"]["apps"]] == ["blog"] and app["server"]["memory_share"] == 0.5


def test_an_entry_without_an_app_is_no_app(tmp_path: Path) -> None:
    """[F2] A monitor or a jump host at the same address has no app_name."""
    inventory = Inventory(tmp_path, {"blog": {}})
    hosts = {"all": {"hosts": {"jump": HERE}}, "app_servers": {"hosts": {"blog": HERE}}}
    (tmp_path / "hosts.yml").write_text(yaml.safe_dump(hosts))
    inventory.read()
    assert entries(inventory, "blog") == ["blog"]


# --- Who runs the machine's part ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("running", "leader"),
    [
        (None, "blog"),
        (["blog", "shop", "wiki"], "blog"),
        (["shop", "wiki"], "shop"),
        (["wiki"], "wiki"),
        (["other", "wiki", "shop"], "wiki"),
    ],
)
def test_one_entry_of_the_run_leads(tmp_path: Path, running: list[str] | None, leader: str) -> None:
    """[F2] The first of the machine's that takes part; with --limit that is another, and all still know of all."""
    inventory = Inventory(tmp_path, {"blog": {}, "shop": {}, "wiki": {}, "other": {}}, None, other={"ansible_host": "203.0.113.99"})
    taking_part = running or ["blog", "shop", "wiki", "other"]
    apps = {entry: inventory.app(entry, running=running) for entry in taking_part if entry != "other"}
    assert [entry for entry, app in apps.items() if app["leads"]] == [leader]
    assert all(app["machine"]["entries"] == ["blog", "shop", "wiki"] for app in apps.values())
    # Nothing of an app depends on who runs.
    alone = {entry: inventory.app(entry, running=[entry]) for entry in apps}
    assert all({**alone[entry], "leads": None} == {**app, "leads": None} for entry, app in apps.items())


def test_the_machine_is_the_same_for_whoever_runs_it(tmp_path: Path) -> None:
    """[F2] Its shared files would otherwise change with each --limit."""
    inventory = Inventory(tmp_path, {"blog": {"backup_engine": "pgbackrest"}, "shop": {"postgres_packages_custom": ["postgis"]}})
    assert inventory.app("blog", running=["blog"])["machine"] == inventory.app("shop", running=["shop"])["machine"]
    facts = inventory.app("shop", running=["shop"])["machine"]
    assert facts["archives"] and facts["joined"]["postgres_packages_custom"] == ["postgis"]


# --- What is said of the machine ------------------------------------------------------------------

MACHINE = sorted(
    {
        name
        for path in ROOT.glob("roles/*/meta/argument_specs.yml")
        for name in yaml.safe_load(path.read_text())["argument_specs"].get("machine", {}).get("options", {})
    }
)


def test_what_one_app_says_holds_for_the_machine(tmp_path: Path) -> None:
    """[F2] Whichever entry the machine's part runs on."""
    inventory = Inventory(tmp_path, {"blog": {}, "shop": {"postgres_version": "17", "nginx_worker_connections": 4096}})
    assert inventory.secrets("blog")["facts"] == {"postgres_version": "17", "nginx_worker_connections": 4096}
    assert inventory.secrets("shop")["facts"] == {}


def test_what_both_say_alike_is_no_conflict(tmp_path: Path) -> None:
    """[F2] In group_vars, or in each; an expression counts as what it becomes, and a default as nothing said."""
    inventory = Inventory(
        tmp_path,
        {"blog": {"postgres_version": "{{ '1' ~ '7' }}", "postgres_storage": "ssd"}, "shop": {"postgres_version": "17"}},
        {"nginx_worker_connections": 4096},
    )
    assert inventory.refusal("blog") == inventory.refusal("shop") == ""
    assert "postgres_version" not in inventory.secrets("shop")["facts"]


def test_settings_of_the_machine_that_disagree_are_refused(tmp_path: Path) -> None:
    """[F2] Both places are named, and both entries say it; with --limit as well."""
    inventory = Inventory(tmp_path, {"blog": {"postgres_version": "17"}, "shop": {"postgres_version": "16"}, "wiki": {}})
    for entry in ("blog", "shop"):
        message = inventory.refusal(entry, running=[entry])
        assert "postgres_version is the machine's, and blog and shop say different things of it" in message
        assert f"{tmp_path}/host_vars/blog.yml:" in message and f"{tmp_path}/host_vars/shop.yml:" in message
        assert "group_vars/app_servers" in message
    # The third has said nothing wrong; the two stop the run.
    assert inventory.refusal("wiki") == ""


@pytest.mark.parametrize("name", [name for name in MACHINE if specs().options[name].get("type", "str") == "str"])
def test_every_text_of_a_machine_may_be_said_once_only(tmp_path: Path, name: str) -> None:
    """[F2] A scope that a spec gives is a scope that is enforced."""
    inventory = Inventory(tmp_path, {"blog": {name: "1h"}, "shop": {name: "2h"}})
    message = inventory.refusal("blog")
    assert f"- {name} " in message, message


def test_what_needs_facts_cannot_be_shared(tmp_path: Path) -> None:
    """[F2] [F8] It would be lost on the run that another entry leads; one app may say it."""
    said = {"blog": {}, "shop": {"postgres_storage": "{{ ansible_facts['storage'] }}"}}
    message = Inventory(tmp_path, said).refusal("blog")
    assert "postgres_storage is the machine's, which has several apps, and what shop says of it needs facts" in message
    assert f"{tmp_path}/host_vars/shop.yml:" in message
    assert Inventory(tmp_path / "alone", said, None, shop={"ansible_host": "203.0.113.11"}).refusal("shop") == ""


# --- What two apps may not do to each other -------------------------------------------------------


@pytest.mark.parametrize(
    ("blog", "shop", "variable", "words"),
    [
        ({}, {"app_name": "blog"}, "app_name", "the unit blog"),
        ({"app_processes": {"worker": {"command": "x"}}}, {"app_name": "blog-worker"}, "app_name", "the unit blog-worker"),
        ({}, {"app_name": "blog-rehearsal"}, "app_name", "the unit blog-rehearsal"),
        ({}, {"app_name": "blog-tls"}, "app_name", "the unit blog-tls"),
        ({"app_redis_cache": True}, {"app_name": "blog-cache"}, "app_name", "the Redis blog-cache"),
        ({}, {"app_domains": ["shop.example.com", "blog.example.com"]}, "app_domains", "the domain blog.example.com"),
        ({}, {"app_user": "blog"}, "app_name", "the user blog"),
        ({}, {"app_root": "/srv/blog"}, "app_name", "the folder /srv/blog"),
        ({}, {"app_config_dir": "/etc/blog"}, "app_name", "the folder /etc/blog"),
        ({}, {"app_socket": "/run/blog/gunicorn.sock"}, "app_name", "the socket /run/blog/gunicorn.sock"),
        ({}, {"app_database": "blog"}, "app_name", "the database blog"),
        ({}, {"app_database_url": "postgresql:///shop?port=5433"}, "app_database_url", "leads to port 5433, and blog to 5432"),
    ],
)
def test_what_one_app_alone_can_have(tmp_path: Path, blog: dict[str, Any], shop: dict[str, Any], variable: str, words: str) -> None:
    """[F2] [A5] Refused for both, with both places; on two machines it is nobody's business."""
    inventory = Inventory(tmp_path, {"blog": blog, "shop": shop})
    for entry in ("blog", "shop"):
        message = inventory.refusal(entry)
        assert f"- {variable} " in message and words in message, message
        assert f"{tmp_path}/host_vars/blog.yml" in message or f"{tmp_path}/group_vars" in message, message
        assert f"{tmp_path}/host_vars/shop.yml" in message or f"{tmp_path}/group_vars" in message, message
    apart = Inventory(tmp_path / "apart", {"blog": blog, "shop": shop}, None, shop={"ansible_host": "203.0.113.11"})
    assert apart.refusal("blog") == apart.refusal("shop") == ""


def test_a_database_elsewhere_may_be_shared(tmp_path: Path) -> None:
    """[F2] Two apps over one database are their owner's decision; on this host each has its own."""
    url = f"postgresql://u:secret-secret-secret@db.example.com/both?{TLS}"
    inventory = Inventory(tmp_path, {"blog": {"app_database_url": url}, "shop": {"app_database_url": url}})
    assert inventory.refusal("blog") == ""


# --- A neighbour's mistake ------------------------------------------------------------------------


def test_a_broken_neighbour_is_reported_where_it_is_mended(tmp_path: Path) -> None:
    """[F2] [F8] With --limit nobody else would say it: what the machine needs of it cannot be known."""
    inventory = Inventory(tmp_path, {"blog": {}, "shop": {"app_domains": "shop.example.com", "nginx_hst": True}})
    message = inventory.refusal("blog", running=["blog"])
    assert "app_domains of shop, on the same machine: must be a list, and is text" in message
    assert "nginx_hst of shop, on the same machine: is not a variable of the role nginx" in message
    assert f"file: {tmp_path}/host_vars/shop.yml:" in message and "host_vars/blog.yml" not in message


def test_a_broken_neighbour_of_the_run_speaks_for_itself(tmp_path: Path) -> None:
    """[F2] Each mistake is reported in full once, by the entry that made it; the other stops all the same."""
    inventory = Inventory(tmp_path, {"blog": {}, "shop": {"app_domains": "shop.example.com"}})
    assert "app_name shares its machine with shop, whose input is refused" in inventory.refusal("blog")
    assert "must be a list" not in inventory.refusal("blog") and "must be a list" in inventory.refusal("shop")


def test_a_neighbours_secret_is_in_no_message(tmp_path: Path) -> None:
    """[A11] [F2] One app's input says nothing of another's secrets."""
    broken = {"app_secrets": {"SECRET_KEY": "hunter2"}, "app_database_url": "postgresql://u:hunter2@db/x"}
    inventory = Inventory(tmp_path, {"blog": {}, "shop": broken})
    message = inventory.refusal("blog", running=["blog"])
    assert "SECRET_KEY is weak" in message and "hunter2" not in message
    good = Inventory(tmp_path / "good", {"blog": {}, "shop": {"app_secrets": {"SECRET_KEY": SECRET[::-1], "T": "hunter2"}}})
    assert "hunter2" not in str(good.app("blog")) + str(good.secrets("blog"))


def test_an_address_that_cannot_be_resolved_is_refused(tmp_path: Path) -> None:
    """[F2] [F8] Taken for another machine, its app would vanish from this one's shared files."""
    inventory = Inventory(tmp_path, {"blog": {}, "shop": {}}, None, shop={"ansible_host": "{{ nowhere }}"})
    message = inventory.refusal("blog", running=["blog"])
    assert "ansible_host of shop cannot be resolved" in message and "app_machine" in message
    known = Inventory(tmp_path / "known", {"blog": {}, "shop": {"app_machine": "web2"}}, None, shop={"ansible_host": "{{ nowhere }}"})
    assert known.refusal("blog") == "" and entries(known, "blog") == ["blog"]


def test_a_neighbours_address_may_ask_another_host(tmp_path: Path) -> None:
    """[F2] hostvars are there for its expressions, as they are in a play."""
    inventory = Inventory(tmp_path, {"blog": {}, "shop": {}}, None, shop={"ansible_host": "{{ hostvars['blog'].ansible_host }}"})
    assert entries(inventory, "blog") == ["blog", "shop"]


def test_a_refusal_is_an_error_of_the_task(tmp_path: Path) -> None:
    inventory = Inventory(tmp_path, {"blog": {"app_name": "Blog"}})
    with pytest.raises(RefusedError, match="will not do as a user"):
        inventory.app("blog")


# --- Through ansible-playbook ---------------------------------------------------------------------

PLAY = """\
- import_playbook: contract.yml
- hosts: app_servers
  gather_facts: false
  tasks:
    - ansible.builtin.debug:
        msg: "{{ app.name }} leads={{ app.leads }} version={{ postgres_version | default('') }} apps={{ app.machine.entries | join('+') }}"
- import_playbook: contract.yml
- import_playbook: contract.yml
  vars: {resolve_again: true, app_env: {GREETING: hello}}
- hosts: app_servers
  gather_facts: false
  tasks:
    - ansible.builtin.debug:
        msg: "again {{ app.name }} leads={{ app.leads }} version={{ postgres_version }} says={{ app.environment.GREETING }}"
"""


def test_two_apps_through_ansible(tool: Tool, tmp_path: Path) -> None:
    """[F2] [F1] The first contract of a run resolves for all; what it has said does not disturb one that resolves again, nor --limit."""
    Inventory(tmp_path, {"blog": {}, "shop": {"postgres_version": "17"}}, {"app_secrets": {"SECRET_KEY": SECRET}})
    (tmp_path / "contract.yml").write_text((ROOT / "playbooks/contract.yml").read_text())
    (tmp_path / "play.yml").write_text(PLAY)
    both = tool("ansible-playbook", "-i", str(tmp_path / "hosts.yml"), str(tmp_path / "play.yml"))
    for line in (
        *("blog leads=True version=17 apps=blog+shop", "shop leads=False version=17 apps=blog+shop"),
        *("again blog leads=True version=17 says=hello", "again shop leads=False version=17 says=hello"),
    ):
        assert line in both.stdout, both.stdout + both.stderr
    assert both.stdout.count("TASK [slipway.vps.app : contract | Refuse") == 2, "resolved once, and again when a play says so"
    assert both.returncode == 0 and "changed=0" in both.stdout and SECRET not in both.stdout + both.stderr
    one = tool("ansible-playbook", "-i", str(tmp_path / "hosts.yml"), str(tmp_path / "play.yml"), "--limit", "blog")
    assert "blog leads=True version=17 apps=blog+shop" in one.stdout, one.stdout + one.stderr
    assert "shop leads" not in one.stdout
