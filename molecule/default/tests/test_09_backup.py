"""Backups: taken by cron's own command, refused when bad, and brought back for real."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from helpers import App, must

PROGRAM = "/usr/local/bin/slipway demo backup"
TABLE = "slipway_probe"


@dataclass
class Kit:
    """The host's backups, and the scratch table that the tests lose and find again."""

    host: Any
    app: App

    def cli(self, *words: str, config: str = "") -> Any:
        return self.host.run(f"{PROGRAM} --config {config or self.app.config + '/backup.json'} {' '.join(words)}")

    def must_cli(self, *words: str) -> str:
        result = self.cli(*words)
        log = self.host.run(f"tail -n 20 {self.app.logs}/backup.log").stdout
        assert result.rc == 0, f"{words}: exit {result.rc}\n{result.stdout}{result.stderr}\n{log}"
        return str(result.stdout)

    def names(self) -> list[str]:
        return must(self.host, f"ls {self.app.backups}").replace("status.json", "").split()

    def sql(self, query: str) -> str:
        command = f"psql -XAtq -v ON_ERROR_STOP=1 -h /run/postgresql -d {self.app.database} -c {shlex.quote(query)}"
        return must(self.host, f"runuser -u {self.app.name} -- {command}").strip()

    def admin(self, query: str) -> str:
        return must(self.host, f"runuser -u postgres -- psql -XAtq -c {shlex.quote(query)}").strip()

    def oid(self) -> str:
        return self.admin(f"SELECT oid FROM pg_database WHERE datname = '{self.app.database}'")

    def kept(self) -> list[str]:
        """Databases that restores have put aside, and what an unfinished one would leave."""
        query = f"SELECT datname FROM pg_database WHERE datname ~ '^{self.app.database}_(before_|restore$)'"
        return self.admin(query).split()


def cron_lines(host: Any, app: App) -> tuple[dict[str, str], str, str]:
    """Environment, schedule and command of cron's file."""
    text = must(host, f"cat /etc/cron.d/{app.name}-backup")
    environment = dict(re.findall(r'^([A-Z]+)="?([^"\n]*)"?$', text, re.MULTILINE))
    (schedule, command) = re.findall(r"^([\d*/,-]+(?: [\d*/,-]+){4}) root (.+)$", text, re.MULTILINE)[0]
    return environment, schedule, command


@pytest.fixture
def kit(host: Any, app: App) -> Iterator[Kit]:
    kit = Kit(host, app)
    before, kept = kit.names(), kit.kept()
    kit.sql(f"DROP TABLE IF EXISTS {TABLE}; CREATE TABLE {TABLE} (note text); INSERT INTO {TABLE} VALUES ('precious')")
    yield kit
    kit.sql(f"DROP TABLE IF EXISTS {TABLE}")
    for name in set(kit.names()) - set(before):
        must(host, f"rm -r {app.backups}/{name}")
    for database in set(kit.kept()) - set(kept):
        must(host, f"runuser -u postgres -- dropdb '{database}'")


def test_cron_runs_it_each_night(host: Any, app: App) -> None:
    """[D3] A file cron reads (no dot in its name, root's, not writable by others), cron on, no mail."""
    file = host.file(f"/etc/cron.d/{app.name}-backup")
    assert (file.user, file.group, oct(file.mode)) == ("root", "root", "0o644")
    assert file.contains("Ansible managed") and file.contains("# slipway:backup")
    assert host.service("cron").is_enabled and host.service("cron").is_running
    environment, schedule, _ = cron_lines(host, app)
    assert schedule == "30 3 * * *" and environment["MAILTO"] == ""


def test_crons_command_takes_a_complete_backup(kit: Kit) -> None:
    """[D3] With cron's environment and nothing more; compressed, described, logged, for root's eyes only."""
    environment, _, command = cron_lines(kit.host, kit.app)
    before = kit.names()
    result = kit.host.run(f"cd / && env -i HOME=/root LOGNAME=root PATH={environment['PATH']} /bin/sh -c {shlex.quote(command)}")
    assert result.rc == 0, f"{result.stdout}{result.stderr}"
    (name,) = set(kit.names()) - set(before)
    folder = f"{kit.app.backups}/{name}"
    assert re.fullmatch(r"\d{8}T\d{6}Z", name)
    manifest = json.loads(must(kit.host, f"cat {folder}/manifest.json"))
    for file in ("db.dump/toc.dat", "files.tar.gz"):
        assert must(kit.host, f"sha256sum {folder}/{file}").split()[0] == manifest["files"][file]["sha256"]
    listing = must(kit.host, f"pg_restore --list {folder}/db.dump")
    assert f"TABLE DATA public {TABLE} " in listing, listing
    inside = must(kit.host, f"tar -tzf {folder}/files.tar.gz").splitlines()
    assert f"{kit.app.config}/backup.json".lstrip("/") in inside and f"{kit.app.shared}/".lstrip("/") in inside, inside
    assert must(kit.host, f"stat -c '%U %a' {kit.app.backups} {folder}").split() == ["root", "700"] * 2
    status = json.loads(must(kit.host, f"cat {kit.app.backups}/status.json"))
    assert status["last_success"]["name"] == name
    assert f"INFO create {name}: complete" in must(kit.host, f"tail -n 5 {kit.app.logs}/backup.log")


def test_what_was_deleted_comes_back(kit: Kit) -> None:
    """[D3] A real restore: the row is back, the app owns it, its open session was ended, the old database is kept."""
    name = json.loads(kit.must_cli("--json", "create", "--label", "probe"))["name"]
    kit.sql(f"DELETE FROM {TABLE}")
    assert kit.sql(f"SELECT count(*) FROM {TABLE}") == "0"
    before = kit.oid()
    # As the app has: a session that stays open.
    sleeper = f"psql -X -h /run/postgresql -d {kit.app.database} -c 'SELECT pg_sleep(60)'"
    must(kit.host, f"setsid runuser -u {kit.app.name} -- {sleeper} >/dev/null 2>&1 </dev/null & sleep 1")
    said = kit.must_cli("restore", name)
    assert kit.sql(f"SELECT note FROM {TABLE}") == "precious"
    assert kit.oid() != before, "the live database was written to instead of replaced"
    (kept,) = kit.kept()
    assert kept.startswith(f"{kit.app.database}_before_") and kept in said, said
    # Not a superuser's table now, and still nobody else's database.
    assert kit.sql(f"SELECT tableowner FROM pg_tables WHERE tablename = '{TABLE}'") == kit.app.name
    assert kit.admin(f"SELECT has_database_privilege('pg_monitor', '{kit.app.database}', 'CONNECT')") == "f"
    assert kit.admin(f"SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = '{kit.app.database}'") == kit.app.name
    sessions = kit.admin("SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(60)%' AND pid <> pg_backend_pid()")
    assert sessions == "0"


def test_a_lost_upload_comes_back_and_newer_ones_stay(kit: Kit) -> None:
    """[D3] With --files; with the rights that let nginx read it, and for new files in the folder as well."""
    uploads = f"{kit.app.shared}/uploads"
    probe = f"{uploads}/slipway_probe"
    as_app = f"runuser -u {kit.app.name} -- sh -c"
    must(kit.host, f"{as_app} 'umask 027; mkdir -p {probe}/deep && echo hello > {probe}/deep/lost.txt'")
    rights = must(kit.host, f"stat -c '%U %G %a' {probe} {probe}/deep {probe}/deep/lost.txt {uploads} {kit.app.shared}")
    try:
        name = json.loads(kit.must_cli("--json", "create", "--label", "probe"))["name"]
        must(kit.host, f"rm -r {probe}; {as_app} 'echo new > {uploads}/slipway_newer.txt'")
        kit.must_cli("restore", name, "--files")
        assert must(kit.host, f"cat {probe}/deep/lost.txt").strip() == "hello"
        again = must(kit.host, f"stat -c '%U %G %a' {probe} {probe}/deep {probe}/deep/lost.txt {uploads} {kit.app.shared}")
        assert again == rights
        assert kit.host.file(f"{uploads}/slipway_newer.txt").exists
    finally:
        kit.host.run(f"rm -rf {probe} {uploads}/slipway_newer.txt")


def test_a_flipped_byte_is_refused(kit: Kit) -> None:
    """[D3] A damaged dump never gets near a database: the live one is the same one, nothing new stands beside it."""
    name = json.loads(kit.must_cli("--json", "create", "--label", "probe"))["name"]
    dump = f"{kit.app.backups}/{name}/db.dump/toc.dat"
    flip = f"p='{dump}'; b=bytearray(open(p,'rb').read()); b[len(b)//2] ^= 1; open(p,'wb').write(b)"
    must(kit.host, f'python3 -c "{flip}"')
    kit.sql(f"INSERT INTO {TABLE} VALUES ('later')")
    before, kept = kit.oid(), kit.kept()
    result = kit.cli("restore", name)
    assert result.rc == 1 and "sha256 differs" in result.stderr, f"{result.rc} {result.stdout}{result.stderr}"
    assert kit.oid() == before and kit.kept() == kept
    assert kit.sql(f"SELECT count(*) FROM {TABLE}") == "2"
    assert kit.cli("check", name).rc == 1


def test_two_runs_do_not_overlap(kit: Kit) -> None:
    """[D3] While one holds the lock, the next is turned away, says so, and leaves nothing."""
    before = kit.names()
    command = f"{PROGRAM} --config {kit.app.config}/backup.json create"
    result = kit.host.run(f"flock {kit.app.backups}/.lock {command}")
    assert result.rc == 75 and "under way" in result.stderr, f"{result.rc} {result.stdout}{result.stderr}"
    assert kit.names() == before


def test_a_failed_dump_is_loud_and_leaves_nothing(kit: Kit) -> None:
    """[D3] Exit status, log, journal, status file; and no folder that looks like a backup."""
    scratch = must(kit.host, "mktemp -d").strip()
    config = json.loads(must(kit.host, f"cat {kit.app.config}/backup.json"))
    config.update(database="slipway_missing", backup_dir=scratch)
    must(kit.host, f"echo {shlex.quote(json.dumps(config))} > {scratch}/backup.json")
    try:
        result = kit.cli("create", config=f"{scratch}/backup.json")
        assert result.rc == 1 and "slipway_missing" in result.stderr, f"{result.rc} {result.stdout}{result.stderr}"
        left = set(must(kit.host, f"ls -A {scratch}").split()) - {".lock", "backup.json"}
        assert left == {"status.json"}
        status = json.loads(must(kit.host, f"cat {scratch}/status.json"))
        assert "slipway_missing" in status["failures"]["create"]["reason"] and "last_success" not in status
        assert "ERROR create: " in must(kit.host, f"tail -n 3 {kit.app.logs}/backup.log")
        assert "slipway_missing" in must(kit.host, f"journalctl --sync; journalctl --no-pager -p err -n 5 -t {kit.app.name}-backup")
    finally:
        kit.host.run(f"rm -rf {scratch}")
