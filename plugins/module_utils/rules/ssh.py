# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""What an operator may say of who logs in and how (role ssh)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from ansible_collections.slipway.vps.plugins.module_utils.model import POSTGRES_PORT
from ansible_collections.slipway.vps.plugins.module_utils.rules.app import RESERVED_NAMES
from ansible_collections.slipway.vps.plugins.module_utils.rules.problem import Problem, Values, kind
from ansible_collections.slipway.vps.plugins.module_utils.ssh_keys import wrong

#: A login, as Debian's adduser takes it; no dot: sudo leaves a file out whose name has one.
_LOGIN = re.compile(r"[a-z_][a-z0-9_-]{0,30}")
_KEYS = frozenset({"name", "keys", "password_hash", "sudo"})
_HASH = re.compile(r"\$(y|gy|7|2[abxy]|5|6)\$\S{10,}")
_STARTUPS = re.compile(r"[1-9]\d{0,4}(:(100|[1-9]?\d):[1-9]\d{0,4})?")
_TYPES = ("ed25519", "rsa", "ecdsa")
#: What listens there on a machine of this project.
TAKEN_PORTS = {80: "nginx", 443: "nginx", POSTGRES_PORT: "PostgreSQL", 6379: "Redis"}


def bad_admins(values: Values) -> Iterator[Problem]:
    """Each with a name that is nobody else's and a key that works: the next run may depend on it."""
    admins = values.get("ssh_admins") or []
    for admin in admins:
        if not isinstance(admin, Mapping) or not isinstance(admin.get("name"), str):
            yield _problem(f"holds {kind(admin)} without a name", 'write - {name: ada, keys: ["ssh-ed25519 AAAA… ada@laptop"]}')
            continue
        yield from _bad_name(admin["name"], values)
        yield from _bad_entry(admin["name"], admin)
    names = [admin.get("name") for admin in admins if isinstance(admin, Mapping)]
    for name in sorted({str(name) for name in names if names.count(name) > 1}):
        yield _problem(f"names {name} twice", "put all keys into one entry")


def _problem(what: str, fix: str) -> Problem:
    return Problem("ssh_admins", what, fix)


def _bad_name(name: str, values: Values) -> Iterator[Problem]:
    if name == "root":
        yield _problem("names root, who is no person", "give each person a login of their own; root's keys stay as they are")
    elif not _LOGIN.fullmatch(name):
        yield _problem(f"{name!r} will not do as a login", "use 1 to 31 of a-z 0-9 - _, a letter first")
    elif name in (values.get("app_name"), values.get("app_user")):
        yield _problem(f"{name} is the app's own user, which nobody logs in as", f"use another name, for example {name}-admin")
    elif name in RESERVED_NAMES:
        yield _problem(f"{name} belongs to a service of the system", "use another name")


def _bad_entry(name: str, admin: Mapping[str, Any]) -> Iterator[Problem]:
    for key in sorted(set(map(str, admin)) - _KEYS):
        yield _problem(f"{name}: key {key!r} means nothing here", f"use {', '.join(sorted(_KEYS))}")
    keys = admin.get("keys")
    if not isinstance(keys, list) or not keys:
        yield _problem(f"{name} has no key, and could not log in", f'write {{name: {name}, keys: ["ssh-ed25519 AAAA… {name}@laptop"]}}')
        keys = []
    for number, key in enumerate(keys, 1):
        if why := wrong(str(key)):
            # Never the text itself: it may be a private one.
            yield _problem(f"{name}: key {number} {why}", "write the line of a file ~/.ssh/id_*.pub, as it is")
    if (sudo := admin.get("sudo", "nopasswd")) not in ("nopasswd", "password"):
        yield _problem(f"{name}: sudo is {sudo!r}", "use nopasswd or password")
    if admin.get("password_hash") and not _HASH.fullmatch(str(admin["password_hash"])):
        yield _problem(f"{name}: password_hash is no hash", "make one with mkpasswd (package whois), and keep it in vault.yml")
    elif sudo == "password" and not admin.get("password_hash"):
        yield _problem(f"{name}: sudo asks for a password, and there is none", "write password_hash (mkpasswd), or sudo: nopasswd")


def bad_port(values: Values) -> Iterator[Problem]:
    """A port of sshd's own."""
    port = int(values.get("ssh_port") or 0)
    if not 0 <= port <= 65535:
        yield Problem("ssh_port", f"{port} is no port", "write one of 1 to 65535, or 0 to leave it alone")
    if port in TAKEN_PORTS:
        yield Problem("ssh_port", f"{port} is {TAKEN_PORTS[port]}'s", "use another, for example 2222")
    for rule in values.get("firewall_rules_custom") or []:
        if port and isinstance(rule, Mapping) and str(rule.get("port")) == str(port) and rule.get("rule", "allow") != "limit":
            yield Problem(
                "ssh_port", f"firewall_rules_custom opens {port} for {rule.get('comment')!r}", "use another port, or remove that rule"
            )


def bad_sshd(values: Values) -> Iterator[Problem]:
    """Settings that would leave nobody a way in."""
    types = values.get("ssh_host_keys", ["ed25519"])
    if not types or set(types) - set(_TYPES):
        yield Problem("ssh_host_keys", f"{types!r} is not a list of {', '.join(_TYPES)}", "write ssh_host_keys: [ed25519, rsa]")
    bits = int(values.get("ssh_host_key_rsa_bits", 4096))
    if bits and not 2048 <= bits <= 16384:
        yield Problem("ssh_host_key_rsa_bits", f"{bits} is no size that sshd takes", "write 4096, or 0 to keep each key")
    for name, least in (("ssh_max_auth_tries", 2), ("ssh_login_grace_seconds", 5)):
        if int(values.get(name, least)) < least:
            yield Problem(name, f"is {values[name]}: nobody would come in", f"write {least} or more")
    if not _STARTUPS.fullmatch(str(values.get("ssh_max_startups", "10:30:60"))):
        yield Problem("ssh_max_startups", f"{values['ssh_max_startups']!r} is not start:percent:full", 'write "10:30:60"')


RULES = (
    (bad_admins, ("ssh_admins",)),
    (bad_port, ("ssh_port",)),
    (bad_sshd, ("ssh_host_keys", "ssh_host_key_rsa_bits", "ssh_max_auth_tries", "ssh_login_grace_seconds", "ssh_max_startups")),
)
