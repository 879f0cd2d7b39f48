"""What the tls role writes, line by line where a line matters."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.slipway.vps.plugins.module_utils.slipway.tls.config import Config
from render import render

CONFIG, SERVICE, TIMER = "etc/app/tls.json.j2", "etc/systemd/system/app-tls.service.j2", "etc/systemd/system/app-tls.timer.j2"
HOOK = "etc/letsencrypt/renewal-hooks/deploy/slipway.j2"
SECRETS = ("etc/app/tls-certbot.ini.j2", "etc/app/tls-dns.ini.j2")


@pytest.mark.parametrize("template", [CONFIG, SERVICE, TIMER, HOOK, *SECRETS])
def test_each_file_says_whose_it_is(template: str) -> None:
    text = render("tls", template)
    assert "Ansible managed" in text and "slipway:tls" in text


def config(**scenario: Any) -> Any:
    """The program's own reading of what the role writes."""
    return Config.parse(render("tls", CONFIG, **scenario))


def test_the_program_understands_its_configuration() -> None:
    found = config()
    assert found.app == "demo" and found.source == "acme" and found.names == ("demo.slipway.test", "www.demo.slipway.test")
    assert found.directory_url == "https://acme-v02.api.letsencrypt.org/directory" and found.email == "ops@slipway.test"
    assert (found.certificate, found.key) == (Path("/etc/ssl/demo/fullchain.pem"), Path("/etc/ssl/demo/privkey.pem"))
    assert found.status == Path("/var/lib/slipway/demo-tls.json") and found.webroot == Path("/var/lib/demo-acme")
    assert (found.preflight, found.dry_run_first, found.retry_seconds) == (True, False, 300)
    assert (found.certbot_config, found.dns_plugin, found.dns_credentials, found.resolvers) == ("", "", "", ())


def test_text_from_the_command_line_is_what_it_means() -> None:
    """-e brings text."""
    found = config(tls_preflight_enabled="no", tls_dry_run_first="yes", tls_retry_seconds="60", tls_dns_propagation_seconds="30")
    assert (found.preflight, found.dry_run_first, found.retry_seconds, found.dns_propagation_seconds) == (False, True, 60, 30)


def test_secrets_are_named_and_not_written() -> None:
    """[E2] The configuration is readable for all; what is secret has a file of its own."""
    secret = {
        "tls_eab_kid": "kid-1",
        "tls_eab_hmac_key": "zWNDZM6e",
        "tls_dns_plugin": "cloudflare",
        "tls_dns_credentials": "token = s3cret",
    }
    text = render("tls", CONFIG, **secret)
    assert "zWNDZM6e" not in text and "s3cret" not in text
    found = json.loads(text)
    assert (found["certbot_config"], found["dns_credentials"]) == ("/etc/demo/tls-certbot.ini", "/etc/demo/tls-dns.ini")
    assert "eab-kid = kid-1\neab-hmac-key = zWNDZM6e\n" in render("tls", SECRETS[0], **secret)
    assert render("tls", SECRETS[1], **secret).endswith("\ntoken = s3cret\n")


def test_your_own_certificate() -> None:
    assert config(tls_certificate_file="blog.pem").source == "own"


def test_the_timer_and_its_service() -> None:
    """[E2] Trying is no failure of the unit, an alarm is; it may write where certificates are, and nowhere else."""
    service = render("tls", SERVICE).splitlines()
    assert "ExecStart=/usr/local/bin/slipway demo tls run --journal" in service
    assert "SuccessExitStatus=75" in service and "ProtectSystem=strict" in service
    assert "ReadWritePaths=/etc/letsencrypt /etc/ssl/demo /var/lib/demo-acme /var/lib/slipway" in service
    timer = render("tls", TIMER, tls_timer_calendar="hourly").splitlines()
    assert "OnCalendar=hourly" in timer and "RandomizedDelaySec=60" in timer


def test_the_hook_is_for_this_certificate_and_not_for_our_own_renewals(tmp_path: Path) -> None:
    """[E2] certbot calls it for every certificate of the host, and within the program's own run."""
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\necho called $*\n")
    program.chmod(0o755)
    hook = tmp_path / "hook"
    hook.write_text(render("tls", HOOK).replace("/usr/local/bin/slipway", str(program)))

    def call(**environment: str) -> str:
        return subprocess.run(["sh", str(hook)], env=environment, capture_output=True, text=True, check=True).stdout.strip()

    assert call(RENEWED_LINEAGE="/etc/letsencrypt/live/demo") == "called demo tls deploy"
    assert call(RENEWED_LINEAGE="/etc/letsencrypt/live/other") == ""
    assert call(RENEWED_LINEAGE="/etc/letsencrypt/live/demo", SLIPWAY_TLS="demo") == ""
