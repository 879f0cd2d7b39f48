"""The module `lock`, as a task of Ansible calls it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.testing import patch_module_args
from ansible_collections.slipway.vps.plugins.module_utils.lock import Holder, Lock
from ansible_collections.slipway.vps.plugins.modules import lock as module

Run = Callable[..., dict[str, Any]]
ADA: dict[str, Any] = {"token": "ada-secret-token", "owner": "ada", "host": "laptop"}
BOB: dict[str, Any] = {"token": "bob-secret-token", "owner": "bob", "host": "runner"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The folder of the app."""
    folder = tmp_path / "blog"
    folder.mkdir()
    return folder


@pytest.fixture
def run(root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the module and return what it prints for Ansible, with its warnings."""
    warnings: list[str] = []
    monkeypatch.setattr(AnsibleModule, "warn", lambda self, text: warnings.append(text))

    def play(action: str, check_mode: bool = False, **options: Any) -> dict[str, Any]:
        arguments = {"root": str(root), "action": action, "_ansible_check_mode": check_mode, **options}
        with patch_module_args(arguments), pytest.raises(SystemExit):
            module.main()
        answer: dict[str, Any] = {**json.loads(capsys.readouterr().out), "warnings": list(warnings)}
        warnings.clear()
        return answer

    return play


def tree(root: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in root.iterdir()}


def test_taking_and_giving_back_is_no_change(run: Run, root: Path) -> None:
    """[S1] A run that deploys nothing reports changed=0; the secret is in no answer."""
    taken = run("acquire", **ADA, purpose="rollback", commit="abc", job_url="https://ci.example.com/7", ttl=60)
    assert taken["changed"] is False and taken["note"] == "" and taken["warnings"] == [] and taken["frozen"] is None
    shown = {key: taken["lock"][key] for key in ("owner", "host", "purpose", "commit", "job_url", "app", "expired")}
    assert shown == {
        **{"owner": "ada", "host": "laptop", "purpose": "rollback", "commit": "abc", "job_url": "https://ci.example.com/7"},
        **{"app": "blog", "expired": False},
    }
    assert "token" not in taken["lock"] and "secret" not in json.dumps({k: v for k, v in taken.items() if k != "invocation"})
    assert "ada-secret-token" not in json.dumps(taken)
    given = run("release", token=ADA["token"])
    assert (given["changed"], given["lock"], given["summary"]) == (False, None, "lock: free\nfreeze: none")
    assert run("release", token=ADA["token"])["changed"] is False


def test_the_second_run_fails(run: Run, root: Path) -> None:
    """[S1] With who holds it in the message, and as data."""
    run("acquire", **ADA)
    refused = run("acquire", **BOB)
    assert refused["failed"] is True and "deploy by ada@laptop" in refused["msg"] and "lock_wait" in refused["msg"]
    assert refused["lock"]["owner"] == "ada"
    run("release", token=BOB["token"])
    assert run("show")["lock"]["owner"] == "ada"


def test_the_time_to_wait_is_passed_on(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[Holder, float, int]] = []

    def acquire(self: Lock, holder: Holder, ttl: float, wait: int) -> str:
        seen.append((holder, ttl, wait))
        return ""

    monkeypatch.setattr(Lock, "acquire", acquire)
    run("acquire", **ADA, ttl=60, wait=7)
    run("acquire", **ADA)
    assert [entry[1:] for entry in seen] == [(60, 7), (120, 0)]
    assert seen[0][0] == Holder("ada-secret-token", "ada", "laptop")


def test_a_note_is_a_warning(run: Run, root: Path) -> None:
    """[S1] Whose run died is worth a line."""
    (root / ".lease.json").write_text("{")
    taken = run("acquire", **ADA)
    assert "cannot be read" in taken["note"] and "cannot be read" in taken["warnings"][0]


def test_freezing_is_a_change_once(run: Run, root: Path) -> None:
    """[S1] Frozen, a deploy fails with the reason; unfrozen, it goes on."""
    frozen = run("freeze", owner="ada", host="laptop", reason="audit")
    assert frozen["changed"] is True and frozen["frozen"]["reason"] == "audit" and frozen["frozen"]["owner"] == "ada"
    assert run("freeze", owner="bob", reason="audit")["changed"] is False
    refused = run("acquire", **BOB)
    assert refused["failed"] is True and "audit" in refused["msg"] and refused["frozen"]["reason"] == "audit"
    assert run("unfreeze")["changed"] is True
    assert run("unfreeze")["changed"] is False
    assert "failed" not in run("acquire", **BOB)


def test_show_changes_nothing(run: Run, root: Path) -> None:
    shown = run("show")
    assert (shown["changed"], shown["lock"], shown["frozen"], tree(root)) == (False, None, None, {})


def test_check_mode_writes_nothing(run: Run, root: Path) -> None:
    """[S1] It says what would change, and what would refuse; it does not fail."""
    assert run("acquire", check_mode=True, **ADA)["note"] == ""
    assert run("freeze", check_mode=True, owner="ada", reason="audit")["changed"] is True
    assert run("unfreeze", check_mode=True)["changed"] is False
    assert tree(root) == {}
    run("acquire", **ADA)
    before = tree(root)
    held = run("acquire", check_mode=True, **BOB)
    assert "failed" not in held and held["changed"] is False and "ada@laptop" in held["note"]
    assert "ada@laptop" in held["warnings"][0]
    run("release", check_mode=True, token=ADA["token"])
    assert tree(root) == before
    run("freeze", owner="ada", reason="audit")
    before = tree(root)
    assert "audit" in run("acquire", check_mode=True, **BOB)["note"]
    assert run("freeze", check_mode=True, owner="ada", reason="audit")["changed"] is False
    assert run("freeze", check_mode=True, owner="ada", reason="fire")["changed"] is True
    assert run("unfreeze", check_mode=True)["changed"] is True
    assert tree(root) == before


def test_a_bare_host(run: Run, root: Path) -> None:
    """A dry run there passes; a real run says what is missing."""
    root.rmdir()
    for action in ("acquire", "release", "show", "freeze", "unfreeze"):
        assert "failed" not in run(action, check_mode=True, **ADA, reason="audit")
    for action in ("release", "show", "unfreeze"):
        assert "failed" not in run(action, **ADA)
    for action in ("acquire", "freeze"):
        refused = run(action, **ADA, reason="audit")
        assert refused["failed"] is True and "slipway.vps.site" in refused["msg"]
    assert not root.exists()


@pytest.mark.parametrize(
    ("action", "options", "says"),
    [
        *(("acquire", {"owner": "ada"}, "token"), ("acquire", {"token": "x"}, "owner"), ("release", {}, "token")),
        *(("freeze", {"owner": "ada"}, "reason"), ("freeze", {"owner": "ada", "reason": " "}, "reason is empty")),
        *(("acquire", {**ADA, "token": ""}, "token is empty"), ("acquire", {**ADA, "ttl": 0}, "ttl is 0")),
        ("release", {"token": ""}, "token is empty"),
    ],
)
def test_what_is_missing_is_named(run: Run, root: Path, action: str, options: dict[str, Any], says: str) -> None:
    """Also in check mode: it is an error of the playbook."""
    for check_mode in (False, True):
        refused = run(action, check_mode=check_mode, **options)
        assert refused["failed"] is True and says in refused["msg"]
    assert tree(root) == {}


def test_a_fault_of_the_disk_is_a_message(run: Run, root: Path) -> None:
    """No traceback, but the path and the reason."""
    (root / ".lease.json").mkdir()
    (root / ".lease.json/x").touch()
    refused = run("acquire", **ADA)
    assert refused["failed"] is True and ".lease.json" in refused["msg"]
