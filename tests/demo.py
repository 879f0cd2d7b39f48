"""The demo (`make demo`), as the benchmarks use it: over SSH, as an operator would."""

from __future__ import annotations

import base64
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
INVENTORY = ROOT / "inventories/demo"
#: Where the program that a host runs lies meanwhile.
PROGRAM = "/var/tmp/slipway-bench.py"


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
