# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""The command line `slipway`.

`slipway <app> <subject> …`; of the machine `slipway status`, `drift` and `state` for all its apps, and `slipway guard` for changes that
wait for their confirmation. `--json` everywhere.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from . import drift, guard, logs, overview, rebuild, releases, shell, state, verify
from .backup import cli as backup
from .core.errors import SlipwayError
from .tls import cli as tls

EXIT_FAILED = 1


def parser() -> argparse.ArgumentParser:
    """The command line of an app."""
    common = argparse.ArgumentParser(add_help=False)
    # Suppressed: the default of a verb would overrule what was said before it.
    common.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="the result as JSON")
    top = argparse.ArgumentParser(prog="slipway", description="The apps on this machine.", parents=[common])
    alone = "or `status`, `drift` or `state` alone, for all apps of the machine; or `guard`, see `slipway guard --help`"
    top.add_argument("app", help=f"name of the app; {alone}")
    subjects = top.add_subparsers(dest="subject", required=True, metavar="subject")
    for subject in (overview, releases, tls, backup, verify, drift, shell, logs, rebuild, state):
        subject.add(subjects, common)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        # An app may be called so: then a subject follows.
        said = [word for word in words if word != "--json"]
        if said == ["status"]:
            return overview.machine("--json" in words)
        if said == ["state"]:
            return state.machine_main()
        if said == ["drift"]:
            return drift.machine("--json" in words)
        if said[:1] == ["guard"] and said[1:2] in ([], ["--help"], ["list"], ["end"], ["revert"]):
            words.remove("guard")
            return guard.main(words)
        options = parser().parse_args(words, argparse.Namespace(json=False))
        return int(options.handler(options))
    except (SlipwayError, OSError) as error:
        print(f"slipway: {error}", file=sys.stderr)
        return EXIT_FAILED
