# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""Settings of the kernel, as far as this host lets them be changed."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: sysctl
short_description: Settings of the kernel, as far as this host lets them be changed
version_added: 0.1.0
description:
  - Writes a file for sysctl.d with the settings that this kernel has, and sets those that differ.
  - What a file of the operator says (C(/etc/sysctl.conf), C(/etc/sysctl.d)) is left to that file. What the kernel refuses to change is
    returned and is no failure; of a container only the network is its own.
author:
  - The Slipway authors
options:
  path:
    description: The file.
    type: path
    required: true
  settings:
    description: The settings, in order.
    type: list
    elements: dict
    required: true
    suboptions:
      name: {description: Name of the setting., type: str, required: true}
      value: {description: Its value., type: str, required: true}
      why: {description: Its reason; stands above it in the file., type: str, default: ""}
  head:
    description: First lines of the file, without their C(#).
    type: list
    elements: str
    default: []
attributes:
  check_mode:
    description: Reports what would change.
    support: full
  diff_mode:
    description: Shows the file before and after.
    support: full
"""

EXAMPLES = r"""
- name: Keep core dumps off
  slipway.vps.sysctl:
    path: /etc/sysctl.d/60-blog.conf
    settings:
      - {name: fs.suid_dumpable, value: "0", why: no dump of a program with other rights}
"""

RETURN = r"""
set:
  description: Names of the settings that were set.
  type: list
  elements: str
  returned: success
absent:
  description: Those that this kernel does not have.
  type: list
  elements: str
  returned: success
theirs:
  description: Those that a file of the operator says, with the file.
  type: dict
  returned: success
refused:
  description: Those that cannot be changed on this host, with the reason.
  type: dict
  returned: success
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core.files import write_atomically
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core.run import attempt
from ansible_collections.slipway.vps.plugins.module_utils.sysctl import Kernel, rendered


def main() -> None:
    setting = {"name": {"type": "str", "required": True}, "value": {"type": "str", "required": True}, "why": {"type": "str", "default": ""}}
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "settings": {"type": "list", "elements": "dict", "required": True, "options": setting},
            "head": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    path, settings = Path(module.params["path"]), module.params["settings"]
    kernel = Kernel()
    status, said = attempt(["systemd-detect-virt", "--container"])
    container = said.strip() if status == 0 else ""
    try:
        found = kernel.look({one["name"]: one["value"] for one in settings}, path)
        text = rendered(found, {one["name"]: one["why"] for one in settings}, module.params["head"])
        before = path.read_text(encoding="utf-8") if path.is_file() else ""
        if container:
            for name in [name for name in found.differ if not kernel.network(name)]:
                found.refused[name] = f"this is a container ({container})"
                del found.differ[name]
        done = list(found.differ)
        if not module.check_mode:
            if before != text:
                write_atomically(path, text, 0o644)
            done = kernel.apply(found)
    except OSError as error:
        module.fail_json(msg=f"{error.filename or path}: {error.strerror}")
    module.exit_json(
        changed=before != text or bool(done),
        **{"set": done, "absent": found.absent, "theirs": found.theirs, "refused": found.refused},
        diff={"before_header": str(path), "after_header": str(path), "before": before, "after": text},
    )


if __name__ == "__main__":
    main()
