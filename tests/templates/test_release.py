"""What the release role tells its module."""

from __future__ import annotations

from ansible_collections.slipway.vps.plugins.module_utils.git_ssh import is_known
from render import value


def test_the_module_is_told_the_socket_of_the_contract() -> None:
    """[A5] A shorter app_socket, as the contract advises for a long name of an app, reaches the release that is migrated and watched."""
    assert value("release", "__release_common.socket", app_socket="/run/short.sock") == "/run/short.sock"


def test_the_module_is_told_what_was_asked_for() -> None:
    """[K8] The version as the operator calls it, and no secret: a module's parameters are written into the journal."""
    source = {"type": "git", "repo": "https://token@git.example.com/blog.git", "version": "v1.4.0", "deploy_key": "s3cret"}
    kept = {"type": "git", "repo": "https://***@git.example.com/blog.git", "version": "v1.4.0"}
    assert value("release", "__release_common.asked", app_source=source) == kept


def test_a_deploy_key_that_is_given_up_goes() -> None:
    """[A11] Its file stays, empty: that says there is none, and no run has to look for it."""
    source = {"type": "git", "repo": "git@git.example.com:blog.git", "version": "v1"}
    for key, content in (("KEY\n\n", "KEY\n"), ("KEY", "KEY\n"), ("", ""), (None, "")):
        given = source if key is None else {**source, "deploy_key": key}
        (written,) = value("release", "__release_secrets", app_source=given)
        assert (written["path"], written["content"], written["mode"]) == ("/etc/demo/deploy_key", content, "0600"), key


def test_the_servers_of_the_large_services_are_known() -> None:
    """[A11] A clone from them trusts nobody on first use."""
    known = str(value("release", "__release_known_hosts"))
    hosts = [line.split()[0] for line in known.splitlines()]
    assert hosts == ["github.com", "gitlab.com", "bitbucket.org", "codeberg.org"]
    assert all(is_known(name, known) and line.split()[1] == "ssh-ed25519" for name, line in zip(hosts, known.splitlines(), strict=True))
