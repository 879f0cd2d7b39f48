"""Neither app sees anything of the other: tried with each app's own rights."""

from __future__ import annotations

from typing import Any

import pytest
from helpers import must
from machine import as_app

PAIRS = [("shop", "blog"), ("blog", "shop"), ("tiny", "blog")]


@pytest.mark.parametrize(("name", "other"), PAIRS)
def test_an_app_reads_no_file_of_another(host: Any, name: str, other: str) -> None:
    """[F2 A11 D3] Environment, secrets, uploads, logs, backups, keys."""
    own = as_app(host, name, f"cat /etc/{name}/environment && ls /srv/{name}/shared")
    assert own.rc == 0, f"the control: {own}"
    paths = (
        *(f"/etc/{other}/{file}" for file in ("environment", "secrets", "files", "backup.json")),
        *(f"/srv/{other}", f"/srv/{other}/shared", f"/srv/{other}/current/requirements.txt"),
        *(f"/var/log/{other}", f"/var/backups/{other}", f"/etc/letsencrypt/live/{other}"),
    )
    for path in paths:
        assert host.file(path).exists, f"the test names a path that is not there: {path}"
        read = as_app(host, name, f"if [ -d {path} ]; then ls {path}; else cat {path}; fi")
        assert read.rc != 0 and "Permission denied" in read.stderr, f"{name} reads {path}: {read}"


@pytest.mark.parametrize(("name", "other"), PAIRS)
def test_an_app_opens_no_socket_of_another(host: Any, name: str, other: str) -> None:
    """[F2 A5 D4] Neither Gunicorn's nor Redis's."""
    own = as_app(host, name, f"redis-cli -s /run/redis-{name}/redis.sock ping")
    assert own.stdout.strip() == "PONG", f"the control: {own}"
    for socket in (f"/run/{other}/gunicorn.sock", f"/run/redis-{other}/redis.sock"):
        assert must(host, f"test -S {socket} && echo there").strip() == "there"
        program = f"import socket; socket.socket(socket.AF_UNIX).connect('{socket}')"
        opened = as_app(host, name, f'python3 -c "{program}"')
        assert opened.rc != 0 and "PermissionError" in opened.stderr, f"{name} opens {socket}: {opened}"


@pytest.mark.parametrize(("name", "other"), PAIRS)
def test_an_app_enters_no_database_of_another(host: Any, name: str, other: str) -> None:
    """[F2 D1] Nor as another role."""
    psql = "psql -XAtq -h /run/postgresql"
    own = as_app(host, name, f"{psql} {name} -c 'SELECT 1'")
    assert own.stdout.strip() == "1", f"the control: {own}"
    for login in (f"{psql} {other}", f"{psql} -U {other} {other}", f"{psql} -U {other}_readonly {other}", f"{psql} -U postgres postgres"):
        entered = as_app(host, name, f"{login} -c 'SELECT 1'")
        assert entered.rc != 0 and ("denied" in entered.stderr or "failed" in entered.stderr), f"{name}: {login}: {entered}"


@pytest.mark.parametrize(("name", "other"), PAIRS)
def test_an_app_reads_no_journal_of_another(host: Any, name: str, other: str) -> None:
    """[F2 K1]"""
    assert must(host, f"journalctl --quiet --lines=1 --unit='{other}@*'").strip(), "the control: root reads it"
    read = as_app(host, name, f"journalctl --quiet --lines=1 --unit='{other}@*'")
    assert not read.stdout.strip(), f"{name} reads the journal of {other}: {read}"


def test_a_backup_holds_nothing_of_another_app(host: Any) -> None:
    """[F2 D3] Above all no key of its certificate."""
    must(host, "/usr/local/bin/slipway shop backup create --label apart")
    listed = must(host, "for f in /var/backups/shop/*/files.tar*; do tar -tf $f; done")
    assert "etc/shop/" in listed and "letsencrypt/archive/shop" in listed, listed[:2000]
    for other in ("blog", "tiny"):
        assert not [line for line in listed.splitlines() if f"/{other}/" in line or line.endswith(f"/{other}.conf")], listed[:2000]
