# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""Change nginx's configuration as a whole, and only to one that nginx takes."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: nginx_config
short_description: Change nginx's configuration as a whole, and only to one that nginx takes
version_added: 0.1.0
description:
  - Copies nginx's folder, makes the changes in the copy, and has C(nginx -t) test it. Only then are they made in the folder itself.
    What nginx refuses never reaches it; the failure shows nginx's words and the line they are about.
  - Does not reload nginx. A change that was made and not loaded yet (the run was killed in between) is reported as a change again,
    as long as O(pending) is there.
author:
  - The Slipway authors
options:
  root:
    description: nginx's folder; all other paths are relative to it.
    type: path
    default: /etc/nginx
  files:
    description: Files and their content.
    type: list
    elements: dict
    default: []
    suboptions:
      dest:
        description: Path of the file.
        type: str
        required: true
      content:
        description: Its content.
        type: str
        required: true
  links:
    description: Links to other files of the folder.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Path of the link.
        type: str
        required: true
      target:
        description: Path of what it leads to.
        type: str
        required: true
  absent:
    description: Files and links that must not be there.
    type: list
    elements: str
    default: []
  replaced:
    description: >-
      Names of sites. Others' files in C(sites-enabled) and C(conf.d) that answer for one of them are switched off: a link is removed, a
      file moves into the folder C(replaced). C(default) is whoever answers for every name that no site has.
    type: list
    elements: str
    default: []
  own:
    description: Files of our own sites, C(blog.conf), which answer for these names rightly.
    type: list
    elements: str
    default: []
  lines:
    description: Files that are another file with a single line changed.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Path of the file.
        type: str
        required: true
      source:
        description: Path of the other file. The file itself where there is no other.
        type: str
        required: true
      pattern:
        description: Regular expression of the one line that is replaced.
        type: str
        required: true
      line:
        description: What stands there instead.
        type: str
        required: true
      without:
        description: Regular expression of the beginning of lines that are left out, if there are any.
        type: str
        default: ''
  pending:
    description: File that marks a change which nginx has not loaded yet; whoever reloads nginx removes it.
    type: path
    default: /run/slipway-nginx.pending
  lock:
    description: File by which two runs of this module wait for each other.
    type: path
    default: /run/lock/slipway-nginx
attributes:
  check_mode:
    description:
      - Tests the configuration all the same. A certificate that an earlier task would have made is then only warned about.
    support: full
  diff_mode:
    description: Shows each file before and after.
    support: full
"""

EXAMPLES = r"""
- name: Write a site
  slipway.vps.nginx_config:
    files:
      - dest: sites-available/blog.conf
        content: "server { listen 80; }"
    links:
      - path: sites-enabled/blog.conf
        target: sites-available/blog.conf
    absent:
      - sites-enabled/default
"""

RETURN = r"""
paths:
  description: What was changed, relative to O(root).
  type: list
  elements: str
  returned: success
"""

import math
from contextlib import ExitStack
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core.lock import locked
from ansible_collections.slipway.vps.plugins.module_utils.staging import RefusedError, Wanted, apply, differences, judge, of_others


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "root": {"type": "path", "default": "/etc/nginx"},
            "files": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {"dest": {"type": "str", "required": True}, "content": {"type": "str", "required": True}},
            },
            "links": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {"path": {"type": "str", "required": True}, "target": {"type": "str", "required": True}},
            },
            "absent": {"type": "list", "elements": "str", "default": []},
            "replaced": {"type": "list", "elements": "str", "default": []},
            "own": {"type": "list", "elements": "str", "default": []},
            "lines": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "path": {"type": "str", "required": True},
                    "source": {"type": "str", "required": True},
                    "pattern": {"type": "str", "required": True},
                    "line": {"type": "str", "required": True},
                    "without": {"type": "str", "default": ""},
                },
            },
            "pending": {"type": "path", "default": "/run/slipway-nginx.pending"},
            "lock": {"type": "path", "default": "/run/lock/slipway-nginx"},
        },
        supports_check_mode=True,
    )
    with ExitStack() as held:
        change(module, held)


def change(module: AnsibleModule, held: ExitStack) -> None:
    """Write what differs. ``held`` gives the lock back with the result: with Mitogen the process lives on."""
    p = module.params
    root, pending = Path(p["root"]), Path(p["pending"])
    try:
        # Two apps of one machine may write at once; each is judged with what the other has written.
        held.enter_context(locked(Path(p["lock"]), "change of nginx's configuration", math.inf))
        names = [name for name in p["replaced"] if name != "default"]
        wanted = Wanted(
            files={entry["dest"]: entry["content"] for entry in p["files"]},
            links={entry["path"]: entry["target"] for entry in p["links"]},
            absent=p["absent"],
            lines=[(entry["path"], entry["source"], entry["pattern"], entry["line"], entry["without"]) for entry in p["lines"]],
            aside=of_others(root, names, "default" in p["replaced"], p["own"]) if p["replaced"] else (),
        )
        changes = differences(root, wanted)
        diff = [
            {
                "before_header": str(root / name),
                "after_header": str(root / name),
                "before": (root / name).read_text(errors="replace") if (root / name).is_file() else "",
                "after": text or "",
            }
            for name, text in changes.items()
        ]
        for warning in judge(root, wanted, changes, module.get_bin_path("nginx", required=True)) if changes else []:
            module.warn(warning)
    except RefusedError as error:
        if module.check_mode and "cannot load certificate" in str(error):
            module.warn(f"not tested to the end, since the certificate is not there yet: {error}")
        else:
            module.fail_json(
                msg=f"Nothing was changed: nginx refuses the new configuration.\n{error}\n"
                "Next: correct what this line comes from (nginx_extra, a template of your inventory), then run the same command again."
            )
    except OSError as error:
        module.fail_json(msg=f"Nothing was changed: {error}")
    if changes and not module.check_mode:
        pending.touch()
        apply(root, wanted, changes)
    module.exit_json(changed=bool(changes) or pending.exists(), paths=sorted(changes), diff=diff)


if __name__ == "__main__":
    main()
