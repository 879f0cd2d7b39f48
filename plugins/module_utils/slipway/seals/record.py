# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""The record of a layer: what it was given, what its tasks manage, and how that was when it was done."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..core.clock import utc_now
from ..core.files import read_json, write_atomically
from .observe import OBSERVERS, State, Thing, differences, observe

#: A file for each app and layer, for root alone: of passwords and secret files there are digests in it.
FOLDER = Path("/var/lib/slipway/seals")
#: Another form of the record is none.
FORM = 1


@dataclass(frozen=True)
class Task:
    """What one task manages.

    :arg where: file and line in the collection: who it is in the next run.
    :arg things: pairs of kind and name (`observe.Thing`).
    """

    where: str
    things: list[Thing]


@dataclass(frozen=True)
class Record:
    """A layer of an app, as a run left it.

    :arg inputs: what the layer was given, by whose it is (``the model``, ``variables of nginx``), to a digest.
    :arg states: how each thing was, in the order of the tasks' things.
    :arg at: when, ISO 8601 in UTC.
    """

    layer: str
    app: str
    inputs: dict[str, str]
    tasks: list[Task]
    states: list[tuple[Thing, State]]
    at: str
    form: int = field(default=FORM)

    def path(self, folder: Path = FOLDER) -> Path:
        return place_of(self.layer, self.app, folder)

    def write(self, folder: Path = FOLDER) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomically(self.path(folder), json.dumps(asdict(self), indent=1) + "\n")

    def differs(self, inputs: Mapping[str, str]) -> list[str]:
        """What is no longer as it was, each in a line: inputs first, then things. Nothing when the layer has nothing to do."""
        changed = [f"{name} changed" for name in sorted(self.inputs.keys() | inputs.keys()) if self.inputs.get(name) != inputs.get(name)]
        return changed + self.changes(observe(thing for thing, _ in self.states))

    def changes(self, now: Mapping[Thing, State]) -> list[str]:
        """What differs of the things themselves, each in a line."""
        return [line for thing, before in self.states for line in differences(thing, before, now.get(thing, {}))]


def place_of(layer: str, app: str, folder: Path = FOLDER) -> Path:
    return folder / f"{app}.{layer}.json"


def read(layer: str, app: str, folder: Path = FOLDER) -> Record | None:
    """The record; none where there is none that this version can read."""
    data = read_json(place_of(layer, app, folder))
    if data.get("form") != FORM:
        return None
    try:
        states = [(_thing(pair), dict(state)) for pair, state in data["states"]]
        tasks = [Task(task["where"], [_thing(pair) for pair in task["things"]]) for task in data["tasks"]]
        return Record(data["layer"], data["app"], dict(data["inputs"]), tasks, states, data["at"])
    except (KeyError, TypeError, ValueError):
        return None


def take(layer: str, app: str, inputs: Mapping[str, str], tasks: Sequence[Task], skipped: Iterable[str], former: Record | None) -> Record:
    """Look at what the tasks of a run manage, now that they are done.

    :arg skipped: places of tasks that had nothing to do in this run: what they manage is what they did before, by the ``former`` record
        of the same collection.
    """
    done = {task.where for task in tasks}
    idle = set(skipped) - done
    kept = (
        [task for task in former.tasks if task.where in idle] if former and former.inputs.get(COLLECTION) == inputs.get(COLLECTION) else []
    )
    tasks = [*tasks, *kept]
    states = observe(thing for task in tasks for thing in task.things)
    return Record(layer, app, dict(inputs), tasks, list(states.items()), utc_now().isoformat())


#: The input that stands for the roles and plugins themselves.
COLLECTION = "the collection"


def _thing(pair: Any) -> Thing:
    kind, name = pair
    if kind not in OBSERVERS:
        raise ValueError(kind)
    return Thing(str(kind), str(name))
