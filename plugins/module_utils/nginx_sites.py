# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""Who answers for which name in nginx's configuration, as its files say it.

nginx itself is not asked: it may not be running, or not start.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

FOLDER = "/etc/nginx"
#: Our own site for unknown names, by whichever template it was written.
OUR_DEFAULT = "slipway-default.conf"
#: What Slipway writes into each of its files.
MARK = re.compile(r"\bslipway:[a-z0-9]+\b")
#: A comment, a quoted text, a sign, or a word; `${x}` is part of a word.
_TOKEN = re.compile(r"""#[^\n]*|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|[{};]|(?:\$\{[^}]*\}|\\.|[^\s;{}\\])+""", re.DOTALL)
#: Files within files, at most.
_DEPTH = 8
_LARGEST = 1_000_000


class Token(NamedTuple):
    """A word or a sign, and its line."""

    text: str
    line: int


@dataclass
class Directive:
    """A name with its words, and what stands in its braces."""

    words: list[str]
    line: int
    block: list[Directive] = field(default_factory=list)


@dataclass(frozen=True)
class Server:
    """One server of nginx: where it stands, and what it answers for."""

    #: The file as nginx includes it, and as it is kept: another one where the first is a link.
    file: str
    kept: str
    line: int
    names: list[str]
    #: Ports, and those of them where it answers for every name that no other has.
    ports: list[int]
    default: list[int]
    #: Slipway wrote it.
    ours: bool


@dataclass
class Configuration:
    """What was found below nginx's folder."""

    servers: list[Server] = field(default_factory=list)
    #: Files that could not be read, and why.
    unread: list[str] = field(default_factory=list)
    #: Patterns that nginx includes.
    includes: list[str] = field(default_factory=list)


def tokens(text: str) -> Iterator[Token]:
    """Words and signs, without comments; a quoted text is one word."""
    line, position = 1, 0
    for match in _TOKEN.finditer(text):
        line += text.count("\n", position, match.start())
        position = match.start()
        if not match[0].startswith("#"):
            yield Token(match[0], line)


def parse(text: str) -> list[Directive]:
    """The directives of a file, nested. ValueError where braces do not match."""
    top: list[Directive] = []
    stack, line = [top], 0
    words: list[str] = []
    for token in tokens(text):
        if token.text == "}":
            if len(stack) == 1:
                raise ValueError(f"line {token.line}: a brace closes nothing")
            stack.pop()
            words = []
        elif token.text in ("{", ";"):
            directive = Directive(words, line or token.line)
            if words:
                stack[-1].append(directive)
            if token.text == "{":
                stack.append(directive.block)
            words = []
        else:
            line = line if words else token.line
            words.append(token.text.strip("\"'") if token.text[0] in "\"'" else token.text)
    if len(stack) > 1:
        raise ValueError("a brace is never closed")
    return top


def read(root: Path = Path(FOLDER)) -> Configuration:
    """All servers of nginx, from `nginx.conf` on."""
    found = Configuration()
    if (root / "nginx.conf").is_file():
        _read(root / "nginx.conf", root, found, 0)
    return found


def _read(path: Path, root: Path, found: Configuration, depth: int) -> None:
    try:
        text = path.read_text(errors="replace") if path.stat().st_size <= _LARGEST else ""
        directives = parse(text)
    except (OSError, ValueError) as error:
        found.unread.append(f"{_shown(path, root)}: {error}")
        return
    _walk(directives, path, bool(MARK.search(text)), root, found, depth)


def _walk(directives: Iterable[Directive], path: Path, ours: bool, root: Path, found: Configuration, depth: int) -> None:
    for directive in directives:
        name = directive.words[0]
        if name == "include" and len(directive.words) > 1 and depth < _DEPTH:
            pattern = directive.words[1]
            found.includes.append(pattern)
            for one in _included(pattern, root):
                _read(one, root, found, depth + 1)
        elif name == "server" and directive.block:
            found.servers.append(_server(directive, path, ours, root))
        elif name in ("http", "events") or directive.block:
            _walk(directive.block, path, ours, root, found, depth)


def _included(pattern: str, root: Path) -> list[Path]:
    """The files of a pattern, which is relative to nginx's folder; in the order in which nginx reads them."""
    inside = pattern[len(FOLDER) + 1 :] if pattern.startswith(FOLDER + "/") else pattern
    if inside.startswith("/"):
        return []
    return sorted(one for one in root.glob(inside) if one.is_file())


def _server(directive: Directive, path: Path, ours: bool, root: Path) -> Server:
    names = [name.lower() for one in directive.block if one.words[0] == "server_name" for name in one.words[1:]]
    listens = [one.words[1:] for one in directive.block if one.words[0] == "listen" and len(one.words) > 1] or [["80"]]
    ports = {port_of(words[0]): words for words in listens}
    # Of every address: only there it meets ours.
    default = {port_of(words[0]) for words in listens if {"default_server", "default"} & set(words[1:]) and not _one_address(words[0])}
    return Server(
        file=_shown(path, root),
        kept=_shown(path.resolve(), root) if path.is_symlink() else "",
        line=directive.line,
        names=names,
        ports=sorted(port for port in ports if port),
        default=sorted(port for port in default if port),
        ours=ours,
    )


def port_of(address: str) -> int:
    """The port that `listen` names; 0 for a Unix socket."""
    if address.startswith("unix:"):
        return 0
    last = address.rpartition(":")[2] if not address.endswith("]") else ""
    return int(last) if last.isdigit() else 80


def _one_address(address: str) -> bool:
    host = address.rpartition(":")[0] if ":" in address and not address.endswith("]") else "" if address.isdigit() else address
    return host not in ("", "*", "0.0.0.0", "[::]")


def _shown(path: Path, root: Path) -> str:
    """A path below nginx's folder as it is on the host."""
    try:
        return str(Path(FOLDER) / path.relative_to(root))
    except ValueError:
        try:
            return str(Path(FOLDER) / path.relative_to(root.resolve()))
        except ValueError:
            return str(path)


def answers_for(server: Server, name: str) -> bool:
    """Whether a server says this very name, so that the order of files would choose between it and ours.

    Ours is exact, or a wildcard: nginx prefers it to any other pattern that fits. `.example.com` is short for both.
    """
    bare = name[2:] if name.startswith("*.") else name
    return name in server.names or f".{bare}" in server.names


def in_the_way(servers: Iterable[Server], names: Iterable[str], files: Iterable[str], ports: Iterable[int] = (80, 443)) -> list[Server]:
    """Servers that answer for one of these names on these ports, and are not in one of ``files``.

    :arg files: what our own sites are called, `blog.conf`; whoever wrote them, they are where ours are.
    """
    own, wanted, used = set(files), list(names), set(ports)
    return [
        server
        for server in servers
        if used & set(server.ports) and Path(server.file).name not in own and any(answers_for(server, name) for name in wanted)
    ]


def defaults_of_others(servers: Iterable[Server], ports: Iterable[int] = (80, 443)) -> list[Server]:
    """Servers of others that answer for every name that no other has, on one of these ports."""
    others = (server for server in servers if not server.ours and Path(server.file).name != OUR_DEFAULT)
    return [server for server in others if set(ports) & set(server.default)]
