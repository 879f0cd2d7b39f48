"""PostgreSQL: on its socket only, with a database that belongs to the app alone."""

from __future__ import annotations

import re
from typing import Any

from helpers import App, must


def as_admin(host: Any, query: str, database: str = "postgres") -> str:
    return must(host, f'runuser -u postgres -- psql -XAtq -d {database} -c "{query}"').strip()


def as_app(app: App, query: str) -> str:
    return f'runuser -u {app.name} -- psql -XAtq -v ON_ERROR_STOP=1 -h /run/postgresql -d {app.database} -c "{query}"'


def test_the_server_listens_on_no_tcp_port(host: Any) -> None:
    """[D1 K5] Nobody reaches the database over the network, not even from this host."""
    listening = must(host, "ss -ltnH")
    assert ":5432 " not in listening, listening
    assert as_admin(host, "SHOW listen_addresses") == ""


def test_the_app_reads_and_writes_its_database(host: Any, app: App) -> None:
    """[D1 D5] As its system user, over the socket, without a password."""
    # A temporary table needs a right of the owner that PUBLIC has lost.
    query = "CREATE TEMPORARY TABLE probe (n int); INSERT INTO probe VALUES (41); SELECT n + 1 FROM probe"
    assert must(host, as_app(app, query)).strip() == "42"


def test_only_the_app_enters_its_database(host: Any, app: App) -> None:
    """[D1] Another system user is refused, whatever role it names; another role has no right to connect."""
    for user in ("www-data", "nobody"):
        result = host.run(f"runuser -u {user} -- psql -h /run/postgresql -U {app.name} -d {app.database} -c 'SELECT 1'")
        assert result.rc != 0 and "Peer authentication failed" in result.stderr, f"{user}: {result.stdout}{result.stderr}"
    public = as_admin(host, f"SELECT has_database_privilege('pg_monitor', '{app.database}', 'CONNECT')")
    assert public == "f", "a role that was granted nothing may connect"


def test_the_role_can_do_nothing_beyond_its_database(host: Any, app: App) -> None:
    """[D1] Least privilege, tried rather than read."""
    for query in ("CREATE ROLE slipway_probe", "CREATE DATABASE slipway_probe", "COPY (SELECT 1) TO PROGRAM 'true'"):
        result = host.run(as_app(app, query))
        assert result.rc != 0 and re.search("denied|must be superuser", result.stderr), f"{query}: {result.stdout}{result.stderr}"
    flags = "rolsuper, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls, rolcanlogin"
    assert as_admin(host, f"SELECT {flags} FROM pg_roles WHERE rolname = '{app.name}'") == "f|f|f|f|f|t"


def test_the_database_is_utf8_and_the_apps(host: Any, app: App) -> None:
    """[D1] Owner, encoding, and a sort order that no system upgrade changes."""
    query = (
        "SELECT pg_get_userbyid(datdba), pg_encoding_to_char(encoding), datcollate, datctype"
        f" FROM pg_database WHERE datname = '{app.database}'"
    )
    assert as_admin(host, query) == f"{app.name}|UTF8|C.UTF-8|C.UTF-8"


def test_sockets_are_opened_by_peers_only(host: Any) -> None:
    """[D1] The package's pg_hba.conf says who they are by the kernel's word; nothing is trusted blindly."""
    rules = as_admin(host, "SELECT type, auth_method, error FROM pg_hba_file_rules").splitlines()
    local = [rule for rule in rules if rule.startswith("local|")]
    assert local and set(local) == {"local|peer|"}, rules
    assert not [rule for rule in rules if "trust" in rule or "password" in rule], rules


def test_all_settings_are_in_force(host: Any) -> None:
    """[D1] What the drop-in says is what the server does; no setting waits for a restart."""
    waiting = as_admin(host, "SELECT name, sourcefile FROM pg_settings WHERE pending_restart")
    assert waiting == ""
    broken = as_admin(host, "SELECT sourcefile, name, error FROM pg_file_settings WHERE error IS NOT NULL")
    assert broken == ""
    ours = as_admin(host, "SELECT DISTINCT sourcefile FROM pg_settings WHERE name IN ('listen_addresses', 'log_lock_waits')")
    assert ours.endswith("/conf.d/slipway.conf"), ours
    text = must(host, f"cat {ours}")
    assert "Ansible managed" in text and "# slipway:postgres" in text


def test_the_server_comes_back_after_a_reboot(host: Any) -> None:
    """[D1] Enabled, through the unit that starts the clusters."""
    assert must(host, "systemctl is-enabled postgresql.service").strip() == "enabled"
    assert host.service("postgresql").is_running
