# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""A release whose dependencies are locked, and the same as an earlier one's, has that one's virtual environment, by hard links.

Building it anew would bring the same files. What is not locked is built each time: today's index may have another version. A file of
requirements counts as locked when each line names one version; what those need besides, and it does not name, comes along as it is.
"""

from __future__ import annotations

import hashlib
import os
import posixpath
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from ansible_collections.slipway.vps.plugins.module_utils.dependencies import TOOLS, Chosen
from ansible_collections.slipway.vps.plugins.module_utils.project import Project
from ansible_collections.slipway.vps.plugins.module_utils.releases import Release
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core.run import Account, command

#: A requirement that one version satisfies, with its marker and its hashes.
_PINNED = re.compile(r"[A-Za-z0-9][\w.-]*\s*(\[[^\]]*\])?\s*===?\s*[^\s*;,]+\s*(;[^#]*?)?(\s+--hash=\S+)*")
#: Options of a file of requirements that say where packages come from, and files that it reads in turn.
_PLACES = re.compile(r"(-i|--index-url|--extra-index-url|--no-index|--require-hashes|--prefer-binary|--only-binary|--no-binary)\b.*")
_INCLUDES = re.compile(r"(?:-r|--requirement|-c|--constraint)[\s=]\s*(\S+)")
#: What a lock says of a dependency that lies in the source: its code changes without the lock.
_LOCAL = re.compile(
    r'^\s*(path|directory|editable)\s*=|\{ ?(path|directory|editable) =|"(path|editable)":|type = "(directory|file)"', re.MULTILINE
)
#: The app itself, in its own lock.
_ITSELF = re.compile(r'\{ ?(editable|virtual) = "\." ?\}')
#: Run by the builder: what names the folder of the release names the new one. In files of their own: the other release has these, too.
RELOCATE = """
import os, pathlib, sys
old, new = (f"{word}/".encode() for word in sys.argv[1:])
venv = pathlib.Path(sys.argv[2], ".venv")
for file in (venv / "pyvenv.cfg", *venv.glob("bin/*"), *venv.glob("lib/python*/site-packages/*.pth")):
    if not file.is_symlink() and file.is_file() and old in (content := file.read_bytes()):
        made = file.with_name(f".{file.name}.slipway")
        made.write_bytes(content.replace(old, new))
        made.chmod(file.stat().st_mode & 0o7777)
        os.replace(made, file)
"""


def locked(project: Project, chosen: Chosen, more: Sequence[str] = ()) -> list[str]:
    """All of the source that decides what the environment has; empty where another build may bring other versions, or other code.

    :arg more: requirements besides the source's: the server's, with what comes with that, and the operator's.
    """
    if not all(map(_PINNED.fullmatch, more)):
        return []
    if chosen.kind == "requirements.txt":
        texts = list(_requirements(project, chosen.file, set()))
    elif chosen.kind in (*TOOLS, "pylock.toml"):
        text = project.text(chosen.file)
        texts = [None if _LOCAL.search(_ITSELF.sub("", text)) else text]
        texts += [project.text(name) for name in ("pyproject.toml", "uv.toml", "Pipfile")]
    else:
        return []
    # How the app itself is placed there (Installer.place_app).
    itself = (project.name, str(project.is_package), str(project.needs_installation))
    return [] if None in texts else [chosen.kind, chosen.file, *filter(None, texts), *itself, *more]


def _requirements(project: Project, file: str, seen: set[str]) -> Iterator[str | None]:
    """The texts of a file of requirements and of those that it includes; None for what may be another version tomorrow."""
    if file in seen:
        return
    seen.add(file)
    text = project.text(file)
    yield text
    for line in re.sub(r"\\\n", " ", text).splitlines():
        said = re.sub(r"(^|\s)#.*", "", line).strip()
        if included := _INCLUDES.fullmatch(said):
            path = posixpath.normpath(posixpath.join(posixpath.dirname(file), included[1]))
            yield from _requirements(project, path, seen) if project.has(path) else [None]
        elif said and not _PINNED.fullmatch(said) and not _PLACES.fullmatch(said):
            yield None


def left(venv: Path) -> str:
    """A digest of the names, sizes and times of its files: whether somebody has changed it since. Bytecode counts for nothing."""
    digest = hashlib.sha256()

    def look(folder: str, place: str) -> None:
        # In the same order each time.
        for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
            if entry.name == "__pycache__" or entry.name.endswith(".pyc"):
                continue
            name, is_folder = f"{place}/{entry.name}", entry.is_dir(follow_symlinks=False)
            status = entry.stat(follow_symlinks=False)
            told = str(Path(entry.path).readlink()) if entry.is_symlink() else "" if is_folder else f"{status.st_size} {status.st_mtime_ns}"
            digest.update(f"{name}\0{told}\0".encode(errors="surrogateescape"))
            if is_folder:
                look(entry.path, name)

    look(str(venv), "")
    return digest.hexdigest()


def same(releases: Iterable[Release], live: str | None, wanted: str) -> list[Release]:
    """Releases whose environment was made of the same: the live one first, then the newest."""
    found = [release for release in releases if wanted and release.environment.get("of") == wanted]
    return sorted(found, key=lambda release: (release.id == live, release.id), reverse=True)


def take_over(old: Path, new: Path, account: Account) -> None:
    """Give the release in ``new`` the environment of the one in ``old``. By the builder: nothing that it left there leads root anywhere.

    :raises CommandError: when that cannot be done, for example where the file system has no hard links.
    """
    command("cp", "--archive", "--link", f"{old}/.venv", f"{new}/.venv", account=account)
    command("python3", "-I", "-S", "-c", RELOCATE, str(old), str(new), account=account)
