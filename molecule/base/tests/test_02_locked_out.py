"""Whatever goes wrong with sshd or the firewall, the machine can be reached again within two minutes, without anybody."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from helpers import must
from operators import Operator, changed, wait_for


@pytest.fixture(scope="module")
def admins(operator: Operator) -> dict[str, Any]:
    """The operator is one of them."""
    return {"ssh_admins": [{"name": "ada", "keys": [operator.keys["mine"]]}]}


def test_root_goes_once_the_admin_carries_the_run(operator: Operator, admins: dict[str, Any], host: Any) -> None:
    """[K5] The inventory names the admin from the beginning; the first run comes in as root all the same, the second needs it no more."""
    operator.user = "ada"
    said = " ".join(operator.logins("-e", "ansible_user=root", **admins).output.split())
    assert "set ansible_user: ada" in said and operator.comes_in("root") and operator.comes_in("ada"), said
    assert changed(operator.logins(**admins)) > 0
    assert not operator.comes_in("root") and operator.comes_in("ada")


def test_a_broken_drop_in(operator: Operator, admins: dict[str, Any], host: Any) -> None:
    """[E10] Somebody else's: refused before anything changes, named, and sshd goes on."""
    before = operator.drop_in()
    must(host, "echo 'Foo bar' > /etc/ssh/sshd_config.d/90-mine.conf")
    outcome = operator.logins(**admins, ssh_max_auth_tries=5)
    must(host, "rm /etc/ssh/sshd_config.d/90-mine.conf")
    assert outcome.status != 0 and "90-mine.conf: line 1: Bad configuration option: Foo" in outcome.output, str(outcome)
    assert operator.drop_in() == before and operator.comes_in()


def test_killed_between_change_and_proof(operator: Operator, admins: dict[str, Any], host: Any, tmp_path: Path) -> None:
    """[K5] By systemd alone; sshd has read what was there before."""
    before = operator.drop_in()
    operator.run_and_die(tmp_path / "log", **admins, ssh_max_auth_tries=4)
    assert "MaxAuthTries 4" in operator.drop_in() and "/etc/ssh" in must(host, "slipway guard")
    wait_for("the way back", lambda: operator.drop_in() == before)
    wait_for("the end of the guard", lambda: "No change waits" in must(host, "slipway guard"), 20)
    assert operator.comes_in() and "maxauthtries 6" in must(host, "sshd -T")
