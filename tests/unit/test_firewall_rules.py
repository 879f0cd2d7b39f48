"""What the contract says of the operator's firewall rules, on the controller."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.slipway.vps.plugins.module_utils.rules.firewall import bad_rules, bad_trusted, notes

from .inventory import ADDRESS, Inventory

GOOD: list[dict[str, Any]] = [
    {"port": 9100, "proto": "tcp", "from": "192.0.2.10", "comment": "node exporter, for the monitoring host"},
    {"port": "6000:6007", "proto": "udp", "rule": "deny", "comment": "x"},
    {"port": "80,443", "proto": "tcp", "rule": "reject", "from": "2001:db8::/32", "comment": "é"},
    {"port": 22, "proto": "tcp", "rule": "deny", "from": "198.51.100.0/24", "comment": "abuse"},
    {"port": 22, "proto": "udp", "rule": "deny", "comment": "no SSH there"},
]


def test_good_rules_pass() -> None:
    """[K5] And trusted networks, of both versions of IP."""
    trusted = ["192.0.2.0/24", "2001:db8:7::/48", "203.0.113.7"]
    assert not [*bad_rules({"firewall_rules_custom": GOOD, "firewall_trusted": trusted}), *bad_trusted({"firewall_trusted": trusted})]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        *(({"port": 0}, "port '0' is none"), ({"port": 65536}, "is none"), ({"port": "http"}, "is none"), ({"port": "9:8"}, "is none")),
        *(({"port": ",".join(map(str, range(1, 17)))}, "is none"), ({"port": "80,"}, "is none"), ({"proto": "any"}, "proto 'any'")),
        *(({"rule": "drop"}, "rule 'drop'"), ({"from": "example.com"}, "neither an address"), ({"comment": ""}, "no comment")),
        *(({"comment": "it's"}, "ufw does not take"), ({"comment": "a\nb"}, "ufw does not take"), ({"source": "x"}, "key 'source'")),
    ],
)
def test_a_rule_that_ufw_would_not_take_is_refused(change: dict[str, Any], words: str) -> None:
    """[K5] [F8] Each with the variable and what to write."""
    (problem,) = bad_rules({"firewall_rules_custom": [{**GOOD[0], **change}]})
    assert problem.variable == "firewall_rules_custom" and words in problem.what and problem.fix


@pytest.mark.parametrize("rules", ["9100", ["9100"], {"port": 1}])
def test_what_is_no_list_of_rules_is_refused(rules: Any) -> None:
    """[F8] Not a traceback."""
    assert [problem.variable for problem in bad_rules({"firewall_rules_custom": rules})] == ["firewall_rules_custom"]


@pytest.mark.parametrize(
    ("port", "source", "refused"),
    [
        *((22, None, True), (22, "any", True), ("1:1024", "0.0.0.0/0", True), ("80,2200", "any", True), (22, "192.0.2.0/25", True)),
        *((22, "192.0.2.7", True), (23, "any", False), (22, "198.51.100.0/24", False), ("2200", "192.0.0.0/8", True)),
    ],
)
def test_ssh_is_not_closed(port: Any, source: str | None, refused: bool) -> None:
    """[K5] Neither to everybody nor to a network of firewall_trusted; SSH is on 22 and where Ansible connects to."""
    rule = {"port": port, "proto": "tcp", "rule": "deny", "comment": "x", **({"from": source} if source else {})}
    values = {"firewall_rules_custom": [rule], "firewall_trusted": ["192.0.2.0/24"], "ansible_port": "2200"}
    assert bool(list(bad_rules(values))) == refused


def test_two_rules_that_contradict_each_other() -> None:
    """[F8] The later one would win, and nobody would know."""
    (problem,) = bad_rules({"firewall_rules_custom": [GOOD[0], {**GOOD[0], "rule": "deny"}]})
    assert "says both allow and deny of tcp 9100 from 192.0.2.10" in problem.what


@pytest.mark.parametrize(("text", "words"), [("office", "neither an address"), ("0.0.0.0/0", "everybody"), ("::/0", "everybody")])
def test_a_trusted_network_is_one(text: str, words: str) -> None:
    """[K5] [F8] Not everybody."""
    (problem,) = bad_trusted({"firewall_trusted": [text]})
    assert words in problem.what


def test_an_unbounded_log_is_said() -> None:
    """[K2] Whoever switches it on learns the price."""
    assert any("firewall_logging: full" in text for text in notes({"firewall_logging": "full"}))
    assert not any("firewall_logging" in text for text in notes({"firewall_logging": "low"}))


def test_the_contract_knows_the_port_of_this_inventory(tmp_path: Path) -> None:
    """[K5] [F8] ansible_port is none of the roles' variables."""
    rule = {"port": 2200, "proto": "tcp", "rule": "deny", "comment": "x"}
    inventory = Inventory(tmp_path, {"blog": {"firewall_rules_custom": [rule]}}, blog={"ansible_host": ADDRESS, "ansible_port": 2200})
    assert "closes SSH (port 2200) to everybody, you included" in inventory.refusal("blog")


def test_the_machine_trusts_what_each_app_trusts(tmp_path: Path) -> None:
    """[F2] Every role reads it as app.machine.joined.firewall_trusted."""
    inventory = Inventory(tmp_path, {"blog": {"firewall_trusted": ["192.0.2.1"]}, "shop": {"firewall_trusted": ["192.0.2.2"]}})
    assert inventory.app("shop")["machine"]["joined"]["firewall_trusted"] == ["192.0.2.1", "192.0.2.2"]
