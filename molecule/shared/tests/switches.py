"""Many deploys and rollbacks in turn, by the real playbooks and one start of Ansible, and what was live after each."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from deploys import ROOT, Outcome, run_playbook
from helpers import App, must

LOG = "/var/tmp/switches.log"
#: Run on the host after each switch: what `current` leads to, the number in its environment, its state, and the instances that serve.
NOTE = r"""
import json, pathlib, subprocess, sys
current = pathlib.Path("/srv/demo/current")
mark = [line.split("=", 1)[1] for line in (current / "environment").read_text().splitlines() if line.startswith("SWITCH=")]
units = ["systemctl", "list-units", "--plain", "--no-legend", "--full", "--type=service", "--state=active,activating,reloading", "demo@*"]
print(json.dumps({
    "step": sys.argv[1],
    "live": current.readlink().name,
    "state": json.loads((current / "release.json").read_text())["state"],
    "mark": mark[0].strip('"') if mark else "",
    "running": [line.split()[0] for line in subprocess.run(units, capture_output=True, text=True).stdout.splitlines()],
}))
"""


class Switch(NamedTuple):
    """What was live after one step."""

    step: str
    live: str
    state: str
    mark: str
    running: list[str]


def environment(app: App, **more: Any) -> dict[str, Any]:
    """The app's environment in the scenarios, and ``more``: any change of it is a release of its own."""
    return {"LOGBOOK_LEDGER": 1, "UPLOAD_FOLDER": f"{app.shared}/uploads", **more}


def plays(app: App, run: str, first: int, pairs: int, **more: Any) -> Iterator[dict[str, Any]]:
    """Deploy, look, roll back, look; ``pairs`` times."""
    for number in range(first, first + pairs):
        for verb in ("deploy", "rollback"):
            play: dict[str, Any] = {"name": f"{verb} {number}", "ansible.builtin.import_playbook": str(ROOT / f"playbooks/{verb}.yml")}
            if verb == "deploy":
                play["vars"] = {"app_env": environment(app, SWITCH=f"{run}-{number}"), "deploy_burn_in": 0, "resolve_again": True, **more}
            yield play
            look = {"argv": ["python3", "-c", NOTE, f"{verb} {number}"]}
            keep = {"path": LOG, "create": True, "mode": "0644", "line": "{{ switch_note.stdout }}"}
            yield {
                "name": "Look",
                "hosts": "app_servers",
                "gather_facts": False,
                "tasks": [
                    {"name": "Look", "ansible.builtin.command": look, "register": "switch_note", "changed_when": False},
                    {"name": "Write it down", "ansible.builtin.lineinfile": keep},
                ],
            }


def switch(host: Any, app: App, folder: Path, run: str, pairs: int, first: int = 1, **more: Any) -> tuple[Outcome, list[Switch]]:
    """``pairs`` deploys (with ``more`` variables), each with its rollback.

    Another ``run`` makes other releases: what was rolled away from is not deployed again.
    """
    book = folder / f"switches-{first}.yml"
    book.write_text(json.dumps(list(plays(app, run, first, pairs, **more)), indent=1))
    host.run(f"rm -f {LOG}")
    outcome = run_playbook(book, host, timeout=60 + 300 * pairs, nice=19)
    seen = [Switch(**json.loads(line)) for line in host.run(f"cat {LOG}").stdout.splitlines()]
    return outcome, seen


def must_alternate(seen: list[Switch], app: App, before: str, run: str, pairs: int, first: int = 1) -> None:
    """After each deploy what it brought was live, after each rollback what was live before all; and nothing else ran."""
    expected = [f"{verb} {number}" for number in range(first, first + pairs) for verb in ("deploy", "rollback")]
    assert [one.step for one in seen] == expected, seen
    for one in seen:
        verb, number = one.step.split()
        if verb == "deploy":
            assert one.mark == f"{run}-{number}" and one.live != before, one
        else:
            assert one.live == before, one
        assert one.state == "live" and one.running == [f"{app.name}@{one.live}.service"], one
    brought = [one.live for one in seen if one.step.startswith("deploy")]
    assert len(set(brought)) == len(brought), brought


def rows(host: Any, app: App, prefix: str) -> list[str]:
    """The keys of the ledger's rows that begin with ``prefix``: every row, so that one that came twice is there twice."""
    query = f"select key from ledger where key like '{prefix}-%'"
    return must(host, f'runuser -u {app.name} -- psql -XAtc "{query}" {app.database}').split()
