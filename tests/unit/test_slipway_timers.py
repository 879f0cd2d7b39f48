"""The program about processes and timers of the live release."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.slipway.vps.plugins.module_utils.slipway import logs, services, shell, timers
from ansible_collections.slipway.vps.plugins.module_utils.slipway.app import App
from ansible_collections.slipway.vps.plugins.module_utils.slipway.doctor.findings import BrokenHopError
from ansible_collections.slipway.vps.plugins.module_utils.slipway.hops import RequestPath

from .program_app import app, facts

LIVE = "20261121T072201-0ddba110"
WELL = "Result=success\nExecMainStatus=0\nExecMainExitTimestamp=Fri 2026-11-20 03:00:09 UTC\nActiveState=inactive\n"
BAD = "Result=exit-code\nExecMainStatus=3\nExecMainStartTimestamp=Fri 2026-11-20 03:00:00 UTC\nActiveState=failed\n"
NEVER = "Result=success\nExecMainStatus=0\nExecMainExitTimestamp=\nActiveState=inactive\n"


def live(folder: Path, **manifest: Any) -> App:
    """An app whose live release has this manifest."""
    found = app(folder, timers={"today": {}}, sandbox={"allowed": ["sendmail"], "folders": ["/mnt/x"], "privileges": True})
    (found.releases / LIVE).mkdir(parents=True)
    (found.releases / LIVE / "release.json").write_text(json.dumps({"id": LIVE, **manifest}))
    found.current.symlink_to(f"releases/{LIVE}")
    return found


def test_what_runs_is_what_the_live_release_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """[A15] [S1] After a rollback the inventory knows of a worker that is not to run. A manifest of names alone is understood."""
    asked: list[str] = []

    def is_active(unit: str) -> bool:
        asked.append(unit)
        return True

    monkeypatch.setattr(services, "is_active", is_active)
    services.status(live(tmp_path, processes={"mailer": {"command": "x"}}))
    assert f"blog-mailer@{LIVE}.service" in asked and f"blog-worker@{LIVE}.service" not in asked
    assert f"blog-beat@{LIVE}.service" in list(app(tmp_path).units(LIVE, {"processes": ["beat"]}))


@pytest.mark.parametrize(
    ("shown", "on", "state", "words"),
    [
        (WELL, True, "ok", "nightly ended well at Fri 2026-11-20 03:00:09 UTC"),
        (NEVER, True, "ok", "nightly has not run since the host was booted"),
        ("Result=success\nActiveState=activating\n", True, "ok", "nightly runs"),
        (BAD, True, "failed", "nightly failed (exit status 3) at Fri 2026-11-20 03:00:00 UTC"),
        ("Result=timeout\nActiveState=failed\n", True, "failed", "nightly failed (timeout)"),
        (WELL, False, "failed", "not active: nightly"),
    ],
)
def test_how_the_timers_stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shown: str, on: bool, state: str, words: str) -> None:
    """[F6] The last result, with the command that shows more; verify says the same."""
    monkeypatch.setattr(timers, "command", lambda *_: shown)
    monkeypatch.setattr(timers, "is_active", lambda _: on)
    found = live(tmp_path, timers={"nightly": {"schedule": "daily"}})
    status = timers.status(found)
    assert status.state == state and words in status.evidence
    if state == "failed":
        assert "journalctl -u blog-nightly" in status.fix
        with pytest.raises(BrokenHopError, match="journalctl"):
            RequestPath(found, None).timers()
    else:
        assert words in RequestPath(found, None).timers()


def test_without_timers_there_are_none(tmp_path: Path) -> None:
    """[F6] Nor where no release is live, or one of an older Slipway."""
    assert (timers.status(app(tmp_path)).state, timers.status(app(tmp_path)).evidence) == ("ok", "none")


def test_a_command_by_hand_has_the_apps_openings(tmp_path: Path) -> None:
    """[F6] It writes where the app writes; and $ is the command's own: systemd-run would put a variable in."""
    words = shell.command_line(live(tmp_path), ["sh", "-c", "echo ${HOME}"], terminal=False)
    assert f"--property=ReadWritePaths={tmp_path}/srv/shared -{tmp_path}/log /mnt/x" in words and "--property=NoNewPrivileges=no" in words
    assert words[-1] == "echo $${HOME}"
    assert "--property=NoNewPrivileges=yes" in shell.command_line(live(tmp_path / "2").__class__.of(closed(tmp_path / "2")), ["x"], False)


def closed(folder: Path) -> dict[str, Any]:
    """What an older Slipway wrote of an app."""
    known = facts(folder)
    assert "sandbox" not in known and "timers" not in known
    return known


def test_logs_include_the_timers(tmp_path: Path) -> None:
    """[K1] [F6] And what only an older release has."""
    options = argparse.Namespace(request="", lines=5, since="", follow=False, json=False)
    words = logs.journal_words(live(tmp_path, processes={"mailer": {}}, timers={"nightly": {}}), options, 5, "json")
    assert {"--unit=blog-today.service", "--unit=blog-nightly.service", "--unit=blog-mailer@*.service"} <= {*words}
