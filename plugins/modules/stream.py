# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""Documentation of the action plugin of the same name."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: stream
short_description: Run a command on the host and show what it says while it runs
version_added: 0.2.0
description:
  - Runs a command without a shell and shows each line of its output as it comes. Fails with the command's exit status.
  - Over SSH with a key, and with the connection C(local). Another connection, or a password of SSH, gives all output at the end.
  - The command has no input. The program C(slipway) on the controller takes the command over from here, and runs it at its own terminal.
author:
  - The Slipway authors
options:
  argv:
    description: The words of the command; each stays one word, whatever is in it.
    type: list
    elements: str
    required: true
  name:
    description: What the command is called where it fails.
    type: str
    required: true
  label:
    description: Begin each line with the name of the host.
    type: bool
    default: false
attributes:
  check_mode:
    description: The command is not run.
    support: full
"""

EXAMPLES = r"""
- name: Follow the logs
  slipway.vps.stream:
    argv: [/usr/local/bin/slipway, blog, logs, --follow]
    name: slipway blog logs
  changed_when: false
"""

RETURN = r"""
rc:
  description: The command's exit status.
  type: int
  returned: when it was run
handed_over:
  description: The program on the controller runs the command, not this task.
  type: bool
  returned: when it was run
"""
