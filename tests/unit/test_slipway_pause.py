"""While something is done that the app may not see half of, requests wait."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ansible_collections.slipway.vps.plugins.module_utils.slipway import pause
from ansible_collections.slipway.vps.plugins.module_utils.slipway.app import App
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core.run import CommandError

from .program_app import app

LIVE = "20261121T072201-0ddba110"
UNIT, WORKER = f"blog@{LIVE}.service", f"blog-worker@{LIVE}.service"


class Host:
    """What is asked of systemd, in order."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.did: list[str] = []
        self.active = {UNIT, WORKER, "blog.socket"}
        self.fails = False
        monkeypatch.setattr(pause, "is_active", lambda unit: unit in self.active)
        monkeypatch.setattr(pause, "stop_units", lambda *units: self.did.append(f"stop {' '.join(units)}"))
        monkeypatch.setattr(pause, "start_unit", self.start)
        monkeypatch.setattr(pause, "command", lambda *words: self.did.append(" ".join(words)))

    def start(self, unit: str) -> None:
        self.did.append(f"start {unit}")
        if self.fails:
            raise CommandError("relation does not exist")


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Host:
    return Host(monkeypatch)


@pytest.fixture
def blog(tmp_path: Path) -> App:
    found = app(tmp_path)
    (found.releases / LIVE).mkdir(parents=True)
    (found.releases / LIVE / "release.json").write_text(json.dumps({"id": LIVE, "processes": {"worker": {}}}))
    found.current.symlink_to(f"releases/{LIVE}")
    return found


def test_the_app_is_started_anew_around_it(host: Host, blog: App) -> None:
    """[F6] [D3] No connection of before is left to answer 500. Whoever is killed meanwhile leaves a systemd that starts the app."""
    with pause.paused(blog):
        host.did.append("swap")
    assert host.did == [
        "stop blog-resume-step.timer",
        f"systemd-run --quiet --collect --unit=blog-resume-step --on-active=120 systemctl start {UNIT}",
        f"stop {UNIT}",
        "swap",
        f"start {UNIT}",
        "stop blog-resume-step.timer",
        # Not waited for: a task may take hours.
        f"systemctl restart --no-block {WORKER}",
    ]


def test_what_fails_within_it_leaves_the_app_running(host: Host, blog: App) -> None:
    """[D3] And is told as it is."""
    with pytest.raises(ValueError, match="no swap"), pause.paused(blog):
        raise ValueError("no swap")
    assert f"start {UNIT}" in host.did and host.did[-1] == "stop blog-resume-step.timer"


def test_an_app_that_does_not_start_again_is_told(host: Host, blog: App) -> None:
    """[F8] The release may want another schema than the backup has."""
    host.fails = True
    with pytest.raises(CommandError, match=r"does not start again, requests wait.*\nrelation does not exist"), pause.paused(blog):
        pass


@pytest.mark.parametrize("live", [True, False])
def test_an_app_that_does_not_run_stays_as_it_is(host: Host, blog: App, live: bool) -> None:
    """[D3] On a new host the database comes before the app."""
    host.active.clear()
    if not live:
        blog.current.unlink()
    with pause.paused(blog):
        pass
    assert host.did == []
