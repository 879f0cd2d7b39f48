"""What the edge does by itself: redirects, headers, files, limits, its log and its configuration."""

from __future__ import annotations

import base64
import gzip
import json
import re
import secrets
from collections.abc import Iterator
from typing import Any

import pytest
from deploys import playbook
from edge import Answer, ask, is_ours
from helpers import App, journal, must

HEADERS = {
    "Strict-Transport-Security": "max-age=63072000",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "strict-origin-when-cross-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
ACCESS_LOG = "/var/log/nginx/demo.access.log"


@pytest.fixture(scope="module")
def static_file(host: Any, app: App) -> str:
    """A file of the live release, relative to the static folder."""
    files = must(host, f"find {app.current}/logbook/static/ -type f -name '*.css' -printf '%P\\n'").split()
    assert files, "the live release has no static files"
    return files[0]


@pytest.fixture(scope="module")
def upload(host: Any, app: App) -> Iterator[str]:
    """A page somebody uploaded: large enough to compress, and with a script in it."""
    name = f"{secrets.token_hex(8)}.html"
    path = f"{app.shared}/uploads/{name}"
    line = "<script>alert(1)</script> words that compress well"
    must(host, f"umask 027; for i in $(seq 200); do echo '{line}'; done > {path} && chown {app.name}:www-data {path}")
    yield name
    host.run(f"rm -f {path}")


def logged(host: Any, marker: str) -> dict[str, Any]:
    """The one line of the access log with this user agent, as JSON."""
    lines = [json.loads(line) for line in must(host, f"tail -n 400 {ACCESS_LOG}").splitlines() if marker in line]
    assert len(lines) == 1, f"{len(lines)} lines with {marker}: {lines}"
    return dict(lines[0])


# --- E1: redirects ----------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/", "/deep/er?a=1&b=%2F", "//other.example/"])
def test_http_leads_to_https(host: Any, app: App, path: str) -> None:
    """[E1] Same name, same path and query, method kept (308); nothing is served in the clear."""
    for name in (app.domain, app.alias):
        answer = ask(host, f"http://{name}{path}", method="POST", headers={"Content-Length": "0"})
        assert (answer.status, answer.one("Location")) == (308, f"https://{name}{path}"), str(answer)


def test_other_names_lead_to_the_canonical_one(host: Any, app: App) -> None:
    """[E1] 308 over HTTPS, and HSTS there too."""
    answer = ask(host, f"https://{app.alias}/deep/er?a=1")
    assert (answer.status, answer.one("Location")) == (308, f"https://{app.domain}/deep/er?a=1"), str(answer)
    assert answer.one("Strict-Transport-Security") == "max-age=63072000"


def test_unknown_hosts_get_no_answer(host: Any, app: App) -> None:
    """[E1] Not this site, not the package's welcome page: the connection just ends."""
    assert ask(host, "http://stranger.example/").status == 0
    # One name in the handshake and another in the request: nginx itself refuses, or the default server hangs up.
    assert ask(host, f"https://{app.domain}/", headers={"Host": "stranger.example"}).status in (0, 400, 421)
    assert not host.file("/etc/nginx/sites-enabled/default").exists


def test_the_challenge_is_served_in_the_clear(host: Any, app: App) -> None:
    """[E2] The one exception, and only for files that are there."""
    token = secrets.token_hex(16)
    folder = "/var/lib/demo-acme/.well-known/acme-challenge"
    must(host, f"mkdir -p {folder} && echo proof-{token} > {folder}/{token}")
    try:
        for name in (app.domain, app.alias):
            answer = ask(host, f"http://{name}/.well-known/acme-challenge/{token}")
            assert (answer.status, answer.body.decode().strip()) == (200, f"proof-{token}"), str(answer)
    finally:
        host.run(f"rm -f {folder}/{token}")
    assert ask(host, f"http://{app.domain}/.well-known/acme-challenge/absent").status == 404


# --- E4: security headers ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "statuses"),
    [
        ("/", {200, 302, 502}),
        ("/nowhere-at-all", {404, 502}),
        ("/static/absent.css", {404}),
        ("/static/{static}", {200}),
        ("/uploads/{upload}", {200}),
    ],
    ids=["page", "app error", "edge error", "static", "upload"],
)
def test_security_headers(host: Any, app: App, static_file: str, upload: str, path: str, statuses: set[int]) -> None:
    """[E4] Each header once, on every kind of answer: nginx drops inherited ones wherever a level adds its own."""
    answer = ask(host, f"https://{app.domain}{path.format(static=static_file, upload=upload)}")
    assert answer.status in statuses, f"{answer}\n{journal(host, 'nginx.service')}"
    for name, value in HEADERS.items():
        assert answer.one(name) == value, str(answer)
    policy = answer.one("Content-Security-Policy")
    assert ("sandbox" in policy) == path.startswith("/uploads/"), str(answer)
    assert policy.startswith("default-src 'none'"), policy
    if "sandbox" not in policy:
        assert "unsafe" not in policy and "frame-ancestors 'none'" in policy, policy
    assert "/" not in answer.one("Server"), f"the version is nobody's business: {answer.one('Server')}"


# --- E5, E11: the id of a request -------------------------------------------------------------


def test_the_request_id_is_nginx_own(host: Any, app: App) -> None:
    """[E5] [E11] [K1] The answer and the log carry the same new id; the one a client sends is ignored."""
    marker = f"id-{secrets.token_hex(8)}"
    answer = ask(
        host, f"https://{app.domain}/nowhere?q=1", headers={"X-Request-ID": "forged", "X-Forwarded-For": "192.0.2.9", "User-Agent": marker}
    )
    line = logged(host, marker)
    assert re.fullmatch("[0-9a-f]{32}", answer.one("X-Request-ID")), str(answer)
    assert line["request_id"] == answer.one("X-Request-ID"), f"{answer}\n{line}"
    assert line["status"] == answer.status and line["path"] == "/nowhere?q=1" and line["method"] == "GET", line
    assert line["remote_addr"] == "127.0.0.1" and line["forwarded_for"] == "192.0.2.9", line
    assert isinstance(line["duration"], float) and line["upstream_time"], line


def test_the_log_survives_hostile_input(host: Any, app: App) -> None:
    """[K1] Quotes and control bytes in what a client sends stay inside their JSON string."""
    marker = f"log-{secrets.token_hex(8)}"
    ask(host, f"https://{app.domain}/", headers={"User-Agent": f'{marker}","status":999,"x":"\\\t'})
    assert logged(host, marker)["status"] != 999


# --- E6: files --------------------------------------------------------------------------------


def is_nginx_file(host: Any, answer: Answer, path: str) -> None:
    """The body is the file, and the ETag is made of its time and size: nginx's way, so no Python was asked."""
    when, size = must(host, f"stat -Lc '%Y %s' {path}").split()
    assert answer.one("ETag").removeprefix("W/") == f'"{int(when):x}-{int(size):x}"', str(answer)
    assert answer.body == must(host, f"cat {path}").encode(), str(answer)


def test_static_files_are_for_a_year(host: Any, app: App, static_file: str) -> None:
    """[E6] From nginx, immutable where the address has a version; not logged; and what is absent is not remembered for a year."""
    marker = f"static-{secrets.token_hex(8)}"
    answer = ask(host, f"https://{app.domain}/static/{static_file}", headers={"User-Agent": marker})
    assert answer.status == 200, str(answer)
    assert answer.one("Cache-Control") == "no-cache"
    version = ask(host, f"https://{app.domain}/static/{static_file}?v=1")
    assert version.one("Cache-Control") == "public, max-age=31536000, immutable"
    is_nginx_file(host, answer, f"{app.current}/logbook/static/{static_file}")
    assert marker not in must(host, f"tail -n 50 {ACCESS_LOG}")
    assert ask(host, f"https://{app.domain}/static/absent.css").all("Cache-Control") == []


def test_uploads_are_shown_and_never_run(host: Any, app: App, upload: str) -> None:
    """[E6] Apart from static: own folder, sandboxed, in no shared cache."""
    answer = ask(host, f"https://{app.domain}/uploads/{upload}")
    assert answer.status == 200, str(answer)
    assert answer.one("Cache-Control") == "private, max-age=300"
    assert answer.one("Content-Security-Policy").endswith("sandbox"), str(answer)
    is_nginx_file(host, answer, f"{app.shared}/uploads/{upload}")


@pytest.mark.parametrize(
    "path",
    [
        "/static/",
        "/uploads/",
        "/static../wsgi.py",
        "/static/../wsgi.py",
        "/static/%2e%2e/wsgi.py",
        "/static/..%2fwsgi.py",
        "/static/..%2f..%2fpyproject.toml",
        "/static/..%5c..%5cpyproject.toml",
        "/previous-1/pyproject.toml",
        "/current/pyproject.toml",
        "/uploads/../../current/pyproject.toml",
    ],
)
def test_no_way_out_of_the_folders(host: Any, app: App, path: str) -> None:
    """[E6] No listing, no neighbour, however the dots are written."""
    answer = ask(host, f"https://{app.domain}{path}")
    # What leaves the prefix is the app's to refuse (502 where no app runs).
    assert answer.status in (400, 403, 404, 502), str(answer)
    assert b"import" not in answer.body and b"[project]" not in answer.body, str(answer)


@pytest.fixture
def former(host: Any, app: App) -> Iterator[str]:
    """Two releases that served before, and a file of their names only; the links of the host come back afterwards."""
    name = f"old-{secrets.token_hex(4)}-page.css"
    links = ("previous-1", "previous-2")
    must(host, f"cd {app.root}; for link in {' '.join(links)}; do if [ -L $link ]; then mv -T $link $link.kept; fi; done")
    try:
        for number, link in enumerate(links, start=1):
            files = f"{app.root}/former-{number}/app/static"
            must(host, f"mkdir -p {files}/folder {app.root}/former-{number}/.static && ln -sfn ../app/static {files}/../../.static/static")
            must(host, f"echo 'a {{ order: {number} }}' | tee {files}/{name} {files}/{number}-{name} >{files}/folder/x.css")
            must(host, f"cd {app.root} && ln -sfn former-{number} {link}")
        yield name
    finally:
        host.run(f"cd {app.root} && rm -rf previous-1 previous-2 former-1 former-2")
        must(host, f"cd {app.root}; for link in {' '.join(links)}; do if [ -L $link.kept ]; then mv -T $link.kept $link; fi; done")


def test_pages_opened_before_a_deploy_keep_their_files(host: Any, app: App, static_file: str, former: str) -> None:
    """[E6] [S1] What the live release lacks comes from the two before it, newest first, as if it were live."""
    for file, number in ((former, 1), (f"1-{former}", 1), (f"2-{former}", 2)):
        answer = ask(host, f"https://{app.domain}/static/{file}")
        assert answer.status == 200, str(answer)
        is_nginx_file(host, answer, f"{app.root}/former-{number}/app/static/{file}")
        assert answer.one("Content-Type") == "text/css" and answer.one("Cache-Control") == "no-cache"
    # Of two files with one name the live release's is served.
    must(host, f"echo old > {app.root}/former-1/app/static/{static_file}")
    is_nginx_file(host, ask(host, f"https://{app.domain}/static/{static_file}"), f"{app.current}/logbook/static/{static_file}")


def test_former_releases_open_no_other_way(host: Any, app: App, former: str) -> None:
    """[E6] [S1] Neither listing nor path, and no harm in links that lead nowhere."""
    for path in (f"/previous-1/app/static/{former}", f"/previous-1/.static/static/{former}", f"/.static/static/{former}"):
        assert ask(host, f"https://{app.domain}{path}").status in (404, 502), path
    for path in ("/static/", "/static/folder", "/static/folder/"):
        assert ask(host, f"https://{app.domain}{path}").status == 404, path
    must(host, f"cd {app.root} && ln -sfn releases/gone previous-1")
    assert ask(host, f"https://{app.domain}/static/1-{former}").status == 404
    assert ask(host, f"https://{app.domain}/static/2-{former}").status == 200


# --- S1: maintenance --------------------------------------------------------------------------

FROM = r"""
import http.client, socket, ssl, sys
connection = http.client.HTTPConnection(sys.argv[1], timeout=10)
plain = socket.create_connection(("127.0.0.1", 443), timeout=10, source_address=(sys.argv[2], 0))
connection.sock = ssl._create_unverified_context().wrap_socket(plain, server_hostname=sys.argv[1])
connection.request("GET", "/", headers={"X-Forwarded-For": "127.0.0.2", "X-Real-IP": "127.0.0.2"})
print(connection.getresponse().status)
"""


def status_from(host: Any, app: App, address: str) -> int:
    """The status a visitor with this address gets; every one of them claims to be 127.0.0.2."""
    script = base64.b64encode(FROM.encode()).decode()
    return int(must(host, f"python3 -c \"import base64; exec(base64.b64decode('{script}'))\" {app.domain} {address}"))


def test_maintenance(host: Any, app: App, static_file: str) -> None:
    """[S1] [K6] Closed at once and to all but those who must get in, by a verb that says what it did; and open again."""
    config = must(host, "cat /etc/nginx/sites-available/demo.conf")
    assert "127.0.0.2 1;" in config, "set nginx_maintenance_allow: [127.0.0.2] for the test host"
    marker = f"closed-{secrets.token_hex(8)}"
    workers = must(host, "pgrep -x nginx")
    closing = playbook("maintenance", host, {"on": True, "message": "Back at <10:00> & not before"})
    try:
        assert closing.status == 0 and "The site is closed to visitors" in closing.output, str(closing)
        assert "503" in closing.output and "slipway.vps.maintenance -e on=false" in closing.output, str(closing)
        for method, path, length in (("GET", "/", 0), ("POST", "/ledger", 0), ("PUT", "/x", 0), ("GET", f"/static/{static_file}", 0)):
            answer = ask(
                host, f"https://{app.domain}{path}", method, {"Content-Length": str(length), "User-Agent": f"{marker}{method}{path}"}
            )
            assert (answer.status, answer.one("Retry-After")) == (503, "120"), str(answer)
            assert answer.one("Cache-Control") == "no-store" and answer.one("Content-Type") == "text/html", str(answer)
            for name, value in HEADERS.items():
                assert answer.one(name) == value, str(answer)
            assert answer.one("Content-Security-Policy").startswith("default-src 'none'; style-src 'sha256-"), str(answer)
            page = answer.body.decode()
            assert "<h1>Down for maintenance</h1>" in page and "<p>Back at &lt;10:00&gt; &amp; not before</p>" in page, str(answer)
        # Neither the app nor another 503 of it: nginx asked nobody, and the id leads to the line of the log.
        line = logged(host, f'{marker}GET/"')
        assert (line["status"], line["upstream_status"], line["path"]) == (503, "", "/"), line
        large = ask(host, f"https://{app.domain}/", "POST", {"Content-Length": str(50 * 1024 * 1024)})
        assert (large.status, large.one("Retry-After")) == (503, "120"), str(large)

        for path in ("/healthz/live", "/healthz/ready"):
            healthy = ask(host, f"https://{app.domain}{path}")
            assert healthy.status == 200 and healthy.all("Retry-After") == [], str(healthy)
        assert ask(host, f"http://{app.domain}/.well-known/acme-challenge/absent").status == 404
        assert ask(host, f"http://{app.domain}/").status == ask(host, f"https://{app.alias}/").status == 308
        assert status_from(host, app, "127.0.0.2") == 200, "an address that is let in"
        assert status_from(host, app, "127.0.0.3") == 503, "an address that is only claimed"

        again = playbook("maintenance", host, {"on": "yes", "message": "Back at <10:00> & not before"})
        assert again.status == 0 and "changed=0 " in again.output, str(again)
    finally:
        opening = playbook("maintenance", host, {"on": False})
    assert opening.status == 0 and "The site is open" in opening.output, str(opening)
    assert ask(host, f"https://{app.domain}/").status == 200, str(ask(host, f"https://{app.domain}/"))
    assert must(host, "pgrep -x nginx") == workers, "nothing was reloaded"
    again = playbook("maintenance", host, {"on": "no"})
    assert again.status == 0 and "changed=0 " in again.output, str(again)


@pytest.mark.parametrize(("wanted", "said"), [({}, "on is missing"), ({"on": "maybe"}, "on=maybe is neither")])
def test_maintenance_asks_back(host: Any, app: App, wanted: dict[str, str], said: str) -> None:
    """[S1] Nothing is changed before it is clear what is wanted, and the answer shows how to say it."""
    refused = playbook("maintenance", host, wanted)
    assert refused.status != 0 and said in refused.output and "-e on=false" in refused.output, str(refused)
    assert not host.file(f"{app.root}/maintenance/index.html").exists


# --- E7: sizes, times, compression ------------------------------------------------------------


def test_text_is_compressed(host: Any, app: App, upload: str) -> None:
    """[E7] For those who can read it, and caches are told."""
    answer = ask(host, f"https://{app.domain}/uploads/{upload}", headers={"Accept-Encoding": "gzip"})
    assert (answer.one("Content-Encoding"), answer.one("Vary")) == ("gzip", "Accept-Encoding"), str(answer)
    plain = gzip.decompress(answer.body)
    assert len(answer.body) < len(plain) / 5 and plain.startswith(b"<script>")
    assert ask(host, f"https://{app.domain}/uploads/{upload}").all("Content-Encoding") == []


def test_large_bodies_are_refused_before_the_app(host: Any, app: App) -> None:
    """[E7] 413 at 10 MB and a byte, from the length alone."""
    answer = ask(host, f"https://{app.domain}/", method="POST", headers={"Content-Length": str(10 * 1024 * 1024 + 1)})
    assert answer.status == 413, str(answer)
    assert answer.one("X-Content-Type-Options") == "nosniff"


def test_header_floods_are_refused(host: Any, app: App) -> None:
    """[E7] field case 33: one field above 32 KB, or more than 64 KB of them in all: each with its page."""
    assert ask(host, f"https://{app.domain}/static/x", headers={"X-Large": "a" * 30000}).status == 404
    many = {f"X-Large-{number}": "a" * 7000 for number in range(11)}
    for headers in ({"Cookie": "a=" + "a" * 34000}, many):
        answer = ask(host, f"https://{app.domain}/static/x", headers=headers)
        assert answer.status == 431 and b"Too many cookies" in answer.body, str(answer)
    assert ask(host, f"https://{app.domain}/static/x?{'a' * 34000}").status == 414


def test_large_cookies_reach_the_app(host: Any, app: App) -> None:
    """[E7] field case 33: 20 kB, past nginx and past Gunicorn."""
    assert ask(host, f"https://{app.domain}/healthz/live", headers={"Cookie": "a=" + "a" * 20000}).status == 200


SLOW = r"""
import socket, ssl, sys, time
def connect():
    plain = socket.create_connection(("127.0.0.1", 443), timeout=40)
    return ssl._create_unverified_context().wrap_socket(plain, server_hostname=sys.argv[1])
host = sys.argv[1].encode()
header, body = connect(), connect()
header.sendall(b"GET / HTTP/1.1\r\nHost: " + host + b"\r\nX-Slow: ")
body.sendall(b"POST / HTTP/1.1\r\nHost: " + host + b"\r\nContent-Length: 100\r\n\r\nten bytes.")
start = time.monotonic()
for name, sock in (("header", header), ("body", body)):
    try:
        answer = sock.recv(4096)
    except (ssl.SSLEOFError, ConnectionResetError):
        answer = b""
    print(name, round(time.monotonic() - start), answer.split(b"\r\n")[0].decode() or "closed")
"""


def test_slow_clients_are_sent_away(host: Any, app: App) -> None:
    """[E7] A header or a body that stops arriving holds its connection for 15 s, not for ever; and no worker of the app."""
    said = must(host, f"timeout 60 python3 - {app.domain} <<'PY'\n{SLOW}\nPY")
    found = dict(re.findall(r"^(header|body) (\d+)", said, re.MULTILINE))
    assert set(found) == {"header", "body"} and all(13 <= int(seconds) <= 20 for seconds in found.values()), said


# --- E8: rates --------------------------------------------------------------------------------


def test_rates_are_limited_per_path(host: Any, app: App) -> None:
    """[E8] Beyond rate and burst the answer is 429, on the listed path only."""
    config = must(host, "cat /etc/nginx/sites-available/demo.conf")
    assert "location = /login" in config, "set nginx_rate_limits: [{path: /login, rate: 30r/m, burst: 10}] for the test host"
    answers = [ask(host, f"https://{app.domain}/login")]
    # A slow machine asks hardly faster than tokens come back: then it takes more than the burst.
    while answers[-1].status != 429 and len(answers) < 60:
        answers.append(ask(host, f"https://{app.domain}/login"))
    limited = answers[-1]
    assert limited.status == 429 and len(answers) > 8, [answer.status for answer in answers]
    assert b"Too many requests" in limited.body and limited.one("X-Request-ID").encode() in limited.body
    assert limited.one("X-Content-Type-Options") == "nosniff", str(limited)
    assert ask(host, f"https://{app.domain}/healthz/live").status != 429
    # Leave the path usable for the tests that log in: a token comes back every two seconds.
    must(host, "sleep 8")


# --- E9: the log ------------------------------------------------------------------------------


def test_health_checks_are_not_logged(host: Any, app: App) -> None:
    """[E9] And everything else is."""
    marker = f"health-{secrets.token_hex(8)}"
    for path in ("/healthz/live", "/healthz/ready?x=1", "/not-health"):
        ask(host, f"https://{app.domain}{path}", headers={"User-Agent": marker})
    assert logged(host, marker)["path"] == "/not-health"


def test_logs_are_rotated(host: Any) -> None:
    """[K2] The site's logs are where the package's rotation looks."""
    plan = must(host, "logrotate -d /etc/logrotate.d/nginx 2>&1")
    for name in ("access", "error"):
        assert f"considering log /var/log/nginx/demo.{name}.log" in plan, plan


# --- E10: the configuration -------------------------------------------------------------------


def test_the_configuration_is_valid_and_loaded_at_boot(host: Any) -> None:
    """[E10] nginx finds nothing to complain about, not even a warning."""
    said = must(host, "nginx -t 2>&1")
    assert "test is successful" in said and "[warn]" not in said, said
    assert must(host, "systemctl is-enabled nginx").strip() == "enabled"
    assert must(host, "systemctl is-active nginx").strip() == "active"


def test_a_broken_configuration_does_not_reach_visitors(host: Any, app: App) -> None:
    """[E10] The reload is refused, the reason is given, and the site goes on."""
    broken = "/etc/nginx/conf.d/zz-broken.conf"
    must(host, f"echo 'no_such_directive on;' > {broken}")
    try:
        assert host.run("systemctl reload nginx").rc != 0
        assert 'unknown directive "no_such_directive"' in host.run("nginx -t").stderr
        assert ask(host, f"http://{app.domain}/").status == 308
    finally:
        host.run(f"rm -f {broken}")
    must(host, "nginx -t && systemctl reload nginx")


@pytest.mark.parametrize(
    "path",
    [
        "conf.d/slipway.conf",
        "modules-enabled/90-slipway.conf",
        "sites-available/demo.conf",
        "sites-available/slipway-default.conf",
        "snippets/demo-headers.conf",
        "snippets/demo-proxy.conf",
        "snippets/slipway-tls.conf",
    ],
)
def test_files_say_who_wrote_them(host: Any, path: str) -> None:
    """[E10] Only files of our own, each with its mark."""
    is_ours(host, f"/etc/nginx/{path}", "nginx")


def test_the_package_s_files_are_untouched(host: Any) -> None:
    """[E10] An upgrade of nginx never asks which version of a file to keep."""
    changed = [line for line in host.run("dpkg --verify nginx nginx-common").stdout.splitlines() if "sites-available/default" not in line]
    assert changed == [], changed
    difference = host.run("diff /etc/nginx/nginx.conf.distrib /etc/nginx/nginx.conf").stdout.splitlines()
    told = [line for line in difference if line[0] in "<>" and line != "< worker_cpu_affinity auto;"]
    assert told == ["< \tworker_connections 768;", "> \tworker_connections 8192;"], difference
