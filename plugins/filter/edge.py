# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""Filters that put the operator's lists about the edge into the form that templates write down."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.slipway.vps.plugins.module_utils.edge import locations, zones
from ansible_collections.slipway.vps.plugins.module_utils.firewall.ufw import never_banned


class FilterModule:
    """The collection's filters of the edge."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"never_banned": never_banned, "nginx_locations": locations, "nginx_zones": zones}
