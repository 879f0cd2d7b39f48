# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""Take, give back and show the lock of an app's releases; freeze and unfreeze them."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: lock
short_description: Take, give back and show the lock of an app's releases, or freeze them
version_added: 0.1.0
description:
  - The lock is a file in the app's folder that is valid for O(ttl) seconds after its last renewal. A run that dies keeps the others
    waiting for that long, and no longer.
  - Taking the lock and giving it back is no change of the host, and is not reported as one.
  - A freeze stays until it is lifted. It refuses whoever does not hold the lock yet; the run that works when it comes may finish.
author:
  - The Slipway authors
options:
  action:
    description:
      - C(acquire) takes the lock. It is taken again by whoever has it, with the new O(ttl), O(purpose) and O(commit).
      - C(release) gives it back, when it is still one's own.
      - C(show) says who has the lock, and whether the app is frozen.
      - C(freeze) refuses deploys and rollbacks from now on, C(unfreeze) allows them again.
    type: str
    required: true
    choices: [acquire, release, show, freeze, unfreeze]
  root:
    description: Folder of the app. It must exist for C(acquire) and C(freeze).
    type: path
    required: true
  token:
    description: Secret of the run that takes the lock, the same for all its hosts and steps (C(acquire), C(release)).
    type: str
  owner:
    description: Who runs this (C(acquire), C(freeze)).
    type: str
  host:
    description: Where it runs, the controller's name.
    type: str
    default: ''
  job_url:
    description: Address of the CI job that runs this, where there is one (C(acquire)).
    type: str
    default: ''
  commit:
    description: What is being deployed (C(acquire)).
    type: str
    default: ''
  purpose:
    description: What the lock is for, for example C(deploy) or C(rollback) (C(acquire)).
    type: str
    default: deploy
  ttl:
    description: Seconds the lock is valid without being renewed; at least 1 (C(acquire)).
    type: int
    default: 120
  wait:
    description: Seconds to wait for another run (C(acquire)).
    type: int
    default: 0
  reason:
    description: Why nothing may be deployed (C(freeze)).
    type: str
attributes:
  check_mode:
    description:
      - C(freeze) and C(unfreeze) report what would change. C(acquire) takes nothing and does not fail; what would refuse it is in
        RV(note).
    support: full
"""

EXAMPLES = r"""
- name: Take the lock
  slipway.vps.lock:
    action: acquire
    root: /srv/blog
    token: "{{ blog_run_token }}"
    owner: ada
    host: laptop
    wait: 120

- name: Give it back
  slipway.vps.lock:
    action: release
    root: /srv/blog
    token: "{{ blog_run_token }}"

- name: No deploys over the weekend
  slipway.vps.lock:
    action: freeze
    root: /srv/blog
    owner: ada
    reason: nobody is in on Saturday
"""

RETURN = r"""
lock:
  description:
    - The lock after the action, without its secret; null when nobody has it.
    - C(owner), C(host), C(purpose), C(job_url), C(commit), C(app), C(acquired_at), C(heartbeat_at), C(expires_at) and C(expired).
  type: dict
  returned: always
frozen:
  description: The freeze, C(reason), C(owner), C(host) and C(frozen_at); null when there is none.
  type: dict
  returned: always
summary:
  description: Both in words, a line each.
  type: str
  returned: always
note:
  description: What else there is to say, for example whose expired lock was taken over.
  type: str
  returned: always
"""

from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.slipway.vps.plugins.module_utils.lock import TTL, Holder, Lock, LockError


def act(lock: Lock, p: dict[str, Any], check_mode: bool) -> tuple[bool, str]:
    """Do what is asked; whether that changed the host, and a note."""
    action = p["action"]
    if action == "acquire":
        if check_mode:
            obstacle = lock.obstacle(p["token"])
            return False, str(obstacle) if obstacle else ""
        holder = Holder(p["token"], p["owner"], p["host"], p["purpose"], p["job_url"], p["commit"])
        return False, lock.acquire(holder, p["ttl"], p["wait"])
    if action == "release" and not check_mode:
        lock.release(p["token"])
    if action == "freeze":
        if check_mode:
            found = lock.frozen()
            return not (found and found.reason == p["reason"]), ""
        return lock.freeze(p["reason"], p["owner"], p["host"]), ""
    if action == "unfreeze":
        return lock.frozen() is not None if check_mode else lock.unfreeze(), ""
    return False, ""


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "action": {"type": "str", "required": True, "choices": ["acquire", "release", "show", "freeze", "unfreeze"]},
            "root": {"type": "path", "required": True},
            "token": {"type": "str", "no_log": True},
            "owner": {"type": "str"},
            **{name: {"type": "str", "default": ""} for name in ("host", "job_url", "commit")},
            "purpose": {"type": "str", "default": "deploy"},
            "ttl": {"type": "int", "default": TTL},
            "wait": {"type": "int", "default": 0},
            "reason": {"type": "str"},
        },
        required_if=[
            ("action", "acquire", ("token", "owner")),
            ("action", "release", ("token",)),
            ("action", "freeze", ("reason", "owner")),
        ],
        supports_check_mode=True,
    )
    p = module.params
    for name in {"acquire": ("token",), "release": ("token",), "freeze": ("reason",)}.get(p["action"], ()):
        if not p[name].strip():
            module.fail_json(msg=f"{name} is empty")
    if p["ttl"] < 1:
        module.fail_json(msg=f"ttl is {p['ttl']}: a lock that is valid for less than a second locks nothing")
    lock = Lock(Path(p["root"]))
    try:
        changed, note = act(lock, p, module.check_mode)
    except (LockError, OSError) as error:
        module.fail_json(msg=str(error), **lock.show())
    if note:
        module.warn(note)
    module.exit_json(changed=changed, note=note, **lock.show())


if __name__ == "__main__":
    main()
