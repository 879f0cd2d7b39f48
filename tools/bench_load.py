#!/usr/bin/env python3
"""One load of `make bench-http`, run in the neighbour; what was measured as a line of JSON.

    bench_load.py URL --connect HOST:PORT  --connections N --seconds N [--rate N] [--data FILE] [--header "Name: value"] [--busy N]
    bench_load.py URL --connect HOST:PORT --handshakes N
    bench_load.py URL --connect HOST:PORT --uploads N --data FILE --limit BYTES

h2load (package nghttp2-client) asks, over HTTP/1.1. Closed loop: each connection asks again as soon as it was answered. With a rate each
asks when its next request is due, whether or not others were answered. Percentiles are of every request that began in the time.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urljoin


def h2load(options: argparse.Namespace, *words: str) -> str:
    """What it says; ends where it could not even begin."""
    data = ["--data", options.data] if options.data else []
    headers = [word for header in options.header for word in ("-H", header)]
    command = ["h2load", "--h1", "--threads=1", f"--connect-to={options.connect}", *data, *headers, *words, options.url]
    done = subprocess.run(command, text=True, capture_output=True, check=False)
    if "finished in" not in done.stdout:
        sys.exit(f"bench_load: {' '.join(command)}\n{done.stdout[-500:]}{done.stderr[-1500:]}")
    return done.stdout


def curl(options: argparse.Namespace, *words: str) -> list[str]:
    """The command that asks once, and says the status."""
    shared = ["--silent", "--insecure", "--connect-to", f"::{options.connect}", "--output", "/dev/null", "--write-out", "%{http_code}\n"]
    return ["curl", *shared, *words]


def beside(options: argparse.Namespace, path: str) -> str:
    """The URL of another path of the app."""
    return urljoin(str(options.url), path)


def emptied(options: argparse.Namespace) -> None:
    """Wait until the app has answered all that was asked before: what a load leaves behind would be counted as the next one's."""
    command = curl(options, "--max-time", "60", beside(options, "/hello"))
    said = subprocess.run(command, text=True, check=False, capture_output=True).stdout.strip()
    if said != "200":
        sys.exit(f"bench_load: {' '.join(command)} said {said or 'nothing'}")


@contextmanager
def busy(options: argparse.Namespace) -> Iterator[None]:
    """So many of the app's threads sleep, a second for each request."""
    if not options.busy:
        yield
        return
    words = ["--h1", f"--connect-to={options.connect}", f"--clients={options.busy}", f"--duration={options.seconds + 3}"]
    with subprocess.Popen(["h2load", *words, beside(options, "/sleep")], stdout=subprocess.DEVNULL):
        time.sleep(1.5)
        yield


def ask(options: argparse.Namespace) -> dict[str, float]:
    """Requests for some seconds."""
    emptied(options)
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        words = [f"--clients={options.connections}", f"--duration={options.seconds}", f"--log-file={log}"]
        if options.rate:
            words.append(f"--rps={options.rate / options.connections:.3f}")
        with busy(options):
            h2load(options, *words)
        rows = [line.split("\t") for line in log.read_text().splitlines()]
    took = sorted(int(row[2]) / 1000 for row in rows if row[1].startswith("2"))
    if rows and not took:
        sys.exit(f"bench_load: none of {len(rows)} requests of {options.url} was answered 2xx: {sorted({row[1] for row in rows})}")
    if not took:
        # Nobody was served; the time is the least that it can have been.
        return {"requests/s": 0, "p50 ms": options.seconds * 1000, "p99 ms": options.seconds * 1000, "failed": 0}
    return {
        "requests/s": len(took) / options.seconds,
        "p50 ms": took[len(took) // 2],
        "p95 ms": took[int(len(took) * 0.95)],
        "p99 ms": took[int(len(took) * 0.99)],
        "most ms": took[-1],
        "failed": len(rows) - len(took),
    }


def shake(options: argparse.Namespace) -> dict[str, float]:
    """Full handshakes, each with one request: h2load resumes no session. 300 at a time: Debian's nginx holds 768 connections."""
    began, good = time.monotonic(), 0
    for _ in range(max(1, options.handshakes // 300)):
        said = h2load(options, "--clients=300", "--requests=300", "--max-concurrent-streams=1")
        good += sum(map(int, re.findall(r"(\d+) 2xx", said)))
    return {"handshakes": good, "handshakes/s": good / (time.monotonic() - began)}


def upload(options: argparse.Namespace) -> dict[str, float]:
    """Uploads by slow clients, all at once, and what one visitor waits for meanwhile."""
    slow = curl(options, "--limit-rate", options.limit, "--data-binary", f"@{options.data}", options.url)
    hello = curl(options, beside(options, "/hello"))
    began, quick = time.monotonic(), []
    running = [subprocess.Popen(slow, text=True, stdout=subprocess.PIPE) for _ in range(options.uploads)]
    while any(one.poll() is None for one in running):
        asked = time.monotonic()
        subprocess.run(hello, check=False, capture_output=True)
        quick.append((time.monotonic() - asked) * 1000)
    good = sum((one.communicate()[0] or "").strip() == "200" for one in running)
    return {
        "uploads": good,
        "seconds": time.monotonic() - began,
        "failed": options.uploads - good,
        "p99 ms of a visitor": sorted(quick)[int(len(quick) * 0.99)],
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("--connect", default="")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--rate", type=float, default=0)
    parser.add_argument("--data", default="")
    parser.add_argument("--header", action="append", default=[])
    parser.add_argument("--handshakes", type=int, default=0)
    parser.add_argument("--uploads", type=int, default=0)
    parser.add_argument("--limit", default="5M")
    parser.add_argument("--busy", type=int, default=0)
    options = parser.parse_args()
    done = shake if options.handshakes else upload if options.uploads else ask
    print(json.dumps(done(options)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
