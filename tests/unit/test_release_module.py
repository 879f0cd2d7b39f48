"""The steps of a deploy, in the order in which they may happen, and what each leaves behind when it fails.

The host is replaced by a record of what the module asks of it: commands, units, requests, and the moves of `current`.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import platform
import re
import shutil
import tarfile
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NoReturn

import pytest
from ansible_collections.slipway.vps.plugins.module_utils import system
from ansible_collections.slipway.vps.plugins.module_utils.environment import parse_environment
from ansible_collections.slipway.vps.plugins.module_utils.releases import BUILDING, FAILED, LIVE, READY, RETIRED, Release, Store
from ansible_collections.slipway.vps.plugins.module_utils.system import Account, CommandError
from ansible_collections.slipway.vps.plugins.modules import release as module
from ansible_collections.slipway.vps.plugins.modules.release import Deploy, StepError

COMMIT = "4f2a9c10" + "0" * 32
NEW = "20261120T072201-4f2a9c10"
OLD = "20261119T072201-0ddba110"
OLDER = "20261118T072201-deadbeef"


class Host:
    """What the module did, in order, and how the host answers."""

    def __init__(self) -> None:
        self.did: list[str] = []
        self.active: set[str] = set()
        self.fails: dict[str, str] = {}
        self.dies: set[str] = set()
        self.answers: list[tuple[int, str]] = []
        self.asked: list[tuple[str, str, str]] = []
        self.revisions: list[str] = []
        self.environments: dict[str, dict[str, str]] = {}
        self.accounts: dict[str, Account | None] = {}
        self.brings: list[str] = []

    def note(self, line: str) -> None:
        self.did.append(line)
        for part, reason in self.fails.items():
            if part in line:
                raise CommandError(reason)

    def command(
        self, *words: str, account: Account | None = None, environment: dict[str, str] | None = None, cwd: Path | None = None
    ) -> str:
        if words[0] == "tar":
            return system.command(*words)
        line = " ".join(words)
        self.environments[words[0]], self.accounts[words[0]] = dict(environment or {}), account
        if words[0] == "psql":
            if not self.revisions:
                raise CommandError('relation "alembic_version" does not exist')
            return self.revisions.pop(0) + "\n"
        self.note(line)
        if words[:2] == ("systemctl", "stop"):
            self.active -= set(words[2:])
        if cwd and words[1] == "venv":
            (cwd / ".venv/bin").mkdir(parents=True)
        if cwd and words[1] in ("sync", "pip"):
            for name in self.brings:
                (cwd / ".venv/lib/python3.13/site-packages" / name).mkdir(parents=True, exist_ok=True)
        return "Python 3.13.5\n" if line.endswith("--version") else f"said {words[0]}\n"

    def start_unit(self, unit: str) -> None:
        self.note(f"start {unit}")
        if unit not in self.dies:
            self.active.add(unit)

    def stop_units(self, *units: str) -> None:
        with contextlib.suppress(CommandError):
            self.command("systemctl", "stop", *units)

    def get(self, path: Path, url: str, host: str, timeout: float = 5) -> tuple[int, str]:
        self.asked.append((str(path), url, host))
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    def instances(self, template: str) -> list[str]:
        return sorted(unit for unit in self.active if unit.startswith(f"{template}@"))


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch, root: Path) -> Host:
    """The effects of the module, replaced."""
    made = Host()
    for name in ("command", "start_unit", "stop_units", "get", "instances"):
        monkeypatch.setattr(module, name, getattr(made, name))
    monkeypatch.setattr(module, "is_active", lambda unit: unit in made.active)
    monkeypatch.setattr(module, "journal", lambda unit, lines=30: f"journal of {unit}")
    monkeypatch.setattr(module, "now", lambda: datetime(2026, 11, 20, 7, 22, 1, tzinfo=timezone.utc))
    monkeypatch.setattr(Account, "of", classmethod(lambda cls, user, group: cls(user, 4242, 4343)))
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    monkeypatch.setattr(shutil, "which", lambda program: f"/usr/bin/{program}")
    monkeypatch.setattr(os, "fchown", lambda *words: None)

    def chown(path: Path, uid: int, gid: int, follow_symlinks: bool = True) -> None:
        assert not follow_symlinks, "a link of the app could hand out any file of the host"
        if path.parent == root / "srv/releases":
            made.did.append(f"give {path.name} to {uid}:{gid}")

    monkeypatch.setattr(os, "chown", chown)
    point, save = Store.point_current_at, Store.save

    def moved(self: Store, release_id: str) -> None:
        point(self, release_id)
        made.did.append(f"current -> {release_id}")

    def noted(self: Store, release: Release) -> None:
        save(self, release)
        made.did.append(f"{release.id} is {release.state}")

    monkeypatch.setattr(Store, "point_current_at", moved)
    monkeypatch.setattr(Store, "save", noted)
    return made


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """/srv/blog, /etc/blog and a source tree."""
    (tmp_path / "srv/releases").mkdir(parents=True)
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/environment").write_text('DATABASE_URL="postgresql:///blog?host=/run/postgresql"\n')
    (tmp_path / "etc/secrets").write_text('SECRET_KEY="s3cret"\n')
    (tmp_path / "tree/.git").mkdir(parents=True)
    (tmp_path / "tree/.git/config").write_text("")
    (tmp_path / "tree/blog.py").write_text("app = None\n")
    (tmp_path / "tree/requirements.txt").write_text("flask==3.1.2\n")
    return tmp_path


Make = Callable[..., Deploy]


@pytest.fixture
def deploy(root: Path, host: Host) -> Make:
    """A deploy with the module's parameters, changed as named."""

    def make(check_mode: bool = False, **changes: Any) -> Deploy:
        parameters: dict[str, Any] = {
            **{"name": "blog", "root": str(root / "srv"), "config_dir": str(root / "etc"), "user": "blog", "group": "blog"},
            **{"wsgi": "blog:app", "host": "blog.example.com", "ready": "/healthz/ready", "ready_timeout": 0.0},
            **{"identity": COMMIT, "commit": COMMIT, "tree": str(root / "tree"), "archive": None, "requirement": None},
            **{"requirements": ["gunicorn==27.0.1"], "runtime_files": [str(root / "etc/environment")], "processes": []},
            **{"python": "python3", "uv": "uv", "migrate_command": "auto", "lock_timeout": 5, "release": None, "keep": 5},
        }
        assert set(changes) <= set(parameters)
        return Deploy({**parameters, **changes}, check_mode)

    return make


@pytest.fixture
def existing(root: Path, host: Host) -> Callable[..., Release]:
    """A release that is on disk already, with a tree; live ones run, and `current` names them."""

    def make(name: str, state: str, current: bool = False, running: bool = False, **more: Any) -> Release:
        store = Store(root / "srv")
        made = Release(id=name, fingerprint=more.pop("fingerprint", name), source={"commit": name}, state=state, **more)
        (store.folder(name) / ".venv/bin").mkdir(parents=True)
        (store.folder(name) / "blog.py").write_text("")
        (store.folder(name) / "environment").write_text('DATABASE_URL="postgresql:///blog?host=/run/postgresql"\n')
        store.save(made)
        if current:
            store.point_current_at(name)
        if running:
            host.active |= {f"blog@{name}.service", *(f"blog-{process}@{name}.service" for process in made.processes)}
        host.did.clear()
        return made

    return make


@pytest.fixture
def serving(existing: Callable[..., Release], host: Host) -> Release:
    """The old release serves."""
    host.active |= {"blog.socket", "blog.service"}
    return existing(OLD, LIVE, current=True, running=True)


def files(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() if path.is_file() else "" for path in folder.rglob("*")}


def listed(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def state(root: Path, name: str) -> str | None:
    found = Store(root / "srv").load(name)
    return found.state if found else None


def refused(root: Path, name: str, step: str, reason: str) -> None:
    """The release failed with this reason; its manifest is all that is left of it."""
    found = Store(root / "srv").load(name)
    assert found and found.state == FAILED, found
    assert found.failure and found.failure["step"] == step and reason in found.failure["reason"], found.failure
    assert listed(root / "srv/releases" / name) == ["release.json"]


def untouched(root: Path, host: Host) -> None:
    """The old release serves as before."""
    store = Store(root / "srv")
    assert store.live_id() == OLD and state(root, OLD) == LIVE
    assert f"blog@{OLD}.service" in host.active
    assert (store.folder(OLD) / "blog.py").exists()


# --- plan ---------------------------------------------------------------------------------------


def test_nothing_is_needed_when_it_is_live(deploy: Make, existing: Callable[..., Release]) -> None:
    """[S1] The same source, configuration and interpreter: a second run changes nothing."""
    existing(OLD, LIVE, current=True, fingerprint=deploy().fingerprint())
    assert deploy().plan() == {"changed": False, "needed": False, "release": OLD}


@pytest.mark.parametrize(
    "changes",
    [
        *({"identity": "other"}, {"wsgi": "blog:create_app()"}, {"python": "python3.13"}, {"processes": ["worker"]}),
        *({"requirements": []}, {"runtime_files": []}),
    ],
)
def test_a_change_asks_for_a_new_release(deploy: Make, existing: Callable[..., Release], changes: dict[str, Any]) -> None:
    """[S1] Anything that decides how the app behaves."""
    existing(OLD, LIVE, current=True, fingerprint=deploy().fingerprint())
    assert deploy(**changes).plan() == {"changed": False, "needed": True, "release": ""}


def test_a_changed_file_or_interpreter_asks_for_a_new_release(deploy: Make, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """[A11] The environment is read at start only; a new Python leaves the old virtual environment without one."""
    before = deploy().fingerprint()
    (root / "etc/environment").write_text('A="2"\n')
    changed = deploy().fingerprint()
    monkeypatch.setattr(platform, "python_version", lambda: "3.99.0")
    assert len({before, changed, deploy().fingerprint()}) == 3


def test_the_order_of_lists_asks_for_nothing(deploy: Make) -> None:
    """[S1] Dictionaries and lists of the inventory may be written in any order."""
    one = deploy(processes=["beat", "worker"], requirements=["a==1", "b==2"]).fingerprint()
    assert one == deploy(processes=["worker", "beat"], requirements=["b==2", "a==1"]).fingerprint()


def test_a_release_that_waits_is_used_again(deploy: Make, existing: Callable[..., Release], serving: Release, host: Host) -> None:
    """[S1] An interrupted deploy goes on where it was: nothing is built twice."""
    existing(NEW, READY, fingerprint=deploy().fingerprint())
    assert deploy().plan() == {"changed": False, "needed": True, "release": NEW}
    assert deploy().prepare() == {"changed": False, "release": NEW}
    assert host.did == []


def test_a_failed_release_is_not_used_again(deploy: Make, existing: Callable[..., Release], serving: Release) -> None:
    """[S1] The next run tries from the beginning."""
    existing(NEW, FAILED, fingerprint=deploy().fingerprint())
    assert deploy().plan()["release"] == ""


# --- prepare ------------------------------------------------------------------------------------

PIP = "uv pip install --python .venv/bin/python --compile-bytecode"


def test_a_release_is_built_in_order(deploy: Make, root: Path, host: Host) -> None:
    """[A10] [A6] Manifest, source, environment of its own, entry point; ready only when all of it went well."""
    assert deploy(processes=["worker", "beat"]).prepare() == {"changed": True, "release": NEW}
    folder = root / "srv/releases" / NEW
    did = [line if "systemd-run" not in line else "check" for line in host.did]
    assert did == [
        f"{NEW} is building",
        f"give {NEW} to 4242:4343",
        f"{NEW} is building",
        "uv venv --python python3 .venv",
        f"{folder}/.venv/bin/python --version",
        f"{PIP} --requirement requirements.txt",
        f"{PIP} gunicorn==27.0.1",
        r".venv/bin/python -m compileall -q -x /\.venv/ .",
        f"give {NEW} to 0:0",
        "check",
        f"{NEW} is ready",
    ]
    made = Store(root / "srv").load(NEW)
    assert made and (made.python, made.commit, made.processes) == ("3.13.5", COMMIT, ["beat", "worker"])
    assert made.fingerprint == deploy(processes=["worker", "beat"]).fingerprint()
    assert made.created_at == "2026-11-20T07:22:01+00:00" and made.lock
    assert (folder / "blog.py").exists() and not (folder / ".git").exists()
    assert not (root / "srv/current").exists()


def test_whatever_builds_is_the_apps_user(deploy: Make, host: Host) -> None:
    """[A5] A build runs code of the app and of its dependencies: never as root, never with root's environment."""
    deploy().prepare()
    assert {name: account.name if account else "root" for name, account in host.accounts.items()} == {
        "uv": "blog",
        **{name: "blog" for name in host.accounts if name.endswith("python")},
        "systemd-run": "root",
    }
    assert "--uid=blog --gid=blog" in host.did[-2]
    assert host.environments["uv"]["UV_PYTHON_DOWNLOADS"] == "never"


def test_the_configuration_is_kept_with_the_release(deploy: Make, root: Path) -> None:
    """[S1] Without the secrets; going back to the release brings its environment back."""
    deploy().prepare()
    text = (root / "srv/releases" / NEW / "environment").read_text()
    assert text.startswith((root / "etc/environment").read_text())
    assert parse_environment(text) == {
        "DATABASE_URL": "postgresql:///blog?host=/run/postgresql",
        **{"SLIPWAY_COMMIT": COMMIT, "SLIPWAY_RELEASE": NEW, "SLIPWAY_WSGI": "blog:app"},
    }
    assert "s3cret" not in text


def test_the_entry_point_is_imported_with_the_releases_own_environment(deploy: Make, root: Path, host: Host) -> None:
    """[A6] As the app's user, sandboxed, with the environment and the secrets that the service will have."""
    deploy().prepare()
    line = next(line for line in host.did if line.startswith("systemd-run"))
    folder = root / "srv/releases" / NEW
    for part in (
        *("--wait", "--unit=blog-check-step", "--uid=blog", "--gid=blog", f"--working-directory={folder}"),
        *(f"--property=EnvironmentFile={folder}/environment", f"--property=EnvironmentFile=-{root}/etc/secrets"),
        *("--property=ProtectSystem=strict", "--property=NoNewPrivileges=yes"),
    ):
        assert part in line.split(), line
    assert line.endswith(f"{folder}/.venv/bin/gunicorn --config {root}/etc/gunicorn.conf.py --check-config")


@pytest.mark.parametrize(
    ("there", "asked"),
    [
        (("uv.lock", "requirements.txt", "pyproject.toml"), "uv sync --frozen --no-dev --no-editable --compile-bytecode"),
        (("requirements.txt", "pyproject.toml"), f"{PIP} --requirement requirements.txt"),
        (("pyproject.toml",), f"{PIP} ."),
    ],
)
def test_the_most_exact_list_of_dependencies_wins(deploy: Make, root: Path, host: Host, there: tuple[str, ...], asked: str) -> None:
    """[A10] uv.lock, then requirements.txt, then pyproject.toml; one of them, not all."""
    (root / "tree/requirements.txt").unlink()
    for name in there:
        (root / "tree" / name).write_text("")
    deploy(requirements=[]).prepare()
    assert [line for line in host.did if line.startswith("uv") and not line.startswith("uv venv")] == [asked]


def test_a_source_that_names_no_dependencies_is_refused(deploy: Make, root: Path, host: Host, serving: Release) -> None:
    """[A10] With the files that would do."""
    (root / "tree/requirements.txt").unlink()
    with pytest.raises(StepError, match=r"neither uv\.lock nor requirements\.txt nor pyproject\.toml"):
        deploy().prepare()
    refused(root, NEW, "dependencies", "add one that names what the app needs")
    untouched(root, host)


def test_a_package_is_installed_by_its_requirement(deploy: Make, host: Host) -> None:
    """[A10] There is no tree, and no lock file is asked for."""
    deploy(tree=None, requirement="blog==1.4.0", commit="").prepare()
    assert f"{PIP} blog==1.4.0" in host.did


@pytest.mark.parametrize(
    ("brings", "asked"),
    [
        ([], f"{PIP} gunicorn==27.0.1 gevent==26.9.0"),
        (["gunicorn-26.0.0.dist-info", "Flask-3.1.2.dist-info"], f"{PIP} gevent==26.9.0"),
        (["gunicorn-26.0.0.dist-info", "gevent-25.1.dist-info"], None),
    ],
)
def test_what_the_app_brings_itself_is_left_alone(deploy: Make, host: Host, brings: list[str], asked: str | None) -> None:
    """[A10] The app's own version of Gunicorn wins; what it lacks is added."""
    host.brings = brings
    deploy(requirements=["gunicorn==27.0.1", "gevent==26.9.0"]).prepare()
    installs = [line for line in host.did if line.startswith(PIP) and "--requirement" not in line]
    assert installs == ([asked] if asked else [])


def test_an_interrupted_build_is_cleaned_up(deploy: Make, existing: Callable[..., Release], root: Path, serving: Release) -> None:
    """[S1] A killed build leaves a folder; the next one removes it, and nothing else."""
    existing(OLDER, BUILDING)
    existing("20261117T072201-cafe", RETIRED)
    deploy().prepare()
    assert listed(root / "srv/releases") == ["20261117T072201-cafe", OLD, NEW]


@pytest.mark.parametrize(
    ("fails", "step"),
    [
        ("uv venv", "virtual environment"),
        ("--requirement requirements.txt", "dependencies"),
        ("gunicorn==27.0.1", "dependencies"),
        ("compileall", "dependencies"),
        ("--check-config", "import"),
    ],
)
def test_a_step_that_fails_leaves_the_old_release_alone(
    deploy: Make, root: Path, host: Host, serving: Release, fails: str, step: str
) -> None:
    """[S1] [A12] The manifest says which step and why, the rest of the new release is gone, the old one serves."""
    host.fails = {fails: "line\n" * 50 + "No solution found"}
    with pytest.raises(StepError) as failure:
        deploy().prepare()
    assert failure.value.step == step and failure.value.evidence.endswith("No solution found")
    assert len(failure.value.evidence.splitlines()) <= 30
    refused(root, NEW, step, "No solution found")
    untouched(root, host)
    assert not [line for line in host.did if line.startswith(("start", "systemctl stop", "current"))]


def test_a_missing_environment_file_is_a_failure_of_its_step(deploy: Make, root: Path) -> None:
    """[A12] Named, not a traceback."""
    (root / "etc/environment").unlink()
    with pytest.raises(StepError, match="No such file"):
        deploy().prepare()
    refused(root, NEW, "environment", "No such file")


# --- unpack -------------------------------------------------------------------------------------


def archive(path: Path, *names: str) -> Path:
    """A real tar file; a name that ends in / is a folder."""
    with tarfile.open(path, "w") as packed:
        for name in names:
            entry = tarfile.TarInfo(name.rstrip("/") if name != "./" else ".")
            entry.name = name if name.startswith("./") and not name.endswith("/") else entry.name
            entry.mode, entry.type = (0o755, tarfile.DIRTYPE) if name.endswith("/") else (0o644, tarfile.REGTYPE)
            entry.size = 0 if name.endswith("/") else len(name)
            packed.addfile(entry, None if name.endswith("/") else io.BytesIO(name.encode()))
    return path


@pytest.mark.parametrize(
    ("names", "found"),
    [
        # As GitHub and `git archive --prefix` pack.
        (["blog-1.4/", "blog-1.4/blog.py", "blog-1.4/pkg/a.py"], ["blog.py", "pkg", "pkg/a.py"]),
        (["blog-1.4/blog.py", "blog-1.4/pkg/a.py"], ["blog.py", "pkg", "pkg/a.py"]),
        # As `tar -C blog .` and the collection's own pack pack.
        (["./", "./blog.py", "./pkg/", "./pkg/a.py"], ["blog.py", "pkg", "pkg/a.py"]),
        (["blog.py", "pkg/a.py"], ["blog.py", "pkg", "pkg/a.py"]),
        (["blog.py"], ["blog.py"]),
        (["a/x.py", "b/y.py"], ["a", "a/x.py", "b", "b/y.py"]),
        # As `tar -cf x.tar ./blog` packs.
        (["./blog-1.4/", "./blog-1.4/blog.py", "./blog-1.4/pkg/a.py"], ["blog.py", "pkg", "pkg/a.py"]),
    ],
)
def test_an_archive_is_unpacked_without_its_single_top_folder(deploy: Make, tmp_path: Path, names: list[str], found: list[str]) -> None:
    """[A10] With one or without, with or without ./, compressed or not."""
    folder = tmp_path / "unpacked"
    folder.mkdir()
    packed = archive(tmp_path / "source.tar", *names)
    os.utime(packed, (0, 0))
    deploy().unpack(packed, folder)
    assert sorted(str(path.relative_to(folder)) for path in folder.rglob("*")) == found
    # nginx builds its ETag from the time: the archive's own may be the same for all versions.
    assert all(path.stat().st_mtime > 1e9 for path in folder.rglob("*") if path.is_file())


def test_an_archive_that_cannot_be_read_is_a_failure_of_its_step(deploy: Make, root: Path) -> None:
    """[A10] With what tar says."""
    (root / "broken.tar").write_bytes(b"no tar at all" * 100)
    with pytest.raises(StepError, match="tar"):
        deploy(tree=None, archive=str(root / "broken.tar")).prepare()
    refused(root, NEW, "source", "tar")


# --- migrate ------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["migrations/env.py", "blog/migrations/env.py", "src/blog/migrations/env.py"])
def test_a_migrations_folder_is_found(deploy: Make, existing: Callable[..., Release], root: Path, host: Host, place: str) -> None:
    """[A13] `auto` runs the upgrade from the new release, with a limit on the wait for locks."""
    existing(NEW, READY)
    env = root / "srv/releases" / NEW / place
    env.parent.mkdir(parents=True)
    env.write_text("")
    (root / "srv/releases" / NEW / ".venv/bin/flask").write_text("")
    host.revisions = ["0001", "0002"]
    assert deploy(release=NEW, lock_timeout=7).migrate() == {"changed": True, "release": NEW, "output": "said systemd-run"}
    line = host.did[0]
    assert line.endswith(f" {root}/srv/releases/{NEW}/.venv/bin/flask db upgrade")
    assert "--property=Environment=PGOPTIONS=-clock_timeout=7000" in line and "--unit=blog-migrate-step" in line
    found = Store(root / "srv").load(NEW)
    assert found and (found.schema_before, found.schema_after, found.state) == ("0001", "0002", READY)


def test_the_schema_is_asked_as_the_app(deploy: Make, existing: Callable[..., Release], root: Path, host: Host) -> None:
    """[A13] With the app's rights; the password stays out of the list of processes; secrets win over the environment."""
    existing(NEW, READY)
    (root / "etc/secrets").write_text('DATABASE_URL="postgresql://blog:pa%40ss@db.example:5433/blog2"\n')
    host.revisions = ["0007"]
    assert deploy().schema(Store(root / "srv").load(NEW)) == "0007"  # type: ignore[arg-type]
    asked = host.environments["psql"]
    assert {name: asked[name] for name in ("PGHOST", "PGPORT", "PGDATABASE", "PGUSER", "PGPASSWORD")} == {
        **{"PGHOST": "db.example", "PGPORT": "5433", "PGDATABASE": "blog2", "PGUSER": "blog", "PGPASSWORD": "pa@ss"},
    }
    account = host.accounts["psql"]
    assert account and account.name == "blog"


def test_a_database_without_a_revision_is_no_failure(deploy: Make, existing: Callable[..., Release], root: Path, host: Host) -> None:
    """[A13] A fresh database has no table yet; an app may have no database of this kind."""
    made = existing(NEW, READY)
    assert deploy().schema(made) is None
    (root / "srv/releases" / NEW / "environment").write_text('DATABASE_URL="mysql://x/y"\n')
    host.revisions = ["0001"]
    assert deploy().schema(made) is None and host.revisions == ["0001"]


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ("auto", []),
        ("", []),
        ("alembic -c 'my app.ini' upgrade head", [".venv/bin/alembic", "-c", "my app.ini", "upgrade", "head"]),
        ("/usr/local/bin/migrate --now", ["/usr/local/bin/migrate", "--now"]),
    ],
)
def test_the_migration_command(deploy: Make, existing: Callable[..., Release], root: Path, asked: str, words: list[str]) -> None:
    """[A13] `auto` without a migrations folder and an empty command mean none; programs of the release come first."""
    existing(NEW, READY)
    folder = root / "srv/releases" / NEW
    (folder / ".venv/bin/alembic").write_text("")
    assert deploy(migrate_command=asked).migration(folder) == words


def test_a_migration_runs_once(deploy: Make, existing: Callable[..., Release], host: Host, root: Path) -> None:
    """[A13] Not again for a release that is migrated, that serves, or when there is nothing to do."""
    existing(NEW, READY, schema_after="0002")
    existing(OLD, LIVE, current=True)
    existing(OLDER, READY)
    for name, asked in ((NEW, "flask db upgrade"), (OLD, "flask db upgrade"), (OLDER, "auto")):
        assert deploy(release=name, migrate_command=asked).migrate() == {"changed": False, "release": name, "output": ""}
    assert host.did == []


def test_a_migration_that_changes_nothing_says_so(deploy: Make, existing: Callable[..., Release], host: Host) -> None:
    """[A13] Most deploys have no new revision."""
    existing(NEW, READY)
    host.revisions = ["0002", "0002"]
    assert deploy(release=NEW, migrate_command="flask db upgrade").migrate()["changed"] is False


def test_a_migration_that_fails_stops_the_deploy(
    deploy: Make, existing: Callable[..., Release], root: Path, host: Host, serving: Release
) -> None:
    """[A13] With what the command said; the old release serves on."""
    existing(NEW, READY)
    host.fails = {"systemd-run": "canceling statement due to lock timeout"}
    with pytest.raises(StepError, match="lock timeout"):
        deploy(release=NEW, migrate_command="flask db upgrade").migrate()
    refused(root, NEW, "migration", "lock timeout")
    untouched(root, host)


# --- rehearse -----------------------------------------------------------------------------------

REHEARSAL = f"blog-rehearsal@{NEW}.service"


def test_a_release_is_rehearsed_until_it_is_ready(deploy: Make, existing: Callable[..., Release], host: Host, serving: Release) -> None:
    """[S1] [A14] On a private socket, asked as nginx would ask, with patience; and stopped when it is done."""
    existing(NEW, READY)
    host.answers = [(0, "FileNotFoundError"), (503, "warming up"), (200, "ok")]
    assert deploy(release=NEW, ready_timeout=60).rehearse() == {"changed": False, "release": NEW}
    assert host.did == [f"start {REHEARSAL}", f"systemctl stop {REHEARSAL}"]
    assert host.asked == [("/run/blog-rehearsal/gunicorn.sock", "/healthz/ready", "blog.example.com")] * 3


def test_a_release_that_is_not_ready_in_time_is_refused(
    deploy: Make, existing: Callable[..., Release], root: Path, host: Host, serving: Release
) -> None:
    """[S1] [A14] The answer and the journal are the evidence; the rehearsal is stopped; the old release serves."""
    existing(NEW, READY)
    host.answers = [(500, "database: connection refused")]
    with pytest.raises(StepError) as failure:
        deploy(release=NEW, ready_timeout=-1).rehearse()
    assert failure.value.evidence == f"GET /healthz/ready answered 500: database: connection refused\njournal of {REHEARSAL}"
    assert f"systemctl stop {REHEARSAL}" in host.did and REHEARSAL not in host.active
    refused(root, NEW, "readiness", "answered 500")
    untouched(root, host)


def test_a_redirect_is_not_ready(deploy: Make, existing: Callable[..., Release], root: Path, host: Host) -> None:
    """[A14] 200 and nothing else: a login page is no health."""
    existing(NEW, READY)
    host.answers = [(302, "")]
    with pytest.raises(StepError, match="answered 302"):
        deploy(release=NEW, ready_timeout=-1).rehearse()
    refused(root, NEW, "readiness", "answered 302")


def test_a_rehearsal_that_dies_is_noticed_at_once(
    deploy: Make, existing: Callable[..., Release], root: Path, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """[S1] Nobody waits for the timeout of a process that is gone."""
    existing(NEW, READY)
    host.answers, host.dies = [(0, "ConnectionRefusedError")], {REHEARSAL}

    def sleep(seconds: float) -> NoReturn:
        raise AssertionError("it waits for a unit that is dead")

    monkeypatch.setattr(time, "sleep", sleep)
    with pytest.raises(StepError, match="answered nothing: ConnectionRefusedError"):
        deploy(release=NEW, ready_timeout=3600).rehearse()
    refused(root, NEW, "readiness", f"journal of {REHEARSAL}")


def test_a_rehearsal_that_does_not_start_is_stopped(deploy: Make, existing: Callable[..., Release], root: Path, host: Host) -> None:
    """[S1] systemd would go on trying."""
    existing(NEW, READY)
    host.fails = {f"start {REHEARSAL}": "ModuleNotFoundError: No module named 'blog'"}
    with pytest.raises(StepError, match="ModuleNotFoundError"):
        deploy(release=NEW).rehearse()
    assert host.did[-3:] == [f"start {REHEARSAL}", f"systemctl stop {REHEARSAL}", f"{NEW} is failed"]
    refused(root, NEW, "start", "ModuleNotFoundError")


def test_what_serves_is_not_rehearsed(deploy: Make, serving: Release, host: Host) -> None:
    """[S1] It has been."""
    assert deploy(release=OLD).rehearse() == {"changed": False, "release": OLD}
    assert host.did == []


# --- activate -----------------------------------------------------------------------------------


def test_the_new_release_serves_before_the_old_one_stops(
    deploy: Make, existing: Callable[..., Release], root: Path, host: Host, serving: Release
) -> None:
    """[S1] [S2] New started, then written down, then current moved, and only then the old one stopped: no moment without one."""
    existing(NEW, READY)
    assert deploy(release=NEW).activate() == {"changed": True, "release": NEW}
    assert host.did == [
        "start blog.service",
        f"start blog@{NEW}.service",
        f"{NEW} is live",
        f"current -> {NEW}",
        f"systemctl stop blog@{OLD}.service",
        f"{OLD} is retired",
    ]
    assert host.active == {"blog.socket", "blog.service", f"blog@{NEW}.service"}
    found = Store(root / "srv").live()
    assert found and (found.id, found.live_at) == (NEW, "2026-11-20T07:22:01+00:00")


def test_a_second_activation_changes_nothing(deploy: Make, serving: Release, host: Host) -> None:
    """[S1] Idempotent."""
    assert deploy(release=OLD).activate() == {"changed": False, "release": OLD}
    assert host.did == []


def test_background_processes_move_with_the_release(deploy: Make, existing: Callable[..., Release], host: Host) -> None:
    """[A15] The new worker starts with the new release; the old ones stop, also one that the new release no longer has."""
    host.active |= {"blog.socket", "blog.service"}
    existing(OLD, LIVE, current=True, running=True, processes=["beat", "worker"])
    existing(NEW, READY, processes=["worker"])
    deploy(release=NEW).activate()
    assert host.active == {"blog.socket", "blog.service", f"blog@{NEW}.service", f"blog-worker@{NEW}.service"}
    assert host.did.index(f"start blog-worker@{NEW}.service") < host.did.index(f"current -> {NEW}")
    stops = [line.split()[2:] for line in host.did if line.startswith("systemctl stop")]
    assert stops == [[f"{unit}@{OLD}.service" for unit in ("blog", "blog-beat", "blog-worker")]]


def test_what_an_interrupted_switch_left_is_stopped(deploy: Make, existing: Callable[..., Release], host: Host, serving: Release) -> None:
    """[S1] Killed between the start and the stop: two releases answer; the next run leaves one."""
    host.active.add(f"blog@{OLDER}.service")
    assert deploy(release=OLD).activate()["changed"] is True
    assert host.active == {"blog.socket", "blog.service", f"blog@{OLD}.service"}
    assert f"systemctl stop blog@{OLD}.service" not in host.did


@pytest.mark.parametrize("killed_at", ["is live", "current ->", "systemctl stop", "is retired"])
def test_a_switch_that_is_killed_is_finished_by_the_next_run(
    deploy: Make, existing: Callable[..., Release], root: Path, host: Host, serving: Release, killed_at: str
) -> None:
    """[S1] At whichever step: something serves all the time, and running it again ends in the same state."""
    existing(NEW, READY)
    note = host.did

    class Killed(list[str]):
        def append(self, line: str) -> None:
            super().append(line)
            if killed_at in line:
                raise KeyboardInterrupt

    host.did = Killed(note)
    with pytest.raises(KeyboardInterrupt):
        deploy(release=NEW).activate()
    live = Store(root / "srv").live_id()
    assert live and f"blog@{live}.service" in host.active
    host.did = []
    deploy(release=NEW).activate()
    assert Store(root / "srv").live_id() == NEW and state(root, NEW) == LIVE
    assert host.active == {"blog.socket", "blog.service", f"blog@{NEW}.service"}
    host.did = []
    assert deploy(release=NEW).activate()["changed"] is False


def test_what_was_stopped_by_hand_is_started_again(deploy: Make, serving: Release, host: Host) -> None:
    """[A9] The run that finds nothing new still leaves the app up, and does not touch current."""
    host.active.remove(f"blog@{OLD}.service")
    assert deploy(release=OLD).activate() == {"changed": True, "release": OLD}
    assert f"blog@{OLD}.service" in host.active
    assert not [line for line in host.did if "stop" in line]


def test_the_first_release_opens_the_socket_first(deploy: Make, existing: Callable[..., Release], host: Host) -> None:
    """[S1] systemd refuses a socket whose service is active; and without blog.service it would start an instance itself."""
    existing(NEW, READY)
    host.active.add("blog.service")
    deploy(release=NEW).activate()
    assert host.did[:4] == ["systemctl stop blog.service", "start blog.socket", "start blog.service", f"start blog@{NEW}.service"]


@pytest.mark.parametrize("fails", [f"start blog@{NEW}.service", f"start blog-worker@{NEW}.service"])
def test_a_start_that_fails_leaves_the_old_release_live(
    deploy: Make, existing: Callable[..., Release], root: Path, host: Host, serving: Release, fails: str
) -> None:
    """[S1] What was started of the new one is stopped again; the reason is kept."""
    existing(NEW, READY, processes=["worker"])
    host.fails = {fails: "MemoryError"}
    with pytest.raises(StepError, match="MemoryError"):
        deploy(release=NEW).activate()
    refused(root, NEW, "start", "MemoryError")
    untouched(root, host)
    assert host.active == {"blog.socket", "blog.service", f"blog@{OLD}.service"}
    assert not [line for line in host.did if f"stop blog@{OLD}" in line or line.startswith("current")]


def test_a_live_release_that_does_not_start_keeps_its_files(deploy: Make, serving: Release, root: Path, host: Host) -> None:
    """[S1] It is all there is: it may start the next time (after the database has come back, say)."""
    host.active.remove(f"blog@{OLD}.service")
    host.fails = {f"start blog@{OLD}": "database is down"}
    with pytest.raises(StepError, match="database is down"):
        deploy(release=OLD).activate()
    assert state(root, OLD) == LIVE and (root / "srv/releases" / OLD / "blog.py").exists()


def test_a_release_that_served_before_survives_a_failed_start(
    deploy: Make, existing: Callable[..., Release], serving: Release, root: Path, host: Host
) -> None:
    """[S1] Going back to it must not destroy it: the next try may find the database up again."""
    existing(OLDER, RETIRED)
    host.fails = {f"start blog@{OLDER}": "database is down"}
    with pytest.raises(StepError, match="database is down"):
        deploy(release=OLDER).activate()
    assert state(root, OLDER) == RETIRED and (root / "srv/releases" / OLDER / "blog.py").exists()
    untouched(root, host)


def test_an_old_release_that_cannot_be_stopped_is_said_so(
    deploy: Make, existing: Callable[..., Release], serving: Release, root: Path, host: Host
) -> None:
    """[S1] The switch has happened by then, and the message says that rather than the contrary."""
    existing(NEW, READY)
    host.fails = {f"systemctl stop blog@{OLD}": "timed out"}
    with pytest.raises(StepError, match="timed out") as failure:
        deploy(release=NEW).activate()
    assert Store(root / "srv").live_id() == NEW and state(root, NEW) == LIVE
    assert f"the switch itself succeeded: release {NEW} serves" in module.message(failure.value, NEW)


@pytest.mark.parametrize("name", [None, "20990101T000000-none"])
def test_a_release_that_does_not_exist_is_named(deploy: Make, serving: Release, root: Path, host: Host, name: str | None) -> None:
    """[S1] Rather than an activation of nothing."""
    for act in ("migrate", "rehearse", "activate"):
        with pytest.raises(StepError, match="there is no release"):
            getattr(deploy(release=name), act)()
    untouched(root, host)


# --- prune, list, check mode --------------------------------------------------------------------


def test_pruning_keeps_what_can_be_gone_back_to(deploy: Make, existing: Callable[..., Release], root: Path, serving: Release) -> None:
    """[S1] At least one, whatever is asked for."""
    for day in (10, 11, 12):
        existing(f"202611{day}T000000-aa", RETIRED)
    assert deploy(keep=0).prune() == {"changed": True, "removed": ["20261110T000000-aa", "20261111T000000-aa"], "release": OLD}
    assert listed(root / "srv/releases") == ["20261112T000000-aa", OLD]
    assert deploy(keep=0).prune()["changed"] is False


def test_list_shows_the_manifests(deploy: Make, existing: Callable[..., Release], serving: Release) -> None:
    """[K7] Oldest first, ready for JSON."""
    existing(NEW, FAILED, failure={"step": "import", "reason": "x"})
    result = deploy().list()
    assert [(entry["id"], entry["state"]) for entry in result["releases"]] == [(OLD, LIVE), (NEW, FAILED)]
    assert (result["release"], result["changed"]) == (OLD, False)
    json.dumps(result)


@pytest.mark.parametrize("act", ["plan", "prepare", "migrate", "rehearse", "activate", "prune", "list"])
def test_check_mode_changes_nothing(
    deploy: Make, existing: Callable[..., Release], root: Path, host: Host, serving: Release, act: str
) -> None:
    """[S1] Neither files nor units; and it says what would change."""
    existing(OLDER, BUILDING)
    existing(NEW, READY)
    before, active = files(root), set(host.active)
    result = getattr(deploy(check_mode=True, release=NEW, migrate_command="flask db upgrade"), act)()
    assert files(root) == before and host.active == active and host.did == []
    assert result["changed"] is (act in ("plan", "prepare", "activate", "prune"))


# --- The lock, the message, the module ----------------------------------------------------------


def test_two_deploys_do_not_work_at_once(tmp_path: Path) -> None:
    """[S1] The second is told so at once; the lock goes with its owner, also when that fails."""
    with module.exclusive(tmp_path), pytest.raises(StepError, match="another deploy works on") as failure, module.exclusive(tmp_path):
        raise AssertionError("two at once")
    assert failure.value.step == "lock"
    with pytest.raises(RuntimeError), module.exclusive(tmp_path):
        raise RuntimeError
    with module.exclusive(tmp_path):
        pass


def test_a_bare_host_needs_no_lock(tmp_path: Path) -> None:
    """A dry run on a new host: there is no folder yet, and none is made."""
    with module.exclusive(tmp_path / "srv"):
        pass
    assert not (tmp_path / "srv").exists()


def test_the_message_says_what_failed_and_what_serves() -> None:
    """[S1] Step, evidence, what still serves, what to do."""
    text = module.message(StepError("migration", "lock timeout"), OLD)
    assert re.search(
        rf"'migration' failed; nothing was switched\. Release {OLD} goes on serving\.\nlock timeout\n.*same command again", text
    )
    assert "No release is live yet." in module.message(StepError("import", "x"), "")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        *(("gunicorn==27.0.1", "gunicorn"), ("gunicorn-27.0.1.dist-info", "gunicorn"), ("Flask[async]>=3", "flask"), ("a ; x", "a")),
        *(("zope.interface @ https://x/y-1.0.whl", "zope-interface"), ("zope_interface-7.0.dist-info", "zope-interface")),
        *(("typing_extensions~=4.0", "typing-extensions"), ("Flask_SQLAlchemy-3.1.1.dist-info", "flask-sqlalchemy"), ("a!=1", "a")),
        *(("uvicorn-worker==0.3", "uvicorn-worker"), ("uvicorn_worker-0.3.0.dist-info", "uvicorn-worker"), ("h11<1", "h11")),
    ],
)
def test_the_project_of_a_requirement(text: str, name: str) -> None:
    """[A10] A requirement and the folder of what is installed have to meet, however each spells the name."""
    assert module._project(text) == name


class AnsweredError(Exception):
    """The module has answered."""


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Deploy], dict[str, Any]]]:
    """Run the module's main over a deploy's parameters, and return what it answers."""
    answers: list[dict[str, Any]] = []

    def play(deploy: Deploy) -> dict[str, Any]:
        class Ansible:
            params = deploy.p
            check_mode = deploy.check_mode

            def __init__(self, **spec: Any) -> None:
                assert spec["supports_check_mode"]

            def exit_json(self, **result: Any) -> NoReturn:
                answers.append(result)
                raise AnsweredError

            def fail_json(self, **result: Any) -> NoReturn:
                answers.append({**result, "failed": True})
                raise AnsweredError

        monkeypatch.setattr(module, "AnsibleModule", Ansible)
        with pytest.raises(AnsweredError):
            module.main()
        return answers[-1]

    yield play


def test_the_module_answers(deploy: Make, run: Callable[[Deploy], dict[str, Any]], host: Host, serving: Release) -> None:
    """[S1] Success names what is live after the step, failure names the step and what goes on serving."""
    built = deploy()
    built.p["action"] = "prepare"
    assert run(built) == {"changed": True, "release": NEW, "live": OLD}
    host.fails = {f"start blog@{NEW}": "Worker failed to boot"}
    switched = deploy(release=NEW)
    switched.p["action"] = "activate"
    answer = run(switched)
    assert (answer["failed"], answer["step"], answer["live"], answer["release"]) == (True, "start", OLD, NEW)
    assert f"Release {OLD} goes on serving.\nWorker failed to boot" in answer["msg"]


def test_the_module_works_under_the_lock(deploy: Make, run: Callable[[Deploy], dict[str, Any]], root: Path, host: Host) -> None:
    """[S1] A second run that finds the lock taken does nothing."""
    built = deploy()
    built.p["action"] = "prepare"
    with module.exclusive(root / "srv"):
        assert run(built)["step"] == "lock"
    assert host.did == []
