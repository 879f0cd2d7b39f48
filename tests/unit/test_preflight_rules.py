"""Answers to what is on a machine: judged on the controller, before any host is asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from .inventory import Inventory


def refusal(folder: Path, answers: Any, **more: Any) -> str:
    return Inventory(folder, {"blog": {"preflight_answers": answers, **more}}).refusal("blog")


def test_answers_reach_the_model(tmp_path: Path) -> None:
    """[F3] Of all apps of a machine together, for whichever runs its part."""
    answers = {
        "port:80": "replace",
        "site:blog.example.com": "replace",
        "user:blog": "adopt",
        "path:/srv/blog": "adopt",
        "unit:blog-tls": "replace",
    }
    inventory = Inventory(tmp_path, {"blog": {"preflight_answers": answers}, "shop": {"preflight_answers": {"port:6379": "leave"}}})
    for entry in ("blog", "shop"):
        assert inventory.app(entry)["machine"]["answers"] == {**answers, "port:6379": "leave"}
    assert Inventory(tmp_path / "none", {"blog": {}}).app("blog")["machine"]["answers"] == {}


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ({"port:80": "replaced"}, ["answers port:80 with 'replaced'", "did you mean replace?"]),
        ({"port:80": True}, ["answers port:80 with the bool True", "use adopt, replace, leave"]),
        ({"port:80": None}, ["answers port:80 with"]),
        ({"port:8080": "replace"}, ["'port:8080'", "did you mean port:80?"]),
        ({"site:blog.exmaple.com": "replace"}, ["'site:blog.exmaple.com'", "did you mean site:blog.example.com?"]),
        ({"user:bolg": "adopt"}, ["did you mean user:blog?"]),
        ({"apache": "replace"}, ["'apache'", "for example port:80"]),
        ({"user:blog": "replace"}, ["answers user:blog with replace, which cannot be carried out", "use adopt"]),
        ({"port:80": "leave"}, ["use adopt or replace"]),
        ({"apt:lock": "leave"}, ["remove the line"]),
        ("replace", ["must be a dictionary"]),
        (["port:80"], ["must be a dictionary"]),
    ],
)
def test_what_means_nothing_is_refused(tmp_path: Path, answers: Any, words: list[str]) -> None:
    """[F8] With the line of the file, and what was meant."""
    message = refusal(tmp_path, answers)
    assert "preflight_answers" in message and "host_vars/blog.yml:" in message, message
    for part in words:
        assert part in message, message


def test_every_mistake_is_named_at_once(tmp_path: Path) -> None:
    """[F3]"""
    message = refusal(tmp_path, {"port:81": "replace", "user:blog": "leave"})
    assert "'port:81'" in message and "user:blog with leave" in message


def test_what_another_app_of_the_machine_answers_is_known(tmp_path: Path) -> None:
    """[F2] An answer in group_vars is about whichever app has that name."""
    group = {"preflight_answers": {"user:shop": "adopt", "site:blog.example.com": "replace"}}
    inventory = Inventory(tmp_path, {"blog": {}, "shop": {}}, group)
    assert inventory.refusal("blog") == inventory.refusal("shop") == ""
    alone = Inventory(tmp_path / "alone", {"blog": {}}, group)
    assert "'user:shop'" in alone.refusal("blog")


def test_two_apps_may_not_contradict_each_other(tmp_path: Path) -> None:
    """[F2] The message names both places."""
    answers = ({"preflight_answers": {"port:6379": way}} for way in ("leave", "replace"))
    inventory = Inventory(tmp_path, dict(zip(("blog", "shop"), answers, strict=True)))
    for entry in ("blog", "shop"):
        message = inventory.refusal(entry)
        assert "port:6379 with leave for blog and with replace for shop" in message
        assert "host_vars/blog.yml:" in message and "host_vars/shop.yml:" in message


def test_the_port_of_the_database_is_the_models(tmp_path: Path) -> None:
    """[F1]"""
    url = {"app_database_url": "postgresql:///blog?host=/run/postgresql&port=5433"}
    assert refusal(tmp_path, {"port:5433": "adopt"}, **url) == ""
    assert "'port:5432'" in refusal(tmp_path / "b", {"port:5432": "adopt"}, **url)


def test_a_cluster_of_others_is_not_archived(tmp_path: Path) -> None:
    """[F3] Its archive would hold their data, and begins with a restart of their server."""
    message = refusal(tmp_path, {"port:5432": "adopt"}, backup_engine="pgbackrest")
    assert "backup_engine is pgbackrest for blog" in message and "write backup_engine: dump" in message
    assert refusal(tmp_path / "b", {"port:5432": "adopt"}) == ""


def test_an_expression_without_a_value_is_no_empty_answer(tmp_path: Path) -> None:
    """[F8] Silently without answers, the next run would stop, and nobody would know why."""
    text = yaml.safe_dump({"app_name": "blog", "app_domains": ["blog.example.com"], "preflight_answers": "{{ nowhere }}"})
    message = Inventory(tmp_path, {"blog": text}).refusal("blog")
    assert "preflight_answers cannot be resolved" in message
