# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""What a visitor of an app gets, asked on its host."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: public_endpoint
short_description: What a visitor of an app gets, asked on its host
version_added: 0.1.0
description:
  - Asks this host's own nginx as a visitor would, with the name and the port 443 as from outside, from the address 127.0.0.1. Whether
    the certificate is good is not judged. Changes nothing, and never fails.
author:
  - The Slipway authors
options:
  domain:
    description: The domain to ask for.
    type: str
    required: true
  allow:
    description: Addresses and networks that are let in during maintenance.
    type: list
    elements: str
    default: []
attributes:
  check_mode:
    description: Changes nothing in either mode.
    support: full
"""

EXAMPLES = r"""
- name: Ask the public endpoint
  slipway.vps.public_endpoint:
    domain: blog.example.com
    allow: [203.0.113.0/24]
"""

RETURN = r"""
status:
  description: Status of the answer; 0 when there was none.
  type: int
  returned: always
reason:
  description: The answer's reason, or why there was none.
  type: str
  returned: always
retry_after:
  description: Its Retry-After; empty without one.
  type: str
  returned: always
let_in:
  description: Whether maintenance does not apply to 127.0.0.1, so that what visitors get cannot be seen.
  type: bool
  returned: always
"""

import ipaddress
from collections.abc import Sequence

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core.http import ADDRESS, visit


def let_in(networks: Sequence[str]) -> bool:
    """Whether one of the networks holds the address that this module asks from."""
    address = ipaddress.ip_address(ADDRESS)
    return any(address in ipaddress.ip_network(network, strict=False) for network in networks)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "domain": {"type": "str", "required": True},
            "allow": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    answer = visit(module.params["domain"], "/", timeout=10)
    module.exit_json(
        changed=False,
        status=answer.status,
        reason=answer.reason if answer.status else answer.body,
        retry_after=answer.retry_after,
        let_in=let_in(module.params["allow"]),
    )


if __name__ == "__main__":
    main()
