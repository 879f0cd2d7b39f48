"""What may reach the host: seen from outside, and as the rules say it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from helpers import must
from outsider import Outsider, outside

OPEN = (22, 80, 443)
CANARY = 8099


@pytest.fixture(scope="module")
def outsider(host: Any) -> Iterator[Outsider]:
    with outside(host) as somebody:
        yield somebody


@pytest.fixture(scope="module")
def listener(host: Any) -> Iterator[int]:
    """A service that somebody started on all addresses and forgot."""
    host.run("systemctl stop slipway-canary")
    must(host, f"systemd-run --quiet --collect --unit=slipway-canary python3 -m http.server {CANARY}")
    must(host, f"for i in $(seq 300); do ss -Htln sport = :{CANARY} | grep -q . && exit 0; sleep 0.1; done; exit 1")
    yield CANARY
    host.run("systemctl stop slipway-canary")


def test_an_outsider_reaches_the_public_endpoint_and_nothing_else(host: Any, outsider: Outsider, listener: int) -> None:
    """[K5] 22, 80 and 443 answer. What else listens, even a service started after the firewall, does not."""
    listening = {
        int(line.split()[3].rsplit(":", 1)[1]) for line in must(host, "ss -Htln").splitlines() if "127.0.0." not in line.split()[3]
    }
    assert listener in listening, f"the canary must listen for this test to mean anything: {sorted(listening)}"
    assert set(OPEN) <= listening, f"22, 80 and 443 must listen: {sorted(listening)}"
    answers = {port: outsider.reaches(port) for port in sorted(listening | {5432, 6379, 8000})}
    assert {port for port, answer in answers.items() if answer} == set(OPEN), (
        f"reached from outside: {answers}\n{must(host, 'ufw status verbose')}"
    )


def test_the_canary_is_alive_where_it_may_be_reached(host: Any, listener: int) -> None:
    """[K5] The counter-proof: it is the firewall that refused, not a dead listener."""
    must(host, f"timeout 2 bash -c '</dev/tcp/127.0.0.1/{listener}'")


def test_connections_to_ssh_are_not_counted(host: Any, outsider: Outsider) -> None:
    """[K5] A script, a CI job or wait_for_connection opens more than six in 30 s; ufw's limit shut it out for as long as it tried."""
    tries = [outsider.reaches(22) for _ in range(20)]
    assert all(tries), f"of twenty connections in a row {tries.count(False)} were refused\n{must(host, 'ufw status')}"


def test_rules_for_ipv4_and_ipv6(host: Any) -> None:
    """[K5] The rules are exactly the expected ones, in both protocols; the rest is refused."""
    status = must(host, "ufw status verbose")
    assert "Status: active" in status
    assert "Default: deny (incoming), allow (outgoing)" in status, status
    assert "Logging: on (low)" in status, status
    rules = [tuple(re.split(r"\s{2,}", line.split("#")[0].strip())) for line in status.split("--\n")[-1].splitlines() if line.strip()]
    expected = [("22/tcp", "ALLOW IN", "Anywhere"), ("80/tcp", "ALLOW IN", "Anywhere"), ("443/tcp", "ALLOW IN", "Anywhere")]
    expected += [(f"{port} (v6)", action, f"{where} (v6)") for port, action, where in expected]
    assert sorted(rules) == sorted(expected), status


def test_the_kernel_has_the_rules(host: Any) -> None:
    """[K5] Packets are dropped by default, in both protocols."""
    for command in ("iptables", "ip6tables"):
        assert "-P INPUT DROP" in must(host, f"{command} -S INPUT")


def test_the_firewall_comes_back_after_a_reboot(host: Any) -> None:
    """[K5] Enabled in ufw and in systemd: both are needed."""
    assert must(host, "systemctl is-enabled ufw.service").strip() == "enabled"
    assert re.search(r"^ENABLED=yes$", host.file("/etc/ufw/ufw.conf").content_string, re.MULTILINE)


def test_our_rules_are_marked(host: Any) -> None:
    """[K5] By that a run knows which of them it may remove; what somebody made by hand stays."""
    lines = [line for line in must(host, "ufw show added").splitlines() if line.startswith("ufw ")]
    assert lines and all(line.endswith(" [slipway]'") for line in lines), lines
