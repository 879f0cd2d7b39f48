# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""What makes an app's tables where no migration does: the app itself, or a command that its author runs once."""

from __future__ import annotations

import ast
import posixpath
import re
from collections.abc import Iterator
from itertools import chain

from ansible_collections.slipway.vps.plugins.module_utils.discover import code, django, services
from ansible_collections.slipway.vps.plugins.module_utils.discover.findings import Finding, Note, Value
from ansible_collections.slipway.vps.plugins.module_utils.discover.project import Project

#: What such commands and scripts are called.
_NAME = re.compile(r"(init|create|setup|make|build)[-_]?(the[-_])?(db|database|tables?|schema|all)|db[-_](init|create|setup)")
#: What click takes off a function's name.
_SUFFIX = re.compile(r"_(command|cmd|group|grp)$")


def look(project: Project, settings: django.Settings) -> Iterator[Finding]:
    """The first of the app's own ways, for an app without a tool for migrations."""
    if made := next(chain(_commands(project), _scripts(project)), None):
        command, source = made
        if file := _sqlite_file(project, settings):
            # Such a command often clears what is there.
            line = f"sh -c 'test -s {file} || {command}'"
            yield Value("app_migrate_command", line, f"{source}: makes the tables; only where there is no file yet, as it may clear them")
        else:
            yield Note(
                f"{source} makes the tables ({command}). If it keeps what is there, say app_migrate_command: {command}, which runs at each"
                " deploy"
            )
        return
    for path in project.python:
        if any(code.last(call.func) == "create_all" for call in code.calls(project.tree.module(path))):
            yield Note(f"{path} makes its tables itself (create_all): it never changes one that is there; Flask-Migrate does")
            return


def _commands(project: Project) -> Iterator[tuple[str, str]]:
    """Commands of `flask` that the app adds, by click or by its own `cli`."""
    for path in project.python:
        for function in (node for node in ast.walk(project.tree.module(path)) if isinstance(node, ast.FunctionDef)):
            for decorator in function.decorator_list:
                called = decorator.func if isinstance(decorator, ast.Call) else decorator
                if code.dotted(called) not in ("click.command", "app.cli.command", "application.cli.command"):
                    continue
                stated = code.text(code.argument(decorator, 0, "name")) if isinstance(decorator, ast.Call) else ""
                name = stated or _SUFFIX.sub("", function.name).replace("_", "-")
                if _NAME.fullmatch(name):
                    yield f"flask {name}", path


def _scripts(project: Project) -> Iterator[tuple[str, str]]:
    """Scripts beside the app, as tutorials have them."""
    yield from ((f"python {path}", path) for path in project.tree.python if "/" not in path and _NAME.fullmatch(path.removesuffix(".py")))


def _sqlite_file(project: Project, settings: django.Settings) -> str:
    """The app's SQLite file as a command of the release finds it; empty where there is none in a place of its own.

    A name that a shell would have to quote counts as none.
    """
    place = next((place for place, _ in services.sqlite_files(project, settings)), "")
    if place.startswith("..") or not re.fullmatch(r"[\w.-][\w./-]*", place):
        return ""
    return place if posixpath.dirname(place) else f"{{{{ app_shared }}}}/{place}"
