# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""Who or what made a difference, as far as the host's own traces tell. What only may have been is said to be no more than that."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..core.clock import stamp
from ..core.text import redacted
from .moment import PATHS, Moment
from .observe import Difference
from .traces import ACCOUNTS, Session, Traces, Transaction

#: Somebody; the system's own upgrade; the unit by itself; nobody knows.
HAND, UPDATE, ITSELF, UNKNOWN = "hand", "update", "itself", "unknown"
#: Seconds that two notes of the same thing may lie apart.
SLACK = 2
#: Seconds by which the file system's clock lags behind.
TICK = 0.1
#: Candidates that are named.
NAMED = 3
#: Programs that change nothing of what they are given.
READERS = frozenset(
    {
        *("cat", "cmp", "diff", "file", "find", "getfacl", "grep", "head", "journalctl", "less", "ls", "md5sum", "more", "namei"),
        *("readlink", "sha256sum", "slipway", "stat", "tail", "test", "view", "wc", "zgrep"),
    }
)
REMOVERS = frozenset(("mv", "rm", "rmdir", "shred", "unlink"))
FILTERS = frozenset(("ip6tables", "ip6tables-restore", "iptables", "iptables-restore", "nft", "ufw"))
PACKAGERS = frozenset(("apt", "apt-get", "aptitude", "dpkg"))
#: Programs whose words are shown: names of files, units, packages. Those of others may be a script, or hold a secret.
PLAIN = frozenset(
    {
        *("chattr", "chgrp", "chmod", "chown", "cp", "ed", "emacs", "install", "joe", "ln", "mcedit", "mkdir", "nano", "patch", "sed"),
        *("sensible-editor", "service", "setfacl", "sudoedit", "sysctl", "systemctl", "tee", "touch", "truncate", "vi", "vim", "visudo"),
        *REMOVERS,
        *FILTERS,
        *PACKAGERS,
    }
)
_STATE = frozenset(("isolate", "kill", "reload-or-restart", "restart", "start", "stop", "try-restart"))
_BOOT = frozenset(("disable", "enable", "mask", "preset", "reenable", "revert", "unmask"))
#: What systemctl has to be told, for each property of a unit.
VERBS = {"state": _STATE | _BOOT, "at boot": _BOOT, "unit file": _BOOT | {"edit", "link"}, "drop-ins": {"edit", "revert", "set-property"}}


class Candidate(NamedTuple):
    """Somebody who may have done it, and what they did then."""

    who: str
    how: str

    def __str__(self) -> str:
        return f"{self.who} ({self.how})" if self.how else self.who


class Cause(NamedTuple):
    """What made a difference.

    :arg kind: one of those above.
    :arg did: what it was, where that is known without its author: a command of apt.
    :arg candidates: who it was, where ``certain``; otherwise each of them may have been it, or nobody of them.
    """

    kind: str
    did: str = ""
    candidates: tuple[Candidate, ...] = ()
    certain: bool = False

    def __str__(self) -> str:
        if self.kind == UPDATE:
            return f"an update of the system: {self.did}"
        if self.kind == ITSELF:
            return self.did
        if self.certain:
            return ", ".join(dict.fromkeys(one.who for one in self.candidates)) + f": {self.did or self.candidates[-1].how}"
        shown = ", ".join(map(str, self.candidates[:NAMED]))
        more = f" and {len(self.candidates) - NAMED} more" if len(self.candidates) > NAMED else ""
        who = f"perhaps {'one of ' if len(self.candidates) > 1 else ''}{shown}{more}" if self.candidates else UNKNOWN
        return f"{self.did}, by: {who}" if self.did else who

    def data(self) -> dict[str, Any]:
        return {
            **{"kind": self.kind, "certain": self.certain, "did": self.did},
            **{"candidates": [one._asdict() for one in self.candidates], "text": str(self)},
        }


class Look(NamedTuple):
    """What is needed to tell causes.

    :arg after: when the layer was recorded.
    :arg owners: path to the package that it is of.
    :arg shown: things whose content everybody may see.
    :arg jobs: what systemd noted of a unit at a time (`jobs_of`).
    """

    after: float
    traces: Traces
    owners: Mapping[str, str]
    shown: Callable[[Difference], bool]
    jobs: Callable[[str, float], Sequence[Mapping[str, Any]]]


def cause(found: Difference, when: Moment | None, look: Look) -> Cause:
    """Who or what made this difference."""
    if packaged := _by_package(found, when, look):
        return packaged
    if (told := _by_itself(found, when, look)) is not None:
        return told
    around = [session for session in look.traces.sessions if covers(session, when, look.after) and session.program not in READERS]
    naming = [session for session in around if concerns(session, found)]
    if naming:
        # The last of them that had begun by then: it left what is there.
        last = [one for one in naming if when is None or one.begin <= when.at + TICK][-1:] or naming[-1:]
        certain = len({one.who for one in naming}) == 1 and last[0].sure and _fits(last[0], found, when)
        people = (Candidate(one.who, described(one, look.shown(found))) for one in (last if certain else naming))
        return Cause(HAND if certain else UNKNOWN, candidates=_unique(people), certain=certain)
    return Cause(UNKNOWN, candidates=_unique(_around(when, look, around)) if when else ())


def _around(when: Moment, look: Look, sessions: Sequence[Session]) -> Iterator[Candidate]:
    """Who was root at the time, whatever they did, and which packages were worked on."""
    for one in look.traces.transactions:
        if not when.latest and one.command and one.begin <= when.at <= one.end:
            yield Candidate(one.who or ("the system's upgrade" if one.automatic else "somebody"), redacted(one.command))
    for session in sessions:
        # Of a time that is not exact only those count in which anything may have been done; and a command that names something else
        # is none a second later.
        if session.shell or (not when.latest and session.begin - TICK <= when.at <= session.end + TICK):
            yield Candidate(session.who, described(session, shown=True))


def _unique(found: Iterable[Candidate]) -> tuple[Candidate, ...]:
    """Each once, with the last that they did."""
    return tuple({one.who: one for one in found}.values())


# --- Packages and units -----------------------------------------------------------------------------


def _by_package(found: Difference, when: Moment | None, look: Look) -> Cause | None:
    """A package that came or went, or whose file this is."""
    package = found.thing.name if found.thing.kind == "package" else look.owners.get(found.thing.name, "")
    # Where apt was called, what dpkg says of it is the same once more.
    noted = [one for one in look.traces.transactions if package in one.packages and _during(one, when)]
    if not package or not noted or not when:
        return None
    one = max(noted, key=lambda one: (bool(one.command), one.begin))
    did = redacted(one.command) or f"dpkg, of the package {package}"
    if one.automatic:
        return Cause(UPDATE, did)
    if one.who:
        return Cause(HAND, did, (Candidate(one.who, ""),), certain=True)
    sessions = [session for session in look.traces.sessions if covers(session, when, look.after) and session.shell]
    return Cause(HAND, did, _unique(Candidate(session.who, described(session, shown=True)) for session in sessions))


def _during(one: Transaction, when: Moment | None) -> bool:
    return when is not None and not when.latest and one.begin - SLACK <= when.at <= one.end + SLACK


def _by_itself(found: Difference, when: Moment | None, look: Look) -> Cause | None:
    """A unit that failed, or ended without being told to."""
    if found.thing.kind != "unit" or found.what != "state":
        return None
    if found.now == "failed":
        return Cause(ITSELF, f"it failed: journalctl -u {found.thing.name} -n 50")
    noted = look.jobs(found.thing.name, when.at) if when else []
    if found.now == "inactive" and noted and not any(entry.get("JOB_TYPE") in ("stop", "restart") for entry in noted):
        return Cause(ITSELF, f"it ended without being told to: journalctl -u {found.thing.name} -n 50")
    return None


# --- Commands ---------------------------------------------------------------------------------------


def covers(session: Session, when: Moment | None, after: float) -> bool:
    """Whether it was going on when the difference came about; of an unknown time, whether it was since the record."""
    if when is None or when.latest:
        return session.end >= after and session.begin <= (when.at + SLACK if when else session.begin)
    # What was done in a shell was done while it was open; a command may write for a moment longer.
    slack = TICK if session.shell else SLACK
    return session.begin - slack <= when.at <= session.end + slack


def concerns(session: Session, found: Difference) -> bool:
    """Whether its command names what differs, and may have changed it."""
    thing, words = found.thing, [word for word in re.split(r"[\s'\";|&()<>=]+", session.command)[1:] if word]
    if not words or session.ansible:
        return False
    if thing.kind in (*PATHS, "names"):
        path = thing.name if thing.kind in PATHS else f"{thing.name}/{found.what}"
        paths = {os.path.normpath(Path(session.folder, word)) for word in words if not word.startswith("-")}
        deep = any(re.fullmatch(r"-\w*[rR]\w*|--recursive", word) for word in words)
        return path in paths or (deep and any(path.startswith(f"{one}/") for one in paths if one.count("/") > 1))
    if thing.kind == "unit":
        named = thing.name in words or thing.name.removesuffix(".service") in words
        return named and session.program in ("systemctl", "service") and bool(VERBS.get(found.what, frozenset()) & set(words))
    if thing.kind in ("user", "group"):
        return thing.name in words and session.program in (*ACCOUNTS, "adduser", "deluser", "addgroup", "delgroup", "vipw", "vigr")
    if thing.kind == "kernel":
        return session.program == "sysctl" and thing.name in words and "=" in session.command
    return thing.kind == "firewall" and session.program in FILTERS and not {"-L", "-S", "list", "show", "status"} & set(words)


def _fits(session: Session, found: Difference, when: Moment | None) -> bool:
    """Whether a command that names the thing is what changed it: by its time, or by what it is for."""
    if when and not when.latest:
        return found.thing.kind != "firewall"
    if found.thing.kind in (*PATHS, "names"):
        return not found.now and session.program in REMOVERS
    return found.thing.kind == "unit" and found.what == "at boot"


def described(session: Session, shown: bool) -> str:
    """What somebody did, without what may be secret.

    :arg shown: every user of the host may read what the command was about.
    """
    if session.ansible:
        return "a run of Ansible"
    if not session.command or session.shell:
        return f"{f'a root shell, sudo {session.program}' if session.command else 'logged in'} since {stamp(session.begin)}"
    words = redacted(session.command.partition(" ")[2]) if shown and session.program in PLAIN else "…"
    return f"sudo {session.program} {words}".rstrip()
