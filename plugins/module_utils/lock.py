# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""Who may change an app's releases right now: a lock that expires by itself, and a freeze that does not.

A run of Ansible is many processes on the host, with the controller's work between them: a lock of the kernel would be gone after
the first one, and a file alone would stay for ever after a run that was cancelled. This lock is a file that is valid for a time, and
is renewed as long as somebody works.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from ansible_collections.slipway.vps.plugins.module_utils.releases import now as utc_now
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core.files import PARTIAL, write_atomically
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core.lock import LockedError, locked

#: Seconds a lock is valid after its last renewal: how long a run that died keeps the others waiting.
TTL = 120
#: A heartbeat further in the future than this was written by a clock that has gone back since.
SKEW = timedelta(seconds=5)
#: Seconds to wait for the kernel's lock around a read and a write of the files, which takes milliseconds.
BUSY = 10


class LockError(Exception):
    """The lock or the freeze stands in the way; the text is for the operator."""


class HeldError(LockError):
    """Another run holds the lock."""


class FrozenError(LockError):
    """Somebody froze the app."""


class LostError(LockError):
    """The lock one held is gone, or another's."""


@dataclass(frozen=True)
class Holder:
    """A run that wants the lock. ``token`` is known to this run alone."""

    token: str
    owner: str
    host: str = ""
    purpose: str = "deploy"
    job_url: str = ""
    commit: str = ""


@dataclass(frozen=True)
class Record(Holder):
    """The lock as it stands in its file. Times are ISO 8601 in UTC."""

    app: str = ""
    acquired_at: str = ""
    heartbeat_at: str = ""
    expires_at: str = ""

    @classmethod
    def parse(cls, text: str) -> Record:
        """ValueError when ``text`` is not a whole lock."""
        data = json.loads(text)
        if not isinstance(data, dict):
            raise ValueError("not an object")
        known = {field.name: data[field.name] for field in fields(cls) if field.name in data}
        if not known.get("token") or not all(isinstance(value, str) for value in known.values()):
            raise ValueError("a field is absent or of another type")
        record = cls(**{"owner": "", **known})
        for stamp in (record.acquired_at, record.heartbeat_at, record.expires_at):
            if datetime.fromisoformat(stamp).tzinfo is None:
                raise ValueError(f"{stamp} has no time zone")
        return record

    def over(self, at: datetime) -> str:
        """Why this lock no longer counts at that time; empty while it does."""
        if datetime.fromisoformat(self.expires_at) <= at:
            return f"expired at {_clock(self.expires_at)}"
        if datetime.fromisoformat(self.heartbeat_at) > at + SKEW:
            return f"was renewed at {_clock(self.heartbeat_at)}, which is yet to come: the clock went back"
        return ""

    def describe(self) -> str:
        """`deploy by ada@laptop (job https://…, commit 4f2a9c10)`."""
        details = [f"job {self.job_url}"] if self.job_url else []
        details += [f"commit {self.commit[:8]}"] if self.commit else []
        return f"{self.purpose or 'run'} by {_who(self.owner, self.host)}" + (f" ({', '.join(details)})" if details else "")

    def public(self, at: datetime) -> dict[str, Any]:
        """All but the secret."""
        return {**{key: value for key, value in asdict(self).items() if key != "token"}, "expired": bool(self.over(at))}


@dataclass(frozen=True)
class Freeze:
    """Why nothing may be deployed, since when, and who said so."""

    reason: str
    owner: str = ""
    host: str = ""
    frozen_at: str = ""

    def describe(self) -> str:
        since = f"since {_clock(self.frozen_at)} " if self.frozen_at else ""
        return f"frozen {since}by {_who(self.owner, self.host)}: {self.reason}"


class Lock:
    """The lock of the app in ``root``, `/srv/<app>`. ``now`` and ``sleep`` are there for tests."""

    def __init__(self, root: Path, *, now: Callable[[], datetime] = utc_now, sleep: Callable[[float], object] = time.sleep) -> None:
        self.root = root
        # The names that earlier versions gave them: a run of one may be at work.
        self.file = root / ".lease.json"
        self.freeze_file = root / ".freeze.json"
        self.now = now
        self.sleep = sleep

    # --- Holding it ---------------------------------------------------------------------------------------------------

    def acquire(self, holder: Holder, ttl: float = TTL, wait: int = 0) -> str:
        """Take the lock for ``ttl`` seconds, waiting up to ``wait`` for another run.

        Returns what there is to note of the one before, mostly nothing. Who holds it already takes it again, also while frozen:
        a freeze lets the run that works finish.
        """
        # Counted in sleeps: a clock that jumps makes nobody wait for longer.
        left = max(0, wait)
        while True:
            with self._exclusive():
                self._sweep()
                obstacle = self.obstacle(holder.token)
                if obstacle is None:
                    return self._take(holder, ttl)
            if left == 0 or isinstance(obstacle, FrozenError):
                raise obstacle
            self.sleep(1)
            left -= 1

    def obstacle(self, token: str) -> HeldError | FrozenError | None:
        """What refuses a run with this token right now. Reads only."""
        record, _ = self._read()
        if record and record.token == token:
            return None
        frozen = self.frozen()
        if frozen:
            return FrozenError(
                f"Deploys and rollbacks of {self.root.name} are {frozen.describe()}\n"
                "Nothing was changed. To allow them again: ansible-playbook slipway.vps.unfreeze"
            )
        at = self.now()
        if record is None or record.over(at):
            return None
        left = datetime.fromisoformat(record.expires_at) - at
        return HeldError(
            f"A {record.describe()} works on {self.root.name} since {_clock(record.acquired_at)}. "
            f"Its lock expires at {_clock(record.expires_at)}, in {max(1, round(left.total_seconds()))} s, unless that run renews it.\n"
            "Nothing was changed. Two ways on: let this command wait (-e lock_wait=120), "
            "or run it again when that run has ended or its lock has expired."
        )

    def renew(self, token: str, ttl: float = TTL) -> None:
        """Hold it for ``ttl`` seconds from now. One that expired and that nobody took is still one's own."""
        with self._exclusive():
            at = self.now()
            self._write(replace(self._own(token), heartbeat_at=_iso(at), expires_at=_iso(at + timedelta(seconds=ttl))))

    def check(self, token: str) -> None:
        """LostError unless the lock is one's own. Reads only."""
        self._own(token)

    def release(self, token: str) -> bool:
        """Give it back; False, and no error, when it was not one's own any more."""
        if not self.root.is_dir():
            return False
        with self._exclusive():
            try:
                self._own(token)
            except LostError:
                return False
            self.file.unlink()
            return True

    @contextmanager
    def renewing(self, token: str, ttl: float = TTL) -> Iterator[None]:
        """Hold the lock during a long step; LostError at the end, or at once, when another has it.

        An error of the step itself comes first. A write that fails (a full disk) is tried again: what counts is who holds the file.
        """
        with suppress(OSError):
            self.renew(token, ttl)
        done = threading.Event()

        def beat() -> None:
            while not done.wait(ttl / 3):
                try:
                    self.renew(token, ttl)
                except LostError:
                    return
                except (OSError, LockError):
                    continue

        thread = threading.Thread(target=beat, name="lock", daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()
        self.check(token)

    # --- Freezing -----------------------------------------------------------------------------------------------------

    def freeze(self, reason: str, owner: str, host: str = "") -> bool:
        """Refuse new runs until `unfreeze`; False when it is frozen for this reason already."""
        with self._exclusive():
            found = self.frozen()
            if found and found.reason == reason:
                return False
            self._store(self.freeze_file, Freeze(reason, owner, host, _iso(self.now())))
            return True

    def unfreeze(self) -> bool:
        """False when it was not frozen."""
        if self.frozen() is None:
            return False
        with self._exclusive():
            self.freeze_file.unlink(missing_ok=True)
            return True

    def frozen(self) -> Freeze | None:
        """The freeze. A file that cannot be read freezes, too: somebody put it there, and unfreezing removes it."""
        if not os.path.lexists(self.freeze_file):
            return None
        with suppress(OSError, ValueError, TypeError):
            data = json.loads(self.freeze_file.read_text())
            known = {field.name: str(data[field.name]) for field in fields(Freeze) if field.name in data}
            if known.get("frozen_at"):
                datetime.fromisoformat(known["frozen_at"])
            return Freeze(**known)
        return Freeze(f"({self.freeze_file} cannot be read)")

    # --- Showing ------------------------------------------------------------------------------------------------------

    def show(self) -> dict[str, Any]:
        """The lock without its secret, the freeze, and both in words."""
        at = self.now()
        record, note = self._read()
        frozen = self.frozen()
        if record is None:
            words = note or "free"
        elif record.over(at):
            words = f"free (the lock of a {record.describe()} {record.over(at)})"
        else:
            words = f"{record.describe()} since {_clock(record.acquired_at)}, expires at {_clock(record.expires_at)} unless renewed"
        return {
            "lock": record.public(at) if record else None,
            "frozen": asdict(frozen) if frozen else None,
            "summary": f"lock: {words}\nfreeze: {frozen.describe() if frozen else 'none'}",
        }

    # --- Files --------------------------------------------------------------------------------------------------------

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        """One reads and writes at a time. The kernel drops the lock with its process; the file stays, or two could be locked."""
        if not self.root.is_dir():
            raise LockError(f"There is no folder {self.root}: ansible-playbook slipway.vps.site makes it.")
        file = self.root / ".lease.lock"
        with ExitStack() as held:
            try:
                held.enter_context(locked(file, "change of the lock", BUSY))
            except LockedError as error:
                raise LockError(f"A process has locked {file} for {BUSY} s: look at `lslocks`.") from error
            yield

    def _read(self) -> tuple[Record | None, str]:
        """The lock, if there is one that can be read, and a note when there is one that cannot: it counts as expired."""
        try:
            return Record.parse(self.file.read_text()), ""
        except FileNotFoundError:
            return None, ""
        except (OSError, ValueError) as error:
            return None, f"{self.file} cannot be read and counts as expired ({error})"

    def _own(self, token: str) -> Record:
        record, note = self._read()
        if record and record.token == token:
            return record
        seen = note or "nobody holds it any more"
        if record:
            seen = f"a {record.describe()} holds it since {_clock(record.acquired_at)}"
        raise LostError(f"The lock of {self.root.name} was lost: {seen}. Run the same command again when that is clear.")

    def _take(self, holder: Holder, ttl: float) -> str:
        at = self.now()
        before, note = self._read()
        again = before is not None and before.token == holder.token
        if before and not again:
            note = f"A {before.describe()} ended without giving its lock back; it {before.over(at)}."
        since = before.acquired_at if before and again else _iso(at)
        self._write(
            Record(
                **asdict(holder),
                app=self.root.name,
                acquired_at=since,
                heartbeat_at=_iso(at),
                expires_at=_iso(at + timedelta(seconds=ttl)),
            )
        )
        return note

    def _write(self, record: Record) -> None:
        self._store(self.file, record)

    def _store(self, path: Path, content: Record | Freeze) -> None:
        write_atomically(path, json.dumps(asdict(content), indent=2) + "\n", 0o600)

    def _sweep(self) -> None:
        """Remove what a writer that was killed left. Only under the lock: nobody writes now."""
        for path in (self.file, self.freeze_file):
            # The second is how earlier versions began such a name.
            for prefix in (PARTIAL, "."):
                for left in self.root.glob(f"{prefix}{path.name}-*"):
                    left.unlink(missing_ok=True)


def _iso(at: datetime) -> str:
    return at.astimezone(timezone.utc).isoformat(timespec="milliseconds")


def _clock(stamp: str) -> str:
    return datetime.fromisoformat(stamp).astimezone(timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")


def _who(owner: str, host: str) -> str:
    return f"{owner or 'somebody'}@{host}" if host else owner or "somebody"
