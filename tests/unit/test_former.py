"""Variables under the names that they had before."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from ansible_collections.slipway.vps.plugins.module_utils.former import FORMER, GONE, note, renamed

from .conftest import ROOT
from .inventory import Inventory

OPTIONS = {
    name
    for path in ROOT.glob("roles/*/meta/argument_specs.yml")
    for point in yaml.safe_load(path.read_text())["argument_specs"].values()
    for name in point.get("options", {})
}
DEFAULTS = {name for path in ROOT.glob("roles/*/defaults/main.yml") for name in yaml.safe_load(path.read_text()) or {}}


def test_each_leads_to_a_variable_of_today_and_is_none_itself() -> None:
    assert set(FORMER) <= OPTIONS | DEFAULTS and not set(FORMER.values()) & (OPTIONS | DEFAULTS)


@pytest.mark.parametrize("name", sorted(FORMER))
def test_todays_name_wins(name: str) -> None:
    """[F8] Whoever says both means the newer one."""
    former = FORMER[name]
    assert renamed({former: 1, "other": 2}) == {name: 1, "other": 2}
    assert renamed({former: 1, name: 3}) == {name: 3}


def test_an_inventory_goes_on_working(tmp_path: Path) -> None:
    """[F8] In the model, and in what the roles read; an expression is resolved."""
    inventory = Inventory(tmp_path, {"blog": {"gunicorn_workers": "3", "gunicorn_backlog": "{{ 8 * 8 }}", "gunicorn_timeout": 60}})
    assert inventory.refusal("blog") == ""
    server = inventory.app("blog")["server"]
    assert (server["workers"], server["timeout"]) == ("3", 60)
    assert inventory.secrets("blog")["facts"] == {"server_workers": "3", "server_backlog": 64, "server_timeout": 60}


def test_what_is_wrong_with_it_names_the_line_that_is_there(tmp_path: Path) -> None:
    """[F8] Under today's name, at the former one's line."""
    inventory = Inventory(tmp_path, {"blog": {"gunicorn_worker_class": "threads"}})
    message, file = inventory.refusal("blog"), tmp_path / "host_vars/blog.yml"
    line = next(number for number, text in enumerate(file.read_text().splitlines(), 1) if text.startswith("gunicorn_worker_class"))
    assert "- server_worker_class is 'threads'" in message and f"file: {file}:{line}\n" in message


def test_a_name_that_never_was_is_refused(tmp_path: Path) -> None:
    """[F8] As each unknown name with a role's prefix."""
    assert "server_worker " in Inventory(tmp_path, {"blog": {"server_worker": 3}}).refusal("blog")


def test_a_name_that_is_gone_is_no_reason_to_stop(tmp_path: Path) -> None:
    """[F8] It was right once. The run says that it has no effect, and why."""
    inventory = Inventory(tmp_path, {"blog": {"nginx_upstream_keepalive": 64, "gunicorn_keepalive": 5}})
    assert inventory.refusal("blog") == "" and not set(GONE) & (OPTIONS | DEFAULTS)
    first, second = note({"gunicorn_keepalive": 5, "nginx_upstream_keepalive": 64})
    assert first.startswith("nginx_upstream_keepalive has no effect any more: nginx asks each request") and "gunicorn_keepalive" in second


def test_the_run_says_it_once() -> None:
    assert note({"app_name": "x"}) == []
    (said,) = note({"gunicorn_workers": 1, "gunicorn_threads": 2})
    assert "gunicorn_workers is server_workers now; gunicorn_threads is server_threads now" in said
