"""What the release role tells its module."""

from __future__ import annotations

from render import value


def test_the_module_is_told_the_socket_of_the_contract() -> None:
    """[A5] A shorter app_socket, as the contract advises for a long name of an app, reaches the release that is migrated and watched."""
    assert value("release", "__release_common.socket", app_socket="/run/short.sock") == "/run/short.sock"
