# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""What an operator may say of the public endpoint (role nginx)."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ansible_collections.slipway.vps.plugins.module_utils.resolve import truthy
from ansible_collections.slipway.vps.plugins.module_utils.rules.problem import Problem, Values
from ansible_collections.slipway.vps.plugins.module_utils.rules.server import speaks
from ansible_collections.slipway.vps.plugins.module_utils.servers import ASGI

_PATH = re.compile(r"/[\w./~%+@:-]*")
_PREFIX = re.compile(r"(/[\w.~-]+)+")
_PAGE = re.compile(r"/[\w./~%+@:?&=,-]*")
_RATE = re.compile(r"[1-9]\d*r/[sm]")
_SIZE = re.compile(r"\d+[kKmMgG]?")
_BUFFERS = re.compile(r"[1-9]\d* +\d+[kKmM]?")
_ZONE = re.compile(r"[a-z0-9_]{1,40}")
_HEADER = re.compile(r"[A-Za-z0-9-]+")
_LIMIT_KEYS = frozenset({"path", "rate", "burst", "zone"})
_LOCATION_KEYS = frozenset({"path", "body_size", "timeout", "stream", "websocket"})
_EXTRA_KEYS = frozenset({"http", "server", "location"})
#: Seconds that the preload lists ask for at least.
PRELOAD_AGE = 31536000


def bad_nginx(values: Values) -> Iterator[Problem]:
    """Every reason to refuse what the inventory says about nginx. ``values`` holds only what it says."""
    folders = [values.get(name) for name in ("app_static", "app_uploads")]
    files = [prefix for folder in folders if isinstance(folder, Mapping) for prefix in folder]
    yield from _bad_limits(values.get("nginx_rate_limits") or [], files)
    yield from _bad_locations(values.get("nginx_locations") or [], files)
    yield from _bad_extra(values.get("nginx_extra") or {})
    yield from _bad_trust(values)
    yield from _bad_hsts(values)
    yield from _bad_queue(values)
    yield from _bad_sizes(values)


def bad_verify_paths(values: Values) -> Iterator[Problem]:
    """Pages of the app that are asked for."""
    for path in values.get("app_verify_paths") or []:
        if not isinstance(path, str) or not _PAGE.fullmatch(path):
            yield Problem("app_verify_paths", f"{path!r} is not the path of a page", "write, for example, [/, /login]")


def bad_prefix(values: Values) -> Iterator[Problem]:
    """Where on the site the app is."""
    prefix = str(values.get("app_url_prefix") or "")
    if prefix and (not _PREFIX.fullmatch(prefix) or prefix.startswith("/.")):
        yield Problem("app_url_prefix", f"{prefix!r} is no path to an app", "write, for example, /blog: a slash first, and none at the end")
    for name in ("app_env", "app_secrets"):
        said = str((values.get(name) or {}).get("SCRIPT_NAME") or prefix)
        if said != prefix:
            yield Problem(
                name, f"SCRIPT_NAME is {said!r}, and nginx and the health checks go by app_url_prefix", f"set app_url_prefix: {said}"
            )
    if prefix and speaks(values) == ASGI:
        what = "an ASGI app takes its prefix from the framework, and servers do not hand it over alike"
        yield Problem("app_url_prefix", what, "mount the app below the path itself (root_path), and leave app_url_prefix empty")


def _bad_path(variable: str, path: Any, files: Sequence[str]) -> Iterator[Problem]:
    if not isinstance(path, str) or not _PATH.fullmatch(path):
        yield Problem(variable, f"{path!r} is not a path", "write, for example, /api/ (all below it) or /login (exactly this path)")
    elif path in files:
        yield Problem(variable, f"{path} is served from files and never reaches the app", "use nginx_extra.location for its location")


def _unknown(variable: str, entry: Mapping[str, Any], known: frozenset[str]) -> Iterator[Problem]:
    for key in sorted(set(map(str, entry)) - known):
        yield Problem(variable, f"key {key!r} means nothing here", f"use {', '.join(sorted(known))}")


def _bad_limits(limits: Any, files: Sequence[str]) -> Iterator[Problem]:
    name = "nginx_rate_limits"
    rates: dict[str, str] = {}
    if not isinstance(limits, list):
        yield Problem(name, "must be a list", "begin each entry with a dash")
        return
    for limit in limits:
        if not isinstance(limit, Mapping):
            yield Problem(name, f"{limit!r} is not an entry", "write {path: /login, rate: 10r/m, burst: 5}")
            continue
        yield from _unknown(name, limit, _LIMIT_KEYS)
        yield from _bad_path(name, limit.get("path"), files)
        rate = str(limit.get("rate", ""))
        if not _RATE.fullmatch(rate):
            yield Problem(name, f"rate {rate!r} of {limit.get('path')} is no rate", "write 10r/s or 30r/m")
        if not str(limit.get("burst", 0)).isdigit():
            yield Problem(name, f"burst {limit.get('burst')!r} is no number", "write burst: 10")
        zone = str(limit.get("zone") or "")
        if zone and not _ZONE.fullmatch(zone):
            yield Problem(name, f"zone {zone!r} will not do as a name", "use a-z, 0-9 and _")
        if zone and rates.setdefault(zone, rate) != rate:
            yield Problem(name, f"zone {zone!r} has two rates, {rates[zone]} and {rate}", "give it one rate, or use two zones")


def _bad_locations(locations: Any, files: Sequence[str]) -> Iterator[Problem]:
    name = "nginx_locations"
    if not isinstance(locations, list):
        yield Problem(name, "must be a list", "begin each entry with a dash")
        return
    for location in locations:
        if not isinstance(location, Mapping):
            yield Problem(name, f"{location!r} is not an entry", "write {path: /api/upload, body_size: 100m}")
            continue
        yield from _unknown(name, location, _LOCATION_KEYS)
        yield from _bad_path(name, location.get("path"), files)
        size = str(location.get("body_size") or "0")
        if not _SIZE.fullmatch(size):
            yield Problem(name, f"body_size {size!r} is no size", "write, for example, 100m")
        if not str(location.get("timeout", 0)).isdigit():
            yield Problem(name, f"timeout {location.get('timeout')!r} is no number of seconds", "write, for example, timeout: 300")
    paths = [str(location.get("path")) for location in locations if isinstance(location, Mapping)]
    for path in sorted({path for path in paths if paths.count(path) > 1}):
        yield Problem(name, f"{path} is listed twice", "put all about a path into one entry")


def _bad_extra(extra: Any) -> Iterator[Problem]:
    name = "nginx_extra"
    if not isinstance(extra, Mapping):
        yield Problem(name, "must be a dictionary", "use the keys http, server and location")
        return
    yield from _unknown(name, extra, _EXTRA_KEYS)
    location = extra.get("location") or {}
    if not isinstance(location, Mapping):
        yield Problem(name, "location must be a dictionary", "write, for example, location: {/admin/: 'allow 192.0.2.0/24; deny all;'}")
        return
    for path in location:
        yield from _bad_path(name, path, ())
    for where, text in [*((key, extra.get(key) or "") for key in ("http", "server")), *location.items()]:
        if not isinstance(text, str):
            yield Problem(name, f"{where} must be text", "write it as a block: a | after the colon, nginx's lines below")
        elif text.count("{") != text.count("}"):
            yield Problem(name, f"{where} opens {text.count('{')} blocks and closes {text.count('}')}", "balance the braces")


def _bad_trust(values: Mapping[str, Any]) -> Iterator[Problem]:
    for name in ("nginx_trusted_proxies", "nginx_maintenance_allow"):
        for network in values.get(name) or []:
            try:
                everything = ipaddress.ip_network(str(network), strict=False).prefixlen == 0
            except ValueError:
                yield Problem(name, f"{network!r} is neither an address nor a network", "write 192.0.2.10 or 192.0.2.0/24")
                continue
            if everything and name == "nginx_trusted_proxies":
                yield Problem(name, f"{network} trusts everybody: any visitor could claim any address", "list the balancer's own addresses")
    header = str(values.get("nginx_real_ip_header", "X-Forwarded-For"))
    if not _HEADER.fullmatch(header):
        yield Problem("nginx_real_ip_header", f"{header!r} is not the name of a header", "write, for example, X-Forwarded-For")
    hops = str(values.get("app_proxy_hops", 1))
    if hops.isdigit() and int(hops) > 1 and not values.get("nginx_trusted_proxies"):
        what = f"says that {int(hops) - 1} more stand before nginx, and nginx_trusted_proxies names none"
        yield Problem("app_proxy_hops", what, "list their addresses in nginx_trusted_proxies, or leave app_proxy_hops at 1")


def _bad_hsts(values: Mapping[str, Any]) -> Iterator[Problem]:
    if not truthy(values.get("nginx_hsts_preload", False)):
        return
    if not truthy(values.get("nginx_hsts_include_subdomains", False)):
        yield Problem("nginx_hsts_preload", "needs every subdomain", "set nginx_hsts_include_subdomains: true, if all of them have HTTPS")
    if str(age := values.get("nginx_hsts_max_age", PRELOAD_AGE)).isdigit() and int(age) < PRELOAD_AGE:
        yield Problem("nginx_hsts_preload", f"needs nginx_hsts_max_age of a year at least, and it is {age}", "leave it at 63072000")


def _bad_sizes(values: Values) -> Iterator[Problem]:
    for name, form, example in (
        ("nginx_client_max_body_size", _SIZE, "10m"),
        ("nginx_response_header_size", _SIZE, "32k"),
        ("nginx_large_client_header_buffers", _BUFFERS, "2 32k"),
    ):
        if name in values and not form.fullmatch(str(values[name])):
            yield Problem(name, f"{values[name]!r} is no size that nginx understands", f"write, for example, {example}")


def _bad_queue(values: Mapping[str, Any]) -> Iterator[Problem]:
    backlog, most = values.get("server_backlog", 0), values.get("nginx_somaxconn", 0)
    if str(backlog).isdigit() and str(most).isdigit() and 0 < int(most) < int(backlog):
        what = f"is {backlog}, and the kernel cuts every queue down to nginx_somaxconn, {most}"
        yield Problem("server_backlog", what, f"set nginx_somaxconn: {backlog}")


RULES = ((bad_nginx, ()), (bad_verify_paths, ("app_verify_paths",)), (bad_prefix, ("app_url_prefix", "app_env", "app_secrets")))
