"""The page that visitors see during maintenance, and who gets past it."""

from __future__ import annotations

import base64
import hashlib
import html
import re
from typing import Any

import pytest
from render import ROOT
from test_nginx import CLOSED, PAGE, PROXY, SITE, block, lines, nginx, servers

# --- Maintenance ------------------------------------------------------------------------------


def closed_for(**scenario: Any) -> list[str]:
    """The app's server up to its first location: what it decides before it knows which."""
    return lines(servers(nginx(SITE, **scenario))["443 demo.slipway.test"].split("location ")[0])


def test_maintenance_closes_the_whole_site() -> None:
    """[S1] In the server, where no location can forget it; the page itself is the switch; nothing but set and return in an `if`."""
    found = closed_for()
    start, end = found.index("set $slipway_closed 0;"), found.index("return 503;")
    assert found[start : start + 4] == [
        "set $slipway_closed 0;",
        "if (-f /srv/demo/maintenance/index.html) {",
        "set $slipway_closed 1;",
        "}",
    ]
    assert found[end - 1] == "if ($slipway_closed) {"
    assert found[end + 2] == "error_page 503 /.slipway/maintenance;"
    inside = [line for line in found[start:end] if not line.startswith("if ") and line != "}"]
    assert set(inside) == {"set $slipway_closed 0;", "set $slipway_closed 1;"} and inside.count("set $slipway_closed 1;") == 1
    assert "proxy_intercept_errors" not in nginx(PROXY) + nginx(SITE), "a 503 of the app is the app's"


@pytest.mark.parametrize(("live", "ready"), [("/healthz/live", "/healthz/ready"), ("/up", "/up")])
def test_maintenance_lets_health_checks_in(live: str, ready: str) -> None:
    """[S1] [A14] Otherwise a load balancer takes the host out, and a deploy cannot see whether the app is ready."""
    found = closed_for(app_health_live=live, app_health_ready=ready)
    let_in = [line for line in found if line.startswith("if ($uri =")]
    assert let_in == [f"if ($uri = {path}) {{" for path in dict.fromkeys([live, ready, "/.slipway/maintenance"])]
    for line in let_in:
        assert found[found.index(line) + 1] == "set $slipway_closed 0;"


def test_maintenance_lets_the_operator_in() -> None:
    """[S1] By the address of the connection, which nobody can claim. An app's name may have a dash, a variable's may not."""
    text = nginx(SITE, app_name="my-app", nginx_maintenance_allow=["192.0.2.7", "2001:db8::/32"])
    assert lines(block(text, "geo $slipway_my_app_let_in"))[1:-1] == ["default 0;", "192.0.2.7 1;", "2001:db8::/32 1;"]
    assert lines(block(text, "if ($slipway_my_app_let_in)"))[1:-1] == ["set $slipway_closed 0;"]
    assert lines(block(nginx(SITE), "geo $slipway_demo_let_in"))[1:-1] == ["default 0;"]


def test_maintenance_leaves_the_challenge_alone() -> None:
    """[E2] [S1] A certificate is renewed all the same: the server on port 80 knows no maintenance, and the app's lets it through."""
    plain = servers(nginx(SITE))["80 demo.slipway.test www.demo.slipway.test"]
    assert "slipway_closed" not in plain and "503" not in plain
    found = closed_for()
    assert found[found.index("if ($uri ~ ^/\\.well-known/acme-challenge/) {") + 1] == "set $slipway_closed 0;"


def test_the_challenge_is_answered_everywhere() -> None:
    """[E2] On 443 too, under each name: something before this host may send all of HTTP to HTTPS. No server answers before it."""
    found = servers(nginx(SITE, app_aliases=["shop.example.org"]))
    assert len(found) == 3
    for text in found.values():
        assert "root /var/lib/demo-acme;" in lines(block(text, "location ^~ /.well-known/acme-challenge/"))
        outside = re.sub(r"location [^{]*\{(?:[^{}]|\{[^{}]*\})*\}|if [^{]*\{[^{}]*\}", "", "\n".join(lines(text)))
        assert "return " not in outside, outside


def test_aliases_are_served_as_they_are() -> None:
    """[E1] field case 6: tenants and brands in the app's own server, which passes the name on; others redirect to the canonical one."""
    names: dict[str, Any] = {"app_aliases": ["*.demo.slipway.test", "shop.example.org"]}
    found = servers(nginx(SITE, **names))
    assert set(found) == {
        "80 demo.slipway.test www.demo.slipway.test *.demo.slipway.test shop.example.org",
        "443 www.demo.slipway.test",
        "443 demo.slipway.test *.demo.slipway.test shop.example.org",
    }
    assert "return 308 https://demo.slipway.test$request_uri;" in found["443 www.demo.slipway.test"]
    assert "308" not in found["443 demo.slipway.test *.demo.slipway.test shop.example.org"]
    assert "proxy_set_header Host $host;" in lines(nginx(PROXY, **names))
    assert set(servers(nginx(SITE, app_domains=["a.example.com"]))) == {"80 a.example.com", "443 a.example.com"}


def test_maintenance_page_and_its_headers() -> None:
    """[E4] [S1] Told when to come back, on every answer; kept by no cache; whatever was asked, and with whatever body."""
    found = lines(block(nginx(SITE, nginx_maintenance_retry_after=900), CLOSED))
    assert "internal;" in found and "root /srv/demo/maintenance;" in found and "try_files /index.html =503;" in found
    assert "add_header Retry-After 900 always;" in found and "add_header Cache-Control no-store always;" in found
    assert "client_max_body_size 0;" in found and "include snippets/demo-own-headers.conf;" in found


def test_maintenance_page_needs_nothing_else() -> None:
    """[E4] [S1] One file; its policy allows exactly its one style, by its hash."""
    page = nginx(PAGE)
    assert page.startswith("<!doctype html>\n<!-- slipway:nginx -->\n"), page[:80]
    assert not re.search(r"\b(src|href|action|on\w+|style)=|url\(|@import|<script|<!--#", page), page
    styles = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(styles[0].encode()).digest()).decode()
    policy = next(line for line in lines(block(nginx(SITE), CLOSED)) if "Content-Security-Policy" in line)
    assert len(styles) == 1 and f"default-src 'none'; style-src 'sha256-{digest}';" in policy and "unsafe" not in policy, policy
    assert "frame-ancestors 'none'" in policy and policy.endswith(" always;")


def test_maintenance_page_says_who_wrote_it_to_nobody() -> None:
    """[S1] ansible_managed may name people and machines, and visitors read this file."""
    assert "mary@laptop" not in nginx(PAGE, ansible_managed="by mary@laptop")


@pytest.mark.parametrize("message", ["Back at 10:00 UTC", "<script>alert(1)</script>", "\"a\" & 'b' {{ 'c' }}", "two\nlines", "ü – 🛠"])
def test_maintenance_message_is_text(message: str) -> None:
    """[S1] Whatever it contains, it is shown and nothing more."""
    said = re.findall(r"<p>(.*?)</p>", nginx(PAGE, nginx_maintenance_message=message), re.DOTALL)
    assert len(said) == 1 and html.unescape(said[0]) == message.replace("{{ 'c' }}", "c") and "<" not in said[0]
    assert "We are working on it" in nginx(PAGE)


def test_maintenance_is_the_operators_alone() -> None:
    """[S1] No converge and no deploy closes the site or opens it: only the verb's own tasks know of the page."""
    for path in (ROOT / "roles").glob("*/*/*.yml"):
        if path.parent.name in ("tasks", "handlers") and path != ROOT / "roles/nginx/tasks/maintenance.yml":
            assert "maintenance" not in path.read_text(), path
    assert "__nginx_maintenance_page" in (ROOT / "roles/nginx/tasks/maintenance.yml").read_text()
