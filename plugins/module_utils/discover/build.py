# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""What the build installs and runs: the lock, Python's version, extras and groups, commands, packages of the system."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ansible_collections.slipway.vps.plugins.module_utils.discover import django
from ansible_collections.slipway.vps.plugins.module_utils.discover.environment import SECRET, names
from ansible_collections.slipway.vps.plugins.module_utils.discover.findings import Finding, Note, Value, question
from ansible_collections.slipway.vps.plugins.module_utils.discover.project import Project

#: Locks that the build finds by itself, the first that is there.
TOOLS = ("uv.lock", "poetry.lock", "pdm.lock", "Pipfile.lock")
LOCKS = (*TOOLS, "pylock.toml", "requirements.txt")
#: Names of what production needs and a developer does not.
PRODUCTION = ("production", "prod", "deploy", "deployment", "server", "web", "postgres", "postgresql", "redis")
#: Packages without wheels, or with some for few systems, and Debian's packages that compiling them takes.
COMPILED = {
    "psycopg2": ("build-essential", "libpq-dev", "python3-dev"),
    "psycopg-c": ("build-essential", "libpq-dev", "python3-dev"),
    "mysqlclient": ("build-essential", "default-libmysqlclient-dev", "pkg-config", "python3-dev"),
    "flask-mysqldb": ("build-essential", "default-libmysqlclient-dev", "pkg-config", "python3-dev"),
    "python-ldap": ("build-essential", "libldap-dev", "libsasl2-dev", "python3-dev"),
    "xmlsec": ("build-essential", "libxml2-dev", "libxmlsec1-dev", "pkg-config", "python3-dev"),
    "pycairo": ("build-essential", "libcairo2-dev", "pkg-config", "python3-dev"),
    "pygraphviz": ("build-essential", "libgraphviz-dev", "pkg-config", "python3-dev"),
    "python-prctl": ("build-essential", "libcap-dev", "python3-dev"),
    "uwsgi": ("build-essential", "python3-dev"),
}
#: Libraries of the system that packages load when they run.
LOADED = {
    "weasyprint": ("libpango-1.0-0", "libpangoft2-1.0-0"),
    "python-magic": ("libmagic1",),
    "pdf2image": ("poppler-utils",),
    "pytesseract": ("tesseract-ocr",),
    "pdfkit": ("wkhtmltopdf",),
    "ffmpeg-python": ("ffmpeg",),
    "pydub": ("ffmpeg",),
    "graphviz": ("graphviz",),
    "cairosvg": ("libcairo2",),
    "pyzbar": ("libzbar0",),
    "soundfile": ("libsndfile1",),
    "gitpython": ("git",),
}


def look(project: Project, settings: django.Settings) -> Iterator[Finding]:
    yield from lock(project)
    yield from python(project)
    yield from chosen(project)
    yield from node(project)
    yield from translations(project, settings)
    yield from packages(project)
    yield from private(project)


def lock(project: Project) -> Iterator[Finding]:
    """Only a file that the build would not find by itself is named."""
    tree = project.tree
    if len(kept := [name for name in TOOLS if tree.has(name)]) > 1:
        yield question("app_lock_file", f"which of {', '.join(kept)} counts", "locks of several tools")
        return
    if not tree.first(*LOCKS[:-1]):
        of_production = [
            path
            for path in tree.files
            if re.fullmatch(r"(requirements[-_./](production|prod|deploy)|(production|prod)[-_.]requirements)\.txt", path)
        ]
        others = [
            path
            for path in tree.files
            if re.fullmatch(r"requirements/(base|main|common|requirements)\.txt|requirements[-_.]base\.txt|reqs?\.txt", path)
        ]
        if of_production or (others and not tree.first("requirements.txt", "pyproject.toml")):
            path = [*of_production, *others][0]
            yield Value("app_lock_file", path, path)
            return
    if tree.first(*LOCKS):
        return
    if tree.has("pyproject.toml") and (
        project.pyproject.get("project", {}).get("dependencies") or project.pyproject.get("tool", {}).get("poetry")
    ):
        yield Note("no lock: each deploy takes the newest versions that pyproject.toml allows; `uv lock` writes one")
        return
    if tree.first("Pipfile"):
        yield Note("Pipfile has no lock beside it: run `pipenv lock`, or write requirements.txt", stops=True)
        return
    if tree.has("setup.py"):
        yield Note("no lock: each deploy takes the newest versions that setup.py allows; `pip freeze > requirements.txt` writes one")
        return
    where = "environment.yml (conda)" if tree.first("environment.yml", "environment.yaml") else "no file"
    yield Note(
        f"{where} names what the app needs in a form that a build can take: write requirements.txt (pip freeze) or pyproject.toml",
        stops=True,
    )


def python(project: Project) -> Iterator[Finding]:
    """The build reads what the project says itself; a Dockerfile's base image is named here."""
    tree = project.tree
    stated = project.pyproject.get("project", {}).get("requires-python") or project.pyproject.get("tool", {}).get("poetry")
    if stated or tree.first(".python-version", "runtime.txt") or tree.toml("Pipfile").get("requires"):
        return
    if found := re.search(r"^FROM\s+(?:\S*/)?python:(\d+\.\d+)", tree.text("Dockerfile"), re.MULTILINE):
        yield Value("app_python", found[1], "Dockerfile: FROM")


def chosen(project: Project) -> Iterator[Finding]:
    """Extras and groups that are named as if production needed them."""
    extras = project.pyproject.get("project", {}).get("optional-dependencies", {})
    extras = {**extras, **project.pyproject.get("tool", {}).get("poetry", {}).get("extras", {})}
    yield from (Value("app_extras", name, "pyproject.toml: optional-dependencies") for name in PRODUCTION if name in extras)
    groups = {**project.pyproject.get("dependency-groups", {}), **project.pyproject.get("tool", {}).get("poetry", {}).get("group", {})}
    yield from (Value("app_groups", name, "pyproject.toml: groups") for name in PRODUCTION if name in groups)


def node(project: Project) -> Iterator[Finding]:
    """`npm run build`, where a package.json has it: at the top or in a folder below it."""
    tree = project.tree
    for path in tree.files:
        folder, _, name = path.rpartition("/")
        if name != "package.json" or path.count("/") > 1 or "build" not in tree.json(path).get("scripts", {}):
            continue
        here = f"{folder}/" if folder else ""
        inside = f" {folder}" if folder else ""
        source = f"{path}: build"
        if tree.has(f"{here}yarn.lock"):
            lines = [
                f"yarn{f' --cwd{inside}' if folder else ''} install --frozen-lockfile",
                f"yarn{f' --cwd{inside}' if folder else ''} build",
            ]
            needed = ("nodejs", "yarnpkg")
            lines = [line.replace("yarn", "yarnpkg", 1) for line in lines]
        elif tree.has(f"{here}pnpm-lock.yaml"):
            yield Note(
                f"{path} is built by pnpm, which Debian has not: write the commands into app_build_commands (npx pnpm …)", stops=True
            )
            return
        else:
            prefix = f" --prefix{inside}" if folder else ""
            install = "ci" if tree.first(f"{here}package-lock.json", f"{here}npm-shrinkwrap.json") else "install"
            lines = [f"npm{prefix} {install}", f"npm{prefix} run build"]
            needed = ("nodejs", "npm")
        yield from (Value("app_build_commands", line, source) for line in lines)
        yield from (Value("app_build_packages", one, source) for one in needed)


def translations(project: Project, settings: django.Settings) -> Iterator[Finding]:
    """Catalogues whose compiled form is not among the files."""
    catalogues = [path for path in project.tree.files if path.endswith(".po") and not project.tree.has(f"{path[:-3]}.mo")]
    if not catalogues:
        return
    if project.is_django:
        yield Value("app_build_commands", managed(project, settings, "python manage.py compilemessages"), catalogues[0])
        yield Value("app_build_packages", "gettext", catalogues[0])
    elif project.needs("flask-babel", "babel", "flask-babelex"):
        yield Value("app_build_commands", f"pybabel compile -d {catalogues[0].rsplit('/', 3)[0]}", catalogues[0])


def managed(project: Project, settings: django.Settings, command: str) -> str:
    """A command of manage.py, with something in place of each secret that its settings insist on: none reaches a build."""
    files = {file for _, file in settings.values.values()}
    wanted = (name for name, read in sorted(names(project).items()) if read.required and read.source in files)
    return "".join(f"{name}=not-in-the-build " for name in wanted if SECRET.fullmatch(name)) + command


def packages(project: Project) -> Iterator[Finding]:
    for name, needed in COMPILED.items():
        if name in project.requirements:
            yield from (Value("app_build_packages", one, f"requirement {name}") for one in needed)
    for name, needed in LOADED.items():
        if name in project.requirements:
            yield from (Value("app_build_packages", one, f"requirement {name}") for one in needed)


def private(project: Project) -> Iterator[Finding]:
    """A package index that wants a name and a password."""
    for path in project.tree.files:
        if not re.fullmatch(r"(requirements\S*\.txt|Pipfile|pip\.conf)", path):
            continue
        addresses = re.findall(r"https?://\S+", project.tree.text(path))
        for name in re.findall(r"\$\{?(\w+)\}?", " ".join(addresses)):
            yield question("app_build_secrets", f"{name}, which the package index wants", path, key=name)
    for index in project.pyproject.get("tool", {}).get("uv", {}).get("index", []):
        if isinstance(index, dict) and index.get("explicit") and index.get("name"):
            prefix = "UV_INDEX_" + re.sub(r"[^A-Z0-9]", "_", str(index["name"]).upper())
            for part in ("USERNAME", "PASSWORD"):
                ask = f"{part.lower()} for the package index {index['name']}"
                yield question("app_build_secrets", ask, "pyproject.toml: tool.uv.index", key=f"{prefix}_{part}")
