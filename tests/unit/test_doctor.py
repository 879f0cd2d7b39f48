# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""The doctor names the cause, and not what follows from it. Each problem that it knows is seen by a test here or on a host.

molecule/default/tests/test_20_doctor.py breaks a real host in most of these ways.
"""

from __future__ import annotations

import json
import os
import re
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.slipway.vps.plugins.action.verify import seen as ports_seen
from ansible_collections.slipway.vps.plugins.module_utils.slipway import cli, verify
from ansible_collections.slipway.vps.plugins.module_utils.slipway.app import App
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core.run import Account, CommandError
from ansible_collections.slipway.vps.plugins.module_utils.slipway.doctor import client, clues, data, machine, serve
from ansible_collections.slipway.vps.plugins.module_utils.slipway.doctor.findings import (
    BrokenHopError,
    Problem,
    Seen,
    TroubleError,
    found,
)
from ansible_collections.slipway.vps.plugins.module_utils.slipway.doctor.problems import BY_ID, PROBLEMS
from ansible_collections.slipway.vps.plugins.module_utils.slipway.hops import RequestPath
from ansible_collections.slipway.vps.plugins.module_utils.slipway.verify import CHECKS, Check, walk

from .conftest import ROOT
from .program_app import app


@pytest.fixture
def path(tmp_path: Path) -> RequestPath:
    """The request path of an app on a host of its own."""
    return RequestPath(app(tmp_path), {"PGDATABASE": "blog"})


def sees(*problems: str) -> Callable[[RequestPath], str]:
    """A check that sees problems."""

    def probe(path: RequestPath) -> str:
        raise TroubleError([Seen(problem, f"evidence of {problem}") for problem in problems])

    return probe


def named(path: RequestPath, *problems: str) -> list[str]:
    """What the doctor names where these problems are seen, each by a check of its hop."""
    behind = {check.hop: check.behind for check in CHECKS if check.behind}
    checks = [Check(BY_ID[one].hop, one, sees(one), "-", behind.get(BY_ID[one].hop, ())) for one in problems]
    return [finding.id for finding in walk(path, checks).findings]


# --- The table of problems ------------------------------------------------------------------------


def test_each_problem_is_whole() -> None:
    """[K8] A name of its own, a hop that is walked, and texts that end without a full stop."""
    assert len(BY_ID) == len(PROBLEMS) > 60
    walked = {check.hop for check in CHECKS} | {"smoke"}
    for problem in PROBLEMS:
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)+", problem.id) and problem.hop in walked, problem
        assert problem.what and problem.cause and problem.fix and not problem.what.endswith("."), problem
        assert set(problem.explains) <= walked | set(BY_ID), problem


def test_a_fix_names_settings_and_playbooks_that_exist() -> None:
    """[K8] [F8] Whoever follows it finds what it names."""
    known = set(re.findall(r"^\| `(\w+)`", (ROOT / "docs/settings.md").read_text(), flags=re.MULTILINE))
    playbooks = {path.stem for path in (ROOT / "playbooks").glob("*.yml")}
    for problem in PROBLEMS:
        texts = f"{problem.what} {problem.cause} {problem.fix}"
        for name in re.findall(r"\b(?:app|nginx|tls|server|postgres|redis|base|updates|backup)_[a-z_]+", texts):
            assert name in known, f"{problem.id}: there is no {name}"
        assert set(re.findall(r"slipway\.vps\.(\w+)", texts)) <= playbooks, problem.id


def test_who_sees_each_problem() -> None:
    """[K8] None is in the table that nothing looks for."""
    folder = ROOT / "plugins/module_utils/slipway"
    code = "".join(
        path.read_text() for path in (folder / "hops.py", *sorted((folder / "doctor").glob("*.py"))) if path.name != "problems.py"
    )
    assert not [problem.id for problem in PROBLEMS if f'"{problem.id}"' not in code]


def test_a_text_without_its_value_still_reads() -> None:
    """[K8] And an address in the evidence loses its password."""
    problem = Problem("x-y", "app", "{what} broke", "{app}", "mend {app}")
    one = found(problem, "could not connect to\n postgresql://blog:hunter2@db/blog", {"app": "blog"})
    assert (one.what, one.fix) == ("… broke", "mend blog") and one.evidence == "could not connect to postgresql://blog:***@db/blog"
    assert len(found(problem, "x" * 5000, {}).evidence) == 400


# --- What follows from what -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seen", "due"),
    [
        (["database-down", "app-not-ready", "endpoint-error"], ["database-down"]),
        (["port-taken", "nginx-down", "redirect-wrong", "tls-closed", "endpoint-error"], ["port-taken"]),
        (["nginx-down", "tls-closed", "endpoint-error"], ["nginx-down"]),
        (["disk-full", "database-down", "backup-failed", "app-not-ready", "endpoint-error"], ["disk-full"]),
        (["import-error", "app-not-ready", "endpoint-error", "workers-died"], ["import-error"]),
        (["dns-absent", "tls-placeholder"], ["dns-absent"]),
        (["redis-down", "app-not-ready", "endpoint-error"], ["redis-down"]),
        (["database-lock", "workers-saturated", "slow-answers"], ["database-lock"]),
        (["reboot-pending", "backup-stale"], ["backup-stale", "reboot-pending"]),
        (["socket-missing", "backup-stale", "endpoint-error"], ["socket-missing", "backup-stale"]),
    ],
)
def test_the_cause_is_named_and_nothing_that_follows(path: RequestPath, seen: list[str], due: list[str]) -> None:
    """[K8] First what is broken, in the order of the path; two that have nothing to do with each other are both named."""
    assert sorted(named(path, *seen)) == sorted(due) and named(path, *seen)[0] == due[0]


def test_two_that_explain_each_other_are_not_both_silent(path: RequestPath) -> None:
    """[K8]"""
    assert named(path, "disk-full", "database-disk") == ["disk-full"] or named(path, "disk-full", "database-disk") == ["database-disk"]


def test_a_check_that_knows_no_name_is_named_by_its_hop(path: RequestPath) -> None:
    """[K8] What is broken in a way that nobody thought of is named all the same, with the check's own remedy."""

    def probe(path: RequestPath) -> str:
        raise ValueError("odd")

    (finding,) = walk(path, [Check("public endpoint", "a request", probe, "read {name}'s log")]).findings
    assert (finding.id, finding.hop, finding.evidence, finding.fix) == (
        "public-endpoint-broken",
        "public endpoint",
        "odd",
        "read blog's log",
    )


def test_what_is_degraded_breaks_nothing(path: RequestPath) -> None:
    """[K8] It is a warning in verify, and the exit status says which."""
    walked = walk(path, [Check("machine", "updates", sees("reboot-pending"), "-")])
    assert [row["result"] for row in walked.rows] == ["warning"] and not walked.broken


def test_the_walk_after_a_deploy_leaves_out_what_no_deploy_changes(path: RequestPath) -> None:
    """[K8] A second there is a second of each deploy."""
    checks = [Check("a", "x", lambda path: "yes", "-"), Check("b", "y", lambda path: "yes", "-", thorough=True)]
    assert len(walk(path, checks, thorough=False).rows) == 1 and len(walk(path, checks).rows) == 2


@pytest.mark.parametrize(
    ("problems", "status"), [([], 0), (["database-down"], 1), (["reboot-pending"], 3), (["reboot-pending", "redis-down"], 1)]
)
def test_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], problems: list[str], status: int
) -> None:
    """[K8] `slipway blog doctor`: what, evidence, cause and fix; the exit status tells whether somebody has to act."""
    monkeypatch.setattr(App, "load", classmethod(lambda cls, name: app(tmp_path)))
    checks = tuple(Check(BY_ID[one].hop, one, sees(one), "-") for one in problems)
    monkeypatch.setattr(verify.walk, "__defaults__", (checks, True))
    assert cli.main(["blog", "doctor"]) == status
    said = capsys.readouterr().out
    assert ("nothing is wrong" in said) == (not problems)
    for problem in problems:
        assert f"saw:   evidence of {problem}" in said and "  cause: " in said and "  fix:   " in said
    assert cli.main(["blog", "doctor", "--json"]) == status
    assert sorted(one["id"] for one in json.loads(capsys.readouterr().out)["findings"]) == sorted(problems)


# --- What logs tell -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("ModuleNotFoundError: No module named 'redis'", "import-error"),
        ("ImportError: cannot import name 'url_quote' from 'werkzeug.urls'", "import-error"),
        ("KeyError: 'STRIPE_KEY'", "missing-variable"),
        ("RuntimeError: STRIPE_KEY is not set", "missing-variable"),
        ("decouple.UndefinedValueError: SECRET_KEY not found. Declare it as envvar or define a default value.", "missing-variable"),
        ("django.core.exceptions.ImproperlyConfigured: Set the DATABASE_HOST environment variable", "missing-variable"),
        ("[2026-11-28 10:00:00 +0000] [7] [ERROR] Worker (pid:9) was sent SIGKILL! Perhaps out of memory?", "out-of-memory"),
        ("blog@1.service: A process of this unit has been killed by the OOM killer.", "out-of-memory"),
        ('FATAL:  password authentication failed for user "blog"', "database-password"),
        ("FATAL:  sorry, too many clients already", "database-connections"),
        ("sqlalchemy.exc.ArgumentError: Could not parse SQLAlchemy URL", "app-error"),
        ("Failed to find attribute 'application' in 'blog'.", "app-error"),
        ("KeyError: 'title'", "app-error"),
    ],
)
def test_why_a_server_does_not_start(line: str, problem: str) -> None:
    """[K8]"""
    seen = clues.first(
        ["[1] [INFO] Starting gunicorn", "Traceback (most recent call last):", '  File "x.py", line 3', line, "Shutting down"]
    )
    assert seen and (seen.problem, seen.evidence) == (problem, line)


def test_a_start_that_says_nothing_of_note() -> None:
    """[K8]"""
    assert clues.first(["[1] [INFO] Starting gunicorn", "Shutting down: Master"]) is None


@pytest.mark.parametrize(
    ("line", "problem", "value"),
    [
        ("upstream sent too big header while reading response header from upstream", "header-too-big", ("side", "the app sends")),
        ('client sent too long header line: "Cookie: x" while reading', "header-too-big", ("side", "a cookie")),
        ("client intended to send too large body: 20971520 bytes", "body-too-big", ("needed", "20971520")),
        ("upstream timed out (110: Connection timed out) while reading response header", "slow-answers", ("count", "1 time")),
        ("connect() to unix:/run/blog/gunicorn.sock failed (11: Resource temporarily", "workers-saturated", ("queued", "more")),
        ("upstream prematurely closed connection while reading response header", "workers-died", ("minutes", "15")),
        ("8192 worker_connections are not enough", "nginx-limits", ("count", "1 time")),
        ('open() "/srv/blog/shared/uploads/a.png" failed (13: Permission denied)', "uploads-unreadable", ("path", "/srv/blog")),
    ],
)
def test_what_nginx_says_of_requests(line: str, problem: str, value: tuple[str, str]) -> None:
    """[K8]"""
    (seen,) = clues.read([f"2026/11/28 10:00:00 [error] 7#7: *1 {line}"], clues.NGINX)
    assert seen.problem == problem and seen.values[value[0]].startswith(value[1])
    assert "…" not in "".join(found(BY_ID[problem], seen.evidence, {**seen.values, "app": "blog", "domain": "x"})[3:])


def test_a_problem_of_many_lines_is_named_once() -> None:
    """[K8] By its last line, and how often."""
    (seen,) = clues.read([f"{number} WORKER TIMEOUT (pid:{number})" for number in range(3)], clues.REQUESTS)
    assert seen.evidence.startswith("2 ") and seen.values["count"] == "3 times"


def test_only_the_last_minutes_of_nginx_count(tmp_path: Path) -> None:
    """[K8] What was longer ago may have been mended."""
    now = time.time()
    log = tmp_path / "error.log"
    lines = [time.strftime("%Y/%m/%d %H:%M:%S", time.localtime(now - minutes * 60)) + f" [error] {minutes}" for minutes in (60, 14, 0)]
    log.write_text("\n".join(["no date", *lines]) + "\n")
    assert [line[-3:].strip() for line in serve.recent(log, now)] == ["14", "0"] or len(list(serve.recent(log, now))) == 2
    assert not list(serve.recent(tmp_path / "none.log"))


# --- Looks ----------------------------------------------------------------------------------------


def judged(addresses: list[str], own: list[str], here: bool = False) -> list[str]:
    return [seen.problem for seen in client.judge(["blog.example.com"], lambda name: (addresses, ""), own, lambda address, name: here)]


def test_where_names_lead() -> None:
    """[E2] [K8] Here; elsewhere; nowhere; by IPv6 to a former server; and behind a router that has the address."""
    assert judged(["203.0.113.5"], ["203.0.113.5"]) == []
    assert judged(["93.184.216.34"], ["8.8.4.4"]) == ["dns-elsewhere"]
    assert judged(["93.184.216.34"], ["8.8.4.4"], here=True) == []
    assert judged([], ["8.8.4.4"]) == ["dns-absent"]
    assert judged(["8.8.4.4", "2606:2800:220:1::1"], ["8.8.4.4"]) == ["dns-stale-aaaa"]
    # NAT: the machine knows a private address alone, and cannot tell.
    assert judged(["93.184.216.34"], ["10.0.0.5"]) == []
    assert judged(["10.0.0.9"], ["10.0.0.5"]) == ["dns-elsewhere"]


class Zone:
    """CAA records by name."""

    def __init__(self, **records: list[str]) -> None:
        self.known = {name.replace("_", "."): lines for name, lines in records.items()}

    def records(self, name: str, kind: str) -> list[str]:
        assert kind == "CAA"
        return self.known.get(name, [])


def test_a_caa_record_that_refuses_the_ca() -> None:
    """[E2] [K8] The nearest record counts, and other CAs than ours are not judged."""
    directory = "https://acme-v02.api.letsencrypt.org/directory"

    def refused(zone: Zone, url: str = directory) -> list[str]:
        return [seen.values["ca"] for seen in client.caa(["blog.example.com"], url, zone)]

    assert refused(Zone(example_com=['0 issue "digicert.com"'])) == ["letsencrypt.org"]
    assert refused(Zone(example_com=['0 issue "digicert.com"', '0 issue "letsencrypt.org; validationmethods=http-01"'])) == []
    assert refused(Zone(example_com=['0 issue "digicert.com"'], blog_example_com=['0 issue "letsencrypt.org"'])) == []
    assert refused(Zone(example_com=['0 iodef "mailto:a@example.com"'])) == []
    assert refused(Zone(example_com=['0 issue ";"'])) == ["letsencrypt.org"]
    assert refused(Zone(example_com=['0 issue "digicert.com"']), "https://ca.internal/dir") == []


def test_ports_that_the_controller_cannot_reach(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """[K5] [K8] Only where nginx listens: otherwise nginx is the problem."""
    seen = RequestPath(app(tmp_path), None, {"ports": {"80": "open", "443": "timed out"}})
    monkeypatch.setattr(RequestPath, "listening", lambda self: {80: {"nginx"}, 443: {"nginx"}})
    with pytest.raises(BrokenHopError) as error:
        client.outside(seen)
    assert error.value.seen[0].problem == "port-unreachable" and error.value.seen[0].values == {"port": "443"}
    monkeypatch.setattr(RequestPath, "listening", lambda self: {80: {"nginx"}})
    assert client.outside(seen) == "80 reached from the controller"


def test_another_server_at_the_port(path: RequestPath, monkeypatch: pytest.MonkeyPatch) -> None:
    """[K8]"""
    monkeypatch.setattr(RequestPath, "listening", lambda self: {80: {"apache2"}, 443: {"nginx"}})
    monkeypatch.setattr(RequestPath, "unit_at", lambda self, port: "apache2.service")
    with pytest.raises(BrokenHopError) as error:
        client.ports(path)
    assert error.value.seen[0].values == {"port": "80", "who": "apache2", "unit": "apache2.service"}


@pytest.mark.parametrize(
    ("used", "files", "due"), [(50, 10, []), (92, 10, ["disk-nearly-full"]), (99, 10, ["disk-full"]), (50, 99, ["inodes-full"])]
)
def test_room(path: RequestPath, monkeypatch: pytest.MonkeyPatch, used: int, files: int, due: list[str]) -> None:
    """[K8] Bytes, and files."""

    class Usage:
        f_blocks, f_bfree, f_bavail, f_frsize, f_files, f_ffree, f_favail = 100, 100 - used, 100 - used, 4096, 100, 100 - files, 100 - files

    monkeypatch.setattr(machine, "mounts", lambda places: iter([("/", "/")]))
    monkeypatch.setattr(os, "statvfs", lambda place: Usage)
    if not due:
        assert machine.room(path) == "/ 50 %"
        return
    with pytest.raises(TroubleError) as error:
        machine.room(path)
    assert [seen.problem for seen in error.value.seen] == due


def test_room_of_the_database(path: RequestPath, monkeypatch: pytest.MonkeyPatch) -> None:
    """[D5] [K8] A disk of its own that is full is PostgreSQL's problem."""

    class Usage:
        f_blocks, f_bfree, f_bavail, f_frsize, f_files, f_ffree, f_favail = 100, 0, 0, 4096, 100, 90, 90

    monkeypatch.setattr(machine, "mounts", lambda places: iter([("/var/lib/postgresql", "/var/lib/postgresql")]))
    monkeypatch.setattr(os, "statvfs", lambda place: Usage)
    path.known.database["local"] = True  # type: ignore[index]
    with pytest.raises(TroubleError) as error:
        machine.room(path)
    assert [seen.problem for seen in error.value.seen] == ["database-disk"]


def test_the_clock_against_the_controllers(tmp_path: Path) -> None:
    """[K8]"""
    with pytest.raises(BrokenHopError) as error:
        machine.clock(RequestPath(app(tmp_path), None, {"time": time.time() + 600}))
    assert error.value.seen[0].problem == "clock-off" and error.value.seen[0].values["seconds"] == "-600"


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        ('FATAL:  password authentication failed for user "blog"', "database-password"),
        ('FATAL:  Peer authentication failed for user "blog"', "database-password"),
        ('FATAL:  database "blog" does not exist', "database-absent"),
        ("FATAL:  sorry, too many clients already", "database-connections"),
        ('connection to server on socket "/run/postgresql/.s.PGSQL.5432" failed: No such file or directory', "database-down"),
        ('connection to server at "db" (10.0.0.5), port 5432 failed: Connection refused', "database-down"),
        ("FATAL:  the database system is starting up", "database-down"),
        ("something new", "database-unreachable"),
    ],
)
def test_why_postgresql_refuses(said: str, problem: str) -> None:
    """[D5] [K8]"""
    assert data.refusal(said) == problem


def test_a_schema_that_is_not_the_releases(path: RequestPath, monkeypatch: pytest.MonkeyPatch) -> None:
    """[A13] [K8] A table that is not there is a database that was never migrated."""
    monkeypatch.setattr(path.releases, "live_manifest", lambda: {"id": "1", "schema_after": "0003"})
    monkeypatch.setattr(path, "query", lambda sql: "0003\n")
    assert data.schema(path) == "0003"
    monkeypatch.setattr(path, "query", lambda sql: "0002\n")
    with pytest.raises(TroubleError) as error:
        data.schema(path)
    assert error.value.seen[0].values["seen"] == "0002"

    def absent(sql: str) -> str:
        raise CommandError('relation "alembic_version" does not exist')

    monkeypatch.setattr(path, "query", absent)
    with pytest.raises(TroubleError):
        data.schema(path)


@pytest.mark.parametrize(
    ("info", "problem"),
    [
        ("used_memory:99\nmaxmemory:100\nmaxmemory_policy:noeviction\n", "redis-full"),
        ("used_memory:9\nmaxmemory:100\nmaxmemory_policy:noeviction\nrdb_last_bgsave_status:err\n", "redis-unsaved"),
        ("used_memory:99\nmaxmemory:100\nmaxmemory_policy:allkeys-lru\n", None),
    ],
)
def test_redis(path: RequestPath, monkeypatch: pytest.MonkeyPatch, info: str, problem: str | None) -> None:
    """[K8] Full is a problem only where nothing is thrown out."""
    monkeypatch.setattr(Account, "of", lambda *_: None)
    monkeypatch.setattr(data, "command", lambda *words, account: info)
    if problem:
        with pytest.raises(BrokenHopError) as error:
            data.redis(path)
        assert error.value.seen[0].problem == problem
    else:
        assert "99 of 100" in data.redis(path)


def test_requests_that_wait_at_the_socket() -> None:
    """[K8] As ss says it: the third column is who waits."""
    line = "u_str LISTEN 3      2048                 /run/blog/gunicorn.sock 41234                    * 0"
    assert serve.backlog(line, "/run/blog/gunicorn.sock") == 3 and serve.backlog(line, "/run/shop/gunicorn.sock") is None


def test_a_dead_lock_and_a_release_that_was_left(path: RequestPath) -> None:
    """[K8] A lock that lives is a deploy at work, whatever state its release is in."""
    folder = path.known.releases / "20261128T000000-x"
    folder.mkdir(parents=True)
    (folder / "release.json").write_text(json.dumps({"id": folder.name, "state": "building", "created_at": "2026-11-28"}))
    with pytest.raises(BrokenHopError) as error:
        serve.release(path)
    assert error.value.seen[0].problem == "release-half"
    lock = path.known.root / ".lease.json"
    lock.write_text(json.dumps({"token": "x", "owner": "ada", "host": "laptop", "expires_at": "2020-01-01T00:00:00+00:00"}))
    with pytest.raises(BrokenHopError) as error:
        serve.release(path)
    assert error.value.seen[0].problem == "lock-dead" and "ada@laptop" in str(error.value)
    lock.write_text(json.dumps({"token": "x", "owner": "ada", "expires_at": "2999-01-01T00:00:00+00:00"}))
    assert serve.release(path) == "a deploy is at work"


def test_a_proxy_that_nginx_does_not_know(path: RequestPath, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """[E5] [K8] Nearly all requests come from one address, and say for whom; a single client that says so is none."""
    log = tmp_path / "access.log"
    monkeypatch.setattr(serve, "Path", lambda name: log)

    def write(*entries: dict[str, Any]) -> None:
        log.write_text("first\n" + "".join(json.dumps(entry) + "\n" for entry in entries))

    through = {"remote_addr": "10.0.0.9", "peer": "10.0.0.9", "forwarded_for": "192.0.2.7"}
    write(*[through] * 30)
    with pytest.raises(BrokenHopError) as error:
        serve.hops(path)
    assert error.value.seen[0].values["proxy"] == "10.0.0.9"
    write(*[through] * 30, *[{"remote_addr": "192.0.2.8", "peer": "192.0.2.8", "forwarded_for": ""}] * 30)
    assert serve.hops(path) == "1 hop"
    write(*[{**through, "remote_addr": "192.0.2.7"}] * 30)
    assert serve.hops(path) == "1 hop"


def test_the_controller_looks_at_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    """[K5] [K8] Where SSH itself comes by another way (ProxyJump), nothing is said of ports."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert ports_seen("127.0.0.1", port).keys() == {"80", "443"}
    assert ports_seen("127.0.0.1", port) == {}
