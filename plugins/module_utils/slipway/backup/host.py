# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""PostgreSQL's and restic's programs: run as another user, spoken to, served by. None of them outlives this program."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from ..core.run import Account, execute
from .rules import BackupError

#: For what nobody waits for: the last to get the processor and the disk.
IDLE = ("nice", "-n", "19", "ionice", "-c", "3")


class StoppedError(BackupError):
    """Somebody told this run to end: that says nothing of what it was looking at."""


class MissingError(BackupError):
    """A program that is not there says nothing of what it was to look at, either."""


class RoomError(BackupError):
    """Nor does a disk that is too full for what was to be done."""


#: What keeps a run from its work without saying anything of the backup it worked on.
CIRCUMSTANCES = (StoppedError, MissingError, RoomError)


class ProgramError(BackupError):
    """A program failed; what it said in full is kept for who can read more out of it."""

    def __init__(self, message: str, status: int, output: str) -> None:
        """Say ``message``, and keep the exit ``status`` and the ``output``."""
        super().__init__(message)
        self.status, self.output = status, output


def _account(user: str) -> Account | None:
    """Who runs a program for ``user``; None when we are that user already."""
    if not user:
        return None
    try:
        account = Account.of(user)
    except KeyError as error:
        raise BackupError(f"there is no system user {user}") from error
    return None if account.uid == os.geteuid() else account


def account(user: str) -> Account | None:
    """The account of ``user``; None when we are that user already."""
    return _account(user)


def _identity(user: str) -> dict[str, Any]:
    """The same for subprocess.Popen."""
    account = _account(user)
    return {"user": account.uid, "group": account.gid, "extra_groups": []} if account else {}


def _environment(extra: Mapping[str, str]) -> dict[str, str]:
    """The environment without what is PostgreSQL's and restic's: an operator's shell must not lead somewhere else."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("PG", "RESTIC", "AWS_"))}
    return {**inherited, "LC_ALL": "C.UTF-8", **extra}


def _mortal(argv: Sequence[str], signal: str = "TERM") -> list[str]:
    """The command, told to end when this program is killed: an orphan would go on writing into what the next run removes."""
    return ["setpriv", "--pdeathsig", signal, "--", *argv]


def run(
    argv: Sequence[str],
    *,
    user: str = "",
    groups: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    stdin: IO[bytes] | None = None,
    stdout: IO[bytes] | None = None,
    accept: tuple[int, ...] = (0,),
    pass_fds: Sequence[int] = (),
    timeout: float | None = None,
    folder: str = "/",
) -> str:
    """Run a program (as ``user``, when one is named); its output, or an error that carries what it said."""
    name = next(word for word in argv if word not in IDLE)
    if not shutil.which(name):
        raise MissingError(f"{name} could not be started: there is no such program")
    try:
        result = execute(
            _mortal(argv),
            account=_account(user),
            groups=groups,
            environment=_environment(environment or {}),
            stdin=stdin,
            stdout=stdout,
            folder=folder,
            timeout=timeout,
            pass_fds=pass_fds,
        )
    except OSError as error:
        raise MissingError(f"{name} could not be started: {error}") from error
    except subprocess.TimeoutExpired as error:
        raise ProgramError(f"{name} had not ended after {timeout:.0f} s and was stopped", -1, "") from error
    if result.status not in accept:
        said = " / ".join(result.errors.strip().splitlines()[-5:])
        raise ProgramError(f"{name} exited {result.status}: {said or 'without a word'}", result.status, result.output + result.errors)
    return result.output


@contextlib.contextmanager
def talking(argv: Sequence[str], *, user: str = "", environment: Mapping[str, str] | None = None) -> Iterator[Talk]:
    """A program that is told things and answers, line by line."""
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            _mortal(argv),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            cwd="/",
            env=_environment(environment or {}),
            **_identity(user),
        )
        try:
            yield Talk(process, argv[0], errors)
        finally:
            process.kill()
            process.communicate()


class Talk:
    """Both sides of a conversation with a program."""

    def __init__(self, process: subprocess.Popen[bytes], name: str, errors: IO[bytes]) -> None:
        """Speak to ``process``."""
        self._process, self._name, self._errors = process, name, errors

    def say(self, line: str) -> None:
        """Tell it something; whether it listened shows in its answer."""
        assert self._process.stdin
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(f"{line}\n".encode())
            self._process.stdin.flush()

    def hear(self) -> str:
        """Its next line; an error that carries what it said when there is none."""
        assert self._process.stdout
        line = self._process.stdout.readline().decode(errors="replace")
        if not line.endswith("\n"):
            status = self._process.wait()
            self._errors.seek(0)
            said = " / ".join(self._errors.read().decode(errors="replace").strip().splitlines()[-5:])
            raise BackupError(f"{self._name} exited {status}: {said or 'without a word'}")
        return line.rstrip("\n")


@contextlib.contextmanager
def serving(argv: Sequence[str], log: Path, *, user: str = "", wait: float = 60) -> Iterator[Callable[[], str]]:
    """A server for the time of a block; what it said last, once it has ended by itself. SIGINT ends it, and so does our death."""

    def last_words() -> str:
        if process.poll() is None:
            return ""
        return " / ".join(log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-5:]) or "without a word"

    with log.open("wb") as output:
        process = subprocess.Popen(
            _mortal(argv, "INT"),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd="/",
            env=_environment({}),
            **_identity(user),
        )
    try:
        yield last_words
    finally:
        process.send_signal(2)
        try:
            process.wait(timeout=wait)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_until(ready: Callable[[], object], seconds: float, what: str, last_words: Callable[[], str]) -> None:
    """Ask ``ready`` until it says yes; an error with the reason when it does not in time, or when ``what`` has ended."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            ready()
            return
        except BackupError as error:
            if said := last_words():
                raise BackupError(f"{what} ended: {said}") from error
            if time.monotonic() > deadline:
                raise BackupError(f"{what} did not come up within {seconds:.0f} s: {error}") from error
        time.sleep(0.2)
