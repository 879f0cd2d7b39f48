# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""Documentation of the action plugin of the same name."""

DOCUMENTATION = r"""
---
module: packages
short_description: Install packages of the distribution, and ask dpkg first
version_added: 0.1.0
description:
  - What M(ansible.builtin.apt) does with O(name), without recommended packages and with package lists that are an hour old at most. Where
    all of them are installed, and none as a dependency only, apt is not asked at all, which takes 0.1 s instead of 2 s.
  - A name with a version, an architecture or a pattern is always apt's to judge.
author:
  - The Slipway authors
options:
  name:
    description: Names as apt takes them.
    type: list
    elements: str
    required: true
attributes:
  check_mode:
    description: Can run in check mode and says what would change.
    support: full
"""

EXAMPLES = r"""
- name: Install nginx
  slipway.vps.packages:
    name: [nginx]
"""

RETURN = r"""
changed:
  description: Something was installed, or would be.
  type: bool
  returned: always
"""
