"""A crowd at once: whoever does not fit is made to wait, and nobody is sent away."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from typing import Any

from helpers import App, must

Lines = Callable[[], list[dict[str, Any]]]
CROWD = 2000


def test_a_crowd_within_a_second(host: Any, neighbour: Any, app: App, logged: Lines) -> None:
    """[E7] [E11] 2,000 new connections on a page that takes 50 ms: all wait, all are answered, 0 answers are 5xx.

    They all stand in the queue of one socket: nginx's worker_connections, the kernel's somaxconn and Gunicorn's backlog fit.
    """
    for way in ("--h1", ""):
        said = must(neighbour, f"h2load {way} -n {CROWD} -c {CROWD} -t 1 -m 1 -T 300 -N 300 https://{app.domain}/probe/slow")
        answers = dict(zip(("2xx", "3xx", "4xx", "5xx"), map(int, re.findall(r"(\d+) [2345]xx", said)), strict=True))
        assert answers == {"2xx": CROWD, "3xx": 0, "4xx": 0, "5xx": 0}, said
    lines = [line for line in logged() if line["path"] == "/probe/slow"]
    assert len(lines) == 2 * CROWD and {line["status"] for line in lines} == {200}
    per_second = Counter(line["time"] for line in lines)
    print(f"{CROWD} connections, {max(per_second.values())} answered in the busiest second")


def test_the_queues_fit(host: Any, app: App) -> None:
    """[E7] What the processes really have, not what files say."""
    backlog = int(must(host, f"ss -Hlx src {app.socket}").split()[3])
    assert backlog >= 2048 and int(must(host, "cat /proc/sys/net/core/somaxconn")) >= backlog
    for line in must(host, "ss -Hltn '( sport = :443 or sport = :80 )'").splitlines():
        assert int(line.split()[2]) >= 4096, line
    worker = must(host, "pgrep -o -u www-data nginx").strip()
    assert int(must(host, f"grep 'open files' /proc/{worker}/limits").split()[3]) >= 16384
    assert "worker_connections 8192;" in must(host, "nginx -T 2>/dev/null")
