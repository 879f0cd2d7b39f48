# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""A dead-man switch for changes that could shut the operator out."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: guard
short_description: A dead-man switch for changes that could shut the operator out
version_added: 0.1.0
description:
  - Before a change of sshd, the firewall or alike, O(state=armed) copies what is about to change and sets a timer of systemd that puts the
    copy back. After the change O(state=proven) opens a connection to the host that shares nothing with the one that Ansible keeps open.
    Comes it in, the guard ends and the change stays; comes it not, the change is taken back at once over the old connection, and the
    task fails. A run that dies in between leaves a host that is as it was, O(seconds) after it was armed at the latest.
  - The timer is a file, so that a reboot in between does not forget it; then its time begins with the boot.
  - On the host C(slipway guard) lists the guards, C(slipway guard end <name>) and C(slipway guard revert <name>) end one.
author:
  - The Slipway authors
options:
  name:
    description: Name of the guard, of small letters, digits and dashes. Two changes with the same name are one.
    type: str
    required: true
  state:
    description:
      - "V(armed): keep what O(keep) names. A guard that is armed already (its run has died) keeps its older copy; its time begins anew."
      - "V(proven): open a new connection, and end the guard or take the change back."
      - "V(disarmed): end the guard without a proof. Fails when it has taken its change back meanwhile."
      - "V(reverted): take the change back now."
      - "V(reported): change nothing, say whether it is armed. A role that has nothing to change asks, since a run may have died."
    type: str
    default: reported
    choices: [armed, proven, disarmed, reverted, reported]
  keep:
    description: Files and folders, absolute, that are put back exactly; what is not there now will not be there then.
    type: list
    elements: path
    default: []
  after:
    description: Commands, each for a shell, once the files are back. All of them are run; what fails is tried again.
    type: list
    elements: str
    default: []
  seconds:
    description:
      - After how long the change is taken back. The host is reachable again within two minutes; three connections that get no answer take
        one of them, and the change what is left.
    type: int
    default: 100
  port:
    description: For O(state=proven), another port to come in at than the run's own.
    type: int
  tries:
    description:
      - For O(state=proven), how many connections are tried, eleven seconds apart. C(ufw limit) refuses an address that opens six in half
        a minute, and sshd one that is refused too often.
    type: int
    default: 3
attributes:
  check_mode:
    description: Reports what would change; proves nothing.
    support: full
"""

EXAMPLES = r"""
# First a look at what would change: the task that changes it, with `check_mode: true` and `register: blog_sshd`.
- name: Take the change of sshd back unless it is proven
  slipway.vps.guard:
    name: ssh
    state: armed
    keep: [/etc/ssh]
    after: [systemctl try-reload-or-restart ssh.service]
  when: blog_sshd is changed

# Then the change itself, and sshd is reloaded.
- name: Keep it only if somebody comes in
  slipway.vps.guard:
    name: ssh
    state: proven
  when: blog_sshd is changed

# Whether ufw was on stands in its files: the command reads it after they are back.
- name: Take the change of the firewall back unless it is proven
  slipway.vps.guard:
    name: ufw
    state: armed
    keep: [/etc/ufw, /etc/default/ufw]
    after: ["if grep -qi '^ENABLED=yes' /etc/ufw/ufw.conf; then ufw reload; else ufw disable; fi"]
"""

RETURN = r"""
armed:
  description: Whether the guard is armed now.
  type: bool
  returned: always
reverted_at:
  description: When it last took its change back, in seconds since 1970; none once it was armed again.
  type: float
  returned: always
proof:
  description: With what it was proven, or why not.
  type: str
  returned: when O(state=proven)
"""

import re

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core.clock import stamp
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core.errors import SlipwayError
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core.run import attempt
from ansible_collections.slipway.vps.plugins.module_utils.slipway.guard import Guard


def change(guard: Guard, module: AnsibleModule) -> bool:
    """Bring the guard into the wanted state; whether that is a change."""
    p, armed = module.params, guard.armed()
    if p["state"] == "armed":
        if not module.check_mode:
            refuse_without_program(guard.program)
            guard.arm(p["keep"], p["after"], p["seconds"])
        return not armed
    if p["state"] in ("disarmed", "reverted") and armed:
        if not module.check_mode:
            _ = guard.end() if p["state"] == "disarmed" else guard.revert()
        return True
    if p["state"] == "disarmed" and (past := guard.reverted_at()):
        raise SlipwayError(
            f"the guard {guard.name} took the change back at {stamp(past)}, before anybody had proven it: the host is as it was before.\n"
            "Next: run the same command again; if that repeats, with a greater `seconds`."
        )
    return False


def refuse_without_program(program: str) -> None:
    """A switch that could not fire is none."""
    status, said = attempt([program, "guard", "list"])
    if status != 0:
        raise SlipwayError(f"nothing was changed: the program that would take the change back does not answer: {said.strip()}")


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "state": {"type": "str", "default": "reported", "choices": ["armed", "proven", "disarmed", "reverted", "reported"]},
            "keep": {"type": "list", "elements": "path", "default": []},
            "after": {"type": "list", "elements": "str", "default": []},
            "seconds": {"type": "int", "default": 100},
            "port": {"type": "int"},
            "tries": {"type": "int", "default": 3},
        },
        supports_check_mode=True,
    )
    guard = Guard(module.params["name"])
    if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?", guard.name):
        module.fail_json(msg=f"name: {guard.name!r} will not do as part of a unit's name: use a-z 0-9 -")
    try:
        changed = change(guard, module)
        module.exit_json(changed=changed, armed=guard.armed(), reverted_at=guard.reverted_at())
    except (SlipwayError, OSError) as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
