"""Apps from PyPI that nobody here wrote: log in, write, read, static files, backup, restore, rollback. Of `make proofs`."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from typing import Any

import pytest
import requests
from brought import Brought
from deploys import Outcome
from helpers import must

BUDGET = "https://ihatemoney.slipway.test"
COMMENTS = "https://isso.slipway.test"
NEW = {"name": "trip", "id": "trip", "password": "lovelace", "contact_email": "ada@example.org", "default_currency": "XXX"}


def members(browser: requests.Session) -> list[str]:
    answer = browser.get(f"{BUDGET}/api/projects/trip/members", auth=("trip", "lovelace"), timeout=30)
    return [member["name"] for member in answer.json()]


def comments(browser: requests.Session) -> list[str]:
    answer = browser.get(f"{COMMENTS}/?uri=/post", timeout=30)
    return [comment["text"] for comment in answer.json()["replies"]] if answer.status_code == 200 else []


def restored(host: Any, name: str, write: Callable[[str], None], read: Callable[[], list[str]]) -> None:
    """What was written before a backup comes back, what was written later is gone, and the app writes again."""
    before, after = f"before-{uuid.uuid4()}", f"after-{uuid.uuid4()}"
    write(before)
    must(host, f"slipway {name} backup create")
    must(host, f"slipway {name} backup verify")
    write(after)
    there = "\n".join(read())
    assert before in there and after in there
    must(host, f"slipway {name} backup restore latest")
    there = "\n".join(read())
    assert before in there and after not in there
    write("again")


@pytest.mark.of("ihatemoney")
def test_ihatemoney(host: Any, browser: requests.Session) -> None:
    """[F6 F7 F10] A package with PostgreSQL that migrates itself; its static files come from the virtual environment by nginx."""
    assert browser.post(f"{BUDGET}/api/projects", NEW, timeout=30).status_code == 201
    page = browser.get(f"{BUDGET}/authenticate?project_id=trip", timeout=30)
    token = re.search(r'name="csrf_token"[^>]*value="([^"]+)"', page.text)
    assert token, page.text[:500]
    fields = {"csrf_token": token.group(1), "id": "trip", "password": "lovelace"}
    entered = browser.post(f"{BUDGET}/authenticate", fields, headers={"Referer": f"{BUDGET}/authenticate"}, timeout=30)
    assert entered.url == f"{BUDGET}/trip/", entered.url
    (sheet,) = set(re.findall(r'href="(/static/css/main\.css[^"]*)"', entered.text))
    assert browser.get(BUDGET + sheet, timeout=30).headers["Cache-Control"]
    # Its own policy allows its inline scripts; ours would not.
    assert "unsafe-inline" in entered.headers["Content-Security-Policy"]

    def write(name: str) -> None:
        answer = browser.post(f"{BUDGET}/api/projects/trip/members", {"name": name}, auth=("trip", "lovelace"), timeout=30)
        assert answer.status_code == 201, answer.text

    restored(host, "ihatemoney", write, lambda: members(browser))


@pytest.mark.of("isso")
def test_isso(host: Any, browser: requests.Session) -> None:
    """[F6 F10] A package with SQLite, without PostgreSQL and Redis, configured by a file."""
    assert browser.get(f"{COMMENTS}/js/embed.js", timeout=30).status_code == 200
    entered = browser.post(f"{COMMENTS}/login/", {"password": "lovelace-of-isso"}, timeout=30)
    assert "Log out" in entered.text or entered.url.endswith("/admin/"), entered.text[:500]

    def write(text: str) -> None:
        answer = browser.post(f"{COMMENTS}/new?uri=/post", json={"text": f"{text} of isso", "title": "A post"}, timeout=30)
        assert answer.status_code in (201, 202), answer.text

    restored(host, "isso", write, lambda: comments(browser))


@pytest.mark.of("isso")
@pytest.mark.parametrize("name", ["ihatemoney", "isso", "django", "celery", "fastapi"])
def test_a_second_release_and_back(name: str, play: Callable[..., Outcome], browser: requests.Session, apps: tuple[Brought, ...]) -> None:
    """[S1 F10] Deployed anew and rolled back, it answers as before."""
    (app,) = (app for app in apps if app.name == name)
    for words in (("playbooks/deploy.yml", "-e", "server_threads=3"), ("playbooks/rollback.yml",)):
        done = play(*words, "--limit", name)
        assert done.status == 0, str(done)
        assert browser.get(app.front, timeout=30).status_code == 200
