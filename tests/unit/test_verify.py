"""The walk along the request path: which hop is named, and that no hop passes by accident."""

from __future__ import annotations

import json
import os
import socket as sockets
import sqlite3
import ssl
import subprocess
import threading
import time
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.slipway.vps.plugins.module_utils.slipway import cli, hops, verify
from ansible_collections.slipway.vps.plugins.module_utils.slipway.app import App
from ansible_collections.slipway.vps.plugins.module_utils.slipway.backup import status
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core import units
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core.http import Answer
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core.run import Account, CommandError
from ansible_collections.slipway.vps.plugins.module_utils.slipway.doctor.findings import BrokenHopError
from ansible_collections.slipway.vps.plugins.module_utils.slipway.hops import AdviceError, RequestPath
from ansible_collections.slipway.vps.plugins.module_utils.slipway.pages import Advice, Reader, Reply
from ansible_collections.slipway.vps.plugins.module_utils.slipway.verify import CHECKS, Check, walk

from .program_app import app

#: What an app may keep its data in.
SERVED = ("postgres", "sqlite", "database", "redis")


@pytest.fixture
def path(tmp_path: Path) -> RequestPath:
    """The request path of an app on a host of its own."""
    return RequestPath(app(tmp_path), {"PGDATABASE": "blog"})


def seen(text: str) -> Callable[[RequestPath], str]:
    return lambda path: text


def broken(text: str) -> Callable[[RequestPath], str]:
    def probe(path: RequestPath) -> str:
        raise BrokenHopError(text)

    return probe


def test_a_hop_behind_a_broken_one_is_not_blamed(path: RequestPath) -> None:
    """[K8] PostgreSQL is down: it is named, and what can only follow from that is said to."""
    checks = (
        Check("nginx", "active", seen("yes"), "-"),
        Check("app", "ready", broken("503"), "journalctl -u '{name}@*'", ("postgres",)),
        Check("postgres", "reachable", broken("no socket"), "-"),
        Check("public endpoint", "a request", broken("503"), "-", ("nginx", "app")),
        Check("logs", "rotated", broken("absent"), "-"),
    )
    found = walk(path, checks).rows
    assert [row["result"] for row in found] == ["ok", "behind postgres", "BROKEN", "behind app", "BROKEN"]
    assert found[1]["fix"] == "journalctl -u 'blog@*'"


def test_a_check_that_succeeds_is_never_behind(path: RequestPath) -> None:
    """[K8] What answers, answers."""
    found = walk(path, (Check("a", "x", broken("no"), "-"), Check("b", "y", seen("yes"), "-", ("a",)))).rows
    assert [row["result"] for row in found] == ["BROKEN", "ok"]


@pytest.mark.parametrize("error", [CommandError("exit 1"), FileNotFoundError("gone"), KeyError("user"), ValueError("not a date")])
def test_whatever_goes_wrong_is_a_broken_hop(path: RequestPath, error: Exception) -> None:
    """[K8] And the walk goes on."""

    def probe(path: RequestPath) -> str:
        raise error

    found = walk(path, (Check("a", "x", probe, "-"), Check("b", "y", seen("yes"), "-"))).rows
    assert [row["result"] for row in found] == ["BROKEN", "ok"] and found[0]["evidence"]


def test_every_hop_of_the_path_is_probed() -> None:
    """[K8] In the order a request takes, and each `behind` names a hop there is."""
    asked = list(dict.fromkeys(check.hop for check in CHECKS))
    serves = ["nginx", "redirect", "socket", "server", "release", "app", "uploads"]
    keeps = ["postgres", "schema", "sqlite", "database", "redis", "timers", "backup", "logs", "machine"]
    assert asked == ["dns", "firewall", "tls", *serves, *keeps, "public endpoint", "smoke", "pages"]
    assert {hop for check in CHECKS for hop in check.behind} <= set(asked)


def test_advice_is_no_failure(path: RequestPath, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """[K8] A page that a browser would refuse in part is a warning with its remedy, and the exit status stays 0."""
    reader = Reader(
        "blog.example.com", lambda path: (), lambda domain, path: Reply("https://x/", 200, [("Content-Type", "text/html")], "<p>")
    )
    monkeypatch.setattr(hops, "Reader", lambda domain, own, get: reader)
    path.known.root.mkdir()
    assert "nothing that a browser would refuse" in path.pages()
    monkeypatch.setattr(reader, "static", lambda folder, static: [Advice("/static/", "is not there", "app_static")])
    checks = (Check("pages", "as a browser", RequestPath.pages, "-"),)
    (row,) = walk(path, checks).rows
    assert (row["result"], row["evidence"]) == ("warning", "1, below") and row["advice"][0]["fix"] == "app_static"
    monkeypatch.setattr(App, "load", classmethod(lambda cls, name: path.known))
    monkeypatch.setattr(verify.walk, "__defaults__", (checks, True))
    assert cli.main(["blog", "verify"]) == 0
    assert capsys.readouterr().out.splitlines()[-2:] == ["warning: /static/: is not there", "  fix: app_static"]
    (path.known.root / "maintenance").mkdir()
    (path.known.root / "maintenance/index.html").touch()
    assert path.pages() == "closed for maintenance"


def test_whose_header_it_is(path: RequestPath) -> None:
    """[K8] Asked of the app itself: what it does not send, nginx fills in."""
    assert path.app_headers("/") == []
    listener = sockets.socket(sockets.AF_UNIX)
    listener.bind(str(path.known.socket))
    listener.listen()

    def answer() -> None:
        connection, _ = listener.accept()
        assert b"Host: blog.example.com" in connection.recv(4096)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Security-Policy: x\r\nContent-Length: 0\r\n\r\n")
        connection.close()

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    assert path.app_headers("/") == ["content-security-policy", "content-length"]
    thread.join(5)
    listener.close()


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ("Status: inactive\n", "inactive"),
        ("Status: active\n\n80/tcp ALLOW Anywhere\n", "443/tcp"),
        ("Status: active\n\n80/tcp ALLOW Anywhere\n443/tcp ALLOW Anywhere\n", None),
    ],
)
def test_firewall(path: RequestPath, monkeypatch: pytest.MonkeyPatch, status: str, words: str | None) -> None:
    """[K5] Active, and open where visitors come in."""
    monkeypatch.setattr(hops, "command", lambda *_: status)
    if words is None:
        assert path.firewall()
    else:
        with pytest.raises(BrokenHopError, match=words):
            path.firewall()


def test_a_machine_that_is_left_to_another_firewall(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """[F3] ufw is not there, and that is no fault: whether from the model or from the app's document."""
    monkeypatch.setattr(hops, "command", lambda *_: pytest.fail("ufw was asked"))
    for said in ({"machine": {"name": "web1", "firewall": False}}, {"machine": "web1", "firewall": False}):
        assert "another firewall" in RequestPath(app(tmp_path, **said), None).firewall()


def certificate(path: RequestPath, monkeypatch: pytest.MonkeyPatch, names: list[str], days: int = 90, placeholder: bool = False) -> None:
    """The certificate on the disk, which nginx serves; each signs itself."""
    words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", "/dev/null"]
    words += ["-days", str(days), "-subj", "/CN=blog", "-addext", "subjectAltName=" + ",".join(f"DNS:{name}" for name in names)]
    pem = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    file = path.known.certificate.with_name("placeholder-fullchain.pem" if placeholder else "own.pem")
    file.write_text(pem)
    path.known.certificate.unlink(missing_ok=True)
    path.known.certificate.symlink_to(file.name)
    monkeypatch.setattr(hops, "served_certificate", lambda domain: ssl.PEM_cert_to_DER_cert(pem))
    monkeypatch.setattr(hops, "is_active", lambda unit: unit == "blog-tls.timer")


def test_tls(path: RequestPath, monkeypatch: pytest.MonkeyPatch) -> None:
    """[E2] [K8] The right certificate; a wildcard is good for one label; somebody has to renew it."""
    certificate(path, monkeypatch, ["blog.example.com", "www.blog.example.com"])
    # An operator's own, which signs itself: no placeholder.
    assert "issued by CN=blog; 8" in path.tls() or "issued by CN=blog; 90" in path.tls()
    certificate(path, monkeypatch, ["*.example.com", "*.blog.example.com"])
    assert "days left" in path.tls()
    monkeypatch.setattr(hops, "is_active", lambda unit: False)
    with pytest.raises(BrokenHopError, match="nothing renews the certificate"):
        path.tls()


def test_a_name_that_is_not_certified_yet_is_advice(path: RequestPath, monkeypatch: pytest.MonkeyPatch) -> None:
    """[E2] [K8] field case 43: the canonical name is served; the other joins when its DNS is right."""
    path.known.certificate_status.write_text(json.dumps({"attempt": {"reason": "www leads elsewhere"}}))
    certificate(path, monkeypatch, ["blog.example.com"])
    with pytest.raises(AdviceError) as told:
        path.tls()
    assert "does not name www.blog.example.com yet. www leads elsewhere" in told.value.found[0].what


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"placeholder": True}, "no certificate has been issued yet. www leads elsewhere"),
        ({"names": ["www.blog.example.com"]}, "does not name blog.example.com. www leads elsewhere"),
    ],
)
def test_tls_says_why_there_is_no_certificate(
    path: RequestPath, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], words: str
) -> None:
    """[E2] [K8] In the words of the program that keeps it; without its status file the check says what it sees."""
    path.known.certificate_status.write_text(json.dumps({"attempt": {"reason": "www leads elsewhere"}}))
    certificate(path, monkeypatch, **{"names": ["blog.example.com", "www.blog.example.com"], **changes})
    with pytest.raises(BrokenHopError) as told:
        path.tls()
    assert words in str(told.value)
    path.known.certificate_status.unlink()
    with pytest.raises(BrokenHopError) as told:
        path.tls()
    assert words.removesuffix(" www leads elsewhere") in str(told.value)


@pytest.mark.parametrize(
    ("mode", "active", "good"), [(0o660, True, True), (0o666, True, False), (0o600, True, False), (0o660, False, False)]
)
def test_socket(path: RequestPath, monkeypatch: pytest.MonkeyPatch, mode: int, active: bool, good: bool) -> None:
    """[A5] Mode and group exactly: open to more is as broken as open to none."""
    monkeypatch.setattr(hops, "is_active", lambda unit: active)
    listener = sockets.socket(sockets.AF_UNIX)
    listener.bind(str(path.known.socket))
    path.known.socket.chmod(mode)
    os.chown(path.known.socket, -1, os.getgid())
    if good:
        assert "0660" in path.socket()
    else:
        with pytest.raises(BrokenHopError):
            path.socket()
    listener.close()


def test_gunicorn(path: RequestPath, monkeypatch: pytest.MonkeyPatch) -> None:
    """[S1] The live release runs, and no other; one that ends is as it should be."""
    active, running, ending = {"blog@r1.service"}, ["blog@r1.service", "blog@r9.service"], {"blog@r9.service"}
    monkeypatch.setattr(hops, "is_active", active.__contains__)
    monkeypatch.setattr(
        units, "instances", lambda name, states: [unit for unit in running if unit not in ending or "deactivating" in states.split(",")]
    )
    monkeypatch.setattr(hops, "journal", lambda *_: "journal")
    with pytest.raises(BrokenHopError, match="no release is live"):
        path.server()
    path.known.root.mkdir()
    path.known.current.symlink_to("releases/r1")
    assert path.server() == "release r1"
    running.append("blog@r0.service")
    with pytest.raises(BrokenHopError, match=r"there still runs blog@r0\.service$"):
        path.server()
    active.clear()
    with pytest.raises(BrokenHopError, match="not active"):
        path.server()


@pytest.mark.parametrize(("answer", "good"), [((200, "ok"), True), ((503, "database"), False), ((0, "refused"), False), ((302, ""), False)])
def test_app(path: RequestPath, monkeypatch: pytest.MonkeyPatch, answer: tuple[int, str], good: bool) -> None:
    """[A14] Ready is 200 and nothing else."""
    monkeypatch.setattr(hops, "get", lambda *_: Answer(*answer))
    if good:
        assert path.app()
    else:
        with pytest.raises(BrokenHopError, match=str(answer[0] or "nothing")):
            path.app()


@pytest.mark.parametrize(("said", "good"), [("PONG\n", True), ("LOADING\n", False), ("", False)])
def test_redis(path: RequestPath, monkeypatch: pytest.MonkeyPatch, said: str, good: bool) -> None:
    """[D5] As the app's user, over its socket."""
    monkeypatch.setattr(Account, "of", classmethod(lambda cls, user, group: cls(user, 1, 1)))

    def command(*words: str, **options: Any) -> str:
        assert words[:3] == ("redis-cli", "-s", "/run/redis-blog/redis.sock") and options["account"].name == "blog"
        return said

    monkeypatch.setattr(hops, "command", command)
    if good:
        assert path.redis() == "PONG"
    else:
        with pytest.raises(BrokenHopError):
            path.redis()


@pytest.mark.parametrize(
    ("noted", "hours", "good"),
    [
        ({"last_success": {"name": "b1", "taken_at": "AGO"}}, 1, "newest b1, all is well"),
        ({}, 1, "the first night is to come"),
        ({}, 27, None),
        ({"last_success": {"name": "b1", "taken_at": "2026-11-18T03:30:00+00:00"}}, 1, None),
        ({"failures": {"create": {"at": "AGO", "reason": "empty dump refused"}}}, 1, None),
    ],
)
def test_backup(path: RequestPath, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, noted: Any, hours: float, good: str | None) -> None:
    """[D3] [K5] What is noted of it counts; only a host that has not had a night yet may lack a backup."""
    ago = datetime.now(timezone.utc).replace(microsecond=0).isoformat()
    with pytest.raises(BrokenHopError, match="no backups are set up"):
        path.backup()
    settings: dict[str, Any] = {
        **dict.fromkeys(("app", "user", "proxy_group", "database"), "blog"),
        **{"admin": "postgres", "socket_dir": "/run/postgresql", "backup_dir": str(path.known.backup_dir), "log_file": "/dev/null"},
        **{"shared": "/srv", "paths": [], "keep_days": 14, "reserve_mb": 1, "proof": False},
    }
    for folder in (path.known.config_dir, path.known.backup_dir):
        folder.mkdir(parents=True)
    (path.known.config_dir / "backup.json").write_text(json.dumps(settings))
    (path.known.backup_dir / "status.json").write_text(json.dumps(noted).replace("AGO", ago))
    monkeypatch.setattr(status, "is_active", lambda unit: unit == "cron.service")
    monkeypatch.setattr(status.scheduled, "__defaults__", (tmp_path,))
    with pytest.raises(BrokenHopError, match="no cron job"):
        path.backup()
    schedule = tmp_path / "blog-backup"
    schedule.touch()
    os.utime(schedule, times=(0, time.time() - hours * 3600))
    if good:
        assert path.backup() == good
    else:
        with pytest.raises(BrokenHopError, match=r"success: |create failed at .*: empty dump refused"):
            path.backup()


def test_a_fault_in_a_check_hides_nothing(path: RequestPath) -> None:
    """[K8] Whatever a check raises is its own row, and the others are asked."""

    def faulty(_: RequestPath) -> str:
        raise AttributeError("no such thing")

    rows = walk(path, (Check("nginx", "active", faulty, "-"), Check("app", "ready", seen("yes"), "-"))).rows
    assert [(row["result"], row["evidence"]) for row in rows] == [
        ("BROKEN", "the check itself failed: AttributeError: no such thing"),
        ("ok", "yes"),
    ]


def test_the_command_line_walks_the_same_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """[K8] `slipway blog verify`: a table, what was seen and what to do; exit status 1 while a hop is broken."""
    monkeypatch.setattr(App, "load", classmethod(lambda cls, name: app(tmp_path)))
    monkeypatch.setattr(
        verify.walk,
        "__defaults__",
        (
            (
                Check("nginx", "active", seen("yes"), "-"),
                Check("app", "ready", broken("503"), "read"),
            ),
            True,
        ),
    )
    assert cli.main(["blog", "verify"]) == 1
    said = capsys.readouterr().out.splitlines()
    assert said[0].split() == ["hop", "check", "result", "evidence"] and said[-2:] == ["  saw: 503", "  fix: read"]
    assert cli.main(["blog", "verify", "--json"]) == 1
    assert [check["hop"] for check in json.loads(capsys.readouterr().out)["broken"]] == ["app"]


# --- Services are a choice ------------------------------------------------------------------------


def hop_names(folder: Path, variables: dict[str, str] | None, **changes: Any) -> list[str]:
    path = RequestPath(app(folder, **changes), variables)
    return list(dict.fromkeys(check.hop for check in CHECKS if check.used(path) and check.hop in SERVED))


def test_a_service_that_the_app_does_not_use_is_no_hop(tmp_path: Path) -> None:
    """[F6] [K8] Neither a line for it, nor anything that could be broken."""
    redis, none = {"socket": "/run/redis-blog/redis.sock", "local": True}, {"socket": "", "local": False}
    assert hop_names(tmp_path, {"PGDATABASE": "blog"}) == ["postgres", "redis"]
    assert hop_names(tmp_path, None, database={"name": "", "kind": "none"}, redis=none) == []
    assert hop_names(tmp_path, None, database={"name": "", "kind": "sqlite"}, sqlite=["/srv/x.db"], redis=redis) == ["sqlite", "redis"]
    assert hop_names(tmp_path, None, database={"name": "", "kind": "other", "url": "mysql on db"}, redis=none) == ["database"]


def test_a_database_outside_of_slipway_is_named(tmp_path: Path) -> None:
    """[F6] A note in green: nothing is asked of it."""
    path = RequestPath(app(tmp_path, database={"name": "", "kind": "other", "url": "mysql on db.example.com"}), None)
    (row,) = walk(path, [check for check in CHECKS if check.hop == "database"]).rows
    assert row["result"] == "ok" and "mysql on db.example.com: neither backed up nor restored" in row["evidence"]


def test_a_sqlite_file_opens_or_is_a_broken_hop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """[F6] [K8] One that the app has not made yet is none."""
    monkeypatch.setattr(Account, "of", lambda *_: None)
    files = [tmp_path / name for name in ("good.db", "none.db", "bad.db")]
    with sqlite3.connect(files[0]) as connection:
        connection.execute("CREATE TABLE note (text)")
    files[2].write_text("no database at all" * 100)
    good = RequestPath(app(tmp_path, sqlite=list(map(str, files[:2]))), None)
    assert good.sqlite() == "good.db: 1 tables, none.db: not made yet"
    with pytest.raises(BrokenHopError, match=r"bad\.db: file is not a database"):
        RequestPath(app(tmp_path, sqlite=[str(files[2])]), None).sqlite()
