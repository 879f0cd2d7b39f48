# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""What the host itself has noted of who did what: the journal (sudo, logins, accounts) and the logs of apt and dpkg. Changes nothing.

Any user of the host can write a line into the journal that looks like sudo's. What the journal says of its own accord (fields that begin
with an underscore) nobody can: a line counts where root's process wrote it, or sudo's own program for the user whose process it is. Of a
process that has ended before the journal could look, it does not say which program it was: such a line may be true.
"""

from __future__ import annotations

import gzip
import json
import pwd
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ..core.clock import DAY
from ..core.run import PATH, execute, is_running

#: Seconds that journalctl may take.
PATIENCE = 30
#: A session may have been opened this long before the time that is asked about.
LOOKBACK = 7 * DAY
AUTHORIZED = Path("/root/.ssh/authorized_keys")
APT, DPKG = Path("/var/log/apt"), Path("/var/log")
#: Programs that open sessions for root, and those that write accounts.
DOORS = ("sudo", "sshd", "sshd-session", "su", "login")
ACCOUNTS = ("useradd", "usermod", "userdel", "groupadd", "groupmod", "groupdel", "gpasswd", "passwd", "chsh", "chage", "chfn")
#: Of an entry; when it was written, and in which boot, comes besides.
FIELDS = "MESSAGE,SYSLOG_IDENTIFIER,_PID,_UID,_EXE,_AUDIT_LOGINUID,JOB_TYPE"
BOOT = Path("/proc/sys/kernel/random/boot_id")
#: Programs whose own lines count though another user has started them: they become root.
_SETUID = ("/usr/bin/sudo", "/usr/bin/su", "/bin/su")
_SHELLS = ("sh", "bash", "dash", "zsh", "fish", "ksh", "su", "login", "tmux", "screen", "mc")


class Session(NamedTuple):
    """A time in which somebody was root: a login, a shell, or one command.

    :arg end: seconds since 1970, as ``begin`` is; the time of the look where it is still open.
    :arg who: a user; of a login as root where it came from.
    :arg command: what sudo ran, with its words; empty for a login.
    :arg folder: where that ran.
    :arg sure: it was sudo, or root, that wrote so.
    """

    begin: float
    end: float
    who: str
    command: str = ""
    folder: str = "/"
    sure: bool = True

    @property
    def program(self) -> str:
        return (self.command.split() or [""])[0].rpartition("/")[2]

    @property
    def ansible(self) -> bool:
        return "BECOME-SUCCESS-" in self.command

    @property
    def shell(self) -> bool:
        """What was done in it is noted nowhere."""
        return not self.command or self.ansible or (self.program in _SHELLS and " -c " not in f"{self.command} ")


class Transaction(NamedTuple):
    """What apt, or dpkg alone, did to packages.

    :arg command: as apt was called; empty where dpkg was.
    :arg who: the user whose sudo it was; empty where that is not noted.
    """

    begin: float
    end: float
    command: str
    who: str
    packages: frozenset[str]

    @property
    def automatic(self) -> bool:
        """The system's own upgrade by night."""
        return "unattended-upgrade" in self.command


class Account(NamedTuple):
    """A line of a program that writes accounts."""

    at: float
    message: str


class Traces(NamedTuple):
    """All of them."""

    sessions: list[Session]
    transactions: list[Transaction]
    accounts: list[Account]


def gather(since: float, now: float) -> Traces:
    """Everything that was noted between two times.

    :raises subprocess.TimeoutExpired: when the journal does not answer.
    """
    entries = journal(since - LOOKBACK, *(f"SYSLOG_IDENTIFIER={name}" for name in (*DOORS, *ACCOUNTS)))
    transactions = [*apt(_lines(APT, "history.log", since)), *dpkg(_lines(DPKG, "dpkg.log", since))]
    sessions = [session for session in sessions_of(entries, now, keys()) if session.end >= since]
    accounts = [account for account in accounts_of(entries) if account.at >= since]
    return Traces(sessions, [one for one in transactions if one.end >= since], accounts)


# --- The journal ------------------------------------------------------------------------------------


def journal(since: float, *matches: str, until: float | None = None) -> list[dict[str, Any]]:
    """Its entries, oldest first; none where there is no journal."""
    words = ["journalctl", "--no-pager", "--quiet", "--output=json", f"--output-fields={FIELDS}", f"--since=@{since:.0f}"]
    words += [f"--until=@{until:.0f}"] if until else []
    try:
        said = execute([*words, *matches], environment={"PATH": PATH, "LC_ALL": "C.UTF-8"}, timeout=PATIENCE).output
    except FileNotFoundError:
        return []
    return list(parsed(said.splitlines()))


def parsed(lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    for line in lines:
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        # What is no text comes as a list of bytes.
        if isinstance(entry.get("MESSAGE"), list):
            entry["MESSAGE"] = bytes(entry["MESSAGE"]).decode(errors="replace")
        if entry.get("MESSAGE") and str(entry.get("__REALTIME_TIMESTAMP", "")).isdigit():
            yield entry


def at(entry: Mapping[str, Any]) -> float:
    return int(entry["__REALTIME_TIMESTAMP"]) / 1e6


def forged(entry: Mapping[str, Any]) -> bool:
    """Whether another program wrote it than the one that it names."""
    setuid = entry.get("SYSLOG_IDENTIFIER") in ("sudo", "su") and entry.get("_EXE", "") in (*_SETUID, "")
    return entry.get("_UID") != "0" and not setuid


_ACCEPTED = re.compile(r"Accepted (\S+) for root from (\S+) port \d+ ssh2(?:: \S+ (\S+))?")
_OPENED = re.compile(r"pam_unix\((\S+):session\): session opened for user root\(uid=0\) by (\S*?)\(uid=(\d+)\)")
_CLOSED = re.compile(r"pam_unix\(\S+:session\): session closed for user root")


def keys(path: Path = AUTHORIZED) -> dict[str, str]:
    """Fingerprint to comment of the keys that come in as root: several people may share that login."""
    said = execute(["ssh-keygen", "-l", "-f", str(path)], environment={"PATH": PATH}, timeout=PATIENCE).output if path.exists() else ""
    # "256 SHA256:… ada@laptop (ED25519)"
    rows = [line.split() for line in said.splitlines()]
    return {row[1]: " ".join(row[2:-1]) for row in rows if len(row) > 3 and row[2:-1] != ["no", "comment"]}


def sessions_of(entries: Iterable[Mapping[str, Any]], now: float, known: Mapping[str, str] | None = None) -> list[Session]:
    """Who was root, from when until when. One process of sudo, su, sshd or login is one session.

    :arg known: whose a key is.
    """
    opened: dict[tuple[str, str, str], Session] = {}
    found: list[Session] = []
    for entry in entries:
        name, message = str(entry.get("SYSLOG_IDENTIFIER", "")), str(entry["MESSAGE"])
        if name not in DOORS or forged(entry):
            continue
        key = (str(entry.get("_BOOT_ID", "")), str(entry.get("_PID", "")), name)
        if begun := _begun(entry, name, message, known or {}):
            # A number that another process had before.
            found += [opened.pop(key)] if key in opened else []
            opened[key] = begun
        elif _CLOSED.search(message) and key in opened:
            found.append(opened.pop(key)._replace(end=at(entry)))
    # What has no end noted is still open, or ended unnoticed: then nothing is known but when it began.
    boot = BOOT.read_text(encoding="ascii").strip().replace("-", "") if BOOT.exists() else ""
    open_now = {key for key in opened if key[0] == boot and key[1].isdigit() and is_running(int(key[1]))}
    return sorted([*found, *(one._replace(end=now) if key in open_now else one for key, one in opened.items())])


def _begun(entry: Mapping[str, Any], name: str, message: str, known: Mapping[str, str]) -> Session | None:
    """The session that an entry begins."""
    begin, login, own = at(entry), _user(str(entry.get("_AUDIT_LOGINUID", ""))), _user(str(entry.get("_UID", "")))
    sure = own == "root" or (bool(own) and "_EXE" in entry)
    if name == "sudo":
        # Whoever can make the journal take their program for sudo can still name nobody but themselves.
        if not (ran := sudo(message)) or own not in ("", "root", ran[0]):
            return None
        who, folder, command = ran
        return Session(begin, begin, who if login in ("", "root", who) else f"{login} (as {who})", command, folder, sure)
    if found := _ACCEPTED.match(message):
        method, address, key = found.groups()
        return Session(begin, begin, f"root from {address}" + (f" with the key {known.get(key, key)}" if key else f" by {method}"))
    # sshd says the same of the session that it has accepted. Debian 12 names the user by number alone.
    if (opened := _OPENED.search(message)) and name in ("su", "login"):
        who = opened[2] or _user(opened[3])
        if own not in ("", "root", who):
            return None
        return Session(begin, begin, f"{login if login not in ('', 'root') else who or 'somebody'}, by {name}", sure=sure)
    return None


def sudo(message: str) -> tuple[str, str, str] | None:
    """User, folder and command of what sudo ran as root; None of what it refused, and of what it ran as another user."""
    head, said, command = message.partition(" ; COMMAND=")
    who, colon, rest = head.strip().partition(" : ")
    words = dict(part.split("=", 1) for part in rest.split(" ; ") if "=" in part)
    # A refusal stands before the first of its words: "command not allowed ; TTY=…".
    if not said or not colon or "=" not in rest.partition(" ; ")[0] or words.get("USER") != "root":
        return None
    return who, words.get("PWD", "/"), command


def accounts_of(entries: Iterable[Mapping[str, Any]]) -> list[Account]:
    return [
        Account(at(entry), f"{entry['SYSLOG_IDENTIFIER']}: {entry['MESSAGE']}")
        for entry in entries
        if entry.get("SYSLOG_IDENTIFIER") in ACCOUNTS and entry.get("_UID") == "0"
    ]


def _user(number: str) -> str:
    """The name of a user; empty where there is none: the kernel says 2^32 - 1 of what no login has begun."""
    try:
        return pwd.getpwuid(int(number)).pw_name
    except (KeyError, ValueError, OverflowError):
        return ""


# --- Packages ---------------------------------------------------------------------------------------


def _lines(folder: Path, name: str, since: float) -> Iterator[str]:
    """Lines of a log, also of the rotated ones that reach into the time; oldest first."""
    for path in sorted(folder.glob(f"{name}*"), key=lambda path: path.stat().st_mtime):
        if path.stat().st_mtime >= since:
            with gzip.open(path, "rt", errors="replace") if path.suffix == ".gz" else path.open(errors="replace") as stream:
                yield from stream


def _local(text: str) -> float:
    """A time as apt and dpkg write it: the host's own, without a zone."""
    try:
        return time.mktime(time.strptime(" ".join(text.split()), "%Y-%m-%d %H:%M:%S"))
    except (ValueError, OverflowError):
        return 0.0


_ACTIONS = ("Install", "Reinstall", "Upgrade", "Downgrade", "Remove", "Purge")


def apt(lines: Iterable[str]) -> Iterator[Transaction]:
    """The paragraphs of apt's history."""
    said: dict[str, str] = {}
    for line in (*lines, "\n"):
        key, colon, text = line.rstrip("\n").partition(": ")
        if colon:
            said[key] = text.strip()
        elif not line.strip() and "Start-Date" in said:
            packages = {word for action in _ACTIONS for word in re.findall(r"([\w.+-]+):\w+ \(", said.get(action, ""))}
            begin = _local(said["Start-Date"])
            # One that is not done yet has no end.
            end = _local(said["End-Date"]) if "End-Date" in said else time.time()
            who = said.get("Requested-By", "").partition(" (")[0]
            yield Transaction(begin, end + 1, said.get("Commandline", ""), who, frozenset(packages))
            said = {}


def dpkg(lines: Iterable[str]) -> Iterator[Transaction]:
    """What dpkg did, each action by itself: within a transaction of apt, or called alone."""
    for line in lines:
        words = line.split()
        if len(words) > 3 and words[2] in ("install", "upgrade", "remove", "purge"):
            begin = _local(" ".join(words[:2]))
            yield Transaction(begin, begin + 1, "", "", frozenset([words[3].partition(":")[0]]))
