# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""A swap file where a machine has none."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: swap
short_description: A swap file where a machine has none
version_added: 0.1.0
description:
  - Makes a swap file and the unit of systemd that uses it, sized by the machine's memory and its free disk. Swap that is there already,
    a container and a file system that takes none are left alone, and said.
  - A file that it has made stays as it is, also when the size that would be chosen changes.
author:
  - The Slipway authors
options:
  size:
    description: V(auto), V(none) (which leaves a file that was made), or a size as V(2G).
    type: str
    default: auto
  path:
    description: The swap file, at the top of its file system.
    type: path
    default: /swapfile
attributes:
  check_mode:
    description: Reports what would change.
    support: full
"""

EXAMPLES = r"""
- name: Let a small machine breathe
  slipway.vps.swap:
    size: auto
"""

RETURN = r"""
size:
  description: Bytes of the swap file; 0 where there is none.
  type: int
  returned: success
why:
  description: Why there is none.
  type: str
  returned: success
"""

import os
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core.errors import SlipwayError
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core.files import write_atomically
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core.run import CommandError, attempt, command
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core.units import reload_units
from ansible_collections.slipway.vps.plugins.module_utils.swap import Host, plan

UNITS = Path("/etc/systemd/system")
UNIT = """\
# Ansible managed
# slipway:base
[Unit]
Description=Swap file (Slipway)

[Swap]
What={path}

[Install]
WantedBy=swap.target
"""


class Swap:
    """The swap file of a machine."""

    def __init__(self, path: Path, units: Path = UNITS, proc: Path = Path("/proc")) -> None:
        self.path, self.units, self.proc = path, units, proc

    @property
    def unit(self) -> Path:
        """systemd finds a swap's unit by its path."""
        return self.units / f"{str(self.path).strip('/').replace('-', chr(92) + 'x2d').replace('/', '-')}.swap"

    def active(self) -> list[str]:
        return [line.split()[0] for line in (self.proc / "swaps").read_text().splitlines()[1:] if line.split()]

    def host(self) -> Host:
        memory = next(int(line.split()[1]) for line in (self.proc / "meminfo").read_text().splitlines() if line.startswith("MemTotal:"))
        disk = os.statvfs(self.path.parent)
        status, container = attempt(["systemd-detect-virt", "--container"])
        others = self.active() + (
            [f"{self.path}, which is not in use"] if self.path.exists() and str(self.path) not in self.active() else []
        )
        return Host(
            memory * 1024, disk.f_bavail * disk.f_frsize, self._file_system(), container.strip() if status == 0 else "", tuple(others)
        )

    def _file_system(self) -> str:
        """The type of what the file's folder is on: of mounts that hold it the deepest, of those the last."""
        mounts = [line.split()[1:3] for line in (self.proc / "mounts").read_text().splitlines()]
        holding = [
            (len(place), kind) for place, kind in mounts if f"{self.path.parent}/".replace("//", "/").startswith(f"{place.rstrip('/')}/")
        ]
        deepest = max((length for length, _ in holding), default=0)
        return next((kind for length, kind in reversed(holding) if length == deepest), "")

    def make(self, size: int) -> None:
        """The file, complete before it has its name, and its unit; nothing of it is left where the kernel takes none."""
        partial = self.path.with_name(f".partial-{self.path.name}")
        partial.unlink(missing_ok=True)
        try:
            handle = os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
            try:
                os.posix_fallocate(handle, 0, size)
            finally:
                os.close(handle)
            command("mkswap", str(partial))
            partial.rename(self.path)
            write_atomically(self.unit, UNIT.format(path=self.path), 0o644)
            reload_units()
            command("systemctl", "enable", "--now", self.unit.name)
        except (OSError, CommandError):
            self.remove()
            partial.unlink(missing_ok=True)
            raise

    def remove(self) -> None:
        attempt(["systemctl", "disable", "--now", self.unit.name])
        self.unit.unlink(missing_ok=True)
        self.path.unlink(missing_ok=True)
        attempt(["systemctl", "daemon-reload"])


def main() -> None:
    module = AnsibleModule(
        argument_spec={"size": {"type": "str", "default": "auto"}, "path": {"type": "path", "default": "/swapfile"}},
        supports_check_mode=True,
    )
    swap = Swap(Path(module.params["path"]))
    try:
        if swap.unit.exists() and swap.path.exists():
            if str(swap.path) not in swap.active() and not module.check_mode:
                attempt(["systemctl", "start", swap.unit.name])
            module.exit_json(changed=False, size=swap.path.stat().st_size, why="")
        found = plan(swap.host(), module.params["size"])
        if found.size and not module.check_mode:
            try:
                swap.make(found.size)
            except (SlipwayError, OSError) as error:
                module.exit_json(changed=False, size=0, why=f"the kernel takes none here: {error}")
        module.exit_json(changed=bool(found.size), size=found.size, why=found.why)
    except (OSError, ValueError) as error:
        module.fail_json(msg=f"base_swap: {error}")


if __name__ == "__main__":
    main()
