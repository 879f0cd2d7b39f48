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
  - In a git work tree the archive holds what git tracks and what it does not ignore; elsewhere everything but caches and virtual
    environments. Times and owners are left out, so the same content always gives the same checksum.
  - Runs on the controller (C(delegate_to=localhost)).
author:
  - The Slipway authors
options:
  path:
    description: The folder.
    type: path
    required: true
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
import subprocess
import tarfile
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

#: Left out where git cannot say what to ignore.
LEFT_OUT = {".git", ".venv", "venv", "node_modules", "__pycache__", ".pytest_cache", ".mypy_cache", ".ruff_cache", ".tox"}


class RefusedByGitError(Exception):
    """Git does not say what it ignores: packing all of it could take secrets along."""


def members(folder: Path) -> list[Path]:
    """Relative paths of all files and links to pack, sorted."""
    listed = git(folder, "ls-files", "--cached", "--others", "--exclude-standard", "-z")
    if listed is not None:
        candidates = [Path(name) for name in listed.split("\0") if name]
        return sorted(p for p in candidates if (folder / p).is_symlink() or (folder / p).is_file())
    if any((parent / ".git").exists() for parent in (folder, *folder.parents)):
        raise RefusedByGitError(f"{folder} is in a git work tree that git will not read (try: git -C {folder} status)")
    found: list[Path] = []
    for top, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name not in LEFT_OUT]
        links = [name for name in folders if Path(top, name).is_symlink()]
        found += [Path(top, name).relative_to(folder) for name in (*files, *links) if not name.endswith(".pyc")]
    return sorted(found)


def git(folder: Path, *words: str) -> str | None:
    """What git says, or None when the folder is no work tree (or there is no git)."""
    try:
        result = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return result.stdout if result.returncode == 0 else None


def commit(folder: Path) -> str:
    """The commit the folder is at; `-dirty` when the folder differs from it."""
    head = (git(folder, "rev-parse", "--verify", "HEAD") or "").strip()
    changes = git(folder, "status", "--porcelain", "--", ".") or ""
    return f"{head}-dirty" if head and changes.strip() else head


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
        argument_spec={"path": {"type": "path", "required": True}, "dest": {"type": "path", "required": True}}, supports_check_mode=True
    )
    folder = Path(module.params["path"])
    if not folder.is_dir():
        module.fail_json(msg=f"app_source.path: {folder} is not a folder on the controller")
    try:
        file, checksum = pack(folder.resolve(), Path(module.params["dest"]))
    except RefusedByGitError as error:
        module.fail_json(msg=f"app_source.path: {error}")
    module.exit_json(changed=False, file=str(file), checksum=checksum, commit=commit(folder))


if __name__ == "__main__":
    main()
