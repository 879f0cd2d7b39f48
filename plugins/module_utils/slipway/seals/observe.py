# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""How things that a layer manages are right now: files, packages, units, accounts, kernel, firewall, PostgreSQL. Changes nothing."""

from __future__ import annotations

import grp
import hashlib
import json
import os
import pwd
import re
import shutil
import stat
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from ..core.files import sha256
from ..core.run import PATH, Account, execute
from ..core.text import SECRET, redacted

#: Of a thing, each property and its value; empty when it is not there.
State = dict[str, str]
#: Seconds that one command may take.
PATIENCE = 20
#: What a list holds has no value besides: what differs is that it is there.
LISTED = "listed"


class Thing(NamedTuple):
    """Something that a task manages.

    :arg kind: ``file`` (its content and its attributes), ``content`` (that alone, behind all links), ``link`` (where it leads), ``place``
        (a file's or folder's attributes alone), ``names`` (what is in a folder), ``package``, ``unit``, ``user``, ``group``, ``kernel``
        (a setting), ``firewall`` (all of its rules), ``sshd`` (where it listens); of PostgreSQL ``clusters`` (all of them),
        ``database``, ``role``, ``extension`` and ``settings``.
    :arg name: its path or name; none where there is one of its kind. Of PostgreSQL's settings the server, ``<folder of the
        socket>:<port>``; of a database or role ``<server>/<name>``, of an extension ``<server>//<database>/<name>``.
    """

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}".strip()


def observe(things: Iterable[Thing]) -> dict[Thing, State]:
    """How each of them is.

    :raises OSError: when the host cannot be asked; subprocess.TimeoutExpired when a command of it does not answer.
    """
    by_kind: dict[str, list[str]] = {}
    for thing in dict.fromkeys(things):
        by_kind.setdefault(thing.kind, []).append(thing.name)
    return {Thing(kind, name): state for kind, names in by_kind.items() for name, state in OBSERVERS[kind](names).items()}


def each(look: Callable[[str], State]) -> Callable[[Sequence[str]], dict[str, State]]:
    """An observer that looks at one after the other."""
    return lambda names: {name: look(name) for name in names}


# --- Files ----------------------------------------------------------------------------------------


def place(name: str) -> State:
    """Type, owner and mode; with its ACL, where there is one."""
    try:
        found = os.lstat(name)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    state = {"type": TYPES.get(stat.S_IFMT(found.st_mode), "other"), "owner": _named(found.st_uid, found.st_gid)}
    if not stat.S_ISLNK(found.st_mode):
        state["mode"] = f"{stat.S_IMODE(found.st_mode):04o}"
        for kind in ("access", "default"):
            try:
                state[f"ACL ({kind})"] = os.getxattr(name, f"system.posix_acl_{kind}").hex()
            except OSError:
                continue
    return state


TYPES = {stat.S_IFREG: "file", stat.S_IFDIR: "folder", stat.S_IFLNK: "link"}


def file(name: str) -> State:
    """A file with its content; what should be a file, and is a link, with where that leads."""
    state = link(name)
    return {**state, **content(name)} if state else {}


def content(name: str) -> State:
    return {"content": sha256(Path(name))} if Path(name).is_file() else {}


def link(name: str) -> State:
    """Where a link leads, and that something is there: what that is, is not the task's."""
    state = place(name)
    if state.get("type") == "link":
        state.update({"leads to": str(Path(name).readlink()), "something there": "yes" if Path(name).exists() else "no"})
    return state


def entries(name: str) -> State:
    """Files and links of a folder."""
    try:
        return {entry.name: LISTED for entry in os.scandir(name) if entry.is_symlink() or not entry.is_dir()}
    except (FileNotFoundError, NotADirectoryError):
        return {}


def _named(user: int, group: int) -> str:
    """Names, not numbers: an account that was made anew is another one."""
    try:
        owner = pwd.getpwuid(user).pw_name
    except KeyError:
        owner = str(user)
    try:
        return f"{owner}:{grp.getgrgid(group).gr_name}"
    except KeyError:
        return f"{owner}:{group}"


# --- The system -----------------------------------------------------------------------------------


def packages(names: Sequence[str]) -> dict[str, State]:
    """Whether each is installed. No versions: upgrades by night are no change of the layer's."""
    said = _said("dpkg-query", "--show", "--showformat=${Package} ${binary:Package} ${db:Status-Status}\\n", "--", *names)
    installed = {word for line in said.splitlines() if line.endswith(" installed") for word in line.split()[:2]}
    return {name: {"installed": "yes"} if name in installed else {} for name in names}


#: What systemctl says of a unit, and its words here.
_UNIT = {"ActiveState": "state", "UnitFileState": "at boot", "FragmentPath": "unit file", "DropInPaths": "drop-ins"}


def units(names: Sequence[str]) -> dict[str, State]:
    """Whether each runs, whether it comes up at boot, and which files say what it is."""
    # One paragraph for each, in their order.
    paragraphs = _said("systemctl", "show", f"--property={','.join(_UNIT)}", "--", *names).strip("\n").split("\n\n")
    found: dict[str, State] = {}
    for name, paragraph in zip(names, paragraphs, strict=False):
        values = dict(line.split("=", 1) for line in paragraph.splitlines() if "=" in line)
        found[name] = {word: values[key] for key, word in _UNIT.items() if values.get(key)}
    return found


def user(name: str) -> State:
    """The account with its groups; of its password a digest."""
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        return {}
    groups = sorted(group.gr_name for group in grp.getgrall() if name in group.gr_mem)
    state = {"number": f"{entry.pw_uid}:{entry.pw_gid}", "home": entry.pw_dir, "shell": entry.pw_shell, "groups": " ".join(groups)}
    for line in Path("/etc/shadow").read_text(encoding="utf-8", errors="replace").splitlines():
        if line.startswith(f"{name}:"):
            password, _, rest = line.partition(":")[2].partition(":")
            # The third field from the end is when the account ends.
            state["password"], state["ends"] = hashlib.sha256(password.encode()).hexdigest(), rest.split(":")[-2]
    return state


def group(name: str) -> State:
    try:
        entry = grp.getgrnam(name)
    except KeyError:
        return {}
    return {"number": str(entry.gr_gid), "members": " ".join(sorted(entry.gr_mem))}


def kernel(name: str) -> State:
    """A setting as the kernel has it now."""
    try:
        value = Path("/proc/sys", name.replace(".", "/")).read_text(encoding="utf-8")
    except OSError:
        return {}
    return {"value": " ".join(value.split())}


def firewall(names: Sequence[str]) -> dict[str, State]:
    """What ufw says of itself, and its chains as the kernel has them. Those of others (fail2ban, Docker) come and go."""
    lines = _said("ufw", "status", "verbose").splitlines()
    found = {f"ufw: {' '.join(line.split())}": LISTED for line in lines if line.strip()}
    for program in ("iptables", "ip6tables"):
        rules = [rule for rule in _said(program, "-S").splitlines() if " ufw" in rule or rule.startswith(("-P INPUT", "-P OUTPUT"))]
        found.update({f"{program}: {rule}": LISTED for rule in rules})
    return dict.fromkeys(names, found)


def sshd(names: Sequence[str]) -> dict[str, State]:
    """Where sshd listens: the firewall leaves that open, whoever has changed it."""
    # Where systemd listens for it the folder is made with the first connection; without it sshd does not read its configuration.
    if shutil.which("sshd", path=PATH):
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    lines = [line for line in _said("sshd", "-T").splitlines() if line.startswith(("port ", "listenaddress "))]
    return dict.fromkeys(names, dict.fromkeys(lines, LISTED))


def _said(*words: str, account: Account | None = None) -> str:
    """What a command prints, errors apart; nothing where there is no such command."""
    if not shutil.which(words[0], path=PATH):
        return ""
    return execute(words, account=account, environment={"PATH": PATH, "LC_ALL": "C.UTF-8"}, timeout=PATIENCE).output


# --- PostgreSQL -----------------------------------------------------------------------------------

_SETTINGS = "SELECT name, setting FROM pg_settings WHERE source NOT IN ('default', 'client', 'session', 'override')"
#: A password counts by its digest.
_ROLES = """
SELECT rolname AS name,
  concat_ws(' ', CASE WHEN rolsuper THEN 'superuser' END, CASE WHEN rolcreatedb THEN 'createdb' END,
    CASE WHEN rolcreaterole THEN 'createrole' END, CASE WHEN rolcanlogin THEN 'login' END,
    CASE WHEN rolreplication THEN 'replication' END, CASE WHEN rolbypassrls THEN 'bypassrls' END) AS rights,
  encode(sha256(convert_to(rolpassword, 'UTF8')), 'hex') AS password,
  (SELECT string_agg(granted.rolname, ' ' ORDER BY granted.rolname) FROM pg_auth_members JOIN pg_authid granted ON granted.oid = roleid
   WHERE member = pg_authid.oid) AS "member of",
  (SELECT array_to_string(setconfig, ' ') FROM pg_db_role_setting WHERE setrole = pg_authid.oid AND setdatabase = 0) AS settings
FROM pg_authid"""
_DATABASES = """
SELECT datname AS name, pg_get_userbyid(datdba) AS owner, pg_encoding_to_char(encoding) AS encoding, datcollate AS collation,
  array_to_string(datacl, ' ') AS rights, (NOT datallowconn)::text AS closed
FROM pg_database"""
_EXTENSIONS = "SELECT extname AS name, 'yes' AS installed FROM pg_extension"


def _postgres(query: str) -> Callable[[Sequence[str]], dict[str, State]]:
    """An observer that asks each server once for all rows, and takes those that are asked for."""

    def look(names: Sequence[str]) -> dict[str, State]:
        found: dict[str, State] = {}
        for server in dict.fromkeys(name.rpartition("/")[0] for name in names):
            where, _, database = server.partition("//")
            rows = {str(row.pop("name")): row for row in ask(where, database or "postgres", query)}
            for name in names:
                head, _, last = name.rpartition("/")
                if head == server:
                    found[name] = {key: str(value) for key, value in rows.get(last, {}).items() if value is not None}
        return found

    return look


def clusters(names: Sequence[str]) -> dict[str, State]:
    """All clusters, with their ports: an upgrade moves the data into another one."""
    rows = [line.split() for line in _said("pg_lsclusters", "--no-header").splitlines()]
    found = {f"{version}/{name} on port {port}": LISTED for version, name, port, *_ in rows}
    return dict.fromkeys(names, found)


def settings(names: Sequence[str]) -> dict[str, State]:
    """All that is set, in whichever file."""
    return {name: {str(row["name"]): str(row["setting"]) for row in ask(name, "postgres", _SETTINGS)} for name in names}


def ask(server: str, database: str, query: str) -> list[dict[str, object]]:
    """Rows, as the superuser on the socket; none where no server answers.

    :arg server: ``<folder of the socket>:<port>``.
    """
    socket_dir, _, port = server.rpartition(":")
    try:
        account = Account.of("postgres")
    except KeyError:
        return []
    words = ("psql", "-XAtq", "--no-password", f"--host={socket_dir}", f"--port={port}", f"--dbname={database}")
    said = _said(*words, f"--command=SELECT coalesce(json_agg(found), '[]') FROM ({query}) found", account=account)
    rows: list[dict[str, object]] = json.loads(said or "[]")
    return rows


OBSERVERS: Mapping[str, Callable[[Sequence[str]], dict[str, State]]] = {
    **{"file": each(file), "content": each(content), "link": each(link), "place": each(place), "names": each(entries)},
    **{
        "package": packages,
        "unit": units,
        "user": each(user),
        "group": each(group),
        "kernel": each(kernel),
        "firewall": firewall,
        "sshd": sshd,
    },
    **{
        "role": _postgres(_ROLES),
        "database": _postgres(_DATABASES),
        "extension": _postgres(_EXTENSIONS),
        "settings": settings,
        "clusters": clusters,
    },
}
#: Things that are there, whatever is in them.
LISTS = ("names", "firewall", "sshd", "clusters", "settings")


#: Values that are told to differ, and not shown: digests, and settings of PostgreSQL that may hold a password.
UNSHOWN = re.compile(rf"(?i)content$|ACL|.*(conninfo|_command$|{SECRET})")
#: The value of a thing as a whole.
THERE = "there"


class Difference(NamedTuple):
    """A property of a thing that is no longer as it was; without a name the thing itself."""

    thing: Thing
    what: str
    was: str
    now: str

    def __str__(self) -> str:
        if not self.what:
            return f"{self.thing} is {'there again' if self.now else 'gone'}"
        if LISTED in (self.was, self.now):
            return f"{self.thing}: {self.what} is {'gone' if self.was else 'new'}"
        if UNSHOWN.match(self.what):
            return f"{self.thing}: {self.what} differs"
        return f"{self.thing}: {self.what} is {redacted(self.now) or 'not set'}, was {redacted(self.was) or 'not set'}"


def value(state: State, what: str) -> str:
    """A property, or with no name whether the thing is there at all."""
    return state.get(what, "") if what else THERE if state else ""


def compare(thing: Thing, before: State, now: State) -> list[Difference]:
    """What of a thing is no longer as it was."""
    if bool(before) != bool(now) and thing.kind not in LISTS:
        return [Difference(thing, "", value(before, ""), value(now, ""))]
    properties = sorted(before.keys() | now.keys())
    return [Difference(thing, key, before.get(key, ""), now.get(key, "")) for key in properties if before.get(key, "") != now.get(key, "")]


def differences(thing: Thing, before: State, now: State) -> list[str]:
    """The same, each in a line. Content and passwords are told to differ, and not shown."""
    return [str(found) for found in compare(thing, before, now)]
