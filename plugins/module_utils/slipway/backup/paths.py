# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""Which files a backup holds."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from ..core.files import expand
from ..tls.certbot import account_folder


def sources(patterns: Iterable[str]) -> list[str]:
    """The files and folders that the patterns find on this host, and with a certificate's renewal file the account it names.

    Another app's certificates and accounts are not this app's to keep: a machine may have several.
    """
    found = expand(patterns)
    accounts = (account_of(Path(path)) for path in found if path.endswith(".conf") and Path(path).parent.name == "renewal")
    return sorted({*found, *(str(account) for account in accounts if account)})


def account_of(renewal: Path) -> Path | None:
    """The folder of the ACME account that a renewal file of certbot names; None when it names none that is there."""
    try:
        settings = dict(re.findall(r"^(server|account) = (\S+)$", renewal.read_text(encoding="utf-8"), flags=re.MULTILINE))
        account = account_folder(settings["server"]) / settings["account"]
    except (OSError, KeyError):
        return None
    return account if account.is_dir() else None
