"""Whatever goes wrong with sshd or the firewall, the machine can be reached again within two minutes, without anybody."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from deploys import ROOT
from helpers import must
from operators import TWO_MINUTES, Operator, changed, wait_for


@pytest.fixture(scope="module", autouse=True)
def built(operator: Operator) -> None:
    changed(operator.run())


def team(operator: Operator, key: str = "mine") -> list[dict[str, Any]]:
    return [{"name": "ada", "keys": [operator.keys[key]]}]


def test_a_wrong_key_of_the_admin(operator: Operator, host: Any) -> None:
    """[K5] root stays, and the run says why and what to do."""
    outcome = operator.run(ssh_admins=team(operator, "other"))
    assert changed(outcome) > 0 and "no admin was seen to come in (ada:" in outcome.output and "Permission denied" in outcome.output
    assert operator.comes_in() and "permitrootlogin without-password" in must(host, "sshd -T")


def test_root_goes_once_the_admin_carries_the_run(operator: Operator, host: Any) -> None:
    """[K5] In two runs; the same command works again each time."""
    outcome = operator.run(ssh_admins=team(operator))
    assert "set ansible_user: ada" in outcome.output and operator.comes_in("root") and operator.comes_in("ada")
    assert changed(operator.run(ssh_admins=team(operator))) == 0
    operator.user = "ada"
    assert changed(operator.run(ssh_admins=team(operator))) > 0
    assert not operator.comes_in("root") and operator.comes_in("ada")
    assert changed(operator.run(ssh_admins=team(operator))) == 0


def test_a_broken_drop_in(operator: Operator, host: Any) -> None:
    """[E10] Somebody else's: refused before anything changes, named, and sshd goes on."""
    before = operator.drop_in()
    must(host, "echo 'Foo bar' > /etc/ssh/sshd_config.d/90-mine.conf")
    outcome = operator.run(ssh_admins=team(operator), ssh_max_auth_tries=5)
    must(host, "rm /etc/ssh/sshd_config.d/90-mine.conf")
    assert outcome.status != 0 and "90-mine.conf: line 1: Bad configuration option: Foo" in outcome.output, str(outcome)
    assert operator.drop_in() == before and operator.comes_in()


def test_a_change_that_shuts_its_author_out(operator: Operator, host: Any) -> None:
    """[K5] Taken back at once, over the connection that is still open; the message has ssh's words and the variable."""
    if "mlkem768x25519-sha256" not in must(host, "ssh -Q kex"):
        pytest.skip("what this sshd offers any client knows")
    assert changed(operator.run(ssh_admins=team(operator), ssh_algorithms="compatible")) > 0
    before, old = operator.drop_in(), "-o KexAlgorithms=curve25519-sha256"
    operator.close()
    started = time.monotonic()
    outcome = operator.run(ssh_admins=team(operator), options=old)
    assert outcome.status != 0 and "no matching key exchange" in outcome.output and "ssh_algorithms: compatible" in outcome.output, str(
        outcome
    )
    assert operator.drop_in() == before and operator.comes_in("", 0, *old.split()) and time.monotonic() - started < TWO_MINUTES
    assert "No change waits" in must(host, "slipway guard")


def test_killed_between_change_and_proof(operator: Operator, host: Any, tmp_log: Path) -> None:
    """[K5] By systemd alone, two minutes after it was armed; sshd has read it again."""
    before = operator.drop_in()
    operator.run_and_die(tmp_log, ssh_admins=team(operator), ssh_max_auth_tries=4)
    assert "MaxAuthTries 4" in operator.drop_in() and "/etc/ssh" in must(host, "slipway guard")
    took = wait_for("the way back", lambda: operator.drop_in() == before)
    wait_for("the end of the guard", lambda: "No change waits" in must(host, "slipway guard"), 20)
    assert operator.comes_in() and "maxauthtries 6" in must(host, "sshd -T")
    print(f"back after {took:.0f} s")


def test_killed_and_then_a_power_cut(operator: Operator, host: Any, tmp_log: Path) -> None:
    """[K5] The timer is a file: it begins anew with the boot."""
    before = operator.drop_in()
    operator.run_and_die(tmp_log, ssh_admins=team(operator), ssh_max_auth_tries=4)
    subprocess.run(["docker", "kill", host.backend.get_hostname()], check=True, capture_output=True, timeout=60)
    subprocess.run(["docker", "start", host.backend.get_hostname()], check=True, capture_output=True, timeout=60)
    wait_for("the boot", lambda: host.run("systemctl is-system-running --wait").stdout.strip() in ("running", "degraded"), 60)
    # A restart may bring another address.
    operator.address = must(host, "ip -4 -o addr show eth0").split()[3].split("/")[0]
    assert "MaxAuthTries 4" in operator.drop_in(), "it was taken back before the timer was due"
    wait_for("the way back", lambda: operator.drop_in() == before)
    wait_for("sshd", operator.comes_in, 30)


def test_the_next_run_goes_on_with_it(operator: Operator, host: Any, tmp_log: Path) -> None:
    """[K5] Nothing differs any more, and yet the change is proven: or it would be gone two minutes later."""
    operator.run_and_die(tmp_log, ssh_admins=team(operator), ssh_max_auth_tries=5)
    outcome = operator.run(ssh_admins=team(operator), ssh_max_auth_tries=5)
    assert "What a run that died had changed is kept" in outcome.output, str(outcome)
    assert "No change waits" in must(host, "slipway guard")
    time.sleep(TWO_MINUTES - 20)
    assert "MaxAuthTries 5" in operator.drop_in()


@pytest.mark.parametrize("proven", [True, False], ids=["proven", "dies"])
def test_a_firewall_that_refuses_ssh(operator: Operator, host: Any, proven: bool) -> None:
    """[K5] It was off, and is off again, with nothing of the rule; whether the run lives to see it or not."""
    outcome = operator.run("-e", f"proven={str(proven).lower()}", playbook=ROOT / "molecule/base/cut_off.yml")
    assert (outcome.status != 0) is proven, str(outcome)
    operator.close()
    if not proven:
        assert not operator.comes_in(), "the rule keeps nobody out: this proves nothing"
    wait_for("the way back", operator.comes_in)
    assert "inactive" in must(host, "ufw status") and "22/tcp" not in must(host, "ufw show added")


def test_another_port(operator: Operator, host: Any) -> None:
    """[K5] Both are open until the inventory uses the new one; then the old one is closed."""
    outcome = operator.run(ssh_admins=team(operator), ssh_port=2222)
    assert "set ansible_port: 2222" in outcome.output and operator.comes_in("", 22) and operator.comes_in("", 2222)
    operator.port = 2222
    assert changed(operator.run(ssh_admins=team(operator), ssh_port=2222)) > 0
    assert operator.comes_in("", 2222) and not operator.comes_in("", 22)
    # The variable goes, and the inventory still comes in there.
    assert changed(operator.run(ssh_admins=team(operator))) == 0 and operator.comes_in("", 2222)
