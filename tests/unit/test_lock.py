"""The lock of an app's releases: one run at a time, never for longer than a run lives, and a freeze that says why."""

from __future__ import annotations

import fcntl
import json
import os
import stat
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from ansible_collections.slipway.vps.plugins.module_utils import lock as module
from ansible_collections.slipway.vps.plugins.module_utils.lock import (
    TTL,
    FrozenError,
    HeldError,
    Holder,
    Lock,
    LockError,
    LostError,
    Record,
)

from .locks import ADA, BOB, stored

START = datetime(2026, 11, 20, 7, 22, 1, tzinfo=timezone.utc)


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
def lock(root: Path, clock: Clock) -> Lock:
    return Lock(root, now=clock.now, sleep=clock.sleep)


# --- Taking, holding, giving back ---------------------------------------------------------------


def test_a_free_lock_is_taken(lock: Lock, root: Path) -> None:
    """[S1] With all that another run has to know, readable by root alone: the secret is in it."""
    assert lock.acquire(ADA) == ""
    assert stored(root) == {
        **{"token": "ada-secret", "owner": "ada", "host": "laptop", "purpose": "deploy", "app": "blog"},
        **{"job_url": "https://ci.example.com/7", "commit": ADA.commit},
        **{"acquired_at": "2026-11-20T07:22:01.000+00:00", "heartbeat_at": "2026-11-20T07:22:01.000+00:00"},
        "expires_at": "2026-11-20T07:24:01.000+00:00",
    }
    assert stat.S_IMODE((root / ".lease.json").stat().st_mode) == 0o600
    assert stat.S_IMODE((root / ".lease.lock").stat().st_mode) == 0o600


def test_a_second_run_is_refused_and_told_why(lock: Lock, root: Path, clock: Clock) -> None:
    """[S1] Who, where, which job and commit, since when, until when, and both ways on. The first keeps what it has."""
    lock.acquire(ADA)
    clock.at += timedelta(seconds=25)
    before = stored(root)
    with pytest.raises(HeldError) as refused:
        lock.acquire(BOB)
    text = str(refused.value)
    for part in (
        *("deploy by ada@laptop", "job https://ci.example.com/7", "commit 4f2a9c10)", "works on blog"),
        *("since 2026-11-20 07:22:01 UTC", "expires at 2026-11-20 07:24:01 UTC, in 95 s", "-e lock_wait=120", "run it again"),
    ):
        assert part in text
    assert "secret" not in text
    assert stored(root) == before and clock.slept == []


def test_a_holder_without_details_is_named_all_the_same(lock: Lock) -> None:
    lock.acquire(BOB)
    with pytest.raises(HeldError, match=r"^A rollback by bob@runner works on"):
        lock.acquire(ADA)
    lock.release(BOB.token)
    lock.acquire(Holder("x", ""))
    with pytest.raises(HeldError, match=r"^A deploy by somebody works on"):
        lock.acquire(ADA)


def test_waiting_ends_when_the_first_is_done(lock: Lock, root: Path, clock: Clock) -> None:
    """[S1] Polled every second, taken as soon as it is given back."""
    lock.acquire(ADA)
    clock.meanwhile = lambda: len(clock.slept) == 3 and lock.release(ADA.token)
    lock.acquire(BOB, wait=60)
    assert clock.slept == [1, 1, 1] and stored(root)["owner"] == "bob"


def test_waiting_has_an_end(lock: Lock, clock: Clock) -> None:
    """[S1] A holder that goes on is left alone, after exactly the time that was asked for."""
    lock.acquire(ADA, ttl=3600)
    with pytest.raises(HeldError):
        lock.acquire(BOB, wait=5)
    assert clock.slept == [1] * 5
    with pytest.raises(HeldError):
        lock.acquire(BOB, wait=-1)
    assert clock.slept == [1] * 5


@pytest.mark.parametrize("jump", [-3600, 3])
def test_waiting_has_an_end_whatever_the_clock_does(lock: Lock, root: Path, clock: Clock, jump: int) -> None:
    """[S1] Each second the holder renews and the clock jumps: seconds are counted, not compared."""
    lock.acquire(ADA)
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        clock.at += timedelta(seconds=jump)
        lock.renew(ADA.token)

    with pytest.raises(HeldError):
        Lock(root, now=clock.now, sleep=sleep).acquire(BOB, wait=4)
    assert slept == [1] * 4


def test_the_same_run_takes_it_again(lock: Lock, root: Path, clock: Clock) -> None:
    """[S1] A deploy is several steps: each may take what the run has, with what it knows by now; since when does not change."""
    lock.acquire(Holder("ada-secret", "ada"))
    clock.at += timedelta(seconds=100)
    assert lock.acquire(ADA, ttl=600) == ""
    found = stored(root)
    assert found["commit"] == ADA.commit
    assert (found["acquired_at"], found["heartbeat_at"]) == ("2026-11-20T07:22:01.000+00:00", "2026-11-20T07:23:41.000+00:00")
    assert found["expires_at"] == "2026-11-20T07:33:41.000+00:00"


def test_a_dead_runs_lock_expires(lock: Lock, root: Path, clock: Clock) -> None:
    """[S1] Not a moment before its time, and whose it was is noted."""
    lock.acquire(ADA)
    clock.at += timedelta(seconds=TTL, milliseconds=-1)
    with pytest.raises(HeldError, match="in 1 s"):
        lock.acquire(BOB)
    clock.at += timedelta(milliseconds=1)
    note = lock.acquire(BOB)
    assert "deploy by ada@laptop" in note and "expired at 2026-11-20 07:24:01 UTC" in note and "secret" not in note
    assert stored(root)["owner"] == "bob" and stored(root)["acquired_at"] == "2026-11-20T07:24:01.000+00:00"


def test_waiting_outlives_a_dead_run(lock: Lock, root: Path, clock: Clock) -> None:
    """[S1] lock_wait=120 is enough after a cancelled job."""
    lock.acquire(ADA)
    lock.acquire(BOB, wait=TTL)
    assert stored(root)["owner"] == "bob" and len(clock.slept) == TTL


def test_renewing_extends(lock: Lock, root: Path, clock: Clock) -> None:
    """[S1] From now, and nothing else changes."""
    lock.acquire(ADA)
    before = stored(root)
    clock.at += timedelta(seconds=90)
    lock.renew(ADA.token)
    changed = {"heartbeat_at": "2026-11-20T07:23:31.000+00:00", "expires_at": "2026-11-20T07:25:31.000+00:00"}
    assert stored(root) == {**before, **changed}
    lock.check(ADA.token)


def test_an_expired_lock_that_nobody_took_is_still_ones_own(lock: Lock, clock: Clock) -> None:
    """[S1] A slow upload between two steps must not end a deploy that nobody disturbed."""
    lock.acquire(ADA)
    clock.at += timedelta(hours=1)
    lock.check(ADA.token)
    lock.renew(ADA.token)
    with pytest.raises(HeldError):
        lock.acquire(BOB)


def test_a_lost_lock_is_noticed(lock: Lock, root: Path, clock: Clock) -> None:
    """[S1] Whoever was too slow learns who has it now, and takes nothing back."""
    lock.acquire(ADA)
    clock.at += timedelta(seconds=TTL)
    lock.acquire(BOB)
    before = stored(root)
    for act in (lock.renew, lock.check):
        with pytest.raises(LostError, match="a rollback by bob@runner holds it since 2026-11-20 07:24:01 UTC") as lost:
            act(ADA.token)
        assert "secret" not in str(lost.value)
    with pytest.raises(HeldError):
        lock.acquire(ADA)
    assert lock.release(ADA.token) is False
    assert stored(root) == before


def test_a_lock_that_is_gone_is_lost(lock: Lock, root: Path) -> None:
    with pytest.raises(LostError, match="nobody holds it any more"):
        lock.renew(ADA.token)
    (root / ".lease.json").write_text("{")
    with pytest.raises(LostError, match="cannot be read"):
        lock.renew(ADA.token)
    assert (root / ".lease.json").read_text() == "{"


def test_only_ones_own_is_given_back(lock: Lock, root: Path) -> None:
    """[S1] Giving back twice, what is another's, or nothing at all is no error."""
    assert lock.release(ADA.token) is False
    lock.acquire(ADA)
    assert lock.release(BOB.token) is False
    assert stored(root)["owner"] == "ada"
    assert lock.release(ADA.token) is True
    assert lock.release(ADA.token) is False
    assert not (root / ".lease.json").exists()
    lock.acquire(BOB)


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
def test_a_file_that_cannot_be_read_counts_as_expired(lock: Lock, root: Path, text: str) -> None:
    """[S1] It is noted, and replaced by a whole one."""
    (root / ".lease.json").write_text(text)
    assert "cannot be read and counts as expired" in lock.show()["summary"]
    assert lock.obstacle(BOB.token) is None
    assert "cannot be read and counts as expired" in lock.acquire(BOB)
    assert stored(root)["owner"] == "bob"


def test_bytes_that_are_no_text_count_as_expired(lock: Lock, root: Path) -> None:
    (root / ".lease.json").write_bytes(b"\xff\xfe{")
    assert "cannot be read" in lock.acquire(BOB)


def test_what_a_later_version_adds_is_read_over(lock: Lock, root: Path) -> None:
    """An older controller must not take a newer one's lock for garbage."""
    lock.acquire(ADA)
    (root / ".lease.json").write_text(json.dumps({**stored(root), "added": [1]}))
    with pytest.raises(HeldError):
        lock.acquire(BOB)


def test_a_clock_that_goes_back_does_not_block(lock: Lock, root: Path, clock: Clock) -> None:
    """[S1] A lock written in the future would last for as long as the clock went back."""
    lock.acquire(ADA)
    clock.at -= timedelta(days=30)
    note = lock.acquire(BOB)
    assert "the clock went back" in note and stored(root)["owner"] == "bob"


def test_a_clock_that_is_set_back_a_little_takes_nothing_away(lock: Lock, clock: Clock) -> None:
    """[S1] Time servers correct by seconds; and the holder's next renewal puts a larger correction right."""
    lock.acquire(ADA)
    clock.at -= module.SKEW
    with pytest.raises(HeldError):
        lock.acquire(BOB)
    clock.at -= timedelta(days=1)
    lock.renew(ADA.token)
    with pytest.raises(HeldError):
        lock.acquire(BOB)


def test_what_a_killed_writer_left_is_swept_up(lock: Lock, root: Path) -> None:
    """A heartbeat every 40 s for years: what is left of killed ones must not pile up. Other files stay."""
    for name in (".partial-.lease.json-abc12345", "..freeze.json-abc12345", ".deploy.lock", ".lease.json.old"):
        (root / name).write_text("{")
    lock.acquire(ADA)
    assert sorted(path.name for path in root.iterdir()) == [".deploy.lock", ".lease.json", ".lease.json.old", ".lease.lock"]


def test_a_stuck_lock_of_the_kernel_is_named(lock: Lock, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stopped process that holds it must not stop everybody else without a word."""
    monkeypatch.setattr(module, "BUSY", 0.05)
    handle = os.open(root / ".lease.lock", os.O_CREAT | os.O_RDWR)
    fcntl.flock(handle, fcntl.LOCK_EX)
    with pytest.raises(LockError, match="lslocks"):
        lock.acquire(ADA)
    os.close(handle)
    lock.acquire(ADA)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    """Taking a lock where nothing is yet is an error of the caller; giving it back is none, and nothing is made."""
    lock = Lock(tmp_path / "blog")
    for act in (lambda: lock.acquire(ADA), lambda: lock.renew(ADA.token), lambda: lock.freeze("x", "ada")):
        with pytest.raises(LockError, match=f"There is no folder {tmp_path}/blog"):
            act()
    assert lock.release(ADA.token) is False and lock.unfreeze() is False
    assert lock.show() == {"lock": None, "frozen": None, "summary": "lock: free\nfreeze: none"}
    assert list(tmp_path.iterdir()) == []


# --- Freezing -----------------------------------------------------------------------------------


def test_a_frozen_app_refuses_a_deploy(lock: Lock, root: Path, clock: Clock) -> None:
    """[S1] With the reason, who, when and the way out; at once, since a freeze does not end by waiting."""
    assert lock.freeze("the audit runs until Friday", "ada", "laptop") is True
    clock.at += timedelta(days=2)
    with pytest.raises(FrozenError) as refused:
        lock.acquire(BOB, wait=60)
    text = str(refused.value)
    for part in ("the audit runs until Friday", "ada@laptop", "2026-11-20 07:22:01 UTC", "slipway.vps.unfreeze", "Nothing was changed"):
        assert part in text
    assert clock.slept == [] and not (root / ".lease.json").exists()
    assert lock.unfreeze() is True
    lock.acquire(BOB)


def test_freezing_twice_changes_once(lock: Lock, root: Path, clock: Clock) -> None:
    """The first one stays as it is; another reason is a change."""
    assert lock.freeze("audit", "ada") is True
    clock.at += timedelta(hours=1)
    assert lock.freeze("audit", "bob") is False
    assert json.loads((root / ".freeze.json").read_text())["owner"] == "ada"
    assert lock.freeze("fire", "bob") is True
    found = lock.frozen()
    assert found and (found.reason, found.owner, found.frozen_at) == ("fire", "bob", "2026-11-20T08:22:01.000+00:00")
    assert stat.S_IMODE((root / ".freeze.json").stat().st_mode) == 0o600
    assert lock.unfreeze() is True
    assert lock.unfreeze() is False
    assert lock.frozen() is None


def test_a_freeze_lets_the_run_that_works_finish(lock: Lock, clock: Clock) -> None:
    """[S1] To stop half-way, or to be unable to switch back, would be worse than the deploy."""
    lock.acquire(ADA)
    lock.freeze("fire", "bob")
    lock.acquire(ADA)
    lock.renew(ADA.token)
    with lock.renewing(ADA.token):
        pass
    with pytest.raises(FrozenError):
        lock.acquire(BOB)
    lock.release(ADA.token)
    with pytest.raises(FrozenError):
        lock.acquire(ADA)


def test_a_freeze_ends_the_waiting(lock: Lock, clock: Clock) -> None:
    """[S1] Whoever waits when it comes is refused by it."""
    lock.acquire(ADA, ttl=3600)
    clock.meanwhile = lambda: lock.freeze("fire", "ada")
    with pytest.raises(FrozenError):
        lock.acquire(BOB, wait=60)
    assert clock.slept == [1]


@pytest.mark.parametrize("text", ["", "no deploys!", "[]", "{}", '{"owner": "ada"}', '{"reason": "x", "frozen_at": "yesterday"}'])
def test_a_freeze_that_cannot_be_read_freezes(lock: Lock, root: Path, text: str) -> None:
    """[S1] Somebody wanted one; the way out works."""
    (root / ".freeze.json").write_text(text)
    with pytest.raises(FrozenError, match=r"cannot be read.*\n.*slipway\.vps\.unfreeze"):
        lock.acquire(ADA)
    assert "cannot be read" in lock.show()["summary"]
    assert lock.unfreeze() is True
    lock.acquire(ADA)


def test_a_dangling_link_freezes_too(lock: Lock, root: Path) -> None:
    (root / ".freeze.json").symlink_to("nowhere")
    with pytest.raises(FrozenError):
        lock.acquire(ADA)
    assert lock.unfreeze() is True
    lock.acquire(ADA)


# --- Showing ------------------------------------------------------------------------------------


def test_show_says_all_but_the_secret(lock: Lock, root: Path, clock: Clock) -> None:
    """[K8] The lock and the freeze, as data and in words; nothing is written."""
    assert lock.show() == {"lock": None, "frozen": None, "summary": "lock: free\nfreeze: none"}
    assert list(root.iterdir()) == []
    lock.acquire(ADA)
    lock.freeze("audit", "bob", "runner")
    shown = lock.show()
    assert "secret" not in json.dumps(shown)
    assert shown["lock"] == {**{k: v for k, v in stored(root).items() if k != "token"}, "expired": False}
    assert shown["frozen"] == {"reason": "audit", "owner": "bob", "host": "runner", "frozen_at": "2026-11-20T07:22:01.000+00:00"}
    assert shown["summary"] == (
        "lock: deploy by ada@laptop (job https://ci.example.com/7, commit 4f2a9c10) since 2026-11-20 07:22:01 UTC, "
        "expires at 2026-11-20 07:24:01 UTC unless renewed\n"
        "freeze: frozen since 2026-11-20 07:22:01 UTC by bob@runner: audit"
    )
    clock.at += timedelta(seconds=TTL)
    assert lock.show()["lock"]["expired"] is True
    assert lock.show()["summary"].startswith("lock: free (the lock of a deploy by ada@laptop")


def test_times_are_shown_in_utc(lock: Lock, root: Path, clock: Clock) -> None:
    """Hosts of one deploy may have different zones."""
    clock.at = START.astimezone(timezone(timedelta(hours=5)))
    lock.acquire(ADA)
    assert stored(root)["acquired_at"] == "2026-11-20T07:22:01.000+00:00"
    record = Record.parse((root / ".lease.json").read_text().replace("T07:22:01.000+00:00", "T12:22:01.000+05:00"))
    assert record.over(START) == ""
