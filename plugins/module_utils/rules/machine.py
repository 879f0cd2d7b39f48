# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""What the apps of one machine may not do to each other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from ansible_collections.slipway.vps.plugins.module_utils.model import App

Said = Mapping[str, Mapping[str, Any]]


class Conflict(NamedTuple):
    """Two entries of one machine that cannot both be right: where each says it, what is wrong, and what to do."""

    variable: str
    entries: tuple[str, str]
    what: str
    fix: str


def conflicts(apps: Mapping[str, App], said: Said) -> Iterator[Conflict]:
    """Every reason why these apps cannot share a machine.

    :arg apps: entry to app, in the inventory's order.
    :arg said: entry to what it says of the machine, variable to resolved value; what an entry leaves unsaid it takes from the others.
    """
    yield from _disagreements(said)
    yield from _shared_claims(apps)
    yield from _two_clusters(apps)
    yield from _admins_as_apps(apps, said)


def _disagreements(said: Said) -> Iterator[Conflict]:
    first: dict[str, tuple[str, Any]] = {}
    for entry, values in said.items():
        for variable, value in values.items():
            other, before = first.setdefault(variable, (entry, value))
            if before != value:
                what = f"is the machine's, and {other} and {entry} say different things of it"
                yield Conflict(variable, (other, entry), what, "say it once for both, in group_vars/app_servers/")


def _shared_claims(apps: Mapping[str, App]) -> Iterator[Conflict]:
    owners: dict[str, str] = {}
    for entry, app in apps.items():
        for claim, words in app.claims().items():
            owner = owners.setdefault(claim, entry)
            if owner != entry:
                variable = "app_domains" if claim.startswith("domain:") else "app_name"
                what = f"{app.name}: {words} would belong to {owner} ({apps[owner].name}) and to {entry} alike"
                fix = (
                    "name each domain in one app" if variable == "app_domains" else "give one of the two apps, or its process, another name"
                )
                yield Conflict(variable, (owner, entry), what, fix)
                break


def _two_clusters(apps: Mapping[str, App]) -> Iterator[Conflict]:
    here = [(entry, app) for entry, app in apps.items() if app.database.over_socket]
    for entry, app in here[1:]:
        owner, first = here[0]
        if app.database.port != first.database.port:
            what = f"leads to port {app.database.port}, and {owner} to {first.database.port}: one PostgreSQL serves a machine"
            yield Conflict("app_database_url", (owner, entry), what, "leave the port out")


def _admins_as_apps(apps: Mapping[str, App], said: Said) -> Iterator[Conflict]:
    for entry, values in said.items():
        names = {admin.get("name") for admin in values.get("ssh_admins") or [] if isinstance(admin, Mapping)}
        for other, app in apps.items():
            if other != entry and app.user in names:
                what = f"names {app.user}, who is the user of {other}, and nobody logs in as an app"
                yield Conflict("ssh_admins", (entry, other), what, "use another name for the admin")
