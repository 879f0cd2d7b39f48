"""What a visitor does, and what a neighbour cannot: real requests through nginx, from outside the host."""

from __future__ import annotations

import json
import re
import shlex
import struct
import time
import zlib
from typing import Any

import pytest
import requests
from helpers import App, journal, live_unit, must, until


def picture() -> bytes:
    """A PNG of one pixel."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0\0\0\0")) + chunk(b"IEND", b"")


def token(page: requests.Response) -> str:
    found = re.search(r'name="csrf_token"[^>]*value="([^"]+)"', page.text)
    assert found, f"{page.status_code} {page.url}\n{page.text[:2000]}"
    return found.group(1)


def evidence(host: Any, app: App, answer: requests.Response) -> str:
    return f"{answer.status_code} {answer.url}\n{dict(answer.headers)}\n{answer.text[:1000]}\n{journal(host, live_unit(host, app))}"


def test_http_leads_to_https(visitor: requests.Session, host: Any, app: App) -> None:
    """[E1] Typed without https, and with www: one lands on the canonical name, over TLS that the CA vouches for."""
    answer = visitor.get(f"http://{app.alias}/login?next=/")
    assert answer.status_code == 200, evidence(host, app, answer)
    assert answer.url == f"https://{app.domain}/login?next=/"
    assert answer.history[0].status_code == 308


def test_log_in_write_and_read(visitor: requests.Session, host: Any, app: App, account: tuple[str, str]) -> None:
    """[K6 A16 D5 E6] Log in, write an entry with a picture, read both: database, session, upload and static files."""
    site = f"https://{app.domain}"
    name, password = account
    answer = visitor.post(
        f"{site}/login",
        data={"name": name, "password": password, "csrf_token": token(visitor.get(f"{site}/login"))},
        headers={"Referer": f"{site}/login"},
    )
    assert answer.status_code == 200 and answer.history, evidence(host, app, answer)
    cookies = "; ".join(hop.headers.get("Set-Cookie", "") for hop in answer.history)
    assert all(flag in cookies for flag in ("Secure", "HttpOnly", "SameSite=Lax")), cookies

    text = f"wind north, {time.time_ns()}"
    page = visitor.get(f"{site}/")
    answer = visitor.post(
        f"{site}/entries",
        data={"text": text, "csrf_token": token(page)},
        files={"picture": ("ship.png", picture(), "image/png")},
        headers={"Referer": f"{site}/"},
    )
    assert answer.status_code == 200, evidence(host, app, answer)
    page = visitor.get(f"{site}/")
    assert text in page.text, evidence(host, app, page)
    assert (
        must(host, f"runuser -u {app.name} -- psql -XAtc \"select count(*) from entries where text='{text}'\" {app.database}").strip()
        == "1"
    )

    address = re.search(r'/uploads/[^"\s]+\.png', page.text)
    assert address, page.text[:2000]
    upload = visitor.get(site + address.group())
    assert (upload.status_code, upload.content) == (200, picture()), evidence(host, app, upload)
    style = re.search(r'href="(/static/[^"]+\.css[^"]*)"', page.text)
    assert style and visitor.get(site + style.group(1)).headers["Cache-Control"].startswith("public, max-age=31536000")


def test_the_smoke_test_of_the_app(host: Any, app: App) -> None:
    """[K6 K8 A11] The converge has sent it, and root can on the host; it leaves nothing. A broken expectation is named, without secrets."""
    file = f"{app.config}/smoke.json"
    assert must(host, f"stat -c '%U %a' {file}").split() == ["root", "600"]

    def walk() -> dict[str, Any]:
        said = host.run(f"slipway {app.name} verify --json")
        assert "canary" not in said.stdout and said.stdout.startswith("{"), said
        found: dict[str, Any] = json.loads(said.stdout)
        return {**next(row for row in found["checks"] if row["hop"] == "smoke"), "findings": found["findings"]}

    # nginx lets one address log in ten times a minute.
    seen = until(lambda: (found := walk()) and not found["evidence"].startswith("not known") and found, 90)
    assert seen["result"] == "ok" and seen["evidence"].endswith("its picture, take it out again"), seen
    entries = f"runuser -u {app.name} -- psql -XAtc \"select count(*) from entries where text like 'The smoke test%'\" {app.database}"
    assert must(host, entries).strip() == "0"
    kept = json.loads(must(host, f"cat {file}"))
    must(host, f"cp -p {file} {file}.kept")
    try:
        next(step for step in kept["steps"] if step["name"] == "log in")["status"] = 418
        must(host, f"printf %s {shlex.quote(json.dumps(kept))} > {file}")
        seen = until(lambda: (found := walk()) and not found["evidence"].startswith("not known") and found, 90)
        assert seen["result"] == "BROKEN", seen
        assert seen["evidence"].startswith("log in: POST /login answered 303 to /, and 418 is due"), seen
        assert "smoke-failed" in [finding["id"] for finding in seen["findings"]], seen
    finally:
        must(host, f"mv {file}.kept {file}")


def test_session_lives_in_redis(visitor: requests.Session, host: Any, app: App, account: tuple[str, str]) -> None:
    """[A16] The cookie is a name only; the session itself is on the server, so any worker or release can read it."""
    before = int(must(host, f"redis-cli -s {app.redis_socket} dbsize"))
    visitor.get(f"https://{app.domain}/login")
    assert int(must(host, f"redis-cli -s {app.redis_socket} dbsize")) == before + 1
    assert all(len(cookie.value or "") < 100 for cookie in visitor.cookies)


def test_a_form_without_its_token_is_refused(visitor: requests.Session, host: Any, app: App) -> None:
    """[A16] CSRF protection holds through the proxy."""
    answer = visitor.post(f"https://{app.domain}/login", data={"name": "keeper", "password": "x"})
    assert answer.status_code == 400, evidence(host, app, answer)


def test_app_sees_the_real_client(host: Any, app: App, address: str, neighbour: Any) -> None:
    """[E5] The address the app sees is the neighbour's own, whatever the neighbour claims."""
    own = must(neighbour, "hostname -i").split()[0]
    script = (
        "import json,ssl,http.client,socket;"
        f"c=http.client.HTTPSConnection('{app.domain}',context=ssl._create_unverified_context());"
        "c.request('GET','/whoami',headers={'X-Forwarded-For':'6.6.6.6','X-Real-IP':'6.6.6.6','X-Forwarded-Proto':'http',"
        "'X-Forwarded-Host':'evil.example','X-Forwarded-Prefix':'/evil','Forwarded':'for=6.6.6.6','X-Request-ID':'spoofed-id-0001'});"
        "print(c.getresponse().read().decode())"
    )
    seen = json.loads(must(neighbour, f'python3 -c "{script}"'))
    assert seen["remote_addr"] == own, seen
    assert seen["scheme"] == "https" and seen["host"] == app.domain, seen
    assert seen["request_id"] != "spoofed-id-0001", "the client chose the request id"


def test_one_id_from_nginx_to_the_app(visitor: requests.Session, host: Any, app: App) -> None:
    """[E11 K1] The id in the answer is the one in nginx's log, Gunicorn's and the app's."""
    answer = visitor.get(f"https://{app.domain}/version")
    request_id = answer.headers["X-Request-ID"]
    assert answer.json()["release"] in live_unit(host, app)

    def lines() -> list[str]:
        said = must(host, f"journalctl --sync; journalctl -u {live_unit(host, app)} -o cat --no-pager -n 200")
        return [line for line in said.splitlines() if request_id in line]

    assert until(lambda: len(lines()) >= 2), f"{request_id} stands in {lines()}"
    assert request_id in must(host, f"cat /var/log/nginx/{app.name}*access*.log"), "nginx's log does not know it"


def test_unknown_hosts_get_nothing(host: Any, app: App, address: str, visitor: requests.Session) -> None:
    """[E5 A17] A name that is not ours reaches neither the app nor a page."""
    with pytest.raises(requests.ConnectionError):
        visitor.get(f"http://{address}/", timeout=5)


@pytest.mark.parametrize("port", [22, 80, 443])
def test_open_ports(neighbour: Any, address: str, port: int) -> None:
    """[K5] What a visitor and the operator need is open."""
    assert knock(neighbour, address, port) == "open"


@pytest.mark.parametrize("port", [5432, 6379, 8000, 5000, 25, 111])
def test_closed_ports(neighbour: Any, address: str, port: int) -> None:
    """[K5 D1 D4 A5] Database, Redis and Gunicorn are out of a neighbour's reach."""
    assert knock(neighbour, address, port) != "open"


def test_firewall_and_not_only_an_absent_server(host: Any, neighbour: Any, address: str) -> None:
    """[K5] A port on which something does listen is closed all the same."""
    must(host, "systemd-run --quiet --unit=slipway-probe python3 -m http.server 8099")
    try:
        assert until(lambda: "8099" in must(host, "ss -Hltn"))
        assert knock(neighbour, address, 8099) == "filtered"
    finally:
        must(host, "systemctl stop slipway-probe")


def knock(neighbour: Any, address: str, port: int) -> str:
    """open, closed (refused) or filtered (no answer), as the neighbour finds it."""
    script = (
        "import socket\n"
        "try:\n"
        f" socket.create_connection(('{address}',{port}),2);print('open')\n"
        "except ConnectionRefusedError: print('closed')\n"
        "except OSError: print('filtered')"
    )
    return must(neighbour, f'python3 -c "{script}"').strip()
