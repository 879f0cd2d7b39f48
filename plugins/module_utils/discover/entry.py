# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""The entry point: what a server imports and calls."""

from __future__ import annotations

import ast
import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass

from ansible_collections.slipway.vps.plugins.module_utils.discover import code, commands
from ansible_collections.slipway.vps.plugins.module_utils.discover.project import Entry
from ansible_collections.slipway.vps.plugins.module_utils.discover.tree import Tree

#: Calls that make an app, by what they are imported as, and whether the app is ASGI.
FRAMEWORKS = {
    **dict.fromkeys(
        (
            *("flask.Flask", "apiflask.APIFlask", "flask_openapi3.OpenAPI", "connexion.FlaskApp", "connexion.App"),
            *("falcon.App", "falcon.API", "bottle.Bottle", "bottle.default_app", "dash.Dash", "django.core.wsgi.get_wsgi_application"),
            *("hug.API", "pyramid.config.Configurator"),
        ),
        False,
    ),
    **dict.fromkeys(
        (
            *("quart.Quart", "fastapi.FastAPI", "starlette.applications.Starlette", "litestar.Litestar", "falcon.asgi.App"),
            *("connexion.AsyncApp", "blacksheep.Application", "django.core.asgi.get_asgi_application", "sanic.Sanic"),
            *("socketio.ASGIApp", "asgiref.wsgi.WsgiToAsgi", "channels.routing.ProtocolTypeRouter"),
        ),
        True,
    ),
}
#: What serves itself and is neither WSGI nor ASGI.
OWN_SERVERS = ("aiohttp.web.Application", "tornado.web.Application", "streamlit", "gradio.Blocks", "gradio.Interface")
FACTORIES = ("create_app", "make_app", "app_factory", "build_app", "get_app", "create_application", "init_app")
#: Names that an app usually has, the usual ones first.
NAMES = ("app", "application", "api", "server", "wsgi", "asgi", "asgi_app", "wsgi_app")
#: Files that exist to hold the entry point.
SERVED = ("wsgi.py", "asgi.py", "passenger_wsgi.py")
USUAL = ("app.py", "application.py", "main.py", "__init__.py", "server.py", "api.py", "run.py")


@dataclass(frozen=True)
class Candidate:
    """One way to reach an app."""

    file: str
    name: str
    asgi: bool
    factory: bool = False
    #: Names of arguments that a factory must be given.
    wants: tuple[str, ...] = ()

    @property
    def rank(self) -> tuple[int, int, int, int]:
        """Files made for it, then factories, then the usual file names."""
        file = self.file.rpartition("/")[2]
        sort = 0 if file in SERVED else 1 if self.factory else 2
        usual = USUAL.index(file) if file in USUAL else len(USUAL)
        return sort, self.file.count("/") - (file == "__init__.py"), NAMES.index(self.name) if self.name in NAMES else len(NAMES), usual


def find(tree: Tree) -> Entry:
    """The entry point of a project, the author's own word first: Procfile and other command lines, .flaskenv, then the code."""
    known = list(candidates(tree))
    for line, source in commands.lines(tree):
        if (served := commands.server(line)) and served.target and (entry := _stated(tree, served, source, known)):
            return entry
    for path in (".flaskenv", ".env.example", ".env.sample", ".env.template", ".env.dist"):
        for line in tree.lines(path):
            name, _, value = line.removeprefix("export ").partition("=")
            target = value.strip().strip("\"'").removesuffix(".py").replace("/", ".")
            if name.strip() == "FLASK_APP" and target and (entry := _stated(tree, commands.Server(target), f"{path}: FLASK_APP", known)):
                return entry
    target = str(tree.toml("pyproject.toml").get("tool", {}).get("fastapi", {}).get("entrypoint", ""))
    if target and (entry := _stated(tree, commands.Server(target, asgi=True), "pyproject.toml: tool.fastapi", known)):
        return entry
    usable = sorted((one for one in known if not one.wants), key=lambda one: one.rank)
    if usable:
        return _entry(tree, usable[0])
    return _argument(tree, known) or Entry(problem=_why(tree, known))


# --- Where apps are made --------------------------------------------------------------------------


def candidates(tree: Tree) -> Iterator[Candidate]:
    """Every factory, and every name that is bound to an app when its module is imported."""
    makers = _makers(tree)
    factories = {one.name: one.asgi for one in _factories(tree, makers)}
    for path in tree.python:
        yield from _factories_of(tree, path, makers)
        yield from _plain(tree, path)
        for name, value in code.bindings(tree.module(path).body):
            asgi = _made(tree, path, value, makers, factories)
            if asgi is not None and (name in NAMES or (isinstance(value, ast.Call) and _is_maker(tree, path, value, makers, factories))):
                if _maker_name(tree, path, value).endswith(".Dash"):
                    continue  # Its attribute `server` is the app.
                yield Candidate(path, name, asgi)
            elif name == "server" and isinstance(value, ast.Attribute) and value.attr == "server":
                yield Candidate(path, name, asgi=False)
        if path.rpartition("/")[2] in SERVED:
            yield from _bound_in_served(tree, path)


def _plain(tree: Tree, path: str) -> Iterator[Candidate]:
    """A callable by the letter of the specification: `def app(environ, start_response)`, `async def app(scope, receive, send)`."""
    for statement in code.statements(tree.module(path).body):
        if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef)) and statement.name in NAMES:
            count = len(statement.args.posonlyargs) + len(statement.args.args)
            asgi = isinstance(statement, ast.AsyncFunctionDef)
            if count == (3 if asgi else 2):
                yield Candidate(path, statement.name, asgi)


def _bound_in_served(tree: Tree, path: str) -> Iterator[Candidate]:
    """In a file made for it any `application` or `app` counts, also one that is imported."""
    asgi = path.endswith("asgi.py")
    bound = {name for name, _ in code.bindings(tree.module(path).body)}
    for statement in code.statements(tree.module(path).body):
        if isinstance(statement, ast.ImportFrom):
            bound |= {alias.asname or alias.name for alias in statement.names}
    names = [name for name in ("application", "app") if name in bound]
    yield from (Candidate(path, name, asgi) for name in names[:1])


def _makers(tree: Tree) -> dict[str, bool]:
    """`FRAMEWORKS`, and the app's own classes that derive from one of them (by their bare name)."""
    found = dict(FRAMEWORKS)
    for path in tree.python:
        names = code.imported(tree.module(path))
        for node in code.statements(tree.module(path).body):
            for base in node.bases if isinstance(node, ast.ClassDef) else ():
                if isinstance(node, ast.ClassDef) and (whole := _full(code.dotted(base), names)) in FRAMEWORKS:
                    found[node.name] = FRAMEWORKS[whole]
    return found


def _factories(tree: Tree, makers: dict[str, bool]) -> Iterator[Candidate]:
    return (one for path in tree.python for one in _factories_of(tree, path, makers))


def _factories_of(tree: Tree, path: str, makers: dict[str, bool]) -> Iterator[Candidate]:
    names = code.imported(tree.module(path))
    for function in code.functions(tree.module(path)):
        nodes = list(code.own_nodes(function))
        made = [makers[whole] for node in nodes if isinstance(node, ast.Call) and (whole := _maker(node, names, makers))]
        gives = any(isinstance(node, ast.Return) and node.value is not None for node in nodes)
        if gives and (made or function.name == "create_app") and (function.name in FACTORIES or _gives_app(function, nodes, names, makers)):
            known = function.args
            positional = [*known.posonlyargs, *known.args]
            wants = [one.arg for one in positional[: len(positional) - len(known.defaults)]]
            wants += [one.arg for one, default in zip(known.kwonlyargs, known.kw_defaults, strict=True) if default is None]
            asgi = any(made) or (not made and _imports_asgi(names))
            yield Candidate(path, function.name, asgi, factory=True, wants=tuple(wants))


def _imports_asgi(names: dict[str, str]) -> bool:
    return any(whole in FRAMEWORKS and FRAMEWORKS[whole] for whole in names.values())


def _gives_app(function: ast.FunctionDef, nodes: list[ast.AST], names: dict[str, str], makers: dict[str, bool]) -> bool:
    """Whether a function with a name of its own returns what a framework made."""
    made = {
        target.id
        for node in nodes
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call) and _maker(node.value, names, makers)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    returned = [node.value for node in nodes if isinstance(node, ast.Return)]
    return any(isinstance(value, ast.Name) and value.id in made for value in returned)


def _full(name: str, names: dict[str, str]) -> str:
    """A dotted name with its first part as it was imported."""
    head, _, rest = name.partition(".")
    whole = names.get(head, head)
    return f"{whole}.{rest}" if rest else whole


def _maker(call: ast.Call, names: dict[str, str], makers: dict[str, bool]) -> str:
    """The framework that a call makes an app of; empty where it makes none."""
    whole = _full(code.dotted(call.func), names)
    if whole in makers:
        return whole
    bare = whole.rpartition(".")[2]
    return bare if bare in makers else ""


def _maker_name(tree: Tree, path: str, value: ast.expr) -> str:
    return _full(code.dotted(value.func), code.imported(tree.module(path))) if isinstance(value, ast.Call) else ""


def _is_maker(tree: Tree, path: str, call: ast.Call, makers: dict[str, bool], factories: dict[str, bool]) -> bool:
    return bool(_maker(call, code.imported(tree.module(path)), makers)) or code.last(call.func) in factories


def _made(tree: Tree, path: str, value: ast.expr, makers: dict[str, bool], factories: dict[str, bool]) -> bool | None:
    """Whether an expression makes an app, and if so whether that is ASGI; the outermost call decides."""
    if not isinstance(value, ast.Call):
        return None
    names = code.imported(tree.module(path))
    for call in code.calls(value):
        if whole := _maker(call, names, makers):
            return makers[whole]
        if code.last(call.func) in factories:
            return factories[code.last(call.func)]
    return None


# --- From a file to module:callable ---------------------------------------------------------------


def root_of(tree: Tree, path: str) -> str:
    """The folder that Python has to look in to import a file by its whole name: the nearest that is no package."""
    folder = posixpath.dirname(path)
    while folder and tree.has(f"{folder}/__init__.py"):
        folder = posixpath.dirname(folder)
    return folder or "."


def module_of(path: str, root: str) -> str:
    bare = path if root == "." else path.removeprefix(f"{root}/")
    return bare.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def _file_of(tree: Tree, module: str, folder: str = "") -> str:
    """The file of a module that a command line names."""
    path = module.replace(".", "/")
    for root in dict.fromkeys((f"{folder}/" if folder else "", "", "src/")):
        if found := tree.first(f"{root}{path}.py", f"{root}{path}/__init__.py"):
            return found
    return ""


def _stated(tree: Tree, served: commands.Server, source: str, known: list[Candidate]) -> Entry | None:
    """The entry point that somebody wrote down, where its module is there."""
    module, _, name = served.target.partition(":")
    if not (file := _file_of(tree, module, served.folder)):
        return None
    here = sorted((one for one in known if one.file == file and not one.wants), key=lambda one: (one.factory, one.rank))
    same = next((one for one in known if one.file == file and one.name == name.partition("(")[0]), None)
    if not name:
        # Flask takes the module's app, or its factory; Gunicorn `application`.
        if not here:
            return None
        same = here[0]
        name = same.name + ("()" if same.factory else "")
    elif same and same.factory and not name.endswith(")") and not same.wants:
        name += "()"
    root = root_of(tree, file)
    asgi = served.asgi if same is None else same.asgi or (served.asgi and not same.file)
    return Entry(f"{module_of(file, root)}:{name}", source, asgi, file, root)


def _entry(tree: Tree, one: Candidate) -> Entry:
    root = root_of(tree, one.file)
    target = f"{module_of(one.file, root)}:{one.name}{'()' if one.factory else ''}"
    return Entry(target, f"{one.file}: {one.name}", one.asgi, one.file, root)


def _argument(tree: Tree, known: list[Candidate]) -> Entry | None:
    """A factory that must be told which configuration: `production`, where the app has one of that name."""
    keys = {key for path in tree.python for key in code.dictionary_keys(tree.module(path))}
    wanted = next((key for key in ("production", "prod") if key in keys), "")
    for one in sorted(known, key=lambda one: one.rank):
        if wanted and len(one.wants) == 1 and re.search(r"conf|env|setting|mode|name", one.wants[0]):
            root = root_of(tree, one.file)
            source = f"{one.file}: {one.name}, with the configuration {wanted!r}"
            return Entry(f"{module_of(one.file, root)}:{one.name}({wanted!r})", source, one.asgi, one.file, root)
    return None


def _why(tree: Tree, known: list[Candidate]) -> str:
    """Why there is nothing to start, and what to do."""
    for one in known:
        return f"{one.file}: {one.name} must be given {', '.join(one.wants)}: write module:{one.name}(…) with the value of production"
    makers = _makers(tree)
    for path in tree.python:
        names = code.imported(tree.module(path))
        for function in code.functions(tree.module(path)):
            if any(isinstance(node, ast.Call) and _maker(node, names, makers) for node in code.own_nodes(function)):
                return f"{path}: {function.name} makes the app and keeps it: let it return the app (or bind it at the top of the file)"
        for call in code.calls(tree.module(path)):
            if _full(code.dotted(call.func), names) in OWN_SERVERS:
                return f"{path}: {_full(code.dotted(call.func), names)} serves itself; Slipway serves WSGI and ASGI apps"
        guarded = [node for node in ast.walk(tree.module(path)) if isinstance(node, ast.Call) and _maker(node, names, makers)]
        if guarded:
            return f"{path}: the app is made where an import does not reach it (below __main__): bind it at the top of the file"
    return "no WSGI or ASGI app was found: write module:callable of yours"
