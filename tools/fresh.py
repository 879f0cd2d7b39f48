#!/usr/bin/env python3
"""What `make fresh` runs: `make check` of a clone on a machine that has Debian 12, Python, git and make, and nothing else.

    fresh.py FOLDER    the JUnit reports go into FOLDER

The clone holds the last commit, and on top what is changed in tracked files; what git does not know is not in it. The machine is a
container, removed at the end. There, the set-up also brings the servers that the example's tests talk to (.ci/setup).
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from testhost import ROOT, HostError, engine, image, run, say

#: Settings of this machine that package managers need there too; those that are not set are not handed on.
HANDED_ON = [name for word in ("http_proxy", "https_proxy", "no_proxy") for name in (word, word.upper())]
#: pip and uv bring authorities of their own; these are the system's, with the extra ones of this machine.
AUTHORITIES = [f"{name}=/etc/ssl/certs/ca-certificates.crt" for name in ("PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")]
SCRIPT = """
git config --global --add safe.directory '*'
git clone --quiet /source slipway && cd slipway && make check
"""


def commit() -> str:
    """The last commit, or one of its tracked files as they are now; no branch has it."""
    if unknown := run("git", "-C", str(ROOT), "ls-files", "--others", "--exclude-standard").split():
        say(f"not in the clone, as git does not know of it: {', '.join(unknown[:5])}{' …' if unknown[5:] else ''}")
    author = ["-c", "user.name=Slipway", "-c", "user.email=slipway@localhost"]
    return run("git", "-C", str(ROOT), *author, "stash", "create").strip() or "HEAD"


def source(folder: Path) -> None:
    """A repository with that commit alone on its branch."""
    run("git", "init", "--quiet", "--bare", "--initial-branch=main", str(folder))
    # CI checks out without history.
    run("git", "-C", str(folder), "config", "receive.shallowUpdate", "true")
    run("git", "-C", str(ROOT), "push", "--quiet", str(folder), f"{commit()}:refs/heads/main")


def check(reports: Path) -> int:
    """Run it; the status of `make check`."""
    engine()
    image("bare")
    name = f"slipway-fresh-{os.getpid()}"
    with tempfile.TemporaryDirectory() as scratch:
        source(Path(scratch, "source"))
        settings = [f"--env={word}" for word in [*filter(os.environ.get, HANDED_ON), *AUTHORITIES, "SLIPWAY_SERVERS=1"]]
        words = [f"--name={name}", "--workdir=/root", f"--volume={scratch}/source:/source:ro", *settings]
        command = ["docker", "run", *words, "slipway-test:bare", "sh", "-euc", SCRIPT]
        try:
            with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
                assert process.stdout
                for line in process.stdout:
                    # Its summary is part of the one that run.py makes of the reports.
                    if not line.startswith("slipway: "):
                        print(f"fresh | {line}", end="", flush=True)
            reports.mkdir(parents=True, exist_ok=True)
            run("docker", "cp", f"{name}:/root/slipway/.cache/reports/.", str(reports), quiet=True)
        finally:
            run("docker", "rm", "--force", "--volumes", name, quiet=True)
    return process.returncode


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reports", type=Path)
    try:
        return check(parser.parse_args().reports)
    except HostError as error:
        print(f"fresh: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
