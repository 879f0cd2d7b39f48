"""Pages as a browser would read them: what it refuses is said with the variable that mends it, and nothing else is."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.slipway.vps.plugins.module_utils.rules.nginx import bad_verify_paths
from ansible_collections.slipway.vps.plugins.module_utils.slipway.pages import Advice, Reader, Reply, first_file
from ansible_collections.slipway.vps.plugins.module_utils.slipway.policy import Policy, features_refused, hash_source

SELF = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; upgrade-insecure-requests"
DOMAIN = "blog.example.com"


def reader(site: dict[str, tuple[int, str]], policy: str = SELF, own: tuple[str, ...] = (), permissions: str = "geolocation=()") -> Reader:
    """A site of pages; HTML unless the name ends otherwise."""

    def get(domain: str, path: str) -> Reply:
        status, body = site.get(path, (404, "no"))
        kind = "text/css" if path.endswith(".css") else "text/javascript" if path.endswith(".js") else "text/html; charset=utf-8"
        headers = [("Content-Type", kind), ("Content-Security-Policy", policy), ("Permissions-Policy", permissions)]
        return Reply(f"https://{domain}{path}", status, headers, body)

    return Reader(DOMAIN, lambda path: own, get)


def read(page: str, site: dict[str, tuple[int, str]] | None = None, **how: object) -> list[Advice]:
    return list(reader({"/": (200, page), **(site or {})}, **how).read("/"))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("page", "words", "fix"),
    [
        ("<script>start()</script>", "1 inline script, which browsers refuse: start()", f"script-src {hash_source('start()')}"),
        ("<script type=module>a()</script><script>b()</script>", "2 inline scripts", "nginx_content_security_policy: script-src"),
        ("<style>p{color:red}</style>", "1 inline style,", "nginx_content_security_policy: style-src"),
        ("<p style='color:red'>", "1 style attributes", "style-src 'unsafe-inline'"),
        ("<a onclick='go()'>", "1 handlers (onclick=…)", "script-src 'unsafe-inline'"),
        ("<a href='javascript:go()'>", "1 handlers", "script-src 'unsafe-inline'"),
        (
            "<script src='https://cdn.example.net/x.js'></script>",
            "refuses https://cdn.example.net/x.js",
            "script-src https://cdn.example.net",
        ),
        (
            "<link rel=stylesheet href=//cdn.example.net/x.css>",
            "refuses https://cdn.example.net/x.css",
            "style-src https://cdn.example.net",
        ),
        ("<link rel=preload as=font href=https://f.example.net/x.woff2>", "refuses https://f", "font-src https://f.example.net"),
        ("<img src=https://i.example.net/x.png>", "refuses https://i.example.net/x.png", "img-src https://i.example.net"),
        ("<iframe src=https://v.example.net/1>", "refuses https://v.example.net/1", "frame-src https://v.example.net"),
        (
            "<style>@import url(https://f.example.net/a.css)</style>",
            "refuses https://f.example.net/a.css",
            "style-src https://f.example.net",
        ),
        ("<script src=/no.js></script>", "https://blog.example.com/no.js answers 404", "app_static"),
        ("<script>navigator.geolocation.watchPosition(x)</script>", "geolocation", "nginx_permissions_policy: geolocation=(self)"),
        ("<script src=/map.js></script>", "geolocation", "nginx_permissions_policy: geolocation=(self)"),
        ("<link rel=stylesheet href=/site.css>", "refuses https://f.example.net/x.woff2", "font-src https://f.example.net"),
    ],
)
def test_what_a_browser_refuses(page: str, words: str, fix: str) -> None:
    """[F7] field cases 11, 12: each kind is named with the variable that mends it."""
    site = {
        "/map.js": (200, "navigator.geolocation.getCurrentPosition(show)"),
        "/site.css": (200, "@font-face{src:url('https://f.example.net/x.woff2')} a{b:url(/x.png)} /* url(https://no.example.net/x.png) */"),
    }
    found = read(page, site)
    assert any(words in advice.what and fix in advice.fix and advice.where == "/" for advice in found), found
    assert not any("no.example.net" in advice.what for advice in found)


@pytest.mark.parametrize(
    ("page", "policy"),
    [
        ("<script src=/a.js></script><link rel=stylesheet href=/a.css><img src=data:image/png;base64,AA>", SELF),
        ("<script type='application/json'>{}</script><script type='application/ld+json'>{}</script>", SELF),
        ("<script></script><style> </style>", SELF),
        (
            "<script nonce=abc>a()</script><script nonce=abc src=https://x.example.net/a.js></script>",
            "script-src 'nonce-abc' 'strict-dynamic'",
        ),
        ("<script>a()</script>", f"script-src {hash_source('a()')}"),
        ("<script>a()</script><p style=x onclick=y>", "default-src 'self' 'unsafe-inline'"),
        ("<script src=https://a.cdn.example.net/lib/x.js></script>", "script-src https://*.cdn.example.net/lib/"),
        ("<img src=https://anywhere.example.net/x>", "img-src https:"),
        ("<form action=/login method=post></form>", "form-action 'self'"),
        ("<script>a()</script><img src=https://x.example.net/y>", ""),
        ("<img src=http://blog.example.com/x.png>", "upgrade-insecure-requests"),
    ],
)
def test_what_a_browser_takes(page: str, policy: str) -> None:
    """[F7] A warning that is none would teach people not to read them."""
    good = dict.fromkeys(("/a.js", "/a.css", "/x.png"), (200, ""))
    assert read(page, good, policy=policy) == []


@pytest.mark.parametrize(
    ("page", "policy", "words"),
    [
        ("<script>a()</script>", "script-src 'unsafe-inline' 'nonce-abc'", "inline script"),
        ("<p onclick=a()>", f"script-src {hash_source('a()')}", "handlers"),
        ("<script src=https://x.example.net/a.js></script>", "script-src https://x.example.net/lib/", "refuses"),
        ("<script src=https://evil-cdn.net/a.js></script>", "script-src *.cdn.net", "refuses"),
        ("<script src=https://x.example.net/a.js></script>", "script-src 'strict-dynamic' https:", "refuses"),
        ("<meta http-equiv=Content-Security-Policy content=\"script-src 'none'\"><script>a()</script>", "", "inline script"),
        ("<script>a()</script>", "script-src 'unsafe-inline', script-src 'self'", "inline script"),
        ("<img src=http://blog.example.com/x.png>", "", "over plain HTTP"),
        ("<form action=http://blog.example.com/login></form>", "", "sends a form to"),
    ],
)
def test_policies_as_browsers_read_them(page: str, policy: str, words: str) -> None:
    """[F7] A nonce switches 'unsafe-inline' off, a handler takes no plain hash, every policy has to allow it."""
    assert any(words in advice.what for advice in read(page, {"/x.png": (200, "")}, policy=policy))


def test_the_apps_own_policy_is_the_apps_to_mend() -> None:
    """[F7] field case 12: nginx has no part in it."""
    (found,) = read("<script>a()</script>", own=("content-security-policy",))
    assert "the app's own Content-Security-Policy" in found.fix and "nginx_" not in found.fix


def test_one_kind_is_said_once_and_the_end_is_near() -> None:
    """[F7] A page of a thousand images does not take an hour."""
    page = "<img src=https://i.example.net/x.png>" * 3 + "".join(f"<img src=/{number}.png>" for number in range(1000))
    site = reader({"/": (200, page)})
    assert len([advice for advice in site.read("/") if "i.example.net" in advice.what]) == 1 and len(site.asked) == 60
    assert list(reader({"/": (200, "<p>")}).read("/")) == [] and list(reader({}).read("/nowhere")) == []


def test_static_folders(tmp_path: Path) -> None:
    """[E6] field cases 11, 45, 48: in this release, and nginx may read them; what only the releases before have is said."""
    (tmp_path / ".static").mkdir()
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.css.gz").touch()
        (tmp_path / name / "y z.css").touch()
        (tmp_path / ".static" / name).symlink_to(f"../{name}")
    (tmp_path / ".static/gone").symlink_to("../gone")
    site = reader({"/a/y%20z.css": (200, ""), "/b/y%20z.css": (403, "")})
    found = list(site.static(tmp_path, {"/a/": "a", "/b/": "b", "/gone/": "blog/static"}))
    assert [advice.where for advice in found] == ["/b/", "/gone/"]
    assert "nginx may not read it" in found[0].what and "blog/static is not in the live release" in found[1].what
    assert "app_static" in found[1].fix and first_file(tmp_path / "none") == ""


def test_features() -> None:
    """[F7] Only what nobody may use."""
    assert features_refused("camera=(), geolocation=(self), usb=()") == ["camera", "usb"] and not features_refused("")
    assert not Policy([""]) and Policy(["default-src 'self'"])


def test_paths_to_read() -> None:
    """[A7] Paths of the site."""
    assert not list(bad_verify_paths({"app_verify_paths": ["/", "/a?b=c"]})) and not list(bad_verify_paths({}))
    for path in ("login", "https://x/", "/a b", 7):
        assert [problem.variable for problem in bad_verify_paths({"app_verify_paths": [path]})] == ["app_verify_paths"]
