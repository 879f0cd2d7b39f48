# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""Ansible's linear strategy, carried by Mitogen where it is installed."""

from __future__ import annotations

from typing import Any

from ansible.collections.list import list_collection_dirs
from ansible.plugins.strategy.linear import StrategyModule as Linear
from ansible.release import __version__
from ansible.utils.display import Display

DOCUMENTATION = r"""
name: mitogen
short_description: The linear strategy, with one Python on each host instead of one for each task
description:
  - Runs the tasks as C(linear) does. With Mitogen, a Python process on each host carries them all; without it, each task starts one.
  - Mitogen is a package for the controller, C(pip install mitogen==0.3.54). Ansible has deprecated strategies of others, so no playbook
    names this one. It is chosen with the environment variable E(ANSIBLE_STRATEGY) set to V(slipway.vps.mitogen).
  - Where Mitogen is not installed, or was not tested with this version of ansible-core, the tasks run as ever after a warning.
author: The Slipway authors
"""

#: The versions of ansible-core that Mitogen 0.3.54 was made for.
OLDEST, NEWEST = (2, 19), (2, 21)


class Nothing:
    """What is added without Mitogen."""


def mixin() -> tuple[type[Any], str]:
    """What Mitogen adds to a strategy, and an empty text; or `Nothing`, and why."""
    if not OLDEST <= tuple(int(part) for part in __version__.split(".")[:2]) <= NEWEST:
        return Nothing, f"Mitogen was not tested with ansible-core {__version__}"
    try:
        from ansible_mitogen.strategy import StrategyMixin
    except ImportError as error:
        return Nothing, f"Mitogen is not installed ({error}): pip install mitogen==0.3.54"
    return StrategyMixin, ""


Mixin, MISSING = mixin()
if MISSING:
    Display().warning(f"{MISSING}. The tasks run without it, as ever.")
else:
    # Mitogen looks at every collection for each task with a module of one. What is imported here its workers do not import again: without
    # this, it was 70 % of what such a task took.
    list(list_collection_dirs())


class StrategyModule(Mixin, Linear):  # type: ignore[misc, valid-type]
    """`linear`, with what Mitogen adds."""
