#!/usr/bin/env python3
"""What `make bench-growth` runs: how long `site.yml` that has nothing to do takes with more hosts, or more apps on one. Asserts nothing.

    bench_growth.py [--hosts 1,5,20] [--apps 1,5,10] [--rounds N]

On the demo's host, which must be up and built (`make demo`). Copies of it are the other hosts; its other apps are built by `site.yml`, and
stay until `make demo-down`. All run with as many forks as there are entries. Each run is a row of bench/results/growth.csv.
"""

from __future__ import annotations

import argparse
import functools
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import demo
import yaml
from testhost import ROOT, platform, run, say, wait

RESULTS = ROOT / "bench/results/growth.csv"
COLUMNS = ("at", "work", "of", "number", "round", "seconds")
IMAGE = "slipway-bench-demo"


def numbers(text: str) -> list[int]:
    return sorted(int(part) for part in text.split(",") if part)


def address(number: int) -> str:
    """The demo's own, or a copy's."""
    return demo.ADDRESS if number == 1 else demo.ADDRESS.rpartition(".")[0] + f".{100 + number}"


def inventory(folder: Path, entries: dict[str, dict[str, Any]]) -> Path:
    """The demo's inventory with other entries."""
    said: dict[str, Any] = {}
    for file in sorted((demo.INVENTORY / "group_vars/app_servers").iterdir()):
        said.update(yaml.safe_load(file.read_text()))
    said["app_source"] = {"type": "path", "path": str(ROOT / "examples/flask-app")}
    login = {"ansible_user": "admin", "ansible_ssh_private_key_file": str(demo.FILES / "id_ed25519")}
    known = f"-o UserKnownHostsFile={folder / 'known_hosts'}"
    content = {"app_servers": {"vars": {**said, **login, "ansible_ssh_common_args": known}, "hosts": entries}}
    file = folder / "hosts.yml"
    file.write_text(yaml.safe_dump(content))
    return file


class Bench:
    """Runs, and the rows of their figures."""

    def __init__(self, folder: Path, rounds: int) -> None:
        self.folder, self.rounds = folder, rounds
        self.found: dict[tuple[str, str, int], list[float]] = {}
        key = (demo.FILES / "known_hosts").read_text().split(" ", 1)[1].strip()
        (folder / "known_hosts").write_text("".join(f"{address(number)} {key}\n" for number in range(1, 100)))

    def site(self, entries: dict[str, dict[str, Any]], *words: str) -> float:
        command = ["ansible-playbook", "-i", str(inventory(self.folder, entries)), "site.yml", f"--forks={len(entries)}", *words]
        settings = {"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"}
        begun = time.monotonic()
        done = subprocess.run(command, cwd=ROOT, env={**os.environ, **settings}, text=True, capture_output=True, check=False, timeout=3600)
        if done.returncode != 0:
            sys.exit(f"bench: {shlex.join(command)} exited {done.returncode}\n{done.stdout[-4000:]}{done.stderr[-2000:]}")
        return time.monotonic() - begun

    def measure(self, of: str, number: int, entries: dict[str, dict[str, Any]]) -> None:
        # Whatever is new here is built, and sealed.
        built = self.site(entries)
        say(f"{number} {of}: {built:.0f} s for what was new")
        for turn in range(1, self.rounds + 1):
            seconds = self.site(entries)
            self.found.setdefault(("sealed", of, number), []).append(seconds)
            demo.note(RESULTS, COLUMNS, "sealed", of, number, turn, f"{seconds:.2f}")
            print(f"{number} {of}: sealed {seconds:.1f} s", flush=True)

    def hosts(self, wanted: Sequence[int]) -> None:
        """Copies of the demo, as they are."""
        most = max(wanted)
        names = [f"{demo.HOST}-{number}" for number in range(2, most + 1)]
        run("docker", "commit", demo.HOST, IMAGE)
        shared, command = platform("host")
        try:
            for number, name in enumerate(names, start=2):
                options = (f"--name={name}", f"--hostname={demo.HOST}", f"--network={demo.NETWORK}", f"--ip={address(number)}")
                run("docker", "run", "--detach", *options, *shared, IMAGE, *command)
            for name in names:
                # Twenty systems start on the processors of one.
                wait(f"{name}'s start", functools.partial(demo.booted, name), seconds=600)
            for number in wanted:
                self.measure("hosts", number, {f"host-{n}": {"ansible_host": address(n)} for n in range(1, number + 1)})
        finally:
            run("docker", "rm", "--force", "--volumes", *names, quiet=True)
            run("docker", "image", "rm", IMAGE, quiet=True)

    def apps(self, wanted: Sequence[int]) -> None:
        """Apps of the same code, each with everything of its own."""
        domains = {number: [demo.DOMAIN] if number == 1 else [f"app{number}.slipway.test"] for number in range(1, max(wanted) + 1)}
        aliases = [f"--alias={name}" for names in domains.values() for name in names] + [f"--alias=www.{demo.DOMAIN}"]
        run("docker", "network", "disconnect", demo.NETWORK, demo.HOST)
        run("docker", "network", "connect", f"--ip={demo.ADDRESS}", *aliases, demo.NETWORK, demo.HOST)
        for number in wanted:
            more = {
                f"app-{n}": {"ansible_host": demo.ADDRESS, "app_name": f"app{n}", "app_domains": domains[n]} for n in range(2, number + 1)
            }
            self.measure("apps", number, {demo.HOST: {"ansible_host": demo.ADDRESS}, **more})


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hosts", type=numbers, default=[1, 5, 20])
    parser.add_argument("--apps", type=numbers, default=[1, 5, 10])
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="slipway-bench-") as folder:
        bench = Bench(Path(folder), asked.rounds)
        if asked.hosts:
            bench.hosts(asked.hosts)
        if asked.apps:
            bench.apps(asked.apps)
    one: dict[str, float] = {}
    for (work, of, number), times in bench.found.items():
        middle = statistics.median(times)
        ratio = middle / one.setdefault(of, middle)
        print(f"{work}, {number} {of}: {middle:.1f} s ({min(times):.1f} to {max(times):.1f}), {ratio:.1f} times the first")
    return 0


if __name__ == "__main__":
    sys.exit(main())
