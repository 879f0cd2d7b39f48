"""The dead-man switch: what was kept comes back, exactly, unless the guard is ended; whoever dies at whatever moment."""

from __future__ import annotations

import configparser
import dataclasses
import errno
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleError
from ansible_collections.slipway.vps.plugins.action import guard as action
from ansible_collections.slipway.vps.plugins.module_utils.slipway import cli
from ansible_collections.slipway.vps.plugins.module_utils.slipway import guard as guards
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core import run
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core.errors import SlipwayError
from ansible_collections.slipway.vps.plugins.module_utils.slipway.guard import Guard
from ansible_collections.slipway.vps.plugins.modules import guard as module
from ansible_collections.slipway.vps.plugins.plugin_utils.fresh import Fresh, Login

from .module_call import call_module


class Host:
    """Folders of a host, a systemctl that notes what it is told, and a guard of them."""

    def __init__(self, root: Path) -> None:
        self.etc, self.log = root / "etc", root / "systemctl.log"
        self.guard = Guard("ssh", root / "var/guard", root / "units", root / "lock", "/bin/true")
        self.etc.mkdir()
        self.log.touch()

    def told(self) -> list[str]:
        """What systemd was told since the last call."""
        said = self.log.read_text().splitlines()
        self.log.write_text("")
        return said

    @property
    def files(self) -> dict[str, str]:
        """Every path below etc with its kind, mode and content."""
        found = {}
        for path in sorted(self.etc.rglob("*")):
            mode = oct(path.lstat().st_mode & 0o7777)
            what = f"-> {path.readlink()}" if path.is_symlink() else "" if path.is_dir() else path.read_text()
            found[str(path.relative_to(self.etc))] = f"{mode} {what}"
        return found


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    found = Host(tmp_path)
    program = tmp_path / "bin/systemctl"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$*" >> {found.log}\n')
    program.chmod(0o755)
    monkeypatch.setattr(run, "PATH", f"{program.parent}:{run.PATH}")
    return found


@pytest.fixture
def ssh(host: Host) -> Host:
    """A host with a configuration of sshd."""
    folder = host.etc / "ssh"
    (folder / "sshd_config.d").mkdir(parents=True)
    (folder / "sshd_config").write_text("Port 22\n")
    (folder / "key").write_text("secret\n")
    (folder / "key").chmod(0o600)
    (folder / "link").symlink_to("nowhere")
    return host


def break_it(host: Host) -> None:
    """What a change may do: write, create, remove, replace a link and a mode."""
    folder = host.etc / "ssh"
    (folder / "sshd_config").write_text("Port 2222\n")
    (folder / "sshd_config.d/10-slipway.conf").write_text("Bad\n")
    (folder / "key").unlink()
    (folder / "link").unlink()
    (folder / "link").symlink_to("key")
    (folder / "sshd_config.d").chmod(0o700)


def test_what_was_kept_comes_back_exactly(ssh: Host) -> None:
    """[K5] Files, modes, links and what was not there; then the commands, in order; then nothing of the guard is left."""
    absent = ssh.etc / "default/ufw"
    before, out = ssh.files, ssh.etc.parent / "after"
    assert ssh.guard.arm([str(ssh.etc / "ssh"), str(absent)], [f"cat {ssh.etc}/ssh/sshd_config >> {out}", f"echo 2 >> {out}"], 120)
    break_it(ssh)
    absent.parent.mkdir()
    absent.write_text("IPV6=no\n")
    assert ssh.guard.revert()
    absent.parent.rmdir()
    assert ssh.files == before
    # The commands saw the files as they were.
    assert out.read_text() == "Port 22\n2\n"
    assert not ssh.guard.armed() and not ssh.guard.home.exists() and not list(ssh.guard.units.rglob("slipway-*"))
    assert ssh.guard.reverted_at() and not ssh.guard.revert()


def test_a_folder_that_cannot_be_replaced(ssh: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """[K5] A mount point, or of an image (EXDEV): its files are put back one by one. Whatever stands in their places goes."""
    before, real = ssh.files, Path.rename

    def rename(path: Path, target: Path) -> Path:
        if path.is_dir():
            raise OSError(errno.EXDEV, "Invalid cross-device link", str(path))
        return real(path, target)

    monkeypatch.setattr(Path, "rename", rename)
    ssh.guard.arm([str(ssh.etc / "ssh")], [], 120)
    break_it(ssh)
    shutil.rmtree(ssh.etc / "ssh/sshd_config.d")
    (ssh.etc / "ssh/sshd_config.d").symlink_to("/tmp")
    (ssh.etc / "ssh/key").mkdir()
    (ssh.etc / "ssh/key/x").write_text("x")
    assert ssh.guard.revert() and ssh.files == before


def test_the_timer_outlives_the_run_and_a_reboot(ssh: Host) -> None:
    """[K5] A file that the boot starts, and a time that no clock moves; systemd-run's would be gone."""
    ssh.guard.arm([str(ssh.etc / "ssh")], [], 90)
    timer = configparser.ConfigParser()
    timer.read(ssh.guard.units / "slipway-guard-ssh.timer")
    assert dict(timer["Timer"]) == {"onactivesec": "90", "accuracysec": "1"} and timer["Install"]["wantedby"] == "timers.target"
    link = ssh.guard.units / "timers.target.wants/slipway-guard-ssh.timer"
    assert link.readlink() == ssh.guard.units / "slipway-guard-ssh.timer"
    service = (ssh.guard.units / "slipway-guard-ssh.service").read_text()
    assert "ExecStart=/bin/true guard revert ssh" in service and "Restart=on-failure" in service and "WantedBy" not in service
    assert "StartLimitIntervalSec=0" in service, "it would give up"
    assert ssh.told() == ["daemon-reload", "restart slipway-guard-ssh.timer"]
    # Keys of the host are among what is kept.
    assert (ssh.guard.home.stat().st_mode & 0o777, ssh.guard.folder.stat().st_mode & 0o777) == (0o700, 0o700)


def test_armed_twice_the_older_copy_stays(ssh: Host) -> None:
    """[K5] A run that died has changed things: what the next one finds is not what was there before. New paths are added."""
    config, other = ssh.etc / "ssh/sshd_config", ssh.etc / "issue"
    assert ssh.guard.arm([str(config)], ["true"], 120)
    config.write_text("Port 2222\n")
    ssh.told()
    assert not ssh.guard.arm([str(config), str(other)], ["true", "test -f /nowhere || true"], 60)
    assert ssh.told() == ["daemon-reload", "restart slipway-guard-ssh.timer"]
    assert ssh.guard.kept().after == ["true", "test -f /nowhere || true"] and ssh.guard.kept().seconds == 60
    other.write_text("x")
    assert ssh.guard.revert() and config.read_text() == "Port 22\n" and not other.exists()


def test_a_copy_without_its_timer_is_forgotten(ssh: Host) -> None:
    """[K5] Left by somebody who died while arming, weeks ago: nothing would have put it back, and nothing does now."""
    config = ssh.etc / "ssh/sshd_config"
    ssh.guard.arm([str(config)], [], 120)
    ssh.guard._wanted.unlink()
    config.write_text("weeks later\n")
    assert not ssh.guard.armed() and not ssh.guard.revert() and config.read_text() == "weeks later\n"
    assert ssh.guard.arm([str(config)], [], 120)
    config.write_text("broken\n")
    assert ssh.guard.revert() and config.read_text() == "weeks later\n"


def test_ended_the_change_stays(ssh: Host) -> None:
    """[K5] Also when the timer fires in the same moment: what it starts finds nothing to do."""
    ssh.guard.arm([str(ssh.etc / "ssh")], [], 120)
    break_it(ssh)
    changed = ssh.files
    ssh.told()
    assert ssh.guard.end() and not ssh.guard.end() and not ssh.guard.revert()
    assert ssh.files == changed and not list(ssh.guard.units.rglob("slipway-*")) and not ssh.guard.home.exists()
    assert ssh.told()[0] == "stop slipway-guard-ssh.timer" and ssh.guard.reverted_at() is None


def test_what_fails_keeps_the_guard_armed(ssh: Host) -> None:
    """[K5] The other paths and commands are done all the same, and systemd tries it again."""
    there, gone = ssh.etc / "ssh/sshd_config", ssh.etc / "a/b"
    gone.parent.mkdir()
    gone.write_text("1")
    out = ssh.etc.parent / "after"
    ssh.guard.arm([str(gone), str(there)], ["echo no; exit 3", f"echo yes > {out}"], 120)
    there.write_text("broken\n")
    gone.unlink()
    gone.parent.rmdir()
    gone.parent.write_text("a file stands where the folder was")
    with pytest.raises(SlipwayError) as failed:
        ssh.guard.revert()
    assert str(gone) in str(failed.value) and "`echo no; exit 3` exited 3: no" in str(failed.value)
    assert there.read_text() == "Port 22\n" and out.read_text() == "yes\n" and ssh.guard.armed()
    gone.parent.unlink()
    document = json.loads(ssh.guard._document.read_text())
    ssh.guard._document.write_text(json.dumps({**document, "after": []}))
    assert ssh.guard.revert() and gone.read_text() == "1"


@pytest.mark.parametrize(("was_on", "then"), [("yes", "reload"), ("no", "disable")])
def test_a_firewall_is_as_it_was(was_on: str, then: str, host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """[K5] As the module's own example guards ufw: whether it was on stands in its files, and is read once they are back."""
    example = yaml.safe_load(module.EXAMPLES)[-1]["slipway.vps.guard"]
    assert example["keep"] == ["/etc/ufw", "/etc/default/ufw"]
    program = host.etc.parent / "bin/ufw"
    program.write_text(f'#!/bin/sh\necho "ufw $*: $(cat {host.etc}/ufw/user.rules)" >> {host.log}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    (host.etc / "ufw").mkdir()
    (host.etc / "default").mkdir()
    (host.etc / "ufw/ufw.conf").write_text(f"# comment\nENABLED={was_on}\nLOGLEVEL=low\n")
    (host.etc / "ufw/user.rules").write_text("rules as they were")
    (host.etc / "default/ufw").write_text("IPV6=yes\n")
    keep = [path.replace("/etc", str(host.etc)) for path in example["keep"]]
    host.guard.arm(keep, [words.replace("/etc", str(host.etc)) for words in example["after"]], 120)
    (host.etc / "ufw/ufw.conf").write_text("ENABLED=yes\n")
    (host.etc / "ufw/user.rules").write_text("deny 22")
    (host.etc / "ufw/after6.rules").write_text("new")
    host.told()
    assert host.guard.revert()
    assert host.told()[0] == f"ufw {then}: rules as they were" and not (host.etc / "ufw/after6.rules").exists()


@pytest.mark.parametrize("path", ["/", "/var", "/var/lib/slipway/guard", "etc/ssh", "/etc/../etc/ssh"])
def test_what_cannot_be_kept_is_refused(path: str, ssh: Host) -> None:
    """[K5] Before anything is written: the root, what holds the copies, and what is not absolute."""
    guard = Guard("ssh", Path("/var/lib/slipway/guard"), ssh.guard.units, ssh.guard.lock)
    with pytest.raises(SlipwayError, match="cannot be guarded"):
        guard.arm([path], [], 120)
    assert not ssh.guard.units.exists()


class KilledError(BaseException):
    """The process ends here."""


def moments(function: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Run ``function`` again and again, killed before its first file operation or command, before its second, and so on to its end."""
    left = 0

    def killed(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*words: Any, **options: Any) -> Any:
            nonlocal left
            left -= 1
            if left < 0:
                raise KilledError
            return real(*words, **options)

        return call

    for number in range(200):
        left = number
        with monkeypatch.context() as patched:
            for name in ("command", "write_atomically", "relink", "remove", "stop_units", "reload_units", "sync_tree"):
                patched.setattr(guards, name, killed(getattr(guards, name)))
            patched.setattr(Path, "unlink", killed(Path.unlink))
            patched.setattr(Path, "rename", killed(Path.rename))
            try:
                function()
                return
            except KilledError:
                pass
        yield number
    raise AssertionError("it never came to its end")


def test_killed_while_arming_nothing_is_lost(ssh: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """[K5] At every step: the next run keeps what is there now, and can put it back."""
    before, _count = ssh.files, 0
    for _count in moments(lambda: ssh.guard.arm([str(ssh.etc / "ssh")], [], 120), monkeypatch):
        assert ssh.files == before
        if ssh.guard.armed():
            # It would fire, and what it puts back is whole.
            assert ssh.guard.kept().paths == {str(ssh.etc / "ssh"): "0"} and ssh.guard.end()
    assert _count > 5 and ssh.guard.armed()
    break_it(ssh)
    assert ssh.guard.revert() and ssh.files == before


def test_killed_while_reverting_it_goes_on(ssh: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """[K5] At every step the timer or the next boot finishes it; the copy is whole until all is back."""
    before, _count = ssh.files, 0
    ssh.guard.arm([str(ssh.etc / "ssh"), str(ssh.etc / "new")], [], 120)
    break_it(ssh)
    (ssh.etc / "new").write_text("x")
    for _count in moments(ssh.guard.revert, monkeypatch):
        if not ssh.guard.armed():
            break
    assert _count > 5
    ssh.guard.revert()
    # What a kill left beside is not in anybody's way.
    assert {name: what for name, what in ssh.files.items() if ".partial-" not in name} == before


# --- The module ---------------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def say(ssh: Host, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """Run the module on the host."""
    monkeypatch.setattr(module, "Guard", lambda name: dataclasses.replace(ssh.guard, name=name))

    def call(state: str, check: bool = False, **words: Any) -> dict[str, Any]:
        return call_module(module, monkeypatch, {"name": "ssh", "state": state, **words}, check)

    return call


def test_the_states(ssh: Host, say: Callable[..., dict[str, Any]]) -> None:
    """[K5] Armed once, asked, ended; each a change only where it is one, and none in check mode."""
    keep = [str(ssh.etc / "ssh")]
    assert say("reported") == {"changed": False, "armed": False, "reverted_at": None}
    assert say("armed", check=True, keep=keep)["changed"] and not ssh.guard.armed()
    assert say("armed", keep=keep) == {"changed": True, "armed": True, "reverted_at": None}
    assert not say("armed", keep=keep)["changed"] and say("reported")["armed"]
    assert say("reverted", check=True)["changed"] and ssh.guard.armed()
    assert say("disarmed")["changed"] and not say("disarmed")["changed"]


def test_whoever_comes_too_late_is_told(ssh: Host, say: Callable[..., dict[str, Any]]) -> None:
    """[K5] The timer fired while the proof was under way: the change is gone, and the run must not say that it holds."""
    say("armed", keep=[str(ssh.etc / "ssh")])
    assert ssh.guard.revert()
    said = say("disarmed")
    assert said["failed"] and "took the change back at 20" in said["msg"] and "run the same command again" in said["msg"]
    say("armed", keep=[str(ssh.etc / "ssh")])
    assert say("disarmed") == {"changed": True, "armed": False, "reverted_at": None}


def test_a_switch_that_could_not_fire_is_refused(ssh: Host, say: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    """[K5] Nothing is changed under it."""
    monkeypatch.setattr(module, "Guard", lambda name: dataclasses.replace(ssh.guard, name=name, program="/bin/false"))
    said = say("armed", keep=[str(ssh.etc / "ssh")])
    assert said["failed"] and "does not answer" in said["msg"] and not ssh.guard.armed()
    assert "unit's name" in say("armed", name="../x", keep=[])["msg"]


# --- The command line ---------------------------------------------------------------------------------------------------------------------


def test_an_operator_sees_and_ends_it(ssh: Host, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """[K5] `slipway guard`, by hand, over the provider's console."""
    monkeypatch.setattr(guards, "Guard", lambda name, *_: dataclasses.replace(ssh.guard, name=name))
    monkeypatch.setattr(guards.guards, "__defaults__", (ssh.guard.folder, ssh.guard.units))
    assert cli.main(["guard"]) == 0 and capsys.readouterr().out == "No change waits for its confirmation.\n"
    ssh.guard.arm([str(ssh.etc / "ssh")], [], 120)
    break_it(ssh)
    assert cli.main(["guard"]) == 0 and "ssh    20" in capsys.readouterr().out
    assert cli.main(["--json", "guard", "list"]) == 0
    assert json.loads(capsys.readouterr().out)["guards"][0]["seconds"] == 120
    assert cli.main(["guard", "revert"]) == 1 and "say which guard: ssh" in capsys.readouterr().err
    assert cli.main(["guard", "revert", "ssh"]) == 0 and capsys.readouterr().out == "ssh: the host is as it was\n"
    assert cli.main(["guard", "end", "ssh", "--json"]) == 0 and json.loads(capsys.readouterr().out) == {"name": "ssh", "done": False}


# --- The controller's half ----------------------------------------------------------------------------------------------------------------


class Play(action.ActionModule):
    """The action plugin, with what it would do noted."""

    def __init__(self, login: Login, monkeypatch: pytest.MonkeyPatch, check: bool = False, lost: bool = False) -> None:
        self.done: list[str] = []
        self.lost, self._connection = lost, None
        self._task = type("Task", (), {"args": {"name": "ssh", "state": "proven", "port": 2222}, "check_mode": check})()

        def come_in(fresh: Fresh, **words: Any) -> Login:
            self.done.append(f"login {words}")
            return login

        monkeypatch.setattr(Fresh, "login", come_in)

    def _execute_module(self, module_name: str, module_args: dict[str, Any], task_vars: Any) -> dict[str, Any]:
        self.done.append(f"{module_name} {module_args['state']}")
        if self.lost:
            raise AnsibleError("unreachable")
        return {"changed": True, "armed": False}


def test_proven_by_a_new_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """[K5] Only after it came in the guard ends; in check mode nothing is asked."""
    play = Play(Login("ada", True, "a new SSH connection"), monkeypatch)
    assert play._prove({}) == {"changed": True, "armed": False, "proof": "a new SSH connection"}
    assert play.done == ["login {'port': 2222}", "slipway.vps.guard disarmed"]
    assert Play(Login("", False, ""), monkeypatch, check=True)._prove({})["skipped"]


def test_not_proven_it_is_taken_back_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """[K5] Over the connection that is open; where that is gone as well the host does it, and the message says so."""
    play = Play(Login("ada", False, "Permission denied (publickey)."), monkeypatch)
    said = play._prove({})
    assert said["failed"] and "as ada does not come in (Permission denied (publickey).)" in said["msg"]
    assert "the host is as it was" in said["msg"] and play.done[-1] == "slipway.vps.guard reverted"
    said = Play(Login("ada", False, "timed out"), monkeypatch, lost=True)._prove({})
    assert said["failed"] and "the host does it by itself" in said["msg"]


def test_the_tests_touch_nothing_of_this_machine() -> None:
    assert not os.path.lexists("/etc/systemd/system/slipway-guard-ssh.timer")
