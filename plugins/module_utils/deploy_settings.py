# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""What one call of the module slipway.vps.release was told, each parameter in its type."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from ansible_collections.slipway.vps.plugins.module_utils.confinement import Confinement


@dataclass(frozen=True)
class Settings:
    """The module's parameters; its documentation says what each one means. Times are in seconds, sizes in bytes."""

    action: str
    check_mode: bool

    # The app and where it is on this host.
    name: str
    root: Path
    config_dir: Path
    socket: Path
    rehearsal_socket: Path
    runtime_dir: Path
    user: str
    group: str
    writable: tuple[str, ...]
    confinement: Confinement
    server: str
    wsgi: str
    host: str
    ready: str
    prefix: str
    processes: Mapping[str, Mapping[str, Any]]
    timers: Mapping[str, Mapping[str, Any]]
    static: Mapping[str, str]
    shared: Path
    shared_paths: tuple[str, ...]

    # What is deployed, by whom.
    identity: str
    commit: str
    asked: Mapping[str, Any]
    tree: Path | None
    archive: Path | None
    subdirectory: str
    requirement: str
    owner: str
    retry: str
    force: bool

    # How it is built.
    requirements: tuple[str, ...]
    runtime_files: tuple[Path, ...]
    precompress: bool
    python: str
    python_dir: Path
    python_mirror: str
    uv: str
    app_python: str
    lock_file: str
    extras: tuple[str, ...]
    groups: tuple[str, ...]
    build_commands: tuple[str, ...]
    build_env: Mapping[str, Any]
    build_secrets: Mapping[str, Any]
    build_packages: tuple[str, ...]

    # How the schema is changed.
    migrate_command: str
    lock_timeout: int
    restore_point_command: str
    restore_point_max: int
    downgrade: bool
    schema: str

    # How it goes live.
    release: str
    ready_timeout: float
    rehearsal_writes: bool
    leave_as: str
    memory_margin: float
    burn_in: float
    burn_in_tolerance: float
    keep: int

    # One run at a time.
    token: str
    give_back: bool
    lock_ttl: int

    @classmethod
    def of(cls, parameters: Mapping[str, Any], check_mode: bool) -> Settings:
        """From what Ansible has checked already. KeyError where a parameter is absent."""
        given = {field.name: parameters[field.name] for field in fields(cls) if field.name != "check_mode"}
        for name in ("root", "config_dir", "socket", "rehearsal_socket", "runtime_dir", "shared", "python_dir"):
            given[name] = Path(given[name])
        for name in ("tree", "archive"):
            given[name] = Path(given[name]) if given[name] else None
        for name in ("requirement", "release"):
            given[name] = given[name] or ""
        for name in ("requirements", "writable", "shared_paths", "extras", "groups", "build_commands", "build_packages"):
            given[name] = tuple(given[name])
        given["confinement"] = Confinement.of({"secrets_file": given["config_dir"] / "secrets", **given["confinement"]})
        given["runtime_files"] = tuple(map(Path, given["runtime_files"]))
        return cls(**given, check_mode=check_mode)

    @property
    def build(self) -> dict[str, Any]:
        """How the operator wants it built, as the fingerprint of a release has it: without secrets, and in an order of its own."""
        return {
            **{"app_python": self.app_python, "lock_file": self.lock_file, "commands": self.build_commands},
            **{name: sorted(getattr(self, name)) for name in ("extras", "groups", "build_packages")},
            "env": sorted((str(name), str(value)) for name, value in self.build_env.items()),
        }
