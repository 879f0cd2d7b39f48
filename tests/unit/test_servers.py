"""Which servers there are, what each can do, and what is refused or said of it."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from ansible_collections.slipway.vps.plugins.module_utils.rules import server as rules
from ansible_collections.slipway.vps.plugins.module_utils.servers import ASGI, SERVERS, WSGI, at_once, interface, requirements

from .conftest import ROOT

OPTIONS = yaml.safe_load((ROOT / "roles/app/meta/argument_specs.yml").read_text())["argument_specs"]["main"]["options"]
USUAL = {"app_server": "gunicorn", "app_interface": "", "server_worker_class": "auto", "server_max_requests": 0}


def test_what_can_be_chosen_is_known() -> None:
    """[K6] The contract's choices, the table and the adapters are one list."""
    assert OPTIONS["app_server"]["choices"] == list(SERVERS) and OPTIONS["app_interface"]["choices"] == ["", WSGI, ASGI]
    program = (ROOT / "roles/server/files/slipway_server.py").read_text()
    assert all(f'"{name}": Adapter(' in program for name in SERVERS if name != "gunicorn")


@pytest.mark.parametrize("name", SERVERS)
def test_each_version_is_pinned(name: str) -> None:
    assert all("==" in one for one in requirements(name, "auto")) and requirements(name, "auto")


def test_gevent_is_gunicorns() -> None:
    """[A4] What its worker imports besides, Gunicorn's extra names."""
    assert len(requirements("gunicorn", "gevent")) == 2 and requirements("granian", "gevent") == requirements("granian", "auto")


@pytest.mark.parametrize(
    ("server", "worker_class", "said", "found"),
    [
        ("gunicorn", "auto", "", WSGI),
        ("gunicorn", "asgi", "", ASGI),
        ("gunicorn", "gthread", ASGI, ASGI),
        ("uvicorn", "gthread", "", ASGI),
        ("granian", "gthread", "", WSGI),
        ("granian", "asgi", "", WSGI),
        ("granian", "gthread", ASGI, ASGI),
        ("hypercorn", "gthread", "", WSGI),
    ],
)
def test_the_interface_is_what_is_said_or_what_the_rest_means(server: str, worker_class: str, said: str, found: str) -> None:
    assert interface(server, worker_class, said) == found


@pytest.mark.parametrize(
    ("server", "found"),
    [
        ({}, 4),
        ({"worker_class": "sync"}, 1),
        ({"worker_class": "gevent"}, None),
        ({"worker_class": "asgi", "interface": ASGI}, None),
        ({"name": "granian", "interface": WSGI}, 4),
        ({"name": "granian", "interface": ASGI}, None),
        ({"name": "uwsgi", "worker_class": "gevent"}, 4),
        ({"name": "hypercorn", "interface": WSGI}, None),
    ],
)
def test_what_a_worker_answers_at_once(server: dict[str, Any], found: int | None) -> None:
    """[D2] PostgreSQL's connections are counted with it."""
    assert at_once({"threads": 4, **server}) == found


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"app_server": "waitress", "app_interface": "asgi"}, "is asgi, which waitress does not speak"),
        ({"app_server": "uvicorn", "app_interface": "wsgi"}, "is wsgi, which uvicorn does not speak"),
        ({"app_interface": "wsgi", "server_worker_class": "asgi"}, "is wsgi, and server_worker_class is asgi"),
    ],
)
def test_an_interface_that_the_server_does_not_speak_is_refused(said: dict[str, Any], words: str) -> None:
    """[F8] With those that speak it."""
    (problem,) = rules.other_interface({**USUAL, **said})
    assert words in problem.what and problem.variable == "app_interface"


@pytest.mark.parametrize(
    "said", [{}, *({"app_server": name} for name in SERVERS), {"app_interface": "asgi"}, {"server_worker_class": "asgi"}]
)
def test_the_usual_is_not(said: dict[str, Any]) -> None:
    assert list(rules.other_interface({**USUAL, **said})) == []


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"app_server": "granian", "server_max_requests": 1000}, "granian replaces no worker"),
        ({"app_server": "uwsgi", "server_worker_class": "gevent"}, "server_worker_class is Gunicorn's"),
    ],
)
def test_a_setting_without_effect_is_said(said: dict[str, Any], words: str) -> None:
    (note,) = rules.notes({**USUAL, **said})
    assert words in note
    assert list(rules.notes(USUAL)) == []
