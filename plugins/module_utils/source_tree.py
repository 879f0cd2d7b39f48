# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""The tree of a source: which folder of it is the release, and whether all of it is there."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from ansible_collections.slipway.vps.plugins.module_utils.slipway.core.run import CommandError

#: First line of the file that stands for a large one where Git LFS has not fetched it; such a file is smaller than 1024 bytes.
LFS_POINTER = b"version https://git-lfs.github.com/spec/v1\n"
LFS_POINTER_MAX = 1024
#: What to do about a path that is not there.
ELSEWHERE = "Name one that is; a relative one begins at the inventory"
#: Names that one message lists at most.
SHOWN = 5
_SUBMODULE = re.compile(r"^\s*path\s*=\s*(.+?)\s*$", re.MULTILINE)
_LFS_ATTRIBUTE = re.compile(r"^[^#\n]*\bfilter=lfs\b", re.MULTILINE)


class SourceError(CommandError):
    """The source is not what it has to be: ``what`` is wrong with it, and what to do, ``fix``."""

    def __init__(self, what: str, fix: str = "") -> None:
        super().__init__(f"{what}. {fix}" if fix else what)
        self.what, self.fix = what, fix


def subfolder(root: Path, subdirectory: str) -> Path:
    """The folder of ``root`` that is the release: all of it, or `app_source.subdirectory`.

    :raises SourceError: when it is not there, with the folders that are.
    """
    if not subdirectory:
        return root
    folder = root / subdirectory
    # A link may lead out of the source, to what is nobody's business.
    if not folder.is_dir() or not folder.resolve().is_relative_to(root.resolve()):
        raise no_subdirectory(subdirectory, folders(root))
    return folder


def no_subdirectory(subdirectory: str, there: Iterable[str]) -> SourceError:
    """What to say of a folder that the source does not have, with those of its top level."""
    return SourceError(f"app_source.subdirectory: the source has no folder {subdirectory!r}", f"There are: {shown(there) or 'none'}")


def folders(root: Path) -> list[str]:
    """Names of the folders at the top of a tree, without hidden ones."""
    return sorted(path.name for path in root.iterdir() if path.is_dir() and not path.is_symlink() and not path.name.startswith("."))


def files(root: Path) -> Iterator[Path]:
    """Every file of a tree besides git's own, relative to it; links are not followed."""
    for top, below, names in os.walk(root):
        below[:] = sorted(name for name in below if name != ".git")
        yield from (Path(top, name).relative_to(root) for name in sorted(names) if name != ".git" and not Path(top, name).is_symlink())


def lfs_pointers(root: Path, names: Iterable[Path]) -> list[Path]:
    """Files of a tree that Git LFS has left as pointers."""
    return [name for name in names if _is_lfs_pointer(root / name)]


def _is_lfs_pointer(path: Path) -> bool:
    if path.is_symlink() or not path.is_file() or path.stat().st_size >= LFS_POINTER_MAX:
        return False
    with path.open("rb") as file:
        return file.read(len(LFS_POINTER)) == LFS_POINTER


def wants_lfs(root: Path) -> bool:
    """A `.gitattributes` of the tree asks for Git LFS."""
    return any(_LFS_ATTRIBUTE.search((root / name).read_text(errors="replace")) for name in files(root) if name.name == ".gitattributes")


def submodules(root: Path) -> list[str]:
    """Folders that `.gitmodules` says are other repositories."""
    try:
        return _SUBMODULE.findall((root / ".gitmodules").read_text(errors="replace"))
    except OSError:
        return []


def empty_submodules(root: Path, subdirectory: str = "") -> list[str]:
    """Submodules of the release that nobody has fetched: their folder has nothing in it. (Of one that was given up there is none.)"""
    inside = f"{subdirectory}/" if subdirectory else ""
    return [name for name in submodules(root) if f"{name}/".startswith(inside) and _is_empty(root / name)]


def _is_empty(folder: Path) -> bool:
    return folder.is_dir() and not {path.name for path in folder.iterdir()} - {".git"}


def require_whole(root: Path, subdirectory: str, remedy: str) -> None:
    """Refuse a tree that lacks what other repositories or Git LFS hold.

    :arg remedy: what to do, as the end of a sentence.
    """
    if empty := empty_submodules(root, subdirectory):
        raise SourceError(f"app_source: git submodules are not in the source: {shown(empty)}", remedy)
    folder = subfolder(root, subdirectory)
    if pointers := lfs_pointers(folder, files(folder)):
        raise SourceError(f"app_source: Git LFS has not fetched these files: {shown(map(str, pointers))}", remedy)


def shown(names: Iterable[str]) -> str:
    """The first few of ``names`` in one line, as text that any terminal takes."""
    everything = [os.fsencode(name).decode(errors="backslashreplace") for name in names]
    more = f" and {len(everything) - SHOWN} more" if len(everything) > SHOWN else ""
    return ", ".join(everything[:SHOWN]) + more
