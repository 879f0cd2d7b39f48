# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""The program `slipway` on the host."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: program
short_description: The program C(slipway) on the host
version_added: 0.1.0
description:
  - Installs the program that keeps certificates and backups, and answers for the apps of a machine, in one round trip. Each version
    has a folder of its own, C(/usr/local/lib/slipway/<version>); C(current) is a link to the one in use, and C(/usr/local/bin/slipway)
    leads there. The version before stays, so that a backup or a renewal that is under way keeps its code.
  - A new version is tried by the host's own Python before the link moves.
  - Removes the two programs of earlier collections (C(certificate.py), C(backup.py)) once no unit, cron file or hook names them.
author:
  - The Slipway authors
options:
  version:
    description: Name of the version. The action plugin sets it, whatever is said.
    type: str
  archive:
    description: A zip of the program as base64. The action plugin sets it, whatever is said.
    type: str
  keep:
    description: How many versions stay, the one in use among them.
    type: int
    default: 2
attributes:
  check_mode:
    description: Reports what would change.
    support: full
"""

EXAMPLES = r"""
- name: Install the program
  slipway.vps.program:
"""

RETURN = r"""
version:
  description: The version in use.
  type: str
  returned: always
removed:
  description: Former versions, and programs of earlier collections, that were removed.
  type: list
  elements: str
  returned: always
"""

import base64
import contextlib
import io
import os
import shutil
import tempfile
import zipfile
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core.errors import SlipwayError
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core.files import relink, remove, sync_tree
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core.run import attempt

LIBRARY = Path("/usr/local/lib/slipway")
LAUNCHER = Path("/usr/local/bin/slipway")
#: It finds its package beside itself, behind all links: a run keeps the version that it began with. -I: nothing of the caller's
#: environment or folder is imported.
PROGRAM = """#!/usr/bin/python3 -I
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
from slipway.cli import main

sys.exit(main())
"""
#: Programs of earlier collections, and the word by which others call them.
FORMER = {"certificate.py": "certificate.py", "backup.py": "backup.py", "slipway_backup": "backup.py"}
#: Where a unit, a schedule or a hook of an app may still name them: each app of the machine is rewritten by its own run.
CALLERS = ("/etc/systemd/system/*.service", "/etc/cron.d/*", "/etc/letsencrypt/renewal-hooks/deploy/*")


class Program:
    """The program on this host."""

    def __init__(self, library: Path = LIBRARY, launcher: Path = LAUNCHER, root: Path = Path("/")) -> None:
        self.library, self.launcher, self.root = library, launcher, root
        self.current = library / "current"

    def complete(self, version: str) -> bool:
        """Whether this version is there and in use."""
        entry = self.library / version / "bin/slipway"
        return (
            entry.is_file()
            and self.current.is_symlink()
            and str(self.current.readlink()) == version
            and self.launcher.is_symlink()
            and self.launcher.readlink() == self.current / "bin/slipway"
        )

    def install(self, version: str, archive: bytes) -> None:
        """Put a version beside the others, try it, and let the links lead to it."""
        self.library.mkdir(mode=0o755, parents=True, exist_ok=True)
        target = self.library / version
        # A folder of this name is whole: it was renamed when it was.
        if not (target / "bin/slipway").is_file():
            scratch = Path(tempfile.mkdtemp(dir=self.library, prefix=".partial-"))
            try:
                self._unpack(scratch, archive)
                remove(target)
                scratch.rename(target)
            finally:
                shutil.rmtree(scratch, ignore_errors=True)
        relink(self.current, Path(version))
        self.launcher.parent.mkdir(parents=True, exist_ok=True)
        relink(self.launcher, self.current / "bin/slipway")

    def _unpack(self, folder: Path, archive: bytes) -> None:
        with zipfile.ZipFile(io.BytesIO(archive)) as found:
            found.extractall(folder)
        entry = folder / "bin/slipway"
        entry.parent.mkdir()
        entry.write_text(PROGRAM)
        # The host's own Python has to be able to read all of it, and to start it.
        for words in (["/usr/bin/python3", "-I", "-m", "compileall", "-q", str(folder)], ["/usr/bin/python3", "-I", str(entry), "--help"]):
            status, said = attempt(words)
            if status != 0:
                raise SlipwayError(f"this host's Python does not run the program, nothing was changed: {said.strip()}")
        for path in (folder, *folder.rglob("*")):
            path.chmod(0o755 if path.is_dir() or path == entry else 0o644)
        sync_tree(folder)

    def outdated(self, version: str, keep: int) -> list[Path]:
        """What nobody needs any more: versions beyond ``keep``, and former programs that nothing names."""
        if not self.library.is_dir():
            return []
        versions = [
            path for path in self.library.iterdir() if path.name != version and (path / "bin/slipway").is_file() and not path.is_symlink()
        ]
        versions.sort(key=lambda path: path.stat().st_mtime, reverse=True)
        named = "\n".join(
            path.read_text(errors="replace") for place in CALLERS for path in self.root.glob(place.lstrip("/")) if path.is_file()
        )
        former = [
            self.library / name for name, word in FORMER.items() if (self.library / name).exists() and f"{LIBRARY}/{word}" not in named
        ]
        return [*versions[max(keep - 1, 0) :], *former]


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "version": {"type": "str"},
            # Not in the journal: it is long, not secret.
            "archive": {"type": "str", "no_log": True},
            "keep": {"type": "int", "default": 2},
        },
        supports_check_mode=True,
    )
    program, version = Program(), module.params["version"]
    os.umask(0o022)
    try:
        missing = not program.complete(version)
        if missing and not module.check_mode:
            program.install(version, base64.b64decode(module.params["archive"]))
        outdated = program.outdated(version, module.params["keep"])
        if not module.check_mode:
            for path in outdated:
                # Another app of this machine may have removed it in the same moment.
                with contextlib.suppress(FileNotFoundError):
                    remove(path)
    except (OSError, SlipwayError, ValueError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=missing or bool(outdated), version=version, removed=[path.name for path in outdated])


if __name__ == "__main__":
    main()
