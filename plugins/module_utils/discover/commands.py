# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""Command lines: Procfile, Dockerfile and scripts of a project, and what a server's command says."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ansible_collections.slipway.vps.plugins.module_utils.discover.tree import Tree

#: Commands that only start another one.
_WRAPPERS = (("poetry", "run"), ("pipenv", "run"), ("uv", "run"), ("pdm", "run"), ("hatch", "run"), ("python", "-m"), ("python3", "-m"))
_ASGI_SERVERS = frozenset({"uvicorn", "hypercorn", "daphne"})
SERVERS = frozenset({"gunicorn", "waitress-serve", "uwsgi", "granian", *_ASGI_SERVERS})
_TARGET = re.compile(r"[A-Za-z_][\w.-]*:[A-Za-z_]\w*(\(.*\))?")
_MODULE = re.compile(r"[A-Za-z_][\w]*(\.[A-Za-z_]\w*)*")


@dataclass(frozen=True)
class Server:
    """What a server's command line says."""

    #: `module:callable`, or a module alone.
    target: str
    asgi: bool = False
    worker_class: str = ""
    timeout: int = 0
    folder: str = ""


def procfile(tree: Tree) -> dict[str, str]:
    """Process to its command."""
    lines = (line.partition(":") for line in tree.lines("Procfile"))
    return {name.strip(): command.strip() for name, colon, command in lines if colon and re.fullmatch(r"[\w-]+", name.strip())}


def parts(line: str) -> list[str]:
    """The commands of a line that a shell would run one after the other."""
    return [part for part in (part.strip() for part in re.split(r"&&|;", line)) if part]


def words(command: str) -> list[str]:
    """The words of one command, without what only starts it and without assignments before it."""
    try:
        found = shlex.split(command)
    except ValueError:
        found = command.split()
    while found:
        if re.fullmatch(r"[A-Za-z_]\w*=.*", found[0], re.DOTALL) or found[0] in ("exec", "ddtrace-run", "opentelemetry-instrument"):
            found = found[1:]
        elif tuple(found[:2]) == ("newrelic-admin", "run-program") or tuple(found[:2]) in _WRAPPERS:
            found = found[2:]
        else:
            break
    return found


def without_wrappers(command: str) -> str:
    """A command as it is run in the release's own environment, where nothing has to look for it."""
    found = command
    for wrapper in _WRAPPERS[:5]:
        found = re.sub(rf"^{wrapper[0]}\s+{wrapper[1]}\s+", "", found)
    return re.sub(r"^python3\b", "python", found)


def server(line: str) -> Server | None:
    """What the first server in a line of commands says; None where there is none."""
    for command in parts(line):
        found = words(command)
        if found and found[0].rpartition("/")[2] in SERVERS:
            return _read(found[0].rpartition("/")[2], found[1:])
        if found[:1] == ["fastapi"] and found[1:2] == ["run"] and (paths := [word for word in found[2:] if word.endswith(".py")]):
            return Server(paths[0][:-3].replace("/", "."), asgi=True)
        if found[:1] == ["flask"] and "run" in found and (app := _option(found, "--app", "-A")):
            return Server(app.removesuffix(".py"))
    return None


def is_server(command: str) -> bool:
    found = words(command)
    return bool(found) and (found[0].rpartition("/")[2] in SERVERS or found[:2] in (["fastapi", "run"], ["flask", "run"]))


def _read(program: str, arguments: list[str]) -> Server:
    kind = _option(arguments, "-k", "--worker-class", "--interface")
    asgi = program in _ASGI_SERVERS or "uvicorn" in kind or kind in ("asgi", "asginl")
    factory = any(word in arguments for word in ("--call", "--factory"))
    targets = [word for word in arguments if _TARGET.fullmatch(word)]
    if not targets:
        bare = [
            word
            for before, word in zip(["", *arguments], arguments, strict=False)
            if _MODULE.fullmatch(word) and not before.startswith("-")
        ]
        targets = bare[-1:]
    target = targets[0] if targets else ""
    timeout = _option(arguments, "-t", "--timeout")
    return Server(
        f"{target}()" if factory and not target.endswith(")") else target,
        asgi,
        kind if kind in ("gevent", "sync") else "",
        int(timeout) if timeout.isdigit() else 0,
        _option(arguments, "--chdir", "--pythonpath", "--app-dir").strip("./"),
    )


def _option(arguments: list[str], *names: str) -> str:
    for number, word in enumerate(arguments):
        name, equals, value = word.partition("=")
        if name in names:
            return value if equals else next(iter(arguments[number + 1 : number + 2]), "")
        if short := next((name for name in names if len(name) == 2 and word.startswith(name) and len(word) > 2), ""):
            return word.removeprefix(short)
    return ""


def lines(tree: Tree) -> Iterator[tuple[str, str]]:
    """Every command line that starts something, and where it stands, the most telling first."""
    for name, command in procfile(tree).items():
        if name == "web":
            yield command, "Procfile: web"
    project = tree.toml("pyproject.toml").get("tool", {})
    for tool, table in (("poe", "tasks"), ("pdm", "scripts"), ("taskipy", "tasks"), ("rye", "scripts")):
        for command in _texts(project.get(tool, {}).get(table, {})):
            yield command, f"pyproject.toml: tool.{tool}.{table}"
    for command in _texts(tree.json("package.json").get("scripts", {})):
        yield command, "package.json: scripts"
    for path in tree.files:
        if path.count("/") <= 1 and path.rpartition("/")[2] in ("Dockerfile", "Containerfile"):
            yield from ((command, path) for command in _docker(tree.text(path)))
        elif path.count("/") <= 1 and path.endswith(".sh"):
            yield from ((line, path) for line in tree.lines(path))
        elif path.endswith((".service", "Makefile")) and path.count("/") <= 1:
            yield from ((line.removeprefix("ExecStart="), path) for line in tree.lines(path))


def _docker(text: str) -> Iterator[str]:
    """CMD and ENTRYPOINT of a Dockerfile, the last first."""
    joined = re.sub(r"\\\n", " ", text)
    for command in reversed(re.findall(r"^\s*(?:CMD|ENTRYPOINT)\s+(.+)$", joined, re.MULTILINE)):
        try:
            given = json.loads(command)
        except ValueError:
            yield command
        else:
            line = [str(word) for word in given] if isinstance(given, list) else [command]
            yield line[-1] if line[:2] in (["sh", "-c"], ["bash", "-c"]) else shlex.join(line)


def _texts(node: Any) -> Iterator[str]:
    if isinstance(node, str):
        yield node
    elif isinstance(node, dict):
        for value in node.values():
            yield from _texts(value)
