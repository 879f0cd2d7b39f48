# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""Whether a layer is as the last run left it."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: seal
short_description: Whether a layer is as the last run left it
version_added: 0.2.0
description:
  - "C(checked): asks the host, in one round trip, whether what the layer was given and everything that its tasks manage are as the last
    run left them. Then the layer has nothing to do."
  - "C(recorded): looks at everything that the tasks of this run manage, and keeps it on the host in C(/var/lib/slipway/seals), for root
    alone."
  - "C(unfinished): what the layer is about is not done yet, for example since the CA refused. It is not recorded, so the next run tries
    again. The action plugin does that: the host has no part in it."
  - What the tasks manage is taken from their own arguments and results by the callback plugin P(slipway.vps.seal#callback). Where that is
    not switched on (C(callbacks_enabled) in C(ansible.cfg)) nothing is recorded, and every run does everything.
  - Only a run of the whole layer is recorded, without C(--check), C(--skip-tags), C(--start-at-task) and tags of parts.
author:
  - The Slipway authors
options:
  layer:
    description: Name of the layer. Needed unless O(state=unfinished).
    type: str
  app:
    description: >-
      Name of the app. Each app has records of its own; the machine's part is in that of the app that leads. Needed unless
      O(state=unfinished).
    type: str
  state:
    description: What to do.
    type: str
    choices: [checked, recorded, unfinished]
    default: checked
  full:
    description: "C(checked): do everything, whatever the record says."
    type: bool
    default: false
  inputs:
    description: What the layer is given, as the contract has it, to a digest of each part. The action plugin adds the collection itself.
    type: dict
    default: {}
  tasks:
    description: What the tasks manage. The action plugin sets it, whatever is said.
    type: list
    elements: dict
    default: []
  folder:
    description: Where records are kept.
    type: path
    default: /var/lib/slipway/seals
  others:
    description: >-
      C(checked): layers that the run comes to later, which are asked about in the same round trip.
    type: list
    elements: str
    default: []
  found:
    description: "C(recorded): what this run has found to differ. The action plugin sets it, whatever is said."
    type: list
    elements: str
    default: []
  skipped:
    description: Tasks that had nothing to do. The action plugin sets it, whatever is said.
    type: list
    elements: str
    default: []
attributes:
  check_mode:
    description: Nothing is recorded.
    support: full
"""

EXAMPLES = r"""
- name: Ask whether the layer is as the last run left it
  slipway.vps.seal:
    layer: edge
    app: "{{ app.name }}"
    inputs: "{{ app_secret.inputs }}"
  register: blog_edge

# Where it is, nothing has to be done: `ansible.builtin.meta: end_host` with `when: blog_edge.intact`. Otherwise after the last task:
- name: Keep what the layer left
  slipway.vps.seal:
    layer: edge
    app: "{{ app.name }}"
    inputs: "{{ app_secret.inputs }}"
    state: recorded
"""

RETURN = r"""
intact:
  description: Whether the layer has nothing to do.
  type: bool
  returned: state is checked
differences:
  description: What is no longer as it was, each in a sentence. Empty where nothing was recorded.
  type: list
  elements: str
  returned: state is checked
at:
  description: When the layer was recorded, ISO 8601 in UTC; empty where it was not.
  type: str
  returned: state is checked
others:
  description: The same of the layers in O(others), by name; no task has to ask for them again.
  type: dict
  returned: state is checked
unmended:
  description: >-
    What this run has found to differ, while it was given the same, and that no task of it changed back. From now on it counts as it is.
  type: list
  elements: str
  returned: state is recorded
things:
  description: How many things are recorded.
  type: int
  returned: always
"""

import subprocess
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.slipway.vps.plugins.module_utils.slipway.seals.machine import facts
from ansible_collections.slipway.vps.plugins.module_utils.slipway.seals.observe import Thing
from ansible_collections.slipway.vps.plugins.module_utils.slipway.seals.record import FOLDER, Task, read, take


def checked(layer: str, app: str, inputs: dict[str, str], folder: Path) -> dict[str, Any]:
    """Whether a layer is as it was left."""
    former = read(layer, app, folder)
    if former is None:
        return {"intact": False, "differences": [], "at": "", "things": 0}
    found = former.differs(inputs)
    return {"intact": not found, "differences": found, "at": former.at, "things": len(former.states)}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "layer": {"type": "str"},
            "app": {"type": "str"},
            "state": {"type": "str", "choices": ["checked", "recorded", "unfinished"], "default": "checked"},
            "full": {"type": "bool", "default": False},
            # Digests, of secrets among them.
            "inputs": {"type": "dict", "default": {}, "no_log": True},
            "folder": {"type": "path", "default": str(FOLDER)},
            "tasks": {"type": "list", "elements": "dict", "default": []},
            **{name: {"type": "list", "elements": "str", "default": []} for name in ("found", "others")},
            "skipped": {"type": "list", "elements": "str", "default": []},
        },
        required_if=[("state", state, ("layer", "app")) for state in ("checked", "recorded")],
        supports_check_mode=True,
    )
    given = module.params
    inputs, folder = {**given["inputs"], **facts()}, Path(given["folder"])
    try:
        if given["state"] == "checked":
            found = {layer: checked(layer, given["app"], inputs, folder) for layer in (given["layer"], *given["others"])}
            module.exit_json(changed=False, **found.pop(given["layer"]), others=found)
        former = read(given["layer"], given["app"], folder)
        tasks = [Task(task["where"], [Thing(*pair) for pair in task["things"]], bool(task.get("hidden"))) for task in given["tasks"]]
        record = take(given["layer"], given["app"], inputs, tasks, given["skipped"], former, given["found"])
        if not module.check_mode:
            record.write(folder)
    except (OSError, subprocess.TimeoutExpired) as error:
        module.fail_json(msg=f"This host could not be looked at: {error}. To run the layer whatever was recorded: -e full=true")
    unmended = [str(one.difference) for one in record.accepted if one.at == record.at and not one.by]
    # What is kept is a note of how things are, and no change of them.
    module.exit_json(changed=False, things=len(record.states), unmended=unmended)


if __name__ == "__main__":
    main()
