"""What a run comes to, told by single results; and the estimate of how long it takes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible import context
from ansible.utils.context_objects import CLIArgs
from ansible_collections.slipway.vps.plugins.plugin_utils import last_run, outcome
from ansible_collections.slipway.vps.plugins.plugin_utils.last_run import LastRun
from ansible_collections.slipway.vps.plugins.plugin_utils.live import fitting
from ansible_collections.slipway.vps.plugins.plugin_utils.outcome import Failure, Outcome
from ansible_collections.slipway.vps.plugins.plugin_utils.plain import span

CANARY = "canary-3f8a1c5e"


class Result(SimpleNamespace):
    """As Ansible hands one to a callback plugin."""

    def is_changed(self) -> bool:
        return bool(self.result.get("changed"))


def result(action: str = "ansible.builtin.copy", args: Mapping[str, Any] | None = None, **said: Any) -> Result:
    task = SimpleNamespace(_uuid="1", action=action, resolved_action=action, args=dict(args or {}), no_log=False, loop=None, loop_with=None)
    task.__dict__.update(
        check_mode=False, _parent=None, get_name=lambda: "slipway.vps.nginx : Write", get_path=lambda: "", ignore_unreachable=False
    )
    host = SimpleNamespace(get_name=lambda: "blog")
    return Result(task=task, host=host, result=said)


@pytest.mark.parametrize(
    ("action", "args", "said", "detail"),
    [
        ("ansible.builtin.copy", {"dest": "/etc/a"}, {}, "/etc/a"),
        ("ansible.builtin.apt", {"name": ["nginx", "curl=1.2"]}, {}, "package nginx, package curl"),
        ("ansible.builtin.systemd_service", {"name": "nginx", "state": "reloaded"}, {}, "nginx.service reloaded"),
        ("ansible.builtin.systemd_service", {"name": "a.timer", "enabled": True}, {}, "a.timer"),
        ("community.postgresql.postgresql_db", {"name": "blog", "login_unix_socket": "/run/postgresql"}, {}, "database blog"),
        ("slipway.vps.files", {"files": [{"path": "/a"}, {"path": "/b"}]}, {"changes": ["/b"]}, "/b"),
        ("slipway.vps.firewall", {}, {"commands": ["ufw allow 80/tcp"]}, "ufw allow 80/tcp"),
        ("slipway.vps.files", {"files": [{"path": f"/{name}"} for name in "abcdef"]}, {}, "/a, /b, /c, /d and 2 more"),
        ("ansible.builtin.command", {"_raw_params": f"login {CANARY}"}, {}, ""),
        ("somebody.elses.module", {"path": "/x", "password": CANARY}, {"content": CANARY}, "/x"),
        ("somebody.elses.module", {"password": CANARY}, {"content": CANARY}, ""),
        ("ansible.builtin.copy", {"dest": "/a\x1b[2J\n" + "b" * 200}, {}, "/a [2J " + "b" * 150 + "..."),
    ],
)
def test_a_change_is_told_by_what_a_task_manages(action: str, args: dict[str, Any], said: dict[str, Any], detail: str) -> None:
    """Where a module lists what it changed, by that list; never by contents or commands, and without control characters."""
    run = Outcome()
    run.on_ok(result(action, args, changed=True, **said))
    (change,) = run.changes
    assert (change.host, change.task, change.detail) == ("blog", "nginx: Write", detail)


@pytest.mark.parametrize("mark", [{"_ansible_no_log": True}, {"censored": "hidden"}])
def test_what_is_hidden_stays_hidden(mark: dict[str, Any]) -> None:
    """[A11] However Ansible says so."""
    run = Outcome()
    run.on_ok(result(args={"dest": CANARY}, changed=True, **mark))
    run.on_ok(result("slipway.vps.contract", name=CANARY, **mark))
    run.on_failed(result(msg=CANARY, **mark))
    assert CANARY not in repr(run) and run.failures[0].message == outcome.HIDDEN and len(run.changes) == 1


@pytest.mark.parametrize(
    ("message", "points", "then"),
    [
        ("it is so", [("it is so", "")], ""),
        ("It said:\n\n  last words\n", [("It said: last words", "")], ""),
        ("Nothing was changed.\n- app_x is missing.\n  file: a.yml\n  fix:  write it\nThen run the same command again.", None, "again"),
        ("a\n  fix: b\nNext: correct it, then ansible-playbook x.", [("a", "b")], "Next: correct it, then ansible-playbook x."),
        ("a failed. Next, by what ssh says:\n- one\nNext, by this:\n- two", [("a failed. Next, by what ssh says: - two", "")], ""),
    ],
)
def test_fix_and_next_command_are_lines_of_the_message(message: str, points: list[tuple[str, str]] | None, then: str) -> None:
    """[K8] As the messages of the contract, preflight, verify and the release write them."""
    failure = Failure("blog", "Base", "Task", message)
    assert failure.points == (points or [("app_x is missing.", "write it")])
    assert failure.then == ("Then run the same command again." if then == "again" else then)


def test_the_command_is_written_as_a_person_would(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """[F10] Paths from here, no value of -e; after a deploy that went well, the address."""
    monkeypatch.chdir(tmp_path)
    said = {
        "inventory": [f"{tmp_path}/inventories/my blog"],
        "args": ("site.yml",),
        "subset": None,
        "tags": ("all",),
        "skip_tags": ("keep",),
    }
    monkeypatch.setattr(context, "CLIARGS", CLIArgs({**said, "extra_vars": (f"a={CANARY}",), "check": False}))
    assert outcome.again("-v") == "ansible-playbook -i 'inventories/my blog' site.yml --skip-tags keep -v -e …"
    run = Outcome("site")
    run.on_ok(result("slipway.vps.contract", name="blog", domain="blog.example.com"))
    assert outcome.next_steps(run)[0] == "Open https://blog.example.com/"
    assert outcome.next_steps(Outcome("restore")) == []


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_the_estimate_follows_the_steps_of_the_last_run(tmp_path: Path) -> None:
    """A step that it did not have is shown without one; one that takes longer than then stays where it is."""
    clock, path = Clock(), tmp_path / "runs/one.json"

    def play(*steps: tuple[str, float]) -> list[tuple[int, float] | None]:
        run, seen = LastRun(path, clock), []
        for name, seconds in steps:
            run.step("Base", name)
            clock.now += seconds
            seen.append(run.left())
        run.save()
        return seen

    assert play(("a", 10), ("b", 30), ("a", 40), ("c", 20)) == [None] * 4
    assert play(("a", 5), ("new", 9), ("b", 90), ("a", 40), ("c", 10)) == [(5, 95), None, (40, 60), (80, 20), (90, 10)]
    assert len(json.loads(path.read_text())["steps"]) == 5


@pytest.mark.parametrize("kept", ["", "{", "[]", '{"total": "x", "steps": []}', '{"steps": [[1]]}', "null"])
def test_a_file_that_cannot_be_read_is_no_matter(tmp_path: Path, kept: str) -> None:
    """Nor a folder that cannot be written."""
    (tmp_path / "one.json").write_text(kept)
    run = LastRun(tmp_path / "one.json")
    run.step("Base", "a")
    assert run.left() is None
    (tmp_path / "file").write_text("")
    LastRun(tmp_path / "file/one.json").save()


def test_old_runs_are_not_kept_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(last_run, "KEPT", 3)
    for number in range(6):
        LastRun(tmp_path / f"{number}.json").save()
    assert len(list(tmp_path.iterdir())) == 3 and (tmp_path / "5.json").exists()


def test_a_line_fits_the_terminal() -> None:
    """Also where a character takes two columns, and without control characters."""
    assert fitting("abc\x1b\n", 4) == "abc " and fitting("日本語", 5) == "日本" and fitting("abc", 0) == ""


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0 s"), (59.6, "1 min 0 s"), (80, "1 min 20 s"), (7500, "2 h 5 min")])
def test_a_time_as_people_say_it(seconds: float, text: str) -> None:
    assert span(seconds) == text
