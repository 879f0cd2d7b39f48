# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""What sshd of this host is and knows, and who may log in how; the deciding half is the action plugin of the same name."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: sshd_plan
short_description: Decide who may log in how, from what is proven
version_added: 0.1.0
description:
  - Asks sshd for its settings and for what it knows, and the connection how this run comes in. Changes nothing.
  - Where passwords or root's login could be switched off, opens a connection of its own that offers a key and nothing else. What it does
    not see to work stays as it is, and C(notes) say so. What the inventory uses itself (its user, its port) stays as well.
author:
  - The Slipway authors
options:
  port:
    description: Port that sshd is to listen on; 0 leaves the ports alone.
    type: int
    default: 0
  root_login:
    description: V(auto) switches root's login off once an admin's own login carries the run; V(keep) leaves it alone.
    type: str
    default: auto
    choices: [auto, keep]
  passwords:
    description: V(auto) refuses passwords once a key was seen to work; V(keep) leaves them alone.
    type: str
    default: auto
    choices: [auto, keep]
  admins:
    description: Names of the admins. The logins of the first two are tried.
    type: list
    elements: str
    default: []
  trusted:
    description: Addresses and networks that sshd's penalties leave alone, besides the controller's.
    type: list
    elements: str
    default: []
attributes:
  check_mode:
    description: It changes nothing in either mode.
    support: full
"""

EXAMPLES = r"""
- name: Decide who may log in
  slipway.vps.sshd_plan:
    admins: [ada]
  register: blog_ssh
"""

RETURN = r"""
installed:
  description: Whether there is an sshd. Without one nothing else is returned.
  type: bool
  returned: always
settings:
  description: What C(sshd -T) says, keyword to values.
  type: dict
  returned: when there is an sshd
supports:
  description: Algorithms by kind (C(kex), C(cipher), C(mac), C(key-sig)).
  type: dict
  returned: when there is an sshd
unknown:
  description: Keywords that this sshd does not know, of those that not every one does.
  type: list
  elements: str
  returned: when there is an sshd
socket:
  description: Whether systemd listens for sshd (ssh.socket).
  type: bool
  returned: when there is an sshd
armed:
  description: Whether the guard of a run that died is still armed.
  type: bool
  returned: when there is an sshd
own_ports:
  description: Ports that the drop-in of an earlier run opens.
  type: list
  elements: int
  returned: when there is an sshd
user:
  description: Who this run comes in as.
  type: str
  returned: when there is an sshd
ports:
  description: Ports for the configuration; empty leaves them alone.
  type: list
  elements: int
  returned: when there is an sshd
root:
  description: PermitRootLogin for the configuration; empty leaves it alone.
  type: str
  returned: when there is an sshd
no_passwords:
  description: Whether passwords are refused.
  type: bool
  returned: when there is an sshd
exempt:
  description: Addresses that sshd's penalties leave alone.
  type: list
  elements: str
  returned: when there is an sshd
notes:
  description: What stays open and why, for the operator.
  type: list
  elements: str
  returned: when there is an sshd
"""

import tempfile
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core.run import attempt
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core.units import is_active
from ansible_collections.slipway.vps.plugins.module_utils.slipway.guard import Guard
from ansible_collections.slipway.vps.plugins.module_utils.sshd import FOLDER, NAME, OPTIONAL, lines, settings, unknown

SSHD = "/usr/sbin/sshd"
#: What `ssh -Q` calls them.
KINDS = ("kex", "cipher", "mac", "key-sig")


def make_room() -> None:
    """Without its folder, which its unit makes, sshd does not even read its configuration."""
    Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)


def known(kind: str) -> list[str]:
    status, said = attempt(["ssh", "-Q", kind])
    return said.split() if status == 0 else []


def unknown_keywords() -> list[str]:
    """Of the keywords that not every sshd knows those that this one does not."""
    with tempfile.NamedTemporaryFile("w", suffix=".conf") as trial:
        trial.write("\n".join(OPTIONAL) + "\n")
        trial.flush()
        return sorted(unknown(attempt([SSHD, "-t", "-f", trial.name])[1]))


def own_ports(drop_in: Path) -> list[int]:
    """The ports that our drop-in opens."""
    text = drop_in.read_text(errors="replace") if drop_in.is_file() else ""
    return [int(value) for keyword, value in lines(text) if keyword == "port" and value.isdigit()]


def main() -> None:
    words = {"type": "list", "elements": "str", "default": []}
    choice = {"type": "str", "default": "auto", "choices": ["auto", "keep"]}
    module = AnsibleModule(
        argument_spec={
            "port": {"type": "int", "default": 0},
            "root_login": choice,
            "passwords": {**choice, "no_log": False},
            "admins": words,
            "trusted": words,
        },
        supports_check_mode=True,
    )
    if not Path(SSHD).exists():
        module.exit_json(changed=False, installed=False)
    make_room()
    status, said = attempt([SSHD, "-T"])
    if status != 0:
        module.fail_json(
            msg=f"Nothing was changed: sshd does not take its own configuration; a restart would shut everybody out.\n{said}"
            "Next: correct what it names below /etc/ssh, try `sshd -t`, then run the same command again."
        )
    module.exit_json(
        changed=False,
        installed=True,
        settings=settings(said),
        supports={kind: known(kind) for kind in KINDS},
        unknown=unknown_keywords(),
        socket=is_active("ssh.socket"),
        armed=Guard("ssh").armed(),
        own_ports=own_ports(Path(FOLDER, NAME)),
    )


if __name__ == "__main__":
    main()
