# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""sshd's configuration: what it says, what this host's sshd knows, and who may log in how once that is proven.

Two rules keep everybody in. Nothing is switched off that the run itself has not just done without. And the same command must work again:
what the inventory still uses (its user, its port) stays until the inventory uses another.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

#: Where drop-ins are read from, and ours: of each keyword sshd takes the first that it reads, so before cloud-init's.
FOLDER = "/etc/ssh/sshd_config.d"
NAME = "10-slipway.conf"
INCLUDE = f"Include {FOLDER}/*.conf"
#: A line of the main file that is ours.
MARK = "# slipway:ssh  The drop-ins come first: of each keyword sshd takes the first that it reads."
#: Keywords of which sshd takes every line.
CUMULATIVE = frozenset({"acceptenv", "allowgroups", "allowusers", "denygroups", "denyusers", "hostkey", "listenaddress", "port", "setenv"})
#: Keywords that not every sshd knows, each with a value that would do.
OPTIONAL = (
    *("DebianBanner no", "PerSourcePenaltyExemptList 192.0.2.1", "RequiredRSASize 2048", "ModuliFile /etc/ssh/moduli"),
    *("CASignatureAlgorithms ssh-ed25519", "KbdInteractiveAuthentication no"),
)

Settings = Mapping[str, Sequence[str]]


def settings(text: str) -> dict[str, list[str]]:
    """What `sshd -T` prints: keyword to its values, all in small letters."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        keyword, _, value = line.strip().partition(" ")
        if keyword:
            found.setdefault(keyword.lower(), []).append(value.strip())
    return found


def lines(text: str) -> Iterator[tuple[str, str]]:
    """Keyword (in small letters) and value of each line that says something, up to the first Match."""
    for line in text.splitlines():
        if not (found := re.match(r"\s*([A-Za-z][A-Za-z0-9]*)(?:\s*=\s*|\s+)(.*?)\s*$", line)):
            continue
        if found[1].lower() == "match":
            return
        yield found[1].lower(), found[2].strip('"')


def unknown(said: str) -> set[str]:
    """Keywords that sshd does not know, from its words about a configuration."""
    return {word.lower() for word in re.findall(r"Bad configuration option: (\w+)", said)}


def reads_drop_ins_first(main: str) -> bool:
    """Whether nothing of the main file is read before the drop-ins."""
    keyword, value = next(lines(main), ("", ""))
    return keyword == "include" and any(re.fullmatch(rf"({re.escape(FOLDER)}|sshd_config\.d)/\*(\.conf)?", word) for word in value.split())


def with_include(main: str) -> str:
    """The main file so that it reads the drop-ins first. A later Include of them goes: what is read twice (Subsystem) is an error."""
    if reads_drop_ins_first(main):
        return main
    again = re.compile(rf"^(\s*Include\s+({re.escape(FOLDER)}|sshd_config\.d)/\S+\s*)$", re.IGNORECASE | re.MULTILINE)
    return f"{MARK}\n{INCLUDE}\n\n" + again.sub(r"#\1", main)


def safe_moduli(text: str, bits: int = 3072) -> str:
    """Lines of moduli(5) whose groups have so many bits; the fifth field is one less."""
    kept = [line for line in text.splitlines() if line.startswith("#") or (line.split()[4:5] and int(line.split()[4]) >= bits - 1)]
    return "\n".join(kept) + "\n"


def overruled(drop_in: str, effective: Settings) -> dict[str, str]:
    """Keywords of the drop-in that mean something else in the end, with what they mean: another file says it before ours."""
    found = {}
    for keyword, value in lines(drop_in):
        now = effective.get(keyword)
        # Values that sshd prints in other words are left out: it prints seconds, and sizes of its own.
        if (
            keyword in CUMULATIVE
            or now is None
            or len(now) != 1
            or keyword in ("logingracetime", "maxstartups", "persourcepenaltyexemptlist")
        ):
            continue
        same = {value.lower(), value.lower().replace("prohibit-password", "without-password")}
        if now[0].lower() not in same:
            found[keyword] = now[0]
    return found


# --- Who may log in how -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Wanted:
    """What the operator says. ``port`` 0: as it is."""

    port: int = 0
    root_login: str = "auto"
    password_login: str = "auto"
    admins: tuple[str, ...] = ()
    trusted: tuple[str, ...] = ()


@dataclass(frozen=True)
class Comes:
    """How this run comes in; ``by_key`` None: nobody has asked yet."""

    ssh: bool
    user: str
    address: str = ""
    port: int = 0
    by_key: bool | None = None
    #: Why not.
    why: str = ""


@dataclass
class Decision:
    """What the drop-in says of logins, and what the operator is told."""

    ports: list[int] = field(default_factory=list)
    #: PermitRootLogin; empty: left as it is.
    root: str = ""
    #: Passwords are refused.
    no_passwords: bool = False
    exempt: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def needs_key_proof(wanted: Wanted, now: Settings) -> bool:
    """Whether anything is open still that a proven key would close."""
    passwords = wanted.password_login == "auto" and _first(now, "passwordauthentication") != "no"
    root = wanted.root_login == "auto" and _first(now, "permitrootlogin") != "no"
    # With a key alone root may stay, as long as there is no admin.
    return passwords or (root and (bool(wanted.admins) or _first(now, "permitrootlogin") == "yes"))


def decide(
    wanted: Wanted,
    now: Settings,
    comes: Comes,
    admin: Callable[[], tuple[str, str]] = lambda: ("", ""),
    own_ports: Sequence[int] = (),
) -> Decision:
    """What may be switched off.

    :arg now: what sshd's settings mean today; what is off already stays off.
    :arg own_ports: those that our drop-in opens today.
    :arg admin: tries the admins' own logins: the one that came in and became root, and why not if none did.
    """
    found = Decision()
    _ports(found, wanted, now, comes, own_ports)
    _exempt(found, wanted, now, comes)
    _passwords(found, wanted, now, comes)
    _root(found, wanted, now, comes, admin)
    return found


def _first(now: Settings, keyword: str) -> str:
    return (now.get(keyword) or [""])[0].lower()


def _ports(found: Decision, wanted: Wanted, now: Settings, comes: Comes, own: Sequence[int]) -> None:
    """The port that is asked for and, until the inventory uses it, the one that the run came in at."""
    if not wanted.port:
        # Left alone: a line that an earlier run wrote may be the only one that opens the port in use.
        found.ports = sorted(own)
        return
    listening = sorted({int(port) for port in now.get("port", ["22"])})
    # Where the run does not come in over SSH nobody knows which one is in use.
    kept = [comes.port] if comes.ssh else listening
    found.ports = sorted({wanted.port, *kept})
    if comes.ssh and comes.port != wanted.port:
        found.notes.append(
            f"sshd listens on {wanted.port} and, since this run came in there, on {comes.port}. Once the run is through (its firewall "
            f"opens the port), set ansible_port: {wanted.port} for this host; the next run closes {comes.port}."
        )
    elif not comes.ssh and set(listening) - {wanted.port}:
        others = ", ".join(str(port) for port in listening if port != wanted.port)
        found.notes.append(
            f"sshd listens on {wanted.port} and still on {others}: this run does not come in over SSH, so nothing is closed."
        )


def _exempt(found: Decision, wanted: Wanted, now: Settings, comes: Comes) -> None:
    """Addresses that sshd's penalties leave alone: those that are named, and the controller's."""
    # sshd prints them in one line with commas.
    there = [word for word in _first(now, "persourcepenaltyexemptlist").split(",") if word not in ("", "none")]
    found.exempt = list(wanted.trusted)
    mine = [comes.address] if comes.address else there[-1:]
    found.exempt += [address for address in mine if address not in found.exempt]


def _passwords(found: Decision, wanted: Wanted, now: Settings, comes: Comes) -> None:
    off = _first(now, "passwordauthentication") == "no" and _first(now, "kbdinteractiveauthentication") != "yes"
    if wanted.password_login != "auto" or _first(now, "authenticationmethods") not in ("", "any"):
        return
    found.no_passwords = off or bool(comes.by_key)
    if not found.no_passwords:
        found.notes.append(f"Logins by password stay possible: {_unproven(comes)}")


def _root(found: Decision, wanted: Wanted, now: Settings, comes: Comes, admin: Callable[[], tuple[str, str]]) -> None:
    is_now = _first(now, "permitrootlogin")
    if wanted.root_login != "auto":
        return
    if is_now == "no" or (wanted.admins and comes.ssh and comes.by_key and comes.user != "root"):
        found.root = "no"
        return
    if comes.by_key and is_now == "yes":
        found.root = "prohibit-password"
    if not wanted.admins:
        return
    if not comes.ssh:
        found.notes.append(f"root's own login stays possible: {_unproven(comes)}")
        return
    name, why = admin()
    if name:
        found.notes.append(
            f"root's own login stays possible, since this run uses it. {name} came in with a key and became root: "
            f"set ansible_user: {name} for this host, and the next run switches root's login off."
        )
    else:
        found.notes.append(
            f"root's own login stays possible: no admin was seen to come in ({why}). "
            "Give the first of ssh_admins a key that the machine which runs Ansible has."
        )


def _unproven(comes: Comes) -> str:
    if not comes.ssh:
        return "this run does not come in over SSH, so it cannot see that a key works."
    return f"a key was not seen to work for {comes.user} ({comes.why or 'not tried'})."


def first_admins(admins: Collection[str], most: int = 2) -> list[str]:
    """Those whose login is tried: each refusal counts against this machine's address."""
    return list(admins)[:most]
