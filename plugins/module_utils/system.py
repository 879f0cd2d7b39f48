# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""What the modules ask of the host: commands as another user, units, the journal, HTTP over a Unix socket."""

from __future__ import annotations

import contextlib
import grp
import http.client
import os
import pwd
import socket
import ssl
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

#: How `journalctl --show-cursor` begins its last line.
CURSOR = "-- cursor: "


class CommandError(Exception):
    """A command exited with another status than 0; the message is what it said."""


class Account(NamedTuple):
    """A system user, as numbers."""

    name: str
    uid: int
    gid: int

    @classmethod
    def of(cls, user: str, group: str) -> Account:
        """Look both up; KeyError when one does not exist."""
        return cls(user, pwd.getpwnam(user).pw_uid, grp.getgrnam(group).gr_gid)


def command(*words: str, account: Account | None = None, environment: Mapping[str, str] | None = None, cwd: Path | None = None) -> str:
    """Run a command and return what it printed, errors included.

    As another ``account`` it keeps nothing of root's: neither groups nor environment.
    """
    base = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}
    result = subprocess.run(
        words,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**base, **(environment or {})},
        cwd=cwd,
        user=account.uid if account else None,
        group=account.gid if account else None,
        extra_groups=[] if account else None,
        umask=0o022,
        check=False,
    )
    output = result.stdout.decode(errors="replace")
    if result.returncode != 0:
        raise CommandError(f"{output.strip()}\n({words[0]} exited {result.returncode})".strip())
    return output


def tail(text: str, lines: int = 30) -> str:
    return "\n".join(text.strip().splitlines()[-lines:])


def is_active(unit: str) -> bool:
    return subprocess.run(["systemctl", "is-active", "--quiet", unit], check=False).returncode == 0


def is_ending(unit: str) -> bool:
    """Whether a unit has been told to stop, and finishes what it has begun."""
    return command("systemctl", "show", "--property=ActiveState", "--value", unit).strip() == "deactivating"


def instances(template: str) -> list[str]:
    """Units of a template (`blog` for `blog@.service`) that run, start, end or wait to be restarted."""
    listed = command(
        *("systemctl", "list-units", "--plain", "--no-legend", "--full", "--type=service"),
        *("--state=active,activating,reloading,deactivating", f"{template}@*.service"),
    )
    return [line.split()[0] for line in listed.splitlines() if line.split()]


def journal(unit: str, lines: int = 30) -> str:
    """The last lines of the unit's last run. They are evidence of something else: that they cannot be read is no failure."""
    try:
        run = command("systemctl", "show", "--property=InvocationID", "--value", unit).strip()
        match = [f"_SYSTEMD_INVOCATION_ID={run}", "+", f"INVOCATION_ID={run}"] if run else [f"--unit={unit}"]
        return command("journalctl", "--no-pager", "--output=cat", f"--lines={lines}", *match).strip()
    except CommandError as error:
        return f"(the journal of {unit} cannot be read: {tail(str(error), 3)})"


def start_unit(unit: str) -> None:
    """Start a unit and wait until it is up; what the journal says of it is the error otherwise."""
    try:
        command("systemctl", "start", unit)
    except CommandError as error:
        raise CommandError(f"{journal(unit)}\n{error}".strip()) from error


def queue_unit(unit: str) -> None:
    """Have a unit started as soon as it can be, and do not wait for that."""
    command("systemctl", "start", "--no-block", unit)


def stop_units(*units: str) -> None:
    """Stop units and wait until they are down. One that cannot be stopped is left to the caller's next look.

    One that had failed is forgotten: `systemctl --failed` shall not name what a refused release has left.
    """
    if not units:
        return
    for verb in ("stop", "reset-failed"):
        with contextlib.suppress(CommandError):
            command("systemctl", verb, *units)


def end_units(*units: str) -> None:
    """Tell units to stop and do not wait: systemd sees to the rest, also when nobody is left who waits."""
    if not units:
        return
    with contextlib.suppress(CommandError):
        command("systemctl", "stop", "--no-block", *units)


def memory_available() -> int:
    """Bytes that can be used without swapping: the kernel's own estimate."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 0


def memory_used(unit: str) -> int:
    """Bytes that a unit uses now; 0 when systemd does not say."""
    said = command("systemctl", "show", "--property=MemoryCurrent", "--value", unit).strip()
    # "[not set]", or the largest number there is, where nothing is accounted.
    return int(said) if said.isdigit() and int(said) < 2**60 else 0


def journal_since(unit: str, cursor: Path, since: float) -> list[str]:
    """Lines of a unit that are new since the last call with the same ``cursor`` file; with the first call, since that time."""
    # journalctl takes a cursor's file or a time, not both.
    where = ("--cursor-file", str(cursor)) if cursor.exists() else (f"--since=@{since:.3f}", "--show-cursor")
    said = command("journalctl", "--no-pager", "--quiet", "--output=cat", f"--unit={unit}", *where).splitlines()
    if said and said[-1].startswith(CURSOR) and not cursor.exists():
        cursor.write_text(said.pop().removeprefix(CURSOR))
    return said


def journal_between(unit: str, since: float, until: float) -> list[str]:
    """Lines of a unit between two times, in seconds since 1970."""
    times = (f"--since=@{since:.3f}", f"--until=@{until:.3f}")
    return command("journalctl", "--no-pager", "--quiet", "--output=cat", f"--unit={unit}", *times).splitlines()


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(os.fspath(self.path))


class FrontDoorConnection(http.client.HTTPConnection):
    """HTTPS to this host's own nginx, with the SNI of a visitor; which certificate is served is another check's matter."""

    def __init__(self, domain: str, timeout: float) -> None:
        super().__init__(domain, 443, timeout=timeout)

    def connect(self) -> None:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        plain = socket.create_connection(("127.0.0.1", 443), self.timeout)
        self.sock = context.wrap_socket(plain, server_hostname=self.host)


class Answer(NamedTuple):
    """Status 0: nothing answered, and the body is the reason."""

    status: int
    body: str
    request_id: str = ""


def ask(connection: http.client.HTTPConnection, url: str, headers: Mapping[str, str]) -> Answer:
    try:
        connection.request("GET", url, headers=dict(headers))
        response = connection.getresponse()
        return Answer(response.status, response.read(2000).decode(errors="replace"), response.getheader("X-Request-ID") or "")
    except (OSError, http.client.HTTPException) as error:
        return Answer(0, f"{type(error).__name__}: {error}")
    finally:
        connection.close()


def get(path: Path, url: str, host: str, timeout: float = 5) -> Answer:
    """GET ``url`` through the socket at ``path``, as nginx would ask."""
    headers = {"Host": host, "X-Forwarded-For": "127.0.0.1", "X-Forwarded-Proto": "https", "X-Forwarded-Host": host}
    return ask(UnixConnection(path, timeout), url, headers)


def visit(domain: str, url: str, timeout: float = 35) -> Answer:
    """GET ``url`` as a visitor does, through nginx."""
    return ask(FrontDoorConnection(domain, timeout), url, {"Host": domain})
