"""Machines that somebody used before: the findings are named, and looking changed nothing.

The short form has a few machines with many findings; SLIPWAY_FULL=1 has one for each of them, too.
"""

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
from helpers import FULL
from prepared import CROWDS, HOSTS, Prepared

Bare = Callable[[], str]
NAMED = {prepared.name: prepared for prepared in HOSTS}
#: The short form has the crowds, SLIPWAY_FULL=1 each by itself, too.
MACHINES = [tuple(NAMED[name] for name in names) for names in CROWDS] + [(prepared,) for prepared in HOSTS if FULL]
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


def test_a_clean_machine(bare: Bare, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """[F3] Nothing needs a decision, within three seconds, and nothing was changed."""
    host = bare()
    before = shell(host, STATE)
    # What it costs a run, with the way to the machine and back. Where others run beside, it waits for its share of the processors.
    took, share = [], max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
    for _ in range(3):
        outcome = preflight(host, tmp_path)
        assert outcome.status == 0 and "changed=0" in outcome.output, str(outcome)
        took += [float(seconds) for seconds in re.findall(r"machine \| Look at the machine -+ ([\d.]+)s", outcome.output)]
    assert not differs(host, before)
    with capsys.disabled():
        print(f"\npreflight of a clean machine: {min(took)} s of {took}, with {share:.1f} processes for each processor")
    assert min(took) <= 3 * share


@pytest.mark.parametrize("crowd", MACHINES, ids=["+".join(one.name.replace(" ", "-") for one in crowd)[:60] for crowd in MACHINES])
def test_a_prepared_machine(bare: Bare, tmp_path: Path, crowd: tuple[Prepared, ...]) -> None:
    """[F3] Everything on it is named at once, by its id and its evidence; files, units and sockets are as before."""
    host = bare()
    for prepared in crowd:
        shell(host, f"set -e\n{prepared.shell}")
    before = shell(host, STATE)
    variables = {name: value for prepared in crowd for name, value in prepared.variables.items()}
    outcome = preflight(host, tmp_path, **variables)
    assert (outcome.status == 0) is all(prepared.warns for prepared in crowd), str(outcome)
    # As one line: Ansible folds what is said when the run goes on.
    said = " ".join(outcome.output.split())
    missed = [prepared.name for prepared in crowd if f"{prepared.id}:" not in said or prepared.seen not in said]
    assert not missed, f"not named: {missed}\n{outcome}"
    assert outcome.status == 0 or "Nothing was changed" in outcome.output, str(outcome)
    assert not differs(host, before)
    # The lines that it shows are taken: of each finding the first.
    answers: dict[str, str] = {}
    for line in outcome.output.splitlines():
        _, shown, answer = line.partition("write: preflight_answers: ")
        answers |= {id_: way for id_, way in yaml.safe_load(answer).items() if id_ not in answers} if shown else {}
    if answers:
        again = preflight(host, tmp_path, **variables, preflight_answers=answers)
        assert not [id_ for id_ in answers if f"- {id_}:" in again.output], str(again)
