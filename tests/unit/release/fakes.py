"""The host of the tests of a deploy: a record of what the module asks of it, commands, units, requests and the moves of `current`."""

from __future__ import annotations

import contextlib
import io
import json
import tarfile
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import yaml
from ansible_collections.slipway.vps.plugins.module_utils import (
    confinement,
    deploy_build,
    deploy_migrate,
    deploy_plan,
    deploy_steps,
    deploy_switch,
    deploy_units,
    interpreter,
    schema,
)
from ansible_collections.slipway.vps.plugins.module_utils.deploy import Deploy
from ansible_collections.slipway.vps.plugins.module_utils.releases import FAILED, LIVE, RETIRED, ROLLED_BACK, Release, Store
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core.http import Answer
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core.run import Account, CommandError, command

ROOT = Path(__file__).parents[3]
COMMIT = "4f2a9c10" + "0" * 32
NEW = "20261120T072201-4f2a9c10"
OLD = "20261119T072201-0ddba110"
OLDER = "20261118T072201-deadbeef"
MIB = 2**20
#: Seconds that a worker's task takes: nobody may wait for it.
TASK = 3600
#: Everything that touches the host; each module that imports one of these names gets the replacement.
EFFECTS = (
    *("command", "start_unit", "queue_unit", "stop_units", "end_units", "reload_units", "get", "visit", "now"),
    *("instances", "is_active", "is_ending", "serving_units", "memory_available", "memory_used"),
    *("journal", "journal_since", "journal_between"),
)
MODULES = (confinement, deploy_build, deploy_migrate, deploy_plan, deploy_steps, deploy_switch, deploy_units, interpreter)


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
            return command(*words)
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

    def serving_units(self, template: str) -> list[str]:
        return [unit for unit in self.instances(template) if unit not in self.ending]

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

    def reload_units(self) -> None:
        self.effect("reload units")

    def memory_available(self, slice_unit: str = "") -> int:
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


def parameters(root: Path) -> dict[str, Any]:
    """What the module is told of the app below ``root``."""
    return {
        **{"name": "blog", "root": str(root / "srv"), "config_dir": str(root / "etc"), "user": "blog", "group": "blog"},
        **{"socket": "/run/blog/gunicorn.sock", "rehearsal_socket": "/run/blog-rehearsal/gunicorn.sock"},
        **{"runtime_dir": str(root / "run")},
        **{
            "server": "gunicorn",
            "wsgi": "blog:app",
            "host": "blog.example.com",
            "ready": "/healthz/ready",
            "prefix": "",
            "ready_timeout": 0.0,
            "rehearsal_writes": False,
        },
        **{"identity": COMMIT, "commit": COMMIT, "tree": str(root / "tree"), "archive": None, "subdirectory": "", "requirement": None},
        **{"asked": {"type": "git", "repo": "https://git.example.com/blog.git", "version": "v1.4.0"}},
        **{"requirements": ["gunicorn==27.0.1"], "runtime_files": [str(root / "etc/environment")], "processes": {}, "timers": {}},
        **{"python_dir": str(root / "python"), "python_mirror": "", "app_python": "", "lock_file": "", "extras": [], "groups": []},
        **{"shared": str(root / "srv/shared"), "shared_paths": [], "writable": [f"{root}/srv/shared"]},
        **{"confinement": {"slice": "slipway-blog.slice", "sandbox": {"level": "full", "network": "any"}, "build_memory": "auto"}},
        **{"build_commands": [], "build_env": {}, "build_secrets": {}, "build_packages": []},
        **{"python": "python3", "uv": "uv", "static": {}, "precompress": True, "owner": "ada@laptop"},
        **{"retry": "run it again", "force": False, "token": "", "give_back": False},
        **{"migrate_command": "auto", "lock_timeout": 5, "restore_point_command": "", "restore_point_max": 2**30},
        **{"downgrade": False, "schema": "", "leave_as": RETIRED, "memory_margin": 1.2},
        **{"burn_in": 0.0, "burn_in_tolerance": 0.05, "release": None, "keep": 5, "action": "none", "lock_ttl": 120},
    }


Make = Callable[..., Deploy]
Existing = Callable[..., Release]


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


UP = "flask db upgrade"
BACKUP = "backup.py --json create"


def migrations(root: Path, host: Host, *undone: bool) -> None:
    """Scripts 0001, 0002 … and whether each can be undone; the database is at 0001 and goes to the last."""
    host.scripts = [(f"{number:04}", f"step {number}", can) for number, can in enumerate(undone, 1)]
    host.revision, host.upgrades_to = "0001", f"{len(undone):04}"


REHEARSAL = f"blog-rehearsal@{NEW}.service"


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


OLDEST = "20261117T072201-cafe0001"


def change(root: Path, name: str, **fields: Any) -> None:
    store = Store(root / "srv")
    found = store.load(name)
    assert found
    for field, value in fields.items():
        setattr(found, field, value)
    store.save(found)


def line(planned: dict[str, Any], word: str) -> str:
    (found,) = (line for line in planned["plan"] if line.split()[0] == word)
    return str(found)


def steps_of(playbook: str) -> list[str]:
    """The actions of the module in a file of tasks, in order, those of rescues left out."""

    def walk(tasks: list[dict[str, Any]]) -> Iterator[str]:
        for task in tasks:
            if "slipway.vps.release" in task:
                yield task["slipway.vps.release"]["action"]
            yield from walk(task.get("block", []))

    return list(walk(yaml.safe_load((ROOT / "roles/release/tasks" / playbook).read_text())))


def rolled_back(deploy: Make, **more: Any) -> dict[str, Any]:
    """A run of the rollback."""
    assert steps_of("rollback.yml") == ["plan_rollback", "rehearse", "go_live", "downgrade"]
    planned = deploy(**more).do("plan_rollback")
    more["release"] = planned["release"]
    if planned["needed"]:
        if more.get("downgrade"):
            deploy(**more).do("rehearse")
        deploy(**{**more, "burn_in": 0.0}, leave_as=ROLLED_BACK).do("go_live")
        if more.get("downgrade"):
            deploy(**{**more, "release": planned["newer"]}, schema=planned["schema"]).do("downgrade")
    return planned


def whole(root: Path, host: Host) -> Release:
    """`current` names a release that is all there, and somebody serves."""
    live = Store(root / "srv").live()
    assert live and (root / "srv/releases" / live.id / "blog.py").exists()
    assert host.serving
    return live
