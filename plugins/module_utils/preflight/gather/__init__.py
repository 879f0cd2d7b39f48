# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""Ask the host for every fact; nothing is changed, and what cannot be asked is said."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from ..facts import Facts, Firewall, Nginx, Packages, Redis, Site, System
from ..needs import REDIS_UNIT, Needs
from . import certbot, firewall, names, packages, postgres, redis, sockets, system, web
from .host import Host

_Found = TypeVar("_Found")


def gather(needs: Needs, host: Host, now: float | None = None) -> Facts:
    """
    :arg now: the controller's clock, in seconds since 1970.
    """

    def ask(what: str, source: Callable[[], _Found], otherwise: _Found) -> _Found:
        try:
            return source()
        except Exception as error:  # whatever a host has in store: one source that fails must not hide the others
            host.unknown.append(f"{what}: {type(error).__name__}: {error}")
            return otherwise

    nowhere: dict[str, tuple[bool, bool]] = {}
    nothing: tuple[Nginx, list[Site]] = (Nginx(), [])
    here = ask("the system", lambda: system.gather(host, now), System())
    on = ask("the units", lambda: _on(host), nowhere)
    taken = ask("names", lambda: names.gather(host, needs), names.Names([], [], [], [], [], []))
    nginx, sites = ask("nginx", lambda: web.nginx(host), nothing)
    sites = [*sites, *ask("other web servers", lambda: web.others(host), nothing[1])]
    state = on.get(REDIS_UNIT, (False, False))
    return Facts(
        ours=ask("earlier runs", lambda: names.machine_is_ours(host), False),
        apps=taken.apps,
        listeners=ask("ports", lambda: sockets.listeners(host, needs.ports), []),
        accounts=taken.accounts,
        groups=taken.groups,
        folders=taken.folders,
        units=taken.units,
        files=taken.files,
        sites=sites,
        nginx=nginx,
        clusters=ask("PostgreSQL", lambda: postgres.clusters(host, needs), []) if needs.postgres else [],
        redis=ask("Redis", lambda: redis.gather(host, *state), Redis()) if needs.redis else Redis(),
        certificates=ask("certbot", lambda: list(certbot.certificates(host, needs)), []),
        firewall=ask("the firewall", lambda: firewall.gather(host, needs, [unit for unit, one in on.items() if any(one)]), Firewall()),
        system=here,
        disks=ask("disks", lambda: system.disks(host, dict.fromkeys([*needs.rooms, *needs.run_from])), []),
        packages=ask("packages", lambda: packages.state(host), Packages()),
        busy=ask("what is at work", lambda: [*system.first_start(host), *packages.locks(host)], []),
        unknown=host.unknown,
    )


def _on(host: Host) -> dict[str, tuple[bool, bool]]:
    """Unit to whether it runs, and whether it is started at boot: of all that is asked about, in one question."""
    said = host.output("systemctl", "show", "--property=Id,ActiveState,UnitFileState", *firewall.UNITS, REDIS_UNIT)
    found: dict[str, tuple[bool, bool]] = {}
    for part in said.split("\n\n"):
        values: dict[str, Any] = dict(line.partition("=")[::2] for line in part.splitlines() if "=" in line)
        if "Id" in values:
            found[values["Id"]] = (values.get("ActiveState") in ("active", "activating"), values.get("UnitFileState") == "enabled")
    return found
