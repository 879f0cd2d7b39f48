"""Which hop a broken test is about: a test that needs a hop that is broken says so, and leaves the failure to that hop's own file.

Without this, stopping nginx would turn half of the suite red; with it exactly the file of the broken hop is.
"""

from __future__ import annotations

from typing import Any

#: One command per hop, on the host, that succeeds while the hop is whole enough for others to lean on it.
PROBES = {
    "tls": "readlink -e /etc/ssl/demo/fullchain.pem | grep -q ^/etc/letsencrypt/",
    "nginx": "systemctl is-active nginx",
    "socket": "systemctl is-active demo.socket && stat -c '%a %G' /run/demo/gunicorn.sock | grep -qx '660 www-data'",
    "server": 'systemctl is-active "demo@$(basename "$(readlink /srv/demo/current)").service"',
    "postgres": "runuser -u demo -- psql -XAtqc 'select 1' demo",
    "redis": "runuser -u demo -- redis-cli -s /run/redis-demo/redis.sock ping | grep -qx PONG",
    "firewall": "ufw status | grep -qE '^443/tcp +ALLOW'",
}
_DATA = ("postgres", "redis")
_APP = ("socket", "server", *_DATA)
_ALL = ("firewall", "nginx", "tls", *_APP)
#: Test file: the other hops it cannot do without.
NEEDS: dict[str, tuple[str, ...]] = {
    "test_01_firewall": ("nginx",),
    "test_02_tls": ("nginx",),
    "test_03_nginx::test_rates_are_limited_per_path": _APP,
    "test_03_nginx::test_maintenance": _APP,
    "test_04_socket": ("server",),
    "test_05_gunicorn": ("socket", *_DATA),
    "test_06_app": _APP,
    "test_09_backup": ("postgres",),
    "test_11_public_endpoint": _ALL,
    "test_12_sources": _ALL,
}


def broken_before(host: Any, *names: str) -> list[str]:
    """The hops that a file, or one of its tests (`<file>::<test>`), needs and that are broken."""
    return [hop for name in names for hop in NEEDS.get(name, ()) if host.run(PROBES[hop]).rc != 0]
