"""What the role postgres writes: who may connect, as whom, and with which settings."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from ansible_collections.slipway.vps.plugins.module_utils.postgres_settings import Client
from render import ROOT, model_of, render, secrets_of, value

CLUSTER = "etc/postgresql/version/cluster"
CONF, HBA, IDENT = f"{CLUSTER}/conf.d/slipway.conf.j2", f"{CLUSTER}/slipway_hba.conf.j2", f"{CLUSTER}/slipway_ident.conf.j2"
UNIT = "etc/systemd/system/postgresql@cluster.service.d/slipway.conf.j2"
#: What the tasks find out on the host.
HOST: dict[str, Any] = {
    "__postgres_cluster": {"version": "17", "configdir": "/etc/postgresql/17/main"},
    "__postgres_plan": {"settings": {"max_connections": "40", "work_mem": "2MB"}},
}
REMOTE = "postgresql://demo_1:Yk3-c0-Bq8rT_vL5nW2s@db.slipway.test/demo?sslmode=verify-full&sslrootcert=/etc/demo/database-ca.pem"


def lines(text: str) -> list[str]:
    """What is neither empty nor a comment, with single blanks."""
    return [" ".join(line.split()) for line in text.splitlines() if line.strip() and not line.startswith("#")]


def test_only_peers_connect_by_default() -> None:
    """[D1] On the socket; the app's system user may be the app's three roles, and nobody else's."""
    assert lines(render("postgres", HBA, app_name="my-app")) == ["local all all peer map=slipway", "local replication all peer map=slipway"]
    assert lines(render("postgres", IDENT, app_name="my-app", postgres_readonly_users=["ada"])) == [
        r"slipway /^(.+)$ \1",
        r"slipway /^(.+)$ \1_readonly",
        r"slipway /^(.+)$ \1_migrate",
        'slipway "ada" "my-app_readonly"',
    ]
    # The same for every app of a host: the one that is deployed last takes nothing from the others.
    assert render("postgres", IDENT, app_name="my-app") == render("postgres", IDENT, app_name="other")
    custom = ["host replication standby 192.0.2.20/32 scram-sha-256"]
    assert lines(render("postgres", HBA, postgres_hba_custom=custom))[2:] == custom


def test_other_hosts_connect_over_tls_with_a_password() -> None:
    """[D1] The networks that are named, to this database, as a member of the app's role."""
    allow = ["192.0.2.10", "198.51.100.0/24", "2001:db8::7", "2001:db8:1::/48"]
    found = lines(render("postgres", HBA, postgres_allow=allow))[2:]
    addresses = ["192.0.2.10/32", "198.51.100.0/24", "2001:db8::7/128", "2001:db8:1::/48"]
    assert found == [f'hostssl "demo",postgres +"demo" {address} scram-sha-256' for address in addresses]
    assert not [line for line in lines(render("postgres", HBA, postgres_allow=allow)) if line.startswith(("host ", "hostnossl"))]


def test_the_firewall_lets_the_same_hosts_through() -> None:
    """[K5] And nobody where nobody is allowed."""
    assert value("postgres", "postgres_firewall_rules") == []
    rules = value("postgres", "postgres_firewall_rules", postgres_allow=["192.0.2.10", "2001:db8:1::/48"])
    assert [(rule["port"], rule["proto"], rule["from"]) for rule in rules] == [
        (5432, "tcp", "192.0.2.10"),
        (5432, "tcp", "2001:db8:1::/48"),
    ]


def test_it_listens_only_where_somebody_is_allowed() -> None:
    """[D1] [K5]"""
    plain = lines(render("postgres", CONF, **HOST))
    assert "listen_addresses = ''" in plain and not [line for line in plain if line.startswith("ssl")]
    assert "hba_file = '/etc/postgresql/17/main/slipway_hba.conf'" in plain
    assert "ident_file = '/etc/postgresql/17/main/slipway_ident.conf'" in plain
    open_to = lines(render("postgres", CONF, **HOST, postgres_allow=["192.0.2.10"], postgres_listen=["192.0.2.1", "::1"]))
    assert "listen_addresses = '192.0.2.1,::1'" in open_to and "ssl = on" in open_to
    assert "ssl_cert_file = '/etc/postgresql/17/main/slipway.pem'" in open_to
    assert "ssl_key_file = '/etc/postgresql/17/main/slipway-key.pem'" in open_to
    assert "password_encryption = 'scram-sha-256'" in plain


def test_the_computed_settings_are_written_and_the_operator_has_the_last_word() -> None:
    """[D1] [D2]"""
    plain = lines(render("postgres", CONF, **HOST))
    assert "max_connections = '40'" in plain and "work_mem = '2MB'" in plain
    custom = {"work_mem": "8MB", "log_connections": True, "search_path": "it's"}
    ours = lines(render("postgres", CONF, **HOST, postgres_settings_custom=custom))
    assert ours[-3:] == ["log_connections = 'on'", "search_path = 'it''s'", "work_mem = '8MB'"]
    assert "work_mem = '2MB'" not in ours and "max_connections = '40'" in ours


@pytest.mark.parametrize("template", [CONF, HBA, IDENT, UNIT])
def test_each_file_says_whose_it_is(template: str) -> None:
    text = render("postgres", template, **HOST, postgres_allow=["192.0.2.10"])
    assert "Ansible managed" in text and "\n# slipway:postgres\n" in text
    assert "True" not in text and "False" not in text


def test_it_starts_again_when_it_was_killed_and_not_when_it_was_stopped() -> None:
    """[D1] `on-failure` would loop over a configuration that it refuses."""
    unit = lines(render("postgres", UNIT, **HOST))
    assert "Restart=on-abnormal" in unit
    assert "RestartForceExitStatus=SIGKILL SIGABRT SIGBUS SIGFPE SIGILL SIGSEGV" in unit
    (limit,) = [line for line in unit if line.startswith("StartLimitIntervalSec=")]
    assert unit.index(limit) < unit.index("[Service]"), "systemd reads it in [Unit] only"


@pytest.mark.parametrize(
    ("scenario", "serves", "packages"),
    [
        ({}, True, ["postgresql", "python3-psycopg2"]),
        ({"postgres_version": "17"}, True, ["postgresql-17", "python3-psycopg2"]),
        ({"postgres_version": 16, "postgres_packages_custom": ["x"]}, True, ["postgresql-16", "python3-psycopg2", "x"]),
        # Another host's, or a managed one: nothing of a server here.
        ({"app_database_url": REMOTE}, False, ["postgresql-client", "python3-psycopg2"]),
        ({"app_database_url": REMOTE, "postgres_allow": ["192.0.2.10"]}, True, ["postgresql", "python3-psycopg2"]),
    ],
)
def test_a_server_is_where_the_url_leads(scenario: dict[str, Any], serves: bool, packages: list[str]) -> None:
    """[D1] On this host by default; elsewhere where app_database_url says so."""
    model = model_of(**scenario)
    assert model["database"]["serves"] is model["machine"]["serves_database"] is serves
    assert value("postgres", "__postgres_wanted", **scenario) == packages


@pytest.mark.parametrize(
    ("candidate", "missing"),
    [
        ({"stdout": "postgresql-17:\n  Installed: (none)\n  Candidate: 17.5-1\n  Version table:"}, False),
        ({"stdout": "postgresql-17:\n  Installed: (none)\n  Candidate: (none)\n"}, True),
        ({"stdout": ""}, True),
        # Not asked: no version is wanted.
        ({"skipped": True}, False),
    ],
)
def test_a_version_that_nobody_has_is_noticed(candidate: dict[str, Any], missing: bool) -> None:
    """[D1] As apt-cache says it, also for a name that it has never heard of."""
    assert value("postgres", "__postgres_missing", __postgres_candidate=candidate) is missing


def test_a_host_for_others_has_more_memory_for_itself() -> None:
    assert value("postgres", "postgres_memory_share") == 0.25 and value("postgres", "postgres_app_hosts") == 1
    open_to = {"postgres_allow": ["192.0.2.10", "192.0.2.11"]}
    assert value("postgres", "postgres_memory_share", **open_to) == 0.75 and value("postgres", "postgres_app_hosts", **open_to) == 2


def test_the_password_is_in_the_secret_environment_only() -> None:
    """[A11] The readable file has the URL without it."""
    shown = model_of(app_database_url=REMOTE)["environment"]
    assert "Yk3" not in str(shown) and shown["DATABASE_URL"].startswith("postgresql://demo_1@db.slipway.test/demo?")
    assert secrets_of(app_database_url=REMOTE, app_secrets={"K": "v"}).environment == {"DATABASE_URL": REMOTE, "K": "v"}
    written = value("release", "app_secret.environment | slipway.vps.environment_file", app_database_url=REMOTE)
    assert "Yk3-c0-Bq8rT_vL5nW2s" in str(written)
    # Said in app_secrets it is the same database; another one beside it is refused (tests/unit/test_contract_environment.py).
    assert secrets_of(app_secrets={"DATABASE_URL": REMOTE}).environment == {"DATABASE_URL": REMOTE}
    assert secrets_of(app_secrets={"K": "v"}).environment == {"K": "v"}
    assert model_of()["environment"]["DATABASE_URL"] == "postgresql:///demo?host=/run/postgresql"


def test_migrations_are_not_cut_off_by_the_apps_limits() -> None:
    """[A13] The role for people has none on a statement's time; the deploy lifts them for its session (deploy_migrate.py)."""
    app, migrate = (value("postgres", f"postgres_limits_{name}") for name in ("app", "migrate"))
    assert set(app) == set(migrate) == {"lock_timeout", "statement_timeout", "idle_in_transaction_session_timeout"}
    assert migrate["statement_timeout"] == migrate["idle_in_transaction_session_timeout"] == "0"
    assert value("postgres", "postgres_limits_readonly")["default_transaction_read_only"] == "on"
    text = (ROOT / "plugins/module_utils/deploy_migrate.py").read_text()
    assert "-cstatement_timeout=0 -cidle_in_transaction_session_timeout=0" in text


def test_the_sum_is_made_of_what_gunicorn_is_told() -> None:
    """[D2] Of each app of the machine, after what its environment overrules: the role hands the module the model as it is."""
    (task,) = [task for task in yaml.safe_load((ROOT / "roles/postgres/tasks/plan.yml").read_text()) if "slipway.vps.postgres_plan" in task]
    assert task["slipway.vps.postgres_plan"]["apps"] == "{{ app.machine.apps }}"
    told = {"server_workers": 3, "server_threads": "2", "server_worker_class": "gthread", "app_database_pool": "7"}
    apps = model_of(**told, app_env={"WEB_CONCURRENCY": 5}, postgres_app_hosts=2)["machine"]["apps"]
    (client,) = map(Client.of, apps)
    assert (client.server["workers"], client.server["threads"], client.server["worker_class"]) == ("5", 2, "gthread")
    assert (client.server["worker_memory"], client.server["memory_share"], client.hosts, client.pool) == (128, 0.5, 2, 7)
