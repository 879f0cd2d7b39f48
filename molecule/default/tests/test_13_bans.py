"""Who guesses passwords or looks for holes is shut out for a while; visitors, the controller and the operator's networks never are."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import Any

import pytest
from helpers import App, must
from outsider import HERE, Outsider, outside

#: Seconds within which fail2ban has read a line and acted.
SOON = 15


@pytest.fixture(scope="module")
def wire(host: Any) -> Iterator[Outsider]:
    with outside(host) as somebody:
        yield somebody


@pytest.fixture
def outsider(wire: Outsider) -> Iterator[Outsider]:
    """A new one for each test; it is forgiven afterwards."""
    somebody = wire.another()
    yield somebody
    wire.host.run(f"fail2ban-client unban {somebody.address}; ip -n slipway-outsider address del {somebody.address}/24 dev eth0")


def banned(host: Any, jail: str, address: str, seconds: float = SOON) -> bool:
    """Whether a jail holds an address, now or soon."""
    deadline = time.monotonic() + seconds
    while address not in host.run(f"fail2ban-client get {jail} banip").stdout.split():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.5)
    return True


def test_what_is_watched(host: Any) -> None:
    """[K5] All jails run; what fail2ban says goes to the journal."""
    jails = must(host, "fail2ban-client status").partition("Jail list:")[2].replace(",", " ").split()
    assert sorted(jails) == ["demo-limit", "demo-login", "demo-scan", "slipway-unknown", "sshd", "sshd-flood"]
    assert must(host, "systemctl is-enabled fail2ban").strip() == "enabled"
    assert "Jail" in must(host, "journalctl -u fail2ban --no-pager -n 200")


def test_wrong_passwords_of_the_app(host: Any, app: App, outsider: Outsider) -> None:
    """[K5] Ten of them; another visitor is served all the while, and SSH stays open to the one who is shut out."""
    domain = must(host, "hostname").strip() + ".slipway.test"
    tries = outsider.statuses(domain, *[("POST", "/login")] * 10)
    assert set(tries) <= {400, 401}, tries
    assert banned(host, "demo-login", outsider.address)
    assert outsider.statuses(domain, ("GET", "/")) == [0]
    visitor = outsider.another()
    assert visitor.statuses(domain, ("GET", "/")) == [200]
    must(host, f"fail2ban-client unban {outsider.address}")
    assert outsider.statuses(domain, ("GET", "/")) == [200]


def test_looking_for_holes(host: Any, app: App, outsider: Outsider) -> None:
    """[K5] Eight requests for what no Python app has; a hundred broken images and old addresses ban nobody."""
    domain = must(host, "hostname").strip() + ".slipway.test"
    visitor = outsider.another()
    asked = [("GET", f"/images/old-{number}.png") for number in range(50)] + [("GET", "/index.php"), ("GET", "/.well-known/x")] * 25
    assert set(visitor.statuses(domain, *asked)) == {404}
    outsider.statuses(domain, *[("GET", path) for path in ("/.env", "/.git/config", "/wp-login.php", "/xmlrpc.php") * 2])
    assert banned(host, "demo-scan", outsider.address)
    assert not banned(host, "demo-scan", visitor.address, seconds=0)


def test_wrong_logins_over_ssh(host: Any, outsider: Outsider) -> None:
    """[K5] Also as a user who exists, with no right key; the package's own mode never counts those."""
    ssh = (
        f"ssh -b {outsider.address} -o BatchMode=yes -o PubkeyAuthentication=no -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null"
    )
    for _ in range(10):
        outsider.run(f"timeout 10 {ssh} -o ConnectTimeout=3 admin@{HERE} true")
    assert banned(host, "sshd", outsider.address)


def test_one_ssh_keyscan_bans_nobody(host: Any, outsider: Outsider) -> None:
    """[K5] CI jobs run it before each deploy; it opens five connections that never log in."""
    outsider.run(f"ssh-keyscan -T 3 {HERE}")
    for jail in ("sshd", "sshd-flood"):
        assert not banned(host, jail, outsider.address, seconds=2)


def test_who_is_never_banned(host: Any) -> None:
    """[K5] Loopback and the operator's networks; over SSH the controller's address, too."""
    ignored = must(host, "fail2ban-client get demo-login ignoreip")
    assert all(network in ignored for network in ("127.0.0.0/8", "::1", "172.16.0.0/12", "192.168.0.0/16")), ignored


def test_the_filters_on_this_hosts_own_log(host: Any, app: App) -> None:
    """[K5] The program's own judgement: it finds dates in nginx's lines, and no error in our patterns."""
    for log, name in ((f"/var/log/nginx/{app.name}.access.log", "demo-scan"), (f"/var/log/nginx/{app.name}.access.log", "demo-login")):
        said = must(host, f"fail2ban-regex --encoding latin-1 {log} slipway-{name}")
        found = re.search(r"Lines: (\d+) lines", said)
        assert found and int(found[1]) > 0 and "ERROR" not in said, said
        assert re.search(r"\[\d+\] .*time", said), f"no line has a date that it knows:\n{said}"


def test_bans_outlive_a_reload(host: Any) -> None:
    """[K5] site.yml reloads it when something changed."""
    must(host, "fail2ban-client set demo-login banip 192.0.2.77")
    must(host, "systemctl reload fail2ban")
    assert banned(host, "demo-login", "192.0.2.77")
    must(host, "fail2ban-client unban 192.0.2.77")
