# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""What runs beside the server: workers and schedulers, and what runs before a release serves: migrations."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from ansible_collections.slipway.vps.plugins.module_utils.discover import code, commands, django, tables
from ansible_collections.slipway.vps.plugins.module_utils.discover.entry import module_of, root_of
from ansible_collections.slipway.vps.plugins.module_utils.discover.findings import Finding, Note, Value
from ansible_collections.slipway.vps.plugins.module_utils.discover.project import Project

#: Where the contract's `auto` looks for Alembic's env.py (plugins/module_utils/schema.py).
AUTO = re.compile(r"((src/)?[^/]+/)?migrations/env\.py")
#: Beat keeps the times of its last runs in a file.
SCHEDULE = "--schedule {{ app_shared }}/celerybeat-schedule"


def look(project: Project, settings: django.Settings) -> Iterator[Finding]:
    yield from server(project)
    yield from migrations(project, settings)
    yield from processes(project, settings)


# --- The server -----------------------------------------------------------------------------------


def server(project: Project) -> Iterator[Finding]:
    """Settings of Gunicorn that the author chose, or that a library cannot do without."""
    if project.entry.asgi:
        yield Value("server_worker_class", "asgi", f"{project.entry.source} is an ASGI app")
    for line, source in commands.lines(project.tree):
        served = commands.server(line)
        if served and served.target:
            if served.worker_class and not project.entry.asgi:
                yield Value("server_worker_class", served.worker_class, source)
            if served.timeout > 30:
                yield Value("server_timeout", served.timeout, source)
            break
    if needed := project.needs("flask-socketio", "python-socketio"):
        yield Value("server_workers", "1", f"requirement {needed}: a client's requests must reach the same worker")
        if not project.entry.asgi:
            yield Value("server_threads", 100, f"requirement {needed}: each WebSocket holds a thread")
    if needed := project.needs("apscheduler", "flask-apscheduler", "schedule"):
        yield Note(f"{needed} runs jobs inside of the app, once in each worker: app_timers runs a command once, on a calendar")


# --- Migrations -----------------------------------------------------------------------------------


def migrations(project: Project, settings: django.Settings) -> Iterator[Finding]:
    """Nothing where the contract finds them itself."""
    tree = project.tree
    if release := project.procfile.get("release", ""):
        yield from _released(release)
        return
    if project.is_django:
        yield Value("app_migrate_command", "python manage.py migrate --noinput", "manage.py")
        return
    web = next((commands.parts(line) for line, _ in commands.lines(tree) if commands.server(line)), [])
    before = [part for part in web if re.search(r"\b(db upgrade|alembic .*upgrade|migrate)\b", part)]
    flask = project.needs("flask-migrate") or project.imports("flask_migrate")
    alembic = next((path for path in tree.files if path.rpartition("/")[2] == "alembic.ini" and path.count("/") == 0), "")
    if flask:
        found = [path for path in tree.files if path.endswith("/env.py") and tree.has(f"{path[:-7]}/script.py.mako")]
        if found and not any(AUTO.fullmatch(path) for path in found):
            yield Value("app_migrate_command", f"flask db upgrade --directory {found[0][:-7]}", found[0])
    elif alembic:
        yield Value("app_migrate_command", "alembic upgrade head", alembic)
    elif before:
        yield Value("app_migrate_command", commands.without_wrappers(before[0]), "the command before the server")
    elif tree.has("aerich.ini") or project.pyproject.get("tool", {}).get("aerich"):
        yield Value("app_migrate_command", "aerich upgrade", "aerich")
    elif any(AUTO.fullmatch(path) for path in tree.files):
        # Alembic's folder without Flask-Migrate, and no alembic.ini: `flask db` is not there.
        yield Value("app_migrate_command", "", "migrations/ without Flask-Migrate or alembic.ini")
    if not flask and not alembic:
        yield from tables.look(project, settings)


def _released(line: str) -> Iterator[Finding]:
    """Procfile's `release`: what changes the schema; what collects files belongs to the build."""
    parts = [commands.without_wrappers(part) for part in commands.parts(line)]
    builds = [part for part in parts if re.search(r"collectstatic|npm |yarn |compilemessages|pybabel", part)]
    yield from (Value("app_build_commands", part, "Procfile: release") for part in builds)
    rest = [part for part in parts if part not in builds]
    if len(rest) == 1 and not re.search(r"[|<>$`]", rest[0]):
        yield Value("app_migrate_command", rest[0], "Procfile: release")
    elif rest:
        # Commands run without a shell.
        yield Value("app_migrate_command", f"sh -c '{' && '.join(rest)}'", "Procfile: release")


# --- Workers --------------------------------------------------------------------------------------


def processes(project: Project, settings: django.Settings) -> Iterator[Finding]:
    """The Procfile's, else what the libraries in use need."""
    others = {name: command for name, command in project.procfile.items() if name not in ("web", "release")}
    for name, command in others.items():
        if commands.is_server(command):
            yield Note(f"Procfile: {name} is a second server; one app has one: deploy it as an app of its own (app_machine)")
            continue
        process = re.sub(r"[^a-z0-9]", "", name.lower())
        line = _command(command)
        yield Value("app_processes", {"command": line}, f"Procfile: {name}", key=process if process[:1].isalpha() else f"p{process}")
    if any(re.search(r"celery|rq|dramatiq|huey|arq|qcluster", command) for command in others.values()):
        return
    if project.needs("celery"):
        yield from _celery(project, settings)
    elif project.needs("django-rq"):
        yield Value("app_processes", {"command": "python manage.py rqworker default"}, "requirement django-rq", key="worker")
    elif project.needs("rq"):
        yield Value("app_processes", {"command": "sh -c 'exec rq worker --url \"$REDIS_URL\"'"}, "requirement rq", key="worker")
    elif project.needs("dramatiq"):
        path = next((path for path in project.python if "dramatiq.actor" in project.tree.text(path)), "")
        if path:
            yield Value("app_processes", {"command": f"dramatiq {module_of(path, root_of(project.tree, path))}"}, path, key="worker")
    elif needed := project.needs("huey", "arq", "django-q2", "procrastinate"):
        yield Note(f"{needed} needs a worker of its own: name its command in app_processes (worker: {{command: …}})", stops=True)


def _command(line: str) -> str:
    """A command of a Procfile, which is run by a shell there and without one here."""
    parts = [commands.without_wrappers(part) for part in commands.parts(line)]
    if len(parts) > 1 or re.search(r"[|<>$`]", line):
        inner = " && ".join([*parts[:-1], f"exec {parts[-1].removeprefix('exec ')}"]).replace("'", "'\\''")
        return f"sh -c '{inner}'"
    words = parts[0] if parts else line
    if re.search(r"\bcelery\b.*\bbeat\b", words) and "-s" not in words.split() and "--schedule" not in words:
        words = f"{words} {SCHEDULE}"
    return words


def _celery(project: Project, settings: django.Settings) -> Iterator[Finding]:
    """A worker, and a beat where there is a schedule, of the Celery app that the code makes."""
    found = _celery_app(project)
    if not found:
        yield Note(
            "celery is required, and no Celery app was found: name its command in app_processes (celery -A module worker)", stops=True
        )
        return
    target, path = found
    yield Value("app_processes", {"command": f"celery -A {target} worker", "stop_timeout": 300}, f"{path}: the Celery app", key="worker")
    scheduled = next(
        (one for one in project.python if re.search(r"beat_schedule|BEAT_SCHEDULE|add_periodic_task", project.tree.text(one))), ""
    )
    scheduled = scheduled or ("INSTALLED_APPS" if "django_celery_beat" in django.apps(settings) else "")
    if scheduled:
        yield Value("app_processes", {"command": f"celery -A {target} beat {SCHEDULE}"}, f"{scheduled}: a schedule", key="beat")


def _celery_app(project: Project) -> tuple[str, str] | None:
    """What `celery -A` takes: the package with a celery.py, or module.name."""
    for path in sorted(project.tree.python, key=lambda path: (not path.endswith("celery.py"), path.count("/"), path)):
        module = project.tree.module(path)
        makers = {"Celery", *(function.name for function in code.functions(module) if "celery" in function.name.lower())}
        makers |= {name for name, whole in code.imported(module).items() if re.search(r"(make|create|init)_celery|celery_init_app", whole)}
        for name, value in code.bindings(module.body):
            made = isinstance(value, ast.Call) and code.last(value.func) in makers
            extension = "celery" in name and ast.unparse(value).endswith("extensions['celery']")
            if made or extension:
                whole = module_of(path, root_of(project.tree, path))
                if path.endswith("/celery.py") and name in ("app", "celery"):
                    return whole.rpartition(".")[0], path
                # Of a module Celery takes `app` first: that may be Flask's.
                return (whole if name == "celery" and not _binds(module, "app") else f"{whole}:{name}"), path
    return None


def _binds(module: ast.Module, name: str) -> bool:
    return any(bound == name for bound, _ in code.bindings(module.body))
