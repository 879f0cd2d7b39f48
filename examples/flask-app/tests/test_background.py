"""What happens after the answer: queueing, the tasks, and a real worker where there is a redis-server."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fakeredis
import pytest
from celery import Celery
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select

from logbook.background import broker_url, slow_ledger
from logbook.extensions import RedisSessions, db
from logbook.models import Entry, LedgerLine

from .conftest import MakeApp, log_in, token

ROOT = Path(__file__).parents[1]


def words(app: Flask) -> list[int | None]:
    with app.app_context():
        return list(db.session.scalars(select(Entry.words).order_by(Entry.id)))


def keys(app: Flask) -> list[str]:
    with app.app_context():
        return list(db.session.scalars(select(LedgerLine.key).order_by(LedgerLine.id)))


def write(client: FlaskClient, text: str, **headers: str) -> int:
    data = {"text": text, "csrf_token": token(client, "/")}
    return client.post("/entries", data=data, headers=headers).status_code


@pytest.mark.parametrize(
    ("redis", "celery"),
    [
        ("unix:///run/redis-demo/redis.sock?db=0", "redis+socket:///run/redis-demo/redis.sock?virtual_host=0"),
        ("unix:///run/a%20b/redis.sock", "redis+socket:///run/a%20b/redis.sock?virtual_host=0"),
        ("unix://me:p%40ss@/run/redis.sock?db=2", "redis+socket://me:p%40ss@/run/redis.sock?virtual_host=2"),
        ("unix:///run/redis.sock?password=a/b", "redis+socket://:a%2Fb@/run/redis.sock?virtual_host=0"),
        ("redis://localhost:6379/1", "redis://localhost:6379/1"),
        ("rediss://db.example/1", "rediss://db.example/1?ssl_cert_reqs=required"),
        ("rediss://db.example/1?ssl_cert_reqs=none", "rediss://db.example/1?ssl_cert_reqs=none"),
    ],
)
def test_broker_url(redis: str, celery: str) -> None:
    """[A15] One REDIS_URL for both; a certificate is checked unless the operator says otherwise."""
    assert broker_url(redis) == celery


def test_broker_is_the_redis_that_was_meant(make_app: MakeApp) -> None:
    """[A15] What kombu makes of the URL is what redis-py made of REDIS_URL."""
    app = make_app(REDIS_URL="unix://me:p%40ss@/run/a%20b/redis.sock?db=2")
    meant = app.extensions["redis"].connection_pool.connection_kwargs
    with app.extensions["celery"].connection_for_write() as connection:
        # A channel connects as soon as there is one: ask its class what it would connect to.
        channel_class = connection.transport.Channel
        channel = channel_class.__new__(channel_class)
        channel.connection = connection.transport
        found = channel._connparams()
    for name in ("path", "db", "username", "password"):
        assert found[name] == meant[name]


def test_settings(app: Flask) -> None:
    """[A15] JSON only, nothing in hand but what is being done, done before it is off the queue, no results kept."""
    conf = app.extensions["celery"].conf
    assert (conf.task_serializer, conf.accept_content) == ("json", ["json"])
    assert (conf.task_acks_late, conf.worker_prefetch_multiplier) == (True, 1)
    assert (conf.result_backend, conf.task_ignore_result) == (None, True)


def test_each_app_has_its_own(make_app: MakeApp) -> None:
    """[S1] The task of the deploy tests is there for them alone."""
    celery: Celery = make_app().extensions["celery"]
    testing: Celery = make_app(LOGBOOK_LEDGER="1").extensions["celery"]
    assert {name for name in celery.tasks if name.startswith("logbook.")} == {"logbook.count_words"}
    assert {name for name in testing.tasks if name.startswith("logbook.")} == {
        "logbook.count_words",
        "logbook.slow_ledger",
    }


def test_words_are_counted_at_once_without_a_queue(app: Flask, client: FlaskClient) -> None:
    """[A15]"""
    log_in(client)
    for text in ("Land!", "Left harbour.\nThick  fog."):
        assert write(client, text) == 303
    assert words(app) == [1, 4]
    page = client.get("/").text
    assert "ada, 1 word<" in page
    assert "ada, 4 words<" in page


def test_a_task_for_an_entry_that_is_gone(app: Flask) -> None:
    """[A15]"""
    assert app.extensions["celery"].tasks["logbook.count_words"].apply([7]).successful()


@pytest.fixture
def no_queue(make_app: MakeApp, fake_redis: fakeredis.FakeRedis) -> Flask:
    """The sessions' Redis answers, the queue's does not."""
    app = make_app(REDIS_URL="unix:///nonexistent/redis.sock", LOGBOOK_LEDGER="1")
    app.session_interface = RedisSessions(app, fake_redis)
    return app


def test_an_entry_needs_no_queue(no_queue: Flask, caplog: pytest.LogCaptureFixture) -> None:
    """[A15] [A14] It is saved, soon, and the log says what is missing."""
    client = no_queue.test_client()
    log_in(client)
    started = time.monotonic()
    assert write(client, "Becalmed.") == 303
    assert time.monotonic() - started < 2
    assert words(no_queue) == [None]
    [failure] = [record for record in caplog.records if record.exc_info]
    assert failure.getMessage() == "not queued: logbook.count_words(1,)"
    assert "Becalmed." in client.get("/").text


def test_ledger_later(make_app: MakeApp) -> None:
    """[S1]"""
    app = make_app(LOGBOOK_LEDGER="1")
    answer = app.test_client().post("/ledger/later", json={"key": "a", "seconds": 0.1})
    assert (answer.status_code, answer.json) == (202, {"key": "a", "seconds": 0.1})
    assert keys(app) == ["a"]


def test_ledger_later_does_not_promise_what_is_not_queued(no_queue: Flask) -> None:
    """[S1]"""
    assert no_queue.test_client().post("/ledger/later", json={"key": "a", "seconds": 0}).status_code == 503


@pytest.mark.parametrize(
    "body",
    [{"seconds": 1}, {"key": "a"}, {"key": "a", "seconds": "1"}, {"key": "a", "seconds": True}]
    + [{"key": "a", "seconds": seconds} for seconds in (-1, 601, float("nan"))],
)
def test_ledger_later_wants_a_key_and_seconds(make_app: MakeApp, body: object) -> None:
    """[S1]"""
    assert make_app(LOGBOOK_LEDGER="1").test_client().post("/ledger/later", json=body).status_code == 400


def test_a_task_that_comes_twice_counts_once(make_app: MakeApp) -> None:
    """[S1] [A15]"""
    app = make_app(LOGBOOK_LEDGER="1")
    with app.app_context():
        slow_ledger("a", 0)
        slow_ledger("a", 0)
    assert keys(app) == ["a"]


def test_a_worker_without_a_queue_does_not_start(make_app: MakeApp) -> None:
    """[A12]"""
    make_app()
    result = subprocess.run(
        [sys.executable, "-B", "-c", "import logbook.tasks"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode != 0
    assert "REDIS_URL is missing" in result.stderr


# --- With a real worker and a real Redis ----------------------------------------------------------

REDIS = shutil.which("redis-server")
StartWorker = Callable[[], "Worker"]


def until(what: Callable[[], object], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.05)


@pytest.fixture
def redis_url(tmp_path: Path) -> Iterator[str]:
    if REDIS is None:
        pytest.skip("there is no program redis-server")
    path = tmp_path / "redis.sock"
    options = ["--port", "0", "--unixsocket", str(path), "--save", "", "--dir", str(tmp_path)]
    server = subprocess.Popen([REDIS, *options], stdout=subprocess.DEVNULL)
    try:
        until(path.exists)
        yield f"unix://{path}?db=1"
    finally:
        server.terminate()
        server.wait(10)


class Worker:
    def __init__(self, log: Path) -> None:
        self.log = log
        command = ["-B", "-m", "celery", "--app", "logbook.tasks", "worker", "--concurrency", "1", "--loglevel", "INFO"]
        environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
        with log.open("w") as output:
            self.process = subprocess.Popen([sys.executable, *command], cwd=ROOT, env=environment, stderr=output)

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]

    def said(self, message: str) -> bool:
        assert self.process.poll() in (None, 0), self.log.read_text()
        return any(line["message"] == message for line in self.lines())


@pytest.fixture
def start_worker(tmp_path: Path) -> Iterator[StartWorker]:
    started: list[Worker] = []

    def start() -> Worker:
        """Of the same release as the app made last: its environment is still there."""
        worker = Worker(tmp_path / f"worker-{len(started)}.log")
        started.append(worker)
        until(lambda: worker.said("worker ready"))
        return worker

    yield start
    for worker in started:
        if worker.process.poll() is None:
            worker.process.kill()  # its child goes with it
            worker.process.wait(10)


def test_worker(make_app: MakeApp, redis_url: str, start_worker: StartWorker) -> None:
    """[A15] [K1] It says which release it is, counts what the app queued, before its start too, and writes the app's
    log lines with the id of the request behind them. It leaves no file."""
    before = sorted(ROOT.rglob("*"))
    app = make_app(REDIS_URL=redis_url, SLIPWAY_RELEASE="r1")
    client = app.test_client()
    log_in(client)
    assert write(client, "Waited for a worker.") == 303
    assert words(app) == [None]
    worker = start_worker()
    assert write(client, "Found one.", **{"X-Request-ID": "0123abcd"}) == 303
    until(lambda: words(app) == [4, 2])
    [ready] = [line for line in worker.lines() if line["message"] == "worker ready"]
    assert (ready["level"], ready["logger"], ready["release"]) == ("info", "logbook.tasks", "r1")
    assert sorted(ROOT.rglob("*")) == before


def test_worker_finishes_what_it_has_begun(make_app: MakeApp, redis_url: str, start_worker: StartWorker) -> None:
    """[A15] SIGTERM: the running task ends well, once; the next one stays queued for the next worker."""
    app = make_app(REDIS_URL=redis_url, LOGBOOK_LEDGER="1")
    client = app.test_client()
    first = start_worker()
    for key, seconds in (("running", 10), ("queued", 0)):
        request = {"X-Request-ID": f"request-{key}"}
        assert client.post("/ledger/later", json={"key": key, "seconds": seconds}, headers=request).status_code == 202
    until(lambda: first.said("slow_ledger running: begins"))
    time.sleep(1)
    first.process.send_signal(signal.SIGTERM)
    assert keys(app) == []
    assert first.process.wait(120) == 0
    assert keys(app) == ["running"]
    assert not first.said("slow_ledger queued: begins")
    [line] = [line for line in first.lines() if line["message"] == "slow_ledger running: begins"]
    assert (line["request_id"], line["task"]) == ("request-running", "logbook.slow_ledger")

    second = start_worker()
    until(lambda: keys(app) == ["running", "queued"])
    second.process.send_signal(signal.SIGTERM)
    assert second.process.wait(120) == 0
    assert not any("already" in line["message"] for line in second.lines())
    assert keys(app) == ["running", "queued"]
