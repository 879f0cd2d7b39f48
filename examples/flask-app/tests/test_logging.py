"""JSON lines, the request id, and the error pages that show it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from flask.testing import FlaskClient

from logbook.logging import JsonHandler

from .conftest import MakeApp, log_in


class Lines:
    """What the app wrote to stdout, parsed."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys

    def read(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.capsys.readouterr().out.splitlines()]


@pytest.fixture
def lines(capsys: pytest.CaptureFixture[str]) -> Lines:
    return Lines(capsys)  # what an app that is made in the test writes: one made by a fixture has another stdout


@pytest.mark.parametrize("given", ["0123abcd", "a" * 64, "5f0c7e02-1b9e-4a5b-9d7d-0a4b3c2d1e0f"])
def test_request_id_is_kept(client: FlaskClient, given: str) -> None:
    """[E11] [K1] One id from nginx through the app and back."""
    answer = client.get("/whoami", headers={"X-Request-ID": given})
    assert answer.headers.getlist("X-Request-ID") == [given]
    assert answer.json["request_id"] == given  # type: ignore[index]


@pytest.mark.parametrize("given", ["short", "a" * 65, "with space in it", "semi;colon-123", "", "émile-émile"])
def test_bad_request_id_is_replaced(client: FlaskClient, given: str) -> None:
    """[E11] [K1] What does not look like an id is not passed on."""
    answer = client.get("/whoami", headers={"X-Request-ID": given.encode().decode("latin-1")})
    assert answer.headers["X-Request-ID"] != given
    assert len(answer.headers["X-Request-ID"]) == 32


def test_one_line_per_request(lines: Lines, make_app: MakeApp) -> None:
    """[K1] Every field, and neither the query string nor a second line."""
    client = make_app().test_client()
    client.get("/whoami?token=secret", headers={"X-Request-ID": "0123abcd"})
    [line] = lines.read()
    assert line.pop("duration_ms") >= 0
    assert line.pop("time").endswith("+00:00")
    assert line == {
        "level": "info",
        "logger": "logbook.request",
        "message": "GET /whoami 200",
        "request_id": "0123abcd",
        "user": None,
        "method": "GET",
        "path": "/whoami",
        "status": 200,
    }


def test_user_is_logged(lines: Lines, make_app: MakeApp) -> None:
    """[K1]"""
    client = make_app().test_client()
    log_in(client)
    client.get("/")
    assert [(line["path"], line["user"]) for line in lines.read()][1:] == [("/login", "ada"), ("/", "ada")]


def test_health_is_not_logged_at_info(lines: Lines, make_app: MakeApp) -> None:
    """[E9]"""
    client = make_app().test_client()
    client.get("/healthz/live")
    client.get("/healthz/ready")
    assert lines.read() == []
    client = make_app(LOG_LEVEL="DEBUG").test_client()
    client.get("/healthz/live")
    assert [line["level"] for line in lines.read() if line["logger"] == "logbook.request"] == ["debug"]


def test_exception_is_one_line_with_its_traceback(lines: Lines, make_app: MakeApp) -> None:
    """[K1] The page shows the id under which the log has the reason, and not the reason."""
    app = make_app({"PROPAGATE_EXCEPTIONS": False})

    @app.get("/broken")
    def broken() -> str:
        raise ValueError("the reason")

    answer = app.test_client().get("/broken")
    assert answer.status_code == 500
    assert "the reason" not in answer.text
    error, access = lines.read()
    assert error["level"] == "error"
    assert "ValueError: the reason" in error["exception"]
    assert error["request_id"] == access["request_id"] == answer.headers["X-Request-ID"]
    assert access["request_id"] in answer.text
    assert access["status"] == 500


def test_a_line_cannot_be_forged(lines: Lines, make_app: MakeApp) -> None:
    """[K1] A newline in a path stays inside its line."""
    make_app().test_client().get('/a%0A{"level":"forged"}')
    [line] = lines.read()
    assert line["path"] == '/a\n{"level":"forged"}'


def test_not_found_page(client: FlaskClient) -> None:
    """[K1]"""
    answer = client.get("/nowhere")
    assert answer.status_code == 404
    assert answer.headers["X-Request-ID"] in answer.text


def test_error_pages_keep_their_headers(client: FlaskClient) -> None:
    """[K1] 405 says what is allowed."""
    answer = client.get("/logout")
    assert answer.status_code == 405
    assert set(answer.allow) == {"POST", "OPTIONS"}


def test_handler_is_set_once(make_app: MakeApp) -> None:
    """[K1] A second app in the same process does not double every line."""
    make_app()
    root_handlers = make_app().logger.root.handlers
    assert len([handler for handler in root_handlers if isinstance(handler, JsonHandler)]) == 1
