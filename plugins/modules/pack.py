# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""Documentation of the action plugin of the same name."""

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
  - Runs on the controller, without a Python of its own there; the host has no part in it.
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
