# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""Whose the names are that an app would have: users, groups, folders, units, files. Ours are known by the marks that the roles leave."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from ...nginx_sites import MARK
from ..facts import Account, File, Folder, Group
from ..needs import AppNeeds, Needs, hidden
from . import packages
from .host import Host

#: Of a user that Slipway made (roles/base).
COMMENT = "(Slipway)"
#: Where a program must be to be one of a machine that Slipway has been on.
MACHINE_MARKS = ("/usr/local/lib/slipway/current", "/etc/systemd/journald.conf.d/slipway.conf", "/etc/nginx/conf.d/slipway.conf")
UNIT_FOLDERS = (
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
)
SUFFIXES = (".service", "@.service", ".socket", ".timer", ".path", ".slice")
#: Files of a folder that are looked into for a mark.
_LOOKED_INTO = 40
_SAMPLE = 3


@dataclass(frozen=True)
class Known:
    """What an earlier run of ours left of an app."""

    app: AppNeeds
    user: bool
    #: /etc/<app>/app.json; a host of an older Slipway has none, and marks in its files all the same.
    document: dict[str, Any] = field(default_factory=dict)
    marked: bool = False

    @property
    def ours(self) -> bool:
        return self.user or self.marked


@dataclass(frozen=True)
class Names:
    """All names that are asked for and taken."""

    #: Apps that an earlier run of ours has made.
    apps: list[str]
    accounts: list[Account]
    groups: list[Group]
    folders: list[Folder]
    units: list[File]
    files: list[File]


def machine_is_ours(host: Host) -> bool:
    """Whether Slipway has been here before."""
    return any(host.exists(path) for path in MACHINE_MARKS)


def has_mark(host: Host, path: str) -> bool:
    return MARK.search(host.text(path)) is not None


def gather(host: Host, needs: Needs) -> Names:
    """Everything that is there under one of our names."""
    accounts = _entries(host, "passwd", [app.user for app in needs.apps])
    known = [_known(host, app, accounts.get(app.user, [])) for app in needs.apps]
    folders = [folder for one in known for folder in _folders(host, one)]
    taken = [file for one in known for file in units(host, one.app.units)]
    files = [file for one in known for file in _files(host, one)]
    foreign = [folder.path for folder in folders if not folder.ours] + [file.path for file in (*taken, *files) if not file.ours]
    brought = packages.owners(host, foreign)
    return Names(
        apps=[one.app.name for one in known if one.ours],
        accounts=[account for one in known for account in _account(host, one, accounts)],
        groups=[group for one in known for group in _group(host, one, accounts)],
        folders=[replace(one, package=brought.get(one.path, "")) for one in folders],
        units=[replace(one, package=brought.get(one.path, "")) for one in taken],
        files=[replace(one, package=brought.get(one.path, "")) for one in files],
    )


def _entries(host: Host, database: str, names: list[str]) -> dict[str, list[str]]:
    """Name to fields, from whatever directory of users the host has (files, LDAP)."""
    # It fails when one of them is missing, and says the others.
    _, said = host.run("getent", database, *sorted(set(names))) if names else (0, "")
    rows = [line.split(":") for line in said.splitlines() if line.count(":") >= 3]
    return {row[0]: row for row in rows if row[0] in names}


def _known(host: Host, app: AppNeeds, user: list[str]) -> Known:
    document: dict[str, Any] = {}
    try:
        read = json.loads(host.text(f"{app.config_dir}/app.json") or "{}")
        document = read if isinstance(read, dict) and read.get("name") == app.name else {}
    except ValueError:
        pass
    marked = bool(document) or any(has_mark(host, path) for path in _files_of(host, app.config_dir))
    return Known(app, len(user) > 4 and user[4].split(",")[0].endswith(COMMENT), document, marked)


def _files_of(host: Host, folder: str) -> Iterator[str]:
    names = (f"{folder}/{name}" for name in host.names(folder)[:_LOOKED_INTO])
    return (path for path in names if host.path(path).is_file())


# --- Users and groups ---------------------------------------------------------------------------------


def _account(host: Host, known: Known, accounts: dict[str, list[str]]) -> Iterator[Account]:
    user = known.app.user
    row = accounts.get(user)
    if not row or len(row) < 7:
        if not known.marked and (rights := _rights(host, user)):
            yield Account(user, -1, rights=rights)
        return
    name, uid, gid, comment, home, shell = row[0], int(row[2]), int(row[3]), row[4], row[5], row[6]
    # An older host: the user as the role makes it, beside files with our mark.
    ours = known.user or (known.marked and home == known.app.root and shell.endswith("nologin"))
    if ours:
        yield Account(name, uid, gid, comment, home, shell, ours=True)
        return
    shadow = next((line.split(":") for line in host.text("/etc/shadow").splitlines() if line.startswith(f"{name}:")), ["", ""])
    yield Account(
        *(name, uid, gid, comment, home, shell),
        keys=sum(len(_keys(host.text(f"{home}/.ssh/{file}"))) for file in ("authorized_keys", "authorized_keys2")),
        password=shadow[1].startswith("$"),
        connected=os.environ.get("SUDO_USER", "") == name,
        processes=sum(1 for pid in host.processes() if _owner(host, f"/proc/{pid}") == uid),
        groups=[fields[0] for fields in _rows(host.text("/etc/group")) if len(fields) > 3 and name in fields[3].split(",")],
        rights=_rights(host, name),
        package=packages.makers(host, [name]).get(name, ""),
    )


def _rows(text: str) -> Iterator[list[str]]:
    return (line.split(":") for line in text.splitlines())


def _rights(host: Host, user: str) -> list[str]:
    """Files by which a user of this name may become root, or starts programs."""
    rules = ["/etc/sudoers", *(f"/etc/sudoers.d/{name}" for name in host.names("/etc/sudoers.d"))]
    found = [path for path in rules if re.search(rf"^\s*{re.escape(user)}\s", host.text(path), re.MULTILINE)]
    crontab = f"/var/spool/cron/crontabs/{user}"
    return [*found, crontab] if host.exists(crontab) else found


def _keys(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]


def _owner(host: Host, path: str) -> int:
    try:
        return os.lstat(host.path(path)).st_uid
    except OSError:
        return -1


def _group(host: Host, known: Known, accounts: dict[str, list[str]]) -> Iterator[Group]:
    row = _entries(host, "group", [known.app.group]).get(known.app.group)
    if not row:
        return
    name, gid = row[0], int(row[2])
    user = accounts.get(known.app.user)
    ours = known.ours and user is not None and len(user) > 3 and int(user[3]) == gid
    if ours:
        yield Group(name, gid, ours=True)
        return
    yield Group(
        *(name, gid),
        members=[member for member in row[3].split(",") if member],
        users=[fields[0] for fields in _rows(host.text("/etc/passwd")) if len(fields) > 3 and fields[3] == str(gid)],
        package=packages.makers(host, [name]).get(name, ""),
    )


# --- Folders, units, files ----------------------------------------------------------------------------


def _folders(host: Host, known: Known) -> Iterator[Folder]:
    said = _paths_in(known.document)
    for path in known.app.folders:
        is_folder = host.path(path).is_dir()
        inside, owner, real = host.names(path), _user_name(host, path), host.real(path)
        target = "" if real == path else real
        # An empty folder takes nothing from anybody, unless somebody means to write there.
        free = is_folder and not inside and owner in ("root", known.app.user) and not host.link(path)
        if (free or not host.exists(path)) and not hidden(target):
            continue
        # Under the app's own name it has been ours since the first run; any other is one that we had before.
        usual = path.rpartition("/")[2].startswith(known.app.name)
        ours = (known.ours and (usual or not said or path in said)) or _ours_inside(host, path, inside)
        yield Folder(path, owner, len(inside), inside[:_SAMPLE], ours=ours, target=target, is_folder=is_folder or not host.exists(path))


def _paths_in(document: Any) -> set[str]:
    """Every path that a model of ours names."""
    if isinstance(document, dict):
        return {path for value in document.values() for path in _paths_in(value)}
    return {document} if isinstance(document, str) and document.startswith("/") else set()


def _ours_inside(host: Host, folder: str, names: list[str]) -> bool:
    """A release, a backup, or a file with our mark: what stays behind when an app has been removed, or its user."""
    manifests = (f"{folder}/{name}/manifest.json" for name in names[:_LOOKED_INTO])
    releases = (f"{folder}/releases/{name}/release.json" for name in host.names(f"{folder}/releases")[:_LOOKED_INTO])
    return any(host.exists(path) for path in (*manifests, *releases)) or any(has_mark(host, path) for path in _files_of(host, folder))


def _user_name(host: Host, path: str) -> str:
    try:
        uid = str(host.path(path).stat().st_uid)
    except OSError:
        return ""
    return next((row[0] for row in _rows(host.text("/etc/passwd")) if len(row) > 2 and row[2] == uid), uid)


def units(host: Host, stems: Iterable[str]) -> Iterator[File]:
    """Every unit that has one of these names, before `@` or the suffix; with drop-ins that wait for one."""
    for stem in stems:
        seen: dict[str, bool] = {}
        for folder in UNIT_FOLDERS:
            for suffix in SUFFIXES:
                path = f"{folder}/{stem}{suffix}"
                # The first folder counts, for systemd too.
                if host.exists(path) and stem + suffix not in seen:
                    ours = seen[stem + suffix] = has_mark(host, path)
                    yield File(path, ours=ours, stem=stem, active=not ours and _active(host, stem + suffix))
        # Beside a unit of ours they are the operator's (systemctl edit).
        drop_ins = (f"{folder}/{stem}{suffix}.d" for suffix in SUFFIXES if not seen.get(stem + suffix) for folder in UNIT_FOLDERS)
        yield from (File(path, stem=stem) for path in drop_ins if host.names(path))
        if host.exists(f"/etc/init.d/{stem}"):
            yield File(f"/etc/init.d/{stem}", stem=stem, active=_active(host, f"{stem}.service"))


def _active(host: Host, unit: str) -> bool:
    """Without a question to systemd for each: a service that runs has a control group."""
    name = re.escape(unit)
    if "@." in unit or not unit.endswith(".service"):
        return False
    return any(re.search(rf"/{name}$", host.text(f"/proc/{pid}/cgroup"), re.MULTILINE) for pid in host.processes())


def _files(host: Host, known: Known) -> Iterator[File]:
    """An operator's own template (`templates/nginx` of the inventory) need not have our mark."""
    for path in known.app.files:
        if host.exists(path):
            there = os.lstat(host.path(path))
            changed = time.strftime("%Y-%m-%d", time.gmtime(there.st_mtime))
            yield File(path, ours=known.ours or has_mark(host, path), size=there.st_size, changed=changed)
