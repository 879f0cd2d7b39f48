"""What one visitor may ask for at once, and the pages of those who are refused."""

from __future__ import annotations

import base64
import hashlib
import json
import re

from render import render, value
from test_nginx import HTTP, MAIN, SITE, block, lines, nginx, servers

# --- Limits -----------------------------------------------------------------------------------


def test_one_limit_for_headers() -> None:
    """[E7] field case 33: nginx's; Gunicorn has none of its own, and an answer may set as large a header as a request."""
    assert "large_client_header_buffers 4 64k;" in lines(nginx(HTTP, nginx_large_client_header_buffers="4 64k"))
    app = lines(servers(nginx(SITE, nginx_response_header_size="64k"))["443 demo.slipway.test"])
    assert "proxy_buffer_size 64k;" in app and "proxy_buffers 8 64k;" in app, "nginx takes no larger first buffer than its others hold"
    gunicorn = render("server", "etc/app/gunicorn.conf.py.j2").splitlines()
    assert "limit_request_line = 0" in gunicorn and "limit_request_field_size = 1048576" in gunicorn


def test_limits_of_a_request() -> None:
    """[E7]"""
    app = lines(servers(nginx(SITE))["443 demo.slipway.test"])
    assert {"client_max_body_size 10m;", "client_body_timeout 15s;", "send_timeout 15s;", "gzip on;", "gzip_vary on;"} <= set(app)
    assert next(line for line in app if line.startswith("gzip_types ")).split().count("text/html") == 0, "nginx warns about it"
    shared = lines(nginx(HTTP))
    assert "client_header_timeout 15s;" in shared and "large_client_header_buffers 2 32k;" in shared


def test_rate_limits() -> None:
    """[E8]"""
    limits = [{"path": "/login", "rate": "10r/m", "burst": 5}, {"path": "/api/", "rate": "20r/s"}]
    text = nginx(SITE, nginx_rate_limits=limits)
    assert "limit_req_zone $binary_remote_addr zone=slipway_demo_1:10m rate=10r/m;" in lines(text)
    assert "limit_req_zone $binary_remote_addr zone=slipway_demo_2:10m rate=20r/s;" in lines(text)
    login, api = lines(block(text, "location = /login")), lines(block(text, "location /api/"))
    assert "limit_req zone=slipway_demo_1 burst=5 nodelay;" in login
    assert "limit_req_status 429;" in servers(text)["443 demo.slipway.test"].split("location ")[0]
    assert "limit_req zone=slipway_demo_2;" in api and "include snippets/demo-proxy.conf;" in api
    assert "limit_req " not in nginx(SITE) and "limit_req_zone" not in nginx(SITE)


def test_limited_paths_may_share_a_counter() -> None:
    """[E8]"""
    limits = [{"path": "/a", "rate": "1r/s", "zone": "dear"}, {"path": "/b/", "rate": "1r/s", "zone": "dear", "burst": 3}]
    text = nginx(SITE, nginx_rate_limits=limits)
    assert text.count("limit_req_zone ") == 1 and "zone=slipway_demo_dear:10m rate=1r/s;" in text
    assert "limit_req zone=slipway_demo_dear;" in block(text, "location = /a")
    assert "limit_req zone=slipway_demo_dear burst=3 nodelay;" in block(text, "location /b/")


def test_connections_of_one_address_are_limited() -> None:
    """[E7]"""
    app = lines(servers(nginx(SITE))["443 demo.slipway.test"])
    assert "limit_conn slipway_demo_connections 256;" in app and "limit_conn_status 429;" in app and "reset_timedout_connection on;" in app
    assert "limit_conn " not in nginx(SITE, nginx_connection_limit=0) and "limit_conn_zone" not in nginx(SITE, nginx_connection_limit=0)


def test_a_path_may_have_limits_of_its_own() -> None:
    """[E7] All wishes about one path end in one location: nginx takes no second."""
    text = nginx(
        SITE,
        nginx_rate_limits=[{"path": "/up", "rate": "1r/s"}],
        nginx_locations=[{"path": "/up", "body_size": "100m", "timeout": 90}, {"path": "/events/", "stream": True}],
        nginx_extra={"location": {"/up": "deny 192.0.2.1;", "/healthz/live": "allow all;"}},
    )
    up = lines(block(text, "location = /up"))
    assert {"limit_req zone=slipway_demo_1;", "client_max_body_size 100m;", "proxy_read_timeout 90s;", "deny 192.0.2.1;"} <= set(up)
    assert up[-2] == "include snippets/demo-proxy.conf;" and "proxy_buffering off;" not in up
    events = lines(block(text, "location /events/"))
    assert {"proxy_buffering off;", "gzip off;", "proxy_read_timeout 3600s;"} <= set(events) and "set $slipway_websocket 1;" not in events
    assert "allow all;" in block(text, "location = /healthz/live") and text.count("location = /healthz/live {") == 1


def test_what_fits_what() -> None:
    """[E7] A short queue is a 502 at once, or a second's wait: each is at least as long as what may stand in it."""
    backlog = value("server", "server_backlog")
    connections, most = value("nginx", "nginx_worker_connections"), value("nginx", "nginx_somaxconn")
    assert most >= backlog and most >= value("nginx", "nginx_backlog")
    assert connections >= 2 * backlog, "each request that waits for the app holds two"
    assert f"worker_rlimit_nofile {2 * connections};" in lines(nginx(MAIN))
    assert f"net.core.somaxconn = {most}" in lines(nginx("etc/sysctl.d/60-slipway-nginx.conf.j2"))


# --- Errors -----------------------------------------------------------------------------------


def test_error_pages() -> None:
    """[E11] [A17] With the id of the request, never larger than nginx takes, nothing inline but the one style; the app's own pass."""
    text = nginx(SITE)
    app = servers(text)["443 demo.slipway.test"]
    assert "error_page 403 404 405 413 429 500 502 504 $slipway_error_place;" in lines(app)
    assert "error_page 494 =431 $slipway_error_place;" in lines(app), "nginx's own number for too large a header"
    too_long = lines(block(text, "location = /.slipway/too-long"))
    assert "error_page 414 /.slipway/too-long;" in lines(app) and "internal;" in too_long, "without an address there is no named location"
    assert too_long[2:] == lines(block(text, "location @slipway_error_page"))[1:]
    page = block(text, "location @slipway_error_page")
    for place in ("page", "json"):
        assert lines(block(text, f"location @slipway_error_{place}"))[1:3] == ["types {", "}"], "an absent .css would be text/css"
    body = next(line for line in lines(page) if line.startswith('return 200 "')).removeprefix('return 200 "').removesuffix('";')
    assert len(body) < 4000 and '"' not in body and "$request_id" in body and "$status" in body
    style = re.findall(r"<style>(.*?)</style>", body)
    digest = base64.b64encode(hashlib.sha256(style[0].encode()).digest()).decode()
    assert len(style) == 1 and f"style-src 'sha256-{digest}'" in page
    assert not re.search(r"\b(src|href|action|on\w+|style)=|url\(|<script", body), body
    answer = next(line for line in lines(block(text, "location @slipway_error_json")) if line.startswith("return"))
    assert json.loads(answer.removeprefix("return 200 '").removesuffix("\\n';").replace("$status", "1"))["request_id"] == "$request_id"
    for name in ("$slipway_error_place", "$slipway_error_name", "$slipway_error_words", "$slipway_error_wait"):
        assert f" {name} {{" in nginx(HTTP), name
