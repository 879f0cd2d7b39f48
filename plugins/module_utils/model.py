# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""The machine and the app: everything that follows from the inventory, with its type. `resolve.py` derives it, once.

`App` and `Machine` hold no secrets: they are shown, written to ``/etc/<app>/app.json``, and given to roles and templates as ``app``.
`Secrets` is what they leave out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from ansible_collections.slipway.vps.plugins.module_utils.preflight.finding import FIREWALLS, LEAVE

#: PostgreSQL's port where nobody names another.
POSTGRES_PORT = 5432


def union(lists: Iterable[Sequence[Any]]) -> list[Any]:
    """The lists joined, each item once, in order."""
    found: list[Any] = []
    for item in (item for items in lists for item in items):
        if item not in found:
            found.append(item)
    return found


@dataclass(frozen=True)
class Tls:
    """The certificate that nginx serves: paths on the host."""

    dir: str
    certificate: str
    key: str
    status: str
    webroot: str


@dataclass(frozen=True)
class Limits:
    """Settings of each of the app's database roles, name to value as in postgresql.conf."""

    app: dict[str, str]
    readonly: dict[str, str]
    migrate: dict[str, str]


@dataclass(frozen=True)
class Database:
    """Where the app's database is, and who may use it. The parts are the source; ``url`` is made of them."""

    #: postgresql; sqlite (files of ``App.sqlite``); other: one that Slipway neither backs up nor restores; none.
    kind: str
    #: Empty where it is not PostgreSQL: then nothing below holds but ``url``.
    name: str
    #: Empty: this host's socket in ``socket_dir``.
    host: str
    port: int
    #: The role that the app logs in as; on the socket it is the app's system user.
    user: str
    #: The URL's parameters besides those above, for example sslmode and sslrootcert.
    options: dict[str, str]
    socket_dir: str
    over_socket: bool
    #: Nothing leaves the host.
    local: bool
    #: A server runs on this host: for the app itself, or for the hosts in ``allow``.
    serves: bool
    #: Without a password. Of another kind of database no more than its kind and host, in words.
    url: str
    has_password: bool
    #: Addresses and networks of other hosts that may use it.
    allow: list[str]
    readonly_users: list[str]
    #: How many hosts the app runs on.
    hosts: int
    #: Most connections of one process of the app; 0: as many as its threads can use.
    pool: int
    limits: Limits
    #: The roles for reading and for migrating.
    readonly: str
    migrate: str


@dataclass(frozen=True)
class RedisInstance:
    """One Redis of the app."""

    #: Names the unit redis-server@<name>.service, its folders and its configuration.
    name: str
    socket: str
    url: str


@dataclass(frozen=True)
class Redis:
    """The app's Redis. ``local``: an instance of its own on this host; ``cache``: a second one, or None."""

    name: str
    socket: str
    #: Without a password; empty where the app uses none.
    url: str
    local: bool
    cache: RedisInstance | None
    #: The name that the second one has, or would have: one that nobody asks for any more is removed.
    cache_name: str


@dataclass(frozen=True)
class Health:
    """Paths that answer 200. Empty: found at the rehearsal of a release (slipway/health.py)."""

    ready: str
    live: str
    #: Asked every few seconds: not logged, and answered during maintenance.
    quiet: list[str]


@dataclass(frozen=True)
class Server:
    """The server's settings that other layers depend on, after what the app's environment says of them."""

    #: gunicorn, granian and their like (``app_server``).
    name: str
    #: Between server and app: wsgi or asgi.
    interface: str
    #: Of Gunicorn.
    worker_class: str
    #: What a release's environment needs for it.
    requirements: list[str]
    #: Names of the programs that start it, each before what imports it.
    programs: list[str]
    #: What a running process has read: a change asks for a new release.
    runtime_files: list[str]
    #: A number, or auto.
    workers: str
    threads: int
    #: MiB that one worker may need.
    worker_memory: int
    #: Share of the machine's memory for this app's workers: the operator's share, divided by the apps of the machine.
    memory_share: float
    #: Seconds.
    timeout: int
    graceful_timeout: int


@dataclass(frozen=True)
class Backup:
    """When and how the app is backed up. ``hour`` and ``minute`` are spread over the apps of a machine."""

    engine: str
    hour: int
    minute: int


@dataclass(frozen=True)
class Sandbox:
    """Openings in the sandbox of whatever runs the app's code (``app_sandbox_allow``)."""

    #: As the operator names them.
    allowed: list[str]
    #: Programs that run as another user or group (setuid, setgid): mail by sendmail.
    privileges: bool
    netlink: bool
    #: Paths of devices.
    devices: list[str]
    #: Folders it may write to, besides its own.
    folders: list[str]
    #: Machine code that is made at run time: numba, LuaJIT, node.
    jit: bool
    #: How much of any sandbox this machine can do (``base_sandbox``): full, or basic.
    level: str
    #: Whom it may talk to (``app_network``): any, or local.
    network: str


@dataclass(frozen=True)
class Resources:
    """What all units of the app may use together: the limits of its slice, in systemd's words."""

    slice: str
    memory_max: str
    tasks_max: str
    #: Beside the other apps and the system, 100 each; of processor and disk.
    weight: int


@dataclass(frozen=True)
class Build:
    """How a release is built; what the build alone is told in secret is in `Secrets`."""

    #: Empty: what the app's project says.
    python: str
    lock_file: str
    extras: list[str]
    groups: list[str]
    commands: list[str]
    env: dict[str, Any]
    packages: list[str]


@dataclass(frozen=True)
class App:
    """One app on one machine: an entry of the inventory."""

    entry: str
    name: str
    domain: str
    #: The first is canonical, the others redirect to it.
    domains: list[str]
    #: Served as they are.
    aliases: list[str]
    #: All of them: what the certificate is for.
    names: list[str]
    #: The path below which the app is, `/blog`; empty: the whole site. Every other path of the model begins with it.
    prefix: str
    wsgi: str
    user: str
    group: str
    proxy_group: str
    root: str
    releases: str
    current: str
    shared: str
    config_dir: str
    environment_file: str
    secrets_file: str
    #: How the app comes by them: file, or credentials (``app_secrets_delivery``).
    secrets_delivery: str
    files_dir: str
    log_dir: str
    backup_dir: str
    #: Between nginx and Gunicorn.
    socket: str
    #: RuntimeDirectory= of the app's units: each release has a folder of its own in it.
    runtime_dir: str
    #: Where a new release is tried before any visitor reaches it.
    rehearsal_socket: str
    health: Health
    tls: Tls
    database: Database
    redis: Redis
    #: SQLite files that the app keeps data in, below ``shared``.
    sqlite: list[str]
    server: Server
    backup: Backup
    #: What every process of the app finds in its environment, without secrets.
    environment: dict[str, Any]
    #: Long-running commands besides the web server: name to ``{command, stop_timeout, connections}``.
    processes: dict[str, dict[str, Any]]
    #: Commands on a calendar: name to ``{command, schedule, catch_up, timeout}``.
    timers: dict[str, dict[str, Any]]
    #: Files and folders of the release that live in ``shared`` and are linked into each release; a folder ends in a slash.
    shared_paths: list[str]
    sandbox: Sandbox
    resources: Resources
    #: A rehearsal may write to the database.
    rehearsal_writes: bool
    #: URL prefix to folder.
    static: dict[str, str]
    uploads: dict[str, str]
    #: Pages that verify reads as a browser would.
    verify_paths: list[str]
    proxy_hops: int
    migrate_command: str
    #: ``app_source`` as a manifest keeps it, without secrets.
    source: dict[str, str]
    build: Build

    def unit_stems(self) -> Iterator[str]:
        """Every name that a unit of this app carries before ``@`` or its suffix."""
        own = ("rehearsal", "tls", "backup", "backup-offsite", "rebuild")
        yield from (self.name, *(f"{self.name}-{one}" for one in own))
        yield from (f"{self.name}-{process}" for process in (*self.processes, *self.timers))

    def claims(self) -> dict[str, str]:
        """What on a machine one app alone can have: the thing, and the words for it."""
        return {
            **{f"unit:{stem}": f"the unit {stem}" for stem in self.unit_stems()},
            **{f"user:{self.user}": f"the user {self.user}", f"socket:{self.socket}": f"the socket {self.socket}"},
            **{f"path:{path}": f"the folder {path}" for path in (self.root, self.config_dir, self.log_dir, self.backup_dir)},
            **{f"domain:{domain}": f"the domain {domain}" for domain in self.names},
            **{f"redis:{instance}": f"the Redis {instance}" for instance in self.redis_instances()},
            **({f"database:{self.database.name}": f"the database {self.database.name}"} if self.database.over_socket else {}),
        }

    def redis_instances(self) -> Iterator[str]:
        if self.redis.local:
            yield self.redis.name
        if self.redis.cache:
            yield self.redis.cache.name


@dataclass(frozen=True)
class Machine:
    """What the entries of one machine have in common, and what the machine's part of each layer needs of all its apps."""

    name: str
    apps: list[App]
    #: Lists that every app may add to, joined: variable to list.
    joined: dict[str, list[Any]] = field(default_factory=dict)
    #: What the operator decided about what is on it already: finding to adopt, replace or leave.
    answers: dict[str, str] = field(default_factory=dict)

    @property
    def entries(self) -> list[str]:
        return [app.entry for app in self.apps]

    @property
    def archives(self) -> bool:
        """An app wants all of PostgreSQL's WAL kept."""
        return any(app.backup.engine == "pgbackrest" and app.database.serves for app in self.apps)

    @property
    def firewall(self) -> bool:
        """ufw is on this machine: unless the operator leaves it to another firewall that is there."""
        return not any(self.answers.get(one) == LEAVE for one in FIREWALLS)

    def facts(self) -> dict[str, Any]:
        """As roles read it: ``app.machine``."""
        return {
            "name": self.name,
            "entries": self.entries,
            "apps": [asdict(app) for app in self.apps],
            "joined": self.joined,
            "answers": self.answers,
            "firewall": self.firewall,
            "claims": {app.entry: list(app.claims()) for app in self.apps},
            "archives": self.archives,
            "serves_database": any(app.database.serves for app in self.apps),
            "uses_database": any(app.database.name for app in self.apps),
            "serves_redis": any(any(app.redis_instances()) for app in self.apps),
            "database_clients": union(app.database.allow for app in self.apps),
            "database_port": next((app.database.port for app in self.apps if app.database.over_socket), POSTGRES_PORT),
            "database_socket_dir": self.apps[0].database.socket_dir,
        }


@dataclass(frozen=True)
class Secrets:
    """What `App` leaves out."""

    #: The secret part of the environment.
    environment: dict[str, Any]
    #: Empty where it is not PostgreSQL.
    database_url: str
    database_password: str
    #: ``app_source`` as the operator says it: its key, and URLs with their tokens.
    source: dict[str, Any]
    #: ``app_files``.
    files: dict[str, Any]
    #: ``app_build_secrets``.
    build: dict[str, Any]
    #: ``app_smoke``: what its steps send may be secret.
    smoke: list[dict[str, Any]]
