# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""The machine and the app: every name, path, URL, unit and number that follows from the inventory is derived here, once.

`App` and `Machine` hold no secrets: they are shown, written to ``/etc/<app>/app.json``, and given to roles and templates as ``app``.
`Secrets` is what they leave out. Nothing here knows Ansible, hosts or files: `plugins/action/contract.py` brings the values.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from ansible_collections.slipway.vps.plugins.module_utils.database_url import DatabaseUrl, parse, readable, without_password
from ansible_collections.slipway.vps.plugins.module_utils.source import asked_for

#: PostgreSQL's port where nobody names another.
POSTGRES_PORT = 5432
#: Names under which an app may say its database in its environment; each of them is an input of the contract.
DATABASE_NAMES = ("DATABASE_URL", "SQLALCHEMY_DATABASE_URI", "FLASK_SQLALCHEMY_DATABASE_URI", "DATABASE_URI", "POSTGRES_URL")
#: Variables of the environment that overrule Gunicorn's settings (roles/gunicorn), and the setting each of them names.
SERVER_NAMES = {
    "GUNICORN_WORKER_CLASS": "worker_class",
    "WEB_CONCURRENCY": "workers",
    "GUNICORN_THREADS": "threads",
    "GUNICORN_TIMEOUT": "timeout",
    "GUNICORN_GRACEFUL_TIMEOUT": "graceful_timeout",
}
#: How client libraries spell the URL of a Redis.
REDIS_SCHEMES = ("redis", "rediss", "unix", "redis+socket", "rediss+socket")
#: Minutes between the nightly backups of two apps on one machine.
BACKUP_SPACING = 30

Values = Mapping[str, Any]


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
    #: Without a password.
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
    #: Without a password.
    url: str
    local: bool
    cache: RedisInstance | None
    #: The name that the second one has, or would have: one that nobody asks for any more is removed.
    cache_name: str


@dataclass(frozen=True)
class Health:
    """Paths that answer 200."""

    ready: str
    live: str


@dataclass(frozen=True)
class Server:
    """Gunicorn's settings that other layers depend on, after what the app's environment says of them."""

    worker_class: str
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
class App:
    """One app on one machine: an entry of the inventory."""

    entry: str
    name: str
    domain: str
    domains: list[str]
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
    server: Server
    backup: Backup
    #: What every process of the app finds in its environment, without secrets.
    environment: dict[str, Any]
    #: Long-running commands besides the web server: name to ``{command, stop_timeout, connections}``.
    processes: dict[str, dict[str, Any]]
    #: URL prefix to folder.
    static: dict[str, str]
    uploads: dict[str, str]
    proxy_hops: int
    migrate_command: str
    #: ``app_source`` as a manifest keeps it, without secrets.
    source: dict[str, str]

    def unit_stems(self) -> Iterator[str]:
        """Every name that a unit of this app carries before ``@`` or its suffix."""
        yield from (self.name, f"{self.name}-rehearsal", f"{self.name}-tls", f"{self.name}-backup")
        yield from (f"{self.name}-{process}" for process in self.processes)

    def claims(self) -> dict[str, str]:
        """What on a machine one app alone can have: the thing, and the words for it."""
        return {
            **{f"unit:{stem}": f"the unit {stem}" for stem in self.unit_stems()},
            **{f"user:{self.user}": f"the user {self.user}", f"socket:{self.socket}": f"the socket {self.socket}"},
            **{f"path:{path}": f"the folder {path}" for path in (self.root, self.config_dir, self.log_dir, self.backup_dir)},
            **{f"domain:{domain}": f"the domain {domain}" for domain in self.domains},
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

    @property
    def entries(self) -> list[str]:
        return [app.entry for app in self.apps]

    @property
    def archives(self) -> bool:
        """An app wants all of PostgreSQL's WAL kept."""
        return any(app.backup.engine == "pgbackrest" and app.database.serves for app in self.apps)

    def facts(self) -> dict[str, Any]:
        """As roles read it: ``app.machine``."""
        return {
            "name": self.name,
            "entries": self.entries,
            "apps": [asdict(app) for app in self.apps],
            "joined": self.joined,
            "archives": self.archives,
            "serves_database": any(app.database.serves for app in self.apps),
            "database_clients": _union(app.database.allow for app in self.apps),
            "database_port": next((app.database.port for app in self.apps if app.database.over_socket), POSTGRES_PORT),
            "database_socket_dir": self.apps[0].database.socket_dir,
        }


@dataclass(frozen=True)
class Secrets:
    """What `App` leaves out."""

    #: The secret part of the environment.
    environment: dict[str, Any]
    database_password: str
    #: ``app_source`` as the operator says it: its key, and URLs with their tokens.
    source: dict[str, Any]
    #: ``app_files``.
    files: dict[str, Any]


# --- Resolving --------------------------------------------------------------------------------


def names(said: Values) -> dict[str, str]:
    """Names and paths that follow from ``app_name``, as ``app_*``; what the operator says of one of them wins.

    :arg said: resolved values of the operator's variables, ``app_name`` and ``app_domains`` at least.
    """
    name = str(said["app_name"])
    domains = said.get("app_domains") or [""]
    found: dict[str, str] = {}

    def derive(variable: str, value: str) -> str:
        found[variable] = str(said.get(variable) or value)
        return found[variable]

    derive("app_domain", str(domains[0]))
    derive("app_user", name)
    derive("app_group", name)
    derive("app_proxy_group", "www-data")
    root = derive("app_root", f"/srv/{name}")
    derive("app_releases", f"{root}/releases")
    derive("app_current", f"{root}/current")
    derive("app_shared", f"{root}/shared")
    config = derive("app_config_dir", f"/etc/{name}")
    derive("app_environment_file", f"{config}/environment")
    derive("app_secrets_file", f"{config}/secrets")
    derive("app_files_dir", f"{config}/files")
    derive("app_log_dir", f"/var/log/{name}")
    derive("app_backup_dir", f"/var/backups/{name}")
    derive("app_socket", f"/run/{name}/gunicorn.sock")
    tls = derive("app_tls_dir", f"/etc/ssl/{name}")
    derive("app_tls_certificate", f"{tls}/fullchain.pem")
    derive("app_tls_key", f"{tls}/privkey.pem")
    derive("app_tls_status", f"/var/lib/slipway/{name}-tls.json")
    derive("app_acme_webroot", f"/var/lib/{name}-acme")
    database = derive("app_database", name)
    folder = derive("app_database_socket_dir", "/run/postgresql")
    derive("app_database_url", f"postgresql:///{database}?host={folder}")
    redis = derive("app_redis_socket", f"/run/redis-{name}/redis.sock")
    derive("app_redis_url", f"unix://{redis}?db=0")
    cache = derive("app_redis_cache_socket", f"/run/redis-{name}-cache/redis.sock")
    derive("app_redis_cache_url", f"unix://{cache}?db=0")
    return found


def environment_of(said: Values) -> dict[str, Any]:
    """What the operator says of the app's environment, secret or not."""
    return {**(said.get("app_env") or {}), **(said.get("app_secrets") or {})}


def stated_urls(said: Values) -> dict[str, str]:
    """Where the operator states the database's URL: the variable, or ``app_env NAME``, to the URL."""
    found = {"app_database_url": str(said["app_database_url"])} if said.get("app_database_url") else {}
    for variable in ("app_env", "app_secrets"):
        found.update(
            {f"{variable} {key}": str(value) for key, value in (said.get(variable) or {}).items() if key in DATABASE_NAMES and value}
        )
    return found


def same_database(one: str, other: str) -> bool:
    """Whether two URLs lead to the same database with the same login, in whatever spelling."""
    return parse(one) == parse(other)


def database_url(said: Values) -> str:
    """The URL of the app's database as the operator states it, or the one that follows from its parts."""
    stated = stated_urls(said)
    return next(iter(stated.values()), "") or names(said)["app_database_url"]


def resolve_database(said: Values, url: str, known: Mapping[str, str]) -> Database:
    """The database's parts, out of its URL."""
    parts: DatabaseUrl = parse(url)
    user = known["app_user"]
    folder = parts.host if parts.host.startswith("/") else known["app_database_socket_dir"]
    allow = [str(address) for address in said["postgres_allow"]]
    return Database(
        name=parts.database,
        host="" if parts.over_socket else parts.host,
        port=int(parts.port or POSTGRES_PORT),
        user=parts.user or user,
        options=dict(parts.query),
        socket_dir=folder,
        over_socket=parts.over_socket,
        local=parts.local,
        serves=parts.over_socket or bool(allow),
        url=without_password(url),
        has_password=bool(parts.password),
        allow=allow,
        readonly_users=[str(name) for name in said["postgres_readonly_users"]],
        hosts=int(said.get("postgres_app_hosts") or max(len(allow), 1)),
        pool=int(said["app_database_pool"]),
        limits=Limits(*(_texts(said[f"postgres_limits_{role}"]) for role in ("app", "readonly", "migrate"))),
        readonly=f"{user}_readonly",
        migrate=f"{user}_migrate",
    )


def resolve_redis(said: Values, known: Mapping[str, str]) -> Redis:
    """The app's Redis, and the second one for its cache where that is asked for."""
    name, socket = known["app_name"], known["app_redis_socket"]
    url = str(environment_of(said).get("REDIS_URL") or known["app_redis_url"])
    second = f"{name}-cache"
    cache = (
        RedisInstance(second, known["app_redis_cache_socket"], known["app_redis_cache_url"]) if truthy(said["app_redis_cache"]) else None
    )
    return Redis(name, socket, without_password(url), is_own_redis(url, socket), cache, second)


def is_redis(url: str) -> bool:
    """Whether a URL is one of a Redis, as far as it can be seen here."""
    return readable(url, REDIS_SCHEMES)


def is_own_redis(url: str, socket: str) -> bool:
    """Whether a Redis URL leads to the app's own socket, in whichever of the spellings that client libraries have."""
    scheme, _, rest = url.partition("://")
    return scheme in ("unix", "redis+socket", "socket") and rest.partition("?")[0] == socket


def resolve_server(said: Values, apps: int) -> Server:
    """Gunicorn's settings; the app's environment overrules the variables, as it does for the running process."""
    environment = environment_of(said)
    chosen: dict[str, Any] = {
        setting: environment.get(variable) if str(environment.get(variable) or "") else said[f"gunicorn_{setting}"]
        for variable, setting in SERVER_NAMES.items()
    }
    return Server(
        worker_class=str(chosen["worker_class"]),
        workers=str(chosen["workers"]),
        threads=int(chosen["threads"]),
        worker_memory=int(said["gunicorn_worker_memory"]),
        memory_share=round(float(said["gunicorn_memory_share"]) / apps, 4),
        timeout=int(chosen["timeout"]),
        graceful_timeout=int(chosen["graceful_timeout"]),
    )


def resolve_backup(said: Values, taken: Collection[tuple[int, int]] = ()) -> Backup:
    """The backup's engine and its time of the night: the one that is said, or the next that no other app of the machine has taken."""
    start = (int(said["backup_hour"]) * 60 + int(said["backup_minute"])) % 1440
    times = (divmod((start + step * BACKUP_SPACING) % 1440, 60) for step in range(1440 // BACKUP_SPACING))
    hour, minute = next((time for time in times if time not in taken), divmod(start, 60))
    return Backup(str(said["backup_engine"]), hour, minute)


def public_environment(said: Values, known: Mapping[str, str], database: Database, redis: Redis) -> dict[str, Any]:
    """The environment without secrets: what the layers derive, then the operator's own."""
    base: dict[str, Any] = {
        "DATABASE_URL": database.url,
        "FLASK_APP": said["app_wsgi"],
        "FLASK_DEBUG": "0",
        "PROXY_HOPS": str(said["app_proxy_hops"]),
        "REDIS_URL": redis.url,
        "TRUSTED_HOSTS": ",".join(said["app_domains"]),
        **({"REDIS_CACHE_URL": redis.cache.url} if redis.cache else {}),
    }
    own = said.get("app_env") or {}
    # A password stands in the secret file only.
    masked = {key: without_password(str(own[key])) for key in (*DATABASE_NAMES, "REDIS_URL") if own.get(key)}
    return {str(key): value for key, value in {**base, **own, **masked}.items()}


def resolve_secrets(said: Values) -> Secrets:
    """What is secret: the environment's secret part, with each URL that holds a password."""
    url = database_url(said)
    password = parse(url).password
    redis = str(environment_of(said).get("REDIS_URL") or said.get("app_redis_url") or "")
    own = said.get("app_env") or {}
    hidden = {
        key: str(own[key]) for key in (*DATABASE_NAMES, "REDIS_URL") if own.get(key) and without_password(str(own[key])) != str(own[key])
    }
    derived = {"DATABASE_URL": url} if password else {}
    if redis and without_password(redis) != redis:
        derived["REDIS_URL"] = redis
    return Secrets(
        environment={**derived, **hidden, **(said.get("app_secrets") or {})},
        database_password=password,
        source=dict(said["app_source"]),
        files=dict(said.get("app_files") or {}),
    )


def resolve_app(said: Values, entry: str, apps: int = 1, taken: Collection[tuple[int, int]] = ()) -> App:
    """One app, from the resolved values of its entry.

    :arg said: the operator's variables and the roles' defaults; a derived name only where the operator says it.
    :arg entry: the inventory's name for it.
    :arg apps: how many apps the machine has.
    :arg taken: hours and minutes at which others of them are backed up.
    """
    known = {**names(said), "app_name": str(said["app_name"])}
    database = resolve_database(said, database_url(said), known)
    redis = resolve_redis(said, known)
    paths = ("user", "group", "proxy_group", "root", "releases", "current", "shared", "config_dir", "environment_file", "secrets_file")
    return App(
        entry=entry,
        name=known["app_name"],
        domain=known["app_domain"],
        domains=[str(domain) for domain in said["app_domains"]],
        wsgi=str(said["app_wsgi"]),
        **{part: known[f"app_{part}"] for part in (*paths, "files_dir", "log_dir", "backup_dir", "socket")},
        runtime_dir=f"/run/{known['app_name']}",
        rehearsal_socket=f"/run/{known['app_name']}-rehearsal/gunicorn.sock",
        health=Health(str(said["app_health_ready"]), str(said["app_health_live"])),
        tls=Tls(*(known[f"app_{part}"] for part in ("tls_dir", "tls_certificate", "tls_key", "tls_status", "acme_webroot"))),
        database=database,
        redis=redis,
        server=resolve_server(said, apps),
        backup=resolve_backup(said, taken),
        environment=public_environment(said, known, database, redis),
        processes={str(name): dict(entry) for name, entry in said["app_processes"].items()},
        static={str(prefix): str(folder) for prefix, folder in said["app_static"].items()},
        uploads={str(prefix): str(folder) for prefix, folder in said["app_uploads"].items()},
        proxy_hops=int(said["app_proxy_hops"]),
        migrate_command=str(said["app_migrate_command"]),
        source=asked_for(said["app_source"]),
    )


def resolve_machine(name: str, entries: Mapping[str, Values], joined: Iterable[str] = ()) -> Machine:
    """A machine, from the resolved values of its entries in the inventory's order.

    :arg joined: variables whose lists are added up over the apps.
    """
    apps: list[App] = []
    for entry, said in entries.items():
        taken = {(app.backup.hour, app.backup.minute) for app in apps}
        apps.append(resolve_app(said, entry, len(entries), taken))
    lists = {variable: _union(list(said.get(variable) or []) for said in entries.values()) for variable in joined}
    return Machine(name, apps, lists)


def _union(lists: Iterable[Sequence[Any]]) -> list[Any]:
    found: list[Any] = []
    for item in (item for items in lists for item in items):
        if item not in found:
            found.append(item)
    return found


def _texts(settings: Values) -> dict[str, str]:
    return {str(name): ("on" if value else "off") if isinstance(value, bool) else str(value) for name, value in settings.items()}


def truthy(value: Any) -> bool:
    """A boolean of YAML, or the text of one from the command line."""
    return str(value if value is not None else "").lower() not in {"", "0", "false", "no", "off", "n", "f", "none"}
