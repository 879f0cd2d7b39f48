"""Who did it: what the journal and the logs of apt and dpkg say, and what they do not."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.slipway.vps.plugins.module_utils.slipway.seals import cause as causes
from ansible_collections.slipway.vps.plugins.module_utils.slipway.seals import moment, traces
from ansible_collections.slipway.vps.plugins.module_utils.slipway.seals.cause import HAND, ITSELF, UNKNOWN, UPDATE, Cause, Look, cause
from ansible_collections.slipway.vps.plugins.module_utils.slipway.seals.moment import Moment
from ansible_collections.slipway.vps.plugins.module_utils.slipway.seals.observe import Difference, Thing
from ansible_collections.slipway.vps.plugins.module_utils.slipway.seals.traces import Session, Traces, Transaction

#: 2026-11-28 10:00:00 UTC: the layer was recorded.
AFTER = 1795860000.0
USERS = {"ada": "1001", "bob": "1002", "eve": "1003"}
VIM, SITE = "/usr/bin/vim /etc/nginx/sites-available/blog.conf", "/etc/nginx/sites-available/blog.conf"


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """apt and dpkg write the host's own time."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.fixture(autouse=True)
def users(monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers of a host's users."""
    monkeypatch.setattr(traces, "_user", lambda number: {"0": "root", **{uid: name for name, uid in USERS.items()}}.get(number, ""))


# --- The journal ------------------------------------------------------------------------------------


def entry(at: float, name: str, message: str, pid: int = 700, **fields: str) -> dict[str, Any]:
    return {
        **{"__REALTIME_TIMESTAMP": str(int((AFTER + at) * 1e6)), "_BOOT_ID": "b0", "SYSLOG_IDENTIFIER": name},
        **{"MESSAGE": message, "_PID": str(pid), "_UID": "0", **fields},
    }


def ran(at: float, who: str, command: str, until: float | None = None, pid: int = 700, **fields: str) -> list[dict[str, Any]]:
    """What sudo writes about a command."""
    sudo = {"_EXE": "/usr/bin/sudo", "_UID": USERS.get(who, "0"), **fields}
    lines = [
        entry(at, "sudo", f"     {who} : TTY=pts/0 ; PWD=/etc/nginx ; USER=root ; COMMAND={command}", pid, **sudo),
        entry(at, "sudo", f"pam_unix(sudo:session): session opened for user root(uid=0) by {who}(uid={USERS.get(who, '0')})", pid, **sudo),
    ]
    return [*lines, *([entry(until, "sudo", "pam_unix(sudo:session): session closed for user root", pid, **sudo)] if until else [])]


def came(at: float, until: float | None = None, pid: int = 900, name: str = "sshd") -> list[dict[str, Any]]:
    """What sshd writes about a login as root."""
    said = "Accepted publickey for root from 192.0.2.7 port 50000 ssh2: ED25519 SHA256:1nQ7b3"
    lines = [entry(at, name, said, pid), entry(at, name, "pam_unix(sshd:session): session opened for user root(uid=0) by (uid=0)", pid)]
    return [*lines, *([entry(until, name, "pam_unix(sshd:session): session closed for user root", pid)] if until else [])]


def sessions(*entries: list[dict[str, Any]]) -> list[Session]:
    told = [one for lines in entries for one in lines]
    return traces.sessions_of(traces.parsed(json.dumps(one) for one in told), AFTER + 10_000)


def test_a_command_of_sudo_is_a_session_with_its_end() -> None:
    """[K8] User, folder, command; until pam says that it is over."""
    assert sessions(ran(60, "ada", VIM, 90)) == [Session(AFTER + 60, AFTER + 90, "ada", VIM, "/etc/nginx")]


@pytest.mark.parametrize(
    "message",
    [
        "ada : command not allowed ; TTY=pts/0 ; PWD=/ ; USER=root ; COMMAND=/usr/bin/vim /etc/x",
        "ada : user NOT in sudoers ; TTY=pts/0 ; PWD=/ ; USER=root ; COMMAND=/usr/bin/vim /etc/x",
        "ada : 3 incorrect password attempts ; TTY=pts/0 ; PWD=/ ; USER=root ; COMMAND=/usr/bin/vim /etc/x",
        "ada : TTY=pts/0 ; PWD=/ ; USER=postgres ; COMMAND=/usr/bin/psql",
        "pam_unix(sudo:auth): authentication failure; logname= uid=1000 euid=0 tty=/dev/pts/0 ruser=ada rhost=  user=ada",
    ],
)
def test_what_sudo_refused_did_nothing(message: str) -> None:
    """[K8] Nor what it ran as somebody else than root."""
    assert traces.sudo(message) is None


def test_a_line_that_only_looks_like_sudos_counts_for_nothing() -> None:
    """[K8] `logger -t sudo` is open to every user, the app among them; what the journal says of the writer is not."""
    forged = ran(60, "root", VIM, 90, _EXE="/usr/bin/logger", _UID="1003")
    login = came(60, 90)
    for one in login:
        one["_UID"] = "1003"
    assert sessions(forged, login) == []
    # A process may become sudo while the journal looks: it can accuse nobody but its own user.
    assert sessions(ran(60, "ada", VIM, 90, _UID="1003"), ran(60, "root", VIM, 90, pid=701, _UID="1003")) == []
    assert [(one.who, one.sure) for one in sessions(ran(60, "gone", VIM, 90, _UID="1009"))] == [("gone", False)]


def test_who_came_in_first_is_named() -> None:
    """[K8] The kernel keeps who has logged in, through su and sudo."""
    assert [one.who for one in sessions(ran(60, "bob", VIM, 90, _AUDIT_LOGINUID="1001"))] == ["ada (as bob)"]
    assert [one.who for one in sessions(ran(60, "bob", VIM, 90, _AUDIT_LOGINUID="4294967295"))] == ["bob"]


@pytest.mark.parametrize("name", ["sshd", "sshd-session"])
def test_a_login_as_root(name: str) -> None:
    """[K8] With address and key, in Debian 12 and 13."""
    found = sessions(came(60, 600, name=name))
    assert found == [Session(AFTER + 60, AFTER + 600, "root from 192.0.2.7 with the key SHA256:1nQ7b3")] and found[0].shell


def test_a_session_without_an_end() -> None:
    """[K8] Open while its process is there; otherwise nothing is known of it but its beginning."""
    boot = traces.BOOT.read_text().strip().replace("-", "")
    still = [{**one, "_BOOT_ID": boot, "_PID": str(os.getpid())} for one in ran(60, "ada", "/bin/bash")]
    gone = [{**one, "_BOOT_ID": boot} for one in ran(70, "bob", "/bin/bash", pid=4_194_305)]
    before = [{**one, "_PID": str(os.getpid())} for one in ran(80, "eve", "/bin/bash")]
    assert [(one.who, one.end - AFTER) for one in sessions(still, gone, before)] == [("ada", 10_000), ("bob", 70), ("eve", 80)]


RECORDED = Path(__file__).with_name("traces")


@pytest.mark.parametrize("debian", [12, 13])
def test_a_real_journal(debian: int) -> None:
    """[K8] As hosts wrote it: each session with its end, none of it from `logger -t sudo`, of nobody's or of a login without sudo."""
    entries = list(traces.parsed((RECORDED / f"debian-{debian}.jsonl").read_text().splitlines()))
    found = traces.sessions_of(entries, 2e9, {})
    assert all(one.end - one.begin < 10 for one in found)
    said = [(one.who, one.command, one.shell) for one in found]
    assert ("ada", "/usr/bin/sed -i s/x/y/ /etc/motd", False) in said and ("bob", "/bin/bash --login -c true", False) in said
    assert ("bob, by su", "", True) in said
    (login,) = [one for one in found if one.who.startswith("root from 127.0.0.1 with the key SHA256:")]
    assert login.shell and not any("vim /etc/motd" in one.command or one.command == "/usr/bin/true" for one in found)
    # The journal came too late to see which program wrote it: true here, and nobody could tell.
    assert [one.command for one in found if not one.sure] == (["/usr/bin/systemctl stop cron"] if debian == 13 else [])
    accounts = [account.message for account in traces.accounts_of(entries)]
    assert (
        accounts[0] == "usermod: change user 'ada' shell from '/bin/bash' to '/bin/sh'"
        and "usermod: add 'bob' to group 'games'" in accounts
    )


@pytest.mark.parametrize("debian", [12, 13])
def test_real_logs_of_packages(debian: int) -> None:
    """[K8] What ada's sudo called has her name, what root called has none, and dpkg alone is in its own log."""
    history = list(traces.apt((RECORDED / f"debian-{debian}-history.txt").read_text().splitlines(keepends=True)))
    assert [(one.command, one.who) for one in history][1:] == [("apt-get -qq remove -y acl", "ada"), ("apt-get -qq remove -y debsums", "")]
    assert history[1].packages == {"acl"} and {"debsums", "cron", "libdpkg-perl"} <= history[0].packages
    removed = list(traces.dpkg((RECORDED / f"debian-{debian}-dpkg.txt").read_text().splitlines()))
    assert [sorted(one.packages) for one in removed][-2:] == [["debsums"], ["cron"]]


def test_whose_a_key_is(tmp_path: Path) -> None:
    """[K8] By the comment in authorized_keys; one without a comment stays its fingerprint."""
    keys = tmp_path / "authorized_keys"
    for name, comment in (("a", "ada@laptop"), ("b", "")):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(tmp_path / name)], check=True)
    keys.write_text((tmp_path / "a.pub").read_text() + (tmp_path / "b.pub").read_text())
    known = traces.keys(keys)
    assert list(known.values()) == ["ada@laptop"]
    told = [{**one, "MESSAGE": one["MESSAGE"].replace("SHA256:1nQ7b3", next(iter(known)))} for one in came(60, 90)]
    assert [one.who for one in traces.sessions_of(told, AFTER, known)] == ["root from 192.0.2.7 with the key ada@laptop"]
    assert traces.keys(tmp_path / "gone") == {}


# --- apt and dpkg -----------------------------------------------------------------------------------

HISTORY = """
Start-Date: 2026-11-28  10:10:00
Commandline: apt-get -qq remove debsums
Requested-By: ada (1000)
Remove: debsums:amd64 (3.0.2.1)
End-Date: 2026-11-28  10:10:02

Start-Date: 2026-11-28  10:20:00
Commandline: /usr/bin/unattended-upgrade
Upgrade: openssh-server:amd64 (1:9.2p1-2+deb12u5, 1:9.2p1-2+deb12u6), openssh-client:amd64 (1:9.2p1-2+deb12u5, 1:9.2p1-2+deb12u6)
End-Date: 2026-11-28  10:20:30
"""


def test_the_history_of_apt() -> None:
    """[K8] Times are the host's own; several packages; who called it, where sudo did."""
    by_hand, by_night = traces.apt(HISTORY.splitlines(keepends=True))
    assert by_hand == Transaction(AFTER + 600, AFTER + 603, "apt-get -qq remove debsums", "ada", frozenset({"debsums"}))
    assert not by_hand.automatic and by_night.automatic and by_night.packages == {"openssh-server", "openssh-client"}


def test_the_log_of_dpkg() -> None:
    """[K8] The actions, and not each state on the way."""
    lines = ["2026-11-28 10:10:00 startup packages remove", "2026-11-28 10:10:01 remove debsums:all 3.0.2.1 <none>"]
    lines += [
        "2026-11-28 10:10:01 status half-installed debsums:all 3.0.2.1",
        "2026-11-28 10:10:01 status config-files debsums:all 3.0.2.1",
    ]
    assert list(traces.dpkg(lines)) == [Transaction(AFTER + 601, AFTER + 602, "", "", frozenset({"debsums"}))]


def test_rotated_logs_that_reach_into_the_time(tmp_path: Path) -> None:
    """[K8] In their order; older ones are not read."""
    for name, at in (("history.log", 900), ("history.log.1.gz", 300), ("history.log.2.gz", -900)):
        path = tmp_path / name
        text = f"{name}\n".encode()
        path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
        os.utime(path, (AFTER + at, AFTER + at))
    assert list(traces._lines(tmp_path, "history.log", AFTER)) == ["history.log.1.gz\n", "history.log\n"]


# --- What follows from them -------------------------------------------------------------------------

FILE = Difference(Thing("file", SITE), "content", "a", "b")
GONE = Difference(Thing("file", SITE), "", "there", "")
PACKAGE = Difference(Thing("package", "debsums"), "", "there", "")
STOPPED = Difference(Thing("unit", "redis-server@blog.service"), "state", "active", "inactive")
BOOT = Difference(Thing("unit", "fail2ban.service"), "at boot", "enabled", "disabled")
ROLE = Difference(Thing("role", "/run/postgresql:5432/blog"), "rights", "login", "createdb login")


def told(found: Difference, at: float | None, *entries: list[dict[str, Any]], **changes: Any) -> Cause:
    """The cause of a difference that came about so many seconds after the record."""
    when = None if at is None else Moment(AFTER + at, changes.pop("latest", False))
    noted = Traces(sessions(*entries), changes.pop("transactions", []), [])
    given = {"owners": {}, "shown": lambda one: True, "jobs": lambda unit, when: [], **changes}
    return cause(found, when, Look(AFTER, noted, **given))


def test_a_command_that_names_the_file_while_it_changed() -> None:
    """[K8] An editor that was open then; one that was closed before is not it."""
    found = told(FILE, 80, ran(60, "ada", VIM, 90))
    assert (found.kind, found.certain, str(found)) == (HAND, True, f"ada: sudo vim {SITE}")
    assert told(FILE, 80, ran(60, "ada", "/usr/bin/vim sites-available/blog.conf", 90)).certain, "in the folder where it ran"
    assert str(told(FILE, 500, ran(60, "ada", VIM, 90))) == "unknown"


def test_what_the_journal_is_not_sure_of_is_no_fact() -> None:
    """[K8] Of a process that had ended already it does not say which program it was: anybody may have written that."""
    lines = ran(80, "ada", f"/usr/bin/sed -i s/x/y/ {SITE}", 81)
    found = told(FILE, 80, [{key: text for key, text in one.items() if key != "_EXE"} for one in lines])
    assert not found.certain and str(found).startswith("perhaps ada (sudo sed ")


def test_the_command_that_had_begun_by_then() -> None:
    """[K8] And not one a second later, which names it too."""
    stop, disable = (f"/usr/bin/systemctl {verb} redis-server@blog" for verb in ("stop", "disable"))
    found = told(STOPPED, 80, ran(79.9, "ada", stop, 80.1), ran(80.3, "ada", disable, 80.4, pid=701))
    assert found.certain and "systemctl stop" in str(found)


def test_a_command_that_only_reads_changed_nothing() -> None:
    """[K8] It is not even a candidate."""
    for command in ("cat", "less", "diff -u /etc/x", "grep -n listen"):
        assert str(told(FILE, 80, ran(80, "ada", f"/usr/bin/{command} {SITE}", 81))) == "unknown"


def test_several_who_may_have_been_it_are_one_of_them() -> None:
    """[K8] Two editors at a time, two shells: never one of them as a fact."""
    two = told(FILE, 80, ran(60, "ada", VIM, 90), ran(70, "bob", VIM, 95, pid=701))
    assert not two.certain and str(two).startswith("perhaps one of ada (sudo vim ") and "bob (sudo vim " in str(two)
    shells = told(FILE, 80, ran(60, "ada", "/bin/bash", 90), came(10, 400))
    assert shells.kind == UNKNOWN and not shells.certain
    assert str(shells).startswith(
        "perhaps one of root from 192.0.2.7 with the key SHA256:1nQ7b3 (logged in since "
    ) and "ada (a root shell, sudo bash" in str(shells)


def test_a_single_shell_is_only_perhaps_it() -> None:
    """[K8] A cron job, or somebody who left no trace, may have been it as well."""
    found = told(FILE, 80, came(10, 400))
    assert not found.certain and str(found).startswith("perhaps root from 192.0.2.7")
    assert str(told(FILE, 800, came(10, 400))) == "unknown", "over before"


def test_a_command_about_something_else_is_no_candidate() -> None:
    """[K8] A second before or after; while the file changed it may be one, for example a script."""
    for at, told_of in ((79, False), (79.95, True), (81, False)):
        found = told(FILE, 80, ran(at, "ada", "/usr/local/bin/fix-it", at + 0.1))
        assert str(found) == ("perhaps ada (sudo fix-it …)" if told_of else "unknown"), at


def test_runs_of_ansible_are_called_so() -> None:
    """[K8] Their sudo lines name no file."""
    word = "/bin/sh -c echo BECOME-SUCCESS-abcdefgh ; /usr/bin/python3"
    assert str(told(FILE, 80, ran(79, "ada", word, 81), ran(79.5, "ada", word, 82, pid=701))) == "perhaps ada (a run of Ansible)"


def test_a_file_that_went() -> None:
    """[K8] Its folder says until when; whoever removed it by name is it, whoever edited it may be."""
    found = told(GONE, 500, ran(60, "ada", f"/usr/bin/rm {SITE}", 61), latest=True)
    assert found.certain and str(found).startswith("ada: sudo rm ")
    assert not told(GONE, 500, ran(60, "ada", VIM, 61), latest=True).certain
    assert told(GONE, 500, ran(60, "ada", "/usr/bin/rm -rf /etc/nginx/sites-available", 61), latest=True).certain
    assert str(told(GONE, 500, ran(600, "ada", f"/usr/bin/rm {SITE}", 601), latest=True)) == "unknown", "later"


def test_a_package_by_its_transaction() -> None:
    """[K8] By whom, where sudo called apt; the command in any case; an update of the system is no hand."""
    by_hand, by_night = traces.apt(HISTORY.splitlines(keepends=True))
    assert str(told(PACKAGE, 600, transactions=[by_hand])) == "ada: apt-get -qq remove debsums"
    without = told(PACKAGE, 600, transactions=[by_hand._replace(who="")])
    assert (without.kind, str(without)) == (HAND, "apt-get -qq remove debsums, by: unknown")
    shell = told(PACKAGE, 600, came(10, 900), transactions=[by_hand._replace(who="")])
    assert str(shell).startswith("apt-get -qq remove debsums, by: perhaps root from 192.0.2.7")
    night = told(PACKAGE, 1210, transactions=[by_night._replace(packages=frozenset({"debsums"}))])
    assert (night.kind, str(night)) == (UPDATE, "an update of the system: /usr/bin/unattended-upgrade")
    alone = told(PACKAGE, 601, transactions=list(traces.dpkg(["2026-11-28 10:10:01 purge debsums:all 3.0.2.1 <none>"])))
    assert str(alone) == "dpkg, of the package debsums, by: unknown"


def test_a_file_of_a_package_that_was_upgraded() -> None:
    """[K8] While that lasted; of another package it may be a coincidence."""
    _, by_night = traces.apt(HISTORY.splitlines(keepends=True))
    sshd = Difference(Thing("file", "/etc/ssh/sshd_config"), "content", "a", "b")
    given = {"transactions": [by_night], "owners": {"/etc/ssh/sshd_config": "openssh-server"}}
    assert told(sshd, 1210, **given).kind == UPDATE
    assert str(told(sshd, 2000, **given)) == "unknown"
    other = told(FILE, 1210, transactions=[by_night])
    assert other.kind == UNKNOWN and str(other) == "perhaps the system's upgrade (/usr/bin/unattended-upgrade)"


def test_a_unit_that_was_stopped_failed_or_ended() -> None:
    """[K8] systemd notes whether it was told to."""
    stop = ran(80, "ada", "/usr/bin/systemctl stop redis-server@blog", 81)
    by_hand = {"jobs": lambda unit, when: [{"JOB_TYPE": "stop", "MESSAGE": "Stopped"}]}
    assert told(STOPPED, 80, stop, **by_hand).certain
    assert not told(STOPPED, 80, ran(80, "ada", "/usr/bin/systemctl status redis-server@blog", 81), **by_hand).certain
    ended = told(STOPPED, 80, jobs=lambda unit, when: [{"MESSAGE": "Deactivated successfully."}])
    assert (ended.kind, str(ended)) == (ITSELF, "it ended without being told to: journalctl -u redis-server@blog.service -n 50")
    assert told(STOPPED._replace(now="failed"), 80, stop).kind == ITSELF
    assert str(told(STOPPED, 80, **by_hand)) == "unknown"


def test_what_comes_up_at_boot() -> None:
    """[K8] By the verb: a restart changes nothing of it."""
    assert told(BOOT, 500, ran(60, "ada", "/usr/bin/systemctl disable fail2ban.service", 61), latest=True).certain
    assert str(told(BOOT, 500, ran(60, "ada", "/usr/bin/systemctl restart fail2ban", 61), latest=True)) == "unknown"


def test_postgresql_is_never_guessed_at() -> None:
    """[K8] Nothing says when, and no command names it surely."""
    assert str(told(ROLE, None, ran(60, "ada", "/usr/bin/psql -c ALTER ROLE blog CREATEDB", 61), came(10, 400))) == "unknown"


def test_no_secret_of_a_command_is_shown() -> None:
    """[K8] Not what follows a password's name, no script, and of a secret file the program alone."""
    word = f"/usr/bin/sed -i s/password=hunter2/ {SITE}"
    assert "hunter2" not in str(told(FILE, 80, ran(80, "ada", word, 81)))
    secret = Difference(Thing("file", "/etc/blog/secrets"), "content", "a", "b")
    hidden = {"shown": lambda one: False}
    for command in ("/usr/bin/sed -i s/hunter1/hunter2/ /etc/blog/secrets", "/usr/bin/sh -c echo KEY=hunter2 >> /etc/blog/secrets"):
        for given in (hidden, {} if " -c " in command else hidden):
            found = told(secret, 80, ran(80, "ada", command, 81), **given)
            assert found.certain and "hunter" not in json.dumps(found.data()), found
    user = Difference(Thing("user", "blog"), "password", "a", "b")
    found = told(user, 80, ran(80, "ada", "/usr/sbin/usermod --password $6$hunter2 blog", 81), **hidden)
    assert found.certain and "hunter" not in json.dumps(found.data())


def test_the_known_programs_are_only_programs() -> None:
    assert not (causes.READERS & causes.PLAIN) and not any("/" in word for word in causes.READERS | causes.PLAIN)
    # What these are given is a program of its own.
    assert not causes.PLAIN & {"sh", "bash", "python3", "perl", "psql", "env", "xargs", "runuser", "su", "ssh", "usermod", "chpasswd"}


# --- Since when -------------------------------------------------------------------------------------

NOTHING = Traces([], [], [])


def changed(found: Difference, after: float, noted: Traces = NOTHING) -> tuple[float, bool] | None:
    """When, in seconds from now, to the second; and whether that is only the latest."""
    when = moment.moment(found, after, noted)
    return (round(when.at - time.time()), when.latest) if when else None


def test_since_when_a_file_is_so(tmp_path: Path) -> None:
    """[K8] By its inode, or when it was written where that is not set by hand; one that went by its folder, at the latest."""
    path = tmp_path / "x"
    path.write_text("x")
    thing, now = Thing("file", str(path)), time.time()
    os.utime(path, (now - 50, now - 50))
    assert changed(Difference(thing, "content", "a", "b"), now - 100) == (-50, False)
    assert changed(Difference(thing, "mode", "0600", "0644"), now - 100) == (0, False), "the inode changed now"
    os.utime(path, (now - 500, now - 500))
    assert changed(Difference(thing, "content", "a", "b"), now - 100) == (0, False), "a time before the record was set by hand"
    path.unlink()
    assert changed(Difference(thing, "", "there", ""), now - 100) == (0, True)
    assert changed(Difference(Thing("names", str(tmp_path)), "x", "listed", ""), now - 100) == (0, True)
    assert changed(Difference(thing, "", "there", ""), now + 100) is None, "another change's"


def test_since_when_a_unit_is_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """[K8] systemd's own time; where it has forgotten the unit, the journal's."""
    passed = time.clock_gettime(time.CLOCK_MONOTONIC)
    for said, noted, expected in (
        (f"{int((passed - 40) * 1e6)}\n", [], (-40, False)),
        ("0\n", [{"__REALTIME_TIMESTAMP": str(int((time.time() - 30) * 1e6))}], (-30, False)),
        ("0\n", [], None),
    ):
        monkeypatch.setattr(moment, "attempt", lambda words, said=said: (0, said))
        monkeypatch.setattr(moment, "journal", lambda since, *matches, noted=noted: noted)
        assert changed(STOPPED, time.time() - 100) == expected


def test_since_when_packages_and_accounts_are_so() -> None:
    """[K8] By the lines that name them; nothing says when the kernel or PostgreSQL was told something."""
    now = time.time()
    accounts = [traces.Account(now - 20, "usermod: change user 'blog' shell from '/bin/sh' to '/bin/bash'")]
    packages = [Transaction(now - 10, now - 9, "", "", frozenset({"debsums"}))]
    noted = Traces([], packages, accounts)
    assert changed(PACKAGE, now - 100, noted) == (-10, False)
    assert changed(Difference(Thing("user", "blog"), "shell", "a", "b"), now - 100, noted) == (-20, False)
    assert changed(Difference(Thing("kernel", "net.ipv4.ip_forward"), "value", "0", "1"), now - 100, noted) is None
    assert changed(ROLE, now - 100, noted) is None
