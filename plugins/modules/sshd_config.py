# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""Change sshd's configuration as a whole, and only to one that sshd takes."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: sshd_config
short_description: Change sshd's configuration as a whole, and only to one that sshd takes
version_added: 0.1.0
description:
  - Writes a drop-in, makes the main file read the drop-ins first where it does not, and renews host keys that are missing or too short.
  - Copies the configuration, makes the changes in the copy, and has C(sshd -t) test all of it. What sshd refuses never reaches C(/etc/ssh).
  - Does not reload sshd, and does not prove that anybody comes in afterwards; see M(slipway.vps.guard).
author:
  - The Slipway authors
options:
  content:
    description: The drop-in, C(sshd_config.d/10-slipway.conf).
    type: str
    required: true
  host_keys:
    description: Types of host keys that must be there.
    type: list
    elements: str
    default: [ed25519, rsa]
  rsa_bits:
    description: An RSA host key with fewer bits is replaced; 0 keeps each.
    type: int
    default: 4096
  moduli:
    description: Whether to write C(moduli.slipway), the package's groups for Diffie-Hellman without those below 3072 bits.
    type: bool
    default: false
  root:
    description: sshd's folder.
    type: path
    default: /etc/ssh
attributes:
  check_mode:
    description: Tests the configuration all the same.
    support: full
  diff_mode:
    description: Shows each file before and after; of a key nothing.
    support: full
"""

EXAMPLES = r"""
- name: Refuse passwords
  slipway.vps.sshd_config:
    content: |
      PasswordAuthentication no
"""

RETURN = r"""
paths:
  description: What was changed.
  type: list
  elements: str
  returned: success
overruled:
  description: Keywords of the drop-in that another file overrules. C(keyword), what it means C(now), and C(where) that is said.
  type: list
  elements: dict
  returned: success
ports:
  description: Where sshd listens once it has read the new configuration.
  type: list
  elements: int
  returned: success
port_files:
  description: Files besides the drop-in that open a port.
  type: list
  elements: str
  returned: success
"""

import os
import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core.errors import SlipwayError
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core.files import write_atomically
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core.run import attempt, command
from ansible_collections.slipway.vps.plugins.module_utils.sshd import NAME, lines, overruled, safe_moduli, settings, with_include

SSHD = "/usr/sbin/sshd"
MAIN = "sshd_config"
MODULI = "moduli.slipway"
DROP_IN = f"sshd_config.d/{NAME}"
MODES = {MAIN: 0o600, MODULI: 0o644, DROP_IN: 0o600}


class Configuration:
    """sshd's folder, and what is to stand in it."""

    def __init__(self, root: Path, content: str, moduli: bool = False) -> None:
        self.root = root
        self.wanted = {MAIN: with_include(self._now(MAIN)), DROP_IN: content}
        if moduli and (root / "moduli").is_file():
            self.wanted[MODULI] = safe_moduli(self._now("moduli"))

    def _now(self, name: str) -> str:
        path = self.root / name
        return path.read_text(encoding="utf-8", errors="surrogateescape") if path.is_file() else ""

    def changes(self) -> dict[str, tuple[str, str]]:
        """Files that differ: what they say now, and what they shall say."""
        return {name: (self._now(name), text) for name, text in self.wanted.items() if self._now(name) != text}

    def judge(self) -> dict[str, list[str]]:
        """What the new configuration means in the end; SlipwayError with sshd's words when it takes none of it."""
        with tempfile.TemporaryDirectory(prefix="slipway-sshd-") as scratch:
            copy = Path(scratch)
            (copy / "sshd_config.d").mkdir()
            for path in self.drop_ins():
                shutil.copy(path, copy / "sshd_config.d")
            (copy / DROP_IN).write_text(self.wanted[DROP_IN], encoding="utf-8", errors="surrogateescape")
            # sshd itself reads from the copy's folder, too.
            there = re.compile(rf"(?im)^(\s*Include\s.*?)(?:{re.escape(str(self.root))}/)?sshd_config\.d/")
            main = there.sub(lambda found: f"{found[1]}{copy}/sshd_config.d/", self.wanted[MAIN])
            (copy / MAIN).write_text(main, encoding="utf-8", errors="surrogateescape")
            for verb in ("-t", "-T"):
                status, said = attempt([SSHD, verb, "-f", str(copy / MAIN)])
                if status != 0:
                    raise SlipwayError(said.replace(str(copy), str(self.root)).strip())
            return settings(said)

    def drop_ins(self) -> list[Path]:
        """In the order in which sshd reads them."""
        return [path for path in sorted((self.root / "sshd_config.d").glob("*.conf")) if path.is_file()]

    def who_says(self, keyword: str) -> list[str]:
        """Files besides ours that say something of a keyword."""
        files = [path for path in (self.root / MAIN, *self.drop_ins()) if path.name != NAME and path.is_file()]
        return [str(path) for path in files if keyword in {word for word, _ in lines(path.read_text(errors="replace"))}]

    def write(self) -> None:
        """All that differs; the drop-in last."""
        (self.root / "sshd_config.d").mkdir(mode=0o755, exist_ok=True)
        for name in sorted(self.changes(), key=lambda name: name == DROP_IN):
            write_atomically(self.root / name, self.wanted[name], MODES[name])


class HostKeys:
    """The host's own keys."""

    def __init__(self, root: Path, types: Sequence[str], rsa_bits: int) -> None:
        self.root, self.types, self.rsa_bits = root, types, rsa_bits

    def path(self, kind: str) -> Path:
        return self.root / f"ssh_host_{kind}_key"

    def lacking(self) -> list[str]:
        """Types without a key, or with one that is too short."""
        return [kind for kind in self.types if not self.path(kind).is_file() or (kind == "rsa" and self._bits(kind) < self.rsa_bits)]

    def _bits(self, kind: str) -> int:
        status, said = attempt(["ssh-keygen", "-l", "-f", str(self.path(kind))])
        found = re.match(r"(\d+) ", said)
        # One that nobody can read is left to sshd.
        return int(found[1]) if status == 0 and found else 2**16

    def make(self, kind: str) -> None:
        """A new key in the place of the old one; complete before it is there."""
        with tempfile.TemporaryDirectory(dir=self.root, prefix=".partial-") as scratch:
            new = Path(scratch, "key")
            bits = ["-b", str(self.rsa_bits or 4096)] if kind == "rsa" else []
            command("ssh-keygen", "-q", "-t", kind, *bits, "-N", "", "-C", f"root@{os.uname().nodename}", "-f", str(new))
            Path(f"{new}.pub").chmod(0o644)
            Path(f"{new}.pub").rename(f"{self.path(kind)}.pub")
            new.rename(self.path(kind))


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "content": {"type": "str", "required": True},
            "host_keys": {"type": "list", "elements": "str", "default": ["ed25519", "rsa"], "no_log": False},
            "rsa_bits": {"type": "int", "default": 4096},
            "moduli": {"type": "bool", "default": False},
            "root": {"type": "path", "default": "/etc/ssh"},
        },
        supports_check_mode=True,
    )
    p: dict[str, Any] = module.params
    root = Path(p["root"])
    configuration, keys = Configuration(root, p["content"], p["moduli"]), HostKeys(root, p["host_keys"], p["rsa_bits"])
    try:
        effective = configuration.judge()
        changes, lacking = configuration.changes(), keys.lacking()
        if not module.check_mode:
            for kind in lacking:
                keys.make(kind)
            configuration.write()
    except (SlipwayError, OSError) as error:
        module.fail_json(
            msg=f"Nothing was changed: sshd refuses the new configuration.\n{error}\n"
            "Next: correct the file that this names, then run the same command again."
        )
    diff = [
        {"before_header": str(root / name), "after_header": str(root / name), "before": before, "after": after}
        for name, (before, after) in changes.items()
        if name != MODULI
    ]
    module.exit_json(
        changed=bool(changes or lacking),
        paths=sorted([str(root / name) for name in changes] + [str(keys.path(kind)) for kind in lacking]),
        overruled=[
            {"keyword": keyword, "now": now, "where": configuration.who_says(keyword)}
            for keyword, now in overruled(p["content"], effective).items()
        ],
        ports=sorted({int(port) for port in effective.get("port", ["22"])}),
        port_files=configuration.who_says("port"),
        diff=diff,
    )


if __name__ == "__main__":
    main()
