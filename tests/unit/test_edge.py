"""nginx's locations that lead to the app, and which inputs about them are refused."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.slipway.vps.plugins.module_utils.edge import locations, zones
from ansible_collections.slipway.vps.plugins.module_utils.rules.nginx import bad_nginx

HEALTH = ["/healthz/live", "/healthz/ready"]


def test_a_location_for_each_path() -> None:
    """[E7] [E8] [E9] A path that several lists name has one location, with all of it; the front page is always there."""
    found = locations(
        [{"path": "/login", "rate": "1r/s", "burst": 2}],
        [{"path": "/login", "body_size": "1k"}, {"path": "/ws/", "websocket": "yes"}, {"path": "/", "timeout": 9}],
        {"/login": "deny all;", "/static/": "expires 1d;"},
        HEALTH,
        ["/static/"],
    )
    assert [location["match"] for location in found] == ["/", "= /healthz/live", "= /healthz/ready", "= /login", "/ws/"]
    by_path = {location["path"]: location for location in found}
    assert by_path["/login"]["limits"] == [{"zone": "1", "burst": 2}] and by_path["/login"]["body_size"] == "1k"
    assert by_path["/login"]["extra"] == "deny all;" and not by_path["/login"]["quiet"] and by_path["/healthz/live"]["quiet"]
    assert by_path["/ws/"]["websocket"] and by_path["/ws/"]["stream"] and by_path["/ws/"]["timeout"] == 3600
    assert by_path["/"]["timeout"] == 9 and not by_path["/"]["stream"]


def test_streams_may_be_silent_for_an_hour_unless_told() -> None:
    """[E7]"""
    asked = [{"path": "/a", "stream": True}, {"path": "/b", "stream": True, "timeout": "60"}]
    found = {location["path"]: location for location in locations([], asked, {})}
    assert (found["/a"]["timeout"], found["/b"]["timeout"]) == (3600, 60) and not found["/a"]["websocket"]


def test_zones() -> None:
    """[E8] One for each limit, or one that several share."""
    limits = [{"path": "/a", "rate": "1r/s"}, {"path": "/b", "rate": "2r/s", "zone": "x"}, {"path": "/c", "rate": "2r/s", "zone": "x"}]
    assert zones(limits) == [{"zone": "1", "rate": "1r/s"}, {"zone": "x", "rate": "2r/s"}]


GOOD: dict[str, Any] = {
    "app_static": {"/static/": "s"},
    "app_uploads": {"/uploads/": "u"},
    "app_proxy_hops": 1,
    "nginx_rate_limits": [{"path": "/login", "rate": "10r/m", "burst": 5}, {"path": "/api/", "rate": "20r/s", "zone": "api"}],
    "nginx_locations": [{"path": "/upload", "body_size": "100m", "timeout": 300}, {"path": "/ws/", "websocket": True}],
    "nginx_extra": {"http": "map $a $b { default 0; }", "location": {"/admin/": "deny all;", "/static/": "expires 1d;"}},
    "nginx_trusted_proxies": ["192.0.2.0/24", "2001:db8::1"],
    "nginx_maintenance_allow": ["0.0.0.0/0"],
    "nginx_hsts_preload": True,
    "nginx_hsts_include_subdomains": True,
    "nginx_hsts_max_age": 63072000,
    "server_backlog": 2048,
    "nginx_somaxconn": 4096,
}


def test_what_is_right_passes() -> None:
    """[A7] Also where an inventory says nothing at all."""
    assert list(bad_nginx(GOOD)) == [] and list(bad_nginx({})) == []
    assert list(bad_nginx({**GOOD, "app_proxy_hops": 2})) == []


@pytest.mark.parametrize(
    ("wrong", "variable", "said"),
    [
        ({"nginx_rate_limits": {"path": "/"}}, "nginx_rate_limits", "must be a list"),
        ({"nginx_rate_limits": ["/login"]}, "nginx_rate_limits", "is not an entry"),
        ({"nginx_rate_limits": [{"path": "/a", "rate": "10/s"}]}, "nginx_rate_limits", "is no rate"),
        ({"nginx_rate_limits": [{"path": "login", "rate": "1r/s"}]}, "nginx_rate_limits", "is not a path"),
        ({"nginx_rate_limits": [{"path": "/a b", "rate": "1r/s"}]}, "nginx_rate_limits", "is not a path"),
        ({"nginx_rate_limits": [{"path": "/static/", "rate": "1r/s"}]}, "nginx_rate_limits", "served from files"),
        ({"nginx_rate_limits": [{"path": "/a", "rate": "1r/s", "bursts": 1}]}, "nginx_rate_limits", "'bursts' means nothing"),
        ({"nginx_rate_limits": [{"path": "/a", "rate": "1r/s", "burst": "many"}]}, "nginx_rate_limits", "is no number"),
        ({"nginx_rate_limits": [{"path": "/a", "rate": "1r/s", "zone": "a b"}]}, "nginx_rate_limits", "will not do as a name"),
        (
            {"nginx_rate_limits": [{"path": "/a", "rate": "1r/s", "zone": "z"}, {"path": "/b", "rate": "2r/s", "zone": "z"}]},
            "nginx_rate_limits",
            "has two rates, 1r/s and 2r/s",
        ),
        ({"nginx_locations": "x"}, "nginx_locations", "must be a list"),
        ({"nginx_locations": [{"path": "/a", "body_size": "100 MB"}]}, "nginx_locations", "is no size"),
        ({"nginx_locations": [{"path": "/a", "timeout": "5m"}]}, "nginx_locations", "is no number of seconds"),
        ({"nginx_locations": [{"path": "/a"}, {"path": "/a"}]}, "nginx_locations", "listed twice"),
        ({"nginx_extra": "deny all;"}, "nginx_extra", "must be a dictionary"),
        ({"nginx_extra": {"servers": "x"}}, "nginx_extra", "'servers' means nothing"),
        ({"nginx_extra": {"server": "if ($a) { return 403;"}}, "nginx_extra", "opens 1 blocks and closes 0"),
        ({"nginx_extra": {"server": ["deny all;"]}}, "nginx_extra", "must be text"),
        ({"nginx_extra": {"location": "deny all;"}}, "nginx_extra", "location must be a dictionary"),
        ({"nginx_extra": {"location": {"admin": "deny all;"}}}, "nginx_extra", "is not a path"),
        ({"nginx_trusted_proxies": ["lb.example.com"]}, "nginx_trusted_proxies", "neither an address nor a network"),
        ({"nginx_trusted_proxies": ["0.0.0.0/0"]}, "nginx_trusted_proxies", "trusts everybody"),
        ({"nginx_trusted_proxies": ["::/0"]}, "nginx_trusted_proxies", "trusts everybody"),
        ({"nginx_maintenance_allow": ["home"]}, "nginx_maintenance_allow", "neither an address nor a network"),
        ({"nginx_real_ip_header": "X-Real-IP; deny all"}, "nginx_real_ip_header", "is not the name of a header"),
        ({"app_proxy_hops": "2", "nginx_trusted_proxies": []}, "app_proxy_hops", "names none"),
        ({"nginx_hsts_include_subdomains": False}, "nginx_hsts_preload", "needs every subdomain"),
        ({"nginx_hsts_max_age": 86400}, "nginx_hsts_preload", "of a year at least"),
        ({"server_backlog": "8192"}, "server_backlog", "cuts every queue down"),
        ({"nginx_response_header_size": "32 kB"}, "nginx_response_header_size", "is no size"),
        ({"nginx_client_max_body_size": "10 MB"}, "nginx_client_max_body_size", "is no size"),
        ({"nginx_large_client_header_buffers": "32k"}, "nginx_large_client_header_buffers", "is no size"),
    ],
)
def test_what_is_wrong_is_named(wrong: dict[str, Any], variable: str, said: str) -> None:
    """[A7] With the variable, what is wrong and what to write; and nothing else is complained about."""
    found = list(bad_nginx({**GOOD, **wrong}))
    assert len(found) == 1, found
    assert found[0].variable == variable and said in found[0].what and found[0].fix, found
