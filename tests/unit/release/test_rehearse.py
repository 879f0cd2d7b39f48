"""The step rehearse: a release on a private socket, before any visitor asks it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import NoReturn

import pytest
from ansible_collections.slipway.vps.plugins.module_utils import deploy_switch
from ansible_collections.slipway.vps.plugins.module_utils.deploy_steps import StepError
from ansible_collections.slipway.vps.plugins.module_utils.rehearsal import HINT, explanation
from ansible_collections.slipway.vps.plugins.module_utils.releases import READY, RETIRED, Release, Store
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core.http import Answer

from .fakes import NEW, OLD, OLDER, REHEARSAL, Existing, Host, Make, refused, state, untouched


def test_a_release_is_rehearsed_until_it_is_ready(deploy: Make, existing: Existing, host: Host, serving: Release) -> None:
    """[S1] [A14] On a private socket, asked as nginx would ask, with patience; and stopped when it is done."""
    existing(NEW, READY)
    host.answers = [(0, "FileNotFoundError"), (503, "warming up"), (200, "ok")]
    assert deploy(release=NEW, ready_timeout=60).do("rehearse") == {"changed": False, "release": NEW}
    assert host.did == [f"{NEW} is ready", f"start {REHEARSAL}", f"stop {REHEARSAL}"]
    rehearsal = "/run/blog-rehearsal/gunicorn.sock"
    places = [("nginx", "/healthz/ready"), ("nginx", "/"), *[(rehearsal, "/healthz/ready")] * 3, (rehearsal, "/")]
    assert host.asked == [(place, url, "blog.example.com") for place, url in places]


@pytest.mark.parametrize("served", [True, False])
def test_the_public_endpoint_is_asked_before_the_switch(
    deploy: Make, existing: Existing, root: Path, host: Host, serving: Release, monkeypatch: pytest.MonkeyPatch, served: bool
) -> None:
    """[S1] While the old one serves and nobody is about to end: what nginx keeps open for us would lead to the old one afterwards."""
    existing(NEW, READY)
    host.visits = [(200, "ok") if served else (502, "Bad Gateway")]
    seen: list[tuple[set[str], list[str]]] = []

    def visit(domain: str, url: str) -> Answer:
        seen.append((host.serving, list(host.did)))
        return host.visit(domain, url)

    monkeypatch.setattr(deploy_switch, "visit", visit)
    deploy(release=NEW).do("rehearse")
    deploy(release=NEW).do("activate")
    assert seen == [({OLD}, [])] * (2 if served else 1)
    found = Store(root / "srv").live()
    assert found and (found.id, found.served_before) == (NEW, served)


@pytest.mark.parametrize("on_trial", [True, False])
def test_what_the_public_endpoint_answered_is_kept_when_a_run_was_cut_off(
    deploy: Make, existing: Existing, root: Path, host: Host, serving: Release, on_trial: bool
) -> None:
    """[S1] What it answers now may be the work of that switch. One that failed is over, and the next one asks again."""
    existing(NEW, READY, on_trial=on_trial, served_before=True, replaces=OLD)
    host.visits = [(504, "Gateway Time-out")]
    deploy(release=NEW).do("rehearse")
    found = Store(root / "srv").load(NEW)
    assert found and found.served_before is on_trial
    assert [place for place, _, _ in host.asked].count("nginx") == (0 if on_trial else 1)


def test_a_release_that_is_not_ready_in_time_is_refused(deploy: Make, existing: Existing, root: Path, host: Host, serving: Release) -> None:
    """[S1] [A14] The answer and the journal are the evidence; the rehearsal is stopped; the old release serves."""
    existing(NEW, READY)
    host.answers = [(500, "database: connection refused")]
    with pytest.raises(StepError) as failure:
        deploy(release=NEW, ready_timeout=-1).do("rehearse")
    said, advice, journal, hint = failure.value.evidence.split("\n", 3)
    assert (said, journal, hint) == ("GET /healthz/ready answered 500: database: connection refused", f"journal of {REHEARSAL}", HINT)
    assert "app_health_ready" in advice
    assert f"stop {REHEARSAL}" in host.did and REHEARSAL not in host.active
    refused(root, NEW, "readiness", "answered 500")
    untouched(root, host)


def test_a_redirect_is_not_ready(deploy: Make, existing: Existing, root: Path, host: Host) -> None:
    """[A14] 200 and nothing else: a login page is no health."""
    existing(NEW, READY)
    host.answers = [(302, "")]
    with pytest.raises(StepError, match="answered 302"):
        deploy(release=NEW, ready_timeout=-1).do("rehearse")
    refused(root, NEW, "readiness", "answered 302")


def test_a_rehearsal_that_dies_is_noticed_at_once(
    deploy: Make, existing: Existing, root: Path, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """[S1] Nobody waits for the timeout of a process that is gone."""
    existing(NEW, READY)
    host.answers, host.dies = [(0, "ConnectionRefusedError")], {REHEARSAL}

    def sleep(seconds: float) -> NoReturn:
        raise AssertionError("it waits for a unit that is dead")

    monkeypatch.setattr(time, "sleep", sleep)
    with pytest.raises(StepError, match="answered nothing: ConnectionRefusedError"):
        deploy(release=NEW, ready_timeout=3600).do("rehearse")
    refused(root, NEW, "readiness", f"journal of {REHEARSAL}")


def test_a_rehearsal_that_does_not_start_is_stopped(deploy: Make, existing: Existing, root: Path, host: Host) -> None:
    """[S1] systemd would go on trying."""
    existing(NEW, READY)
    host.fails = {f"start {REHEARSAL}": "ModuleNotFoundError: No module named 'blog'"}
    with pytest.raises(StepError, match="ModuleNotFoundError"):
        deploy(release=NEW).do("rehearse")
    assert [did.split()[0] for did in host.did[-4:]] == ["start", "systemd-run", "stop", NEW], host.did
    assert host.did[-2:] == [f"stop {REHEARSAL}", f"{NEW} is failed"]
    refused(root, NEW, "start", "ModuleNotFoundError")


def test_an_app_that_cannot_be_imported_says_why(deploy: Make, existing: Existing, root: Path, host: Host) -> None:
    """[A6 S1] Gunicorn has a line for it, the import itself a traceback: that is kept, under its own name."""
    existing(NEW, READY)
    host.fails = {
        f"start {REHEARSAL}": "Error: no",
        "--check-config": "Traceback (most recent call last)\nModuleNotFoundError: No module named 'PIL'",
    }
    with pytest.raises(StepError, match=r"Traceback[^$]*no module PIL\. If it is a library's: add its package"):
        deploy(release=NEW).do("rehearse")
    assert host.did[-2:] == [f"stop {REHEARSAL}", f"{NEW} is failed"]
    refused(root, NEW, "import", "Traceback")


def test_what_serves_is_not_rehearsed(deploy: Make, serving: Release, host: Host) -> None:
    """[S1] It has been."""
    assert deploy(release=OLD).do("rehearse") == {"changed": False, "release": OLD}
    assert host.did == []


@pytest.mark.parametrize(
    ("status", "fine"), [*((status, True) for status in (200, 301, 302, 401, 404)), *((status, False) for status in (500, 502, 0))]
)
def test_the_front_page_is_asked_too(
    deploy: Make, existing: Existing, root: Path, host: Host, serving: Release, status: int, fine: bool
) -> None:
    """[S1] An app that says it is ready and fails every request; a redirect to the login, or no page there, is the app's own matter."""
    existing(NEW, READY)
    host.front = (status, "TemplateNotFound")
    if fine:
        assert deploy(release=NEW).do("rehearse")["release"] == NEW
        assert state(root, NEW) == READY
    else:
        with pytest.raises(StepError, match=rf"says it is ready, but GET / answered {status or 'nothing'}: TemplateNotFound"):
            deploy(release=NEW).do("rehearse")
        refused(root, NEW, "readiness", f"journal of {REHEARSAL}")
    assert REHEARSAL not in host.active
    untouched(root, host)


def test_a_release_to_go_back_to_survives_its_rehearsal(deploy: Make, existing: Existing, root: Path, host: Host, serving: Release) -> None:
    """[S1] It may not be able to live with today's schema; with the schema back it may."""
    existing(OLDER, RETIRED)
    host.answers = [(500, "column does not exist")]
    with pytest.raises(StepError, match="answered 500"):
        deploy(release=OLDER, ready_timeout=-1).do("rehearse")
    assert state(root, OLDER) == RETIRED and (root / "srv/releases" / OLDER / "blog.py").exists()


def test_a_rehearsal_that_an_interrupted_run_left_is_stopped(deploy: Make, existing: Existing, host: Host, serving: Release) -> None:
    """[S1] It holds memory, and the folder of the private socket goes when it ends."""
    existing(NEW, READY)
    host.active.add(f"blog-rehearsal@{OLDER}.service")
    deploy(release=NEW).do("rehearse")
    assert f"blog-rehearsal@{OLDER}.service" not in host.active


READS = 'SLIPWAY_REHEARSAL="1"\n'
READS_ONLY = 'PGOPTIONS="-c default_transaction_read_only=on"\n' + READS


def rehearsed(root: Path) -> str:
    """What the unit of the rehearsal reads before the app's own environment."""
    return (root / "etc/rehearsal").read_text()


def test_a_rehearsal_reads_only(deploy: Make, existing: Existing, root: Path, host: Host, serving: Release) -> None:
    """[F6] An app that migrates itself when it is imported would do so under the release that serves, without a restore point."""
    existing(NEW, READY)
    deploy(release=NEW).do("rehearse")
    assert rehearsed(root) == READS_ONLY
    deploy(release=NEW, rehearsal_writes=True).do("rehearse")
    assert rehearsed(root) == READS


def test_the_import_before_a_migration_reads_only(deploy: Make, existing: Existing, host: Host, serving: Release) -> None:
    """[F6] It comes before the restore point. The migration itself writes."""
    existing(NEW, READY)
    deploy(release=NEW, migrate_command="flask db upgrade").do("migrate")
    check, migration = host.transients
    assert {'--property=Environment="PGOPTIONS=-c default_transaction_read_only=on"', '--property=Environment="SLIPWAY_REHEARSAL=1"'} <= {
        *check
    }
    assert not [word for word in migration if "read_only" in word or "REHEARSAL" in word]


def test_the_first_release_may_write(deploy: Make, existing: Existing, root: Path) -> None:
    """[F6] Nobody's data are there yet: `db.create_all()` at the start is how many apps begin."""
    existing(NEW, READY)
    deploy(release=NEW).do("rehearse")
    assert rehearsed(root) == READS


def test_a_release_that_has_served_may_write(deploy: Make, existing: Existing, root: Path, serving: Release) -> None:
    """[S1] The way back is not barred for what the release has done before."""
    existing(OLDER, RETIRED)
    deploy(release=OLDER).do("rehearse")
    assert rehearsed(root) == READS


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("psycopg.errors.ReadOnlySqlTransaction: cannot execute CREATE TABLE in a read-only transaction", "CREATE TABLE), and was kept"),
        ("cannot execute ALTER TABLE in a read-only transaction", "app_migrate_command"),
        ("cannot execute INSERT in a read-only transaction", "(INSERT), and a release that is tried may not"),
        ("ReadOnlySqlTransaction: UPDATE kann nicht ausgeführt werden", "app_rehearsal_writes: true"),
    ],
)
@pytest.mark.parametrize("where", ["start", "readiness", "import"])
def test_a_write_that_was_refused_names_the_variable(
    deploy: Make, existing: Existing, root: Path, host: Host, serving: Release, said: str, words: str, where: str
) -> None:
    """[F8] [F6] Wherever it comes up: when the app is imported, when it starts, when it is asked."""
    existing(NEW, READY)
    host.fails = {"start": {f"start {REHEARSAL}": said}, "import": {f"start {REHEARSAL}": "no", "check-step": said}}.get(where, {})
    host.front = (500, said) if where == "readiness" else host.front
    with pytest.raises(StepError) as failure:
        deploy(release=NEW).do("rehearse")
    assert failure.value.step == where and words in failure.value.evidence
    assert failure.value.evidence.count("app_rehearsal_writes") == 1
    untouched(root, host)


def test_what_was_not_refused_is_not_explained(deploy: Make, existing: Existing, host: Host, serving: Release) -> None:
    """[F8] The cause is another, or the app may write."""
    assert explanation("connection refused") == ""
    existing(NEW, READY)
    host.fails = {f"start {REHEARSAL}": "cannot execute INSERT in a read-only transaction"}
    with pytest.raises(StepError) as failure:
        deploy(release=NEW, rehearsal_writes=True).do("rehearse")
    assert "app_rehearsal_writes" not in failure.value.evidence
