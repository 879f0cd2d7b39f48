"""Deploys as an operator runs them, and visitors who keep asking meanwhile."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
import uuid
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
from helpers import App

ROOT = Path(__file__).resolve().parents[3]


@dataclass(frozen=True)
class Outcome:
    """How a playbook ended, and all it said."""

    status: int
    output: str

    def __str__(self) -> str:
        return f"exit {self.status}\n{self.output[-6000:]}"


def playbook(name: str, host: Any, variables: dict[str, Any] | None = None) -> Outcome:
    """Run playbooks/<name>.yml against one host of the scenario, as an operator would."""
    return run_playbook(ROOT / f"playbooks/{name}.yml", host, variables)


def run_playbook(path: Path, host: Any, variables: dict[str, Any] | None = None, timeout: float = 1200, nice: int = 0) -> Outcome:
    """Run any playbook against one host of the scenario. ``nice``: an operator's machine takes no time from the host, as ours would."""
    command, environment = invocation(path, host, variables)
    return outcome_of(["nice", "-n", str(nice), *command], environment, ROOT, timeout)


def outcome_of(command: list[str], environment: dict[str, str], folder: Path, timeout: float) -> Outcome:
    """Run a command in ``folder``; how it ended, and all it said on both streams."""
    done = subprocess.run(
        command, cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, timeout=timeout
    )
    return Outcome(done.returncode, done.stdout)


def invocation(path: Path, host: Any, variables: dict[str, Any] | None = None) -> tuple[list[str], dict[str, str]]:
    """The command that runs a playbook against one host of the scenario (None: all of them), and its environment."""
    limit = ["--limit", host.backend.get_hostname()] if host else []
    command = ["ansible-playbook", *limit, str(path), "--extra-vars", json.dumps(variables or {})]
    inventory = os.environ.get("MOLECULE_INVENTORY_FILE", "")
    environment = {
        **os.environ,
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        "ANSIBLE_INVENTORY": str(Path(inventory).parent),
        "ANSIBLE_FORCE_COLOR": "0",
        "ANSIBLE_NOCOLOR": "1",
        "MOLECULE_PROJECT_DIRECTORY": str(ROOT),
    }
    return command, environment


@dataclass
class Traffic:
    """Two visitors: one reads, one writes rows with a key of their own; both on kept-alive connections, through nginx.

    Used as a context manager around a deploy. At most ``limit`` requests each, 20 a second.
    """

    app: App
    certificate: Path
    limit: int = 3000
    answers: Counter[str] = field(default_factory=Counter)
    written: list[str] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> Traffic:
        self._threads = [threading.Thread(target=self._ask, args=(write,), daemon=True) for write in (False, True)]
        for thread in self._threads:
            thread.start()
        time.sleep(0.5)
        return self

    def __exit__(self, *_: object) -> None:
        time.sleep(0.5)
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=40)

    def _ask(self, write: bool) -> None:
        with requests.Session() as session:
            session.verify = str(self.certificate)
            session.trust_env = False
            for _ in range(self.limit):
                if self._stop.wait(0.05):
                    return
                key = uuid.uuid4().hex
                try:
                    if write:
                        answer = session.post(f"https://{self.app.domain}/ledger", json={"key": key}, timeout=35)
                    else:
                        answer = session.get(f"https://{self.app.domain}/", timeout=35)
                    self.answers[f"{'POST' if write else 'GET'} {answer.status_code}"] += 1
                    if write and answer.ok:
                        self.written.append(key)
                except requests.RequestException as error:
                    self.answers[f"{'POST' if write else 'GET'} {type(error).__name__}"] += 1

    def must_be_served(self) -> None:
        """Every request got its answer."""
        assert set(self.answers) == {"GET 200", "POST 201"}, f"visitors saw {dict(self.answers)}"
        assert min(self.answers.values()) >= 20, f"too few requests to mean anything: {dict(self.answers)}"
