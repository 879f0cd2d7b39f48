"""One role for each purpose, each with limits of its own."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from deploys import Outcome, playbook
from helpers import App, must, until
from load import OpenLoop, Wrk
from states import Copy, admin, live, must_be_served, sql
from switches import environment

#: 2 workers x (3 threads + 1) x 2 releases.
WEB = 16
MIGRATION = '''"""A slow one"""

from alembic import op

revision, down_revision, branch_labels, depends_on = "9_slow", "{before}", None, None


def upgrade():
    op.execute("SELECT pg_sleep(3)")
    op.execute("CREATE TABLE slow (id int)")


def downgrade():
    op.execute("DROP TABLE slow")
'''


def as_role(app: App, user: str, role: str, query: str, options: str = "") -> str:
    psql = f"psql -XAtq -v ON_ERROR_STOP=1 -h /run/postgresql -U {role} -d {app.database}"
    return f'runuser -u {user} -- env PGOPTIONS="{options}" {psql} -c "{query}"'


@pytest.mark.parametrize(
    ("role", "limits"),
    [("demo", "1s|2s|4s"), ("demo_migrate", "5s|0|0"), ("demo_readonly", "1s|5min|5min")],
)
def test_each_role_has_its_limits(host: Any, app: App, role: str, limits: str) -> None:
    """[D1] [A13] In a session, not only in the catalogue; the app's system user may be all three."""
    query = "SELECT " + ", ".join(f"current_setting('{n}_timeout')" for n in ("lock", "statement", "idle_in_transaction_session"))
    assert must(host, as_role(app, app.name, role, query)).strip() == limits


def test_other_system_users_are_none_of_them(host: Any, app: App) -> None:
    """[D1] Except those that the operator lets read."""
    for user, role in (("nobody", "demo"), ("nobody", "demo_readonly"), ("games", "demo"), ("games", "demo_migrate")):
        refused = host.run(as_role(app, user, role, "SELECT 1"))
        assert refused.rc != 0 and "Peer authentication failed" in refused.stderr, f"{user} as {role}: {refused.stdout}{refused.stderr}"
    assert int(must(host, as_role(app, "games", "demo_readonly", "SELECT count(*) FROM entries"))) >= 0


def test_who_reads_cannot_write(host: Any, app: App) -> None:
    """[D1] Neither by its limits nor without them, in tables of today and of tomorrow; and it enters no other database of another app."""
    sql(host, app, "CREATE TABLE IF NOT EXISTS tomorrow (n int)")
    try:
        assert must(host, as_role(app, app.name, "demo_readonly", "SELECT count(*) FROM tomorrow")).strip() == "0"
        for options in ("", "-cdefault_transaction_read_only=off"):
            for query in ("INSERT INTO tomorrow VALUES (1)", "DROP TABLE tomorrow", "CREATE TABLE mine (n int)"):
                refused = host.run(as_role(app, app.name, "demo_readonly", query, options))
                assert refused.rc != 0 and "ERROR" in refused.stderr, f"{options} {query}: {refused.stdout}{refused.stderr}"
    finally:
        sql(host, app, "DROP TABLE tomorrow")


def test_what_the_migrating_role_makes_is_the_apps(host: Any, app: App) -> None:
    """[D1] [A13]"""
    must(host, as_role(app, app.name, "demo_migrate", "CREATE TABLE made (n int)"))
    assert sql(host, app, "SELECT tableowner FROM pg_tables WHERE tablename = 'made'") == app.name
    sql(host, app, "DROP TABLE made")


def test_a_statement_of_the_app_is_cut_off(host: Any, app: App) -> None:
    """[D1] So a visitor who has left keeps no connection; whoever waits for a lock gives up sooner."""
    refused = host.run(as_role(app, app.name, app.name, "SELECT pg_sleep(10)"))
    assert refused.rc != 0 and "statement timeout" in refused.stderr, refused.stderr
    held = as_role(app, app.name, "demo_migrate", "BEGIN; LOCK TABLE ledger; SELECT pg_sleep(60)")
    waits = as_role(app, app.name, app.name, "SELECT count(*) FROM ledger")
    granted = "SELECT count(*) FROM pg_locks WHERE relation = 'ledger'::regclass AND granted AND mode = 'AccessExclusiveLock'"
    must(host, f"({held} >/dev/null 2>&1 &)")
    assert until(lambda: sql(host, app, granted) == "1")
    refused = host.run(waits)
    admin(host, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'demo_migrate'")
    assert refused.rc != 0 and "lock timeout" in refused.stderr, refused.stderr


def test_slow_queries_are_logged(host: Any, app: App) -> None:
    """[D1] With their text, and who asked."""
    mark = f"slow-{secrets.token_hex(4)}"
    sql(host, app, f"SELECT '{mark}', pg_sleep(0.7)")
    log = must(host, "cat /var/log/postgresql/postgresql-*-main.log")
    (line,) = [line for line in log.splitlines() if "duration:" in line and mark in line]
    assert f"{app.name}@{app.database}" in line, line


def test_extensions_are_there(host: Any, app: App) -> None:
    """[D1]"""
    assert sql(host, app, "SELECT similarity('slipway', 'slipways') > 0.5") == "t"


class Switched(NamedTuple):
    """What was seen of one deploy whose migration is slow, under a crowd."""

    outcome: Outcome
    before: str
    arrivals: OpenLoop
    crowd: Wrk
    connections: int


@pytest.fixture(scope="module")
def switched(host: Any, app: App, address: str, acme_root: Path, neighbour: Any, example: Copy) -> Iterator[Switched]:
    """Deploy it, and count the app's connections all the while."""
    tree = example("slow")
    versions = tree / "logbook/migrations/versions"
    before, schema = max(path.stem for path in versions.glob("0*.py")), admin(host, "SELECT version_num FROM alembic_version", app.database)
    (versions / "9_slow.py").write_text(MIGRATION.format(before=before))
    was, said, most = live(host, app), list[Outcome](), 0
    told = {
        "app_source": {"type": "path", "path": str(tree)},
        "app_env": environment(app, SWITCH=secrets.token_hex(4)),
        "deploy_burn_in": 4,
    }
    deploy = threading.Thread(target=lambda: said.append(playbook("deploy", host, told)))
    arrivals = OpenLoop(address, app.domain, acme_root, prefix=f"slow-{secrets.token_hex(4)}", rate=5, post_every=2)
    # More connections than the app has threads.
    crowd = Wrk(neighbour.backend.name, f"https://{app.domain}/", connections=16, pause=20)
    # Twenty looks at one go: both releases serve for a fraction of a second.
    look = f"SELECT count(*) FROM pg_stat_activity WHERE usename = '{app.name}'; SELECT pg_sleep(0.05) AS slept \\gset"
    count = f'yes "{look}" | head -n 20 | runuser -u postgres -- psql -XAtq'
    with arrivals, crowd:
        deploy.start()
        while deploy.is_alive():
            most = max(most, *map(int, must(host, count).split()))
        deploy.join()
    yield Switched(said[0], was, arrivals, crowd, most)
    sql(host, app, f"DROP TABLE IF EXISTS slow; UPDATE alembic_version SET version_num = '{schema}'")


def test_a_migration_may_take_longer_than_a_visitors_statement(host: Any, app: App, switched: Switched) -> None:
    """[A13] [S1] Three seconds, where the app's statements are cut off after two."""
    assert switched.outcome.status == 0 and live(host, app) != switched.before, str(switched.outcome)
    must_be_served(switched.arrivals, host, app)
    assert switched.crowd.summary and switched.crowd.summary.lost == 0, switched.crowd.output
    assert sql(host, app, "SELECT tableowner FROM pg_tables WHERE tablename = 'slow'") == app.name


def test_the_arithmetic_is_true(switched: Switched) -> None:
    """[D2] In a switch under a crowd the app never has more connections than were counted, and comes near them: the sum is no guess."""
    print(f"at most {switched.connections} connections, {WEB} counted")
    assert WEB / 2 < switched.connections <= WEB, f"{switched.connections} connections, {WEB} counted"
