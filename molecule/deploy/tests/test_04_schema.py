"""Back to an older release: with its schema, without it, and where there is no way back; and what pages still open need."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from deploys import playbook
from helpers import App
from states import Copy, Visitors, live, manifest, must_be_served, sql
from switches import environment

REVISION = '''"""{doc}"""

from alembic import op

revision = "{revision}"
down_revision = "{before}"
branch_labels = None
depends_on = None


def upgrade():
    op.execute("CREATE TABLE {table} (id int)")


def downgrade():
    {downgrade}
'''


def add_revision(tree: Path, table: str, downgrade: str) -> tuple[str, str]:
    """One migration more than the example has; the revision before it, and its own."""
    versions = tree / "logbook/migrations/versions"
    before = max(path.stem for path in versions.glob("0*.py"))
    revision = f"9_{table}"
    (versions / f"{revision}.py").write_text(
        REVISION.format(doc=f"The {table}", revision=revision, before=before, table=table, downgrade=downgrade)
    )
    return before, revision


def schema(host: Any, app: App) -> str:
    return sql(host, app, "select version_num from alembic_version")


def tables(host: Any, app: App) -> list[str]:
    return sql(host, app, "select tablename from pg_tables where schemaname = 'public'").split()


@pytest.fixture
def untouched(host: Any, app: App) -> Iterator[str]:
    """The schema before the test, which comes back afterwards: no release of the example knows the revisions of these tests."""
    before = schema(host, app)
    yield before
    sql(host, app, f"drop table if exists deck, keel; update alembic_version set version_num = '{before}'")


def test_rollback_with_the_schema(
    host: Any, app: App, visitors: Visitors, visitor: requests.Session, example: Copy, untouched: str
) -> None:
    """[S1 A13 E6] The newer release's own scripts take the schema back, and its assets stay reachable for pages still open."""
    before = live(host, app)
    tree = example("with-deck")
    at, revision = add_revision(tree, "deck", 'op.execute("DROP TABLE deck")')
    (tree / "logbook/static/deck-1f2e.css").write_text("p { color: teal }\n")
    source = {"type": "path", "path": str(tree)}
    with visitors(rate=10) as arrivals:
        deployed = playbook("deploy", host, {"app_source": source, "app_env": environment(app, SWITCH="deck")})
        assert deployed.status == 0, str(deployed)
        newer = live(host, app)
        assert newer != before and (at, schema(host, app)) == (untouched, revision) and "deck" in tables(host, app)
        assert manifest(host, app, newer)["restore_point"], manifest(host, app, newer)

        back = playbook("rollback", host, {"schema": True})
    assert back.status == 0 and f"{revision} -> {untouched}: undoes {revision} (The deck)" in back.output, str(back)
    assert live(host, app) == before and schema(host, app) == untouched and "deck" not in tables(host, app)
    assert manifest(host, app, newer)["state"] == "rolled-back"
    must_be_served(arrivals, host, app)

    # The live release has no such file; `previous-1` has.
    asset = visitor.get(f"https://{app.domain}/static/deck-1f2e.css", timeout=35)
    assert (asset.status_code, asset.text) == (200, "p { color: teal }\n"), f"{asset.status_code} {asset.text}"


def test_rollback_without_the_schema(host: Any, app: App, visitors: Visitors, example: Copy, untouched: str) -> None:
    """[S1 A13] The schema stays, and the plan says so; with a migration that cannot be undone nothing but that is possible."""
    before = live(host, app)
    tree = example("with-keel")
    _, revision = add_revision(tree, "keel", 'raise NotImplementedError("a keel is not taken off at sea")')
    source = {"type": "path", "path": str(tree)}
    with visitors(rate=10) as arrivals:
        deployed = playbook("deploy", host, {"app_source": source, "app_env": environment(app, SWITCH="keel")})
        assert deployed.status == 0, str(deployed)
        newer = live(host, app)

        refused = playbook("rollback", host, {"schema": True})
        assert refused.status != 0 and f"these migrations have no downgrade: {revision} (The keel)" in refused.output, str(refused)
        assert live(host, app) == newer != before and schema(host, app) == revision

        back = playbook("rollback", host)
    assert back.status == 0 and f"stays at {revision}" in back.output, str(back)
    assert live(host, app) == before and schema(host, app) == revision and "keel" in tables(host, app)
    must_be_served(arrivals, host, app)
