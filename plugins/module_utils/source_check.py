# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""What of a source can be seen on the controller, before any host changes: its files, and whether the repository has the version."""

from __future__ import annotations

import difflib
import os
import re
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from ansible_collections.slipway.vps.plugins.module_utils.archive import UnreadableError, listing
from ansible_collections.slipway.vps.plugins.module_utils.git_ssh import server
from ansible_collections.slipway.vps.plugins.module_utils.rules.problem import Problem, Values
from ansible_collections.slipway.vps.plugins.module_utils.source import without_secrets
from ansible_collections.slipway.vps.plugins.module_utils.source_tree import ELSEWHERE, SourceError, shown
from ansible_collections.slipway.vps.plugins.module_utils.work_tree import members, release_folder

#: Seconds that a repository may take to say which versions it has.
PATIENCE = 8
#: Files that say what an app needs.
_DEPENDENCIES = re.compile(
    r"(uv\.lock|pylock(\.[^./]+)?\.toml|poetry\.lock|Pipfile(\.lock)?|pdm\.lock|requirements[^/]*\.txt|pyproject\.toml|setup\.(py|cfg))"
)
#: What a module can be: source, compiled, or generated from.
_MODULE = (".py", "/__init__.py", ".pyx", ".so")


@dataclass
class Findings:
    """What is wrong, and what may be."""

    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def look(said: Values) -> Findings:
    """Everything that can be known here of the source of one entry.

    :arg said: its resolved values; paths of `app_source` are absolute.
    """
    found = Findings()
    source = said["app_source"]
    try:
        if source["type"] == "git":
            ask_for_version(source, found)
        elif source["type"] == "path":
            folder = release_folder(Path(source["path"]), source.get("subdirectory", ""))
            judge_names({name.as_posix() for name in members(folder)}, said, found, folder)
        elif source.get("file"):
            judge_archive(source, said, found)
    except SourceError as error:
        found.problems.append(Problem("app_source", error.what.removeprefix("app_source").lstrip(".: "), error.fix or "correct it"))
    return found


def judge_archive(source: Mapping[str, Any], said: Values, found: Findings) -> None:
    """An archive that lies on the controller."""
    archive = Path(source["file"])
    if not archive.is_file():
        raise SourceError(f"app_source.file: {archive} is not a file on the controller", ELSEWHERE)
    try:
        names, pointers = listing(archive, source.get("subdirectory", ""))
    except UnreadableError as error:
        # The host's tar may know a compression that this Python does not.
        found.notes.append(f"app_source.file was not looked into: {error}")
        return
    if pointers:
        what = f"app_source.file: Git LFS has not fetched these files: {shown(pointers)}"
        raise SourceError(what, "Make the archive from a clone that has them (git lfs pull), or use type: git")
    judge_names(names, said, found)


# --- What is in it --------------------------------------------------------------------------------


def judge_names(names: Set[str], said: Values, found: Findings, folder: Path | None = None) -> None:
    """The files of a release: does it say what it needs, and has it what the inventory names?

    :arg folder: where they are, if that is a folder.
    """
    found.problems += no_dependencies(names, said)
    if said.get("app_wsgi"):
        missing_module(names, str(said["app_wsgi"]).partition(":")[0], found)
    missing_static(names, said, found, folder)


def no_dependencies(names: Set[str], said: Values) -> Iterator[Problem]:
    lock = said.get("app_lock_file")
    if lock:
        if lock not in names:
            there = sorted(name for name in names if _DEPENDENCIES.fullmatch(PurePosixPath(name).name))
            yield Problem("app_lock_file", f"names {lock!r}, which is not in the source", f"use one of: {shown(there) or 'none is there'}")
        return
    if any(_DEPENDENCIES.fullmatch(name) for name in names):
        return
    elsewhere = {str(PurePosixPath(name).parent) for name in names if _DEPENDENCIES.fullmatch(PurePosixPath(name).name)}
    fix = "add one, for example requirements.txt"
    if elsewhere:
        fix = f"name the folder that has one, as subdirectory: {shown(sorted(elsewhere))}"
    yield Problem("app_source", "has no file that says what the app needs (uv.lock, requirements.txt, pyproject.toml, …)", fix)


def missing_module(names: Set[str], module: str, found: Findings) -> None:
    """The module of the entry point: refused only where its package is in the source, and it is not."""
    path = module.replace(".", "/")
    for base in ("", "src/"):
        if any(f"{base}{path}{suffix}" in names for suffix in _MODULE) or any(name.startswith(f"{base}{path}/") for name in names):
            return
    if any(re.fullmatch(rf"(.*/)?{re.escape(path)}\.[^/]+\.so", name) for name in names):
        return
    places = sorted(name for name in names if name.endswith((f"/{path}.py", f"/{path}/__init__.py")))
    if places:
        found.notes.append(f"app_wsgi names the module {module}, which is not at the top of the source nor in src/: {shown(places)}")
        return
    package = module.partition(".")[0]
    mine = [name for name in names for base in ("", "src/") if name == f"{base}{package}.py" or name.startswith(f"{base}{package}/")]
    if not mine:
        found.notes.append(f"app_wsgi names the module {module}, which is not in the source: a package that the app needs has to bring it")
        return
    modules = {
        name.removeprefix("src/").removesuffix(".py").removesuffix("/__init__").replace("/", ".") for name in mine if name.endswith(".py")
    }
    near = difflib.get_close_matches(module, sorted(modules), n=1, cutoff=0.8)
    fix = f"did you mean {near[0]}?" if near else f"name one of: {shown(sorted(modules))}"
    found.problems.append(Problem("app_wsgi", f"names the module {module!r}, which is not in the source", fix))


def missing_static(names: Set[str], said: Values, found: Findings, folder: Path | None) -> None:
    """Folders that nginx is to serve: each has to be in the release, unless the build makes it."""
    for prefix, static in (said.get("app_static") or {}).items():
        place = PurePosixPath(str(static).strip("/"))
        # A link in the source may lead to it; what the virtual environment has is seen when it is built.
        if {str(one) for one in (place, *place.parents)} & names or any(name.startswith(f"{place}/") for name in names):
            continue
        if place.parts[0] == ".venv" or ":" in str(static):
            continue
        if said.get("app_build_commands"):
            found.notes.append(
                f"app_static names {str(place)!r} for {prefix}, which is not in the source: app_build_commands has to make it"
            )
            continue
        ignored = " (it is on this controller: git ignores it, or it is empty)" if folder and (folder / place).is_dir() else ""
        there = sorted({str(PurePosixPath(name).parent) for name in names if PurePosixPath(name).suffix in (".css", ".js")})
        fix = f"name one that is: {shown(there)}" if there else f"remove {prefix}, or add the folder"
        found.problems.append(Problem("app_static", f"names {str(place)!r} for {prefix}, which is not in the source{ignored}", fix))


# --- What the repository says ---------------------------------------------------------------------


def ask_for_version(source: Mapping[str, Any], found: Findings) -> None:
    """The host fetches it, and may be allowed what this controller is not: only an answer counts, a refusal is a note."""
    repo, version = source["repo"], source["version"]
    if not (repo.startswith(("https:", "http:", "git:")) or server(repo)):
        # A path is one of the host.
        return
    try:
        names = references(repo, source.get("deploy_key") or "")
    except SourceError as error:
        found.notes.append(f"app_source: whether {without_secrets(repo)} has {version!r} is seen on the host: {error}")
        return
    # A commit can be there without a name.
    if re.fullmatch(r"[0-9a-f]{4,64}", version) or {version, f"refs/heads/{version}", f"refs/tags/{version}"} & names:
        return
    short = [
        name.removeprefix("refs/heads/").removeprefix("refs/tags/")
        for name in sorted(names)
        if name.startswith(("refs/heads/", "refs/tags/"))
    ]
    near = difflib.get_close_matches(version, short, n=1, cutoff=0.8)
    fix = f"did you mean {near[0]}? Or push it: git push origin {version}" if near else f"push it: git push origin {version}"
    found.problems.append(Problem("app_source", f"version {version!r} is neither a branch nor a tag of {without_secrets(repo)}", fix))


def references(repo: str, key: str) -> set[str]:
    """Names of all that a repository has.

    :raises SourceError: when it does not say, with why; without secrets.
    """
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "LC_ALL": "C.UTF-8", "GIT_TERMINAL_PROMPT": "0", "GIT_ASKPASS": "true"}
        ssh = f"-o BatchMode=yes -o ConnectTimeout={PATIENCE // 2} -o StrictHostKeyChecking=accept-new -o UserKnownHostsFile={folder}/hosts"
        if key:
            file = Path(folder, "key")
            file.touch(mode=0o600)
            file.write_text(f"{key.strip()}\n")
            ssh += f" -i {file} -o IdentitiesOnly=yes"
        environment["GIT_SSH_COMMAND"] = f"ssh {ssh}"
        try:
            result = subprocess.run(
                ["git", "-c", "credential.helper=", "ls-remote", "--quiet", "--", repo],
                capture_output=True,
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                timeout=PATIENCE,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise SourceError(f"no answer in {PATIENCE} s") from None
        except OSError as error:
            raise SourceError(f"git cannot be run here: {error.strerror}") from error
    if result.returncode != 0:
        raise SourceError(last_line(without_secrets(result.stderr.decode(errors="replace"))) or f"git exited {result.returncode}")
    return set(heads(result.stdout.decode(errors="replace").splitlines()))


def heads(lines: Iterable[str]) -> Iterator[str]:
    for line in lines:
        yield line.partition("\t")[2].removesuffix("^{}")


def last_line(text: str) -> str:
    """The line of git's error that says why: the first that begins with fatal or error, or the last."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return next((line for line in lines if line.startswith(("fatal:", "error:", "ERROR:"))), lines[-1] if lines else "")
