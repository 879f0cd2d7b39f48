"""What each app does that the others do not."""

from __future__ import annotations

import json
import re
import socket
import ssl
import uuid
from pathlib import Path
from typing import Any

import pytest
import requests
from brought import Brought
from helpers import must, until


def test_services_are_what_each_app_uses(host: Any, apps: tuple[Brought, ...]) -> None:
    """[F6] Most have neither a database nor a Redis."""
    names = {app.name for app in apps}
    databases = must(host, "runuser -u postgres -- psql -XAtqc 'SELECT datname FROM pg_database'").split()
    assert {*databases} - {"postgres", "template0", "template1"} == names & {"celery", "django", "fastapi", "ihatemoney"}
    units = must(host, "systemctl list-units --plain --no-legend --state=active 'redis-server@*'")
    assert set(re.findall(r"redis-server@([a-z]+)", units)) == names & {"celery", "rq"}


# --- SQLite -------------------------------------------------------------------------------------------


@pytest.mark.of("sqlite")
def test_sqlite_is_backed_up_and_comes_back(host: Any, browser: requests.Session) -> None:
    """[F6 D3 D5] Rows that were there at the backup, and none that came later; the app goes on answering."""
    url, before, after = "https://sqlite.slipway.test/", f"before-{uuid.uuid4()}", f"after-{uuid.uuid4()}"
    assert browser.post(url, {"text": before}, timeout=30).status_code == 201
    made = json.loads(must(host, "slipway --json sqlite backup create"))
    assert made["sqlite"], made
    must(host, "slipway sqlite backup verify")
    assert browser.post(url, {"text": after}, timeout=30).status_code == 201
    assert {before, after} <= set(browser.get(url, timeout=30).json())
    must(host, f"slipway sqlite backup restore {made['name']}")
    notes = browser.get(url, timeout=30).json()
    assert before in notes and after not in notes
    assert browser.post(url, {"text": "writes again"}, timeout=30).status_code == 201


@pytest.mark.of("sqlite")
def test_a_timer_runs_a_command_of_the_live_release(host: Any, browser: requests.Session) -> None:
    """[F5 F10] On its calendar, and its last result is in the status."""
    assert until(lambda: "tick" in browser.get("https://sqlite.slipway.test/", timeout=30).json(), 30)
    subjects = json.loads(must(host, "slipway --json sqlite status"))["apps"]["sqlite"]["subjects"]
    (timers,) = (one for one in subjects if one["subject"] == "timers")
    assert timers["state"] == "ok" and "tick" in timers["evidence"], timers


@pytest.mark.of("sqlite")
def test_what_the_app_writes_survives_a_release(host: Any) -> None:
    """[F5] The folder instance/ of a release is a link into shared/."""
    assert must(host, "readlink -f /srv/sqlite/current/instance").strip() == "/srv/sqlite/shared/instance"


# --- Django -------------------------------------------------------------------------------------------


@pytest.mark.of("django")
def test_django_admin_logs_in_and_writes(host: Any, browser: requests.Session) -> None:
    """[F6 F7] Over HTTPS with Django's own check of origins; static files come from nginx with the hash in their name."""
    environment = "DJANGO_SUPERUSER_USERNAME=ada DJANGO_SUPERUSER_EMAIL=ada@slipway.test DJANGO_SUPERUSER_PASSWORD=lovelace"
    must(host, f"slipway django run -- env {environment} python manage.py createsuperuser --noinput")
    front = "https://django.slipway.test/admin/"
    page = browser.get(f"{front}login/", timeout=30)
    (sheet,) = re.findall(r'href="(/static/admin/css/login\.[0-9a-f]{12}\.css)"', page.text)
    style = browser.get(f"https://django.slipway.test{sheet}", timeout=30)
    assert style.status_code == 200 and "immutable" in style.headers["Cache-Control"]

    def send(path: str, **fields: str) -> requests.Response:
        token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', browser.get(f"{front}{path}", timeout=30).text)
        assert token, path
        data = {"csrfmiddlewaretoken": token.group(1), **fields}
        headers = {"Referer": f"{front}{path}", "Origin": "https://django.slipway.test"}
        return browser.post(f"{front}{path}", data, headers=headers, timeout=30)

    assert "Log out" in send("login/", username="ada", password="lovelace", next="/admin/").text
    assert "was added successfully" in send("auth/group/add/", name="editors").text
    assert "editors" in browser.get(f"{front}auth/group/", timeout=30).text


@pytest.mark.of("celery")
def test_celery_works_beside_the_server(host: Any, browser: requests.Session) -> None:
    """[F5 F6] A request leaves a job in Redis, the worker writes its row, beat runs."""
    groups = "https://celery.slipway.test/groups/"
    assert browser.post(groups, {"name": "by the worker"}, timeout=30).status_code == 202
    assert until(lambda: "by the worker" in browser.get(groups, timeout=30).json()["groups"])
    assert "active" in must(host, "systemctl is-active 'celery-beat@*' || systemctl list-units --plain 'celery-beat*'")


@pytest.mark.of("rq")
def test_rq_works_beside_the_server(browser: requests.Session) -> None:
    """[F6] With the plain URL of Redis."""
    job = browser.post("https://rq.slipway.test/double/21", timeout=30).text
    assert until(lambda: browser.get(f"https://rq.slipway.test/jobs/{job}", timeout=30).json()["result"]) == 42


# --- ASGI, long connections ---------------------------------------------------------------------------


def upgraded(address: str, root: Path, domain: str, path: str) -> ssl.SSLSocket:
    """A WebSocket through nginx (RFC 6455, 4.1)."""
    context = ssl.create_default_context(cafile=str(root))
    connection = context.wrap_socket(socket.create_connection((address, 443), timeout=10), server_hostname=domain)
    connection.sendall(
        f"GET {path} HTTP/1.1\r\nHost: {domain}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nOrigin: https://{domain}\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode()
    )
    head = b""
    while b"\r\n\r\n" not in head:
        more = connection.recv(1)
        assert more, head
        head += more
    assert head.startswith(b"HTTP/1.1 101"), head
    return connection


@pytest.mark.of("fastapi")
def test_asgi_apps_are_served(browser: requests.Session) -> None:
    """[F5] With the settings that pydantic reads from the environment, and static files from nginx."""
    assert browser.get("https://fastapi.slipway.test/page", timeout=30).json() == {"size": 20}
    assert browser.get("https://fastapi.slipway.test/assets/a.css", timeout=30).headers.get("Cache-Control")
    assert browser.get("https://fastapi.slipway.test/internal/healthz", timeout=30).status_code == 200


@pytest.mark.of("quart")
def test_a_websocket_of_an_asgi_app(address: str, acme_root: Path) -> None:
    """[F5 E5] Through nginx to Quart and back."""
    with upgraded(address, acme_root, "quart.slipway.test", "/echo") as connection:
        connection.sendall(b"\x81\x82\0\0\0\0hi")
        assert connection.recv(4) == b"\x81\x02hi"


@pytest.mark.of("socketio")
def test_a_websocket_of_threads(address: str, acme_root: Path) -> None:
    """[F6 E5] Flask-SocketIO: one worker, each client a thread."""
    with upgraded(address, acme_root, "socketio.slipway.test", "/socket.io/?EIO=4&transport=websocket") as connection:
        # A text frame; engine.io opens with the packet 0.
        assert connection.recv(200)[2:4] == b"0{"


# --- Names, prefix, mail ------------------------------------------------------------------------------


@pytest.mark.of("prefix")
def test_below_a_prefix(browser: requests.Session) -> None:
    """[F7] The app builds its links and redirects with it, and nothing is served beside it."""
    assert browser.get("https://prefix.slipway.test/blog/", timeout=30).text == "/blog/entries/1"
    answer = browser.get("https://prefix.slipway.test/blog/newest", timeout=30)
    assert answer.url == "https://prefix.slipway.test/blog/entries/2" and answer.text == "entry 2"
    assert browser.get("https://prefix.slipway.test/newest", timeout=30).status_code == 404


@pytest.mark.of("plain")
def test_another_brand_is_served_as_it_is(browser: requests.Session) -> None:
    """[F7] No redirect to the first domain, and the certificate has its name."""
    answer = browser.get("https://brand.slipway.test/", timeout=30, allow_redirects=False)
    assert answer.status_code == 200 and answer.text == "hello"


@pytest.mark.of("letters")
def test_mail_by_the_hosts_own_program(host: Any, browser: requests.Session) -> None:
    """[F6] The opening lets Postfix's setgid program write its queue; an app without it cannot."""
    assert (
        browser.post("https://letters.slipway.test/", {"to": "root@localhost", "text": "canary of the mail"}, timeout=30).status_code == 201
    )
    assert until(lambda: host.run("grep -rqs 'canary of the mail' /var/mail").rc == 0)
    # Postfix's program tries again for ever.
    refused = host.run("slipway sqlite run -- sh -c 'echo x | timeout 10 /usr/sbin/sendmail -t root@localhost'")
    assert refused.rc != 0, refused.stdout


@pytest.mark.of("isso")
def test_a_second_run_changes_nothing(play: Any) -> None:
    """[K10 F9] With all apps there, after all that they did."""
    done = play("site.yml")
    assert done.status == 0, str(done)
    assert all(int(changed) == 0 for changed in re.findall(r"changed=(\d+)", done.output)), str(done)
