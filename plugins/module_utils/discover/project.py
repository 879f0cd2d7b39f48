# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""What every subject looks at: the tree, what the project says it needs, and its entry point."""

from __future__ import annotations

import ast
import functools
import re
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.slipway.vps.plugins.module_utils.discover import code, commands
from ansible_collections.slipway.vps.plugins.module_utils.discover.tree import Tree

#: Files that say what a project needs.
NEEDS = ("pyproject.toml", "requirements.txt", "Pipfile", "setup.py", "setup.cfg", "uv.lock", "poetry.lock", "pdm.lock", "pylock.toml")
_REQUIREMENTS = re.compile(r"(requirements|reqs?)([-_.]\w+)*\.(txt|in)|requirements/[\w.-]+\.(txt|in)")


@dataclass(frozen=True)
class Entry:
    """How a server reaches the app."""

    #: `module:callable`, `module:factory()`; empty where nothing was found.
    target: str = ""
    source: str = ""
    asgi: bool = False
    #: File that makes the app, and the folder that Python has to look in.
    file: str = ""
    root: str = "."
    #: Why nothing can be started, in words for the operator.
    problem: str = ""


@dataclass(frozen=True)
class Project:
    """Read-only, like its tree."""

    tree: Tree
    entry: Entry = field(default_factory=Entry)

    @functools.cached_property
    def pyproject(self) -> dict[str, Any]:
        return self.tree.toml("pyproject.toml")

    @functools.cached_property
    def procfile(self) -> dict[str, str]:
        return commands.procfile(self.tree)

    @functools.cached_property
    def requirements(self) -> dict[str, str]:
        """Projects that the app names as what it needs: normalised name to the line or table that says so."""
        found: dict[str, str] = {}
        for path in self.tree.files:
            if _REQUIREMENTS.fullmatch(path):
                found.update({name(line): line for line in self.tree.lines(path) if re.match(r"[A-Za-z0-9]", line)})
        project = self.pyproject.get("project", {})
        listed = [
            *project.get("dependencies", []),
            *(line for lines in project.get("optional-dependencies", {}).values() for line in lines),
        ]
        listed += [line for lines in self.pyproject.get("dependency-groups", {}).values() for line in lines if isinstance(line, str)]
        found.update({name(line): line for line in listed})
        poetry = self.pyproject.get("tool", {}).get("poetry", {})
        tables = [poetry.get("dependencies", {}), *(group.get("dependencies", {}) for group in poetry.get("group", {}).values())]
        tables.append(self.tree.toml("Pipfile").get("packages", {}))
        found.update({name(key): f"{key}{_extras(value)}" for table in tables for key, value in table.items()})
        setup = next((node for node in code.calls(self.tree.module("setup.py")) if code.last(node.func) == "setup"), None)
        lines = code.literal(code.keyword(setup, "install_requires")) if setup else None
        return {**found, **{name(line): line for line in lines or [] if isinstance(line, str)}}

    @functools.cached_property
    def own_names(self) -> frozenset[str]:
        """What the project and its packages are called, as a prefix of a variable would spell it."""
        stated = str(self.pyproject.get("project", {}).get("name", ""))
        parts = {part.removesuffix(".py") for path in self.tree.python for part in path.split("/")}
        return frozenset(re.sub(r"\W", "_", part.lower()) for part in {stated, *parts} if part)

    def needs(self, *names: str) -> str:
        """The first of these that the project needs; empty where it needs none."""
        return next((one for one in names if one in self.requirements), "")

    @functools.cached_property
    def is_django(self) -> bool:
        return self.tree.has("manage.py") and "DJANGO_SETTINGS_MODULE" in self.tree.text("manage.py")

    @functools.cached_property
    def python(self) -> tuple[str, ...]:
        """The Python files that the app and its workers may run: not what lies beside them and is imported by neither.

        A package counts as a whole, since its modules are often found by their names.
        """
        if self.is_django or not self.entry.file:
            return self.tree.python
        seeds = {
            self.entry.file,
            *(path for path in self.tree.python if re.search(r"^\s*(from|import) (celery|rq|dramatiq|huey)\b", self.tree.text(path), re.M)),
        }
        words = {re.split(r"[.:]", word)[0] for command in self.procfile.values() for word in command.replace("/", ".").split()}
        waiting = [*seeds, *(path for word in words for path in self._of(word))]
        found: set[str] = set()
        while waiting:
            if (path := waiting.pop()) in found:
                continue
            found.add(path)
            waiting += (
                self._of(path.removeprefix(f"{self.entry.root}/").partition("/")[0])
                if "/" in path.removeprefix(f"{self.entry.root}/")
                else []
            )
            for whole in code.imported(self.tree.module(path)).values():
                waiting += self._of(whole.lstrip(".").partition(".")[0])
        return tuple(path for path in self.tree.python if path in found)

    def _of(self, name_: str) -> list[str]:
        """The files of a module or package beside the app's own."""
        here = "" if self.entry.root == "." else f"{self.entry.root}/"
        wanted = (f"{here}{name_}.py", f"{here}{name_}/")
        return [path for path in self.tree.python if name_ and (path == wanted[0] or path.startswith(wanted[1]))]

    @functools.cached_property
    def names(self) -> dict[str, dict[str, ast.expr]]:
        """Of each Python file the names that it binds at import, those of classes too."""
        found: dict[str, dict[str, ast.expr]] = {}
        for path in self.tree.python:
            body = self.tree.module(path).body
            bound = dict(code.bindings(body))
            for statement in code.statements(body):
                if isinstance(statement, ast.ClassDef):
                    bound = {**dict(code.bindings(statement.body)), **bound}
            found[path] = bound
        return found

    def literal_of(self, *wanted: str) -> tuple[str, str]:
        """The first constant text that a name, attribute, key or argument of these names is set to, and the file."""
        for path in self.python:
            for name_, value in self.names[path].items():
                if name_ in wanted and (found := code.text(value)):
                    return found, path
            for node in ast.walk(self.tree.module(path)):
                if found := code.text(code.stated(node, wanted)):
                    return found, path
        return "", ""

    def imports(self, module: str) -> str:
        """The first file of the app that imports a module; empty where none does."""
        for path in self.python:
            for found in code.imported(self.tree.module(path)).values():
                if found == module or found.startswith(f"{module}."):
                    return path
        return ""


def name(requirement: str) -> str:
    """The normalised name of a requirement: `flask-login` of `Flask_Login[x]>=1`."""
    return re.sub(r"[-_.]+", "-", re.split(r"[\s\[<>=!~;@(]", requirement.strip(), maxsplit=1)[0]).lower()


def _extras(value: Any) -> str:
    extras = value.get("extras") if isinstance(value, dict) else None
    return f"[{','.join(extras)}]" if extras else ""
