# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""Who or what made a difference, as far as the host's own traces tell. What only may have been is said to be no more than that."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
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
#: Programs that change nothing of what they are given, and those whose words may be a whole script.
READERS = frozenset(
    {
        *(
            "cat",
            "cmp",
            "diff",
            "file",
            "find",
            "getfacl",
            "grep",
            "head",
            "journalctl",
            "less",
            "ls",
            "md5sum",
            "more",
            "namei",
            "readlink",
        ),
        *("sha256sum", "slipway", "stat", "tail", "test", "view", "wc", "zgrep"),
    }
)
SCRIPTS = frozenset(("bash", "dash", "env", "fish", "ksh", "node", "perl", "psql", "python", "python3", "ruby", "sh", "tee", "zsh"))
REMOVERS = frozenset(("mv", "rm", "shred", "unlink"))
FILTERS = frozenset(("ip6tables", "ip6tables-restore", "iptables", "iptables-restore", "nft", "ufw"))
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
        people = [Candidate(one.who, described(one, found, look)) for one in (last if certain else naming)]
        return Cause(HAND if certain else UNKNOWN, candidates=tuple(_unique(people)), certain=certain)
    return Cause(UNKNOWN, candidates=tuple(_unique(_around(found, when, look, around))) if when else ())


def _around(found: Difference, when: Moment | None, look: Look, sessions: Sequence[Session]) -> Iterator[Candidate]:
    """Who was root at the time, whatever they did, and which packages were worked on."""
    for one in look.traces.transactions:
        if when and not when.latest and one.command and one.begin <= when.at <= one.end:
            yield Candidate(one.who or "the system's upgrade" if one.automatic else one.who or "somebody", redacted(one.command))
    for session in sessions:
        # Of a time that is not exact only those count in which anything may have been done.
        if when and (session.shell or not when.latest):
            yield Candidate(session.who, described(session, found, look))


def _unique(found: Sequence[Candidate] | Iterator[Candidate]) -> list[Candidate]:
    return list(dict.fromkeys(found))


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
    return Cause(HAND, did, tuple(_unique([Candidate(session.who, described(session, found, look)) for session in sessions])))


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
    return session.begin - SLACK <= when.at <= session.end + SLACK


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
    return thing.kind == "firewall" and session.program in FILTERS and not {"status", "show", "-L", "-S", "list"} & set(words)


def _fits(session: Session, found: Difference, when: Moment | None) -> bool:
    """Whether a command that names the thing is what changed it: by its time, or by what it is for."""
    if when and not when.latest:
        return found.thing.kind != "firewall"
    if found.thing.kind in (*PATHS, "names"):
        return not found.now and session.program in REMOVERS
    return found.thing.kind == "unit" and found.what == "at boot"


def described(session: Session, found: Difference, look: Look) -> str:
    """What somebody did, without what may be secret: of scripts, and where a secret file is meant, the program alone."""
    since = f"since {stamp(session.begin)}"
    if not session.command:
        return f"logged in {since}"
    if session.ansible:
        return f"a run of Ansible, {since}"
    if session.shell:
        return f"a root shell, sudo {session.program}, {since}"
    if session.program in SCRIPTS or not look.shown(found):
        return f"sudo {session.program} …, {since}"
    return f"sudo {session.program} {redacted(session.command.partition(' ')[2])}".rstrip() + f", {since}"
