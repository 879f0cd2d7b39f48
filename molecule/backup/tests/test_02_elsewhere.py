"""Copies elsewhere: in a folder and in a bucket; every way in which they fail; and no secret where others can read it."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from helpers import must
from nights import PROGRAM, Keep

FOLDER = "/mnt/elsewhere/demo"
BUCKET = "s3:https://acme:9000/copies"
CANARIES = ("canary-5e6f", "canary-7a8b", "canary-9c0d")


@pytest.fixture
def bucket(keep: Keep) -> Iterator[str]:
    """A configuration whose copies go to the S3 server, which has a bucket."""
    folder = "/root/bucket"
    must(keep.host, f"mkdir -p {folder} && cp /etc/demo/backup.json {folder}/")
    settings = json.loads(must(keep.host, "cat /etc/demo/backup-offsite.json"))
    settings["repository"] = BUCKET
    must(keep.host, f"echo '{json.dumps(settings)}' > {folder}/backup-offsite.json")
    must(keep.host, f"mv {keep.app.backups}/offsite.json {folder}/ 2>/dev/null || true")
    # Not the program that is tested: Python 3.13 is stricter about a test's certificate than restic, which does check it.
    ask = "https://acme:9000/copies', method='PUT'), context=ssl._create_unverified_context())"
    put = f"import ssl, urllib.request as u; u.urlopen(u.Request('{ask}"
    must(keep.host, f'for n in $(seq 60); do python3 -c "{put}" 2>/dev/null && exit 0; sleep 1; done; python3 -c "{put}"')
    yield f"{folder}/backup.json"
    must(keep.host, f"rm -f {keep.app.backups}/offsite.json; mv {folder}/offsite.json {keep.app.backups}/ 2>/dev/null || true")


def copies(keep: Keep, config: str = "") -> dict[str, bool]:
    listed = json.loads(keep.must_cli("--json", "offsite-list", config=config))["copies"]
    return {copy["name"]: copy["proven"] for copy in listed}


def test_a_copy_brings_back_what_the_host_lost(keep: Keep) -> None:
    """[D3] The folder of the backups is gone."""
    name = keep.night()
    keep.must_cli("offsite")
    assert copies(keep)[name] is True
    must(keep.host, f"rm -r {keep.app.backups}/{name}")
    keep.must_cli("fetch", name)
    keep.must_cli("check", name)
    keep.must_cli("verify", name)


def test_a_bucket_holds_copies_too(keep: Keep, bucket: str) -> None:
    """[D3] S3 behind TLS."""
    name = keep.night()
    keep.must_cli("offsite", config=bucket)
    assert copies(keep, bucket)[name] is True
    must(keep.host, f"rm -r {keep.app.backups}/{name}")
    keep.must_cli("fetch", name, config=bucket)
    keep.must_cli("check", name)


def test_a_bucket_that_cannot_be_reached(keep: Keep, bucket: str) -> None:
    """[D3] Told within minutes; the backup here is taken and proven; the next run makes up for it."""
    keep.must_cli("offsite", config=bucket)
    good = copies(keep, bucket)
    # The name leads to a port where nobody listens. Two minutes of patience are a default; a test has less.
    settings = bucket.replace("backup.json", "backup-offsite.json")
    must(
        keep.host,
        f'sed -i \'s/"answer_wait": [0-9]*/"answer_wait": 5/\' {settings}; cp /etc/hosts /root/hosts; echo 127.0.0.1 acme > /etc/hosts',
    )
    try:
        result = keep.cli("nightly", config=bucket)
    finally:
        must(keep.host, "cat /root/hosts > /etc/hosts")
    name = keep.proven()[-1]
    assert result.rc == 1 and "does not answer as a repository any more" in result.stderr and "offsite failed" in keep.errors()
    assert keep.status()["last_failure"]["step"] == "offsite" and keep.status()["last_success"]["name"] == name
    must(keep.host, f'sed -i \'s/"answer_wait": 5/"answer_wait": 120/\' {settings}')
    assert copies(keep, bucket) == good and name not in good
    keep.must_cli("offsite", config=bucket)
    assert copies(keep, bucket)[name] is True


def test_a_wrong_password(keep: Keep) -> None:
    """[D3] Named; the repository stays what it is."""
    keep.must_cli("offsite")
    before = copies(keep)
    must(keep.host, "mv /etc/demo/backup-offsite.password /root/p && echo another > /etc/demo/backup-offsite.password")
    try:
        result = keep.cli("offsite")
    finally:
        must(keep.host, "mv /root/p /etc/demo/backup-offsite.password")
    assert result.rc == 1 and "set backup_offsite_password" in result.stderr and "does not open" in keep.errors()
    assert copies(keep) == before


def test_a_flipped_byte_in_the_repository(keep: Keep) -> None:
    """[D3] Found by the next check, repaired by the run after it, and everything that is still here is there again."""
    name = keep.night()
    keep.must_cli("offsite")
    keep.flip(must(keep.host, f"find {FOLDER}/data -type f -size +10k | head -n 1").strip())
    result = keep.cli("offsite")
    assert result.rc == 1 and "is damaged" in result.stderr, result.stderr
    keep.must_cli("offsite")
    must(keep.host, f"rm -r {keep.app.backups}/{name}")
    keep.must_cli("fetch", name)
    keep.must_cli("check", name)


def test_a_disk_that_is_not_mounted(keep: Keep) -> None:
    """[D3] No new repository in the empty folder."""
    keep.must_cli("offsite")
    must(keep.host, "mv /mnt/elsewhere /mnt/away && mkdir /mnt/elsewhere")
    try:
        result = keep.cli("offsite")
        assert result.rc == 1 and "Is it mounted" in result.stderr
        assert must(keep.host, "ls -A /mnt/elsewhere") == ""
    finally:
        must(keep.host, "rmdir /mnt/elsewhere && mv /mnt/away /mnt/elsewhere")


def test_no_secret_can_be_read_by_others(keep: Keep) -> None:
    """[D3] [S9] Not in a process list with environments, the journal, a unit, a log, or a name."""
    watch = "for i in $(seq 200); do ps axeww; sleep 0.05; done > /root/seen 2>&1"
    must(keep.host, f"({watch}) & {PROGRAM} --config {keep.config} nightly >/root/said 2>&1; wait")
    assert "restic" in must(keep.host, "grep -c restic /root/seen && grep -o 'restic --repo' /root/seen | head -n 1")
    for canary in CANARIES:
        places = "/root/seen /root/said /var/log"
        assert keep.host.run(f"grep -rl {canary} {places}").stdout == "", canary
        assert canary not in must(keep.host, "journalctl --no-pager -b")
        open_files = must(keep.host, f"grep -rl {canary} /etc/demo /etc/pgbackrest | xargs -r stat -c '%U %a %n'")
        assert all(line.startswith(("root 600 ", "root 640 /etc/pgbackrest/")) for line in open_files.splitlines()) and open_files, (
            open_files
        )
