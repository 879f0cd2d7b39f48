"""Any moment comes back exactly; what is written reaches the archive within the minute; a hole in it is found and mended."""

from __future__ import annotations

import json
import time

import pytest
from helpers import FULL, must, until
from nights import Keep

#: Moments that are tried.
MOMENTS = 20 if FULL else 3
ARCHIVE = "/var/lib/pgbackrest/archive/demo"


def test_any_moment_comes_back_exactly(keep: Keep, writer: None) -> None:
    """[D3] Row by row, at moments of which nobody knew before; the live database is put aside and comes back each time."""
    must(keep.host, "sleep 1")
    keep.must_cli("pitr")
    begin = keep.sql("SELECT max(id) FROM ledger")
    must(keep.host, "sleep 3")
    keep.must_cli("pitr")
    must(keep.host, "sleep 3; systemctl stop slipway-test-writer")
    # What it began last is committed, or gone.
    writing = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'demo' AND backend_type = 'client backend' AND state <> 'idle'"
    assert until(lambda: keep.sql(writing) == "0")
    rows = int(keep.sql("SELECT count(*) FROM ledger"))
    for _ in range(MOMENTS):
        # Just before a row, when the one before it is committed (one session writes them in turn): a row counts by its commit, and
        # says when it began.
        query = (
            "SELECT to_char((at - interval '1 microsecond') AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US')"
            f" FROM ledger WHERE id > {begin} + 1 ORDER BY random() LIMIT 1"
        )
        moment = keep.sql(query)
        name = json.loads(keep.must_cli("--json", "recover", f"'{moment}'"))["name"]
        kept = json.loads(keep.must_cli("--json", "restore", name))["kept_as"]
        checksum = "SELECT count(*), md5(string_agg(id || '@' || at, ',' ORDER BY id)) FROM ledger"
        assert keep.sql(checksum) == keep.sql(f"{checksum} WHERE at <= '{moment}+00'", kept), f"{moment}: not how it was"
        keep.must_cli("undo", kept)
        assert int(keep.sql("SELECT count(*) FROM ledger")) == rows
        must(keep.host, f"rm -r {keep.app.backups}/{name}")
        for aside in keep.sql("SELECT datname FROM pg_database WHERE datname ~ '^demo_before_'").split():
            keep.must_cli("drop", aside)


def test_what_is_written_is_in_the_archive_in_time(keep: Keep) -> None:
    """[D3] RPO. A row in a database where nothing else happens: no segment gets full by itself."""
    limit = int(keep.sql("SELECT extract(epoch FROM current_setting('archive_timeout')::interval)::int"))
    assert limit == (50 if FULL else 5)
    keep.sql("INSERT INTO ledger DEFAULT VALUES")
    segment = keep.sql("SELECT pg_walfile_name(pg_current_wal_lsn())")
    # The default leaves ten seconds of the minute to the server, which looks at the clock now and then, and to pgbackrest.
    deadline = time.monotonic() + limit + 60
    while keep.sql("SELECT last_archived_wal FROM pg_stat_archiver") < segment:
        assert time.monotonic() < deadline, f"{segment} is not in the archive after {limit + 60} s"
        time.sleep(0.5)


@pytest.mark.parametrize("trouble", ["missing segment", "flipped byte"])
def test_a_hole_is_found_and_mended(keep: Keep, trouble: str) -> None:
    """[D3] The night fails, loudly, and takes a whole copy; the next one is fine, and so is a moment after it."""
    keep.must_cli("pitr")
    for _ in range(3):
        keep.sql("INSERT INTO ledger SELECT FROM generate_series(1, 1000)")
        segment = keep.sql("SELECT pg_walfile_name(pg_switch_wal())")
    assert until(lambda: keep.sql("SELECT last_archived_wal FROM pg_stat_archiver") >= segment, 120), segment
    if trouble == "missing segment":
        must(keep.host, f"rm $(find {ARCHIVE} -type f -name '0*.zst' | sort | tail -n 2 | head -n 1)")
    else:
        keep.flip(must(keep.host, "find /var/lib/pgbackrest/backup/demo -type f -name '*.zst' -size +20k | sort | tail -n 1").strip())
    result = keep.cli("pitr")
    assert result.rc == 1 and "was taken anew, whole" in result.stderr and "cannot be recovered" in keep.errors(), result.stderr
    keep.must_cli("pitr")
    # Nothing is written after it, as at night.
    moment = keep.sql("SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US')")
    rows = int(keep.sql("SELECT count(*) FROM ledger"))
    must(keep.host, "sleep 1")
    assert json.loads(keep.must_cli("--json", "recover", f"'{moment}'"))["rows"]["public.ledger"] == rows
