"""An operator who comes in over SSH: a key, an inventory, and the playbooks of the collection."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

from deploys import ROOT, Outcome, outcome_of
from helpers import must

#: What any app has to say; nothing of it is deployed here.
APP = {
    "app_name": "demo",
    "app_domains": ["demo.slipway.test"],
    "app_wsgi": "demo:app",
    "app_source": {"type": "path", "path": str(ROOT / "examples/flask-app")},
    "acme_email": "ops@slipway.test",
}
DROP_IN = "/etc/ssh/sshd_config.d/10-slipway.conf"
#: So long a machine may be cut off: a guard's 100 seconds, and the way back.
TWO_MINUTES = 120
BASE = ROOT / "playbooks/base.yml"
#: Of base.yml who logs in and how, alone.
LOGINS = ("--tags", "ssh")


class Operator:
    """One who administrates ``host``."""

    def __init__(self, host: Any, address: str, folder: Path) -> None:
        self.host, self.address, self.folder = host, address, folder
        self.user, self.port = "root", 22
        self.keys = {name: self._make_key(name) for name in ("mine", "other")}

    def _make_key(self, name: str) -> str:
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", self.folder / name], check=True)
        return (self.folder / f"{name}.pub").read_text().strip()

    def rent(self) -> None:
        """As a provider hands it over, as far as sshd goes: root comes in with the operator's key, at the usual port."""
        must(self.host, f"mkdir -p -m 700 /root/.ssh && echo '{self.keys['mine']}' > /root/.ssh/authorized_keys")
        must(self.host, f"rm -f {DROP_IN}; systemctl reset-failed ssh; systemctl restart ssh")

    @property
    def ssh_options(self) -> list[str]:
        return [
            *("-F", "none", "-o", f"UserKnownHostsFile={self.folder}/known_hosts", "-o", "StrictHostKeyChecking=accept-new"),
            *("-o", "IdentitiesOnly=yes", "-o", "ConnectTimeout=5"),
        ]

    def comes_in(self, user: str = "", port: int = 0, *options: str) -> bool:
        """Whether a new connection with the operator's key comes in."""
        words = ["ssh", *self.ssh_options, "-o", "BatchMode=yes", "-i", str(self.folder / "mine"), *options]
        target = ["-p", str(port or self.port), f"{user or self.user}@{self.address}", "true"]
        return subprocess.run([*words, *target], capture_output=True, timeout=30, check=False).returncode == 0

    def command(self, playbook: Path, *words: str, options: str = "", **variables: Any) -> tuple[list[str], dict[str, str]]:
        """What runs a playbook over SSH, and its environment."""
        where = {
            **{"ansible_host": self.address, "ansible_port": self.port, "ansible_user": self.user},
            "ansible_ssh_private_key_file": str(self.folder / "mine"),
            "ansible_ssh_common_args": " ".join([*self.ssh_options, options]),
            "ansible_ssh_control_path_dir": str(self.folder / "cp"),
        }
        inventory = self.folder / "hosts.json"
        inventory.write_text(json.dumps({"app_servers": {"hosts": {"machine": {**where, **APP, **variables}}}}))
        environment = {
            **os.environ,
            **{"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "collections")},
            **{"ANSIBLE_INVENTORY": str(inventory), "ANSIBLE_FORCE_COLOR": "0", "ANSIBLE_NOCOLOR": "1"},
        }
        return ["ansible-playbook", str(playbook), *words], environment

    def run(self, *words: str, playbook: Path = BASE, options: str = "", **variables: Any) -> Outcome:
        """Run a playbook to its end."""
        command, environment = self.command(playbook, *words, options=options, **variables)
        return outcome_of(command, environment, self.folder, 1800)

    def logins(self, *words: str, options: str = "", **variables: Any) -> Outcome:
        """Run of base.yml what concerns logins."""
        return self.run(*LOGINS, *words, options=options, **variables)

    def run_and_die(self, log: Path, **variables: Any) -> None:
        """Change the logins, and kill all of the run as soon as sshd's configuration has changed on the host, before anything is proven."""
        before = self.drop_in()
        command, environment = self.command(BASE, *LOGINS, **variables)
        with log.open("w") as output:
            process = subprocess.Popen(command, env=environment, cwd=self.folder, stdout=output, stderr=output, start_new_session=True)
        deadline = time.monotonic() + 300
        while self.drop_in() == before:
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()[-3000:]
            time.sleep(0.3)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        self.close()

    def drop_in(self) -> str:
        return str(self.host.run(f"cat {DROP_IN} 2>/dev/null").stdout)

    def close(self) -> None:
        """Let no kept connection of an earlier run help the next one."""
        for socket in (self.folder / "cp").glob("*"):
            subprocess.run(["ssh", "-o", f"ControlPath={socket}", "-O", "exit", "x"], capture_output=True, check=False)


def changed(outcome: Outcome) -> int:
    """How many tasks changed something."""
    found = re.search(r"machine\s+: ok=\d+\s+changed=(\d+)\s+unreachable=0\s+failed=0", outcome.output)
    assert outcome.status == 0 and found, str(outcome)
    return int(found[1])


def wait_for(what: str, ready: Any, seconds: float = TWO_MINUTES) -> float:
    """Poll until ``ready``; after how many seconds it was."""
    started = time.monotonic()
    while not ready():
        assert time.monotonic() - started < seconds, f"{what} did not happen within {seconds:.0f} s"
        time.sleep(1)
    took = time.monotonic() - started
    print(f"{what}: after {took:.0f} s")
    return took
