# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""`slipway <app> rebuild`: a release whose Python has gone, with an upgrade of the system, gets one again.

A virtual environment leads to the system's python3. After an upgrade from Debian 12 to 13 that is another version: it starts, and finds
none of the packages. What helps is tried in this order: the old version, where it is still on this host (nothing is installed then); the
same packages for the new version, from uv's cache or the index; the old version, as uv brings it.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from .app import App
from .core.errors import SlipwayError
from .core.files import read_json, remove, write_atomically
from .core.lock import locked
from .core.run import Account, CommandError, command, tail
from .releases import MANIFEST, Releases

#: Where Ansible puts uv, and where uv puts Pythons (roles/release).
HOME = Path("/opt/slipway")
SYSTEM = Path("/usr/bin")
#: The commands of uv that filled the virtual environment, as the build noted them.
COMMANDS = ".venv-commands.json"
#: The virtual environment that is being replaced.
BEFORE = ".venv.before"
#: Seconds to wait for the network of a host that boots, and between two tries.
NETWORK_WAIT, NETWORK_PAUSE = 300, 10
#: Run by the system's python3 over the packages of another: their names, versions and origins.
FREEZE = """
import importlib.metadata, json, sys
found = []
for one in importlib.metadata.distributions(path=[sys.argv[1]]):
    name, origin = one.metadata["Name"], json.loads(one.read_text("direct_url.json") or "{}")
    url, vcs = origin.get("url", ""), origin.get("vcs_info")
    if "dir_info" not in origin:
        source = f"{vcs['vcs']}+{url}@{vcs['commit_id']}" if vcs else url
        found.append(f"{name} @ {source}" if source else f"{name}=={one.version}")
print(json.dumps(sorted(found)))
"""
#: The app itself, installed in place: its few files lead to the release's folder, which does not change. To build it anew the folder would
#: have to be the builder's.
CARRY = """
import importlib.metadata, json, pathlib, shutil, sys
old, new = map(pathlib.Path, sys.argv[1:])
for one in importlib.metadata.distributions(path=[str(old)]):
    if "dir_info" in json.loads(one.read_text("direct_url.json") or "{}"):
        for file in one.files or ():
            source, target = old / file, new / file
            if source.is_file() and source.suffix != ".pyc":
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, target)
if (old / "slipway_source.pth").exists():
    shutil.copy2(old / "slipway_source.pth", new / "slipway_source.pth")
"""


def add(subjects: Any, common: argparse.ArgumentParser) -> None:
    """The words of the command line."""
    parser = subjects.add_parser(
        "rebuild", parents=[common], help="give a release a Python again whose own has gone (upgrade of the system)"
    )
    parser.add_argument("--release", default="", help="another one than the live one")
    parser.add_argument("--prepare", action="store_true", help="before the upgrade: bring the version that the release runs on")
    parser.set_defaults(handler=main)


def check_packages(python: Path, config_dir: Path) -> tuple[str, ...]:
    """A command that fails, in a release's folder, where this Python does not find its server: where it does it finds the rest."""
    return (str(python), str(config_dir / "server/slipway_server.py"), "--check-packages")


class Rebuild:
    """One release, and its virtual environment."""

    def __init__(self, app: App, release: str, uv: Path, say: Callable[[str], None] = print) -> None:
        """Work on ``release`` with ``uv``."""
        self.app, self.release, self.uv_program, self.say = app, release, uv, say
        self.folder = app.releases / release
        self.venv = self.folder / ".venv"
        self.python = self.venv / "bin/python"
        self.account = Account.of(app.user, app.group)

    @property
    def version(self) -> str:
        """The version it was built for, ``3.11``: packages lie in a folder of that name."""
        found = sorted(path.name.removeprefix("python") for path in self.venv.glob("lib/python*"))
        if not found:
            raise SlipwayError(f"{self.venv} has no packages: ansible-playbook slipway.vps.deploy builds a new release")
        return found[0]

    def works(self) -> bool:
        """Whether its Python finds its packages."""
        try:
            command(*check_packages(self.python, self.app.config_dir), account=self.account, cwd=self.folder)
        except (CommandError, OSError):
            return False
        return True

    def uv(self, *words: str, offline: bool = False) -> str:
        """Run uv as the app's user, as a build does."""
        cache = self.app.root / "cache"
        said = read_json(self.app.config_dir / "app.json").get("build", {}).get("env", {})
        environment = {
            **{str(name): str(value) for name, value in said.items()},
            **{"UV_CACHE_DIR": str(cache / "uv"), "HOME": str(cache), "UV_NO_PROGRESS": "1", "UV_PYTHON_DOWNLOADS": "never"},
            **{"UV_COMPILE_BYTECODE": "1", **_uv(), **({"UV_OFFLINE": "1"} if offline else {})},
        }
        return command(str(self.uv_program), *words, account=self.account, environment=environment, cwd=self.folder)

    # --- What helps --------------------------------------------------------------------------------

    def mend(self) -> str:
        """Try what helps; how it was mended. SlipwayError with every reason when nothing did."""
        reasons = []
        for way in (self.point, self.install, self.bring):
            try:
                told = way()
            except (CommandError, OSError) as error:
                reasons.append(f"{way.__name__}: {tail(str(error), 6)}")
                continue
            if told and self.works():
                self.note()
                return told
            reasons.append(f"{way.__name__}: {told or 'there is none here'}{', and its packages are not found' if told else ''}")
        lines = "\n".join(reasons)
        what = f"{self.release} was built for Python {self.version}, and cannot run on this host:\n{lines}"
        raise SlipwayError(f"{what}\nNext: ansible-playbook slipway.vps.deploy")

    def interpreters(self) -> Iterator[Path]:
        """Those of the release's own version on this host: the system's, and those that uv manages."""
        if (path := SYSTEM / f"python{self.version}").exists():
            yield path
        yield from sorted(HOME.glob(f"python/cpython-{self.version}.*/bin/python{self.version}"), reverse=True)

    def point(self) -> str:
        """Let it find the version that it was built for, where that is still here; nothing is installed."""
        found = next(self.interpreters(), None)
        if found is None:
            return ""
        self.uv("venv", "--quiet", "--no-project", "--allow-existing", "--python", str(found), ".venv")
        return f"runs on {found}"

    def install(self) -> str:
        """The same packages for the system's Python. What was there comes back when that does not work."""
        packages, commands, old = self.frozen(), self.commands(), self.version
        before = self.folder / BEFORE
        remove(before)
        self.venv.rename(before)
        try:
            self.venv.mkdir(mode=0o750)
            os.chown(self.venv, self.account.uid, self.account.gid)
            self.uv("venv", "--quiet", "--no-project", "--allow-existing", "--python", str(SYSTEM / "python3"), ".venv")
            self.fill(packages, commands)
            (site,) = self.venv.glob("lib/python*/site-packages")
            words = ("-I", "-c", CARRY, str(before / f"lib/python{old}/site-packages"), str(site))
            command(str(SYSTEM / "python3"), *words, account=self.account)
            if not self.works():
                raise CommandError("the packages are installed, and Python does not find Gunicorn")
        except (CommandError, OSError):
            remove(self.venv)
            before.rename(self.venv)
            raise
        self.relink()
        remove(before)
        return f"has its packages for {command(str(self.python), '--version', account=self.account).strip()}"

    def bring(self) -> str:
        """The version that it was built for, as uv brings it."""
        self.fetch()
        return self.point()

    def prepare(self) -> str:
        """Before the upgrade: the version that the release runs on shall be here when the system's goes."""
        if not any(path.is_relative_to(HOME) for path in self.interpreters()):
            self.fetch()
        found = next(path for path in self.interpreters() if path.is_relative_to(HOME))
        return f"{found} stays when the system's Python {self.version} goes"

    def fetch(self) -> None:
        """Bring that version; it belongs to root, and to all apps of the machine."""
        mirror = os.environ.get("UV_PYTHON_INSTALL_MIRROR", "")
        environment = {**_uv(), **({"UV_PYTHON_INSTALL_MIRROR": mirror} if mirror else {})}
        words = ("python", "install", "--no-bin", "--no-cache", "--no-progress", self.version)
        (HOME / "python").mkdir(mode=0o755, parents=True, exist_ok=True)
        command(str(self.uv_program), *words, environment=environment, cwd=Path("/"))

    # --- Packages ----------------------------------------------------------------------------------

    def frozen(self) -> list[str]:
        """What is installed. The app's user reads it: the build was theirs."""
        site = self.venv / f"lib/python{self.version}/site-packages"
        found: list[str] = json.loads(command(str(SYSTEM / "python3"), "-I", "-c", FREEZE, str(site), account=self.account))
        return found

    def commands(self) -> list[list[str]]:
        """The build's own commands, lock and hashes and all; none where they cannot be repeated."""
        try:
            noted: list[list[str]] = json.loads((self.folder / COMMANDS).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return []
        # A package's address may hold a token: it lay in a file that is gone.
        return noted if all(not word.startswith("/") or Path(word).exists() for words in noted for word in words) else []

    def fill(self, packages: Sequence[str], commands: Sequence[Sequence[str]]) -> None:
        """Install what was there: as the build did, or the same versions."""
        exported = self.folder / BEFORE / "requirements.txt"
        if exported.exists():
            # Of a lock of Poetry, PDM or Pipenv: what the exporter made of it.
            command("/bin/cp", str(exported), str(self.venv / exported.name), account=self.account)
        steps = [words for words in commands if "--editable" not in words]
        for step in steps or [["pip", "install", "--quiet", "--python", ".venv/bin/python", *packages]]:
            self.patiently(step)

    def patiently(self, words: Sequence[str]) -> None:
        """From the cache; else from the index, which a host that boots may reach later only."""
        deadline = time.monotonic() + NETWORK_WAIT
        try:
            self.uv(*words, offline=True)
            return
        except CommandError:
            pass
        while True:
            try:
                self.uv(*words)
                return
            except CommandError as error:
                if time.monotonic() > deadline or not _unreachable(str(error)):
                    raise
            time.sleep(NETWORK_PAUSE)

    def relink(self) -> None:
        """Static files of a package lie in a folder with another name now; nginx reads them through a link."""
        (lib,) = (path.name for path in self.venv.glob("lib/python*"))
        for link in (self.folder / ".static").rglob("*"):
            if not link.is_symlink() or link.exists():
                continue
            target = Path(re.sub(r"/lib/python[\d.]+/", f"/lib/{lib}/", str(link.readlink())))
            place = (link.parent / target).resolve()
            if not place.is_dir() or not place.is_relative_to(self.venv):
                continue
            link.unlink()
            link.symlink_to(target)
            way = [str(parent) for parent in place.parents if parent.is_relative_to(self.venv)]
            command("/bin/chmod", "o+x", *way, account=self.account)
            command("/bin/chmod", "-R", "o+rX", str(place), account=self.account)

    def note(self) -> None:
        """Let the manifest say what it runs on."""
        path = self.folder / MANIFEST
        manifest = read_json(path)
        if manifest:
            version = command(str(self.python), "--version", account=self.account).split()[-1]
            write_atomically(path, json.dumps({**manifest, "python": version}, indent=2) + "\n", 0o640)


def _uv() -> dict[str, str]:
    """Where uv finds Pythons and certificates, whoever runs it."""
    return {"UV_PYTHON_INSTALL_DIR": str(HOME / "python"), "SSL_CERT_FILE": "/etc/ssl/certs/ca-certificates.crt"}


def _unreachable(said: str) -> bool:
    return bool(
        re.search(r"dns error|failed to lookup|connect(ion)? error|error sending request|timed out|unreachable", said, re.IGNORECASE)
    )


def uv_of(home: Path) -> Path:
    """The newest uv that Ansible has installed. It is no Python, and survives the upgrade."""
    found = sorted(home.glob("uv-*/bin/uv"), key=lambda path: [int(part) for part in re.findall(r"\d+", path.parts[-3])])
    if not found:
        raise SlipwayError(f"there is no uv in {home}: ansible-playbook slipway.vps.deploy brings it")
    return found[-1]


def main(options: argparse.Namespace) -> int:
    """Mend a release, or prepare for an upgrade."""
    app = App.load(options.app)
    release = options.release or Releases.of(app).live_id()
    if not release or not (app.releases / release).is_dir():
        raise SlipwayError(f"{app.name} has no release {release or 'that is live'}")
    rebuild = Rebuild(app, release, uv_of(HOME))
    with locked(app.root / ".deploy.lock", "deploy"):
        if options.prepare:
            told = rebuild.prepare()
        elif rebuild.works():
            told = "its Python finds its packages; nothing is to be done"
        else:
            told = rebuild.mend()
    print(json.dumps({"release": release, "told": told}) if options.json else f"{release}: {told}")
    return 0
