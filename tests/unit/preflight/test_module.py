"""The module at its border, and the action plugin before it: one look, the controller's clock, and patience."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.basic import AnsibleModule
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.slipway.vps.plugins.action import preflight as action
from ansible_collections.slipway.vps.plugins.module_utils.preflight.facts import Busy, Facts
from ansible_collections.slipway.vps.plugins.modules import preflight as module

from ..conftest import Tool
from ..inventory import SECRET
from .situations import CLEAN, SITUATIONS

Run = Callable[..., dict[str, Any]]


class EndedError(Exception):
    """The module would have ended here."""


@pytest.fixture
def run(machine: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the module on a machine of which the facts are known."""

    def call(facts: Facts, answers: dict[str, str] | None = None, **arguments: Any) -> dict[str, Any]:
        said: dict[str, Any] = {}

        def end(_: Any, **result: Any) -> None:
            said.update(result)
            raise EndedError

        monkeypatch.setattr(module, "gather", lambda needs, host, now: facts)
        monkeypatch.setattr(AnsibleModule, "exit_json", end)
        monkeypatch.setattr(AnsibleModule, "fail_json", lambda self, **result: end(self, failed=True, **result))
        words = {"machine": {**machine, "answers": answers or {}}, **arguments}
        monkeypatch.setattr("ansible.module_utils.basic._ANSIBLE_ARGS", json.dumps({"ANSIBLE_MODULE_ARGS": words}).encode())
        monkeypatch.setattr("ansible.module_utils.basic._ANSIBLE_PROFILE", "legacy")
        with pytest.raises(EndedError):
            module.main()
        # As it crosses the border.
        returned: dict[str, Any] = json.loads(json.dumps(said))
        return returned

    return call


def situation(name: str) -> Facts:
    return next(one.there for one in SITUATIONS if one.name == name)


def test_a_clean_machine(run: Run) -> None:
    """[F3] Nothing is said, and nothing changed."""
    said = run(CLEAN)
    assert (said["changed"], said["refuses"], said["message"], said["notes"], said["findings"]) == (False, False, "", [], [])
    assert said["facts"]["system"]["systemd"] == 257


def test_a_machine_with_findings_does_not_fail(run: Run) -> None:
    """The role stops the run, with the message alone: a failed module would print all facts."""
    said = run(situation("Redis holds keys"))
    assert not said.get("failed") and said["refuses"] and "port:6379" in said["message"]
    assert said["findings"][0]["lines"] == {choice: f'preflight_answers: {{"port:6379": {choice}}}' for choice in ("leave", "replace")}


def test_answers_come_with_the_machine(run: Run) -> None:
    said = run(situation("Redis holds keys"), {"port:6379": "leave"})
    assert not said["refuses"] and said["findings"][0]["answer"] == "leave" and "leave: redis-server.service goes on" in said["notes"][0]


def test_limits_and_kind_of_machine_are_arguments(run: Run) -> None:
    assert run(CLEAN, memory_min=4096)["findings"][0]["id"] == "system:memory"
    assert run(situation("a person"), web=False)["findings"] == []


def test_a_machine_that_is_none_is_refused_in_words(run: Run) -> None:
    """[F8]"""
    said = run(CLEAN, machine={"apps": []})
    assert said["failed"] and "app.machine" in said["msg"]


# --- The action plugin --------------------------------------------------------------------------------

BUSY = {"busy": [{"id": "apt:lock", "what": "the package manager is at work", "evidence": "apt-get (pid 812)"}], "refuses": True}


@pytest.fixture
def gather(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Run the plugin over a row of answers; returns its result, what each call was given, and what was shown."""

    def call(answers: list[dict[str, Any]], **words: Any) -> tuple[dict[str, Any], list[dict[str, Any]], list[str]]:
        given: list[dict[str, Any]] = []
        shown: list[str] = []
        clock = [1000.0]
        plugin = action.ActionModule.__new__(action.ActionModule)
        plugin._task = type("Task", (), {"args": words})()

        def execute(module_name: str, module_args: dict[str, Any], task_vars: Any) -> dict[str, Any]:
            assert module_name == "slipway.vps.preflight"
            given.append(module_args)
            return answers[min(len(given), len(answers)) - 1]

        monkeypatch.setattr(plugin, "_execute_module", execute, raising=False)
        monkeypatch.setattr(ActionBase, "run", lambda self, tmp, task_vars: {})
        monkeypatch.setattr(Display, "display", lambda self, text: shown.append(text))
        monkeypatch.setattr(time, "sleep", lambda seconds: clock.__setitem__(0, clock[0] + seconds))
        monkeypatch.setattr(time, "monotonic", lambda: clock[0])
        return plugin.run(task_vars={"inventory_hostname": "web1"}), given, shown

    return call


def test_one_round_trip_where_nothing_is_at_work(gather: Callable[..., Any]) -> None:
    """[F3] With the controller's clock, whatever the task says."""
    result, given, shown = gather([{"busy": [], "refuses": False}], machine={}, wait=600, now=5)
    assert result == {"busy": [], "refuses": False} and len(given) == 1 and shown == []
    assert abs(given[0]["now"] - time.time()) < 60 and given[0]["machine"] == {}


def test_the_package_manager_is_waited_for(gather: Callable[..., Any]) -> None:
    """[F3] Who holds it, and for how long already, is said meanwhile."""
    result, given, shown = gather([BUSY, BUSY, {"busy": [], "refuses": False}], wait=600)
    assert not result["refuses"] and len(given) == 3
    assert shown == [f"web1: waited {waited} s of 600 s: the package manager is at work: apt-get (pid 812)" for waited in (0, 5)]


def test_patience_ends(gather: Callable[..., Any]) -> None:
    """[F3] Then it is refused, with who holds it."""
    result, given, shown = gather([BUSY], wait=12)
    assert result["refuses"] and len(shown) == 3 and len(given) == 4
    assert gather([BUSY], wait=0)[2] == [] and gather([BUSY])[2] == []


def test_what_was_answered_is_not_waited_for(gather: Callable[..., Any]) -> None:
    answered = {
        "busy": [{"id": "system:cloud-init", "what": "x", "evidence": "y"}],
        "findings": [{"id": "system:cloud-init", "answer": "leave"}],
    }
    assert len(gather([answered], wait=600)[1]) == 1


def test_nobody_waits_for_a_run_that_is_refused_anyway(gather: Callable[..., Any]) -> None:
    """[F3] All at once, and now; but what cloud-init has not made yet may be there in a minute."""
    other = {"id": "port:80", "refuses": True, "answer": "", "choices": {"replace": "x"}}
    lock = {"id": "apt:lock", "refuses": True, "answer": "", "choices": {}}
    assert len(gather([{**BUSY, "findings": [lock, other]}], wait=600)[1]) == 1
    assert len(gather([{**BUSY, "findings": [lock, {**other, "answer": "replace"}]}, {"busy": []}], wait=600)[1]) == 2
    assert len(gather([{**BUSY, "findings": [lock, {**other, "refuses": False}]}, {"busy": []}], wait=600)[1]) == 2
    first_start = {"busy": [{**BUSY["busy"][0], "id": "system:cloud-init"}], "findings": [other]}  # type: ignore[index]
    assert len(gather([first_start, {"busy": []}], wait=600)[1]) == 2


def test_a_host_that_cannot_be_asked_fails_at_once(gather: Callable[..., Any]) -> None:
    result, given, _ = gather([{"failed": True, "msg": "no python"}], wait=600)
    assert result["failed"] and len(given) == 1


def test_what_is_busy_is_judged_too(run: Run) -> None:
    said = run(replace(CLEAN, busy=[Busy("apt:lock", "the package manager is at work", "apt (pid 3)")]))
    assert said["refuses"] and said["busy"][0]["evidence"] == "apt (pid 3)"


# --- The playbook -------------------------------------------------------------------------------------


def play(tool: Tool, folder: Path, *words: str, **variables: Any) -> tuple[int, str]:
    """Run the verb on this machine, which it does not change."""
    usual = {
        **{"app_name": "blog", "app_domains": ["blog.example.com"], "app_wsgi": "blog:app", "acme_email": "ops@example.com"},
        **{"app_source": {"type": "path", "path": str(folder)}, "app_secrets": {"SECRET_KEY": SECRET}, "preflight_wait": 0},
    }
    here = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable, "ansible_become": False}
    hosts = {"app_servers": {"hosts": {"here": here}, "vars": {**usual, **variables}}}
    (folder / "hosts.yml").write_text(yaml.safe_dump(hosts))
    result = tool("ansible-playbook", "-i", str(folder / "hosts.yml"), "playbooks/preflight.yml", *words)
    return result.returncode, result.stdout + result.stderr


@pytest.mark.parametrize("words", [(), ("--check",)], ids=["run", "check mode"])
def test_the_verb_changes_nothing_and_says_what_is_next(tool: Tool, tmp_path: Path, words: tuple[str, ...]) -> None:
    """[F3] [F8] On this machine, whose memory is said to be too small."""
    status, output = play(tool, tmp_path, *words, preflight_memory_min=99_999_999)
    assert status != 0 and "Nothing was changed" in output and "Traceback" not in output, output
    # On another system than Debian that is all there is to say.
    assert "system:memory" in output or "system:distribution" in output, output
    assert f"ansible-playbook -i {tmp_path} slipway.vps.preflight" in output and "Then run the same command again." in output
    assert "changed=0" in output, output
