# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""Build a release, rehearse it, and switch to it without losing a request."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: release
short_description: Build a release, rehearse it, and switch to it without losing a request
version_added: 0.1.0
description:
  - One step of a deploy for each O(action), in this order, P(slipway.vps.release#role) puts them together.
  - Safe to kill anywhere. Until C(activate) starts the new release nothing that serves is touched, and the next run finishes or
    cleans up what an interrupted one left.
  - A step that fails leaves the release as state C(failed) with the reason in its C(release.json), and removes the rest of it.
author:
  - The Slipway authors
options:
  action:
    description:
      - C(plan) says whether what is wanted is live already.
      - C(prepare) builds the release and its virtual environment, and checks that the entry point can be imported.
      - C(migrate) runs the migration command from the new release.
      - C(rehearse) starts the release on a private socket, with one worker, and asks the readiness path.
      - C(activate) starts the release on the shared socket, makes it the live one, and drains the others.
      - C(prune) removes releases that are no longer needed.
      - C(list) returns all manifests.
    type: str
    required: true
    choices: [plan, prepare, migrate, rehearse, activate, prune, list]
  name:
    description: Name of the app; its units are named after it.
    type: str
    required: true
  root:
    description: Folder of the app, with C(releases/) and C(current).
    type: path
    required: true
  config_dir:
    description: Folder of the environment and of Gunicorn's configuration.
    type: path
    required: true
  user:
    description: User that builds and runs the app.
    type: str
    required: true
  group:
    description: Its group.
    type: str
    required: true
  wsgi:
    description: Entry point, C(module:callable) or C(module:factory()).
    type: str
    required: true
  host:
    description: Host name to ask the readiness path for.
    type: str
    required: true
  ready:
    description: Readiness path.
    type: str
    default: /healthz/ready
  ready_timeout:
    description: Seconds a rehearsed release may take to answer 200.
    type: float
    default: 30
  identity:
    description: What exactly is deployed, for example a commit, the checksum of an archive or a pinned requirement.
    type: str
    default: ''
  commit:
    description: Commit to show as C(SLIPWAY_COMMIT), where the source knows one.
    type: str
    default: ''
  tree:
    description: Folder whose content becomes the release (C(prepare)).
    type: path
  archive:
    description: Tar archive whose content becomes the release (C(prepare)); a single top-level folder is left out.
    type: path
  requirement:
    description: Requirement to install instead of a tree (C(prepare)).
    type: str
  requirements:
    description: Requirements that are installed when the app does not bring them, each C(name==version).
    type: list
    elements: str
    default: []
  runtime_files:
    description: Files and folders whose change asks for a new release.
    type: list
    elements: path
    default: []
  processes:
    description: Names of background processes; each has a unit C(<name>-<process>@.service).
    type: list
    elements: str
    default: []
  python:
    description: Interpreter for the virtual environment.
    type: str
    default: python3
  uv:
    description: The uv program.
    type: path
    default: uv
  migrate_command:
    description: Command, or C(auto), or empty for none (C(migrate)).
    type: str
    default: auto
  lock_timeout:
    description: Seconds a migration waits for a lock that a running query holds (PostgreSQL's C(lock_timeout)).
    type: int
    default: 5
  release:
    description: Id of the release (C(migrate), C(rehearse), C(activate)).
    type: str
  keep:
    description: Releases to keep besides the live one (C(prune)); at least 1.
    type: int
    default: 5
attributes:
  check_mode:
    description: Reports what would change.
    support: full
"""

EXAMPLES = r"""
- name: Switch to a release
  slipway.vps.release:
    action: activate
    name: blog
    root: /srv/blog
    config_dir: /etc/blog
    user: blog
    group: blog
    wsgi: blog:create_app()
    host: blog.example.com
    release: 20261120T072201-4f2a9c10
"""

RETURN = r"""
release:
  description: Id of the release that the step worked on; empty when C(plan) asks for a new one.
  type: str
  returned: always
needed:
  description: Whether something other than the live release is wanted (C(plan)).
  type: bool
  returned: action is plan
live:
  description: Id of the live release after the step, empty when there is none.
  type: str
  returned: always
releases:
  description: All manifests, oldest first.
  type: list
  elements: dict
  returned: action is list
removed:
  description: Ids of the releases removed.
  type: list
  elements: str
  returned: action is prune
output:
  description: What the step's command said.
  type: str
  returned: action is migrate
"""

import fcntl
import os
import platform
import re
import shlex
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.slipway.vps.plugins.module_utils.environment import environment_file, parse_environment
from ansible_collections.slipway.vps.plugins.module_utils.releases import (
    FAILED,
    LIVE,
    MANIFEST,
    READY,
    RETIRED,
    Release,
    Store,
    fingerprint,
    new_id,
    now,
    prunable,
    reusable,
    write_atomically,
)
from ansible_collections.slipway.vps.plugins.module_utils.system import (
    Account,
    CommandError,
    command,
    get,
    instances,
    is_active,
    journal,
    postgres_environment,
    start_unit,
    stop_units,
    tail,
)

#: Folders with Alembic's env.py, seen from the top of a source tree.
MIGRATIONS = ("migrations/env.py", "*/migrations/env.py", "src/*/migrations/env.py")


class StepError(Exception):
    """A step of the deploy failed; the text is the evidence. ``switched``: only after the new release had taken over."""

    def __init__(self, step: str, evidence: str, switched: bool = False) -> None:
        super().__init__(evidence)
        self.step = step
        self.evidence = evidence
        self.switched = switched


@contextmanager
def step(name: str, switched: bool = False) -> Iterator[None]:
    """Whatever goes wrong inside is a failure of the step ``name``."""
    try:
        yield
    except (CommandError, OSError) as error:
        raise StepError(name, tail(str(error)), switched) from error


class Deploy:
    """The steps, over one app on one host."""

    def __init__(self, parameters: dict[str, Any], check_mode: bool) -> None:
        self.p = parameters
        self.check_mode = check_mode
        self.name: str = parameters["name"]
        self.store = Store(Path(parameters["root"]))
        self.config_dir = Path(parameters["config_dir"])

    @property
    def account(self) -> Account:
        return Account.of(self.p["user"], self.p["group"])

    # --- plan ---------------------------------------------------------------------------------------------------------

    def plan(self) -> dict[str, Any]:
        live = self.store.live()
        wanted = self.fingerprint()
        if live and live.fingerprint == wanted:
            return {"changed": False, "needed": False, "release": live.id}
        waiting = reusable(self.store.all(), wanted)
        return {"changed": self.check_mode, "needed": True, "release": waiting.id if waiting else ""}

    def fingerprint(self) -> str:
        parts = [self.p["identity"], self.p["wsgi"], self.p["python"], platform.python_version(), *sorted(self.p["requirements"])]
        return fingerprint([*parts, *sorted(self.p["processes"])], map(Path, self.p["runtime_files"]))

    # --- prepare ------------------------------------------------------------------------------------------------------

    def prepare(self) -> dict[str, Any]:
        planned = self.plan()
        if planned["release"] or self.check_mode:
            return {"changed": self.check_mode, "release": planned["release"]}
        releases = self.store.all()
        for interrupted in self.store.unfinished():
            self.store.remove(interrupted)
        release = Release(
            id=new_id(self.p["commit"] or self.p["identity"], now(), (r.id for r in releases)),
            fingerprint=self.fingerprint(),
            source={"identity": self.p["identity"], "commit": self.p["commit"], "requirement": self.p["requirement"]},
            created_at=now().isoformat(timespec="seconds"),
            created_by=os.environ.get("SUDO_USER") or os.environ.get("USER") or "root",
            processes=sorted(self.p["processes"]),
        )
        folder = self.store.folder(release.id)
        folder.mkdir(parents=True)
        self.store.save(release)
        with self.failing(release):
            self.place_source(folder)
            # Once more: the source may bring a file of that name.
            self.store.save(release)
            self.build_environment(folder, release)
            self.snapshot_configuration(folder, release)
            self.check_entry_point(release)
        release.state = READY
        self.store.save(release)
        return {"changed": True, "release": release.id}

    @contextmanager
    def failing(self, release: Release) -> Iterator[None]:
        """A failed step is written into the manifest, and all else of the release goes.

        A release that has served before is left as it is: a passing fault must not destroy what one wants to go back to.
        """
        try:
            yield
        except StepError as failure:
            if release.state not in (LIVE, RETIRED):
                release.state = FAILED
                release.failure = {"step": failure.step, "reason": failure.evidence}
                self.store.save(release)
                self.store.strip(release.id)
            raise

    def place_source(self, folder: Path) -> None:
        with step("source"):
            if self.p["tree"]:
                shutil.copytree(self.p["tree"], folder, symlinks=True, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".git"))
            elif self.p["archive"]:
                self.unpack(Path(self.p["archive"]), folder)
            # The app's user builds: a build may run code of the app and of its dependencies.
            self.give(folder, self.account)

    def unpack(self, archive: Path, folder: Path) -> None:
        names = command("tar", "--list", "--file", str(archive)).splitlines()
        dotted = any(name.startswith("./") for name in names)
        members = [name.removeprefix("./") for name in names if name.strip("./")]
        alone = len({name.split("/")[0] for name in members}) == 1 and all("/" in name for name in members)
        # --touch: files get today's time, which nginx puts into their ETag; the archive's own times may all be the same.
        command(
            *("tar", "--extract", "--touch", "--no-same-owner", "--file", str(archive), "--directory", str(folder)),
            *([f"--strip-components={1 + dotted}"] if alone else []),
        )

    def give(self, folder: Path, account: Account | None) -> None:
        """Hand the tree to ``account`` or, without one, back to root. The virtual environment stays the builder's:
        its files are links into uv's cache."""
        uid, gid = (account.uid, account.gid) if account else (0, 0)
        for path in self.tree(folder):
            os.chown(path, uid, gid, follow_symlinks=False)

    def tree(self, folder: Path) -> Iterator[Path]:
        yield folder
        for entry in os.scandir(folder):
            if entry.name == MANIFEST or entry.name == ".venv":
                continue
            if entry.is_dir(follow_symlinks=False):
                yield from self.tree(Path(entry.path))
            else:
                yield Path(entry.path)

    def build_environment(self, folder: Path, release: Release) -> None:
        """A virtual environment of the release's own, from what the app says it needs, in this order:
        uv.lock, requirements.txt, pyproject.toml."""
        with step("virtual environment"):
            self.uv(folder, "venv", "--python", self.p["python"], ".venv")
            release.python = command(str(folder / ".venv/bin/python"), "--version", account=self.account).split()[-1]
        with step("dependencies"):
            pip = ("pip", "install", "--python", ".venv/bin/python", "--compile-bytecode")
            lock = next((folder / name for name in ("uv.lock", "requirements.txt", "pyproject.toml") if (folder / name).exists()), None)
            if self.p["requirement"]:
                self.uv(folder, *pip, self.p["requirement"])
            elif lock is None:
                raise CommandError(
                    "the source has neither uv.lock nor requirements.txt nor pyproject.toml: add one that names what the app needs"
                )
            elif lock.name == "uv.lock":
                self.uv(folder, "sync", "--frozen", "--no-dev", "--no-editable", "--compile-bytecode")
            elif lock.name == "requirements.txt":
                self.uv(folder, *pip, "--requirement", "requirements.txt")
            else:
                self.uv(folder, *pip, ".")
            release.lock = fingerprint([self.p["requirement"] or ""], [lock] if lock else [])[:16]
            absent = [r for r in self.p["requirements"] if _project(r) not in self.installed(folder)]
            if absent:
                self.uv(folder, *pip, *absent)
            command(".venv/bin/python", "-m", "compileall", "-q", "-x", r"/\.venv/", ".", account=self.account, cwd=folder)
        self.give(folder, None)

    def uv(self, folder: Path, *words: str) -> None:
        settings = {
            "UV_CACHE_DIR": str(self.store.root / "cache" / "uv"),
            "UV_PYTHON_DOWNLOADS": "never",
            "UV_NO_PROGRESS": "1",
            # The system's certificates: a company's own package index may have one that only they know.
            "SSL_CERT_FILE": "/etc/ssl/certs/ca-certificates.crt",
            "HOME": str(self.store.root / "cache"),
        }
        command(self.p["uv"], *words, account=self.account, environment=settings, cwd=folder)

    def installed(self, folder: Path) -> set[str]:
        return {_project(path.name) for path in folder.glob(".venv/lib/python*/site-packages/*.dist-info")}

    def snapshot_configuration(self, folder: Path, release: Release) -> None:
        """The configuration without secrets, as it is now: going back to this release brings it back."""
        with step("environment"):
            # Not read_text(): it would change the line ends within values.
            text = (self.config_dir / "environment").read_bytes().decode()
            own = {"SLIPWAY_COMMIT": release.commit, "SLIPWAY_RELEASE": release.id, "SLIPWAY_WSGI": self.p["wsgi"]}
            write_atomically(folder / "environment", text + environment_file(own), 0o640, (0, self.account.gid))

    def check_entry_point(self, release: Release) -> None:
        with step("import"):
            self.transient("check", release, ".venv/bin/gunicorn", "--config", f"{self.config_dir}/gunicorn.conf.py", "--check-config")

    def transient(self, what: str, release: Release, *words: str, settings: tuple[str, ...] = ()) -> str:
        """Run a command of the release in a unit of its own, with the environment its service will have.

        The unit's name holds the app's, so that a second one cannot start while one that an interrupted run left still works.
        """
        folder = self.store.folder(release.id)
        shared = self.store.root / "shared"
        properties = (
            f"EnvironmentFile={folder}/environment",
            f"EnvironmentFile=-{self.config_dir}/secrets",
            f"Environment=PATH={folder}/.venv/bin:/usr/local/bin:/usr/bin:/bin",
            *("ProtectSystem=strict", f"ReadWritePaths={shared}", "PrivateTmp=yes", "NoNewPrivileges=yes", "UMask=0027"),
        )
        return command(
            *("systemd-run", "--quiet", "--wait", "--pipe", "--collect", f"--unit={self.name}-{what}-step"),
            *(f"--uid={self.p['user']}", f"--gid={self.p['group']}", f"--working-directory={folder}"),
            *(f"--property={value}" for value in (*properties, *settings)),
            *(f"{folder}/{words[0]}" if words[0].startswith(".venv/") else words[0], *words[1:]),
        )

    # --- migrate ------------------------------------------------------------------------------------------------------

    def migrate(self) -> dict[str, Any]:
        release = self.wanted()
        words = self.migration(self.store.folder(release.id))
        if not words or release.state != READY or release.schema_after or self.check_mode:
            return {"changed": False, "release": release.id, "output": ""}
        release.schema_before = self.schema(release)
        with self.failing(release), step("migration"):
            options = f"Environment=PGOPTIONS=-clock_timeout={self.p['lock_timeout'] * 1000}"
            output = self.transient("migrate", release, *words, settings=(options,))
        release.schema_after = self.schema(release)
        self.store.save(release)
        return {"changed": release.schema_before != release.schema_after, "release": release.id, "output": tail(output)}

    def migration(self, folder: Path) -> list[str]:
        wanted = self.p["migrate_command"]
        if wanted == "auto":
            wanted = "flask db upgrade" if any(any(folder.glob(pattern)) for pattern in MIGRATIONS) else ""
        words = shlex.split(wanted)
        if words and (folder / ".venv/bin" / words[0]).exists():
            words[0] = f".venv/bin/{words[0]}"
        return words

    def schema(self, release: Release) -> str | None:
        """The revision Alembic noted in the database; None where there is none, or no psql to ask."""
        texts = []
        for path in (self.store.folder(release.id) / "environment", self.config_dir / "secrets"):
            texts.append(path.read_bytes().decode() if path.exists() else "")
        url = parse_environment("".join(texts)).get("DATABASE_URL", "")
        if not url.startswith("postgres") or not shutil.which("psql"):
            return None
        query = "SELECT string_agg(version_num, ',' ORDER BY version_num) FROM alembic_version"
        try:
            found = command("psql", "-XAtqc", query, account=self.account, environment=postgres_environment(url)).strip()
        except CommandError:
            return None
        return found or None

    # --- rehearse -----------------------------------------------------------------------------------------------------

    def rehearse(self) -> dict[str, Any]:
        release = self.wanted()
        if release.state != READY or self.check_mode:
            return {"changed": False, "release": release.id}
        unit = f"{self.name}-rehearsal@{release.id}.service"
        with self.failing(release):
            try:
                with step("start"):
                    start_unit(unit)
                self.await_ready(unit)
            finally:
                stop_units(unit)
        return {"changed": False, "release": release.id}

    def await_ready(self, unit: str) -> None:
        path = Path("/run") / f"{self.name}-rehearsal" / "gunicorn.sock"
        deadline = time.monotonic() + self.p["ready_timeout"]
        while True:
            status, body = get(path, self.p["ready"], self.p["host"])
            if status == 200:
                return
            if time.monotonic() > deadline or not is_active(unit):
                answer = f"GET {self.p['ready']} answered {status or 'nothing'}: {body.strip()[:500]}"
                raise StepError("readiness", f"{answer}\n{journal(unit)}")
            time.sleep(0.25)

    # --- activate -----------------------------------------------------------------------------------------------------

    def activate(self) -> dict[str, Any]:
        release = self.wanted()
        unit = self.unit(release.id)
        processes = [f"{self.name}-{process}@{release.id}.service" for process in release.processes]
        previous = self.store.live()
        strays = self.strays(release, previous)
        switched = self.store.live_id() != release.id
        stopped = [wanted for wanted in (unit, *processes) if not is_active(wanted)]
        changed = bool(switched or stopped or strays or release.state != LIVE)
        if not changed or self.check_mode:
            return {"changed": changed, "release": release.id}
        with self.failing(release):
            self.start(processes, unit)
        release.state, release.live_at = LIVE, now().isoformat(timespec="seconds")
        self.store.save(release)
        self.store.point_current_at(release.id)
        # From here on the new release serves alone; the others finish what they have begun.
        if strays:
            with step("drain", switched=True):
                command("systemctl", "stop", *strays)
        if previous and previous.id != release.id:
            previous.state = RETIRED
            self.store.save(previous)
        return {"changed": True, "release": release.id}

    def start(self, processes: list[str], unit: str) -> None:
        with step("start"):
            self.open_socket()
            try:
                for wanted in (unit, *processes):
                    start_unit(wanted)
            except CommandError:
                stop_units(*processes, unit)
                raise

    def open_socket(self) -> None:
        """The socket first, then the app as a whole: while that is active systemd leaves the socket's connections to the instances.

        The other way round systemd refuses to open a socket whose service is active already.
        """
        if not is_active(f"{self.name}.socket"):
            stop_units(f"{self.name}.service")
            start_unit(f"{self.name}.socket")
        start_unit(f"{self.name}.service")

    def unit(self, release_id: str) -> str:
        return f"{self.name}@{release_id}.service"

    def strays(self, release: Release, previous: Release | None) -> list[str]:
        """Instances of other releases that still run: the previous one's, and what an interrupted switch left."""
        names = {*release.processes, *(previous.processes if previous else [])}
        running = [unit for template in (self.name, *(f"{self.name}-{n}" for n in sorted(names))) for unit in instances(template)]
        return [unit for unit in running if not unit.endswith(f"@{release.id}.service")]

    def wanted(self) -> Release:
        release = self.store.load(self.p["release"] or "")
        if release is None:
            raise StepError("manifest", f"there is no release {self.p['release']!r} below {self.store.releases}")
        return release

    # --- prune, list --------------------------------------------------------------------------------------------------

    def prune(self) -> dict[str, Any]:
        ids = prunable(self.store.all(), self.store.live_id(), max(1, self.p["keep"]))
        if not self.check_mode:
            for release_id in ids:
                self.store.remove(release_id)
        return {"changed": bool(ids), "removed": ids, "release": self.store.live_id() or ""}

    def list(self) -> dict[str, Any]:
        return {"changed": False, "releases": [asdict(r) for r in self.store.all()], "release": self.store.live_id() or ""}


def _project(text: str) -> str:
    """The normalised project name of a requirement or of a dist-info folder."""
    return re.sub(r"[-_.]+", "-", re.split(r"[=<>!~@\[; ]|-\d", text)[0]).strip("-").lower()


@contextmanager
def exclusive(root: Path) -> Iterator[None]:
    """One step at a time on this host: the kernel drops the lock when the process ends, however it ends."""
    if not root.is_dir():
        yield
        return
    handle = os.open(root / ".deploy.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StepError("lock", f"another deploy works on {root} right now; run this again when it is done") from error
        yield
    finally:
        os.close(handle)


def message(failure: StepError, live: str | None) -> str:
    retry = "Correct the cause, then run the same command again."
    if failure.switched:
        outcome = f"the switch itself succeeded: release {live} serves."
    else:
        outcome = f"nothing was switched. {f'Release {live} goes on serving.' if live else 'No release is live yet.'}"
    return f"The step '{failure.step}' failed; {outcome}\n{failure.evidence}\n{retry}"


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "action": {"type": "str", "required": True, "choices": ["plan", "prepare", "migrate", "rehearse", "activate", "prune", "list"]},
            **{name: {"type": "str", "required": True} for name in ("name", "user", "group", "wsgi", "host")},
            **{name: {"type": "path", "required": True} for name in ("root", "config_dir")},
            "ready": {"type": "str", "default": "/healthz/ready"},
            "ready_timeout": {"type": "float", "default": 30},
            "identity": {"type": "str", "default": ""},
            "commit": {"type": "str", "default": ""},
            "tree": {"type": "path"},
            "archive": {"type": "path"},
            "requirement": {"type": "str"},
            "requirements": {"type": "list", "elements": "str", "default": []},
            "runtime_files": {"type": "list", "elements": "path", "default": []},
            "processes": {"type": "list", "elements": "str", "default": []},
            "python": {"type": "str", "default": "python3"},
            "uv": {"type": "path", "default": "uv"},
            "migrate_command": {"type": "str", "default": "auto"},
            "lock_timeout": {"type": "int", "default": 5},
            "release": {"type": "str"},
            "keep": {"type": "int", "default": 5},
        },
        mutually_exclusive=[("tree", "archive", "requirement")],
        required_if=[("action", name, ("release",)) for name in ("migrate", "rehearse", "activate")],
        supports_check_mode=True,
    )
    deploy = Deploy(module.params, module.check_mode)
    actions: dict[str, Callable[[], dict[str, Any]]] = {
        name: getattr(deploy, name) for name in ("plan", "prepare", "migrate", "rehearse", "activate", "prune", "list")
    }
    try:
        with exclusive(deploy.store.root):
            result = actions[module.params["action"]]()
    except StepError as failure:
        live = deploy.store.live_id() or ""
        module.fail_json(msg=message(failure, live), step=failure.step, release=module.params["release"] or "", live=live)
    module.exit_json(live=deploy.store.live_id() or "", **result)


if __name__ == "__main__":
    main()
