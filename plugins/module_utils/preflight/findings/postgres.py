# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""A PostgreSQL that serves others, and databases and roles of our names in it."""

from __future__ import annotations

from collections.abc import Iterator

from ..facts import Cluster, Facts
from ..finding import ADOPT, Finding, count, some
from ..needs import Needs
from .ports import who

#: What every cluster has.
_OWN = ("postgres",)


def findings(facts: Facts, needs: Needs) -> Iterator[Finding]:
    if not needs.postgres:
        return
    cluster = next((one for one in facts.clusters if one.port == needs.postgres_port), None)
    if cluster is None:
        yield from _no_cluster(facts, needs)
        return
    mine = {app.database for app in needs.apps}
    roles = {role for app in needs.apps for role in app.roles}
    if cluster.adopted or not cluster.ours:
        yield from _shared(cluster, needs, mine, roles)
    if not cluster.ours:
        yield from _our_roles(cluster, roles)
    yield from _our_databases(cluster, needs)


def _no_cluster(facts: Facts, needs: Needs) -> Iterator[Finding]:
    """PostgreSQL is not the distribution's, or has another port: the first would keep ours from its port, the second has none for us."""
    port = needs.postgres_port
    url = f"postgresql:///<database>?host={needs.postgres_socket_dir}&port="
    holder = next((one for one in facts.listeners if one.port == port), None)
    if holder:
        fix = f"give PostgreSQL of this machine another port: app_database_url: {url}{port + 1}"
        what = f"port {port} is taken by a program that is no PostgreSQL of the distribution"
        yield Finding(f"port:{port}", what, who([holder]), fix=fix)
    elif facts.clusters:
        seen = some(f"{one.version}/{one.name} has {one.port}" for one in facts.clusters)
        fix = f"use the one that is there: app_database_url: {url}{facts.clusters[0].port}"
        yield Finding(f"port:{port}", f"PostgreSQL is here, and no cluster of it has port {port}", seen, fix=fix)


def _shared(cluster: Cluster, needs: Needs, mine: set[str], roles: set[str]) -> Iterator[Finding]:
    databases = [name for name in cluster.databases if name not in mine and name not in _OWN]
    others = [name for name in cluster.roles if name not in roles and name not in _OWN]
    clients = {who: number for who, number in cluster.clients.items() if who.partition("@")[0] not in {*roles, *_OWN}}
    if cluster.running and cluster.readable and not (databases or others or clients or cluster.used):
        return
    connected = sum(clients.values())
    seen = f"cluster {cluster.version}/{cluster.name}; databases {some(databases) or 'none'}; roles {some(others) or 'none'}"
    if not cluster.running:
        seen = f"cluster {cluster.version}/{cluster.name} is down: nobody can say what is in it"
    elif not cluster.readable:
        seen = f"cluster {cluster.version}/{cluster.name} does not let its superuser in over {needs.postgres_socket_dir} (pg_hba.conf)"
    else:
        seen += f"; {count(connected, 'connection')} now{' (' + some(clients) + ')' if clients else ''}"
        seen += "".join(f"; {one}" for one in cluster.used)
    yield Finding(
        f"port:{needs.postgres_port}",
        "PostgreSQL is here already, and serves others"
        if cluster.running and cluster.readable
        else "PostgreSQL is here already, and may serve others",
        seen,
        {}
        if cluster.standby
        else {
            ADOPT: "our databases come into it beside theirs; its pg_hba.conf gets our lines before its own; its settings, addresses "
            "and port stay as they are, and Slipway does not restart it"
        },
        f"for a server of its own on another port: pg_createcluster --start -p {needs.postgres_port + 1} {cluster.version} slipway, and "
        f"app_database_url: postgresql:///<database>?host={needs.postgres_socket_dir}&port={needs.postgres_port + 1}",
    )


def _our_roles(cluster: Cluster, roles: set[str]) -> Iterator[Finding]:
    for role in sorted(roles & set(cluster.roles)):
        rights = " (a superuser)" if role in cluster.superusers else ""
        does = "it becomes the app's: it may log in, and loses every other right of its own"
        fix = "choose another app_user, or another app_name"
        yield Finding(
            f"role:{role}", f"PostgreSQL has a role {role} already{rights}", f"cluster {cluster.version}/{cluster.name}", {ADOPT: does}, fix
        )


def _our_databases(cluster: Cluster, needs: Needs) -> Iterator[Finding]:
    """By its owner: in a cluster of ours too, one may have been made by hand."""
    for app in needs.apps:
        owner = cluster.databases.get(app.database, "")
        mine = owner in app.roles
        if owner and not (mine and cluster.ours):
            does = "it becomes the app's: nobody else may connect to it any more; what is in it stays"
            give = f'hand it over with all that is in it: REASSIGN OWNED BY "{owner}" TO "{app.roles[0]}"; ALTER DATABASE … OWNER TO …'
            yield Finding(
                f"database:{app.database}",
                f"PostgreSQL has a database {app.database} already",
                f"cluster {cluster.version}/{cluster.name}, owner {owner}",
                {ADOPT: does} if mine else {},
                "choose another name: app_database: …" + ("" if mine else f"; or {give}"),
            )
