# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""Fetch a version of a git repository, with all that belongs to it."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: checkout
short_description: Fetch a version of a git repository, with its submodules and its Git LFS files
version_added: 0.1.0
description:
  - Keeps a clone from one deploy to the next. What lacks a submodule or a file of Git LFS is refused by name.
  - Tokens in the address appear in no output.
author:
  - The Slipway authors
options:
  repo:
    description: Address of the repository, with C(***) for each secret in it.
    type: str
    required: true
  repo_encoded:
    description: O(repo) with its secrets, in Base64.
    type: str
    default: ''
  version:
    description: Branch, tag, full reference or commit.
    type: str
    required: true
  subdirectory:
    description: Folder of the repository that is wanted, relative.
    type: str
    default: ''
  dest:
    description: Folder of the clone; root's alone.
    type: path
    required: true
  config_dir:
    description: Folder with C(deploy_key) (empty means that there is none) and C(known_hosts).
    type: path
    required: true
attributes:
  check_mode:
    description: The clone is a cache, and is brought up to date in check mode too; nothing else changes.
    support: full
"""

EXAMPLES = r"""
- name: Fetch a tag
  slipway.vps.checkout:
    repo: git@git.example.com:blog.git
    version: v1.4.0
    dest: /srv/blog/source
    config_dir: /etc/blog
"""

RETURN = r"""
tree:
  description: Folder of what is wanted.
  type: path
  returned: success and O(repo) does not need git-lfs
commit:
  description: Commit that O(version) names.
  type: str
  returned: success and O(repo) does not need git-lfs
identity:
  description: The commit, or with O(subdirectory) the digest of that folder's content.
  type: str
  returned: success and O(repo) does not need git-lfs
needs_lfs:
  description: The repository keeps files with Git LFS, and this host has no git-lfs. Nothing else is returned then.
  type: bool
  returned: success
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.slipway.vps.plugins.module_utils.checkout import Clone, LfsMissingError
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core.run import CommandError
from ansible_collections.slipway.vps.plugins.module_utils.source import uncovered, without_secrets


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "repo": {"type": "str", "required": True},
            "repo_encoded": {"type": "str", "default": "", "no_log": True},
            "version": {"type": "str", "required": True},
            "subdirectory": {"type": "str", "default": ""},
            "dest": {"type": "path", "required": True},
            "config_dir": {"type": "path", "required": True},
        },
        supports_check_mode=True,
    )
    repo = uncovered(module.params["repo"], module.params["repo_encoded"])
    clone = Clone(Path(module.params["dest"]), repo, Path(module.params["config_dir"]))
    try:
        tree = clone.check_out(module.params["version"], module.params["subdirectory"])
    except LfsMissingError:
        module.exit_json(changed=False, needs_lfs=True)
    except (CommandError, OSError) as error:
        module.fail_json(msg=without_secrets(str(error)))
    module.exit_json(changed=False, needs_lfs=False, tree=str(tree.folder), commit=tree.commit, identity=tree.identity)


if __name__ == "__main__":
    main()
