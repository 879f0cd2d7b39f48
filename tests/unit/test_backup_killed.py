"""`kill -9` after each thing that the backup program does: the last good copy stays, and the next run repairs.

Of the two longest runs the short form takes every fourth point; SLIPWAY_FULL=1 takes all of them.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from ansible_collections.slipway.vps.plugins.module_utils.slipway.backup import rules
from ansible_collections.slipway.vps.plugins.module_utils.slipway.backup.store import Backups
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core import clock

from .backup_play import KilledError, Play, play

__all__ = ["play_host"]
GOOD = "20260101T000000Z"
OLDER = "20250101T000000Z"
#: Of so many points one is taken.
STEP = 1 if os.environ.get("SLIPWAY_FULL") == "1" else 4


@pytest.fixture(name="play")
def play_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Play:
    made = play(tmp_path, monkeypatch)
    # A second between two names would be waited for at each of a hundred kills.
    counter = iter(range(10**6))
    start = clock.utc_now()
    monkeypatch.setattr(clock, "utc_now", lambda: start + timedelta(seconds=next(counter)))
    return made


@pytest.fixture
def start(play: Play) -> Callable[[], None]:
    """The same host each time: one proven backup, one that it has replaced, a live database; uploads."""

    def fresh() -> None:
        play.lives = None
        for folder in (play.backups, play.databases, play.repository, play.root / "proof"):
            shutil.rmtree(folder, ignore_errors=True)
        (play.databases / "demo").mkdir(parents=True)
        (play.databases / "demo/live").touch()
        play.backups.mkdir()
        play.fake(OLDER)
        play.fake(GOOD)
        (play.shared / "upload.txt").write_text("hello")

    return fresh


def last_good_is_intact(play: Play) -> None:
    """Complete, proven, and each file as it was written."""
    manifest = Backups.read_manifest(play.backups / GOOD)
    assert manifest is not None
    Backups.verify_files(play.backups / GOOD, manifest)
    assert json.loads((play.backups / GOOD / "proof.json").read_text())["good"] is True


def whole_or_nothing(play: Play) -> Iterator[str]:
    """Whatever is named like a backup is one."""
    for name in play.complete():
        assert Backups.read_manifest(play.backups / name), f"{name} is half a backup"
        yield name


def test_the_killing_kills(play: Play, start: Callable[[], None]) -> None:
    """Nothing happens after it, not even in a `finally`: the unfinished backup is still there."""
    start()
    play.lives = 3
    with pytest.raises(KilledError):
        play.run("create")
    assert len(play.did) == 3 and play.partial()


def test_a_backup_that_is_killed_anywhere(play: Play, start: Callable[[], None]) -> None:
    """[D3] Whole or nothing, the last good copy stays, the next run finishes and clears up."""
    for when in play.killed_anywhere("create", fresh=start):
        last_good_is_intact(play)
        list(whole_or_nothing(play))
        assert play.run("create") == 0, when
        assert play.partial() == [], when
        last_good_is_intact(play)


def test_a_night_that_is_killed_anywhere(play: Play, start: Callable[[], None]) -> None:
    """[D3] One step after the other; each of them is killed after everything it does by a test of its own."""
    play.copies_elsewhere(keep_days=10**5)
    for when in play.killed_anywhere("nightly", fresh=start, step=STEP):
        if GOOD in play.complete():
            last_good_is_intact(play)
        else:
            # Replaced: then by one that is proven.
            proofs = [json.loads(path.read_text()) for path in play.backups.glob("[0-9]*/proof.json")]
            assert any(proof["good"] for proof in proofs), when
        list(whole_or_nothing(play))
        assert (play.databases / "demo/live").exists(), when
        assert play.run("nightly") == 0, f"{when}: {play.said('log/backup.log')[-500:]}"
        assert play.partial() == [] and not (play.root / "proof").exists(), when
        assert play.there() == ["demo"], when
        there = [json.loads(path.read_text()) for path in play.repository.glob("snapshots/*/meta")]
        newest = play.complete()[-1]
        assert [meta for meta in there if newest in meta["tags"] and "proven" in meta["tags"]], when


def test_a_proof_that_is_killed_anywhere_says_nothing_wrong(play: Play, start: Callable[[], None]) -> None:
    """[D3] The backup is as proven, or as little, as before; the next proof clears up."""

    def unproven() -> None:
        start()
        assert play.run("create") == 0

    for when in play.killed_anywhere("verify", fresh=unproven, step=STEP):
        proof = play.backups / play.complete()[-1] / "proof.json"
        assert not proof.exists() or json.loads(proof.read_text())["good"] is True, when
        assert play.run("verify") == 0, when
        assert not (play.root / "proof").exists() and json.loads(proof.read_text())["good"] is True, when


def test_a_copy_that_is_killed_anywhere_is_made_by_the_next_run(play: Play, start: Callable[[], None]) -> None:
    """[D3] All that is here is there, known as proven, and once."""
    play.copies_elsewhere(keep_days=10**5)
    for when in play.killed_anywhere("offsite", fresh=start):
        last_good_is_intact(play)
        assert play.run("offsite") == 0, when
        metas = [json.loads(path.read_text()) for path in play.repository.glob("snapshots/*/meta")]
        assert sorted(tag for meta in metas for tag in meta["tags"] if rules.taken_at(tag)) == [OLDER, GOOD], when
        assert all("proven" in meta["tags"] for meta in metas), when


def test_a_copy_of_the_cluster_that_is_killed_anywhere(play: Play, start: Callable[[], None]) -> None:
    """[D3] Nothing is let go before a proof; the next run finishes, and the throw-away cluster is gone."""
    play.settings["engine"] = "pgbackrest"

    def copied() -> None:
        start()
        play.say("copies", "full 1000000000\n")
        play.say("pgbackrest.log", "")

    for when in play.killed_anywhere("pitr", fresh=copied):
        log = play.said("pgbackrest.log")
        assert " expire" not in log or "--type=name" in log, when
        assert play.run("pitr") == 0, when
        assert not (play.root / "proof").exists(), when
        last_good_is_intact(play)


def test_a_restore_that_is_killed_anywhere_leaves_a_live_database(play: Play, start: Callable[[], None]) -> None:
    """[D3] Before the swap the old one is live, after it the new one; the old one is never dropped."""
    for when in play.killed_anywhere("restore", GOOD, fresh=start):
        assert "demo" in play.there(), when
        live = (play.databases / "demo/live").exists()
        kept = [name for name in play.there() if name.startswith("demo_before_")]
        assert live or any((play.databases / name / "live").exists() for name in kept), f"{when}: the old database is gone"
        assert play.run("restore", GOOD) == 0, when
        assert "demo" in play.there() and "demo_restore" not in play.there(), when
        assert any((play.databases / name / "live").exists() for name in play.there()), when


def test_what_a_killed_restore_left_goes_in_the_night(play: Play, start: Callable[[], None]) -> None:
    """[D3] It takes as much room as the live database."""
    start()
    (play.databases / "demo_restore").mkdir()
    assert play.run("nightly") == 0
    assert play.there() == ["demo"]


def test_a_fetch_that_is_killed_anywhere(play: Play, start: Callable[[], None]) -> None:
    """[D3] Whole or nothing; also where a damaged one is replaced."""
    play.copies_elsewhere(keep_days=10**5)

    def damaged() -> None:
        start()
        assert play.run("offsite") == 0
        (play.backups / OLDER / "db.dump/toc.dat").unlink()

    for when in play.killed_anywhere("fetch", OLDER, fresh=damaged):
        last_good_is_intact(play)
        assert play.run("fetch", OLDER) == 0, when
        assert Backups.read_manifest(play.backups / OLDER), when
        assert play.run("create") == 0 and play.partial() == [], when
