# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""Which path tells that the app can serve: the one that the operator names, or the first of the usual ones that answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from .core.http import Answer

#: What frameworks, platforms and their guides call it, in the order in which they are tried.
USUAL = ("/healthz/ready", "/healthz", "/health", "/health/ready", "/up", "/ping", "/status", "/-/health", "/_health", "/readyz")
#: Where nothing of that is there, a front page that is served is all that can be known.
FRONT = "/"
#: Whether the process lives: nobody here asks, load balancers do.
ALIVE = ("/healthz/live", "/livez", "/health/live")
#: Names that an app uses for nothing else. `/up`, `/ping` and `/status` may be pages of the app: those have to be named to count.
PLAIN = tuple(path for path in (*USUAL, *ALIVE) if path not in ("/up", "/ping", "/status"))


def quiet_paths(ready: str, live: str, prefix: str = "") -> list[str]:
    """Paths that are asked every few seconds: not logged, and answered during maintenance.

    :arg prefix: `app_url_prefix`, which ``ready`` and ``live`` have already.
    """
    usual = [f"{prefix}{path}" for path in PLAIN if path not in ALIVE]
    found = [*((live,) if live else (f"{prefix}{path}" for path in ALIVE)), *((ready,) if ready else usual)]
    return list(dict.fromkeys(found))


class Probe(NamedTuple):
    """What was asked, and what came back."""

    path: str
    answer: Answer
    #: The operator names the path: 200 and nothing else.
    strict: bool
    #: It is the front page, asked for want of a better path.
    front: bool

    @property
    def good(self) -> bool:
        """Whether the app can serve."""
        status = self.answer.status
        return status == 200 or (not self.strict and self.front and 200 < status < 500 and status not in (400, 404))

    def told(self) -> str:
        """What was seen, and the variable that mends it where the path is the wrong one."""
        saw = f"GET {self.path} answered {self.answer.status or 'nothing'}: {self.answer.body.strip()[:500]}"
        if self.answer.status == 400:
            saw += "\n400: does the app accept requests for this host name (ALLOWED_HOSTS, TRUSTED_HOSTS)?"
        if self.strict:
            return f"{saw}\n(app_health_ready names this path; without it the usual ones are tried.)"
        if self.front:
            saw += f"\nNone of {', '.join(USUAL)} answered 200 either."
        return f"{saw}\n(app_health_ready is not set: set it in app.yml to a path that answers 200 when the app can serve.)"


def probe(ask: Callable[[str], Answer], said: str, noted: str = "", prefix: str = "") -> Probe:
    """Ask whether the app can serve.

    :arg said: `app_health_ready`; empty: unset.
    :arg noted: what the rehearsal of the release found.
    :arg prefix: `app_url_prefix`, which both have already.
    """
    if said or noted:
        path = said or noted
        return Probe(path, ask(path), bool(said), path == prefix + FRONT)
    for path in (f"{prefix}{usual}" for usual in USUAL):
        answer = ask(path)
        # One that fails is there, and says that the app is not ready yet; one that does not answer will not answer for another path.
        if answer.status == 200 or answer.status >= 500 or not answer.status:
            return Probe(path, answer, False, False)
    return Probe(prefix + FRONT, ask(prefix + FRONT), False, True)
