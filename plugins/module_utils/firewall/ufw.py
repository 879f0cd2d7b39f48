# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""Rules as ufw keeps them in /etc/ufw/user.rules, and as its command takes them.

ufw writes one line for each rule, ``### tuple ### allow tcp 22 0.0.0.0/0 any 0.0.0.0/0 in comment=535348``, and reads no other: so that
line, and not a table made for people, is what is read here. Written against ufw 0.36.1 to 0.36.2.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

#: What a comment of ours ends in. The words before it are the operator's, or a role's.
MARK = " [slipway]"
#: Every address, as ufw writes it, by the version of IP.
ANYWHERE = {False: "0.0.0.0/0", True: "::/0"}
#: What lets in, as opposed to what refuses.
ACCEPTING = ("allow", "limit")
#: Rules that were written before there was a mark: action, protocol and comment.
_UNMARKED = {
    ("limit", "tcp", "SSH"),
    ("allow", "udp", "HTTP/3"),
    ("allow", "tcp", "PostgreSQL, for the hosts of the app"),
}
_TUPLE = re.compile(r"^### tuple ### (?P<fields>.*?)(?: comment=(?P<comment>[0-9a-fA-F]*))?\s*$", re.MULTILINE)


@dataclass(frozen=True)
class Rule:
    """One rule of one version of IP."""

    action: str
    proto: str
    port: str
    source: str
    destination: str
    v6: bool = False
    comment: str = ""
    #: Of rules made by hand; ours say none of it.
    source_port: str = "any"
    direction: str = "in"
    apps: tuple[str, str] = ("", "")
    routed: bool = False
    log: str = ""

    @property
    def key(self) -> tuple[object, ...]:
        """What ufw tells rules apart by: two with the same key cannot be there at once."""
        return (
            *(self.v6, self.routed, self.proto, self.port, self.source, self.destination),
            *(self.source_port, self.direction, self.apps),
        )

    @property
    def accepts(self) -> bool:
        return self.action in ACCEPTING

    @property
    def ours(self) -> bool:
        """Whether this collection made it; the others are never changed."""
        plain = (self.direction, self.apps, self.routed) == ("in", ("", ""), False)
        return plain and (self.comment.endswith(MARK) or (self.action, self.proto, self.comment) in _UNMARKED)

    def arguments(self) -> list[str]:
        """The rule in ufw's full syntax, for its own version of IP alone, without its comment."""
        words = [*(["route"] if self.routed else []), self.action]
        for interface, way in re.findall(r"(?:(?<=!)|^)(in|out)(_[^!]+)?", self.direction):
            words += [interface, "on", way[1:]] if way else [interface] if interface == "out" else []
        words += [self.log] if self.log else []
        words += [] if self.proto == "any" else ["proto", self.proto]
        words += ["from", self.source, *_port(self.source_port, self.apps[1])]
        return [*words, "to", self.destination, *_port(self.port, self.apps[0])]

    def __str__(self) -> str:
        """As an operator would type it."""
        words = ["any" if word in ANYWHERE.values() else f"'{word}'" if " " in word else word for word in self.arguments()]
        text = " ".join(["ufw", *words]) + (f" comment '{self.comment}'" if self.comment else "")
        return text + (" (IPv6)" if self.v6 else "")


def _port(port: str, app: str) -> list[str]:
    return ["app", app] if app else [] if port == "any" else ["port", port]


def parse(text: str, v6: bool) -> list[Rule]:
    """The rules of user.rules, or of user6.rules, in their order."""
    return list(_rules(text, v6))


def _rules(text: str, v6: bool) -> Iterator[Rule]:
    for found in _TUPLE.finditer(text):
        fields = found["fields"].split()
        # Six fields: written by a ufw of long ago. Eight and nine: with the names of applications.
        if not 6 <= len(fields) <= 9:
            continue
        action, proto, port, to, source_port, source = fields[:6]
        apps = (_app(fields[6]), _app(fields[7])) if len(fields) >= 8 else ("", "")
        way, _, action = action.rpartition(":")
        action, _, log = action.partition("_")
        yield Rule(
            action=action,
            proto=proto,
            port=port,
            source=address(source, v6),
            destination=address(to, v6),
            v6=v6,
            comment=bytes.fromhex(found["comment"] or "").decode(errors="replace"),
            source_port=source_port,
            direction=fields[-1] if len(fields) in (7, 9) else "in",
            apps=apps,
            routed=bool(way),
            log=log,
        )


def _app(field: str) -> str:
    return "" if field == "-" else field.replace("%20", " ")


def address(text: str, v6: bool) -> str:
    """An address or a network in the one form that ufw gives it."""
    if text in ("any", "", *ANYWHERE.values()):
        return ANYWHERE[v6]
    network = ipaddress.ip_network(text, strict=False)
    return str(network.network_address) if network.num_addresses == 1 else str(network)


def ports(text: str) -> str:
    """Ports in ufw's order: ``443,80`` is ``80,443``."""
    return ",".join(sorted((part.strip() for part in text.split(",")), key=lambda part: int(part.partition(":")[0])))


def covers(rule: Rule, port: int) -> bool:
    """Whether a rule is about this port of TCP."""
    if rule.proto not in ("tcp", "any"):
        return False
    if rule.port == "any":
        return not any(rule.apps)
    ends = [part.partition(":") for part in rule.port.split(",")]
    return any(int(first) <= port <= int(last or first) for first, _, last in ends if first.isdigit())


def includes(rule: Rule, client: str) -> bool:
    """Whether a rule is about packets from this address or network."""
    if not client:
        return False
    theirs = ipaddress.ip_network(client, strict=False)
    ours = ipaddress.ip_network(rule.source, strict=False)
    return theirs.version == ours.version and theirs.overlaps(ours)


def marked(rule: Rule) -> Rule:
    """A rule of ours."""
    return rule if rule.comment.endswith(MARK) else replace(rule, comment=rule.comment + MARK)


def settings(text: str) -> Mapping[str, str]:
    """``NAME=value`` lines of /etc/default/ufw and /etc/ufw/ufw.conf."""
    return dict(re.findall(r'^([A-Z0-9_]+)="?([^"\n]*)"?[ \t]*$', text, re.MULTILINE))


def taken_down(dump: str) -> str:
    """For iptables-restore: ufw's chains gone, out of what ``iptables -S`` shows; everything else stays."""
    jumps = re.findall(r"^-A((?: INPUT| OUTPUT| FORWARD) -j ufw6?-.*)$", dump, re.MULTILINE)
    chains = re.findall(r"^-N (ufw6?-\S+)$", dump, re.MULTILINE)
    lines = [*(f"-D{jump}" for jump in jumps), *(f"-F {chain}" for chain in chains), *(f"-X {chain}" for chain in chains)]
    return "\n".join(["*filter", *lines, "COMMIT"]) + "\n"


def plain(client: str) -> str:
    """An address as SSH_CONNECTION has it, without the interface of a link-local one, and without what makes IPv4 an address of IPv6."""
    return re.sub(r"^::ffff:(?=[\d.]+$)|%.*$", "", client)


def never_banned(networks: Iterable[str], client: str) -> list[str]:
    """Loopback, ``networks``, and the address that this session comes from, where none of them has it: another one changes nothing then.

    :arg client: as SSH_CONNECTION has it; empty where there is none.
    """
    found = ["127.0.0.0/8", "::1", *map(str, networks)]
    one = plain(client)
    inside = one and any(_within(one, network) for network in found)
    return [*found, one] if one and not inside else found


def _within(client: str, network: str) -> bool:
    here, there = ipaddress.ip_address(client), ipaddress.ip_network(network, strict=False)
    return here.version == there.version and here in there
