# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""Django: the settings module of production, and what its settings say."""

from __future__ import annotations

import ast
import functools
import re
from dataclasses import dataclass, field

from ansible_collections.slipway.vps.plugins.module_utils.discover import code
from ansible_collections.slipway.vps.plugins.module_utils.discover.project import Project
from ansible_collections.slipway.vps.plugins.module_utils.discover.tree import Tree

#: Settings modules of production, and of a developer's machine, by their last name.
PRODUCTION = ("production", "prod", "live", "deploy")
LOCAL = ("local", "dev", "development", "test", "testing", "ci")


@dataclass(frozen=True)
class Settings:
    """What the settings module of production says, with what it imports from its neighbours."""

    module: str = ""
    source: str = ""
    #: Name to expression and the file it stands in.
    values: dict[str, tuple[ast.expr, str]] = field(default_factory=dict)

    def node(self, name: str) -> ast.expr | None:
        return self.values[name][0] if name in self.values else None

    def text(self, name: str) -> str:
        return code.text(self.node(name)) or code.text(_default(self.node(name)))

    def place(self, name: str) -> str | None:
        """The path that a setting stands for, seen from the top of the tree."""
        if name not in self.values:
            return None
        node, file = self.values[name]
        return code.place(node, file, self.names)

    @functools.cached_property
    def names(self) -> dict[str, ast.expr]:
        """What names mean, with the place that BASE_DIR and its like stand for: an expression is seen from the file that it is in."""
        found = {name: node for name, (node, _) in self.values.items()}
        for name in ("BASE_DIR", "PROJECT_DIR", "ROOT_DIR", "PROJECT_ROOT", "PROJECT_PATH"):
            if name in self.values:
                place = code.place(*self.values[name], {key: node for key, node in found.items() if key != name})
                found.update({name: ast.Constant(place)} if place is not None else {})
        return found


def _default(node: ast.expr | None) -> ast.expr | None:
    """The default of a value that is read from the environment."""
    return code.argument(node, 1, "default") if isinstance(node, ast.Call) else None


def settings(project: Project) -> Settings:
    """The settings of production of a Django project; empty for another."""
    if not project.is_django:
        return Settings()
    module, source = _module(project)
    return Settings(module, source, _values(project.tree, module, 0))


def _module(project: Project) -> tuple[str, str]:
    """What wsgi.py or asgi.py sets, else manage.py; a production module beside it where that is a developer's."""
    files = [path for path in project.tree.python if path.endswith(("/wsgi.py", "/asgi.py"))]
    stated = ""
    for path in [*files, "manage.py"]:
        for call in code.calls(project.tree.module(path)):
            if code.last(call.func) == "setdefault" and code.text(code.argument(call, 0)) == "DJANGO_SETTINGS_MODULE":
                stated = code.text(code.argument(call, 1))
        if stated:
            break
    else:
        path = "manage.py"
    package, _, name = stated.rpartition(".")
    beside = package if name in LOCAL else stated
    if name not in PRODUCTION:
        for one in PRODUCTION:
            for module in (f"{beside}.{one}", f"{stated}_{one}", f"{package}.{one}" if name in LOCAL else ""):
                if module and project.tree.has(f"{module.replace('.', '/')}.py"):
                    return module, f"{module.replace('.', '/')}.py"
    return stated, path


def _values(tree: Tree, module: str, depth: int) -> dict[str, tuple[ast.expr, str]]:
    """Names of a settings module, those of modules that it takes everything from among them."""
    path = tree.first(f"{module.replace('.', '/')}.py", f"{module.replace('.', '/')}/__init__.py")
    if not path or depth > 5:
        return {}
    found: dict[str, tuple[ast.expr, str]] = {}
    for statement in code.statements(tree.module(path).body):
        if isinstance(statement, ast.ImportFrom) and any(alias.name == "*" for alias in statement.names):
            package = module if path.endswith("/__init__.py") else module.rpartition(".")[0]
            for _ in range(statement.level - 1):
                package = package.rpartition(".")[0]
            whole = ".".join(part for part in (package if statement.level else "", statement.module or "") if part)
            found.update(_values(tree, whole, depth + 1))
        elif isinstance(statement, ast.Assign):
            found.update({target.id: (statement.value, path) for target in statement.targets if isinstance(target, ast.Name)})
        elif isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name) and statement.value:
            found[statement.target.id] = (statement.value, path)
    # A directory given in another file's words is seen from that file.
    return found


def engines(found: Settings) -> set[str]:
    """Kinds of databases in DATABASES: postgresql, mysql, sqlite3."""
    node = found.node("DATABASES")
    texts = [code.text(item) for item in ast.walk(node)] if node is not None else []
    return {engine.rpartition(".")[2] for engine in texts if re.fullmatch(r"[\w.]*backends\.\w+", engine)}


def apps(found: Settings) -> set[str]:
    """Everything that INSTALLED_APPS names."""
    node = found.node("INSTALLED_APPS")
    return {text for item in ast.walk(node) if (text := code.text(item))} if node is not None else set()
