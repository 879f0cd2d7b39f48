# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""What Slipway wants of a machine, out of the model: names, paths, units, ports and domains of all its apps, and the engines it runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

WEB_PORTS = (80, 443)
REDIS_PORT = 6379
#: The distribution's own; those of the apps are instances of redis-server@.service.
REDIS_UNIT = "redis-server.service"
#: Files of an app outside of its folders, as the roles write them (tests/unit/preflight/test_places.py compares).
FILES = (
    "/etc/cron.d/{}-backup",
    "/etc/fail2ban/jail.d/slipway-{}.local",
    "/etc/letsencrypt/renewal-hooks/deploy/slipway-{}",
    "/etc/letsencrypt/renewal/{}.conf",
    "/etc/logrotate.d/{}",
    "/etc/nginx/conf.d/{}-headers.conf",
    "/etc/nginx/sites-available/{}.conf",
    "/etc/nginx/sites-enabled/{}.conf",
    "/etc/nginx/snippets/{}-headers.conf",
    "/etc/nginx/snippets/{}-own-headers.conf",
    "/etc/nginx/snippets/{}-proxy.conf",
)
#: Files of a Redis of its own.
REDIS_FILE = "/etc/redis/redis-{}.conf"
#: What a database's role is called beside the app's own: `roles/postgres` makes these.
LOGINS = ("{}_1", "{}_2")


#: What the sandbox of an app does not see (ProtectHome, PrivateTmp).
_HIDDEN = ("/home/", "/root/", "/run/user/", "/tmp/", "/var/tmp/")


def hidden(path: str) -> bool:
    """Whether an app could not see what is there."""
    return path.startswith(_HIDDEN)


@dataclass(frozen=True)
class AppNeeds:
    """Everything that one app would have on the machine."""

    name: str
    user: str
    group: str
    root: str
    config_dir: str
    domains: list[str]
    folders: list[str]
    #: What stands before `@` or the suffix.
    units: list[str]
    files: list[str]
    #: Empty: none on this machine.
    database: str
    roles: list[str]

    @property
    def site(self) -> str:
        """The file of its site."""
        return f"{self.name}.conf"

    @classmethod
    def of(cls, app: Mapping[str, Any], claims: Iterable[str]) -> AppNeeds:
        """
        :arg app: one of the model's apps.
        :arg claims: what it alone can have (`App.claims`).
        """
        database = app["database"]
        stems = [claim.partition(":")[2] for claim in claims if claim.startswith("unit:")]
        instances = [claim.partition(":")[2] for claim in claims if claim.startswith("redis:")]
        claimed = [claim.partition(":")[2] for claim in claims if claim.startswith("path:")]
        user = app["user"]
        return cls(
            name=app["name"],
            user=user,
            group=app["group"],
            root=app["root"],
            config_dir=app["config_dir"],
            domains=[name.lower() for name in app["names"]],
            folders=list(dict.fromkeys([*claimed, app["tls"]["dir"], app["tls"]["webroot"], app["runtime_dir"]])),
            units=stems,
            files=[place.format(app["name"]) for place in FILES] + [REDIS_FILE.format(name) for name in instances],
            database=database["name"] if database["serves"] else "",
            roles=[user, database["readonly"], database["migrate"], *(login.format(user) for login in LOGINS)]
            if database["serves"]
            else [],
        )


@dataclass(frozen=True)
class Limits:
    """What a machine needs at least, as the operator sees it (`preflight_…`)."""

    #: MiB.
    memory: int = 400
    disk: int = 1024
    inodes: int = 20000
    #: Seconds.
    clock: int = 300


@dataclass(frozen=True)
class Needs:
    """What is wanted of a machine, and what the operator has answered so far."""

    apps: list[AppNeeds]
    #: Apps and their web server are here; otherwise it is a database's own machine.
    web: bool = True
    postgres_port: int = 5432
    #: A PostgreSQL is to run here; a Redis.
    postgres: bool = True
    postgres_socket_dir: str = "/run/postgresql"
    redis: bool = True
    #: ufw's rules that the operator himself asks for.
    rules: list[dict[str, Any]] = field(default_factory=list)
    limits: Limits = field(default_factory=Limits)
    answers: dict[str, str] = field(default_factory=dict)
    #: ufw is to run here.
    firewall: bool = True

    @classmethod
    def of(cls, machine: Mapping[str, Any], web: bool = True, limits: Limits | None = None) -> Needs:
        """
        :arg machine: the model's machine, as roles read it.
        """
        return cls(
            apps=[AppNeeds.of(app, machine["claims"][app["entry"]]) for app in machine["apps"]] if web else [],
            web=web,
            postgres_port=int(machine["database_port"]),
            postgres=bool(machine["serves_database"]),
            postgres_socket_dir=str(machine["database_socket_dir"]),
            redis=web and bool(machine["serves_redis"]),
            rules=[dict(rule) for rule in machine["joined"].get("firewall_rules_custom", [])],
            limits=limits or Limits(),
            answers={str(one): str(choice) for one, choice in machine["answers"].items()},
            firewall=bool(machine["firewall"]),
        )

    @property
    def domains(self) -> list[str]:
        return [domain for app in self.apps for domain in app.domains]

    @property
    def rooms(self) -> list[str]:
        """Paths whose file systems must have room: packages, logs and data, releases."""
        return list(dict.fromkeys(["/", "/var", *(app.root for app in self.apps)]))

    @property
    def run_from(self) -> list[str]:
        """Paths from where programs are run."""
        return list(dict.fromkeys(["/tmp", "/var", *(app.root for app in self.apps)]))

    @property
    def visited(self) -> list[int]:
        """TCP ports that others are to reach."""
        return list(WEB_PORTS) if self.web else [self.postgres_port] if self.postgres else []

    @property
    def ports(self) -> list[int]:
        """TCP ports that somebody else might have."""
        web = list(WEB_PORTS) if self.web else []
        return web + ([self.postgres_port] if self.postgres else []) + ([REDIS_PORT] if self.redis else [])
