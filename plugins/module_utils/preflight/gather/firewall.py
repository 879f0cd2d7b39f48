# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""Who filters packets on the machine: programs that load rules at boot, and the rules that the kernel has now."""

from __future__ import annotations

import shlex
from collections.abc import Collection

from ... import packet_filter
from ..facts import Firewall
from ..needs import Needs
from . import packages
from .host import Host

FIREWALLD, NFTABLES, PERSISTENT = UNITS = ("firewalld.service", "nftables.service", "netfilter-persistent.service")
_NFTABLES_FILE = "/etc/nftables.conf"
_PERSISTENT_FILES = ("/etc/iptables/rules.v4", "/etc/iptables/rules.v6")


def gather(host: Host, needs: Needs, on: Collection[str]) -> Firewall:
    """
    :arg on: units that run, or are started at boot.
    """
    ports = needs.visited
    saved = {program: host.output(f"{program}-save") for program in ("iptables", "ip6tables")}
    ruleset = host.output("nft", "list", "ruleset")
    rules = packet_filter.ufw_rules(host.text("/etc/ufw/user.rules")) + packet_filter.ufw_rules(host.text("/etc/ufw/user6.rules"))
    return Firewall(
        firewalld=FIREWALLD in on,
        nftables=packet_filter.nft_filters(host.text(_NFTABLES_FILE))
        if NFTABLES in on and not packages.unchanged(host, _NFTABLES_FILE)
        else [],
        persistent=[path for path in _PERSISTENT_FILES if PERSISTENT in on and "\n-A " in host.text(path)],
        before_ufw=[
            f"{program} -A INPUT {shlex.join(rule)}" for program, text in saved.items() for rule in packet_filter.refusing(text, ports)
        ],
        beside_ufw=packet_filter.nft_refusing(ruleset, ports),
        ufw="ENABLED=yes" in host.text("/etc/ufw/ufw.conf").splitlines(),
        ufw_refuses=[
            f"{rule['action']} {rule['proto']} {rule['port']} from {rule['from']}" for rule in packet_filter.ufw_refusing(rules, ports)
        ],
        ufw_rules=len(rules),
        published=[f"{port}/tcp to {target}" for port, target in packet_filter.published(saved["iptables"])],
    )
