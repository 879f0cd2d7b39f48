# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""What an operator may answer to what is on the machine already (role preflight)."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping

from ansible_collections.slipway.vps.plugins.module_utils.model import Machine
from ansible_collections.slipway.vps.plugins.module_utils.preflight.finding import ADOPT, CHOICES, VARIABLE, known
from ansible_collections.slipway.vps.plugins.module_utils.preflight.needs import Needs
from ansible_collections.slipway.vps.plugins.module_utils.rules.machine import Conflict
from ansible_collections.slipway.vps.plugins.module_utils.rules.problem import Problem, Values, kind


def bad_answers(values: Values) -> Iterator[Problem]:
    """An answer is one of three words."""
    for id_, choice in values.get(VARIABLE, {}).items():
        if choice not in CHOICES:
            near = difflib.get_close_matches(str(choice), CHOICES, 1)
            what = f"answers {id_!s} with {repr(choice) if isinstance(choice, str) else kind(choice)}"
            yield Problem(VARIABLE, what, f"did you mean {near[0]}?" if near else f"use {', '.join(CHOICES)}", key=str(id_))


def unknown_answers(machine: Machine) -> Iterator[Problem]:
    """Answers to what no machine of these apps can have, and ways that its kind does not know.

    An answer that was carried out stays right: what is not there any more is not found again.
    """
    ids = known(Needs.of(machine.facts()))
    for id_, choice in machine.answers.items():
        if id_ not in ids:
            near = difflib.get_close_matches(id_, ids, 1, 0.7)
            fix = f"did you mean {near[0]}?" if near else "write the id as slipway.vps.preflight shows it, for example port:80"
            yield Problem(VARIABLE, f"has an answer to {id_!r}, which is found on no machine of these apps", fix, key=id_)
        elif choice not in ids[id_]:
            can = f"use {' or '.join(ids[id_])}" if ids[id_] else "remove the line: slipway.vps.preflight says what to do instead"
            yield Problem(VARIABLE, f"answers {id_} with {choice}, which cannot be carried out", can, key=id_)
    yield from _copies_of_others(machine)


def _copies_of_others(machine: Machine) -> Iterator[Problem]:
    """The archive of a whole cluster holds what others have in it, and asks for a restart of their server."""
    shared = machine.answers.get(f"port:{machine.facts()['database_port']}") == ADOPT
    for app in machine.apps:
        if shared and app.backup.engine == "pgbackrest" and app.database.serves:
            what = f"is pgbackrest for {app.name}: it copies a whole cluster, and this one serves others ({VARIABLE})"
            yield Problem("backup_engine", what, "write backup_engine: dump")


def contradictions(said: Mapping[str, Values]) -> Iterator[Conflict]:
    """Two entries of one machine that answer one finding differently.

    :arg said: entry to its values.
    """
    first: dict[str, tuple[str, str]] = {}
    for entry, values in said.items():
        for id_, choice in (values.get(VARIABLE) or {}).items():
            other, before = first.setdefault(str(id_), (entry, str(choice)))
            if before != str(choice):
                what = f"answers {id_} with {before} for {other} and with {choice} for {entry}, which are one machine"
                yield Conflict(VARIABLE, (other, entry), what, "answer it once for both, in group_vars/app_servers/")


RULES = ((bad_answers, (VARIABLE,)),)
