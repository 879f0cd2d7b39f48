# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""Rules by other hands, which ufw's come beside or after."""

from __future__ import annotations

from collections.abc import Iterator

from ..facts import Facts
from ..finding import LEAVE, REPLACE, Finding, some
from ..needs import Needs

_STAYS = "Slipway installs no ufw and changes no rule: ports 80 and 443 are for you to open, and to keep open"
_OFF = "is stopped and disabled just before ufw takes its place; its files stay"


def findings(facts: Facts, needs: Needs) -> Iterator[Finding]:
    """Where the machine is left to another firewall, only that one: nothing of ufw's comes beside it."""
    for finding in _findings(facts, needs):
        if needs.firewall or needs.answers.get(finding.id) == LEAVE:
            yield finding


def _findings(facts: Facts, needs: Needs) -> Iterator[Finding]:
    filters = facts.firewall
    if filters.firewalld:
        choices = {REPLACE: f"firewalld {_OFF}", LEAVE: _STAYS}
        yield Finding(
            "firewall:firewalld", "firewalld filters packets, and ufw would fight it", "firewalld.service runs or starts at boot", choices
        )
    if filters.nftables:
        choices = {
            REPLACE: f"nftables.service {_OFF}; as it stops it empties all tables, Docker's too (restart Docker then)",
            LEAVE: _STAYS,
        }
        what = "nftables.service loads rules, and removes everybody else's as it does: ufw's would be gone"
        yield Finding("firewall:nftables", what, f"/etc/nftables.conf: table {some(filters.nftables)}", choices)
    yield from _before_ufw(facts)
    if filters.beside_ufw and not filters.nftables and not filters.firewalld:
        fix = "remove that chain or let it accept our ports (nft list ruleset); in nftables every chain has a veto, so ufw cannot open them"
        yield Finding("firewall:nftables", "a chain of nftables refuses our ports", some(filters.beside_ufw), {LEAVE: _STAYS}, fix)
    yield from _ufw(facts, needs)
    public = [entry for entry in filters.published if not entry.startswith(("80/", "443/"))]
    if public:
        yield Finding(
            "firewall:docker",
            "containers publish ports that ufw does not guard: Docker's rules come before its own",
            some(public),
            {LEAVE: "they stay open, and this is not said again"},
            "publish on 127.0.0.1 (-p 127.0.0.1:8080:80) what is not for everybody",
            refuses=False,
        )


def _before_ufw(facts: Facts) -> Iterator[Finding]:
    filters = facts.firewall
    front = f"; before ufw: {some(filters.before_ufw, 2)}" if filters.before_ufw else ""
    replaced = (
        "the rules that refuse our ports are removed; all others stay until the next boot"
        if filters.before_ufw
        else "its rules go with the next boot"
    )
    if filters.persistent:
        choices = {
            REPLACE: f"apt removes it when it installs ufw (one excludes the other) and its files stay in /etc/iptables; {replaced}",
            LEAVE: _STAYS,
        }
        what = "netfilter-persistent loads rules at boot, and ufw cannot be installed beside it"
        yield Finding("firewall:netfilter-persistent", what, some(filters.persistent) + front, choices)
    elif filters.before_ufw:
        choices = {REPLACE: "these rules are removed just before ufw's come; whatever made them may bring them back", LEAVE: _STAYS}
        what = "rules of the provider or by hand refuse our ports, and stand before ufw's: what ufw opens stays closed"
        yield Finding("firewall:input", what, some(filters.before_ufw, 2), choices)


def _ufw(facts: Facts, needs: Needs) -> Iterator[Finding]:
    filters = facts.firewall
    # What the operator himself refuses (firewall_rules_custom) is no surprise to him.
    mine = tuple(f"{rule.get('rule')} {rule.get('proto')} {rule.get('port')} from " for rule in needs.rules)
    refuses = [rule for rule in filters.ufw_refuses if not rule.startswith(mine)]
    if refuses:
        yield Finding(
            "firewall:ufw",
            "ufw refuses everybody a port that visitors need, and the first rule that fits decides",
            some(refuses),
            {LEAVE: "it stays closed"},
            "remove that rule: ufw status numbered, then ufw delete <number>",
        )
    elif filters.ufw and filters.ufw_rules and not facts.ours:
        what = "ufw is on already, with rules by hand: they stay, beside Slipway's"
        evidence = f"{filters.ufw_rules} rules (ufw status numbered)"
        yield Finding("firewall:ufw", what, evidence, {LEAVE: "this is not said again"}, refuses=False)
