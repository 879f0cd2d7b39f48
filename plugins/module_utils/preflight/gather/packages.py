# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""The package manager: who holds its locks, what it left half done, where packages come from, and whose a file is."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import struct
from collections.abc import Iterable, Iterator
from urllib.parse import urlsplit

from ..facts import Busy, Packages
from .host import Host
from .sockets import unit_of

LOCKS = ("/var/lib/dpkg/lock-frontend", "/var/lib/dpkg/lock", "/var/lib/apt/lists/lock", "/var/cache/apt/archives/lock")
#: What dpkg calls a package that it is done with.
_DONE = ("installed", "not-installed", "config-files")
#: struct flock: type, whence, start, length, process.
_FLOCK = "hhqqi"
#: A user or group is made by a line like this.
_MAKES = re.compile(r"\b(?:adduser|useradd|addgroup|groupadd)\b")


def locks(host: Host) -> Iterator[Busy]:
    """The process that holds the package manager, once."""
    for path in LOCKS:
        pid = holder(host, path)
        if pid:
            command = host.text(f"/proc/{pid}/cmdline").replace("\0", " ").strip() or host.text(f"/proc/{pid}/comm").strip()
            unit = unit_of(host, pid)[0]
            who = f"{command[:80] or 'a process'} (pid {pid}{', ' + unit if unit else ''})"
            yield Busy("apt:lock", "the package manager is at work", f"{who} holds {path}")
            return


def holder(host: Host, path: str) -> int:
    """The process that has locked a file; 0 for none. Asking takes no lock."""
    try:
        handle = os.open(host.path(path), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return 0
    try:
        needs = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        kind, _, _, _, pid = struct.unpack(_FLOCK, fcntl.fcntl(handle, fcntl.F_GETLK, needs))
    except OSError:
        return 0
    finally:
        os.close(handle)
    return pid if kind != fcntl.F_UNLCK and pid > 0 else 0


def state(host: Host) -> Packages:
    """What is half done, and how many sources there are."""
    return Packages(interrupted=list(_interrupted(host.text("/var/lib/dpkg/status"))), sources=len(list(sources(host))))


def _interrupted(text: str) -> Iterator[str]:
    package = ""
    for line in text.splitlines():
        if line.startswith("Package: "):
            package = line[9:].strip()
        elif line.startswith("Status: ") and line.split()[-1] not in _DONE:
            yield f"{package} ({line.split()[-1]})"


def sources(host: Host) -> Iterator[str]:
    """The address of each source of packages that apt reads; of both kinds of files."""
    folder = "/etc/apt/sources.list.d"
    for path in ["/etc/apt/sources.list", *(f"{folder}/{name}" for name in host.names(folder))]:
        text = host.text(path)
        if path.endswith(".sources"):
            yield from _stanzas(text)
        elif path.endswith(".list"):
            for line in text.splitlines():
                match = re.match(r"\s*deb\s+(?:\[[^\]]*\]\s*)?(\S+)", line)
                if match and not match[1].startswith("cdrom:"):
                    yield match[1]


def _stanzas(text: str) -> Iterator[str]:
    for stanza in re.split(r"\n\s*\n", text):
        fields = dict(re.findall(r"^([A-Za-z-]+):[ \t]*(.*(?:\n[ \t]+.*)*)", stanza, re.MULTILINE))
        if "deb" in fields.get("Types", "").split() and fields.get("Enabled", "yes").strip().lower() not in ("no", "false"):
            yield from fields.get("URIs", "").split()


def unresolved(host: Host) -> str:
    """The name of a package server that has no address; empty where they have, or where a proxy resolves them."""
    if re.search(r'Proxy[^;]*"[^"]+"', host.output("apt-config", "dump", "Acquire::http", "Acquire::https")):
        return ""
    names = {urlsplit(address).hostname for address in sources(host) if address.startswith(("http://", "https://"))}
    for name in sorted(name for name in names if name)[:2]:
        if host.resolve(name) is False:
            return name
    return ""


def owners(host: Host, paths: Iterable[str]) -> dict[str, str]:
    """Path to the package that brought it, of those that one did."""
    wanted = list(paths)
    if not wanted:
        return {}
    # /lib is /usr/lib today, and packages go on saying either.
    spelled = {**{path: path for path in wanted}, **{path[4:]: path for path in wanted if path.startswith("/usr/lib/")}}
    # It fails as soon as one of them is nobody's, and names the others all the same.
    _, said = host.run("dpkg-query", "--search", *spelled)
    found: dict[str, str] = {}
    for line in said.splitlines():
        package, _, path = line.partition(": ")
        if path in spelled and not line.startswith(("dpkg-query:", "diversion ")):
            found[spelled[path]] = package.split(",")[0].split(":")[0]
    return found


def unchanged(host: Host, path: str) -> bool:
    """Whether a file is a package's configuration as the package brought it."""
    digest = hashlib.md5(host.bytes(path), usedforsecurity=False).hexdigest()
    return re.search(rf"^ {re.escape(path)} {digest}(?: |$)", host.text("/var/lib/dpkg/status"), re.MULTILINE) is not None


def makers(host: Host, names: Iterable[str]) -> dict[str, str]:
    """User or group to the package whose scripts make one of that name."""
    wanted = {name: re.compile(rf"(?<![\w-]){re.escape(name)}(?![\w-])") for name in names}
    found: dict[str, str] = {}
    if not wanted:
        return found
    folder = "/var/lib/dpkg/info"
    for name in host.names(folder):
        package, _, kind = name.rpartition(".")
        text = host.text(f"{folder}/{name}") if kind in ("postinst", "preinst") else ""
        if _MAKES.search(text):
            for one, pattern in wanted.items():
                if one not in found and pattern.search(text):
                    found[one] = package.split(":")[0]
    for folder in ("/usr/lib/sysusers.d", "/etc/sysusers.d"):
        for name in host.names(folder):
            for line in host.text(f"{folder}/{name}").splitlines():
                words = line.split()
                if len(words) > 1 and words[0] in ("u", "u!", "g") and words[1] in wanted:
                    found.setdefault(words[1], f"sysusers.d/{name}")
    return found
