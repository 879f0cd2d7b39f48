# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""What is known of an app on its host: ``/etc/<app>/app.json``, which the contract's model writes. Nothing is derived here."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .core.delivery import FILE, Delivery
from .core.errors import SlipwayError

ETC = Path("/etc")
#: Any of these in a folder of /etc makes it an app's.
MARKS = ("app.json", "tls.json", "backup.json")


@dataclass(frozen=True)
class App:
    """An app on this host, without secrets. Names and paths as the model has them."""

    name: str
    user: str
    group: str
    proxy_group: str
    domains: tuple[str, ...]
    #: Those, and the ones that are served as they are.
    names: tuple[str, ...]
    root: Path
    releases: Path
    current: Path
    shared: Path
    config_dir: Path
    environment_file: Path
    secrets: Delivery
    log_dir: Path
    backup_dir: Path
    socket: Path
    ready: str
    #: The path of the site below which the app is.
    prefix: str
    certificate: Path
    certificate_status: Path
    database: Mapping[str, Any]
    redis_socket: str
    redis_local: bool
    #: Files of SQLite below ``shared``.
    sqlite: tuple[Path, ...]
    processes: tuple[str, ...]
    #: URL prefix to folder of the release.
    static: Mapping[str, str]
    #: URL prefix to folder below ``shared``.
    uploads: Mapping[str, str]
    #: Proxies before the app: nginx, and those before nginx.
    proxy_hops: int
    #: Pages that are read as a browser would.
    verify_paths: tuple[str, ...]
    timers: tuple[str, ...]
    #: The sandbox with its openings, as the model has it; as the operator names them; and what it may write to.
    sandbox: Mapping[str, Any]
    openings: tuple[str, ...]
    writable: tuple[str, ...]
    #: ufw is on this machine; otherwise it is left to another firewall.
    firewall: bool
    #: All of its units together have their limits here; empty: none are known.
    slice: str

    @property
    def domain(self) -> str:
        """The canonical one."""
        return self.domains[0]

    @property
    def proxy_user(self) -> str:
        """Whom nginx works as: on Debian its user has the group's name."""
        return self.proxy_group

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> App:
        """The app in the model's form; an error that names the fact which is missing."""
        # Absent in what an older Slipway wrote.
        sandbox = dict(data.get("sandbox", {}))
        # The model has it in its machine, its document beside the rest.
        machine = data.get("machine")
        try:
            return cls(
                name=str(data["name"]),
                user=str(data["user"]),
                group=str(data["group"]),
                proxy_group=str(data["proxy_group"]),
                domains=tuple(str(name) for name in data["domains"]),
                names=tuple(str(name) for name in data.get("names") or data["domains"]),
                root=Path(data["root"]),
                releases=Path(data["releases"]),
                current=Path(data["current"]),
                shared=Path(data["shared"]),
                config_dir=Path(data["config_dir"]),
                environment_file=Path(data["environment_file"]),
                secrets=Delivery(Path(data["secrets_file"]), str(data.get("secrets_delivery") or FILE)).kept(),
                log_dir=Path(data["log_dir"]),
                backup_dir=Path(data["backup_dir"]),
                socket=Path(data["socket"]),
                ready=str(data["health"]["ready"]),
                prefix=str(data.get("prefix") or ""),
                certificate=Path(data["tls"]["certificate"]),
                certificate_status=Path(data["tls"]["status"]),
                database=dict(data["database"]),
                redis_socket=str(data["redis"]["socket"]),
                redis_local=bool(data["redis"]["local"]),
                # The version before knew of none.
                sqlite=tuple(map(Path, data.get("sqlite", ()))),
                processes=tuple(data["processes"]),
                # Not in what a former version of the program wrote.
                static=dict(data.get("static") or {}),
                uploads=dict(data.get("uploads") or {}),
                proxy_hops=int(data.get("proxy_hops") or 1),
                verify_paths=tuple(data.get("verify_paths") or ("/",)),
                timers=tuple(data.get("timers", {})),
                sandbox=sandbox,
                openings=tuple(sandbox.get("allowed", ())),
                writable=(str(data["shared"]), f"-{data['log_dir']}", *sandbox.get("folders", ())),
                firewall=bool((machine if isinstance(machine, Mapping) else data).get("firewall", True)),
                slice=str(dict(data.get("resources") or {}).get("slice", "")),
            )
        except (KeyError, TypeError) as error:
            raise SlipwayError(f"what is known of the app is not usable: {type(error).__name__}: {error}") from error

    @classmethod
    def load(cls, name: str, etc: Path = ETC) -> App:
        """The app called ``name`` on this host."""
        path = etc / name / "app.json"
        try:
            return cls.of(json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError as error:
            known = ", ".join(names(etc)) or "none"
            raise SlipwayError(f"there is no {path} (apps here: {known}); ansible-playbook slipway.vps.site writes it") from error
        except ValueError as error:
            raise SlipwayError(f"{path} is no JSON: {error}; ansible-playbook slipway.vps.site writes it anew") from error

    def units(self, release: str, manifest: Mapping[str, Any]) -> Iterator[str]:
        """The units that run while ``release`` is live; ``manifest``: its own, which knows what it runs."""
        yield f"{self.name}.socket"
        yield f"{self.name}@{release}.service"
        yield from (f"{self.name}-{process}@{release}.service" for process in manifest.get("processes", self.processes))


def names(etc: Path = ETC) -> list[str]:
    """The apps on this machine."""
    return sorted({path.parent.name for mark in MARKS for path in etc.glob(f"*/{mark}")})
