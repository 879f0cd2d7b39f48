# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""PostgreSQL's clusters: whose they are, what is in them, and who is connected now."""

from __future__ import annotations

import json
from typing import Any

from ..facts import Cluster
from ..needs import Needs
from .host import Host
from .names import has_mark

#: A line of conf.d/slipway.conf on a server that serves others, too (roles/postgres).
ADOPTED = "# slipway: adopted"
_ASK = """SELECT json_build_object(
'standby', pg_is_in_recovery(),
'used', array_remove(ARRAY[
 (SELECT 'listens on ' || setting FROM pg_settings WHERE name = 'listen_addresses' AND setting NOT IN ('', 'localhost')),
 (SELECT 'tables in postgres: ' || count(*) FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
  WHERE relkind IN ('r', 'p', 'm') AND nspname !~ '^pg_' AND nspname <> 'information_schema' HAVING count(*) > 0),
 (SELECT 'replication slots: ' || count(*) FROM pg_replication_slots HAVING count(*) > 0),
 CASE WHEN pg_is_in_recovery() THEN 'a standby of another server' END], NULL),
'databases', (SELECT json_object_agg(datname, pg_get_userbyid(datdba)) FROM pg_database WHERE NOT datistemplate),
'roles', (SELECT json_agg(rolname) FROM pg_roles WHERE rolname !~ '^pg_'),
'superusers', (SELECT json_agg(rolname) FROM pg_roles WHERE rolsuper),
'clients', (SELECT json_object_agg(who, number) FROM (SELECT coalesce(usename, '?') || '@' || datname AS who,
 count(*) AS number FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname IS NOT NULL GROUP BY 1) AS sessions))"""


def clusters(host: Host, needs: Needs) -> list[Cluster]:
    """All of them; what is in one is asked of the one that we would use."""
    try:
        listed = json.loads(host.output("pg_lsclusters", "-j") or "[]")
    except ValueError:
        host.unknown.append("pg_lsclusters: its answer cannot be read")
        return []
    return [_cluster(host, one, needs) for one in listed]


def _cluster(host: Host, listed: dict[str, Any], needs: Needs) -> Cluster:
    settings = host.text(f"{listed.get('configdir')}/conf.d/slipway.conf")
    port, running = int(listed.get("port") or 0), bool(int(listed.get("running") or 0))
    found = Cluster(
        *(str(listed.get("version")), str(listed.get("cluster")), port, running),
        ours=has_mark(host, f"{listed.get('configdir')}/conf.d/slipway.conf"),
        adopted=ADOPTED in settings,
    )
    if port != needs.postgres_port or not running:
        return found
    said = _ask(host, needs, port)
    return Cluster(
        *(found.version, found.name, port, running, found.ours, found.adopted),
        readable=said is not None,
        databases=(said or {}).get("databases") or {},
        roles=(said or {}).get("roles") or [],
        superusers=(said or {}).get("superusers") or [],
        clients=(said or {}).get("clients") or {},
        used=(said or {}).get("used") or [],
        standby=bool((said or {}).get("standby")),
    )


def _ask(host: Host, needs: Needs, port: int) -> dict[str, Any] | None:
    """What its superuser sees; None when the server does not let it in without a password."""
    words = ("psql", "-XAtqw", "-h", needs.postgres_socket_dir, "-p", str(port), "-d", "postgres", "-c", _ASK)
    status, said = host.run("runuser", "-u", "postgres", "--", *words)
    try:
        return dict(json.loads(said)) if status == 0 else None
    except (ValueError, TypeError):
        return None
