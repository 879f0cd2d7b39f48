"""Your own certificate and the way back, by the playbook."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from deploys import playbook
from helpers import must
from ladder import ALIAS, DOMAIN, FULLCHAIN, HOST, Ladder

NEW = f"new.{DOMAIN}"


def made(folder: Path, name: str, *names: str) -> dict[str, str]:
    """A certificate of one's own, as the two variables name it."""
    words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "90"]
    words += ["-subj", f"/CN={name}", "-addext", "subjectAltName=" + ",".join(f"DNS:{one}" for one in names)]
    files = {"tls_certificate_file": str(folder / f"{name}.pem"), "tls_key_file": str(folder / f"{name}.key")}
    subprocess.run([*words, "-out", files["tls_certificate_file"], "-keyout", files["tls_key_file"]], check=True, capture_output=True)
    return files


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("own")


def test_what_does_not_fit_is_refused_before_anything_changes(ladder: Ladder, folder: Path) -> None:
    """[E2] Another certificate's key, and a name that is missing: each is named with its variable; no role runs."""
    before = ladder.served()
    files = {**made(folder, "short", DOMAIN), "tls_key_file": made(folder, "other", DOMAIN)["tls_key_file"]}
    outcome = playbook("edge", ladder.host, files)
    assert outcome.status != 0
    assert "tls_key_file belongs to another certificate than CN=short" in outcome.output, str(outcome)
    assert f"tls_certificate_file is for {DOMAIN}, and not for {ALIAS}" in outcome.output, str(outcome)
    assert "BEGIN" not in outcome.output and "slipway.vps.nginx" not in outcome.output, str(outcome)
    assert ladder.served() == before


def test_your_own_certificate_is_served_and_watched(ladder: Ladder, folder: Path) -> None:
    """[E2] A wildcard for the alias, the name itself for the domain; the CA is left alone."""
    orders = ladder.orders()
    outcome = playbook("edge", ladder.host, made(folder, "own", DOMAIN, f"*.{DOMAIN}"))
    assert outcome.status == 0, str(outcome)
    assert must(ladder.host, f"readlink {FULLCHAIN}").strip().endswith("/own.pem")
    assert ladder.served() == ladder.stored() and ladder.names() == {DOMAIN, f"*.{DOMAIN}"}
    status = ladder.status()
    assert status["state"] == "ok" and status["certificate"]["source"] == "own", ladder.standing()
    old = ladder.program("run --json", "faketime -f +61d")
    assert old.rc == 1 and "tls_certificate_file" in old.stdout and ladder.orders() == orders, old.stdout


def test_back_to_the_ca_with_a_domain_more(ladder: Ladder) -> None:
    """[E2] The two variables go, a name comes: one run, and the CA's certificate has all of them."""
    ladder.dns(f"add {NEW} 1 A {HOST}")
    outcome = playbook("edge", ladder.host, {"app_domains": [DOMAIN, ALIAS, NEW]})
    assert outcome.status == 0, str(outcome)
    assert must(ladder.host, f"readlink {FULLCHAIN}").strip() == "/etc/letsencrypt/live/demo/fullchain.pem"
    assert ladder.served() == ladder.stored() and ladder.names() == {DOMAIN, ALIAS, NEW}, ladder.standing()
