"""What rules of packet filters do with a visitor: of iptables, nftables and ufw, as their programs print them."""

from __future__ import annotations

import pytest
from ansible_collections.slipway.vps.plugins.module_utils.packet_filter import (
    nft_filters,
    nft_refusing,
    port_in,
    published,
    refusing,
    ufw_refusing,
    ufw_rules,
)

WEB = (80, 443)
#: What Oracle's images come with.
ORACLE = """*filter
:INPUT ACCEPT [0:0]
:InstanceServices - [0:0]
-A INPUT -m state --state RELATED,ESTABLISHED -j ACCEPT
-A INPUT -p icmp -j ACCEPT
-A INPUT -i lo -j ACCEPT
-A INPUT -p tcp -m state --state NEW -m tcp --dport 22 -j ACCEPT
-A INPUT -j REJECT --reject-with icmp-host-prohibited
-A OUTPUT -d 169.254.0.0/16 -j InstanceServices
COMMIT
"""
LAST = ["-j", "REJECT", "--reject-with", "icmp-host-prohibited"]


def with_rules(*rules: str) -> str:
    return "*filter\n" + "\n".join(f"-A {rule}" for rule in rules) + "\nCOMMIT\n"


def test_the_reject_of_a_provider_is_found() -> None:
    """[F3] What ufw opens after it stays closed."""
    assert refusing(ORACLE, WEB) == [LAST]


@pytest.mark.parametrize(
    "rules",
    [
        # ufw's come first.
        ("INPUT -j ufw-before-input", "INPUT -j DROP"),
        ("INPUT -p tcp -m multiport --dports 80,443 -j ACCEPT", "INPUT -j DROP"),
        ("INPUT -p tcp -m tcp --dport 80:443 -j ACCEPT", "INPUT -j DROP"),
        ("INPUT -s 198.51.100.0/24 -j DROP",),
        ("INPUT ! -s 198.51.100.0/24 -j DROP",),
        ("INPUT -i lo -j DROP",),
        ("INPUT -p udp -j DROP",),
        ("INPUT -p tcp -m tcp --dport 25 -j REJECT",),
        ("INPUT -m conntrack --ctstate INVALID -j DROP",),
        ("INPUT -m set --match-set bad src -j DROP",),
        # fail2ban.
        ("INPUT -p tcp -m multiport --dports 22 -j f2b-sshd", "f2b-sshd -s 192.0.2.1/32 -j REJECT", "f2b-sshd -j RETURN"),
        ("INPUT -j MINE", "MINE -p tcp -j RETURN", "MINE -j DROP"),
        ("FORWARD -j DROP",),
        ("INPUT -j NOWHERE",),
        # It calls itself: iptables would refuse it, and nothing hangs here.
        ("INPUT -j A", "A -j A"),
        (),
    ],
)
def test_what_lets_visitors_in_is_none(rules: tuple[str, ...]) -> None:
    assert refusing(with_rules(*rules), WEB) == []


@pytest.mark.parametrize(
    "rules",
    [
        ("INPUT -j DROP",),
        ("INPUT -p tcp -m tcp --dport 443 -j DROP",),
        ('INPUT -i eth0 -p tcp -m comment --comment "no web here" -j REJECT --reject-with tcp-reset',),
        ("INPUT -p tcp -m conntrack --ctstate NEW,INVALID -j DROP",),
        ("INPUT -j LOGDROP", "LOGDROP -m limit --limit 5/min -j LOG", "LOGDROP -j DROP"),
        ("INPUT -p tcp --dport 80 -j ACCEPT", "INPUT -j DROP"),
        ("INPUT -j DROP", "INPUT -j ufw-before-input"),
    ],
)
def test_what_keeps_visitors_out_is_found(rules: tuple[str, ...]) -> None:
    """[F3] Also behind a chain of its own; each rule once."""
    found = refusing(with_rules(*rules), WEB)
    assert len(found) == 1 and found[0][-2:] != ["-j", "ACCEPT"]


def test_a_line_that_cannot_be_read_is_passed_over() -> None:
    assert refusing('*filter\n-A INPUT -m comment --comment "open\n-A INPUT -j DROP\n', WEB) == [["-j", "DROP"]]


def test_what_docker_publishes_to_everybody() -> None:
    """[F3] Not what it publishes on 127.0.0.1."""
    saved = """*nat
-A DOCKER -i docker0 -j RETURN
-A DOCKER ! -i docker0 -p tcp -m tcp --dport 8080 -j DNAT --to-destination 172.17.0.2:80
-A DOCKER -d 127.0.0.1/32 ! -i docker0 -p tcp -m tcp --dport 9000 -j DNAT --to-destination 172.17.0.3:9000
-A DOCKER ! -i docker0 -p udp -m udp --dport 53 -j DNAT --to-destination 172.17.0.4:53
"""
    assert published(saved) == [(8080, "172.17.0.2:80")]
    assert published("") == []


@pytest.mark.parametrize(
    ("written", "fits"),
    [("80", True), ("22,80", True), ("79:81", True), ("{ 22, 79-81 }", True), ("http", True), ("8080", False), ("", False)],
)
def test_lists_and_ranges_of_ports(written: str, fits: bool) -> None:
    assert port_in(written, 80) is fits


# --- nftables -----------------------------------------------------------------------------------------


def chain(body: str, name: str = "inet guard", policy: str = "accept") -> str:
    return f"table {name} {{\n\tchain in {{\n\t\ttype filter hook input priority filter; policy {policy};\n{body}\n\t}}\n}}\n"


@pytest.mark.parametrize(
    ("body", "policy", "refused"),
    [
        ("", "drop", "80, 443"),
        ("\t\ttcp dport { 22, 80, 443 } accept", "drop", ""),
        ("\t\ttcp dport {\n\t\t\t80,\n\t\t\t443\n\t\t} accept", "drop", ""),
        ("\t\ttcp dport 80 accept", "drop", "443"),
        (
            '\t\tct state established,related accept\n\t\tiif "lo" accept\n\t\ttcp dport 22 accept\n\t\tcounter packets 3 bytes 180 drop',
            "accept",
            "80, 443",
        ),
        ("\t\tct state new tcp dport 443 counter reject with tcp reset", "accept", "443"),
        ("\t\tip saddr @addr-set-sshd reject with icmp port-unreachable", "accept", ""),
        ("\t\tmeta l4proto { tcp, udp } th dport 80 drop", "accept", "80"),
        ("\t\tmeta l4proto udp drop", "accept", ""),
        ("\t\tct state invalid drop", "accept", ""),
    ],
)
def test_a_chain_of_nftables_has_a_veto(body: str, policy: str, refused: str) -> None:
    """[F3] Whatever ufw allows."""
    assert nft_refusing(chain(body, policy=policy), WEB) == ([f"table inet guard, chain in: {refused}"] if refused else [])


def test_chains_of_others_hooks_and_of_iptables_are_no_veto() -> None:
    """iptables-save shows those of iptables."""
    forward = "table ip x {\n chain f {\n  type filter hook forward priority 0; policy drop;\n }\n}\n"
    legacy = "table ip filter {\n chain INPUT {\n  type filter hook input priority 0; policy drop;\n }\n}\n"
    assert nft_refusing(forward + legacy, WEB) == []


def test_chains_that_call_others_and_interfaces() -> None:
    """[K3] What is accepted further in is accepted, and visitors come by any interface but lo."""
    allowed = " chain allowed {\n  tcp dport { 80, 443 } accept\n }\n chain refused {\n  drop\n }\n"

    def said(body: str, policy: str = "drop") -> list[str]:
        hook = f" chain in {{\n  type filter hook input priority 0; policy {policy};\n  {body}\n }}\n"
        return nft_refusing(f"table inet guard {{\n{allowed}{hook}}}\n", WEB)

    refused = ["table inet guard, chain in: 80, 443"]
    assert said("jump allowed") == said('iifname "eth0" jump allowed') == said("goto allowed") == []
    assert said("jump refused", "accept") == said("tcp dport 22 jump allowed") == refused
    assert said('iifname "eth0" drop', "accept") == said('iifname != "lo" drop', "accept") == refused
    assert said('iif "lo" drop', "accept") == said('iifname "lo" jump refused', "accept") == []


def test_what_a_file_of_nftables_does() -> None:
    """The package's own has three empty chains."""
    packaged = "flush ruleset\n\ntable inet filter {\n\tchain input {\n\t\ttype filter hook input priority filter;\n\t}\n}\n"
    assert nft_filters(packaged) == nft_filters("# table inet x { chain a { drop; } }") == []
    assert nft_filters(packaged + chain("\t\ttcp dport 22 accept")) == ["inet guard"]
    assert nft_filters("table filter {\n chain a { drop } }") == ["ip filter"]


# --- ufw ----------------------------------------------------------------------------------------------


def rule(*words: str) -> str:
    return f"### tuple ### {' '.join(words)}\n-A ufw-user-input -j X\n"


def test_rules_of_ufw() -> None:
    """The first that fits decides; from everybody alone."""
    allow, deny = (
        rule("allow", "tcp", "80", "0.0.0.0/0", "any", "0.0.0.0/0", "in"),
        rule("deny", "tcp", "80", "0.0.0.0/0", "any", "0.0.0.0/0", "in"),
    )
    assert [one["action"] for one in ufw_rules(allow + deny)] == ["allow", "deny"]
    assert ufw_refusing(ufw_rules(allow + deny), WEB) == []
    assert ufw_refusing(ufw_rules(deny + allow), WEB) == [{"action": "deny", "proto": "tcp", "port": "80", "from": "0.0.0.0/0"}]
    some = rule("deny", "tcp", "443", "0.0.0.0/0", "any", "198.51.100.0/24", "in", "comment=6162")
    out = rule("reject", "any", "any", "0.0.0.0/0", "any", "0.0.0.0/0", "out")
    log = rule("reject_log", "any", "any", "::/0", "any", "::/0", "in")
    assert ufw_refusing(ufw_rules(some + out), WEB) == []
    assert [one["action"] for one in ufw_refusing(ufw_rules(some + out + log), WEB)] == ["reject"]
    assert ufw_rules("### RULES ###\n\n### tuple ###\n") == []
