# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""Every rule of the contract: each role keeps its own beside the others, and they are collected here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from ansible_collections.slipway.vps.plugins.module_utils.rules import (
    app,
    backup,
    base,
    build,
    environment,
    fail2ban,
    firewall,
    inputs,
    limits,
    nginx,
    placeholder,
    postgres,
    preflight,
    redis,
    runs,
    server,
    services,
    smoke,
    source,
    ssh,
    tls,
    updates,
)
from ansible_collections.slipway.vps.plugins.module_utils.rules.problem import Problem, Values

#: Rules that look at one aspect each, and the variables they read. A rule is left out when one of those is already
#: known to be absent or of the wrong type: it could only repeat that.
RULES: tuple[tuple[Callable[[Values], Iterator[Problem]], tuple[str, ...]], ...] = (
    *app.RULES,
    *source.RULES,
    *build.RULES,
    *environment.RULES,
    *runs.RULES,
    *smoke.RULES,
    *limits.RULES,
    *postgres.RULES,
    *redis.RULES,
    *server.RULES,
    *services.RULES,
    *tls.RULES,
    *nginx.RULES,
    *firewall.RULES,
    *fail2ban.RULES,
    *backup.RULES,
    *preflight.RULES,
    *base.RULES,
    *ssh.RULES,
    *updates.RULES,
)


def notes(values: Values) -> list[str]:
    """What a run says of inputs that are right, and have a consequence that nobody should find out in need.

    :arg values: resolved values, the defaults among them.
    """
    return [*app.notes(values), *server.notes(values), *services.notes(values), *limits.notes(values), *firewall.notes(values)]


def problems(values: Values, broken: frozenset[str] = frozenset()) -> list[Problem]:
    """Every reason to refuse one entry's inputs that rules of the roles find.

    :arg values: resolved values.
    :arg broken: variables that are known to be absent or of the wrong type: no rule sees them.
    """
    whole = {name: value for name, value in values.items() if name not in broken}
    return [problem for rule, reads in RULES if not broken.intersection(reads) for problem in rule(whole)]


def judge(
    values: Values,
    given: Iterable[str],
    said: Iterable[str],
    options: inputs.Spec,
    roles: Sequence[str],
    unresolved: frozenset[str] = frozenset(),
    written: Values | None = None,
) -> list[Problem]:
    """Every reason to refuse what one entry says, the most basic first.

    :arg values: resolved values.
    :arg given: names of all variables that the entry has.
    :arg said: names of those that the operator sets.
    :arg options: what the roles document: name to option.
    :arg roles: whose prefixes are guarded against typos.
    :arg unresolved: variables whose expression has no value.
    :arg written: what the operator wrote, unresolved.
    """
    set_by_operator = frozenset(said)
    found: list[Problem] = []
    required = {name: option for name, option in options.items() if name.startswith("app_")}
    found += inputs.missing({**dict.fromkeys(unresolved, "?"), **values}, required)
    found += inputs.wrong_types({name: value for name, value in values.items() if name in set_by_operator}, options)
    found += inputs.unknown_keys(values, options)
    found += placeholder.unanswered(written or {}, set_by_operator | {"ansible_host"})
    # Where Ansible connects to is none of the options, and a firewall must not close it.
    port = str((written or {}).get("ansible_port", ""))
    found += problems(
        {**values, **({"ansible_port": port} if port.isdigit() else {})}, unresolved.union(problem.variable for problem in found)
    )
    # A variable that was replaced has a rule, which says by what.
    unknown = set(given) - set(options) - {problem.variable for problem in found}
    strays = [
        stray for role in roles for stray in inputs.stray_names([name for name in unknown if name.startswith(f"{role}_")], options, role)
    ]
    return strays + found
