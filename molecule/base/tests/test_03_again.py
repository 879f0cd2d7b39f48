"""More ways to be locked out, and some that wait for their two minutes: collected with SLIPWAY_FULL=1 only (conftest.py)."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from deploys import ROOT
from helpers import must
from operators import TWO_MINUTES, Operator, changed, wait_for


@pytest.fixture(scope="module")
def admins(operator: Operator) -> dict[str, Any]:
    """The operator is one of them, and carries every run."""
    found: dict[str, Any] = {"ssh_admins": [{"name": "ada", "keys": [operator.keys["mine"]]}]}
    changed(operator.logins(**found))
    operator.user = "ada"
    changed(operator.logins(**found))
    return found


def test_a_further_run_changes_nothing(operator: Operator, admins: dict[str, Any]) -> None:
    """[F3] All three roles of the layer."""
    outcome = operator.run(**admins)
    assert changed(outcome) == 0, str(outcome)


def test_a_change_that_shuts_its_author_out(operator: Operator, admins: dict[str, Any], host: Any) -> None:
    """[K5] Taken back at once, over the connection that is still open; the message has ssh's words and the variable."""
    if "mlkem768x25519-sha256" not in must(host, "ssh -Q kex"):
        pytest.skip("what this sshd offers any client knows")
    assert changed(operator.logins(**admins, ssh_algorithms="compatible")) > 0
    before, old = operator.drop_in(), "-o KexAlgorithms=curve25519-sha256"
    operator.close()
    outcome = operator.logins(**admins, options=old)
    said = " ".join(outcome.output.split())
    assert outcome.status != 0 and "no matching key exchange" in said and "ssh_algorithms: compatible" in said, str(outcome)
    assert operator.drop_in() == before and operator.comes_in("", 0, *old.split())
    assert "No change waits" in must(host, "slipway guard")


def test_killed_and_then_a_power_cut(operator: Operator, admins: dict[str, Any], host: Any, tmp_path: Path) -> None:
    """[K5] The timer is a file: it begins anew with the boot."""
    before = operator.drop_in()
    operator.run_and_die(tmp_path / "log", **admins, ssh_max_auth_tries=4)
    subprocess.run(["docker", "kill", host.backend.get_hostname()], check=True, capture_output=True, timeout=60)
    subprocess.run(["docker", "start", host.backend.get_hostname()], check=True, capture_output=True, timeout=60)
    started = time.monotonic()
    wait_for("the boot", lambda: host.run("systemctl is-system-running --wait").stdout.strip() in ("running", "degraded"), 60)
    # A restart may bring another address.
    operator.address = must(host, "ip -4 -o addr show eth0").split()[3].split("/")[0]
    assert "MaxAuthTries 4" in operator.drop_in(), "it was taken back before the timer was due"
    wait_for("the way back", lambda: operator.drop_in() == before, TWO_MINUTES - (time.monotonic() - started))
    wait_for("sshd", operator.comes_in, 20)


def test_the_next_run_goes_on_with_it(operator: Operator, admins: dict[str, Any], host: Any, tmp_path: Path) -> None:
    """[K5] Nothing differs any more, and yet the change is proven: or it would be gone two minutes later."""
    operator.run_and_die(tmp_path / "log", **admins, ssh_max_auth_tries=5)
    outcome = operator.logins(**admins, ssh_max_auth_tries=5)
    assert "What a run that died had changed is kept" in " ".join(outcome.output.split()), str(outcome)
    assert "No change waits" in must(host, "slipway guard")
    time.sleep(TWO_MINUTES)
    assert "MaxAuthTries 5" in operator.drop_in()


@pytest.mark.parametrize("proven", [True, False], ids=["proven", "dies"])
def test_a_firewall_that_refuses_ssh(operator: Operator, admins: dict[str, Any], host: Any, proven: bool) -> None:
    """[K5] It was off, and is off again, with nothing of the rule; whether the run lives to see it or not."""
    outcome = operator.run("-e", f"proven={str(proven).lower()}", playbook=ROOT / "molecule/base/cut_off.yml")
    assert (outcome.status != 0) is proven, str(outcome)
    operator.close()
    if not proven:
        assert not operator.comes_in(), "the rule keeps nobody out: this proves nothing"
    wait_for("the way back", operator.comes_in)
    assert "inactive" in must(host, "ufw status") and "22/tcp" not in must(host, "ufw show added")


def test_another_port(operator: Operator, admins: dict[str, Any]) -> None:
    """[K5] Both are open until the inventory uses the new one; then the old one is closed."""
    outcome = operator.logins(**admins, ssh_port=2222)
    said = " ".join(outcome.output.split())
    assert "set ansible_port: 2222" in said and operator.comes_in("", 22) and operator.comes_in("", 2222), str(outcome)
    operator.port = 2222
    assert changed(operator.logins(**admins, ssh_port=2222)) > 0
    assert operator.comes_in("", 2222) and not operator.comes_in("", 22)
    # The variable goes, and the inventory still comes in there.
    assert changed(operator.logins(**admins)) == 0 and operator.comes_in("", 2222)
