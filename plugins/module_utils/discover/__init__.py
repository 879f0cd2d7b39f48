# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""What an app needs, read out of its files: each module looks at one subject, and runs nothing of the app."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from ansible_collections.slipway.vps.plugins.module_utils.discover import build, code, django, environment, processes, services, web
from ansible_collections.slipway.vps.plugins.module_utils.discover.entry import find
from ansible_collections.slipway.vps.plugins.module_utils.discover.findings import Finding, Findings, Note, Value, question
from ansible_collections.slipway.vps.plugins.module_utils.discover.project import NEEDS, Entry, Project
from ansible_collections.slipway.vps.plugins.module_utils.discover.tree import Tree


def discover(top: Path) -> Findings:
    """All findings of the app in a folder; of the one folder below it that holds an app, where the top holds none."""
    found = Findings()
    project, folder, others = _project(Tree(top))
    if folder:
        found.add([Value("app_source", folder, f"the app is in {folder}/", key="subdirectory")])
    if others:
        found.add(entry(project))
        found.add([Note(f"there are several apps, in {', '.join(others)}: call init for each (APP=…/{others[0]})", stops=True)])
        return found
    settings = django.settings(project)
    found.add(entry(project))
    found.add(_framework(project, settings))
    for subject in (processes, web):
        found.add(subject.look(project, settings))
    found.add(services.look(project, settings))
    found.add(build.look(project, settings))
    found.add(environment.look(project, settings))
    return found


def _project(tree: Tree) -> tuple[Project, str, list[str]]:
    """The app at the top, or in the one folder that has an app and says what it needs; the folders where there are several."""
    at_top = find(tree)
    # A module of a folder that is a project of its own is reached from there.
    inner = [path.rpartition("/")[0] for path in tree.files if "/" in path and path.rpartition("/")[2] in (*NEEDS, "manage.py")]
    folders = [
        folder for folder in dict.fromkeys(inner) if folder.count("/") < 3 and not set(folder.split("/")) & {"tests", "docs", "examples"}
    ]
    if at_top.target and not any(f"{at_top.file}/".startswith(f"{folder}/") for folder in folders):
        return Project(tree, at_top), "", []
    apps = {folder: found for folder in folders if (found := find(Tree(tree.top / folder))).target}
    # Of a folder within another the outer one is meant.
    outer = [folder for folder in apps if not any(folder.startswith(f"{other}/") for other in apps)]
    if len(outer) == 1:
        return Project(Tree(tree.top / outer[0]), apps[outer[0]]), outer[0], []
    return Project(tree, at_top if not outer else Entry(problem="say which of the apps is meant")), "", outer


def entry(project: Project) -> Iterator[Finding]:
    """The entry point, or why there is none."""
    one = project.entry
    if not one.target:
        yield question("app_wsgi", one.problem, "no entry point was found")
        return
    if not re.fullmatch(r"[A-Za-z_][\w.]*:.+", one.target):
        better = one.file.replace("-", "_")
        ask = f"{one.file} has a name that Python's import does not take: rename it to {better}, or write a wsgi.py that loads it"
        yield question("app_wsgi", ask, one.source)
        return
    if one.root in (".", "src"):
        yield Value("app_wsgi", one.target, one.source)
    elif not _imports_neighbours(project):
        # A folder without __init__.py is a package all the same.
        yield Value("app_wsgi", f"{one.root.replace('/', '.')}.{one.target}", one.source)
    else:
        yield Value("app_wsgi", one.target, one.source)
        what = f"{one.file} imports its neighbours as if it were started in {one.root}/"
        yield Value("app_env", one.root, what, key="PYTHONPATH")


def _imports_neighbours(project: Project) -> bool:
    """Whether modules in the entry point's folder are imported by their bare names."""
    root = project.entry.root
    names = {
        path.removeprefix(f"{root}/").partition("/")[0].removesuffix(".py") for path in project.tree.below(root) if path.endswith(".py")
    }
    text = "\n".join(project.tree.text(path) for path in project.tree.below(root) if path.endswith(".py"))
    return any(re.search(rf"^\s*(from|import) {re.escape(name)}\b", text, re.MULTILINE) for name in names)


def _framework(project: Project, settings: django.Settings) -> Iterator[Finding]:
    """What the framework wants to be told, and what would go wrong without a word."""
    if settings.module:
        yield Value("app_env", settings.module, settings.source, key="DJANGO_SETTINGS_MODULE")
        hosts = settings.node("ALLOWED_HOSTS")
        if hosts is None or code.literal(hosts) == []:
            yield Note(
                "ALLOWED_HOSTS is empty, so Django answers every visitor with 400: read it from the environment (TRUSTED_HOSTS)", stops=True
            )
        elif isinstance(listed := code.literal(hosts), list) and "*" not in listed:
            yield Note(f"ALLOWED_HOSTS holds {', '.join(map(str, listed))}: your domain must be among them (or read TRUSTED_HOSTS)")
    secret, file = project.literal_of("SECRET_KEY", "secret_key")
    if settings.module:
        secret, file = code.text(settings.node("SECRET_KEY")), settings.values.get("SECRET_KEY", (None, ""))[1]
    if secret:
        yield Note(f"{file} holds SECRET_KEY itself: whoever reads the code signs sessions; read it from the environment")
    for path in project.python:
        for statement in code.statements(project.tree.module(path).body):
            if path == project.entry.file and _runs(project, statement):
                yield Note(f"{path} calls run() when it is imported: put it below if __name__ == '__main__'", stops=True)


def _runs(project: Project, statement: ast.stmt) -> bool:
    name = project.entry.target.partition(":")[2]
    call = statement.value if isinstance(statement, ast.Expr) else None
    return isinstance(call, ast.Call) and code.dotted(call.func) in (f"{name}.run", "uvicorn.run", "serve", "socketio.run")
