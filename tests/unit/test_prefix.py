"""An app below a path of the site: every layer asks for it there, and the operator writes its paths as the app knows them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.slipway.vps.plugins.module_utils.edge import locations
from ansible_collections.slipway.vps.plugins.module_utils.rules.nginx import bad_prefix
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core.http import Answer
from ansible_collections.slipway.vps.plugins.module_utils.slipway.health import probe, quiet_paths
from render import model_of

SAID: dict[str, Any] = {
    **{"app_url_prefix": "/blog", "app_health_ready": "/up", "app_static": {"/static/": "s"}, "app_uploads": {"/files/": "f"}},
    "app_verify_paths": ["/", "/login"],
}


def test_the_model_has_it_everywhere() -> None:
    """[F1] field case 28: derived once; Gunicorn takes SCRIPT_NAME off the path."""
    found = model_of(**SAID)
    assert (found["prefix"], found["health"]["ready"], found["health"]["live"]) == ("/blog", "/blog/up", "")
    assert found["health"]["quiet"] == ["/blog/healthz/live", "/blog/livez", "/blog/health/live", "/blog/up"]
    assert (found["static"], found["uploads"]) == ({"/blog/static/": "s"}, {"/blog/files/": "f"})
    assert found["verify_paths"] == ["/blog/", "/blog/login"] and found["environment"]["SCRIPT_NAME"] == "/blog"
    assert "SCRIPT_NAME" not in model_of()["environment"] and model_of()["prefix"] == ""


def test_the_usual_names_are_below_it() -> None:
    """[A14] And so is the front page."""
    asked: list[str] = []

    def get(path: str) -> Answer:
        asked.append(path)
        return Answer(302 if path == "/blog/" else 404, "")

    found = probe(get, "", "", "/blog")
    assert found.good and found.path == "/blog/" and all(path.startswith("/blog/") for path in asked)
    assert probe(get, "", "/blog/", "/blog").good and not probe(get, "/blog/", "", "/blog").good
    assert "/blog/healthz" in quiet_paths("", "", "/blog") and quiet_paths("", "/blog/live", "/blog")[0] == "/blog/live"


def test_locations() -> None:
    """[E7] The operator's paths are the app's own."""
    found = locations([{"path": "/login", "rate": "1r/s"}], [{"path": "/ws/", "websocket": True}], {"/a": "b;", "/static/": "c;"},
                      ["/blog/up"], ["/blog/static/"], "/blog")  # fmt: skip
    assert [entry["match"] for entry in found] == ["/blog/", "= /blog/up", "= /blog/login", "/blog/ws/", "= /blog/a"]


@pytest.mark.parametrize("prefix", ["blog", "/blog/", "/", "//", "/a b", "/a;b", "/.static"])
def test_what_is_no_prefix(prefix: str) -> None:
    """[A7]"""
    assert [problem.variable for problem in bad_prefix({"app_url_prefix": prefix})] == ["app_url_prefix"]


def test_prefixes() -> None:
    """[A7] An ASGI worker does not hand it over."""
    assert not list(bad_prefix({})) and not list(bad_prefix({"app_url_prefix": ""})) and not list(bad_prefix({"app_url_prefix": "/a/b-c"}))
    assert not list(bad_prefix({"app_url_prefix": "/blog", "app_env": {"SCRIPT_NAME": "/blog"}}))
    (found,) = bad_prefix({"app_env": {"SCRIPT_NAME": "/blog"}})
    assert (found.variable, found.fix) == ("app_env", "set app_url_prefix: /blog"), "one truth"
    assert "ASGI" in next(bad_prefix({"app_url_prefix": "/blog", "server_worker_class": "asgi"})).what


def test_nobody_else_writes_a_bare_front_page() -> None:
    """[F1] What asks for the front page asks for the app's."""
    for name in ("deploy_switch.py", "deploy_migrate.py", "slipway/verify.py"):
        text = (Path(__file__).parents[2] / "plugins/module_utils" / name).read_text()
        assert 'domain, "/")' not in text and 'path, "/",' not in text, name
