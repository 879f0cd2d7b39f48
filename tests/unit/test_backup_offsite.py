"""Copies elsewhere: what goes there, what is removed there, and every way in which it can fail."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest
from ansible_collections.slipway.vps.plugins.module_utils.slipway.backup import offsite, rules
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core import clock, files

from .backup_play import Play, play

__all__ = ["play_host"]
PACK = "0123456789abcdef" * 4


@pytest.fixture(name="play")
def play_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Play:
    made = play(tmp_path, monkeypatch)
    made.copies_elsewhere()
    return made


def elsewhere(play: Play) -> dict[str, bool]:
    """Name of each backup that is there, and whether it is known there as proven."""
    metas = [json.loads(path.read_text()) for path in play.repository.glob("snapshots/*/meta")]
    return {tag: "proven" in meta["tags"] for meta in metas for tag in meta["tags"] if rules.taken_at(tag)}


def days_ago(days: float) -> str:
    return rules.backup_name(clock.utc_now() - timedelta(days=days))


# --- Pure ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("repository", "target"),
    [
        ("sftp:me@nas:/srv/x", "me@nas"),
        ("sftp://me@nas:2222//srv/x", "-p 2222 me@nas"),
        ("sftp:nas:/x", "nas"),
    ],
)
def test_an_sftp_server_is_never_asked_about(repository: str, target: str) -> None:
    """[D3] Cron cannot answer: with our key, with the server's that is known, or not at all."""
    command = offsite.sftp_command(repository, Path("/etc/demo/key"), Path("/etc/demo/hosts"))
    assert command.endswith(f"{target} -s sftp") and "BatchMode=yes" in command and "StrictHostKeyChecking=yes" in command
    assert "-i /etc/demo/key" in command and "UserKnownHostsFile=/etc/demo/hosts" in command


@pytest.mark.parametrize("repository", ["/mnt/nas", "s3:https://s3.example.com/b", "rest:https://h/"])
def test_other_places_need_no_ssh(repository: str) -> None:
    assert offsite.sftp_command(repository, None, None) == ""


def test_a_broken_configuration_is_named() -> None:
    with pytest.raises(rules.BackupError, match="copies elsewhere is not usable: KeyError"):
        offsite.Offsite.parse('{"repository": "/x"}')


def test_damaged_packs_are_found_in_what_restic_says() -> None:
    other = "f" * 64
    assert offsite.damaged_packs(f"error\nrun:\nrestic repair packs {PACK} {other}\nrestic repair snapshots --forget\n") == [PACK, other]
    assert offsite.damaged_packs("Fatal: repository contains errors") == []


# --- Copies -------------------------------------------------------------------------------------------


def test_a_night_copies_what_it_has_proven(play: Play) -> None:
    """[D3] The whole folder, as it was proven; known there as proven."""
    assert play.run("nightly") == 0
    (name,) = play.complete()
    assert elsewhere(play) == {name: True}
    (copy,) = play.repository.glob(f"snapshots/*/data{play.backups}/{name}")
    assert {str(path.relative_to(copy)) for path in copy.rglob("*") if path.is_file()} == {
        *("db.dump/1.dat", "db.dump/toc.dat", "files.tar.gz", "manifest.json", "proof.json")
    }
    assert play.status()["last_offsite"]["copied"] == [name]


@pytest.mark.parametrize("answers", [True, False])
def test_a_night_without_the_network(play: Play, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, answers: bool) -> None:
    """[D3 A9] In its sandbox it has the unit that may reach the network make the copies, and waits; a failure there is one of the night."""
    unit = tmp_path / "bin/systemctl"
    answer = f"cp {tmp_path}/copied {play.backups}/status.json" if answers else "echo 'Job for the unit failed.' >&2; exit 1"
    unit.write_text(f'#!/bin/sh\necho "$*" >>{tmp_path}/systemctl.log\n{answer}\n')
    unit.chmod(0o755)
    (tmp_path / "copied").write_text(json.dumps({"last_offsite": {"copied": ["x"]}}))
    monkeypatch.setenv("SLIPWAY_OFFSITE_UNIT", "demo-backup-offsite.service")
    assert play.run("nightly") == (0 if answers else 1)
    assert play.said("systemctl.log") == "start demo-backup-offsite.service\n" and elsewhere(play) == {}
    assert answers or "offsite: systemctl exited 1: Job for the unit failed." in play.said("log/backup.log")


def test_what_was_missed_is_made_up_for(play: Play) -> None:
    """[D3] Nights in which the place did not answer; neither bad backups nor restore points nor ones too old for there are copied."""
    fine = [play.fake(days_ago(days)).name for days in (3, 2)]
    play.fake(days_ago(1), proven=False)
    play.fake(days_ago(0.5), whole=False)
    play.fake(days_ago(100))
    assert play.run("offsite") == 0
    assert sorted(elsewhere(play)) == fine
    assert play.run("offsite") == 0
    assert play.said("restic.log").count(" backup ") == 2, "what is there already was copied again"


def test_a_copy_is_marked_once_its_backup_is_proven(play: Play) -> None:
    """[D3] Copied by hand, proven in the night."""
    assert play.run("create") == 0
    assert play.run("offsite") == 0
    (name,) = play.complete()
    assert elsewhere(play) == {name: False}
    assert play.run("verify") == 0
    assert play.run("offsite") == 0
    assert elsewhere(play) == {name: True}


def test_what_went_bad_here_does_not_become_the_copy(play: Play) -> None:
    """[D3] A flipped byte since the backup was taken."""
    folder = play.fake(days_ago(1))
    (folder / "files.tar.gz").write_text("files.tar.gx")
    assert play.run("offsite") == 1
    assert elsewhere(play) == {} and "sha256 differs" in play.status()["failures"]["offsite"]["reason"]


def test_old_copies_go_and_the_newest_proven_stays(play: Play) -> None:
    """[D3] The same rule as here, with days of its own."""
    play.copies_elsewhere(keep_days=1000)
    old, newer = play.fake(days_ago(200)).name, play.fake(days_ago(100)).name
    unproven = play.fake(days_ago(1), proven=None).name
    assert play.run("offsite") == 0 and sorted(elsewhere(play)) == [old, newer, unproven]
    play.copies_elsewhere()
    assert play.run("offsite") == 0
    assert sorted(elsewhere(play)) == [newer, unproven]
    assert play.said("restic.log").count(" prune") == 1 and play.status()["last_offsite"]["removed"] == [old]


def test_no_secret_is_an_argument(play: Play) -> None:
    """[D3] Everybody may read the arguments of a process."""
    assert play.run("nightly") == 0
    assert "correct horse" not in play.said("restic.log") and "--password-file" in play.said("restic.log")
    assert "correct horse" not in play.said("log/backup.log")


# --- Failures -----------------------------------------------------------------------------------------


def test_a_wrong_password_is_named_and_harms_nothing(play: Play, capsys: pytest.CaptureFixture[str]) -> None:
    """[D3] Loud, no second repository, the backup here is taken and proven all the same; the next run repairs."""
    assert play.run("nightly") == 0
    before = elsewhere(play)
    play.say("password", "another one\n")
    assert play.run("nightly") == 1
    assert "set backup_offsite_password" in capsys.readouterr().err
    assert "offsite" in play.status()["failures"] and elsewhere(play) == before and len(play.complete()) == 2
    play.say("password", "correct horse battery\n")
    assert play.run("nightly") == 0
    assert sorted(elsewhere(play)) == play.complete() and len(play.complete()) == 3


def test_a_place_that_does_not_answer_is_told_and_made_up_for(play: Play, capsys: pytest.CaptureFixture[str]) -> None:
    """[D3] S3 unreachable, on the first night and on a later one."""
    play.say("restic", "Fatal: unable to open config file: dial tcp 192.0.2.1:443: connect: connection refused")
    assert play.run("nightly") == 1
    assert "can be neither opened nor made" in capsys.readouterr().err
    play.say("restic", "")
    assert play.run("nightly") == 0
    assert sorted(elsewhere(play)) == play.complete() and len(play.complete()) == 2
    play.say("restic", "Fatal: unable to open config file: connection refused")
    assert play.run("nightly") == 1
    assert "does not answer as a repository any more" in capsys.readouterr().err and len(elsewhere(play)) == 2
    play.say("restic", "")
    assert play.run("nightly") == 0
    assert sorted(elsewhere(play)) == play.complete() and len(play.complete()) == 4


def test_a_place_that_hangs_is_told(play: Play, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """[D3] restic would try for a quarter of an hour."""
    (play.root / "bin/restic").write_text("#!/bin/sh\nexec sleep 60\n")
    monkeypatch.setattr(offsite, "ANSWER_WAIT", 0.3)
    assert play.run("offsite") == 1
    assert "restic had not ended after 0 s" in capsys.readouterr().err


def test_a_disk_that_is_not_mounted_is_no_new_repository(play: Play, capsys: pytest.CaptureFixture[str]) -> None:
    """[D3] An empty folder where the repository was: made anew, the copies would go to this host's own disk from now on."""
    assert play.run("nightly") == 0
    play.repository.rename(play.root / "unmounted")
    assert play.run("nightly") == 1
    assert "Is it mounted" in capsys.readouterr().err and not play.repository.exists()
    (play.root / "unmounted").rename(play.repository)
    assert play.run("nightly") == 0


def test_another_repository_in_its_place_is_noticed(play: Play, capsys: pytest.CaptureFixture[str]) -> None:
    assert play.run("nightly") == 0
    config = play.repository / "config"
    config.write_text(config.read_text().replace("repo1", "repo2"))
    assert play.run("offsite") == 1
    assert "another repository than last time" in capsys.readouterr().err
    (play.backups / "offsite.json").unlink()
    assert play.run("offsite") == 0


def test_a_flipped_byte_in_the_repository_is_found_and_repaired_by_the_next_run(play: Play, capsys: pytest.CaptureFixture[str]) -> None:
    """[D3] Nothing is removed there meanwhile; what is still here fills the holes."""
    assert play.run("nightly") == 0
    (play.repository / "broken").write_text(PACK)
    assert play.run("nightly") == 1
    assert "is damaged" in capsys.readouterr().err and " forget " not in play.said("restic.log")
    assert play.run("nightly") == 0
    assert f" repair packs {PACK}" in play.said("restic.log") and play.said("restic.log").count(" --force ") == 3
    assert sorted(elsewhere(play)) == play.complete() and len(list(play.repository.glob("snapshots/*"))) == 3, "doubles stayed"
    assert play.run("nightly") == 0
    assert play.said("restic.log").count(" repair ") == 1
    assert not (Path("/") / f"pack-{PACK}").exists(), "restic has left what it took out"


def test_each_part_of_the_data_is_read_in_turn(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    """[D3] All of it within a week."""
    today = clock.utc_now()
    for day in range(7):
        monkeypatch.setattr(clock, "utc_now", lambda day=day: today + timedelta(days=day))
        assert play.run("offsite") == 0
    parts = {word for line in play.said("restic.log").splitlines() for word in line.split() if word.startswith("--read-data-subset=")}
    assert parts == {f"--read-data-subset={part}/7" for part in range(1, 8)}


# --- Back ---------------------------------------------------------------------------------------------


def test_a_copy_comes_back_to_another_host(play: Play, capsys: pytest.CaptureFixture[str]) -> None:
    """[D3] The disk is gone; what remains is the repository and its password."""
    assert play.run("nightly") == 0
    (name,) = play.complete()
    files.remove(play.backups)
    play.backups.mkdir()
    assert play.run("offsite-list") == 0 and f"{name}  0" in capsys.readouterr().out
    assert play.run("fetch", "latest") == 0
    assert play.complete() == [name] and play.partial() == []
    assert play.run("check", name) == 0 and play.run("restore", "latest", "--files") == 0


def test_a_damaged_backup_is_replaced_by_its_copy(play: Play) -> None:
    assert play.run("nightly") == 0
    (name,) = play.complete()
    (play.backups / name / "db.dump/1.dat").unlink()
    assert play.run("restore", name) == 1
    assert play.run("fetch", name) == 0
    assert play.run("restore", name) == 0


def test_a_damaged_copy_does_not_come_back(play: Play) -> None:
    """[D3] Whole or not at all."""
    assert play.run("nightly") == 0
    (name,) = play.complete()
    for path in play.repository.glob("snapshots/*/data/**/1.dat"):
        path.write_text("the-roes\n")
    files.remove(play.backups / name)
    assert play.run("fetch", name) == 1
    assert play.complete() == [] and play.partial() == [] and "fetch" in play.status()["failures"]


def test_without_copies_elsewhere_it_says_what_to_set(play: Play, capsys: pytest.CaptureFixture[str]) -> None:
    play.offsite = None
    assert play.run("fetch", "latest") == 1
    assert "set backup_offsite_repository" in capsys.readouterr().err
    assert play.run("nightly") == 0
