# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""Walk the request path of an app, hop by hop, on its host."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: verify
short_description: Walk the request path of an app, hop by hop, on its host
version_added: 0.1.0
description:
  - Probes each hop between a visitor and the database, in order, by itself, so that the hop that is broken is named and not only
    the 502 that follows from it. Changes nothing, except in the app what O(smoke_encoded) says. The same as C(slipway <app> verify) on the
    host.
  - Fails when a check fails; the result has all checks either way.
author:
  - The Slipway authors
options:
  app:
    description: The app as the contract resolves it, without secrets.
    type: dict
    required: true
  database_url:
    description: URL of the app's database, with its password.
    type: str
    required: true
  outside:
    description: What the controller saw, its C(time) in seconds since 1970, and C(ports) to C(open) or what happened. Filled in by itself.
    type: dict
    default: {}
  smoke_encoded:
    description: Steps of the smoke test (C(app_secret.smoke)) as JSON, in Base64, since they may hold secrets. In check mode none is sent.
    type: str
    default: ""
  thorough:
    description: With the checks of what no deploy changes, as DNS, the clock and pending updates.
    type: bool
    default: true
attributes:
  check_mode:
    description: Looks in either mode, and sends no smoke test in check mode.
    support: full
"""

EXAMPLES = r"""
- name: Walk the request path
  slipway.vps.verify:
    app: "{{ app }}"
    database_url: "{{ app.database.url }}"
    smoke_encoded: "{{ app_secret.smoke | to_json | b64encode }}"
"""

RETURN = r"""
checks:
  description: All checks in the order of the path, each with C(hop), C(check), C(result), C(evidence) and C(fix).
  type: list
  elements: dict
  returned: always
broken:
  description: Those that failed by themselves. A check that failed because of another hop has C(behind <hop>) as its result.
  type: list
  elements: dict
  returned: always
advice:
  description: What a browser would refuse or not find, each with C(where), C(what) and C(fix). It fails nothing.
  type: list
  elements: dict
  returned: always
findings:
  description:
    - The problems that explain what is wrong, in the order of the path, each with C(id), C(hop), C(severity) (C(failed) or C(degraded)),
      C(what), C(evidence), C(cause) and C(fix). What only follows from another one is not among them.
  type: list
  elements: dict
  returned: always
"""

import base64
import json
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.slipway.vps.plugins.module_utils.database_url import libpq
from ansible_collections.slipway.vps.plugins.module_utils.slipway.app import App
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core.errors import SlipwayError
from ansible_collections.slipway.vps.plugins.module_utils.slipway.hops import RequestPath
from ansible_collections.slipway.vps.plugins.module_utils.slipway.verify import walk


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "app": {"type": "dict", "required": True},
            "database_url": {"type": "str", "required": True, "no_log": True},
            "outside": {"type": "dict", "default": {}},
            "smoke_encoded": {"type": "str", "default": "", "no_log": True},
            "thorough": {"type": "bool", "default": True},
        },
        supports_check_mode=True,
    )
    url = module.params["database_url"]
    try:
        app = App.of(module.params["app"])
    except SlipwayError as error:
        module.fail_json(msg=str(error))
    database = libpq(url) if url.startswith("postgres") else None
    encoded = "" if module.check_mode else module.params["smoke_encoded"]
    steps = json.loads(base64.b64decode(encoded)) if encoded else []
    walked = walk(RequestPath(app, database, module.params["outside"], steps), thorough=module.params["thorough"])
    result: dict[str, Any] = {"changed": False, **walked.data()}
    if walked.broken:
        hops = ", ".join(check["hop"] for check in walked.broken)
        module.fail_json(msg=f"{len(walked.broken)} of {len(walked.rows)} checks failed: {hops}", **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
