# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""`slipway <app> run -- flask shell`: a command of the app, as its service would run it."""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any

from .app import App
from .core.errors import SlipwayError
from .core.run import execute, when_nobody_reads
from .core.sandbox import ANY, FULL, properties, sandbox
from .releases import Releases

#: systemd counts a death by one of these signals as a success. A shell around the command gives it an exit status, 130 for Ctrl-C.
WATCHED = ("/bin/sh", "-c", 'trap : HUP INT TERM; "$@"', "sh")
EXIT_INTERRUPTED = 130


def add(subjects: Any, common: argparse.ArgumentParser) -> None:
    """The words of the command line."""
    run = subjects.add_parser("run", parents=[common], help="a command of the app, as its service would run it: run -- flask shell")
    run.add_argument("words", nargs="+", metavar="command", help="after --: the command and its words")
    run.set_defaults(handler=run_main)


def command_line(app: App, words: Sequence[str], terminal: bool, unit: str = "") -> list[str]:
    """The words for systemd-run: user, folder, environment and sandbox as the app's service has them.

    :arg unit: name of the unit; one of systemd's own, unless given.

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
        *("systemd-run", "--quiet", "--wait", "--collect", "--pty" if terminal else "--pipe", *([f"--unit={unit}"] if unit else [])),
        *(f"--uid={app.user}", f"--gid={app.group}", f"--working-directory={folder}"),
        *(f"--property={value}" for value in settings),
        f"--description={app.name}: {shlex.join(words)}",
        # Found in the app's PATH: systemd-run itself looks in root's.
        # systemd would put variables of its own in for $X.
        *(word.replace("$", "$$") for word in app.secrets.words([*WATCHED, "/usr/bin/env", "--", *words])),
    ]


def confined(app: App) -> list[str]:
    """The service's sandbox and its share of the machine."""
    level, network = str(app.sandbox.get("level") or FULL), str(app.sandbox.get("network") or ANY)
    lines = sandbox("app", level=level, openings=app.sandbox, network=network, writable=app.writable)
    return [*properties(lines), *([f"Slice={app.slice}"] if app.slice else [])]


def run_main(options: argparse.Namespace) -> int:
    """Run it; its exit status is ours."""
    app = App.load(options.app)
    if sys.stdin.isatty() and sys.stdout.isatty():
        # A terminal that goes ends what runs in it.
        words = command_line(app, options.words, terminal=True)
        os.execvp(words[0], words)
    return attended(app, options.words, f"{app.name}-run-{os.getpid()}.service")


def attended(app: App, words: Sequence[str], unit: str) -> int:
    """Run it to its end, and no longer than somebody reads what it says: systemd-run alone would leave the command behind."""
    unwanted = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: unwanted.set())
    # A session of its own: Ctrl-C is ours alone, or systemd-run would be gone before its unit.
    process = subprocess.Popen(command_line(app, words, terminal=False, unit=unit), start_new_session=True)

    def stop() -> None:
        unwanted.wait()
        # Until there is such a unit it cannot be stopped.
        while process.poll() is None:
            execute(["systemctl", "stop", unit])
            time.sleep(0.2)

    threading.Thread(target=stop, daemon=True).start()
    when_nobody_reads(unwanted.set)
    return process.wait() or (EXIT_INTERRUPTED if unwanted.is_set() else 0)
