"""Logbook: a ship's log with pictures, and what a Flask app needs to live on a Slipway host."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import Flask
from werkzeug.middleware.proxy_fix import ProxyFix

from . import auth, background, config, entries, errors, extensions, faults, health, ledger, logging

__all__ = ["create_app"]


def create_app(overrides: Mapping[str, Any] | None = None) -> Flask:
    """Build the app from the environment. No database or Redis connection is opened here:
    Gunicorn preloads the app and forks, and a connection must not be shared across the fork."""
    app = Flask(__name__)
    config.load(app, overrides)
    logging.init_app(app)
    extensions.init_app(app)
    background.init_app(app)
    for part in (errors, health, auth, entries, ledger, faults):
        part.init_app(app)

    if hops := app.config["PROXY_HOPS"]:
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=hops, x_proto=hops, x_host=hops)  # type: ignore[method-assign]
    app.wsgi_app = logging.RequestLog(app.wsgi_app)  # type: ignore[method-assign]
    return app
