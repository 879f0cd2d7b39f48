#!/usr/bin/env python3
"""What `make soak N=100` runs: so many deploys and rollbacks under load, and every request counted.

First at a constant rate, idle, while Ansible only looks, and during switches: what a visitor waits longer because of them, and how much
of that is Ansible's own (here it works on the same cores as all else). Then with many visitors, until both the switches and the requests
are done. On the host of the scenario `deploy`, which is built if it is not there.
"""

from __future__ import annotations

import argparse
import os
import secrets
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "molecule/shared/tests"))

import testinfra  # noqa: E402  (the path first)
from deploys import run_playbook  # noqa: E402
from helpers import App, acme_certificate, must  # noqa: E402
from load import OpenLoop, Wrk  # noqa: E402
from states import live  # noqa: E402
from switches import must_alternate, rows, switch  # noqa: E402

HOST, NEIGHBOUR = "slipway-deploy", "slipway-deploy-acme"
WORK = ROOT / ".cache/soak"
APP = App(domain="deploy.slipway.test", alias="www.deploy.slipway.test")


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("switches", nargs="?", type=int, default=100, help="deploys and rollbacks together; default 100")
    parser.add_argument("--requests", type=int, default=500_000, help="go on switching until so many were made; default 500000")
    parser.add_argument("--rate", type=float, default=40, help="requests a second while latencies are measured; default 40")
    parser.add_argument("--idle", type=float, default=60, help="seconds to measure without a switch; default 60")
    parser.add_argument("--writes", type=float, default=40, help="POSTs a second in the second part; default 40")
    parser.add_argument("--connections", type=int, default=16, help="of wrk, in the second part; default 16")
    parser.add_argument("--pause", type=int, default=20, help="ms that each of them waits between two requests; default 20")
    parser.add_argument("--most", type=float, default=120, help="give up after so many minutes; default 120")
    return parser.parse_args()


def say(text: str) -> None:
    print(f"soak: {text}", flush=True)


def host_up() -> Any:
    """The scenario's host, built when it is not there, and an inventory that leads to it."""
    host = testinfra.get_host(f"docker://{HOST}")
    answered = subprocess.run(["docker", "exec", HOST, "readlink", APP.current], capture_output=True, check=False)
    if answered.returncode != 0:
        say(f"building {HOST} (molecule converge)")
        subprocess.run([sys.executable, str(ROOT / "tools/testhost.py"), "images"], check=True)
        environment = {**os.environ, "MOLECULE_GLOB": "molecule/*/molecule.yml"}
        subprocess.run(["molecule", "converge", "--scenario-name", "deploy"], cwd=ROOT, env=environment, check=True)
    WORK.mkdir(parents=True, exist_ok=True)
    for name, scenario in (("group_vars", "shared"), ("host_vars", "deploy")):
        (WORK / name).unlink(missing_ok=True)
        (WORK / name).symlink_to(ROOT / "molecule" / scenario / name)
    inventory = WORK / "hosts.yml"
    inventory.write_text(f"app_servers:\n  hosts:\n    {HOST}:\n      ansible_connection: community.docker.docker\n")
    os.environ["MOLECULE_INVENTORY_FILE"] = str(inventory)
    (WORK / "root.pem").write_text(acme_certificate(testinfra.get_host(f"docker://{NEIGHBOUR}")))
    return host


class Soak:
    """The run: what was switched, and what visitors saw."""

    def __init__(self, host: Any, asked: argparse.Namespace) -> None:
        self.host = host
        self.asked = asked
        self.run = f"soak-{secrets.token_hex(4)}"
        self.address = must(host, "ip -4 -o addr show eth0").split()[3].split("/")[0]
        self.begun = time.monotonic()
        self.switches = 0
        self.mass = 0
        self.lost: Counter[str] = Counter()
        self.loops: list[OpenLoop] = []

    def visitors(self, rate: float, post_every: int) -> OpenLoop:
        prefix = f"{self.run}-{len(self.loops)}"
        loop = OpenLoop(self.address, APP.domain, WORK / "root.pem", prefix=prefix, rate=rate, post_every=post_every)
        self.loops.append(loop)
        return loop

    @property
    def requests(self) -> int:
        return self.mass + sum(len(loop.answers) for loop in self.loops)

    def all_lost(self) -> Counter[str]:
        return sum((loop.lost() for loop in self.loops), self.lost)

    def some_switches(self, pairs: int) -> None:
        """Deploy and roll back; wrong when one failed or something else than expected is live."""
        first, before = self.switches // 2 + 1, live(self.host, APP)
        outcome, seen = switch(self.host, APP, WORK, self.run, pairs, first)
        if outcome.status != 0:
            sys.exit(f"soak: a switch failed\n{outcome}")
        must_alternate(seen, APP, before, self.run, pairs, first)
        self.switches += 2 * pairs

    def progress(self) -> None:
        minutes = (time.monotonic() - self.begun) / 60
        lost = self.all_lost()
        say(f"{minutes:5.1f} min  {self.switches} switches  {self.requests} requests  {sum(lost.values())} lost {dict(lost) or ''}")

    def look(self, seconds: float) -> None:
        """What playbooks do that change nothing."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            run_playbook(ROOT / "playbooks/verify.yml", self.host, nice=19)

    def latencies(self) -> dict[str, float]:
        """p99 at a constant rate: idle, while playbooks look, and while they switch."""
        pairs = max(1, min(4, self.asked.switches // 4))
        with self.visitors(self.asked.rate, post_every=10) as loop:
            time.sleep(3)
            quiet = time.monotonic()
            time.sleep(self.asked.idle)
            looking = time.monotonic()
            self.look(self.asked.idle)
            busy = time.monotonic()
            self.some_switches(pairs)
            over = time.monotonic()
        spans = {"idle": (quiet, looking), "looking": (looking, busy), "during": (busy, over)}
        for name, span in spans.items():
            n = sum(span[0] <= a.due < span[1] for a in loop.answers)
            shown = "  ".join(f"{label} {loop.p(share, *span) * 1000:.0f}" for label, share in (("p50", 0.5), ("p99", 0.99), ("most", 1)))
            say(f"{name:7} {n} requests at {self.asked.rate:g}/s, ms: {shown}")
        self.progress()
        return {name: loop.p(0.99, *span) for name, span in spans.items()}

    def crowds(self) -> None:
        """Many visitors, until both numbers are reached. A wrk for each few switches, to tell meanwhile how it goes."""
        with self.visitors(self.asked.writes, post_every=1):
            while self.switches < self.asked.switches or self.requests < self.asked.requests:
                if time.monotonic() - self.begun > self.asked.most * 60:
                    say(f"gave up after {self.asked.most:g} minutes")
                    return
                # The cheapest page that the app itself answers: the more requests, the more of them meet a switch.
                crowd = Wrk(NEIGHBOUR, f"https://{APP.domain}/healthz/live", self.asked.connections, self.asked.pause, seconds=3600)
                with crowd:
                    self.some_switches(min(5, max(1, (self.asked.switches - self.switches) // 2)))
                assert crowd.summary
                self.mass += crowd.summary.requests
                if crowd.summary.lost:
                    self.lost[f"wrk {crowd.summary}"] += crowd.summary.lost
                self.progress()

    def rows_wrong(self) -> int:
        """Rows that are missing, doubled or not asked for."""
        found, sent = Counter(rows(self.host, APP, self.run)), Counter(key for loop in self.loops for key in loop.sent)
        return sum((found - sent).values()) + sum((sent - found).values())


def main() -> int:
    asked = options()
    soak = Soak(host_up(), asked)
    p99 = soak.latencies()
    soak.crowds()
    lost, wrong = soak.all_lost(), soak.rows_wrong()
    posts = sum(len(loop.sent) for loop in soak.loops)
    say(f"{soak.switches} switches, {soak.requests} requests, {posts} of them POST ({posts / max(1, soak.requests):.0%})")
    say(f"lost: {sum(lost.values())} {dict(lost) or ''}; rows missing or doubled: {wrong}")
    for name, what in {"idle": "idle", "looking": "while Ansible only looks"}.items():
        ratio = p99["during"] / p99[name] if p99[name] else 0.0
        say(f"p99 {what} {p99[name] * 1000:.0f} ms, during switches {p99['during'] * 1000:.0f} ms: {ratio:.2f} times (goal: at most 1.5)")
    done = soak.switches >= asked.switches and soak.requests >= asked.requests
    return 0 if done and not lost and not wrong else 1


if __name__ == "__main__":
    sys.exit(main())
