# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""All that can be seen of an app and its machine in about three seconds."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: state
short_description: All that can be seen of an app and its machine in about three seconds
version_added: 0.2.0
description:
  - Looks at an app, its releases, certificate, backups and units, and at the machine it is on. Changes nothing, and judges nothing
    beyond what C(slipway <app> status) says. The same as C(slipway <app> state) on the host.
  - It reads no secret and no value of the app's environment. The reasons of failures are what programs have said.
author:
  - The Slipway authors
options:
  app:
    description: The app as the contract resolves it, without secrets.
    type: dict
    required: true
attributes:
  check_mode:
    description: Changes nothing in either mode.
    support: full
"""

EXAMPLES = r"""
- name: Look at the app and its machine
  slipway.vps.state:
    app: "{{ app }}"
  register: __state
"""

RETURN = r"""
state:
  description:
    - The state document. Times are ISO 8601 in UTC, sizes are bytes. What could not be seen is null, and C(gaps) says why.
  type: dict
  returned: always
  contains:
    format:
      description: Version of the document; another number means that a field has gone, or means something else.
      type: int
    taken_at:
      description: When it was looked at.
      type: str
    seconds:
      description: How long that took.
      type: float
    machine:
      description:
        - C(name), C(system), C(kernel), C(architecture), C(cpus), C(booted_at), C(processes), C(clock_synchronized); C(load) of 1, 5 and
          15 minutes.
        - C(memory) has C(total), C(available), C(swap_total), C(swap_free), and C(pressure), the percentage of the last minute in which
          somebody waited for memory.
        - C(disks) has for each file system which places it C(holds), C(total), C(free), C(inodes) and C(inodes_free).
        - C(updates) has how many packages are C(pending) and how many of them for C(security), the C(names) of those, and when apt
          C(looked_at) it; C(reboot) has C(required) and C(packages).
        - C(ports) has C(protocol), C(port) and C(process) of what listens for others than the machine itself; C(exposure) what
          C(systemd-analyze security) says of nginx and the database engines, from 0 to 10.
      type: dict
    apps:
      description:
        - By the name of the app its C(domain), C(names), C(prefix), and C(sandbox) with C(level), C(network) and what is C(allowed).
        - C(status) has C(state), the worst of its C(subjects), each with C(subject), C(state), C(since), C(evidence) and C(fix).
        - C(releases) has C(live), C(closed) (visitors get the maintenance page), and C(all), newest first, each with C(id), C(state),
          C(live), C(version), C(commit), C(schema), C(created_at), C(created_by), C(live_at), C(on_trial), C(failure), C(restore_point),
          C(rolled_back_from) and C(bytes).
        - C(certificate) has C(names), C(issuer), C(not_before), C(not_after), C(lifetime_days), C(left_days), C(left_share), C(renew_at),
          C(alarm_at), C(source), C(sha256) and whether it is C(served); C(protocols) are the versions of TLS that are spoken.
        - C(backups) has C(all), newest first, each with C(name), C(label), C(taken_at), C(bytes), C(duration_seconds), C(whole), C(tables),
          C(rows) and its C(proof) (C(good), C(at), C(restore_seconds), C(rows), C(reason)); C(damaged), C(failures), C(proves),
          C(keep_days), C(offsite) and C(offsite_at).
        - C(units) of the live release each have C(unit), C(state), C(since), C(memory), C(cpu_seconds), C(tasks), C(restarts) and
          C(exposure); C(slice) has what they use together, and their limits C(memory_max) and C(tasks_max); C(database) has C(bytes).
      type: dict
    gaps:
      description: What could not be seen, C(machine's field) or C(app.field), and why.
      type: dict
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.slipway.vps.plugins.module_utils.slipway.app import App
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core.errors import SlipwayError
from ansible_collections.slipway.vps.plugins.module_utils.slipway.state import document


def main() -> None:
    module = AnsibleModule(argument_spec={"app": {"type": "dict", "required": True}}, supports_check_mode=True)
    try:
        app = App.of(module.params["app"])
    except SlipwayError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, state=document([app]))


if __name__ == "__main__":
    main()
