"""Apps as people bring them (tests/apps), each built by the product's own build: real uv, real environments, an index made here.

What systemd does around a command is left out: the command runs with the environment that its unit would have.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import syslog
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.slipway.vps.plugins.module_utils import deploy_build, interpreter, virtual_environment
from ansible_collections.slipway.vps.plugins.module_utils.deploy import Deploy
from ansible_collections.slipway.vps.plugins.module_utils.deploy_settings import Settings
from ansible_collections.slipway.vps.plugins.module_utils.deploy_steps import HostedApp, StepError
from ansible_collections.slipway.vps.plugins.module_utils.deploy_switch import Switcher
from ansible_collections.slipway.vps.plugins.module_utils.environment import parse_environment
from ansible_collections.slipway.vps.plugins.module_utils.exporters import EXPORTERS
from ansible_collections.slipway.vps.plugins.module_utils.project import Project
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core.run import Account, CommandError, command
from ansible_collections.slipway.vps.plugins.module_utils.virtual_environment import left

from .fakes import NEW, parameters
from .local_index import SmallApp, names, served

#: Apps whose dependencies are locked.
LOCKED = (
    *("module-that-does-not-compile", "own-gunicorn", "pdm", "pipenv", "poetry", "poetry-group", "private-index-netrc", "pylock"),
    *("requirements-with-hashes", "single-module", "src-package", "src-without-build-system", "uv-and-requirements", "uv-groups"),
    *("uv-lock", "uv-package"),
)
UV = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))
#: What a unit of systemd has of its own.
MANAGER = {"LC_ALL": "C.UTF-8"}


@pytest.fixture(scope="module")
def index() -> Iterator[str]:
    with served() as address:
        yield address


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """uv's cache, shared by the builds of this file."""
    return tmp_path_factory.mktemp("cache")


class Builds:
    """Builds an app as `prepare` does; what it was told and what it ran are kept."""

    def __init__(self, root: Path, index: str) -> None:
        self.root = root
        self.index = index
        self.ran: list[tuple[str, ...]] = []
        #: The release that was built last.
        self.id = ""

    def build(self, name: str, **changes: Any) -> dict[str, Any]:
        app = SmallApp.of(name)
        if not self.id:
            app.place(name, self.root / "tree/app", self.index)
        said = app.variables
        own = {key.removeprefix("app_"): value for key, value in said.items() if key.startswith("app_build")}
        settings = {
            **parameters(self.root),
            **{"uv": UV, "tree": str(self.root / "tree/app"), "requirements": list(app.requirements), "wsgi": said["app_wsgi"]},
            **{"runtime_dir": str(self.root / "run/blog"), "static": said.get("app_static", {}), "app_python": said.get("app_python", "")},
            **{"lock_file": said.get("app_lock_file", ""), "extras": said.get("app_extras", []), "groups": said.get("app_groups", [])},
            **own,
            **{"build_env": {**said.get("app_build_env", {}), "UV_DEFAULT_INDEX": f"{self.index}/simple", "UV_HTTP_TIMEOUT": "60"}},
            **changes,
        }
        done = Deploy(Settings.of(settings, check_mode=False)).do("prepare")
        self.id = done["release"]
        return done

    def again(self, name: str, **changes: Any) -> bool:
        """Build a release with another state of the code; whether it took an environment over."""
        self.ran.clear()
        self.build(name, identity=f"after {self.id}", **changes)
        return not any("venv" in words for words in self.ran)

    @property
    def release(self) -> Path:
        return self.root / "srv/releases" / (self.id or NEW)

    @property
    def environment(self) -> dict[str, str]:
        """What the release's manifest says of its virtual environment."""
        return dict(json.loads((self.release / "release.json").read_text())["environment"])

    def python(self, *words: str, cwd: Path | None = None) -> str:
        """As Gunicorn starts: in the release's folder, with its environment's Python."""
        return command(str(self.release / ".venv/bin/python"), *words, cwd=cwd or self.release)

    def installed(self) -> list[str]:
        code = "import importlib.metadata as m; print(*sorted(d.metadata['Name'] + '==' + d.version for d in m.distributions()))"
        return self.python("-I", "-c", code).split()


@pytest.fixture
def builds(tmp_path: Path, index: str, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Builds:
    for folder in ("srv/releases", "etc", "tree", "run", "bin"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "srv/cache").symlink_to(cache)
    (tmp_path / "etc/environment").write_text('FLASK_APP="blog:app"\n')
    # The distribution's Python is the one that runs this test; no other is there.
    (tmp_path / "bin/python3").symlink_to(os.path.realpath(sys.executable))
    for program in ("realpath", "dirname"):
        (tmp_path / "bin" / program).symlink_to(f"/usr/bin/{program}")
    made = Builds(tmp_path, index)

    def run(self: HostedApp, unit: str, folder: Path, words: Sequence[str], settings: Iterable[str], kind: str = "") -> str:
        made.ran.append((*words, *settings))
        given: dict[str, str] = {"PATH": f"{tmp_path}/bin", **MANAGER}
        for property_ in settings:
            name, _, value = property_.partition("=")
            if name == "Environment":
                key, _, text = value.partition("=")
                given[key] = text
        for property_ in settings:
            if property_.startswith("EnvironmentFile="):
                given.update(parse_environment(Path(property_.partition("=")[2]).read_text()))
        first = f"{folder}/{words[0]}" if words[0].startswith(".venv/") else words[0]
        done = subprocess.run([first, *words[1:]], cwd=folder, env=given, capture_output=True, text=True, check=False, umask=0o022)
        if done.returncode:
            raise CommandError(done.stdout + done.stderr, done.returncode)
        return done.stdout + done.stderr

    def plain(*words: str, account: Account | None = None, **how: Any) -> str:
        return command(*words, **how)

    monkeypatch.setattr(HostedApp, "run_as_app", run)
    monkeypatch.setattr(Account, "of", classmethod(lambda cls, user, group: cls(user, os.getuid(), os.getgid())))
    monkeypatch.setattr(syslog, "syslog", lambda *words: None)
    for name in ("chown", "fchown"):
        monkeypatch.setattr(os, name, lambda *words, **how: None)
    for module in (deploy_build, virtual_environment):
        monkeypatch.setattr(module, "command", plain)
    monkeypatch.setattr(deploy_build, "stop_units", lambda *units: None)
    monkeypatch.setattr(Switcher, "revive", lambda self: None)
    ids = (f"{NEW}{letter}" for letter in ("", *"bcdefghi"))
    monkeypatch.setattr(deploy_build, "new_id", lambda *words: next(ids))
    # No download is tried: the tests need no network.
    monkeypatch.setattr(interpreter, "command", lambda *words, **how: (_ for _ in ()).throw(CommandError("dns error")))
    for lock, exporter in EXPORTERS.items():
        monkeypatch.setitem(EXPORTERS, lock, exporter._replace(pins=f"{exporter.tool}==1.0"))
    return made


@pytest.mark.parametrize("name", [name for name in names() if not SmallApp.of(name).refused and not SmallApp.of(name).needs])
def test_an_app_as_it_comes_is_built(builds: Builds, name: str) -> None:
    """[F5] What its lock says is installed and nothing else, and the entry point can be imported from where Gunicorn starts."""
    app = SmallApp.of(name)
    warnings = builds.build(name).get("warnings", [])
    assert set(app.brings) == set(builds.installed()), name
    module, attribute = app.variables["app_wsgi"].split(":")
    where = builds.python("-c", f"import {module}; assert callable({module}.{attribute}); print({module}.__file__)").strip()
    assert Path(where).is_relative_to(builds.release) and ".venv" not in where, "there is a second copy of the app's code"
    for part in app.warns:
        assert any(part in warning for warning in warnings), warnings
    assert bool(warnings) == bool(app.warns), warnings
    assert not [wrong for wrong in app.without if any(found.startswith(f"{wrong}==") for found in builds.installed())]
    for program in app.programs:
        assert command(str(builds.release / ".venv/bin" / program)) == "hello\n"
    for path in app.makes:
        assert (builds.release / path).exists(), f"the release has no {path}"
    assert not (builds.root / "run/blog-build").exists(), "what the build alone was told is still there"
    # The index may have another version tomorrow, or the code of a dependency lies in the source.
    assert bool(builds.environment) == (name in LOCKED)


@pytest.mark.parametrize("name", LOCKED)
def test_a_locked_environment_is_taken_over(builds: Builds, name: str) -> None:
    """[S1] The next release has the same packages and programs, its own code, needs nothing of the one before, and leaves it as it was."""
    app = SmallApp.of(name)
    builds.build(name)
    before, there, noted = builds.release, builds.installed(), builds.environment
    (builds.root / "tree/app/added.py").write_text("NEW = True\n")
    assert builds.again(name), "it was built anew"
    assert left(before / ".venv") == noted["left"] and builds.environment["of"] == noted["of"]
    named = [path for path in (builds.release / ".venv").rglob("*") if path.is_file() and path.suffix != ".pyc"]
    assert not [path for path in named if before.name in path.read_bytes().decode(errors="replace").replace(builds.id, "")]
    packages = list(before.glob(".venv/lib/python*/site-packages/*.py"))
    assert any(path.samefile(builds.release / path.relative_to(before)) for path in packages if path.name.startswith("tiny"))
    command("rm", "-r", str(before))
    assert builds.installed() == there and set(app.brings) == set(there)
    module, attribute = app.variables["app_wsgi"].split(":")
    where = builds.python("-c", f"import {module}; assert callable({module}.{attribute}); print({module}.__file__)").strip()
    assert Path(where).is_relative_to(builds.release) and ".venv" not in where
    for program in app.programs:
        assert command(str(builds.release / ".venv/bin" / program)) == "hello\n"
    # Once more, from one that was taken over itself.
    assert builds.again(name) and builds.installed() == there


def test_an_environment_that_is_another_is_built(builds: Builds) -> None:
    """[S1] Another lock, another server, another wish; one that somebody has changed by hand; and whenever the operator forces it."""
    name = "uv-lock"
    builds.build(name)
    assert builds.again(name)
    assert not builds.again(name, requirements=["tiny-server==1.0", "tiny-mail==1.0"]), "another requirement of the machine"
    assert not builds.again(name, requirements=["tiny-mail"]) and not builds.again(name, requirements=["tiny-mail"])
    assert builds.again(name)
    assert not builds.again(name, force=True)
    for release in (builds.root / "srv/releases").iterdir():
        next(release.glob(".venv/lib/python*/site-packages/tiny_web.py")).write_text("VERSION = 'by hand'\n")
    assert not builds.again(name), "what somebody changed went on"


@pytest.mark.parametrize("name", [name for name in names() if SmallApp.of(name).refused])
def test_what_cannot_be_built_is_refused_by_name(builds: Builds, name: str) -> None:
    """[F5] [F8] With the file or the variable; no part of the release stays."""
    with pytest.raises(StepError) as failure:
        builds.build(name)
    assert SmallApp.of(name).refused in failure.value.evidence
    assert [path.name for path in builds.release.iterdir()] == ["release.json"]
    assert not (builds.root / "run/blog-build").exists()


def test_what_the_build_alone_is_told_is_seen_by_nobody(builds: Builds) -> None:
    """[F5] [F4] Neither in arguments, which all of the host may read, nor in the release, nor in what a failure says."""
    secrets = {"UV_INDEX_COMPANY_USERNAME": "ada", "UV_INDEX_COMPANY_PASSWORD": "s3cret"}
    builds.build("private-index", build_secrets=secrets)
    assert "s3cret" not in str(builds.ran) and any("blog-build/environment" in word for words in builds.ran for word in words)
    kept = [path for path in builds.release.rglob("*") if path.is_file() and b"s3cret" in path.read_bytes()]
    assert kept == []


def test_the_deploy_key_is_there_while_a_build_runs(builds: Builds) -> None:
    """[F4] In memory, for the builder alone, and gone afterwards."""
    config, private = builds.root / "etc", builds.root / "run/blog-build"
    (config / "deploy_key").write_text("KEY")
    builds.build("single-module", build_commands=[f'test "$(stat -c %a {private}/deploy_key) $(cat {private}/deploy_key)" = "600 KEY"'])
    assert not private.exists()


def test_a_failure_does_not_tell_a_secret(builds: Builds) -> None:
    """[F5] [F4] A command prints what it was given: the manifest keeps the reason, and not that."""
    told = {"TOKEN": "s3cret-token", "netrc": "machine pypi.example.com login ada password wr0ng-word"}
    lines = ['echo "as $TOKEN" && cat "$NETRC" && echo https://ada:t0ken@pypi.example.com/x && false']
    with pytest.raises(StepError) as failure:
        builds.build("single-module", build_commands=lines, build_secrets=told)
    shown = failure.value.evidence + (builds.release / "release.json").read_text()
    assert "as ***" in shown and "machine pypi.example.com" in shown
    assert not [secret for secret in ("s3cret-token", "wr0ng-word", "t0ken") if secret in shown]
    assert failure.value.step == "build commands" and "app_build_commands: echo" in shown


def test_a_python_that_uv_manages_is_used_where_the_distributions_does_not_fit(builds: Builds) -> None:
    """[F5] One for all apps of the host; what the project's developers use decides among those that fit."""
    managed = builds.root / "python/cpython-3.99.1-linux-x86_64-gnu/bin"
    asked: list[tuple[str, ...]] = []

    def find(words: tuple[str, ...]) -> str:
        asked.append(words)
        if "--managed-python" not in words:
            raise CommandError("error: No interpreter found")
        return f"{managed}/python3.99\n"

    class Sandbox:
        def uv(self, folder: Path, *words: str) -> str:
            return find(words)

    source = builds.root / "tree/app"
    source.mkdir()
    (source / "pyproject.toml").write_text('[project]\nname = "blog"\nrequires-python = ">=3.98"\n')
    (source / ".python-version").write_text("3.99\n")
    settings = Settings.of(parameters(builds.root), check_mode=False)
    chosen = interpreter.Interpreters(Sandbox(), settings).choose(source, Project(source))  # type: ignore[arg-type]
    assert chosen == (f"{managed}/python3.99", [])
    assert [words[-2:] for words in asked] == [("--no-managed-python", ">=3.98"), ("--managed-python", "3.99")]
