# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""Certbot: the words it is given, the lock around it, and what it leaves in its log."""

from __future__ import annotations

import os
import sys
import time
import urllib.parse
from pathlib import Path

from ..core.clock import stamp
from ..core.lock import LockedError, locked
from ..core.run import attempt
from .attempts import Failure, acme_error, classify
from .config import LETSENCRYPT, Config

#: Seconds for one run of certbot.
CERTBOT_TIMEOUT = 900
#: Seconds to wait for another app's certbot on this machine: one run, and half a minute.
CERTBOT_PATIENCE = CERTBOT_TIMEOUT + 30
ACCOUNTS = LETSENCRYPT / "accounts"
LOG = Path("/var/log/letsencrypt/letsencrypt.log")
PATIENT = Path(__file__).with_name("patient.py")


def certbot_arguments(config: Config, profile_option: str, dry_run: bool) -> list[str]:
    """The words for certbot. What is secret stands in files."""
    arguments = ["certonly", "--non-interactive", "--agree-tos", "--email", config.email, "--server", config.directory_url]
    if config.certbot_config:
        arguments += ["--config", config.certbot_config]
    # Only this program renews: certbot's own timer knows no waiting times, and would renew a short-lived one at every run.
    arguments += ["--cert-name", config.app, "--domains", ",".join(config.certified), "--renew-with-new-domains", "--no-autorenew"]
    arguments += ["--key-type", "ecdsa", "--elliptic-curve", "secp256r1"]
    if config.dns_plugin:
        arguments += ["--authenticator", f"dns-{config.dns_plugin}"]
        if config.dns_credentials:
            arguments += [f"--dns-{config.dns_plugin}-credentials", config.dns_credentials]
        if config.dns_propagation_seconds:
            arguments += [f"--dns-{config.dns_plugin}-propagation-seconds", str(config.dns_propagation_seconds)]
    else:
        arguments += ["--webroot", "--webroot-path", str(config.webroot)]
    if config.profile and profile_option:
        arguments += [profile_option, config.profile]
    # Asked for only when needed, so it is asked for with force: by itself certbot would keep one of another directory.
    return [*arguments, "--dry-run" if dry_run else "--force-renewal"]


def profile_option() -> str:
    """How this certbot is told of a profile; empty when it knows none (before 4.0). Profiles come and go: preferred, not required."""
    _, text = attempt(["certbot", "--help", "all"])
    return next((option for option in ("--preferred-profile", "--required-profile") if option in text), "")


def appended(path: Path, size: int) -> str:
    """What was added to a log that had ``size`` bytes."""
    try:
        with path.open("rb") as handle:
            end = handle.seek(0, os.SEEK_END)
            handle.seek(size if size <= end else 0)
            return handle.read(4 * 1024 * 1024).decode(errors="replace")
    except OSError:
        return ""


def account_folder(directory_url: str) -> Path:
    """Where certbot keeps the accounts of a CA."""
    parts = urllib.parse.urlsplit(directory_url)
    return ACCOUNTS / f"{parts.netloc}{parts.path}"


def forget_account(directory_url: str) -> Path | None:
    """Put the accounts aside that a CA does not know any more (it was built anew): certbot would offer them for ever.

    Returns where they are now; None when there were none.
    """
    folder = account_folder(directory_url)
    if not folder.is_dir():
        return None
    aside = folder.with_name(f"{folder.name}.unknown-{stamp(time.time())}")
    folder.rename(aside)
    return aside


class Certbot:
    """Certbot for one app."""

    def __init__(self, config: Config) -> None:
        self.config = config
        #: Where the accounts are that the CA did not know.
        self.forgotten: Path | None = None

    def request(self, profile_option: str, dry_run: bool) -> Failure | None:
        """Ask the CA by certbot; None when it succeeded.

        Certbot refuses to run twice on a machine ("Another instance of Certbot is already running"): a lock that all apps share
        is waited for instead, so that two apps whose timers meet both get their certificate.
        """
        try:
            # Beside the status of every app: the unit may write there.
            with locked(self.config.status.with_name("certbot.lock"), "run of certbot", CERTBOT_PATIENCE):
                return self._request(profile_option, dry_run)
        except LockedError as error:
            return Failure("busy", str(error))

    def _request(self, profile_option: str, dry_run: bool) -> Failure | None:
        size = LOG.stat().st_size if LOG.exists() else 0
        # -I: this package's own certbot.py is not the one that it imports.
        argv = [sys.executable, "-I", str(PATIENT), *certbot_arguments(self.config, profile_option, dry_run)]
        environment = {"SLIPWAY_TLS": self.config.app}
        status, said = attempt(argv, timeout=CERTBOT_TIMEOUT, environment=environment)
        if status != 0 and "error:accountDoesNotExist" in acme_error(appended(LOG, size)):
            self.forgotten = forget_account(self.config.directory_url)
            if self.forgotten:
                status, said = attempt(argv, timeout=CERTBOT_TIMEOUT, environment=environment)
        return None if status == 0 else classify(said, appended(LOG, size), time.time())
