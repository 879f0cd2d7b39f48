"""A second and a third app come to the machine while visitors use the first."""

from __future__ import annotations

import json
import socket
import ssl
from collections import Counter
from pathlib import Path
from typing import Any

from helpers import must
from machine import APPS, Play, Visit, must_be_served, owned, rows


def test_other_apps_come_while_the_first_serves(host: Any, play: Play, visit: Visit) -> None:
    """[F2 S1] Nobody who uses the first app notices, and nothing of it changes."""
    before, started = owned(host, "blog"), must(host, "systemctl show --value --property=ActiveEnterTimestamp postgresql@17-main")
    with visit("blog") as visitors:
        outcome = play("site.yml", "--limit", "shop,tiny")
        assert outcome.status == 0, str(outcome)
    must_be_served(visitors, least=200)
    assert Counter(rows(host, "blog", visitors.prefix)) == Counter(visitors.sent)
    assert owned(host, "blog") == before
    # max_connections has room for more apps.
    assert must(host, "systemctl show --value --property=ActiveEnterTimestamp postgresql@17-main") == started


def test_each_app_answers_under_its_own_name(address: str, acme_root: Path) -> None:
    """[F2 E2] With a certificate of its own that the CA has signed, from its own release."""
    context = ssl.create_default_context(cafile=str(acme_root))
    for name in APPS:
        domain = f"{name}.slipway.test"
        with (
            socket.create_connection((address, 443), timeout=10) as plain,
            context.wrap_socket(plain, server_hostname=domain) as connection,
        ):
            connection.sendall(f"GET / HTTP/1.0\r\nHost: {domain}\r\n\r\n".encode())
            assert connection.recv(12) == b"HTTP/1.1 200", name


def test_programs_on_the_host_know_each_app(host: Any) -> None:
    """[F2] The model without secrets, for each app."""
    for name in APPS:
        document = json.loads(host.file(f"/etc/{name}/app.json").content_string)
        assert document["name"] == name and document["machine"] == "slipway-apps" and document["socket"] == f"/run/{name}/gunicorn.sock"
        assert "canary" not in json.dumps(document)


def test_the_machine_has_room_for_all_apps(host: Any) -> None:
    """[D2 A3 F2] Connections are summed up, and each app's workers get their share of the memory."""
    most = int(must(host, "setpriv --reuid postgres --init-groups --regid postgres psql -XAtqc 'SHOW max_connections'"))
    assert most >= 200
    hours = {must(host, f"grep -oE '^[0-9]+ [0-9]+' /etc/cron.d/{name}-backup").strip() for name in APPS}
    assert len(hours) == len(APPS), f"backups at the same time: {hours}"


def test_a_second_run_changes_nothing(play: Play) -> None:
    """[F2 K10] With all apps there: the first is told of its smaller share of the memory by the first whole run, then nothing changes."""
    first = play("site.yml")
    assert first.status == 0, str(first)
    second = play("site.yml")
    assert second.status == 0, str(second)
    assert second.output.count("changed=0") == len(APPS), str(second)
