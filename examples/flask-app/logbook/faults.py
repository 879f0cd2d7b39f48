"""Faults on demand, for the tests that watch a bad release being refused. Off unless LOGBOOK_FAULT is set.

import           create_app raises
ready            readiness answers 500
all              every page except the health pages answers 500
later:<seconds>  the same, so long after the start of the process: until then all is well
slow:<ms>        every page except the health pages waits that long first
"""

from __future__ import annotations

import time

from flask import Flask, abort, request


def init_app(app: Flask) -> None:
    fault, _, amount = str(app.config["FAULT"]).partition(":")
    if not fault:
        return
    if fault == "import":
        raise RuntimeError("LOGBOOK_FAULT=import: this release does not start")
    if fault not in ("ready", "all", "later", "slow") or (fault in ("later", "slow")) != amount.isdigit():
        raise RuntimeError("LOGBOOK_FAULT must be import, ready, all, later:<seconds> or slow:<ms>")
    started = time.monotonic()

    @app.before_request
    def misbehave() -> None:
        if request.path.startswith("/healthz/"):
            if fault == "ready" and request.path == "/healthz/ready":
                abort(500)
        elif fault == "slow":
            time.sleep(int(amount) / 1000)
        elif fault == "all" or (fault == "later" and time.monotonic() - started >= int(amount)):
            abort(500)
