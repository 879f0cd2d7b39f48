# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""``/etc/<app>/tls.json``."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from ..core.x509 import CertificateError

LETSENCRYPT = Path("/etc/letsencrypt")


@dataclass(frozen=True)
class Config:
    """``/etc/<app>/tls.json``."""

    app: str
    source: str
    names: tuple[str, ...]
    directory_url: str
    email: str
    webroot: Path
    profile: str
    dns_plugin: str
    dns_credentials: str
    dns_propagation_seconds: int
    preflight: bool
    dry_run_first: bool
    resolvers: tuple[str, ...]
    certificate: Path
    key: Path
    status: Path
    certbot_config: str
    reload_unit: str
    retry_seconds: int

    @classmethod
    def parse(cls, text: str) -> Config:
        """Read the configuration, or say which part of it is wrong."""
        try:
            data = json.loads(text)
            config = cls(
                app=str(data["app"]),
                source=str(data["source"]),
                names=tuple(str(name) for name in data["names"]),
                directory_url=str(data["directory_url"]),
                email=str(data["email"]),
                webroot=Path(data["webroot"]),
                profile=str(data["profile"]),
                dns_plugin=str(data["dns_plugin"]),
                dns_credentials=str(data["dns_credentials"]),
                dns_propagation_seconds=int(data["dns_propagation_seconds"]),
                preflight=bool(data["preflight"]),
                dry_run_first=bool(data["dry_run_first"]),
                resolvers=tuple(str(address) for address in data["resolvers"]),
                certificate=Path(data["certificate"]),
                key=Path(data["key"]),
                status=Path(data["status"]),
                certbot_config=str(data["certbot_config"]),
                reload_unit=str(data["reload_unit"]),
                retry_seconds=int(data["retry_seconds"]),
            )
        except (ValueError, TypeError, KeyError) as error:
            raise CertificateError(f"the configuration is not usable: {type(error).__name__}: {error}") from error
        if config.source not in ("acme", "own"):
            raise CertificateError(f"the configuration is not usable: source is {config.source!r}, and must be acme or own")
        if not config.names or config.retry_seconds < 1:
            raise CertificateError("the configuration is not usable: names is empty, or retry_seconds below 1")
        return config

    @property
    def certified(self) -> tuple[str, ...]:
        """The names for the certificate: beside a wildcard, CAs refuse the names that it stands for."""
        held = {name[2:] for name in self.names if name.startswith("*.")}
        return tuple(name for name in self.names if name.startswith("*.") or name.partition(".")[2] not in held)

    @property
    def lineage(self) -> Path:
        """Where certbot keeps the certificate."""
        return LETSENCRYPT / "live" / self.app

    @property
    def renewal(self) -> Path:
        """Where certbot keeps how it was obtained."""
        return LETSENCRYPT / "renewal" / f"{self.app}.conf"

    @property
    def desired(self) -> str:
        """Changes with what is asked for: what failed for another desired state says nothing about this one."""
        words = [self.directory_url, *sorted(self.names), self.profile, self.dns_plugin]
        return hashlib.sha256("\n".join(words).encode()).hexdigest()[:16]
