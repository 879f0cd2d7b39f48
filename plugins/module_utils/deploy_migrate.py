# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""The schema, forwards before a release takes traffic, and backwards where a rollback asks for it."""

from __future__ import annotations

import json
import shlex
import shutil
import time
from pathlib import Path
from typing import Any

from ansible_collections.slipway.vps.plugins.module_utils.database_url import libpq, sqlite_file
from ansible_collections.slipway.vps.plugins.module_utils.deploy_steps import HostedApp, StepError
from ansible_collections.slipway.vps.plugins.module_utils.environment import parse_environment
from ansible_collections.slipway.vps.plugins.module_utils.releases import READY, Release
from ansible_collections.slipway.vps.plugins.module_utils.schema import REVISIONS, Step, has_migrations, steps
from ansible_collections.slipway.vps.plugins.module_utils.slipway.backup import sqlite
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core.errors import SlipwayError
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core.http import get
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core.run import CommandError, command, tail
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core.units import is_active
from ansible_collections.slipway.vps.plugins.module_utils.slipway.health import probe

#: Alembic's own command, as Flask-Migrate spells it.
UPGRADE = "flask db upgrade"
#: Seconds the live release may take to be ready on the new schema: one probe that fails may be a passing fault.
STILL_READY_WITHIN = 5
#: EX_CONFIG: how `slipway <app> backup` ends where no backups are set up.
NO_BACKUPS = 78


class Migrator:
    """The steps `migrate`, `downgrade` and `upgrade`."""

    def __init__(self, app: HostedApp) -> None:
        self.app = app
        self.settings = app.settings
        self.store = app.store

    def migrate(self) -> dict[str, Any]:
        release = self.app.wanted()
        words = self.migration(release)
        done: dict[str, Any] = {"changed": False, "release": release.id, "output": "", "restore_point": None}
        if self.settled(release):
            return done
        if self.settings.check_mode:
            return {**done, "changed": True}
        with self.app.failing(release):
            # An app that cannot even be imported must not change the schema. Where nothing is migrated the rehearsal finds out.
            self.app.check_entry_point(release)
            why = ""
            if not release.restore_point:
                release.restore_point, why = self.restore_point(release)
            self.store.save(release)
            with self.app.step("migration"):
                output = self.change_schema("migrate", release, *words)
            self.check_compatibility(release)
        # Outside: the migration has run, and a release that brought the schema where it is must not be given up for this.
        with self.app.step("schema"):
            release.schema_after = self.schema(release)
        self.store.save(release)
        changed = release.schema_before != release.schema_after
        return {**done, "changed": changed, "output": tail(output), "restore_point": release.restore_point or why}

    def settled(self, release: Release) -> bool:
        """Whether nothing is to be migrated for a release, or nothing any more. Where that shows only in the database, it is noted."""
        if not self.migration(release) or release.state != READY or release.schema_after:
            return True
        # A run that was interrupted has noted where the schema began; by now it may be elsewhere.
        with self.app.step("schema"):
            release.schema_before = release.schema_before or self.schema(release)
        if not self.nothing_to_migrate(release):
            return False
        if not self.settings.check_mode:
            release.schema_after = release.schema_before
            self.store.save(release)
        return True

    def migration(self, release: Release) -> list[str]:
        folder = self.store.folder(release.id)
        wanted = self.command_of(release)
        if wanted == "auto":
            wanted = UPGRADE if has_migrations(folder) else ""
        words = shlex.split(wanted)
        if words and (folder / ".venv/bin" / words[0]).exists():
            words[0] = f".venv/bin/{words[0]}"
        return words

    def command_of(self, release: Release) -> str:
        """The release's own: a newer one may do it otherwise."""
        return self.settings.migrate_command if release.migrate_command is None else release.migrate_command

    def change_schema(self, what: str, release: Release, *words: str) -> str:
        """Run a command that waits for locks only so long: behind one that waits, visitors queue.

        And may work as long as it must: the limits of the app's role are for visitors' statements.
        """
        limits = f"-clock_timeout={self.settings.lock_timeout * 1000} -cstatement_timeout=0 -cidle_in_transaction_session_timeout=0"
        options = f'Environment="PGOPTIONS={limits}"'
        return self.app.transient(what, release, *words, settings=(options,))

    def nothing_to_migrate(self, release: Release) -> bool:
        """The live release has the same scripts, and the database is where those, or a newer release's, brought it.

        A newer release's, after a rollback that left the schema: the older scripts do not know that revision. Only Alembic's own
        command is left out; another one may do more.
        """
        live = self.store.live()
        if self.command_of(release) not in ("auto", UPGRADE) or not live or not release.migrations or live.migrations != release.migrations:
            return False
        known = {live.schema_after, *(r.schema_after for r in self.store.all() if r.id > live.id)}
        return release.schema_before is not None and release.schema_before in known

    def database(self, release: Release) -> dict[str, str]:
        """libpq's variables for the app's database; empty when it is no PostgreSQL, or there is no psql to ask."""
        url = self.environment(release).get("DATABASE_URL", "")
        return libpq(url) if url.startswith("postgres") and shutil.which("psql") else {}

    def environment(self, release: Release) -> dict[str, str]:
        """What the app finds there, as the release has it."""
        path = self.store.folder(release.id) / "environment"
        public = path.read_bytes().decode() if path.exists() else ""
        return parse_environment(public + self.app.delivery.read())

    def sqlite(self, release: Release) -> Path | None:
        """The file, where the app's database is one of SQLite."""
        path = sqlite_file(self.environment(release).get("DATABASE_URL", ""))
        return Path(path) if path.startswith("/") else None

    def query(self, release: Release, sql: str) -> str | None:
        environment = self.database(release)
        if not environment:
            return None
        waiting = {"PGOPTIONS": f"-clock_timeout={self.settings.lock_timeout * 1000}"}
        return command("psql", "-XAtqc", sql, account=self.app.account, environment={**environment, **waiting}).strip() or None

    def schema(self, release: Release) -> str | None:
        """The revision Alembic noted in the database; None where there is none."""
        if path := self.sqlite(release):
            try:
                return ",".join(sqlite.revisions(path, self.app.account)) or None
            except SlipwayError as error:
                raise CommandError(f"{path}: {error}") from error
        if not self.query(release, "SELECT to_regclass('alembic_version')"):
            return None
        return self.query(release, "SELECT string_agg(version_num, ',' ORDER BY version_num) FROM alembic_version")

    def schema_if_known(self, release: Release) -> str | None:
        """For what goes on without it: code can go back also while the database is down."""
        try:
            return self.schema(release)
        except CommandError:
            return None

    def restore_point(self, release: Release) -> tuple[str | None, str]:
        """A backup of the database before it is migrated: its name, or why there is none."""
        if not self.settings.restore_point_command or release.schema_before is None:
            return None, "none: the database is empty, or keeps no revision"
        with self.app.step("restore point"):
            path = self.sqlite(release)
            size = path.stat().st_size if path else int(self.query(release, "SELECT pg_database_size(current_database())") or 0)
        if size > self.settings.restore_point_max:
            most = self.settings.restore_point_max // 2**20
            return None, f"none: the database has {size // 2**20} MiB, over deploy_restore_point_max ({most} MiB)"
        words = shlex.split(self.settings.restore_point_command)
        if not shutil.which(words[0]):
            return None, f"none: {words[0]} is not there yet (ansible-playbook slipway.vps.site --tags keep)"
        with self.app.step("restore point"):
            try:
                said = command(*words, "--label", f"before-{release.id.lower()}")
            except CommandError as error:
                if error.status == NO_BACKUPS:
                    return None, "none: no backups are set up yet (ansible-playbook slipway.vps.site --tags keep)"
                raise
            try:
                return str(json.loads(said[said.index("{") :])["name"]), ""
            except (ValueError, KeyError, TypeError) as error:
                raise CommandError(f"{words[0]} printed no manifest with a name:\n{tail(said)}") from error

    def check_compatibility(self, release: Release) -> None:
        """The release that serves must still be ready on the new schema; otherwise the schema goes back at once."""
        live = self.store.live()
        if not live or live.id == release.id or not is_active(self.app.unit(live.id)):
            return
        deadline = time.monotonic() + STILL_READY_WITHIN
        settings = self.settings
        while not (seen := probe(lambda path: get(settings.socket, path, settings.host), settings.ready, live.ready, settings.prefix)).good:
            if time.monotonic() > deadline:
                evidence = f"The live release {live.id} is not ready on the new schema: {seen.told()}"
                raise StepError("compatibility", f"{evidence}\n{self.take_back(release)}")
            time.sleep(0.5)

    def take_back(self, release: Release) -> str:
        """Undo the migration that has just run; says what came of it."""
        if not release.schema_before:
            return "The migration was not undone, since the revision before it is not known."
        try:
            self.downgrade_to(release, release.schema_before)
        except (StepError, CommandError) as error:
            way = f"slipway.vps.restore -e backup={release.restore_point}" if release.restore_point else "a backup"
            said = tail(str(error), 5)
            return f"The migration could not be undone: {said}\nGo back with {way}, or deploy a release that can live with the schema."
        return f"The migration was undone: the schema is at {self.schema_if_known(release)} again."

    def path_down(self, release: Release, target: str | None) -> list[Step]:
        """The migrations between the schema now and ``target``, newest first, as the scripts of ``release`` have them.

        Both ends must be known: the way down from an unknown place, or to one, would lead to an empty database.
        """
        with self.app.step("schema"):
            current = self.schema(release)
        if not current:
            raise StepError("downgrade", "the revision of the schema cannot be read, so it is not changed")
        if not target:
            raise StepError(
                "downgrade", "the release to go back to does not know its schema; restore a backup, or go back without the schema"
            )
        if current == target:
            return []
        with self.app.step("migration path"):
            return steps(self.app.transient("revisions", release, ".venv/bin/python", "-c", REVISIONS, current, target))

    def downgrade_to(self, release: Release, target: str) -> str:
        """Bring the schema to ``target`` with the scripts of ``release``; refused where a migration cannot be undone."""
        stuck = [f"{s.revision} ({s.doc})" for s in self.path_down(release, target) if not s.undone]
        if stuck:
            raise StepError("downgrade", f"these migrations have no downgrade: {', '.join(stuck)}. Nothing of the schema was changed.")
        with self.app.step("downgrade"):
            return self.change_schema("downgrade", release, ".venv/bin/flask", "db", "downgrade", target)

    def downgrade(self) -> dict[str, Any]:
        """Bring the schema to where the target of a rollback left it, with the newer release's scripts, after a restore point."""
        newer = self.app.wanted()
        target = self.settings.schema
        way = self.path_down(newer, target)
        if self.settings.check_mode or not way:
            return {"changed": bool(way), "release": newer.id, "output": "", "restore_point": None}
        newer.schema_before = self.schema_if_known(newer)
        point, why = self.restore_point(newer)
        output = self.downgrade_to(newer, target)
        return {"changed": True, "release": newer.id, "output": tail(output), "restore_point": point or why}

    def upgrade(self) -> dict[str, Any]:
        """Bring the schema forward again to where the newer release had it: the way back did not help."""
        newer = self.app.wanted()
        words = self.migration(newer)
        if self.settings.check_mode or not words:
            return {"changed": bool(words), "release": newer.id, "output": ""}
        with self.app.step("migration"):
            output = self.change_schema("upgrade", newer, *words)
        return {"changed": True, "release": newer.id, "output": tail(output)}
