#!/usr/bin/env python3
"""The demo: a bare Debian 13 as a container, which `make demo` builds over SSH as an operator would.

    demo.py up     the host (slipway-demo) and an ACME server (slipway-acme)
    demo.py curl   fetch its front page, and print how
    demo.py down   remove both

The benchmarks import :func:`playbook`, :func:`on_host`, :func:`booted`, :func:`copy_of_app` and :func:`note`.
"""

from __future__ import annotations

import argparse
import base64
import csv
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from testhost import ACME, CACHE, ROOT, HostError, acme_files, engine, engine_answers, image, need, platform, run, say, wait

FILES = CACHE / "demo"
INVENTORY = ROOT / "inventories/demo"
#: Fixed addresses, so that the inventory and the printed curl line can name them; none that Docker gives to a network by itself.
NETWORK, SUBNET, ADDRESS = "slipway-demo", "10.213.77.0/24", "10.213.77.10"
HOST, ACME_NAME, DOMAIN = "slipway-demo", "slipway-acme", "demo.slipway.test"
#: Where the program that a host runs lies meanwhile.
PROGRAM = "/var/tmp/slipway-bench.py"


# --- The hosts --------------------------------------------------------------------------------------------------------


def running(name: str) -> bool:
    return run("docker", "container", "inspect", "--format={{.State.Running}}", name, quiet=True).strip() == "true"


def start(name: str, kind: str, *options: str) -> None:
    """Start the container ``name`` unless it runs already; one that stopped boots again."""
    if running(name):
        return
    if run("docker", "container", "inspect", name, quiet=True):
        say(f"booting {name} again")
        run("docker", "start", name)
        return
    say(f"creating {name}")
    shared, command = platform(kind)
    names = (f"--name={name}", f"--hostname={name}", f"--network={NETWORK}")
    run("docker", "run", "--detach", *names, *options, *shared, "slipway-test:trixie", *command)


def up() -> None:
    """A bare Debian 13 that can be reached over SSH as `admin`, and an ACME server that finds it by its domain."""
    need("ssh", "openssh-client")
    engine()
    image("trixie")
    acme_files()
    FILES.mkdir(parents=True, exist_ok=True)
    if not run("docker", "network", "inspect", NETWORK, quiet=True):
        run("docker", "network", "create", f"--subnet={SUBNET}", NETWORK)
    start(ACME_NAME, "neighbour")
    aliases = [f"--network-alias={name}" for name in (DOMAIN, f"www.{DOMAIN}")]
    start(HOST, "host", f"--ip={ADDRESS}", *aliases)
    wait("systemd's start", lambda: booted(HOST))
    trust_acme()
    ssh_access()
    root_of_acme()
    say(f"{HOST} is up at {ADDRESS}: ssh -i {FILES / 'id_ed25519'} admin@{ADDRESS}")


def booted(name: str) -> bool:
    script = "systemctl is-system-running --quiet || systemctl is-system-running | grep -q degraded"
    return subprocess.run(["docker", "exec", name, "sh", "-c", script], capture_output=True, check=False).returncode == 0


def trust_acme() -> None:
    """The host trusts the ACME server's HTTPS, as it would trust a public CA's."""
    run("docker", "cp", str(ACME / "ca.crt"), f"{HOST}:/usr/local/share/ca-certificates/slipway-test-ca.crt")
    run("docker", "exec", HOST, "update-ca-certificates")


def ssh_access() -> None:
    key = FILES / "id_ed25519"
    if not key.exists():
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "slipway-demo", "-f", str(key))
    run("docker", "exec", HOST, "sh", "-c", "ssh-keygen -A && install -d -m 0700 -o admin -g admin /home/admin/.ssh")
    run("docker", "cp", f"{key}.pub", f"{HOST}:/home/admin/.ssh/authorized_keys")
    run(
        "docker",
        "exec",
        HOST,
        "sh",
        "-c",
        "chown admin: /home/admin/.ssh/authorized_keys && systemctl reset-failed ssh; systemctl start ssh",
    )
    host_key = run("docker", "exec", HOST, "cat", "/etc/ssh/ssh_host_ed25519_key.pub").split()[:2]
    (FILES / "known_hosts").write_text(f"{ADDRESS} {' '.join(host_key)}\n")


def root_of_acme() -> None:
    """Save the root certificate that the ACME server signs with (a new one at each of its starts): curl's --cacert."""
    fetch = "import ssl,urllib.request as u;print(u.urlopen('https://localhost:15000/roots/0',context=ssl._create_unverified_context()).read().decode())"
    found: list[str] = []

    def answered() -> bool:
        found[:] = [run("docker", "exec", ACME_NAME, "python3", "-c", fetch, quiet=True).strip()]
        return bool(found[0])

    wait(f"the ACME server's first answer (docker logs {ACME_NAME})", answered)
    (FILES / "root.pem").write_text(found[0] + "\n")


def curl() -> None:
    """The command that fetches the demo's front page, tried before it is printed."""
    words = [
        "curl",
        "--resolve",
        f"{DOMAIN}:443:{ADDRESS}",
        "--cacert",
        os.path.relpath(FILES / "root.pem"),
        f"https://{DOMAIN}/",
    ]
    need("curl", "curl")
    status = run(*words, "--silent", "--show-error", "--output", "/dev/null", "--write-out", "%{http_code}").strip()
    if status != "200":
        raise HostError(f"`{' '.join(words)}` answered {status}")
    print(
        f"\nThe demo answers (200, certificate issued by {ACME_NAME}). Fetch it with\n\n    {' '.join(words)}\n\nmake demo-down removes it."
    )


def down() -> None:
    if not engine_answers():
        say("no Docker engine answers, so nothing of the demo runs")
        return
    for name in (HOST, ACME_NAME):
        run("docker", "rm", "--force", "--volumes", name, quiet=True)
    run("docker", "network", "rm", NETWORK, quiet=True)
    shutil.rmtree(FILES, ignore_errors=True)
    say("the demo is gone; the images stay (docker rmi slipway-test:trixie)")


# --- For the benchmarks -----------------------------------------------------------------------------------------------


def copy_of_app(folder: Path) -> Path:
    """A copy of the example app, to be changed and deployed."""
    left_out = shutil.ignore_patterns("__pycache__", ".*_cache", "*.egg-info")
    return Path(shutil.copytree(ROOT / "examples/flask-app", folder / "app", ignore=left_out))


def note(results: Path, columns: Sequence[str], *values: object) -> None:
    """A row in a file of bench/results: when, and what was measured."""
    new = not results.exists()
    with results.open("a", newline="") as stream:
        rows = csv.writer(stream, lineterminator="\n")
        if new:
            rows.writerow(columns)
        rows.writerow([datetime.now(timezone.utc).isoformat(timespec="seconds"), *values])


def playbook(name: str, variables: Mapping[str, object], **environment: str) -> str:
    """Run a playbook on the demo; what it said. The bench ends where it fails."""
    return _ansible("ansible-playbook", f"playbooks/{name}.yml", "--extra-vars", json.dumps(variables), **environment)


def on_host(program: str, *words: str) -> dict[str, Any]:
    """Run a Python program on the demo's host as root; the object that it prints as JSON, on a line of its own."""
    encoded = base64.b64encode(program.encode()).decode()
    script = f"echo {encoded} | base64 -d > {PROGRAM}; python3 {PROGRAM} {shlex.join(words)}; rm {PROGRAM}"
    said = _ansible("ansible", "app_servers", "--become", "-m", "ansible.builtin.raw", "-a", script)
    found = re.findall(r'^\{".*\}', said, re.MULTILINE)
    if not found:
        sys.exit(f"bench: the host measured nothing:\n{said[-3000:]}")
    return dict(json.loads(found[-1]))


def _ansible(*words: str, **environment: str) -> str:
    settings = {"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1", "ANSIBLE_FORCE_COLOR": "0", **environment}
    command = [words[0], "-i", str(INVENTORY), *words[1:]]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, **settings}, text=True, capture_output=True, check=False, timeout=1800)
    if done.returncode != 0:
        sys.exit(f"bench: {shlex.join(command)[:200]} exited {done.returncode}\n{done.stdout[-4000:]}{done.stderr[-2000:]}")
    return done.stdout


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = {"up": up, "curl": curl, "down": down}
    parser.add_argument("verb", choices=verbs)
    try:
        verbs[parser.parse_args().verb]()
    except HostError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
