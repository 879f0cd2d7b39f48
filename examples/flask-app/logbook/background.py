"""Work for after the answer: a queue in Redis, and a worker of the same release that empties it.

A task's name and arguments are a contract between releases: while one replaces the other, either's worker may get
what the other has queued.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from celery import Celery, Task
from flask import Flask, current_app
from kombu.exceptions import OperationalError
from redis import ConnectionPool
from redis.exceptions import RedisError
from sqlalchemy.exc import IntegrityError

from .extensions import db
from .logging import about, request_id
from .models import Entry, LedgerLine

log = logging.getLogger(__name__)


def count_words(entry_id: int) -> None:
    entry = db.session.get(Entry, entry_id)
    if entry is not None:
        entry.words = len(entry.text.split())
        db.session.commit()


def slow_ledger(key: str, seconds: float) -> None:
    """For deploy tests, like the ledger itself: a task that is still running when its worker is told to stop."""
    log.info("slow_ledger %s: begins", key)
    time.sleep(seconds)
    db.session.add(LedgerLine(key=key, release=current_app.config["RELEASE"]))
    try:
        db.session.commit()
    except IntegrityError:  # a task may come twice: it was done, and then its worker was killed before it could say so
        db.session.rollback()
        log.warning("slow_ledger %s: is in the ledger already", key)


def init_app(app: Flask) -> None:
    """Make this app's Celery. It connects when the first task is queued."""

    class TaskInApp(Task):
        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            fields = {"request_id": self.request.get("request_id"), "task": self.name, "task_id": self.request.id}
            with app.app_context(), about(fields):
                return self.run(*args, **kwargs)

    celery = Celery("logbook", task_cls=TaskInApp, set_as_current=False)
    redis_url = app.config["REDIS_URL"]
    celery.conf.update(
        broker_url=broker_url(redis_url) if redis_url else "memory://",
        task_always_eager=not redis_url,  # on one's own machine without Redis: at once, in the request
        broker_connection_retry_on_startup=True,  # a worker waits for Redis
        broker_transport_options={
            # For whoever queues, a request: without limits it would wait until Redis is back. The worker has its own.
            "max_retries": 1,
            "interval_start": 0,
            "socket_connect_timeout": 1,
            "socket_timeout": 5,
            # A task whose worker was killed comes again after so many seconds; one that takes longer runs twice.
            "visibility_timeout": 3600,
        },
        task_default_queue="logbook",
        task_serializer="json",
        accept_content=["json"],
        task_ignore_result=True,
        task_acks_late=True,  # done, then off the queue: what a killed worker had begun is not lost
        worker_prefetch_multiplier=1,  # a worker that stops has nothing in hand but what it is doing
    )
    tasks: list[Callable[..., None]] = [count_words]
    if app.config["LEDGER"]:
        tasks.append(slow_ledger)
    for task in tasks:
        celery.task(name=_name(task), shared=False)(task)
    app.extensions["celery"] = celery


def later(task: Callable[..., None], *args: Any) -> bool:
    """Queue a task; False, with the reason in the log, when Redis does not take it."""
    celery: Celery = current_app.extensions["celery"]
    try:
        celery.tasks[_name(task)].apply_async(args, retry=False, headers={"request_id": request_id()})
    except (OperationalError, RedisError, OSError):
        log.exception("not queued: %s%r", _name(task), args)
        return False
    return True


def broker_url(url: str) -> str:
    """REDIS_URL as Celery's transport spells it: it has no unix://, and with rediss:// it would trust anyone."""
    if url.startswith("unix://"):
        parts = ConnectionPool.from_url(url).connection_kwargs  # connects to nothing
        user, password = (quote(parts.get(name, ""), safe="") for name in ("username", "password"))
        login = f"{user}:{password}@" if user or password else ""
        return f"redis+socket://{login}{quote(parts['path'])}?virtual_host={parts.get('db', 0)}"
    if url.startswith("rediss://") and "ssl_cert_reqs=" not in url:
        return f"{url}{'&' if '?' in url else '?'}ssl_cert_reqs=required"
    return url


def _name(task: Callable[..., None]) -> str:
    return f"logbook.{task.__name__}"
