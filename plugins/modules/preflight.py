# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""The machine before anything of it is changed."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: preflight
short_description: What is on a machine that is not Slipway's, before anything is changed
version_added: 0.1.0
description:
  - Looks at ports, users, groups, folders, units, files, sites of web servers, PostgreSQL, Redis, packet filters, the package manager,
    kernel, memory, disks and clock in one round trip, and changes nothing. Everything is found at once, each finding with its evidence
    and the ways out of it.
  - Does not fail on a finding. RV(refuses) says whether a run should stop, RV(message) what to tell the operator.
  - While the package manager is held by another process, or cloud-init is at work, its action plugin asks again until they are done or
    O(wait) is over, and says how long it has waited.
author:
  - The Slipway authors
options:
  machine:
    description: The machine as the contract resolves it (C(app.machine)), with the operator's answers in it.
    type: dict
    required: true
  web:
    description: Apps and their web server are on this machine; otherwise only a database.
    type: bool
    default: true
  now:
    description: The controller's clock, in seconds since 1970. The action plugin sets it, whatever is said.
    type: float
  wait:
    description: Seconds to wait for what ends by itself.
    type: int
    default: 0
  memory_min:
    description: MiB of memory and swap that a machine needs at least.
    type: int
    default: 400
  disk_min:
    description: MiB that must be free on each disk.
    type: int
    default: 1024
  inodes_min:
    description: Files that there must be room for on each disk.
    type: int
    default: 20000
  clock_max:
    description: Seconds by which the machine's clock may differ from the controller's.
    type: int
    default: 300
attributes:
  check_mode:
    description: Changes nothing in either mode.
    support: full
"""

EXAMPLES = r"""
- name: Look at the machine
  slipway.vps.preflight:
    machine: "{{ app.machine }}"
  register: blog_preflight
"""

RETURN = r"""
refuses:
  description: Something needs an answer, or cannot be.
  type: bool
  returned: always
message:
  description: What to tell the operator when it refuses; otherwise empty.
  type: str
  returned: always
notes:
  description: What to tell the operator when it does not. Answers that will be carried out, and what should be known.
  type: list
  elements: str
  returned: always
findings:
  description: >-
    All findings, each with C(id), C(what), C(evidence), C(choices) (answer to what it will do), C(lines) (answer to the line to write),
    C(fix), C(refuses) and C(answer).
  type: list
  elements: dict
  returned: always
busy:
  description: What is at work and ends by itself, each with C(id), C(what) and C(evidence).
  type: list
  elements: dict
  returned: always
facts:
  description: What was found, as data.
  type: dict
  returned: always
"""

from dataclasses import asdict
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.slipway.vps.plugins.module_utils.preflight.findings import judge
from ansible_collections.slipway.vps.plugins.module_utils.preflight.gather import gather
from ansible_collections.slipway.vps.plugins.module_utils.preflight.gather.host import Host
from ansible_collections.slipway.vps.plugins.module_utils.preflight.needs import Limits, Needs
from ansible_collections.slipway.vps.plugins.module_utils.preflight.report import as_data, notes, refusal, report


def main() -> None:
    whole = {"type": "int"}
    module = AnsibleModule(
        argument_spec={
            "machine": {"type": "dict", "required": True},
            "web": {"type": "bool", "default": True},
            "now": {"type": "float"},
            "wait": {**whole, "default": 0},
            "memory_min": {**whole, "default": 400},
            "disk_min": {**whole, "default": 1024},
            "inodes_min": {**whole, "default": 20000},
            "clock_max": {**whole, "default": 300},
        },
        supports_check_mode=True,
    )
    p: dict[str, Any] = module.params
    limits = Limits(p["memory_min"], p["disk_min"], p["inodes_min"], p["clock_max"])
    try:
        needs = Needs.of(p["machine"], p["web"], limits)
    except (KeyError, TypeError, ValueError) as error:
        module.fail_json(msg=f"machine is not the model's (app.machine): {type(error).__name__}: {error}")
    facts = gather(needs, Host(), p["now"])
    findings = judge(facts, needs)
    found = report(findings, needs.answers)
    module.exit_json(
        changed=False,
        refuses=found.refuses,
        message=refusal(found, facts.unknown) if found.refuses else "",
        notes=notes(found, facts.ours),
        findings=[as_data(finding, needs.answers.get(finding.id, "")) for finding in findings],
        busy=[asdict(busy) for busy in facts.busy],
        facts=asdict(facts),
    )


if __name__ == "__main__":
    main()
