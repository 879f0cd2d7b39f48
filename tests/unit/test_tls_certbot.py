"""What certbot is told, and that one runs at a time."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core import lock, x509
from ansible_collections.slipway.vps.plugins.module_utils.slipway.tls import certbot, keeper

from .tls_desk import URL, config


def test_certbot_is_asked_for_the_names_by_webroot() -> None:
    """[E2] ECDSA P-256, all names; certbot's own timer leaves it alone."""
    words = certbot.certbot_arguments(config(), "", dry_run=False)
    text = " ".join(words)
    assert "--domains blog.example.com,www.blog.example.com --renew-with-new-domains --no-autorenew" in text
    assert "--key-type ecdsa --elliptic-curve secp256r1 --webroot --webroot-path /nowhere/webroot --force-renewal" in text
    assert f"--server {URL}" in text and "--config" not in words
    assert certbot.certbot_arguments(config(), "", dry_run=True)[-1] == "--dry-run" and "--force-renewal" not in certbot.certbot_arguments(
        config(), "", True
    )


def test_certbot_is_asked_by_dns() -> None:
    """[E2] The plugin, its credentials and its time; no webroot."""
    changes: dict[str, Any] = {"dns_plugin": "rfc2136", "dns_credentials": "/etc/blog/tls-dns.ini", "dns_propagation_seconds": 30}
    text = " ".join(certbot.certbot_arguments(config(**changes), "", dry_run=False))
    assert "--authenticator dns-rfc2136 --dns-rfc2136-credentials /etc/blog/tls-dns.ini --dns-rfc2136-propagation-seconds 30" in text
    assert "webroot" not in text
    assert "credentials" not in " ".join(certbot.certbot_arguments(config(dns_plugin="route53"), "", dry_run=False))


def test_secrets_are_in_a_file_and_profiles_where_certbot_knows_them() -> None:
    """[E2] Nothing secret in the process list."""
    words = certbot.certbot_arguments(
        config(certbot_config="/etc/blog/tls-certbot.ini", profile="shortlived"), "--preferred-profile", False
    )
    assert words[words.index("--config") + 1] == "/etc/blog/tls-certbot.ini" and not any("eab" in word for word in words)
    assert words[words.index("--preferred-profile") + 1] == "shortlived"
    assert "shortlived" not in certbot.certbot_arguments(config(profile="shortlived"), "", False)


@pytest.mark.parametrize("change", [{"source": "buy"}, {"names": []}, {"retry_seconds": 0}, {"retry_seconds": "soon"}, {"names": None}])
def test_an_unusable_configuration_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(x509.CertificateError, match="not usable"):
        config(**change)


def test_an_account_that_the_ca_does_not_know_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """[E2] The CA was built anew: once aside, once again, and not in a circle."""
    monkeypatch.setattr(certbot, "ACCOUNTS", tmp_path / "accounts")
    folder = tmp_path / "accounts/ca.example/directory"
    folder.mkdir(parents=True)
    said = [(1, "The detail."), (0, "")]
    monkeypatch.setattr(certbot, "attempt", lambda *_, **__: said.pop(0))
    monkeypatch.setattr(certbot, "appended", lambda *_: "acme.messages.Error: urn:ietf:params:acme:error:accountDoesNotExist :: No")
    assert keeper.Keeper(config(tmp_path)).certbot("", dry_run=False) is None
    assert said == [] and [path.name.partition("-")[0] for path in folder.parent.iterdir()] == ["directory.unknown"]
    said = [(1, "The detail.")]
    failure = keeper.Keeper(config(tmp_path)).certbot("", dry_run=False)
    assert failure and failure.kind == "refused", "there is no account to put aside"


def test_two_apps_ask_one_after_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """[E2] Certbot refuses to run twice on a machine: the second waits for the first, and gives up in bounded time."""
    running: list[str] = []
    most: list[int] = []

    def slow(argv: list[str], **words: Any) -> tuple[int, str]:
        running.append(words["environment"]["SLIPWAY_TLS"])
        most.append(len(running))
        time.sleep(0.3)
        running.pop()
        return 0, ""

    monkeypatch.setattr(certbot, "attempt", slow)
    monkeypatch.setattr(lock, "PAUSE", 0.01)
    apps = [certbot.Certbot(config(tmp_path, app=app, status=str(tmp_path / f"{app}-tls.json"))) for app in ("blog", "shop")]
    with ThreadPoolExecutor() as pool:
        assert [*pool.map(lambda app: app.request("", False), apps)] == [None, None]
    assert most == [1, 1]
    monkeypatch.setattr(certbot, "CERTBOT_PATIENCE", 0)
    with lock.locked(tmp_path / "certbot.lock", "run of certbot"):
        failure = apps[1].request("", False)
    assert failure and failure.kind == "busy" and f"pid {os.getpid()}" in failure.reason
