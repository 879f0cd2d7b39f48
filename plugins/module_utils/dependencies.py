# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""The app's dependencies: which file of the source says them, and how exactly that is installed.

A lock that is there is honoured by a tool that knows its format, or the build is refused by its name. It is never passed over.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from ansible_collections.slipway.vps.plugins.module_utils.build_sandbox import REQUIREMENT, Sandbox
from ansible_collections.slipway.vps.plugins.module_utils.deploy_settings import Settings
from ansible_collections.slipway.vps.plugins.module_utils.exporters import EXPORTERS
from ansible_collections.slipway.vps.plugins.module_utils.project import Project, normal
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core.run import CommandError

#: Locks that a tool keeps; each names the tool that its project is made with, so two of them contradict each other.
TOOLS = ("uv.lock", "poetry.lock", "pdm.lock", "Pipfile.lock")
#: Of those that are there the first is installed: the tool's own lock, then what is exported from one, then what is locked nowhere.
ORDER = (*TOOLS, "pylock.toml", "requirements.txt", "pyproject.toml", "setup.py")
#: Locks of tools that bring more than packages of Python.
FOREIGN = ("pixi.lock", "conda-lock.yml", "environment.yml")
PYTHON = ".venv/bin/python"
PIP = ("pip", "install", "--python", PYTHON)
#: The app itself, in its place.
PLACE = (*PIP, "--no-deps", "--editable", ".")
#: What an exporter wrote, kept with the environment that is made of it.
EXPORTED = ".venv/requirements.txt"
_KINDS = (
    *((re.compile(re.escape(name)), name) for name in (*TOOLS, "pyproject.toml", "setup.py")),
    (re.compile(r"pylock(\.[^.]+)?\.toml"), "pylock.toml"),
    (re.compile(r".+\.(txt|in)"), "requirements.txt"),
)


class Chosen(NamedTuple):
    """The file that says the dependencies, its kind (a name of `ORDER`), and what of the source is not used."""

    file: str
    kind: str
    unused: tuple[str, ...]

    def warnings(self) -> Iterator[str]:
        if self.unused:
            yield f"Dependencies are installed from {self.file}. Not used: {', '.join(self.unused)} (app_lock_file says which one counts)."


def choose(project: Project, wanted: str) -> Chosen:
    """The file that counts: ``wanted`` (`app_lock_file`), or the first of `ORDER` that names dependencies.

    :raises CommandError: with what to do, when there is none or when it cannot be told which one counts.
    """
    there = [name for name in ORDER if project.has(name) and (name != "pyproject.toml" or project.names_dependencies)]
    if wanted:
        if ".." in PurePosixPath(wanted).parts or not project.has(wanted):
            raise CommandError(
                f"app_lock_file names {wanted}, which the source does not have. It has {_list(there) or 'none that is known'}."
            )
        kind = next((kind for pattern, kind in _KINDS if pattern.fullmatch(PurePosixPath(wanted).name)), "")
        if not kind:
            raise CommandError(f"app_lock_file names {wanted}, which is of no known format: {_list(ORDER)}")
        if "/" in wanted and kind != "requirements.txt" and kind != "pylock.toml":
            raise CommandError(f"app_lock_file names {wanted}: a project below the source's top is said by app_source.subdirectory")
        return Chosen(wanted, kind, ())
    kept = [name for name in there if name in TOOLS]
    if len(kept) > 1:
        raise CommandError(f"the source has locks of several tools, {_list(kept)}: say which one counts with app_lock_file (app.yml)")
    foreign = [name for name in FOREIGN if project.has(name)]
    if there:
        locks = [name for name in there[1:] if name not in ("pyproject.toml", "setup.py")]
        return Chosen(there[0], there[0], (*locks, *foreign))
    raise CommandError(_nothing(project, foreign))


def _nothing(project: Project, foreign: Sequence[str]) -> str:
    """Why there is nothing to install from."""
    if project.has("Pipfile"):
        return "the source has a Pipfile without Pipfile.lock: run `pipenv lock`, and add the file"
    if foreign:
        return (
            f"the source has {_list(foreign)}, which brings more than Python packages: this build reads"
            " uv.lock, pylock.toml, requirements.txt and their like; export one"
        )
    folder = project.folder
    found = sorted(
        str(path.relative_to(folder)) for pattern in ("*requirements*.txt", "requirements/*.txt") for path in folder.glob(pattern)
    )
    if found:
        return f"the source has {_list(found)}: say which one is the production's with app_lock_file (app.yml)"
    return f"the source names no dependencies; it has neither {' nor '.join(ORDER[:-1])}: add one that names what the app needs"


def check_names(project: Project, chosen: Chosen, extras: Sequence[str], groups: Sequence[str]) -> None:
    """Refuse extras and groups that would be passed over in silence, or fail without a list of those that there are."""
    known: list[tuple[str, Sequence[str], set[str] | None]] = [
        ("app_extras", extras, _extras(project, chosen)),
        ("app_groups", groups, _groups(project, chosen)),
    ]
    for variable, wanted, there in known:
        if there is None:
            continue
        absent = [name for name in wanted if normal(name) not in map(normal, there)]
        if absent:
            has = f"it has {_list(sorted(there))}" if there else "it has none"
            raise CommandError(f"{variable} names {_list(absent)}, which {chosen.file} does not have; {has}. Correct {variable} (app.yml).")


def _extras(project: Project, chosen: Chosen) -> set[str] | None:
    if chosen.kind == "pylock.toml":
        return set(project.toml(chosen.file).get("extras", ()))
    return set() if chosen.kind in ("requirements.txt", "Pipfile.lock") else project.extras()


def _groups(project: Project, chosen: Chosen) -> set[str]:
    if chosen.kind == "pylock.toml":
        return set(project.toml(chosen.file).get("dependency-groups", ()))
    return set() if chosen.kind in ("requirements.txt", "setup.py") else project.groups()


class Installer:
    """Fills the virtual environment of the release in ``folder``."""

    def __init__(self, sandbox: Sandbox, settings: Settings, folder: Path) -> None:
        self.sandbox = sandbox
        self.settings = settings
        self.folder = folder
        self.project = Project(folder)
        #: What filled the environment, for `slipway <app> rebuild`.
        self.commands: list[tuple[str, ...]] = []

    def check(self) -> Chosen | None:
        """All that can be refused before anything is built. None: a package is asked for, there is no source."""
        if self.settings.requirement:
            return None
        chosen = choose(self.project, self.settings.lock_file)
        check_names(self.project, chosen, self.settings.extras, self.settings.groups)
        if (
            chosen.kind == "pyproject.toml"
            and self.project.table("tool", "poetry").get("package-mode") is False
            and not self.project.table("project")
        ):
            raise CommandError("pyproject.toml is Poetry's, and there is no poetry.lock: run `poetry lock`, and add the file")
        return chosen

    def install(self, chosen: Chosen | None) -> list[str]:
        """Dependencies, what other roles want besides, and the app itself; what the operator should know of it."""
        if chosen is None:
            self.uv(*PIP, "--requirement", str(self.sandbox.private / REQUIREMENT))
        else:
            COMMANDS[chosen.kind](self, chosen.file)
        self.add_requirements()
        return [*chosen.warnings(), *self.place_app()] if chosen else []

    def complete(self, chosen: Chosen) -> list[str]:
        """The same where the environment is another release's: all but the app itself is there."""
        placed = PLACE in self.commands
        self.commands = [words for words in self.commands if words != PLACE]
        return [*chosen.warnings(), *self.place_app(again=placed)]

    def add_requirements(self) -> None:
        """What the app does not bring itself. Of what it brings the version stays, and an extra is added."""
        installed = self.installed()
        absent = []
        for requirement in self.settings.requirements:
            if project_of(requirement) not in installed:
                absent.append(requirement)
            elif extra := re.match(r"[\w.-]+\[[^\]]*\]", requirement):
                absent.append(extra[0])
        if absent:
            self.uv(*PIP, *absent)

    def place_app(self, again: bool = False) -> list[str]:
        """The app itself: installed in place where it is a package, so that there is one copy of its code, the release's own."""
        if not again and self.project.name and self.project.name in self.installed():
            return []
        warnings = []
        if self.project.is_package:
            try:
                self.uv(*PLACE)
            except CommandError as error:
                if self.project.needs_installation:
                    raise
                warnings.append(
                    "The app says that it is a package, and cannot be built as one. Its modules are used where they are; what asks for an"
                    f" installed package (importlib.metadata) does not find it. The build said: {str(error).strip()[-600:]}"
                )
            else:
                return []
        source = self.folder / "src"
        if source.is_dir() and not (source / "__init__.py").exists():
            self.sandbox.run(self.folder, PYTHON, "-c", _ADD_PATH, str(source))
        return warnings

    def uv(self, *words: str) -> None:
        self.sandbox.uv(self.folder, *words)
        self.commands.append(words)

    def installed(self) -> set[str]:
        found = self.folder.glob(".venv/lib/python*/site-packages/*.dist-info")
        return {project_of_folder(path) for path in found}

    def sync(self, file: str) -> None:
        """uv's own lock. The environment's Python is said once more: .python-version may name another, which the app runs on as well."""
        without = [] if "dev" in self.settings.groups else ["--no-dev"]
        self.uv("sync", "--frozen", *without, "--no-install-project", "--python", PYTHON, *self.asked())

    def pip(self, file: str) -> None:
        preview = ("--preview-features", "pylock") if "pylock" in file else ()
        self.uv(*PIP, *preview, "--requirement", file, *self.asked())

    def export(self, file: str) -> None:
        """A lock of another tool: that tool writes it as requirements, with the hashes that it has."""
        exporter = EXPORTERS[file]
        run = (self.settings.uv, "tool", "run", "--python", "python3", "--from", exporter.tool)
        pins = (word for pin in exporter.pins.split() for word in ("--with", pin))
        words = exporter.command(self.settings.extras, self.settings.groups)
        # uv's own words on the way are kept apart from the list.
        self.sandbox.run(self.folder, "/bin/sh", "-c", f'exec "$@" > {EXPORTED}', "export", *run, *pins, exporter.tool, *words)
        self.uv(*PIP, "--requirement", EXPORTED)

    def asked(self) -> list[str]:
        names = (("--extra", self.settings.extras), ("--group", self.settings.groups))
        return [word for option, values in names for value in values for word in (option, value)]


#: How each kind of `ORDER` is installed.
COMMANDS: dict[str, Callable[[Installer, str], None]] = {
    "uv.lock": Installer.sync,
    **dict.fromkeys(EXPORTERS, Installer.export),
    **dict.fromkeys(("pylock.toml", "requirements.txt", "pyproject.toml", "setup.py"), Installer.pip),
}
#: Another release may have the file by a hard link: it is not written into.
_ADD_PATH = """
import pathlib, site, sys
path = pathlib.Path(site.getsitepackages()[0], "slipway_source.pth")
path.unlink(missing_ok=True)
path.write_text(sys.argv[1] + "\\n")
"""


def project_of(requirement: str) -> str:
    """The normalised project name of a requirement."""
    return normal(re.split(r"[=<>!~@\[; ]", requirement)[0])


def project_of_folder(installed: Path) -> str:
    """The normalised project name of a dist-info folder."""
    return normal(installed.stem.rpartition("-")[0])


def _list(names: Sequence[str]) -> str:
    return ", ".join(names)
