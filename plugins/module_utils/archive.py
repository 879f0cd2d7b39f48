# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""Archives of a source: tar, compressed or not, and zip."""

from __future__ import annotations

import shutil
import stat
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from ansible_collections.slipway.vps.plugins.module_utils.slipway.core.files import remove
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core.run import command
from ansible_collections.slipway.vps.plugins.module_utils.source_tree import (
    LFS_POINTER,
    LFS_POINTER_MAX,
    SourceError,
    no_subdirectory,
    require_whole,
    subfolder,
)

#: Where an archive is unpacked, within the release: an interrupted run's goes with it.
UNPACKING = ".unpacking"
#: How a zip file begins: with its first member, or with its end when it is empty.
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")
_REMEDY = "Make the archive from a clone that has them (git clone --recurse-submodules; git lfs pull), or use type: git"


class UnreadableError(SourceError):
    """An archive that this Python cannot read."""


def is_zip(archive: Path) -> bool:
    with archive.open("rb") as file:
        return file.read(4) in _ZIP


def unpack(archive: Path, folder: Path, subdirectory: str = "") -> None:
    """Unpack what is the release into ``folder``: a single top-level folder is left out, then ``subdirectory`` chosen.

    :raises SourceError: when the archive is not whole, or would write elsewhere.
    """
    place = folder / UNPACKING
    remove(place)
    place.mkdir()
    if is_zip(archive):
        _unzip(archive, place)
    else:
        # --touch: files get today's time, which nginx puts into their ETag; the archive's own times may all be the same.
        command("tar", "--extract", "--touch", "--no-same-owner", "--file", str(archive), "--directory", str(place))
    top = _top(place)
    require_whole(top, subdirectory, _REMEDY)
    for entry in sorted(subfolder(top, subdirectory).iterdir()):
        entry.rename(folder / entry.name)
    remove(place)


def _top(place: Path) -> Path:
    """The folder that all of the archive is in, as hosting services pack it; else the archive itself."""
    entries = list(place.iterdir())
    return entries[0] if len(entries) == 1 and entries[0].is_dir() and not entries[0].is_symlink() else place


def _unzip(archive: Path, place: Path) -> None:
    """As tar unpacks: nothing outside of the folder, links as links, files executable or not."""
    try:
        with zipfile.ZipFile(archive) as packed:
            links = [entry for entry in packed.infolist() if stat.S_ISLNK(entry.external_attr >> 16)]
            for entry in packed.infolist():
                if entry not in links:
                    _unzip_file(packed, entry, place)
            # Last: no file is written through one.
            for entry in links:
                path = _inside(entry, place)
                if any(parent.is_symlink() for parent in path.parents if parent.is_relative_to(place)):
                    raise SourceError(f"the archive's {entry.filename!r} lies behind a link")
                path.parent.mkdir(parents=True, exist_ok=True)
                path.symlink_to(packed.read(entry).decode())
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        raise SourceError(f"the zip archive cannot be read: {error}") from error


def _unzip_file(packed: zipfile.ZipFile, entry: zipfile.ZipInfo, place: Path) -> None:
    path = _inside(entry, place)
    mode = entry.external_attr >> 16
    if entry.is_dir():
        path.mkdir(mode=0o755, parents=True, exist_ok=True)
        return
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        raise SourceError(f"the archive's {entry.filename!r} is neither a file nor a folder nor a link")
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    with packed.open(entry) as source, path.open("xb") as target:
        shutil.copyfileobj(source, target)
    path.chmod(0o755 if mode & 0o100 else 0o644)


def _inside(entry: zipfile.ZipInfo, place: Path) -> Path:
    name = PurePosixPath(entry.filename.replace("\\", "/"))
    if name.is_absolute() or ".." in name.parts or not name.parts:
        raise SourceError(f"the archive's {entry.filename!r} would be written outside of the release")
    return place / name


def listing(archive: Path, subdirectory: str = "") -> tuple[set[str], list[str]]:
    """Names of the files and links that would be the release, and those of them that Git LFS has not fetched.

    :raises SourceError: when there is no ``subdirectory``, or the archive cannot be read.
    """
    try:
        found = dict(_zipped(archive) if is_zip(archive) else _tarred(archive))
    except (OSError, EOFError, tarfile.TarError, zipfile.BadZipFile, RuntimeError, NotImplementedError) as error:
        raise UnreadableError(f"{archive} cannot be read: {error}") from error
    tops = {name.partition("/")[0] for name in found}
    if len(tops) == 1 and all("/" in name for name in found):
        found = {name.partition("/")[2]: pointer for name, pointer in found.items()}
    inside = f"{subdirectory}/" if subdirectory else ""
    names = {name.removeprefix(inside): pointer for name, pointer in found.items() if name.startswith(inside)}
    if subdirectory and not names:
        there = sorted({name.partition("/")[0] for name in found if "/" in name})
        raise no_subdirectory(subdirectory, there)
    return set(names), sorted(name for name, pointer in names.items() if pointer)


def _zipped(archive: Path) -> Iterator[tuple[str, bool]]:
    with zipfile.ZipFile(archive) as packed:
        for entry in packed.infolist():
            if not entry.is_dir():
                yield entry.filename, entry.file_size < LFS_POINTER_MAX and packed.read(entry).startswith(LFS_POINTER)


def _tarred(archive: Path) -> Iterator[tuple[str, bool]]:
    with tarfile.open(archive) as packed:
        for entry in packed:
            if not entry.isdir():
                small = packed.extractfile(entry) if entry.isfile() and entry.size < LFS_POINTER_MAX else None
                yield entry.name.removeprefix("./"), bool(small and small.read().startswith(LFS_POINTER))
