"""Secrets as an operator replaces them: in the vault, then by a playbook; and who sees them meanwhile."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from deploys import ROOT, Outcome, invocation
from helpers import must

#: The name that other hosts reach the database by.
NAME = "db.data.slipway.test"
OLD = "canary-3f1c0a5b7d9e8462a1b3c5d7e9f0123456789"
NEW = "canary-77c0de5b7d9e8462a1b3c5d7e9f0123456789"
FIRST, SECOND = "canary-db-1-5b7d9e8462a1", "canary-db-2-c5d7e9f01234"
#: As a fixed string: the canaries above, and the control of `Watch`.
CANARY = "canary-"
CONTROL = "canary-control"
BEGIN = "/run/slipway-watch-begin"
END = "/run/slipway-watch-end"
#: Reads every process's arguments again and again, and prints those with a canary among them.
WATCH = f"""
import os, time
seen = set()
open("{BEGIN}", "w").close()
while not os.path.exists("{END}"):
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open("/proc/" + entry + "/cmdline", "rb") as file:
                words = file.read()
        except OSError:
            continue
        if b"{CANARY}" in words:
            seen.add(words.replace(b"\\0", b" ").decode(errors="replace").strip())
    time.sleep(0.05)
print("\\n".join(seen))
"""


class Vault:
    """What the operator has in the vault: an inventory beside the scenario's own, which wins."""

    def __init__(self, folder: Path, host: Any) -> None:
        self.folder, self.host = folder, host
        (folder / "group_vars/app_servers").mkdir(parents=True)
        (folder / "hosts.yml").write_text("app_servers: {hosts: {}}\n")

    def run(self, book: str, *words: str, **variables: Any) -> Outcome:
        """Run playbooks/<book>.yml with these variables in the vault."""
        (self.folder / "group_vars/app_servers/vault.yml").write_text(json.dumps(variables))
        command, environment = invocation(ROOT / f"playbooks/{book}.yml", self.host)
        inventory = f"{environment['ANSIBLE_INVENTORY']},{self.folder}"
        result = subprocess.run(
            ["nice", "-n", "5", *command, *words],
            cwd=ROOT,
            env={**environment, "ANSIBLE_INVENTORY": inventory},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
            timeout=1800,
        )
        return Outcome(result.returncode, result.stdout)


class Watch:
    """Whoever may list the host's processes. A context manager that leaves what was ``seen``, a control included."""

    def __init__(self, host: Any) -> None:
        self.host = host
        self.seen: set[str] = set()

    def __enter__(self) -> Watch:
        self.host.run(f"rm -f {END} {BEGIN}")
        command = ["docker", "exec", "-i", self.host.backend.get_hostname(), "python3", "-"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdin
        self._process.stdin.write(WATCH)
        self._process.stdin.close()
        must(self.host, f"for i in $(seq 600); do [ -e {BEGIN} ] && exit 0; sleep 0.1; done; exit 1")
        must(self.host, f"sh -c 'sleep 3; :' {CONTROL}")
        return self

    def __exit__(self, *_: object) -> None:
        must(self.host, f"touch {END}")
        assert self._process.stdout
        self.seen = set(self._process.stdout.read().splitlines())
        self._process.wait(timeout=10)


def url(role: str, password: str) -> str:
    return f"postgresql://{role}:{password}@{NAME}/demo?sslmode=verify-full&sslrootcert=/etc/demo/database-ca.pem"


def login(host: Any, role: str, password: str, mode: str = "verify-full") -> Any:
    """Who one is, the role one works as and whether the connection is encrypted."""
    query = "SELECT concat(session_user, ssl) FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
    return host.run(
        f"PGPASSWORD={password} psql -XAtqw 'host={NAME} dbname=demo user={role} sslmode={mode} sslrootcert=/etc/demo/database-ca.pem'"
        f" -c 'SELECT current_user' -c 'SET ROLE none' -c '{query}'"
    )
