# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""Where the commands of a build run: as the app's user, behind the app that serves, and without the app's secrets.

What the build itself is told (`app_build_env`, `app_build_secrets`) reaches it through a file that only root reads: neither the arguments
of a process nor `systemctl show` have it.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ansible_collections.slipway.vps.plugins.module_utils.build_advice import advised
from ansible_collections.slipway.vps.plugins.module_utils.confinement import BUILD
from ansible_collections.slipway.vps.plugins.module_utils.deploy_steps import HostedApp
from ansible_collections.slipway.vps.plugins.module_utils.environment import environment_file
from ansible_collections.slipway.vps.plugins.module_utils.git_ssh import DEPLOY_KEY, build_properties, has_key
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core.run import PATH, CommandError
from ansible_collections.slipway.vps.plugins.module_utils.source import without_secrets

#: What puts the build behind the app, which serves meanwhile.
BEHIND = ("Nice=10", "CPUWeight=20", "IOWeight=20")
#: Of `app_build_secrets` the one that is a file: logins for hosts, netrc(5).
NETRC = "netrc"
#: `app_source.requirement`, as the installer reads it.
REQUIREMENT = "requirement"


class Sandbox:
    """Runs the commands of one app's build."""

    def __init__(self, app: HostedApp) -> None:
        self.app = app
        self.settings = app.settings
        self.unit = app.step_unit(BUILD)
        self.cache = app.store.root / "cache"
        #: In memory, for as long as a build runs.
        self.private = self.settings.runtime_dir.with_name(f"{self.settings.runtime_dir.name}-build")

    @contextmanager
    def told(self) -> Iterator[None]:
        """What the build alone is told is there, and gone afterwards; a build that was killed may have left its own."""
        shutil.rmtree(self.private, ignore_errors=True)
        secrets = dict(self.settings.build_secrets)
        files = {NETRC: f"{logins.strip()}\n"} if (logins := str(secrets.pop(NETRC, ""))) else {}
        if files:
            secrets["NETRC"] = str(self.private / NETRC)
        if self.settings.requirement:
            # Its address may hold a token, and arguments are for all of the host to read.
            files[REQUIREMENT] = f"{self.settings.requirement}\n"
        if has_key(self.settings.config_dir):
            files[DEPLOY_KEY] = (self.settings.config_dir / DEPLOY_KEY).read_text()
        values = {**self.settings.build_env, **secrets}
        try:
            if values or files:
                self.private.mkdir(mode=0o711)
            if values:
                self.write("environment", environment_file(values))
            for name, text in files.items():
                self.hand_over(name, text)
            yield
        finally:
            shutil.rmtree(self.private, ignore_errors=True)

    def write(self, name: str, text: str) -> Path:
        path = self.private / name
        path.touch(mode=0o600, exist_ok=False)
        path.write_text(text)
        return path

    def hand_over(self, name: str, text: str) -> None:
        """A file for the builder alone."""
        os.chown(self.write(name, text), self.app.account.uid, self.app.account.gid, follow_symlinks=False)

    def run(self, folder: Path, *words: str, properties: tuple[str, ...] = ()) -> str:
        """Run a command in ``folder``, a release: ended with the build when that is cut off. What it says when it fails has no secrets."""
        settings = {
            "UV_CACHE_DIR": str(self.cache / "uv"),
            "UV_PYTHON_DOWNLOADS": "never",
            "UV_PYTHON_INSTALL_DIR": str(self.settings.python_dir),
            "UV_NO_PROGRESS": "1",
            # The system's certificates: a company's own package index may have one that only they know.
            "SSL_CERT_FILE": "/etc/ssl/certs/ca-certificates.crt",
            "HOME": str(self.cache),
        }
        # One path: uv cannot link from its cache into another mount.
        given = (*(f"Environment={name}={value}" for name, value in settings.items()), f"ReadWritePaths={self.app.store.root}", *BEHIND)
        own = (f"EnvironmentFile={self.private / 'environment'}",) if self.settings.build_env or self.settings.build_secrets else ()
        try:
            given += build_properties(self.settings.config_dir, self.private / DEPLOY_KEY)
            return self.app.run_as_app(self.unit, folder, words, (*given, *properties, *own), kind=BUILD)
        except CommandError as error:
            raise CommandError(advised(self.masked(str(error))), error.status) from None

    def uv(self, folder: Path, *words: str) -> str:
        return self.run(folder, self.settings.uv, *words)

    def script(self, folder: Path, text: str) -> str:
        """A command of the operator's, in a shell, with the release's own programs first and the app's environment without secrets."""
        first = (f"Environment=PATH={folder}/.venv/bin:{PATH}", f"Environment=VIRTUAL_ENV={folder}/.venv")
        public = f"EnvironmentFile={self.settings.config_dir / 'environment'}"
        return self.run(folder, "/bin/sh", "-e", "-c", text, properties=(*first, public))

    def masked(self, text: str) -> str:
        """``text`` without the build's secrets, and without what may be one in a URL."""
        hidden = [str(value) for name, value in self.settings.build_secrets.items() if name != NETRC]
        hidden += re.findall(r"\b(?:password|account)\s+(\S+)", str(self.settings.build_secrets.get(NETRC, "")))
        for secret in sorted(filter(None, hidden), key=len, reverse=True):
            text = text.replace(secret, "***")
        return without_secrets(text)
