# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""Users, groups, folders, units and files that have one of our names already."""

from __future__ import annotations

from collections.abc import Iterator

from ..facts import Account, Facts, File, Folder, Group
from ..finding import ADOPT, REPLACE, Finding, count, some
from ..needs import AppNeeds, Needs, hidden

#: The first user that a person is (Debian's UID_MIN); below 100 they are the distribution's own, the same on every machine.
_PEOPLE, _PACKAGES = 1000, 100
_NO_SHELL = ("nologin", "false", "sync")


def findings(facts: Facts, needs: Needs) -> Iterator[Finding]:
    if not needs.apps:
        return
    for app in needs.apps:
        yield from (_user(one, app) for one in facts.accounts if one.name == app.user and not one.ours)
        if not any(one.name == app.user and one.uid >= 0 for one in facts.accounts):
            yield from (_group(one, app) for one in facts.groups if one.name == app.group and _taken(one))
    # A folder or a file may be one of two apps; it is one finding.
    yield from (_folder(one) for one in facts.folders if not one.ours)
    stems = dict.fromkeys(unit.stem for unit in facts.units if not unit.ours)
    yield from (_unit(stem, [unit for unit in facts.units if unit.stem == stem and not unit.ours]) for stem in stems)
    yield from (_file(one) for one in facts.files if not one.ours)


# --- Users and groups ---------------------------------------------------------------------------------


def logs_in(account: Account) -> bool:
    """Whether somebody may come in as this user."""
    shell = bool(account.shell) and not account.shell.endswith(_NO_SHELL)
    return account.uid >= _PEOPLE or account.uid == 0 or shell or account.keys > 0 or account.password or account.connected


def _user(account: Account, app: AppNeeds) -> Finding:
    id_, fix = f"user:{account.name}", f"choose another name: app_user: {app.name}-app, or another app_name"
    rights = "remove what gives it rights or starts its programs"
    if account.uid < 0:
        what = f"there is no user {account.name} yet, and rules wait for one of that name: the app could do what they allow"
        return Finding(id_, what, some(account.rights), fix=f"{rights}; or {fix}")
    seen = [f"uid {account.uid}", account.shell or "no shell", f"home {account.home}"]
    seen += [count(account.keys, "key")] if account.keys else []
    seen += ["a password"] if account.password else []
    seen += [count(account.processes, "process", "processes")] if account.processes else []
    seen += [f"groups {some(account.groups)}"] if account.groups else []
    seen += account.rights
    seen += [f"made by {account.package}"] if account.package else []
    if account.connected:
        seen.insert(0, "this run logged in as it")
    evidence = ", ".join(seen)
    if logs_in(account):
        what = f"{account.name} is a user who logs in, and the app would take its shell and its home"
        return Finding(id_, what, evidence, fix=fix)
    if account.package or account.uid < _PACKAGES:
        return Finding(id_, f"{account.name} is a user of the system, and the app would take its shell and its home", evidence, fix=fix)
    if account.processes:
        what = f"there is a user {account.name} already, and it is at work: its home and shell cannot be changed meanwhile"
        return Finding(id_, what, evidence, fix=f"stop its processes first (ps -u {account.name}), and run this again; or {fix}")
    if account.rights:
        what = f"there is a user {account.name} already, with rights or programs that the app should not have"
        return Finding(id_, what, evidence, fix=f"{rights}; or {fix}")
    does = f"the app runs as {account.name}: its home becomes {app.root}, its shell nologin, its own group {app.group}"
    does += f"; it stays in {some(account.groups)}" if account.groups else ""
    return Finding(id_, f"there is a user {account.name} already", evidence, {ADOPT: does}, fix)


def _taken(group: Group) -> bool:
    """An empty group of no package is what a run leaves that was cut off before it made the user."""
    return not group.ours and bool(group.members or group.users or group.package or group.gid < _PACKAGES or group.gid >= _PEOPLE)


def _group(group: Group, app: AppNeeds) -> Finding:
    fix = f"choose another name: app_group: {app.name}-app, or another app_name"
    seen = [f"gid {group.gid}"]
    seen += [f"members {some(group.members)}"] if group.members else []
    seen += [f"the own group of {some(group.users)}"] if group.users else []
    seen += [f"made by {group.package}"] if group.package else []
    what = f"there is a group {group.name}, and the app would have all that it may do"
    if group.package or group.members or group.users or group.gid < _PACKAGES:
        return Finding(f"group:{group.name}", what, ", ".join(seen), fix=fix)
    return Finding(f"group:{group.name}", what, ", ".join(seen), {ADOPT: f"the app becomes a member of {group.name}"}, fix)


# --- Folders, units, files ----------------------------------------------------------------------------


def _folder(folder: Folder) -> Finding:
    path, id_ = folder.path, f"path:{folder.path}"
    other = "choose another app_name, or that folder's own variable (app_root, app_config_dir, app_log_dir, …)"
    inside = f"{count(folder.entries, 'entry', 'entries')} ({some(folder.sample, 3)})" if folder.entries else "empty"
    evidence = f"{inside if folder.is_folder else 'no folder'}, owner {folder.owner or 'unknown'}"
    evidence += f", it leads to {folder.target}" if folder.target else ""
    if folder.package:
        return Finding(id_, f"{path} belongs to the package {folder.package}", evidence, fix=other)
    if hidden(folder.target):
        what = f"{path} leads to where no app can look: its sandbox hides /home, /root and /tmp from it"
        return Finding(id_, what, evidence, fix=f"move it to another place, and the link with it; or {other}")
    if not folder.is_folder:
        return Finding(id_, f"{path} is not a folder, and the app needs one there", evidence, fix=f"move it away; or {other}")
    does = "it becomes the app's: owner and mode change, what is in it stays, and ours comes beside it"
    return Finding(id_, f"{path} is in use, and not by Slipway", evidence, {ADOPT: does}, other)


def _unit(stem: str, units: list[File]) -> Finding:
    evidence = some(f"{unit.path}{' (running)' if unit.active else ''}" for unit in units)
    fix = "choose another app_name, or another name for that process or timer"
    brought = [unit for unit in units if unit.package or not unit.path.startswith("/etc/systemd/system/")]
    if brought:
        of = f" of the package {brought[0].package}" if brought[0].package else ""
        return Finding(f"unit:{stem}", f"there is a unit{of} that is called {stem}", evidence, fix=fix)
    does = "it is stopped and disabled when Slipway writes its own (down until the first deploy); its files move to *.replaced"
    return Finding(f"unit:{stem}", f"somebody else's unit is called {stem}", evidence, {REPLACE: does}, fix)


def _file(file: File) -> Finding:
    id_, evidence = f"file:{file.path}", f"{count(file.size, 'byte')}, changed on {file.changed}"
    if file.package:
        return Finding(id_, f"{file.path} belongs to the package {file.package}", evidence, fix="choose another app_name")
    does = "Slipway's own takes its place; copy it first if you need it"
    return Finding(id_, f"{file.path} is not Slipway's, and would be written over", evidence, {REPLACE: does})
