"""A bare machine becomes one that can be trusted: judged by ssh-audit and lynis, not by the role's own files."""

from __future__ import annotations

import re
import shlex
import subprocess
from typing import Any

import pytest
from deploys import ROOT, Outcome
from helpers import FULL, must
from operators import Operator, changed

ACCEPTED = (ROOT / "docs/lynis.prf").read_text()
POLICIES = {"bookworm": "Hardened Debian 12 (version 3)", "trixie": "Hardened Debian 13 (version 1)"}
#: Of lynis, in a container, after this layer alone; with what docs/lynis.prf accepts, and without.
LEAST, LEAST_OF_ALL = 85, {"bookworm": 73, "trixie": 74}


@pytest.fixture(scope="module")
def bare(host: Any) -> tuple[int, int]:
    """lynis' figures of the machine as it was rented; 0 where nobody asks."""
    return (lynis(host)[0], lynis(host, ACCEPTED)[0]) if FULL else (0, 0)


@pytest.fixture(scope="module")
def first(operator: Operator, bare: tuple[int, int]) -> Outcome:
    """The run that makes the machine; in the long form a dry one comes before. Its admin has a key that nobody here holds."""
    admins = [{"name": "ada", "keys": [operator.keys["other"]]}]
    if FULL:
        assert changed(operator.run("--check", ssh_admins=admins)) >= 0
    outcome = operator.run(ssh_admins=admins)
    assert changed(outcome) > 0
    return outcome


@pytest.fixture(scope="module")
def built(operator: Operator, first: Outcome) -> Operator:
    return operator


def lynis(host: Any, accepted: str = "") -> tuple[int, str]:
    """Its index, and each of its suggestions.

    :arg accepted: a profile of tests that are left out.
    """
    must(host, "apt-get install -y --no-install-recommends lynis >/dev/null && rm -f /etc/lynis/custom.prf")
    if accepted:
        must(host, f"printf %s {shlex.quote(accepted)} >/etc/lynis/custom.prf")
    host.run("lynis audit system -Q --no-colors >/tmp/lynis.txt 2>&1")
    found = re.search(r"hardening_index=(\d+)", must(host, "cat /var/log/lynis-report.dat"))
    assert found
    return int(found[1]), host.run("grep -E '^(suggestion|warning)' /var/log/lynis-report.dat").stdout


def test_a_wrong_key_of_the_admin(first: Outcome, built: Operator, host: Any) -> None:
    """[K5] root stays, and the run says why and what to do."""
    said = " ".join(first.output.split())
    assert "no admin was seen to come in (ada:" in said and "Permission denied" in said and "Give the first of ssh_admins a key" in said
    assert built.comes_in() and not built.comes_in("ada")


def test_passwords_are_refused_and_keys_are_not(built: Operator, host: Any) -> None:
    """[K5] Though cloud-init's file says the opposite; root came in with a key, so root stays."""
    settings = must(host, "sshd -T")
    assert "\npasswordauthentication no\n" in settings and "\npermitrootlogin without-password\n" in settings
    assert built.comes_in() and not built.comes_in("root", 0, "-o", "PubkeyAuthentication=no")


def test_ssh_audits_policy(built: Operator, host: Any) -> None:
    """[K5] As a stranger sees it; from PyPI, since Debian's own is older than the policies."""
    policy = POLICIES[must(host, "hostname").strip()]
    words = ["uv", "run", "--quiet", "--no-project", "--with", "ssh-audit==3.9.0", "ssh-audit", "-P", policy, built.address]
    result = subprocess.run(words, text=True, capture_output=True, timeout=180, check=False)
    assert result.returncode == 0, f"{result.stdout}\n{result.stderr}"


def test_lynis(bare: tuple[int, int], built: Operator, host: Any) -> None:
    """[K5] The index before and after, with what is accepted for a reason and without; what it would like besides is printed."""
    (whole, _), (index, said) = lynis(host), lynis(host, ACCEPTED)
    print(f"lynis: {bare[0]} as rented, {whole} now; without what docs/lynis.prf accepts {bare[1]} and {index}\n{said}")
    assert index >= LEAST and whole >= LEAST_OF_ALL[must(host, "hostname").strip()] and whole > bare[0] and index > bare[1], said


def test_upgrades_come_by_night(built: Operator, host: Any) -> None:
    """[K8] Not in the middle of the run that set them up; the hours are the ones systemd counts with."""
    timers = must(host, "systemctl show apt-daily-upgrade.timer -p TimersCalendar -p ActiveState")
    assert "OnCalendar=*-*-* 05:00:00" in timers and "ActiveState=active" in timers
    assert host.run("systemctl is-active apt-daily-upgrade.service").stdout.strip() != "active"
    assert (
        "codename=" in must(host, "apt-config dump Unattended-Upgrade::Origins-Pattern")
        and host.run("perl -c /etc/needrestart/conf.d/slipway.conf").rc == 0
    )
    assert host.run("systemctl is-enabled slipway-reboot.timer").stdout.strip() == "disabled"


def test_what_a_container_cannot_have_is_said(first: Outcome, host: Any) -> None:
    """[F8] Swap and the kernel are another machine's; the network is its own."""
    said = " ".join(first.output.split())
    assert "No swap file was made: this is a container" in said and "settings of the kernel stay as they are: this is a container" in said
    assert must(host, "sysctl -n net.ipv4.conf.all.send_redirects").strip() == "0" and "send_redirects" not in said


def test_the_run_book_is_there(built: Operator, host: Any) -> None:
    """[K7] And the line after the login leads to it."""
    assert "# demo on " in must(host, "cat /etc/demo/RUNBOOK.md") and "RUNBOOK.md" in must(host, "cat /etc/motd.d/slipway")
    assert must(host, "runuser -l admin -s /bin/bash -c 'bash -lic umask' 2>/dev/null").strip().endswith("027")
