# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""The answer replace, carried out: what others have gives way just before something of ours takes its place."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: preflight_replace
short_description: Stop, disable or set aside what the operator wants replaced
version_added: 0.1.0
description:
  - Carries out the answer C(replace) of C(preflight_answers), for what the roles cannot write over. What is found then is what gives
    way, and a second run finds nothing.
  - Removes no file. A unit that is disabled keeps its file, its configuration and its data.
author:
  - The Slipway authors
options:
  ports:
    description: >-
      TCP ports. The units that hold them are stopped and disabled, with the sockets that would start them again. A container, a session,
      and what an operator may have come in by (sshd) are not.
    type: list
    elements: int
    default: []
  keep:
    description: Units that may have them.
    type: list
    elements: str
    default: []
  units:
    description: Units that are stopped and disabled, where they are.
    type: list
    elements: str
    default: []
  stems:
    description: >-
      Names of units before C(@) or the suffix. Those in C(/etc/systemd/system) that are not Slipway's are stopped and disabled, and their
      files move to C(*.replaced).
    type: list
    elements: str
    default: []
  rules:
    description: TCP ports. Rules of the kernel's INPUT chains that refuse everybody one of them before ufw is asked are removed.
    type: list
    elements: int
    default: []
attributes:
  check_mode:
    description: Reports what would give way.
    support: full
"""

EXAMPLES = r"""
- name: Stop the web server that nginx takes the place of
  slipway.vps.preflight_replace:
    ports: [80, 443]
    keep: [nginx.service]
"""

RETURN = r"""
replaced:
  description: What gave way, in words.
  type: list
  elements: str
  returned: always
"""

import shlex
from collections.abc import Iterator
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.slipway.vps.plugins.module_utils.packet_filter import refusing
from ansible_collections.slipway.vps.plugins.module_utils.preflight.findings.ports import stoppable
from ansible_collections.slipway.vps.plugins.module_utils.preflight.gather import names, packages, sockets
from ansible_collections.slipway.vps.plugins.module_utils.preflight.gather.host import Host
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core.errors import SlipwayError
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core.files import free_name


class Replacement:
    """What others have on a host, and what of it gave way."""

    def __init__(self, host: Host, check: bool) -> None:
        self.host, self.check = host, check
        self.replaced: list[str] = []

    def do(self, *words: str) -> None:
        """Run what changes something; an error with the program's words when it fails."""
        status, said = (0, "") if self.check else self.host.run(*words)
        if status != 0:
            raise SlipwayError(f"{shlex.join(words)} exited {status}: {said.strip()}")

    def stop(self, unit: str) -> None:
        """Stop and disable a unit, its sockets first: they would start it again."""
        triggers = self.host.output("systemctl", "show", "--property=TriggeredBy", "--value", unit).split()
        for one in (*triggers, unit):
            self.do("systemctl", "disable", "--now", one)
            self.replaced.append(f"{one} is stopped and disabled")

    def free(self, ports: list[int], keep: list[str]) -> None:
        """Free ports of whoever may be stopped."""
        held = {one.unit: one for one in sockets.listeners(self.host, ports) if one.unit not in keep}
        for unit, listener in held.items():
            if not stoppable(listener):
                who = f"{listener.process or 'an unknown process'} (pid {listener.pid}, {unit or 'no unit'})"
                what = f"port {listener.port} is held by {who}, which cannot be stopped for you"
                raise SlipwayError(f"{what}: ansible-playbook slipway.vps.preflight says what to do")
            self.stop(unit)

    def stop_where_they_are(self, units: list[str]) -> None:
        for unit in units:
            said = self.host.output("systemctl", "show", "--property=LoadState,ActiveState,UnitFileState", unit)
            state = dict(line.partition("=")[::2] for line in said.splitlines())
            there = state.get("LoadState") not in (None, "not-found", "masked")
            if there and (state.get("ActiveState") not in ("inactive", "failed") or state.get("UnitFileState") == "enabled"):
                self.stop(unit)

    def set_aside(self, stems: list[str]) -> None:
        """Stop units of others, and rename their files so that systemd does not read them."""
        found = [unit for unit in names.units(self.host, stems) if not unit.ours and unit.path.startswith("/etc/systemd/system/")]
        brought = packages.owners(self.host, [unit.path for unit in found])
        for unit in found:
            name = Path(unit.path).name
            if unit.path in brought:
                raise SlipwayError(f"{unit.path} belongs to the package {brought[unit.path]}: choose another name")
            if self.host.path(unit.path).is_dir():
                # Drop-ins: there is nothing to stop.
                pass
            elif "@." in name:
                self.do("systemctl", "stop", name.replace("@.", "@*."))
            elif self.host.path(unit.path).is_symlink():
                # Masked, or an alias of another unit: the link is all there is.
                self.do("systemctl", "stop", name)
            else:
                self.do("systemctl", "disable", "--now", name)
            target = free_name(self.host.path(unit.path).with_name(f"{name}.replaced"))
            if not self.check:
                self.host.path(unit.path).rename(target)
            self.replaced.append(f"{unit.path} moves to {target.name}")
        if found:
            self.do("systemctl", "daemon-reload")

    def open(self, ports: list[int]) -> None:
        """Remove rules that stand before ufw's."""
        for program, rule in self.in_front(ports):
            self.do(program, "--wait", "-D", "INPUT", *rule)
            self.replaced.append(f"{program} -A INPUT {shlex.join(rule)} is removed")

    def in_front(self, ports: list[int]) -> Iterator[tuple[str, list[str]]]:
        for program in ("iptables", "ip6tables") if ports else ():
            yield from ((program, rule) for rule in refusing(self.host.output(f"{program}-save"), ports))


def main() -> None:
    numbers = {"type": "list", "elements": "int", "default": []}
    texts = {"type": "list", "elements": "str", "default": []}
    module = AnsibleModule(
        argument_spec={"ports": numbers, "keep": texts, "units": texts, "stems": texts, "rules": numbers}, supports_check_mode=True
    )
    p = module.params
    replacement = Replacement(Host(), module.check_mode)
    try:
        replacement.free(p["ports"], p["keep"])
        replacement.stop_where_they_are(p["units"])
        replacement.set_aside(p["stems"])
        replacement.open(p["rules"])
    except (OSError, SlipwayError) as error:
        module.fail_json(msg=str(error), changed=bool(replacement.replaced), replaced=replacement.replaced)
    module.exit_json(changed=bool(replacement.replaced), replaced=replacement.replaced)


if __name__ == "__main__":
    main()
