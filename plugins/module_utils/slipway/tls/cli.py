# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""`slipway <app> tls`: the certificate.

Exit status: 0 all is well; 75 still trying, visitors notice nothing; 1 somebody has to act; 2 cannot work at all.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..core.errors import SlipwayError
from ..core.status import DEGRADED, OK, Status
from .config import Config
from .keeper import Keeper
from .names import Resolver
from .preflight import explain, own_addresses, preflight

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_UNUSABLE = 2
EXIT_TRYING = 75  # EX_TEMPFAIL: the unit counts it as success


def add(subjects: Any, common: argparse.ArgumentParser) -> None:
    """The words of the command line."""
    tls = subjects.add_parser("tls", parents=[common], help="the certificate: status, run, preflight, check, deploy")
    tls.add_argument("--config", type=Path, help="the configuration; /etc/<app>/tls.json unless given")
    verbs = tls.add_subparsers(dest="verb", metavar="verb")
    tls.set_defaults(handler=main, verb="status", journal=False)
    run = verbs.add_parser("run", parents=[common], help="obtain or renew when due, serve, compare")
    run.add_argument("--now", action="store_true", help="do not wait for the next attempt's time (the CA's own limits are kept)")
    run.add_argument("--force", action="store_true", help="a new certificate even when none is due")
    run.add_argument("--journal", action="store_true", help="lines with priorities, and only news")
    verbs.add_parser("status", parents=[common], help="how the certificate stands; changes nothing")
    verbs.add_parser("preflight", parents=[common], help="ask each name for a token; changes nothing")
    verbs.add_parser("check", parents=[common], help="read the configuration, nothing else")
    verbs.add_parser("deploy", parents=[common], help="serve what certbot has just renewed (its deploy hook)")


def exit_status(status: Status) -> int:
    """For the unit, the role and monitoring."""
    return {OK: EXIT_OK, DEGRADED: EXIT_TRYING}.get(status.state, EXIT_FAILED)


def load(options: argparse.Namespace) -> Config:
    """The app's configuration; an error that says what is wrong with it, or that there is none."""
    path = options.config or Path("/etc", options.app, "tls.json")
    try:
        return Config.parse(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise SlipwayError(
            f"there is no {path}: is {options.app} the app's name, and did ansible-playbook slipway.vps.site --tags edge run?"
        ) from error


def main(options: argparse.Namespace) -> int:
    """Do what ``options`` ask for."""
    try:
        config = load(options)
        if options.verb == "check":
            return EXIT_OK
        if options.verb == "preflight":
            return show_preflight(config, options.json)
        keeper = Keeper(config, options.journal)
        if options.verb == "run":
            return _run(keeper, options)
        status, facts = keeper.probe() if options.verb != "deploy" else (keeper.deployed(), {})
        print(json.dumps(facts or status.data(), indent=2) if options.json else status.text())
        return exit_status(status)
    except (SlipwayError, OSError) as error:
        print(f"{'<3>' if options.journal else ''}slipway: {error}", file=sys.stderr)
        return EXIT_UNUSABLE


def _run(keeper: Keeper, options: argparse.Namespace) -> int:
    status = keeper.reconcile(options.now, options.force)
    if options.json:
        print(json.dumps({**status.data(), "changed": keeper.changed, "attempt": asdict(keeper.state)}))
    elif not options.journal:
        print(status.text())
    return exit_status(status)


def show_preflight(config: Config, as_json: bool) -> int:
    """The preflight by itself."""
    findings, own = preflight(config, Resolver.of(config)), own_addresses()
    if as_json:
        print(json.dumps({"own": own, "findings": [asdict(finding) for finding in findings]}, indent=2))
    else:
        for finding in findings:
            print(f"{finding.name}  {finding.address or '-'}  {finding.problem or 'reaches this host'}")
        if wrong := explain(findings, own):
            print(wrong)
    return EXIT_FAILED if any(finding.problem for finding in findings) else EXIT_OK
