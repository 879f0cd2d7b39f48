"""Copies elsewhere: in a folder and in a bucket; every way in which they fail; and no secret where others can read it."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from helpers import must
from nights import PROGRAM, Keep

BUCKET = "s3:https://acme:9000/copies"
CANARIES = ("canary-5e6f", "canary-7a8b", "canary-9c0d")


def apart(keep: Keep, name: str, repository: str) -> Keep:
    """Backups in a folder of their own, copied to a repository of their own: what other tests left is not copied each time."""
    folder = f"/root/{name}"
    made = replace(keep, app=replace(keep.app, backups=f"{folder}/backups"), config=f"{folder}/backup.json")
    must(keep.host, f"mkdir -p -m 0700 {folder} {made.app.backups}")
    for file, change in (
        ("backup.json", {"backup_dir": made.app.backups, "engine": "dump"}),
        ("backup-offsite.json", {"repository": repository}),
    ):
        settings = {**json.loads(must(keep.host, f"cat /etc/demo/{file}")), **change}
        must(keep.host, f"echo '{json.dumps(settings)}' > {folder}/{file}")
    return made


@pytest.fixture
def folder(keep: Keep) -> Keep:
    """Backups whose copies go to a disk that is mounted in /mnt/elsewhere."""
    return apart(keep, "folder", "/mnt/elsewhere/apart")


@pytest.fixture
def bucket(keep: Keep) -> Keep:
    """Backups whose copies go to the S3 server, which has a bucket."""
    # Python 3.13 is stricter about a test's certificate than restic, which does check it.
    ask = "https://acme:9000/copies', method='PUT'), context=ssl._create_unverified_context())"
    put = f"import ssl, urllib.request as u; u.urlopen(u.Request('{ask}"
    must(keep.host, f'for n in $(seq 60); do python3 -c "{put}" 2>/dev/null && exit 0; sleep 1; done; python3 -c "{put}"')
    return apart(keep, "bucket", BUCKET)


def copies(keep: Keep) -> dict[str, bool]:
    return {copy["name"]: copy["proven"] for copy in json.loads(keep.must_cli("--json", "offsite-list"))["copies"]}


def comes_back(keep: Keep, name: str) -> None:
    """The host loses a backup, and gets it from elsewhere."""
    must(keep.host, f"rm -r {keep.app.backups}/{name}")
    keep.must_cli("fetch", name)
    keep.must_cli("check", name)


def test_a_copy_brings_back_what_the_host_lost(folder: Keep) -> None:
    """[D3] The folder of the backup is gone; what comes back can be restored."""
    name = folder.night()
    folder.must_cli("offsite")
    assert copies(folder)[name] is True
    comes_back(folder, name)
    folder.must_cli("verify", name)


def test_a_wrong_password(folder: Keep) -> None:
    """[D3] Named; the repository stays what it is."""
    before = copies(folder)
    must(folder.host, "mv /etc/demo/backup-offsite.password /root/p && echo another > /etc/demo/backup-offsite.password")
    try:
        result = folder.cli("offsite")
    finally:
        must(folder.host, "mv /root/p /etc/demo/backup-offsite.password")
    assert result.rc == 1 and "set backup_offsite_password" in result.stderr and "does not open" in folder.errors()
    assert "offsite" in folder.status()["failures"] and copies(folder) == before


def test_a_disk_that_is_not_mounted(folder: Keep) -> None:
    """[D3] No new repository in the empty folder."""
    must(folder.host, "mv /mnt/elsewhere /mnt/away && mkdir /mnt/elsewhere")
    try:
        result = folder.cli("offsite")
        assert result.rc == 1 and "Is it mounted" in result.stderr and "Is it mounted" in folder.errors()
        assert must(folder.host, "ls -A /mnt/elsewhere") == ""
    finally:
        must(folder.host, "rmdir /mnt/elsewhere && mv /mnt/away /mnt/elsewhere")
    folder.must_cli("offsite")


def test_a_flipped_byte_in_the_repository(folder: Keep) -> None:
    """[D3] Found by the next check, repaired by the run after it, and everything that is still here is there again."""
    name = folder.night()
    folder.must_cli("offsite")
    folder.flip(must(folder.host, "find /mnt/elsewhere/apart/data -type f -size +10k | head -n 1").strip())
    result = folder.cli("offsite")
    assert result.rc == 1 and "is damaged" in result.stderr and "is damaged" in folder.errors(), result.stderr
    folder.must_cli("offsite")
    comes_back(folder, name)


def test_a_bucket_holds_copies_too(bucket: Keep) -> None:
    """[D3] S3 behind TLS."""
    name = bucket.night()
    bucket.must_cli("offsite")
    assert copies(bucket)[name] is True
    comes_back(bucket, name)


def test_a_bucket_that_cannot_be_reached(bucket: Keep) -> None:
    """[D3] Told within minutes; the backup here is taken and proven; the next run makes up for it."""
    good = copies(bucket)
    # The name leads to a port where nobody listens. Two minutes of patience are a default; a test has less.
    settings = "/root/bucket/backup-offsite.json"
    less = f'sed -i.bak \'s/"answer_wait": [0-9]*/"answer_wait": 5/\' {settings}'
    must(bucket.host, f"{less}; cp /etc/hosts /root/hosts; echo 127.0.0.1 acme > /etc/hosts")
    try:
        result = bucket.cli("nightly")
    finally:
        must(bucket.host, f"cat /root/hosts > /etc/hosts; mv {settings}.bak {settings}")
    name = bucket.proven()[-1]
    assert result.rc == 1 and "does not answer as a repository any more" in result.stderr and "offsite failed" in bucket.errors()
    assert "offsite" in bucket.status()["failures"] and bucket.status()["last_success"]["name"] == name
    assert copies(bucket) == good and name not in good
    bucket.must_cli("offsite")
    assert copies(bucket)[name] is True


def test_the_night_as_cron_starts_it(keep: Keep) -> None:
    """[D3 A9] In its unit, which reaches no network; the copies are made by one of their own, which can do little else."""
    result = keep.host.run("systemctl start demo-backup.service")
    assert result.rc == 0, keep.host.run("journalctl --no-pager -n 40 -t demo-backup -u 'demo-backup*'").stdout
    status = keep.status()
    # A restore that was refused, by a test before, is no step of the night.
    assert status["last_success"]["name"] in status["last_offsite"]["copied"] and set(status.get("failures", {})) <= {"restore"}, status
    assert must(keep.host, "systemctl show -P Result -P PrivateNetwork demo-backup.service").split() == ["success", "yes"]
    assert must(keep.host, "systemctl show -P Result demo-backup-offsite.service").strip() == "success"


def test_no_secret_can_be_read_by_others(keep: Keep) -> None:
    """[D3 A11] Not in a process list with environments, the journal, a unit, a log, or a name."""
    watch = "while :; do ps axeww; done > /root/seen 2>&1 & watcher=$!"
    must(keep.host, f"{watch}; {PROGRAM} --config {keep.config} nightly >/root/said 2>&1; kill $watcher")
    # It has seen them all, and what their environment says.
    must(
        keep.host,
        "grep -q AWS_SHARED_CREDENTIALS_FILE /root/seen && grep -q 'pgbackrest .*backup' /root/seen && grep -q 'restic .*check' /root/seen",
    )
    for canary in CANARIES:
        assert keep.host.run(f"grep -rl {canary} /root/seen /root/said /var/log").stdout == "", canary
        assert canary not in must(keep.host, "journalctl --no-pager -b") + must(keep.host, "systemctl show '*'")
        assert must(keep.host, f"find /var/backups /var/lib/pgbackrest /mnt/elsewhere -name '*{canary}*'") == ""
        holders = must(keep.host, f"grep -rl {canary} /etc/demo /etc/pgbackrest | xargs -r stat -c '%U %a %n'").splitlines()
        assert holders and all(line.startswith(("root 600 ", "root 640 /etc/pgbackrest/")) for line in holders), holders
