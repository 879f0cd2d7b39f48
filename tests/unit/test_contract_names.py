"""The names of an app: which redirect, which are served as they are, and which the contract refuses."""

from __future__ import annotations

from typing import Any

import pytest
from render import model_of

from .test_contract import check, only

DNS = {"tls_dns_plugin": "cloudflare"}


def test_aliases() -> None:
    """[A7] field case 6: plain names as they are; a wildcard where a certificate can be had for it."""
    assert check(app_aliases=["shop.example.org"]) == check(app_aliases=["*.example.com", "shop.example.org"], **DNS) == []


@pytest.mark.parametrize(
    ("aliases", "what", "fix"),
    [
        (["https://shop.example.org"], "is not a domain name", "bare host name"),
        (["shop.example.org", "shop.example.org"], "is listed twice", "once"),
        (["www.blog.example.com"], "is in app_domains too", "leave it in one"),
        (["*.example.com"], "only by DNS", "tls_dns_plugin"),
    ],
)
def test_aliases_that_cannot_be(aliases: list[str], what: str, fix: str) -> None:
    """[A7] With the variable that names them."""
    only(check(app_aliases=aliases), "app_aliases", what, fix)


def test_all_names_of_an_app() -> None:
    """[F1] The certificate is for all of them, one app of a machine has each, and the app may trust each as a host."""
    said: dict[str, Any] = {"app_domains": ["a.example.com", "b.example.com"], "app_aliases": ["*.example.org", "c.example.com"]}
    found = model_of(**said)
    assert found["names"] == [*said["app_domains"], *said["app_aliases"]] and found["domain"] == "a.example.com"
    assert found["environment"]["TRUSTED_HOSTS"] == "a.example.com,b.example.com,.example.org,c.example.com"
