"""From an app's folder to its own HTTPS address: init, three answers, site.yml."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import requests
from brought import Brought
from deploys import Outcome


def test_nothing_is_left_to_answer(apps: tuple[Brought, ...], inventory: Path) -> None:
    """[F9] Domain, e-mail address and host are all that init asks of these; one asks for a key of another service."""
    for app in apps:
        for file in (inventory / "host_vars" / app.name).iterdir():
            lines = [line for line in file.read_text().splitlines() if not line.lstrip().startswith("#")]
            assert "CHANGE-ME" not in "\n".join(lines), file


def test_all_are_deployed_at_once(apps: tuple[Brought, ...], play: Callable[..., Outcome]) -> None:
    """[F2 F9] On a bare machine, each by what init found."""
    done = play("site.yml")
    assert done.status == 0, str(done)


def test_each_answers_under_its_own_name(apps: tuple[Brought, ...], browser: requests.Session) -> None:
    """[F9 E2] With a certificate of its own that the CA has signed."""
    for app in apps:
        answer = browser.get(app.front, timeout=30)
        assert answer.status_code == 200, f"{app.name}: {answer.status_code} {answer.text[:300]}"


def test_every_hop_of_each_is_well(apps: tuple[Brought, ...], play: Callable[..., Outcome]) -> None:
    """[F8 K6] The way from the client to the database, as it is for each app: most have none."""
    done = play("playbooks/verify.yml")
    assert done.status == 0, str(done)
