# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""PostgreSQL's settings for this host, and whether its connections suffice for the app."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: postgres_plan
short_description: Compute PostgreSQL's settings from the host's size and its apps
version_added: 0.1.0
description:
  - Reads the host's memory, cores and disk, and changes nothing.
  - Adds up every connection that can be asked for while one release takes over from another, and fails with the sum
    when O(max_connections) is less, or when the memory does not hold so many.
author:
  - The Slipway authors
options:
  max_connections:
    description: A number, or C(auto) for as many as can be asked for.
    type: str
    default: auto
  memory_share:
    description: Share of the host's memory that PostgreSQL may count on.
    type: float
    required: true
  storage:
    description: What the data are on.
    type: str
    default: ssd
    choices: [ssd, hdd]
  data_folder:
    description: A folder on the file system that will hold the data. The nearest one above it that exists is asked for its size.
    type: path
    default: /var/lib/postgresql
  custom:
    description: Settings that the operator has chosen; they are shown, and C(max_connections) among them is judged.
    type: dict
    default: {}
  apps:
    description:
      - The apps that use the server, as the model has them (C(app.machine.apps)). C(name), C(server), C(processes), and C(hosts) and
        C(pool) of C(database) are read.
    type: list
    elements: dict
    required: true
  administration:
    description: Connections kept for migrations, C(psql) and monitoring.
    type: int
    default: 5
  backup:
    description: Connections kept for backups.
    type: int
    default: 5
attributes:
  check_mode:
    description: It changes nothing in either mode.
    support: full
"""

EXAMPLES = r"""
- name: Compute the settings
  slipway.vps.postgres_plan:
    memory_share: 0.25
    apps: "{{ app.machine.apps }}"
  register: blog_plan
"""

RETURN = r"""
settings:
  description: Name to value, as in C(postgresql.conf), in the order in which they are best read.
  type: dict
  returned: always
rows:
  description: The same with the reason for each, C(setting), C(value) and C(why).
  type: list
  elements: dict
  returned: always
arithmetic:
  description: Who can ask for how many connections, and the sum.
  type: str
  returned: always
host:
  description: Memory and disk in bytes, and cores, as they were found.
  type: dict
  returned: always
"""

import os
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.slipway.vps.plugins.module_utils.postgres_settings import Client, Host, demand, plan


def this_host(folder: Path) -> Host:
    """Memory, cores and the disk of this host."""
    there = next(path for path in (folder, *folder.parents) if path.is_dir())
    disk = os.statvfs(there)
    return Host(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), os.cpu_count() or 1, disk.f_frsize * disk.f_blocks)


def main() -> None:
    text = {"type": "str"}
    whole = {"type": "int"}
    module = AnsibleModule(
        argument_spec={
            "max_connections": {**text, "default": "auto"},
            "memory_share": {"type": "float", "required": True},
            "storage": {**text, "default": "ssd", "choices": ["ssd", "hdd"]},
            "data_folder": {"type": "path", "default": "/var/lib/postgresql"},
            "custom": {"type": "dict", "default": {}},
            "apps": {"type": "list", "elements": "dict", "required": True},
            "administration": {**whole, "default": 5},
            "backup": {**whole, "default": 5},
        },
        supports_check_mode=True,
    )
    p: dict[str, Any] = module.params
    host = this_host(Path(p["data_folder"]))
    clients = [Client.of(app) for app in p["apps"] if app["database"].get("name", "?")]
    shares = demand(clients, host, administration=p["administration"], backup=p["backup"]) or []
    found = plan(host, shares, p["max_connections"], p["custom"], p["memory_share"], p["storage"])
    said = {
        "settings": {line.name: line.value for line in found.settings},
        "rows": [{"setting": line.name, "value": line.value, "why": line.why} for line in found.settings],
        "arithmetic": found.arithmetic,
        "host": host._asdict(),
    }
    if found.violations:
        reasons = "\n".join(f"- {reason.variable}: {reason.what}\n  fix: {reason.fix}" for reason in found.violations)
        module.fail_json(msg=f"Nothing of PostgreSQL was changed: its connections do not fit.\n{reasons}", **said)
    module.exit_json(changed=False, **said)


if __name__ == "__main__":
    main()
