"""The steps of a deploy, in the order in which they may happen, and what each leaves behind when it fails.

The host is replaced by a record of what the module asks of it: commands, units, requests, and the moves of `current`.
"""

from __future__ import annotations

import contextlib
import copy
import gzip
import io
import itertools
import json
import os
import platform
import re
import shutil
import syslog
import tarfile
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, NoReturn

import pytest
import yaml
from ansible_collections.slipway.vps.plugins.module_utils import (
    deploy_build,
    deploy_migrate,
    deploy_steps,
    deploy_switch,
    schema,
    system,
)
from ansible_collections.slipway.vps.plugins.module_utils.burnin import FEWEST
from ansible_collections.slipway.vps.plugins.module_utils.deploy_steps import StepError
from ansible_collections.slipway.vps.plugins.module_utils.environment import parse_environment
from ansible_collections.slipway.vps.plugins.module_utils.lease import Holder, Lease
from ansible_collections.slipway.vps.plugins.module_utils.releases import (
    BUILDING,
    FAILED,
    LIVE,
    READY,
    RETIRED,
    ROLLED_BACK,
    Release,
    Store,
)
from ansible_collections.slipway.vps.plugins.module_utils.system import Account, Answer, CommandError
from ansible_collections.slipway.vps.plugins.modules import release as module
from ansible_collections.slipway.vps.plugins.modules.release import Deploy

ROOT = Path(__file__).parents[2]
COMMIT = "4f2a9c10" + "0" * 32
NEW = "20261120T072201-4f2a9c10"
OLD = "20261119T072201-0ddba110"
OLDER = "20261118T072201-deadbeef"
MIB = 2**20
#: Seconds that a worker's task takes: nobody may wait for it.
TASK = 3600
#: Everything that touches the host; each module that imports one of these names gets the replacement.
EFFECTS = (
    *("command", "start_unit", "queue_unit", "stop_units", "end_units", "get", "visit", "instances", "is_active", "is_ending"),
    *("journal", "journal_since", "journal_between", "memory_available", "memory_used", "now"),
)
MODULES = (deploy_build, deploy_migrate, deploy_steps, deploy_switch, module)


class KilledError(BaseException):
    """`kill -9`: nothing more happens, not even what stands in a `finally`."""


class Host:
    """What the module did, in order, and how the host answers."""

    def __init__(self) -> None:
        self.did: list[str] = []
        self.active: set[str] = set()
        # Units that were told to stop and still finish something; which ones take their time; which start again after that.
        self.ending: set[str] = set()
        self.lingers = ""
        self.queued: set[str] = set()
        self.fails: dict[str, str] = {}
        self.dies: set[str] = set()
        # So many effects later the module is killed.
        self.lives: int | None = None
        self.environments: dict[str, dict[str, str]] = {}
        self.accounts: dict[str, Account | None] = {}
        self.transients: list[tuple[str, ...]] = []
        self.brings: list[str] = []
        # What the readiness path answers on a socket, one after the other; the front page there; and a visitor's requests.
        self.answers: list[tuple[int, str]] = [(200, "ok")]
        self.front: tuple[int, str] = (200, "<html>")
        self.visits: list[tuple[int, str]] = [(200, "ok")]
        self.asked: list[tuple[str, str, str]] = []
        # The database: its revision, what a migration makes of it, and its migration scripts, oldest first.
        self.revision: str | None = None
        self.upgrades_to: str | None = None
        self.scripts: list[tuple[str, str, bool]] = []
        self.database_bytes = 1000
        self.backup = 'INFO {"name": "20261120T072201Z-before", "bytes": 5}'
        self.available, self.used = 1000 * MIB, 100 * MIB
        self.free = 10**12
        # The journal with its times, and what is about to happen while somebody waits: seconds to wait, and then this.
        self.lines: dict[str, list[tuple[float, str]]] = {}
        self.clock = 0.0
        self.later: list[tuple[float, Callable[[], object]]] = []

    def effect(self, line: str, do: Callable[[], object] = lambda: None) -> None:
        """Something that changes the host, and may fail; after it is when the module can be killed."""
        if self.lives == 0:
            raise KilledError
        failure = next((reason for part, reason in self.fails.items() if part in line), None)
        if failure is None:
            do()
        self.did.append(line)
        if self.lives is not None:
            self.lives -= 1
            if self.lives == 0:
                raise KilledError
        if failure is not None:
            raise CommandError(failure)

    def command(
        self, *words: str, account: Account | None = None, environment: dict[str, str] | None = None, cwd: Path | None = None
    ) -> str:
        if words[0] == "tar":
            return system.command(*words)
        self.environments[words[0]], self.accounts[words[0]] = dict(environment or {}), account
        if words[0] == "psql":
            return self.psql(words[-1])
        if words[0] == "systemd-run":
            self.transients.append(words)
        build = "--unit=blog-build-step.service" in words
        if build:
            # What is run, without how: the commands of a build are many.
            cwd = Path(next(word for word in words if word.startswith("--working-directory=")).split("=", 1)[1])
            words = words[max(n for n, word in enumerate(words) if word.startswith("--property=")) + 1 :]
        output = f"said {words[0]}\n"

        def happens() -> None:
            nonlocal output
            if words[0] == "backup.py":
                output = self.backup
            if {"--unit=blog-migrate-step.service", "--unit=blog-upgrade-step.service"} & set(words):
                self.revision = self.upgrades_to or self.revision
            if "--unit=blog-downgrade-step.service" in words:
                self.revision = None if words[-1] == "base" else words[-1]
            if "--unit=blog-revisions-step.service" in words:
                output = self.path(words[-2], words[-1])
            if cwd and words[1] == "venv":
                (cwd / ".venv/bin").mkdir(parents=True)
            if cwd and words[1] in ("sync", "pip"):
                for name in self.brings:
                    (cwd / ".venv/lib/python3.13/site-packages" / name).mkdir(parents=True, exist_ok=True)
            if words[-1] == "--version":
                output = "Python 3.13.5\n"

        self.effect(" ".join(word for word in words if word != schema.REVISIONS), happens)
        return output

    def psql(self, sql: str) -> str:
        for part, reason in self.fails.items():
            if part in f"psql {sql}":
                raise CommandError(reason)
        if "pg_database_size" in sql:
            return f"{self.database_bytes}\n"
        if "to_regclass" in sql:
            return "alembic_version\n" if self.revision else "\n"
        assert self.revision, 'relation "alembic_version" does not exist'
        return f"{self.revision}\n"

    def path(self, upper: str, lower: str) -> str:
        """What the release's Python prints of the way down from one revision to another, after what the app itself prints."""
        known = [revision for revision, _, _ in self.scripts]
        first = 0 if lower == "base" else known.index(lower) + 1
        way = [{"revision": r, "doc": doc, "undone": undone} for r, doc, undone in self.scripts[first : known.index(upper) + 1]]
        return f"the app says hello\nslipway:{json.dumps(way[::-1])}\n"

    def start_unit(self, unit: str) -> None:
        def start() -> None:
            self.wait_for(unit)
            if unit not in self.dies:
                self.active.add(unit)

        self.effect(f"start {unit}", start)

    def queue_unit(self, unit: str) -> None:
        def queue() -> None:
            (self.queued if unit in self.ending else self.active).add(unit)

        self.effect(f"queue {unit}", queue)

    def wait_for(self, *units: str) -> None:
        """systemd comes back when a unit has finished: Gunicorn a request, a worker a task."""
        self.sleep(max((1 if unit.startswith("blog@") else TASK for unit in {*units} & self.ending), default=0))
        self.ending -= set(units)
        self.queued -= set(units)

    def finish(self) -> None:
        """What was still ending has ended, and systemd starts what was queued behind it."""
        self.active |= self.queued
        self.queued.clear()
        self.ending.clear()

    def linger(self, units: Iterable[str]) -> None:
        self.ending |= {unit for unit in units if self.lingers and self.lingers in unit and unit in self.active}
        self.active -= set(units)
        self.queued -= set(units)

    def stop_units(self, *units: str) -> None:
        def stop() -> None:
            self.linger(units)
            self.wait_for(*units)

        if units:
            with contextlib.suppress(CommandError):
                self.effect(f"stop {' '.join(units)}", stop)

    def end_units(self, *units: str) -> None:
        if units:
            with contextlib.suppress(CommandError):
                self.effect(f"end {' '.join(units)}", lambda: self.linger(units))

    def get(self, path: Path, url: str, host: str, timeout: float = 5) -> Answer:
        self.asked.append((str(path), url, host))
        if url == "/":
            return Answer(*self.front)
        return Answer(*(self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]))

    def visit(self, domain: str, url: str, timeout: float = 35) -> Answer:
        self.asked.append(("nginx", url, domain))
        return Answer(*(self.visits.pop(0) if len(self.visits) > 1 else self.visits[0]))

    def instances(self, template: str) -> list[str]:
        return sorted(unit for unit in self.active | self.ending if unit.startswith(f"{template}@"))

    def is_active(self, unit: str) -> bool:
        return unit in self.active

    def is_ending(self, unit: str) -> bool:
        return unit in self.ending

    def journal(self, unit: str, lines: int = 30) -> str:
        return f"journal of {unit}"

    def journal_since(self, unit: str, cursor: Path, since: float) -> list[str]:
        """As journalctl with --cursor-file: without the file from that time on, and the end is noted in it."""
        seen = int(cursor.read_text()) if cursor.exists() else 0
        lines = [text for at, text in self.lines.get(unit, []) if at >= since]
        cursor.write_text(str(len(lines)))
        return lines[seen:]

    def journal_between(self, unit: str, since: float, until: float) -> list[str]:
        return [text for at, text in self.lines.get(unit, []) if since <= at <= until]

    def memory_available(self) -> int:
        return self.available

    def memory_used(self, unit: str) -> int:
        assert unit in self.active, "systemd knows nothing of a unit that does not run"
        return self.used

    def now(self) -> datetime:
        return datetime(2026, 11, 20, 7, 22, 1, tzinfo=timezone.utc) + timedelta(seconds=int(self.clock))

    def sleep(self, seconds: float) -> None:
        self.clock += seconds
        for due in [entry for entry in self.later if entry[0] <= self.clock]:
            self.later.remove(due)
            due[1]()

    def serve(self, release_id: str, *statuses: int, tracebacks: int = 0, ago: float = 0) -> None:
        """Requests that a release answers, as Gunicorn logs them."""
        lines = [json.dumps({"logger": "gunicorn.access", "status": status}, separators=(",", ":")) for status in statuses]
        lines += ["Traceback (most recent call last):", "ValueError"] * tracebacks
        at = self.now().timestamp() - ago
        self.lines.setdefault(f"blog@{release_id}.service", []).extend((at, line) for line in lines)

    @property
    def serving(self) -> set[str]:
        """Releases that visitors reach."""
        return {unit.removeprefix("blog@").removesuffix(".service") for unit in self.active if unit.startswith("blog@")}


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch, root: Path) -> Host:
    """The effects of the module, replaced."""
    made = Host()
    for place in MODULES:
        for name in EFFECTS:
            if hasattr(place, name):
                monkeypatch.setattr(place, name, getattr(made, name))
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


Make = Callable[..., Deploy]
Existing = Callable[..., Release]


@pytest.fixture
def deploy(root: Path, host: Host) -> Make:
    """A deploy with the module's parameters, changed as named."""

    def make(check_mode: bool = False, **changes: Any) -> Deploy:
        parameters: dict[str, Any] = {
            **{"name": "blog", "root": str(root / "srv"), "config_dir": str(root / "etc"), "user": "blog", "group": "blog"},
            **{"wsgi": "blog:app", "host": "blog.example.com", "ready": "/healthz/ready", "ready_timeout": 0.0},
            **{"identity": COMMIT, "commit": COMMIT, "tree": str(root / "tree"), "archive": None, "requirement": None},
            **{"requirements": ["gunicorn==27.0.1"], "runtime_files": [str(root / "etc/environment")], "processes": []},
            **{"python": "python3", "uv": "uv", "static": {}, "precompress": True, "owner": "ada@laptop"},
            **{"retry": "run it again", "force": False, "token": ""},
            **{"migrate_command": "auto", "lock_timeout": 5, "restore_point_command": "", "restore_point_max": 2**30},
            **{"downgrade": False, "schema": "", "leave_as": RETIRED, "memory_margin": 1.2},
            **{"burn_in": 0.0, "burn_in_tolerance": 0.05, "release": None, "keep": 5, "action": "none", "lease_ttl": 120},
        }
        assert set(changes) <= set(parameters)
        return Deploy({**parameters, **changes}, check_mode)

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


def files(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() if path.is_file() else "" for path in folder.rglob("*")}


def meanwhile(host: Host, part: str, happens: Callable[[str], object]) -> None:
    """Right after an effect with ``part`` in it something else happens on the host, or it fails after all."""
    plain = host.effect

    def effect(line: str, do: Callable[[], object] = lambda: None) -> None:
        plain(line, do)
        if part in line:
            happens(line)

    host.effect = effect  # type: ignore[method-assign]


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
    assert not (store.root / "next").is_symlink(), "nginx serves assets of what is not there"


# --- plan ---------------------------------------------------------------------------------------


def test_nothing_is_needed_when_it_is_live(deploy: Make, existing: Existing) -> None:
    """[S1] The same source, configuration and interpreter: a second run changes nothing."""
    existing(OLD, LIVE, current=True, running=True, fingerprint=deploy().fingerprint())
    assert deploy().plan() == {"changed": False, "needed": False, "repair": False, "release": OLD}


@pytest.mark.parametrize(
    "changes",
    [
        *({"identity": "other"}, {"wsgi": "blog:create_app()"}, {"python": "python3.13"}, {"processes": ["worker"]}),
        *({"requirements": []}, {"runtime_files": []}, {"static": {"/static/": "blog/static"}}),
    ],
)
def test_a_change_asks_for_a_new_release(deploy: Make, existing: Existing, changes: dict[str, Any]) -> None:
    """[S1] Anything that decides how the app behaves."""
    existing(OLD, LIVE, current=True, fingerprint=deploy().fingerprint())
    planned = deploy(**changes).plan()
    assert (planned["changed"], planned["needed"], planned["repair"], planned["release"]) == (False, True, False, "")


def test_a_changed_file_or_interpreter_asks_for_a_new_release(deploy: Make, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """[A11] The environment is read at start only; a new Python leaves the old virtual environment without one."""
    before = deploy().fingerprint()
    (root / "etc/environment").write_text('A="2"\n')
    changed = deploy().fingerprint()
    monkeypatch.setattr(platform, "python_version", lambda: "3.99.0")
    assert len({before, changed, deploy().fingerprint()}) == 3


def test_the_order_of_lists_asks_for_nothing(deploy: Make) -> None:
    """[S1] Dictionaries and lists of the inventory may be written in any order."""
    one = deploy(processes=["beat", "worker"], requirements=["a==1", "b==2"], static={"/a/": "a", "/b/": "b"})
    other = deploy(processes=["worker", "beat"], requirements=["b==2", "a==1"], static={"/b/": "b", "/a/": "a"})
    assert one.fingerprint() == other.fingerprint()


def test_a_release_that_waits_is_used_again(deploy: Make, existing: Existing, serving: Release, host: Host) -> None:
    """[S1] An interrupted deploy goes on where it was: nothing is built twice."""
    existing(NEW, READY, fingerprint=deploy().fingerprint())
    assert (deploy().plan()["needed"], deploy().plan()["release"]) == (True, NEW)
    assert deploy().prepare() == {"changed": False, "needed": True, "release": NEW}
    assert host.did == []


def test_a_failed_release_is_not_used_again(deploy: Make, existing: Existing, serving: Release) -> None:
    """[S1] The next run tries from the beginning."""
    existing(NEW, FAILED, fingerprint=deploy().fingerprint())
    assert deploy().plan()["release"] == ""


def test_an_interrupted_switch_asks_for_a_repair(deploy: Make, existing: Existing, host: Host) -> None:
    """[S1] Nothing new is wanted, and yet: the release is down, or its worker is, or another one still runs beside it."""
    existing(OLD, LIVE, current=True, running=True, processes=["worker"], fingerprint=deploy().fingerprint())
    running = set(host.active)
    assert deploy().plan()["repair"] is False
    for active in (running - {f"blog@{OLD}.service"}, running - {f"blog-worker@{OLD}.service"}, running | {f"blog@{OLDER}.service"}):
        host.active = active
        planned = deploy().plan()
        assert (planned["needed"], planned["repair"], planned["changed"]) == (False, True, False), active


def test_an_unfinished_manifest_asks_for_a_repair(deploy: Make, existing: Existing) -> None:
    """[S1] `current` names it, its manifest says something else."""
    existing(OLD, READY, current=True, running=True, fingerprint=deploy().fingerprint())
    assert deploy().plan()["repair"] is True


def test_what_was_rolled_away_from_is_not_deployed_again_unasked(deploy: Make, existing: Existing, serving: Release, host: Host) -> None:
    """[S1] The same run again, in CI for example: the live release stays, the reason and two ways on are said."""
    failure = {"step": "burn-in", "reason": "x"}
    existing(NEW, ROLLED_BACK, fingerprint=deploy().fingerprint(), failure=failure)
    planned = deploy().plan()
    assert (planned["changed"], planned["needed"], planned["repair"], planned["release"]) == (False, False, False, OLD)
    (warning,) = planned["warnings"]
    assert NEW in warning and "(burn-in)" in warning and f"{OLD} stays live" in warning and "release_force=true" in warning
    assert deploy(check_mode=True).plan()["changed"] is False
    forced = deploy(force=True).plan()
    assert (forced["needed"], forced["release"], "warnings" in forced) == (True, "", False), "what was rolled back is built anew"
    assert deploy(identity="another").plan()["needed"] is True


def test_what_somebody_rolled_away_from_is_said_so(deploy: Make, existing: Existing, serving: Release, host: Host) -> None:
    """[S1] And a release that is down is started even then."""
    existing(NEW, ROLLED_BACK, fingerprint=deploy().fingerprint())
    host.active.remove(f"blog@{OLD}.service")
    planned = deploy().plan()
    assert "(by hand)" in planned["warnings"][0] and planned["repair"] is True


def test_without_a_live_release_nothing_is_held_back(deploy: Make, existing: Existing) -> None:
    """[S1] Something that may be bad is better than nothing at all."""
    existing(NEW, ROLLED_BACK, fingerprint=deploy().fingerprint())
    assert deploy().plan()["needed"] is True


def test_the_plan_shows_a_diff(deploy: Make, serving: Release) -> None:
    """[S1] What is live and what would be; for a first deploy nothing is live."""
    assert deploy(commit="abc").plan()["diff"] == {
        **{"before": f"{OLD} {OLD}\n", "before_header": "blog live", "after": "abc\n", "after_header": "blog wanted"},
    }
    assert deploy(commit="", identity="blog==1.4").plan()["diff"]["after"] == "blog==1.4\n"


def test_the_first_plan_shows_that_nothing_is_live(deploy: Make) -> None:
    assert deploy().plan()["diff"]["before"] == ""


# --- prepare ------------------------------------------------------------------------------------

PIP = "uv pip install --python .venv/bin/python"


def test_a_release_is_built_in_order(deploy: Make, root: Path, host: Host) -> None:
    """[A10] Manifest, source, environment of its own; ready only when all of it went well."""
    assert deploy(processes=["worker", "beat"]).prepare() == {"changed": True, "needed": True, "release": NEW}
    folder = root / "srv/releases" / NEW
    short = ("compileall" if "compileall" in line else line for line in host.did)
    did = [line for line, _ in itertools.groupby(short)]
    assert did == [
        "stop blog-build-step.service",
        f"{NEW} is building",
        f"give {NEW} to 4242:4343",
        f"{NEW} is building",
        "uv venv --python python3 .venv",
        f"{folder}/.venv/bin/python --version",
        f"{PIP} --requirement requirements.txt",
        f"{PIP} gunicorn==27.0.1",
        "compileall",
        f"give {NEW} to 0:0",
        f"{NEW} is ready",
    ]
    made = Store(root / "srv").load(NEW)
    assert made and (made.python, made.commit, made.processes) == ("3.13.5", COMMIT, ["beat", "worker"])
    assert made.fingerprint == deploy(processes=["worker", "beat"]).fingerprint()
    assert made.created_at == "2026-11-20T07:22:01+00:00" and made.lock and made.created_by == "ada@laptop"
    assert (folder / "blog.py").exists() and not (folder / ".git").exists()
    assert not (root / "srv/current").exists()


def test_whatever_builds_is_the_apps_user(deploy: Make, root: Path, host: Host) -> None:
    """[A5] A build runs code of the app and of its dependencies: never as root, never with root's environment."""
    deploy().prepare()
    folder = root / "srv/releases" / NEW
    assert {name: account.name if account else "root" for name, account in host.accounts.items()} == {
        **{"systemd-run": "root", f"{folder}/.venv/bin/python": "blog"},
    }
    assert len(host.transients) >= 5
    for words in host.transients:
        assert {"--uid=blog", "--gid=blog", "--property=ProtectSystem=strict", "--property=NoNewPrivileges=yes"} <= set(words)


def test_a_build_stays_behind_the_app(deploy: Make, root: Path, host: Host) -> None:
    """[S1] [A5] Whoever serves comes first; a build writes below the app's folder and nowhere else."""
    deploy().prepare()
    builds = list(host.transients)
    deploy(release=NEW, migrate_command=UP).migrate()
    check = host.transients[len(builds)]
    folder = root / "srv/releases" / NEW
    for words in builds:
        wanted = {"--unit=blog-build-step.service", "--wait", f"--working-directory={folder}"}
        wanted |= {f"--property={value}" for value in ("Nice=10", "CPUWeight=20", "IOWeight=20")}
        wanted |= {f"--property=ReadWritePaths={root}/srv", f"--property=Environment=HOME={root}/srv/cache"}
        wanted |= {f"--property=Environment={value}" for value in (f"UV_CACHE_DIR={root}/srv/cache/uv", "UV_PYTHON_DOWNLOADS=never")}
        assert wanted <= set(words), words
        assert not [word for word in words if "EnvironmentFile" in word], "a build has no business with the app's secrets"
    assert check[-1] == "--check-config" and f"--property=ReadWritePaths={root}/srv/shared" in check and "--property=Nice=10" not in check


def test_a_build_that_an_interrupted_run_left_is_ended_first(deploy: Make, existing: Existing, root: Path, host: Host) -> None:
    """[S1] `kill -9` of the module leaves its unit, which writes into the folder that is about to be removed."""
    existing(OLDER, BUILDING)
    host.active.add("blog-build-step.service")
    there: list[tuple[str, bool]] = []
    meanwhile(host, "", lambda line: there.append((line, (root / "srv/releases" / OLDER).exists())))
    deploy().prepare()
    assert there[0] == ("stop blog-build-step.service", True) and "blog-build-step.service" not in host.active


def test_what_another_run_configures_during_a_build_is_noticed(deploy: Make, root: Path, host: Host, serving: Release) -> None:
    """[S1] Refused by the lock, but its configuration is written already: this release has parts of both, and is neither."""
    meanwhile(host, f"give {NEW} to 0:0", lambda line: (root / "etc/environment").write_text('OTHER="run"\n'))
    with pytest.raises(StepError, match="another run changed"):
        deploy().prepare()
    refused(root, NEW, "configuration", f"another run changed {root}/etc")
    untouched(root, host)


def test_an_archive_goes_once_it_is_unpacked(deploy: Make, root: Path) -> None:
    """[S1] On a small disk it would stand in the way of what comes next."""
    packed = archive(root / "source.tar", "blog.py", "requirements.txt")
    deploy(tree=None, archive=str(packed)).prepare()
    assert not packed.exists() and (root / "srv/releases" / NEW / "blog.py").exists()


def test_bytecode_of_the_same_files_is_taken_over(deploy: Make, existing: Existing, root: Path, serving: Release) -> None:
    """[S1] Linked like the files themselves: compiling takes longer than all the rest of a build."""
    existing(NEW, BUILDING)
    old, new = (root / "srv/releases" / name / ".venv/lib/pkg" for name in (OLD, NEW))
    for folder in (old, new):
        (folder / "__pycache__").mkdir(parents=True)
        (folder / "changed.py").write_text(folder.parts[-4])
    for name in ("same", "there", "changed"):
        (old / f"{name}.py").touch()
        (old / f"__pycache__/{name}.cpython-313.pyc").write_text(f"old {name}")
    for name in ("same", "there"):
        (new / f"{name}.py").hardlink_to(old / f"{name}.py")
    (new / "__pycache__/there.cpython-313.pyc").write_text("its own")
    (old / "deep/__pycache__").mkdir(parents=True)
    (old / "deep/a.py").write_text("a")
    (old / "deep/__pycache__/a.cpython-313.opt-1.pyc").write_text("a")
    (new / "deep").mkdir()
    (new / "deep/a.py").hardlink_to(old / "deep/a.py")
    deploy().inherit_bytecode(root / "srv/releases" / NEW)
    found = {str(path.relative_to(new)): path.read_text() for path in new.rglob("*.pyc")}
    assert found == {
        **{"__pycache__/same.cpython-313.pyc": "old same", "__pycache__/there.cpython-313.pyc": "its own"},
        **{"deep/__pycache__/a.cpython-313.opt-1.pyc": "a"},
    }
    assert (new / "__pycache__/same.cpython-313.pyc").samefile(old / "__pycache__/same.cpython-313.pyc")


def test_the_first_release_has_no_bytecode_to_take_over(deploy: Make, existing: Existing, root: Path) -> None:
    existing(NEW, BUILDING)
    (root / "srv/releases" / NEW / ".venv/a.py").write_text("")
    deploy().inherit_bytecode(root / "srv/releases" / NEW)
    assert list((root / "srv").rglob("*.pyc")) == []


def test_a_build_takes_bytecode_over_before_it_compiles(deploy: Make, root: Path, host: Host, serving: Release) -> None:
    """[S1] After the packages are there, so that only what is new is left to compile."""
    old, new = (root / "srv/releases" / name / ".venv/pkg" for name in (OLD, NEW))
    (old / "__pycache__").mkdir(parents=True)
    (old / "a.py").touch()
    (old / "__pycache__/a.cpython-313.pyc").touch()
    there: list[bool] = []

    def install(line: str) -> None:
        new.mkdir()
        (new / "a.py").hardlink_to(old / "a.py")

    meanwhile(host, "--requirement", install)
    meanwhile(host, "compileall", lambda line: there.append((new / "__pycache__/a.cpython-313.pyc").exists()))
    deploy().prepare()
    assert there[0] is True


def test_bytecode_is_not_linked_out_of_the_release(deploy: Make, existing: Existing, root: Path, serving: Release) -> None:
    """[A5] A link of that name, left by code that the build ran: root would put the app's bytecode where it points."""
    existing(NEW, BUILDING)
    outside = root / "outside"
    outside.mkdir()
    old, new = (root / "srv/releases" / name / ".venv/pkg" for name in (OLD, NEW))
    (old / "__pycache__").mkdir(parents=True)
    new.mkdir()
    (old / "a.py").touch()
    (old / "__pycache__/a.cpython-313.pyc").write_text("bytecode")
    (new / "a.py").hardlink_to(old / "a.py")
    (new / "__pycache__").symlink_to(outside)
    deploy().inherit_bytecode(root / "srv/releases" / NEW)
    assert listed(outside) == []


def test_a_package_with_a_file_that_does_not_compile_can_be_deployed(deploy: Make, root: Path, host: Host) -> None:
    """[A10] Packages ship templates and files for other Pythons; pip and uv pass over them, and so did a build before."""

    def compiled(line: str) -> None:
        if "compileall" in line and "-x" not in line.split():
            raise CommandError("Error compiling './.venv/lib/python3.13/site-packages/template.py'")

    meanwhile(host, "", compiled)
    deploy().prepare()
    assert state(root, NEW) == READY


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


@pytest.mark.parametrize(
    ("there", "asked"),
    [
        (("uv.lock", "requirements.txt", "pyproject.toml"), "uv sync --frozen --no-dev --no-editable"),
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


def test_an_interrupted_build_is_cleaned_up(deploy: Make, existing: Existing, root: Path, serving: Release) -> None:
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
        ("compileall", "bytecode"),
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
    assert not [line for line in host.did if line.startswith(("start", "stop blog@", "end", "current"))]


def test_a_missing_environment_file_is_a_failure_of_its_step(deploy: Make, root: Path) -> None:
    """[A12] Named, not a traceback."""
    (root / "etc/environment").unlink()
    with pytest.raises(StepError, match="No such file"):
        deploy().prepare()
    refused(root, NEW, "environment", "No such file")


def test_what_another_run_brought_meanwhile_is_not_built_again(deploy: Make, existing: Existing, host: Host) -> None:
    """[S1] Two runs want the same, the second waited for the lock: its plan is out of date by now."""
    existing(OLD, LIVE, current=True, running=True, fingerprint=deploy().fingerprint())
    assert deploy().prepare() == {"changed": False, "needed": False, "release": OLD}
    assert host.did == []


def test_what_was_rolled_away_from_is_not_built_again(deploy: Make, existing: Existing, host: Host, serving: Release) -> None:
    """[S1] Also when there is something to repair, so that the run goes on after its plan; asked for, it is."""
    existing(NEW, ROLLED_BACK, fingerprint=deploy().fingerprint())
    assert deploy().prepare() == {"changed": False, "needed": False, "release": OLD}
    assert host.did == []
    assert deploy(force=True).prepare()["needed"] is True


def test_check_mode_says_whether_something_would_be_built(deploy: Make, existing: Existing, host: Host, serving: Release) -> None:
    """[S1] Not when it is live, or held back."""
    assert deploy(check_mode=True).prepare() == {"changed": True, "needed": True, "release": ""}
    existing(NEW, READY, fingerprint=deploy().fingerprint())
    assert deploy(check_mode=True).prepare() == {"changed": True, "needed": True, "release": NEW}
    existing(NEW[:-1] + "1", ROLLED_BACK, fingerprint=deploy(identity="bad").fingerprint())
    assert deploy(check_mode=True, identity="bad").prepare() == {"changed": False, "needed": False, "release": OLD}
    assert host.did == []


def test_a_disk_without_room_is_refused_before_anything_is_written(deploy: Make, root: Path, host: Host, serving: Release) -> None:
    """[S1] Twice the live release would have to fit: room for a new one, and what logs and the database need."""
    (root / "srv/releases" / OLD / "big").write_bytes(b"x" * 5 * MIB)
    host.free = deploy_build.RESERVE + 5 * MIB - 1
    with pytest.raises(StepError, match=r"204 MiB are free, 205 MiB are wanted\. Free some below .*release_keep") as failure:
        deploy().prepare()
    assert failure.value.step == "space"
    assert listed(root / "srv/releases") == [OLD] and host.did == ["stop blog-build-step.service"]
    untouched(root, host)
    host.free += MIB
    assert deploy().prepare()["changed"] is True


def test_an_interrupted_build_makes_room_first(
    deploy: Make, existing: Existing, root: Path, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """[S1] What it left may be what fills the disk."""
    existing(OLDER, BUILDING)

    def usage(path: Path) -> Any:
        full = (root / "srv/releases" / OLDER).exists()
        return shutil._ntuple_diskusage(10**12, 0, 0 if full else 10**12)

    monkeypatch.setattr(shutil, "disk_usage", usage)
    assert deploy().prepare()["changed"] is True


def test_static_folders_are_linked_at_their_prefix(deploy: Make, root: Path) -> None:
    """[E6] `.static/<prefix>` in every release, relative: nginx looks for one path in several releases, also in a moved copy."""
    (root / "tree/blog/static/app").mkdir(parents=True)
    (root / "tree/blog/static/app/a.css").write_text("a")
    (root / "tree/docs").mkdir()
    (root / "tree/docs/b.html").write_text("b")
    deploy(static={"/static/": "blog/static", "/a/b/docs/": "docs/"}).prepare()
    folder = root / "srv/releases" / NEW
    assert {str(path.relative_to(folder)): str(path.readlink()) for path in folder.rglob("*") if path.is_symlink()} == {
        **{".static/static": "../blog/static", ".static/a/b/docs": "../../../docs"},
    }
    moved = folder.rename(root / "elsewhere")
    assert (moved / ".static/static/app/a.css").read_text() == "a" and (moved / ".static/a/b/docs/b.html").read_text() == "b"


def test_static_files_are_compressed_by_the_build(deploy: Make, root: Path) -> None:
    """[E7] Inside the release only, in its own folders only, and not at all where that is not wanted."""
    text, outside = "a { color: red }\n" * 200, root / "outside"
    for folder in (root / "tree/blog/static", root / "tree/.venv/static", outside):
        folder.mkdir(parents=True)
        (folder / "a.css").write_text(text)
    (root / "tree/linked").symlink_to(outside)
    static = {"/static/": "blog/static", "/linked/": "linked", "/package/": ".venv/static"}
    deploy(static=static).prepare()
    folder = root / "srv/releases" / NEW
    assert gzip.decompress((folder / "blog/static/a.css.gz").read_bytes()).decode() == text
    assert listed(outside) == ["a.css"] and not list(folder.glob(".venv/static/*.gz"))


def test_static_files_may_be_left_as_they_are(deploy: Make, root: Path) -> None:
    """[E7]"""
    (root / "tree/blog/static").mkdir(parents=True)
    (root / "tree/blog/static/a.css").write_text("a { color: red }\n" * 200)
    deploy(static={"/static/": "blog/static"}, precompress=False).prepare()
    assert listed(root / "srv/releases" / NEW / "blog/static") == ["a.css"]


@pytest.mark.parametrize("first", ["/static/", "/static/admin/"])
def test_a_prefix_within_another_is_linked_or_refused(deploy: Make, root: Path, first: str) -> None:
    """[E6] Whichever comes first in the inventory; never a link in the app's own folders, which nothing would lead to."""
    for name in ("static", "pkg/admin/static"):
        (root / "tree" / name).mkdir(parents=True)
        (root / "tree" / name / "x.css").write_text(name)
    static = {"/static/": "static", "/static/admin/": "pkg/admin/static"}
    try:
        deploy(static=dict(sorted(static.items(), key=lambda pair: pair[0] != first))).prepare()
    except StepError as failure:
        assert failure.step == "source"
        return
    folder = root / "srv/releases" / NEW
    assert (folder / ".static/static/x.css").read_text() == "static"
    assert (folder / ".static/static/admin/x.css").read_text() == "pkg/admin/static"
    assert listed(folder / "static") == ["x.css"]


def test_a_source_cannot_lead_the_links_elsewhere(deploy: Make, root: Path) -> None:
    """[A5] A link of that name in the source: root would write where it points."""
    outside = root / "outside"
    outside.mkdir()
    (root / "tree/.static").symlink_to(outside)
    deploy(static={"/static/": "blog/static"}).prepare()
    assert listed(outside) == []
    assert str((root / "srv/releases" / NEW / ".static/static").readlink()) == "../blog/static"


def test_the_digest_of_the_migrations_is_noted(deploy: Make, root: Path) -> None:
    """[A13] To tell later whether there is anything to migrate."""
    deploy().prepare()
    made = Store(root / "srv").load(NEW)
    assert made and made.migrations is None
    (root / "tree/migrations").mkdir()
    (root / "tree/migrations/env.py").write_text("")
    second = deploy(identity="other", commit="").prepare()["release"]
    made = Store(root / "srv").load(second)
    assert made and made.migrations == schema.digest(root / "tree")


def test_a_failure_is_kept_with_its_release(deploy: Make, root: Path, host: Host) -> None:
    """[S1] The capsule: step, reason, time, and the command to try again with."""
    host.fails = {"compileall": "SyntaxError: x"}
    with pytest.raises(StepError):
        deploy(retry="ansible-playbook deploy.yml").prepare()
    made = Store(root / "srv").load(NEW)
    assert made and made.failure == {
        **{"step": "bytecode", "reason": "SyntaxError: x", "at": "2026-11-20T07:22:01+00:00", "retry": "ansible-playbook deploy.yml"},
    }


def test_each_step_is_noted_in_the_journal(deploy: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """[S1] `journalctl -t slipway` shows how far a run came that was killed."""
    noted: list[str] = []
    monkeypatch.setattr(syslog, "syslog", lambda level, text: noted.append(text))
    deploy(action="prepare").prepare()
    steps = ["source", "virtual environment", "dependencies", "bytecode", "environment"]
    assert noted == [f"blog: prepare: {step}" for step in steps]
    noted.clear()
    deploy(action="migrate", release=NEW, migrate_command=UP).migrate()
    assert noted == [f"blog: migrate: {step}" for step in ("schema", "import", "migration", "schema")]


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
def test_a_migrations_folder_is_found(deploy: Make, existing: Existing, root: Path, host: Host, place: str) -> None:
    """[A13] `auto` runs the upgrade from the new release, with a limit on the wait for locks."""
    existing(NEW, READY)
    env = root / "srv/releases" / NEW / place
    env.parent.mkdir(parents=True)
    env.write_text("")
    (root / "srv/releases" / NEW / ".venv/bin/flask").write_text("")
    host.revision, host.upgrades_to = "0001", "0002"
    result = deploy(release=NEW, lock_timeout=7).migrate()
    assert (result["changed"], result["release"], result["output"]) == (True, NEW, "said systemd-run")
    line = next(line for line in host.did if "migrate-step" in line)
    assert line.endswith(f" {root}/srv/releases/{NEW}/.venv/bin/flask db upgrade")
    limits = "-clock_timeout=7000 -cstatement_timeout=0 -cidle_in_transaction_session_timeout=0"
    assert f'--property=Environment="PGOPTIONS={limits}"' in line and "--unit=blog-migrate-step.service" in line
    found = Store(root / "srv").load(NEW)
    assert found and (found.schema_before, found.schema_after, found.state) == ("0001", "0002", READY)


def test_the_schema_is_asked_as_the_app(deploy: Make, existing: Existing, root: Path, host: Host) -> None:
    """[A13] With the app's rights; the password stays out of the list of processes; secrets win over the environment."""
    existing(NEW, READY)
    (root / "etc/secrets").write_text('DATABASE_URL="postgresql://blog:pa%40ss@db.example:5433/blog2"\n')
    host.revision = "0007"
    assert deploy().schema(Store(root / "srv").load(NEW)) == "0007"  # type: ignore[arg-type]
    asked = host.environments["psql"]
    # Somebody may be changing that table: nobody waits for ever.
    assert asked["PGOPTIONS"] == "-clock_timeout=5000"
    assert {name: asked[name] for name in ("PGHOST", "PGPORT", "PGDATABASE", "PGUSER", "PGPASSWORD")} == {
        **{"PGHOST": "db.example", "PGPORT": "5433", "PGDATABASE": "blog2", "PGUSER": "blog", "PGPASSWORD": "pa@ss"},
    }
    account = host.accounts["psql"]
    assert account and account.name == "blog"


def test_a_database_without_a_revision_is_no_failure(deploy: Make, existing: Existing, root: Path, host: Host) -> None:
    """[A13] A fresh database has no table yet; an app may have no database of this kind."""
    made = existing(NEW, READY)
    assert deploy().schema(made) is None
    (root / "srv/releases" / NEW / "environment").write_text('DATABASE_URL="mysql://x/y"\n')
    host.revision = "0001"
    assert deploy().schema(made) is None


def test_a_database_that_does_not_answer_is_no_empty_one(
    deploy: Make, existing: Existing, root: Path, host: Host, serving: Release
) -> None:
    """[A13] Nothing is begun, and nothing is lost: the next run goes on with the release that waits."""
    existing(NEW, READY)
    migrations(root, host, True, True)
    host.fails = {"psql": "connection timed out"}
    with pytest.raises(StepError, match="connection timed out") as failure:
        deploy(release=NEW, migrate_command=UP, restore_point_command=BACKUP).migrate()
    assert failure.value.step == "schema" and host.did == []
    assert state(root, NEW) == READY and (root / "srv/releases" / NEW / "blog.py").exists()
    untouched(root, host)


def test_a_database_that_goes_down_before_the_restore_point_stops_the_deploy(
    deploy: Make, existing: Existing, root: Path, host: Host, serving: Release
) -> None:
    """[D1] Its size is asked for, and the answer is no zero."""
    existing(NEW, READY)
    migrations(root, host, True, True)
    host.fails = {"pg_database_size": "connection timed out"}
    with pytest.raises(StepError, match="connection timed out") as failure:
        deploy(release=NEW, migrate_command=UP, restore_point_command=BACKUP).migrate()
    assert failure.value.step == "restore point" and host.revision == "0001"
    untouched(root, host)


def test_a_schema_that_cannot_be_read_after_the_migration_is_said_so(
    deploy: Make, existing: Existing, root: Path, host: Host, serving: Release
) -> None:
    """[A13] A release that does not know its schema could not be gone back to with it. It is not given up: the next run goes on with it."""
    existing(NEW, READY, fingerprint=deploy().fingerprint())
    migrations(root, host, True, True)
    meanwhile(host, "migrate-step", lambda line: host.fails.update({"psql": "the server closed the connection"}))
    migrating = deploy(release=NEW, migrate_command=UP, restore_point_command=BACKUP)
    with pytest.raises(StepError, match="closed the connection") as failure:
        migrating.migrate()
    assert failure.value.step == "schema" and host.revision == "0002"
    found = Store(root / "srv").load(NEW)
    assert found and (found.state, found.failure, found.schema_before, found.schema_after) == (READY, None, "0001", None)
    assert (root / "srv/releases" / NEW / "blog.py").exists() and deploy().plan()["release"] == NEW
    untouched(root, host)
    meanwhile(host, "migrate-step", lambda line: host.fails.clear())
    host.fails.clear()
    assert migrating.migrate()["restore_point"] == "20261120T072201Z-before"
    found = Store(root / "srv").load(NEW)
    assert found and (found.state, found.schema_before, found.schema_after) == (READY, "0001", "0002")
    assert len([line for line in host.did if line.startswith("backup.py")]) == 1, "that would be one of the schema of today"


@pytest.mark.parametrize(("live", "changed"), [("m1", False), ("m2", True)])
def test_check_mode_says_whether_there_is_something_to_migrate(
    deploy: Make, existing: Existing, host: Host, root: Path, live: str, changed: bool
) -> None:
    """[A13] By the scripts and the database, without running any."""
    existing(OLD, LIVE, current=True, migrations=live, schema_after="0002")
    existing(NEW, READY, migrations="m1")
    host.revision = "0002"
    before = files(root)
    assert deploy(check_mode=True, release=NEW, migrate_command=UP).migrate()["changed"] is changed
    assert host.did == [] and files(root) == before


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ("auto", []),
        ("", []),
        ("alembic -c 'my app.ini' upgrade head", [".venv/bin/alembic", "-c", "my app.ini", "upgrade", "head"]),
        ("/usr/local/bin/migrate --now", ["/usr/local/bin/migrate", "--now"]),
    ],
)
def test_the_migration_command(deploy: Make, existing: Existing, root: Path, asked: str, words: list[str]) -> None:
    """[A13] `auto` without a migrations folder and an empty command mean none; programs of the release come first."""
    made = existing(NEW, READY)
    (root / "srv/releases" / NEW / ".venv/bin/alembic").write_text("")
    assert deploy(migrate_command=asked).migration(made) == words


def test_a_migration_runs_once(deploy: Make, existing: Existing, host: Host, root: Path) -> None:
    """[A13] Not again for a release that is migrated, that serves, or when there is nothing to do."""
    existing(NEW, READY, schema_after="0002")
    existing(OLD, LIVE, current=True)
    existing(OLDER, READY)
    for name, asked in ((NEW, "flask db upgrade"), (OLD, "flask db upgrade"), (OLDER, "auto")):
        nothing = {"changed": False, "release": name, "output": "", "restore_point": None}
        assert deploy(release=name, migrate_command=asked).migrate() == nothing
    assert host.did == []


def test_a_migration_that_changes_nothing_says_so(deploy: Make, existing: Existing, host: Host) -> None:
    """[A13] Most deploys have no new revision."""
    existing(NEW, READY)
    host.revision = "0002"
    assert deploy(release=NEW, migrate_command="flask db upgrade").migrate()["changed"] is False


def test_a_migration_that_fails_stops_the_deploy(deploy: Make, existing: Existing, root: Path, host: Host, serving: Release) -> None:
    """[A13] With what the command said; the old release serves on."""
    existing(NEW, READY)
    host.fails = {"migrate-step": "canceling statement due to lock timeout"}
    with pytest.raises(StepError, match="lock timeout"):
        deploy(release=NEW, migrate_command="flask db upgrade").migrate()
    refused(root, NEW, "migration", "lock timeout")
    untouched(root, host)


UP = "flask db upgrade"
BACKUP = "backup.py --json create"


def migrations(root: Path, host: Host, *undone: bool) -> None:
    """Scripts 0001, 0002 … and whether each can be undone; the database is at 0001 and goes to the last."""
    host.scripts = [(f"{number:04}", f"step {number}", can) for number, can in enumerate(undone, 1)]
    host.revision, host.upgrades_to = "0001", f"{len(undone):04}"


def test_the_entry_point_is_imported_with_the_releases_own_environment(deploy: Make, existing: Existing, root: Path, host: Host) -> None:
    """[A6] As the app's user, sandboxed, with the environment and the secrets that the service will have; before all else."""
    existing(NEW, READY)
    migrations(root, host, True, True)
    deploy(release=NEW, migrate_command=UP, restore_point_command=BACKUP).migrate()
    line = host.did[0]
    folder = root / "srv/releases" / NEW
    for part in (
        *("--wait", "--unit=blog-check-step.service", "--uid=blog", "--gid=blog", f"--working-directory={folder}"),
        *(f"--property=EnvironmentFile={folder}/environment", f"--property=EnvironmentFile=-{root}/etc/secrets"),
        *("--property=ProtectSystem=strict", "--property=NoNewPrivileges=yes"),
    ):
        assert part in line.split(), line
    assert line.endswith(f"{folder}/.venv/bin/gunicorn --config {root}/etc/gunicorn.conf.py --check-config")


def test_an_app_that_cannot_be_imported_leaves_the_schema(
    deploy: Make, existing: Existing, root: Path, host: Host, serving: Release
) -> None:
    """[A6 A13] Found before the restore point and the migration: there is nothing to undo."""
    existing(NEW, READY)
    migrations(root, host, True, True)
    host.fails = {"--check-config": "line\n" * 50 + "ModuleNotFoundError: No module named 'blog'"}
    with pytest.raises(StepError, match="No module named 'blog'") as failure:
        deploy(release=NEW, migrate_command=UP, restore_point_command=BACKUP).migrate()
    assert failure.value.step == "import" and len(failure.value.evidence.splitlines()) <= 30
    assert host.revision == "0001" and not [line for line in host.did if line.startswith("backup.py") or "migrate-step" in line]
    refused(root, NEW, "import", "No module named 'blog'")
    found = Store(root / "srv").load(NEW)
    assert found and found.restore_point is None
    untouched(root, host)


@pytest.mark.parametrize(
    ("live", "runs"),
    [
        ({"migrations": "m1", "schema_after": "0002"}, False),
        ({"migrations": "m2", "schema_after": "0002"}, True),
        ({"migrations": None, "schema_after": "0002"}, True),
        # The live release left it elsewhere: the database was restored, say.
        ({"migrations": "m1", "schema_after": "0001"}, True),
    ],
)
def test_without_new_scripts_nothing_is_migrated(
    deploy: Make, existing: Existing, host: Host, root: Path, live: dict[str, Any], runs: bool
) -> None:
    """[A13] Most deploys: not even the app is loaded for that."""
    existing(OLD, LIVE, current=True, **live)
    existing(NEW, READY, migrations="m1")
    host.revision = "0002"
    result = deploy(release=NEW, migrate_command=UP, restore_point_command=BACKUP).migrate()
    for step in ("check-step", "migrate-step"):
        assert any(step in line for line in host.did) is runs
    assert any(line.startswith("backup.py") for line in host.did) is runs
    found = Store(root / "srv").load(NEW)
    assert found and (found.state, found.schema_before, found.schema_after) == (READY, "0002", "0002")
    assert runs or (result["changed"], result["output"], result["restore_point"]) == (False, "no new migrations", None)


def test_a_restore_point_is_taken_before_the_migration(deploy: Make, existing: Existing, host: Host, root: Path) -> None:
    """[D1] Named in the manifest before the first statement runs, so that a killed migration can be undone, too."""
    existing(NEW, READY)
    migrations(root, host, True, True)
    result = deploy(release=NEW, migrate_command=UP, restore_point_command=BACKUP).migrate()
    taken, noted, migrated = (
        next(i for i, line in enumerate(host.did) if part in line) for part in (f"{BACKUP} --label before-{NEW.lower()}", "is ready", UP)
    )
    assert taken < noted < migrated
    assert result["restore_point"] == "20261120T072201Z-before"
    found = Store(root / "srv").load(NEW)
    assert found and found.restore_point == "20261120T072201Z-before"
    account = host.accounts["backup.py"]
    assert account is None, "the backup is root's"


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ("off", "none: "),
        ("empty", "none: the database is empty"),
        ("large", "none: the database has 2048 MiB, over deploy_restore_point_max (1024 MiB)"),
        ("absent", "none: backup.py is not there yet"),
    ],
)
def test_a_migration_without_a_restore_point_says_why(
    deploy: Make, existing: Existing, host: Host, root: Path, monkeypatch: pytest.MonkeyPatch, what: str, reason: str
) -> None:
    """[D1] It runs all the same."""
    existing(NEW, READY)
    migrations(root, host, True, True)
    if what == "empty":
        host.revision = None
    host.database_bytes = 2 * 2**30 if what == "large" else 2**30
    monkeypatch.setattr(shutil, "which", lambda program: None if what == "absent" and program == "backup.py" else f"/usr/bin/{program}")
    result = deploy(release=NEW, migrate_command=UP, restore_point_command="" if what == "off" else BACKUP).migrate()
    assert result["changed"] is True and result["restore_point"].startswith(reason)
    assert not any(line.startswith("backup.py") for line in host.did)
    found = Store(root / "srv").load(NEW)
    assert found and found.restore_point is None and found.schema_after == "0002"


def test_a_restore_point_of_the_largest_size_is_taken(deploy: Make, existing: Existing, host: Host, root: Path) -> None:
    """[D1] The limit itself is not over it."""
    existing(NEW, READY)
    migrations(root, host, True, True)
    host.database_bytes = 2**30
    assert deploy(release=NEW, migrate_command=UP, restore_point_command=BACKUP).migrate()["restore_point"] == "20261120T072201Z-before"


def test_a_restore_point_that_fails_stops_the_deploy(deploy: Make, existing: Existing, serving: Release, host: Host, root: Path) -> None:
    """[D1] Before the database is touched."""
    existing(NEW, READY)
    migrations(root, host, True, True)
    host.fails = {"backup.py": "No space left on device"}
    with pytest.raises(StepError, match="No space left"):
        deploy(release=NEW, migrate_command=UP, restore_point_command=BACKUP).migrate()
    refused(root, NEW, "restore point", "No space left")
    assert host.revision == "0001"
    untouched(root, host)


@pytest.mark.parametrize("said", ["", "done", "{", '{"bytes": 5}', "[]"])
def test_a_restore_point_without_a_name_stops_the_deploy(
    deploy: Make, existing: Existing, serving: Release, host: Host, root: Path, said: str
) -> None:
    """[D1] A command of the operator's own may print anything; that is no restore point one could find again."""
    existing(NEW, READY)
    migrations(root, host, True, True)
    host.backup = said
    with pytest.raises(StepError):
        deploy(release=NEW, migrate_command=UP, restore_point_command=BACKUP).migrate()
    refused(root, NEW, "restore point", "")
    assert host.revision == "0001"


def test_a_schema_that_the_live_release_cannot_live_with_goes_back(
    deploy: Make, existing: Existing, serving: Release, host: Host, root: Path
) -> None:
    """[A13] Expand and contract in one step: the old release breaks, so the migration is undone while it still serves."""
    existing(NEW, READY)
    migrations(root, host, True, True, True)
    host.answers = [(200, "")]
    host.fails = {}
    broken = deploy(release=NEW, migrate_command=UP, restore_point_command=BACKUP)
    host.answers = [(500, "column note.mood does not exist")]
    with pytest.raises(StepError) as failure:
        broken.migrate()
    evidence = failure.value.evidence
    assert f"The live release {OLD} is not ready on the new schema: 500 column note.mood does not exist" in evidence
    assert "The migration was undone: the schema is at 0001 again." in evidence
    line = next(line for line in host.did if "downgrade-step" in line)
    assert line.endswith(f"{root}/srv/releases/{NEW}/.venv/bin/flask db downgrade 0001") and "lock_timeout=5000" in line
    assert host.revision == "0001"
    refused(root, NEW, "compatibility", "The migration was undone")
    untouched(root, host)
    assert set(host.asked) == {("/run/blog/gunicorn.sock", "/healthz/ready", "blog.example.com")}


def test_one_probe_that_fails_is_no_verdict(deploy: Make, existing: Existing, serving: Release, host: Host, root: Path) -> None:
    """[A13] The release that serves is asked for a few seconds."""
    existing(NEW, READY)
    migrations(root, host, True, True)
    host.answers = [(503, "busy"), (0, "timed out"), (200, "ok")]
    assert deploy(release=NEW, migrate_command=UP).migrate()["changed"] is True
    assert host.revision == "0002" and 0 < host.clock <= deploy_migrate.STILL_READY_WITHIN


@pytest.mark.parametrize("why", ["first", "down"])
def test_nobody_is_asked_where_nobody_serves(deploy: Make, existing: Existing, host: Host, root: Path, why: str) -> None:
    """[A13] A first deploy, and a live release that was down before."""
    if why == "down":
        existing(OLD, LIVE, current=True)
    existing(NEW, READY)
    migrations(root, host, True, True)
    host.answers = [(500, "")]
    assert deploy(release=NEW, migrate_command=UP).migrate()["changed"] is True
    assert host.asked == []


@pytest.mark.parametrize("point", ["20261120T072201Z-before", None])
def test_a_migration_that_cannot_be_undone_is_said_so(
    deploy: Make, existing: Existing, serving: Release, host: Host, root: Path, point: str | None
) -> None:
    """[A13] With the way back: the restore point, where there is one."""
    existing(NEW, READY)
    migrations(root, host, True, True, False)
    host.answers = [(500, "")]
    with pytest.raises(StepError) as failure:
        deploy(release=NEW, migrate_command=UP, restore_point_command=BACKUP if point else "").migrate()
    assert "could not be undone: these migrations have no downgrade: 0003 (step 3). Nothing of the schema" in failure.value.evidence
    assert (f"playbooks/restore.yml -e backup={point}" if point else "Go back with a backup") in failure.value.evidence
    assert not any("downgrade-step" in line for line in host.did) and host.revision == "0003"
    untouched(root, host)


def test_a_downgrade_that_fails_is_said_so(deploy: Make, existing: Existing, serving: Release, host: Host, root: Path) -> None:
    """[A13] It waits for locks no longer than the migration did."""
    existing(NEW, READY)
    migrations(root, host, True, True)
    host.answers, host.fails = [(500, "")], {"downgrade-step": "canceling statement due to lock timeout"}
    with pytest.raises(StepError, match=r"could not be undone: canceling statement due to lock timeout"):
        deploy(release=NEW, migrate_command=UP).migrate()
    refused(root, NEW, "compatibility", "not ready on the new schema")


@pytest.mark.parametrize("why", ["not PostgreSQL", "no psql"])
def test_a_schema_of_unknown_revision_is_never_brought_to_its_beginning(
    deploy: Make, existing: Existing, serving: Release, host: Host, root: Path, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    """[A13] `flask db downgrade base` drops every table. What could not be read before the migration is no empty database."""
    existing(NEW, READY)
    migrations(root, host, True, True)
    host.answers = [(500, "")]
    if why == "not PostgreSQL":
        (root / "srv/releases" / NEW / "environment").write_text('DATABASE_URL="mysql://x/y"\n')
    else:
        monkeypatch.setattr(shutil, "which", lambda program: None if program == "psql" else program)
    with pytest.raises(StepError) as failure:
        deploy(release=NEW, migrate_command=UP).migrate()
    assert not [line for line in host.did if "db downgrade" in line], "all tables are gone"
    assert "was undone" not in failure.value.evidence


def test_a_killed_migration_keeps_its_beginning(deploy: Make, existing: Existing, serving: Release, host: Host, root: Path) -> None:
    """[S1] The next run finds the schema migrated already: the way back leads to where the first run began."""
    existing(NEW, READY, schema_before="0001", restore_point="the-first")
    migrations(root, host, True, True)
    host.revision = "0002"
    host.answers = [(500, "")]
    with pytest.raises(StepError):
        deploy(release=NEW, migrate_command=UP, restore_point_command=BACKUP).migrate()
    found = Store(root / "srv").load(NEW)
    assert found and (found.schema_before, found.restore_point) == ("0001", "the-first")
    assert host.revision == "0001"


def test_a_command_that_an_interrupted_run_left_does_not_stop_the_next(
    deploy: Make, existing: Existing, serving: Release, host: Host, root: Path
) -> None:
    """[S1] `kill -9` of the module leaves its transient unit: systemd refuses a second one of the name until it has ended."""
    existing(NEW, READY)
    migrations(root, host, True, True)
    host.active.add("blog-migrate-step.service")

    def refuse(line: str) -> None:
        if "blog-migrate-step.service" in host.active:
            raise CommandError("Unit blog-migrate-step.service was already loaded or has a fragment file.")

    meanwhile(host, "--unit=blog-migrate-step.service", refuse)
    host.later = [(2.0, lambda: host.active.discard("blog-migrate-step.service"))]
    assert deploy(release=NEW, migrate_command=UP).migrate()["changed"] is True


# --- downgrade ----------------------------------------------------------------------------------


def test_the_schema_goes_back_with_the_newer_releases_scripts(deploy: Make, existing: Existing, host: Host, root: Path) -> None:
    """[A13] Only they know the way; after a restore point."""
    existing(NEW, LIVE, current=True, schema_after="0003")
    migrations(root, host, True, True, True)
    host.revision = "0003"
    result = deploy(release=NEW, schema="0001", restore_point_command=BACKUP).downgrade()
    assert (result["changed"], result["release"], result["restore_point"]) == (True, NEW, "20261120T072201Z-before")
    assert host.revision == "0001"
    taken, down = (next(i for i, line in enumerate(host.did) if part in line) for part in ("backup.py", "downgrade-step"))
    assert taken < down and host.did[down].endswith(f"{NEW}/.venv/bin/flask db downgrade 0001")
    assert deploy(release=NEW, schema="0001", restore_point_command=BACKUP).downgrade()["changed"] is False


def test_a_migration_without_downgrade_stops_the_way_back(deploy: Make, existing: Existing, host: Host, root: Path) -> None:
    """[A13] Before any step of it, not halfway; with the names of those that stand in the way."""
    existing(NEW, LIVE, current=True, running=True)
    migrations(root, host, True, True, False, True)
    host.revision = "0004"
    with pytest.raises(StepError, match=r"no downgrade: 0003 \(step 3\)\. Nothing of the schema was changed") as failure:
        deploy(release=NEW, schema="0001").downgrade()
    assert failure.value.step == "downgrade" and host.revision == "0004"
    assert not any("downgrade-step" in line for line in host.did)
    assert state(root, NEW) == LIVE and (root / "srv/releases" / NEW / "blog.py").exists()
    # What is not on the way does not matter.
    assert deploy(release=NEW, schema="0003").downgrade()["changed"] is True


def test_the_schema_never_goes_back_to_before_its_beginning(deploy: Make, existing: Existing, host: Host, root: Path) -> None:
    """[A13] That would drop every table, and an empty target may as well mean that nobody knows."""
    existing(NEW, LIVE, current=True)
    migrations(root, host, True, True)
    host.revision = "0002"
    with pytest.raises(StepError) as failure:
        deploy(release=NEW, schema="", restore_point_command=BACKUP).downgrade()
    assert failure.value.step == "downgrade" and host.revision == "0002"
    assert host.did == []


def test_a_schema_that_cannot_be_read_is_not_changed(deploy: Make, existing: Existing, host: Host, root: Path) -> None:
    """[A13] Neither the way nor what stands in it is known, and there would be no restore point."""
    existing(NEW, LIVE, current=True)
    host.revision = "0002"
    host.fails = {"psql": "connection timed out"}
    with pytest.raises(StepError):
        deploy(release=NEW, schema="0001", restore_point_command=BACKUP).downgrade()
    assert not any("db downgrade" in line for line in host.did)


def test_a_downgrade_in_check_mode_changes_nothing(deploy: Make, existing: Existing, host: Host, root: Path) -> None:
    """[A13] And says whether it would."""
    existing(NEW, LIVE, current=True)
    migrations(root, host, True, True)
    host.revision = "0002"
    for target, would in (("0001", True), ("0002", False)):
        assert deploy(check_mode=True, release=NEW, schema=target, restore_point_command=BACKUP).downgrade()["changed"] is would
    assert not any("downgrade-step" in line or "backup.py" in line for line in host.did) and host.revision == "0002"


def test_a_way_back_that_did_not_help_is_gone_forward_again(deploy: Make, existing: Existing, host: Host, root: Path) -> None:
    """[A13] With the scripts of the release that serves, waiting for locks no longer than the way back did."""
    existing(NEW, LIVE, current=True, running=True, schema_after="0003")
    migrations(root, host, True, True, True)
    result = deploy(release=NEW, migrate_command=UP).upgrade()
    assert (result["changed"], result["release"], result["output"]) == (True, NEW, "said systemd-run") and host.revision == "0003"
    (line,) = host.did
    assert line.endswith(UP) and "lock_timeout=5000" in line and f"--working-directory={root}/srv/releases/{NEW}" in line
    assert state(root, NEW) == LIVE


def test_going_forward_again_without_migrations_does_nothing(deploy: Make, existing: Existing, host: Host) -> None:
    """[A13] Check mode only says so."""
    existing(NEW, LIVE, current=True)
    assert deploy(release=NEW).upgrade()["changed"] is False
    assert deploy(check_mode=True, release=NEW, migrate_command=UP).upgrade()["changed"] is True
    assert host.did == []


def test_going_forward_again_may_fail(deploy: Make, existing: Existing, host: Host, root: Path) -> None:
    """[A13] With what the command said; what serves is no worse than it was."""
    existing(NEW, LIVE, current=True, running=True)
    host.fails = {"upgrade-step": "canceling statement due to lock timeout"}
    with pytest.raises(StepError, match="lock timeout") as failure:
        deploy(release=NEW, migrate_command=UP).upgrade()
    assert failure.value.step == "migration" and state(root, NEW) == LIVE


# --- rehearse -----------------------------------------------------------------------------------

REHEARSAL = f"blog-rehearsal@{NEW}.service"


def test_a_release_is_rehearsed_until_it_is_ready(deploy: Make, existing: Existing, host: Host, serving: Release) -> None:
    """[S1] [A14] On a private socket, asked as nginx would ask, with patience; and stopped when it is done."""
    existing(NEW, READY)
    host.answers = [(0, "FileNotFoundError"), (503, "warming up"), (200, "ok")]
    assert deploy(release=NEW, ready_timeout=60).rehearse() == {"changed": False, "release": NEW}
    assert host.did == [f"{NEW} is ready", f"start {REHEARSAL}", f"stop {REHEARSAL}"]
    rehearsal = "/run/blog-rehearsal/gunicorn.sock"
    places = [("nginx", "/healthz/ready"), ("nginx", "/"), *[(rehearsal, "/healthz/ready")] * 3, (rehearsal, "/")]
    assert host.asked == [(place, url, "blog.example.com") for place, url in places]


@pytest.mark.parametrize("served", [True, False])
def test_the_front_door_is_asked_before_the_switch(
    deploy: Make, existing: Existing, root: Path, host: Host, serving: Release, monkeypatch: pytest.MonkeyPatch, served: bool
) -> None:
    """[S1] While the old one serves and nobody is about to end: what nginx keeps open for us would lead to the old one afterwards."""
    existing(NEW, READY)
    host.visits = [(200, "ok") if served else (502, "Bad Gateway")]
    seen: list[tuple[set[str], list[str]]] = []

    def visit(domain: str, url: str) -> Answer:
        seen.append((host.serving, list(host.did)))
        return host.visit(domain, url)

    monkeypatch.setattr(deploy_switch, "visit", visit)
    deploy(release=NEW).rehearse()
    deploy(release=NEW).activate()
    assert seen == [({OLD}, [])] * (2 if served else 1)
    found = Store(root / "srv").live()
    assert found and (found.id, found.served_before) == (NEW, served)


@pytest.mark.parametrize("on_trial", [True, False])
def test_what_the_front_door_answered_is_kept_when_a_run_was_cut_off(
    deploy: Make, existing: Existing, root: Path, host: Host, serving: Release, on_trial: bool
) -> None:
    """[S1] What it answers now may be the work of that switch. One that failed is over, and the next one asks again."""
    existing(NEW, READY, on_trial=on_trial, served_before=True, replaces=OLD)
    host.visits = [(504, "Gateway Time-out")]
    deploy(release=NEW).rehearse()
    found = Store(root / "srv").load(NEW)
    assert found and found.served_before is on_trial
    assert [place for place, _, _ in host.asked].count("nginx") == (0 if on_trial else 1)


def test_a_release_that_is_not_ready_in_time_is_refused(deploy: Make, existing: Existing, root: Path, host: Host, serving: Release) -> None:
    """[S1] [A14] The answer and the journal are the evidence; the rehearsal is stopped; the old release serves."""
    existing(NEW, READY)
    host.answers = [(500, "database: connection refused")]
    with pytest.raises(StepError) as failure:
        deploy(release=NEW, ready_timeout=-1).rehearse()
    assert failure.value.evidence == f"GET /healthz/ready answered 500: database: connection refused\njournal of {REHEARSAL}"
    assert f"stop {REHEARSAL}" in host.did and REHEARSAL not in host.active
    refused(root, NEW, "readiness", "answered 500")
    untouched(root, host)


def test_a_redirect_is_not_ready(deploy: Make, existing: Existing, root: Path, host: Host) -> None:
    """[A14] 200 and nothing else: a login page is no health."""
    existing(NEW, READY)
    host.answers = [(302, "")]
    with pytest.raises(StepError, match="answered 302"):
        deploy(release=NEW, ready_timeout=-1).rehearse()
    refused(root, NEW, "readiness", "answered 302")


def test_a_rehearsal_that_dies_is_noticed_at_once(
    deploy: Make, existing: Existing, root: Path, host: Host, monkeypatch: pytest.MonkeyPatch
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


def test_a_rehearsal_that_does_not_start_is_stopped(deploy: Make, existing: Existing, root: Path, host: Host) -> None:
    """[S1] systemd would go on trying."""
    existing(NEW, READY)
    host.fails = {f"start {REHEARSAL}": "ModuleNotFoundError: No module named 'blog'"}
    with pytest.raises(StepError, match="ModuleNotFoundError"):
        deploy(release=NEW).rehearse()
    assert [did.split()[0] for did in host.did[-4:]] == ["start", "systemd-run", "stop", NEW], host.did
    assert host.did[-2:] == [f"stop {REHEARSAL}", f"{NEW} is failed"]
    refused(root, NEW, "start", "ModuleNotFoundError")


def test_an_app_that_cannot_be_imported_says_why(deploy: Make, existing: Existing, root: Path, host: Host) -> None:
    """[A6 S1] Gunicorn has a line for it, the import itself a traceback: that is kept, under its own name."""
    existing(NEW, READY)
    host.fails = {f"start {REHEARSAL}": "Error: no", "--check-config": "Traceback (most recent call last)\nRuntimeError: no"}
    with pytest.raises(StepError, match="Traceback"):
        deploy(release=NEW).rehearse()
    assert host.did[-2:] == [f"stop {REHEARSAL}", f"{NEW} is failed"]
    refused(root, NEW, "import", "Traceback")


def test_what_serves_is_not_rehearsed(deploy: Make, serving: Release, host: Host) -> None:
    """[S1] It has been."""
    assert deploy(release=OLD).rehearse() == {"changed": False, "release": OLD}
    assert host.did == []


@pytest.mark.parametrize(
    ("status", "fine"), [*((status, True) for status in (200, 301, 302, 401, 404)), *((status, False) for status in (500, 502, 0))]
)
def test_the_front_page_is_asked_too(
    deploy: Make, existing: Existing, root: Path, host: Host, serving: Release, status: int, fine: bool
) -> None:
    """[S1] An app that says it is ready and fails every request; a redirect to the login, or no page there, is the app's own matter."""
    existing(NEW, READY)
    host.front = (status, "TemplateNotFound")
    if fine:
        assert deploy(release=NEW).rehearse()["release"] == NEW
        assert state(root, NEW) == READY
    else:
        with pytest.raises(StepError, match=rf"says it is ready, but GET / answered {status or 'nothing'}: TemplateNotFound"):
            deploy(release=NEW).rehearse()
        refused(root, NEW, "readiness", f"journal of {REHEARSAL}")
    assert REHEARSAL not in host.active
    untouched(root, host)


def test_a_release_to_go_back_to_survives_its_rehearsal(deploy: Make, existing: Existing, root: Path, host: Host, serving: Release) -> None:
    """[S1] It may not be able to live with today's schema; with the schema back it may."""
    existing(OLDER, RETIRED)
    host.answers = [(500, "column does not exist")]
    with pytest.raises(StepError, match="answered 500"):
        deploy(release=OLDER, ready_timeout=-1).rehearse()
    assert state(root, OLDER) == RETIRED and (root / "srv/releases" / OLDER / "blog.py").exists()


def test_a_rehearsal_that_an_interrupted_run_left_is_stopped(deploy: Make, existing: Existing, host: Host, serving: Release) -> None:
    """[S1] It holds memory, and the folder of the private socket goes when it ends."""
    existing(NEW, READY)
    host.active.add(f"blog-rehearsal@{OLDER}.service")
    deploy(release=NEW).rehearse()
    assert f"blog-rehearsal@{OLDER}.service" not in host.active


# --- activate -----------------------------------------------------------------------------------


def test_the_new_release_serves_before_the_old_one_stops(
    deploy: Make, existing: Existing, root: Path, host: Host, serving: Release
) -> None:
    """[S1] [S2] New noted and started, then the links moved, then written down, and only then the old one told to end: none refused."""
    existing(NEW, READY)
    assert deploy(release=NEW).activate() == {"changed": True, "release": NEW, "overlap": True, "output": ""}
    assert host.did == [
        f"{NEW} is ready",
        f"next -> {NEW}",
        "start blog.service",
        f"start blog@{NEW}.service",
        f"previous -> {OLD}",
        f"current -> {NEW}",
        "next -> none",
        f"{NEW} is live",
        f"end blog@{OLD}.service",
        f"{OLD} is retired",
    ]
    assert host.active == {"blog.socket", "blog.service", f"blog@{NEW}.service"}
    found = Store(root / "srv").live()
    assert found and (found.id, found.live_at) == (NEW, "2026-11-20T07:22:01+00:00")
    assert (found.replaces, found.rolled_back_from, found.on_trial) == (OLD, None, True)


def test_nobody_waits_for_the_old_release_to_finish(deploy: Make, existing: Existing, root: Path, host: Host, serving: Release) -> None:
    """[S1] A worker may take hours. What is ending is not taken for the rest of an interrupted switch."""
    existing(NEW, READY, fingerprint=deploy().fingerprint())
    host.lingers = OLD
    assert deploy(release=NEW).activate()["changed"] is True
    assert host.clock == 0 and host.ending == {f"blog@{OLD}.service"}
    assert (state(root, OLD), state(root, NEW)) == (RETIRED, LIVE)
    deploy(release=NEW).watch()
    assert deploy().plan()["repair"] is False
    host.did.clear()
    assert deploy(release=NEW).activate()["changed"] is False
    assert host.did == []
    existing(OLDER, READY)
    deploy(release=OLDER).activate()
    assert [line for line in host.did if line.startswith("end")] == [f"end blog@{OLD}.service blog@{NEW}.service"]


def test_an_old_release_that_cannot_be_told_to_end_is_told_by_the_next_run(
    deploy: Make, existing: Existing, root: Path, host: Host, serving: Release
) -> None:
    """[S1] The switch has happened by then; it still answers, and the next run sees that."""
    existing(NEW, READY, fingerprint=deploy().fingerprint())
    host.fails = {f"end blog@{OLD}": "Transport endpoint is not connected"}
    assert deploy(release=NEW).activate()["changed"] is True
    deploy(release=NEW).watch()
    assert Store(root / "srv").live_id() == NEW and deploy().plan()["repair"] is True
    host.fails = {}
    deploy(release=NEW).activate()
    assert host.serving == {NEW} and deploy().plan()["repair"] is False


def test_a_second_activation_changes_nothing(deploy: Make, serving: Release, host: Host) -> None:
    """[S1] Idempotent."""
    assert deploy(release=OLD).activate() == {"changed": False, "release": OLD, "overlap": True, "output": ""}
    assert host.did == []


def test_background_processes_move_with_the_release(deploy: Make, existing: Existing, host: Host) -> None:
    """[A15] The new worker starts with the new release; the old ones stop, also one that the new release no longer has."""
    host.active |= {"blog.socket", "blog.service"}
    existing(OLD, LIVE, current=True, running=True, processes=["beat", "worker"])
    existing(NEW, READY, processes=["worker"])
    deploy(release=NEW).activate()
    assert host.active == {"blog.socket", "blog.service", f"blog@{NEW}.service", f"blog-worker@{NEW}.service"}
    assert host.did.index(f"start blog-worker@{NEW}.service") < host.did.index(f"current -> {NEW}")
    ends = [line.split()[1:] for line in host.did if line.startswith(("stop", "end"))]
    assert ends == [[f"{unit}@{OLD}.service" for unit in ("blog", "blog-beat", "blog-worker")]]


def test_a_worker_that_still_drains_starts_again_by_itself(deploy: Make, existing: Existing, root: Path, host: Host) -> None:
    """[S1 A15] Back to a release that was just left: its worker's task may take hours, its Gunicorn is waited for."""
    host.active |= {"blog.socket", "blog.service"}
    existing(OLD, RETIRED, processes=["beat", "worker"])
    existing(NEW, LIVE, current=True, running=True)
    host.ending = {f"blog@{OLD}.service", f"blog-worker@{OLD}.service"}
    deploy(release=OLD, leave_as=ROLLED_BACK).activate()
    started = [line for line in host.did if line.startswith(("start", "queue"))]
    units = [f"start blog@{OLD}.service", f"start blog-beat@{OLD}.service", f"queue blog-worker@{OLD}.service"]
    assert started == ["start blog.service", *units] and not [line for line in host.did if line.startswith("stop")]
    assert 0 < host.clock < TASK and host.ending == {f"blog-worker@{OLD}.service"}
    assert whole(root, host).id == OLD and (state(root, OLD), state(root, NEW)) == (LIVE, ROLLED_BACK)
    host.finish()
    assert host.active == {"blog.socket", "blog.service", *(f"{unit}@{OLD}.service" for unit in ("blog", "blog-beat", "blog-worker"))}


def test_a_queued_worker_of_a_release_that_is_left_does_not_come_back(deploy: Make, existing: Existing, host: Host) -> None:
    """[A15] Back to a release whose worker still drains, and on to another before that is done: it never works beside the new one."""
    host.active |= {"blog.socket", "blog.service"}
    existing(OLDER, LIVE, current=True, running=True)
    existing(OLD, RETIRED, processes=["worker"])
    existing(NEW, READY, processes=["worker"])
    host.ending = {f"blog-worker@{OLD}.service"}
    deploy(release=OLD, leave_as=ROLLED_BACK).activate()
    deploy(release=NEW).activate()
    host.finish()
    assert host.active == {"blog.socket", "blog.service", f"blog@{NEW}.service", f"blog-worker@{NEW}.service"}


def test_a_start_that_fails_waits_for_no_worker(deploy: Make, existing: Existing, host: Host, serving: Release) -> None:
    """[A15] It still drains, and is told not to start again after that."""
    existing(OLDER, RETIRED, processes=["beat", "worker"])
    host.ending = {f"blog-beat@{OLDER}.service"}
    host.fails = {f"start blog-worker@{OLDER}": "redis is down"}
    with pytest.raises(StepError, match="redis is down"):
        deploy(release=OLDER).activate()
    assert host.clock < TASK
    host.finish()
    assert host.active == {"blog.socket", "blog.service", f"blog@{OLD}.service"}


def test_a_worker_that_cannot_be_queued_is_a_failed_start(
    deploy: Make, existing: Existing, root: Path, host: Host, serving: Release
) -> None:
    """[A15] A release without its worker is none."""
    existing(OLDER, RETIRED, processes=["worker"])
    host.ending = {f"blog-worker@{OLDER}.service"}
    host.fails = {"queue": "Unit blog-worker@.service is masked."}
    with pytest.raises(StepError, match="is masked") as failure:
        deploy(release=OLDER).activate()
    assert failure.value.step == "start" and host.serving == {OLD}
    untouched(root, host)


def test_what_an_interrupted_switch_left_is_stopped(deploy: Make, existing: Existing, host: Host, serving: Release) -> None:
    """[S1] Killed between the start and the stop: two releases answer; the next run leaves one."""
    host.active.add(f"blog@{OLDER}.service")
    assert deploy(release=OLD).activate()["changed"] is True
    assert host.active == {"blog.socket", "blog.service", f"blog@{OLD}.service"}
    assert not [line for line in host.did if line.startswith(("stop", "end")) and OLD in line]


def test_a_rehearsal_that_was_left_is_stopped_by_the_next_run(deploy: Make, existing: Existing, root: Path, host: Host) -> None:
    """[S1] It holds memory and connections to the database, also when the operator goes on with what is live."""
    existing(OLD, LIVE, current=True, running=True, fingerprint=deploy().fingerprint())
    existing(NEW, READY)
    host.active |= {"blog.socket", "blog.service", REHEARSAL}
    assert deploy().plan()["repair"] is True
    assert deploy(release=OLD).activate()["changed"] is True
    assert REHEARSAL not in host.active and state(root, NEW) == READY
    # Also when its rehearsal had just ended: what waits for nothing is removed.
    assert deploy().plan()["repair"] is True
    assert deploy().prune()["removed"] == [NEW] and deploy().plan()["repair"] is False


def test_what_was_stopped_by_hand_is_started_again(deploy: Make, root: Path, serving: Release, host: Host) -> None:
    """[A9] The run that finds nothing new still leaves the app up, and does not touch current."""
    host.active.remove(f"blog@{OLD}.service")
    assert deploy(release=OLD).activate() == {"changed": True, "release": OLD, "overlap": True, "output": ""}
    assert f"blog@{OLD}.service" in host.active
    assert not [line for line in host.did if line.startswith(("stop", "end"))]
    found = Store(root / "srv").live()
    assert found and found.live_at == serving.live_at, "it has not gone live anew"


def test_the_first_release_opens_the_socket_first(deploy: Make, existing: Existing, host: Host) -> None:
    """[S1] systemd refuses a socket whose service is active; and without blog.service it would start an instance itself."""
    existing(NEW, READY)
    host.active.add("blog.service")
    deploy(release=NEW).activate()
    started = [line for line in host.did if line.startswith(("start", "stop"))]
    assert started == ["stop blog.service", "start blog.socket", "start blog.service", f"start blog@{NEW}.service"]


@pytest.mark.parametrize("fails", [f"start blog@{NEW}.service", f"start blog-worker@{NEW}.service"])
def test_a_start_that_fails_leaves_the_old_release_live(
    deploy: Make, existing: Existing, root: Path, host: Host, serving: Release, fails: str
) -> None:
    """[S1] What was started of the new one is stopped again; the reason is kept."""
    existing(NEW, READY, processes=["worker"])
    host.fails = {fails: "MemoryError"}
    with pytest.raises(StepError, match="MemoryError"):
        deploy(release=NEW).activate()
    refused(root, NEW, "start", "MemoryError")
    untouched(root, host)
    assert host.active == {"blog.socket", "blog.service", f"blog@{OLD}.service"}
    assert not [line for line in host.did if line.startswith(("end", "current", f"stop blog@{OLD}"))]


def test_a_live_release_that_does_not_start_keeps_its_files(deploy: Make, serving: Release, root: Path, host: Host) -> None:
    """[S1] It is all there is: it may start the next time (after the database has come back, say)."""
    host.active.remove(f"blog@{OLD}.service")
    host.fails = {f"start blog@{OLD}": "database is down"}
    with pytest.raises(StepError, match="database is down"):
        deploy(release=OLD).activate()
    assert state(root, OLD) == LIVE and (root / "srv/releases" / OLD / "blog.py").exists()


def test_a_release_that_served_before_survives_a_failed_start(
    deploy: Make, existing: Existing, serving: Release, root: Path, host: Host
) -> None:
    """[S1] Going back to it must not destroy it: the next try may find the database up again."""
    existing(OLDER, RETIRED)
    host.fails = {f"start blog@{OLDER}": "database is down"}
    with pytest.raises(StepError, match="database is down"):
        deploy(release=OLDER).activate()
    assert state(root, OLDER) == RETIRED and (root / "srv/releases" / OLDER / "blog.py").exists()
    untouched(root, host)


@pytest.mark.parametrize("name", [None, "20990101T000000-none"])
def test_a_release_that_does_not_exist_is_named(deploy: Make, serving: Release, root: Path, host: Host, name: str | None) -> None:
    """[S1] Rather than an activation of nothing."""
    for act in ("migrate", "rehearse", "activate"):
        with pytest.raises(StepError, match="there is no release"):
            getattr(deploy(release=name), act)()
    untouched(root, host)


def test_a_repair_that_fails_leaves_what_still_serves(deploy: Make, existing: Existing, host: Host) -> None:
    """[S1] A worker of the live release does not start: its Gunicorn goes on serving all the while."""
    host.active |= {"blog.socket", "blog.service", f"blog@{OLD}.service"}
    existing(OLD, LIVE, current=True, processes=["worker"])
    host.fails = {f"start blog-worker@{OLD}": "redis is down"}
    with pytest.raises(StepError, match="redis is down"):
        deploy(release=OLD).activate()
    assert f"blog@{OLD}.service" in host.active
    assert not [line for line in host.did if line.startswith(("stop", "end")) and f"blog@{OLD}" in line], "visitors were cut off"


def test_the_releases_before_keep_their_assets_reachable(deploy: Make, existing: Existing, root: Path, host: Host) -> None:
    """[E6] The two that served last, by the times in their manifests; never what only was built, or failed."""
    host.active |= {"blog.socket", "blog.service"}
    srv = root / "srv"

    def links() -> list[str]:
        return [link.readlink().name if (link := srv / f"previous-{number}").is_symlink() else "" for number in (1, 2)]

    existing(OLDER, READY)
    existing("20261117T072201-fa11ed00", FAILED)
    deploy(release=OLDER).activate()
    assert links() == ["", ""]
    host.clock += 10
    existing(OLD, READY)
    deploy(release=OLD).activate()
    assert links() == [OLDER, ""]
    host.clock += 10
    existing(NEW, READY)
    deploy(release=NEW).activate()
    assert links() == [OLD, OLDER]
    host.clock += 10
    deploy(release=OLDER).activate()
    assert links() == [NEW, OLD]
    assert str((srv / "previous-1").readlink()) == f"releases/{NEW}"


def test_assets_are_found_at_every_moment_of_a_switch(deploy: Make, existing: Existing, root: Path, host: Host, serving: Release) -> None:
    """[E6] Whenever a release runs, nginx has a link to it: pages of the new one ask for its files before `current` has moved."""
    existing(NEW, READY)
    srv = root / "srv"
    seen: list[str] = []

    class Watched(list[str]):
        def append(self, line: str) -> None:
            super().append(line)
            links = {link.readlink().name for name in ("current", "next", "previous-1", "previous-2") if (link := srv / name).is_symlink()}
            running = {unit.split("@")[1].removesuffix(".service") for unit in host.active if "@" in unit}
            seen.append(f"{line}: {running - links}")

    host.did = Watched()
    deploy(release=NEW).activate()
    assert len(seen) > 8 and [moment for moment in seen if not moment.endswith("set()")] == []


@pytest.mark.parametrize("mark", [RETIRED, ROLLED_BACK])
def test_what_is_let_go_is_marked_as_asked(deploy: Make, existing: Existing, root: Path, host: Host, serving: Release, mark: str) -> None:
    """[S1] Retired by a deploy; rolled-back by a rollback, so that neither deploy nor rollback chooses it unasked."""
    existing(NEW, READY)
    deploy(release=NEW, leave_as=mark).activate()
    assert state(root, OLD) == mark
    found = Store(root / "srv").load(NEW)
    assert found and found.rolled_back_from == (OLD if mark == ROLLED_BACK else None)


# --- Too little memory for two ------------------------------------------------------------------


def test_without_memory_for_two_the_old_one_stops_first(deploy: Make, existing: Existing, root: Path, host: Host, serving: Release) -> None:
    """[S1] Behind the held socket, and it is said with the numbers."""
    existing(NEW, READY)
    host.used, host.available = 300 * MIB, 359 * MIB
    result = deploy(release=NEW).activate()
    assert (result["changed"], result["overlap"]) == (True, False)
    assert "the live one uses 300 MiB, 359 MiB are available" in result["output"] and "none was refused" in result["output"]
    stop, start = host.did.index(f"stop blog@{OLD}.service"), host.did.index(f"start blog@{NEW}.service")
    assert stop < start and not [line for line in host.did if "blog.socket" in line]
    assert {"blog.socket", "blog.service"} <= host.active
    assert (state(root, OLD), state(root, NEW)) == (RETIRED, LIVE)


@pytest.mark.parametrize(("available", "margin", "overlap"), [(360, 1.2, True), (359, 1.2, False), (300, 1.0, True), (599, 2.0, False)])
def test_the_margin_decides(
    deploy: Make, existing: Existing, host: Host, serving: Release, available: int, margin: float, overlap: bool
) -> None:
    """[S1] From what the live instance really uses."""
    existing(NEW, READY)
    host.used, host.available = 300 * MIB, available * MIB
    assert deploy(release=NEW, memory_margin=margin).activate()["overlap"] is overlap


def test_without_memory_what_is_still_ending_is_waited_for(deploy: Make, existing: Existing, host: Host, serving: Release) -> None:
    """[S1] The release before the last one holds its memory until it is gone."""
    host.ending = {f"blog@{OLDER}.service"}
    existing(NEW, READY)
    host.available = 0
    deploy(release=NEW).activate()
    assert f"stop blog@{OLD}.service blog@{OLDER}.service" in host.did and host.ending == set()


def test_without_memory_nobody_waits_for_a_worker(deploy: Make, existing: Existing, root: Path, host: Host) -> None:
    """[S1 A15] Told to end like Gunicorn, and left to its task: visitors wait in the socket until the new one is up."""
    host.active |= {"blog.socket", "blog.service"}
    existing(OLDER, RETIRED, processes=["worker"])
    existing(OLD, LIVE, current=True, running=True, processes=["beat", "worker"])
    existing(NEW, READY, processes=["worker"])
    host.available, host.lingers, host.ending = 0, OLD, {f"blog@{OLDER}.service", f"blog-worker@{OLDER}.service"}
    deploy(release=NEW).activate()
    told = f"end blog@{OLD}.service blog-beat@{OLD}.service blog-worker@{OLD}.service"
    (stop,) = (line for line in host.did if line.startswith("stop"))
    assert set(stop.split()[1:]) == {f"blog@{OLD}.service", f"blog@{OLDER}.service"}
    assert host.did.index(told) < host.did.index(stop) < host.did.index(f"start blog@{NEW}.service")
    assert host.clock < TASK and host.ending == {f"blog-{unit}.service" for unit in (f"beat@{OLD}", f"worker@{OLD}", f"worker@{OLDER}")}
    assert host.active == {"blog.socket", "blog.service", f"blog@{NEW}.service", f"blog-worker@{NEW}.service"}
    assert (state(root, OLD), state(root, NEW)) == (RETIRED, LIVE)


def test_without_memory_a_worker_that_still_drains_comes_back_afterwards(deploy: Make, existing: Existing, root: Path, host: Host) -> None:
    """[S1 A15] The new release does not start: the old one serves at once, its worker goes on when its task is done."""
    host.active |= {"blog.socket", "blog.service"}
    existing(OLD, LIVE, current=True, running=True, processes=["worker"])
    before = set(host.active)
    existing(NEW, READY, processes=["worker"])
    host.available, host.lingers, host.fails = 0, OLD, {f"start blog@{NEW}": "MemoryError"}
    with pytest.raises(StepError, match="MemoryError"):
        deploy(release=NEW).activate()
    assert host.did.index(f"start blog@{OLD}.service") < host.did.index(f"queue blog-worker@{OLD}.service")
    assert host.clock < TASK and host.active == before - {f"blog-worker@{OLD}.service"}
    refused(root, NEW, "start", "MemoryError")
    untouched(root, host)
    host.finish()
    assert host.active == before


def test_memory_does_not_matter_where_nothing_runs(deploy: Make, existing: Existing, host: Host) -> None:
    """[S1] The first release, and one after a live release that is down; a repair starts what belongs there."""
    host.available = 0
    existing(OLDER, READY)
    assert deploy(release=OLDER).activate()["overlap"] is True
    host.active.remove(f"blog@{OLDER}.service")
    assert deploy(release=OLDER).activate()["overlap"] is True
    host.active.remove(f"blog@{OLDER}.service")
    existing(NEW, READY)
    assert deploy(release=NEW).activate()["overlap"] is True


def test_without_memory_a_failed_start_brings_the_old_one_back(deploy: Make, existing: Existing, root: Path, host: Host) -> None:
    """[S1] With its workers; nothing else has changed."""
    host.active |= {"blog.socket", "blog.service"}
    existing(OLD, LIVE, current=True, running=True, processes=["worker"])
    before = set(host.active)
    existing(NEW, READY)
    host.available = 0
    host.fails = {f"start blog@{NEW}": "MemoryError"}
    with pytest.raises(StepError, match="MemoryError") as failure:
        deploy(release=NEW).activate()
    assert host.active == before
    assert host.did.index(f"start blog@{NEW}.service") < host.did.index(f"start blog@{OLD}.service")
    refused(root, NEW, "start", "MemoryError")
    untouched(root, host)
    assert failure.value.step == "start"


def test_an_old_release_that_does_not_come_back_is_said_so(
    deploy: Make, existing: Existing, root: Path, host: Host, serving: Release
) -> None:
    """[S1] The first failure stays the reason, and nobody is told that nothing happened."""
    existing(NEW, READY)
    host.available = 0
    host.fails = {f"start blog@{NEW}": "MemoryError", f"start blog@{OLD}": "database is down"}
    with pytest.raises(StepError, match=r"(?s)MemoryError.*database is down") as failure:
        deploy(release=NEW).activate()
    assert failure.value.outcome != deploy_steps.UNTOUCHED
    assert state(root, OLD) == LIVE and (root / "srv/releases" / OLD / "blog.py").exists()


# --- watch --------------------------------------------------------------------------------------


@pytest.fixture
def switched(deploy: Make, existing: Existing, host: Host, serving: Release) -> None:
    """The new release serves, on trial; the old one has ended."""
    existing(NEW, READY, fingerprint=deploy().fingerprint())
    deploy(release=NEW).rehearse()
    deploy(release=NEW).activate()
    host.did.clear()
    host.asked.clear()


def back(root: Path, host: Host, step: str, reason: str) -> None:
    """The release before serves again, the new one is marked, kept for a look, and told to end."""
    store = Store(root / "srv")
    assert store.live_id() == OLD and (state(root, OLD), state(root, NEW)) == (LIVE, ROLLED_BACK)
    assert host.active == {"blog.socket", "blog.service", f"blog@{OLD}.service"}
    found, served = store.load(NEW), store.load(OLD)
    assert found and found.failure and found.failure["step"] == step and reason in found.failure["reason"]
    assert served and str(served.live_at) > str(found.live_at), "the one that serves is not the one that served last"
    assert (served.rolled_back_from, served.on_trial, found.on_trial) == (NEW, False, False)
    assert (store.folder(NEW) / "blog.py").exists()
    assert store.root.joinpath("previous-1").readlink().name == NEW
    # It has shown that it is better, and there is no moment without one.
    order = [f"start blog-rehearsal@{OLD}.service", f"start blog@{OLD}.service", f"current -> {OLD}", f"end blog@{NEW}.service"]
    assert [line for line in host.did if line in order] == order


def test_a_release_that_serves_well_stays(deploy: Make, root: Path, host: Host, switched: None) -> None:
    """[S1] For as long as asked; with what was seen beside what the release before did in as long, since a quiet burn-in says little."""
    host.serve(OLD, 200, 500, ago=30)
    host.serve(OLD, *[500] * 50, ago=31)
    host.later = [(5, lambda: host.serve(NEW, *[200] * 8, 404, 500))]
    result = deploy(release=NEW, burn_in=30.0).watch()
    assert 30 <= host.clock < 32
    seen = (
        "10 requests, 1 answered 5xx, 0 tracebacks; the release before, as long before the switch: 2 requests, 1 answered 5xx, 0 tracebacks"
    )
    assert result == {"changed": False, "release": NEW, "output": seen}
    # Asked once a second as well, and found good.
    assert host.asked == [("nginx", "/healthz/ready", "blog.example.com"), ("nginx", "/", "blog.example.com")] * 32
    assert host.did == [f"{NEW} is live"] and host.serving == {NEW}
    found = Store(root / "srv").live()
    assert found and (found.id, found.on_trial, found.failure) == (NEW, False, None)
    host.did.clear()
    assert deploy(release=NEW, burn_in=30.0).watch()["output"] == "" and host.did == [], "it is watched once"


def test_visitors_are_asked_for_when_the_old_release_is_gone(deploy: Make, existing: Existing, host: Host, serving: Release) -> None:
    """[S1] Until then nginx may reach it by a connection that it keeps open, and what it answers is not the new one's."""
    existing(NEW, READY)
    host.lingers = OLD
    deploy(release=NEW).activate()
    host.asked.clear()
    asked: list[int] = []
    host.later = [(0.95, lambda: asked.append(len(host.asked))), (1.0, host.ending.clear)]
    deploy(release=NEW).watch()
    assert asked == [0] and len(host.asked) == 2 and 1 <= host.clock < 1.2


@pytest.mark.parametrize(("unit", "seconds"), [("blog", deploy_switch.LINGER), ("blog-worker", 0)])
def test_nobody_waits_longer_than_such_a_connection_lives(
    deploy: Make, existing: Existing, host: Host, serving: Release, unit: str, seconds: float
) -> None:
    """[S1] For the last request of a Gunicorn, or for a worker at all."""
    existing(NEW, READY, processes=["worker"])
    deploy(release=NEW).activate()
    host.ending = {f"{unit}@{OLD}.service"}
    deploy(release=NEW).watch()
    assert seconds <= host.clock < seconds + 0.2


@pytest.mark.parametrize(
    ("visits", "path"),
    [([(502, "Bad Gateway")], "/healthz/ready"), ([(200, ""), (500, "boom")], "/"), ([(0, "timed out")], "/healthz/ready")],
)
def test_a_front_door_that_the_switch_broke_brings_the_old_one_back(
    deploy: Make, root: Path, host: Host, switched: None, visits: list[tuple[int, str]], path: str
) -> None:
    """[S1] By itself and at once, without the burn-in."""
    host.visits = list(visits)
    host.clock += 1
    with pytest.raises(StepError) as failure:
        deploy(release=NEW, burn_in=30.0).watch()
    assert host.clock == 1
    assert (failure.value.step, failure.value.outcome) == ("front door", f"switched back to {OLD} by itself")
    assert f"GET https://blog.example.com{path} answered {visits[-1][0] or 'nothing'}: {visits[-1][1]}" in failure.value.evidence
    back(root, host, "front door", f"https://blog.example.com{path}")


@pytest.mark.parametrize("status", [301, 401, 404, 429])
def test_a_front_door_that_refuses_is_not_broken(deploy: Make, host: Host, switched: None, status: int) -> None:
    """[S1] A login, a redirect, a maintenance page behind a password."""
    host.visits = [(status, "")]
    assert deploy(release=NEW).watch()["release"] == NEW


def test_a_front_door_that_was_broken_before_is_not_blamed(
    deploy: Make, existing: Existing, root: Path, host: Host, serving: Release
) -> None:
    """[S1] nginx is down, the certificate is absent, or the old release was broken: going back would mend nothing, and it is said."""
    existing(NEW, READY)
    host.visits = [(502, "Bad Gateway")]
    deploy(release=NEW).rehearse()
    deploy(release=NEW).activate()
    found = Store(root / "srv").load(NEW)
    assert found and found.served_before is False
    said = "Not served through nginx, neither before the switch nor after it: GET https://blog.example.com/healthz/ready answered 502"
    assert deploy(release=NEW, burn_in=2.0).watch()["output"].startswith(said)
    found = Store(root / "srv").live()
    assert found and (found.id, found.state, found.on_trial) == (NEW, LIVE, False)


def test_what_was_found_good_is_not_switched_away_from_later(deploy: Make, root: Path, host: Host, switched: None) -> None:
    """[S1] A run that repairs something finds the front door broken: that is said, and has another cause than the switch."""
    deploy(release=NEW).watch()
    host.did.clear()
    host.visits = [(502, "Bad Gateway")]
    with pytest.raises(StepError, match="answered 502: Bad Gateway") as failure:
        deploy(release=NEW, burn_in=30.0).watch()
    assert failure.value.outcome == f"release {NEW} serves, and was found good when it went live"
    assert host.did == [] and Store(root / "srv").live_id() == NEW


@pytest.mark.parametrize("maintenance", [True, False])
def test_during_maintenance_the_front_page_is_not_asked(deploy: Make, root: Path, host: Host, switched: None, maintenance: bool) -> None:
    """[S1] It answers 503, which is what it is for."""
    (root / "srv/maintenance").mkdir()
    if maintenance:
        (root / "srv/maintenance/index.html").touch()
    deploy(release=NEW).watch()
    assert ("/" in {url for _, url, _ in host.asked}) is not maintenance


def test_a_release_that_does_worse_is_switched_away_from(deploy: Make, root: Path, host: Host, switched: None) -> None:
    """[S1] As soon as the verdict is in, not at the end of the burn-in."""
    host.later = [(3, lambda: host.serve(NEW, *[500] * 4, 200))]
    host.serve(OLD, *[200] * 20, ago=10)
    with pytest.raises(StepError, match=r"the new release answered 5xx in 80% of 5 requests, the release before in 0% of 20") as failure:
        deploy(release=NEW, burn_in=30.0).watch()
    assert host.clock < 5
    assert failure.value.outcome == f"switched back to {OLD} by itself" and f"journal of blog@{NEW}.service" in failure.value.evidence
    back(root, host, "burn-in", "answered 5xx in 80%")


@pytest.mark.parametrize(("times", "worse"), [(FEWEST, True), (FEWEST - 1, False)])
def test_a_front_door_that_closes_during_the_burn_in(deploy: Make, root: Path, host: Host, switched: None, times: int, worse: bool) -> None:
    """[S1] Nobody else may have come: what we ask for counts. Once or twice is no verdict."""
    # The readiness path and the front page in turn, until the readiness path fails.
    host.visits = [*[(200, "")] * 6, *[(502, "Bad Gateway")] * times, (200, "")]
    with pytest.raises(StepError, match="answered 502") if worse else contextlib.nullcontext():
        deploy(release=NEW, burn_in=30.0).watch()
    if worse:
        back(root, host, "burn-in", "answered 502")
    else:
        assert host.clock >= 30 and Store(root / "srv").live_id() == NEW


def test_doors_that_open_again_are_counted_anew(deploy: Make, root: Path, host: Host, switched: None) -> None:
    """[S1] Now and then one request is lost somewhere."""
    host.visits = [(200, ""), (200, ""), *[(502, ""), (200, ""), (200, "")] * 5, (200, "")]
    deploy(release=NEW, burn_in=30.0).watch()
    assert Store(root / "srv").live_id() == NEW


def test_a_journal_that_cannot_be_read_is_said_so(
    deploy: Make, root: Path, host: Host, switched: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """[S1] There is no verdict then, and who serves is said; the next run looks again."""

    def gone(*words: Any) -> NoReturn:
        raise CommandError("No journal files were found")

    monkeypatch.setattr(deploy_switch, "journal_between", gone)
    with pytest.raises(StepError, match="No journal files") as failure:
        deploy(release=NEW, burn_in=30.0).watch()
    assert (failure.value.step, failure.value.outcome) == ("burn-in", f"release {NEW} serves")
    found = Store(root / "srv").live()
    assert found and found.on_trial is True and deploy().plan()["repair"] is True


def test_tracebacks_count_too(deploy: Make, root: Path, host: Host, switched: None) -> None:
    """[S1] An app that hides its errors behind a 200."""
    host.clock += 1
    host.serve(NEW, *[200] * 10, tracebacks=5)
    with pytest.raises(StepError, match="raised in 50% of 10 requests"):
        deploy(release=NEW, burn_in=30.0).watch()
    back(root, host, "burn-in", "raised in")


def test_what_troubles_both_is_no_ones_fault(deploy: Make, root: Path, host: Host, switched: None) -> None:
    """[S1] The release before answered as badly, and it does now: the database is down, and going back would not help."""
    host.serve(OLD, *[500] * 20, ago=1)
    host.later = [(2, lambda: host.serve(NEW, *[500] * 20))]
    assert "20 requests, 20 answered 5xx" in deploy(release=NEW, burn_in=5.0).watch()["output"]
    assert Store(root / "srv").live_id() == NEW


@pytest.mark.parametrize("front", [False, True])
def test_a_release_before_that_is_no_better_does_not_take_over(deploy: Make, root: Path, host: Host, switched: None, front: bool) -> None:
    """[S1] The database went down with the switch or after it: the old one is rehearsed, is not ready either, and nothing is switched."""
    host.visits = [(500, "database is down")]
    if front:
        host.front = (500, "database is down")
    else:
        host.answers = [(503, "database is down")]
    with pytest.raises(StepError) as failure:
        deploy(release=NEW, ready_timeout=-1).watch()
    assert failure.value.outcome == f"release {NEW} stays live"
    assert f"Going back to {OLD} would not help, or failed as well:" in failure.value.evidence
    assert host.serving == {NEW} and Store(root / "srv").live_id() == NEW and (state(root, OLD), state(root, NEW)) == (RETIRED, LIVE)
    assert not [line for line in host.did if line.startswith((f"start blog@{OLD}", "current"))]
    found = Store(root / "srv").live()
    assert found and found.on_trial is False and found.failure and found.failure["step"] == "front door"
    assert deploy().plan()["repair"] is False


def test_what_was_answered_between_switch_and_watch_counts(deploy: Make, root: Path, host: Host, switched: None) -> None:
    """[S1] Ansible is slow: seconds of the new release's service may have passed. What a unit of that name said long ago does not."""
    host.serve(NEW, *[200] * 1000, ago=1)
    host.serve(NEW, *[500] * 5)
    host.clock += 4
    with pytest.raises(StepError, match="100% of 5"):
        deploy(release=NEW, burn_in=30.0).watch()
    back(root, host, "burn-in", "100%")


@pytest.mark.parametrize("tolerance", [0.05, 0.6])
def test_the_tolerance_decides(deploy: Make, host: Host, switched: None, tolerance: float) -> None:
    """[S1] How much worse is worse."""
    host.serve(NEW, *[500] * 5, *[200] * 5)
    with contextlib.nullcontext() if tolerance > 0.5 else pytest.raises(StepError, match="50%"):
        deploy(release=NEW, burn_in=2.0, burn_in_tolerance=tolerance).watch()


def test_a_new_release_that_dies_is_noticed(deploy: Make, root: Path, host: Host, switched: None) -> None:
    """[S1] It answers nothing any more, so there is nothing to count."""
    host.later = [(2, lambda: host.active.discard(f"blog@{NEW}.service"))]
    with pytest.raises(StepError, match=rf"blog@{NEW}\.service has stopped"):
        deploy(release=NEW, burn_in=30.0).watch()
    assert host.clock < 4
    assert Store(root / "srv").live_id() == OLD and state(root, NEW) == ROLLED_BACK
    assert f"blog@{OLD}.service" in host.active


def test_the_way_back_takes_the_workers_along(deploy: Make, existing: Existing, root: Path, host: Host) -> None:
    """[A15] The old ones start again, also those that the new release no longer had."""
    host.active |= {"blog.socket", "blog.service"}
    existing(OLD, LIVE, current=True, running=True, processes=["beat", "worker"])
    before = set(host.active)
    existing(NEW, READY, processes=["mailer", "worker"])
    deploy(release=NEW).activate()
    assert host.active == {"blog.socket", "blog.service", *(f"{unit}@{NEW}.service" for unit in ("blog", "blog-mailer", "blog-worker"))}
    host.visits = [(502, "")]
    with pytest.raises(StepError, match="502"):
        deploy(release=NEW).watch()
    assert host.active == before


@pytest.mark.parametrize("gone", ["never", "pruned", "stripped"])
def test_without_a_release_before_the_new_one_stays(deploy: Make, existing: Existing, root: Path, host: Host, gone: str) -> None:
    """[S1] Bad is better than nothing, and it is said."""
    host.active |= {"blog.socket", "blog.service"}
    if gone != "never":
        existing(OLD, LIVE, current=True, running=True)
    existing(NEW, READY)
    deploy(release=NEW).activate()
    if gone == "pruned":
        shutil.rmtree(root / "srv/releases" / OLD)
    if gone == "stripped":
        Store(root / "srv").strip(OLD)
    host.visits = [(502, "Bad Gateway")]
    with pytest.raises(StepError) as failure:
        deploy(release=NEW).watch()
    assert failure.value.outcome == f"there is no release to go back to, so release {NEW} stays live"
    found = Store(root / "srv").live()
    assert found and (found.id, found.state) == (NEW, LIVE)
    assert found.failure and found.failure["step"] == "front door" and found.on_trial is False
    assert f"blog@{NEW}.service" in host.active


def test_a_way_back_that_fails_is_said_so(deploy: Make, root: Path, host: Host, switched: None) -> None:
    """[S1] Both reasons; the new one stays, since it is what there is."""
    host.visits, host.fails = [(502, "Bad Gateway")], {f"start blog@{OLD}": "Address already in use"}
    with pytest.raises(StepError) as failure:
        deploy(release=NEW).watch()
    assert failure.value.outcome == f"release {NEW} stays live"
    assert re.search(rf"(?s)502.*Going back to {OLD} would not help, or failed as well:\nAddress already in use", failure.value.evidence)
    found = Store(root / "srv").live()
    assert found and (found.id, found.state, found.on_trial) == (NEW, LIVE, False) and host.serving == {NEW}


def test_the_way_back_without_memory_for_two(deploy: Make, root: Path, host: Host, switched: None) -> None:
    """[S1] The new one stops first, behind the held socket; rehearsed was the old one all the same."""
    host.clock += 1
    host.available, host.visits = 0, [(502, "Bad Gateway")]
    with pytest.raises(StepError, match="502") as failure:
        deploy(release=NEW).watch()
    assert failure.value.outcome == f"switched back to {OLD} by itself"
    stop, start = host.did.index(f"stop blog@{NEW}.service"), host.did.index(f"start blog@{OLD}.service")
    assert host.did.index(f"start blog-rehearsal@{OLD}.service") < stop < start and host.serving == {OLD}
    assert (state(root, OLD), state(root, NEW)) == (LIVE, ROLLED_BACK)


def test_the_way_back_without_memory_may_fail(deploy: Make, root: Path, host: Host, switched: None) -> None:
    """[S1] The new one comes back: bad is better than nothing."""
    host.available, host.visits, host.fails = 0, [(502, "Bad Gateway")], {f"start blog@{OLD}": "MemoryError"}
    with pytest.raises(StepError, match="MemoryError") as failure:
        deploy(release=NEW).watch()
    assert failure.value.outcome == f"release {NEW} stays live"
    assert host.serving == {NEW} and Store(root / "srv").live_id() == NEW


def test_a_first_release_is_not_burnt_in(deploy: Make, existing: Existing, root: Path, host: Host) -> None:
    """[S1] There is nothing to go back to, so nothing is decided."""
    existing(NEW, READY)
    host.visits = [(502, ""), (200, "")]
    deploy(release=NEW).rehearse()
    deploy(release=NEW).activate()
    assert deploy(release=NEW, burn_in=30.0).watch() == {"changed": False, "release": NEW, "output": ""}
    found = Store(root / "srv").live()
    assert host.clock == 0 and found and (found.replaces, found.on_trial) == (None, False)


def test_a_burn_in_of_zero_is_off(deploy: Make, existing: Existing, root: Path, host: Host, serving: Release) -> None:
    """[S1] A release that is gone back to has served before, and badly perhaps, while the database was down: that is history."""
    host.serve(OLDER, *[500] * 50, *[200] * 50, tracebacks=50)
    existing(OLDER, RETIRED)
    deploy(release=OLDER, leave_as=ROLLED_BACK).activate()
    assert deploy(release=OLDER, burn_in=0.0).watch()["release"] == OLDER
    assert host.clock == 0
    assert Store(root / "srv").live_id() == OLDER and state(root, OLD) == ROLLED_BACK


def test_what_is_not_live_is_not_watched(deploy: Make, existing: Existing, host: Host, serving: Release) -> None:
    """[S1] Another run was faster."""
    existing(NEW, READY)
    assert deploy(release=NEW, burn_in=30.0).watch() == {"changed": False, "release": NEW, "output": ""}
    assert host.asked == [] and host.clock == 0


# --- prune, list, check mode --------------------------------------------------------------------


def test_pruning_keeps_what_can_be_gone_back_to(deploy: Make, existing: Existing, root: Path, serving: Release) -> None:
    """[S1] At least one, whatever is asked for."""
    for day in (10, 11, 12):
        existing(f"202611{day}T000000-aa", RETIRED)
    assert deploy(keep=0).prune() == {"changed": True, "removed": ["20261110T000000-aa", "20261111T000000-aa"], "release": OLD}
    assert listed(root / "srv/releases") == ["20261112T000000-aa", OLD]
    assert deploy(keep=0).prune()["changed"] is False


def test_what_still_runs_is_not_pruned(deploy: Make, existing: Existing, root: Path, host: Host, serving: Release) -> None:
    """[S1] A worker may take hours to finish its task, and loads code as it goes."""
    for day in (10, 11, 12):
        existing(f"202611{day}T000000-aa", RETIRED, processes=["worker"])
    host.ending = {"blog-worker@20261110T000000-aa.service"}
    assert deploy(keep=1).prune()["removed"] == ["20261111T000000-aa"]
    host.ending.clear()
    assert deploy(keep=1).prune()["removed"] == ["20261110T000000-aa"]
    assert deploy(keep=1, check_mode=True).prune()["changed"] is False


def test_list_shows_the_manifests(deploy: Make, existing: Existing, serving: Release) -> None:
    """[K7] Oldest first, ready for JSON."""
    existing(NEW, FAILED, failure={"step": "import", "reason": "x"})
    result = deploy().list()
    assert [(entry["id"], entry["state"]) for entry in result["releases"]] == [(OLD, LIVE), (NEW, FAILED)]
    assert (result["release"], result["changed"]) == (OLD, False)
    json.dumps(result)


@pytest.mark.parametrize("act", [act for act in module.ACTIONS if act != "plan_rollback"])
def test_check_mode_changes_nothing(deploy: Make, existing: Existing, root: Path, host: Host, serving: Release, act: str) -> None:
    """[S1] Neither files nor units; and it says what would change."""
    existing(OLDER, BUILDING)
    existing(NEW, READY)
    before, active = files(root), set(host.active)
    host.revision, host.scripts = "0002", [("0001", "step 1", True), ("0002", "step 2", True)]
    result = getattr(deploy(check_mode=True, release=NEW, migrate_command=UP, schema="0001"), act)()
    assert files(root) == before and host.active == active
    assert [line for line in host.did if "revisions-step" not in line] == []
    assert result["changed"] is (act in ("plan", "prepare", "migrate", "activate", "go_live", "downgrade", "upgrade", "prune"))


# --- plan_rollback ------------------------------------------------------------------------------

OLDEST = "20261117T072201-cafe0001"


@pytest.fixture
def history(existing: Existing, host: Host) -> Release:
    """Three releases served in this order, the last one does now."""
    host.active |= {"blog.socket", "blog.service"}
    existing(OLDER, RETIRED)
    existing(OLD, RETIRED)
    return existing(NEW, LIVE, current=True, running=True)


def change(root: Path, name: str, **fields: Any) -> None:
    store = Store(root / "srv")
    found = store.load(name)
    assert found
    for field, value in fields.items():
        setattr(found, field, value)
    store.save(found)


def test_the_last_good_release_is_chosen(deploy: Make, root: Path, history: Release) -> None:
    """[S1] The one that served last before the live one."""
    planned = deploy().plan_rollback()
    assert (planned["changed"], planned["needed"], planned["release"]) == (False, True, OLD)


def test_the_order_of_service_counts_not_that_of_files_or_ids(deploy: Make, root: Path, history: Release) -> None:
    """[S1] After a rollback to an old one and a deploy, the old one is the last good; a copied or touched folder changes nothing."""
    change(root, OLDER, live_at="2026-11-19T23:00:00+00:00")
    for name, at in ((OLD, 2**31), (OLDER, 0), (NEW, 5)):
        for path in (root / "srv/releases" / name, root / "srv/releases" / name / "release.json"):
            os.utime(path, (at, at))
    assert deploy().plan_rollback()["release"] == OLDER


@pytest.mark.parametrize("bad", [ROLLED_BACK, FAILED, READY, BUILDING])
def test_a_release_rolled_away_from_is_never_chosen(deploy: Make, root: Path, history: Release, bad: str) -> None:
    """[S1] Nor one that failed, or never served."""
    change(root, OLD, state=bad)
    assert deploy().plan_rollback()["release"] == OLDER


def test_a_release_that_served_after_the_live_one_is_not_gone_back_to(
    deploy: Make, existing: Existing, root: Path, history: Release
) -> None:
    """[S1] A killed switch leaves such a manifest: it never took the link."""
    existing("20261121T072201-abcdef", LIVE)
    assert deploy().plan_rollback()["release"] == OLD


def test_a_burn_in_that_was_cancelled_leaves_its_last_good_release(deploy: Make, existing: Existing, root: Path, host: Host) -> None:
    """[S1] Ctrl-C while the new one is on trial, since it is bad; then rollback: the one before."""
    host.active |= {"blog.socket", "blog.service"}
    existing(OLDER, RETIRED)
    existing(OLD, LIVE, current=True, running=True)
    existing(NEW, READY)
    deploy(release=NEW).activate()
    planned = deploy().plan_rollback()
    assert (planned["release"], planned["newer"], planned["needed"]) == (OLD, NEW, True)


def test_two_rollbacks_go_back_twice(deploy: Make, root: Path, host: Host, history: Release) -> None:
    """[S1] What was rolled away from is marked, and not returned to by the next rollback."""
    newer = NEW
    for expected in (OLD, OLDER):
        host.clock += 60
        planned = rolled_back(deploy)
        assert (planned["release"], planned["newer"], planned["needed"]) == (expected, newer, True)
        assert Store(root / "srv").live_id() == expected and host.serving == {expected}
        newer = expected
    assert [state(root, name) for name in (NEW, OLD, OLDER)] == [ROLLED_BACK, ROLLED_BACK, LIVE]
    with pytest.raises(StepError, match=f"no good release served before {OLDER}"):
        deploy().plan_rollback()


def test_nothing_to_go_back_to_is_said_with_what_there_is(deploy: Make, root: Path, history: Release) -> None:
    """[S1] Name one of them."""
    for name in (OLD, OLDER):
        change(root, name, state=ROLLED_BACK)
    with pytest.raises(StepError) as failure:
        deploy().plan_rollback()
    assert failure.value.step == "rollback"
    assert f"Others: {OLDER} (rolled-back), {OLD} (rolled-back). Name one: -e release=<id>" in failure.value.evidence


def test_without_a_live_release_there_is_nothing_to_go_back_from(deploy: Make) -> None:
    with pytest.raises(StepError, match="no release is live"):
        deploy().plan_rollback()


def test_the_first_release_has_none_before(deploy: Make, serving: Release) -> None:
    with pytest.raises(StepError, match="Others: none"):
        deploy().plan_rollback()


@pytest.mark.parametrize("mark", [RETIRED, ROLLED_BACK])
def test_a_release_that_is_named_is_chosen(deploy: Make, root: Path, history: Release, mark: str) -> None:
    """[S1] Also one that was rolled away from: whoever names it wants it."""
    change(root, OLDER, state=mark)
    assert deploy(release=OLDER).plan_rollback()["release"] == OLDER


def test_a_release_that_is_named_is_chosen_also_half_way(deploy: Make, root: Path, history: Release) -> None:
    """[S1] The rollback before was cut off; now the operator wants to go further back."""
    deploy(release=OLD, leave_as=ROLLED_BACK).activate()
    assert deploy().plan_rollback()["release"] == OLD
    planned = deploy(release=OLDER).plan_rollback()
    assert (planned["release"], planned["newer"], planned["needed"]) == (OLDER, OLD, True)


def test_the_live_release_needs_nothing(deploy: Make, history: Release) -> None:
    """[S1] Idempotent."""
    assert deploy(release=NEW).plan_rollback()["needed"] is False


@pytest.mark.parametrize("name", ["20990101T000000-none", "../../etc", OLDEST, "current"])
@pytest.mark.parametrize("bad", [FAILED, READY, BUILDING])
def test_a_release_that_never_served_is_refused(
    deploy: Make, existing: Existing, root: Path, history: Release, name: str, bad: str
) -> None:
    """[S1] Or does not exist; with those that there are."""
    existing(OLDEST, bad)
    with pytest.raises(StepError) as failure:
        deploy(release=name).plan_rollback()
    there = f"{OLDEST} ({bad}), {OLDER} (retired), {OLD} (retired)"
    assert f"{name} is no release that has served. There are: {there}" in failure.value.evidence


def line(planned: dict[str, Any], word: str) -> str:
    (found,) = (line for line in planned["plan"] if line.split()[0] == word)
    return str(found)


def test_the_plan_says_what_goes_back_and_what_does_not(deploy: Make, root: Path, host: Host, history: Release) -> None:
    """[S1] Code, packages, interpreter, configuration, secrets, schema, data."""
    change(root, NEW, source={"commit": COMMIT}, lock="l2", python="3.13.5", schema_after="0002")
    change(root, OLD, source={"commit": "0ddba110" * 5}, lock="l1", python="3.13.5", schema_after="0001")
    host.revision = "0002"
    planned = deploy().plan_rollback()
    assert line(planned, "from") == f"from     {NEW}"
    assert OLD in line(planned, "to") and "2026-11-19T07:22:01" in line(planned, "to")
    assert line(planned, "code") == "code     4f2a9c100000 -> 0ddba1100ddb"
    assert line(planned, "packages") == f"packages reverted with the environment of {OLD}"
    assert line(planned, "python") == "python   3.13.5"
    assert line(planned, "config") == "config   the same"
    assert "not reverted" in line(planned, "secrets") and "not reverted" in line(planned, "data")
    assert planned["schema"] == "0001"
    words = ["from", "to", "code", "packages", "python", "config", "secrets", "schema", "data"]
    assert [text.split()[0] for text in planned["plan"]] == words
    change(root, OLD, lock="l2", python="3.12.1")
    planned = deploy().plan_rollback()
    assert line(planned, "packages") == "packages the same" and line(planned, "python") == "python   3.13.5 -> 3.12.1"


def test_the_plan_names_variables_and_never_their_values(deploy: Make, root: Path, history: Release) -> None:
    """[S1 A11] Changed, new and gone ones; not those that each release has of its own."""
    common = 'SAME="1"\nSLIPWAY_RELEASE="{}"\n'
    (root / "srv/releases" / NEW / "environment").write_text(common.format(NEW) + 'MAIL="hidden-one"\nADDED="hidden-two"\n')
    (root / "srv/releases" / OLD / "environment").write_text(common.format(OLD) + 'MAIL="hidden-three"\nGONE="hidden-four"\n')
    planned = deploy().plan_rollback()
    assert line(planned, "config") == "config   reverted: ADDED, GONE, MAIL"
    assert "hidden" not in json.dumps(planned)


@pytest.mark.parametrize(
    ("now_at", "target_at", "downgrade", "words"),
    [
        ("0002", "0002", False, "schema   0002, the same"),
        ("0002", "0002", True, "schema   0002, the same"),
        (None, None, True, "schema   none, the same"),
        ("0003", "0001", False, f"schema   stays at 0003; {OLD} left it at 0001 (-e schema=true goes back to that)"),
        ("0003", "0001", True, "schema   0003 -> 0001: undoes 0003 (step 3), 0002 (step 2)"),
    ],
)
def test_the_plan_says_what_happens_to_the_schema(
    deploy: Make, root: Path, host: Host, history: Release, now_at: str | None, target_at: str | None, downgrade: bool, words: str
) -> None:
    """[A13] It stays unless asked; then each migration that is undone is named."""
    migrations(root, host, True, True, True)
    host.revision = now_at
    change(root, OLD, schema_after=target_at)
    assert line(deploy(downgrade=downgrade).plan_rollback(), "schema") == words
    assert not any("downgrade-step" in did for did in host.did)


def test_code_goes_back_while_the_database_is_down(deploy: Make, root: Path, host: Host, history: Release) -> None:
    """[S1 A13] That may be why; only the schema cannot then."""
    change(root, OLD, schema_after="0001")
    host.fails = {"psql": "connection refused"}
    planned = deploy().plan_rollback()
    assert planned["release"] == OLD and line(planned, "schema").startswith("schema   stays at None")
    with pytest.raises(StepError, match="is not known") as failure:
        deploy(downgrade=True).plan_rollback()
    assert failure.value.step == "downgrade"


@pytest.mark.parametrize("known", ["m1", None])
def test_a_release_that_does_not_know_its_schema_is_not_gone_back_to_with_it(
    deploy: Make, root: Path, host: Host, history: Release, known: str | None
) -> None:
    """[A13] psql did not answer when it went live, or it had no migrations yet: neither is an empty database."""
    migrations(root, host, True, True)
    host.revision = "0002"
    change(root, OLD, schema_after=None, migrations=known)
    with pytest.raises(StepError) as failure:
        deploy(downgrade=True).plan_rollback()
    assert failure.value.step == "downgrade"
    planned = deploy().plan_rollback()
    assert planned["release"] == OLD and "stays at 0002" in line(planned, "schema")


def test_a_way_back_that_is_stuck_is_refused_by_the_plan(deploy: Make, root: Path, host: Host, history: Release) -> None:
    """[A13] Before anything is switched; with what stands in the way and two ways on."""
    migrations(root, host, True, False, True)
    host.revision = "0003"
    change(root, OLD, schema_after="0001")
    with pytest.raises(StepError, match=r"no downgrade: 0002 \(step 2\)\. Go back without -e schema=true, or restore") as failure:
        deploy(downgrade=True).plan_rollback()
    assert failure.value.step == "downgrade"
    assert Store(root / "srv").live_id() == NEW and host.revision == "0003"


def test_the_path_is_asked_of_the_newer_release(deploy: Make, root: Path, host: Host, history: Release) -> None:
    """[A13] As the app, with its environment; only it has the scripts."""
    migrations(root, host, True, True)
    host.revision = "0002"
    change(root, OLD, schema_after="0001")
    deploy(downgrade=True).plan_rollback()
    (asked,) = (did for did in host.did if "revisions-step" in did)
    assert f"--working-directory={root}/srv/releases/{NEW}" in asked and "--uid=blog" in asked
    assert asked.endswith(f"{root}/srv/releases/{NEW}/.venv/bin/python -c 0002 0001")


def test_a_path_that_cannot_be_found_is_a_failure_of_its_step(deploy: Make, root: Path, host: Host, history: Release) -> None:
    """[A13] With what Alembic says."""
    host.revision = "0002"
    host.fails = {"revisions-step": "Can't locate revision identified by '0002'"}
    change(root, OLD, schema_after="0001")
    with pytest.raises(StepError, match="Can't locate") as failure:
        deploy(downgrade=True).plan_rollback()
    assert failure.value.step == "migration path"


def test_planning_changes_nothing(deploy: Make, root: Path, host: Host, history: Release) -> None:
    """[S1] In either mode."""
    before, active = files(root), set(host.active)
    host.did.clear()
    assert deploy().plan_rollback() == deploy(check_mode=True).plan_rollback()
    assert files(root) == before and host.active == active and host.did == []


def test_a_rollback_serves_without_a_gap(deploy: Make, root: Path, host: Host, history: Release) -> None:
    """[S2 S1] The same switch as a deploy; the environment of then, from the release itself."""
    host.clock += 60
    host.did.clear()
    assert deploy(release=OLD, leave_as=ROLLED_BACK).activate() == {"changed": True, "release": OLD, "overlap": True, "output": ""}
    assert host.did == [
        f"{OLD} is retired",
        f"next -> {OLD}",
        "start blog.service",
        f"start blog@{OLD}.service",
        f"previous -> {NEW} {OLDER}",
        f"current -> {OLD}",
        "next -> none",
        f"{OLD} is live",
        f"end blog@{NEW}.service",
        f"{NEW} is rolled-back",
    ]
    found = Store(root / "srv").live()
    assert found and (found.id, found.live_at, found.replaces) == (OLD, "2026-11-20T07:23:01+00:00", NEW)
    assert (found.rolled_back_from, found.on_trial) == (NEW, True)


# --- In one call --------------------------------------------------------------------------------


def test_going_live_is_one_call(deploy: Make, existing: Existing, host: Host, root: Path, serving: Release) -> None:
    """[S1] All steps in their order; what each has to say, and what prune removed."""
    existing(OLDER, BUILDING)
    existing(NEW, READY)
    result = deploy(release=NEW, memory_margin=1e9).go_live()
    assert (result["changed"], result["release"], result["overlap"], result["removed"]) == (True, NEW, False, [OLDER])
    assert result["output"].startswith("Too little memory for two instances")
    found = Store(root / "srv").live()
    assert found and (found.id, found.on_trial) == (NEW, False)
    rehearsed, started = (host.did.index(f"start blog{kind}@{NEW}.service") for kind in ("-rehearsal", ""))
    assert rehearsed < started
    assert deploy(release=NEW).go_live()["changed"] is False


def test_the_step_that_failed_is_named(
    deploy: Make, existing: Existing, run: Callable[[Deploy], dict[str, Any]], host: Host, serving: Release, monkeypatch: pytest.MonkeyPatch
) -> None:
    """[S1] Not the call, but what it was at."""
    existing(NEW, READY)

    def fail(*_: Any) -> NoReturn:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Deploy, "prune", fail)
    answer = run(deploy(action="go_live", release=NEW))
    assert (answer["failed"], answer["step"], answer["live"]) == (True, "prune", NEW)


def test_the_old_release_serves_until_the_new_one_is_warm(
    deploy: Make, existing: Existing, host: Host, serving: Release, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """[S1] A worker's first request, which is slow, is ours; and an app that never gets warm is waited for only so long."""
    monkeypatch.setattr(deploy_steps, "RUN", tmp_path)
    existing(NEW, READY)
    cold = tmp_path / "blog" / NEW / "cold"
    cold.parent.mkdir(parents=True)
    cold.touch()
    waited: list[bool] = []

    def sleep(_: float) -> None:
        waited.append(f"blog@{OLD}.service" in host.active)
        host.clock += 1
        if len(waited) == 3:
            cold.unlink()

    monkeypatch.setattr("time.sleep", sleep)
    deploy(release=NEW).activate()
    assert waited == [True, True, True]
    waited.clear()
    (tmp_path / "blog" / OLD).mkdir()
    (tmp_path / "blog" / OLD / "cold").touch()
    # What is taken away this time is another file.
    cold = tmp_path / "other"
    cold.touch()
    deploy(release=OLD).activate()
    assert len(waited) == deploy_switch.WARM_WITHIN


# --- Killed at every point ----------------------------------------------------------------------


def steps_of(playbook: str) -> list[str]:
    """The actions of the module in a file of tasks, in order, those of rescues left out."""

    def walk(tasks: list[dict[str, Any]]) -> Iterator[str]:
        for task in tasks:
            if "slipway.vps.release" in task:
                yield task["slipway.vps.release"]["action"]
            yield from walk(task.get("block", []))

    return list(walk(yaml.safe_load((ROOT / "roles/release/tasks" / playbook).read_text())))


def deployed(deploy: Make, **more: Any) -> None:
    """A run of the deploy, as its role puts the steps together."""
    assert steps_of("deploy.yml") == ["plan", "prepare", "migrate", "go_live"]
    planned = deploy(**more).plan()
    if planned["needed"] or planned["repair"]:
        built = deploy(**more).prepare()
        if built["needed"]:
            deploy(**more, release=built["release"]).migrate()
        deploy(**more, release=built["release"]).go_live()


def rolled_back(deploy: Make, **more: Any) -> dict[str, Any]:
    """A run of the rollback."""
    assert steps_of("rollback.yml") == ["plan_rollback", "rehearse", "go_live", "downgrade"]
    planned = deploy(**more).plan_rollback()
    more["release"] = planned["release"]
    if planned["needed"]:
        if more.get("downgrade"):
            deploy(**more).rehearse()
        deploy(**{**more, "burn_in": 0.0}, leave_as=ROLLED_BACK).go_live()
        if more.get("downgrade"):
            deploy(**{**more, "release": planned["newer"]}, schema=planned["schema"]).downgrade()
    return planned


def cuts(root: Path, host: Host, act: Callable[[], object]) -> Iterator[str]:
    """``act`` from the same start again and again, killed after its first effect, its second … until it comes to its end."""
    start = copy.deepcopy(vars(host))
    shutil.copytree(root / "srv", root / "start", symlinks=True)
    for lives in range(1, 100):
        vars(host).update(copy.deepcopy(start))
        shutil.rmtree(root / "srv")
        shutil.copytree(root / "start", root / "srv", symlinks=True)
        host.lives = lives
        try:
            with contextlib.suppress(StepError):
                act()
            return
        except KilledError:
            host.lives = None
            host.clock += 60
            yield f"killed after {lives}: {host.did[-1]}"
    raise AssertionError("it has no end")


def whole(root: Path, host: Host) -> Release:
    """`current` names a release that is all there, and somebody serves."""
    live = Store(root / "srv").live()
    assert live and (root / "srv/releases" / live.id / "blog.py").exists()
    assert host.serving
    return live


def settled(deploy: Make, root: Path, host: Host, name: str) -> None:
    """One release serves, was found good, and nothing is left to do."""
    live = whole(root, host)
    assert (live.id, live.state, live.on_trial) == (name, LIVE, False)
    assert host.active == {"blog.socket", "blog.service", f"blog@{name}.service"}
    assert not (root / "srv/next").is_symlink()
    planned = deploy().plan()
    assert (planned["needed"], planned["repair"]) == (False, False)


@pytest.fixture
def waiting(deploy: Make, existing: Existing, host: Host) -> None:
    """Two releases have served; what is wanted is built."""
    host.active |= {"blog.socket", "blog.service"}
    existing(OLDER, RETIRED)
    existing(OLD, LIVE, current=True, running=True)
    existing(NEW, READY, fingerprint=deploy().fingerprint())


def test_a_deploy_that_is_killed_anywhere_is_finished_by_the_next(deploy: Make, root: Path, host: Host, waiting: None) -> None:
    """[S1] Somebody serves all the time, and running it again ends in the same state; from there it goes back to the release before."""
    for where in cuts(root, host, lambda: deployed(deploy)):
        whole(root, host)
        deployed(deploy)
        settled(deploy, root, host, NEW)
        assert deploy().plan_rollback()["release"] == OLD, where
    settled(deploy, root, host, NEW)
    assert [state(root, name) for name in (OLDER, OLD)] == [RETIRED, RETIRED]


def test_a_migration_that_is_killed_anywhere_is_finished_by_the_next(deploy: Make, root: Path, host: Host, waiting: None) -> None:
    """[S1] [D1] Imported, backed up and migrated; the way back still leads to where the first run began."""
    migrations(root, host, True, True)
    more = {"migrate_command": UP, "restore_point_command": BACKUP}
    seen: set[str] = set()
    for where in cuts(root, host, lambda: deployed(deploy, **more)):
        seen |= {part for part in ("check-step", BACKUP, "migrate-step") if part in where}
        whole(root, host)
        deployed(deploy, **more)
        settled(deploy, root, host, NEW)
        found = Store(root / "srv").live()
        assert found and (found.schema_before, found.schema_after) == ("0001", "0002"), where
        assert found.restore_point == "20261120T072201Z-before", where
    assert seen == {"check-step", BACKUP, "migrate-step"}


@pytest.mark.parametrize("available", [0, 1000 * MIB])
def test_a_switch_between_workers_that_is_killed_anywhere_waits_for_none(
    deploy: Make, existing: Existing, root: Path, host: Host, available: int
) -> None:
    """[S1 A15] Back to a release whose own worker still finishes what it began when it served before; the other one has a task, too."""
    host.active |= {"blog.socket", "blog.service"}
    existing(OLD, RETIRED, processes=["worker"])
    existing(NEW, LIVE, current=True, running=True, processes=["worker"])
    host.available, host.lingers, host.ending = available, f"worker@{NEW}", {f"blog-worker@{OLD}.service"}
    for where in cuts(root, host, lambda: rolled_back(deploy)):
        begun, live = host.clock, Store(root / "srv").live()
        if live and (live.id == NEW or live.on_trial):
            rolled_back(deploy)
        assert host.clock - begun < TASK, where
        host.finish()
        assert host.active == {"blog.socket", "blog.service", f"blog@{OLD}.service", f"blog-worker@{OLD}.service"}, where
        assert (state(root, OLD), state(root, NEW)) == (LIVE, ROLLED_BACK), where


def test_a_deploy_that_is_killed_anywhere_can_be_rolled_back(deploy: Make, root: Path, host: Host, waiting: None) -> None:
    """[S1] To the release before the live one, whichever that is by then; never to the one that was cut off."""
    for where in cuts(root, host, lambda: deployed(deploy)):
        expected = OLDER if whole(root, host).id == OLD else OLD
        rolled_back(deploy)
        assert Store(root / "srv").live_id() == expected and host.serving == {expected}, where


def test_a_deploy_that_is_killed_anywhere_can_be_thought_better_of(deploy: Make, root: Path, host: Host, waiting: None) -> None:
    """[S1] The next run wants another version: what was cut off is neither left running nor live."""
    for where in cuts(root, host, lambda: deployed(deploy)):
        deployed(deploy, identity="another", commit="")
        live = whole(root, host)
        assert live.id not in (OLD, NEW) and host.serving == {live.id}, where
        assert (live.state, live.on_trial) == (LIVE, False)


def test_a_rollback_that_is_killed_anywhere_is_finished_by_the_next(deploy: Make, root: Path, host: Host, history: Release) -> None:
    """[S1] Not repeated: one release back, not two, and the plan says so. What its last step noted is where it ends."""
    for where in cuts(root, host, lambda: rolled_back(deploy)):
        live = whole(root, host)
        if live.id == OLD and not live.on_trial:
            assert live.state == LIVE and host.serving == {OLD}, where
            continue
        planned = rolled_back(deploy)
        assert (planned["release"], planned["newer"], planned["needed"]) == (OLD, NEW, True), where
        live = whole(root, host)
        assert (live.id, live.state, live.on_trial) == (OLD, LIVE, False) and host.serving == {OLD}, where


def test_a_rollback_that_is_killed_anywhere_is_not_undone_by_a_deploy(deploy: Make, root: Path, host: Host, history: Release) -> None:
    """[S1] CI deploys what is just being rolled away from: as soon as the old release is the live one that is finished instead."""
    change(root, NEW, fingerprint=deploy().fingerprint())
    for where in cuts(root, host, lambda: rolled_back(deploy)):
        before = whole(root, host).id
        deployed(deploy)
        assert whole(root, host).id == before and host.serving == {before}, where
        assert deploy().plan()["needed"] is False and deploy().plan()["repair"] is False


def test_a_rollback_with_the_schema_that_is_killed_anywhere_is_finished(deploy: Make, root: Path, host: Host, history: Release) -> None:
    """[A13] Code first, then the schema: cut off in between, the next run brings the schema back and goes no release further."""
    migrations(root, host, True, True)
    host.revision = "0002"
    for name, at in ((NEW, "0002"), (OLD, "0001"), (OLDER, "0001")):
        change(root, name, schema_after=at)
    for where in cuts(root, host, lambda: rolled_back(deploy, downgrade=True)):
        if host.revision == "0002":
            planned = rolled_back(deploy, downgrade=True)
            assert (planned["release"], planned["newer"], planned["schema"]) == (OLD, NEW, "0001"), where
        assert host.revision == "0001" and whole(root, host).id == OLD and host.serving == {OLD}, where


def test_a_way_back_that_is_killed_anywhere_is_finished_by_the_next_deploy(deploy: Make, root: Path, host: Host, waiting: None) -> None:
    """[S1] Somebody serves all the time; in the end it is the old one, and the bad one is not deployed again by the same run."""
    deploy(release=NEW).activate()
    host.visits = [(502, "Bad Gateway")]
    for where in cuts(root, host, lambda: deploy(release=NEW).watch()):
        whole(root, host)
        host.visits = [(502, "Bad Gateway") if Store(root / "srv").live_id() == NEW else (200, "")]
        with contextlib.suppress(StepError):
            deployed(deploy)
        settled(deploy, root, host, OLD)
        found = Store(root / "srv").load(NEW)
        assert found and found.failure and found.failure["step"] == "front door", where


def test_a_trial_that_was_cut_off_goes_on(deploy: Make, root: Path, host: Host, switched: None) -> None:
    """[S1] The next run of the same deploy judges by all that was answered since the switch."""
    host.serve(NEW, *[500] * 5)
    host.clock += 3600
    with pytest.raises(StepError, match="100% of 5"):
        deployed(deploy, burn_in=30.0)
    back(root, host, "burn-in", "100%")


def test_marks_that_a_killed_deploy_left_are_made_by_the_next(deploy: Make, root: Path, host: Host, waiting: None) -> None:
    """[S1] Only one manifest says live."""
    for where in cuts(root, host, lambda: deployed(deploy)):
        deployed(deploy)
        assert (state(root, OLD), state(root, NEW)) == (RETIRED, LIVE), where


def test_marks_that_a_killed_rollback_left_are_made_by_the_next(deploy: Make, root: Path, host: Host, history: Release) -> None:
    """[S1] Two rollbacks never lead back to what the first one left."""
    for where in cuts(root, host, lambda: rolled_back(deploy)):
        live = whole(root, host)
        if live.id == NEW or live.on_trial or state(root, NEW) == LIVE:
            rolled_back(deploy)
        assert (state(root, OLD), state(root, NEW)) == (LIVE, ROLLED_BACK), where
        host.clock += 60
        assert deploy().plan_rollback()["release"] == OLDER, where


def test_a_link_that_a_killed_switch_left_goes_with_the_next_run(deploy: Make, root: Path, host: Host, waiting: None) -> None:
    """[E6] The operator goes on with what is live: nginx serves no assets of what is not."""
    change(root, OLD, fingerprint=deploy(identity="old").fingerprint())
    for where in cuts(root, host, lambda: deploy(release=NEW).activate()):
        if whole(root, host).id == OLD:
            deployed(deploy, identity="old")
            assert host.serving == {OLD} and not (root / "srv/next").is_symlink(), where


def test_a_way_back_that_is_killed_anywhere_is_finished_by_a_rollback(deploy: Make, root: Path, host: Host, waiting: None) -> None:
    """[S1] The operator wants to get away from the bad release: neither two back nor to the bad one."""
    deploy(release=NEW).activate()
    host.visits = [(502, "Bad Gateway")]
    for where in cuts(root, host, lambda: deploy(release=NEW).watch()):
        host.visits = [(200, "")]
        if state(root, NEW) != ROLLED_BACK:
            rolled_back(deploy)
        assert whole(root, host).id == OLD and host.serving == {OLD}, where
        assert (state(root, OLD), state(root, NEW)) == (LIVE, ROLLED_BACK), where


def test_what_was_found_bad_is_never_taken_for_a_good_one(deploy: Make, root: Path, host: Host, waiting: None) -> None:
    """[S1] The switch back was cut off, and the next run brings another version: it does not make a good one of the bad one."""
    deploy(release=NEW).activate()
    host.visits = [(502, "Bad Gateway")]
    for where in cuts(root, host, lambda: deploy(release=NEW).watch()):
        host.visits = [(200, "")]
        deployed(deploy, identity="another", commit="")
        assert (state(root, OLD), state(root, NEW)) == (RETIRED, ROLLED_BACK), where
        assert deploy().plan_rollback()["release"] == OLD, where


def test_what_was_rolled_away_from_is_never_taken_for_a_good_one(deploy: Make, root: Path, host: Host, history: Release) -> None:
    """[S1] The rollback was cut off, and the next run brings another version."""
    for where in cuts(root, host, lambda: rolled_back(deploy)):
        away = Store(root / "srv").live_id() == OLD
        deployed(deploy, identity="another", commit="")
        assert state(root, NEW) == (ROLLED_BACK if away else RETIRED), where


def test_a_live_release_whose_switch_was_cut_off_keeps_its_files(deploy: Make, existing: Existing, root: Path, host: Host) -> None:
    """[S1] Killed before its manifest said live; the repair fails since Redis is down: what serves must not lose its files."""
    host.active |= {"blog.socket", "blog.service", f"blog@{NEW}.service"}
    existing(OLD, LIVE, running=True)
    existing(NEW, READY, current=True, processes=["worker"], on_trial=True, replaces=OLD)
    host.fails = {f"start blog-worker@{NEW}": "redis is down"}
    with pytest.raises(StepError, match="redis is down"):
        deploy(release=NEW).activate()
    assert whole(root, host).id == NEW and state(root, NEW) == READY


def test_what_was_rolled_away_from_half_way_is_not_deployed_again(deploy: Make, existing: Existing, root: Path, host: Host) -> None:
    """[S1] It went live without its manifest saying so; it is rolled away from; the next deploy only has something to repair."""
    host.active |= {"blog.socket", "blog.service"}
    existing(OLD, LIVE, running=True)
    existing(NEW, READY, current=True, running=True, on_trial=True, replaces=OLD, fingerprint=deploy().fingerprint())
    rolled_back(deploy)
    host.active.discard(f"blog@{OLD}.service")
    deployed(deploy)
    assert whole(root, host).id == OLD and state(root, NEW) == ROLLED_BACK


def test_a_rollback_that_a_deploy_finishes_is_not_burnt_in(deploy: Make, root: Path, host: Host, history: Release) -> None:
    """[S1] Somebody left the newer release for a reason that no journal knows: a few errors do not bring it back."""
    change(root, NEW, fingerprint=deploy().fingerprint())
    deploy(release=OLD, leave_as=ROLLED_BACK).activate()
    host.serve(OLD, *[500] * 5)
    host.clock += 1
    deployed(deploy, burn_in=30.0)
    assert whole(root, host).id == OLD and host.clock == 1


def test_a_front_door_that_only_the_cut_off_switch_closed_is_blamed(deploy: Make, root: Path, host: Host, waiting: None) -> None:
    """[S1] Without memory for two the old one was stopped first, and then the run was killed."""
    host.available = 0

    def switch() -> None:
        deploy(release=NEW).rehearse()
        deploy(release=NEW).activate()

    closed = 0
    for where in cuts(root, host, switch):
        if not host.serving:
            host.visits = [(504, "Gateway Time-out")]
            closed += 1
        switch()
        found = Store(root / "srv").live()
        assert found and (found.id, found.served_before) == (NEW, True), where
    assert closed, "no run was cut off while nobody served"


@pytest.mark.parametrize("lingers", ["", f"blog@{OLD}"])
def test_the_live_release_comes_back_when_the_next_run_fails_as_well(
    deploy: Make, root: Path, host: Host, waiting: None, lingers: str
) -> None:
    """[S1] Without memory for two: killed when the old one was stopped already, or was about to end, and now the new one is not ready."""
    host.available, host.lingers = 0, lingers
    for where in cuts(root, host, lambda: deploy(release=NEW).activate()):
        host.answers = [(503, "database is down")]
        with contextlib.suppress(StepError):
            deployed(deploy, ready_timeout=-1)
        host.finish()
        assert host.serving == {Store(root / "srv").live_id()}, where


def test_what_is_gone_back_to_is_what_served_last(deploy: Make, existing: Existing, root: Path, host: Host) -> None:
    """[S1] Also when the deploy before was killed before it marked it."""
    host.active |= {"blog.socket", "blog.service"}
    existing(OLD, LIVE)
    existing(NEW, LIVE, current=True, running=True, on_trial=True, replaces=OLD)
    host.clock += 60
    rolled_back(deploy)
    found, left = (Store(root / "srv").load(name) for name in (OLD, NEW))
    assert found and left and str(found.live_at) > str(left.live_at)


def test_a_downgrade_that_was_cut_off_between_two_steps_is_finished(deploy: Make, root: Path, host: Host, history: Release) -> None:
    """[A13] Alembic with a transaction per migration: the schema is neither here nor there, and no second release is left."""
    migrations(root, host, True, True, True)
    for name, at in ((NEW, "0003"), (OLD, "0001"), (OLDER, "0001")):
        change(root, name, schema_after=at)
    host.revision = "0003"
    rolled_back(deploy)
    host.revision = "0002"
    rolled_back(deploy, downgrade=True)
    assert whole(root, host).id == OLD and host.revision == "0001"


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


# --- What is asked of systemd and the journal ---------------------------------------------------


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Commands of the module system; one whose name begins with `bad` fails."""
    lines: list[str] = []

    def command(*words: str, **options: Any) -> str:
        lines.append(" ".join(words))
        if words[-1].startswith("bad"):
            raise CommandError("Failed to connect to bus")
        cursor = "-- cursor: s=1;i=2\n" if "--show-cursor" in words else ""
        return f"one\ntwo\n{cursor}" if words[0] == "journalctl" else "deactivating\n"

    monkeypatch.setattr(system, "command", command)
    return lines


def test_units_end_without_anybody_waiting(asked: list[str]) -> None:
    """[S1] All in one job; nothing to end is nothing to ask; who cannot be told is left to the next look."""
    system.end_units("a", "b")
    system.end_units()
    system.end_units("bad")
    assert asked == ["systemctl stop --no-block a b", "systemctl stop --no-block bad"]


def test_a_unit_is_queued_without_anybody_waiting(asked: list[str]) -> None:
    """[A15] Whether it starts is not known yet; that it cannot even be queued is a failure."""
    system.queue_unit("a")
    with pytest.raises(CommandError, match="connect to bus"):
        system.queue_unit("bad")
    assert asked == ["systemctl start --no-block a", "systemctl start --no-block bad"]


def test_units_are_stopped_and_waited_for(asked: list[str]) -> None:
    """[S1] And forgotten when they had failed. Not so with no unit at all, which systemctl refuses; one that resists is left."""
    system.stop_units("a", "b")
    system.stop_units()
    system.stop_units("bad")
    assert asked == [f"systemctl {verb} {units}" for units in ("a b", "bad") for verb in ("stop", "reset-failed")]


def test_a_unit_is_ending_or_not(asked: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert system.is_ending("a") and asked == ["systemctl show --property=ActiveState --value a"]
    monkeypatch.setattr(system, "command", lambda *words: "active\n")
    assert not system.is_ending("a")


def test_the_journal_as_evidence_never_fails(asked: list[str]) -> None:
    """[S1] What it would explain has failed already; with that it is said why there is nothing."""
    assert system.journal("good") == "one\ntwo"
    assert system.journal("bad@1.service") == "(the journal of bad@1.service cannot be read: Failed to connect to bus)"


def test_the_journal_is_read_from_a_time_and_then_on(asked: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """[S1] From the switch on, and no line twice. journalctl refuses a time together with the file of its cursor."""
    cursor = tmp_path / "cursor"
    assert system.journal_since("a", cursor, 1.5) == ["one", "two"]
    assert cursor.read_text() == "s=1;i=2"
    assert system.journal_since("a", cursor, 1.5) == ["one", "two"]
    plain = "journalctl --no-pager --quiet --output=cat --unit=a"
    assert asked == [f"{plain} --since=@1.500 --show-cursor", f"{plain} --cursor-file {cursor}"]
    assert system.journal_between("a", 1, 2.25) == ["one", "two"]
    assert asked[-1] == f"{plain} --since=@1.000 --until=@2.250"
    cursor.unlink()
    monkeypatch.setattr(system, "command", lambda *words: "")
    assert system.journal_since("a", cursor, 1.5) == [] and not cursor.exists()


def test_the_message_says_what_failed_and_what_serves() -> None:
    """[S1] Step, evidence, what serves now, what to do."""
    text = module.message(StepError("migration", "lock timeout"), OLD, "ansible-playbook deploy.yml")
    assert text.splitlines() == [
        f"The step 'migration' failed; nothing was switched. Release {OLD} serves.",
        "lock timeout",
        "Next: correct the cause, then ansible-playbook deploy.yml.",
    ]
    assert "No release is live yet." in module.message(StepError("import", "x"), "", "run it again")
    assert "; it went back. Release" in module.message(StepError("burn-in", "x", "it went back"), OLD, "run it again")


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
    assert deploy_build.project(text) == name


class AnsweredError(Exception):
    """The module has answered."""


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Deploy], dict[str, Any]]]:
    """Run the module's main over a deploy's parameters, and return what it answers."""
    answers: list[dict[str, Any]] = []
    warned: list[str] = []

    def play(deploy: Deploy) -> dict[str, Any]:
        class Ansible:
            params = deploy.p
            check_mode = deploy.check_mode

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


def test_the_module_answers(deploy: Make, run: Callable[[Deploy], dict[str, Any]], host: Host, serving: Release) -> None:
    """[S1] Success names what is live after the step, failure names the step and what goes on serving."""
    built = deploy()
    built.p["action"] = "prepare"
    assert run(built) == {"changed": True, "needed": True, "release": NEW, "live": OLD}
    host.fails = {f"start blog@{NEW}": "Worker failed to boot"}
    switched = deploy(release=NEW)
    switched.p["action"] = "activate"
    answer = run(switched)
    assert (answer["failed"], answer["step"], answer["live"], answer["release"]) == (True, "start", OLD, NEW)
    assert f"Release {OLD} serves.\nWorker failed to boot" in answer["msg"] and "run it again" in answer["msg"]


@pytest.mark.parametrize("error", [CommandError("Failed to connect to bus"), OSError(28, "No space left on device")])
def test_whatever_fails_is_answered(
    deploy: Make,
    existing: Existing,
    run: Callable[[Deploy], dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    serving: Release,
    error: Exception,
) -> None:
    """[S1] Never a traceback: who serves, why, and what to do next."""
    existing(NEW, READY)

    def fail(*words: Any) -> NoReturn:
        raise error

    monkeypatch.setattr(
        deploy_switch if isinstance(error, CommandError) else Store, "memory_used" if isinstance(error, CommandError) else "save", fail
    )
    answer = run(deploy(action="activate", release=NEW))
    assert answer["failed"] and str(error) in answer["msg"] and f"Release {OLD} serves." in answer["msg"]


def test_the_module_works_under_the_lock(deploy: Make, run: Callable[[Deploy], dict[str, Any]], root: Path, host: Host) -> None:
    """[S1] A second run that finds the lock taken does nothing."""
    built = deploy()
    built.p["action"] = "prepare"
    with module.exclusive(root / "srv"):
        assert run(built)["step"] == "lock"
    assert host.did == []


def test_a_lease_that_is_lost_during_a_step_is_a_failure(
    deploy: Make, run: Callable[[Deploy], dict[str, Any]], root: Path, host: Host, serving: Release, existing: Existing
) -> None:
    """[S1] Another run took over while this one was stopped: whoever reads this must not think that all is well."""
    existing(NEW, READY)
    lease = Lease(root / "srv")
    lease.acquire(Holder("mine", "ada"))
    renewed: list[str] = []

    def steal() -> None:
        renewed.append(json.loads(lease.file.read_text())["token"])
        lease.release("mine")
        Lease(root / "srv").acquire(Holder("theirs", "bob", "ci"))

    plain = host.start_unit

    def start(unit: str) -> None:
        if unit == f"blog@{NEW}.service":
            steal()
        plain(unit)

    host.start_unit = start  # type: ignore[method-assign]
    for place in MODULES:
        if hasattr(place, "start_unit"):
            setattr(place, "start_unit", start)  # noqa: B010
    switched = deploy(release=NEW, token="mine", action="activate")
    answer = run(switched)
    assert renewed == ["mine"]
    assert (answer["failed"], answer["step"], answer["live"], answer["release"]) == (True, "lock", NEW, NEW)
    assert "was lost" in answer["msg"] and "bob@ci" in answer["msg"]


def test_a_lease_that_is_not_ones_own_stops_the_step(
    deploy: Make, run: Callable[[Deploy], dict[str, Any]], root: Path, host: Host, serving: Release
) -> None:
    """[S1] Before it does anything."""
    Lease(root / "srv").acquire(Holder("theirs", "bob"))
    answer = run(deploy(token="mine", action="prepare"))
    assert (answer["failed"], answer["step"]) == (True, "lock") and "bob" in answer["msg"]
    assert host.did == []
    untouched(root, host)


def test_a_step_renews_its_lease(deploy: Make, run: Callable[[Deploy], dict[str, Any]], root: Path, host: Host) -> None:
    """[S1] And leaves it to the next step."""
    lease = Lease(root / "srv")
    lease.acquire(Holder("mine", "ada"), ttl=1)
    before = json.loads(lease.file.read_text())["expires_at"]
    assert run(deploy(token="mine", action="prepare"))["changed"] is True
    assert json.loads(lease.file.read_text())["expires_at"] > before
    lease.check("mine")


@pytest.mark.parametrize("act", ["plan", "list", "plan_rollback"])
def test_looking_needs_no_lock(
    deploy: Make, run: Callable[[Deploy], dict[str, Any]], root: Path, host: Host, history: Release, act: str
) -> None:
    """[S1 K7] During a long build of another run, too: only then can a second run get as far as the lease, and wait for that."""
    with module.exclusive(root / "srv"):
        answer = run(deploy(action=act))
    assert "failed" not in answer, answer["msg"]


@pytest.mark.parametrize("act", [act for act in module.ACTIONS if act not in ("plan", "list", "plan_rollback")])
def test_a_step_that_changes_something_works_alone(
    deploy: Make, run: Callable[[Deploy], dict[str, Any]], root: Path, host: Host, history: Release, act: str
) -> None:
    """[S1] Whatever the controller believes."""
    before = files(root)
    with module.exclusive(root / "srv"):
        answer = run(deploy(action=act, release=OLD))
    assert (answer["failed"], answer["step"]) == (True, "lock")
    assert {name: text for name, text in files(root).items() if name != "srv/.deploy.lock"} == before


def test_warnings_reach_the_operator(deploy: Make, run: Callable[[Deploy], dict[str, Any]], existing: Existing, serving: Release) -> None:
    """[S1] As Ansible shows them."""
    existing(NEW, ROLLED_BACK, fingerprint=deploy().fingerprint())
    answer = run(deploy(action="plan"))
    assert answer["warned"] and NEW in answer["warned"][0] and "warnings" not in answer
