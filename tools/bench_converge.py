#!/usr/bin/env python3
"""What `make bench-converge` runs: how long an operator waits, on the demo, in turns. Asserts nothing.

    bench_converge.py [--rounds N] [--former COMMIT] [--first]

On the demo's host, which must be up and built (`make demo`). In each round system after system does its work: `site.yml` that has nothing
to do, sealed as an operator runs it and full (-e full=true); a deploy in which one line of the app differs; and a rollback of it. The
systems are this commit, the same carried by Mitogen, and with --former another commit of this repository. --first builds the host anew for
each system, once, and counts the first run. Each run is a row of bench/results/converge.csv.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import demo
from testhost import ROOT

RESULTS = ROOT / "bench/results/converge.csv"
COLUMNS = ("at", "system", "work", "round", "seconds", "controller CPU s", "tasks")
#: Arguments of ansible-playbook. The former commits of before sealed layers know no other run than the full one.
WORK = {
    "sealed": ("site.yml",),
    "full": ("site.yml", "--extra-vars", "full=true"),
    "deploy": ("playbooks/deploy.yml",),
    "rollback": ("playbooks/rollback.yml",),
}


class System(NamedTuple):
    """One way to run a playbook."""

    name: str
    root: Path
    environment: Mapping[str, str] = MappingProxyType({})


class Figures(NamedTuple):
    """What one run took: seconds, those of the controller's processors, and how many tasks were begun."""

    seconds: float
    cpu: float
    tasks: int


class Bench:
    """Runs, and the rows of their figures."""

    def __init__(self, folder: Path) -> None:
        self.app = demo.copy_of_app(folder)
        self.found: dict[tuple[str, str], list[Figures]] = {}

    def run(self, system: System, work: str) -> Figures:
        settings = {"ANSIBLE_CONFIG": str(system.root / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1", "SLIPWAY_OUTPUT": "full"}
        environment = {**os.environ, **settings, **system.environment}
        words = ["ansible-playbook", "-i", str(demo.INVENTORY), *WORK[work]]
        if work != "rollback":
            words += ["--extra-vars", json.dumps({"app_source": {"type": "path", "path": str(self.app)}, "deploy_burn_in": 0})]
        begun, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(words, cwd=system.root, env=environment, text=True, capture_output=True, check=False, timeout=1800)
        seconds, after = time.monotonic() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
        if done.returncode != 0:
            sys.exit(f"bench: {shlex.join(words)} exited {done.returncode}\n{done.stdout[-4000:]}{done.stderr[-2000:]}")
        if work in ("sealed", "full") and re.search(r"changed=[1-9]", done.stdout):
            print("  (it changed something)", flush=True)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return Figures(seconds, cpu, done.stdout.count("\nTASK ["))

    def measure(self, system: System, work: str, number: int) -> None:
        if work == "deploy":
            (self.app / "logbook/bench.py").write_text(f'"""{time.time()}."""\n')
        run = self.run(system, "sealed" if work == "first" else work)
        self.found.setdefault((work, system.name), []).append(run)
        demo.note(RESULTS, COLUMNS, system.name, work, number, f"{run.seconds:.2f}", f"{run.cpu:.2f}", run.tasks)
        print(f"round {number}: {work}, {system.name}: {run.seconds:.1f} s, {run.cpu:.1f} s of CPU, {run.tasks} tasks", flush=True)

    def lines(self) -> Iterator[str]:
        """Each work of each system, against the former commit."""
        for (work, system), runs in sorted(self.found.items(), key=lambda item: item[0][0]):
            # No former run is sealed: the full one is what an operator ran.
            others = [*self.found.get((work, "former"), []), *(self.found.get(("full", "former"), []) if work == "sealed" else [])]
            times = [run.seconds for run in runs]
            middle = statistics.median(times)
            against = f", {statistics.median(run.seconds for run in others) / middle:.1f} times as fast as before" if others else ""
            cpu, tasks = statistics.median(run.cpu for run in runs), statistics.median(run.tasks for run in runs)
            spread = f"{min(times):.1f} to {max(times):.1f}"
            yield f"{work:9} {system:9} {middle:6.1f} s ({spread}){against}; controller {cpu:.1f} s of CPU, {tasks:.0f} tasks"


def clone(commit: str, folder: Path) -> Path:
    """Another commit of this repository, in a folder of its own."""
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)
    subprocess.run(["git", "-C", str(folder), "checkout", "--quiet", commit], check=True)
    return folder


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--former", default="", help="a commit to compare with")
    parser.add_argument("--first", action="store_true", help="build the demo anew, too")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="slipway-bench-") as name:
        folder = Path(name)
        bench = Bench(folder)
        now = System("now", ROOT)
        carried = System("mitogen", ROOT, {"ANSIBLE_STRATEGY": "slipway.vps.mitogen"})
        former = [System("former", clone(asked.former, folder / "former"))] if asked.former else []
        for system in [*former, carried, now] if asked.first else []:
            demo.down()
            demo.up()
            bench.measure(system, "first", 1)
        for number in range(1, asked.rounds + 1):
            for system in (*former, now, carried):
                if former and system is not carried:
                    # Each takes over from the other, which is a change.
                    bench.run(system, "sealed")
                for work in WORK:
                    if not (system in former and work == "sealed"):
                        bench.measure(system, work, number)
        print("\n".join(bench.lines()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
