#!/usr/bin/env python3
"""What `make bench-deploy` runs: how long a code-only deploy and a rollback take, over SSH, and where the time goes. Asserts nothing.

On the demo's host, which must be up and built (`make demo`). Deploys a copy of the example app in which one line differs each time.
"""

from __future__ import annotations

import argparse
import re
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import demo

#: Run on the host: when the steps of the last switch happened, in seconds, from the journal and from the link itself.
SWITCH = r"""
import json, os, subprocess
live = os.readlink("/srv/demo/current").split("/")[-1]
words = ["journalctl", "--no-pager", "--output=json", "--since=-5min", "SYSLOG_IDENTIFIER=slipway", "+", "UNIT=demo@%s.service" % live]
begun = starting = started = None
for line in subprocess.run(words, capture_output=True, text=True).stdout.splitlines():
    entry = json.loads(line)
    said, at = entry.get("MESSAGE", ""), int(entry["__REALTIME_TIMESTAMP"]) / 1e6
    if said.endswith(": activate: start"):
        begun, starting, started = at, None, None
    elif begun and entry.get("JOB_TYPE") == "start" and said.startswith("Starting "):
        starting = at
    elif begun and entry.get("JOB_TYPE") == "start" and said.startswith("Started "):
        started = at
moved = os.lstat("/srv/demo/current").st_mtime_ns / 1e9
print(json.dumps({"boot": started - starting, "beyond": (moved - begun) - (started - starting)}))
"""
PROFILE = re.compile(r"^(.+?) -{2,} ([\d.]+)s$", re.MULTILINE)


class Run(NamedTuple):
    """One playbook's time, that of each of its tasks, and the two parts of the switch on the host."""

    seconds: float
    tasks: dict[str, float]
    boot: float
    beyond: float


def playbook(name: str, variables: dict[str, object]) -> Run:
    """Run it as an operator would, with Ansible's own profile of the tasks."""
    begun = time.monotonic()
    said = demo.playbook(
        name,
        variables,
        ANSIBLE_CALLBACKS_ENABLED="slipway.vps.seal,ansible.posix.profile_tasks",
        PROFILE_TASKS_TASK_OUTPUT_LIMIT="all",
    )
    seconds = time.monotonic() - begun
    tasks: dict[str, float] = {}
    for task, taken in PROFILE.findall(said):
        tasks[task.strip()] = tasks.get(task.strip(), 0.0) + float(taken)
    switch = demo.on_host(SWITCH)
    return Run(seconds, tasks, switch["boot"], switch["beyond"])


def show(name: str, runs: list[Run], goal: str) -> None:
    """The shortest and the middle of the runs, and the tasks that took longest in the middle."""
    times = [run.seconds for run in runs]
    print(f"\n{name}: shortest {min(times):.1f} s, median {statistics.median(times):.1f} s of {len(runs)} (at most {goal})")
    boot, beyond = (statistics.median(values) for values in ([run.boot for run in runs], [run.beyond for run in runs]))
    print(f"  on the host: the app's own boot {boot:.2f} s, the switch beyond it {beyond:.2f} s (median; at most 1 s)")
    middle = {task: statistics.median([run.tasks.get(task, 0.0) for run in runs]) for task in runs[-1].tasks}
    outside = statistics.median([run.seconds - sum(run.tasks.values()) for run in runs])
    print(f"  {outside:6.2f} s  outside of tasks: Ansible's start, and reading the playbooks")
    for task, seconds in sorted(middle.items(), key=lambda item: -item[1])[:15]:
        print(f"  {seconds:6.2f} s  {task}")
    rest = sorted(middle.values(), reverse=True)[15:]
    print(f"  {sum(rest):6.2f} s  {len(rest)} more tasks")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    asked = parser.parse_args()
    deploys, rollbacks = [], []
    with tempfile.TemporaryDirectory(prefix="slipway-bench-") as folder:
        tree = demo.copy_of_app(Path(folder))
        variables = {"app_source": {"type": "path", "path": str(tree)}, "deploy_burn_in": 0}
        for number in range(asked.runs + 1):
            (tree / "logbook/bench.py").write_text(f'"""Run {number} at {time.time()}."""\n')
            deploy, rollback = playbook("deploy", variables), playbook("rollback", {})
            print(f"run {number}: deploy {deploy.seconds:.1f} s, rollback {rollback.seconds:.1f} s", flush=True)
            # The first one may open the SSH connection and fill uv's cache.
            if number:
                deploys.append(deploy)
                rollbacks.append(rollback)
    show("code-only deploy", deploys, "6 s, the goal is 4 s")
    show("rollback", rollbacks, "3 s, the goal is 2 s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
