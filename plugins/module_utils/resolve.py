# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""The resolver: every name, path, URL, unit and number that follows from the inventory is derived here, once.

It knows neither Ansible nor hosts nor files: `plugins/action/contract.py` brings the values.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from ansible_collections.slipway.vps.plugins.module_utils.database_url import (
    OTHER,
    POSTGRESQL,
    SQLITE,
    DatabaseUrl,
    kind_of,
    parse,
    readable,
    shown,
    sqlite_file,
    without_password,
)
from ansible_collections.slipway.vps.plugins.module_utils.model import (
    POSTGRES_PORT,
    App,
    Backup,
    Build,
    Database,
    Health,
    Limits,
    Machine,
    Redis,
    RedisInstance,
    Resources,
    Sandbox,
    Secrets,
    Server,
    Tls,
    union,
)
from ansible_collections.slipway.vps.plugins.module_utils.redis_url import KOMBU, LIMITS, PLAIN, spelled
from ansible_collections.slipway.vps.plugins.module_utils.servers import ASGI, PROGRAMS, interface, requirements, runtime_files
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core.sandbox import BASIC, FULL
from ansible_collections.slipway.vps.plugins.module_utils.slipway.health import quiet_paths
from ansible_collections.slipway.vps.plugins.module_utils.source import asked_for

#: Names under which an app may say its database in its environment; each of them is an input of the contract.
DATABASE_NAMES = ("DATABASE_URL", "SQLALCHEMY_DATABASE_URI", "FLASK_SQLALCHEMY_DATABASE_URI", "DATABASE_URI", "POSTGRES_URL")
#: What an app may use of a machine, in the order of `app_services`.
SERVICES = ("postgres", "redis")
#: Variables of the environment that overrule Gunicorn's settings (roles/server), and the setting each of them names.
SERVER_NAMES = {
    "GUNICORN_WORKER_CLASS": "worker_class",
    "WEB_CONCURRENCY": "workers",
    "GUNICORN_THREADS": "threads",
    "GUNICORN_TIMEOUT": "timeout",
    "GUNICORN_GRACEFUL_TIMEOUT": "graceful_timeout",
}
#: How client libraries spell the URL of a Redis.
REDIS_SCHEMES = ("redis", "rediss", "unix", "redis+socket", "rediss+socket")
#: Openings of the sandbox that are a word, and those that name a path.
OPENINGS = ("sendmail", "netlink", "jit")
PREFIXED = ("device", "folder")
#: A path that a unit reads as one.
FOLDER = re.compile(r"/[^\s\x00-\x1f\"'`\\;{}$%:]*")
#: Where the mail programs of Debian keep what they are given.
SPOOLS = ("/var/spool/postfix/maildrop", "/var/spool/exim4", "/var/log/exim4", "/var/spool/nullmailer", "/var/spool/dma")
#: Seconds after which a timer's command is stopped, unless it says otherwise.
TIMER_TIMEOUT = 3600
#: Percent of the machine's memory, and of the processes it can have: for an app alone, and for each of several.
ALONE, BESIDE = 80, 40
#: Minutes between the nightly backups of two apps on one machine.
BACKUP_SPACING = 30

Values = Mapping[str, Any]


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
    driver = f"+{said['app_database_driver']}" if is_driver(said.get("app_database_driver")) else ""
    derive("app_database_url", f"postgresql{driver}:///{database}?host={folder}")
    redis = derive("app_redis_socket", f"/run/redis-{name}/redis.sock")
    derive("app_redis_url", f"unix://{redis}?db=0")
    derive("app_redis_kombu_url", spelled(found["app_redis_url"], KOMBU))
    derive("app_redis_limits_url", spelled(found["app_redis_url"], LIMITS))
    cache = derive("app_redis_cache_socket", f"/run/redis-{name}-cache/redis.sock")
    derive("app_redis_cache_url", f"unix://{cache}?db=0")
    return found


def is_driver(name: Any) -> bool:
    """Whether a URL can name a driver so."""
    return isinstance(name, str) and bool(re.fullmatch(r"[a-z][a-z0-9_]*", name))


def environment_of(said: Values) -> dict[str, Any]:
    """What the operator says of the app's environment, secret or not."""
    return {**(said.get("app_env") or {}), **(said.get("app_secrets") or {})}


def services(said: Values) -> list[str]:
    """What the app uses: as ``app_services`` says; otherwise all, without PostgreSQL where the database is a SQLite file."""
    if said.get("app_services") is not None:
        return [service for service in SERVICES if service in said["app_services"]]
    kept_in_file = any(kind_of(url) == SQLITE for url in stated_urls(said).values())
    return [service for service in SERVICES if not (service == "postgres" and kept_in_file)]


def stated_urls(said: Values) -> dict[str, str]:
    """Where the operator states the database's URL: the variable, or ``app_env NAME``, to the URL."""
    found = {"app_database_url": str(said["app_database_url"])} if said.get("app_database_url") else {}
    for variable in ("app_env", "app_secrets"):
        found.update(
            {f"{variable} {key}": str(value) for key, value in (said.get(variable) or {}).items() if key in DATABASE_NAMES and value}
        )
    return found


def database_url(said: Values) -> str:
    """The URL of the app's database as the operator states it, or the one that follows from its parts; empty where there is none."""
    stated = stated_urls(said).values()
    if "postgres" not in services(said):
        return next(iter(stated), "")
    # Beside a PostgreSQL that is asked for, an app may keep a file of SQLite.
    return next((url for url in stated if kind_of(url) != SQLITE), "") or names(said)["app_database_url"]


def sqlite_files(said: Values, shared: str) -> list[str]:
    """Files of SQLite: those of URLs in the environment, then those that ``app_sqlite`` names."""
    urls = [*stated_urls(said).values(), *map(str, environment_of(said).values())]
    found = [sqlite_file(url) for url in urls]
    return union([[path for path in found if path], [posixpath.join(shared, str(path)) for path in said.get("app_sqlite") or []]])


def resolve_database(said: Values, url: str, known: Mapping[str, str]) -> Database:
    """The database's parts, out of its URL."""
    kind = kind_of(url) or "none"
    # Where it is not PostgreSQL there is nothing of these.
    parts: DatabaseUrl = parse(url) if kind == POSTGRESQL else DatabaseUrl("", "", "", "", "", {})
    user = known["app_user"]
    folder = parts.host if parts.host.startswith("/") else known["app_database_socket_dir"]
    allow = [str(address) for address in said["postgres_allow"]] if kind == POSTGRESQL else []
    over_socket = kind == POSTGRESQL and parts.over_socket
    return Database(
        kind=kind,
        name=parts.database,
        host="" if parts.over_socket else parts.host,
        port=int(parts.port or POSTGRES_PORT),
        user=parts.user or user,
        options=dict(parts.query),
        socket_dir=folder,
        over_socket=over_socket,
        local=parts.local and kind != OTHER,
        serves=over_socket or bool(allow),
        url=shown(url) if kind == OTHER else without_password(url) if url else "",
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
    here = "redis" in services(said)
    url = redis_url(said) or (known["app_redis_url"] if here else "")
    second = f"{name}-cache"
    wanted = here and truthy(said["app_redis_cache"])
    cache = RedisInstance(second, known["app_redis_cache_socket"], known["app_redis_cache_url"]) if wanted else None
    return Redis(name, socket, without_password(url) if url else "", here and is_own_redis(url, socket), cache, second)


def redis_url(said: Values) -> str:
    """The URL of the app's Redis as the operator states it; empty where nobody does."""
    return str(environment_of(said).get("REDIS_URL") or said.get("app_redis_url") or "")


def library_urls(said: Values) -> dict[str, str]:
    """Names under which libraries, and apps that use them, look for the app's Redis, each in its library's spelling.

    Not CELERY_BROKER_URL nor CELERY_RESULT_BACKEND: Celery lets them overrule the app's own code, which may have its broker elsewhere.
    """
    stated = redis_url(said)
    known = names({**said, **({"app_redis_url": stated} if stated else {})})
    if "redis" not in services(said) or not is_redis(known["app_redis_url"]):
        return {}
    cache = known["app_redis_cache_url"] if truthy(said["app_redis_cache"]) else known["app_redis_url"]
    return {
        "CACHE_REDIS_URL": spelled(cache, PLAIN),
        "RATELIMIT_STORAGE_URI": known["app_redis_limits_url"],
        "RQ_REDIS_URL": spelled(known["app_redis_url"], PLAIN),
        "SOCKETIO_MESSAGE_QUEUE": known["app_redis_kombu_url"],
    }


def is_redis(url: str) -> bool:
    """Whether a URL is one of a Redis, as far as it can be seen here."""
    return readable(url, REDIS_SCHEMES)


def is_own_redis(url: str, socket: str) -> bool:
    """Whether a Redis URL leads to the app's own socket, in whichever of the spellings that client libraries have."""
    scheme, _, rest = url.partition("://")
    return scheme in ("unix", "redis+socket", "socket") and rest.partition("?")[0] == socket


def resolve_server(said: Values, apps: int) -> Server:
    """The server's settings; the app's environment overrules the variables, as it does for the running process."""
    environment = environment_of(said)
    chosen: dict[str, Any] = {
        setting: environment.get(variable) if str(environment.get(variable) or "") else said[f"server_{setting}"]
        for variable, setting in SERVER_NAMES.items()
    }
    name, worker_class = str(said.get("app_server") or "gunicorn"), str(chosen["worker_class"])
    speaks = interface(name, worker_class, str(said.get("app_interface") or ""))
    if name == "gunicorn" and speaks == ASGI:
        worker_class = "asgi"
    return Server(
        name=name,
        interface=speaks,
        worker_class=worker_class,
        requirements=requirements(name, worker_class),
        programs=list(PROGRAMS),
        runtime_files=runtime_files(name, str(said["app_name"]), names(said)["app_config_dir"]),
        workers=str(chosen["workers"]),
        threads=int(chosen["threads"]),
        worker_memory=int(said["server_worker_memory"]),
        memory_share=round(float(said["server_memory_share"]) / apps, 4),
        timeout=int(chosen["timeout"]),
        graceful_timeout=int(chosen["graceful_timeout"]),
    )


def resolve_health(said: Values) -> Health:
    """The paths that are named, and those that may be found."""
    ready, live = (below(said, said[f"app_health_{kind}"]) for kind in ("ready", "live"))
    return Health(ready, live, quiet_paths(ready, live, str(said["app_url_prefix"])))


def below(said: Values, path: Any) -> str:
    """A path of the app as a visitor asks for it; an empty one stays empty."""
    return f"{said['app_url_prefix']}{path}" if path else ""


def resolve_backup(said: Values, taken: Collection[tuple[int, int]] = ()) -> Backup:
    """The backup's engine and its time of the night: the one that is said, or the next that no other app of the machine has taken."""
    start = (int(said["backup_hour"]) * 60 + int(said["backup_minute"])) % 1440
    times = (divmod((start + step * BACKUP_SPACING) % 1440, 60) for step in range(1440 // BACKUP_SPACING))
    hour, minute = next((time for time in times if time not in taken), divmod(start, 60))
    return Backup(str(said["backup_engine"]), hour, minute)


def resolve_build(said: Values) -> Build:
    """How a release is built."""
    lists = {name: [str(item) for item in said[f"app_{name}"]] for name in ("extras", "groups", "build_commands", "build_packages")}
    return Build(
        python=str(said["app_python"]),
        lock_file=str(said["app_lock_file"]),
        extras=lists["extras"],
        groups=lists["groups"],
        commands=lists["build_commands"],
        env={str(name): value for name, value in said["app_build_env"].items()},
        packages=lists["build_packages"],
    )


def public_environment(said: Values, known: Mapping[str, str], database: Database, redis: Redis) -> dict[str, Any]:
    """The environment without secrets: what the layers derive, then the operator's own."""
    base: dict[str, Any] = {
        **({"DATABASE_URL": database.url} if database.kind in (POSTGRESQL, SQLITE) else {}),
        "FLASK_APP": said["app_wsgi"],
        "FLASK_DEBUG": "0",
        "PROXY_HOPS": str(said["app_proxy_hops"]),
        **({"REDIS_URL": redis.url} if redis.url else {}),
        # A leading dot is any subdomain, to Werkzeug and to Django.
        "TRUSTED_HOSTS": ",".join(str(name).removeprefix("*") for name in (*said["app_domains"], *said["app_aliases"])),
        **({"REDIS_CACHE_URL": redis.cache.url} if redis.cache else {}),
        **{name: url for name, url in library_urls(said).items() if without_password(url) == url},
        **({"SCRIPT_NAME": str(said["app_url_prefix"])} if said["app_url_prefix"] else {}),
    }
    own = said.get("app_env") or {}
    # A password stands in the secret file only.
    masked = {key: without_password(str(own[key])) for key in (*DATABASE_NAMES, "REDIS_URL") if own.get(key)}
    return {str(key): value for key, value in {**base, **own, **masked}.items()}


def resolve_secrets(said: Values) -> Secrets:
    """What is secret: the environment's secret part, with each URL that holds a password."""
    url = database_url(said)
    kind = kind_of(url)
    password = parse(url).password if kind == POSTGRESQL else ""
    redis = redis_url(said)
    own = said.get("app_env") or {}
    hidden = {
        key: str(own[key]) for key in (*DATABASE_NAMES, "REDIS_URL") if own.get(key) and without_password(str(own[key])) != str(own[key])
    }
    # Of another kind nobody knows where its password stands: all of it is secret. Its name is the operator's.
    derived = {"DATABASE_URL": url} if password or (kind == OTHER and said.get("app_database_url") == url) else {}
    if redis and without_password(redis) != redis:
        derived["REDIS_URL"] = redis
    derived |= {name: url for name, url in library_urls(said).items() if without_password(url) != url and name not in own}
    return Secrets(
        environment={**derived, **hidden, **(said.get("app_secrets") or {})},
        database_url=url if kind == POSTGRESQL else "",
        database_password=password,
        source=dict(said["app_source"]),
        files=dict(said.get("app_files") or {}),
        build=dict(said.get("app_build_secrets") or {}),
        smoke=[{**step, "path": below(said, step["path"])} for step in plain(said["app_smoke"])],
    )


def plain(value: Any) -> Any:
    """A value as JSON has it: a date of YAML, and what an inline vault holds, is text."""
    return json.loads(json.dumps(value, default=str))


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
        aliases=[str(alias) for alias in said["app_aliases"]],
        names=union([[str(name) for name in said["app_domains"]], [str(name) for name in said["app_aliases"]]]),
        prefix=str(said["app_url_prefix"]),
        wsgi=str(said["app_wsgi"]),
        **{part: known[f"app_{part}"] for part in (*paths, "files_dir", "log_dir", "backup_dir", "socket")},
        secrets_delivery=str(said["app_secrets_delivery"]),
        runtime_dir=f"/run/{known['app_name']}",
        rehearsal_socket=f"/run/{known['app_name']}-rehearsal/gunicorn.sock",
        health=resolve_health(said),
        tls=Tls(*(known[f"app_{part}"] for part in ("tls_dir", "tls_certificate", "tls_key", "tls_status", "acme_webroot"))),
        database=database,
        redis=redis,
        sqlite=sqlite_files(said, known["app_shared"]),
        server=resolve_server(said, apps),
        backup=resolve_backup(said, taken),
        environment=public_environment(said, known, database, redis),
        processes={str(name): dict(entry) for name, entry in said["app_processes"].items()},
        timers={str(name): resolve_timer(entry) for name, entry in said["app_timers"].items()},
        shared_paths=[str(path) for path in said["app_shared_paths"]],
        sandbox=resolve_sandbox(said["app_sandbox_allow"], str(said["base_sandbox"]), str(said["app_network"])),
        resources=resolve_resources(said, known["app_name"], apps),
        rehearsal_writes=truthy(said["app_rehearsal_writes"]),
        static={below(said, prefix): str(folder) for prefix, folder in said["app_static"].items()},
        uploads={below(said, prefix): str(folder) for prefix, folder in said["app_uploads"].items()},
        verify_paths=[below(said, path) for path in said["app_verify_paths"]],
        proxy_hops=int(said["app_proxy_hops"]),
        migrate_command=str(said["app_migrate_command"]),
        source=asked_for(said["app_source"]),
        build=resolve_build(said),
    )


def resolve_timer(entry: Values) -> dict[str, Any]:
    """One of ``app_timers``, all of it said."""
    return {
        **{"command": str(entry["command"]), "schedule": str(entry["schedule"]).strip()},
        **{"catch_up": truthy(entry.get("catch_up")), "timeout": int(entry.get("timeout") or TIMER_TIMEOUT)},
    }


def resolve_sandbox(allowed: Iterable[str], level: str, network: str) -> Sandbox:
    """What each opening comes to."""
    openings = [str(opening) for opening in allowed]
    mail = "sendmail" in openings
    named = {prefix: [one.partition(":")[2] for one in openings if one.startswith(f"{prefix}:")] for prefix in PREFIXED}
    return Sandbox(
        allowed=openings,
        privileges=mail,
        netlink=mail or "netlink" in openings,
        devices=named["device"],
        # The dash: one of them may be absent.
        folders=named["folder"] + [f"-{spool}" for spool in SPOOLS if mail],
        jit="jit" in openings,
        level=level,
        network=network,
    )


def resolve_resources(said: Values, name: str, apps: int) -> Resources:
    """The app's slice. A dash in its name would make it a child of another app's."""
    share = f"{ALONE if apps == 1 else BESIDE}%"
    memory, tasks = (str(said[f"app_{limit}_max"]) for limit in ("memory", "tasks"))
    return Resources(
        slice=f"slipway-{name.replace('-', '_')}.slice",
        memory_max=share if memory == "auto" else memory,
        tasks_max=share if tasks == "auto" else tasks,
        weight=int(said["app_cpu_weight"]),
    )


def resolve_machine(name: str, entries: Mapping[str, Values], joined: Iterable[str] = ()) -> Machine:
    """A machine, from the resolved values of its entries in the inventory's order.

    :arg joined: variables whose lists are added up over the apps.
    """
    apps: list[App] = []
    # The machine's, whoever says it: what differs is refused (rules/machine.py).
    level = BASIC if any(said.get("base_sandbox") == BASIC for said in entries.values()) else FULL
    for entry, said in entries.items():
        taken = {(app.backup.hour, app.backup.minute) for app in apps}
        apps.append(resolve_app({**said, "base_sandbox": level}, entry, len(entries), taken))
    lists = {variable: union(list(said.get(variable) or []) for said in entries.values()) for variable in joined}
    answers = {str(one): str(way) for said in entries.values() for one, way in (said.get("preflight_answers") or {}).items()}
    return Machine(name, apps, lists, answers)


def _texts(settings: Values) -> dict[str, str]:
    return {str(name): ("on" if value else "off") if isinstance(value, bool) else str(value) for name, value in settings.items()}


def truthy(value: Any) -> bool:
    """A boolean of YAML, or the text of one from the command line."""
    return str(value if value is not None else "").lower() not in {"", "0", "false", "no", "off", "n", "f", "none"}
