"""Logging in, sessions, CSRF, and the command that makes users."""

from __future__ import annotations

import fakeredis
import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select

from logbook import create_app
from logbook.extensions import RedisSessions, db
from logbook.models import User

from .conftest import PASSWORD, PRODUCTION, SECRET, Environment, MakeApp, log_in, token

SITE = "https://localhost"


def password_hash(app: Flask, name: str) -> str | None:
    with app.app_context():
        return db.session.scalar(select(User.password_hash).where(User.name == name))


def test_log_in_and_out(client: FlaskClient) -> None:
    """[A16]"""
    assert 'href="/login"' in client.get("/").text
    answer = log_in(client)
    assert (answer.status_code, answer.location) == (303, "/")
    assert "Log out" in client.get("/").text
    assert client.post("/logout", data={"csrf_token": token(client, "/")}).status_code == 303
    assert 'href="/login"' in client.get("/").text


def test_unknown_user_and_wrong_password_look_the_same(client: FlaskClient) -> None:
    """[A16] Nobody learns who has an account."""
    crsf = token(client)
    wrong = client.post("/login", data={"name": "ada", "password": "wrong wrong", "csrf_token": crsf})
    unknown = client.post("/login", data={"name": "eve", "password": "wrong wrong", "csrf_token": crsf})
    assert wrong.status_code == unknown.status_code == 401
    assert wrong.text.replace('"ada"', '"eve"').split("csrf_token")[0] == unknown.text.split("csrf_token")[0]
    assert "Name or password is wrong." in unknown.text


def test_the_account_of_the_smoke_test(make_app: MakeApp) -> None:
    """[K6] [A11] It is made when it first logs in, and has today's password; without the variable there is none."""
    assert log_in(make_app().test_client(), "smoke", PASSWORD).status_code == 401
    first = make_app(LOGBOOK_SMOKE_PASSWORD=PASSWORD)
    assert log_in(first.test_client(), "smoke", "wrong wrong").status_code == 401
    assert log_in(first.test_client(), "smoke", PASSWORD).status_code == 303
    second = make_app(DATABASE_URL=first.config["DATABASE_URL"], LOGBOOK_SMOKE_PASSWORD="another password")
    assert log_in(second.test_client(), "smoke", PASSWORD).status_code == 401
    assert log_in(second.test_client(), "smoke", "another password").status_code == 303
    assert log_in(second.test_client(), "ada", "another password").status_code == 401


@pytest.mark.parametrize("path", ["/login", "/logout", "/entries"])
def test_csrf_is_enforced(client: FlaskClient, path: str) -> None:
    """[A16] A form without a valid token is refused."""
    data = {"name": "ada", "password": PASSWORD, "text": "forged"}
    assert client.post(path, data=data).status_code == 400
    assert client.post(path, data={**data, "csrf_token": "forged"}).status_code == 400


def test_an_open_form_survives_a_key_rotation(make_app: MakeApp, fake_redis: fakeredis.FakeRedis) -> None:
    """[A11] A page that was served before SECRET_KEY changed can still be sent while the old key is a fallback,
    and the session goes on. Without the fallback it is refused."""
    new_key = "0a1b2c3d4e5f6789" * 2

    def with_sessions(app: Flask) -> FlaskClient:
        app.session_interface = RedisSessions(app, fake_redis)
        return app.test_client()

    first = make_app()
    before = with_sessions(first)
    assert log_in(before).status_code == 303
    old_token = token(before, "/")
    cookie = before.get_cookie("logbook_session")
    assert cookie is not None
    same = {"DATABASE_URL": first.config["DATABASE_URL"], "SECRET_KEY": new_key}
    after = with_sessions(make_app(**same, SECRET_KEY_FALLBACKS=SECRET))
    without = with_sessions(make_app(**same, SECRET_KEY_FALLBACKS=None))
    for client, status in ((after, 303), (without, 400)):
        client.set_cookie("logbook_session", cookie.value)
        assert "Log out" in client.get("/").text
        assert client.post("/entries", data={"text": "Tack.", "csrf_token": old_token}).status_code == status
    fresh = token(after, "/")
    assert without.post("/entries", data={"text": "Gybe.", "csrf_token": fresh}).status_code == 303


def test_two_releases_in_the_middle_of_a_rotation_believe_each_other(make_app: MakeApp, fake_redis: fakeredis.FakeRedis) -> None:
    """[A11] The one signs with the old key and accepts the next, the other the other way round: during a switch a
    visitor's form comes from either and goes to either."""
    next_key = "0a1b2c3d4e5f6789" * 2
    first = make_app(SECRET_KEY_FALLBACKS=next_key)
    same = {"DATABASE_URL": first.config["DATABASE_URL"], "SECRET_KEY": next_key}
    clients = []
    for app in (first, make_app(**same, SECRET_KEY_FALLBACKS=SECRET)):
        app.session_interface = RedisSessions(app, fake_redis)
        clients.append(app.test_client())
    assert log_in(clients[0]).status_code == 303
    cookie = clients[0].get_cookie("logbook_session")
    assert cookie is not None
    clients[1].set_cookie("logbook_session", cookie.value)
    for page, form in (clients, reversed(clients)):
        sent = form.post("/entries", data={"text": "Tack.", "csrf_token": token(page, "/")})
        assert sent.status_code == 303, sent.text


def test_sessions_live_in_redis(make_app: MakeApp, fake_redis: fakeredis.FakeRedis) -> None:
    """[A16] The cookie is an id and nothing else; it changes at login and is worthless after logout."""
    app = make_app()
    app.session_interface = RedisSessions(app, fake_redis, "logbook:session:")
    app.config["SESSION_COOKIE_SECURE"] = True
    client = app.test_client()

    def key() -> bytes:
        cookie = client.get_cookie("logbook_session")
        assert cookie is not None
        return f"logbook:session:{cookie.value}".encode()

    def send(path: str, page: str, **data: str) -> int:
        found = client.get(page, base_url=SITE).text.split('name="csrf_token"')[1].split('value="')[1].split('"')[0]
        data["csrf_token"] = found
        return client.post(path, base_url=SITE, headers={"Referer": f"{SITE}/"}, data=data).status_code

    client.get("/", base_url=SITE)
    assert fake_redis.keys() == []  # reading costs no session
    cookie = client.get("/login", base_url=SITE).headers["Set-Cookie"]
    assert all(part in cookie for part in ("Secure", "HttpOnly", "SameSite=Lax"))
    anonymous = key()
    assert fake_redis.keys() == [anonymous]
    assert send("/login", "/login", name="ada", password=PASSWORD) == 303
    member = key()
    assert member != anonymous
    assert fake_redis.keys() == [member]
    assert 0 < fake_redis.ttl(member) <= 7 * 24 * 3600
    assert send("/logout", "/") == 303
    assert fake_redis.keys() == []


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_an_outage_is_503_and_short(environment: Environment, caplog: pytest.LogCaptureFixture, method: str) -> None:
    """[A14] With Redis down, a visitor with a session gets a small page that says so, not a stack, and the log
    gets the reason once."""
    environment(PRODUCTION)
    client = create_app().test_client()
    client.set_cookie("logbook_session", "0123456789abcdef", secure=True)
    answer = client.open("/login", method=method, base_url=SITE)
    assert answer.status_code == 503
    assert len([record for record in caplog.records if record.exc_info]) == 1
    assert answer.headers["Retry-After"] == "5"
    assert answer.headers["X-Request-ID"] in answer.text
    assert "Traceback" not in answer.text


def test_user_add_can_be_repeated(app: Flask, environment: Environment) -> None:
    """[A12] The command creates, changes nothing when repeated, and gives a new password."""
    run = app.test_cli_runner().invoke
    assert "grace: created" in run(args=["user", "add", "grace"], input="a long password\n").output
    first = password_hash(app, "grace")
    assert first is not None
    assert first.startswith("scrypt:")
    assert "grace: unchanged" in run(args=["user", "add", "grace"], input="a long password\n").output
    assert password_hash(app, "grace") == first
    environment(LOGBOOK_PASSWORD="another password")
    assert "grace: updated" in run(args=["user", "add", "grace"]).output
    assert log_in(app.test_client(), "grace", "another password").status_code == 303


@pytest.mark.parametrize("password", ["", "short\n"])
def test_user_add_refuses_a_short_password(app: Flask, password: str) -> None:
    """[A12]"""
    result = app.test_cli_runner().invoke(args=["user", "add", "grace"], input=password)
    assert result.exit_code == 1
    assert "too short" in result.output
    assert password_hash(app, "grace") is None
