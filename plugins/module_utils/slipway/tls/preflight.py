# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""Before the CA is asked: whether each name, at each of its addresses, leads to the challenges of this host."""

from __future__ import annotations

import http.client
import json
import re
import secrets
import socket
import urllib.parse
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from ..core.files import write_atomically
from ..core.http import unverified
from ..core.run import attempt
from .config import Config

PREFLIGHT_TIMEOUT = 10
REDIRECTS = 10
CHALLENGE = ".well-known/acme-challenge"


class Names(Protocol):
    """Whoever knows the addresses of a name: names.Resolver."""

    def addresses(self, name: str) -> tuple[list[str], str]:
        """All addresses of a name, and why there are none."""
        ...


@dataclass(frozen=True)
class Finding:
    """One name at one address; an empty ``address`` is a name that has none. ``problem`` is empty when the token came back."""

    name: str
    address: str = ""
    problem: str = ""


def verdict(status: int, body: bytes, token: str, server: str) -> str:
    """What is wrong with the answer to the request for the token."""
    if status == 200 and body.strip() == token.encode():
        return ""
    who = f" (Server: {server})" if server else ""
    if status == 200:
        return f"another machine, or another site, answers there: 200 with other content{who}"
    return f"it answers {status} instead of the token{who}"


def explain(findings: Iterable[Finding], own: Sequence[str]) -> str:
    """What is wrong, one sentence per name: what it resolves to, and what it should."""
    should = f"should be {' or '.join(own)}" if own else "should be this host"
    broken: dict[str, list[Finding]] = {}
    for finding in findings:
        broken.setdefault(finding.name, [])
        if finding.problem:
            broken[finding.name].append(finding)
    sentences = []
    for name, problems in broken.items():
        if not problems:
            continue
        if not problems[0].address:
            sentences.append(f"{name} {problems[0].problem}, {should}")
            continue
        mine = [finding for finding in problems if finding.address in own]
        others = [finding for finding in problems if finding.address not in own]
        if others:
            saw = "; ".join(f"{finding.address}: {finding.problem}" for finding in others)
            sentences.append(f"{name} resolves to {' and '.join(finding.address for finding in others)}, {should} [{saw}]")
        for finding in mine:
            sentences.append(
                f"{name} resolves to {finding.address}, which is this host, but {finding.problem} (is nginx up, is port 80 open?)"
            )
    return "; ".join(sentences)


def own_addresses() -> list[str]:
    """The addresses of this host that others can reach."""
    status, text = attempt(["ip", "-json", "address", "show", "scope", "global"])
    try:
        links = json.loads(text) if status == 0 else []
    except ValueError:
        return []
    # Not the bridges of containers.
    outside = [link for link in links if not re.match(r"docker|br-|veth|virbr|lxc", link.get("ifname", ""))]
    infos = [info for link in outside for info in link.get("addr_info", [])]
    return [info["local"] for info in infos if "local" in info and not info.get("temporary") and not info.get("deprecated")]


def fetch(url: str, address: str, resolver: Names, timeout: float = PREFLIGHT_TIMEOUT) -> tuple[int, bytes, str]:
    """What ``url`` answers at ``address``: status, body, and the server's name. Follows redirects as the CA does."""
    for _ in range(REDIRECTS):
        parts = urllib.parse.urlsplit(url)
        tls = parts.scheme == "https"
        connection = http.client.HTTPConnection(str(parts.hostname), 443 if tls else 80, timeout=timeout)
        plain = socket.create_connection((address, 443 if tls else 80), timeout=timeout)
        try:
            # The CA does not look at certificates before it asks for the challenge.
            connection.sock = unverified().wrap_socket(plain, server_hostname=parts.hostname) if tls else plain
            connection.request("GET", parts.path or "/", headers={"Host": str(parts.hostname), "User-Agent": "slipway-preflight"})
            answer = connection.getresponse()
            body = answer.read(4096)
        finally:
            connection.close()
            plain.close()
        location = answer.getheader("Location") or ""
        if answer.status not in (301, 302, 303, 307, 308) or not location:
            return answer.status, body, answer.getheader("Server") or ""
        target = urllib.parse.urlsplit(urllib.parse.urljoin(url, location))
        if target.scheme not in ("http", "https") or target.port not in (None, 80, 443):
            return answer.status, body, answer.getheader("Server") or ""
        if target.hostname != parts.hostname:
            found, problem = resolver.addresses(str(target.hostname))
            if not found:
                raise OSError(f"it redirects to {target.hostname}, which has no address {problem}".rstrip())
            address = found[0]
        url = target.geturl()
    raise OSError(f"more than {REDIRECTS} redirects")


def preflight(config: Config, resolver: Names) -> list[Finding]:
    """Whether each name, at each of its addresses, leads to the challenges of this host."""
    folder = config.webroot / CHALLENGE
    folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    token, name = secrets.token_hex(16), f"slipway-{secrets.token_hex(8)}"
    path = folder / name
    write_atomically(path, token, 0o644)
    try:
        return [finding for host in config.names for finding in _probe(host, name, token, resolver)]
    finally:
        path.unlink(missing_ok=True)


def _probe(host: str, name: str, token: str, resolver: Names) -> Iterator[Finding]:
    addresses, problem = resolver.addresses(host)
    if problem and not problem.startswith("NXDOMAIN"):
        yield Finding(host, problem=f"cannot be looked up: {problem}")
    elif not addresses:
        yield Finding(host, problem=f"has no address in DNS{': ' if problem else ''}{problem}")
    for address in addresses:
        try:
            status, body, server = fetch(f"http://{host}/{CHALLENGE}/{name}", address, resolver)
            yield Finding(host, address, verdict(status, body, token, server))
        except (OSError, http.client.HTTPException) as error:
            yield Finding(host, address, f"port 80 does not answer: {error or type(error).__name__}")
