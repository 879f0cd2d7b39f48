"""An app on a host that is a record of what the module asks of it."""

from __future__ import annotations

import os
import shutil
import syslog
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NoReturn

import pytest
from ansible_collections.slipway.vps.plugins.module_utils import deploy_units
from ansible_collections.slipway.vps.plugins.module_utils.deploy import Deploy
from ansible_collections.slipway.vps.plugins.module_utils.deploy_settings import Settings
from ansible_collections.slipway.vps.plugins.module_utils.releases import LIVE, READY, RETIRED, ROLLED_BACK, Release, Store
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core.run import Account
from ansible_collections.slipway.vps.plugins.modules import release as module

from .fakes import EFFECTS, MODULES, NEW, OLD, OLDER, Existing, Host, Make, parameters


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch, root: Path) -> Host:
    """The effects of the module, replaced."""
    made = Host()
    for place in MODULES:
        for name in EFFECTS:
            if hasattr(place, name):
                monkeypatch.setattr(place, name, getattr(made, name))
    (root / "system").mkdir()
    monkeypatch.setattr(deploy_units, "SYSTEM", root / "system")
    monkeypatch.setattr(syslog, "syslog", lambda *words: None)
    monkeypatch.setattr(Account, "of", classmethod(lambda cls, user, group: cls(user, 4242, 4343)))
    monkeypatch.setattr(time, "sleep", made.sleep)
    monkeypatch.setattr(time, "monotonic", lambda: made.clock)
    monkeypatch.setattr(shutil, "which", lambda program: f"/usr/bin/{program}")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**12, 0, made.free))
    monkeypatch.setattr(os, "fchown", lambda *words: None)

    def chown(path: Path, uid: int, gid: int, follow_symlinks: bool = True) -> None:
        # A folder of bytecode was made just before.
        assert not follow_symlinks or path.name == "__pycache__", "a link of the app could hand out any file of the host"
        if path.parent == root / "srv/releases":
            made.effect(f"give {path.name} to {uid}:{gid}")

    monkeypatch.setattr(os, "chown", chown)
    point, previous, following, save = Store.point_current_at, Store.point_previous_at, Store.point_next_at, Store.save

    def moved(self: Store, release_id: str) -> None:
        made.effect(f"current -> {release_id}", lambda: point(self, release_id))

    def linked(self: Store, release_ids: Iterable[str]) -> None:
        names = list(release_ids)
        made.effect(f"previous -> {' '.join(names)}", lambda: previous(self, names))

    def announced(self: Store, release_id: str | None) -> None:
        made.effect(f"next -> {release_id or 'none'}", lambda: following(self, release_id))

    def noted(self: Store, release: Release) -> None:
        made.effect(f"{release.id} is {release.state}", lambda: save(self, release))

    monkeypatch.setattr(Store, "point_next_at", announced)
    monkeypatch.setattr(Store, "point_current_at", moved)
    monkeypatch.setattr(Store, "point_previous_at", linked)
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


@pytest.fixture
def deploy(root: Path, host: Host) -> Make:
    """A deploy with the module's parameters, changed as named."""

    def make(check_mode: bool = False, **changes: Any) -> Deploy:
        given = parameters(root)
        assert set(changes) <= set(given)
        return Deploy(Settings.of({**given, **changes}, check_mode))

    return make


@pytest.fixture
def existing(root: Path, host: Host) -> Callable[..., Release]:
    """A release that is on disk already, with a tree; live ones run, and `current` names them."""

    def make(name: str, state: str, current: bool = False, running: bool = False, **more: Any) -> Release:
        store = Store(root / "srv")
        if state in (LIVE, RETIRED, ROLLED_BACK):
            # It served from the time in its id on.
            more.setdefault("live_at", datetime.strptime(name[:15], "%Y%m%dT%H%M%S").replace(tzinfo=timezone.utc).isoformat())
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
def serving(existing: Existing, host: Host) -> Release:
    """The old release serves."""
    host.active |= {"blog.socket", "blog.service"}
    return existing(OLD, LIVE, current=True, running=True)


@pytest.fixture
def switched(deploy: Make, existing: Existing, host: Host, serving: Release) -> None:
    """The new release serves, on trial; the old one has ended."""
    existing(NEW, READY, fingerprint=deploy().builder.fingerprint())
    deploy(release=NEW).do("rehearse")
    deploy(release=NEW).do("activate")
    host.did.clear()
    host.asked.clear()


@pytest.fixture
def history(existing: Existing, host: Host) -> Release:
    """Three releases served in this order, the last one does now."""
    host.active |= {"blog.socket", "blog.service"}
    existing(OLDER, RETIRED)
    existing(OLD, RETIRED)
    return existing(NEW, LIVE, current=True, running=True)


@pytest.fixture
def waiting(deploy: Make, existing: Existing, host: Host) -> None:
    """Two releases have served; what is wanted is built."""
    host.active |= {"blog.socket", "blog.service"}
    existing(OLDER, RETIRED)
    existing(OLD, LIVE, current=True, running=True)
    existing(NEW, READY, fingerprint=deploy().builder.fingerprint())


class AnsweredError(Exception):
    """The module has answered."""


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Deploy], dict[str, Any]]]:
    """Run the module's main over a deploy's parameters, and return what it answers."""
    answers: list[dict[str, Any]] = []
    warned: list[str] = []

    def play(deploy: Deploy) -> dict[str, Any]:
        class Ansible:
            params = asdict(deploy.settings)
            check_mode = deploy.settings.check_mode

            def __init__(self, **spec: Any) -> None:
                assert spec["supports_check_mode"]

            def warn(self, text: str) -> None:
                warned.append(text)

            def exit_json(self, **result: Any) -> NoReturn:
                answers.append({**result, "warned": warned} if warned else result)
                raise AnsweredError

            def fail_json(self, **result: Any) -> NoReturn:
                answers.append({**result, "failed": True})
                raise AnsweredError

        monkeypatch.setattr(module, "AnsibleModule", Ansible)
        monkeypatch.setattr("os.nice", lambda _: None)
        with pytest.raises(AnsweredError):
            module.main()
        return answers[-1]

    yield play
