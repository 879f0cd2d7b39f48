# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""Whoever has the ports of the web."""

from __future__ import annotations

from collections.abc import Iterator

from ..facts import Facts, Listener, Site
from ..finding import ADOPT, REPLACE, Finding, some
from ..needs import WEB_PORTS, Needs

#: Programs by which the operator himself may come in, beside every VPN: they are never stopped.
_WAYS_IN = ("sshd", "sslh")
#: A unit that can be stopped and disabled; a session or a user's own services are not.
_STOPPABLE = (".service", ".socket")


def findings(facts: Facts, needs: Needs) -> Iterator[Finding]:
    """One for each holder, under its lowest port."""
    if not needs.web:
        return
    holders: dict[str, list[Listener]] = {}
    for listener in facts.listeners:
        if listener.port in WEB_PORTS:
            holders.setdefault(listener.unit or str(listener.pid), []).append(listener)
    for held in holders.values():
        yield from _nginx(held, facts) if _is_nginx(held[0]) else _other(held, facts)
    seen = {listener.port for listener in facts.listeners}
    for port in WEB_PORTS:
        for entry in facts.firewall.published:
            if port not in seen and entry.startswith(f"{port}/tcp "):
                yield _container(port, f"Docker publishes {entry}")


def _is_nginx(listener: Listener) -> bool:
    """The one that the distribution's unit starts, and that we would configure; not one in a container, nor one built by hand."""
    return listener.process == "nginx" and listener.unit == "nginx.service" and not listener.container


def _nginx(held: list[Listener], facts: Facts) -> Iterator[Finding]:
    """Ours, or one with nothing but the welcome page, is no finding."""
    sites = [site for site in facts.sites if site.server == "nginx" and not site.ours and not site.packaged]
    if facts.nginx.ours or not sites:
        return
    served = [f"{' '.join(site.names) or 'any name'} ({site.file})" for site in sites]
    yield Finding(
        f"port:{min(one.port for one in held)}",
        "nginx is here already and serves sites that are not Slipway's",
        f"{who(held)}; {some(served)}",
        {
            ADOPT: "nginx goes on with these sites, beside ours; its common settings become Slipway's (docs/edge.md), "
            "a name that no site has gets no page any more, and it is reloaded only with a configuration that nginx has tested"
        },
    )


def _other(held: list[Listener], facts: Facts) -> Iterator[Finding]:
    first, ports = held[0], " and ".join(str(port) for port in sorted({one.port for one in held}))
    what = f"{first.process or 'another program'} listens on port {ports}, which nginx needs"
    names = [f"{' '.join(site.names)} ({site.file})" for site in _sites_of(held, facts) if site.names]
    evidence = who(held) + (f"; it serves {some(names)}" if names else "")
    evidence += f"; {first.unit} also runs {some(first.others)}" if first.others else ""
    id_ = f"port:{min(one.port for one in held)}"
    if first.container:
        yield _container(min(one.port for one in held), evidence)
    elif _is_way_in(first):
        fix = f"let it listen on another port first: stopped, {first.process} would lock you out"
        yield Finding(id_, what, evidence, fix=fix)
    elif stoppable(first):
        does = f"{first.unit} is stopped and disabled just before nginx starts; its configuration stays on the disk"
        yield Finding(id_, what, evidence, {REPLACE: does})
    else:
        fix = "stop it, and whatever starts it: no unit of systemd does, so it cannot be disabled for you"
        yield Finding(id_, what, evidence, fix=fix)


def stoppable(listener: Listener) -> bool:
    """Whether a unit can be stopped to free the port, and nobody is locked out by that."""
    unit = listener.unit.endswith(_STOPPABLE) and not listener.unit.startswith("user@")
    return unit and not listener.container and not _is_way_in(listener)


def _is_way_in(listener: Listener) -> bool:
    return listener.process in _WAYS_IN or listener.tunnel


def _container(port: int, evidence: str) -> Finding:
    fix = f"stop that container, or publish it on 127.0.0.1 and another port (docker ps --filter publish={port}; for Podman alike)"
    return Finding(f"port:{port}", f"a container is published on port {port}, which nginx needs", evidence, fix=fix)


def _sites_of(held: list[Listener], facts: Facts) -> list[Site]:
    ports = {one.port for one in held}
    return [site for site in facts.sites if site.server == held[0].process and (not site.ports or ports & set(site.ports))]


def who(held: list[Listener]) -> str:
    """A process, its unit, and where it waits."""
    first = held[0]
    process = f"{first.process or 'unknown process'} (pid {first.pid or 'unknown'}, {first.unit or 'no unit'})"
    return f"{process} on {', '.join(dict.fromkeys(_place(one) for one in held))}"


def _place(listener: Listener) -> str:
    return f"[{listener.address}]:{listener.port}" if ":" in listener.address else f"{listener.address}:{listener.port}"
