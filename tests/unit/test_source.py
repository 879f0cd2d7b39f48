"""What a manifest keeps of the source that was asked for."""

from __future__ import annotations

import pytest
from ansible_collections.slipway.vps.plugins.module_utils.source import asked_for, without_secrets


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("https://git.example.com/blog.git", "https://git.example.com/blog.git"),
        ("https://ada:s3cret@git.example.com/blog.git", "https://***@git.example.com/blog.git"),
        ("https://s3cret@git.example.com/blog.git", "https://***@git.example.com/blog.git"),
        ("https://ada@example.com:s3cret@git.example.com/blog.git", "https://***@git.example.com/blog.git"),
        ("https://example.com/blog.tar.gz?token=s3cret#top", "https://example.com/blog.tar.gz?***#top"),
        ("blog @ git+https://s3cret@example.com/blog.git@v1", "blog @ git+https://***@example.com/blog.git@v1"),
        ("git@git.example.com:ada/blog.git", "git@git.example.com:ada/blog.git"),
        ("ssh://git@git.example.com/ada/blog.git", "ssh://git@git.example.com/ada/blog.git"),
        ("git+ssh://git:s3cret@git.example.com/ada/blog.git", "git+ssh://***@git.example.com/ada/blog.git"),
        ("blog==1.4.0", "blog==1.4.0"),
        ("/home/ada/blog@home", "/home/ada/blog@home"),
    ],
)
def test_addresses_lose_their_secrets(text: str, kept: str) -> None:
    """[A11] A token as user, as password or in the query; and nothing else."""
    assert without_secrets(text) == kept


def test_only_what_says_the_version_is_kept() -> None:
    """[K8 A11] The key that fetches the source is none of it; what is not said is not there."""
    assert asked_for({"type": "git", "repo": "r", "version": 1.4, "deploy_key": "s3cret", "url": None}) == {
        **{"type": "git", "repo": "r", "version": "1.4"},
    }
