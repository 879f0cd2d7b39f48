"""What a browser is told: the headers that nginx fills in, and how long it keeps a static file."""

from __future__ import annotations

import re
from typing import Any

import pytest
from test_nginx import CLOSED, HEADERS, HTTP, MAPS, OWN, PROXY, SITE, block, lines, nginx, servers

# --- Headers ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scenario", "expected"),
    [
        ({}, "max-age=63072000"),
        ({"nginx_hsts_include_subdomains": True}, "max-age=63072000; includeSubDomains"),
        ({"nginx_hsts_include_subdomains": "yes", "nginx_hsts_preload": "yes"}, "max-age=63072000; includeSubDomains; preload"),
        ({"nginx_hsts_max_age": 0}, "max-age=0"),
    ],
)
def test_hsts(scenario: dict[str, Any], expected: str) -> None:
    """[E1] Wider only on request."""
    assert mapped("Strict-Transport-Security", **scenario)['""'] == f'"{expected}"'
    assert f'add_header Strict-Transport-Security "{expected}" always;' in lines(nginx(OWN, **scenario))


def test_headers_at_every_level_that_adds_one() -> None:
    """[E4] add_header is not inherited by a level that has one of its own."""
    text = nginx(SITE, app_static={"/static/": "s"}, app_uploads={"/uploads/": "u"})
    blocks = [*servers(text).values()]
    blocks += [block(text, "location ^~ /static/"), block(text, "location ^~ /uploads/"), block(text, CLOSED)]
    for part in blocks:
        outer = re.sub(r"location [^{]*\{(?:[^{}]|\{[^{}]*\})*\}", "", part) if "server_name" in part else part
        if "add_header" in outer:
            assert re.search(r"include snippets/demo-(own-)?headers.conf;", outer), outer
            assert outer.count("add_header Content-Security-Policy") == 1, outer
    assert all(line.endswith("always;") for line in lines(nginx(HEADERS) + nginx(OWN)))


def mapped(name: str, **scenario: Any) -> dict[str, str]:
    """What nginx says of a header by what the app says of it."""
    variable = name.lower().replace("-", "_")
    found = lines(block(nginx(MAPS, **scenario), f"map $upstream_http_{variable} $slipway_demo_{variable}"))[1:-1]
    return dict(line.rstrip(";").split(" ", 1) for line in found)


def test_an_app_with_a_long_name_has_variables_that_nginx_takes() -> None:
    """[F2] An entry of nginx's table holds a pointer and the name with two bytes, rounded up to 8, and a bucket ends with a pointer."""
    scenario: dict[str, Any] = {"app_name": "a" * 31, "nginx_cross_origin_embedder_policy": "require-corp"}
    names = re.findall(r"\$(slipway_a\w+)", nginx(MAPS, **scenario))
    (bucket,) = re.findall(r"^variables_hash_bucket_size (\d+);", nginx(HTTP), re.MULTILINE)
    longest = max(map(len, names))
    assert longest > 60 and 8 + (longest + 2 + 7) // 8 * 8 + 8 <= int(bucket)


def test_the_apps_own_word_counts() -> None:
    """[E4] field case 12: nginx fills in what the app does not send, hides nothing of it, and never says a header twice."""
    assert mapped("X-Frame-Options") == {"default": '""', '""': '"DENY"'}
    scenario: dict[str, Any] = {"nginx_cross_origin_embedder_policy": "require-corp"}
    names = set(re.findall(r"^add_header (\S+) \$slipway_demo_", nginx(HEADERS, **scenario), re.MULTILINE))
    assert names == set(re.findall(r"^add_header (\S+)", nginx(OWN, **scenario), re.MULTILINE)) - {"X-Request-ID"} and len(names) == 8
    for name in (*names, "Content-Security-Policy"):
        assert mapped(name, **scenario)["default"] == '""' and len(mapped(name, **scenario)) == 2
    assert re.findall(r"^proxy_hide_header (\S+);", nginx(PROXY, **scenario), re.MULTILINE) == ["X-Request-ID"]
    assert "add_header X-Request-ID $request_id always;" in lines(nginx(HEADERS)), "the id is nginx's"


def test_nginx_own_pages_have_nginx_own_headers() -> None:
    """[E4] Of an answer that was refused halfway (502: headers too large) nginx has read some of the app's headers already."""
    text = nginx(SITE, app_static={"/static/": "s"}, app_uploads={"/uploads/": "u"})
    for own in (CLOSED, "location @slipway_error_page", "location @slipway_error_json", "location = /.slipway/too-long"):
        assert "include snippets/demo-own-headers.conf;" in lines(block(text, own))
    assert text.count("-own-headers.conf;") == 4 and "$slipway_demo" not in nginx(OWN)


def test_content_security_policy_may_be_the_apps() -> None:
    """[E4] Empty: nginx sets none. Uploads and nginx's own pages keep theirs in any case."""
    scenario: dict[str, Any] = {"nginx_content_security_policy": "", "app_uploads": {"/uploads/": "u"}, "app_static": {"/static/": "s"}}
    text = nginx(SITE, **scenario)
    assert text.count("Content-Security-Policy") == 5 and "content_security_policy" not in nginx(MAPS, **scenario)
    for own in ("location ^~ /uploads/", CLOSED, "location @slipway_error_page", "location @slipway_error_json"):
        assert block(text, own).count("Content-Security-Policy") == 1
    assert "add_header Content-Security-Policy $slipway_demo_content_security_policy always;" in text.join(["", nginx(SITE)])


def test_frames_are_refused_in_both_words() -> None:
    """[E4]"""
    for scenario, frames, ancestors in (({}, "DENY", "'none'"), ({"nginx_frame_options": "SAMEORIGIN"}, "SAMEORIGIN", "'self'")):
        assert mapped("X-Frame-Options", **scenario)['""'] == f'"{frames}"'
        assert f"frame-ancestors {ancestors}" in mapped("Content-Security-Policy", **scenario)['""']


# --- How long a static file is kept -------------------------------------------------------------


def is_hashed(uri: str) -> bool:
    """What nginx would make of an address: its own expressions (PCRE), which Python's understand too."""
    patterns = re.findall(r'^"~(.*)" 1;$', "\n".join(lines(block(nginx(HTTP), 'map "$uri?$args" $slipway_hashed'))), re.MULTILINE)
    assert len(patterns) == 6
    return any(re.search(pattern, uri if "?" in uri else f"{uri}?") for pattern in patterns)


@pytest.mark.parametrize(
    "uri",
    [
        *(
            "app.0123abcd.css",
            "app-DEADBEEF.js",
            "base.5af66c1b1797.css",
            "main.8f1e2d3c.chunk.js",
            "main.8f1e2d3c.js.map",
            "a_0123abcd.png",
        ),
        *(
            "674f50d287a8c48dc19ba404d20fe713.woff2",
            "index-B3kdF9_x.js",
            "index-Dl0e-XcK.css",
            "index-QX4LBZ3M.js",
            "framework-0123456789abcdef.js",
        ),
        *("app.css?v=7", "app.css?x=1&h=abc", "app.css?0123abcd", "app.css?1732700000"),
    ],
)
def test_kept_for_a_year(uri: str) -> None:
    """[E6] field case 13: a new content has a new address."""
    assert is_hashed(f"/static/{uri}") and is_hashed(f"/current/.static/static/css/{uri}")


@pytest.mark.parametrize(
    "uri",
    [
        *(
            "app.css",
            "jquery.min.js",
            "bootstrap-5.3.2.min.css",
            "my-language.css",
            "site-homepage.js",
            "report-20240101.pdf",
            "photo-20240101.jpg",
        ),
        *("app-Settings.js", "page-Version2.js", "jquery-3.7.1.slim.min.js", "data-SETTINGS.css", "photo-DSC23456.jpg", "icon-192x192.png"),
        *("facade.css", "logo-decade.svg", "app.css?", "app.css?page=2", "app.css?v=", "0123abcd/app.css", "deadbeef.d/app.css", "README"),
    ],
)
def test_asked_for_again(uri: str) -> None:
    """[E6] field case 13: a word, a date or a version number is no hash: visitors would keep an old file for a year."""
    assert not is_hashed(f"/static/{uri}") and not is_hashed(f"/current/.static/static/{uri}")


def test_how_long_a_static_file_is_kept() -> None:
    """[E6] nginx_static_max_age is the year; a file without a hash is revalidated by its ETag."""
    found = lines(block(nginx(MAPS, nginx_static_max_age=60), "map $slipway_hashed $slipway_demo_static_cache"))
    assert found[1:-1] == ["default no-cache;", '1 "public, max-age=60, immutable";']


# --- Below a path -------------------------------------------------------------------------------


@pytest.mark.parametrize(("redirect", "answer"), [(True, "return 302 https://$host/blog/;"), (False, "return 404;")])
def test_an_app_below_a_path(redirect: bool, answer: str) -> None:
    """[E1] field case 28: only what is below it reaches the app, with its whole path; / leads there, or is not found."""
    scenario: dict[str, Any] = {"app_static": {"/static/": "s"}, "app_uploads": {"/files/": "f"}, "nginx_root_redirect": redirect}
    extra = {"location": {"/static/": "expires 1d;", "/admin/": "deny all;"}}
    text = nginx(SITE, app_url_prefix="/blog", nginx_extra=extra, nginx_locations=[{"path": "/up", "body_size": "1g"}], **scenario)
    app = servers(text)["443 demo.slipway.test"]
    assert answer in lines(block(app, "location = /")) and lines(block(app, "location /"))[1:-1] == ["return 404;"]
    assert "return 308 https://$host/blog/$is_args$args;" in lines(block(app, "location = /blog"))
    assert "include snippets/demo-proxy.conf;" in lines(block(app, "location /blog/"))
    assert "client_max_body_size 1g;" in lines(block(app, "location = /blog/up")) and "deny all;" in block(app, "location /blog/admin/")
    assert "expires 1d;" in block(app, "location ^~ /blog/static/") and "location ^~ /blog/files/ {" in app
    assert "if ($uri = /blog/healthz) {" in lines(app) and "\n\n\n" not in text
    assert 'proxy_set_header Script-Name "";' in lines(nginx(PROXY)), "nobody else says where the app is"
