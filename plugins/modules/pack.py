# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""Pack a folder of the controller for the host."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: pack
short_description: Pack a folder into a tar archive that depends on its content only
version_added: 0.1.0
description:
  - In a git work tree the archive holds what git tracks and what it does not ignore, in submodules too; elsewhere everything but caches
    and virtual environments. Times and owners are left out, so the same content always gives the same checksum.
  - A submodule that is not there, a file that Git LFS has not fetched, and a name that is not UTF-8 are refused by name.
  - Runs on the controller (C(delegate_to=localhost)).
author:
  - The Slipway authors
options:
  path:
    description: The folder.
    type: path
    required: true
  subdirectory:
    description: Folder of it to pack instead, relative.
    type: str
    default: ''
  dest:
    description: Folder in which the archive is written, as C(<checksum>.tar).
    type: path
    required: true
attributes:
  check_mode:
    description: The archive is written in check mode too, below a temporary folder; nothing else changes.
    support: full
"""

EXAMPLES = r"""
- name: Pack the app
  slipway.vps.pack:
    path: ../blog
    dest: "{{ lookup('ansible.builtin.config', 'DEFAULT_LOCAL_TMP') }}"
  delegate_to: localhost
  become: false
"""

RETURN = r"""
file:
  description: The archive.
  type: path
  returned: success
checksum:
  description: SHA-256 of the archive, in hex.
  type: str
  returned: success
commit:
  description: Commit of the work tree, with C(-dirty) when it has changes; empty without git.
  type: str
  returned: success
"""

import hashlib
import os
import tarfile
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.slipway.vps.plugins.module_utils.source_tree import SourceError
from ansible_collections.slipway.vps.plugins.module_utils.work_tree import commit, members, release_folder


def pack(folder: Path, dest: Path) -> tuple[Path, str]:
    """Write the archive of ``folder`` below ``dest`` and return it with its checksum."""
    partial = dest / f".pack-{os.getpid()}.tar"

    def plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
        entry.uid = entry.gid = 0
        entry.uname = entry.gname = ""
        entry.mtime = 0
        entry.mode = 0o755 if entry.mode & 0o100 else 0o644
        return entry

    with tarfile.open(partial, "w", format=tarfile.PAX_FORMAT) as archive:
        for member in members(folder):
            archive.add(folder / member, arcname=str(member), recursive=False, filter=plain)
    checksum = hashlib.sha256(partial.read_bytes()).hexdigest()
    final = dest / f"{checksum}.tar"
    partial.replace(final)
    return final, checksum


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "subdirectory": {"type": "str", "default": ""},
            "dest": {"type": "path", "required": True},
        },
        supports_check_mode=True,
    )
    try:
        folder = release_folder(Path(module.params["path"]), module.params["subdirectory"])
        file, checksum = pack(folder, Path(module.params["dest"]))
    except (SourceError, OSError) as error:
        module.fail_json(msg=f"{error}.\nNothing was switched. Correct it, then run the same command again.")
    module.exit_json(changed=False, file=str(file), checksum=checksum, commit=commit(folder))


if __name__ == "__main__":
    main()
