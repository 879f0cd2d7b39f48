# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""The secrets of an app on its host: in a file, or as systemd's credentials."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: credentials
short_description: The secrets of an app on its host, in a file or as systemd's credentials
version_added: 0.1.0
description:
  - Keeps the secret part of an app's environment in the form that O(delivery) asks for, and says what is kept.
  - C(file) is O(path), which only root reads. C(credentials) is C(<path>.cred), encrypted by C(systemd-creds) with the host's own key;
    where there is no such program (before systemd 250) O(path), which systemd hands to the app's units alone.
  - What the other form has kept stays. M(slipway.vps.release) removes it when no unit is started with it any more.
author:
  - The Slipway authors
options:
  path:
    description: Path of the plain form.
    type: path
    required: true
  delivery:
    description: How the app comes by its secrets.
    type: str
    choices: [file, credentials]
    default: file
  action:
    description: Whether O(content) is written, or what is kept is returned.
    type: str
    choices: [write, read]
    default: write
  content:
    description: The secrets as systemd's C(EnvironmentFile=) takes them (C(write)).
    type: str
    default: ''
attributes:
  check_mode:
    description: Reports what would change.
    support: full
"""

EXAMPLES = r"""
- name: Write the secrets
  slipway.vps.credentials:
    path: /etc/blog/secrets
    delivery: credentials
    content: "{{ app_secret.environment | slipway.vps.environment_file }}"
  no_log: true
"""

RETURN = r"""
content:
  description: The secrets, empty where there are none.
  type: str
  returned: action is read
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core.delivery import FILE, Delivery
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core.errors import SlipwayError


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "delivery": {"type": "str", "choices": ["file", "credentials"], "default": FILE},
            "action": {"type": "str", "choices": ["write", "read"], "default": "write"},
            "content": {"type": "str", "default": "", "no_log": True},
        },
        supports_check_mode=True,
    )
    secrets = Delivery(Path(module.params["path"]), module.params["delivery"])
    try:
        if module.params["action"] == "read":
            module.exit_json(changed=False, content=secrets.read())
        if not module.check_mode:
            secrets.path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        module.exit_json(changed=secrets.write(module.params["content"], dry=module.check_mode))
    except (SlipwayError, OSError, UnicodeDecodeError) as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
