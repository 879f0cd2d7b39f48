# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""Run a command: the only place where the program, and the modules that share it, start one and wait for it."""

from __future__ import annotations

import ctypes
import grp
import json
import os
import pwd
import select
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

from .errors import SlipwayError

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class CommandError(SlipwayError):
    """A command exited with another status than 0, ``status``; the message is what it said."""

    def __init__(self, message: str, status: int = 1) -> None:
        super().__init__(message)
        self.status = status


class Account(NamedTuple):
    """A system user, as numbers."""

    name: str
    uid: int
    gid: int

    @classmethod
    def of(cls, user: str, group: str = "") -> Account:
        """Look both up (the group: the user's own, unless one is named); KeyError when one does not exist."""
        entry = pwd.getpwnam(user)
        return cls(user, entry.pw_uid, grp.getgrnam(group).gr_gid if group else entry.pw_gid)


class Result(NamedTuple):
    """What a command did. ``errors`` is empty where both channels are merged, ``output`` where it went into a file."""

    status: int
    output: str
    errors: str


def execute(
    argv: Sequence[str],
    *,
    account: Account | None = None,
    groups: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    stdin: bytes | IO[bytes] | None = None,
    stdout: IO[bytes] | None = None,
    merged: bool = False,
    folder: str | Path | None = None,
    timeout: float | None = None,
    pass_fds: Sequence[int] = (),
    umask: int = -1,
) -> Result:
    """Run a command to its end, whatever its status.

    :arg account: who runs it; with no group but its own and ``groups``.
    :arg environment: all of its environment; this process's own, unless given.
    :arg stdin: bytes or a file; nothing, unless given.
    :arg merged: errors within the output, in the order in which they came.
    :arg folder: its working directory; unless given, `/` for an ``account``, else this process's own.
    :arg timeout: seconds; then it is killed, and subprocess.TimeoutExpired raised.
    :raises OSError: when it cannot be started.
    """
    given: dict[str, Any] = {"input": stdin} if isinstance(stdin, bytes) else {"stdin": subprocess.DEVNULL if stdin is None else stdin}
    if account:
        given.update(user=account.uid, group=account.gid, extra_groups=list(groups))
    result = subprocess.run(
        list(argv),
        stdout=stdout if stdout is not None else subprocess.PIPE,
        stderr=subprocess.STDOUT if merged else subprocess.PIPE,
        env=None if environment is None else dict(environment),
        # The account may have no access to our own working directory (/root, over SSH), and psql 15 says so within its answer.
        cwd=folder or ("/" if account else None),
        timeout=timeout,
        pass_fds=pass_fds,
        umask=umask,
        check=False,
        **given,
    )
    return Result(result.returncode, _text(result.stdout), _text(result.stderr))


def _text(said: bytes | None) -> str:
    return (said or b"").decode(errors="replace")


def command(*words: str, account: Account | None = None, environment: Mapping[str, str] | None = None, cwd: Path | None = None) -> str:
    """Run a command and return what it printed, errors included; CommandError when it fails.

    It keeps nothing of this process's environment; as another ``account`` none of root's groups either.
    """
    clean = {"PATH": PATH, "LC_ALL": "C.UTF-8", **(environment or {})}
    result = execute(words, account=account, environment=clean, merged=True, folder=cwd, umask=0o022)
    if result.status != 0:
        raise CommandError(f"{result.output.strip()}\n({words[0]} exited {result.status})".strip(), result.status)
    return result.output


def attempt(argv: Sequence[str], timeout: float = 60, stdin: bytes = b"", environment: Mapping[str, str] | None = None) -> tuple[int, str]:
    """Run a command in this process's environment; its exit status, and what it said on both channels. Never an error."""
    try:
        words = {**os.environ, "LC_ALL": "C.UTF-8", **(environment or {})}
        result = execute(argv, stdin=stdin, environment=words, merged=True, timeout=timeout)
    except subprocess.TimeoutExpired:
        return 124, f"{Path(argv[0]).name} timed out after {timeout:.0f} s"
    except OSError as error:
        return 127, f"{argv[0]} could not be started: {error}"
    return result.status, result.output


def is_running(pid: int) -> bool:
    """Whether there is a process of that number; asked of the kernel, since a sandbox hides others in /proc."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def as_account(account: Account | None, work: Callable[[], Any]) -> Any:
    """What ``work`` returns (as JSON can hold it), done by another user, in a process of its own that does not outlive this one.

    :raises SlipwayError: when that process ends otherwise.
    """
    if account is None or account.uid == os.geteuid():
        return work()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(reading)
            os.setgroups([])
            os.setgid(account.gid)
            os.setuid(account.uid)
            os.chdir("/")
            # PR_SET_PDEATHSIG, after the change of user, which would clear it.
            ctypes.CDLL(None).prctl(1, signal.SIGKILL)
            with os.fdopen(writing, "w", encoding="utf-8") as answer:
                json.dump(work(), answer)
            status = 0
        finally:
            # Nothing of the parent's is to be cleaned up here.
            os._exit(status)
    os.close(writing)
    try:
        with os.fdopen(reading, encoding="utf-8") as answer:
            said = answer.read()
    finally:
        _, ended = os.waitpid(child, 0)
    if ended:
        raise SlipwayError(f"what {account.name} was to do ended with status {os.waitstatus_to_exitcode(ended)}")
    return json.loads(said)


def when_nobody_reads(act: Callable[[], object], descriptor: int = 1) -> None:
    """Act, in a thread, once the reader of the output is gone: a connection without a terminal ends, and no signal says so."""
    watched = select.poll()
    # Of errors and hang-ups it tells always.
    watched.register(descriptor, 0)

    def wait() -> None:
        watched.poll()
        act()

    threading.Thread(target=wait, daemon=True).start()


def tail(text: str, lines: int = 30) -> str:
    """The last lines of what a command said."""
    return "\n".join(text.strip().splitlines()[-lines:])
