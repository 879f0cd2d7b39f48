"""Input that will not do, and releases that do not work: refused with the reason, while the live release serves every request."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from deploys import ROOT, Outcome, Traffic, playbook
from helpers import App, live_unit, must

#: Debian 12 alone: molecule/broken tries the same and more on 13.
testinfra_hosts = ["ansible://slipway-bookworm"]


@pytest.fixture
def traffic(app: App, acme_root: Path) -> Iterator[Traffic]:
    yield Traffic(app, acme_root)


def refused(host: Any, app: App, traffic: Traffic, variables: dict[str, Any]) -> Outcome:
    """Try to deploy; it must fail, and nobody may notice."""
    before = must(host, f"readlink {app.current}"), host.service(live_unit(host, app)).systemd_properties["MainPID"]
    with traffic:
        outcome = playbook("deploy", host, variables)
    assert outcome.status != 0, str(outcome)
    traffic.must_be_served()
    after = must(host, f"readlink {app.current}"), host.service(live_unit(host, app)).systemd_properties["MainPID"]
    assert after == before, f"live before {before}, after {after}"
    assert len(must(host, f"systemctl list-units --plain --no-legend --state=active '{app.name}@*'").splitlines()) == 1
    assert "canary-" not in outcome.output, "a secret was printed"
    return outcome


def example(tmp_path: Path, **changes: str) -> dict[str, str]:
    """A copy of the example app with some files replaced, as a source."""
    tree = tmp_path / "tree"
    shutil.copytree(ROOT / "examples/flask-app", tree, ignore=shutil.ignore_patterns("__pycache__", ".*_cache"))
    for name, text in changes.items():
        (tree / name.replace("__", "/")).write_text(text)
    return {"type": "path", "path": str(tree)}


def environment(app: App, **more: Any) -> dict[str, Any]:
    return {"LOGBOOK_LEDGER": 1, "UPLOAD_FOLDER": f"{app.shared}/uploads", **more}


def test_bad_input(host: Any, app: App, traffic: Traffic) -> None:
    """[A12 K10] Several mistakes at once are named at once, each with its fix, before any host is touched."""
    variables = {"app_domian": "x", "app_domains": [], "app_env": {"FLASK_DEBUG": 1}, "app_secrets": {"SECRET_KEY": "dev"}}
    outcome = refused(host, app, traffic, variables)
    for words in (
        "app_domian is not a variable of the contract",
        "did you mean app_domain?",
        "app_domains is required and not set",
        "FLASK_DEBUG is on",
        "SECRET_KEY is weak",
        "UPLOAD_FOLDER is required and not set",
    ):
        assert words in outcome.output, f"{words!r} is not in\n{outcome}"
    assert "slipway.vps.server" not in outcome.output, "a role ran all the same"


@pytest.mark.on("trixie")
def test_unreachable_repository(host: Any, app: App, traffic: Traffic) -> None:
    """[A12] The message names the variable, git's own words and what to look at."""
    source = {"type": "git", "repo": "file:///nowhere/app.git", "version": "v1"}
    outcome = refused(host, app, traffic, {"app_source": source})
    assert "app_source: {repo: file:///nowhere/app.git" in outcome.output and "does not appear to be a git repository" in outcome.output, (
        str(outcome)
    )


@pytest.mark.on("bookworm")
def test_requirement_that_does_not_exist(host: Any, app: App, traffic: Traffic, tmp_path: Path) -> None:
    """[A10] The step and the requirement are named."""
    source = example(tmp_path, **{"requirements.txt": "flask==0.0.0.1\n"})
    outcome = refused(host, app, traffic, {"app_source": source})
    assert "The step 'dependencies' failed" in outcome.output and "flask==0.0.0.1" in outcome.output, str(outcome)


@pytest.mark.on("bookworm")
def test_app_that_fails_to_import(host: Any, app: App, traffic: Traffic) -> None:
    """[A6] The traceback is shown."""
    outcome = refused(host, app, traffic, {"app_env": environment(app, LOGBOOK_FAULT="import")})
    assert "The step 'import' failed" in outcome.output and "RuntimeError" in outcome.output, str(outcome)


def test_app_whose_readiness_answers_500(host: Any, app: App, traffic: Traffic) -> None:
    """[S1 A14] Rehearsed, found not ready, and never let near a visitor."""
    variables = {"app_env": environment(app, LOGBOOK_FAULT="ready"), "release_ready_timeout": 10}
    outcome = refused(host, app, traffic, variables)
    assert "The step 'readiness' failed" in outcome.output and "answered 500" in outcome.output, str(outcome)


def test_failing_migration(host: Any, app: App, traffic: Traffic) -> None:
    """[A13] What the migration said is shown; the old release serves on."""
    variables = {"app_env": environment(app, CHANGED="1"), "app_migrate_command": "flask db upgrade nowhere"}
    outcome = refused(host, app, traffic, variables)
    assert "The step 'migration' failed" in outcome.output and "nowhere" in outcome.output, str(outcome)


def test_the_reason_stays_with_the_release(host: Any, app: App) -> None:
    """[A12] Of a failed release the manifest stays, with the step and the reason, and nothing else."""
    failed = must(host, f'grep -l \'"state": "failed"\' {app.root}/releases/*/release.json').split()
    assert failed
    for manifest in failed:
        assert must(host, f"ls -A {manifest.removesuffix('/release.json')}").split() == ["release.json"]
        assert '"step":' in must(host, f"cat {manifest}")
