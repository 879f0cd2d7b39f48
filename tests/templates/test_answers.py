"""What the operator answered to preflight, as each layer's role reads it."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from render import ROOT, machine_of, model_of, render, value

CLUSTER = "etc/postgresql/version/cluster"
CONF, HBA, IDENT = f"{CLUSTER}/conf.d/slipway.conf.j2", f"{CLUSTER}/slipway_hba.conf.j2", f"{CLUSTER}/slipway_ident.conf.j2"
HOST: dict[str, Any] = {"__postgres_cluster": {"configdir": "/etc/postgresql/17/main"}}
ADOPT = {"preflight_answers": {"port:5432": "adopt"}}


def lines(text: str) -> list[str]:
    """What is neither empty nor a comment, with single blanks."""
    return [" ".join(line.split()) for line in text.splitlines() if line.strip() and not line.startswith("#")]


def task(role: str, file: str, name: str) -> dict[str, Any]:
    """A task by its name."""
    tasks: list[dict[str, Any]] = yaml.safe_load((ROOT / f"roles/{role}/tasks/{file}.yml").read_text())
    return next(one for one in tasks if one["name"] == name)


# --- PostgreSQL ---------------------------------------------------------------------------------------


def test_a_server_of_others_keeps_its_settings() -> None:
    """[F3] No address, no size, no log format of ours: only what the operator himself says."""
    text = render("postgres", CONF, **HOST, **ADOPT)
    assert lines(text) == [] and "# slipway: adopted" in text
    assert lines(render("postgres", CONF, **HOST, **ADOPT, postgres_settings_custom={"work_mem": "8MB"})) == ["work_mem = '8MB'"]


def test_our_lines_are_about_our_roles() -> None:
    """[F3] They come first, so they must fit nobody else."""
    found = lines(render("postgres", HBA, **ADOPT, app_name="my-app"))
    assert found == ["local all postgres peer", 'local all "my-app","my-app_readonly","my-app_migrate" peer map=slipway']
    allow = lines(render("postgres", HBA, **ADOPT, postgres_allow=["192.0.2.10"]))
    assert allow[-1] == 'hostssl "demo",postgres +"demo" 192.0.2.10/32 scram-sha-256'
    assert not [line for line in found + allow if line.startswith(("local all all", "local replication"))]
    # Who may be whom is the same: the map is used by our lines alone.
    assert render("postgres", IDENT, **ADOPT) == render("postgres", IDENT)


def test_a_server_of_others_is_not_restarted() -> None:
    """[F3] Whatever could restart it, or writes its files anew, asks first whether it is adopted."""
    tasks = yaml.safe_load((ROOT / "roles/postgres/tasks/configure.yml").read_text())
    restarts = [one for one in tasks if "restart needed" in str(one.get("notify"))]
    assert restarts and all("not __postgres_adopted" in f"{one['changed_when']} {one.get('when')}" for one in restarts)
    for one in tasks:
        written = (one.get("ansible.builtin.template") or one.get("ansible.builtin.file") or {}).get("path", "") or (
            one.get("ansible.builtin.template") or {}
        ).get("dest", "")
        if written and "conf.d/slipway.conf" not in written:
            assert "not __postgres_adopted" in str(one.get("when")), one["name"]


@pytest.mark.parametrize(
    ("config", "path"),
    [
        ({"hba_file": "/data/pg_hba.conf"}, "/data/pg_hba.conf"),
        ({}, "/etc/postgresql/17/main/pg_hba.conf"),
        # It was ours alone until the operator answered.
        ({"hba_file": "/etc/postgresql/17/main/slipway_hba.conf"}, "/etc/postgresql/17/main/pg_hba.conf"),
    ],
)
def test_our_lines_go_into_the_file_that_is_read(config: dict[str, str], path: str) -> None:
    block = task("postgres", "configure", "configure | Say it before the lines of others, in their files")["ansible.builtin.blockinfile"]
    cluster = {"configdir": "/etc/postgresql/17/main", "config": config}
    items = value("postgres", "__postgres_files", __postgres_cluster=cluster, **ADOPT)
    assert value("postgres", block["path"].strip("{} "), __postgres_cluster=cluster, item=dict(items[0]), **ADOPT) == path
    assert block["insertbefore"] == "BOF"


def test_the_port_is_the_models() -> None:
    """[F1]"""
    url = {"app_database_url": "postgresql:///demo?host=/run/postgresql&port=5433"}
    assert not value("postgres", "__postgres_adopted") and value("postgres", "__postgres_adopted", **ADOPT)
    assert value("postgres", "__postgres_adopted", **url, preflight_answers={"port:5433": "adopt"})
    assert not value("postgres", "__postgres_adopted", **url, preflight_answers={"port:5432": "adopt"})


def test_a_database_that_was_there_keeps_its_order() -> None:
    """[F3] PostgreSQL cannot change it."""
    assert not value("postgres", "__postgres_database_adopted")
    assert value("postgres", "__postgres_database_adopted", preflight_answers={"database:demo": "adopt"})


# --- nginx, Redis, firewall, units ----------------------------------------------------------------------

MANY = {
    "preflight_answers": {
        "port:80": "replace",
        "port:443": "replace",
        "port:6379": "leave",
        "site:demo.slipway.test": "replace",
        "site:default": "replace",
        "firewall:nftables": "replace",
        "firewall:input": "replace",
        "unit:demo": "replace",
        "unit:demo-tls": "replace",
    }
}


def test_what_nginx_replaces() -> None:
    """[F3] Holders of the ports that were answered, and sites of its app; nothing without an answer."""
    assert value("nginx", "__nginx_replaced_ports", **MANY) == [80, 443] and value("nginx", "__nginx_replaced_ports") == []
    assert value("nginx", "__nginx_replaced_ports", preflight_answers={"port:80": "adopt"}) == []
    site = task("nginx", "site", "site | Write the site, if nginx takes it")["slipway.vps.nginx_config"]
    assert value("nginx", site["replaced"].strip("{} "), **MANY) == ["demo.slipway.test"]
    assert value("nginx", site["replaced"].strip("{} ")) == [] and value("nginx", site["own"].strip("{} ")) == ["demo.conf"]


@pytest.mark.parametrize(
    ("answer", "absent", "replaced"),
    [("", ["sites-enabled/default"], []), ("leave", [], []), ("replace", ["sites-enabled/default"], ["default"])],
)
def test_the_welcome_site_stays_where_it_is_left(answer: str, absent: list[str], replaced: list[str]) -> None:
    """[F3] Edited, it went without a word."""
    shared = task("nginx", "configure", "configure | Write what all sites share, if nginx takes it")["slipway.vps.nginx_config"]
    said = {"preflight_answers": {"site:default": answer}} if answer else {}
    assert value("nginx", shared["absent"].strip("{} "), **said) == absent
    assert value("nginx", shared["replaced"].strip("{} "), **said) == replaced


def test_ports_are_freed_just_before_nginx_starts() -> None:
    """[F3] Until then the other one serves."""
    names = [one["name"] for one in yaml.safe_load((ROOT / "roles/nginx/tasks/run.yml").read_text())]
    stop = names.index("run | Stop what holds its ports, where the operator said so")
    assert names[stop + 1] == "run | Start nginx, also at boot" and names[0] == "run | Check the configuration"


@pytest.mark.parametrize(("answer", "stops"), [({}, True), ({"port:6379": "leave"}, False), ({"port:6379": "replace"}, True)])
def test_a_redis_that_is_left_is_not_stopped(answer: dict[str, str], stops: bool) -> None:
    """[F3]"""
    (condition, _) = task("redis", "machine", "machine | Stop the packaged instance, which listens on TCP")["when"]
    assert value("redis", condition, preflight_answers=answer) is stops


def test_what_the_firewall_replaces() -> None:
    """[F3] By unit, and the rules that stand before ufw's for the ports that are to be reached."""
    assert value("firewall", "__firewall_replaced_units", **MANY) == ["nftables.service"]
    assert value("firewall", "__firewall_replaced") == []
    rules = [
        {"port": "80", "proto": "tcp", "comment": "x"},
        {"port": "443", "proto": "udp", "comment": "x"},
        {"port": "6000:6007", "proto": "tcp"},
    ]
    assert value("firewall", "__firewall_tcp_ports", firewall_rules_auto=rules) == [80]


def test_other_firewalls_go_before_ufw_comes() -> None:
    """[F3] When one took all rules with it, ufw's are loaded again; apt has removed what it excludes by then."""
    names = [one["name"] for one in yaml.safe_load((ROOT / "roles/firewall/tasks/replace.yml").read_text())]
    assert names == ["replace | Stop other firewalls, where the operator said so", "replace | Load ufw's rules again"]
    order = [one["name"] for one in yaml.safe_load((ROOT / "roles/firewall/tasks/machine.yml").read_text())]
    give_way = order.index("machine | Let other firewalls give way")
    assert order.index("machine | Install") < give_way < order.index("machine | Configure")
    condition = task("firewall", "machine", "machine | Let other firewalls give way")["when"]
    assert value("firewall", condition, **MANY) is True and value("firewall", condition) is False


@pytest.mark.parametrize("one", ["firewalld", "nftables", "netfilter-persistent", "input"])
def test_a_machine_that_is_left_to_another_firewall_has_no_ufw(one: str) -> None:
    """[F3]"""
    assert model_of()["machine"]["firewall"] is True
    assert model_of(preflight_answers={f"firewall:{one}": "leave"})["machine"]["firewall"] is False
    assert model_of(preflight_answers={f"firewall:{one}": "replace", "firewall:docker": "leave"})["machine"]["firewall"] is True


@pytest.mark.parametrize("play", ["edge", "data"])
def test_each_play_asks_whether_ufw_is_wanted(play: str) -> None:
    tasks = [one for part in yaml.safe_load((ROOT / f"playbooks/{play}.yml").read_text()) for one in part.get("tasks", [])]
    firewall = [one for one in tasks if (one.get("ansible.builtin.import_role") or {}).get("name") == "slipway.vps.firewall"]
    assert firewall and all("app.machine.firewall" in one["when"] for one in firewall)


def test_units_of_others_are_set_aside_by_the_role_that_writes_them() -> None:
    """[F3]"""
    assert value("server", "__server_replaced_units", **MANY) == ["demo"]
    assert value("server", "__server_replaced_units") == []
    condition = task("tls", "configure", "configure | Set a unit of others aside, where the operator said so")["when"]
    assert value("tls", condition, **MANY) is True and value("tls", condition) is False


def test_answers_of_one_app_are_the_machines() -> None:
    """[F2] Whoever runs the machine's part reads them all."""
    machine = machine_of({"blog": {"app_name": "blog", "preflight_answers": {"port:6379": "leave"}}, "shop": {"app_name": "shop"}})
    assert machine.facts()["answers"] == {"port:6379": "leave"}
    assert {"unit:blog", "user:blog"} <= set(machine.facts()["claims"]["blog"])
