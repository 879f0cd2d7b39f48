"""Reading and writing the log, and the pictures in it."""

from __future__ import annotations

import io
import os
import re
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from logbook import create_app
from logbook.extensions import db
from logbook.models import Entry, User

from .conftest import PRODUCTION, Environment, MakeApp, log_in, token

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 32
JPEG = b"\xff\xd8\xff\xe0" + b"\0" * 32
GIF = b"GIF89a" + b"\0" * 32
WEBP = b"RIFF\0\0\0\0WEBPVP8 " + b"\0" * 32


@pytest.fixture
def member(client: FlaskClient) -> FlaskClient:
    assert log_in(client).status_code == 303
    return client


def write(client: FlaskClient, text: str, picture: tuple[bytes, str] | None = None) -> TestResponse:
    data: dict[str, object] = {"text": text, "csrf_token": token(client, "/")}
    if picture:
        data["picture"] = (io.BytesIO(picture[0]), picture[1])
    return client.post("/entries", data=data)


def uploads(app: Flask) -> list[Path]:
    folder = Path(app.config["UPLOAD_FOLDER"])
    return list(folder.iterdir()) if folder.exists() else []


def test_write_and_read(member: FlaskClient) -> None:
    """[K6]"""
    assert write(member, "Left harbour.\n<b>Fog</b>").status_code == 303
    page = member.get("/").text
    assert "Left harbour." in page
    assert "&lt;b&gt;Fog" in page
    assert "Entered in the log." in page


def test_writing_needs_a_login(client: FlaskClient) -> None:
    """[A16]"""
    answer = client.post("/entries", data={"text": "Hello", "csrf_token": token(client)})
    assert answer.status_code == 302
    assert answer.location.startswith("/login")


def test_times_are_utc() -> None:
    """[K6] Whatever time zone the database answers in."""
    noon = datetime(2026, 7, 1, 12, tzinfo=timezone.utc)
    for answer in (noon, noon.astimezone(timezone(timedelta(hours=2))), noon.replace(tzinfo=None)):
        assert Entry(created_at=answer).written.isoformat() == "2026-07-01T12:00:00+00:00"


def test_newest_first_in_pages(app: Flask, client: FlaskClient) -> None:
    """[K6]"""
    app.config["ENTRIES_PER_PAGE"] = 2
    with app.app_context():
        author = db.session.get_one(User, 1)
        db.session.add_all(Entry(text=f"Entry {n}.", author=author) for n in range(1, 6))
        db.session.commit()
    pages = [re.findall(r"Entry \d", client.get(f"/?page={n}").text) for n in (1, 2, 3)]
    assert pages == [["Entry 5", "Entry 4"], ["Entry 3", "Entry 2"], ["Entry 1"]]
    assert client.get("/?page=4").status_code == 404


@pytest.mark.parametrize(
    ("content", "name"),
    [(PNG, "a.png"), (JPEG, "a.jpg"), (JPEG, "A.JPEG"), (GIF, "a.gif"), (WEBP, "../../a.webp")],
    ids=["png", "jpg", "jpeg", "gif", "webp"],
)
def test_picture_accepted(app: Flask, member: FlaskClient, content: bytes, name: str) -> None:
    """[E6] [A5] Stored under a random name, readable by the group whatever the umask, and shown by its URL."""
    umask = os.umask(0o077)
    try:
        assert write(member, "Land!", (content, name)).status_code == 303
    finally:
        os.umask(umask)
    [stored] = uploads(app)
    assert re.fullmatch(r"[0-9a-f]{32}\.(png|jpe?g|gif|webp)", stored.name)
    assert stored.stat().st_mode & 0o777 == 0o640
    assert stored.read_bytes() == content
    assert f'src="/uploads/{stored.name}"' in member.get("/").text
    assert member.get(f"/uploads/{stored.name}").data == content


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b"<?php evil ?>", "fake.png"),
        (b"<svg xmlns='...'/>", "a.svg"),
        (PNG, "a.html"),
        (PNG, "a.jpg"),
        (PNG, "png"),
        (b"", "empty.png"),
    ],
    ids=["fake", "svg", "html", "mismatch", "nameless", "empty"],
)
def test_picture_refused(app: Flask, member: FlaskClient, content: bytes, name: str) -> None:
    """[A17] The content must be a picture and the name must say which; nothing is stored."""
    answer = write(member, "Land!", (content, name))
    assert answer.status_code == 400
    assert "Only PNG, JPEG, GIF and WebP" in answer.text
    assert uploads(app) == []
    assert "Nothing has been entered yet." in member.get("/").text


def test_too_large(make_app: MakeApp) -> None:
    """[A17] A body over MAX_CONTENT_LENGTH is 413."""
    client = make_app(MAX_CONTENT_LENGTH="2000").test_client()
    assert log_in(client).status_code == 303
    assert write(client, "Land!", (PNG + b"\0" * 2000, "a.png")).status_code == 413


def test_a_failed_commit_leaves_no_picture(app: Flask, member: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """[E6]"""

    def fail() -> None:
        raise RuntimeError("the disk is full")

    csrf = token(member, "/")
    monkeypatch.setattr(db.session, "commit", fail)
    data = {"text": "Land!", "csrf_token": csrf, "picture": (io.BytesIO(PNG), "a.png")}
    with pytest.raises(RuntimeError, match="full"):
        member.post("/entries", data=data)
    assert uploads(app) == []


def test_who_wrote_an_entry_takes_it_out(app: Flask, member: FlaskClient) -> None:
    """[K6] With its picture; nobody else can, and not without the form's token. The smoke test after a deploy leaves nothing behind."""
    write(member, "Land!", (PNG, "a.png"))
    with app.app_context():
        db.session.add(Entry(text="Mine.", author=User(name="eve", password_hash="x")))
        db.session.commit()
    path = re.findall(r"/entries/\d+/delete", member.get("/").text)
    assert path == ["/entries/1/delete"] and len(uploads(app)) == 1
    csrf = token(member, "/")
    assert member.post("/entries/2/delete", data={"csrf_token": csrf}).status_code == 404
    assert member.post("/entries/3/delete", data={"csrf_token": csrf}).status_code == 404
    assert member.post("/entries/1/delete").status_code == 400
    assert member.post("/entries/1/delete", data={"csrf_token": csrf}).status_code == 303
    page = member.get("/").text
    assert "Land!" not in page and "Mine." in page and "Taken out of the log." in page and uploads(app) == []
    assert app.test_client().post("/entries/2/delete", data={"csrf_token": csrf}).status_code == 400


def test_production_does_not_serve_uploads(environment: Environment, tmp_path: Path) -> None:
    """[E6] Pictures do not go through Python."""
    (tmp_path / "a.png").write_bytes(PNG)
    environment(PRODUCTION, UPLOAD_FOLDER=str(tmp_path))
    assert create_app().test_client().get("/uploads/a.png").status_code == 404


def test_pages_suit_a_strict_content_security_policy(member: FlaskClient) -> None:
    """[E4] No inline script or style, nothing from elsewhere, and static files carry their content's hash."""
    write(member, "Land!", (PNG, "a.png"))
    for page in (member.get("/").text, member.get("/login").text, member.get("/nowhere").text):
        assert not re.search(r"<script|<style|\son\w+=|\sstyle=|javascript:|(src|href)=.(https?:)?//", page)
        for asset in re.findall(r'href="(/static/[^"]+)"', page):
            assert re.search(r"\?v=[0-9a-f]{12}$", asset)
            assert member.get(asset).status_code == 200
