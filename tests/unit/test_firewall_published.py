"""Ports of containers that lead past ufw: found whoever published them, and closed where Docker asks."""

from __future__ import annotations

from ansible_collections.slipway.vps.plugins.module_utils.firewall import published as ports
from ansible_collections.slipway.vps.plugins.module_utils.firewall.plan import wanted
from ansible_collections.slipway.vps.plugins.module_utils.firewall.published import Published

#: `iptables -t nat -S`: Docker, a port on loopback only, one on a single address, a swarm's, Podman's (netavark), and a hand's.
NAT = """\
-P PREROUTING ACCEPT
-N DOCKER
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A PREROUTING -p udp -m udp --dport 1194 -j DNAT --to-destination 10.8.0.2
-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
-A DOCKER -i docker0 -j RETURN
-A DOCKER ! -i docker0 -p tcp -m tcp --dport 8080 -j DNAT --to-destination 172.17.0.2:80
-A DOCKER -d 127.0.0.1/32 ! -i docker0 -p tcp -m tcp --dport 8082 -j DNAT --to-destination 172.17.0.2:80
-A DOCKER -d 10.0.0.5/32 ! -i docker0 -p udp -m udp --dport 53 -j DNAT --to-destination 172.17.0.3:53
-A DOCKER-INGRESS -p tcp -m tcp --dport 9000 -j DNAT --to-destination 172.18.0.2:9000
-A NETAVARK-DN-1D8721804F16F -p tcp -m tcp --dport 5000 -m comment --comment "dnat name: podman" -j DNAT --to-destination 10.88.0.7:5000
-A NETAVARK-DN-1D8721804F16F -p tcp -m tcp --dport 5000 -j NETAVARK-HOSTPORT-SETMARK
"""
#: `docker ps --format '{{.Names}} {{.Ports}}'`
PS = "web 0.0.0.0:8080->80/tcp, [::]:8080->80/tcp\ndns 10.0.0.5:53->53/udp\nplain\nmany 0.0.0.0:7000-7002->7000-7002/tcp\n"
RULES = wanted(
    [
        {"port": "443", "proto": "tcp", "comment": "a"},
        {"port": "8080,8090", "proto": "tcp", "from": "192.0.2.0/24", "comment": "b"},
        {"port": "443", "proto": "tcp", "rule": "deny", "from": "198.51.100.0/24", "comment": "c"},
        {"port": "8080", "proto": "tcp", "from": "2001:db8::/32", "comment": "d"},
    ],
    [],
    ipv6=True,
)


def test_published_ports_are_found() -> None:
    """[K5] Whoever publishes them; those of loopback reach nobody else."""
    found = ports.published(NAT, v6=False)
    assert [(one.proto, one.port, one.address, one.by) for one in found] == [
        ("udp", "1194", "", "a rule of the table nat"),
        ("tcp", "8080", "", "Docker"),
        ("udp", "53", "10.0.0.5", "Docker"),
        ("tcp", "9000", "", "Docker"),
        ("tcp", "5000", "", "Podman"),
    ]
    assert ports.published("-P PREROUTING ACCEPT\n", v6=True) == ports.published("", v6=False) == []


def test_each_is_named_with_what_to_write() -> None:
    """[K5] The container, the line of docker run, and the lines of the inventory."""
    names = ports.names(PS)
    assert names == {("tcp", "8080"): "web", ("udp", "53"): "dns", ("tcp", "7000:7002"): "many"}
    said = ports.advice(Published("tcp", "8080", "", "172.17.0.2:80", "Docker"), "web", RULES, closed=False)
    assert said == (
        "tcp 8080 of the container web (Docker) can be reached in spite of the firewall: publish it on loopback (-p 127.0.0.1:8080:80),"
        " or write firewall_docker_published: close"
        " (and firewall_rules_custom: [{port: 8080, proto: tcp, comment: …}], if it should be open)."
    )
    podman = ports.advice(Published("udp", "53", "10.0.0.5", "10.88.0.7:53", "Podman"), "", RULES, closed=True)
    assert podman.endswith(
        "(Podman, to 10.88.0.7:53) can be reached in spite of the firewall: publish it on loopback (-p 127.0.0.1:53:53/udp)."
    )
    hand = ports.advice(Published("udp", "1194", "", "10.8.0.2", "a rule of the table nat"), "", RULES, closed=True)
    assert hand.endswith("remove that rule.")


def test_nothing_is_said_of_what_is_meant() -> None:
    """[K5] A port that the inventory opens to everybody, and one that is closed."""
    assert ports.advice(Published("tcp", "443", "", "172.17.0.2:443", "Docker"), "web", RULES, closed=False) == ""
    assert ports.advice(Published("tcp", "8080", "", "172.17.0.2:80", "Docker"), "web", RULES, closed=True) == ""
    # Opened for some, and published for all.
    assert ports.advice(Published("tcp", "8090", "", "172.17.0.2:80", "Docker"), "web", RULES, closed=False)


def test_the_rules_for_dockers_chain() -> None:
    """[K5] What was sent to a published port passes as the rules say, in their order; all other traffic of containers is left alone."""
    text = ports.section(RULES, v6=False, closed=True)
    lines = [line.replace(" -m comment --comment slipway", "") for line in text.splitlines()]
    assert lines == [
        *(ports.BEGIN, "*filter", ":DOCKER-USER - [0:0]"),
        "-A DOCKER-USER -m conntrack ! --ctstate DNAT -j RETURN",
        "-A DOCKER-USER -m conntrack --ctstate RELATED,ESTABLISHED -j RETURN",
        *("-A DOCKER-USER -i docker0 -j RETURN", "-A DOCKER-USER -i br-+ -j RETURN"),
        "-A DOCKER-USER -p tcp -s 198.51.100.0/24 -m conntrack --ctorigdstport 443 --ctdir ORIGINAL -j DROP",
        "-A DOCKER-USER -p tcp -m conntrack --ctorigdstport 443 --ctdir ORIGINAL -j RETURN",
        "-A DOCKER-USER -p tcp -s 192.0.2.0/24 -m conntrack --ctorigdstport 8080 --ctdir ORIGINAL -j RETURN",
        "-A DOCKER-USER -p tcp -s 192.0.2.0/24 -m conntrack --ctorigdstport 8090 --ctdir ORIGINAL -j RETURN",
        '-A DOCKER-USER -m limit --limit 3/min --limit-burst 10 -j LOG --log-prefix "[UFW BLOCK] "',
        *("-A DOCKER-USER -j DROP", "COMMIT", ports.END),
    ]
    assert "2001:db8::/32" in ports.section(RULES, v6=True, closed=True) and "192.0.2" not in ports.section(RULES, v6=True, closed=True)
    assert ports.section(RULES, v6=False, closed=False) == ""


def test_only_our_part_of_ufws_file_changes() -> None:
    """[K5] The operator's own lines stay, wherever they are; twice the same changes nothing; what is gone leaves no trace."""
    before = "# mine\n*filter\n:ufw-after-input - [0:0]\nCOMMIT\n"
    part = ports.section(RULES, v6=False, closed=True)
    once = ports.placed(before, part)
    assert once == before + part and ports.placed(once, part) == once and ports.placed(once, "") == before
    assert ports.placed(once + "# more of mine\n", "") == before + "# more of mine\n"
    assert ports.placed("COMMIT", part) == "COMMIT\n" + part


def test_others_rules_in_dockers_chain_are_seen() -> None:
    """[K5] Docker's own decides nothing, and ours say whose they are."""
    dump = "-N DOCKER-USER\n-A DOCKER-USER -m comment --comment slipway -j DROP\n"
    dump += "-A DOCKER-USER -s 1.2.3.4/32 -j DROP\n-A DOCKER-USER -j RETURN\n"
    assert ports.by_hand(dump) == ["-A DOCKER-USER -s 1.2.3.4/32 -j DROP"] and ports.loaded(dump) == 1
