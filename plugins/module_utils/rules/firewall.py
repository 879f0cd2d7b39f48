# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""What an operator may say of the firewall (role firewall)."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping
from typing import Any

from ansible_collections.slipway.vps.plugins.module_utils.rules.problem import Problem, Values, kind

_RULES, _TRUSTED = "firewall_rules_custom", "firewall_trusted"
_KEYS = frozenset({"port", "proto", "rule", "from", "comment"})
_PORTS = re.compile(r"\d{1,5}(?::\d{1,5})?(?:,\d{1,5}(?::\d{1,5})?)*")
#: As many as one rule of the kernel takes; a range counts twice.
_MOST = 15
_EXAMPLE = "{port: 9100, proto: tcp, from: 192.0.2.10, comment: node exporter}"
_ANYWHERE = ("any", "0.0.0.0/0", "::/0")
#: Levels of ufw's log without a limit of lines per minute.
_UNBOUNDED = ("high", "full")
SSH_PORT = 22


def bad_rules(values: Values) -> Iterator[Problem]:
    """Rules that ufw would not take, that contradict each other, or that close SSH."""
    rules = values.get(_RULES) or []
    if not isinstance(rules, list):
        yield Problem(_RULES, f"must be a list, and is {kind(rules)}", f"write a dash, then {_EXAMPLE}")
        return
    said: dict[tuple[str, str, str], str] = {}
    for rule in rules:
        if not isinstance(rule, Mapping):
            yield Problem(_RULES, f"{rule!r} is not a rule", f"write {_EXAMPLE}")
            continue
        wrong = list(_bad_rule(rule))
        yield from wrong
        if wrong:
            continue
        packets = (str(rule["port"]), str(rule["proto"]), str(rule.get("from") or "any"))
        action = str(rule.get("rule") or "allow")
        if said.setdefault(packets, action) != action:
            yield Problem(
                _RULES, f"says both {said[packets]} and {action} of {packets[1]} {packets[0]} from {packets[2]}", "keep one of them"
            )
        if action in ("deny", "reject"):
            yield from _closes_ssh(rule, values)


def _bad_rule(rule: Mapping[str, Any]) -> Iterator[Problem]:
    for key in sorted(set(map(str, rule)) - _KEYS):
        yield Problem(_RULES, f"key {key!r} means nothing here", f"use {', '.join(sorted(_KEYS))}")
    port, proto, action = str(rule.get("port", "")), str(rule.get("proto", "")), str(rule.get("rule") or "allow")
    numbers = [int(number) for number in re.findall(r"\d+", port)]
    if not _PORTS.fullmatch(port) or not all(0 < number < 65536 for number in numbers) or len(numbers) > _MOST or _backwards(port):
        yield Problem(_RULES, f"port {port!r} is none", "write 9100, '80,443' or '6000:6007'")
    if proto not in ("tcp", "udp"):
        yield Problem(_RULES, f"proto {proto!r} of port {port} is none", "write tcp or udp")
    if action not in ("allow", "limit", "deny", "reject"):
        yield Problem(_RULES, f"rule {action!r} of port {port} is none", "write allow, limit, deny or reject")
    if rule.get("from") and not (str(rule["from"]) in _ANYWHERE or _network(rule["from"])):
        yield Problem(_RULES, f"from {rule['from']!r} is neither an address nor a network", "write 192.0.2.10 or 192.0.2.0/24")
    comment = rule.get("comment")
    if not isinstance(comment, str) or not comment.strip():
        yield Problem(_RULES, f"port {port} has no comment", "say why, for whoever reads `ufw status` in a year")
    elif "'" in comment or not comment.isprintable():
        yield Problem(_RULES, f"the comment of port {port} has a character that ufw does not take", "leave out apostrophes and line breaks")


def _backwards(port: str) -> bool:
    return any(int(first) >= int(last) for first, last in re.findall(r"(\d+):(\d+)", port))


def _network(text: Any) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(str(text), strict=False)
    except ValueError:
        return None


def _closes_ssh(rule: Mapping[str, Any], values: Values) -> Iterator[Problem]:
    """A rule of this host would do the same for other ports of sshd; the role asks sshd for them."""
    if rule["proto"] != "tcp":
        return
    source = str(rule.get("from") or "any")
    fix = "leave SSH's port out of it; who fails to log in is banned anyway (role fail2ban)"
    for port in sorted({SSH_PORT, int(str(values.get("ansible_port") or SSH_PORT))}):
        if not _names(str(rule["port"]), port):
            continue
        if source in _ANYWHERE:
            yield Problem(_RULES, f"{rule.get('rule')} of tcp {rule['port']} closes SSH (port {port}) to everybody, you included", fix)
            continue
        for trusted in values.get(_TRUSTED) or []:
            here, there = _network(source), _network(trusted)
            if here and there and here.version == there.version and here.overlaps(there):
                yield Problem(_RULES, f"{rule.get('rule')} of tcp {rule['port']} closes SSH to {trusted} of {_TRUSTED}", fix)


def _names(ports: str, port: int) -> bool:
    ends = [part.partition(":") for part in ports.split(",")]
    return any(int(first) <= port <= int(last or first) for first, _, last in ends)


def bad_trusted(values: Values) -> Iterator[Problem]:
    """Networks that are never banned."""
    for text in values.get(_TRUSTED) or []:
        network = _network(text)
        if not network:
            yield Problem(_TRUSTED, f"{text!r} is neither an address nor a network", "write 192.0.2.10 or 192.0.2.0/24")
        elif network.prefixlen == 0:
            yield Problem(_TRUSTED, f"{text} is everybody: nobody would ever be banned", "list your own networks")


def notes(values: Values) -> Iterator[str]:
    """What a run says of a choice that has a price."""
    if (level := str(values.get("firewall_logging", "low"))) in _UNBOUNDED:
        yield (
            f"firewall_logging: {level} writes a line for each refused packet, without a limit: a scan of this host fills the journal."
            " low writes three a minute at most."
        )


RULES = ((bad_rules, (_RULES, _TRUSTED)), (bad_trusted, (_TRUSTED,)))
