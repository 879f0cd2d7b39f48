# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""Every rule of the contract: each role keeps its own beside the others, and they are collected here."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ansible_collections.slipway.vps.plugins.module_utils.rules import app, environment, nginx, postgres, redis, tls
from ansible_collections.slipway.vps.plugins.module_utils.rules.problem import Problem, Values

#: Rules that look at one aspect each, and the variables they read. A rule is left out when one of those is already
#: known to be absent or of the wrong type: it could only repeat that.
RULES: tuple[tuple[Callable[[Values], Iterator[Problem]], tuple[str, ...]], ...] = (
    *app.RULES,
    *environment.RULES,
    *postgres.RULES,
    *redis.RULES,
    *tls.RULES,
    *nginx.RULES,
)


def problems(values: Values, broken: frozenset[str] = frozenset()) -> list[Problem]:
    """Every reason to refuse one entry's inputs.

    :arg values: resolved values.
    :arg broken: variables that are known to be absent or of the wrong type.
    """
    return [problem for rule, reads in RULES if not broken.intersection(reads) for problem in rule(values)]
