# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""What is no longer as the last run left it, since when, and who did it: `slipway <app> drift`, and `slipway drift` for the machine.

It looks only. What an operator decides about it, the playbook `drift` does: put it back, or let it count as it is (`adopt`).
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import subprocess
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from .app import ETC, names
from .core.clock import stamp
from .core.errors import SlipwayError
from .core.run import PATH, execute
from .seals.cause import Cause, Look, cause
from .seals.content import changed_lines, public_text
from .seals.moment import PATHS, Moment, moment
from .seals.observe import PATIENCE, Difference, State, Thing, observe
from .seals.permanent import place
from .seals.record import FOLDER, LAYERS, Accepted, Record, read
from .seals.traces import Traces, gather, journal

EXIT_DRIFT = 1
#: States of a unit that somebody may want. Any other is a failure, or is over in a moment.
LASTING = ("active", "inactive", "")
#: Seconds around a change of a unit in which systemd has noted it.
AROUND = 3


class Change(NamedTuple):
    """A difference, and what is known of it.

    :arg lines: of a file that everybody may read, the lines that went and came.
    :arg place: the variables and the file of the inventory that would say it; empty where none does.
    """

    difference: Difference
    when: Moment | None
    cause: Cause
    lines: list[str]
    place: str

    @property
    def since(self) -> str:
        return "" if self.when is None else f"{stamp(self.when.at)}{' or before' if self.when.latest else ''}"

    def data(self) -> dict[str, Any]:
        """Without the values of what is not shown."""
        thing = self.difference.thing
        return {
            **{"kind": thing.kind, "name": thing.name, "what": self.difference.what or "existence", "text": str(self.difference)},
            **{"since": stamp(self.when.at) if self.when else None, "at_the_latest": bool(self.when and self.when.latest)},
            **{"cause": self.cause.data(), "diff": self.lines, "inventory": self.place},
        }


@dataclass(frozen=True)
class Layer:
    """A layer of an app; without a record there is nothing to compare with."""

    name: str
    app: str
    record: Record | None = None
    changes: list[Change] = field(default_factory=list)
    #: How everything was when it was looked at.
    now: Mapping[Thing, State] = field(default_factory=dict)

    @property
    def accepted(self) -> list[Accepted]:
        return self.record.accepted if self.record else []

    def data(self) -> dict[str, Any]:
        accepted = [{"text": str(one.difference), "at": one.at, "by": one.by} for one in self.accepted]
        at = self.record.at if self.record else None
        return {"layer": self.name, "recorded": at, "changes": [one.data() for one in self.changes], "accepted": accepted}


def look(app: str, folder: Path = FOLDER, etc: Path = ETC) -> list[Layer]:
    """The layers of an app, with what differs in each.

    :raises SlipwayError: when nothing is recorded, or the host cannot be asked.
    """
    if folder.exists() and not os.access(folder, os.R_OK | os.X_OK):
        raise SlipwayError(f"{folder} is for root alone: sudo slipway {app} drift")
    records = {layer: read(layer, app, folder) for layer in LAYERS}
    if not any(records.values()):
        raise SlipwayError(
            f"no layer of {app} is recorded in {folder}, so nothing can be compared: ansible-playbook slipway.vps.site "
            "(with `callbacks_enabled = slipway.vps.seal` in ansible.cfg) records it"
        )
    now = _states(thing for record in records.values() if record for thing, _ in record.states)
    differ = {layer: record.compare(now) for layer, record in records.items() if record}
    traces = _traces([record.at for layer, record in records.items() if record and differ[layer]])
    owned = owners([one.thing.name for found in differ.values() for one in found if one.thing.kind in PATHS])
    # A host of a database has that layer alone.
    wanted = [layer for layer in LAYERS if records[layer] or (etc / app / "app.json").exists()]
    return [
        Layer(layer, app, record, [_known(found, record, traces, owned) for found in differ[layer]], now)
        if (record := records[layer])
        else Layer(layer, app)
        for layer in wanted
    ]


def _states(things: Iterable[Thing]) -> dict[Thing, State]:
    try:
        return observe(things)
    except subprocess.TimeoutExpired as error:
        raise SlipwayError(f"this host does not answer: {error.cmd[0]} took longer than {PATIENCE} s") from error


def _traces(times: Sequence[str]) -> Traces:
    """What was noted since the oldest of some records. That it cannot be read hides no difference."""
    try:
        return gather(min(map(seconds, times)), time.time()) if times else Traces([], [], [])
    except (OSError, subprocess.TimeoutExpired):
        return Traces([], [], [])


def seconds(at: str) -> float:
    """A time of a record, in seconds since 1970."""
    return datetime.fromisoformat(at).timestamp()


def _known(found: Difference, record: Record, traces: Traces, owned: Mapping[str, str]) -> Change:
    after = seconds(record.at)
    when = moment(found, after, traces)
    text = public_text(Path(found.thing.name)) if found.thing.kind in ("file", "content") else None

    former = dict(record.states)[found.thing].get("content", "")

    def shown(one: Difference) -> bool:
        if one.thing.kind in ("file", "content"):
            return text is not None or (not one.now and former in record.texts)
        return one.thing.kind not in ("user", "group")

    before = record.texts.get(found.was) if found.what == "content" else None
    lines = changed_lines(before, text) if before is not None and text is not None else []
    said = place(found, record.app, [task.where for task in record.tasks if found.thing in task.things])
    return Change(found, when, cause(found, when, Look(after, traces, owned, shown, jobs_of)), lines, said)


def owners(paths: Sequence[str]) -> dict[str, str]:
    """Path to the package that it is of, for those that a package has brought."""
    if not paths:
        return {}
    try:
        said = execute(["dpkg-query", "--search", "--", *paths], environment={"PATH": PATH, "LC_ALL": "C.UTF-8"}, timeout=PATIENCE).output
    except (OSError, subprocess.TimeoutExpired):
        return {}
    # "openssh-server: /etc/ssh/moduli", and "a, b:<architecture>: /etc/shared".
    rows = [line.partition(": /") for line in said.splitlines() if not line.startswith("diversion ")]
    return {f"/{path}": package.split(",")[0].partition(":")[0] for package, _, path in rows if path}


@functools.lru_cache(maxsize=256)
def jobs_of(unit: str, at: float) -> tuple[Mapping[str, Any], ...]:
    """What systemd noted of a unit around a time: with ``JOB_TYPE`` where it was told to do something."""
    try:
        return tuple(journal(at - AROUND, "_PID=1", f"UNIT={unit}", until=at + AROUND))
    except subprocess.TimeoutExpired:
        return ()


# --- Adopt ------------------------------------------------------------------------------------------


class Adoption(NamedTuple):
    """What would count as it is now: the records that say so (nothing is written), each difference, and what is refused, with why."""

    records: list[Record]
    adopted: list[Difference]
    refused: dict[Thing, str]


def adopt(layers: Iterable[Layer], wanted: Collection[str], by: str) -> Adoption:
    """Let what differs count as it is.

    :arg wanted: names of things, or kind and name; empty: all that differs.
    """
    found = Adoption([], [], {})
    for layer in layers:
        meant = [change.difference for change in layer.changes if not wanted or {*wanted} & called(change.difference.thing)]
        for thing, what, _, now in meant:
            if thing.kind == "unit" and what == "state" and now not in LASTING:
                found.refused[thing] = f"it is {now}, which nobody wants for good: journalctl -u {thing.name} -n 50"
        chosen = [one for one in meant if one.thing not in found.refused]
        if layer.record and chosen:
            found.records.append(layer.record.adopt({one.thing for one in chosen}, layer.now, by))
            found.adopted.extend(one for one in chosen if one not in found.adopted)
    return found


def called(thing: Thing) -> set[str]:
    """What an operator may call it."""
    return {str(thing), thing.name} - {""}


def alike(changes: Iterable[Change]) -> list[list[Change]]:
    """Changes of one thing at one time, by the same: a rule of ufw is a line in several chains."""
    found: dict[tuple[Any, ...], list[Change]] = {}
    for change in changes:
        found.setdefault((change.difference.thing, change.when, change.cause), []).append(change)
    return list(found.values())


# --- Output -----------------------------------------------------------------------------------------


def add(subjects: Any, common: argparse.ArgumentParser) -> None:
    """The words of the command line."""
    words = "what is no longer as the last run left it, since when and by whom; exit status 1 when there is something"
    subjects.add_parser("drift", parents=[common], help=words).set_defaults(handler=main)


def main(options: argparse.Namespace) -> int:
    """Of one app."""
    return show({options.app: look(options.app)}, options.json)


def machine(as_json: bool) -> int:
    """Of all apps that have a record here, or should have one."""
    apps = {*names(), *(path.name.rsplit(".", 2)[0] for path in FOLDER.glob("*.*.json"))}
    return show({app: look(app) for app in sorted(apps)}, as_json)


def show(found: Mapping[str, Sequence[Layer]], as_json: bool) -> int:
    """Print it; 0 only when everything is as it was left, and could be compared."""
    if as_json:
        print(json.dumps({"apps": {app: {"layers": [layer.data() for layer in layers]} for app, layers in found.items()}}, indent=2))
    else:
        print("\n".join(line for app, layers in found.items() for line in text(app, layers)) or "No app on this machine yet.")
    return EXIT_DRIFT if any(layer.changes or not layer.record for layers in found.values() for layer in layers) else 0


def text(app: str, layers: Sequence[Layer]) -> list[str]:
    """The same for people."""
    lines = []
    for layer in layers:
        if not layer.record:
            lines.append(f"{app}, {layer.name}: not recorded, so not compared; the next site.yml does it")
            continue
        count = f"{len(layer.changes)} changed" if layer.changes else "as it was left"
        lines.append(f"{app}, {layer.name}: {count} since {stamp(seconds(layer.record.at))}")
        for same in alike(layer.changes):
            lines += [f"  {change.difference}" for change in same]
            lines.append(f"    {same[0].since or 'at an unknown time'}; {same[0].cause}")
            lines += [f"    {line}" for change in same for line in change.lines]
        for one in layer.accepted:
            why = f"adopted by {one.by}" if one.by else "no task changed it back"
            lines += [f"  {one.difference}", f"    counts as it is since {stamp(seconds(one.at))}: {why}"]
    if any(layer.changes for layer in layers):
        lines.append("To put it back: ansible-playbook slipway.vps.drift -e drift=mend; to let it be: -e drift=adopt (docs/operations.md)")
    return lines
