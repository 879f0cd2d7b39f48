# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""What is no longer as the last run left it, and by whom; or let it count as it is."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: drift
short_description: What is no longer as the last run left it, and by whom
version_added: 0.2.0
description:
  - "C(shown): compares everything that the layers of an app manage with how the last run left it (M(slipway.vps.seal)), and says since when
    it differs, and who did it where the host's journal, or the logs of apt and dpkg, know. The same as C(slipway <app> drift) on the host."
  - "C(adopted): besides, what differs counts as it is from now on, in the record alone: a run that has nothing else to do in that layer
    leaves it. A run that does the layer (another input, another version of the collection, C(-e full=true)) puts it back."
  - Never adopted are units that have failed, or are just starting or ending.
author:
  - The Slipway authors
options:
  app:
    description: Name of the app.
    type: str
    required: true
  state:
    description: What to do.
    type: str
    choices: [shown, adopted]
    default: shown
  things:
    description: "C(adopted): names of the things, or kind and name as C(file /etc/motd); all that differ, unless given."
    type: list
    elements: str
    default: []
  inputs:
    description: What the layers are given, as the contract has it, to a digest of each part. The action plugin adds the collection itself.
    type: dict
    default: {}
  folder:
    description: Where records are kept.
    type: path
    default: /var/lib/slipway/seals
attributes:
  check_mode:
    description: Says what would be adopted, and adopts nothing.
    support: full
"""

EXAMPLES = r"""
- name: Show what was changed by hand
  slipway.vps.drift:
    app: blog

- name: Let the message of the day be as somebody has made it
  slipway.vps.drift:
    app: blog
    state: adopted
    things: [/etc/motd.d/slipway]
"""

RETURN = r"""
layers:
  description: >-
    Each layer with C(recorded) (when; null where there is nothing to compare with), C(changes) (each with C(kind), C(name), C(what),
    C(text), C(since), C(cause), C(diff) and C(inventory)) and C(accepted) (what counts as it is, since when, and by whom).
  type: list
  elements: dict
  returned: always
differing:
  description: Names of the layers where something differs.
  type: list
  elements: str
  returned: always
rows:
  description: A row of a table for each difference, one for all of the firewall's, with C(layer), C(what), C(since) and C(by).
  type: list
  elements: dict
  returned: always
given_anew:
  description: By layer, the inputs that are others than in the last run. The next run does these layers, and puts back what is adopted.
  type: dict
  returned: always
adopted:
  description: What counts as it is from now on, each in a sentence.
  type: list
  elements: str
  returned: always
refused:
  description: What is not adopted, each with the reason.
  type: list
  elements: str
  returned: always
named:
  description: Those of O(things) that differ here.
  type: list
  elements: str
  returned: always
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core.errors import SlipwayError
from ansible_collections.slipway.vps.plugins.module_utils.slipway.drift import Adoption, Change, adopt, alike, called, look
from ansible_collections.slipway.vps.plugins.module_utils.slipway.seals.machine import facts
from ansible_collections.slipway.vps.plugins.module_utils.slipway.seals.machine import session as login
from ansible_collections.slipway.vps.plugins.module_utils.slipway.seals.record import FOLDER


def rows(layer: str, same: list[Change]) -> list[dict[str, str]]:
    """What differs of one thing, in the table. A rule of ufw is one row: what ufw itself says of it, before the kernel's chains."""
    lines = [str(change.difference) for change in same]
    if same[0].difference.thing.kind == "firewall" and len(lines) > 1:
        first = min(lines, key=lambda line: not line.startswith("firewall: ufw: "))
        lines = [f"{first} (and {len(lines) - 1} more)"]
    return [{"layer": layer, "what": line, "since": same[0].since or "unknown", "by": str(same[0].cause)} for line in lines]


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "app": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["shown", "adopted"], "default": "shown"},
            "things": {"type": "list", "elements": "str", "default": []},
            # Digests, of secrets among them.
            "inputs": {"type": "dict", "default": {}, "no_log": True},
            "folder": {"type": "path", "default": str(FOLDER)},
        },
        supports_check_mode=True,
    )
    given = module.params
    wanted, inputs, folder = given["things"], {**given["inputs"], **facts()}, Path(given["folder"])
    adoption = Adoption([], [], {})
    try:
        layers = look(given["app"], folder)
        if given["state"] == "adopted":
            adoption = adopt(layers, wanted, login() or "root")
        for record in [] if module.check_mode else adoption.records:
            record.write(folder)
    except (SlipwayError, OSError) as error:
        module.fail_json(msg=str(error))
    groups = [(layer.name, same) for layer in layers for same in alike(layer.changes)]
    differ = {name for _, (change, *_) in groups for name in called(change.difference.thing)}
    module.exit_json(
        changed=bool(adoption.records),
        layers=[layer.data() for layer in layers],
        differing=[layer.name for layer in layers if layer.changes],
        rows=[row for layer, same in groups for row in rows(layer, same)],
        given_anew={layer.name: layer.record.changed(inputs) for layer in layers if layer.record and layer.record.changed(inputs)},
        adopted=[str(one) for one in adoption.adopted],
        refused=[f"{thing}: {why}" for thing, why in adoption.refused.items()],
        named=[name for name in wanted if name in differ],
    )


if __name__ == "__main__":
    main()
