# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""Which Python a release runs on: the distribution's when the app can run on it, otherwise one that uv manages for all apps of the host."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import NamedTuple

from ansible_collections.slipway.vps.plugins.module_utils.build_sandbox import Sandbox
from ansible_collections.slipway.vps.plugins.module_utils.deploy_settings import Settings
from ansible_collections.slipway.vps.plugins.module_utils.project import Project
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core.run import CommandError, command, tail

#: The distribution's own; another name of an interpreter (`release_python`) is the operator's word.
DISTRIBUTION = "python3"


class Asked(NamedTuple):
    """A version as uv's requests say it, where it is said, and the minor version to take when uv has to bring one."""

    request: str
    where: str
    managed: str


def asked_of(settings: Settings, project: Project) -> Asked | None:
    """What the operator says, else what the project says; None when nothing does, or the operator names the interpreter itself."""
    if settings.app_python:
        return Asked(settings.app_python, "app_python", settings.app_python)
    if settings.python != DISTRIBUTION:
        return None
    pin, pinned_in = project.pinned_python
    requires, required_in = project.requires_python
    if requires:
        return Asked(requires, required_in, pin or requires)
    return Asked(pin, pinned_in, pin) if pin else None


class Interpreters:
    """The Pythons of this host."""

    def __init__(self, sandbox: Sandbox, settings: Settings) -> None:
        self.sandbox = sandbox
        self.settings = settings

    def choose(self, folder: Path, project: Project) -> tuple[str, list[str]]:
        """The interpreter for the release in ``folder``, and what the operator should know of the choice.

        :raises CommandError: when the host neither has one that fits nor can get one.
        """
        asked = asked_of(self.settings, project)
        if asked is None:
            return self.settings.python, []
        if found := self.find(folder, "--no-managed-python", asked.request):
            return found, self.differs(folder, found, project)
        found = self.find(folder, "--managed-python", asked.managed)
        return found or self.install(folder, asked), []

    def find(self, folder: Path, whose: str, request: str) -> str:
        with contextlib.suppress(CommandError):
            return self.sandbox.uv(folder, "python", "find", "--no-project", "--system", whose, request).strip().splitlines()[-1]
        return ""

    def differs(self, folder: Path, found: str, project: Project) -> list[str]:
        """The app is tried by its developers on one Python, and runs on another: allowed by what it requires, and said."""
        pin, where = project.pinned_python
        if self.settings.app_python or not pin or self.find(folder, "--no-managed-python", pin) == found:
            return []
        return [f"{where} says Python {pin}; {found} is used, which the app's {project.requires_python[1]} allows (app_python decides)."]

    def install(self, folder: Path, asked: Asked) -> str:
        """Let uv bring one. It belongs to root and stays when the releases that use it go."""
        self.settings.python_dir.mkdir(mode=0o755, parents=True, exist_ok=True)
        environment = {
            "UV_PYTHON_INSTALL_DIR": str(self.settings.python_dir),
            "SSL_CERT_FILE": "/etc/ssl/certs/ca-certificates.crt",
            **({"UV_PYTHON_INSTALL_MIRROR": self.settings.python_mirror} if self.settings.python_mirror else {}),
        }
        words = ("python", "install", "--no-bin", "--no-cache", "--no-progress", asked.managed)
        try:
            command(self.settings.uv, *words, environment=environment, cwd=Path("/"))
        except CommandError as error:
            fix = "Say app_python with a version that this host has, or let the host reach the download (release_python_mirror)."
            if asked.where == "app_python":
                fix = "Let the host reach the download (release_python_mirror), or say a version in app_python that this host has."
            raise CommandError(
                f"{tail(str(error), 6)}\n{asked.where} asks for Python {asked.request}: this host has none that fits"
                f" ({self.settings.python} is {self.version(folder)}), and uv could not bring one.\n{fix}"
            ) from None
        if found := self.find(folder, "--managed-python", asked.managed):
            return found
        raise CommandError(f"uv brought Python {asked.managed} to {self.settings.python_dir}, and does not find it there")

    def version(self, folder: Path) -> str:
        return self.sandbox.run(folder, self.settings.python, "--version").strip().removeprefix("Python ")
