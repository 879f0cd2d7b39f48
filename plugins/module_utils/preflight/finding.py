# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""A finding: what is on the machine already, how it was seen, and the ways out of it; with every id that an answer may name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from .needs import REDIS_PORT, WEB_PORTS, Needs

#: The variable that answers.
VARIABLE = "preflight_answers"
#: What is there becomes part of Slipway's; gives way to it; stays as it is, beside it.
ADOPT, REPLACE, LEAVE = CHOICES = ("adopt", "replace", "leave")

#: Who else may filter packets. Left as it is, one of them keeps ufw off the machine.
FIREWALLS = tuple(f"firewall:{one}" for one in ("firewalld", "nftables", "netfilter-persistent", "input"))

#: Ids that are the same for every machine, and the choices that can be.
FIXED: dict[str, tuple[str, ...]] = {
    **dict.fromkeys((f"port:{port}" for port in WEB_PORTS), (ADOPT, REPLACE)),
    f"port:{REDIS_PORT}": (REPLACE, LEAVE),
    "site:default": (REPLACE, LEAVE),
    "nginx:layout": (),
    **dict.fromkeys(FIREWALLS, (REPLACE, LEAVE)),
    **dict.fromkeys(("firewall:ufw", "firewall:docker"), (LEAVE,)),
    **dict.fromkeys(("kernel:version", "kernel:namespaces"), ()),
    **dict.fromkeys(("kernel:cgroup", "kernel:ipv6", "kernel:somaxconn", "kernel:users"), (LEAVE,)),
    **dict.fromkeys(("system:distribution", "system:systemd"), ()),
    **dict.fromkeys(("system:architecture", "system:memory", "system:swap", "system:clock", "system:selinux"), (LEAVE,)),
    **dict.fromkeys(("system:reboot", "system:failed", "system:dns", "system:hostname", "system:cloud-init"), (LEAVE,)),
    **dict.fromkeys(("apt:lock", "apt:interrupted", "apt:sources"), ()),
}


@dataclass(frozen=True)
class Finding:
    """One thing that is on the machine, or that it lacks.

    `choices` are answers that can be carried out, each with what it will do. Where there is none, `fix` says what to do instead.
    """

    id: str
    what: str
    #: One line: process, unit, path, count.
    evidence: str
    choices: Mapping[str, str] = field(default_factory=dict)
    fix: str = ""
    #: The run stops without an answer; otherwise it is only said.
    refuses: bool = True

    def line(self, choice: str) -> str:
        """What an operator writes to answer."""
        return f'{VARIABLE}: {{"{self.id}": {choice}}}'


def known(needs: Needs) -> dict[str, tuple[str, ...]]:
    """Every id that a finding of this machine can have, and the choices of its kind."""
    found = dict(FIXED)
    # A database's port is last: an operator may have put it at any other.
    found[f"port:{needs.postgres_port}"] = (ADOPT, *found.get(f"port:{needs.postgres_port}", ()))
    for path in needs.rooms:
        found.update({f"disk:{path}": (LEAVE,), f"inodes:{path}": (LEAVE,)})
    found.update({f"noexec:{path}": (LEAVE,) for path in needs.run_from})
    for app in needs.apps:
        found.update({f"user:{app.user}": (ADOPT,), f"group:{app.group}": (ADOPT,)})
        found.update({f"path:{path}": (ADOPT,) for path in app.folders})
        found.update({f"unit:{stem}": (REPLACE,) for stem in app.units})
        found.update({f"file:{path}": (REPLACE,) for path in app.files})
        found.update({f"site:{domain}": (REPLACE,) for domain in app.domains})
        found.update({f"certificate:{domain}": (LEAVE,) for domain in app.domains})
        if app.database:
            found[f"database:{app.database}"] = (ADOPT,)
            found.update({f"role:{role}": (ADOPT,) for role in app.roles})
    return found


def count(number: int, one: str, many: str = "") -> str:
    """`1 key`, `3 keys`."""
    return f"{number} {one if number == 1 else many or one + 's'}"


def some(items: Iterable[str], limit: int = 4) -> str:
    """The first few, and how many more."""
    every = list(items)
    more = f" and {len(every) - limit} more" if len(every) > limit else ""
    return ", ".join(every[:limit]) + more
