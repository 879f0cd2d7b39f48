"""A run that is limited to one app, and inputs that do not go together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from machine import Play, owned


def test_a_limited_run_leaves_the_others_as_they_are(host: Any, play: Play, tmp_path: Path) -> None:
    """[F2] And still knows that they are there."""
    before = {name: owned(host, name) for name in ("blog", "tiny")}
    says = {"shop": {"nginx_client_max_body_size": "7m", "postgres_log_min_duration": "2s"}}
    outcome = play("site.yml", "--limit", "shop", says=says, folder=tmp_path)
    assert outcome.status == 0, str(outcome)
    assert "client_max_body_size 7m" in host.file("/etc/nginx/sites-available/shop.conf").content_string
    # The machine's own, said by one of its apps.
    assert "'2s'" in host.file("/etc/postgresql/17/main/conf.d/slipway.conf").content_string
    assert {name: owned(host, name) for name in before} == before


def test_settings_of_the_machine_that_disagree_are_refused(play: Play, tmp_path: Path) -> None:
    """[F1 F2 K10] Both places are named, and nothing is changed."""
    says = {"blog": {"nginx_worker_connections": 1024}, "shop": {"nginx_worker_connections": 2048}}
    outcome = play("site.yml", says=says, folder=tmp_path)
    assert outcome.status != 0 and "Nothing was changed" in outcome.output, str(outcome)
    assert "nginx_worker_connections is the machine's, and blog and shop say different things of it" in outcome.output, str(outcome)
    assert "TASK [slipway.vps.base" not in outcome.output


def test_one_name_for_two_apps_is_refused(play: Play, tmp_path: Path) -> None:
    """[F2 K10] A unit, a domain or a database has one owner."""
    unit = {"shop": {"app_processes": {"x": {"command": "true"}}}, "tiny": {"app_name": "shop-x"}}
    domain: dict[str, dict[str, Any]] = {"shop": {"app_domains": ["blog.slipway.test"]}}
    for says in (unit, domain):
        outcome = play("site.yml", says=says, folder=tmp_path)
        assert outcome.status != 0 and "would belong to" in outcome.output, str(outcome)
