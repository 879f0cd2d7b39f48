# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""The state document: all that can be seen of this machine and its apps in about three seconds, without changing anything.

``slipway <app> state``, ``slipway state`` for all apps, and the module ``slipway.vps.state``, whose documentation describes each field.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ..app import ETC, App, names
from ..core.clock import stamp
from ..core.errors import SlipwayError
from . import apps, hardening, machine
from .together import together

#: Of the document. Another number: a field has gone, or means something else.
FORMAT = 1
#: Seconds after which what has not answered is left out, and named.
PATIENCE = 3.0


def document(found: Sequence[App], etc: Path = ETC, patience: float = PATIENCE) -> dict[str, Any]:
    """The machine and these apps of it."""
    began = time.time()
    units = [unit for app in found for unit in apps.serving(app)]
    probes: dict[tuple[str, str], Callable[[], Any]] = {
        **{("", name): probe for name, probe in machine.probes(found).items()},
        ("", "exposure"): partial(hardening.exposure, units),
        **{(app.name, name): probe for app in found for name, probe in apps.probes(app, etc).items()},
    }
    # Of the main thread alone: it changes what Python warns of.
    protocols = {app.name: hardening.protocols(app.domain) for app in found}
    seen, gaps = together(probes, patience)
    exposure: Mapping[str, Any] = seen.pop(("", "exposure"), None) or {}
    for app in found:
        seen[app.name, "protocols"] = protocols[app.name]
        for unit in seen.get((app.name, "units")) or ():
            unit["exposure"] = exposure.get(unit["unit"])
    return {
        "format": FORMAT,
        "taken_at": stamp(began),
        "seconds": round(time.time() - began, 2),
        "machine": {
            **{name: value for (owner, name), value in seen.items() if not owner},
            "exposure": {unit: value for unit, value in exposure.items() if unit not in units},
        },
        "apps": {
            app.name: {**apps.named(app), **{name: value for (owner, name), value in seen.items() if owner == app.name}} for app in found
        },
        "gaps": {".".join(filter(None, place)): why for place, why in gaps.items()},
    }


def add(subjects: Any, common: argparse.ArgumentParser) -> None:
    """The words of the command line."""
    subjects.add_parser("state", parents=[common], help="all that can be seen of the app and its machine, as JSON").set_defaults(
        handler=main
    )


def main(options: argparse.Namespace) -> int:
    """Of one app."""
    return show([App.load(options.app)])


def machine_main() -> int:
    """Of all apps. One whose facts cannot be read does not keep the others from being told."""
    found, unread = [], {}
    for name in names():
        try:
            found.append(App.load(name))
        except SlipwayError as error:
            unread[name] = str(error)
    return show(found, unread)


def show(found: Sequence[App], unread: Mapping[str, str] | None = None) -> int:
    """Print the document."""
    made = document(found)
    made["gaps"].update(unread or {})
    print(json.dumps(made, indent=2))
    return 0
