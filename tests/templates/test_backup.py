"""What the role backup writes: the program reads it, and secrets stand in files of their own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ansible_collections.slipway.vps.plugins.module_utils.slipway.backup.config import Config
from ansible_collections.slipway.vps.plugins.module_utils.slipway.backup.offsite import Offsite, sftp_command
from ansible_collections.slipway.vps.plugins.module_utils.slipway.backup.rules import BackupError
from render import render, value

CANARY = "canary-0f1e2d3c4b5a"
FOLDER = "etc/app"


def test_the_program_reads_its_configuration() -> None:
    """[D3] Every field, in its own type, also where -e gave text."""
    text = render("backup", f"{FOLDER}/backup.json.j2", backup_proof="no", backup_jobs="4", backup_keep_count="2", backup_compression=9)
    config = Config.parse(text)
    assert (config.proof, config.jobs, config.keep_count, config.compression) == (False, 4, 2, "9")
    assert config.proof_dir == Path("/var/lib/demo-proof/work") and config.user == config.database == "demo"


@pytest.mark.parametrize("name", ["keep_days", "keep_count", "jobs"])
def test_numbers_that_would_keep_nothing_are_refused(name: str) -> None:
    """[D3] The program does not rely on the role."""
    data = json.loads(render("backup", f"{FOLDER}/backup.json.j2"))
    with pytest.raises(BackupError, match=f"{name} is 0: at least 1"):
        Config.parse(json.dumps({**data, name: 0}))


def test_the_program_reads_how_copies_are_made() -> None:
    """[D3] SFTP with a key and a known server."""
    text = render(
        "backup",
        f"{FOLDER}/backup-offsite.json.j2",
        backup_offsite_repository="sftp:me@nas:/srv/x",
        backup_offsite_ssh_key=CANARY,
        backup_offsite_known_hosts="nas ssh-ed25519 AAAA",
        backup_offsite_password=CANARY,
        backup_offsite_options=["--limit-upload=1000"],
    )
    offsite = Offsite.parse(text)
    assert offsite.options == ("--limit-upload=1000",) and offsite.environment == {} and offsite.check_days == 7
    command = sftp_command(offsite.repository, offsite.ssh_key, offsite.known_hosts)
    assert "-i /etc/demo/backup-offsite.key" in command and "UserKnownHostsFile=/etc/demo/backup-offsite.known_hosts" in command
    assert CANARY not in text


def test_keys_of_a_bucket_stand_in_a_file_of_their_own() -> None:
    """[D3] A variable of the environment can be read in /proc; the operator's own variables join it."""
    given = {
        "backup_offsite_s3_key_id": "AKIA1",
        "backup_offsite_s3_secret": CANARY,
        "backup_offsite_environment": {"AWS_DEFAULT_REGION": "eu"},
    }
    text = render("backup", f"{FOLDER}/backup-offsite.json.j2", **given)
    environment = Offsite.parse(text).environment
    assert environment == {"AWS_DEFAULT_REGION": "eu", "AWS_SHARED_CREDENTIALS_FILE": "/etc/demo/backup-offsite.s3"}
    assert CANARY not in text
    lines = render("backup", f"{FOLDER}/backup-offsite.s3.j2", **given).splitlines()
    assert lines[-3:] == ["[default]", "aws_access_key_id = AKIA1", f"aws_secret_access_key = {CANARY}"]


def test_the_password_is_the_first_line() -> None:
    """restic takes it without what follows."""
    assert render("backup", f"{FOLDER}/backup-offsite.password.j2", backup_offsite_password=CANARY) == f"{CANARY}\n"
    key = "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----"
    assert render("backup", f"{FOLDER}/backup-offsite.key.j2", backup_offsite_ssh_key=f"{key}\n\n") == f"{key}\n"


def test_every_file_of_the_copies_has_its_template() -> None:
    files = value("backup", "__backup_offsite_files")
    assert len(files) == 5
    for name in files:
        assert render("backup", f"{FOLDER}/{name}.j2")


CLUSTER = {"version": "17", "cluster": "main", "port": "5432", "pgdata": "/var/lib/postgresql/17/main"}


def lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def test_pgbackrest_knows_the_cluster_and_what_to_keep() -> None:
    """[D3] Without a password nothing is said of a cipher; the operator has the last word."""
    plain = lines(render("backup", "etc/pgbackrest/conf.d/app.conf.j2", __backup_cluster=CLUSTER, app_name="my-app"))
    assert plain[:4] == ["[my-app]", "pg1-path=/var/lib/postgresql/17/main", "pg1-port=5432", "pg1-socket-path=/run/postgresql"]
    assert "repo1-retention-full=2" in plain and not any("cipher" in line for line in plain)
    options = {"repo1-type": "s3", "repo1-storage-verify-tls": False, "process-max": 1}
    ours = lines(
        render(
            "backup",
            "etc/pgbackrest/conf.d/app.conf.j2",
            __backup_cluster=CLUSTER,
            backup_pgbackrest_cipher_pass=CANARY,
            backup_pgbackrest_options=options,
        )
    )
    assert ["repo1-cipher-type=aes-256-cbc", f"repo1-cipher-pass={CANARY}"] == [line for line in ours if "cipher" in line]
    assert ours[-3:] == ["process-max=1", "repo1-storage-verify-tls=n", "repo1-type=s3"]


@pytest.mark.parametrize(
    ("said", "version"),
    [
        ('[{"name": "demo", "db": [{"id": 1, "version": "15"}, {"id": 2, "version": "17"}], "status": {"code": 0}}]', "17"),
        # Nothing yet, a stanza without a database, a dry run.
        *(("[]", ""), ('[{"name": "demo", "db": [], "status": {"code": 1}}]', ""), ("", "")),
    ],
)
def test_the_archive_knows_which_version_it_is_of(said: str, version: str) -> None:
    """[D3] It is told when the data were moved to another one: pgbackrest would refuse every segment."""
    assert value("backup", "__backup_archived_version", __backup_copies={"stdout": said}) == version


def test_postgres_archives_within_the_minute() -> None:
    """[D3] What is lost at most when the disk is."""
    text = render("backup", "etc/postgresql/version/cluster/conf.d/slipway-backup.conf.j2", app_name="my-app")
    assert lines(text) == [
        "archive_mode = on",
        "archive_command = 'pgbackrest --stanza=my-app archive-push %p'",
        "archive_timeout = 50",
    ]
    assert "slipway:backup" in text


def test_the_database_of_another_host_is_reached_as_its_url_says() -> None:
    """[D3] The password stands in root's file alone, and is what the URL's escapes stand for."""
    url = f"postgresql://blog_1:{CANARY}%2F%40@db.example.com:6432/blog?sslmode=verify-full&sslrootcert=/etc/ssl/x.crt"
    text = render("backup", f"{FOLDER}/backup.json.j2", app_database_url=url)
    config = Config.parse(text)
    assert (config.database, config.role, config.user) == ("blog", "blog_1", "demo")
    assert config.service == Path("/etc/demo/backup-database.service") and CANARY not in text
    assert lines(render("backup", f"{FOLDER}/backup-database.service.j2", app_database_url=url)) == [
        *("[slipway]", "host=db.example.com", "port=6432", "user=blog_1", f"password={CANARY}/@"),
        *("sslmode=verify-full", "sslrootcert=/etc/ssl/x.crt"),
    ]


def test_the_database_of_this_host_needs_no_password() -> None:
    config = Config.parse(render("backup", f"{FOLDER}/backup.json.j2"))
    assert config.service is None and (config.database, config.role) == ("demo", "demo")
