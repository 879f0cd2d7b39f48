# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""One truth: what an operator says in the app's environment is an input of the contract, or refused with the variable to use.

A name that a layer derives would otherwise win for the app alone, while the other layers go on with their own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from ansible_collections.slipway.vps.plugins.module_utils.resolve import REDIS_SCHEMES, SERVER_NAMES, is_own_redis, is_redis, names, truthy
from ansible_collections.slipway.vps.plugins.module_utils.rules.problem import Problem, Values

#: Names that a release sets for itself.
OWN_NAMES = ("SLIPWAY_RELEASE", "SLIPWAY_COMMIT", "SLIPWAY_WSGI", "SLIPWAY_REHEARSAL")
#: What libpq reads where a URL is silent.
LIBPQ_NAMES = ("PGHOST", "PGHOSTADDR", "PGPORT", "PGDATABASE", "PGUSER", "PGPASSWORD", "PGSERVICE")


def said(values: Values) -> dict[str, tuple[str, Any]]:
    """Each name of the environment that the operator sets: the variable it stands in, and its value."""
    return {str(key): (name, value) for name in ("app_env", "app_secrets") for key, value in (values.get(name) or {}).items()}


def reserved_names(values: Values) -> Iterator[Problem]:
    """Names that would go past the contract."""
    for key, (variable, _) in said(values).items():
        if key in OWN_NAMES:
            yield Problem(variable, f"{key} is set by each release for itself", "remove it")
        elif key == "GUNICORN_CMD_ARGS":
            fix = "remove it and set server_workers, server_timeout and their like (docs/settings.md)"
            yield Problem(variable, "GUNICORN_CMD_ARGS would overrule the socket and every other setting of Gunicorn", fix)
        elif key in LIBPQ_NAMES:
            fix = "remove it and write app_database_url, or app_database for another name on this host"
            yield Problem(variable, f"{key} would lead the app to another database than migrations and backups", fix)


def other_hops(values: Values) -> Iterator[Problem]:
    """nginx sends as many forwarded addresses as the app takes off."""
    variable, hops = said(values).get("PROXY_HOPS", ("", None))
    if variable and str(hops) != str(values.get("app_proxy_hops", 1)):
        what = f"PROXY_HOPS is {hops}, and app_proxy_hops, by which nginx sets its headers, is {values.get('app_proxy_hops', 1)}"
        yield Problem(variable, what, f"remove it and write app_proxy_hops: {hops}")


def other_hosts(values: Values) -> Iterator[Problem]:
    """The app may trust more names than nginx serves, but it must trust those."""
    variable, hosts = said(values).get("TRUSTED_HOSTS", ("", None))
    if not variable:
        return
    trusted = [host.strip() for host in str(hosts).split(",")]
    if untrusted := [domain for domain in values["app_domains"] if str(domain).removeprefix("*") not in trusted and domain not in trusted]:
        what = f"TRUSTED_HOSTS leaves out {', '.join(map(str, untrusted))} of app_domains: the app would refuse its own visitors"
        yield Problem(variable, what, "remove it (it is app_domains then), or add the name")


def other_redis(values: Values) -> Iterator[Problem]:
    """`REDIS_URL` is the app's Redis for every layer."""
    places = {name: values[name] for name in ("app_redis_url", "app_redis_cache_url") if values.get(name)}
    places |= {f"{variable} {key}": url for key, (variable, url) in said(values).items() if key in ("REDIS_URL", "REDIS_CACHE_URL")}
    for place, url in places.items():
        variable, _, key = place.partition(" ")
        if not is_redis(str(url)):
            fix = f"write {', '.join(f'{name}://…' for name in REDIS_SCHEMES)}, or remove it for this host's own"
            yield Problem(variable, f"{key} is no URL of a Redis".strip(), fix)
    variable, url = said(values).get("REDIS_URL", ("", None))
    if variable and values.get("app_redis_url") and str(values["app_redis_url"]) != str(url):
        yield Problem(variable, "REDIS_URL and app_redis_url name two Redis", "keep one of them")


def other_cache(values: Values) -> Iterator[Problem]:
    """With `app_redis_cache` the cache's URL is derived."""
    variable, url = said(values).get("REDIS_CACHE_URL", ("", None))
    known = names(values)
    same = str(url) == known["app_redis_cache_url"] or is_own_redis(str(url), known["app_redis_cache_socket"])
    if variable and truthy(values.get("app_redis_cache")) and not same:
        yield Problem(variable, "REDIS_CACHE_URL and app_redis_cache name two caches", "remove one of them")


def other_server(values: Values) -> Iterator[Problem]:
    """What overrules Gunicorn's numbers has to be a number; Gunicorn takes an empty one for none."""
    for name, setting in SERVER_NAMES.items():
        variable, value = said(values).get(name, ("", ""))
        if setting != "worker_class" and str(value) and not re.fullmatch(r"[1-9]\d{0,5}", str(value), re.ASCII):
            what = f"{name} is {value!r}, and must be a whole number, 1 at least"
            yield Problem(variable, what, f"write a number, or remove it and set server_{setting}")


RULES = (
    (other_server, ()),
    (reserved_names, ("app_env", "app_secrets")),
    (other_hops, ("app_env", "app_secrets", "app_proxy_hops")),
    (other_hosts, ("app_env", "app_secrets", "app_domains")),
    (other_redis, ("app_env", "app_secrets", "app_redis_url", "app_redis_cache_url")),
    (other_cache, ("app_env", "app_secrets", "app_name", "app_domains", "app_redis_cache")),
)
