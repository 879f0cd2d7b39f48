# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""`slipway <app> run -- flask shell` and `slipway <app> logs`: what an operator would type, with the app's own settings."""

from __future__ import annotations

import argparse
import contextlib
import gzip
import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from .app import App
from .core.errors import SlipwayError
from .core.sandbox import ANY, FULL, properties, sandbox
from .releases import Releases

#: nginx's own log of the app's requests; the newest first.
ACCESS_LOGS = "/var/log/nginx"


def add(subjects: Any, common: argparse.ArgumentParser) -> None:
    """The words of the command line."""
    run = subjects.add_parser("run", parents=[common], help="a command of the app, as its service would run it: run -- flask shell")
    run.add_argument("words", nargs="+", metavar="command", help="after --: the command and its words")
    run.set_defaults(handler=run_main)
    logs = subjects.add_parser("logs", parents=[common], help="the app's lines in the journal; with --request those of one request")
    logs.add_argument("--follow", "-f", action="store_true", help="go on with new lines")
    logs.add_argument("--lines", "-n", type=int, default=100, help="how many; 100 unless given")
    logs.add_argument("--since", default="", help="as journalctl takes it: '1 hour ago'")
    logs.add_argument("--request", default="", metavar="ID", help="the id of a request (X-Request-ID), in nginx's log and the app's")
    logs.set_defaults(handler=logs_main)


# --- run --------------------------------------------------------------------------------------------


def command_line(app: App, words: Sequence[str], terminal: bool) -> list[str]:
    """The words for systemd-run: user, folder, environment and sandbox as the app's service has them.

    systemd reads the secrets: they are in no argument, and in no shell's history.
    """
    live = Releases.of(app).live_id()
    if not live:
        raise SlipwayError(f"{app.name} has no live release to run a command of: ansible-playbook slipway.vps.deploy")
    folder = app.releases / live
    settings = (
        f"EnvironmentFile={folder}/environment",
        app.secrets.property(),
        f"Environment=PATH={folder}/.venv/bin:/usr/local/bin:/usr/bin:/bin",
        *confined(app),
    )
    return [
        *("systemd-run", "--quiet", "--wait", "--collect", "--pty" if terminal else "--pipe"),
        *(f"--uid={app.user}", f"--gid={app.group}", f"--working-directory={folder}"),
        *(f"--property={value}" for value in settings),
        # Found in the app's PATH: systemd-run itself looks in root's.
        # systemd would put variables of its own in for $X.
        *(word.replace("$", "$$") for word in app.secrets.words(["/usr/bin/env", "--", *words])),
    ]


def confined(app: App) -> list[str]:
    """The service's sandbox and its share of the machine."""
    level, network = str(app.sandbox.get("level") or FULL), str(app.sandbox.get("network") or ANY)
    lines = sandbox("app", level=level, openings=app.sandbox, network=network, writable=app.writable)
    return [*properties(lines), *([f"Slice={app.slice}"] if app.slice else [])]


def run_main(options: argparse.Namespace) -> int:
    """Become the command: its exit status is ours."""
    words = command_line(App.load(options.app), options.words, sys.stdin.isatty() and sys.stdout.isatty())
    os.execvp(words[0], words)


# --- logs -------------------------------------------------------------------------------------------


def journal_words(app: App, options: argparse.Namespace) -> list[str]:
    """The words for journalctl: every unit of the app, of whichever release, and its certificate and backups."""
    units = [f"{app.name}.service", f"{app.name}@*.service", f"{app.name}-tls.service"]
    # What any release runs, too: the live one may be older than what the inventory says.
    manifests = Releases.of(app).manifests()
    processes = {*app.processes, *(name for manifest in manifests for name in manifest.get("processes", ()))}
    timers = {*app.timers, *(name for manifest in manifests for name in manifest.get("timers", ()))}
    units += [f"{app.name}-{process}@*.service" for process in sorted(processes)]
    units += [f"{app.name}-{timer}.service" for timer in sorted(timers)]
    words = ["journalctl", "--no-pager", f"--lines={'all' if options.request else options.lines}"]
    words += [f"--since={options.since}"] if options.since else []
    words += ["--follow"] if options.follow else []
    words += ["--output=json"] if options.json else ["--output=short-iso"]
    # As it is, and in whichever case: an id is no pattern.
    words += [f"--grep={options.request}"] if options.request else []
    return [*words, *(f"--unit={unit}" for unit in units)]


def access_lines(app: str, request: str, folder: Path) -> Iterator[str]:
    """nginx's lines about a request, oldest first, rotated logs among them."""
    for path in sorted(folder.glob(f"{app}.access.log*"), reverse=True):
        with contextlib.suppress(OSError), (gzip.open if path.suffix == ".gz" else open)(path, "rt", errors="replace") as lines:
            yield from (line.rstrip("\n") for line in lines if request in line)


def logs_main(options: argparse.Namespace) -> int:
    """Print them."""
    app = App.load(options.app)
    if options.request:
        if not options.request.isalnum():
            raise SlipwayError(f"{options.request!r} is no id of a request: letters and digits only, as X-Request-ID has it")
        for line in access_lines(app.name, options.request, Path(ACCESS_LOGS)):
            print(json.dumps({"nginx": line}) if options.json else f"nginx: {line}", flush=True)
    words = journal_words(app, options)
    os.execvp(words[0], words)
