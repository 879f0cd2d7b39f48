# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""What the tasks of a layer manage, told by their own arguments: the callback plugin `seal` collects it, the action plugin sends it.

Both live in one process: Ansible forks a worker for each task, which has what was collected until then.
"""

from __future__ import annotations

import functools
import hashlib
import posixpath
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from ansible_collections.slipway.vps.plugins.module_utils.slipway.core.delivery import sealed

COLLECTION = Path(__file__).resolve().parents[2]
#: What decides what a layer does.
PARTS = ("playbooks", "plugins", "roles")
Pair = tuple[str, str]


@dataclass
class Layer:
    """What was seen of a layer on one host."""

    name: str
    #: What differs from the record.
    found: list[str] = field(default_factory=list)
    #: File and line of each task, to what it manages.
    tasks: dict[str, list[Pair]] = field(default_factory=dict)
    #: Tasks whose output is hidden: what they write is secret.
    hidden: set[str] = field(default_factory=set)
    #: Tasks that were skipped, or some of whose items were.
    skipped: set[str] = field(default_factory=set)


class Answers(NamedTuple):
    """By layer, what a host has answered, and to which `question`."""

    asked: tuple[str, dict[str, Any]]
    layers: Mapping[str, Mapping[str, Any]]


#: The layer that each host is in.
OPEN: dict[str, Layer] = {}
#: What a host has answered of layers to come, when it was asked about the first. Nothing once a layer has something to do.
ANSWERS: dict[str, Answers] = {}


def question(args: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """What a host is asked about, whatever the layer: the app, and what it is given."""
    return str(args.get("app", "")), dict(args.get("inputs") or {})


@functools.cache
def digest() -> str:
    """The collection as it lies here."""
    found = hashlib.sha256()
    for path in sorted(path for part in PARTS for path in (COLLECTION / part).rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            found.update(f"{path.relative_to(COLLECTION)}\0".encode() + path.read_bytes())
    return found.hexdigest()


class Seen(NamedTuple):
    """One task, or one item of its loop, that went well."""

    args: Mapping[str, Any]
    result: Mapping[str, Any]

    def first(self, *names: str) -> str:
        return next((str(self.args[name]) for name in names if self.args.get(name)), "")

    def all(self, name: str) -> list[Any]:
        found = self.args.get(name) or []
        return list(found) if isinstance(found, (list, tuple)) else [found]


def things(action: str, args: Mapping[str, Any], result: Mapping[str, Any]) -> list[Pair]:
    """Kind and name of everything that a task manages (`observe.Thing`).

    :arg action: full name of the module or action plugin.
    :raises KeyError: for an action that nobody has described here.
    """
    if action in STATELESS:
        return []
    return list(RECORDERS[action](Seen(args, result)))


# --- Files ----------------------------------------------------------------------------------------


def _file(seen: Seen) -> Iterator[Pair]:
    """Of a folder, or a file whose content is not the task's, the attributes alone."""
    path = seen.first("path", "dest", "name")
    yield ({"link": "link", "absent": "file"}.get(str(seen.args.get("state")), "place"), path)


def _written(seen: Seen) -> Iterator[Pair]:
    kind = "file"
    if str(seen.args.get("force", True)).lower() in ("false", "no"):
        # Written once, then somebody else's: a log.
        kind = "place"
    elif str(seen.args.get("follow", False)).lower() in ("true", "yes"):
        # A link that a package has made in its place is right, too.
        kind = "content"
    yield (kind, seen.first("dest", "path"))


def _created(seen: Seen) -> Iterator[Pair]:
    """A command that makes something says what; one that asks manages nothing, but other tasks may depend on its answer."""
    if path := seen.first("creates"):
        yield ("place", path)
    words = seen.all("argv") or str(seen.args.get("_raw_params") or seen.args.get("cmd") or "").split()
    if words and words[0] in ASKED:
        yield (ASKED[words[0]], "")


#: Commands whose answer is recorded, and the kind of thing that it is about.
ASKED = {"pg_lsclusters": "clusters"}


def _files(seen: Seen) -> Iterator[Pair]:
    yield from (("place", one["path"]) for one in seen.all("folders"))
    yield from (("file", one["path"]) for one in seen.all("files"))
    yield from (("link", one["path"]) for one in seen.all("links"))
    yield from (("names", one["path"]) for one in seen.all("exclusive"))
    yield from (("file", path) for path in seen.all("absent"))


def _nginx(seen: Seen) -> Iterator[Pair]:
    root = seen.first("root") or "/etc/nginx"
    yield from (("file", posixpath.join(root, one["dest"])) for one in seen.all("files"))
    yield from (("link", posixpath.join(root, one["path"])) for one in seen.all("links"))
    yield from (("file", posixpath.join(root, one["path"])) for one in seen.all("lines"))
    yield from (("file", posixpath.join(root, path)) for path in seen.all("absent"))


def _sshd(seen: Seen) -> Iterator[Pair]:
    root = seen.first("root") or "/etc/ssh"
    # What another file says first holds: all of them count.
    yield from (("file", f"{root}/{name}") for name in ("sshd_config", "sshd_config.d/10-slipway.conf"))
    yield ("names", f"{root}/sshd_config.d")
    yield from (("file", f"{root}/ssh_host_{kind}_key{suffix}") for kind in seen.all("host_keys") for suffix in ("", ".pub"))
    if seen.args.get("moduli"):
        yield ("file", f"{root}/moduli.slipway")


def _credentials(seen: Seen) -> Iterator[Pair]:
    path = Path(seen.first("path"))
    # The plain form, and the one that systemd encrypts: one is there.
    yield from (("file", str(name)) for name in (path, sealed(path)))


# --- The system -----------------------------------------------------------------------------------


def _packages(seen: Seen) -> Iterator[Pair]:
    yield from (("package", str(name).partition("=")[0]) for name in seen.all("name") or seen.all("pkg"))


def _unit(seen: Seen) -> Iterator[Pair]:
    # Without a name systemd itself is asked to read its files again.
    if name := seen.first("name"):
        yield ("unit", name if "." in posixpath.basename(name) else f"{name}.service")


def _account(kind: str) -> Callable[[Seen], Iterator[Pair]]:
    return lambda seen: iter([(kind, seen.first("name"))])


def _kernel(seen: Seen) -> Iterator[Pair]:
    yield ("file", seen.first("path"))
    passed_over = {*seen.result.get("absent", []), *seen.result.get("refused", {}), *seen.result.get("theirs", {})}
    yield from (("kernel", one["name"]) for one in seen.all("settings") if one["name"] not in passed_over)


def _swap(seen: Seen) -> Iterator[Pair]:
    if seen.result.get("size"):
        yield ("place", seen.first("path") or "/swapfile")


def _firewall(_seen: Seen) -> Iterator[Pair]:
    yield from (("firewall", ""), ("sshd", ""))
    yield from (("file", f"/etc/ufw/{name}") for name in ("ufw.conf", "user.rules", "user6.rules"))
    yield ("file", "/etc/default/ufw")


def _timezone(_seen: Seen) -> Iterator[Pair]:
    yield from (("file", path) for path in ("/etc/localtime", "/etc/timezone"))


def _program(_seen: Seen) -> Iterator[Pair]:
    yield from (("link", path) for path in ("/usr/local/lib/slipway/current", "/usr/local/bin/slipway"))


# --- PostgreSQL -----------------------------------------------------------------------------------


def _server(seen: Seen) -> str:
    return f"{seen.first('login_unix_socket')}:{seen.first('login_port', 'port') or '5432'}"


def _role(seen: Seen) -> Iterator[Pair]:
    yield from (("role", f"{_server(seen)}/{name}") for name in [seen.first("name", "user"), *seen.all("target_roles")] if name)


def _database(seen: Seen) -> Iterator[Pair]:
    if name := seen.first("name", "objs", "obj"):
        yield ("database", f"{_server(seen)}/{name}")


def _extension(seen: Seen) -> Iterator[Pair]:
    yield ("extension", f"{_server(seen)}//{seen.first('login_db', 'db')}/{seen.first('name')}")


def _settings(seen: Seen) -> Iterator[Pair]:
    """What is asked of a server depends on its settings, in whichever file they are."""
    yield ("settings", _server(seen))


RECORDERS: dict[str, Callable[[Seen], Iterator[Pair]]] = {
    **{f"ansible.builtin.{name}": _written for name in ("copy", "template", "lineinfile", "blockinfile", "get_url")},
    **{f"ansible.builtin.{name}": _created for name in ("command", "shell")},
    **{"ansible.builtin.file": _file, "ansible.posix.acl": _file},
    **{
        "slipway.vps.files": _files,
        "slipway.vps.nginx_config": _nginx,
        "slipway.vps.sshd_config": _sshd,
        "slipway.vps.credentials": _credentials,
    },
    **{"ansible.builtin.apt": _packages, "slipway.vps.packages": _packages},
    **{"ansible.builtin.systemd_service": _unit, "ansible.builtin.user": _account("user"), "ansible.builtin.group": _account("group")},
    **{"slipway.vps.sysctl": _kernel, "slipway.vps.swap": _swap, "slipway.vps.program": _program},
    **{"slipway.vps.firewall": _firewall, "community.general.ufw": _firewall, "community.general.timezone": _timezone},
    **{"community.postgresql.postgresql_user": _role, "community.postgresql.postgresql_membership": _role},
    **{"community.postgresql.postgresql_db": _database, "community.postgresql.postgresql_privs": _database},
    **{"community.postgresql.postgresql_ext": _extension, "community.postgresql.postgresql_query": _settings},
}
#: They look, decide or say something, or what they do is kept by others.
STATELESS = frozenset(
    {
        *(f"ansible.builtin.{name}" for name in ("assert", "debug", "fail", "find", "gather_facts", "getent", "meta", "set_fact", "setup")),
        *(f"ansible.builtin.{name}" for name in ("include_tasks", "include_role", "slurp", "stat", "validate_argument_spec")),
        *("community.postgresql.postgresql_ping", "slipway.vps.seal"),
        *(f"slipway.vps.{name}" for name in ("guard", "postgres_plan", "postgres_upgrade", "preflight_replace", "sshd_plan")),
    }
)
