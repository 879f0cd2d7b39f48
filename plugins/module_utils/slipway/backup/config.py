# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""``/etc/<app>/backup.json``."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from .rules import BackupError

ENGINES = ("dump", "pgbackrest")
#: What a configuration of the version before does not say: this program is put in place first, and the night may come in between.
SINCE_THEN = {
    **{"compression": "auto", "engine": "dump", "full_days": 7, "jobs": 2, "keep_count": 7, "proof": True},
    **{"reader": "", "service": "", "port": 5432, "copies_cluster": True, "sqlite": ()},
}


@dataclass(frozen=True)
class Config:
    """What the role wrote for this app."""

    app: str
    user: str
    role: str
    reader: str
    proxy_group: str
    #: In PostgreSQL; empty where the app has none there.
    database: str
    admin: str
    socket_dir: str
    port: int
    service: Path | None
    backup_dir: Path
    log_file: Path
    shared: Path
    #: Files of SQLite below ``shared`` that the app keeps its data in.
    sqlite: tuple[Path, ...]
    paths: tuple[str, ...]
    keep_days: int
    keep_count: int
    reserve_mb: int
    jobs: int
    compression: str
    proof: bool
    proof_dir: Path
    engine: str
    full_days: int
    #: The name of pgBackRest's archive: one holds the cluster with all apps of the machine.
    stanza: str
    #: One app of a machine copies the cluster for all.
    copies_cluster: bool

    @classmethod
    def parse(cls, text: str) -> Config:
        """Read the configuration, or say which part of it is wrong."""
        try:
            given = json.loads(text)
            data = {**SINCE_THEN, "role": given["user"], "stanza": given["app"], "proof_dir": f"/var/lib/{given['app']}-proof", **given}
            config = cls(
                app=str(data["app"]),
                user=str(data["user"]),
                role=str(data["role"]),
                reader=str(data["reader"]),
                proxy_group=str(data["proxy_group"]),
                database=str(data["database"]),
                admin=str(data["admin"]),
                socket_dir=str(data["socket_dir"]),
                port=int(data["port"]),
                service=Path(data["service"]) if data["service"] else None,
                backup_dir=Path(data["backup_dir"]),
                log_file=Path(data["log_file"]),
                shared=Path(data["shared"]),
                sqlite=tuple(map(Path, data["sqlite"])),
                paths=tuple(str(path) for path in data["paths"]),
                keep_days=int(data["keep_days"]),
                keep_count=int(data["keep_count"]),
                reserve_mb=int(data["reserve_mb"]),
                jobs=int(data["jobs"]),
                compression=str(data["compression"]),
                proof=bool(data["proof"]),
                proof_dir=Path(data["proof_dir"]),
                engine=str(data["engine"]),
                full_days=int(data["full_days"]),
                stanza=str(data["stanza"]),
                copies_cluster=bool(data["copies_cluster"]),
            )
        except (ValueError, TypeError, KeyError) as error:
            raise BackupError(f"the configuration is not usable: {type(error).__name__}: {error}") from error
        if config.engine not in ENGINES:
            raise BackupError(f"engine is {config.engine!r}: one of {', '.join(ENGINES)}")
        for name, value in (("keep_days", config.keep_days), ("keep_count", config.keep_count), ("jobs", config.jobs)):
            if value < 1:
                raise BackupError(f"{name} is {value}: at least 1")
        return config
