"""Releases that do not work, each in another way: refused with the reason, and all that is left of one is that reason."""

from __future__ import annotations

import json
import os
import shlex
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from deploys import Outcome, Traffic, playbook
from helpers import App, live_unit, must, run_in_app, until
from states import live as live_id
from states import sql
from trees import Tree, manifests, units, written_once

#: What `molecule/default` gives the app; a broken release is the same with one thing changed.
ENVIRONMENT = {"LOGBOOK_LEDGER": 1, "UPLOAD_FOLDER": "/srv/demo/shared/uploads"}


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path / "tree")


def refused(host: Any, app: App, traffic: Traffic, variables: dict[str, Any], step: str = "") -> tuple[Outcome, str]:
    """Deploy what does not work, and return what Ansible said and the reason that was kept.

    Without ``step`` it has to be refused before there is a release at all.
    """
    master = host.service(live_unit(host, app)).systemd_properties["MainPID"]
    live, before = live_id(host, app), manifests(host, app)
    with traffic:
        outcome = playbook("deploy", host, variables)
    assert outcome.status != 0, str(outcome)
    assert "canary-" not in outcome.output, "a secret was printed"
    assert "MODULE FAILURE" not in outcome.output and 'Traceback (most recent call last):\n  File "<stdin>"' not in outcome.output, str(
        outcome
    )
    # Nobody noticed.
    traffic.must_be_served()
    written_once(host, app, traffic.written)
    assert live_id(host, app) == live
    assert units(host, app) == [f"{app.name}@{live}.service active"], str(outcome)
    assert host.service(live_unit(host, app)).systemd_properties["MainPID"] == master, "the live release was restarted"
    # Nothing is left but the reason.
    after = manifests(host, app)
    failed = [name for name in after if name not in before]
    assert {name: found for name, found in after.items() if name not in failed} == before, "a manifest was changed"
    assert not host.file(f"{app.root}/.lease.json").exists, "the lock was not given back"
    if not step:
        assert failed == []
        return outcome, ""
    assert len(failed) == 1, failed
    assert must(host, f"ls -A {app.root}/releases/{failed[0]}").split() == ["release.json"]
    assert must(host, f"ls -A /run/{app.name}").split() == sorted([live, "gunicorn.sock"])
    manifest = after[failed[0]]
    assert manifest["state"] == "failed" and manifest["failure"]["step"] == step, manifest
    assert manifest["failure"]["at"] and manifest["failure"]["retry"], manifest
    assert "canary-" not in json.dumps(manifest), "a secret was kept"
    for words in (f"The step '{step}' failed; nothing was switched. Release {live} serves.", "Next: correct the cause, then "):
        assert words in outcome.output, f"{words!r} is not in\n{outcome}"
    return outcome, str(manifest["failure"]["reason"])


def schema(host: Any, app: App) -> str:
    return sql(host, app, "select version_num from alembic_version")


@contextmanager
def holding(host: Any, app: App, table: str, mode: str) -> Iterator[None]:
    """Another session holds a lock on ``table``, for half an hour at most."""
    query = f"begin; lock table {table} in {mode} mode; select pg_sleep(1800)"
    lock = f"{mode.title().replace(' ', '')}Lock"
    held = f"select count(*) from pg_locks where relation = '{table}'::regclass and granted and mode = '{lock}'"
    psql = f"runuser -u {app.name} -- psql -XAtqc"
    # Longer than a statement of the app may take (postgres_limits_app).
    settings = "--setenv=PGAPPNAME=slipway-blocker --setenv='PGOPTIONS=-c statement_timeout=0'"
    session = f"systemd-run --quiet --unit=slipway-blocker --uid={app.name} {settings} psql -Xqc"
    must(host, f"{session} {shlex.quote(query)} {app.database}")
    try:
        asked = f'{psql} "{held}" {app.database} | grep -q 1'
        must(host, f"for i in $(seq 100); do {asked} && exit; sleep 0.1; done; exit 1")
        yield
    finally:
        sql(host, app, "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'slipway-blocker'")
        host.run("systemctl stop slipway-blocker; systemctl reset-failed slipway-blocker")


def slowest(host: Any, app: App, since: int) -> float:
    """Seconds that the slowest answer took, of those that nginx has logged after its line ``since``."""
    lines = must(host, f"tail -n +{since + 1} /var/log/nginx/{app.name}.access.log").splitlines()
    return max(float(json.loads(line)["duration"]) for line in lines)


# --- Refused before there is a release --------------------------------------------------------------------------------


def test_bad_input(host: Any, app: App, traffic: Traffic) -> None:
    """[A12 K10] Several mistakes at once are named at once, each with its fix, before any host is touched."""
    variables = {"app_domian": "x", "app_domains": [], "app_env": {"FLASK_DEBUG": 1}, "app_secrets": {"SECRET_KEY": "dev"}}
    outcome, _ = refused(host, app, traffic, variables)
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


def test_unreachable_repository(host: Any, app: App, traffic: Traffic) -> None:
    """[A12] The message names the variable, git's own words and what to look at."""
    source = {"type": "git", "repo": "file:///nowhere/app.git", "version": "v1"}
    outcome, _ = refused(host, app, traffic, {"app_source": source})
    for words in ("app_source: {repo: file:///nowhere/app.git", "does not appear to be a git repository"):
        assert words in outcome.output, str(outcome)


def test_too_little_space(host: Any, app: App, traffic: Traffic, tree: Tree) -> None:
    """[A12] Where a build would fill the disk it does not begin."""
    with small_disk(host, app.root, spare=100, without="cache"):
        outcome, _ = refused(host, app, traffic, {"app_source": tree.changed()})
    assert "The step 'space' failed; nothing was switched" in outcome.output, str(outcome)
    assert "MiB are free" in outcome.output and "release_keep" in outcome.output, str(outcome)


@contextmanager
def small_disk(host: Any, folder: str, spare: int, without: str = "") -> Iterator[None]:
    """Lay a disk over ``folder`` that holds the same and has ``spare`` MiB to spare. What runs goes on with what it has open."""
    small = "/mnt/slipway-small"
    copy = f"tar -C {folder} -c {f'--exclude=./{without}' if without else ''} . | tar -C {small} -x"
    must(host, f"mkdir -p {small} && mount -t tmpfs -o size=4g tmpfs {small} && {copy} && mount --bind {small} {folder}")
    try:
        used = int(must(host, f"df --output=used -B1M {small} | tail -1"))
        must(host, f"mount -o remount,size={used + spare}m {small}")
        yield
    finally:
        must(host, f"umount {folder} && umount {small} && rmdir {small}")


# --- Refused while it is built ----------------------------------------------------------------------------------------


def test_disk_that_fills_up(host: Any, app: App, traffic: Traffic, tree: Tree) -> None:
    """[A12] The disk is full to the last byte in the middle of the build: the half is removed, and that makes room for the reason."""
    with (tree.folder / "large").open("wb") as large:
        large.write(os.urandom(2**20) * 30)
    with small_disk(host, f"{app.root}/releases", spare=20):
        free = must(host, f"df --output=avail -B1M {app.root}/releases | tail -1")
        _, reason = refused(host, app, traffic, {"app_source": tree.source}, "source")
        assert "No space left on device" in reason, reason
        assert abs(int(free) - int(must(host, f"df --output=avail -B1M {app.root}/releases | tail -1"))) <= 1


def test_requirement_that_does_not_exist(host: Any, app: App, traffic: Traffic, tree: Tree) -> None:
    """[A10] The requirement is named."""
    (tree.folder / "requirements.txt").write_text("flask==0.0.0.1\n")
    _, reason = refused(host, app, traffic, {"app_source": tree.source}, "dependencies")
    assert "flask==0.0.0.1" in reason, reason


def test_import_error(host: Any, app: App, traffic: Traffic) -> None:
    """[A6] The traceback is kept."""
    _, reason = refused(host, app, traffic, {"app_env": {**ENVIRONMENT, "LOGBOOK_FAULT": "import"}}, "import")
    assert "Traceback" in reason and "RuntimeError" in reason, reason


# --- Refused while it migrates ----------------------------------------------------------------------------------------


def test_failing_migration(host: Any, app: App, traffic: Traffic, tree: Tree) -> None:
    """[A13] A migration that fails half-way leaves nothing of itself."""
    before = schema(host, app)
    tree.revision("half", "CREATE TABLE half (id int); SELECT 1 / 0")
    _, reason = refused(host, app, traffic, {"app_source": tree.source}, "migration")
    assert "division by zero" in reason, reason
    assert schema(host, app) == before and sql(host, app, "select to_regclass('half')") == ""


def test_migration_behind_a_lock(host: Any, app: App, traffic: Traffic, tree: Tree) -> None:
    """[A13] A migration that has to wait for a long transaction gives up; the visitors who queued behind it meanwhile were all answered."""
    before = schema(host, app)
    tree.revision("blocked", "ALTER TABLE ledger ADD COLUMN tide integer")
    since = int(must(host, f"wc -l < /var/log/nginx/{app.name}.access.log"))
    # As a transaction that somebody left open: visitors write all the same, but no one alters the table.
    with holding(host, app, "ledger", "row exclusive"):
        _, reason = refused(host, app, traffic, {"app_source": tree.source, "release_lock_timeout": 2}, "migration")
    assert "lock timeout" in reason, reason
    assert schema(host, app) == before
    assert 1.5 < slowest(host, app, since) < 20, "visitors did not wait for about as long as the migration did"


def test_migration_of_a_table_that_is_locked(host: Any, app: App, traffic: Traffic, tree: Tree) -> None:
    """[A13] The same for a table that nobody may even read: neither the restore point nor the migration waits for long."""
    tree.revision("closed", "ALTER TABLE closed ADD COLUMN tide integer")
    sql(host, app, "create table closed (id int)")
    try:
        with holding(host, app, "closed", "access exclusive"):
            variables = {"app_source": tree.source, "release_lock_timeout": 2, "deploy_restore_point_max": "1"}
            _, reason = refused(host, app, traffic, variables, "migration")
        assert "lock timeout" in reason, reason
        with holding(host, app, "closed", "access exclusive"):
            _, reason = refused(host, app, Traffic(traffic.app, traffic.certificate), {"app_source": tree.changed()}, "restore point")
        assert "closed" in reason, reason
    finally:
        sql(host, app, "drop table closed")


# --- Refused while it is rehearsed ------------------------------------------------------------------------------------


def test_readiness_500(host: Any, app: App, traffic: Traffic) -> None:
    """[S1 A14] It starts, but never becomes ready."""
    variables = {"app_env": {**ENVIRONMENT, "LOGBOOK_FAULT": "ready"}, "release_ready_timeout": 10}
    _, reason = refused(host, app, traffic, variables, "readiness")
    assert "GET /healthz/ready answered 500" in reason, reason


def test_ready_and_then_500(host: Any, app: App, traffic: Traffic) -> None:
    """[S1 A14] It says that it is ready and answers 500 to everything else: no visitor's request is needed to find out."""
    _, reason = refused(host, app, traffic, {"app_env": {**ENVIRONMENT, "LOGBOOK_FAULT": "all"}}, "readiness")
    assert "It says it is ready, but GET / answered 500" in reason, reason


def test_killed_in_rehearsal(host: Any, app: App, traffic: Traffic) -> None:
    """[S1] Its Gunicorn is killed as soon as it is up, as the kernel does when memory runs out."""
    unit = f"{app.name}-rehearsal@*.service"
    up = f"systemctl list-units --plain --no-legend --state=active '{unit}' | grep -q ."
    script = f"for i in $(seq 1200); do {up} && exec systemctl kill --signal=KILL --kill-whom=main '{unit}'; sleep 0.1; done; exit 1"
    killed: list[int] = []
    killer = threading.Thread(target=lambda: killed.append(host.run(script).rc), daemon=True)
    killer.start()
    # Slow, so that it is still being asked when the blow comes.
    _, reason = refused(host, app, traffic, {"app_env": {**ENVIRONMENT, "LOGBOOK_FAULT": "slow:6000"}}, "readiness")
    killer.join(timeout=5)
    assert killed == [0]
    assert "answered nothing" in reason, reason


# --- Refused because of the release that is live ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def particular(host: Any, app: App, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tree]:
    """An app whose readiness wants a table; in the end the schema is the example's again."""
    tree = Tree(tmp_path_factory.mktemp("particular") / "tree")
    schema = tree.head()
    tree.revision("harbour", "CREATE TABLE harbour (id integer)", "DROP TABLE harbour")
    tree.replace("logbook/health.py", 'text("SELECT 1")', 'text("SELECT 1 FROM harbour")')
    yield tree
    with suppress(AssertionError):  # After a failure the live release may not know the way.
        run_in_app(host, app, f"db downgrade {schema}")


def test_migration_that_the_live_release_cannot_live_with(host: Any, app: App, traffic: Traffic, particular: Tree) -> None:
    """[A13 S1] The table goes that the live release's readiness wants: found out at once, and the migration is undone."""
    good = playbook("deploy", host, {"app_source": particular.source})
    assert good.status == 0, str(good)
    before = schema(host, app)
    bad = (
        particular.folder
        / f"logbook/migrations/versions/{particular.revision('gone', 'DROP TABLE harbour', 'CREATE TABLE harbour (id integer)')}.py"
    )
    particular.replace("logbook/health.py", "SELECT 1 FROM harbour", "SELECT 1")
    try:
        outcome, reason = refused(host, app, traffic, {"app_source": particular.source}, "compatibility")
        assert "is not ready on the new schema" in reason and "answered 503" in reason and "The migration was undone" in reason, reason
        assert schema(host, app) == before, str(outcome)
    finally:
        bad.unlink()


# --- And then ---------------------------------------------------------------------------------------------------------


def test_a_good_release_after_all(host: Any, app: App, traffic: Traffic, particular: Tree) -> None:
    """[S1 A12] After all this a release that works goes live as if nothing had been, and the reasons of the last five are kept."""
    live = live_id(host, app)
    with traffic:
        outcome = playbook("deploy", host, {"app_source": particular.changed()})
    assert outcome.status == 0, str(outcome)
    traffic.must_be_served()
    written_once(host, app, traffic.written)
    now = live_id(host, app)
    assert now != live
    # The one before ends by itself.
    assert until(lambda: units(host, app) == [f"{app.name}@{now}.service active"]), units(host, app)
    states = [found["state"] for found in manifests(host, app).values()]
    assert states.count("live") == 1 and states.count("failed") == 5 and set(states) == {"live", "retired", "failed"}, states
    assert must(host, f"ls -A {app.root}/incoming").split() == []
