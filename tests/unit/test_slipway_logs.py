"""`slipway <app> logs` on the host: one request through nginx, server and app in order of time, and what comes while somebody follows."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.slipway.vps.plugins.module_utils.slipway import logs

from .conftest import ROOT
from .program_app import app, facts

REQUEST = "5f1c0a9e3b2d4c6e8f7a9b0c1d2e3f40"
#: What it is asked, and lines that a test has written; with --follow those that come later, too.
JOURNALCTL = """#!{python}
import json, sys, time
words = sys.argv[1:]
open("{folder}/asked", "a").write(" ".join(words) + chr(10))
behind = next((float(w.partition("=c")[2]) for w in words if w.startswith("--after-cursor=")), 0)
seen = 0
while True:
    lines = open("{folder}/journal").read().splitlines()
    for line in lines[seen:]:
        if float(json.loads(line)["__CURSOR"][1:]) > behind:
            print(line, flush=True)
    seen = len(lines)
    if "--follow" not in words:
        sys.exit(0 if seen else 1)
    time.sleep(0.02)
"""
PROGRAM = """
import pathlib, sys
sys.path.insert(0, sys.argv.pop(1))
from slipway import cli, logs
from slipway.app import App
folder = pathlib.Path(sys.argv.pop(1))
App.load.__func__.__defaults__ = (folder / "etc",)
logs.ACCESS_LOGS = str(folder / "nginx")
sys.exit(cli.main())
"""
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start `slipway blog logs …` with these words."""
    found = app(tmp_path)
    found.config_dir.mkdir(parents=True)
    (found.config_dir / "app.json").write_text(json.dumps(facts(tmp_path)))
    for folder in ("bin", "nginx"):
        (tmp_path / folder).mkdir()
    program = tmp_path / "bin/journalctl"
    program.write_text(JOURNALCTL.format(python=sys.executable, folder=tmp_path))
    program.chmod(0o755)
    (tmp_path / "journal").touch()
    running: list[subprocess.Popen[str]] = []

    def end() -> None:
        for process in running:
            process.kill()

    # A line that never comes shall not be waited for.
    clock = threading.Timer(60, end)
    clock.start()

    def begin(*words: str) -> subprocess.Popen[str]:
        environment = {**os.environ, "PATH": f"{tmp_path}/bin:{os.environ['PATH']}"}
        line = [sys.executable, "-c", PROGRAM, str(ROOT / "plugins/module_utils"), str(tmp_path), "blog", "logs", *words]
        running.append(subprocess.Popen(line, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE))
        return running[-1]

    yield begin
    clock.cancel()
    end()
    for process in running:
        process.communicate()


def journal(folder: Path, at: float, message: Any, unit: str = "blog@1.service") -> None:
    """A line of the journal."""
    entry = {"__REALTIME_TIMESTAMP": str(int(at * 1e6)), "__CURSOR": f"c{at}", "_SYSTEMD_UNIT": unit, "MESSAGE": message}
    with (folder / "journal").open("a") as file:
        file.write(json.dumps(entry) + "\n")


def access(at: str, **more: Any) -> str:
    """A line of nginx's log."""
    return json.dumps({"time": at, "request_id": REQUEST, **more}) + "\n"


def test_one_request_in_order_of_time(start: Start, tmp_path: Path) -> None:
    """[K1] [F10] nginx's line and the app's, rotated logs too; nginx's second ends after what the app wrote in it."""
    journal(tmp_path, 1795159321.25, "first")
    journal(tmp_path, 1795159321.75, [255, 104, 105], unit="blog-worker@1.service")
    journal(tmp_path, 1795159330.5, "a task, later")
    (tmp_path / "nginx/blog.access.log").write_text(access("2026-11-20T08:22:01+01:00", status=200) + '{"request_id":"other"}\n')
    with gzip.open(tmp_path / "nginx/blog.access.log.2.gz", "wt") as log:
        log.write(access("2026-11-20T07:21:00+00:00", n=1))
    said, errors = (process := start("--request", REQUEST)).communicate(timeout=20)
    assert (process.returncode, errors) == (0, "")
    assert [line.split(" ", 1) for line in said.splitlines()] == [
        ["2026-11-20T07:21:00.999999+00:00", f"nginx: {access('2026-11-20T07:21:00+00:00', n=1).strip()}"],
        ["2026-11-20T07:22:01.250000+00:00", "blog@1: first"],
        ["2026-11-20T07:22:01.750000+00:00", "blog-worker@1: \ufffdhi"],
        ["2026-11-20T07:22:01.999999+00:00", f"nginx: {access('2026-11-20T08:22:01+01:00', status=200).strip()}"],
        ["2026-11-20T07:22:10.500000+00:00", "blog@1: a task, later"],
    ]
    asked = (tmp_path / "asked").read_text()
    assert f"--grep={REQUEST}" in asked and "--unit=blog@*.service" in asked and "--unit=blog-worker@*.service" in asked
    said, _ = start("--request", REQUEST, "--json").communicate(timeout=20)
    assert [json.loads(line)["source"] for line in said.splitlines()] == ["nginx", "blog@1", "blog-worker@1", "nginx", "blog@1"]


def test_a_request_that_nobody_knows(start: Start) -> None:
    """[F8] The next command is said; an id is no pattern."""
    assert start("--request", REQUEST).communicate(timeout=20) == (
        "",
        f"slipway: no log of blog has the request {REQUEST}; its newest lines: slipway blog logs\n",
    )
    process = start("--request", ".*")
    assert "no id of a request" in process.communicate(timeout=20)[1] and process.returncode == 1


def test_without_a_request_it_is_the_journal(start: Start, tmp_path: Path) -> None:
    """[F10] Times in UTC and to the microsecond, so that lines of several hosts have an order."""
    start("--lines", "5", "--since", "1 hour ago").communicate(timeout=20)
    asked = (tmp_path / "asked").read_text()
    assert "--utc --output=short-iso-precise --lines=5 --since=1 hour ago --unit=blog.service" in asked and "--follow" not in asked


def test_following_a_request(start: Start, tmp_path: Path) -> None:
    """[F10] What there is, then what comes to either log, at once; nothing twice, nothing of other requests; Ctrl-C ends it quietly."""
    log = tmp_path / "nginx/blog.access.log"
    log.write_text(access("2026-11-20T07:22:01+00:00", n=1))
    journal(tmp_path, 1795159320.0, "old")
    process = start("--request", REQUEST, "--follow")
    assert process.stdout and process.stderr
    assert [process.stdout.readline().split(" ", 1)[1][:12] for _ in range(2)] == ["blog@1: old\n", 'nginx: {"tim']
    began = time.monotonic()
    journal(tmp_path, 1795159321.0, "new")
    assert "blog@1: new" in process.stdout.readline()
    with log.open("a") as file:
        file.write('{"request_id":"other"}\n' + access("2026-11-20T07:22:02+00:00", n=2))
    assert '"n": 2' in process.stdout.readline()
    assert time.monotonic() - began < 10
    assert "--follow --after-cursor=c1795159320.0" in (tmp_path / "asked").read_text()
    process.send_signal(signal.SIGINT)
    assert (process.wait(20), process.stdout.read(), process.stderr.read()) == (logs.EXIT_INTERRUPTED, "", "")


def test_following_ends_when_nobody_reads(start: Start, tmp_path: Path) -> None:
    """[F10] The connection is gone, and no new line comes that would notice it."""
    process = start("--request", REQUEST, "--follow")
    end = time.monotonic() + 20
    while "--follow" not in (tmp_path / "asked").read_text() if (tmp_path / "asked").exists() else True:
        assert time.monotonic() < end
        time.sleep(0.02)
    assert process.poll() is None and process.stdout
    process.stdout.close()
    assert process.wait(20) == 0
