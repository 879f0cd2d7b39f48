"""New secrets while visitors ask: a key that signs, and the password of a database that other hosts use."""

from __future__ import annotations

import json
import re
import secrets
import subprocess
from pathlib import Path
from typing import Any

import pytest
import requests
from deploys import ROOT, Outcome, invocation
from helpers import App, must, run_in_app
from states import Visitors, admin, live, must_be_served

NAME = "db.data.slipway.test"
OLD = "canary-3f1c0a5b7d9e8462a1b3c5d7e9f0123456789"
NEW = "canary-77c0de5b7d9e8462a1b3c5d7e9f0123456789"


class Vault:
    """What the operator has in the vault: an inventory beside the scenario's own, which wins."""

    def __init__(self, folder: Path, host: Any) -> None:
        self.folder, self.host = folder, host
        (folder / "group_vars/app_servers").mkdir(parents=True)
        (folder / "hosts.yml").write_text("app_servers: {hosts: {}}\n")

    def run(self, book: str, *words: str, **variables: Any) -> Outcome:
        (self.folder / "group_vars/app_servers/vault.yml").write_text(json.dumps(variables))
        command, environment = invocation(ROOT / f"playbooks/{book}.yml", self.host)
        inventory = f"{environment['ANSIBLE_INVENTORY']},{self.folder}"
        result = subprocess.run(
            ["nice", "-n", "19", *command, *words],
            cwd=ROOT,
            env={**environment, "ANSIBLE_INVENTORY": inventory},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
            timeout=600,
        )
        return Outcome(result.returncode, result.stdout)


@pytest.fixture(scope="module")
def vault(tmp_path_factory: pytest.TempPathFactory, host: Any) -> Vault:
    return Vault(tmp_path_factory.mktemp("vault"), host)


# --- SECRET_KEY -----------------------------------------------------------------------------------


def token(page: requests.Response) -> str:
    found = re.search(r'name="csrf_token"[^>]*value="([^"]+)"', page.text)
    assert found, f"{page.status_code} {page.text[:500]}"
    return found[1]


def test_a_key_that_would_log_everybody_out_is_refused(host: Any, app: App, vault: Vault) -> None:
    """[A11] [K10] Nothing changes, and no secret is shown."""
    before = live(host, app)
    refused = vault.run("rotate", "-vvv", app_secrets={"SECRET_KEY": NEW})
    assert refused.status != 0 and "SECRET_KEY_FALLBACKS: <the old key>" in refused.output, str(refused)
    assert live(host, app) == before and "canary" not in refused.output


def test_a_new_key_while_visitors_ask(host: Any, app: App, vault: Vault, visitors: Visitors, visitor: requests.Session) -> None:
    """[A11] [S1] Nobody sees an error, a session goes on, and a form that was open before can be sent after."""
    site, password = f"https://{app.domain}", secrets.token_hex(12)
    run_in_app(host, app, f"user add rotator <<'WORD'\n{password}\nWORD")
    page = visitor.get(f"{site}/login")
    entered = visitor.post(
        f"{site}/login", data={"name": "rotator", "password": password, "csrf_token": token(page)}, headers={"Referer": f"{site}/login"}
    )
    assert entered.ok and "Log out" in entered.text, entered.text[:500]
    form = token(visitor.get(f"{site}/"))

    with visitors(rate=10) as arrivals:
        outcome = vault.run("rotate", "-vvv", app_secrets={"SECRET_KEY": NEW, "SECRET_KEY_FALLBACKS": OLD})
    assert outcome.status == 0 and "the new one is accepted first" in outcome.output, str(outcome)
    must_be_served(arrivals, host, app)
    assert "canary-3f" not in outcome.output and "canary-77" not in outcome.output, "a secret is in the output"
    assert must(host, "cat /etc/demo/secrets") == f'SECRET_KEY="{NEW}"\nSECRET_KEY_FALLBACKS="{OLD}"\n'

    sent = visitor.post(f"{site}/entries", data={"text": "Course changed.", "csrf_token": form}, headers={"Referer": f"{site}/"})
    assert sent.ok and "Course changed." in sent.text, f"{sent.status_code} {sent.text[:500]}"
    # A second run finds nothing to do.
    again = vault.run("rotate", app_secrets={"SECRET_KEY": NEW, "SECRET_KEY_FALLBACKS": OLD})
    assert again.status == 0 and "the app has the secrets of the vault" in again.output and "changed=0" in again.output, str(again)


# --- The database's password ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, address: str) -> dict[str, Any]:
    """A database that is used over TLS: this host's, by the name that other hosts would use."""
    folder = tmp_path_factory.mktemp("tls")
    certificate, key = folder / "db.pem", folder / "db-key.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30"),
            *("-subj", f"/CN={NAME}", "-addext", f"subjectAltName=DNS:{NAME}", "-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )
    return {
        "app_secrets": {"SECRET_KEY": NEW, "SECRET_KEY_FALLBACKS": OLD},
        # This host is both sides: it has addresses of its own on the network and of the loopback.
        "postgres_allow": [address, "127.0.0.1"],
        "postgres_tls_certificate_file": str(certificate),
        "postgres_tls_key_file": str(key),
        "postgres_ca_file": str(certificate),
        "postgres_memory_share": 0.25,
        "postgres_app_hosts": 1,
    }


def url(role: str, password: str) -> str:
    return f"postgresql://{role}:{password}@{NAME}/demo?sslmode=verify-full&sslrootcert=/etc/demo/database-ca.pem"


def login(host: Any, role: str, password: str, mode: str = "verify-full") -> Any:
    return host.run(
        f"PGPASSWORD={password} psql -XAtqw 'host={NAME} dbname=demo user={role} sslmode={mode} sslrootcert=/etc/demo/database-ca.pem'"
        " -c 'SELECT concat(session_user, current_user, ssl) FROM pg_stat_ssl WHERE pid = pg_backend_pid()'"
    )


FIRST, SECOND = "canary-db-1-5b7d9e8462a1", "canary-db-2-c5d7e9f01234"


def test_a_database_over_tls(host: Any, app: App, vault: Vault, visitors: Visitors, server: dict[str, Any]) -> None:
    """[D1] [D5] From the socket to a password over TLS; without TLS, with another password or from elsewhere nobody enters."""
    with visitors(rate=10) as arrivals:
        data = vault.run("data", "-vvv", **server, app_database_url=url("demo_1", FIRST))
        assert data.status == 0, str(data)
        moved = vault.run("deploy", "-vvv", **server, app_database_url=url("demo_1", FIRST))
    assert moved.status == 0, str(moved)
    # PostgreSQL restarted for listen_addresses: a request of that moment may fail. After it none did.
    assert not [answer for answer in arrivals.answers[-20:] if answer.said not in ("200", "201")], dict(arrivals.counts())
    assert "canary-db" not in data.output + moved.output, "a password is in the output"
    assert login(host, "demo_1", FIRST).stdout.strip() == "demo_1demot"
    for role, password, mode, why in (
        ("demo_1", "wrong", "verify-full", "password authentication failed"),
        ("demo_1", FIRST, "disable", "no encryption"),
        ("demo", FIRST, "verify-full", "password authentication failed"),
        ("postgres", FIRST, "verify-full", "no pg_hba.conf entry"),
    ):
        refused = login(host, role, password, mode)
        assert refused.rc != 0 and why in refused.stderr, f"{role} {mode}: {refused.stdout}{refused.stderr}"
    text = must(host, f"cat {app.current}/environment")
    assert "canary" not in text and f"postgresql://demo_1@{NAME}/demo" in text
    assert int(admin(host, "SELECT count(*) FROM pg_stat_activity WHERE usename = 'demo_1'")) > 0


def test_the_same_role_with_another_password_is_refused(host: Any, app: App, vault: Vault, server: dict[str, Any]) -> None:
    """[A11] By the rotation, and by the layer itself: the live release would not get in any more."""
    before = live(host, app)
    for book, why in (("rotate", "Use the other one of two roles"), ("data", "demo_1 has another password")):
        refused = vault.run(book, **server, app_database_url=url("demo_1", SECOND))
        assert refused.status != 0 and why in " ".join(refused.output.split()) and "Nothing was changed" in refused.output, str(refused)
    assert live(host, app) == before and login(host, "demo_1", FIRST).rc == 0


def test_a_new_password_while_visitors_ask(host: Any, app: App, vault: Vault, visitors: Visitors, server: dict[str, Any]) -> None:
    """[A11] [S1] Nobody sees an error; the former role cannot log in any more, and what it made is the app's."""
    with visitors(rate=10) as arrivals:
        outcome = vault.run("rotate", "-vvv", **server, app_database_url=url("demo_2", SECOND))
    assert outcome.status == 0 and "demo_1 gives way to demo_2" in outcome.output, str(outcome)
    must_be_served(arrivals, host, app)
    assert "canary-db" not in outcome.output, "a password is in the output"
    assert login(host, "demo_1", FIRST).rc != 0 and login(host, "demo_2", SECOND).rc == 0
    assert admin(host, "SELECT rolcanlogin, rolpassword IS NULL FROM pg_authid WHERE rolname = 'demo_1'") == "f|t"
    assert "canary-db" not in must(host, "cat /var/log/postgresql/postgresql-*-main.log")
    again = vault.run("rotate", **server, app_database_url=url("demo_2", SECOND))
    assert again.status == 0 and "changed=0" in again.output, str(again)


def test_a_database_that_is_somebody_elses(host: Any, vault: Vault, server: dict[str, Any]) -> None:
    """[D1] [D5] Without postgres_allow it is like a managed one: nothing of the server is touched, and the login is tried."""
    began = admin(host, "SELECT pg_conf_load_time()")
    client = {name: server[name] for name in ("app_secrets", "postgres_ca_file")}
    fine = vault.run("data", **client, app_database_url=url("demo_2", SECOND))
    assert fine.status == 0, str(fine)
    refused = vault.run("data", "-vvv", **client, app_database_url=url("demo_2", FIRST))
    assert refused.status != 0 and "password authentication failed" in " ".join(refused.output.split()), str(refused)
    assert "canary-db" not in refused.output and admin(host, "SELECT pg_conf_load_time()") == began


def test_back_to_the_socket(host: Any, app: App, vault: Vault, server: dict[str, Any]) -> None:
    """[D1] Without postgres_allow nobody is let in over the network, and the app is a peer again."""
    for book in ("deploy", "data"):
        outcome = vault.run(book, app_secrets=server["app_secrets"])
        assert outcome.status == 0, str(outcome)
    assert ":5432 " not in must(host, "ss -ltnH") and login(host, "demo_2", SECOND).rc != 0
    assert "DATABASE_URL" not in must(host, "cat /etc/demo/secrets")
