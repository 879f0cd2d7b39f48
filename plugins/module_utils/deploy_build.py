# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""From a source to a release that can be started: its tree, its virtual environment, its configuration."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from ansible_collections.slipway.vps.plugins.module_utils.archive import unpack
from ansible_collections.slipway.vps.plugins.module_utils.build_sandbox import Sandbox
from ansible_collections.slipway.vps.plugins.module_utils.confinement import makes_code
from ansible_collections.slipway.vps.plugins.module_utils.dependencies import Chosen, Installer
from ansible_collections.slipway.vps.plugins.module_utils.deploy_steps import HostedApp, StepError
from ansible_collections.slipway.vps.plugins.module_utils.deploy_units import Units
from ansible_collections.slipway.vps.plugins.module_utils.environment import environment_file
from ansible_collections.slipway.vps.plugins.module_utils.interpreter import Interpreters
from ansible_collections.slipway.vps.plugins.module_utils.precompress import precompress
from ansible_collections.slipway.vps.plugins.module_utils.releases import (
    MANIFEST,
    READY,
    SERVER,
    Release,
    fingerprint,
    new_id,
    now,
)
from ansible_collections.slipway.vps.plugins.module_utils.schema import digest
from ansible_collections.slipway.vps.plugins.module_utils.shared_paths import share
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core.files import remove, write_atomically
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core.run import Account, CommandError, command, tail
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core.units import stop_units
from ansible_collections.slipway.vps.plugins.module_utils.slipway.rebuild import COMMANDS
from ansible_collections.slipway.vps.plugins.module_utils.source import asked_for, without_secrets
from ansible_collections.slipway.vps.plugins.module_utils.static_files import open_packages
from ansible_collections.slipway.vps.plugins.module_utils.virtual_environment import left, locked, same, take_over

#: What no code of the app's own is in.
LEFT_OUT = (".venv", ".static", "node_modules")
#: Free bytes that a build may not eat into: logs and the database live on the same disk on most VPS.
RESERVE = 200 * 2**20


def own_code(folder: Path) -> list[str]:
    """Folders and modules at the top of a release that may hold code of the app's own.

    Named one by one: a compiler that is given the release walks through all of its virtual environment to leave it out.
    """
    found = (path for path in folder.iterdir() if path.name not in LEFT_OUT and not path.is_symlink())
    return sorted(path.name for path in found if path.is_dir() or path.suffix == ".py")


class Builder:
    """The step `prepare`."""

    def __init__(self, app: HostedApp) -> None:
        self.app = app
        self.settings = app.settings
        self.store = app.store
        self.units = Units(app)
        self.sandbox = Sandbox(app)
        #: What the operator should know of the release that was built.
        self.warnings: list[str] = []

    def fingerprint(self) -> str:
        """Of all that decides how the release behaves."""
        parts = [
            self.settings.identity,
            self.settings.wsgi,
            self.settings.python,
            platform.python_version(),
            *sorted(self.settings.requirements),
        ]
        parts += [
            self.units.described(),
            *(f"shared={path}" for path in self.settings.shared_paths),
            *(f"{prefix}={folder}" for prefix, folder in sorted(self.settings.static.items())),
        ]
        # Only what is said: a release that was built before these could be said stays the one that is wanted.
        parts += [f"{name}={value}" for name, value in self.settings.build.items() if value]
        secrets = self.app.delivery
        return fingerprint(parts, (secrets.today if path == secrets.path else path for path in self.settings.runtime_files))

    def build(self, wanted: str) -> Release:
        """A new release with the fingerprint ``wanted``, in state ready."""
        stop_units(self.sandbox.unit)
        for interrupted in self.store.unfinished():
            self.store.remove(interrupted)
        self.require_space()
        releases = self.store.all()
        release = Release(
            id=new_id(self.settings.commit or self.settings.identity, now(), (r.id for r in releases)),
            fingerprint=wanted,
            source={
                "identity": without_secrets(self.settings.identity),
                "commit": self.settings.commit,
                "requirement": without_secrets(self.settings.requirement),
            },
            asked=asked_for(self.settings.asked),
            created_at=now().isoformat(timespec="seconds"),
            created_by=self.settings.owner or os.environ.get("SUDO_USER") or "root",
            **self.units.definitions(),
        )
        folder = self.store.folder(release.id)
        folder.mkdir(parents=True)
        self.store.save(release)
        with self.app.failing(release), self.sandbox.told():
            self.place_source(folder)
            release.migrations = digest(folder)
            # Once more: the source may bring a file of that name.
            self.store.save(release)
            self.build_environment(folder, release)
            self.open_static(folder)
            self.precompress_static(folder)
            self.snapshot_configuration(folder, release)
            self.units.keep(folder)
            self.check_unchanged(wanted)
        release.state = READY
        self.store.save(release)
        return release

    def require_space(self) -> None:
        """Refuse early: a disk that fills up during a build takes the database down with it."""
        live = self.store.live()
        needed = RESERVE + (self.store.size(live.id) if live else 0)
        free = shutil.disk_usage(self.store.root).free
        if free < needed:
            fix = f"Free some below {self.store.root}, or keep fewer releases (release_keep)."
            raise StepError("space", f"{free // 2**20} MiB are free, {needed // 2**20} MiB are wanted. {fix}")

    def place_source(self, folder: Path) -> None:
        with self.app.step("source"):
            if self.settings.tree:
                shutil.copytree(self.settings.tree, folder, symlinks=True, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".git"))
                # The copy takes the mode of the clone, which is closed to everybody but root.
                folder.chmod(0o755)
            elif self.settings.archive:
                unpack(self.settings.archive, folder, self.settings.subdirectory)
                self.settings.archive.unlink()
            # A link of that name in the source would lead what root writes here elsewhere.
            remove(folder / ".static")
            for prefix, static in sorted(self.settings.static.items()):
                self.link_static(folder, prefix.strip("/"), static.strip("/"))
            # The app's user builds: a build may run code of the app and of its dependencies.
            self.give(folder, self.app.account)
            share(folder, self.settings.shared, self.settings.shared_paths, partial(command, account=self.app.account))

    def link_static(self, folder: Path, prefix: str, static: str) -> None:
        """`.static/<prefix>`: the same path in every release, so that nginx can look for a file in one after the other."""
        link = folder / ".static" / prefix
        if any(parent.is_symlink() for parent in link.parents if parent.is_relative_to(folder / ".static")):
            raise CommandError(f"app_static: /{prefix}/ lies inside another prefix")
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(folder / static, link.parent))

    def give(self, folder: Path, account: Account | None) -> None:
        """Hand the tree to ``account`` or, without one, back to root. The virtual environment stays the builder's:
        its files are links into uv's cache."""
        uid, gid = (account.uid, account.gid) if account else (0, 0)
        for path in self.tree(folder):
            os.chown(path, uid, gid, follow_symlinks=False)

    def tree(self, folder: Path) -> Iterator[Path]:
        yield folder
        for entry in os.scandir(folder):
            if entry.name in (MANIFEST, ".venv"):
                continue
            if entry.is_dir(follow_symlinks=False):
                yield from self.tree(Path(entry.path))
            else:
                yield Path(entry.path)

    def build_environment(self, folder: Path, release: Release) -> None:
        """A virtual environment of the release's own, from what the app says it needs; then what the operator has built."""
        installer = Installer(self.sandbox, self.settings, folder)
        with self.app.step("project"):
            # All that can be refused is refused before anything is built.
            chosen = installer.check()
            python, notes = Interpreters(self.sandbox, self.settings).choose(folder, installer.project)
            made_of = self.made_of(chosen, installer, python)
        with self.app.step("virtual environment"):
            taken = self.take_over(made_of, folder, installer)
            if not taken:
                self.sandbox.uv(folder, "venv", "--no-project", "--python", python, ".venv")
            release.python = command(str(folder / ".venv/bin/python"), "--version", account=self.app.account).split()[-1]
        with self.app.step("dependencies"):
            self.warnings += [*notes, *(installer.complete(chosen) if taken and chosen else installer.install(chosen))]
            said = installer.project.text(chosen.file) if chosen else ""
            if (jit := makes_code(folder / ".venv")) and not self.settings.confinement.sandbox.get("jit"):
                self.warnings.append(
                    f"{', '.join(jit)} may make machine code at run time, which the app's sandbox refuses."
                    " If pages fail that use it, say app_sandbox_allow: [jit]."
                )
            release.lock = fingerprint([self.settings.requirement, said], [])[:16]
            write_atomically(folder / COMMANDS, json.dumps(installer.commands) + "\n", 0o644)
        if self.settings.build_commands:
            with self.app.step("build commands"):
                for line in self.settings.build_commands:
                    self.command_of_the_operator(folder, line)
        with self.app.step("bytecode"):
            if not taken:
                self.inherit_bytecode(folder)
            compile_all = (".venv/bin/python", "-m", "compileall", "-j", "0", "-q")
            try:
                if own := own_code(folder):
                    self.sandbox.run(folder, *compile_all, "-x", r"/(\.venv|node_modules)/", "--", *own)
            except CommandError as error:
                # Whether anybody imports it the rehearsal shows.
                self.warnings.append(
                    f"Not every .py file of the app compiles; the release is built without their bytecode:\n{tail(str(error), 12)}"
                )
            if not taken:
                # Packages may ship files for other Pythons: as with pip and uv those are passed over.
                with contextlib.suppress(CommandError):
                    self.sandbox.run(folder, *compile_all, ".venv")
        if made_of:
            release.environment = {"of": made_of, "left": left(folder / ".venv")}
        self.give(folder, None)

    def made_of(self, chosen: Chosen | None, installer: Installer, python: str) -> str:
        """What the virtual environment is made of, as a digest; empty where it is built each time.

        What the operator has built may change it, so there it is.
        """
        settings = self.settings
        if chosen is None or settings.build_commands or not (said := locked(installer.project, chosen, settings.requirements)):
            return ""
        version = command(python, "--version", account=self.app.account)
        others = (python, version, settings.uv, "extras", *settings.extras, "groups", *settings.groups)
        given = (f"{name}={value}" for name, value in sorted(settings.build_env.items()))
        return fingerprint([*said, *others, *given], [])

    def take_over(self, wanted: str, folder: Path, installer: Installer) -> bool:
        """The virtual environment of a release that was made of the same, if nobody has changed it since."""
        # uv decides what becomes of an environment that the source brings.
        if self.settings.force or os.path.lexists(folder / ".venv"):
            return False
        for release in same(self.store.all(), self.store.live_id(), wanted):
            old = self.store.folder(release.id)
            if not (old / ".venv").is_dir() or left(old / ".venv") != release.environment.get("left"):
                continue
            try:
                installer.commands = [tuple(words) for words in json.loads((old / COMMANDS).read_text(encoding="utf-8"))]
                take_over(old, folder, self.app.account)
            except (CommandError, OSError, ValueError):
                # Built anew then, as without it.
                installer.commands = []
                remove(folder / ".venv")
                continue
            return True
        return False

    def command_of_the_operator(self, folder: Path, line: str) -> None:
        try:
            self.sandbox.script(folder, line)
        except CommandError as error:
            raise CommandError(f"app_build_commands: {self.sandbox.masked(line)}\n{tail(str(error), 28)}", error.status) from None

    def inherit_bytecode(self, folder: Path) -> None:
        """Link the bytecode of packages that the live release has as well.

        uv links both from its cache: the same file has the same time and size, so the same bytecode fits.
        """
        live = self.store.folder(self.store.live_id() or "none")
        for source in (folder / ".venv").rglob("*.py"):
            twin = live / source.relative_to(folder)
            # Root links here: never to where a link leads that the build left.
            if not twin.exists() or not twin.samefile(source) or (source.parent / "__pycache__").is_symlink():
                continue
            for bytecode in twin.parent.glob(f"__pycache__/{source.stem}.cpython-*.pyc"):
                link = source.parent / "__pycache__" / bytecode.name
                if not link.parent.exists():
                    link.parent.mkdir()
                    os.chown(link.parent, self.app.account.uid, self.app.account.gid)
                if not link.exists():
                    link.hardlink_to(bytecode)

    def open_static(self, folder: Path) -> None:
        """Static files of an installed package: nginx has to get at them."""
        if self.settings.static:
            with self.app.step("static files"):
                open_packages(folder, self.settings.static, self.sandbox.run)

    def precompress_static(self, folder: Path) -> None:
        """Static files as nginx sends them. Those of a package stay as they are: they lie in the builder's virtual environment."""
        if not (self.settings.precompress and self.settings.static):
            return
        with self.app.step("static files"):
            live = self.store.live()
            for static in self.settings.static.values():
                place = (folder / static.strip("/")).resolve()
                # A link of the source may lead out of the release, where root must not write.
                if place.is_dir() and place.is_relative_to(folder.resolve()) and ".venv" not in place.relative_to(folder.resolve()).parts:
                    precompress(place, self.store.folder(live.id) / static.strip("/") if live else None)

    def snapshot_configuration(self, folder: Path, release: Release) -> None:
        """The configuration without secrets, as it is now: going back to this release brings it back."""
        with self.app.step("environment"):
            # Not read_text(): it would change the line ends within values.
            text = (self.settings.config_dir / "environment").read_bytes().decode()
            own: dict[str, Any] = {"SLIPWAY_COMMIT": release.commit, "SLIPWAY_RELEASE": release.id, "SLIPWAY_WSGI": self.settings.wsgi}
            write_atomically(folder / "environment", text + environment_file(own), 0o640, (0, self.app.account.gid))
            write_atomically(folder / SERVER, f"{self.settings.server}\n", 0o644)

    def check_unchanged(self, wanted: str) -> None:
        """What was built is what was asked for: another run, refused by the lock, may have written its configuration meanwhile."""
        if self.fingerprint() != wanted:
            raise StepError("configuration", f"another run changed {self.settings.config_dir} while this one was building")
