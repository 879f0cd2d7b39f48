# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""What visitors reach besides the app's own pages: static files, uploads, health routes, the prefix."""

from __future__ import annotations

import ast
import posixpath
import re
from collections.abc import Container, Iterator

from ansible_collections.slipway.vps.plugins.module_utils.discover import build, code, django
from ansible_collections.slipway.vps.plugins.module_utils.discover.entry import FRAMEWORKS
from ansible_collections.slipway.vps.plugins.module_utils.discover.findings import Finding, Note, Value
from ansible_collections.slipway.vps.plugins.module_utils.discover.project import Project

READY = (
    *(
        "/healthz/ready",
        "/health/ready",
        "/readyz",
        "/ready",
        "/healthz",
        "/health",
        "/_health",
        "/-/health",
        "/healthcheck",
        "/health-check",
    ),
    *("/api/health", "/up", "/ping", "/heartbeat", "/status"),
)
LIVE = ("/healthz/live", "/health/live", "/livez", "/live", "/alive")
#: What the contract takes where nothing is said, so it need not be.
USUAL = {"app_health_ready": "/healthz/ready", "app_health_live": "/healthz/live"}
#: Calls that bind a path to a view; the path is their first argument.
_ROUTES = frozenset({"route", "get", "add_url_rule", "path", "re_path", "url", "Route", "add_route", "add_api_route", "api_route"})
#: Calls that bind a path to a WebSocket: Quart, FastAPI, Starlette.
_SOCKETS = frozenset({"websocket", "add_websocket", "websocket_route", "add_websocket_route", "add_api_websocket_route", "WebSocketRoute"})
_PREFIX = re.compile(r"/([\w.~+-]+/)+")


def look(project: Project, settings: django.Settings) -> Iterator[Finding]:
    yield from static(project, settings)
    yield from uploads(project, settings)
    yield from health(project)
    yield from websockets(project)
    yield from prefix(project)


# --- Static files ---------------------------------------------------------------------------------


def static(project: Project, settings: django.Settings) -> Iterator[Finding]:
    if project.is_django:
        yield from _django_static(project, settings)
        return
    for path in project.python:
        names = code.imported(project.tree.module(path))
        for call in code.calls(project.tree.module(path)):
            whole = _whole(call, names)
            if whole.rpartition(".")[2] in ("Flask", "Quart", "APIFlask", "OpenAPI") and whole in FRAMEWORKS:
                yield from _flask_static(project, path, call)
            elif (code.last(call.func) == "mount" and len(call.args) > 1) or whole.rpartition(".")[2] == "Mount":
                yield from _mounted(project, path, call)


def _whole(call: ast.Call, names: dict[str, str]) -> str:
    head, _, rest = code.dotted(call.func).partition(".")
    whole = names.get(head, head)
    return f"{whole}.{rest}" if rest else whole


def _flask_static(project: Project, path: str, call: ast.Call) -> Iterator[Finding]:
    """`static` beside the module that makes the app, below /static/, unless the call says otherwise."""
    stated = code.keyword(call, "static_folder")
    if stated is not None and code.literal(stated) is None and not isinstance(stated, ast.Constant):
        folder = code.place(stated, path, project.names[path])
    elif isinstance(stated, ast.Constant) and stated.value is None:
        return
    else:
        folder = posixpath.normpath(posixpath.join(posixpath.dirname(path), code.text(stated) or "static"))
    url = code.text(code.keyword(call, "static_url_path"))
    address = url if code.keyword(call, "static_url_path") is not None else "/" + posixpath.basename(folder or "static")
    yield from _served(project, address, folder, path)


def _mounted(project: Project, path: str, call: ast.Call) -> Iterator[Finding]:
    """Starlette's `mount("/static", StaticFiles(directory="static"))`."""
    files = next((inner for inner in code.calls(call) if code.last(inner.func) == "StaticFiles"), None)
    if files is not None:
        folder = code.place(code.argument(files, 0, "directory"), path, project.names[path])
        yield from _served(project, code.text(code.argument(call, 0, "path")), folder, path)


def _served(project: Project, address: str, folder: str | None, source: str) -> Iterator[Finding]:
    address = f"/{address.strip('/')}/"
    # What is at the top of the site stays the app's: nginx would take every path.
    if folder and folder in project.tree.folders and _is_inside(folder) and _PREFIX.fullmatch(address):
        yield Value("app_static", folder, f"{source}: the folder {folder}", key=address)


def _is_inside(folder: str) -> bool:
    return not folder.startswith(("/", "..")) and folder != "."


def _django_static(project: Project, settings: django.Settings) -> Iterator[Finding]:
    """STATIC_ROOT is filled by collectstatic in the build."""
    root, url = settings.place("STATIC_ROOT"), settings.text("STATIC_URL")
    if "django.contrib.staticfiles" not in django.apps(settings):
        return
    file = settings.values["STATIC_ROOT"][1] if root else settings.source
    if not root or not _is_inside(root):
        what = f"is {root}, outside of the release" if root else "is not set"
        yield Note(
            f"STATIC_ROOT {what}, so the admin's and your own CSS would answer 404: write STATIC_ROOT = BASE_DIR / 'staticfiles'",
            stops=True,
        )
        return
    yield Value("app_build_commands", build.managed(project, settings, "python manage.py collectstatic --noinput"), f"{file}: STATIC_ROOT")
    address = f"/{url.strip('/')}/"
    if url and "://" not in url and _PREFIX.fullmatch(address):
        yield Value("app_static", root, f"{file}: STATIC_URL and STATIC_ROOT", key=address)


# --- Uploads --------------------------------------------------------------------------------------


def uploads(project: Project, settings: django.Settings) -> Iterator[Finding]:
    """Files that visitors bring: a folder that outlives releases, and the address it is served at."""
    if project.is_django:
        root, url = settings.place("MEDIA_ROOT"), settings.text("MEDIA_URL")
        if root and _is_inside(root) and url and _PREFIX.fullmatch(f"/{url.strip('/')}/"):
            file = settings.values["MEDIA_ROOT"][1]
            yield Value("app_shared_paths", f"{root}/", f"{file}: MEDIA_ROOT")
            yield Value("app_uploads", root, f"{file}: MEDIA_URL and MEDIA_ROOT", key=f"/{url.strip('/')}/")
        return
    address, file = project.literal_of("UPLOAD_URL", "UPLOADS_URL", "MEDIA_URL")
    if address and _PREFIX.fullmatch(f"/{address.strip('/')}/"):
        yield Value("app_uploads", "uploads", f"{file}: {address}", key=f"/{address.strip('/')}/")


# --- Health ---------------------------------------------------------------------------------------


def health(project: Project) -> Iterator[Finding]:
    """Routes by their usual names; nothing where the contract would look there anyway."""
    known = routes(project)
    for variable, usual in (("app_health_ready", READY), ("app_health_live", LIVE)):
        path = next((one for name in usual for one in (name, f"{name}/") if one in known), "")
        if not path and variable == "app_health_ready":
            path = next(
                (one for one in known if re.search(r"/(ready|readyz|healthz?|healthcheck)/?$", one) and not re.search(r"[<{(]", one)), ""
            )
        if path and path != USUAL[variable]:
            yield Value(variable, path, known[path])
    if not any(re.search(r"(ready|healthz?)/?$", path) or path.rstrip("/") in READY for path in known):
        yield Note("no health route was found: a deploy tries the usual paths, then /; app_health_ready names one of yours")


def routes(project: Project, binds: Container[str] = _ROUTES) -> dict[str, str]:
    """Every constant path that a view is bound to, with the file; prefixes of blueprints and routers are put before."""
    registered = _registered(project)
    found: dict[str, str] = {}
    for path in project.python:
        own = _prefixes(project.tree.module(path))
        *folders, file = path.split("/")
        module = file.removesuffix(".py") if file != "__init__.py" else "".join(folders[-1:])
        for call in code.calls(project.tree.module(path)):
            if code.last(call.func) not in binds or not call.args:
                continue
            owner = code.dotted(call.func.value) if isinstance(call.func, ast.Attribute) else ""
            address = code.text(call.args[0])
            if not address or (isinstance(call.func, ast.Attribute) and not address.startswith("/")):
                continue
            # Django's patterns have no slash in front; old ones are regular expressions.
            address = "/" + address.lstrip("^/").rstrip("$").replace("/?", "/")
            found.setdefault(registered.get(f"{module}.{owner}", own.get(owner, "")) + address, f"{path}: route {address}")
    return found


def _prefixes(module: ast.Module) -> dict[str, str]:
    """Blueprints and routers of a module by their name, with the prefix they are made with."""
    return {
        name: code.text(code.keyword(value, "url_prefix", "prefix")).rstrip("/")
        for name, value in code.bindings(module.body)
        if isinstance(value, ast.Call) and code.last(value.func) in ("Blueprint", "APIRouter", "APIBlueprint")
    }


def _registered(project: Project) -> dict[str, str]:
    """Prefixes that are given where a blueprint or router is registered, by its module's and its own name."""
    found: dict[str, str] = {}
    for path in project.python:
        names = code.imported(project.tree.module(path))
        module = path.rpartition("/")[2].removesuffix(".py")
        for call in code.calls(project.tree.module(path)):
            if code.last(call.func) in ("register_blueprint", "include_router") and call.args:
                stated = code.text(code.keyword(call, "url_prefix", "prefix")).rstrip("/")
                head, _, rest = code.dotted(call.args[0]).partition(".")
                whole = f"{names.get(head, f'{module}.{head}')}.{rest}".rstrip(".")
                found.update({".".join(whole.split(".")[-2:]): stated} if stated else {})
    return found


# --- WebSockets -----------------------------------------------------------------------------------


def websockets(project: Project) -> Iterator[Finding]:
    """nginx upgrades a connection only where it is told: a path ends at its first parameter, and then covers all below it."""
    if needed := project.needs("flask-socketio", "python-socketio"):
        yield Value("nginx_locations", {"path": "/socket.io/", "websocket": True}, f"requirement {needed}")
    for path, source in routes(project, _SOCKETS).items():
        address = re.split(r"[<{]", path)[0]
        if re.fullmatch(r"/[\w./~-]+", address) and (address == path or address.endswith("/")):
            yield Value("nginx_locations", {"path": address, "websocket": True}, source)
        else:
            yield Note(f"{source} is a WebSocket: say its path in nginx_locations ({{path: …, websocket: true}})")


# --- Prefix ---------------------------------------------------------------------------------------


def prefix(project: Project) -> Iterator[Finding]:
    """The path below which the app is served, where it says one."""
    stated, file = project.literal_of("APPLICATION_ROOT", "FORCE_SCRIPT_NAME", "SCRIPT_NAME")
    if not stated:
        for path in project.python:
            for call in code.calls(project.tree.module(path)):
                if code.last(call.func) == "FastAPI":
                    stated, file = code.text(code.keyword(call, "root_path")), path
    if stated.strip("/"):
        yield Value("app_url_prefix", f"/{stated.strip('/')}", f"{file}: the app's own prefix")
