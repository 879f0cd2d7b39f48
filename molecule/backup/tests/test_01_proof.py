"""A backup counts once a restore has proven it; whatever goes wrong is found, told, harms no good copy, and is mended by the next night."""

from __future__ import annotations

import json

import pytest
from helpers import must
from nights import PROGRAM, Keep


def test_a_night_under_write_load_is_proven(keep: Keep, writer: None) -> None:
    """[D3] The rows were counted in the dump's own moment: with rows coming in all the time nothing else would be equal."""
    must(keep.host, "sleep 2")
    keep.must_cli("nightly")
    name = keep.proven()[-1]
    status = keep.status()
    assert status["last_verified"]["name"] == status["last_success"]["name"] == name and status["last_offsite"]["copied"] == [name]
    manifest = next(backup for backup in keep.listed()["backups"] if backup["name"] == name)
    assert manifest["rows"]["public.ledger"] > 100 and manifest["compression"].startswith("zstd")
    assert not keep.host.file("/var/lib/demo-proof").exists
    assert "postgres -D /var/lib/demo-proof" not in must(keep.host, "ps axww")


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
    before = keep.sql("SELECT oid FROM pg_database WHERE datname = 'demo'")
    kept = json.loads(keep.must_cli("--json", "restore", "latest"))["kept_as"]
    assert must(keep.host, "runuser -u demo -- psql -XAtq -h /run/postgresql -d demo -c 'SHOW lock_timeout'").strip() == "7s"
    assert keep.sql("SELECT has_database_privilege('pg_monitor', 'demo', 'CONNECT')") == "t"
    keep.must_cli("undo", kept)
    assert keep.sql("SELECT oid FROM pg_database WHERE datname = 'demo'") == before
    (aside,) = keep.sql("SELECT datname FROM pg_database WHERE datname ~ '^demo_before_'").split()
    keep.must_cli("drop", aside)
    assert keep.cli("drop", "demo").rc == 1


@pytest.mark.parametrize("file", ["db.dump/toc.dat", "db.dump/*.dat.zst", "files.tar.gz"])
def test_a_flipped_byte_is_found(keep: Keep, file: str) -> None:
    """[D3] Loud, counted for nothing, and the next night mends it."""
    keep.must_cli("create")
    name = keep.listed()["backups"][-1]["name"]
    good = keep.proven()
    keep.flip(must(keep.host, f"ls {keep.app.backups}/{name}/{file} | head -n 1").strip())
    result = keep.cli("verify")
    assert result.rc == 1 and f"{name} is no good" in result.stderr and f"{name} is no good" in keep.errors()
    assert keep.proven() == good
    keep.must_cli("nightly")
    assert keep.proven()[-1] > name


@pytest.mark.parametrize("seconds", [0.3, 0.8, 1.5, 2.5, 4.0])
def test_a_night_that_is_killed(keep: Keep, writer: None, seconds: float) -> None:
    """[D3] `kill -9` at five points: nothing looks like a backup that is none, nobody goes on writing, the next night clears up."""
    keep.must_cli("nightly")
    good = keep.proven()[-1]
    must(
        keep.host,
        f"systemd-run --quiet --collect --unit=slipway-test-night --property=KillMode=process {PROGRAM} --config {keep.config} nightly;"
        f" sleep {seconds}; systemctl kill --signal=KILL --kill-whom=main slipway-test-night; sleep 3",
    )
    assert "/var/lib/demo-proof" not in must(keep.host, "ps axww | grep -v grep"), "the throw-away cluster goes on"
    keep.must_cli("check", good)
    assert keep.listed()["damaged"] == []
    keep.must_cli("nightly")
    assert keep.partial() == "" and not keep.host.file("/var/lib/demo-proof").exists and keep.proven()[-1] > good


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
