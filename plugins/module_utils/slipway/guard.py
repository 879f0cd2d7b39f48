# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""The dead-man switch: a change that could shut its author out takes itself back, unless somebody ends the guard in time.

What is about to change is copied, and a timer of systemd is set that puts the copy back. Whoever has proven that a new connection still
comes in ends the guard. A run that dies in between, for whatever reason, leaves a host that is as it was within two minutes.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .core.clock import stamp
from .core.errors import SlipwayError
from .core.files import PARTIAL, make_folder, read_json, relink, remove, sync_tree, write_atomically
from .core.lock import locked
from .core.run import CommandError, attempt, command, tail
from .core.text import table
from .core.units import reload_units, stop_units

FOLDER = Path("/var/lib/slipway/guard")
UNITS = Path("/etc/systemd/system")
LOCK = Path("/run/lock/slipway-guard")
PROGRAM = "/usr/local/bin/slipway"
#: Seconds that a command of ``after`` may take.
PATIENCE = 60
#: A unit's text. Of files, not of `systemd-run`: a transient unit is forgotten by a reboot, and a reboot is one of the ways in which a run
#: ends half done. After one the timer begins anew with the boot. Not by the calendar: a clock that is set meanwhile would move it.
TIMER = """\
# Ansible managed
# slipway:guard
[Unit]
Description=Take the change of {name} back unless it is confirmed (Slipway)

[Timer]
OnActiveSec={seconds}
AccuracySec=1

[Install]
WantedBy=timers.target
"""
#: No sandbox: it puts back files anywhere on the host, and runs the programs that read them.
SERVICE = """\
# Ansible managed
# slipway:guard
[Unit]
Description=Take the change of {name} back (Slipway)
# What fails is tried again, for as long as it takes: nobody else can.
StartLimitIntervalSec=0

[Service]
Type=oneshot
ExecStart={program} guard revert {name}
Restart=on-failure
RestartSec=5
"""


@dataclass
class Kept:
    """What a guard puts back: paths with their copies (an empty one: there was nothing), then commands."""

    name: str
    paths: dict[str, str] = field(default_factory=dict)
    after: list[str] = field(default_factory=list)
    seconds: int = 0
    armed_at: float = 0

    @classmethod
    def read(cls, path: Path) -> Kept:
        """What `Guard.arm` wrote."""
        try:
            return cls(**json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise SlipwayError(f"what the guard keeps cannot be read: {path}: {error}") from error


@dataclass(frozen=True)
class Guard:
    """A guard of this host, by its name."""

    name: str
    folder: Path = FOLDER
    units: Path = UNITS
    lock: Path = LOCK
    program: str = PROGRAM

    @property
    def stem(self) -> str:
        return f"slipway-guard-{self.name}"

    @property
    def home(self) -> Path:
        return self.folder / self.name

    @property
    def _document(self) -> Path:
        return self.home / "guard.json"

    @property
    def _past(self) -> Path:
        return self.folder / f"{self.name}.reverted.json"

    @property
    def _wanted(self) -> Path:
        """The link that starts the timer at boot. It is what makes a guard armed: set last, removed first."""
        return self.units / f"timers.target.wants/{self.stem}.timer"

    def armed(self) -> bool:
        """Whether what is kept would be put back."""
        return self._wanted.is_symlink() and self._document.is_file()

    def kept(self) -> Kept:
        """What would be put back."""
        return Kept.read(self._document)

    def reverted_at(self) -> float | None:
        """When the guard last took its change back; None once it was armed again."""
        return read_json(self._past).get("reverted_at")

    def arm(self, paths: Sequence[str], after: Sequence[str], seconds: int) -> bool:
        """Keep what ``paths`` are now, and put it back in ``seconds``; whether it was not armed yet.

        Armed already, the older copy stays: it is what was there before anything changed. The time begins anew.
        """
        for path in paths:
            self._refuse_unsuitable(Path(path))
        with self._alone():
            fresh = not self.armed()
            kept = Kept(self.name) if fresh else self.kept()
            if fresh:
                remove(self.home)
                make_folder(self.home)
            for path in paths:
                if path not in kept.paths:
                    kept.paths[path] = self._copy(Path(path), str(len(kept.paths)))
            kept.after += [words for words in after if words not in kept.after]
            kept.seconds, kept.armed_at = seconds, time.time()
            write_atomically(self._document, json.dumps(asdict(kept), indent=2) + "\n")
            sync_tree(self.home)
            self._past.unlink(missing_ok=True)
            self._set_timer(seconds)
            return fresh

    def end(self) -> bool:
        """The change stays; whether the guard was armed."""
        with self._alone():
            if not self.armed():
                return False
            self._forget()
            return True

    def revert(self) -> bool:
        """Put back what was kept and run the commands; whether the guard was armed. What fails keeps it armed: it is tried again."""
        with self._alone():
            if not self.armed():
                return False
            kept = self.kept()
            failures = [*self._put_all_back(kept), *_run_all(kept.after)]
            if failures:
                raise SlipwayError(f"the change of {self.name} is not taken back entirely:\n" + "\n".join(failures))
            past = {"reverted_at": time.time(), "armed_at": kept.armed_at, "paths": list(kept.paths)}
            write_atomically(self._past, json.dumps(past) + "\n")
            self._forget()
            return True

    # --- Copies --------------------------------------------------------------------------------

    def _refuse_unsuitable(self, path: Path) -> None:
        if not path.is_absolute() or ".." in path.parts or path == Path("/") or path in (self.folder, *self.folder.parents):
            raise SlipwayError(f"{path} cannot be guarded: an absolute path to a file or a folder, which does not hold {self.folder}")

    def _copy(self, path: Path, name: str) -> str:
        """Copy ``path`` as it is (owners, modes, links, ACLs); the copy's name, empty where there is nothing to copy."""
        if not path.exists() and not path.is_symlink():
            return ""
        command("cp", "--archive", "--no-target-directory", str(path), str(self.home / name))
        return name

    def _put_all_back(self, kept: Kept) -> Iterator[str]:
        for path, copy in kept.paths.items():
            try:
                self._put_back(Path(path), copy)
            except (OSError, CommandError) as error:
                yield f"{path}: {error}"

    def _put_back(self, path: Path, copy: str) -> None:
        if copy:
            _make_equal(path, self.home / copy)
        else:
            remove(path)

    # --- Units ---------------------------------------------------------------------------------

    def _set_timer(self, seconds: int) -> None:
        self.units.joinpath("timers.target.wants").mkdir(parents=True, exist_ok=True)
        write_atomically(self.units / f"{self.stem}.service", SERVICE.format(name=self.name, program=self.program), 0o644)
        write_atomically(self.units / f"{self.stem}.timer", TIMER.format(name=self.name, seconds=seconds), 0o644)
        relink(self._wanted, self.units / f"{self.stem}.timer")
        sync_tree(self._wanted.parent)
        reload_units()
        # Restarted: the seconds of a guard that was armed before begin anew.
        command("systemctl", "restart", f"{self.stem}.timer")

    def _forget(self) -> None:
        self._wanted.unlink(missing_ok=True)
        stop_units(f"{self.stem}.timer")
        for kind in ("timer", "service"):
            (self.units / f"{self.stem}.{kind}").unlink(missing_ok=True)
        with contextlib.suppress(CommandError):
            reload_units()
        remove(self.home)

    def _alone(self) -> contextlib.AbstractContextManager[None]:
        """Two never work on a guard at once: one that is being reverted cannot be ended meanwhile."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return locked(self.lock, "change of a guard", math.inf)


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _make_equal(path: Path, copy: Path) -> None:
    """Make ``path`` what ``copy`` is, one file after the other: a folder that something is mounted on cannot be replaced (EXDEV), nor can
    one of a container's image."""
    if _is_folder(path) != _is_folder(copy):
        remove(path)
    if not _is_folder(copy):
        _replace(path, copy)
        return
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    there = {found.name for found in copy.iterdir()}
    for name in sorted(there):
        _make_equal(path / name, copy / name)
    for found in list(path.iterdir()):
        if found.name not in there:
            remove(found)
    os.chown(path, copy.stat().st_uid, copy.stat().st_gid)
    shutil.copystat(copy, path)


def _replace(path: Path, copy: Path) -> None:
    """A file or a link: complete beside it first, so that nobody ever reads half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # A folder of its own, so that no pattern of a configuration finds it.
    beside = Path(tempfile.mkdtemp(dir=path.parent, prefix=PARTIAL))
    try:
        command("cp", "--archive", "--no-target-directory", str(copy), str(beside / "new"))
        (beside / "new").rename(path)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _run_all(commands: Sequence[str]) -> Iterator[str]:
    """Run each, also when one before it failed."""
    for words in commands:
        status, said = attempt(["/bin/sh", "-c", words], PATIENCE)
        if status != 0:
            yield f"`{words}` exited {status}: {tail(said, 5)}"


# --- Command line -----------------------------------------------------------------------------------


def guards(folder: Path = FOLDER, units: Path = UNITS) -> list[Guard]:
    """The guards that are armed."""
    found = [Guard(path.parent.name, folder, units) for path in sorted(folder.glob("*/guard.json"))]
    return [guard for guard in found if guard.armed()]


def main(words: Sequence[str]) -> int:
    """`slipway guard`, `slipway guard end NAME`, `slipway guard revert NAME`."""
    parser = argparse.ArgumentParser(prog="slipway guard", description="Changes that take themselves back unless they are confirmed.")
    parser.add_argument("--json", action="store_true", help="the result as JSON")
    parser.add_argument("verb", nargs="?", choices=("list", "end", "revert"), default="list", help="end: the change stays; revert: now")
    parser.add_argument("name", nargs="?", default="", help="of the guard")
    options = parser.parse_args(words)
    if options.verb == "list":
        return _show(guards(), options.json)
    if not options.name:
        raise SlipwayError(f"say which guard: {', '.join(guard.name for guard in guards()) or 'none is armed'}")
    guard = Guard(options.name)
    done = guard.end() if options.verb == "end" else guard.revert()
    outcome = {"end": "the change stays", "revert": "the host is as it was"}[options.verb] if done else "nothing is armed under this name"
    print(json.dumps({"name": options.name, "done": done}) if options.json else f"{options.name}: {outcome}")
    return 0


def _show(armed: Sequence[Guard], as_json: bool) -> int:
    kept = [guard.kept() for guard in armed]
    if as_json:
        print(json.dumps({"guards": [asdict(one) for one in kept]}, indent=2))
        return 0
    rows: list[dict[str, Any]] = [
        {
            "guard": one.name,
            "armed": stamp(one.armed_at),
            "reverts": stamp(one.armed_at + one.seconds),
            "puts back": ", ".join(one.paths),
        }
        for one in kept
    ]
    print(table(rows) if rows else "No change waits for its confirmation.")
    return 0
