# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""Files and folders: what is replaced is replaced in one step, and is on the disk before it is visible."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import pwd
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from .errors import SlipwayError

#: How the name of everything that is not complete yet begins.
PARTIAL = ".partial-"
CHUNK = 1024 * 1024


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
            # A link is an entry of its folder; what it leads to is elsewhere, or nowhere.
            if not Path(folder, name).is_symlink():
                sync(Path(folder, name))
        sync(Path(folder))


def write_atomically(path: Path, text: str, mode: int = 0o600, owner: tuple[int, int] | None = None) -> None:
    """Replace a file: readers see the old text or the new one, never half of it. It belongs to ``owner``, a user and a group as numbers."""
    # A name that nobody has: two that write at once do not meet, and no link of another user is followed.
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f"{PARTIAL}{path.name}-")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fchmod(stream.fileno(), mode)
            if owner:
                os.fchown(stream.fileno(), *owner)
            os.fsync(stream.fileno())
        move(Path(name), path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def relink(link: Path, target: Path) -> bool:
    """Let ``link`` lead to ``target``, in one step; whether that is a change."""
    if link.is_symlink() and link.readlink() == target:
        return False
    temporary = link.with_name(f"{PARTIAL}{link.name}-{os.getpid()}")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(target)
    temporary.replace(link)
    return True


def free_name(path: Path) -> Path:
    """``path``, or the first of ``path.1``, ``path.2`` … that nothing has."""
    names = (path if number == 0 else path.with_name(f"{path.name}.{number}") for number in itertools.count())
    return next(name for name in names if not os.path.lexists(name))


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file; an empty one when there is none, or no file."""
    try:
        loaded = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return loaded if isinstance(loaded, dict) else {}


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
    try:
        account = pwd.getpwnam(owner)
    except KeyError as error:
        raise SlipwayError(f"there is no system user {owner}") from error
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
