# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""Build a release, rehearse it, and switch to it without losing a request.

Most of this file is its documentation, which Ansible reads from it.
"""

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
      - C(prepare) builds the release and its virtual environment.
      - C(migrate) imports the app, takes a restore point, runs the migration command, and checks that the live release is still ready.
      - C(rehearse) starts the release on a private socket, with one worker, and asks the readiness path and the front page.
      - C(activate) starts the release on the shared socket and makes it the live one; the one before finishes its requests and ends.
      - C(watch) asks through nginx, looks for O(burn_in) seconds whether the release is worse than the one before, and goes back by itself.
      - C(go_live) is C(rehearse), C(activate), C(watch) and C(prune) in one call, as each call costs a round trip.
      - C(plan_rollback) chooses the release to go back to and says what that reverts.
      - C(downgrade) brings the schema to O(schema) with the migration scripts of O(release).
      - C(upgrade) brings it forward again with the same scripts, when the downgrade did not help.
      - C(prune) removes releases that are no longer needed.
      - C(list) returns all manifests.
    type: str
    required: true
    choices: [plan, prepare, migrate, rehearse, activate, watch, go_live, plan_rollback, downgrade, upgrade, prune, list]
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
  socket:
    description: Socket on which nginx reaches the live release; C(<name>.socket) holds it.
    type: path
    required: true
  rehearsal_socket:
    description: Socket of C(<name>-rehearsal@.service), which only this module asks.
    type: path
    required: true
  runtime_dir:
    description: Folder in which C(<name>@.service) has a folder for each release that runs.
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
  writable:
    description: Folders that the app's own commands may write to; one that may be absent begins with a dash.
    type: list
    elements: str
    default: []
  confinement:
    description: C(sandbox), C(slice), C(build_memory), C(secrets_file) and C(secrets_delivery) of the app, as the model has them.
    type: dict
    default: {}
  server:
    description: Name of the server that the release gets (C(app_server)); what starts it reads it in the release.
    type: str
    default: gunicorn
  wsgi:
    description: Entry point, C(module:callable) or C(module:factory()).
    type: str
    required: true
  host:
    description: Host name to ask the readiness path for.
    type: str
    required: true
  ready:
    description: Readiness path. Empty means that the rehearsal finds it, and C(release.json) keeps it.
    type: str
    default: ''
  prefix:
    description: Path of the site below which the app is, for example C(/blog).
    type: str
    default: ''
  ready_timeout:
    description: Seconds a rehearsed release may take to answer 200.
    type: float
    default: 30
  rehearsal_writes:
    description: Whether a release that has not served yet may write to the database of the live one while it is tried (C(rehearse)).
    type: bool
    default: false
  identity:
    description: What exactly is deployed, for example a commit, the checksum of an archive or a pinned requirement.
    type: str
    default: ''
  commit:
    description: Commit to show as C(SLIPWAY_COMMIT), where the source knows one.
    type: str
    default: ''
  asked:
    description:
      - What the operator asked for, for the manifest (C(prepare)). C(type), and C(repo) with C(version), C(url), C(file), C(path) or
        C(requirement). Secrets in URLs are masked.
    type: dict
    default: {}
  tree:
    description: Folder whose content becomes the release (C(prepare)).
    type: path
  archive:
    description: Tar or zip archive whose content becomes the release (C(prepare)); a single top-level folder is left out.
    type: path
  upload:
    description: Whether O(archive) lies on the controller.
    type: bool
    default: false
  subdirectory:
    description: Folder of O(archive) that becomes the release instead, relative.
    type: str
    default: ''
  requirement:
    description: Requirement to install instead of a tree (C(prepare)), with C(***) for each secret in it.
    type: str
  requirement_encoded:
    description: O(requirement) with its secrets, in Base64.
    type: str
    default: ''
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
    description: >-
      Background processes, name to C({command, stop_timeout, connections}). Their units are read in C(units/) of O(config_dir),
      C(<name>-<process>@.service), and are part of the release.
    type: dict
    default: {}
  timers:
    description: >-
      Commands on a calendar, name to C({command, schedule, catch_up, timeout}). Their units, C(<name>-<timer>.timer) and C(.service), are
      in the same folder.
    type: dict
    default: {}
  python:
    description: Interpreter for the virtual environment.
    type: str
    default: python3
  python_dir:
    description: Folder of the Pythons that uv manages, for all apps of the host. It belongs to root.
    type: path
    default: /opt/slipway/python
  python_mirror:
    description: Address to get them from instead of GitHub.
    type: str
    default: ''
  uv:
    description: The uv program.
    type: path
    default: uv
  app_python:
    description: Version of Python that the app wants, C(3.13); empty means what its project says.
    type: str
    default: ''
  lock_file:
    description: File of the source that says the dependencies; empty means the first of those that are known.
    type: str
    default: ''
  extras:
    description: Extras of the app to install.
    type: list
    elements: str
    default: []
  groups:
    description: Dependency groups of the app to install.
    type: list
    elements: str
    default: []
  build_commands:
    description: Commands in a shell's syntax, run in the release's folder once its dependencies are installed (C(prepare)).
    type: list
    elements: str
    default: []
  build_env:
    description: Environment of the build.
    type: dict
    default: {}
  build_secrets:
    description: Secret part of the environment of the build, and C(netrc), logins for hosts. Neither kept nor shown (C(prepare)).
    type: dict
    default: {}
  build_packages:
    description: Packages of the distribution that the release was built with.
    type: list
    elements: str
    default: []
  static:
    description: URL prefix to folder of the release; each gets a link C(.static/<prefix>) in the release.
    type: dict
    default: {}
  shared:
    description: Folder of what outlives a release.
    type: path
    required: true
  shared_paths:
    description: Files and folders (with a slash) of a release that live in O(shared); the release gets links to them (C(prepare)).
    type: list
    elements: str
    default: []
  precompress:
    description: Leave C(file.gz) and C(file.br) beside the static files that gain by it (C(prepare)).
    type: bool
    default: true
  owner:
    description: Who deploys, for the manifest.
    type: str
    default: ''
  retry:
    description: Command to name as the next one when a step fails.
    type: str
    default: run the same command again
  force:
    description: Deploy what was rolled away from all the same (C(plan)).
    type: bool
    default: false
  give_back:
    description: Whether the lock of O(token) is given back once all is done; one step that fails keeps it.
    type: bool
    default: false
  token:
    description: Token of the lock (M(slipway.vps.lock)), renewed while a step runs. Empty means that there is none.
    type: str
    default: ''
  lock_ttl:
    description: Seconds after which the lock of a run that died is free.
    type: int
    default: 120
  migrate_command:
    description: Command, or C(auto), or empty for none (C(migrate)).
    type: str
    default: auto
  lock_timeout:
    description: Seconds a migration waits for a lock that a running query holds (PostgreSQL's C(lock_timeout)).
    type: int
    default: 5
  restore_point_command:
    description: Command that takes a backup of the database and prints its manifest as JSON; C(--label) is added. Empty means none.
    type: str
    default: ''
  restore_point_max:
    description: Largest database, in bytes, that a restore point is taken of.
    type: int
    default: 1073741824
  downgrade:
    description: Plan to bring the schema back too (C(plan_rollback)).
    type: bool
    default: false
  schema:
    description: Revision to bring the schema to (C(downgrade)). Never to before the first, which would drop all tables.
    type: str
    default: ''
  leave_as:
    description: State of the release that was live before (C(activate)).
    type: str
    default: retired
    choices: [retired, rolled-back]
  memory_margin:
    description: Two instances run side by side when this many times the memory of the live one is available (C(activate)).
    type: float
    default: 1.2
  burn_in:
    description: Seconds to look whether the new release does worse than the one before (C(watch)).
    type: float
    default: 0
  burn_in_tolerance:
    description: How much larger the new release's share of failed requests may be, 0 to 1.
    type: float
    default: 0.05
  release:
    description: Id of the release to work on; C(plan_rollback) chooses one when it is empty.
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
    socket: /run/blog/gunicorn.sock
    rehearsal_socket: /run/blog-rehearsal/gunicorn.sock
    runtime_dir: /run/blog
    shared: /srv/blog/shared
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
  description: Whether something other than the live release is wanted.
  type: bool
  returned: action is plan, prepare or plan_rollback
given_back:
  description: Whether the lock was given back.
  type: bool
  returned: O(give_back) is true
migrates:
  description: Whether the schema has to be brought to what the release needs (C(migrate)).
  type: bool
  returned: action is prepare
repair:
  description: Whether an interrupted switch has to be finished, or a stopped release started (C(plan)).
  type: bool
  returned: action is plan
plan:
  description: What going back reverts and what it does not, in lines of text.
  type: list
  elements: str
  returned: action is plan_rollback
newer:
  description: Id of the release that is left; its scripts bring the schema back.
  type: str
  returned: action is plan_rollback
schema:
  description: Schema revision that the chosen release left, empty when it knows none.
  type: str
  returned: action is plan_rollback
overlap:
  description: Whether the new release was started beside the old one (C(activate)).
  type: bool
  returned: action is activate or go_live
restore_point:
  description: Name of the backup taken before the schema was changed, or why there is none.
  type: str
  returned: action is migrate or downgrade
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
  returned: action is prune or go_live
output:
  description: What the step has to say.
  type: str
  returned: action is migrate, activate, watch, go_live, downgrade or upgrade
"""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.slipway.vps.plugins.module_utils.deploy import ACTIONS, Deploy
from ansible_collections.slipway.vps.plugins.module_utils.deploy_settings import Settings
from ansible_collections.slipway.vps.plugins.module_utils.deploy_steps import StepError
from ansible_collections.slipway.vps.plugins.module_utils.deploy_switch import LEAVE_AS
from ansible_collections.slipway.vps.plugins.module_utils.lock import Lock, LockError
from ansible_collections.slipway.vps.plugins.module_utils.releases import RETIRED
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core.lock import LockedError, locked
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core.run import CommandError
from ansible_collections.slipway.vps.plugins.module_utils.source import uncovered

#: Steps that only look, and need not wait for anyone.
READING = ("plan", "plan_rollback", "list")
#: Steps that work on one release.
ON_A_RELEASE = ("migrate", "rehearse", "activate", "watch", "go_live", "downgrade", "upgrade")


PARAMETERS: dict[str, Any] = {
    "action": {"type": "str", "required": True, "choices": list(ACTIONS)},
    **{name: {"type": "str", "required": True} for name in ("name", "user", "group", "wsgi", "host")},
    **{name: {"type": "path", "required": True} for name in ("root", "config_dir", "socket", "rehearsal_socket", "runtime_dir", "shared")},
    **{
        name: {"type": "str", "default": ""}
        for name in (
            *("ready", "prefix", "identity", "commit", "subdirectory", "python_mirror", "app_python", "lock_file"),
            *("owner", "schema"),
        )
    },
    "server": {"type": "str", "default": "gunicorn"},
    "ready_timeout": {"type": "float", "default": 30},
    **{name: {"type": "path"} for name in ("tree", "archive")},
    **{name: {"type": "bool", "default": False} for name in ("rehearsal_writes", "force", "downgrade", "upload", "give_back")},
    "requirement": {"type": "str"},
    "requirement_encoded": {"type": "str", "default": "", "no_log": True},
    "runtime_files": {"type": "list", "elements": "path", "default": []},
    **{name: {"type": "dict", "default": {}} for name in ("confinement", "asked", "processes", "timers", "static", "build_env")},
    "precompress": {"type": "bool", "default": True},
    "python": {"type": "str", "default": "python3"},
    "python_dir": {"type": "path", "default": "/opt/slipway/python"},
    "uv": {"type": "path", "default": "uv"},
    **{
        name: {"type": "list", "elements": "str", "default": []}
        for name in ("writable", "requirements", "shared_paths", "extras", "groups", "build_commands", "build_packages")
    },
    "build_secrets": {"type": "dict", "default": {}, "no_log": True},
    "retry": {"type": "str", "default": "run the same command again"},
    "token": {"type": "str", "default": "", "no_log": True},
    "lock_ttl": {"type": "int", "default": 120},
    "migrate_command": {"type": "str", "default": "auto"},
    "lock_timeout": {"type": "int", "default": 5},
    "restore_point_command": {"type": "str", "default": ""},
    "restore_point_max": {"type": "int", "default": 2**30},
    "leave_as": {"type": "str", "default": RETIRED, "choices": list(LEAVE_AS)},
    "memory_margin": {"type": "float", "default": 1.2},
    "burn_in": {"type": "float", "default": 0},
    "burn_in_tolerance": {"type": "float", "default": 0.05},
    "release": {"type": "str"},
    "keep": {"type": "int", "default": 5},
}


@contextmanager
def exclusive(root: Path) -> Iterator[None]:
    """One step at a time on this host: the kernel drops the lock when the process ends, however it ends."""
    if not root.is_dir():
        yield
        return
    with ExitStack() as held:
        try:
            held.enter_context(locked(root / ".deploy.lock", "deploy"))
        except LockedError as error:
            raise StepError("lock", f"another deploy works on {root} right now; run this again when it is done") from error
        yield


def message(failure: StepError, live: str | None, retry: str) -> str:
    """What the operator reads: what failed, who serves, why, and what to do next."""
    serving = f"Release {live} serves." if live else "No release is live yet."
    return f"The step '{failure.step}' failed; {failure.outcome}. {serving}\n{failure.evidence}\nNext: correct the cause, then {retry}."


def work(deploy: Deploy) -> dict[str, Any]:
    """Do what is asked, alone where it changes something, and renew the run's lock meanwhile; at the end give it back."""
    settings = deploy.settings
    with (
        nullcontext() if settings.action in READING else exclusive(settings.root),
        Lock(settings.root).renewing(settings.token, settings.lock_ttl) if settings.token else nullcontext(),
    ):
        done = deploy.do(settings.action)
    return {**done, "given_back": Lock(settings.root).release(settings.token)} if settings.give_back else done


def main() -> None:
    module = AnsibleModule(
        argument_spec=PARAMETERS,
        mutually_exclusive=[("tree", "archive", "requirement")],
        required_if=[("action", name, ("release",)) for name in ON_A_RELEASE],
        supports_check_mode=True,
    )
    requirement = uncovered(module.params["requirement"] or "", module.params.get("requirement_encoded") or "")
    settings = Settings.of({**module.params, "requirement": requirement}, module.check_mode)
    deploy = Deploy(settings)
    if settings.action == "prepare":
        # What is copied, compressed and compared here takes no time from visitors.
        os.nice(10)
    try:
        result = work(deploy)
    except (StepError, LockError, CommandError, OSError) as error:
        step = "lock" if isinstance(error, LockError) else deploy.app.action
        failure = error if isinstance(error, StepError) else StepError(step, str(error), "see who serves")
        live = deploy.store.live_id() or ""
        module.fail_json(msg=message(failure, live, settings.retry), step=failure.step, release=settings.release, live=live)
    for warning in result.pop("warnings", []):
        module.warn(warning)
    module.exit_json(live=deploy.store.live_id() or "", **result)


if __name__ == "__main__":
    main()
