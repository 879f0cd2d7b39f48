"""What takes longer than it tells: collected with SLIPWAY_FULL=1 only (conftest.py)."""

from __future__ import annotations

import re
from typing import Any

from deploys import playbook
from helpers import must
from states import admin
from vaults import FIRST, NEW, OLD, SECOND, Vault, login, url

SECRETS = {"SECRET_KEY": NEW, "SECRET_KEY_FALLBACKS": OLD}


def test_a_second_rotation_finds_nothing_to_do(vault: Vault, server: dict[str, Any]) -> None:
    """[A11]"""
    again = vault.run("rotate", **server, app_secrets=SECRETS, app_database_url=url("demo_2", SECOND))
    assert again.status == 0 and "the app has the secrets of the vault" in again.output and "changed=0" in again.output, str(again)


def test_a_database_that_is_somebody_elses(host: Any, vault: Vault, server: dict[str, Any]) -> None:
    """[D1] [D5] Without postgres_allow it is like a managed one: nothing of the server is touched, and the login is tried."""
    began = admin(host, "SELECT pg_conf_load_time()")
    client = {"app_secrets": SECRETS, "postgres_ca_file": server["postgres_ca_file"]}
    fine = vault.run("data", **client, app_database_url=url("demo_2", SECOND))
    assert fine.status == 0, str(fine)
    refused = vault.run("data", "-vvv", **client, app_database_url=url("demo_2", FIRST))
    assert refused.status != 0 and "password authentication failed" in " ".join(refused.output.split()), str(refused)
    assert "canary-db" not in refused.output and admin(host, "SELECT pg_conf_load_time()") == began


def test_back_to_the_socket(host: Any, vault: Vault) -> None:
    """[D1] Without postgres_allow nobody is let in over the network, and the app is a peer again."""
    for book in ("deploy", "data"):
        outcome = vault.run(book, app_secrets=SECRETS)
        assert outcome.status == 0, str(outcome)
    assert ":5432 " not in must(host, "ss -ltnH") and login(host, "demo_2", SECOND).rc != 0
    assert "DATABASE_URL" not in must(host, "cat /etc/demo/secrets")


def test_a_second_run_shows_the_plan_and_changes_nothing(host: Any, vault: Vault) -> None:
    """[D1] [D2] The arithmetic and each setting with its reason, in every run that does the layer."""
    outcome = playbook("data", host, {"full": True})
    assert outcome.status == 0 and re.search(r"changed=0 ", outcome.output), str(outcome)
    assert re.search(r"web +16 += 2 workers x 4 connections \(3 threads \+ 1 for health checks\) x 2 releases", outcome.output), str(
        outcome
    )
    assert re.search(r"needed +29\b", outcome.output) and "a third of PostgreSQL's memory" in outcome.output, str(outcome)
