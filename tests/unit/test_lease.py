"""The lock of an app's releases: one run at a time, never for longer than a run lives, and a freeze that says why."""

from __future__ import annotations

import errno
import fcntl
import json
import multiprocessing
import os
import signal
import stat
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.slipway.vps.plugins.module_utils import lease as module
from ansible_collections.slipway.vps.plugins.module_utils.lease import (
    TTL,
    FrozenError,
    HeldError,
    Holder,
    Lease,
    LeaseError,
    LostError,
    Record,
)

START = datetime(2026, 11, 20, 7, 22, 1, tzinfo=timezone.utc)
ADA = Holder("ada-secret", "ada", "laptop", job_url="https://ci.example.com/7", commit="4f2a9c10" + "0" * 32)
BOB = Holder("bob-secret", "bob", "runner", purpose="rollback")
#: For processes and threads, in seconds: what is waited for comes within a fraction of it.
LONG = 20


class Clock:
    """Time that passes when somebody sleeps, or when a test says so."""

    def __init__(self) -> None:
        self.at = START
        self.slept: list[float] = []
        self.meanwhile: Callable[[], object] = lambda: None

    def now(self) -> datetime:
        return self.at

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.at += timedelta(seconds=seconds)
        self.meanwhile()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The folder of the app."""
    folder = tmp_path / "srv/blog"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def lease(root: Path, clock: Clock) -> Lease:
    return Lease(root, now=clock.now, sleep=clock.sleep)


def stored(root: Path) -> dict[str, Any]:
    data: dict[str, Any] = json.loads((root / ".lease.json").read_text())
    return data


# --- Taking, holding, giving back ---------------------------------------------------------------


def test_a_free_lease_is_taken(lease: Lease, root: Path) -> None:
    """[S1] With all that another run has to know, readable by root alone: the secret is in it."""
    assert lease.acquire(ADA) == ""
    assert stored(root) == {
        **{"token": "ada-secret", "owner": "ada", "host": "laptop", "purpose": "deploy", "app": "blog"},
        **{"job_url": "https://ci.example.com/7", "commit": ADA.commit},
        **{"acquired_at": "2026-11-20T07:22:01.000+00:00", "heartbeat_at": "2026-11-20T07:22:01.000+00:00"},
        "expires_at": "2026-11-20T07:24:01.000+00:00",
    }
    assert stat.S_IMODE((root / ".lease.json").stat().st_mode) == 0o600
    assert stat.S_IMODE((root / ".lease.lock").stat().st_mode) == 0o600


def test_a_second_run_is_refused_and_told_why(lease: Lease, root: Path, clock: Clock) -> None:
    """[S1] Who, where, which job and commit, since when, until when, and both ways on. The first keeps what it has."""
    lease.acquire(ADA)
    clock.at += timedelta(seconds=25)
    before = stored(root)
    with pytest.raises(HeldError) as refused:
        lease.acquire(BOB)
    text = str(refused.value)
    for part in (
        *("deploy by ada@laptop", "job https://ci.example.com/7", "commit 4f2a9c10)", "works on blog"),
        *("since 2026-11-20 07:22:01 UTC", "expires at 2026-11-20 07:24:01 UTC, in 95 s", "-e lock_wait=120", "run it again"),
    ):
        assert part in text
    assert "secret" not in text
    assert stored(root) == before and clock.slept == []


def test_a_holder_without_details_is_named_all_the_same(lease: Lease) -> None:
    lease.acquire(BOB)
    with pytest.raises(HeldError, match=r"^A rollback by bob@runner works on"):
        lease.acquire(ADA)
    lease.release(BOB.token)
    lease.acquire(Holder("x", ""))
    with pytest.raises(HeldError, match=r"^A deploy by somebody works on"):
        lease.acquire(ADA)


def test_waiting_ends_when_the_first_is_done(lease: Lease, root: Path, clock: Clock) -> None:
    """[S1] Polled every second, taken as soon as it is given back."""
    lease.acquire(ADA)
    clock.meanwhile = lambda: len(clock.slept) == 3 and lease.release(ADA.token)
    lease.acquire(BOB, wait=60)
    assert clock.slept == [1, 1, 1] and stored(root)["owner"] == "bob"


def test_waiting_has_an_end(lease: Lease, clock: Clock) -> None:
    """[S1] A holder that goes on is left alone, after exactly the time that was asked for."""
    lease.acquire(ADA, ttl=3600)
    with pytest.raises(HeldError):
        lease.acquire(BOB, wait=5)
    assert clock.slept == [1] * 5
    with pytest.raises(HeldError):
        lease.acquire(BOB, wait=-1)
    assert clock.slept == [1] * 5


@pytest.mark.parametrize("jump", [-3600, 3])
def test_waiting_has_an_end_whatever_the_clock_does(lease: Lease, root: Path, clock: Clock, jump: int) -> None:
    """[S1] Each second the holder renews and the clock jumps: seconds are counted, not compared."""
    lease.acquire(ADA)
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        clock.at += timedelta(seconds=jump)
        lease.renew(ADA.token)

    with pytest.raises(HeldError):
        Lease(root, now=clock.now, sleep=sleep).acquire(BOB, wait=4)
    assert slept == [1] * 4


def test_the_same_run_takes_it_again(lease: Lease, root: Path, clock: Clock) -> None:
    """[S1] A deploy is several steps: each may take what the run has, with what it knows by now; since when does not change."""
    lease.acquire(Holder("ada-secret", "ada"))
    clock.at += timedelta(seconds=100)
    assert lease.acquire(ADA, ttl=600) == ""
    found = stored(root)
    assert found["commit"] == ADA.commit
    assert (found["acquired_at"], found["heartbeat_at"]) == ("2026-11-20T07:22:01.000+00:00", "2026-11-20T07:23:41.000+00:00")
    assert found["expires_at"] == "2026-11-20T07:33:41.000+00:00"


def test_a_dead_runs_lease_expires(lease: Lease, root: Path, clock: Clock) -> None:
    """[S1] Not a moment before its time, and whose it was is noted."""
    lease.acquire(ADA)
    clock.at += timedelta(seconds=TTL, milliseconds=-1)
    with pytest.raises(HeldError, match="in 1 s"):
        lease.acquire(BOB)
    clock.at += timedelta(milliseconds=1)
    note = lease.acquire(BOB)
    assert "deploy by ada@laptop" in note and "expired at 2026-11-20 07:24:01 UTC" in note and "secret" not in note
    assert stored(root)["owner"] == "bob" and stored(root)["acquired_at"] == "2026-11-20T07:24:01.000+00:00"


def test_waiting_outlives_a_dead_run(lease: Lease, root: Path, clock: Clock) -> None:
    """[S1] lock_wait=120 is enough after a cancelled job."""
    lease.acquire(ADA)
    lease.acquire(BOB, wait=TTL)
    assert stored(root)["owner"] == "bob" and len(clock.slept) == TTL


def test_renewing_extends(lease: Lease, root: Path, clock: Clock) -> None:
    """[S1] From now, and nothing else changes."""
    lease.acquire(ADA)
    before = stored(root)
    clock.at += timedelta(seconds=90)
    lease.renew(ADA.token)
    changed = {"heartbeat_at": "2026-11-20T07:23:31.000+00:00", "expires_at": "2026-11-20T07:25:31.000+00:00"}
    assert stored(root) == {**before, **changed}
    lease.check(ADA.token)


def test_an_expired_lease_that_nobody_took_is_still_ones_own(lease: Lease, clock: Clock) -> None:
    """[S1] A slow upload between two steps must not end a deploy that nobody disturbed."""
    lease.acquire(ADA)
    clock.at += timedelta(hours=1)
    lease.check(ADA.token)
    lease.renew(ADA.token)
    with pytest.raises(HeldError):
        lease.acquire(BOB)


def test_a_lost_lease_is_noticed(lease: Lease, root: Path, clock: Clock) -> None:
    """[S1] Whoever was too slow learns who has it now, and takes nothing back."""
    lease.acquire(ADA)
    clock.at += timedelta(seconds=TTL)
    lease.acquire(BOB)
    before = stored(root)
    for act in (lease.renew, lease.check):
        with pytest.raises(LostError, match="a rollback by bob@runner holds it since 2026-11-20 07:24:01 UTC") as lost:
            act(ADA.token)
        assert "secret" not in str(lost.value)
    with pytest.raises(HeldError):
        lease.acquire(ADA)
    assert lease.release(ADA.token) is False
    assert stored(root) == before


def test_a_lease_that_is_gone_is_lost(lease: Lease, root: Path) -> None:
    with pytest.raises(LostError, match="nobody holds it any more"):
        lease.renew(ADA.token)
    (root / ".lease.json").write_text("{")
    with pytest.raises(LostError, match="cannot be read"):
        lease.renew(ADA.token)
    assert (root / ".lease.json").read_text() == "{"


def test_only_ones_own_is_given_back(lease: Lease, root: Path) -> None:
    """[S1] Giving back twice, what is another's, or nothing at all is no error."""
    assert lease.release(ADA.token) is False
    lease.acquire(ADA)
    assert lease.release(BOB.token) is False
    assert stored(root)["owner"] == "ada"
    assert lease.release(ADA.token) is True
    assert lease.release(ADA.token) is False
    assert not (root / ".lease.json").exists()
    lease.acquire(BOB)


# --- What must not block for ever ---------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "null", "[]", '"text"', "{}", '{"token": ""}', "\x00\x00", '{"token": "a"}', '{"token": 1}'),
        '{"token": "a", "acquired_at": "now", "heartbeat_at": "now", "expires_at": "now"}',
        # Without a zone it cannot be compared.
        '{"token": "a", "acquired_at": "2999-01-01T00:00:00", "heartbeat_at": "2020-01-01T00:00:00", "expires_at": "2999-01-01T00:00:00"}',
        '{"token": "a", "owner": {}, "acquired_at": "2026-11-20T07:22:01+00:00", "heartbeat_at": "2026-11-20T07:22:01+00:00",'
        ' "expires_at": "2026-11-20T07:24:01+00:00"}',
    ],
)
def test_a_file_that_cannot_be_read_counts_as_expired(lease: Lease, root: Path, text: str) -> None:
    """[S1] It is noted, and replaced by a whole one."""
    (root / ".lease.json").write_text(text)
    assert "cannot be read and counts as expired" in lease.show()["summary"]
    assert lease.obstacle(BOB.token) is None
    assert "cannot be read and counts as expired" in lease.acquire(BOB)
    assert stored(root)["owner"] == "bob"


def test_bytes_that_are_no_text_count_as_expired(lease: Lease, root: Path) -> None:
    (root / ".lease.json").write_bytes(b"\xff\xfe{")
    assert "cannot be read" in lease.acquire(BOB)


def test_what_a_later_version_adds_is_read_over(lease: Lease, root: Path) -> None:
    """An older controller must not take a newer one's lease for garbage."""
    lease.acquire(ADA)
    (root / ".lease.json").write_text(json.dumps({**stored(root), "added": [1]}))
    with pytest.raises(HeldError):
        lease.acquire(BOB)


def test_a_clock_that_goes_back_does_not_block(lease: Lease, root: Path, clock: Clock) -> None:
    """[S1] A lease written in the future would last for as long as the clock went back."""
    lease.acquire(ADA)
    clock.at -= timedelta(days=30)
    note = lease.acquire(BOB)
    assert "the clock went back" in note and stored(root)["owner"] == "bob"


def test_a_clock_that_is_set_back_a_little_takes_nothing_away(lease: Lease, clock: Clock) -> None:
    """[S1] Time servers correct by seconds; and the holder's next renewal puts a larger correction right."""
    lease.acquire(ADA)
    clock.at -= module.SKEW
    with pytest.raises(HeldError):
        lease.acquire(BOB)
    clock.at -= timedelta(days=1)
    lease.renew(ADA.token)
    with pytest.raises(HeldError):
        lease.acquire(BOB)


def test_what_a_killed_writer_left_is_swept_up(lease: Lease, root: Path) -> None:
    """A heartbeat every 40 s for years: what is left of killed ones must not pile up. Other files stay."""
    for name in ("..lease.json-abc12345", "..freeze.json-abc12345", ".deploy.lock", ".lease.json.old"):
        (root / name).write_text("{")
    lease.acquire(ADA)
    assert sorted(path.name for path in root.iterdir()) == [".deploy.lock", ".lease.json", ".lease.json.old", ".lease.lock"]


def test_a_stuck_lock_of_the_kernel_is_named(lease: Lease, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stopped process that holds it must not stop everybody else without a word."""
    monkeypatch.setattr(module, "BUSY", 0.05)
    handle = os.open(root / ".lease.lock", os.O_CREAT | os.O_RDWR)
    fcntl.flock(handle, fcntl.LOCK_EX)
    with pytest.raises(LeaseError, match="lslocks"):
        lease.acquire(ADA)
    os.close(handle)
    lease.acquire(ADA)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    """Taking a lock where nothing is yet is an error of the caller; giving it back is none, and nothing is made."""
    lease = Lease(tmp_path / "blog")
    for act in (lambda: lease.acquire(ADA), lambda: lease.renew(ADA.token), lambda: lease.freeze("x", "ada")):
        with pytest.raises(LeaseError, match=f"There is no folder {tmp_path}/blog"):
            act()
    assert lease.release(ADA.token) is False and lease.unfreeze() is False
    assert lease.show() == {"lease": None, "frozen": None, "summary": "lock: free\nfreeze: none"}
    assert list(tmp_path.iterdir()) == []


# --- Freezing -----------------------------------------------------------------------------------


def test_a_frozen_app_refuses_a_deploy(lease: Lease, root: Path, clock: Clock) -> None:
    """[S1] With the reason, who, when and the way out; at once, since a freeze does not end by waiting."""
    assert lease.freeze("the audit runs until Friday", "ada", "laptop") is True
    clock.at += timedelta(days=2)
    with pytest.raises(FrozenError) as refused:
        lease.acquire(BOB, wait=60)
    text = str(refused.value)
    for part in ("the audit runs until Friday", "ada@laptop", "2026-11-20 07:22:01 UTC", "playbooks/unfreeze.yml", "Nothing was changed"):
        assert part in text
    assert clock.slept == [] and not (root / ".lease.json").exists()
    assert lease.unfreeze() is True
    lease.acquire(BOB)


def test_freezing_twice_changes_once(lease: Lease, root: Path, clock: Clock) -> None:
    """The first one stays as it is; another reason is a change."""
    assert lease.freeze("audit", "ada") is True
    clock.at += timedelta(hours=1)
    assert lease.freeze("audit", "bob") is False
    assert json.loads((root / ".freeze.json").read_text())["owner"] == "ada"
    assert lease.freeze("fire", "bob") is True
    found = lease.frozen()
    assert found and (found.reason, found.owner, found.frozen_at) == ("fire", "bob", "2026-11-20T08:22:01.000+00:00")
    assert stat.S_IMODE((root / ".freeze.json").stat().st_mode) == 0o600
    assert lease.unfreeze() is True
    assert lease.unfreeze() is False
    assert lease.frozen() is None


def test_a_freeze_lets_the_run_that_works_finish(lease: Lease, clock: Clock) -> None:
    """[S1] To stop half-way, or to be unable to switch back, would be worse than the deploy."""
    lease.acquire(ADA)
    lease.freeze("fire", "bob")
    lease.acquire(ADA)
    lease.renew(ADA.token)
    with lease.renewing(ADA.token):
        pass
    with pytest.raises(FrozenError):
        lease.acquire(BOB)
    lease.release(ADA.token)
    with pytest.raises(FrozenError):
        lease.acquire(ADA)


def test_a_freeze_ends_the_waiting(lease: Lease, clock: Clock) -> None:
    """[S1] Whoever waits when it comes is refused by it."""
    lease.acquire(ADA, ttl=3600)
    clock.meanwhile = lambda: lease.freeze("fire", "ada")
    with pytest.raises(FrozenError):
        lease.acquire(BOB, wait=60)
    assert clock.slept == [1]


@pytest.mark.parametrize("text", ["", "no deploys!", "[]", "{}", '{"owner": "ada"}', '{"reason": "x", "frozen_at": "yesterday"}'])
def test_a_freeze_that_cannot_be_read_freezes(lease: Lease, root: Path, text: str) -> None:
    """[S1] Somebody wanted one; the way out works."""
    (root / ".freeze.json").write_text(text)
    with pytest.raises(FrozenError, match=r"cannot be read.*\n.*unfreeze\.yml"):
        lease.acquire(ADA)
    assert "cannot be read" in lease.show()["summary"]
    assert lease.unfreeze() is True
    lease.acquire(ADA)


def test_a_dangling_link_freezes_too(lease: Lease, root: Path) -> None:
    (root / ".freeze.json").symlink_to("nowhere")
    with pytest.raises(FrozenError):
        lease.acquire(ADA)
    assert lease.unfreeze() is True
    lease.acquire(ADA)


# --- Showing ------------------------------------------------------------------------------------


def test_show_says_all_but_the_secret(lease: Lease, root: Path, clock: Clock) -> None:
    """[K8] The lock and the freeze, as data and in words; nothing is written."""
    assert lease.show() == {"lease": None, "frozen": None, "summary": "lock: free\nfreeze: none"}
    assert list(root.iterdir()) == []
    lease.acquire(ADA)
    lease.freeze("audit", "bob", "runner")
    shown = lease.show()
    assert "secret" not in json.dumps(shown)
    assert shown["lease"] == {**{k: v for k, v in stored(root).items() if k != "token"}, "expired": False}
    assert shown["frozen"] == {"reason": "audit", "owner": "bob", "host": "runner", "frozen_at": "2026-11-20T07:22:01.000+00:00"}
    assert shown["summary"] == (
        "lock: deploy by ada@laptop (job https://ci.example.com/7, commit 4f2a9c10) since 2026-11-20 07:22:01 UTC, "
        "expires at 2026-11-20 07:24:01 UTC unless renewed\n"
        "freeze: frozen since 2026-11-20 07:22:01 UTC by bob@runner: audit"
    )
    clock.at += timedelta(seconds=TTL)
    assert lease.show()["lease"]["expired"] is True
    assert lease.show()["summary"].startswith("lock: free (the lock of a deploy by ada@laptop")


def test_times_are_shown_in_utc(lease: Lease, root: Path, clock: Clock) -> None:
    """Hosts of one deploy may have different zones."""
    clock.at = START.astimezone(timezone(timedelta(hours=5)))
    lease.acquire(ADA)
    assert stored(root)["acquired_at"] == "2026-11-20T07:22:01.000+00:00"
    record = Record.parse((root / ".lease.json").read_text().replace("T07:22:01.000+00:00", "T12:22:01.000+05:00"))
    assert record.over(START) == ""


# --- Renewing while a long step runs ------------------------------------------------------------


@pytest.fixture
def real(root: Path) -> Lease:
    """With the clock of the machine."""
    return Lease(root)


def heartbeat(root: Path) -> str:
    return str(stored(root)["heartbeat_at"])


def threads() -> int:
    return [thread.name for thread in threading.enumerate()].count("lease")


def until(condition: Any) -> None:
    deadline = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def test_a_long_step_keeps_its_lease(real: Lease, root: Path) -> None:
    """[S1] A migration of ten minutes: the lease is renewed several times, and no more when the step is done."""
    real.acquire(ADA, ttl=0.6)
    with real.renewing(ADA.token, ttl=0.6):
        for _ in range(4):
            last = heartbeat(root)
            until(lambda last=last: heartbeat(root) > last)
        with pytest.raises(HeldError):
            real.acquire(BOB)
        assert threads() == 1
    assert threads() == 0
    last = heartbeat(root)
    time.sleep(0.5)
    assert heartbeat(root) == last


def test_a_step_does_not_begin_without_its_lease(real: Lease) -> None:
    """[S1] Lost between two steps: the second one does not run."""
    with pytest.raises(LostError), real.renewing(ADA.token):
        raise AssertionError("the step began")
    assert threads() == 0


@pytest.mark.parametrize("beats", [0, 3])
def test_a_lease_that_is_lost_meanwhile_is_told_at_the_end(real: Lease, root: Path, beats: int) -> None:
    """[S1] Whether the thread has noticed or not; the other's lease stays."""
    real.acquire(ADA)
    with pytest.raises(LostError, match="bob@runner"), real.renewing(ADA.token, ttl=0.3 if beats else 60):
        real.release(ADA.token)
        real.acquire(BOB)
        time.sleep(beats * 0.1)
    assert stored(root)["owner"] == "bob"


def test_the_error_of_the_step_comes_first(real: Lease) -> None:
    """[S1] A failed migration is what the operator has to read of."""
    real.acquire(ADA)
    with pytest.raises(RuntimeError, match="migration"), real.renewing(ADA.token):
        real.release(ADA.token)
        raise RuntimeError("migration")
    assert threads() == 0


def test_a_full_disk_does_not_end_the_renewing(real: Lease, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """[S1] Not the first renewal nor a later one: it is tried again, and the step itself says that the disk is full."""
    real.acquire(ADA)
    write = Lease._write
    failures: list[str] = []

    def full(self: Lease, record: Record) -> None:
        if len(failures) < 2:
            failures.append(record.heartbeat_at)
            raise OSError(errno.ENOSPC, "No space left on device")
        write(self, record)

    last = heartbeat(root)
    monkeypatch.setattr(Lease, "_write", full)
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
    """Take the lease, be alone, give it back; several times."""
    lease = Lease(root, sleep=lambda seconds: time.sleep(0.002))
    for turn in range(rounds):
        token = f"{name}-{turn}"
        lease.acquire(Holder(token, name), ttl=60, wait=5000)
        # Fails when the other one is here, too.
        (root / "inside").mkdir()
        with (root / "log").open("a") as log:
            log.write(f"{token}\n")
        time.sleep(0.002)
        lease.check(token)
        (root / "inside").rmdir()
        assert lease.release(token)


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
        pass
    try:
        Lease(root).acquire(Holder(name, name))
    except HeldError:
        return
    (root / f"won-{name}").touch()


def test_an_expired_lease_goes_to_one(root: Path, tmp_path: Path, processes: list[BaseProcess]) -> None:
    """[S1] Everybody sees it expired at the same moment: reading and writing are one step."""
    for turn in range(5):
        folder = tmp_path / str(turn)
        folder.mkdir()
        Lease(folder, now=lambda: datetime.now(timezone.utc) - timedelta(hours=1)).acquire(ADA)
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
    lease = Lease(root)
    lease.acquire(ADA, ttl=ttl)
    with lease.renewing(ADA.token, ttl=ttl):
        (root / "working").touch()
        time.sleep(10 * LONG)


def test_a_killed_run_frees_its_lease(root: Path, real: Lease, processes: list[BaseProcess]) -> None:
    """[S1] While it works nobody gets in, however long; after kill -9 the next one gets in when the lease has expired."""
    ttl = 0.9
    processes.append(SPAWN.Process(target=work, args=(root, ttl)))
    processes[0].start()
    until((root / "working").exists)
    ended = time.monotonic() + 2 * ttl
    while time.monotonic() < ended:
        with pytest.raises(HeldError):
            real.acquire(BOB)
        time.sleep(0.05)
    assert processes[0].pid
    os.kill(processes[0].pid, signal.SIGKILL)
    processes[0].join(LONG)
    with pytest.raises(HeldError):
        real.acquire(BOB)
    note = real.acquire(BOB, wait=3)
    assert "deploy by ada@laptop" in note and stored(root)["owner"] == "bob"
