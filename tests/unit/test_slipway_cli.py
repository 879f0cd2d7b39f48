"""The command line of the program: how apps stand, their releases, a command of the app."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.slipway.vps.plugins.module_utils.slipway import app as apps
from ansible_collections.slipway.vps.plugins.module_utils.slipway import cli, overview, services, shell
from ansible_collections.slipway.vps.plugins.module_utils.slipway.app import App
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core.errors import SlipwayError
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core.status import FAILED, OK, Status
from ansible_collections.slipway.vps.plugins.module_utils.slipway.releases import Releases

from .program_app import app, facts

OLD, LIVE, NEW = "20261120T072201-aaaaaaa", "20261121T072201-bbbbbbb", "20261122T072201-ccccccc"


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> App:
    """A host with the app blog, which has a live release."""
    found = app(tmp_path)
    found.config_dir.mkdir(parents=True)
    (found.config_dir / "app.json").write_text(json.dumps(facts(tmp_path)))
    for name, state in ((OLD, "retired"), (LIVE, "live")):
        release(found, name, state)
    found.current.symlink_to(f"releases/{LIVE}")
    for function in (apps.names, vars(App)["load"].__func__):
        monkeypatch.setattr(function, "__defaults__", (tmp_path / "etc",))
    for function in (overview.statuses, overview.brief):
        monkeypatch.setattr(function, "__defaults__", (tmp_path / "etc",))
    return found


def release(found: App, name: str, state: str, **changes: Any) -> None:
    folder = found.releases / name
    folder.mkdir(parents=True, exist_ok=True)
    manifest = {
        "id": name,
        "state": state,
        "live_at": "2026-11-21T07:23:00+00:00",
        "source": {"commit": "b" * 40},
        "asked": {"version": "v1.4.0"},
    }
    (folder / "release.json").write_text(json.dumps({**manifest, **changes}))


def test_the_releases_as_table_and_as_json(host: App, capsys: pytest.CaptureFixture[str]) -> None:
    """[S1] Newest first, with the version that was asked for."""
    assert cli.main(["blog", "releases"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == [LIVE, OLD] and f"{LIVE} *" in lines[1] and "v1.4.0" in lines[1]
    assert cli.main(["--json", "blog", "releases"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["live"] == LIVE and [found["id"] for found in said["releases"]] == [LIVE, OLD]


def test_how_a_release_stands(host: App) -> None:
    """[S3] A deploy that failed after the live one, and one that is still watched, are said."""
    status = Releases.of(host).status()
    assert (status.state, status.since) == ("ok", "2026-11-21T07:23:00+00:00") and f"{LIVE} (v1.4.0)" in status.evidence
    release(host, NEW, "failed", failure={"step": "migration", "reason": "lock timeout\nmore"})
    assert Releases.of(host).status().evidence.endswith(f"the newer {NEW} failed: lock timeout")
    release(host, LIVE, "live", on_trial=True)
    assert Releases.of(host).status().state == "degraded"
    host.current.unlink()
    assert Releases.of(host).status().state == "failed"


def test_units_that_should_run(host: App, monkeypatch: pytest.MonkeyPatch) -> None:
    """[K8] Socket, server, each process and the timer of the certificate; one that does not run is named."""
    asked: list[str] = []

    def is_active(unit: str) -> bool:
        asked.append(unit)
        return "worker" not in unit

    monkeypatch.setattr(services, "is_active", is_active)
    status = services.status(host)
    assert asked == ["blog.socket", f"blog@{LIVE}.service", f"blog-worker@{LIVE}.service", "blog-tls.timer"]
    assert status.state == "failed" and status.evidence == f"not active: blog-worker@{LIVE}.service"


def test_how_the_machine_stands(host: App, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """[K8] Every app; what cannot be told is unknown and keeps nothing else from being told; the worst counts."""
    (tmp_path / "etc/shop").mkdir()
    (tmp_path / "etc/shop/tls.json").write_text("{}")
    monkeypatch.setattr(services, "status", lambda app: Status("services", OK, "4 units are active"))
    assert cli.main(["status", "--json"]) == 1
    said = json.loads(capsys.readouterr().out)["apps"]
    assert set(said) == {"blog", "shop"}
    subjects = {found["subject"]: found for found in said["blog"]["subjects"]}
    assert list(subjects) == ["release", "services", "timers", "certificate", "backups"]
    assert (subjects["release"]["state"], subjects["certificate"]["state"]) == ("ok", "unknown")
    assert set(subjects["release"]) == {"subject", "state", "evidence", "fix", "since"}
    assert (
        said["blog"]["brief"] == {"release": LIVE, "version": "v1.4.0", "live_at": "2026-11-21T07:23:00+00:00"}
        and not said["shop"]["brief"]
    )
    assert "not usable: KeyError: 'app'" in said["shop"]["subjects"][3]["evidence"]
    assert cli.main(["blog", "status"]) == 1
    assert capsys.readouterr().out.splitlines()[0] == "blog: unknown"


def test_all_is_well_is_the_exit_status(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """[K8] For monitoring."""
    found = {"blog": [Status("release", OK, "live")]}
    assert overview.show(found, as_json=False) == 0 and capsys.readouterr().out == "blog: ok\n  release: ok: live\n"
    found["shop"] = [Status("release", FAILED, "gone", "deploy")]
    assert overview.show(found, as_json=False) == 1 and "    fix: deploy" in capsys.readouterr().out


def test_an_app_that_is_not_there_is_named_with_those_that_are(host: App, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["bolg", "status"], ["bolg", "releases"]):
        assert cli.main(words) == 1
        assert "blog" in capsys.readouterr().err


def test_a_command_runs_as_the_service_would(host: App) -> None:
    """[A7] User, folder, environment, secrets by file, PATH with the release's environment; nothing secret in an argument."""
    words = shell.command_line(host, ["flask", "shell", "--x"], terminal=True)
    assert words[-5:] == ["/usr/bin/env", "--", "flask", "shell", "--x"] and "--pty" in words
    assert "--uid=blog" in words and f"--working-directory={host.releases / LIVE}" in words
    assert f"--property=EnvironmentFile=-{host.secrets.path}" in words
    assert any(word.startswith(f"--property=Environment=PATH={host.releases / LIVE}/.venv/bin:") for word in words)
    assert "--pipe" in shell.command_line(host, ["true"], terminal=False)
    host.current.unlink()
    with pytest.raises(SlipwayError, match="no live release"):
        shell.command_line(host, ["true"], terminal=False)
