# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""The record of a layer: what it was given, what its tasks manage, and how that was when it was done."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from ..core.clock import utc_now
from ..core.files import read_json, write_atomically
from .content import public_text, sha256_of
from .observe import OBSERVERS, Difference, State, Thing, compare, observe, value

#: A file for each app and layer, for root alone: of passwords and secret files there are digests in it.
FOLDER = Path("/var/lib/slipway/seals")
LAYERS = ("base", "edge", "data", "serve", "keep")
#: Another form of the record is none.
FORM = 1


@dataclass(frozen=True)
class Task:
    """What one task manages.

    :arg where: file and line in the collection: who it is in the next run.
    :arg things: pairs of kind and name (`observe.Thing`).
    :arg hidden: what it writes is secret, whoever may read it.
    """

    where: str
    things: list[Thing]
    hidden: bool = False


@dataclass(frozen=True)
class Accepted:
    """A difference that counts as it is now.

    :arg at: since when, ISO 8601 in UTC.
    :arg by: who has adopted it; empty: a run found it, and no task of it changed it back.
    """

    difference: Difference
    at: str
    by: str

    def holds(self, states: Mapping[Thing, State]) -> bool:
        return value(states.get(self.difference.thing, {}), self.difference.what) == self.difference.now


@dataclass(frozen=True)
class Record:
    """A layer of an app, as a run left it.

    :arg inputs: what the layer was given, by whose it is (``the model``, ``variables of nginx``), to a digest.
    :arg states: how each thing was, in the order of the tasks' things.
    :arg at: when, ISO 8601 in UTC.
    :arg texts: digest to text of files that everybody on the host may read. A record of a former version has none.
    :arg accepted: what is not as the tasks make it, and counts as it is.
    """

    layer: str
    app: str
    inputs: dict[str, str]
    tasks: list[Task]
    states: list[tuple[Thing, State]]
    at: str
    form: int = field(default=FORM)
    texts: dict[str, str] = field(default_factory=dict)
    accepted: list[Accepted] = field(default_factory=list)

    def path(self, folder: Path = FOLDER) -> Path:
        return place_of(self.layer, self.app, folder)

    def write(self, folder: Path = FOLDER) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomically(self.path(folder), json.dumps(asdict(self), indent=1) + "\n")

    def differs(self, inputs: Mapping[str, str]) -> list[str]:
        """What is no longer as it was, each in a line: inputs first, then things. Nothing when the layer has nothing to do."""
        found = [f"{name} changed" for name in self.changed(inputs)] + self.changes(observe(thing for thing, _ in self.states))
        # What is adopted opens no layer; one that is done for another reason puts it back.
        put_back = "put back now, unless the inventory says it"
        adopted = [f"{one.difference}, as adopted on {one.at[:10]}: {put_back}" for one in self.accepted if one.by]
        return found + adopted if found else []

    def changed(self, inputs: Mapping[str, str]) -> list[str]:
        """Names of the inputs that are others now."""
        return [name for name in sorted(self.inputs.keys() | inputs.keys()) if self.inputs.get(name) != inputs.get(name)]

    def changes(self, now: Mapping[Thing, State]) -> list[str]:
        """What differs of the things themselves, each in a line."""
        return [str(found) for found in self.compare(now)]

    def compare(self, now: Mapping[Thing, State]) -> list[Difference]:
        return [found for thing, before in self.states for found in compare(thing, before, now.get(thing, {}))]

    def adopt(self, chosen: Collection[Thing], now: Mapping[Thing, State], by: str) -> Record:
        """The same with these things as they are now. It stays as old as the run that left the others."""
        states = [(thing, now.get(thing, {}) if thing in chosen else state) for thing, state in self.states]
        before = {(one.difference.thing, one.difference.what): one.difference.was for one in self.accepted}
        accepted = [one for one in self.accepted if one.difference.thing not in chosen]
        for found in (found for found in self.compare(now) if found.thing in chosen):
            # Adopted twice, it is still what the run had left that it differs from.
            found = found._replace(was=before.get((found.thing, found.what), found.was))
            accepted += [Accepted(found, utc_now().isoformat(), by)] if found.was != found.now else []
        texts = {**self.texts, **public_texts(self.tasks, dict(states))}
        return replace(self, states=states, accepted=accepted, texts=texts)


def place_of(layer: str, app: str, folder: Path = FOLDER) -> Path:
    return folder / f"{app}.{layer}.json"


def read(layer: str, app: str, folder: Path = FOLDER) -> Record | None:
    """The record; none where there is none that this version can read."""
    data = read_json(place_of(layer, app, folder))
    if data.get("form") != FORM:
        return None
    try:
        states = [(_thing(pair), dict(state)) for pair, state in data["states"]]
        tasks = [Task(task["where"], [_thing(pair) for pair in task["things"]], bool(task.get("hidden"))) for task in data["tasks"]]
        # A former version knew neither.
        texts, accepted = dict(data.get("texts", {})), [_accepted(one) for one in data.get("accepted", [])]
        return Record(data["layer"], data["app"], dict(data["inputs"]), tasks, states, data["at"], texts=texts, accepted=accepted)
    except (KeyError, TypeError, ValueError):
        return None


def take(
    layer: str,
    app: str,
    inputs: Mapping[str, str],
    tasks: Sequence[Task],
    skipped: Iterable[str],
    former: Record | None,
    found: Collection[str] = (),
) -> Record:
    """Look at what the tasks of a run manage, now that they are done.

    :arg skipped: places of tasks that had nothing to do in this run: what they manage is what they did before, by the ``former`` record
        of the same collection.
    :arg found: what this run has found to differ, each in a line.
    """
    done = {task.where for task in tasks}
    idle = set(skipped) - done
    kept = (
        [task for task in former.tasks if task.where in idle] if former and former.inputs.get(COLLECTION) == inputs.get(COLLECTION) else []
    )
    tasks = [*tasks, *kept]
    states = observe(thing for task in tasks for thing in task.things)
    at = utc_now().isoformat()
    # Given something else, what differs may be what is wanted now.
    accepted = list(still_accepted(former, states, found, at)) if former and former.inputs == inputs else []
    texts = public_texts(tasks, states)
    return Record(layer, app, dict(inputs), tasks, list(states.items()), at, texts=texts, accepted=accepted)


def still_accepted(former: Record, states: Mapping[Thing, State], found: Collection[str], at: str) -> Iterator[Accepted]:
    """What counted as it is and was not changed back, and what this run has found and did not change back either."""
    yield from (one for one in former.accepted if one.holds(states))
    now = {**dict(former.states), **states}
    yield from (Accepted(one, at, "") for one in former.compare(now) if str(one) in found)


def public_texts(tasks: Sequence[Task], states: Mapping[Thing, State]) -> dict[str, str]:
    """Digest to text of the files that hold nothing secret: a later change can be shown."""
    hidden = {thing for task in tasks if task.hidden for thing in task.things}
    texts: dict[str, str] = {}
    for thing, state in states.items():
        if (digest := state.get("content", "")) and thing not in hidden:
            text = public_text(Path(thing.name))
            if text is not None and sha256_of(text) == digest:
                texts[digest] = text
    return texts


#: The input that stands for the roles and plugins themselves.
COLLECTION = "the collection"


def _thing(pair: Any) -> Thing:
    kind, name = pair
    if kind not in OBSERVERS:
        raise ValueError(kind)
    return Thing(str(kind), str(name))


def _accepted(data: Mapping[str, Any]) -> Accepted:
    thing, *words = data["difference"]
    what, was, now = map(str, words)
    return Accepted(Difference(_thing(thing), what, was, now), str(data["at"]), str(data["by"]))
