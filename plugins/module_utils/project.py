# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""What the files of a source say of the app as a Python project. Nothing is run, and no lock is read."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import tomllib
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core.run import CommandError

#: Tables of a Pipfile that are no groups of packages.
_PIPFILE = ("source", "packages", "requires", "scripts", "pipenv")
_PIN = re.compile(r"(?:cpython[-@]?|python-?)?(\d+\.\d+)\b")
_POETRY = re.compile(r"([\^~])\s*(\d+)(?:\.(\d+))?[\w.]*")


def normal(name: str) -> str:
    """A name of a project, an extra or a group, as PEP 503 compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


class Project:
    """The source in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def has(self, name: str) -> bool:
        return (self.folder / name).is_file()

    def text(self, name: str) -> str:
        """A file's text; empty without one. Root reads it: a link must not lead it elsewhere."""
        path = self.folder / name
        if not path.resolve().is_relative_to(self.folder.resolve()):
            raise CommandError(f"{name} is a link that leads out of the source")
        return path.read_text(errors="replace") if path.is_file() else ""

    def toml(self, name: str) -> Mapping[str, Any]:
        try:
            return tomllib.loads(self.text(name))
        except tomllib.TOMLDecodeError as error:
            raise CommandError(f"{name} cannot be read: {error}") from error

    @cached_property
    def pyproject(self) -> Mapping[str, Any]:
        return self.toml("pyproject.toml")

    @cached_property
    def pipfile(self) -> Mapping[str, Any]:
        return self.toml("Pipfile")

    def table(self, *keys: str) -> Mapping[str, Any]:
        """A table of pyproject.toml; empty without one."""
        found: Any = self.pyproject
        for key in keys:
            found = found.get(key, {}) if isinstance(found, Mapping) else {}
        return found if isinstance(found, Mapping) else {}

    @property
    def name(self) -> str:
        return normal(str(self.table("project").get("name") or self.table("tool", "poetry").get("name") or ""))

    @property
    def names_dependencies(self) -> bool:
        """Whether pyproject.toml is more than settings of tools."""
        return bool(self.table("project") or self.table("tool", "poetry").get("dependencies"))

    @property
    def is_package(self) -> bool:
        """Whether the app can be installed like a package, as the tool says that the project is made with."""
        for tool, switch in (("uv", "package"), ("poetry", "package-mode"), ("pdm", "distribution")):
            if switch in self.table("tool", tool):
                return bool(self.table("tool", tool)[switch])
        return "build-system" in self.pyproject or self.has("setup.py") or self.needs_installation

    @property
    def needs_installation(self) -> bool:
        """Commands and plugins of a package exist only where it is installed; its modules can be imported without that."""
        project, poetry = self.table("project"), self.table("tool", "poetry")
        said = (*(project.get(key) for key in ("scripts", "gui-scripts", "entry-points")), poetry.get("scripts"), poetry.get("plugins"))
        return any(said) or self.table("tool", "uv").get("package") is True

    def extras(self) -> set[str] | None:
        """Names of the app's extras; None where only a build could tell."""
        project = self.table("project")
        if "optional-dependencies" in project.get("dynamic", ()) or (self.has("setup.py") and not project):
            return None
        return {*self.table("project", "optional-dependencies"), *self.table("tool", "poetry", "extras")}

    def groups(self) -> set[str]:
        """Names of the app's dependency groups."""
        found = {*self.table("dependency-groups"), *self.table("tool", "poetry", "group"), *self.table("tool", "pdm", "dev-dependencies")}
        if "dev-dependencies" in self.table("tool", "uv"):
            found.add("dev")
        return found | {str(key) for key in self.pipfile if key not in _PIPFILE}

    @property
    def requires_python(self) -> tuple[str, str]:
        """The versions of Python that the app can run on, as PEP 440 writes it, and where that stands; both empty when nothing does."""
        if said := self.table("project").get("requires-python"):
            return str(said), "requires-python in pyproject.toml"
        if said := self.table("tool", "poetry", "dependencies").get("python"):
            return _from_poetry(str(said)), "python in pyproject.toml"
        if said := self.pipfile.get("requires", {}).get("python_version"):
            return f"=={said}.*", "python_version in Pipfile"
        return "", ""

    @property
    def pinned_python(self) -> tuple[str, str]:
        """The minor version that the app's developers use, and where that stands. Of a patch nothing depends."""
        for name in (".python-version", "runtime.txt"):
            lines: Iterable[str] = (line.strip() for line in self.text(name).splitlines())
            first = next((line for line in lines if line and not line.startswith("#")), "")
            if found := _PIN.match(first):
                return found[1], name
        return "", ""


def _from_poetry(said: str) -> str:
    """``^3.11`` and ``~3.11``, which only Poetry has, in the words of PEP 440."""

    def bounds(found: re.Match[str]) -> str:
        sign, major, minor = found.groups()
        following = f"{int(major) + 1}" if sign == "^" or minor is None else f"{major}.{int(minor) + 1}"
        return f">={found[0].lstrip('^~ ')},<{following}"

    # Of alternatives the first: uv's requests have no "or".
    first = said.split("||")[0].strip()
    text = _POETRY.sub(bounds, first) if "~=" not in first else first
    return f"=={text}" if re.match(r"\d", text) else text
