"""Faults on demand, for the tests that watch a bad release being refused. Off unless LOGBOOK_FAULT is set.

import     create_app raises
ready      readiness answers 500
all        every page except the health pages answers 500
slow:<ms>  every page except the health pages waits that long first
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
    if fault not in ("ready", "all", "slow") or (fault == "slow") != amount.isdigit():
        raise RuntimeError("LOGBOOK_FAULT must be import, ready, all or slow:<ms>")

    @app.before_request
    def misbehave() -> None:
        health = request.path.startswith("/healthz/")
        if fault == "slow" and not health:
            time.sleep(int(amount) / 1000)
        elif (fault == "all" and not health) or (fault == "ready" and request.path == "/healthz/ready"):
            abort(500)
