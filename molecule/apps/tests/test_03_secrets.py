"""Secrets of one app from a file to systemd's credentials and back, while visitors use it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from helpers import must
from machine import Play, Visit, must_be_served, owned

SAYS: dict[str, dict[str, Any]] = {"blog": {"app_secrets_delivery": "credentials"}}
#: Whether systemd hands credentials to units here. In a container whose mounts are private it does not, and says nothing.
PROBE = (
    "systemd-run --quiet --wait --pipe --uid=nobody -p ProtectSystem=strict -p PrivateTmp=yes -p LoadCredential=probe:/etc/passwd"
    """ /bin/sh -c 'test -s "$$CREDENTIALS_DIRECTORY/probe"'"""
)


def test_a_host_that_cannot_is_left_as_it_is(host: Any, play: Play, tmp_path: Path) -> None:
    """[A11 F3] The variable is named, and no unit changed."""
    if host.run(PROBE).rc == 0:
        pytest.skip("this host can")
    before = owned(host, "blog")
    outcome = play("playbooks/serve.yml", "--limit", "blog", says=SAYS, folder=tmp_path)
    assert outcome.status != 0 and "Say app_secrets_delivery: file" in outcome.output, str(outcome)
    assert owned(host, "blog") == before


@pytest.fixture
def able(host: Any) -> None:
    """As a machine that the kernel has started is: systemd leaves a container's mounts as they are."""
    must(host, "mount --make-rshared /")
    must(host, PROBE)


def key(host: Any) -> str:
    """What the running app has."""
    pid = must(host, "systemctl show --value --property=MainPID 'blog@*.service'").split()[0]
    environment = dict(item.split("=", 1) for item in must(host, f"cat /proc/{pid}/environ").split("\0") if "=" in item)
    return str(environment["SECRET_KEY"])


def test_there_and_back(host: Any, play: Play, visit: Visit, able: None, tmp_path: Path) -> None:
    """[A11 S1] Nobody notices, the key is the same, nobody else can read it, and no copy stays behind."""
    secret = key(host)
    with visit("blog") as visitors:
        outcome = play("playbooks/serve.yml", "--limit", "blog", says=SAYS, folder=tmp_path)
        assert outcome.status == 0, str(outcome)
        again = play("playbooks/serve.yml", "--limit", "blog", says=SAYS, folder=tmp_path)
        assert "changed=0" in again.output, str(again)
    must_be_served(visitors)
    assert key(host) == secret and must(host, "slipway blog run -- printenv SECRET_KEY").strip() == secret
    assert not host.file("/etc/blog/secrets").exists
    sealed = host.file("/etc/blog/secrets.cred")
    assert (sealed.user, oct(sealed.mode)) == ("root", "0o600") and secret not in sealed.content_string
    for command in ("systemctl show 'blog*' --no-pager", "ps -eo args", "cat /etc/systemd/system/blog*"):
        assert secret not in must(host, command), command
    with visit("blog") as visitors:
        outcome = play("playbooks/serve.yml", "--limit", "blog")
    assert outcome.status == 0, str(outcome)
    must_be_served(visitors)
    assert key(host) == secret and not host.file("/etc/blog/secrets.cred").exists
    assert (host.file("/etc/blog/secrets").user, oct(host.file("/etc/blog/secrets").mode)) == ("root", "0o600")


def test_a_rollback_across_the_switch(host: Any, play: Play, visit: Visit, able: None, tmp_path: Path) -> None:
    """[A11 S1] The release before was built for the file; it comes back with the credentials of today."""
    secret = key(host)
    assert play("playbooks/serve.yml", "--limit", "blog", says=SAYS, folder=tmp_path).status == 0
    with visit("blog") as visitors:
        outcome = play("playbooks/rollback.yml", "--limit", "blog", says=SAYS, folder=tmp_path)
    assert outcome.status == 0, str(outcome)
    must_be_served(visitors)
    assert key(host) == secret
    outcome = play("playbooks/serve.yml", "--limit", "blog", release_force="true")
    assert outcome.status == 0 and host.file("/etc/blog/secrets").exists, str(outcome)
