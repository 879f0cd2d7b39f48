"""What the release role tells its module."""

from __future__ import annotations

from render import value


def test_the_module_is_told_the_socket_of_the_contract() -> None:
    """[A5] A shorter app_socket, as the contract advises for a long name of an app, reaches the release that is migrated and watched."""
    assert value("release", "__release_common.socket", app_socket="/run/short.sock") == "/run/short.sock"


def test_the_module_is_told_what_was_asked_for() -> None:
    """[K8] The version as the operator calls it, and no secret: a module's parameters are written into the journal."""
    source = {"type": "git", "repo": "https://token@git.example.com/blog.git", "version": "v1.4.0", "deploy_key": "s3cret"}
    kept = {"type": "git", "repo": "https://***@git.example.com/blog.git", "version": "v1.4.0"}
    assert value("release", "__release_common.asked", app_source=source) == kept
