"""Git repositories of the tests, with nothing of this machine's git."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

#: First lines of what stands for a file that Git LFS has not fetched.
POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 12345\n"


def plain(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    """Neither this machine's settings nor a work tree that the temporary folder may lie in. Submodules may be local."""
    for name in list(os.environ):
        if name.startswith("GIT_"):
            monkeypatch.delenv(name)
    (home / ".gitconfig").write_text('[user]\n\tname = Test\n\temail = test@example.com\n[protocol "file"]\n\tallow = always\n')
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", "/dev/null")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(home))


def git(folder: Path, *words: str) -> str:
    return subprocess.run(["git", "-C", folder, *words], check=True, capture_output=True, text=True).stdout.strip()


def committed(folder: Path, files: dict[str, str], message: str = "change") -> str:
    """Write ``files`` into a repository, which is made where there is none, and commit all of it."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    if not (folder / ".git").exists():
        git(folder, "init", "--quiet", "--initial-branch=main")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", message)
    return git(folder, "rev-parse", "HEAD")
