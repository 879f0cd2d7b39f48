# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""Folders and files of a role in one round trip."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: files
short_description: Folders and files of a role in one round trip
version_added: 0.1.0
description:
  - What M(ansible.builtin.file) and M(ansible.builtin.copy) do one by one, for all that a role writes. Each of their tasks costs a
    round trip of 0.2 to 0.5 s; a deploy has no time for twenty.
  - A file is replaced in one step, and only after its O(files[].validate) command said that it is right.
author:
  - The Slipway authors
options:
  folders:
    description: Folders, in the order in which they are made.
    type: list
    elements: dict
    default: []
    suboptions:
      path: {description: The folder., type: path, required: true}
      owner: {description: Name of its user., type: str, default: root}
      group: {description: Name of its group., type: str, default: root}
      mode: {description: Its mode as text., type: str, default: "0755"}
  files:
    description: Files.
    type: list
    elements: dict
    default: []
    suboptions:
      path: {description: The file., type: path, required: true}
      content: {description: What stands in it., type: str, required: true}
      owner: {description: Name of its user., type: str, default: root}
      group: {description: Name of its group., type: str, default: root}
      mode: {description: Its mode as text., type: str, default: "0644"}
      validate: {description: "Command that must exit 0; C(%s) is the new file.", type: str}
  links:
    description: Symbolic links; what they lead to need not be there.
    type: list
    elements: dict
    default: []
    suboptions:
      path: {description: The link., type: path, required: true}
      to: {description: What it leads to., type: str, required: true}
  exclusive:
    description: Folders in which only some files stay, wherever those are written.
    type: list
    elements: dict
    default: []
    suboptions:
      path: {description: The folder., type: path, required: true}
      keep: {description: Names of the files that stay., type: list, elements: str, required: true}
  absent:
    description: Files and whole folders that are no longer needed; last of all.
    type: list
    elements: path
    default: []
attributes:
  check_mode:
    description: Reports what would change.
    support: full
  diff_mode:
    description: Shows the lines that change.
    support: full
"""

EXAMPLES = r"""
- name: Write the units
  slipway.vps.files:
    folders:
      - {path: /etc/blog}
    files:
      - path: /etc/systemd/system/blog.service
        content: "{{ lookup('ansible.builtin.template', 'blog.service.j2') }}"
        validate: systemd-analyze verify %s
"""

RETURN = r"""
changes:
  description: Paths that were made, changed or removed.
  type: list
  elements: str
  returned: always
"""

import os
import shlex
import shutil
import tempfile
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule


class Files:
    """What is wanted, on this host."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        self.changes: list[str] = []
        self.diffs: list[dict[str, str]] = []

    def folder(self, wanted: dict[str, Any]) -> None:
        path = Path(wanted["path"])
        missing = not path.is_dir()
        if missing and not self.module.check_mode:
            path.mkdir(parents=True)
        self.attributes(wanted, missing)

    def file(self, wanted: dict[str, Any]) -> None:
        path, content = Path(wanted["path"]), wanted["content"].encode()
        present = path.read_bytes() if path.is_file() else None
        if present != content:
            self.diffs.append(
                {
                    **{"before_header": str(path), "after_header": str(path)},
                    **{"before": (present or b"").decode(errors="replace"), "after": wanted["content"]},
                }
            )
            if wanted["validate"] or not self.module.check_mode:
                self.replace(path, content, wanted["validate"])
        self.attributes(wanted, present != content)

    def replace(self, path: Path, content: bytes, validate: str | None) -> None:
        """Write beside everything else, check, then move."""
        handle, new = tempfile.mkstemp(dir=self.module.tmpdir, suffix=path.suffix)
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
        if validate:
            status, out, error = self.module.run_command([word.replace("%s", new) for word in shlex.split(validate)])
            if status != 0:
                self.module.fail_json(
                    msg=f"{path} is not right, and was not written. {validate.replace('%s', str(path))} says:\n{out}{error}"
                )
        if not self.module.check_mode:
            if not path.exists():
                # What is moved to a new place could be read by all until its mode is set; over an empty file it takes that one's.
                os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
            self.module.atomic_move(new, str(path))

    def link(self, wanted: dict[str, Any]) -> None:
        path = Path(wanted["path"])
        if path.is_symlink() and str(path.readlink()) == wanted["to"]:
            return
        self.changes.append(str(path))
        if not self.module.check_mode:
            path.parent.mkdir(exist_ok=True)
            new = path.with_name(f".{path.name}.new")
            new.unlink(missing_ok=True)
            new.symlink_to(wanted["to"])
            new.replace(path)

    def attributes(self, wanted: dict[str, Any], changed: bool) -> None:
        """Owner, group and mode; and notes whether anything of the path changed."""
        arguments = self.module.load_file_common_arguments(wanted, path=wanted["path"])
        if self.module.set_fs_attributes_if_different(arguments, changed):
            self.changes.append(wanted["path"])

    def remove_others(self, folder: Path, keep: list[str]) -> None:
        for path in sorted(folder.iterdir()) if folder.is_dir() else []:
            if path.name not in keep and (path.is_file() or path.is_symlink()):
                self.changes.append(str(path))
                if not self.module.check_mode:
                    path.unlink()

    def remove(self, path: Path) -> None:
        if not os.path.lexists(path):
            return
        self.changes.append(str(path))
        if self.module.check_mode:
            return
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def main() -> None:
    owned: dict[str, Any] = {"owner": {"type": "str", "default": "root"}, "group": {"type": "str", "default": "root"}}
    path = {"type": "path", "required": True}
    folder = {"path": path, "mode": {"type": "str", "default": "0755"}, **owned}
    file = {
        **{"path": path, "mode": {"type": "str", "default": "0644"}, **owned},
        **{"content": {"type": "str", "required": True}, "validate": {"type": "str"}},
    }
    link = {"path": path, "to": {"type": "str", "required": True}}
    only = {"path": path, "keep": {"type": "list", "elements": "str", "required": True}}
    module = AnsibleModule(
        argument_spec={
            "folders": {"type": "list", "elements": "dict", "default": [], "options": folder},
            "files": {"type": "list", "elements": "dict", "default": [], "options": file},
            "links": {"type": "list", "elements": "dict", "default": [], "options": link},
            "exclusive": {"type": "list", "elements": "dict", "default": [], "options": only},
            "absent": {"type": "list", "elements": "path", "default": []},
        },
        supports_check_mode=True,
    )
    files = Files(module)
    try:
        for wanted in module.params["folders"]:
            files.folder(wanted)
        for wanted in module.params["files"]:
            files.file(wanted)
        for wanted in module.params["links"]:
            files.link(wanted)
        for wanted in module.params["exclusive"]:
            files.remove_others(Path(wanted["path"]), wanted["keep"])
        for leftover in module.params["absent"]:
            files.remove(Path(leftover))
    except OSError as error:
        module.fail_json(msg=f"{error.filename or ''}: {error.strerror}", changes=files.changes)
    module.exit_json(changed=bool(files.changes), changes=files.changes, diff=files.diffs)


if __name__ == "__main__":
    main()
