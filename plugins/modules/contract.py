# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""Documentation of the action plugin of the same name."""

DOCUMENTATION = r"""
---
module: contract
short_description: Refuse bad input before anything on the host changes
version_added: 0.1.0
description:
  - Checks every C(app_*) variable of the host against the specification of the role P(slipway.vps.app#role) and the contract's
    rules, and stops the host with all problems at once, each with the variable, the file and line to edit, and the fix.
  - Runs on the controller; opens no connection.
author:
  - The Slipway authors
attributes:
  check_mode:
    description: Can run in check mode; it changes nothing in either mode.
    support: full
"""

EXAMPLES = r"""
- name: Refuse bad input before anything changes
  slipway.vps.contract:
"""

RETURN = r"""
msg:
  description: The problems found; absent when there are none.
  type: str
  returned: failure
"""
