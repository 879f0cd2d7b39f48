"""ufw's rules: read as ufw keeps them, and changed without ever closing SSH."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.slipway.vps.plugins.module_utils.firewall.plan import FirewallError, plan, refuse_harm, wanted
from ansible_collections.slipway.vps.plugins.module_utils.firewall.ufw import (
    ANYWHERE,
    MARK,
    Rule,
    address,
    covers,
    includes,
    parse,
    ports,
    settings,
    taken_down,
)

#: Captured from ufw 0.36.2, after the commands of the comments.
USER_RULES = """\
*filter
:ufw-user-input - [0:0]
### RULES ###

### tuple ### deny tcp 443 0.0.0.0/0 any 198.51.100.0/24 in comment=6431
-A ufw-user-input -p tcp --dport 443 -s 198.51.100.0/24 -j DROP

### tuple ### limit tcp 22 0.0.0.0/0 any 0.0.0.0/0 in comment=535348
-A ufw-user-input -p tcp --dport 22 -m conntrack --ctstate NEW -m recent --set
-A ufw-user-input -p tcp --dport 22 -m conntrack --ctstate NEW -m recent --update --seconds 30 --hitcount 6 -j ufw-user-limit
-A ufw-user-input -p tcp --dport 22 -j ufw-user-limit-accept

### tuple ### allow tcp 81 0.0.0.0/0 any 0.0.0.0/0 in comment=68c3a9
### tuple ### allow udp 6000:6007 0.0.0.0/0 any 0.0.0.0/0 in comment=726e67
### tuple ### allow tcp 5 0.0.0.0/0 any 0.0.0.0/0 in_lo
### tuple ### route:allow any any 0.0.0.0/0 any 0.0.0.0/0 in_lo!out_lo
### tuple ### deny_log any any 0.0.0.0/0 any 10.0.0.0/8 in
### tuple ### limit tcp 99 0.0.0.0/0 any 0.0.0.0/0 out
### tuple ### allow any any 0.0.0.0/0 any 0.0.0.0/0 WWW%20Full - in
### END RULES ###
COMMIT
"""
#: As an operator would type them: what `ufw show added` says, in the full syntax.
TYPED = [
    "ufw deny proto tcp from 198.51.100.0/24 to any port 443 comment 'd1'",
    "ufw limit proto tcp from any to any port 22 comment 'SSH'",
    "ufw allow proto tcp from any to any port 81 comment 'hé'",
    "ufw allow proto udp from any to any port 6000:6007 comment 'rng'",
    "ufw allow in on lo proto tcp from any to any port 5",
    "ufw route allow in on lo out on lo from any to any",
    "ufw deny log from 10.0.0.0/8 to any",
    "ufw limit out proto tcp from any to any port 99",
    "ufw allow from any to any app 'WWW Full'",
]
CLIENT = "203.0.113.5"
WEB: list[dict[str, Any]] = [{"port": 80, "proto": "tcp", "comment": "HTTP"}, {"port": "443", "proto": "tcp", "comment": "HTTPS"}]


def rule(action: str, port: str, source: str = "any", v6: bool = False, comment: str = "x" + MARK) -> Rule:
    return Rule(action, "tcp", port, address(source, v6), ANYWHERE[v6], v6, comment)


def test_ufws_own_file_is_read() -> None:
    """[K5] Every kind of rule that ufw writes; none of them is taken for another."""
    found = parse(USER_RULES, v6=False)
    assert [str(one) for one in found] == TYPED
    assert len({one.key for one in found}) == len(TYPED)
    assert [one.ours for one in found] == [False, True, *[False] * 7], "the limit on SSH is what versions before the mark wrote"


def test_a_line_that_ufw_would_skip_is_skipped() -> None:
    """[F8] ufw says so itself; a run goes on."""
    assert parse("### tuple ### allow tcp\n### tuple ### allow tcp 1 0.0.0.0/0 any 0.0.0.0/0 in a b c d e\n", v6=False) == []


def test_rules_for_both_versions_of_ip() -> None:
    """[K5] From anywhere is said twice, from an address once; where the host has no IPv6 nothing is said of it."""
    rules: list[dict[str, Any]] = [
        *WEB,
        {"port": 9100, "proto": "tcp", "from": "192.0.2.10/24", "comment": "a"},
        {"port": 1, "proto": "udp", "from": "2001:DB8::1", "comment": "b"},
    ]
    found = {(one.port, one.source) for one in wanted(rules, [22], ipv6=True)}
    both = {(port, anywhere) for port in ("22", "80", "443") for anywhere in ANYWHERE.values()}
    assert found == both | {("9100", "192.0.2.0/24"), ("1", "2001:db8::1")}
    assert {one.v6 for one in wanted(rules, [22], ipv6=False)} == {False}
    assert all(one.comment.endswith(MARK) for one in wanted(rules, [22], ipv6=True))


def test_what_refuses_comes_first_and_everybody_else_last() -> None:
    """[K5] The first rule that fits decides."""
    rules: list[dict[str, Any]] = [
        *WEB,
        {"port": 80, "proto": "tcp", "from": "198.51.100.0/24", "rule": "reject", "comment": "abuse"},
        {"port": 443, "proto": "tcp", "from": "192.0.2.0/24", "comment": "CDN"},
        # The project opens 443 to everybody: what the operator says of the same packets holds.
        {"port": 443, "proto": "tcp", "rule": "deny", "comment": "everybody else"},
        {"port": "6000:6007", "proto": "udp", "rule": "deny", "comment": "before whatever opens a wider range"},
    ]
    found = [(one.action, one.port, one.source) for one in wanted(rules, [22], ipv6=False)]
    anywhere = ANYWHERE[False]
    assert found == [
        *(("reject", "80", "198.51.100.0/24"), ("deny", "6000:6007", anywhere)),
        *(("allow", "22", anywhere), ("allow", "80", anywhere), ("allow", "443", "192.0.2.0/24")),
        ("deny", "443", anywhere),
    ]


@pytest.mark.parametrize(
    ("port", "source", "words"),
    [
        *(("22", "any", "to everybody"), ("1:1000", "any", "to everybody"), ("80,2222", "0.0.0.0/0", "to everybody")),
        *(("22", "203.0.113.0/24", "that is you"), ("2000:3000", CLIENT, "that is you")),
    ],
)
@pytest.mark.parametrize("action", ["deny", "reject"])
def test_a_rule_that_would_close_ssh_is_refused(action: str, port: str, source: str, words: str) -> None:
    """[K5] [F8] To everybody, or to who is connected now, at any of the ports sshd has."""
    rules = wanted([{"port": port, "proto": "tcp", "rule": action, "from": source, "comment": "x"}], [22, 2222], ipv6=True)
    with pytest.raises(FirewallError, match=rf"Nothing was changed: firewall_rules_custom: .*{words}.*\n  fix: "):
        refuse_harm(rules, [22, 2222], CLIENT)


@pytest.mark.parametrize(
    ("port", "proto", "source"),
    [("23:2221", "tcp", "any"), ("22", "udp", "any"), ("22", "tcp", "198.51.100.0/24"), ("22", "tcp", "2001:db8::/32")],
)
def test_other_rules_are_not(port: str, proto: str, source: str) -> None:
    rules = wanted([{"port": port, "proto": proto, "rule": "deny", "from": source, "comment": "x"}], [22, 2222], ipv6=True)
    refuse_harm(rules, [22, 2222], CLIENT)
    refuse_harm(rules, [22, 2222], "")


def test_a_host_of_an_older_version_is_taken_over() -> None:
    """[K5] The limit becomes an allow in place, the rules get their mark, a former port of sshd is closed; what was made by hand stays."""
    text = "".join(
        f"### tuple ### {fields} in comment={comment.encode().hex()}\n"
        for fields, comment in (
            ("limit tcp 22 0.0.0.0/0 any 0.0.0.0/0", "SSH"),
            ("allow tcp 80 0.0.0.0/0 any 0.0.0.0/0", "HTTP (redirect and ACME)"),
            ("limit tcp 2222 0.0.0.0/0 any 0.0.0.0/0", "SSH"),
            ("allow tcp 9999 0.0.0.0/0 any 0.0.0.0/0", "mine"),
        )
    )
    found = plan(parse(text, v6=False), wanted(WEB[:1], [22], ipv6=False), [22])
    assert [" ".join(words) for words in found.commands] == [
        "allow proto tcp from 0.0.0.0/0 to 0.0.0.0/0 port 22 comment SSH [slipway]",
        "allow proto tcp from 0.0.0.0/0 to 0.0.0.0/0 port 80 comment HTTP [slipway]",
        "delete limit proto tcp from 0.0.0.0/0 to 0.0.0.0/0 port 2222",
    ]
    assert [one.port for one in found.foreign] == ["9999"]


def test_one_command_changes_both_versions_of_ip() -> None:
    """Each costs a quarter of a second; where only one of the two differs, the other is left alone."""
    both = plan([], wanted(WEB[1:], [], ipv6=True), [])
    assert [" ".join(words) for words in both.commands] == ["allow proto tcp from any to any port 443 comment HTTPS [slipway]"]
    one = plan([replace(rule("allow", "443"), comment="HTTPS" + MARK)], wanted(WEB[1:], [], ipv6=True), [])
    assert [" ".join(words) for words in one.commands] == ["allow proto tcp from ::/0 to ::/0 port 443 comment HTTPS [slipway]"]


# --- Any rules, from any state -----------------------------------------------------------------------------------------------------


class Ufw:
    """As ufw 0.36.2 treats these commands (backend_iptables.py, set_rule)."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self.rules = list(rules)

    def run(self, words: list[str]) -> None:
        verb = words.pop(0) if words[0] in ("prepend", "delete") else ""
        action, said = words[0], dict(zip(words[1::2], words[2::2], strict=True))
        versions = [False, True] if said["from"] == "any" and said["to"] == "any" else [":" in said["from"] + said["to"]]
        for v6 in versions:
            one = Rule(action, said["proto"], said["port"], address(said["from"], v6), ANYWHERE[v6], v6, said.get("comment", ""))
            there = next((other for other in self.rules if other.key == one.key), None)
            if verb == "delete":
                assert there and there.action == action, f"Could not delete non-existent rule {one}"
                self.rules.remove(there)
            elif verb == "prepend":
                assert not there, f"Skipping inserting existing rule {one}"
                self.rules.insert(0, one)
            elif there:
                self.rules[self.rules.index(there)] = one
            else:
                self.rules.append(one)

    def lets_in(self, port: int, client: str) -> bool:
        return next((one.accepts for one in self.rules if covers(one, port) and includes(one, client)), False)


def some_rules(dice: random.Random) -> list[dict[str, Any]]:
    return [
        {
            **{"port": dice.choice(["80", "443", "9100", "6000:6007"]), "proto": dice.choice(["tcp", "udp"])},
            **{"rule": dice.choice(["allow", "allow", "limit", "deny", "reject"]), "comment": dice.choice(["a", "b"])},
            "from": dice.choice(["any", "192.0.2.0/24", "198.51.100.7", "2001:db8::/32"]),
        }
        for _ in range(dice.randrange(6))
    ]


@pytest.mark.parametrize("seed", range(100))
def test_every_state_leads_to_what_is_wanted(seed: int) -> None:
    """[K5] In one run, with the right order, SSH open after each command, and nothing of others touched; a second run has nothing to do."""
    dice = random.Random(seed)
    before = wanted(some_rules(dice), [22], ipv6=True)
    dice.shuffle(before)
    by_hand = [rule("allow", "8000", comment="mine"), rule("deny", "25", v6=True, comment="")]
    # SSH as it was found: limited by an older version, allowed, by hand, or (another port brought us here) not at all.
    ssh = [
        replace(one, action=dice.choice(["limit", "allow"]), comment=dice.choice(["SSH", "SSH" + MARK, ""]))
        for one in before
        if one.port == "22"
    ]
    rest = [one for one in before if one.port != "22"]
    ufw = Ufw([*by_hand, *(ssh if dice.random() < 0.8 else []), *rest])
    rules = wanted([*WEB, *some_rules(dice)], [22], ipv6=True)
    was_open = ufw.lets_in(22, CLIENT)
    for words in plan(ufw.rules, rules, [22]).commands:
        ufw.run(list(words))
        assert ufw.lets_in(22, CLIENT) or not was_open, words
        was_open = was_open or ufw.lets_in(22, CLIENT)
    assert ufw.lets_in(22, CLIENT)
    assert {one.key: one for one in ufw.rules} == {one.key: one for one in [*by_hand, *rules]}
    for v6 in (False, True):
        ours = [one for one in ufw.rules if one.ours and one.v6 == v6]
        for place, one in enumerate(ours):
            if one.accepts:
                continue
            alike = [other for other in ours if other.accepts and (other.proto, other.port) == (one.proto, one.port)]
            if alike and one.source == ANYWHERE[v6]:
                assert not [other for other in alike if other in ours[place:]], f"{one} refuses too early: {ours}"
            else:
                assert not any(other.accepts for other in ours[:place]), f"{one} refuses too late: {ours}"
    assert plan(ufw.rules, rules, [22]).commands == []


def test_what_refuses_stays_in_the_order_of_the_list() -> None:
    """[K5] As it reads in the inventory, it reads in `ufw status`."""
    denied = [{"port": 443, "proto": "tcp", "rule": "deny", "from": f"198.51.{net}.0/24", "comment": "x"} for net in (7, 3, 5)]
    ufw, rules = Ufw([]), wanted([*WEB, *denied], [22], ipv6=False)
    for words in plan([], rules, [22]).commands:
        ufw.run(list(words))
    assert ufw.rules == rules


def test_everybody_else_is_said_last_again() -> None:
    """[K5] A network that is added later would come after the refusal of everybody else."""
    cdn = [{"port": 443, "proto": "tcp", "from": f"192.0.{net}.0/24", "comment": "CDN"} for net in (2, 3)]
    rest = {"port": 443, "proto": "tcp", "rule": "deny", "comment": "everybody else"}
    ufw, rules = Ufw(wanted([cdn[0], rest], [22], ipv6=False)), wanted([*cdn, rest], [22], ipv6=False)
    for words in plan(ufw.rules, rules, [22]).commands:
        ufw.run(list(words))
    assert [one.source for one in ufw.rules] == [ANYWHERE[False], "192.0.2.0/24", "192.0.3.0/24", ANYWHERE[False]]


# --- Words and files ---------------------------------------------------------------------------------------------------------------


def test_ports_and_addresses_have_one_form() -> None:
    assert (ports("443,80"), ports("80"), ports("6000:6007,22")) == ("80,443", "80", "22,6000:6007")
    assert (address("192.0.2.1/32", False), address("192.0.2.9/24", False), address("any", True)) == ("192.0.2.1", "192.0.2.0/24", "::/0")


def test_settings_of_ufw() -> None:
    text = '# IPV6=maybe\nIPV6=yes\nDEFAULT_INPUT_POLICY="DROP"\nIPT_MODULES=""\n'
    assert settings(text) == {"IPV6": "yes", "DEFAULT_INPUT_POLICY": "DROP", "IPT_MODULES": ""}


def test_only_ufws_chains_are_taken_down() -> None:
    """[K5] After `iptables -F` nothing leads to them, and ufw hangs up only those that it makes."""
    dump = (
        "-P INPUT DROP\n-N mine\n-N ufw-user-input\n-N ufw6-x\n-A INPUT -j mine\n-A INPUT -j ufw-after-input\n-A ufw-user-input -j ACCEPT\n"
    )
    lines = taken_down(dump).splitlines()
    assert lines == ["*filter", "-D INPUT -j ufw-after-input", "-F ufw-user-input", "-F ufw6-x", "-X ufw-user-input", "-X ufw6-x", "COMMIT"]
