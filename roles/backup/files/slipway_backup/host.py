"""What touches the host: files, programs, locks, the log. Everything that changes something goes through here."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import pwd
import shutil
import subprocess
import sys
import syslog
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import IO, Any

from .rules import BackupError

PARTIAL = ".partial-"
CHUNK = 1024 * 1024
#: For what nobody waits for: the last to get the processor and the disk.
IDLE = ("nice", "-n", "19", "ionice", "-c", "3")


class LockedError(BackupError):
    """Another run is under way."""


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


def utc_now() -> datetime:
    """The time, to the second."""
    return datetime.now(timezone.utc).replace(microsecond=0)


# --- Files --------------------------------------------------------------------------------------------


def sync(path: Path) -> None:
    """Put a file or a folder's entries on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(path: Path) -> None:
    """Put a folder and all that is in it on the disk."""
    for folder, _, files in os.walk(path, topdown=False):
        for name in files:
            sync(Path(folder, name))
        sync(Path(folder))


def write_atomically(path: Path, text: str, mode: int = 0o600) -> None:
    """Readers see the old text or the new one, never half of it."""
    temporary = path.with_name(f"{PARTIAL}{path.name}")
    temporary.write_text(text, encoding="utf-8")
    temporary.chmod(mode)
    sync(temporary)
    move(temporary, path)


def move(source: Path, target: Path) -> None:
    """Give something its name, for good: also after a power cut."""
    source.rename(target)
    sync(target.parent)


def make_folder(path: Path, owner: str = "") -> None:
    """A folder for its owner alone (root, unless a user is named)."""
    path.mkdir(mode=0o700, parents=True)
    hand_over(path, owner)


def hand_over(path: Path, owner: str) -> None:
    """Let ``owner`` have a folder and its files: PostgreSQL's programs work as their own user."""
    if not owner or os.geteuid() != 0:
        return
    account = _account(owner)
    for entry in (path, *(path.rglob("*") if path.is_dir() else ())):
        os.chown(entry, account.pw_uid, account.pw_gid, follow_symlinks=False)


def remove(path: Path) -> None:
    """Remove a file or a folder."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def sha256(path: Path) -> str:
    """Checksum of a file, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as handle:
        while chunk := handle.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def checksums(folder: Path) -> dict[str, dict[str, Any]]:
    """Size and checksum of each file below ``folder``, by its path in it."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): {"bytes": path.stat().st_size, "sha256": sha256(path)} for path in files}


def expand(patterns: Iterable[str]) -> list[str]:
    """The files and folders that the patterns find on this host."""
    return sorted({str(path) for pattern in patterns for path in Path("/").glob(pattern.lstrip("/"))})


def disk_usage(paths: Iterable[str]) -> int:
    """Bytes of the files in and below ``paths``."""
    total = 0
    for top in map(Path, paths):
        for path in (top, *top.rglob("*")):
            # A file may go away while we look.
            with contextlib.suppress(OSError):
                total += path.lstat().st_size
    return total


def free_space(path: Path) -> int:
    """Bytes that are free on the disk that ``path`` is on, or will be."""
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free


@contextlib.contextmanager
def opened(folder: Path) -> Iterator[tuple[int, str]]:
    """A way into ``folder`` for a program that may not walk there: a descriptor to pass on, and its path for the program."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield descriptor, f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def locked(path: Path, what: str, patience: float = 0) -> Iterator[None]:
    """One run at a time. The kernel lets go of the lock when its holder dies, so it is never stale."""
    deadline = time.monotonic() + patience
    with path.open("a+", encoding="utf-8") as handle:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() >= deadline:
                    handle.seek(0)
                    holder = handle.read().strip() or "unknown"
                    raise LockedError(f"another {what} is under way ({holder}); try again later") from error
                time.sleep(1)
        handle.truncate(0)
        handle.write(f"pid {os.getpid()} since {utc_now().isoformat()}")
        handle.flush()
        yield


# --- Programs -----------------------------------------------------------------------------------------


def _account(user: str) -> pwd.struct_passwd:
    try:
        return pwd.getpwnam(user)
    except KeyError as error:
        raise BackupError(f"there is no system user {user}") from error


def _identity(user: str, groups: Sequence[str] = ()) -> dict[str, Any]:
    """How to become ``user``; nothing when we are that user already."""
    if not user or _account(user).pw_uid == os.geteuid():
        return {}
    account = _account(user)
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": list(groups)}


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
        result = subprocess.run(
            _mortal(argv),
            stdin=stdin if stdin is not None else subprocess.DEVNULL,
            stdout=stdout if stdout is not None else subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=folder,
            env=_environment(environment or {}),
            check=False,
            pass_fds=pass_fds,
            timeout=timeout,
            **_identity(user, groups),
        )
    except OSError as error:
        raise MissingError(f"{name} could not be started: {error}") from error
    except subprocess.TimeoutExpired as error:
        raise ProgramError(f"{name} had not ended after {timeout:.0f} s and was stopped", -1, "") from error
    if result.returncode not in accept:
        errors = result.stderr.decode(errors="replace")
        said = " / ".join(errors.strip().splitlines()[-5:])
        output = (b"" if result.stdout is None else result.stdout).decode(errors="replace") + errors
        raise ProgramError(f"{name} exited {result.returncode}: {said or 'without a word'}", result.returncode, output)
    return result.stdout.decode(errors="replace") if stdout is None else ""


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


# --- Log ----------------------------------------------------------------------------------------------


class Log:
    """Lines in the app's log folder; errors also on stderr and in the journal."""

    def __init__(self, path: Path, tag: str) -> None:
        """Log to ``path``; ``tag`` names the lines in the journal."""
        self.path = path
        syslog.openlog(tag, facility=syslog.LOG_CRON)

    def _append(self, level: str, message: str) -> None:
        line = f"{utc_now().strftime('%Y-%m-%dT%H:%M:%SZ')} {level} {message}\n"
        self.path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        # The app may write to this folder, and this runs as root: never through a link that it left there.
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o640)
        with os.fdopen(descriptor, "a", encoding="utf-8") as handle:
            handle.write(line)

    def info(self, message: str) -> None:
        """A line that nobody has to read today."""
        try:
            self._append("INFO", message)
        except OSError as error:
            # A backup without its log line is worth more than no backup; the journal says so.
            syslog.syslog(syslog.LOG_WARNING, f"{message} (not in {self.path}: {error})")

    def error(self, message: str) -> None:
        """A line that somebody has to read."""
        print(f"error: {message}", file=sys.stderr)
        syslog.syslog(syslog.LOG_ERR, message)
        with contextlib.suppress(OSError):
            self._append("ERROR", message)
