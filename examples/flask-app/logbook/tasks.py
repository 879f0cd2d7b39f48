"""The worker's entry point: `celery --app logbook.tasks worker`. The tasks are in logbook/background.py."""

from __future__ import annotations

import logging
from typing import Any

from celery import Celery
from celery.signals import celeryd_init, setup_logging, worker_ready

from . import create_app
from .config import ConfigError

log = logging.getLogger(__name__)

flask_app = create_app()  # not "app": Celery would take that for itself
if not flask_app.config["REDIS_URL"]:
    raise ConfigError("the worker cannot start: REDIS_URL is missing, and with it the queue")
celery_app: Celery = flask_app.extensions["celery"]


@celeryd_init.connect
def without_banner(instance: Any, **_: Any) -> None:
    """Lines of JSON and nothing else."""
    instance.quiet = True


@setup_logging.connect
def keep_logging(**_: Any) -> None:
    """Being connected is enough: Celery leaves the handlers and LOG_LEVEL alone, whatever --loglevel says."""


@worker_ready.connect
def say_so(**_: Any) -> None:
    release = {"release": flask_app.config["RELEASE"], "commit": flask_app.config["COMMIT"]}
    log.info("worker ready", extra={"outcome": release})
