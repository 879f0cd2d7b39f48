"""A backup counts once a restore has proven it; whatever goes wrong is found, told, harms no good copy, and is mended by the next night."""

from __future__ import annotations

import json
import shlex
from datetime import datetime, timedelta, timezone

import pytest
from deploys import playbook
from helpers import FULL, must
from nights import LEFT, Keep

#: What is at work when a night is killed: five points, from the first to the last thing it does.
POINTS = {
    "dump": "pg_dump --format=directory",
    "proof": "postgres -D /var/lib/demo-proof",
    "pages": "pg_amcheck --install-missing",
    "cluster": "pgbackrest .* backup --type",
    "copy": "restic .* backup --json",
}
#: How the roles make the database, and how its app's sessions and its readers find it.
SHAPE = (
    "SELECT pg_get_userbyid(datdba), pg_encoding_to_char(encoding), datlocprovider, datcollate, datctype, datconnlimit, datistemplate,"
    " (SELECT array_agg(entry::text ORDER BY entry::text) FROM unnest(datacl) entry),"
    " (SELECT array_agg(setconfig::text ORDER BY setrole) FROM pg_db_role_setting WHERE setdatabase = d.oid)"
    " FROM pg_database d WHERE datname = 'demo'"
)


def test_a_night_under_write_load_is_proven_and_can_be_killed(keep: Keep, writer: None) -> None:
    """[D3] `kill -9` at five points: nothing looks like a backup that is none, nobody goes on writing, the next night clears up.

    Rows come in all the time: only what was counted in the dump's own moment can be equal to what was restored.
    """
    good = keep.night()
    for point, at_work in POINTS.items():
        keep.killed_night(at_work)
        gone = f"for i in $(seq 300); do pgrep -f '{LEFT}' >/dev/null || exit 0; sleep 0.2; done; exit 1"
        assert keep.host.run(gone).rc == 0, f"{point}: what it started goes on: {keep.host.run('ps axww').stdout}"
        assert keep.listed()["damaged"] == [] and good in keep.proven()
        keep.must_cli("check", good)
        if FULL or point == list(POINTS)[-1]:
            good = a_night(keep, good)


def a_night(keep: Keep, before: str) -> str:
    """All of it, proven, and nothing left of what was before."""
    keep.must_cli("nightly")
    name, status = keep.proven()[-1], keep.status()
    assert name > before and status["last_verified"]["name"] == status["last_success"]["name"] == name
    assert name in status["last_offsite"]["copied"] and status["last_pitr"]["at"] >= status["last_verified"]["at"]
    manifest = next(backup for backup in keep.listed()["backups"] if backup["name"] == name)
    assert manifest["rows"]["public.ledger"] > 100 and manifest["compression"].startswith("zstd")
    assert keep.partial() == "" and not keep.host.file("/var/lib/demo-proof/work").exists
    return name


def test_a_restored_ledger_is_equal(keep: Keep, writer: None) -> None:
    """[D3] Row by row, number by number, time by time; the writer finds the new database by itself."""
    must(keep.host, "sleep 1")
    name = json.loads(keep.must_cli("--json", "create", "--database-only"))["name"]
    rows = next(backup for backup in keep.listed()["backups"] if backup["name"] == name)["rows"]["public.ledger"]
    must(keep.host, "systemctl stop slipway-test-writer")
    kept = json.loads(keep.must_cli("--json", "restore", name))["kept_as"]
    last = int(keep.sql("SELECT max(id) FROM ledger"))
    assert int(keep.sql("SELECT count(*) FROM ledger")) == rows
    assert keep.ledger() == keep.ledger(kept, until=last)
    assert int(keep.sql("SELECT count(*) FROM ledger", kept)) > rows, "nothing was written meanwhile: the load was none"


def test_a_restore_can_be_taken_back_and_keeps_what_is_set(keep: Keep) -> None:
    """[D3] Settings and rights of the database itself are not in a dump."""
    keep.sql("ALTER ROLE demo IN DATABASE demo SET lock_timeout = '7s'; GRANT CONNECT ON DATABASE demo TO pg_monitor")
    keep.must_cli("create", "--database-only")
    before, shape = keep.sql("SELECT oid FROM pg_database WHERE datname = 'demo'"), keep.sql(SHAPE)
    kept = json.loads(keep.must_cli("--json", "restore", "latest"))["kept_as"]
    assert must(keep.host, "runuser -u demo -- psql -XAtq -h /run/postgresql -d demo -c 'SHOW lock_timeout'").strip() == "7s"
    assert keep.sql("SELECT has_database_privilege('pg_monitor', 'demo', 'CONNECT')") == "t"
    assert keep.sql(SHAPE) == shape
    keep.must_cli("undo", kept)
    assert keep.sql("SELECT oid FROM pg_database WHERE datname = 'demo'") == before
    (aside,) = keep.aside()
    keep.must_cli("drop", aside)
    assert keep.cli("drop", "demo").rc == 1
    keep.sql("ALTER ROLE demo IN DATABASE demo RESET lock_timeout; REVOKE CONNECT ON DATABASE demo FROM pg_monitor")


def test_a_database_that_was_lost_comes_back_as_the_roles_make_it(keep: Keep) -> None:
    """[D3] Rows, owner, order and rights: its reader is let in, and the next run of the roles has nothing to change."""
    keep.must_cli("create", "--database-only")
    shape, ledger = keep.sql(SHAPE), keep.ledger()
    keep.sql("DROP DATABASE demo WITH (FORCE)", "postgres")
    keep.must_cli("restore", "latest")
    assert (keep.sql(SHAPE), keep.ledger()) == (shape, ledger) and keep.aside() == []
    rows = must(keep.host, "runuser -u demo -- psql -XAtq -h /run/postgresql -U demo_readonly -d demo -c 'SELECT count(*) FROM ledger'")
    assert rows.strip() == ledger.split("|")[0]
    outcome = playbook("data", keep.host)
    assert outcome.status == 0 and " changed=0 " in outcome.output, str(outcome)


def test_a_backup_of_the_version_before_comes_back(keep: Keep) -> None:
    """[D3] As hosts have them: one file of pg_dump -Fc, nothing counted, nothing proven. It stays, is proven and restored."""
    name = f"{datetime.now(timezone.utc) - timedelta(days=3):%Y%m%dT%H%M%SZ}"
    folder = f"{keep.app.backups}/{name}"
    manifest = json.loads(must(keep.host, f"cat {keep.app.backups}/{keep.proven()[-1]}/manifest.json"))
    sizes = '{p: {"bytes": os.path.getsize(p), "sha256": hashlib.sha256(open(p, "rb").read()).hexdigest()} for p in sys.argv[1:]}'
    must(
        keep.host,
        f"mkdir -m 0700 {folder}; cd {folder}; runuser -u postgres -- pg_dump -Fc -h /run/postgresql demo > db.dump;"
        " tar -czf files.tar.gz -C / srv/uploads etc/demo",
    )
    files = json.loads(
        must(keep.host, f"cd {folder}; python3 -c 'import hashlib, json, os, sys; print(json.dumps({sizes}))' db.dump files.tar.gz")
    )
    since_then = ("digest", "kind", "compression", "rows", "provider", "locale", "roles")
    manifest = {key: value for key, value in manifest.items() if key not in since_then}
    manifest.update(name=name, format=1, files=files, bytes=sum(entry["bytes"] for entry in files.values()))
    must(keep.host, f"echo {shlex.quote(json.dumps(manifest))} > {folder}/manifest.json")
    ledger = keep.ledger()
    keep.sql("DELETE FROM ledger WHERE id % 2 = 0")
    keep.must_cli("create")
    assert name in [backup["name"] for backup in keep.listed()["backups"]] and name not in keep.proven()
    keep.must_cli("check", name)
    keep.must_cli("verify", name)
    assert name in keep.proven()
    keep.must_cli("restore", name)
    assert keep.ledger() == ledger


@pytest.mark.parametrize("file", ["db.dump/toc.dat", "db.dump/*.dat.zst", "files.tar.gz"])
def test_a_flipped_byte_is_found(keep: Keep, file: str) -> None:
    """[D3] Loud, counted for nothing, and the next run mends it."""
    keep.must_cli("create")
    name = keep.listed()["backups"][-1]["name"]
    good = keep.proven()
    keep.flip(must(keep.host, f"ls {keep.app.backups}/{name}/{file} | head -n 1").strip())
    result = keep.cli("verify")
    assert result.rc == 1 and f"{name} is no good" in result.stderr and f"{name} is no good" in keep.errors()
    assert keep.proven() == good
    assert keep.night() > name


def test_a_full_disk(keep: Keep) -> None:
    """[D3] On a disk of 20 MB: refused before, or ended in the middle; the good copy stays, and the next run succeeds."""
    must(keep.host, "mkdir -p /mnt/small && mount -t tmpfs -o size=20m tmpfs /mnt/small")
    config = json.loads(must(keep.host, f"cat {keep.config}"))
    config.update(backup_dir="/mnt/small", reserve_mb=0, proof=False)
    must(keep.host, f"mkdir -p /root/small && echo '{json.dumps(config)}' > /root/small/backup.json")
    try:
        keep.must_cli("create", config="/root/small/backup.json")
        keep.sql("CREATE TABLE big AS SELECT md5(random()::text) || md5(random()::text) AS x FROM generate_series(1, 700000)")
        result = keep.cli("create", config="/root/small/backup.json")
        assert result.rc == 1 and "No space left on device" in result.stderr, result.stderr
        assert "No space left on device" in keep.errors()
        (name,) = must(keep.host, "ls /mnt/small | grep Z").split()
        keep.must_cli("check", name, config="/root/small/backup.json")
        assert must(keep.host, "ls -A /mnt/small | grep partial || true") == ""
        keep.sql("DROP TABLE big")
        keep.must_cli("create", config="/root/small/backup.json")
    finally:
        keep.host.run("umount /mnt/small; rm -rf /root/small")
        keep.sql("DROP TABLE IF EXISTS big")


def test_without_room_for_a_restore_nothing_begins(keep: Keep) -> None:
    """[D3] The estimate comes first, for a backup, a proof and a restore."""
    config = json.loads(must(keep.host, f"cat {keep.config}"))
    config.update(reserve_mb=10**9)
    must(keep.host, f"echo '{json.dumps(config)}' > /root/greedy.json")
    for words in (["create"], ["verify"], ["restore", "latest"]):
        result = keep.cli(*words, config="/root/greedy.json")
        assert result.rc == 1 and "free some" in result.stderr, f"{words}: {result.stderr}"
