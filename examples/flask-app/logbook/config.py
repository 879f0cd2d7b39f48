"""Configuration: from the environment, checked at start, refused with every reason at once."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

from cachelib import FileSystemCache, SimpleCache
from flask import Flask
from flask.helpers import get_debug_flag
from redis import ConnectionPool
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

SECRET_LENGTH = 32
PASSWORD_LENGTH = 10
WEAK_SECRETS = ("changeme", "replaceme", "yoursecret", "secretkey", "notsosecret", "insecure", "password")
DOCUMENTED_SECRETS = ("192b9bdd22ab9ed4d12e236c78afcb9a393ec15f71bbf5dc987d54727823bcbf",)  # Flask's manual

T = TypeVar("T")


class ConfigError(RuntimeError):
    """The environment does not describe an app that may run. Never holds a value, only names."""


class Base:
    """What every kind of run shares. An instance reads the environment once."""

    DEBUG = False
    TESTING = False

    MAX_CONTENT_LENGTH = 8 * 1024 * 1024
    PERMANENT_SESSION_LIFETIME = timedelta(days=7)
    SESSION_COOKIE_NAME = "logbook_session"
    SESSION_COOKIE_SECURE = True
    SESSION_COOKIE_HTTPONLY = True
    SESSION_COOKIE_SAMESITE = "Lax"
    SESSION_KEY_PREFIX = "logbook:session:"

    ENTRIES_PER_PAGE = 20
    UPLOAD_URL = "/uploads"
    SERVE_UPLOADS = False  # nginx does

    def __init__(self, instance: Path) -> None:
        self.instance = instance  # Flask's folder for what a run leaves behind
        self.SECRET_KEY = os.environ.get("SECRET_KEY", "")
        self.SECRET_KEY_FALLBACKS = _list("SECRET_KEY_FALLBACKS")
        self.DATABASE_URL = os.environ.get("DATABASE_URL", "")
        self.DB_POOL_SIZE = _int("DB_POOL_SIZE", 5)
        self.REDIS_URL = os.environ.get("REDIS_URL", "")
        self.PROXY_HOPS = _int("PROXY_HOPS", 0)
        self.TRUSTED_HOSTS = _list("TRUSTED_HOSTS") or None
        self.UPLOAD_FOLDER = os.environ.get("UPLOAD_FOLDER", "")
        self.MAX_CONTENT_LENGTH = _int("MAX_CONTENT_LENGTH", Base.MAX_CONTENT_LENGTH)
        self.LOG_LEVEL = os.environ.get("LOG_LEVEL", "INFO").upper()
        self.RELEASE = os.environ.get("SLIPWAY_RELEASE") or None
        self.COMMIT = os.environ.get("SLIPWAY_COMMIT") or None
        self.SMOKE_PASSWORD = os.environ.get("LOGBOOK_SMOKE_PASSWORD", "")
        self.LEDGER = os.environ.get("LOGBOOK_LEDGER") == "1"
        self.FAULT = os.environ.get("LOGBOOK_FAULT", "")

    @staticmethod
    def problems(config: Mapping[str, Any]) -> list[str]:
        found = [weak for weak in [_weakness("SECRET_KEY", config["SECRET_KEY"])] if weak]
        for fallback in config["SECRET_KEY_FALLBACKS"] or []:
            if weak := _weakness("SECRET_KEY_FALLBACKS", fallback):
                found.append(weak)
        if config["PROXY_HOPS"] < 0:
            found.append("PROXY_HOPS must be 0 or more")
        if config["DB_POOL_SIZE"] < 1:
            found.append("DB_POOL_SIZE must be 1 or more")
        if not config["DATABASE_URL"]:
            found.append("DATABASE_URL is missing, for example postgresql:///logbook?host=/run/postgresql")
        elif _backend(config["DATABASE_URL"]) is None:
            found.append("DATABASE_URL is not a database URL")
        if config["REDIS_URL"] and not _is_redis_url(config["REDIS_URL"]):
            found.append("REDIS_URL is not a Redis URL (redis://, rediss:// or unix://)")
        if config["SMOKE_PASSWORD"] and len(config["SMOKE_PASSWORD"]) < PASSWORD_LENGTH:
            found.append(f"LOGBOOK_SMOKE_PASSWORD is too short: at least {PASSWORD_LENGTH} characters")
        if config["LOG_LEVEL"] not in ("DEBUG", "INFO", "WARNING", "ERROR"):
            found.append("LOG_LEVEL must be DEBUG, INFO, WARNING or ERROR")
        return found


class Production(Base):
    """The default: what is not safe in front of the public does not start."""

    PREFERRED_URL_SCHEME = "https"

    @staticmethod
    def problems(config: Mapping[str, Any]) -> list[str]:
        found = Base.problems(config)
        if config["DEBUG"]:
            found.append("FLASK_DEBUG is on: production never runs in debug mode")
        if config["TESTING"]:
            found.append("TESTING is on: production never runs in test mode")
        if (backend := _backend(config["DATABASE_URL"])) and backend != "postgresql":
            found.append(f"DATABASE_URL names {backend}: production runs on PostgreSQL")
        if not config["REDIS_URL"]:
            found.append("REDIS_URL is missing, for example unix:///run/redis-logbook/redis.sock?db=0")
        if not config["UPLOAD_FOLDER"]:
            found.append("UPLOAD_FOLDER is missing: the folder that nginx serves as /uploads/")
        elif not os.path.isabs(config["UPLOAD_FOLDER"]):
            found.append("UPLOAD_FOLDER must be an absolute path")
        return found


class _Local(Base):
    """A run on one's own machine: plain HTTP, no Redis needed, pictures served by the app."""

    SESSION_COOKIE_SECURE = False
    SERVE_UPLOADS = True


class Development(_Local):
    def __init__(self, instance: Path) -> None:
        super().__init__(instance)
        self.DEBUG = get_debug_flag()
        self.SECRET_KEY = self.SECRET_KEY or os.urandom(SECRET_LENGTH).hex()
        self.DATABASE_URL = self.DATABASE_URL or "sqlite:///logbook.db"  # in the instance folder
        self.UPLOAD_FOLDER = self.UPLOAD_FOLDER or str(instance / "uploads")
        if not self.REDIS_URL:
            self.SESSION_TYPE = "cachelib"
            self.SESSION_CACHELIB = FileSystemCache(str(instance / "sessions"))


class Testing(_Local):
    TESTING = True

    def __init__(self, instance: Path) -> None:
        super().__init__(instance)
        if not self.REDIS_URL:
            self.SESSION_TYPE = "cachelib"
            self.SESSION_CACHELIB = SimpleCache()


KINDS: dict[str, type[Base]] = {
    "production": Production,
    "development": Development,
    "testing": Testing,
}


def load(app: Flask, overrides: Mapping[str, Any] | None = None) -> None:
    """Fill app.config: class defaults, environment, FLASK_ variables, overrides; then check the sum."""
    name = os.environ.get("LOGBOOK_CONFIG", "production")
    if name not in KINDS:
        raise ConfigError(f"logbook cannot start: LOGBOOK_CONFIG must be one of {', '.join(KINDS)}")
    kind = KINDS[name]
    config = app.config
    config.from_object(kind(Path(app.instance_path)))
    config.from_prefixed_env()
    config["DEBUG"] = get_debug_flag()  # Flask's own reading of FLASK_DEBUG: "no" and "false" are off
    config.update(overrides or {})
    for key in ("TRUSTED_HOSTS", "SECRET_KEY_FALLBACKS"):
        if isinstance(config[key], str):  # arrived as FLASK_...: a plain comma-separated text
            config[key] = _split(config[key])

    if problems := kind.problems(config):
        lines = "".join(f"\n  - {problem}" for problem in problems)
        raise ConfigError(f"logbook cannot start ({name} configuration):{lines}")

    # Rotating the key must not break the forms that visitors have open: sign with the newest, accept all.
    config["WTF_CSRF_SECRET_KEY"] = [*reversed(config["SECRET_KEY_FALLBACKS"]), config["SECRET_KEY"]]
    config["DATABASE_URL"] = database_url(config["DATABASE_URL"])
    config["SQLALCHEMY_DATABASE_URI"] = config["DATABASE_URL"]
    if _backend(config["DATABASE_URL"]) == "postgresql":
        config.setdefault(
            "SQLALCHEMY_ENGINE_OPTIONS",
            {
                "pool_pre_ping": True,
                "pool_size": config["DB_POOL_SIZE"],
                "max_overflow": 0,  # the pool size is a promise: workers x pool <= max_connections
                "pool_timeout": 10,
                # No server-side prepared statements: they break when a migration changes a table
                # under the running release, and behind a pooler.
                "connect_args": {"connect_timeout": 5, "prepare_threshold": None},
            },
        )
    else:
        config.setdefault("SQLALCHEMY_ENGINE_OPTIONS", {"pool_pre_ping": True})


def database_url(url: str) -> str:
    """The same URL with the driver that is installed, psycopg 3."""
    scheme, separator, rest = url.partition("://")
    return f"postgresql+psycopg://{rest}" if separator and scheme in ("postgres", "postgresql") else url


def _backend(url: str) -> str | None:
    try:
        return make_url(database_url(url)).get_backend_name()
    except ArgumentError:
        return None


def _is_redis_url(url: str) -> bool:
    try:
        ConnectionPool.from_url(url)  # parses, connects to nothing
    except ValueError:
        return False
    return True


def _weakness(name: str, secret: object) -> str | None:
    if not secret:
        return f"{name} is missing: at least {SECRET_LENGTH} random characters"
    if not isinstance(secret, str) or len(secret) < SECRET_LENGTH:
        return f"{name} is too short: at least {SECRET_LENGTH} random characters"
    plain = "".join(filter(str.isalnum, secret.lower()))
    if secret in DOCUMENTED_SECRETS or any(weak in plain for weak in WEAK_SECRETS) or len(set(secret)) < 8:
        return f"{name} is a known default or trivially weak: at least {SECRET_LENGTH} random characters"
    return None


def _read(name: str, convert: Callable[[str], T], default: T, wanted: str) -> T:
    text = os.environ.get(name, "").strip()
    try:
        return convert(text) if text else default
    except ValueError:
        raise ConfigError(f"logbook cannot start: {name} must be {wanted}") from None


def _int(name: str, default: int) -> int:
    return _read(name, int, default, "a whole number")


def _list(name: str) -> list[str]:
    return _split(os.environ.get(name, ""))


def _split(text: str) -> list[str]:
    return [part for part in map(str.strip, text.split(",")) if part]
