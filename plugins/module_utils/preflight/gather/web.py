# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""What the web servers of a machine answer for, as their configuration says it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ... import nginx_sites
from ..facts import Nginx, Site
from . import packages
from .host import Host

#: Shared by all sites of ours; it is there as soon as nginx is ours.
OUR_NGINX = "/etc/nginx/conf.d/slipway.conf"
_APACHE = "/etc/apache2/sites-enabled"
_CADDY = "/etc/caddy/Caddyfile"


def nginx(host: Host) -> tuple[Nginx, list[Site]]:
    """nginx, and its servers."""
    root = host.path(nginx_sites.FOLDER)
    if not (root / "nginx.conf").is_file():
        return Nginx(), []
    found = nginx_sites.read(root)
    host.unknown.extend(f"nginx's {one}" for one in found.unread)
    sites = [
        Site("nginx", one.file, one.line, one.names, one.ports, one.default, one.ours, packages.unchanged(host, one.kept or one.file))
        for one in found.servers
    ]
    reads = any("sites-enabled/" in pattern for pattern in found.includes)
    return Nginx(True, host.exists(OUR_NGINX), reads), sites


def others(host: Host) -> list[Site]:
    """Those of Apache and Caddy, for the evidence."""
    return [*_apache(host), *_caddy(host)]


def _apache(host: Host) -> Iterator[Site]:
    for name in host.names(_APACHE):
        path = f"{_APACHE}/{name}"
        for part in re.split(r"(?i)<VirtualHost\b", host.text(path))[1:]:
            ports = [int(port) for port in re.findall(r":(\d+)", part.partition(">")[0])]
            named = re.findall(r"(?im)^\s*Server(?:Name|Alias)\s+(.+)$", part)
            names = [word.lower().partition(":")[0] for line in named for word in line.split()]
            yield Site("apache2", path, names=names, ports=ports)


def _caddy(host: Host) -> Iterator[Site]:
    depth = 0
    for number, line in enumerate(host.text(_CADDY).splitlines(), start=1):
        text = line.split("#")[0].strip()
        if depth == 0 and text.endswith("{") and not text.startswith(("{", "(")):
            names = [re.sub(r"^https?:/{2}", "", word.strip(",")).partition(":")[0].lower() for word in text[:-1].split()]
            yield Site("caddy", _CADDY, number, [name for name in names if name])
        depth += text.count("{") - text.count("}")
