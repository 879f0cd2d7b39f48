"""An app without a health endpoint of its own: the usual names are tried, then the front page; what is found is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.slipway.vps.plugins.module_utils import deploy_migrate, deploy_switch
from ansible_collections.slipway.vps.plugins.module_utils.deploy_steps import StepError
from ansible_collections.slipway.vps.plugins.module_utils.releases import LIVE, READY, Release, Store
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core.http import Answer
from ansible_collections.slipway.vps.plugins.module_utils.slipway.health import ALIVE, PLAIN, USUAL, probe, quiet_paths

from .fakes import NEW, OLD, Existing, Host, Make

Pages = dict[str, list[int]]


def asker(pages: Pages, asked: list[str] | None = None) -> Any:
    """An app with these pages, each with its answers one after the other; 404 elsewhere."""

    def get(path: Path | str, url: str = "", *_: Any, **__: Any) -> Answer:
        url = url or str(path)
        if asked is not None:
            asked.append(url)
        statuses = pages.get(url, [404])
        return Answer(statuses.pop(0) if len(statuses) > 1 else statuses[0], f"body of {url}")

    return get


@pytest.fixture
def pages(monkeypatch: pytest.MonkeyPatch) -> Pages:
    found: Pages = {}
    for module in (deploy_switch, deploy_migrate):
        monkeypatch.setattr(module, "get", asker(found))
    return found


@pytest.mark.parametrize(
    ("answers", "path"),
    [
        ({"/healthz/ready": [200], "/up": [200], "/": [200]}, "/healthz/ready"),
        ({"/up": [200], "/": [200]}, "/up"),
        ({"/health": [301], "/readyz": [200], "/": [200]}, "/readyz"),
        ({"/": [200]}, "/"),
        ({"/": [302]}, "/"),
        ({"/": [401]}, "/"),
        ({"/": [403]}, "/"),
        ({"/up": [0, 0, 503, 503, 200], "/": [200]}, "/up"),
    ],
)
def test_the_first_that_answers_is_chosen_and_kept(
    deploy: Make, existing: Existing, root: Path, pages: Pages, answers: Pages, path: str
) -> None:
    """[A14] field case 31: printed with the variable, and kept with the release. One that answers 503 is there, and not ready yet."""
    existing(NEW, READY)
    pages.update(answers)
    status = answers[path][-1]
    done = deploy(release=NEW, ready="", ready_timeout=60).do("rehearse")
    assert done["output"] == f"readiness: GET {path} answers {status}; set app_health_ready to fix it"
    noted = Store(root / "srv").load(NEW)
    assert noted and noted.ready == path


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ({}, "None of /healthz/ready"),
        ({"/": [400]}, "ALLOWED_HOSTS"),
        ({"/": [404]}, "GET / answered 404"),
        ({"/": [500]}, "GET / answered 500"),
        ({"/health": [500], "/": [200]}, "GET /health answered 500"),
    ],
)
def test_what_nobody_can_call_ready_is_refused(
    deploy: Make, existing: Existing, host: Host, serving: Release, pages: Pages, answers: Pages, words: str
) -> None:
    """[A14] field case 31: the failure says what was tried and names the variable."""
    existing(NEW, READY)
    pages.update(answers)
    with pytest.raises(StepError) as failure:
        deploy(release=NEW, ready="", ready_timeout=-1).do("rehearse")
    assert words in failure.value.evidence and "app_health_ready" in failure.value.evidence


def test_a_path_that_is_named_is_strict(deploy: Make, existing: Existing, root: Path, pages: Pages) -> None:
    """[A14] 200 and nothing else, also of the front page; nothing is found, printed or noted."""
    existing(NEW, READY, ready="/up")
    pages.update({"/": [302], "/up": [200]})
    with pytest.raises(StepError, match="app_health_ready"):
        deploy(release=NEW, ready="/", ready_timeout=-1).do("rehearse")
    existing("20261121T072201-4f2a9c11", READY, ready="/up")
    done = deploy(release="20261121T072201-4f2a9c11", ready="/up").do("rehearse")
    noted = Store(root / "srv").load("20261121T072201-4f2a9c11")
    assert done == {"changed": False, "release": "20261121T072201-4f2a9c11"} and noted and noted.ready == ""


def test_it_is_said_after_the_switch(deploy: Make, existing: Existing, host: Host, serving: Release, pages: Pages) -> None:
    """[A14] The deploy shows it."""
    existing(NEW, READY)
    pages["/ping"] = [200]
    pages["/"] = [200]
    assert "GET /ping answers 200" in deploy(release=NEW, ready="").do("go_live")["output"]


@pytest.mark.parametrize(
    ("said", "noted", "closed", "asked"),
    [
        ("", "/up", False, ["/up", "/"]),
        ("", "/", False, ["/"]),
        ("", "", False, ["/"]),
        ("", "/up", True, []),
        ("", "/health", True, ["/health"]),
        ("/up", "", True, ["/up"]),
        ("/up", "/health", False, ["/up", "/"]),
    ],
)
def test_what_is_asked_through_nginx(
    deploy: Make, existing: Existing, root: Path, host: Host, said: str, noted: str, closed: bool, asked: list[str]
) -> None:
    """[A14] What the live release's rehearsal found; during maintenance only what nginx lets in."""
    existing(OLD, LIVE, current=True, ready=noted)
    if closed:
        (root / "srv/maintenance").mkdir()
        (root / "srv/maintenance/index.html").touch()
    assert deploy(ready=said).switcher.public_paths() == asked


def test_the_usual_names_are_asked_in_order() -> None:
    """[A14] Each once; the first is what was the default before, so an inventory that relies on it is served by it."""
    asked: list[str] = []
    found = probe(asker({"/": [200]}, asked), "")
    assert asked == [*USUAL, "/"] and found.good and USUAL[0] == "/healthz/ready"
    asked.clear()
    assert probe(asker({"/up": [200]}, asked), "", "/up").good and asked == ["/up"]
    asked.clear()
    assert not probe(asker({}, asked), "/up").good and asked == ["/up"]


def test_quiet_paths() -> None:
    """[A14] [K1] Those that are named; otherwise only names that no page of an app has."""
    assert quiet_paths("/up", "/live") == ["/live", "/up"] and quiet_paths("/up", "/up") == ["/up"]
    assert quiet_paths("", "") == [*ALIVE, *(path for path in PLAIN if path not in ALIVE)]
    assert not {"/up", "/ping", "/status", "/"} & {*quiet_paths("", "")}
