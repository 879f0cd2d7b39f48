# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""Ports that containers publish: the kernel sends them to the container before ufw's rules for this host are asked.

A published port is a rule of the table nat that gives a packet another destination (DNAT), whoever made it: Docker, Podman, or a hand.
Docker lets one chain of ours decide before its own rules: DOCKER-USER. The rules for it are kept in ufw's after.rules, so that they are
there before Docker starts, and after each reload of ufw.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from ansible_collections.slipway.vps.plugins.module_utils.firewall.ufw import ANYWHERE, Rule

CHAIN = "DOCKER-USER"
BEGIN, END = "# BEGIN slipway:firewall (published ports)", "# END slipway:firewall (published ports)"
#: On each of our rules in that chain, to tell them from others' there.
_OURS = "slipway"
_SECTION = re.compile(rf"^{re.escape(BEGIN)}\n.*?^{re.escape(END)}\n", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Published:
    """One port that leads past ufw."""

    proto: str
    #: On this host; a range has a colon.
    port: str
    #: Of this host, where it is published on one address only.
    address: str
    to: str
    #: Docker, Podman, or "a rule of the table nat".
    by: str
    v6: bool = False

    @property
    def closable(self) -> bool:
        """Whether Docker asks our chain about it."""
        return self.by == "Docker"


def published(dump: str, v6: bool) -> list[Published]:
    """Ports that the world reaches, from ``iptables -t nat -S``; those of loopback are left out."""
    found: list[Published] = []
    for line in dump.splitlines():
        words = shlex.split(line)
        if len(words) < 4 or words[0] != "-A" or "DNAT" not in words or "--dport" not in words:
            continue
        address = _after(words, "-d").partition("/")[0]
        if address.startswith("127.") or address == "::1":
            continue
        chain = words[1]
        by = "Docker" if chain.startswith("DOCKER") else "Podman" if chain.startswith(("NETAVARK", "CNI")) else "a rule of the table nat"
        one = Published(_after(words, "-p"), _after(words, "--dport"), address, _after(words, "--to-destination"), by, v6)
        if one not in found:
            found.append(one)
    return found


def _after(words: Sequence[str], option: str) -> str:
    """What an option says; nothing where it is not there, or is negated."""
    return next((words[at + 1] for at in range(1, len(words) - 1) if words[at] == option and words[at - 1] != "!"), "")


def names(listing: str) -> dict[tuple[str, str], str]:
    """Container by protocol and port, from ``docker ps --format '{{.Names}} {{.Ports}}'``."""
    found: dict[tuple[str, str], str] = {}
    for line in listing.splitlines():
        name, _, ports = line.partition(" ")
        for port, proto in re.findall(r":(\d+(?:-\d+)?)->[\d-]+/(\w+)", ports):
            found[proto, port.replace("-", ":")] = name
    return found


def advice(one: Published, container: str, rules: Iterable[Rule], closed: bool) -> str:
    """What to say of a published port; nothing where it is closed, or where the inventory opens it for everybody."""
    if closed and one.closable:
        return ""
    if any(rule.accepts and (rule.proto, rule.port, rule.source) == (one.proto, one.port, ANYWHERE[one.v6]) for rule in rules):
        return ""
    whose = f"of the container {container} ({one.by})" if container else f"({one.by}, to {one.to})"
    where = f" at {one.address}" if one.address else ""
    fix = f"publish it on loopback ({_loopback(one)})" if one.by != "a rule of the table nat" else "remove that rule"
    if one.closable:
        fix += ", or write firewall_docker_published: close"
        fix += f" (and firewall_rules_custom: [{{port: {one.port}, proto: {one.proto}, comment: …}}], if it should be open)"
    return f"{one.proto} {one.port}{where} {whose} can be reached in spite of the firewall: {fix}."


def _loopback(one: Published) -> str:
    inside = one.to.rpartition(":")[2]
    kind = "" if one.proto == "tcp" else f"/{one.proto}"
    return f"-p {'[::1]' if one.v6 else '127.0.0.1'}:{one.port.replace(':', '-')}:{inside}{kind}"


def section(rules: Sequence[Rule], v6: bool, closed: bool) -> str:
    """Our part of ufw's after.rules (after6.rules): published ports are open as ``rules`` say, and closed otherwise."""
    if not closed:
        return ""
    lines = "\n".join(_lines([rule for rule in rules if rule.v6 == v6], v6))
    return f"{BEGIN}\n*filter\n:{CHAIN} - [0:0]\n{lines}\nCOMMIT\n{END}\n"


def _lines(rules: Iterable[Rule], v6: bool) -> Iterator[str]:
    # A packet to a published port had another destination first; what containers send themselves had not.
    yield _line("-m conntrack ! --ctstate DNAT", "RETURN")
    yield _line("-m conntrack --ctstate RELATED,ESTABLISHED", "RETURN")
    # One container to a port that another publishes.
    yield from (_line(f"-i {bridge}", "RETURN") for bridge in ("docker0", "br-+"))
    for rule in rules:
        source = "" if rule.source == ANYWHERE[v6] else f"-s {rule.source} "
        for port in rule.port.split(","):
            match = f"-p {rule.proto} {source}-m conntrack --ctorigdstport {port} --ctdir ORIGINAL"
            yield _line(match, "RETURN" if rule.accepts else "DROP")
    yield _line("-m limit --limit 3/min --limit-burst 10", 'LOG --log-prefix "[UFW BLOCK] "')
    yield _line("", "DROP")


def _line(match: str, target: str) -> str:
    return f"-A {CHAIN} {match}{' ' if match else ''}-m comment --comment {_OURS} -j {target}"


def placed(text: str, part: str) -> str:
    """after.rules with our part as it should be, and everything else as it is."""
    rest = _SECTION.sub("", text)
    return rest + ("" if not part or rest.endswith("\n") else "\n") + part


def by_hand(dump: str) -> list[str]:
    """Rules of others in our chain, from ``iptables -S DOCKER-USER``; Docker itself has one that decides nothing."""
    rules = [line for line in dump.splitlines() if line.startswith(f"-A {CHAIN} ")]
    return [line for line in rules if f"--comment {_OURS}" not in line and line != f"-A {CHAIN} -j RETURN"]


def loaded(dump: str) -> int:
    """How many rules of ours the kernel has in that chain."""
    return sum(f"--comment {_OURS}" in line for line in dump.splitlines())
