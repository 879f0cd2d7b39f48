#!/usr/bin/env python3
"""What `make bench-converge` runs: how long `site.yml` takes on the demo when it has nothing to do, in turns. Asserts nothing.

    bench_converge.py [--rounds N] [--former COMMIT]

On the demo's host, which must be up and built (`make demo`). `sealed` is what an operator runs; `full` does everything (-e full=true); both
again carried by Mitogen; `former` is the whole run of another commit of this repository. Each run is a row of bench/results/converge.csv.
"""

from __future__ import annotations

import argparse
import csv
import os
import re
import resource
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import demo
from testhost import ROOT

RESULTS = ROOT / "bench/results/converge.csv"
COLUMNS = ("at", "system", "round", "seconds", "controller CPU s", "tasks")
MITOGEN = {"ANSIBLE_STRATEGY": "slipway.vps.mitogen"}


class System(NamedTuple):
    """One way to run site.yml."""

    root: Path
    words: tuple[str, ...] = ()
    environment: Mapping[str, str] = MappingProxyType({})


class Figures(NamedTuple):
    """What one run took: seconds, those of the controller's processors, and how many tasks were begun."""

    seconds: float
    cpu: float
    tasks: int


def converge(system: System) -> Figures:
    environment = {**os.environ, "ANSIBLE_CONFIG": str(system.root / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1", **system.environment}
    words = ["ansible-playbook", "-i", str(demo.INVENTORY), "site.yml", *system.words]
    begun, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(words, cwd=system.root, env=environment, text=True, capture_output=True, check=False, timeout=1800)
    seconds, after = time.monotonic() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != 0:
        sys.exit(f"bench: {shlex.join(words)} exited {done.returncode}\n{done.stdout[-4000:]}{done.stderr[-2000:]}")
    if re.search(r"changed=[1-9]", done.stdout):
        print("  (it changed something)", flush=True)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Figures(seconds, cpu, done.stdout.count("\nTASK ["))


def show(found: dict[str, list[Figures]]) -> None:
    against = statistics.median(run.seconds for run in found["former" if "former" in found else "full"])
    for name, runs in found.items():
        times = [run.seconds for run in runs]
        middle = statistics.median(times)
        cpu, tasks = statistics.median(run.cpu for run in runs), statistics.median(run.tasks for run in runs)
        spread = f"{min(times):.1f} to {max(times):.1f}"
        print(
            f"{name:16} {middle:6.1f} s ({spread}), {against / middle:4.1f} times as fast; controller {cpu:.1f} s of CPU, {tasks:.0f} tasks"
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--former", default="", help="a commit to compare with")
    asked = parser.parse_args()
    full = ("--extra-vars", "full=true")
    systems = {
        **{"sealed": System(ROOT), "full": System(ROOT, full)},
        **{"sealed, mitogen": System(ROOT, (), MITOGEN), "full, mitogen": System(ROOT, full, MITOGEN)},
    }
    found: dict[str, list[Figures]] = {}
    with tempfile.TemporaryDirectory(prefix="slipway-bench-") as folder:
        if asked.former:
            former = Path(folder) / "former"
            subprocess.run(["git", "clone", "--quiet", str(ROOT), str(former)], check=True)
            subprocess.run(["git", "-C", str(former), "checkout", "--quiet", asked.former], check=True)
            systems = {"former": System(former), **systems}
        with RESULTS.open("a", newline="") as stream:
            rows = csv.writer(stream, lineterminator="\n")
            if stream.tell() == 0:
                rows.writerow(COLUMNS)
            for number in range(1, asked.rounds + 1):
                for name, system in systems.items():
                    if name in ("former", "sealed") and asked.former:
                        # Each takes over from the other, which is a change.
                        converge(system)
                    run = converge(system)
                    found.setdefault(name, []).append(run)
                    at = datetime.now(timezone.utc).isoformat(timespec="seconds")
                    rows.writerow([at, name, number, f"{run.seconds:.2f}", f"{run.cpu:.2f}", run.tasks])
                    print(f"round {number}: {name}: {run.seconds:.1f} s, {run.cpu:.1f} s of CPU, {run.tasks} tasks", flush=True)
    show(found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
