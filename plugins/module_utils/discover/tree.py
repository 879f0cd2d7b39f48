# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""A folder with somebody's app, read and never run: its files, their text, their Python."""

from __future__ import annotations

import ast
import functools
import json
import os
import warnings
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import tomllib

#: Folders that hold other people's code, or what a tool left.
IGNORED = frozenset(
    {
        *(".git", ".hg", ".svn", ".venv", "venv", "env", "node_modules", "__pycache__", "site-packages", ".tox", ".nox", ".eggs"),
        *(".mypy_cache", ".pytest_cache", ".ruff_cache", ".idea", ".vscode", "htmlcov", "bower_components"),
    }
)
#: Folders whose Python is not what visitors reach.
ASIDE = frozenset({"tests", "test", "docs", "doc", "examples", "example", "scripts", "migrations", "alembic", "versions", "benchmarks"})
#: Largest file that is read, and the most files that are looked at.
SIZE_MAX = 2**20
FILES_MAX = 20_000


class Tree:
    """Read-only. Paths are relative to the top, as text with slashes; nothing outside is read, also not through a link."""

    def __init__(self, top: Path) -> None:
        self.top = top.resolve()

    @functools.cached_property
    def files(self) -> tuple[str, ...]:
        """All files, those near the top first."""
        found: list[str] = []
        for folder, folders, names in os.walk(self.top):
            here = Path(folder)
            # A virtual environment of any name has this file.
            folders[:] = sorted(name for name in folders if name not in IGNORED and not (here / name / "pyvenv.cfg").exists())
            found += [(here / name).relative_to(self.top).as_posix() for name in names]
            if len(found) > FILES_MAX:
                break
        return tuple(sorted(found, key=lambda path: (path.count("/"), path)))

    @functools.cached_property
    def folders(self) -> frozenset[str]:
        return frozenset(str(parent) for path in self.files for parent in PurePosixPath(path).parents)

    def has(self, path: str) -> bool:
        return path in self._known

    @functools.cached_property
    def _known(self) -> frozenset[str]:
        return frozenset(self.files)

    def first(self, *paths: str) -> str:
        """The first of these files that is there; empty where none is."""
        return next((path for path in paths if self.has(path)), "")

    def below(self, folder: str) -> Iterator[str]:
        return (path for path in self.files if path.startswith(f"{folder}/"))

    @functools.cache  # noqa: B019 - a tree lives as long as the run
    def text(self, path: str) -> str:
        """The text of a file; empty where there is none, or none that is text."""
        place = (self.top / path).resolve()
        if not self.has(path) or not place.is_relative_to(self.top) or not place.is_file() or place.stat().st_size > SIZE_MAX:
            return ""
        return place.read_text(encoding="utf-8-sig", errors="replace")

    def lines(self, path: str) -> list[str]:
        """Lines without comments and blanks around them."""
        return [line for line in (line.strip() for line in self.text(path).splitlines()) if line and not line.startswith("#")]

    def toml(self, path: str) -> dict[str, Any]:
        try:
            return tomllib.loads(self.text(path))
        except tomllib.TOMLDecodeError:
            return {}

    def json(self, path: str) -> dict[str, Any]:
        try:
            found = json.loads(self.text(path) or "{}")
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}

    @functools.cache  # noqa: B019
    def module(self, path: str) -> ast.Module:
        """A Python file as a syntax tree; an empty one where it is none."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                return ast.parse(self.text(path))
            except (SyntaxError, ValueError, RecursionError):
                return ast.Module(body=[], type_ignores=[])

    @functools.cached_property
    def python(self) -> tuple[str, ...]:
        """The Python files of the app itself."""
        return tuple(path for path in self.files if path.endswith(".py") and not is_aside(path))


def is_aside(path: str) -> bool:
    """Whether a Python file is a test, a migration, a script."""
    *folders, name = path.split("/")
    return bool(ASIDE.intersection(folders)) or name.startswith(("test_", "conftest")) or name.endswith("_test.py") or name == "setup.py"
