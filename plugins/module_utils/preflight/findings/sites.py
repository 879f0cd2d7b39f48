# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""Sites of nginx that would answer in our place, or keep ours from being loaded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from ...nginx_sites import Server, defaults_of_others, in_the_way
from ..facts import Facts
from ..finding import LEAVE, REPLACE, Finding, some
from ..needs import Needs

#: The package's welcome page, and what people make of it.
DEFAULT = "/etc/nginx/sites-enabled/default"
#: Files here can be taken out of the way one by one.
_FOLDERS = ("/etc/nginx/sites-enabled/", "/etc/nginx/conf.d/")


def findings(facts: Facts, needs: Needs) -> Iterator[Finding]:
    yield from _certificates(facts)
    if not needs.web or not facts.nginx.installed:
        return
    if not facts.nginx.reads_sites:
        yield Finding(
            "nginx:layout",
            "nginx is here, and it is not the distribution's: what is in /etc/nginx/sites-enabled would never be served",
            "/etc/nginx/nginx.conf includes no sites-enabled/",
            fix="remove that package and its /etc/nginx/nginx.conf (apt purge nginx), so that the distribution's nginx can be installed",
        )
        return
    servers = [
        Server(site.file, "", site.line, site.names, site.ports, site.default, site.ours)
        for site in facts.sites
        if site.server == "nginx" and not site.packaged
    ]
    marked = {Path(server.file).name for server in servers if server.ours}
    # One of an app that the inventory does not have any more is in the way as anybody's.
    own = [app.site for app in needs.apps if app.name in facts.apps or app.site in marked]
    yield from _for_our_names(servers, needs, own)
    yield from _default(servers)


def _certificates(facts: Facts) -> Iterator[Finding]:
    for one in facts.certificates:
        what = f"certbot renews a certificate for {one.domain} already, which may fail once Slipway answers for that name"
        fix = f"once the app has its own: certbot delete --cert-name {one.name}"
        seen = f"{one.file}{' (' + one.authenticator + ')' if one.authenticator else ''}"
        yield Finding(f"certificate:{one.domain}", what, seen, {LEAVE: "this is not said again"}, fix, refuses=False)


def _for_our_names(servers: list[Server], needs: Needs, own: list[str]) -> Iterator[Finding]:
    """One for each file, under the first of our names in it."""
    found: dict[str, list[str]] = {}
    places: dict[str, list[Server]] = {}
    for domain in needs.domains:
        for server in in_the_way(servers, [domain], own):
            if domain not in found.setdefault(server.file, []):
                found[server.file].append(domain)
            places.setdefault(server.file, []).append(server)
    for file, domains in found.items():
        what = f"another site answers for {some(domains)}: nginx would serve whichever file it reads first"
        yield _in_nginx(f"site:{domains[0]}", what, places[file])


def _default(servers: list[Server]) -> Iterator[Finding]:
    """Whoever answers for unknown names; there can be one, and ours gives them nothing. And the packaged site, once it was edited."""
    others = defaults_of_others(servers)
    edited = [server for server in servers if server.file == DEFAULT and not server.ours]
    if others:
        what = "another site answers for every name that no site has (default_server): nginx takes one such site, and refuses a second"
        yield _in_nginx("site:default", what, [*others, *(server for server in edited if server not in others)])
    elif edited:
        what = "the distribution's welcome site was edited, and Slipway would switch it off"
        yield _in_nginx("site:default", what, edited, {LEAVE: f"{DEFAULT} goes on being served, beside ours"})


def _in_nginx(id_: str, what: str, servers: Iterable[Server], more: dict[str, str] | None = None) -> Finding:
    places = list(dict.fromkeys(f"{server.file}:{server.line}" for server in servers))
    files = list(dict.fromkeys(server.file for server in servers))
    if all(file.startswith(_FOLDERS) for file in files):
        does = f"{some(files)} is switched off (a link is removed and its file stays; a file moves to /etc/nginx/replaced/)"
        return Finding(id_, what, some(places), {REPLACE: does, **(more or {})})
    return Finding(
        id_, what, some(places), more or {}, fix=f"take that server out of {some(file for file in files if not file.startswith(_FOLDERS))}"
    )
