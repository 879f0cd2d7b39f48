# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""From the rules that are wanted and those that are there to the commands of ufw that lead from one to the other.

The order of the commands is such that a run that is cut off between any two of them leaves SSH open: what opens SSH comes first, what
takes a rule away comes last. ufw itself changes a rule's action and comment in place, and loads all rules at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.slipway.vps.plugins.module_utils.firewall.ufw import (
    ANYWHERE,
    Rule,
    address,
    covers,
    includes,
    marked,
    ports,
)


class FirewallError(Exception):
    """The rules would do harm, or contradict each other; the message names the variable and the fix."""


@dataclass
class Plan:
    """What is to be done."""

    #: Arguments of ufw, in order.
    commands: list[list[str]] = field(default_factory=list)
    #: Our rules, and others' that the inventory names too, as they are and as they will be: for ``--diff``.
    before: list[str] = field(default_factory=list)
    after: list[str] = field(default_factory=list)
    #: Rules made by hand, which stay.
    foreign: list[Rule] = field(default_factory=list)


def wanted(rules: Iterable[Mapping[str, Any]], ssh_ports: Sequence[int], ipv6: bool) -> list[Rule]:
    """The rules that ufw should have, in the order in which it should have them.

    :arg rules: what the inventory and the project say; of two about the same packets the later one holds.
    :arg ssh_ports: ports at which SSH must be open.
    :arg ipv6: whether this host filters IPv6.
    """
    ssh: list[Mapping[str, Any]] = [{"port": port, "proto": "tcp", "comment": "SSH"} for port in ssh_ports]
    found: dict[tuple[object, ...], Rule] = {}
    for said in [*ssh, *rules]:
        for rule in _by_version(said, ipv6):
            found.pop(rule.key, None)
            found[rule.key] = rule
    return sorted(found.values(), key=lambda rule: _rank(rule, list(found.values())))


def _by_version(said: Mapping[str, Any], ipv6: bool) -> list[Rule]:
    source = str(said.get("from") or "any")
    versions = [False, True] if source == "any" else [":" in source]
    action = str(said.get("rule") or "allow")
    return [
        marked(Rule(action, str(said["proto"]), ports(str(said["port"])), address(source, v6), ANYWHERE[v6], v6, str(said["comment"])))
        for v6 in versions
        if ipv6 or not v6
    ]


def _rank(rule: Rule, all_of_them: Sequence[Rule]) -> int:
    """The first rule that fits decides: what refuses stands before what lets in; but 'everybody else' is said last."""
    if rule.accepts:
        return 1
    others = [other for other in all_of_them if other.accepts and (other.v6, other.proto, other.port) == (rule.v6, rule.proto, rule.port)]
    return 2 if others and rule.source == ANYWHERE[rule.v6] else 0


def refuse_harm(rules: Sequence[Rule], ssh_ports: Sequence[int], client: str) -> None:
    """Refuse rules that would close SSH: for everybody, or for who is connected now.

    :arg client: the address that this session comes from; empty where it is unknown.
    """
    for rule in rules:
        for port in ssh_ports:
            if rule.accepts or not covers(rule, port):
                continue
            if rule.source == ANYWHERE[rule.v6]:
                what = f"closes port {port} to everybody, and SSH is there"
            elif includes(rule, client):
                what = f"closes port {port}, where SSH is, to {client}, and that is you"
            else:
                continue
            raise FirewallError(
                f"Nothing was changed: firewall_rules_custom: {{port: {rule.port}, rule: {rule.action}, …}} {what}.\n"
                "  fix: leave that port out of it; who fails to log in is banned anyway (role fail2ban)"
            )


def plan(present: Sequence[Rule], rules: Sequence[Rule], ssh_ports: Sequence[int]) -> Plan:
    """The commands that make of ``present`` what ``rules`` say.

    :arg present: the rules of both versions of IP, in ufw's order.
    """
    here, due = {rule.key: rule for rule in present}, {rule.key: rule for rule in rules}
    result = Plan(
        before=[str(rule) for rule in present if rule.ours or rule.key in due],
        after=[str(rule) for rule in rules],
        foreign=[rule for rule in present if not rule.ours and rule.key not in due],
    )
    # One that changes sides has to change its place, too. SSH is never among them: `refuse_harm`.
    moving = [rule for rule in rules if rule.key in here and _must_move(rule, list(here.values()), rules)]
    missing = [rule for rule in rules if here.get(rule.key) != rule or rule in moving]
    opens_ssh = [rule for rule in missing if rule.accepts and rule not in moving and any(covers(rule, port) for port in ssh_ports)]
    first = [rule for rule in missing if _rank(rule, rules) == 0]
    rest = [rule for rule in missing if rule not in opens_ssh and rule not in first]
    gone = [rule for rule in present if rule.ours and rule.key not in due]
    result.commands += [_add(group) for group in _together(opens_ssh)]
    result.commands += [_delete(group) for group in _together([here[rule.key] for rule in moving])]
    # Each goes before all others: the last one first.
    result.commands += [["prepend", *_add(group)] for group in reversed(_together(first))]
    result.commands += [_add(group) for group in _together(rest)]
    result.commands += [_delete(group) for group in _together(gone)]
    return result


def _must_move(rule: Rule, present: Sequence[Rule], rules: Sequence[Rule]) -> bool:
    """Whether a rule that is there stands where it would decide too early or too late."""
    places = {other.key: place for place, other in enumerate(present)}
    here = places[rule.key]
    if rule.accepts != present[here].accepts:
        return True
    if rule.accepts:
        return False
    others = [other for other in rules if other.accepts and other.v6 == rule.v6]
    if _rank(rule, rules) == 0:
        return any(places.get(other.key, here) < here for other in others)
    alike = [other for other in others if (other.proto, other.port) == (rule.proto, rule.port)]
    return any(places.get(other.key, len(present)) > here for other in alike)


def _together(rules: Sequence[Rule]) -> list[list[Rule]]:
    """Rules that are the same but for the version of IP, which one command changes."""
    groups: dict[tuple[object, ...], list[Rule]] = {}
    for rule in rules:
        source = "any" if rule.source == ANYWHERE[rule.v6] else rule.source
        to = "any" if rule.destination == ANYWHERE[rule.v6] else rule.destination
        alike = (rule.action, rule.proto, rule.port, source, to, rule.comment, rule.direction, rule.apps, rule.routed, rule.log)
        groups.setdefault(alike, []).append(rule)
    return list(groups.values())


def _words(group: Sequence[Rule]) -> list[str]:
    words = group[0].arguments()
    return words if len(group) == 1 else ["any" if word in ANYWHERE.values() else word for word in words]


def _add(group: Sequence[Rule]) -> list[str]:
    return [*_words(group), "comment", group[0].comment]


def _delete(group: Sequence[Rule]) -> list[str]:
    # Without its comment: ufw takes that for any.
    return ["delete", *_words(group)]
