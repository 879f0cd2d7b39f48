"""nginx's configuration, line by line where a line matters, for ordinary and unusual values."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from render import ROOT, render, value

SITE = "etc/nginx/sites-available/site.conf.j2"
DEFAULT = "etc/nginx/sites-available/slipway-default.conf.j2"
TLS = "etc/nginx/snippets/slipway-tls.conf.j2"
HEADERS = "etc/nginx/snippets/headers.conf.j2"
OWN = "etc/nginx/snippets/own-headers.conf.j2"
MAPS = "etc/nginx/conf.d/headers.conf.j2"
PROXY = "etc/nginx/snippets/proxy.conf.j2"
HTTP = "etc/nginx/conf.d/slipway.conf.j2"
MAIN = "etc/nginx/modules-enabled/90-slipway.conf.j2"
PAGE = "srv/app/maintenance/index.html.j2"
CLOSED = "location = /.slipway/maintenance"

# What `nginx -V` says on Debian 13 and on Debian 12.
NEW = {"stderr": "nginx version: nginx/1.26.3\nbuilt with OpenSSL 3.5.5 27 Jan 2026 (running with OpenSSL 3.5.7 9 Jun 2026)"}
OLD = {"stderr": "nginx version: nginx/1.22.1\nbuilt with OpenSSL 3.0.18 30 Sep 2025 (running with OpenSSL 3.0.22 2 Jun 2026)"}
# Built with the newer, running with the older: what runs is what counts.
MIXED = {"stderr": "nginx version: nginx/1.26.3\nbuilt with OpenSSL 3.5.5 27 Jan 2026 (running with OpenSSL 3.0.22 2 Jun 2026)"}


# What the role's tasks have found out before they render.
HOST: dict[str, Any] = {
    "__nginx_build": NEW,
    "__nginx_ipv6": {"stat": {"exists": True}},
    "__nginx_brotli_module": {"stat": {"exists": True}},
}


def nginx(template: str, *, build: dict[str, str] = NEW, ipv6: bool = True, **scenario: Any) -> str:
    return render("nginx", template, **{**HOST, "__nginx_build": build, "__nginx_ipv6": {"stat": {"exists": ipv6}}, **scenario})


def lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip() and not line.strip().startswith("#")]


def block(text: str, start: str) -> str:
    """The block that the line ``start`` opens, with the blocks inside it."""
    depth = 0
    found: list[str] = []
    for line in text.splitlines():
        if found or line.strip() == f"{start} {{":
            found.append(line)
            code = line.split("#")[0]
            depth += code.count("{") - code.count("}")
            if depth == 0:
                return "\n".join(found)
    raise AssertionError(f"no block `{start}` in:\n{text}")


def servers(text: str) -> dict[str, str]:
    """Server blocks by their first listen and names."""
    found: dict[str, str] = {}
    for part in re.split(r"^server \{$", text, flags=re.MULTILINE)[1:]:
        names = re.search(r"^    server_name (.*);$", part, re.MULTILINE)
        assert names, part
        port = "443" if "listen 443" in part else "80"
        found[f"{port} {names.group(1)}"] = part
    return found


@pytest.mark.parametrize("template", [SITE, DEFAULT, TLS, HEADERS, OWN, MAPS, PROXY, HTTP, MAIN])
def test_every_file_says_who_wrote_it(template: str) -> None:
    text = nginx(template)
    assert text.startswith("#\n# Ansible managed\n#\n# slipway:nginx\n"), text[:80]
    assert text.endswith("\n") and "True" not in text and "False" not in text


@pytest.mark.parametrize("template", [SITE, DEFAULT])
@pytest.mark.parametrize("build", [NEW, OLD])
@pytest.mark.parametrize("ipv6", [True, False])
@pytest.mark.parametrize("limits", [[], [{"path": "/login", "rate": "10r/m", "burst": 5}]])
def test_whitespace_is_designed(template: str, build: dict[str, str], ipv6: bool, limits: list[Any]) -> None:
    """Indented by depth, no line with two statements, no two empty lines in a row."""
    lists: dict[str, Any] = {"nginx_rate_limits": limits, "nginx_maintenance_allow": ["192.0.2.0/24"] if limits else []}
    text = nginx(template, build=build, ipv6=ipv6, app_static={"/static/": "s"}, app_uploads={"/up/": "u"}, **lists)
    assert "\n\n\n" not in text and not re.search(r"[ \t]$", text, re.MULTILINE), text
    depth = 0
    for line in text.splitlines():
        code = line.strip()
        if not code or code.startswith("#"):
            continue
        depth -= code == "}"
        assert line == "    " * depth + code, f"{line!r} at depth {depth}"
        assert code.endswith((";", "{", "}")), code
        depth += code.endswith("{")
    assert depth == 0


# --- TLS --------------------------------------------------------------------------------------


def test_tls_policy() -> None:
    """[E3] field case 15: Mozilla's guideline 6.0 from its data, TLS 1.2 and 1.3 on both Debians; 1.3 alone on request."""
    modern, *intermediate = (lines(nginx(TLS, nginx_tls_policy=policy)) for policy in ("modern", "intermediate", "auto"))
    assert intermediate[0] == lines(nginx(TLS))
    assert "ssl_protocols TLSv1.3;" in modern and not any(line.startswith("ssl_ciphers") for line in modern)
    for text in (*intermediate, lines(nginx(TLS, build=OLD))):
        assert "ssl_protocols TLSv1.2 TLSv1.3;" in text
        ciphers = next(line for line in text if line.startswith("ssl_ciphers ")).removeprefix("ssl_ciphers ").rstrip(";").split(":")
        assert len(ciphers) == 6 and all(c.startswith("ECDHE-") and ("GCM" in c or "POLY1305" in c) for c in ciphers), ciphers
    for text in (modern, *intermediate):
        assert "ssl_session_cache shared:slipway_tls:10m;" in text and "ssl_early_data off;" in text
        assert "ssl_session_tickets off;" in text
        assert "ssl_prefer_server_ciphers off;" in text


@pytest.mark.parametrize(("policy", "build", "protocols"), [("intermediate", NEW, "TLSv1.2 TLSv1.3"), ("modern", OLD, "TLSv1.3")])
def test_tls_policy_on_request(policy: str, build: dict[str, str], protocols: str) -> None:
    """[E3]"""
    assert f"ssl_protocols {protocols};" in lines(nginx(TLS, build=build, nginx_tls_policy=policy))


def test_http3_only_on_request() -> None:
    """[E3] Beside HTTP/2, announced in every answer, with its hole in the firewall; reuseport stands once for each address."""
    assert not any("quic" in nginx(template) for template in (SITE, DEFAULT)) and "Alt-Svc" not in nginx(HEADERS) + nginx(PROXY)
    site, default = nginx(SITE, nginx_http3=True), nginx(DEFAULT, nginx_http3=True)
    for text in servers(site).values():
        assert text.count("listen 443 quic;") == text.count("listen 443 ssl;"), text
    assert "listen 443 quic default_server reuseport;" in lines(default) and "reuseport" not in site
    assert "add_header Alt-Svc 'h3=\":443\"; ma=86400' always;" in lines(nginx(HEADERS, nginx_http3="yes"))
    assert [(r["port"], r["proto"]) for r in value("nginx", "nginx_firewall_rules")] == [("80", "tcp"), ("443", "tcp")]
    rules = value("nginx", "nginx_firewall_rules", nginx_http3=True)
    assert [(r["port"], r["proto"]) for r in rules] == [("80", "tcp"), ("443", "tcp"), ("443", "udp")]


@pytest.mark.parametrize(
    ("build", "groups"),
    [(NEW, "?X25519MLKEM768:X25519:prime256v1:secp384r1"), (OLD, "X25519:prime256v1:secp384r1"), (MIXED, "X25519:prime256v1:secp384r1")],
)
def test_post_quantum_only_where_openssl_knows_it(build: dict[str, str], groups: str) -> None:
    """[E3] An unknown group keeps nginx from starting."""
    assert f"ssl_ecdh_curve {groups};" in lines(nginx(TLS, build=build))


def test_http2_in_the_words_of_the_version() -> None:
    """[E3]"""
    for template in (SITE, DEFAULT):
        new, old = nginx(template), nginx(template, build=OLD)
        https = new.count("listen 443 ssl")
        assert new.count("    http2 on;") == https and "ssl http2" not in new
        assert old.count("listen 443 ssl http2") == https and "http2 on" not in old


def test_ipv6_only_where_the_kernel_has_it() -> None:
    for template in (SITE, DEFAULT):
        assert nginx(template).count("listen [::]:") == nginx(template).count("listen ") / 2
        assert "[::]" not in nginx(template, ipv6=False)


def test_unknown_names_are_refused() -> None:
    """[E1]"""
    found = servers(nginx(DEFAULT))
    assert "listen 80 default_server backlog=4096;" in lines(found["80 _"]) and "return 444;" in lines(found["80 _"])
    https = lines(found["443 _"])
    assert "listen 443 ssl default_server backlog=4096;" in https and "ssl_reject_handshake on;" in https and "return 421;" in https
    assert "include snippets/slipway-tls.conf;" in https, "protocols are settled by the default server"
    assert not any("ssl_certificate" in line for line in https)


# --- Redirects --------------------------------------------------------------------------------


def test_a_long_name_fits_into_nginxs_table() -> None:
    """[E1] With a name of more than 46 characters nginx would not start; who has said the size already says it alone."""
    long: dict[str, Any] = {"app_domains": [f"staging.{'x' * 40}.example.com"]}
    directive = "server_names_hash_bucket_size 512;"
    assert directive in lines(nginx(HTTP, **long)) and directive not in nginx(HTTP)
    assert directive not in nginx(HTTP, **long, nginx_extra={"http": "server_names_hash_bucket_size 128;"})


def test_redirects() -> None:
    """[E1]"""
    found = servers(nginx(SITE, app_domains=["a.test", "b.test", "c.test"]))
    assert set(found) == {"80 a.test b.test c.test", "443 b.test c.test", "443 a.test"}
    assert "return 308 https://$host$request_uri;" in lines(found["80 a.test b.test c.test"])
    assert "return 308 https://a.test$request_uri;" in lines(found["443 b.test c.test"])
    challenge = lines(block(found["80 a.test b.test c.test"], "location ^~ /.well-known/acme-challenge/"))
    assert "root /var/lib/demo-acme;" in challenge


def test_one_domain_needs_no_redirecting_server() -> None:
    """[E1]"""
    assert set(servers(nginx(SITE, app_domains=["a.test"]))) == {"80 a.test", "443 a.test"}


def test_certificate_of_the_contract() -> None:
    """[E2]"""
    text = lines(nginx(SITE))
    assert text.count("ssl_certificate /etc/ssl/demo/fullchain.pem;") == text.count("ssl_certificate_key /etc/ssl/demo/privkey.pem;") == 2


# --- Proxy ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("Host", "$host"),
        ("X-Real-IP", "$remote_addr"),
        ("X-Forwarded-For", "$remote_addr"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "$host"),
        ("X-Forwarded-Port", "$server_port"),
        ("X-Forwarded-Prefix", '""'),
        ("X-Forwarded-Protocol", '""'),
        ("X-Forwarded-Ssl", '""'),
        ("X-Request-ID", "$request_id"),
        ("Forwarded", '""'),
        ("Script-Name", '""'),
        ("Path-Info", '""'),
        ("Proxy", '""'),
        ("Connection", "$slipway_connection"),
    ],
)
def test_headers_are_overwritten(header: str, expected: str) -> None:
    """[E5] Gunicorn believes all that comes through its socket."""
    assert [line for line in lines(nginx(PROXY)) if line.startswith(f"proxy_set_header {header} ")] == [
        f"proxy_set_header {header} {expected};"
    ]


def test_nothing_of_the_clients_is_appended_to() -> None:
    """[E5]"""
    assert "proxy_add_x_forwarded_for" not in nginx(PROXY) and "$http_" not in nginx(PROXY)
    assert "underscores_in_headers off;" in lines(nginx(HTTP))


def test_every_way_to_the_app_sets_them() -> None:
    """[E5] proxy_pass is written in one place, next to the headers."""
    text = nginx(SITE, nginx_rate_limits=[{"path": "/login", "rate": "10r/m"}], app_health_ready="/ready", app_health_live="/live")
    assert "proxy_pass" not in text and "proxy_set_header" not in text
    assert lines(nginx(PROXY))[-1] == "proxy_pass http://slipway_demo;"
    assert text.count("include snippets/demo-proxy.conf;") == 4


def test_times_fit_gunicorns() -> None:
    """[E11] nginx waits longer than Gunicorn's 30 s; each request has a connection of its own, and none is sent twice."""
    assert 30 < value("nginx", "nginx_proxy_read_timeout") <= 60
    upstream = lines(block(nginx(SITE), "upstream slipway_demo"))
    assert "server unix:/run/demo/gunicorn.sock;" in upstream
    assert not any(line.startswith("keepalive") for line in upstream)
    proxy = lines(nginx(PROXY))
    assert "proxy_read_timeout 35s;" in lines(nginx(SITE)) and "proxy_http_version 1.1;" in proxy
    assert "proxy_next_upstream off;" in proxy


def test_only_websocket_is_upgraded() -> None:
    """[E5] And only where a location allows it; h2c would be a tunnel past everything here."""
    assert lines(block(nginx(HTTP), 'map "$slipway_websocket:$http_upgrade" $slipway_upgrade'))[1:-1] == [
        'default "";',
        '"1:websocket" websocket;',
    ]
    text = nginx(SITE, nginx_locations=[{"path": "/ws/", "websocket": True}])
    assert "set $slipway_websocket 0;" in servers(text)["443 demo.slipway.test"].split("location ")[0]
    assert text.count("set $slipway_websocket 1;") == 1 and "set $slipway_websocket 1;" in block(text, "location /ws/")
    assert "proxy_buffering off;" in lines(block(text, "location /ws/")) and "proxy_read_timeout 3600s;" in block(text, "location /ws/")


# --- Before nginx -----------------------------------------------------------------------------


def test_nobody_is_believed_unless_named() -> None:
    """[E5]"""
    assert "real_ip" not in nginx(HTTP)
    text = lines(nginx(HTTP, nginx_trusted_proxies=["192.0.2.10", "2001:db8::/32"], nginx_real_ip_header="CF-Connecting-IP"))
    assert {"set_real_ip_from 192.0.2.10;", "set_real_ip_from 2001:db8::/32;"} <= set(text)
    assert "real_ip_header CF-Connecting-IP;" in text and "real_ip_recursive on;" in text


def test_the_app_finds_as_many_hops_as_it_takes_off() -> None:
    """[E5] ProxyFix counts from the end: the client is the first of as many values, whatever a visitor sent."""
    found = lines(nginx(PROXY, app_proxy_hops=3))
    assert 'proxy_set_header X-Forwarded-For "$remote_addr, $realip_remote_addr, $realip_remote_addr";' in found
    assert 'proxy_set_header X-Forwarded-Proto "https, https, https";' in found
    assert 'proxy_set_header X-Forwarded-Host "$host, $host, $host";' in found
    assert "proxy_set_header X-Forwarded-Proto https;" in lines(nginx(PROXY, app_proxy_hops=0))


# --- Files ------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["/static/", "/static", "static"])
def test_static(prefix: str) -> None:
    """[E6] However it is written, the prefix ends in a slash: otherwise /static../ would leave the folder."""
    found = lines(block(nginx(SITE, app_static={prefix: "logbook/static"}), "location ^~ /static/"))
    assert "add_header Cache-Control $slipway_demo_static_cache;" in found, "without `always`: an error is not for a year"
    assert "access_log off;" in found


@pytest.mark.parametrize("prefix", ["/static/", "/assets/static/"])
def test_static_files_of_former_releases(prefix: str) -> None:
    """[E6] [S1] The live release first, then the two before it, and nothing else; $uri has the prefix, each release a link for it."""
    text = nginx(SITE, app_static={prefix: "logbook/static"}, app_uploads={"/uploads/": "uploads"})
    found = lines(block(text, f"location ^~ {prefix}"))
    assert "root /srv/demo;" in found and not any(line.startswith("alias ") for line in found)
    assert "try_files /current/.static$uri /next/.static$uri /previous-1/.static$uri /previous-2/.static$uri =404;" in found
    assert text.count("previous-1") == 1, "only for static files"


def test_uploads() -> None:
    """[E6]"""
    found = lines(block(nginx(SITE, app_uploads={"/uploads/": "uploads"}), "location ^~ /uploads/"))
    assert "alias /srv/demo/shared/uploads/;" in found
    assert 'add_header Cache-Control "private, max-age=300";' in found
    assert any("Content-Security-Policy" in line and line.endswith('sandbox" always;') for line in found)
    assert "access_log off;" not in found


@pytest.mark.parametrize("folder", ["uploads", "uploads/", "/uploads"])
def test_uploads_end_in_a_slash(folder: str) -> None:
    """[E6]"""
    assert "alias /srv/demo/shared/uploads/;" in lines(block(nginx(SITE, app_uploads={"up": folder}), "location ^~ /up/"))


def test_no_files_no_locations() -> None:
    """[E6]"""
    assert "alias" not in nginx(SITE) and ".static" not in nginx(SITE)


# --- The operator's own -----------------------------------------------------------------------


def test_own_lines() -> None:
    """[E10] Where they are wanted, and nowhere else."""
    text = nginx(
        SITE,
        app_static={"/static/": "s"},
        nginx_extra={
            "http": "map $a $b {\n    default 0;\n}\n",
            "server": "if ($b) {\n    return 403;\n}",
            "location": {"/": "deny 192.0.2.9;", "/static/": "expires off;", "/admin/": "allow 192.0.2.0/24;\ndeny all;"},
        },
    )
    assert text.index("map $a $b {") < text.index("server {")
    assert "if ($b) {" in lines(servers(text)["443 demo.slipway.test"]) and text.count("if ($b) {") == 1
    assert "deny 192.0.2.9;" in block(servers(text)["443 demo.slipway.test"], "location /")
    assert "expires off;" in block(text, "location ^~ /static/")
    assert lines(block(text, "location /admin/"))[1:] == [
        "allow 192.0.2.0/24;",
        "deny all;",
        "include snippets/demo-proxy.conf;",
        "}",
    ]
    assert "\n\n\n" not in text and "location /static/ {" not in text


def test_own_templates(tmp_path: Path) -> None:
    """[E10] The inventory's template is taken in place of the shipped one of the same path; the others stay."""
    own = tmp_path / "templates/nginx/snippets/headers.conf.j2"
    own.parent.mkdir(parents=True)
    own.write_text("# of {{ app.name }}\n")
    lists = [value("nginx", f"__nginx_{part}_files") for part in ("machine", "app")]
    rendered = [value("nginx", "__nginx_rendered", inventory_dir=str(tmp_path), __nginx_files=files, **HOST) for files in lists]
    files = {file["dest"]: file["content"] for part in rendered for file in part}
    assert files["snippets/demo-headers.conf"] == "# of demo\n"
    assert set(files) == {
        *("conf.d/slipway.conf", "modules-enabled/90-slipway.conf", "sites-available/demo.conf", "sites-available/slipway-default.conf"),
        *("conf.d/demo-headers.conf", "snippets/demo-own-headers.conf"),
        *("snippets/demo-headers.conf", "snippets/demo-proxy.conf", "snippets/slipway-tls.conf"),
    }
    assert all("slipway:nginx" in text for name, text in files.items() if name != "snippets/demo-headers.conf")


# --- Log --------------------------------------------------------------------------------------


def test_health_checks_are_not_logged() -> None:
    """[E9] Also where both are one path: a location may be there only once."""
    scenarios: list[dict[str, Any]] = [{}, {"app_health_live": "/up", "app_health_ready": "/up"}]
    for scenario in scenarios:
        text = nginx(SITE, **scenario)
        paths = {"/up"} if scenario else {"/healthz/live", "/healthz/ready"}
        for path in paths:
            assert text.count(f"location = {path} {{") == 1
            assert "access_log off;" in lines(block(text, f"location = {path}"))


def test_log_lines_are_json() -> None:
    """[K1] Filled in with numbers where numbers stand bare."""
    form = "".join(re.findall(r"^    '(.*)'", nginx(HTTP), re.MULTILINE))
    assert "escape=json" in nginx(HTTP)
    line = json.loads(re.sub(r"\$(slipway_status|bytes_sent|request_time)\b", "1", form))
    assert {"request_id", "path", "status", "duration", "user_agent", "upstream_time", "forwarded_for", "remote_addr"} <= set(line)


# --- Order ------------------------------------------------------------------------------------


def test_checked_before_reloaded() -> None:
    """[E10] Handlers run in the order they are written in."""
    handlers = yaml.safe_load((ROOT / "roles/nginx/handlers/main.yml").read_text())
    assert [handler["listen"] for handler in handlers] == ["nginx unit changed"] + ["nginx config changed"] * 3
    assert handlers[1]["ansible.builtin.command"] == "nginx -t"
    assert handlers[2]["ansible.builtin.systemd_service"]["state"] == "reloaded"
    assert handlers[3]["ansible.builtin.file"]["state"] == "absent", "what is not loaded yet stays marked"
