"""The lock while somebody holds it: renewed as long as a step runs, and by one process only."""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.slipway.vps.plugins.module_utils import lock as lock_module
from ansible_collections.slipway.vps.plugins.module_utils.lock import HeldError, Holder, Lock, LostError, Record

from .locks import ADA, BOB, stored

#: For processes and threads, in seconds: what is waited for comes within a fraction of it.
LONG = 60


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The folder of the app."""
    folder = tmp_path / "srv/blog"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture(autouse=True)
def quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy disk one fsync may take longer than a lock of these tests is valid; what is tested here is the clock."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    monkeypatch.setattr(lock_module, "BUSY", LONG)


# --- Renewing while a long step runs ------------------------------------------------------------


@pytest.fixture
def real(root: Path) -> Lock:
    """With the clock of the machine."""
    return Lock(root)


def heartbeat(root: Path) -> str:
    return str(stored(root)["heartbeat_at"])


def threads() -> int:
    return [thread.name for thread in threading.enumerate()].count("lock")


def until(condition: Any) -> None:
    deadline = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def test_a_long_step_keeps_its_lock(real: Lock, root: Path) -> None:
    """[S1] A migration of ten minutes: the lock is renewed several times, and no more when the step is done."""
    ttl = 3.0
    real.acquire(ADA, ttl=ttl)
    with real.renewing(ADA.token, ttl=ttl):
        for _ in range(3):
            last = heartbeat(root)
            until(lambda last=last: heartbeat(root) > last)
        with pytest.raises(HeldError):
            real.acquire(BOB)
        assert threads() == 1
    assert threads() == 0
    last = heartbeat(root)
    time.sleep(ttl / 2)
    assert heartbeat(root) == last


def test_a_step_does_not_begin_without_its_lock(real: Lock) -> None:
    """[S1] Lost between two steps: the second one does not run."""
    with pytest.raises(LostError), real.renewing(ADA.token):
        raise AssertionError("the step began")
    assert threads() == 0


@pytest.mark.parametrize("beats", [0, 3])
def test_a_lock_that_is_lost_meanwhile_is_told_at_the_end(real: Lock, root: Path, beats: int) -> None:
    """[S1] Whether the thread has noticed or not; the other's lock stays."""
    real.acquire(ADA)
    with pytest.raises(LostError, match="bob@runner"), real.renewing(ADA.token, ttl=0.3 if beats else 60):
        real.release(ADA.token)
        real.acquire(BOB)
        time.sleep(beats * 0.1)
    assert stored(root)["owner"] == "bob"


def test_the_error_of_the_step_comes_first(real: Lock) -> None:
    """[S1] A failed migration is what the operator has to read of."""
    real.acquire(ADA)
    with pytest.raises(RuntimeError, match="migration"), real.renewing(ADA.token):
        real.release(ADA.token)
        raise RuntimeError("migration")
    assert threads() == 0


def test_a_full_disk_does_not_end_the_renewing(real: Lock, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """[S1] Not the first renewal nor a later one: it is tried again, and the step itself says that the disk is full."""
    real.acquire(ADA)
    write = Lock._write
    failures: list[str] = []

    def full(self: Lock, record: Record) -> None:
        if len(failures) < 2:
            failures.append(record.heartbeat_at)
            raise OSError(errno.ENOSPC, "No space left on device")
        write(self, record)

    last = heartbeat(root)
    monkeypatch.setattr(Lock, "_write", full)
    with real.renewing(ADA.token, ttl=0.15):
        until(lambda: len(failures) == 2)
        until(lambda: heartbeat(root) > last)


# --- Several processes --------------------------------------------------------------------------

SPAWN = multiprocessing.get_context("fork")


@pytest.fixture
def processes() -> Iterator[list[BaseProcess]]:
    """Whatever happens, none of them outlives the test."""
    started: list[BaseProcess] = []
    yield started
    for process in started:
        process.kill()
        process.join(LONG)


def compete(root: Path, name: str, rounds: int) -> None:
    """Take the lock, be alone, give it back; several times."""
    lock = Lock(root, sleep=lambda seconds: time.sleep(0.002))
    for turn in range(rounds):
        token = f"{name}-{turn}"
        lock.acquire(Holder(token, name), ttl=60, wait=5000)
        # Fails when the other one is here, too.
        (root / "inside").mkdir()
        with (root / "log").open("a") as log:
            log.write(f"{token}\n")
        time.sleep(0.002)
        lock.check(token)
        (root / "inside").rmdir()
        assert lock.release(token)


def test_two_processes_are_never_both_inside(root: Path, processes: list[BaseProcess]) -> None:
    """[S1] Each gets its turns, and none is lost."""
    processes += [SPAWN.Process(target=compete, args=(root, name, 15)) for name in ("a", "b", "c")]
    for process in processes:
        process.start()
    for process in processes:
        process.join(LONG)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert sorted((root / "log").read_text().split()) == sorted(f"{name}-{turn}" for name in "abc" for turn in range(15))
    assert not (root / ".lease.json").exists()


def snatch(root: Path, name: str, gate: Path) -> None:
    while not gate.exists():
        time.sleep(0.001)
    try:
        Lock(root).acquire(Holder(name, name))
    except HeldError:
        return
    (root / f"won-{name}").touch()


def test_an_expired_lock_goes_to_one(root: Path, tmp_path: Path, processes: list[BaseProcess]) -> None:
    """[S1] Everybody sees it expired at the same moment: reading and writing are one step."""
    for turn in range(5):
        folder = tmp_path / str(turn)
        folder.mkdir()
        Lock(folder, now=lambda: datetime.now(timezone.utc) - timedelta(hours=1)).acquire(ADA)
        gate = folder / "gate"
        batch = [SPAWN.Process(target=snatch, args=(folder, str(number), gate)) for number in range(4)]
        processes += batch
        for process in batch:
            process.start()
        gate.touch()
        for process in batch:
            process.join(LONG)
        winners = [path.name for path in folder.glob("won-*")]
        assert len(winners) == 1 and winners == [f"won-{stored(folder)['owner']}"]


def work(root: Path, ttl: float) -> None:
    lock = Lock(root)
    lock.acquire(ADA, ttl=ttl)
    with lock.renewing(ADA.token, ttl=ttl):
        (root / "working").touch()
        time.sleep(10 * LONG)


def test_a_killed_run_frees_its_lock(root: Path, real: Lock, processes: list[BaseProcess]) -> None:
    """[S1] While it works nobody gets in, however long; after kill -9 the next one gets in when the lock has expired."""
    ttl = 3.0
    processes.append(SPAWN.Process(target=work, args=(root, ttl)))
    processes[0].start()
    until((root / "working").exists)
    ended = time.monotonic() + 1.5 * ttl
    while time.monotonic() < ended:
        with pytest.raises(HeldError):
            real.acquire(BOB)
        time.sleep(0.05)
    assert processes[0].pid
    os.kill(processes[0].pid, signal.SIGKILL)
    processes[0].join(LONG)
    with pytest.raises(HeldError):
        real.acquire(BOB)
    note = real.acquire(BOB, wait=LONG)
    assert "deploy by ada@laptop" in note and stored(root)["owner"] == "bob"
