"""Configuration comes from the environment, and an unsafe one does not start."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest
from flask import Flask
from sqlalchemy.engine import make_url

from logbook import create_app
from logbook.config import ConfigError, database_url
from logbook.extensions import db

from .conftest import PRODUCTION, SECRET, Environment, MakeApp

ROOT = Path(__file__).parents[1]


def test_production_is_the_default_and_starts_without_any_service(environment: Environment) -> None:
    """[A1] [A8] [A11] Nothing is connected at start: neither database nor Redis exists here."""
    environment(PRODUCTION, FLASK_DEBUG="0")
    app = create_app()
    assert not app.debug
    assert not app.testing
    assert app.config["SESSION_COOKIE_SECURE"]
    assert app.config["SESSION_COOKIE_HTTPONLY"]
    assert app.config["SESSION_COOKIE_SAMESITE"] == "Lax"
    with app.app_context():
        assert db.engine.pool.checkedin() == 0  # type: ignore[attr-defined]
        assert db.engine.pool.size() == 5  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"SECRET_KEY": None}, "SECRET_KEY is missing"),
        ({"SECRET_KEY": "a1b2c3d4e5f6a7b8c9d0e1f2a3b4c5d"}, "SECRET_KEY is too short"),
        ({"SECRET_KEY": "change-me-to-32-or-more-random-characters"}, "SECRET_KEY is a known default"),
        (
            {"SECRET_KEY": "192b9bdd22ab9ed4d12e236c78afcb9a393ec15f71bbf5dc987d54727823bcbf"},
            "SECRET_KEY is a known default",
        ),
        ({"SECRET_KEY": "a" * 64}, "SECRET_KEY is a known default"),
        ({"SECRET_KEY_FALLBACKS": "short"}, "SECRET_KEY_FALLBACKS is too short"),
        ({"DATABASE_URL": None}, "DATABASE_URL is missing"),
        ({"DATABASE_URL": "logbook"}, "DATABASE_URL is not a database URL"),
        ({"DATABASE_URL": "sqlite:////tmp/logbook.db"}, "DATABASE_URL names sqlite"),
        ({"REDIS_URL": None}, "REDIS_URL is missing"),
        ({"REDIS_URL": "localhost:6379"}, "REDIS_URL is not a Redis URL"),
        ({"UPLOAD_FOLDER": None}, "UPLOAD_FOLDER is missing"),
        ({"UPLOAD_FOLDER": "uploads"}, "UPLOAD_FOLDER must be an absolute path"),
        ({"FLASK_DEBUG": "1"}, "FLASK_DEBUG is on"),
        ({"FLASK_TESTING": "true"}, "TESTING is on"),
        ({"PROXY_HOPS": "two"}, "PROXY_HOPS must be a whole number"),
        ({"PROXY_HOPS": "-1"}, "PROXY_HOPS must be 0 or more"),
        ({"LOGBOOK_SMOKE_PASSWORD": "short"}, "LOGBOOK_SMOKE_PASSWORD is too short"),
        ({"DB_POOL_SIZE": "0"}, "DB_POOL_SIZE must be 1 or more"),
        ({"LOG_LEVEL": "loud"}, "LOG_LEVEL must be"),
        ({"LOGBOOK_CONFIG": "staging"}, "LOGBOOK_CONFIG must be one of"),
    ],
)
def test_production_refuses(environment: Environment, change: dict[str, str | None], named: str) -> None:
    """[A1] [A11] [A12] [K10] What is missing or unsafe is named, and no value is shown."""
    environment(PRODUCTION)
    environment(change)
    with pytest.raises(ConfigError, match=re.escape(named)) as refusal:
        create_app()
    assert PRODUCTION["SECRET_KEY"] not in str(refusal.value)


def test_everything_missing_is_named_at_once() -> None:
    """[A12]"""
    with pytest.raises(ConfigError) as refusal:
        create_app()
    for name in PRODUCTION:
        assert f"- {name} is missing" in str(refusal.value)


def test_flask_prefixed_variables_count(environment: Environment) -> None:
    """[A11] Any setting can be given as FLASK_<SETTING>, and is checked like the others."""
    environment(PRODUCTION, FLASK_ENTRIES_PER_PAGE="7", FLASK_TRUSTED_HOSTS="a.example, b.example")
    app = create_app()
    assert app.config["ENTRIES_PER_PAGE"] == 7
    assert app.config["TRUSTED_HOSTS"] == ["a.example", "b.example"]
    environment(FLASK_SECRET_KEY="short")
    with pytest.raises(ConfigError, match="SECRET_KEY is too short"):
        create_app()


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_database_url_gets_the_installed_driver(scheme: str) -> None:
    """[A11]"""
    url = make_url(database_url(f"{scheme}:///logbook?host=/run/postgresql"))
    assert url.drivername == "postgresql+psycopg"
    assert (url.database, url.query["host"]) == ("logbook", "/run/postgresql")


def test_pool_size_is_a_promise(environment: Environment) -> None:
    """[D2] A worker never opens more connections than DB_POOL_SIZE."""
    environment(PRODUCTION, DB_POOL_SIZE="3")
    app = create_app()
    options = app.config["SQLALCHEMY_ENGINE_OPTIONS"]
    assert (options["pool_size"], options["max_overflow"], options["pool_pre_ping"]) == (3, 0, True)


def test_both_entry_points(environment: Environment) -> None:
    """[A6] logbook.wsgi:app and logbook:create_app()."""
    environment(PRODUCTION)
    sys.modules.pop("logbook.wsgi", None)
    assert isinstance(importlib.import_module("logbook.wsgi").app, Flask)
    assert isinstance(importlib.import_module("logbook").create_app(), Flask)


def test_import_connects_to_nothing(environment: Environment) -> None:
    """[A8] Importing the entry point opens no socket at all, so that a preloaded app can be forked."""
    environment(PRODUCTION)
    script = (
        "import sys; seen = []\n"
        "sys.addaudithook(lambda event, _: event == 'socket.connect' and seen.append(event))\n"
        "import logbook.wsgi; sys.exit(len(seen))"
    )
    subprocess.run([sys.executable, "-B", "-c", script], cwd=ROOT, check=True, timeout=30)


def test_env_example_lists_every_variable() -> None:
    """[A12] .env.example names what the code reads, with the required variables not commented out."""
    example = (ROOT / ".env.example").read_text()
    listed = set(re.findall(r"^#?([A-Z_]+)=", example, re.M))
    required = set(re.findall(r"^([A-Z_]+)=", example, re.M))
    source = "".join(path.read_text() for path in (ROOT / "logbook").glob("*.py"))
    read = set(re.findall(r'(?:os\.environ\.get|_int|_list)\("([A-Z_]+)"', source))
    assert read | {"FLASK_APP", "FLASK_DEBUG"} == listed
    assert set(PRODUCTION) | {"FLASK_APP", "FLASK_DEBUG"} == required


def test_env_example_is_refused_as_it_is(environment: Environment) -> None:
    """[A11] Whoever copies the example must choose a key."""
    for name, value in re.findall(r"^([A-Z_]+)=(.*)$", (ROOT / ".env.example").read_text(), re.M):
        environment({name: value})
    with pytest.raises(ConfigError, match="SECRET_KEY is a known default"):
        create_app()
    environment(SECRET_KEY=SECRET)
    assert create_app()


def test_lock_file_is_hashed() -> None:
    """[A10] Every requirement is pinned and hashed, and no index is named."""
    lock = (ROOT / "requirements.txt").read_text()
    pins = re.findall(r"^(\S.*?) *\\$", lock, re.M)
    assert pins
    assert all("==" in pin for pin in pins)
    assert lock.count("--hash=sha256:") >= len(pins)
    assert "://" not in lock


def test_debug_reads_as_flask_reads_it(make_app: MakeApp) -> None:
    """[A1] FLASK_DEBUG=no is off, though "no" is a true string."""
    assert not make_app(FLASK_DEBUG="no").debug
    assert make_app(FLASK_DEBUG="1").debug
