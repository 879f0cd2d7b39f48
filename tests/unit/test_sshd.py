"""sshd's configuration: what is read from it, what may be switched off, and that only a whole that sshd takes is written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.slipway.vps.plugins.action import sshd_plan as action
from ansible_collections.slipway.vps.plugins.module_utils import sshd
from ansible_collections.slipway.vps.plugins.module_utils.sshd import Comes, Decision, Wanted, decide, needs_key_proof
from ansible_collections.slipway.vps.plugins.modules import sshd_config, sshd_plan
from ansible_collections.slipway.vps.plugins.plugin_utils.fresh import Fresh, Login, Session

from .module_call import call_module

#: As Debian's package leaves it.
PACKAGE = {
    "permitrootlogin": ["without-password"],
    "passwordauthentication": ["yes"],
    "kbdinteractiveauthentication": ["no"],
    "port": ["22"],
}
CLOSED = {**PACKAGE, "permitrootlogin": ["no"], "passwordauthentication": ["no"]}
ROOT = Comes(True, "root", "192.0.2.7", 22, by_key=True)
ADA = Comes(True, "ada", "192.0.2.7", 22, by_key=True)
BY_PASSWORD = Comes(True, "root", "192.0.2.7", 22, by_key=False, why="Permission denied (publickey).")
CONSOLE = Comes(False, "root")
TEAM = Wanted(admins=("ada", "bob"))


def nobody() -> tuple[str, str]:
    return "", "ada: Permission denied (publickey)."


def never() -> tuple[str, str]:
    raise AssertionError("no admin's login had to be tried")


# --- What may be switched off ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "comes", "now", "root", "no_passwords"),
    [
        # A key was seen to work for whoever runs this: nobody needs a password.
        (Wanted(), ROOT, PACKAGE, "", True),
        (Wanted(), ROOT, {**PACKAGE, "permitrootlogin": ["yes"]}, "prohibit-password", True),
        (Wanted(), ADA, PACKAGE, "", True),
        # By password, or not over SSH: all stays as it is.
        (Wanted(), BY_PASSWORD, {**PACKAGE, "permitrootlogin": ["yes"]}, "", False),
        (TEAM, BY_PASSWORD, {**PACKAGE, "permitrootlogin": ["yes"]}, "", False),
        (TEAM, CONSOLE, PACKAGE, "", False),
        # root goes when the run comes in as somebody else, and there is an admin.
        (TEAM, ADA, PACKAGE, "no", True),
        (TEAM, ROOT, PACKAGE, "", True),
        (Wanted(admins=("ada",), root_login="keep"), ADA, PACKAGE, "", True),
        (Wanted(admins=("ada",), password_login="keep"), ADA, PACKAGE, "no", False),
        # What is off stays off, whoever comes.
        (TEAM, CONSOLE, CLOSED, "no", True),
        (Wanted(), BY_PASSWORD, CLOSED, "no", True),
        # The operator took it back.
        (Wanted(root_login="keep", password_login="keep"), ADA, CLOSED, "", False),
        # A second factor: passwords and questions belong to it.
        (Wanted(), ADA, {**PACKAGE, "authenticationmethods": ["publickey,keyboard-interactive"]}, "", False),
        # Questions may ask for a password.
        (Wanted(), CONSOLE, {**CLOSED, "kbdinteractiveauthentication": ["yes"]}, "no", False),
    ],
)
def test_what_is_switched_off(wanted: Wanted, comes: Comes, now: dict[str, list[str]], root: str, no_passwords: bool) -> None:
    """[K5] Only what the run itself has just done without; and the same command works again."""
    found = decide(wanted, now, comes, nobody)
    assert (found.root, found.no_passwords) == (root, no_passwords)


def test_whoever_uses_root_is_told_of_the_admin_who_works() -> None:
    """[K5] [F8] And why none does, with the variable that mends it."""
    (note,) = decide(TEAM, PACKAGE, ROOT, lambda: ("ada", "")).notes
    assert "ada came in with a key and became root: set ansible_user: ada" in note
    (note,) = decide(TEAM, PACKAGE, ROOT, nobody).notes
    assert "no admin was seen to come in (ada: Permission denied (publickey).)" in note and "ssh_admins" in note
    assert "does not come in over SSH" in " ".join(decide(TEAM, PACKAGE, CONSOLE, never).notes)
    assert "not seen to work for root (Permission denied" in " ".join(decide(Wanted(), PACKAGE, BY_PASSWORD, never).notes)
    # Nothing is left to say, and nobody's login is tried.
    assert decide(TEAM, CLOSED, ADA, never) == Decision(root="no", no_passwords=True, exempt=["192.0.2.7"])


@pytest.mark.parametrize(
    ("wanted", "now", "asked"),
    [
        *((Wanted(), PACKAGE, True), (TEAM, CLOSED, False), (Wanted(), {**CLOSED, "permitrootlogin": ["without-password"]}, False)),
        *((TEAM, {**CLOSED, "permitrootlogin": ["without-password"]}, True), (Wanted(), {**CLOSED, "permitrootlogin": ["yes"]}, True)),
        (Wanted(root_login="keep", password_login="keep"), PACKAGE, False),
    ],
)
def test_a_proof_is_asked_for_where_it_would_close_something(wanted: Wanted, now: dict[str, list[str]], asked: bool) -> None:
    """[K5] A second run opens no connection for nothing."""
    assert needs_key_proof(wanted, now) is asked


@pytest.mark.parametrize(
    ("comes", "now", "ports", "said"),
    [
        (ROOT, ["22"], [22, 2222], "set ansible_port: 2222"),
        (Comes(True, "ada", "192.0.2.7", 2222), ["22", "2222"], [2222], ""),
        # Over a third one, of a provider's console.
        (Comes(True, "ada", "192.0.2.7", 2022), ["22", "2022"], [2022, 2222], "closes 2022"),
        (CONSOLE, ["22", "2022"], [22, 2022, 2222], "still on 22, 2022"),
        (CONSOLE, ["2222"], [2222], ""),
    ],
)
def test_the_port_that_is_in_use_stays_open(comes: Comes, now: list[str], ports: list[int], said: str) -> None:
    """[K5] Until the inventory uses the new one: the run that comes in there is the proof."""
    found = decide(Wanted(port=2222, root_login="keep", password_login="keep"), {**PACKAGE, "port": now}, comes)
    assert found.ports == ports and (said in " ".join(found.notes) if said else not found.notes)
    assert decide(Wanted(), PACKAGE, comes, nobody).ports == []


def test_a_port_that_is_no_longer_said_stays_open(tmp_path: Path) -> None:
    """[K5] ssh_port leaves the inventory, and ansible_port has not: our own line is the only one that opens it."""
    drop_in = tmp_path / "10-slipway.conf"
    assert sshd_plan.own_ports(drop_in) == []
    drop_in.write_text("# Port 1\nPort 2222\nHostKey /x\nPort 22\n")
    assert decide(Wanted(), CLOSED, ADA, own_ports=sshd_plan.own_ports(drop_in)).ports == [22, 2222]


def test_the_controller_is_never_punished() -> None:
    """[K5] Its address replaces the one it had before; who is named stays; a run from a console forgets nobody."""
    wanted = Wanted(trusted=("192.0.2.0/24",), root_login="keep", password_login="keep")
    assert decide(wanted, PACKAGE, Comes(True, "ada", "2001:db8::7", 22)).exempt == ["192.0.2.0/24", "2001:db8::7"]
    before = {**PACKAGE, "persourcepenaltyexemptlist": ["192.0.2.0/24,203.0.113.7"]}
    assert decide(wanted, before, Comes(True, "ada", "2001:db8::7", 22)).exempt == ["192.0.2.0/24", "2001:db8::7"]
    assert decide(wanted, before, CONSOLE).exempt == ["192.0.2.0/24", "203.0.113.7"]
    assert decide(Wanted(), {**PACKAGE, "persourcepenaltyexemptlist": ["none"]}, CONSOLE).exempt == []


# --- The controller's half ------------------------------------------------------------------------------------------------------


class Plan(action.ActionModule):
    """The action plugin on a host whose module says ``host``."""

    def __init__(self, host: dict[str, Any], **given: Any) -> None:
        self.host, self._connection = host, None
        self._task = type("Task", (), {"args": given, "async_val": 0, "check_mode": False, "action": "x", "delegate_to": None})()

    def run_here(self, monkeypatch: pytest.MonkeyPatch, session: Session, logins: dict[str, Login]) -> tuple[dict[str, Any], list[str]]:
        tried: list[str] = []

        def login(_: Fresh, user: str = "", port: int = 0, by_key: bool = False) -> Login:
            tried.append(user)
            assert by_key
            return logins[user]

        monkeypatch.setattr(Fresh, "session", lambda _: session)
        monkeypatch.setattr(Fresh, "login", login)
        monkeypatch.setattr("ansible.plugins.action.ActionBase.run", lambda *_: {})
        return self.run(None, {}), tried

    def _execute_module(self, **_: Any) -> dict[str, Any]:
        return self.host


def test_logins_are_tried_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """[K5] The run's own, then two admins at most, each once: refusals count against this machine's address."""
    host = {"installed": True, "settings": PACKAGE}
    logins = {
        "": Login("root", True, ""),
        "ada": Login("ada", False, "no"),
        "bob": Login("bob", False, "no"),
        "eve": Login("eve", True, ""),
    }
    said, tried = Plan(host, admins=["ada", "bob", "eve"]).run_here(monkeypatch, Session(True, "root", "192.0.2.7", 22), logins)
    assert tried == ["", "ada", "bob"] and said["no_passwords"] and "ada: no; bob: no" in said["notes"][0] and said["user"] == "root"
    logins["ada"] = Login("ada", True, "")
    said, tried = Plan(host, admins=["ada", "bob"]).run_here(monkeypatch, Session(True, "root", "192.0.2.7", 22), logins)
    assert tried == ["", "ada"] and "set ansible_user: ada" in said["notes"][0]
    _, tried = Plan({**host, "settings": CLOSED}, admins=["ada"]).run_here(monkeypatch, Session(True, "ada", "192.0.2.7", 22), {})
    assert tried == []
    said, tried = Plan(host, admins=["ada"]).run_here(monkeypatch, Session(False, "root"), {})
    assert tried == [] and not said["no_passwords"]
    assert Plan({"installed": False}).run_here(monkeypatch, Session(False, "root"), {}) == ({"installed": False}, [])


# --- Files ----------------------------------------------------------------------------------------------------------------------

MAIN = "Include /etc/ssh/sshd_config.d/*.conf\n\nUsePAM yes\nSubsystem\tsftp\t/usr/lib/openssh/sftp-server\n"


@pytest.mark.parametrize(
    ("main", "first"),
    [
        *((MAIN, True), (f"# comment\n\n{MAIN}", True), ("include sshd_config.d/*.conf\n", True), ("", False)),
        *(("Port 22\n" + MAIN, False), ("UsePAM yes\n", False), ("Include /etc/ssh/other/*.conf\n", False)),
        ("Match User x\n" + MAIN, False),
    ],
)
def test_whether_the_drop_ins_come_first(main: str, first: bool) -> None:
    """[F3] On an older or an edited configuration they do not, and ours would mean nothing."""
    assert sshd.reads_drop_ins_first(main) is first
    mended = sshd.with_include(main)
    assert sshd.reads_drop_ins_first(mended) and sshd.with_include(mended) == mended
    assert (mended == main) is first and len([line for line in mended.splitlines() if line.lower().startswith("include")]) >= 1
    # What is read twice is an error for some keywords.
    assert sum("sshd_config.d" in line and not line.startswith("#") for line in mended.splitlines()) == 1


def test_small_groups_go() -> None:
    """[K5] Whole lines; the package's own file is not touched."""
    line = "20240101000000 2 6 100 {} 2 F0"
    text = "\n".join(["# Time Type Tests Tries Size Generator Modulus", *(line.format(size) for size in (2047, 3071, 4095)), "", "bad"])
    assert sshd.safe_moduli(text).splitlines() == [text.splitlines()[0], line.format(3071), line.format(4095)]


def test_what_another_file_overrules_is_seen() -> None:
    """[F8] A line that is there and means nothing would be believed."""
    drop_in = "# X11Forwarding yes\nX11Forwarding no\nPermitRootLogin prohibit-password\nHostKey /a\nMaxAuthTries=6\nNewKeyword x\n"
    effective = {"x11forwarding": ["yes"], "permitrootlogin": ["without-password"], "hostkey": ["/b"], "maxauthtries": ["6"]}
    assert sshd.overruled(drop_in, effective) == {"x11forwarding": "yes"}
    assert sshd.overruled("Match User x\nX11Forwarding no\n", effective) == {}


def test_keywords_that_this_sshd_lacks() -> None:
    """[F3] Asked of sshd itself, not of its version."""
    said = "/tmp/x: line 2: Bad configuration option: PerSourcePenaltyExemptList\n/tmp/x: terminating, 1 bad configuration options\n"
    assert sshd.unknown(said) == {"persourcepenaltyexemptlist"} and sshd.unknown("no hostkeys available -- exiting.") == set()


#: Reads its file and what that includes; knows no other words than these, and prints what it has read.
SSHD = r"""#!/usr/bin/python3
import glob, re, sys
verb, _, path = sys.argv[1:4]
found = []
def read(name):
    for number, line in enumerate(open(name), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if words[0].lower() == "include":
            assert not words[1].startswith("/etc/ssh") and "ROOT" not in words[1], "it would read the host's own files: " + words[1]
            [read(one) for one in sorted(glob.glob(words[1]))]
        elif words[0].lower() == "bad":
            sys.exit(f"{name}: line {number}: Bad configuration option: {words[0]}")
        else:
            found.append((words[0].lower(), " ".join(words[1:])))
read(path)
if verb == "-T":
    seen = set()
    for keyword, value in found:
        if keyword == "port" or keyword not in seen:
            print(keyword, value)
        seen.add(keyword)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = tmp_path / "ssh"
    (found / "sshd_config.d").mkdir(parents=True)
    (found / "sshd_config").write_text(MAIN.replace("/etc/ssh", str(found)))
    (found / "sshd_config.d/50-cloud-init.conf").write_text("PasswordAuthentication yes\n")
    for kind, text in (("ed25519", "256"), ("rsa", "3072")):
        (found / f"ssh_host_{kind}_key").write_text(f"{text} SHA256:x")
    (found / "moduli").write_text("20240101000000 2 6 100 2047 2 F0\n20240101000000 2 6 100 3071 2 F0\n")
    return found


@pytest.fixture
def configure(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """Run the module on a folder, with a program instead of sshd and one instead of ssh-keygen."""
    program, keygen = tmp_path / "sshd", tmp_path / "bin/ssh-keygen"
    program.write_text(SSHD.replace("ROOT", str(folder)))
    keygen.parent.mkdir()
    keygen.write_text(
        '#!/bin/sh\ncase "$1" in -l) cat "$3";; *) for last; do :; done; bits=256; [ "$3" = rsa ] && bits=$5; '
        'echo "$bits SHA256:new" > "$last"; echo public > "$last.pub";; esac\n'
    )
    for path in (program, keygen):
        path.chmod(0o755)
    monkeypatch.setattr(sshd_config, "SSHD", str(program))
    monkeypatch.setattr(sshd, "FOLDER", str(folder / "sshd_config.d"))
    monkeypatch.setattr(sshd, "INCLUDE", f"Include {folder}/sshd_config.d/*.conf")
    monkeypatch.setenv("PATH", f"{keygen.parent}:/usr/bin:/bin")
    monkeypatch.setattr("ansible_collections.slipway.vps.plugins.module_utils.slipway.core.run.PATH", f"{keygen.parent}:/usr/bin:/bin")

    def call(content: str, check: bool = False, **words: Any) -> dict[str, Any]:
        return call_module(sshd_config, monkeypatch, {"content": content, "root": str(folder), **words}, check)

    return call


def names(said: dict[str, Any]) -> list[str]:
    return [Path(path).name for path in said["paths"]]


def test_written_once(folder: Path, configure: Callable[..., dict[str, Any]]) -> None:
    """[K5] The drop-in before cloud-init's, a longer key, safe groups; a dry run does nothing; a second run changes nothing."""
    text = "PasswordAuthentication no\n"
    before = {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert names(configure(text, check=True, moduli=True)) == ["moduli.slipway", "ssh_host_rsa_key", "10-slipway.conf"]
    assert {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    said = configure(text, moduli=True)
    assert said["changed"] and names(said) == ["moduli.slipway", "ssh_host_rsa_key", "10-slipway.conf"] and said["overruled"] == []
    assert (folder / "sshd_config.d/10-slipway.conf").read_text() == text and oct(
        (folder / "sshd_config.d/10-slipway.conf").stat().st_mode
    )[-3:] == "600"
    assert (folder / "ssh_host_rsa_key").read_text().startswith("4096") and (folder / "ssh_host_rsa_key.pub").read_text() == "public\n"
    assert "2047" not in (folder / "moduli.slipway").read_text() and "2047" in (folder / "moduli").read_text()
    assert not configure(text, moduli=True)["changed"] and not list(folder.rglob(".partial-*"))
    assert configure(text, rsa_bits=0, moduli=True)["changed"] is False


def test_what_sshd_refuses_is_never_written(folder: Path, configure: Callable[..., dict[str, Any]]) -> None:
    """[E10] [K5] Tested as a whole, also in a dry run; the message names the file as it is on the host."""
    for check in (True, False):
        said = configure("Bad x\n", check=check)
        assert said["failed"] and f"{folder}/sshd_config.d/10-slipway.conf: line 1: Bad configuration option" in said["msg"]
    (folder / "sshd_config.d/90-mine.conf").write_text("Bad x\n")
    assert "90-mine.conf" in configure("PasswordAuthentication no\n")["msg"]
    assert not (folder / "sshd_config.d/10-slipway.conf").exists() and (folder / "ssh_host_rsa_key").read_text().startswith("3072")


def test_who_overrules_is_named(folder: Path, configure: Callable[..., dict[str, Any]]) -> None:
    """[F8] A file of the operator's own that comes first, on purpose or not; and a port that it opens."""
    (folder / "sshd_config.d/00-mine.conf").write_text("PasswordAuthentication yes\nPort 22\n")
    said = configure("PasswordAuthentication no\nPort 2222\n")
    mine = str(folder / "sshd_config.d/00-mine.conf")
    assert said["overruled"] == [
        {"keyword": "passwordauthentication", "now": "yes", "where": [mine, str(folder / "sshd_config.d/50-cloud-init.conf")]}
    ]
    assert (said["ports"], said["port_files"]) == ([22, 2222], [mine])


def test_an_old_configuration_gets_its_include(folder: Path, configure: Callable[..., dict[str, Any]]) -> None:
    """[F3] Nothing else of it changes."""
    (folder / "sshd_config").write_text("PasswordAuthentication yes\nUsePAM yes\n")
    said = configure("PasswordAuthentication no\n", host_keys=["ed25519"])
    assert names(said) == ["sshd_config", "10-slipway.conf"] and said["overruled"] == []
    text = (folder / "sshd_config").read_text()
    assert text.startswith("# slipway:ssh") and text.endswith("\nPasswordAuthentication yes\nUsePAM yes\n")
    assert not configure("PasswordAuthentication no\n", host_keys=["ed25519"])["changed"]


def test_a_host_key_that_is_missing_is_made(folder: Path, configure: Callable[..., dict[str, Any]]) -> None:
    """[F3] Images come without."""
    (folder / "ssh_host_ed25519_key").unlink()
    assert names(configure("UsePAM yes\n", rsa_bits=0)) == ["ssh_host_ed25519_key", "10-slipway.conf"]
    assert (folder / "ssh_host_ed25519_key").is_file()
