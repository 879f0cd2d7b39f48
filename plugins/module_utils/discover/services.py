# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""What the app needs beside it: PostgreSQL, Redis, SQLite files, folders that it writes to, openings of the sandbox."""

from __future__ import annotations

import ast
import posixpath
import re
from collections.abc import Iterator

from ansible_collections.slipway.vps.plugins.module_utils.discover import code, django
from ansible_collections.slipway.vps.plugins.module_utils.discover.findings import Finding, Note, Value, question
from ansible_collections.slipway.vps.plugins.module_utils.discover.project import Project

POSTGRES = ("psycopg", "psycopg2", "psycopg2-binary", "psycopg-binary", "psycopg-c", "asyncpg", "pg8000", "aiopg")
MYSQL = ("pymysql", "mysqlclient", "mysql-connector-python", "aiomysql", "asyncmy", "flask-mysqldb")
OTHER = {
    "pymongo": "MongoDB",
    "mongoengine": "MongoDB",
    "motor": "MongoDB",
    "pyodbc": "an ODBC database",
    "cx-oracle": "Oracle",
    "oracledb": "Oracle",
}
REDIS = (
    *("redis", "hiredis", "valkey", "rq", "django-rq", "flask-rq2", "django-redis", "channels-redis", "arq", "redis-om", "fakeredis"),
    *("huey", "celery-redbeat", "flask-redis", "walrus"),
)
_SQLITE = re.compile(r"sqlite(?:\+\w+)?:///(?P<path>[^?\"'\s]*)")
#: Calls that make a file or folder, where a constant relative path is among their arguments.
_WRITERS = frozenset({"makedirs", "mkdir", "FileHandler", "RotatingFileHandler", "TimedRotatingFileHandler", "WatchedFileHandler"})
#: Kernel facilities that a library wants and the sandbox withholds.
_NETLINK = ("netifaces", "pyroute2", "psutil-net")


def look(project: Project, settings: django.Settings) -> Iterator[Finding]:
    sqlite = list(sqlite_files(project, settings))
    yield from _services(project, settings, bool(sqlite))
    yield from _writable(project)
    yield from _mail(project)
    if needed := project.needs(*_NETLINK):
        yield Value("app_sandbox_allow", "netlink", f"requirement {needed}")


def _services(project: Project, settings: django.Settings, sqlite: bool) -> Iterator[Finding]:
    """The databases that are asked for by their drivers. Both, the contract's default, need not be said."""
    postgres = project.needs(*POSTGRES)
    mysql = project.needs(*MYSQL)
    redis = project.needs(*REDIS) or _with_redis(project)
    used = [*(["postgres"] if postgres else []), *(["redis"] if redis else [])]
    if len(used) < 2:
        source = ", ".join(f"requirement {one}" for one in (postgres, redis) if one) or "no requirement is a driver of PostgreSQL or Redis"
        yield from [Value("app_services", one, source) for one in used] or [Value("app_services", None, source)]
    if postgres:
        return
    if mysql and not (sqlite and project.is_django and "mysql" not in django.engines(settings)):
        ask = "the URL of its MySQL, mysql+pymysql://user:password@host/name (its backups are yours)"
        yield question("app_secrets", ask, f"requirement {mysql}", key="DATABASE_URL")
    elif other := project.needs(*OTHER):
        yield Note(f"the app uses {OTHER[other]} ({other}): Slipway neither installs it nor backs it up; name its address in vault.yml")
    elif sqlite:
        yield from _sqlite(project, settings)
    elif project.needs("sqlalchemy", "flask-sqlalchemy", "django", "sqlmodel", "peewee", "tortoise-orm") and _reads_url(project):
        yield Note(
            "the app reads DATABASE_URL, and no requirement is a driver of PostgreSQL: add psycopg[binary] to what it needs", stops=True
        )


def _with_redis(project: Project) -> str:
    """A library that talks to Redis by an extra: `celery[redis]`."""
    return next((name for name, line in project.requirements.items() if re.search(r"\[[^]]*\b(redis|hiredis|valkey)\b[^]]*\]", line)), "")


def _reads_url(project: Project) -> bool:
    return any("DATABASE_URL" in project.tree.text(path) for path in project.python)


# --- SQLite ---------------------------------------------------------------------------------------


def sqlite_files(project: Project, settings: django.Settings) -> Iterator[tuple[str, str]]:
    """SQLite files by their place in the tree, and where they are named."""
    if project.is_django:
        node = settings.node("DATABASES")
        inner = list(ast.walk(node)) if node is not None and "sqlite3" in django.engines(settings) else []
        for item in inner:
            if isinstance(item, ast.Dict):
                keys = [code.text(key) for key in item.keys]
                file = settings.values["DATABASES"][1]
                if "NAME" in keys and (place := code.place(item.values[keys.index("NAME")], file, settings.names)):
                    yield place, file
        return
    for path in project.python:
        for found in ast.walk(project.tree.module(path)):
            yield from ((place, path) for place in _sqlite_place(project, path, found))


def _sqlite_place(project: Project, path: str, node: ast.AST) -> Iterator[str]:
    names = project.names[path]
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add) and code.text(node.left).startswith("sqlite"):
        place = code.place(node.right, path, names)
        yield from [place] if place else []
    elif isinstance(node, ast.JoinedStr) and code.text(node.values[0] if node.values else None).startswith("sqlite"):
        inner = [code.place(part.value, path, names) for part in node.values if isinstance(part, ast.FormattedValue)]
        tail = "".join(code.text(part) for part in node.values[1:])
        yield from [posixpath.normpath(f"{inner[0]}{tail}")] if inner and inner[0] else []
    elif isinstance(node, ast.Constant) and isinstance(node.value, str) and (found := _SQLITE.fullmatch(node.value)):
        name = found["path"]
        if name and name != ":memory:":
            # Flask-SQLAlchemy 3 takes a relative path from the instance folder.
            folder = _instance(project) if project.needs("flask-sqlalchemy") and not name.startswith("/") else ""
            yield posixpath.normpath(posixpath.join(folder, name)) if not name.startswith("/") else name
    elif isinstance(node, ast.Call) and code.dotted(node.func) in ("sqlite3.connect", "aiosqlite.connect") and node.args:
        place = code.place(node.args[0], path, names)
        yield from [place] if place and place != ":memory:" else []
    elif (
        isinstance(node, (ast.Call, ast.BinOp))
        and (place := code.place(node, path, names))
        and place.endswith((".sqlite", ".sqlite3", ".db"))
    ):
        yield place.replace("instance/", f"{_instance(project)}/", 1) if place.startswith("instance/") else place


def _sqlite(project: Project, settings: django.Settings) -> Iterator[Finding]:
    """The file lives in shared/, and each release has a link to its folder: SQLite writes files beside it."""
    for place, source in dict(sqlite_files(project, settings)).items():
        if place.startswith(("/", "..")):
            yield Note(
                f"{source} keeps its SQLite file at {place}, outside of the release: put it below {{{{ app_shared }}}} (app_sqlite)",
                stops=True,
            )
            continue
        folder = posixpath.dirname(place)
        if folder in ("", "."):
            # A link to the file alone would leave the journal in the read-only release.
            if _reads_url(project):
                yield Value("app_env", f"sqlite:///{{{{ app_shared }}}}/{place}", f"{source}: {place}, in shared/", key="DATABASE_URL")
            else:
                what = f"{source} keeps its SQLite file beside the code ({place}), which is read-only in a release"
                yield Note(f"{what}: read its place from the environment (DATABASE_URL), or give it a folder of its own", stops=True)
            continue
        yield Value("app_shared_paths", f"{folder}/", f"{source}: {place}")
        yield Value("app_sqlite", place, f"{source}: {place}")
        if _reads_url(project):
            yield Value("app_env", f"sqlite:///{{{{ app_shared }}}}/{place}", f"{source}: {place}, in shared/", key="DATABASE_URL")


# --- Folders --------------------------------------------------------------------------------------


def _instance(project: Project) -> str:
    """Flask's instance folder: beside the package."""
    return "src/instance" if project.entry.root == "src" else "instance"


def _writable(project: Project) -> Iterator[Finding]:
    """Folders beside the code that the app writes to. A release is read-only."""
    for path in project.python:
        module = project.tree.module(path)
        for node in ast.walk(module):
            if isinstance(node, ast.Attribute) and node.attr == "instance_path":
                yield Value("app_shared_paths", f"{_instance(project)}/", f"{path}: instance_path")
            elif isinstance(node, ast.keyword) and node.arg == "instance_relative_config" and code.literal(node.value) is True:
                yield Value("app_shared_paths", f"{_instance(project)}/", f"{path}: instance_relative_config")
            elif isinstance(node, ast.Call) and code.last(node.func) in _WRITERS:
                yield from _made(project, path, node)


def _made(project: Project, path: str, call: ast.Call) -> Iterator[Finding]:
    target = argument if (argument := code.argument(call, 0, "filename", "name")) is not None else None
    if target is None and isinstance(call.func, ast.Attribute):
        target = call.func.value
    place = code.place(target, path, project.names[path])
    if not place or place.startswith(("/", "..")) or place == "." or place.endswith(".py"):
        return
    folder = place if code.last(call.func) in ("makedirs", "mkdir") else posixpath.dirname(place)
    top = folder.split("/")[0]
    # What the package brings itself (static, templates) is code; a folder below it is not made a link.
    if folder and top != _instance(project).split("/")[0] and folder not in project.tree.folders:
        yield Value("app_shared_paths", f"{folder}/", f"{path}: {code.last(call.func)}")


def _mail(project: Project) -> Iterator[Finding]:
    """Mail by the host's mail program, which the sandbox withholds unless it is opened."""
    for path in project.python:
        if re.search(r"[\"']([\w/]*/)?(sendmail|msmtp|mailx?)[\"' ]", project.tree.text(path)) or "backends.sendmail" in project.tree.text(
            path
        ):
            yield Value("app_sandbox_allow", "sendmail", f"{path}: sendmail")
            return
