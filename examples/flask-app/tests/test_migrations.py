"""Migrations: from nothing to today and back, and equal to the models."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from click.testing import Result
from flask import Flask
from sqlalchemy import Engine, inspect, text

from logbook import create_app
from logbook.extensions import db, probe

from .conftest import SECRET, Environment

POSTGRES = os.environ.get("LOGBOOK_TEST_DATABASE_URL")


@pytest.fixture(
    params=[
        "sqlite",
        pytest.param("postgres", marks=pytest.mark.skipif(not POSTGRES, reason="LOGBOOK_TEST_DATABASE_URL names no PostgreSQL")),
    ]
)
def empty(request: pytest.FixtureRequest, environment: Environment, tmp_path: Path) -> Flask:
    url = f"sqlite:///{tmp_path}/empty.db" if request.param == "sqlite" else POSTGRES
    environment(LOGBOOK_CONFIG="testing", SECRET_KEY=SECRET, DATABASE_URL=url, LOGBOOK_LEDGER="1")
    return create_app()


def flask_db(app: Flask, *args: str) -> Result:
    result = app.test_cli_runner().invoke(args=["db", *args])
    assert result.exit_code == 0, result.output
    return result


def tables(app: Flask) -> set[str]:
    with app.app_context():
        return set(inspect(db.engine).get_table_names()) - {"alembic_version"}


def columns(table: str) -> set[str]:
    return {column["name"] for column in inspect(db.engine).get_columns(table)}


BEFORE = {"id", "text", "picture", "created_at", "author_id"}


def write_as_before(engine: Engine, number: int) -> None:
    """What a release that knows nothing of `words` does."""
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO users (id, name, password_hash, created_at) "
                "SELECT 1, 'ada', '-', CURRENT_TIMESTAMP WHERE NOT EXISTS (SELECT 1 FROM users)"
            )
        )
        connection.execute(
            text(
                "INSERT INTO entries (id, text, picture, created_at, author_id) "
                "VALUES (:number, 'Fog.', NULL, CURRENT_TIMESTAMP, 1)"
            ),
            {"number": number},
        )


def test_up_and_down(empty: Flask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """[A13] From any working directory; the newest revision can be taken back and put on again."""
    monkeypatch.chdir(tmp_path)
    client = empty.test_client()

    def schema() -> object:
        return client.get("/version").json["schema"]  # type: ignore[index]

    assert (tables(empty), schema()) == (set(), None)
    try:
        flask_db(empty, "upgrade")
        assert (tables(empty), schema()) == ({"users", "entries", "ledger"}, "0003_words")
        with empty.app_context(), db.engine.connect() as connection:
            assert compare_metadata(MigrationContext.configure(connection), db.metadata) == []
        assert client.post("/ledger", json={"key": "one"}).status_code == 201
        with empty.app_context():
            write_as_before(db.engine, 1)  # the release before this one, on this schema
            flask_db(empty, "downgrade")
            assert (columns("entries"), schema()) == (BEFORE, "0002_ledger")
            write_as_before(db.engine, 2)
            flask_db(empty, "upgrade")
            assert columns("entries") == BEFORE | {"words"}
        assert client.get("/").text.count('class="by">ada<') == 2  # rows from before are shown, without a count
        flask_db(empty, "downgrade", "0001_entries")
        assert (tables(empty), schema()) == ({"users", "entries"}, "0001_entries")
        flask_db(empty, "upgrade")
        assert client.get("/ledger/count").json == {"count": 0}
    finally:
        flask_db(empty, "downgrade", "base")
    assert (tables(empty), schema()) == (set(), None)
    with empty.app_context():
        probe().dispose()
        db.engine.dispose()


def test_upgrade_can_be_printed(empty: Flask) -> None:
    """[A13] `flask db upgrade --sql`, for whoever wants to read first."""
    assert "CREATE TABLE ledger" in flask_db(empty, "upgrade", "--sql").output
    with empty.app_context():
        db.engine.dispose()
