"""What the tests of the scenario ask of the machine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from deploys import Outcome
from helpers import must
from load import OpenLoop

Play = Callable[..., Outcome]
Visit = Callable[[str], OpenLoop]
APPS = ("blog", "shop", "tiny")
#: What belongs to an app alone: files, by the folders and names that carry its name.
OWNED = (
    "/etc/{0} /etc/systemd/system/{0}.* /etc/systemd/system/{0}@* /etc/systemd/system/{0}-* /etc/nginx/sites-available/{0}.conf "
    "/etc/nginx/snippets/{0}-* /etc/cron.d/{0}-backup /etc/logrotate.d/{0} /etc/redis/redis-{0}*.conf "
    "/etc/systemd/system/redis-server@{0}*.d /etc/letsencrypt/live/{0} /etc/letsencrypt/renewal/{0}.conf /etc/ssl/{0} /srv/{0}"
)


def owned(host: Any, name: str) -> str:
    """A checksum, mode and owner of every file that an app owns; logs and caches aside."""
    find = f"find {OWNED.format(name)} -path '*/cache' -prune -o -path '*/__pycache__' -prune -o"
    return must(
        host,
        f"({find} -type f -print0 2>/dev/null | sort -z | xargs -0 sha256sum;"
        f" {find} -printf '%p %M %u %g %l\\n' 2>/dev/null | sort;"
        f" systemctl show --property=ActiveEnterTimestamp {name}.socket '{name}@*' redis-server@{name}.service) | grep -v -e /.deploy.lock",
    )


def as_app(host: Any, name: str, command: str) -> Any:
    """Run a command as an app's user, with the groups that its service has."""
    return host.run(f"setpriv --reuid {name} --regid {name} --init-groups sh -c %s", command)


def must_be_served(visitors: OpenLoop, least: int = 50) -> None:
    """Every visitor got an answer, and every row was written."""
    counts = dict(visitors.counts())
    assert set(counts) == {"GET 200", "POST 201"}, f"visitors saw {counts}"
    assert visitors.resent <= 3, f"{visitors.resent} kept connections ended under a request"
    assert sum(counts.values()) >= least, f"too few requests to mean anything: {counts}"


def rows(host: Any, name: str, prefix: str) -> list[str]:
    """Keys of the ledger that begin with ``prefix``."""
    query = f"SELECT key FROM ledger WHERE key LIKE '{prefix}%'"
    return must(host, f'setpriv --reuid {name} --regid {name} --init-groups psql -XAtq -h /run/postgresql {name} -c "{query}"').split()
