"""Machines that somebody used before: the finding is named, and looking changed nothing."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import testhost
import yaml
from deploys import ROOT, Outcome, outcome_of
from prepared import HOSTS, Prepared

Bare = Callable[[], str]
#: What may differ between two moments: what Ansible leaves for itself, logs, and what systemd and servers write by themselves.
APART = (
    *("/proc", "/sys", "/run", "/dev", "/tmp", "/root/.ansible", "/var/log/journal", "/var/lib/systemd", "/var/tmp"),
    *("/var/lib/postgresql", "/var/log/postgresql"),
)
STATE = (
    f"find / -xdev {' '.join(f'-path {path} -prune -o' for path in APART)} -type f -printf '%p %M %u %g %s %T@\\n' | sort;"
    " systemctl list-unit-files --no-legend;"
    " systemctl list-units --no-legend --plain --full --type=service,socket,timer | awk '{print $1, $4}';"
    " awk '$4 == \"0A\" {print $2}' /proc/net/tcp /proc/net/tcp6 | sort; cat /etc/passwd /etc/group"
)


def shell(host: str, script: str) -> str:
    return testhost.run("docker", "exec", host, "sh", "-c", script)


def differs(host: str, before: str) -> set[str]:
    """Lines of the state that are new, or gone."""
    return set(before.splitlines()) ^ set(shell(host, STATE).splitlines())


def preflight(host: str, folder: Path, **variables: Any) -> Outcome:
    """As an operator runs it."""
    usual = {**yaml.safe_load((ROOT / "molecule/shared/group_vars/app_servers/app.yml").read_text()), "preflight_wait": 60}
    usual |= {"app_domains": ["demo.slipway.test"], "app_source": {"type": "path", "path": str(ROOT / "examples/flask-app")}, **variables}
    hosts = {"app_servers": {"hosts": {"web1": {"ansible_host": host, "ansible_connection": "community.docker.docker"}}, "vars": usual}}
    (folder / "hosts.yml").write_text(yaml.safe_dump(hosts))
    command = ["ansible-playbook", "-i", str(folder / "hosts.yml"), str(ROOT / "playbooks/preflight.yml")]
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")},
        **{"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1", "MOLECULE_PROJECT_DIRECTORY": str(ROOT)},
        "ANSIBLE_CALLBACKS_ENABLED": "ansible.posix.profile_tasks",
    }
    return outcome_of(command, environment, ROOT, 300)


def test_a_clean_machine(bare: Bare, tmp_path: Path) -> None:
    """[F3] Nothing needs a decision, within three seconds, and nothing was changed."""
    host = bare()
    before = shell(host, STATE)
    outcomes = [preflight(host, tmp_path) for _ in range(3)]
    assert all(outcome.status == 0 and "changed=0" in outcome.output for outcome in outcomes), "\n".join(map(str, outcomes))
    assert not differs(host, before)
    # What it costs a run, with the way to the machine and back; the best of three, since other scenarios run beside this one.
    took = [
        float(seconds) for outcome in outcomes for seconds in re.findall(r"machine \| Look at the machine -+ ([\d.]+)s", outcome.output)
    ]
    print(f"preflight of a clean machine: {min(took)} s of {took}")
    assert len(took) == 3 and min(took) <= 3


@pytest.mark.parametrize("prepared", HOSTS, ids=[prepared.name.replace(" ", "-") for prepared in HOSTS])
def test_a_prepared_machine(bare: Bare, tmp_path: Path, prepared: Prepared) -> None:
    """[F3] By its id and its evidence; files, units and sockets are as before."""
    host = bare()
    shell(host, f"set -e\n{prepared.shell}")
    before = shell(host, STATE)
    outcome = preflight(host, tmp_path, **prepared.variables)
    assert (outcome.status == 0) is prepared.warns, str(outcome)
    said = [line for line in outcome.output.splitlines() if f"{prepared.id}:" in line]
    assert said and prepared.seen in outcome.output, str(outcome)
    assert prepared.warns or "Nothing was changed" in outcome.output, str(outcome)
    assert not differs(host, before)
    # The line that it shows is taken.
    lines = [line.partition("write: ")[2] for line in outcome.output.splitlines() if f'write: preflight_answers: {{"{prepared.id}"' in line]
    if lines and not prepared.warns:
        again = preflight(host, tmp_path, **prepared.variables, **yaml.safe_load(lines[0]))
        assert f"- {prepared.id}:" not in again.output, str(again)
