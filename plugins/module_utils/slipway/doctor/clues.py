# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""What a line of a log tells. To teach the doctor one more: a `Clue` here, and its problem in `problems`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple

from .findings import Seen

#: Minutes that the logs are read back: what was longer ago may have been mended.
MINUTES = 15


class Clue(NamedTuple):
    """A line that matches ``pattern`` tells of ``problem``. Named groups of the pattern are values for its texts."""

    problem: str
    pattern: str
    #: Values for the texts besides.
    values: Mapping[str, str] = MappingProxyType({})


#: Why a server does not start, or its workers end: in the journal of the app's units. The first that matches counts.
START = (
    Clue("import-error", r"(ModuleNotFoundError|ImportError): .+"),
    Clue("missing-variable", r"KeyError: '[A-Z][A-Z0-9_]+'"),
    Clue("missing-variable", r"\b[A-Z][A-Z0-9_]{2,} (environment variable )?(is|was) (not set|missing|required|unset)"),
    Clue("missing-variable", r"(UndefinedValueError|ImproperlyConfigured): .*\b[A-Z][A-Z0-9_]{2,}\b.*(not found|not set|environment)"),
    Clue("missing-variable", r"(?i)\b(set|missing|required|no) (the )?(environment )?variable:? ['\"]?[A-Z][A-Z0-9_]+"),
    Clue("out-of-memory", r"sent SIGKILL! Perhaps out of memory|\bA process of this unit has been killed by the OOM killer|: MemoryError"),
    Clue("out-of-memory", r"Failed with result 'oom-kill'"),
    Clue("database-password", r"password authentication failed for user|no pg_hba\.conf entry for"),
    Clue("database-connections", r"too many clients already|remaining connection slots are reserved|too many connections for role"),
    Clue("app-error", r"^(?!\s)[\w.]*(Error|Exception|NotFound|DoesNotExist|Refused)\b: .+"),
    Clue("app-error", r"(Failed to find attribute|Failed to parse|Can't load) .+"),
)
#: What the server says of requests while it runs.
REQUESTS = (
    Clue("worker-timeouts", r"WORKER TIMEOUT|worker timeout|HARAKIRI"),
    Clue("out-of-memory", r"sent SIGKILL! Perhaps out of memory|killed by the OOM killer|Out of memory: Killed process"),
    Clue("import-error", r"(ModuleNotFoundError|ImportError): .+"),
    Clue("database-password", r"password authentication failed for user"),
    Clue("database-connections", r"too many clients already|remaining connection slots are reserved"),
    Clue("redis-full", r"OOM command not allowed when used memory"),
)
#: nginx's log of the site's errors.
NGINX = (
    Clue(
        "header-too-big",
        r"upstream sent too big header",
        {
            "side": "the app sends a header that is too big: a large cookie, or many",
            "mend": "keep less in the session's cookie, or proxy_buffer_size in nginx_locations",
        },
    ),
    Clue(
        "header-too-big",
        r"client sent too (long|large) (header line|URI|request)",
        {"side": "a cookie or an address is longer than nginx takes", "mend": "nginx_large_client_header_buffers, or less in cookies"},
    ),
    Clue("body-too-big", r"client intended to send too large body: (?P<needed>\d+) bytes"),
    Clue("slow-answers", r"upstream timed out \(110: [^)]+\) while reading"),
    Clue("workers-saturated", r"connect\(\) to unix:\S+ failed \(11: ", {"queued": "more"}),
    Clue("workers-died", r"(upstream prematurely closed connection|recv\(\) failed \(104: )[^,]* while reading response header"),
    Clue("nginx-limits", r"worker_connections are not enough|\(24: Too many open files\)"),
    Clue("uploads-unreadable", r'open\(\) "(?P<path>[^"]+)" failed \(13: '),
)


def read(lines: Iterable[str], clues: Iterable[Clue]) -> Iterator[Seen]:
    """What lines tell, each problem once: by its last line, and how often it was there."""
    known = [(clue, re.compile(clue.pattern)) for clue in clues]
    last: dict[str, tuple[Clue, re.Match[str], str]] = {}
    count: dict[str, int] = {}
    for line in lines:
        for clue, pattern in known:
            if match := pattern.search(line):
                last[clue.problem] = (clue, match, line)
                count[clue.problem] = count.get(clue.problem, 0) + 1
                break
    for problem, (clue, match, line) in last.items():
        named = {name: value for name, value in match.groupdict().items() if value}
        times = {"count": f"{count[problem]} time{'s' * (count[problem] > 1)}", "minutes": str(MINUTES)}
        yield Seen(problem, line.strip(), {**clue.values, **times, **named})


def first(lines: Iterable[str], clues: Iterable[Clue] = START) -> Seen | None:
    """Why a server did not start: what the last lines tell, by the first clue that one of them matches."""
    found = list(lines)
    for clue in clues:
        for line in reversed(found):
            if match := re.search(clue.pattern, line):
                return Seen(clue.problem, line.strip(), {**clue.values, **{k: v for k, v in match.groupdict().items() if v}})
    return None
