"""One role for each purpose, each with limits of its own."""

from __future__ import annotations

from typing import Any

import pytest
from deploys import playbook
from helpers import App, must
from states import Copy, Visitors, admin, live, must_be_served, sql
from switches import environment

MIGRATION = '''"""A slow one"""

from alembic import op

revision, down_revision, branch_labels, depends_on = "9_slow", "{before}", None, None


def upgrade():
    op.execute("SELECT pg_sleep(5)")
    op.execute("CREATE TABLE slow (id int)")


def downgrade():
    op.execute("DROP TABLE slow")
'''


def as_role(app: App, user: str, role: str, query: str, options: str = "") -> str:
    psql = f"psql -XAtq -v ON_ERROR_STOP=1 -h /run/postgresql -U {role} -d {app.database}"
    return f'runuser -u {user} -- env PGOPTIONS="{options}" {psql} -c "{query}"'


@pytest.mark.parametrize(
    ("role", "limits"),
    [("demo", "1s|3s|4s"), ("demo_migrate", "5s|0|0"), ("demo_readonly", "1s|5min|5min")],
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
    held = as_role(app, app.name, "demo_migrate", "BEGIN; LOCK TABLE ledger; SELECT pg_sleep(3)")
    waits = as_role(app, app.name, app.name, "SELECT count(*) FROM ledger")
    refused = host.run(f"({held} &) ; sleep 0.7; {waits}")
    assert refused.rc != 0 and "lock timeout" in refused.stderr, refused.stderr


def test_slow_queries_are_logged(host: Any, app: App) -> None:
    """[D1] With their text, and who asked."""
    sql(host, app, "SELECT 'canary-slow', pg_sleep(0.7)")
    log = must(host, "cat /var/log/postgresql/postgresql-*-main.log")
    (line,) = [line for line in log.splitlines() if "duration:" in line and "canary-slow" in line]
    assert f"{app.name}@{app.database}" in line, line


def test_extensions_are_there(host: Any, app: App) -> None:
    """[D1]"""
    assert sql(host, app, "SELECT similarity('slipway', 'slipways') > 0.5") == "t"


def test_a_migration_may_take_longer_than_a_visitors_statement(host: Any, app: App, visitors: Visitors, example: Copy) -> None:
    """[A13] [S1] Five seconds, where the app's statements are cut off after three."""
    tree = example("slow")
    versions = tree / "logbook/migrations/versions"
    before, schema = max(path.stem for path in versions.glob("0*.py")), admin(host, "SELECT version_num FROM alembic_version", app.database)
    (versions / "9_slow.py").write_text(MIGRATION.format(before=before))
    was = live(host, app)
    try:
        with visitors(rate=5) as arrivals:
            outcome = playbook(
                "deploy", host, {"app_source": {"type": "path", "path": str(tree)}, "app_env": environment(app, SWITCH="slow")}
            )
        assert outcome.status == 0 and live(host, app) != was, str(outcome)
        must_be_served(arrivals, host, app)
        assert sql(host, app, "SELECT tableowner FROM pg_tables WHERE tablename = 'slow'") == app.name
        back = playbook("rollback", host, {"schema": True})
        assert back.status == 0, str(back)
    finally:
        sql(host, app, f"DROP TABLE IF EXISTS slow; UPDATE alembic_version SET version_num = '{schema}'")
