# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""What drift.yml says, of all hosts at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ansible_collections.slipway.vps.plugins.filter.text import table

#: Ways of saying what differs now.
LOOKS = ("show", "mend", "mended")
COLUMNS = ("host", "layer", "what", "since", "by")


def drift_text(found: Sequence[tuple[str, Mapping[str, Any]]], mode: str = "show", inventory: str = "inventories/<name>") -> str:
    """A table of what differs; below it what each row does not say, and what to do next.

    :arg found: entries of the inventory, each with what the module drift has returned.
    :arg mode: ``show``; ``mend``, before anything is put back, and ``mended``; ``adopt``, and ``dry`` for that in check mode.
    """
    command = f"ansible-playbook -i {inventory} slipway.vps.drift"
    rows = [{"host": host, **row} for host, result in found for row in result["rows"]]
    lines = [table(rows, COLUMNS)] if rows and mode in LOOKS else []
    if not rows:
        lines.append("Nothing differs from what the last runs have left." if found else "No host could be looked at.")
    for host, result in found:
        lines += [*_changes(host, result, mode), *_adopted(host, result, mode)]
    notes = [line for host, result in found for line in _layers(host, result, mode)]
    lines += ["", *notes] if notes else []
    if rows and mode == "show":
        lines += ["", f"To put it back: {command} -e drift=mend", f"To let it be:   {command} -e drift=adopt"]
    if rows and mode == "mended":
        lines += ["", f"Not put back: {command} --limit {','.join(dict.fromkeys(row['host'] for row in rows))} says it again."]
    return "\n".join(lines)


def _changes(host: str, result: Mapping[str, Any], mode: str) -> Iterator[str]:
    """The lines of files, and where the inventory would say so."""
    seen = set()
    for layer in result["layers"] if mode in LOOKS else ():
        for change in layer["changes"]:
            thing = (change["kind"], change["name"])
            if change["diff"] or (change["inventory"] and thing not in seen):
                yield from ("", f"{host}, {layer['layer']}: {change['text']}", *(f"  {line}" for line in change["diff"]))
            if change["inventory"] and thing not in seen:
                yield f"  in the inventory: {change['inventory']}"
            seen.add(thing)


def _adopted(host: str, result: Mapping[str, Any], mode: str) -> Iterator[str]:
    """What counts as it is from now on, what does not, and how long that holds."""
    if mode not in ("adopt", "dry"):
        return
    places = {change["text"]: change["inventory"] for layer in result["layers"] for change in layer["changes"]}
    for text in result["adopted"]:
        place = places.get(text)
        yield f"{host}: {'adopted' if mode == 'adopt' else 'would be adopted'}: {text}"
        yield f"  for good: {place}" if place else "  for good: no variable says this; every run that does its layer puts it back"
    yield from (f"{host}: NOT adopted: {text}" for text in result["refused"])
    if result["adopted"]:
        yield f"{host}: put back all the same by -e full=true, by a changed input of the layer, and by another version of the collection"
    for layer, names in result["given_anew"].items():
        yield f"{host}: WARNING: the next run does {layer} anyway ({', '.join(names)} changed), and puts back what is adopted there"


def _layers(host: str, result: Mapping[str, Any], mode: str) -> Iterator[str]:
    """Layers that cannot be compared, and what is known to differ and left."""
    for layer in result["layers"]:
        if not layer["recorded"]:
            yield f"{host}, {layer['layer']}: not recorded, so not compared; the next site.yml does it"
        for one in layer["accepted"] if mode in LOOKS else ():
            why = f"adopted by {one['by']}" if one["by"] else "no task changes it back"
            yield f"{host}, {layer['layer']}: counts as it is since {one['at'][:10]} ({why}): {one['text']}"


class FilterModule:
    """The collection's filters about drift."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"drift_text": drift_text}
