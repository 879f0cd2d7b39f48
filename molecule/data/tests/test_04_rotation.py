"""New secrets while visitors ask: a key that signs, and the password of a database that other hosts use."""

from __future__ import annotations

import re
import secrets
from typing import Any

import pytest
import requests
from helpers import App, must, run_in_app
from states import Visitors, admin, live, must_be_served
from vaults import CONTROL, FIRST, NAME, NEW, OLD, SECOND, Vault, Watch, login, url


@pytest.fixture(scope="module")
def watch(host: Any) -> Watch:
    return Watch(host)


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


def test_a_database_over_tls(host: Any, app: App, vault: Vault, visitors: Visitors, server: dict[str, Any]) -> None:
    """[D1] [D5] From the socket to a password over TLS; without TLS, with another password or from elsewhere nobody enters."""
    data = vault.run("data", "-vvv", **server, app_secrets={"SECRET_KEY": OLD}, app_database_url=url("demo_1", FIRST))
    assert data.status == 0, str(data)
    with visitors(rate=10) as arrivals:
        moved = vault.run("serve", "-vvv", **server, app_secrets={"SECRET_KEY": OLD}, app_database_url=url("demo_1", FIRST))
    assert moved.status == 0, str(moved)
    must_be_served(arrivals, host, app)
    assert "canary-" not in data.output + moved.output, "a secret is in the output"
    assert login(host, "demo_1", FIRST).stdout.split() == ["demo", "demo_1t"]
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
        refused = vault.run(book, **server, app_secrets={"SECRET_KEY": OLD}, app_database_url=url("demo_1", SECOND))
        assert refused.status != 0 and why in " ".join(refused.output.split()) and "Nothing was changed" in refused.output, str(refused)
    assert live(host, app) == before and login(host, "demo_1", FIRST).rc == 0


def test_new_secrets_while_visitors_ask(
    host: Any, app: App, vault: Vault, visitors: Visitors, visitor: requests.Session, server: dict[str, Any], watch: Watch
) -> None:
    """[A11] [S1] Key and password at once: nobody sees an error, a session goes on, and a form that was open before can be sent after."""
    site, password = f"https://{app.domain}", secrets.token_hex(12)
    run_in_app(host, app, f"user add rotator <<'WORD'\n{password}\nWORD")
    page = visitor.get(f"{site}/login")
    entered = visitor.post(
        f"{site}/login", data={"name": "rotator", "password": password, "csrf_token": token(page)}, headers={"Referer": f"{site}/login"}
    )
    assert entered.ok and "Log out" in entered.text, entered.text[:500]
    form = token(visitor.get(f"{site}/"))

    wanted = {"app_secrets": {"SECRET_KEY": NEW, "SECRET_KEY_FALLBACKS": OLD}, "app_database_url": url("demo_2", SECOND)}
    with watch, visitors(rate=10) as arrivals:
        outcome = vault.run("rotate", "-vvv", **server, **wanted)
    assert outcome.status == 0, str(outcome)
    assert "the new one is accepted first" in outcome.output and "demo_1 gives way to demo_2" in outcome.output, str(outcome)
    must_be_served(arrivals, host, app)
    assert "canary-" not in outcome.output, "a secret is in the output"

    sent = visitor.post(f"{site}/entries", data={"text": "Course changed.", "csrf_token": form}, headers={"Referer": f"{site}/"})
    assert sent.ok and "Course changed." in sent.text, f"{sent.status_code} {sent.text[:500]}"
    kept = must(host, "cat /etc/demo/secrets").splitlines()
    assert {f'SECRET_KEY="{NEW}"', f'SECRET_KEY_FALLBACKS="{OLD}"'} < set(kept), kept
    # The former role cannot log in any more; what it made is the app's.
    assert login(host, "demo_1", FIRST).rc != 0 and login(host, "demo_2", SECOND).rc == 0
    assert admin(host, "SELECT rolcanlogin, rolpassword IS NULL FROM pg_authid WHERE rolname = 'demo_1'") == "f|t"


def test_the_backups_log_in_with_the_new_password(host: Any, app: App) -> None:
    """[D3] [A11] The next night is not refused."""
    taken = host.run(f"/usr/local/bin/slipway {app.name} backup create --label rotated")
    assert taken.rc == 0, f"{taken.stdout}{taken.stderr}"


def test_no_secret_was_seen_anywhere(host: Any, app: App, watch: Watch) -> None:
    """[A11] In no list of processes, no journal, no property of a unit, no log, and in no file but root's own two."""
    assert watch.seen and all(CONTROL in words for words in watch.seen), watch.seen
    must(
        host,
        f"logger {CONTROL}; journalctl --sync; systemd-run --quiet --unit={CONTROL} sleep 300; echo {CONTROL} >>/var/log/{CONTROL}.log",
    )
    for command in (
        "journalctl --no-pager --output=export --all",
        "systemctl show --no-pager --all '*'",
        "cat /var/log/*/*.log /var/log/*.log",
    ):
        found = must(host, f"{command} | grep --text canary- || true").splitlines()
        assert found and all(CONTROL in line for line in found), f"{command}: {found}"
    places = "/etc /root /run /srv /tmp /var/lib /var/log"
    lines = must(host, f"grep -rIl --exclude-dir=source -e canary-db -e {NEW} -e {OLD} {places} | xargs stat -c '%U %a %n'").splitlines()
    assert sorted(lines) == ["root 600 /etc/demo/backup-database.service", "root 600 /etc/demo/secrets"], lines
