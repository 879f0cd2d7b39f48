"""What a host says of its releases."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from helpers import App, must
from load import OpenLoop
from switches import rows

Visitors = Callable[..., OpenLoop]
Copy = Callable[[str], Path]


def live(host: Any, app: App) -> str:
    """The id of the live release."""
    return must(host, f"readlink {app.current}").strip().split("/")[-1]


def manifest(host: Any, app: App, release: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(must(host, f"cat {app.root}/releases/{release}/release.json"))
    return found


def running(host: Any, app: App, template: str = "") -> list[str]:
    """Instances of the app, or of one of its processes, that serve or are about to; not those that finish what they have begun."""
    states = "active,activating,reloading"
    listed = must(host, f"systemctl list-units --plain --no-legend --full --type=service --state={states} '{template or app.name}@*'")
    return [line.split()[0] for line in listed.splitlines()]


def sql(host: Any, app: App, query: str) -> str:
    return must(host, f'runuser -u {app.name} -- psql -XAtqc "{query}" {app.database}').strip()


def admin(host: Any, query: str, database: str = "postgres") -> str:
    """What PostgreSQL's superuser reads or does."""
    return must(host, f'runuser -u postgres -- psql -XAtq -d {database} -c "{query}"').strip()


def must_be_served(visitors: OpenLoop, host: Any, app: App) -> None:
    """Every request was answered as it should be, and every row that was promised is there once, and no other."""
    assert not visitors.lost(), f"visitors saw {dict(visitors.counts())}"
    assert len(visitors.answers) >= 20, f"too few requests to mean anything: {dict(visitors.counts())}"
    found = Counter(rows(host, app, visitors.prefix))
    assert visitors.written and found == Counter(visitors.sent), found - Counter(visitors.sent) or Counter(visitors.sent) - found
