"""What the contract says of the operator's bans, on the controller."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.slipway.vps.plugins.module_utils.rules import fail2ban
from render import specs

GOOD: dict[str, Any] = {
    "fail2ban_login_paths": {"/login": [401, 403], "/api/v1/token": [400]},
    "fail2ban_login_pattern": r"^login failed for user \d+ from <HOST>$",
    "fail2ban_scan_paths": specs().defaults["fail2ban_scan_paths"],
    "fail2ban_ban_time": 600,
    "app_proxy_hops": 1,
}


def problems(**said: Any) -> list[tuple[str, str]]:
    values = {**GOOD, **said}
    return [(problem.variable, problem.what) for rule, _ in fail2ban.RULES for problem in rule(values)]


def test_good_values_pass() -> None:
    """[K5] The defaults among them."""
    assert problems() == []


@pytest.mark.parametrize(
    ("variable", "said", "words"),
    [
        *(("fail2ban_login_paths", {"login": [401]}, "is not the path"), ("fail2ban_login_paths", {"/login": 401}, "status codes")),
        *(("fail2ban_login_paths", {"/login": []}, "status codes"), ("fail2ban_login_paths", {"/login": [500]}, "status codes")),
        *(("fail2ban_login_paths", ["/login"], "a dictionary"), ("fail2ban_login_paths", {"/lo gin": [401]}, "is not the path")),
        *(
            ("fail2ban_login_pattern", "login failed", "where the address is"),
            ("fail2ban_login_pattern", "(<HOST>", "no regular expression"),
        ),
        *(("fail2ban_login_pattern", "<HOST>\nx", "line break"), ("fail2ban_scan_paths", ["wp-(login"], "no regular expression")),
        *(("fail2ban_scan_paths", [".*"], "it fits everything"), ("fail2ban_scan_paths", [""], "it fits everything")),
        *(
            ("fail2ban_ban_time", -1, "1 at least"),
            ("fail2ban_ban_time", 0, "1 at least"),
            ("fail2ban_login_max_retry", "ten", "1 at least"),
        ),
    ],
)
def test_what_fail2ban_would_not_start_with_is_refused(variable: str, said: Any, words: str) -> None:
    """[K5] [F8] Or what would ban everybody, or for ever."""
    ((name, what),) = problems(**{variable: said})
    assert name == variable and words in what


def test_behind_a_load_balancer_it_is_refused() -> None:
    """[K5] [F8] With the reason; where bans are switched off nothing is held, and nothing refused."""
    found = problems(app_proxy_hops=2)
    assert [name for name, _ in found] == ["fail2ban_login_paths", "fail2ban_login_pattern"] and "load balancer's address" in found[0][1]
    assert problems(app_proxy_hops=2, fail2ban_web=False) == []
