# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""A folder of the controller as a source (`app_source: {type: path}`): which of its files are the release."""

from __future__ import annotations

import hashlib
import os
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

from ansible_collections.slipway.vps.plugins.module_utils.source_tree import (
    ELSEWHERE,
    SourceError,
    empty_submodules,
    lfs_pointers,
    shown,
    subfolder,
)

#: Left out where git cannot say what to ignore.
LEFT_OUT = {".git", ".venv", "venv", "node_modules", "__pycache__", ".pytest_cache", ".mypy_cache", ".ruff_cache", ".tox"}
#: Mode of a submodule in git's index.
_SUBMODULE = "160000"


def members(folder: Path) -> list[Path]:
    """Relative paths of all files and links to pack, sorted: what git tracks and does not ignore, in submodules too; without git,
    everything but caches and virtual environments.

    :raises SourceError: when something is not there, or has a name that cannot be packed.
    """
    found = sorted(_members(folder))
    if unreadable := [name for name in map(str, found) if not _is_text(name)]:
        raise SourceError(f"app_source.path: file names that are not UTF-8: {shown(unreadable)} (in {folder})", "Rename them")
    if pointers := lfs_pointers(folder, found):
        what = f"app_source.path: Git LFS has not fetched these files: {shown(map(str, pointers))}"
        raise SourceError(what, f"Run: git -C {folder} lfs pull")
    return found


def pack(folder: Path, dest: Path) -> tuple[Path, str]:
    """Write the archive of ``folder`` below ``dest``, as ``<checksum>.tar``, and return it with its checksum."""
    partial = dest / f".pack-{os.getpid()}.tar"

    def plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
        entry.uid = entry.gid = 0
        entry.uname = entry.gname = ""
        entry.mtime = 0
        entry.mode = 0o755 if entry.mode & 0o100 else 0o644
        return entry

    with tarfile.open(partial, "w", format=tarfile.PAX_FORMAT) as archive:
        for member in members(folder):
            archive.add(folder / member, arcname=str(member), recursive=False, filter=plain)
    checksum = hashlib.sha256(partial.read_bytes()).hexdigest()
    final = dest / f"{checksum}.tar"
    partial.replace(final)
    return final, checksum


def release_folder(path: Path, subdirectory: str = "") -> Path:
    """The folder that becomes the release.

    :raises SourceError: when it is not there.
    """
    if not path.is_dir():
        raise SourceError(f"app_source.path: {path} is not a folder on the controller", ELSEWHERE)
    return subfolder(path.resolve(), subdirectory)


def _members(folder: Path) -> Iterator[Path]:
    listed = git(folder, "ls-files", "--cached", "--others", "--exclude-standard", "-z")
    if listed is None:
        if any((parent / ".git").exists() for parent in (folder, *folder.parents)):
            raise SourceError(f"app_source.path: {folder} is in a git work tree that git will not read", f"See why: git -C {folder} status")
        yield from _without_git(folder)
        return
    submodules = _submodules(folder)
    for name in {Path(name) for name in listed.split("\0") if name}:
        path = folder / name
        if path.is_symlink() or path.is_file():
            yield name
        elif name in submodules and not (path / ".git").exists():
            what = f"app_source.path: nobody has fetched the git submodule {shown([str(name)])}"
            raise SourceError(what, f"Run: git -C {folder} submodule update --init --recursive")
        elif (path / ".git").exists():
            # A repository in the repository: git lists its folder alone.
            yield from (name / below for below in _members(path))


def _submodules(folder: Path) -> set[Path]:
    staged = git(folder, "ls-files", "--stage", "-z") or ""
    return {Path(entry.partition("\t")[2]) for entry in staged.split("\0") if entry.startswith(_SUBMODULE)}


def _without_git(folder: Path) -> Iterator[Path]:
    # An archive of a hosting service has the folders of its submodules, and nothing in them.
    if empty := empty_submodules(folder):
        raise SourceError(f"app_source.path: git submodules are not in {folder}: {shown(empty)}", "Clone it with --recurse-submodules")
    for top, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name not in LEFT_OUT]
        links = [name for name in folders if Path(top, name).is_symlink()]
        yield from (Path(top, name).relative_to(folder) for name in (*files, *links) if not name.endswith(".pyc"))


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def git(folder: Path, *words: str) -> str | None:
    """What git says, or None when the folder is no work tree (or there is no git). Names are decoded as the file system's are."""
    try:
        result = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, check=False)
    except FileNotFoundError:
        return None
    return os.fsdecode(result.stdout) if result.returncode == 0 else None


def commit(folder: Path) -> str:
    """The commit the folder is at; `-dirty` when the folder differs from it."""
    head = (git(folder, "rev-parse", "--verify", "HEAD") or "").strip()
    changes = git(folder, "status", "--porcelain", "--", ".") or ""
    return f"{head}-dirty" if head and changes.strip() else head
