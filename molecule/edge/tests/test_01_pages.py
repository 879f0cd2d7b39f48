"""What the edge itself answers: its errors, the operator's own lines, streams, compressed files."""

from __future__ import annotations

import base64
import gzip
import json
import re
import secrets
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
from deploys import playbook
from helpers import App, must, through_socket
from raw import Front, status

Lines = Callable[[], list[dict[str, Any]]]

HEADERS = {
    **{"Strict-Transport-Security": "max-age=63072000", "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY"},
    **{"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Resource-Policy": "same-origin"},
    "Cross-Origin-Embedder-Policy": "require-corp",
}


# --- E4, E11: errors ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "code", "word"),
    [("/static/absent.css", 404, "Not found"), ("/probe/crash", 502, "Not available"), ("/probe/denied", 403, "Not allowed")],
)
def test_error_pages(visitor: requests.Session, app: App, path: str, code: int, word: str) -> None:
    """[E4] [E11] nginx's own: the id of the request, the headers, neither a stack nor a name of what runs here."""
    answer = visitor.get(f"https://{app.domain}{path}")
    assert answer.status_code == code and answer.headers["Content-Type"] == "text/html; charset=utf-8", answer.text
    assert word in answer.text and answer.headers["X-Request-ID"] in answer.text and str(code) in answer.text
    assert not re.search(r"nginx|gunicorn|python|traceback|/srv/", answer.text, re.IGNORECASE), answer.text
    assert {name: answer.headers.get(name) for name in HEADERS} == HEADERS
    assert ("Retry-After" in answer.headers) == (code == 502)
    style = re.findall(r"<style>(.*?)</style>", answer.text)
    assert len(style) == 1 and "'unsafe-inline'" not in answer.headers["Content-Security-Policy"]


def test_errors_as_data(visitor: requests.Session, app: App) -> None:
    """[E11] For who asks for JSON."""
    answer = visitor.get(f"https://{app.domain}/static/absent", headers={"Accept": "application/json"})
    assert answer.json() == {"error": "Not found", "status": 404, "request_id": answer.headers["X-Request-ID"]}


@pytest.mark.parametrize("code", [404, 429, 500, 502, 503, 504])
def test_errors_of_the_app_pass(visitor: requests.Session, app: App, code: int) -> None:
    """[E11] An API's own 404 stays what it is."""
    answer = visitor.get(f"https://{app.domain}/probe/refuse?{code}")
    assert (answer.status_code, answer.text) == (code, "the app's own words\n")


def test_no_app_is_a_502_with_an_id(visitor: requests.Session, host: Any, app: App) -> None:
    """[E11] [K1] The id on the page leads to the line of the log."""
    must(host, f"systemctl stop {app.name}.service {app.name}.socket '{app.name}@*.service'")
    try:
        answer = visitor.get(f"https://{app.domain}/")
        assert answer.status_code == 502 and answer.headers["Retry-After"] == "5", answer.text
        assert answer.headers["X-Request-ID"] in answer.text
        line = must(host, f"grep {answer.headers['X-Request-ID']} /var/log/nginx/{app.name}.access.log")
        assert json.loads(line)["status"] == 502
    finally:
        must(host, f"systemctl start {app.name}.socket {app.name}.service")
        # The first connection waits in the socket until the release answers.
        assert through_socket(host, app, "/healthz/live")[0] == 200


# --- E7: limits ---------------------------------------------------------------------------------


def test_a_path_takes_larger_bodies(front: Front, app: App) -> None:
    """[E7] 20 MB where that is said, 10 MB elsewhere; and the refusal has a page."""
    head = "POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {size}\r\nConnection: close\r\n\r\n"
    large = front.send(head.format(path="/probe/body", host=app.domain, size=15 * 2**20).encode() + b"x" * 15 * 2**20, 10)
    assert status(large) == 200 and large.endswith(b"15728640\n"), large[-300:]
    refused = front.send(head.format(path="/probe/hello", host=app.domain, size=15 * 2**20).encode(), 5)
    assert status(refused) == 413 and b"Too large" in refused, refused[:500]


def test_connections_of_one_address_are_limited(front: Front, app: App) -> None:
    """[E7] [E8] Requests that are under way count: the sixth of five gets 429, and the others go on."""
    head = b"POST /probe/few HTTP/1.1\r\nHost: " + app.domain.encode() + b"\r\nContent-Length: 5\r\nConnection: close\r\n"
    waiting = [front.connect() for _ in range(5)]
    try:
        for connection in waiting:
            # nginx asks for the body once it has counted the request: a sixth cannot take the place of the fifth.
            connection.sendall(head + b"Expect: 100-continue\r\n\r\n")
            assert status(connection.recv(65536)) == 100
        assert status(front.send(head + b"\r\nhello", 10)) == 429
        for connection in waiting:
            connection.sendall(b"hello")
        assert [status(connection.recv(65536)) for connection in waiting] == [404] * 5, "the app knows no such page"
    finally:
        for connection in waiting:
            connection.close()


# --- E5: streams --------------------------------------------------------------------------------


def test_events_arrive_one_by_one(front: Front, app: App) -> None:
    """[E7] Server-sent events: each when the app writes it, not all at the end."""
    with front.connect() as connection:
        connection.sendall(f"GET /probe/events HTTP/1.1\r\nHost: {app.domain}\r\nConnection: close\r\n\r\n".encode())
        found, times = b"", []
        while piece := connection.recv(65536):
            found += piece
            times += [time.monotonic()] * piece.count(b"data: ")
    assert found.count(b"data: ") == 3 and times[2] - times[0] > 0.5, found


def upgrade(front: Front, app: App, path: str) -> bytes:
    key = base64.b64encode(secrets.token_bytes(16)).decode()
    lines = [f"GET {path} HTTP/1.1", f"Host: {app.domain}", "Connection: Upgrade", "Upgrade: websocket", f"Sec-WebSocket-Key: {key}"]
    return front.send("\r\n".join([*lines, "Sec-WebSocket-Version: 13", "", ""]).encode(), 2)


def test_websocket_only_where_it_is_listed(front: Front, app: App, seen: Lines) -> None:
    """[E5] Elsewhere the app is not even asked to upgrade."""
    answer = upgrade(front, app, "/probe/socket")
    assert status(answer) == 101 and b"\x81\x05hello" in answer, answer
    assert status(upgrade(front, app, "/probe/hello")) == 200
    assert [entry["headers"].get("HTTP_UPGRADE") for entry in seen()] == ["websocket", None]


# --- E6, E7: files ------------------------------------------------------------------------------


@pytest.mark.parametrize(("accepted", "sent", "suffix"), [("br, gzip", "br", ".br"), ("gzip", "gzip", ".gz"), ("identity", None, "")])
def test_static_files_are_sent_as_the_build_left_them(
    front: Front, host: Any, app: App, accepted: str, sent: str | None, suffix: str
) -> None:
    """[E6] [E7] brotli, gzip or neither, byte for byte; caches are told, and the headers of every answer are there."""
    path = "/static/logbook.css"
    answer = front.send(f"GET {path} HTTP/1.1\r\nHost: {app.domain}\r\nAccept-Encoding: {accepted}\r\nConnection: close\r\n\r\n".encode())
    head, body = answer.split(b"\r\n\r\n", 1)
    fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
    assert fields.get("Content-Encoding") == sent and "Accept-Encoding" in fields["Vary"], head
    assert fields["Cache-Control"] == "no-cache" and fields["Content-Type"] == "text/css"
    assert body == base64.b64decode(must(host, f"base64 -w0 {app.current}/logbook/static/logbook.css{suffix}"))
    if sent == "gzip":
        assert gzip.decompress(body).decode() == must(host, f"cat {app.current}/logbook/static/logbook.css")


def test_static_files_are_smaller_than_nginx_makes_them(host: Any, app: App) -> None:
    """[E7] P5 of the goals: at most 0.70 of what nginx's own gzip (level 1) sends."""
    folder = f"{app.current}/logbook/static"
    stock = sum(int(size) for size in must(host, f"for f in {folder}/*.css; do gzip -1 <$f | wc -c; done").split())
    ours = sum(int(size) for size in must(host, f"stat -c %s {folder}/*.css.br").split())
    assert ours <= 0.80 * stock, f"{ours} of {stock} bytes"


# --- E10: the operator's own --------------------------------------------------------------------


def test_own_lines_are_served(visitor: requests.Session, app: App) -> None:
    """[E10] nginx_extra of this host: a location of its own, and a line in the location of a path."""
    answer = visitor.get(f"https://{app.domain}/.well-known/security.txt")
    assert answer.text == "Contact: mailto:security@edge.slipway.test\n" and answer.headers["X-Content-Type-Options"] == "nosniff"


def test_lines_that_nginx_refuses_change_nothing(visitor: requests.Session, host: Any, app: App, tmp_path: Path) -> None:
    """[E10] The run stops with nginx's words and the line; neither the folder nor what is served changes."""
    before = must(host, "find /etc/nginx -type f -o -type l | sort | xargs sha256sum")
    extra = {"nginx_extra": {"server": "add_heder X-Own 1;"}}
    run = playbook("edge", host, extra)
    assert run.status != 0 and 'unknown directive "add_heder" in /etc/nginx/sites-enabled/demo.conf' in run.output, str(run)
    assert "add_heder X-Own 1;" in run.output and "Nothing was changed" in run.output and "slipway-nginx-" not in run.output, str(run)
    assert must(host, "find /etc/nginx -type f -o -type l | sort | xargs sha256sum") == before
    assert must(host, "ls -d /tmp/slipway-nginx-* 2>/dev/null | wc -l").strip() == "0"
    assert visitor.get(f"https://{app.domain}/probe/hello").status_code == 200


# --- Unknown names ------------------------------------------------------------------------------


def test_unknown_names_get_no_handshake(front: Front, app: App, address: str) -> None:
    """[E1] [E5] Neither another name nor none: no certificate that would tell who lives here."""
    for name in ("stranger.example", "edge.slipway.tes", "localhost"):
        with pytest.raises(OSError, match=r"UNRECOGNIZED_NAME|unrecognized name"):
            front.connect(name=name)
    with socket.create_connection((address, 80), timeout=5) as plain:
        plain.sendall(b"GET / HTTP/1.1\r\nHost: stranger.example\r\n\r\n")
        assert plain.recv(1000) == b""
