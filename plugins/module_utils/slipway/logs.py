# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""`slipway <app> logs`: the journal of its units; with --request one request through nginx, server and app, in order of time."""

from __future__ import annotations

import argparse
import contextlib
import gzip
import json
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple

from .app import App
from .core.errors import SlipwayError
from .core.run import execute, when_nobody_reads
from .releases import Releases

#: nginx's own log of the app's requests.
ACCESS_LOGS = "/var/log/nginx"
#: nginx writes a line when the request has ended, and its time in whole seconds: what the app wrote in that second came before.
END_OF_SECOND = 0.999999
#: As after Ctrl-C in a shell.
EXIT_INTERRUPTED = 130


class Line(NamedTuple):
    """One line, of whichever log."""

    at: float
    source: str
    text: str
    #: Of the journal: where to go on.
    cursor: str = ""

    def shown(self, as_json: bool) -> str:
        """As it is printed; the time as `journalctl --utc --output=short-iso-precise` has it: lines of several hosts can be sorted."""
        at = datetime.fromtimestamp(self.at, timezone.utc).isoformat(timespec="microseconds")
        return json.dumps({"time": at, "source": self.source, "message": self.text}) if as_json else f"{at} {self.source}: {self.text}"


def add(subjects: Any, common: argparse.ArgumentParser) -> None:
    """The words of the command line."""
    logs = subjects.add_parser("logs", parents=[common], help="the app's lines in the journal; with --request those of one request")
    logs.add_argument("--follow", "-f", action="store_true", help="go on with new lines")
    logs.add_argument("--lines", "-n", type=int, default=100, help="how many; 100 unless given; with --request all")
    logs.add_argument("--since", default="", help="as journalctl takes it: '1 hour ago'")
    logs.add_argument("--request", default="", metavar="ID", help="the id of a request (X-Request-ID), in nginx's log and the app's")
    logs.set_defaults(handler=main)


def main(options: argparse.Namespace) -> int:
    """Print them. Without --request this becomes journalctl."""
    app = App.load(options.app)
    if not options.request:
        words = journal_words(app, options, options.lines, "json" if options.json else "short-iso-precise")
        words += ["--follow"] if options.follow else []
        os.execvp(words[0], words)
    if not options.request.isalnum():
        raise SlipwayError(f"{options.request!r} is no id of a request: letters and digits only, as X-Request-ID has it")
    return one_request(app, options)


# --- The journal --------------------------------------------------------------------------------------


def units(app: App) -> Iterator[str]:
    """Every unit of the app, of whichever release, and its certificate."""
    yield from (f"{app.name}.service", f"{app.name}@*.service", f"{app.name}-tls.service")
    # What any release runs, too: the live one may be older than what the inventory says.
    manifests = Releases.of(app).manifests()
    processes = {*app.processes, *(name for manifest in manifests for name in manifest.get("processes", ()))}
    timers = {*app.timers, *(name for manifest in manifests for name in manifest.get("timers", ()))}
    yield from (f"{app.name}-{process}@*.service" for process in sorted(processes))
    yield from (f"{app.name}-{timer}.service" for timer in sorted(timers))


def journal_words(app: App, options: argparse.Namespace, lines: int | str, form: str) -> list[str]:
    """The words for journalctl."""
    words = ["journalctl", "--no-pager", "--utc", f"--output={form}", f"--lines={lines}"]
    words += [f"--since={options.since}"] if options.since else []
    # As it is, and in whichever case: an id is no pattern.
    words += [f"--grep={options.request}"] if options.request else []
    return [*words, *(f"--unit={unit}" for unit in units(app))]


def journal_line(text: str) -> Line | None:
    """A line of `journalctl --output=json`; None for anything else."""
    try:
        entry = json.loads(text)
        at = int(entry["__REALTIME_TIMESTAMP"]) / 1e6
    except (ValueError, KeyError, TypeError):
        return None
    message = entry.get("MESSAGE") or ""
    # What is not UTF-8 comes as a list of numbers.
    said = bytes(message).decode(errors="replace") if isinstance(message, list) else str(message)
    source = str(entry.get("_SYSTEMD_UNIT") or entry.get("SYSLOG_IDENTIFIER") or "journal").removesuffix(".service")
    return Line(at, source, said, str(entry.get("__CURSOR", "")))


# --- nginx --------------------------------------------------------------------------------------------


def access_line(text: str) -> Line:
    """A line of nginx's log, in the form that Slipway gives it; of another form one without a time, which comes first."""
    try:
        at = datetime.fromisoformat(json.loads(text)["time"]).timestamp() + END_OF_SECOND
    except (ValueError, KeyError, TypeError):
        at = 0.0
    return Line(at, "nginx", text.rstrip("\n"))


def access_lines(app: str, request: str, folder: Path) -> Iterator[Line]:
    """nginx's lines about a request, oldest first, rotated logs among them."""
    for path in sorted(folder.glob(f"{app}.access.log*"), reverse=True):
        with contextlib.suppress(OSError), (gzip.open if path.suffix == ".gz" else open)(path, "rt", errors="replace") as lines:
            yield from (access_line(line) for line in lines if request in line)


# --- One request --------------------------------------------------------------------------------------


def one_request(app: App, options: argparse.Namespace) -> int:
    """What there is, in order of time; with --follow what comes, too. 1 when nothing is known of it."""
    folder, began = Path(ACCESS_LOGS), time.time()
    log = folder / f"{app.name}.access.log"
    size = log.stat().st_size if log.exists() else 0
    said = execute(journal_words(app, options, "all", "json"))
    # 1: nothing was found.
    if said.status not in (0, 1):
        raise SlipwayError(f"journalctl: {said.errors.strip()}")
    journal = [found for found in map(journal_line, said.output.splitlines()) if found]
    lines = sorted([*access_lines(app.name, options.request, folder), *journal], key=lambda line: line.at)
    for line in lines:
        print(line.shown(options.json), flush=True)
    if options.follow:
        options.since = ""
        behind = f"--after-cursor={journal[-1].cursor}" if journal else f"--since=@{began:.0f}"
        return follow(options, [*journal_words(app, options, "all", "json"), "--follow", behind], log, size)
    if not lines:
        raise SlipwayError(f"no log of {app.name} has the request {options.request}; its newest lines: slipway {app.name} logs")
    return 0


def follow(options: argparse.Namespace, journal: list[str], log: Path, size: int) -> int:
    """Lines as they come, until somebody has seen enough."""
    tail = ["tail", f"--bytes=+{size + 1}", "--follow=name", "--retry", str(log)]
    sources: list[tuple[list[str], Callable[[str], Line | None]]] = [
        (journal, journal_line),
        (tail, lambda text: access_line(text) if options.request in text else None),
    ]
    processes: list[subprocess.Popen[str]] = []
    readers: list[threading.Thread] = []

    def end() -> None:
        for process in processes:
            process.kill()

    def copy(texts: Iterable[str], read: Callable[[str], Line | None]) -> None:
        for text in texts:
            if line := read(text):
                print(line.shown(options.json), flush=True)

    try:
        for words, read in sources:
            process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, errors="replace")
            processes.append(process)
            readers.append(threading.Thread(target=copy, args=(process.stdout, read)))
        when_nobody_reads(end)
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join()
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    finally:
        end()
    return 0
