"""The step migrate: the schema before a release takes traffic."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.slipway.vps.plugins.module_utils import deploy_migrate
from ansible_collections.slipway.vps.plugins.module_utils.deploy_steps import StepError
from ansible_collections.slipway.vps.plugins.module_utils.releases import LIVE, READY, Release, Store
from ansible_collections.slipway.vps.plugins.module_utils.slipway.backup import sqlite as backup_sqlite
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core.run import Account, CommandError

from .fakes import BACKUP, NEW, OLD, OLDER, UP, Existing, Host, Make, files, meanwhile, migrations, refused, state, untouched


@pytest.mark.parametrize("place", ["migrations/env.py", "blog/migrations/env.py", "src/blog/migrations/env.py"])
def test_a_migrations_folder_is_found(deploy: Make, existing: Existing, root: Path, host: Host, place: str) -> None:
    """[A13] `auto` runs the upgrade from the new release, with a limit on the wait for locks."""
    existing(NEW, READY)
    env = root / "srv/releases" / NEW / place
    env.parent.mkdir(parents=True)
    env.write_text("")
    (root / "srv/releases" / NEW / ".venv/bin/flask").write_text("")
    host.revision, host.upgrades_to = "0001", "0002"
    result = deploy(release=NEW, lock_timeout=7).do("migrate")
    assert (result["changed"], result["release"], result["output"]) == (True, NEW, "said systemd-run")
    line = next(line for line in host.did if "migrate-step" in line)
    assert line.endswith(f" {root}/srv/releases/{NEW}/.venv/bin/flask db upgrade")
    limits = "-clock_timeout=7000 -cstatement_timeout=0 -cidle_in_transaction_session_timeout=0"
    assert f'--property=Environment="PGOPTIONS={limits}"' in line and "--unit=blog-migrate-step.service" in line
    found = Store(root / "srv").load(NEW)
    assert found and (found.schema_before, found.schema_after, found.state) == ("0001", "0002", READY)


def test_the_schema_is_asked_as_the_app(deploy: Make, existing: Existing, root: Path, host: Host) -> None:
    """[A13] With the app's rights; the password stays out of the list of processes; secrets win over the environment."""
    existing(NEW, READY)
    (root / "etc/secrets").write_text('DATABASE_URL="postgresql://blog:pa%40ss@db.example:5433/blog2"\n')
    host.revision = "0007"
    assert deploy().migrator.schema(Store(root / "srv").load(NEW)) == "0007"  # type: ignore[arg-type]
    asked = host.environments["psql"]
    # Somebody may be changing that table: nobody waits for ever.
    assert asked["PGOPTIONS"] == "-clock_timeout=5000"
    assert {name: asked[name] for name in ("PGHOST", "PGPORT", "PGDATABASE", "PGUSER", "PGPASSWORD")} == {
        **{"PGHOST": "db.example", "PGPORT": "5433", "PGDATABASE": "blog2", "PGUSER": "blog", "PGPASSWORD": "pa@ss"},
    }
    account = host.accounts["psql"]
    assert account and account.name == "blog"


def test_a_database_without_a_revision_is_no_failure(deploy: Make, existing: Existing, root: Path, host: Host) -> None:
    """[A13] A fresh database has no table yet; an app may have no database of this kind."""
    made = existing(NEW, READY)
    assert deploy().migrator.schema(made) is None
    (root / "srv/releases" / NEW / "environment").write_text('DATABASE_URL="mysql://x/y"\n')
    host.revision = "0001"
    assert deploy().migrator.schema(made) is None


def test_a_database_that_does_not_answer_is_no_empty_one(
    deploy: Make, existing: Existing, root: Path, host: Host, serving: Release
) -> None:
    """[A13] Nothing is begun, and nothing is lost: the next run goes on with the release that waits."""
    existing(NEW, READY)
    migrations(root, host, True, True)
    host.fails = {"psql": "connection timed out"}
    with pytest.raises(StepError, match="connection timed out") as failure:
        deploy(release=NEW, migrate_command=UP, restore_point_command=BACKUP).do("migrate")
    assert failure.value.step == "schema" and host.did == []
    assert state(root, NEW) == READY and (root / "srv/releases" / NEW / "blog.py").exists()
    untouched(root, host)


def test_a_database_that_goes_down_before_the_restore_point_stops_the_deploy(
    deploy: Make, existing: Existing, root: Path, host: Host, serving: Release
) -> None:
    """[D1] Its size is asked for, and the answer is no zero."""
    existing(NEW, READY)
    migrations(root, host, True, True)
    host.fails = {"pg_database_size": "connection timed out"}
    with pytest.raises(StepError, match="connection timed out") as failure:
        deploy(release=NEW, migrate_command=UP, restore_point_command=BACKUP).do("migrate")
    assert failure.value.step == "restore point" and host.revision == "0001"
    untouched(root, host)


def test_a_schema_that_cannot_be_read_after_the_migration_is_said_so(
    deploy: Make, existing: Existing, root: Path, host: Host, serving: Release
) -> None:
    """[A13] A release that does not know its schema could not be gone back to with it. It is not given up: the next run goes on with it."""
    existing(NEW, READY, fingerprint=deploy().builder.fingerprint())
    migrations(root, host, True, True)
    meanwhile(host, "migrate-step", lambda line: host.fails.update({"psql": "the server closed the connection"}))
    migrating = deploy(release=NEW, migrate_command=UP, restore_point_command=BACKUP)
    with pytest.raises(StepError, match="closed the connection") as failure:
        migrating.do("migrate")
    assert failure.value.step == "schema" and host.revision == "0002"
    found = Store(root / "srv").load(NEW)
    assert found and (found.state, found.failure, found.schema_before, found.schema_after) == (READY, None, "0001", None)
    assert (root / "srv/releases" / NEW / "blog.py").exists() and deploy().do("plan")["release"] == NEW
    untouched(root, host)
    meanwhile(host, "migrate-step", lambda line: host.fails.clear())
    host.fails.clear()
    assert migrating.do("migrate")["restore_point"] == "20261120T072201Z-before"
    found = Store(root / "srv").load(NEW)
    assert found and (found.state, found.schema_before, found.schema_after) == (READY, "0001", "0002")
    assert len([line for line in host.did if line.startswith("backup.py")]) == 1, "that would be one of the schema of today"


@pytest.mark.parametrize(("live", "changed"), [("m1", False), ("m2", True)])
def test_check_mode_says_whether_there_is_something_to_migrate(
    deploy: Make, existing: Existing, host: Host, root: Path, live: str, changed: bool
) -> None:
    """[A13] By the scripts and the database, without running any."""
    existing(OLD, LIVE, current=True, migrations=live, schema_after="0002")
    existing(NEW, READY, migrations="m1")
    host.revision = "0002"
    before = files(root)
    assert deploy(check_mode=True, release=NEW, migrate_command=UP).do("migrate")["changed"] is changed
    assert host.did == [] and files(root) == before


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ("auto", []),
        ("", []),
        ("alembic -c 'my app.ini' upgrade head", [".venv/bin/alembic", "-c", "my app.ini", "upgrade", "head"]),
        ("/usr/local/bin/migrate --now", ["/usr/local/bin/migrate", "--now"]),
    ],
)
def test_the_migration_command(deploy: Make, existing: Existing, root: Path, asked: str, words: list[str]) -> None:
    """[A13] `auto` without a migrations folder and an empty command mean none; programs of the release come first."""
    made = existing(NEW, READY)
    (root / "srv/releases" / NEW / ".venv/bin/alembic").write_text("")
    assert deploy(migrate_command=asked).migrator.migration(made) == words


def test_a_migration_runs_once(deploy: Make, existing: Existing, host: Host, root: Path) -> None:
    """[A13] Not again for a release that is migrated, that serves, or when there is nothing to do."""
    existing(NEW, READY, schema_after="0002")
    existing(OLD, LIVE, current=True)
    existing(OLDER, READY)
    for name, asked in ((NEW, "flask db upgrade"), (OLD, "flask db upgrade"), (OLDER, "auto")):
        nothing = {"changed": False, "release": name, "output": "", "restore_point": None}
        assert deploy(release=name, migrate_command=asked).do("migrate") == nothing
    assert host.did == []


def test_a_migration_that_changes_nothing_says_so(deploy: Make, existing: Existing, host: Host) -> None:
    """[A13] Most deploys have no new revision."""
    existing(NEW, READY)
    host.revision = "0002"
    assert deploy(release=NEW, migrate_command="flask db upgrade").do("migrate")["changed"] is False


def test_a_migration_that_fails_stops_the_deploy(deploy: Make, existing: Existing, root: Path, host: Host, serving: Release) -> None:
    """[A13] With what the command said; the old release serves on."""
    existing(NEW, READY)
    host.fails = {"migrate-step": "canceling statement due to lock timeout"}
    with pytest.raises(StepError, match="lock timeout"):
        deploy(release=NEW, migrate_command="flask db upgrade").do("migrate")
    refused(root, NEW, "migration", "lock timeout")
    untouched(root, host)


def test_the_entry_point_is_imported_with_the_releases_own_environment(deploy: Make, existing: Existing, root: Path, host: Host) -> None:
    """[A6] As the app's user, sandboxed, with the environment and the secrets that the service will have; before all else."""
    existing(NEW, READY)
    migrations(root, host, True, True)
    deploy(release=NEW, migrate_command=UP, restore_point_command=BACKUP).do("migrate")
    line = host.did[0]
    folder = root / "srv/releases" / NEW
    for part in (
        *("--wait", "--unit=blog-check-step.service", "--uid=blog", "--gid=blog", f"--working-directory={folder}"),
        *(f"--property=EnvironmentFile={folder}/environment", f"--property=EnvironmentFile=-{root}/etc/secrets"),
        *("--property=ProtectSystem=strict", "--property=NoNewPrivileges=yes"),
    ):
        assert part in line.split(), line
    assert line.endswith(f"{folder}/.venv/bin/python {root}/etc/server/slipway_server.py --check-config")


def test_an_app_that_cannot_be_imported_leaves_the_schema(
    deploy: Make, existing: Existing, root: Path, host: Host, serving: Release
) -> None:
    """[A6 A13] Found before the restore point and the migration: there is nothing to undo."""
    existing(NEW, READY)
    migrations(root, host, True, True)
    host.fails = {"--check-config": "line\n" * 50 + "ModuleNotFoundError: No module named 'blog'"}
    with pytest.raises(StepError, match="No module named 'blog'") as failure:
        deploy(release=NEW, migrate_command=UP, restore_point_command=BACKUP).do("migrate")
    assert failure.value.step == "import" and len(failure.value.evidence.splitlines()) <= 30
    assert host.revision == "0001" and not [line for line in host.did if line.startswith("backup.py") or "migrate-step" in line]
    refused(root, NEW, "import", "No module named 'blog'")
    found = Store(root / "srv").load(NEW)
    assert found and found.restore_point is None
    untouched(root, host)


@pytest.mark.parametrize(
    ("live", "runs"),
    [
        ({"migrations": "m1", "schema_after": "0002"}, False),
        ({"migrations": "m2", "schema_after": "0002"}, True),
        ({"migrations": None, "schema_after": "0002"}, True),
        # The live release left it elsewhere: the database was restored, say.
        ({"migrations": "m1", "schema_after": "0001"}, True),
    ],
)
def test_without_new_scripts_nothing_is_migrated(
    deploy: Make, existing: Existing, host: Host, root: Path, live: dict[str, Any], runs: bool
) -> None:
    """[A13] Most deploys: not even the app is loaded for that."""
    existing(OLD, LIVE, current=True, **live)
    existing(NEW, READY, migrations="m1")
    host.revision = "0002"
    result = deploy(release=NEW, migrate_command=UP, restore_point_command=BACKUP).do("migrate")
    for step in ("check-step", "migrate-step"):
        assert any(step in line for line in host.did) is runs
    assert any(line.startswith("backup.py") for line in host.did) is runs
    found = Store(root / "srv").load(NEW)
    assert found and (found.state, found.schema_before, found.schema_after) == (READY, "0002", "0002")
    assert runs or (result["changed"], result["output"], result["restore_point"]) == (False, "", None)


def test_a_restore_point_is_taken_before_the_migration(deploy: Make, existing: Existing, host: Host, root: Path) -> None:
    """[D1] Named in the manifest before the first statement runs, so that a killed migration can be undone, too."""
    existing(NEW, READY)
    migrations(root, host, True, True)
    result = deploy(release=NEW, migrate_command=UP, restore_point_command=BACKUP).do("migrate")
    taken, noted, migrated = (
        next(i for i, line in enumerate(host.did) if part in line) for part in (f"{BACKUP} --label before-{NEW.lower()}", "is ready", UP)
    )
    assert taken < noted < migrated
    assert result["restore_point"] == "20261120T072201Z-before"
    found = Store(root / "srv").load(NEW)
    assert found and found.restore_point == "20261120T072201Z-before"
    account = host.accounts["backup.py"]
    assert account is None, "the backup is root's"


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ("off", "none: "),
        ("empty", "none: the database is empty"),
        ("large", "none: the database has 2048 MiB, over deploy_restore_point_max (1024 MiB)"),
        ("absent", "none: backup.py is not there yet"),
    ],
)
def test_a_migration_without_a_restore_point_says_why(
    deploy: Make, existing: Existing, host: Host, root: Path, monkeypatch: pytest.MonkeyPatch, what: str, reason: str
) -> None:
    """[D1] It runs all the same."""
    existing(NEW, READY)
    migrations(root, host, True, True)
    if what == "empty":
        host.revision = None
    host.database_bytes = 2 * 2**30 if what == "large" else 2**30
    monkeypatch.setattr(shutil, "which", lambda program: None if what == "absent" and program == "backup.py" else f"/usr/bin/{program}")
    result = deploy(release=NEW, migrate_command=UP, restore_point_command="" if what == "off" else BACKUP).do("migrate")
    assert result["changed"] is True and result["restore_point"].startswith(reason)
    assert not any(line.startswith("backup.py") for line in host.did)
    found = Store(root / "srv").load(NEW)
    assert found and found.restore_point is None and found.schema_after == "0002"


def test_a_restore_point_of_the_largest_size_is_taken(deploy: Make, existing: Existing, host: Host, root: Path) -> None:
    """[D1] The limit itself is not over it."""
    existing(NEW, READY)
    migrations(root, host, True, True)
    host.database_bytes = 2**30
    assert deploy(release=NEW, migrate_command=UP, restore_point_command=BACKUP).do("migrate")["restore_point"] == "20261120T072201Z-before"


def test_a_restore_point_that_fails_stops_the_deploy(deploy: Make, existing: Existing, serving: Release, host: Host, root: Path) -> None:
    """[D1] Before the database is touched."""
    existing(NEW, READY)
    migrations(root, host, True, True)
    host.fails = {"backup.py": "No space left on device"}
    with pytest.raises(StepError, match="No space left"):
        deploy(release=NEW, migrate_command=UP, restore_point_command=BACKUP).do("migrate")
    refused(root, NEW, "restore point", "No space left")
    assert host.revision == "0001"
    untouched(root, host)


@pytest.mark.parametrize("said", ["", "done", "{", '{"bytes": 5}', "[]"])
def test_a_restore_point_without_a_name_stops_the_deploy(
    deploy: Make, existing: Existing, serving: Release, host: Host, root: Path, said: str
) -> None:
    """[D1] A command of the operator's own may print anything; that is no restore point one could find again."""
    existing(NEW, READY)
    migrations(root, host, True, True)
    host.backup = said
    with pytest.raises(StepError):
        deploy(release=NEW, migrate_command=UP, restore_point_command=BACKUP).do("migrate")
    refused(root, NEW, "restore point", "")
    assert host.revision == "0001"


def test_a_schema_that_the_live_release_cannot_live_with_goes_back(
    deploy: Make, existing: Existing, serving: Release, host: Host, root: Path
) -> None:
    """[A13] Expand and contract in one step: the old release breaks, so the migration is undone while it still serves."""
    existing(NEW, READY)
    migrations(root, host, True, True, True)
    host.answers = [(200, "")]
    host.fails = {}
    broken = deploy(release=NEW, migrate_command=UP, restore_point_command=BACKUP)
    host.answers = [(500, "column note.mood does not exist")]
    with pytest.raises(StepError) as failure:
        broken.do("migrate")
    evidence = failure.value.evidence
    assert (
        f"The live release {OLD} is not ready on the new schema: GET /healthz/ready answered 500: column note.mood does not exist"
        in evidence
    )
    assert "The migration was undone: the schema is at 0001 again." in evidence
    line = next(line for line in host.did if "downgrade-step" in line)
    assert line.endswith(f"{root}/srv/releases/{NEW}/.venv/bin/flask db downgrade 0001") and "lock_timeout=5000" in line
    assert host.revision == "0001"
    refused(root, NEW, "compatibility", "The migration was undone")
    untouched(root, host)
    assert set(host.asked) == {("/run/blog/gunicorn.sock", "/healthz/ready", "blog.example.com")}


def test_a_socket_elsewhere_is_asked_there(deploy: Make, existing: Existing, serving: Release, host: Host, root: Path) -> None:
    """[A5] Who follows our own advice and shortens app_socket can still migrate: the module builds no path of a socket."""
    existing(NEW, READY)
    migrations(root, host, True)
    short = deploy(release=NEW, migrate_command=UP, socket="/run/b", rehearsal_socket="/run/r")
    short.do("migrate")
    short.do("rehearse")
    assert {place for place, _, _ in host.asked} == {"nginx", "/run/b", "/run/r"}


def test_one_probe_that_fails_is_no_verdict(deploy: Make, existing: Existing, serving: Release, host: Host, root: Path) -> None:
    """[A13] The release that serves is asked for a few seconds."""
    existing(NEW, READY)
    migrations(root, host, True, True)
    host.answers = [(503, "busy"), (0, "timed out"), (200, "ok")]
    assert deploy(release=NEW, migrate_command=UP).do("migrate")["changed"] is True
    assert host.revision == "0002" and 0 < host.clock <= deploy_migrate.STILL_READY_WITHIN


@pytest.mark.parametrize("why", ["first", "down"])
def test_nobody_is_asked_where_nobody_serves(deploy: Make, existing: Existing, host: Host, root: Path, why: str) -> None:
    """[A13] A first deploy, and a live release that was down before."""
    if why == "down":
        existing(OLD, LIVE, current=True)
    existing(NEW, READY)
    migrations(root, host, True, True)
    host.answers = [(500, "")]
    assert deploy(release=NEW, migrate_command=UP).do("migrate")["changed"] is True
    assert host.asked == []


@pytest.mark.parametrize("point", ["20261120T072201Z-before", None])
def test_a_migration_that_cannot_be_undone_is_said_so(
    deploy: Make, existing: Existing, serving: Release, host: Host, root: Path, point: str | None
) -> None:
    """[A13] With the way back: the restore point, where there is one."""
    existing(NEW, READY)
    migrations(root, host, True, True, False)
    host.answers = [(500, "")]
    with pytest.raises(StepError) as failure:
        deploy(release=NEW, migrate_command=UP, restore_point_command=BACKUP if point else "").do("migrate")
    assert "could not be undone: these migrations have no downgrade: 0003 (step 3). Nothing of the schema" in failure.value.evidence
    assert (f"slipway.vps.restore -e backup={point}" if point else "Go back with a backup") in failure.value.evidence
    assert not any("downgrade-step" in line for line in host.did) and host.revision == "0003"
    untouched(root, host)


def test_a_downgrade_that_fails_is_said_so(deploy: Make, existing: Existing, serving: Release, host: Host, root: Path) -> None:
    """[A13] It waits for locks no longer than the migration did."""
    existing(NEW, READY)
    migrations(root, host, True, True)
    host.answers, host.fails = [(500, "")], {"downgrade-step": "canceling statement due to lock timeout"}
    with pytest.raises(StepError, match=r"could not be undone: canceling statement due to lock timeout"):
        deploy(release=NEW, migrate_command=UP).do("migrate")
    refused(root, NEW, "compatibility", "not ready on the new schema")


@pytest.mark.parametrize("why", ["not PostgreSQL", "no psql"])
def test_a_schema_of_unknown_revision_is_never_brought_to_its_beginning(
    deploy: Make, existing: Existing, serving: Release, host: Host, root: Path, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    """[A13] `flask db downgrade base` drops every table. What could not be read before the migration is no empty database."""
    existing(NEW, READY)
    migrations(root, host, True, True)
    host.answers = [(500, "")]
    if why == "not PostgreSQL":
        (root / "srv/releases" / NEW / "environment").write_text('DATABASE_URL="mysql://x/y"\n')
    else:
        monkeypatch.setattr(shutil, "which", lambda program: None if program == "psql" else program)
    with pytest.raises(StepError) as failure:
        deploy(release=NEW, migrate_command=UP).do("migrate")
    assert not [line for line in host.did if "db downgrade" in line], "all tables are gone"
    assert "was undone" not in failure.value.evidence


def test_a_killed_migration_keeps_its_beginning(deploy: Make, existing: Existing, serving: Release, host: Host, root: Path) -> None:
    """[S1] The next run finds the schema migrated already: the way back leads to where the first run began."""
    existing(NEW, READY, schema_before="0001", restore_point="the-first")
    migrations(root, host, True, True)
    host.revision = "0002"
    host.answers = [(500, "")]
    with pytest.raises(StepError):
        deploy(release=NEW, migrate_command=UP, restore_point_command=BACKUP).do("migrate")
    found = Store(root / "srv").load(NEW)
    assert found and (found.schema_before, found.restore_point) == ("0001", "the-first")
    assert host.revision == "0001"


def test_a_command_that_an_interrupted_run_left_does_not_stop_the_next(
    deploy: Make, existing: Existing, serving: Release, host: Host, root: Path
) -> None:
    """[S1] `kill -9` of the module leaves its transient unit: systemd refuses a second one of the name until it has ended."""
    existing(NEW, READY)
    migrations(root, host, True, True)
    host.active.add("blog-migrate-step.service")

    def refuse(line: str) -> None:
        if "blog-migrate-step.service" in host.active:
            raise CommandError("Unit blog-migrate-step.service was already loaded or has a fragment file.")

    meanwhile(host, "--unit=blog-migrate-step.service", refuse)
    host.later = [(2.0, lambda: host.active.discard("blog-migrate-step.service"))]
    assert deploy(release=NEW, migrate_command=UP).do("migrate")["changed"] is True


def test_a_dollar_is_the_commands_own(deploy: Make, existing: Existing, host: Host, serving: Release) -> None:
    """[A13] [F8] systemd-run would put a variable of its own in: what is quoted for `sh -c` reaches sh as it is."""
    existing(NEW, READY)
    deploy(release=NEW, migrate_command="sh -c 'flask db upgrade && echo ${HOME} $X'").do("migrate")
    assert host.transients[-1][-3:] == ("sh", "-c", "flask db upgrade && echo $${HOME} $$X")


def test_a_schema_in_sqlite_has_restore_points_too(
    deploy: Make, existing: Existing, root: Path, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """[A13] [F6] Its revision is read from the file with the app's rights, its size decides, and PostgreSQL is not asked."""
    asked: list[str] = []

    def as_account(account: Account, work: Callable[[], Any]) -> Any:
        asked.append(account.name)
        return work()

    monkeypatch.setattr(backup_sqlite, "as_account", as_account)
    made = existing(NEW, READY)
    path = root / "srv/shared/blog.db"
    path.parent.mkdir(parents=True, exist_ok=True)
    (root / "srv/releases" / NEW / "environment").write_text(f'DATABASE_URL="sqlite:///{path}"\n')
    assert deploy().migrator.schema(made) is None
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE alembic_version (version_num)")
        connection.execute("INSERT INTO alembic_version VALUES ('0003')")
    connection.close()
    made.schema_before = deploy().migrator.schema(made)
    assert made.schema_before == "0003" and "psql" not in host.environments and set(asked) == {"blog"}
    point, why = deploy(restore_point_command=BACKUP).migrator.restore_point(made)
    assert (bool(point), why) == (True, "")
    assert deploy(restore_point_command=BACKUP, restore_point_max=1).migrator.restore_point(made)[0] is None
    path.write_text("no database" * 1000)
    with pytest.raises(CommandError, match="not a database"):
        deploy().migrator.schema(made)
