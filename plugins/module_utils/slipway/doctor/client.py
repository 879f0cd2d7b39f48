# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""How visitors come here: what DNS says of the app's names, and whether the ports can be reached from outside."""

from __future__ import annotations

import hashlib
import ipaddress
import socket
import urllib.parse
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from ..core.http import unverified
from ..core.x509 import first_certificate
from ..tls.config import Config
from ..tls.names import Resolver
from ..tls.preflight import own_addresses
from .findings import BrokenHopError, Seen, TroubleError

if TYPE_CHECKING:
    from ..hops import RequestPath

#: What a CA calls itself in CAA records, by the end of its directory's host.
CAS = {"letsencrypt.org": "letsencrypt.org", "zerossl.com": "sectigo.com", "pki.goog": "pki.goog", "buypass.com": "buypass.com"}
#: Names that are looked at, and seconds for a connection: an app may have hundreds of names.
MOST, PATIENCE = 20, 3


def dns(path: RequestPath) -> str:
    """Each name leads to this machine, and lets the CA issue for it."""
    if path.known.proxy_hops != 1:
        return "names lead to a proxy, which leads here"
    config = Config.parse((path.known.config_dir / "tls.json").read_text(encoding="utf-8"))
    resolver = Resolver.of(config)
    names = [name for name in path.known.names if not name.startswith("*.")][:MOST]
    certificate = path.known.certificate.read_text(encoding="utf-8", errors="replace") if path.known.certificate.exists() else ""
    mark = hashlib.sha256(first_certificate(certificate)).hexdigest() if certificate else ""
    found = [*judge(names, resolver.addresses, own_addresses(), lambda address, name: serves(address, name, mark))]
    found += caa(names, config.directory_url, resolver)
    if found:
        raise TroubleError(together(found))
    return f"{', '.join(names)} lead{'s' * (len(names) == 1)} here"


def together(seen: list[Seen]) -> Iterator[Seen]:
    """Names with the same problem are one."""
    for problem in dict.fromkeys(one.problem for one in seen):
        same = [one for one in seen if one.problem == problem]
        names = ", ".join(dict.fromkeys(one.values["names"] for one in same))
        yield Seen(problem, "; ".join(one.evidence for one in same), {**same[0].values, "names": names})


def judge(
    names: list[str], addresses: Callable[[str], tuple[list[str], str]], own: list[str], here: Callable[[str, str], bool]
) -> Iterator[Seen]:
    """What is wrong with the addresses of names.

    :arg here: whether this machine's certificate is served at an address: behind NAT it has another one than it knows.
    """
    mine = [ipaddress.ip_address(address) for address in own]
    told = " or ".join(own) or "this machine"
    for name in names:
        found, problem = addresses(name)
        if not found:
            yield Seen("dns-absent", f"{name}: {problem or 'no address'}", {"names": name, "own": told})
        for address in map(ipaddress.ip_address, found):
            if address in mine or here(str(address), name):
                continue
            if address.is_global and not any(one.is_global for one in mine if one.version == address.version) and address.version == 4:
                # This machine does not know its public address, and its router may not lead back to it.
                continue
            kind = "dns-stale-aaaa" if address.version == 6 else "dns-elsewhere"
            same = [str(one) for one in mine if one.version == address.version]
            values = {"names": name, "address": str(address), "own": " or ".join(same) or told}
            yield Seen(kind, f"{name} resolves to {address}, this machine has {told}", values)


def serves(address: str, name: str, mark: str) -> bool:
    """Whether the certificate of this machine is served there."""
    try:
        with socket.create_connection((address, 443), PATIENCE) as plain, unverified().wrap_socket(plain, server_hostname=name) as tls:
            return bool(mark) and hashlib.sha256(tls.getpeercert(binary_form=True) or b"").hexdigest() == mark
    except OSError:
        return False


def caa(names: list[str], directory_url: str, resolver: Any) -> Iterator[Seen]:
    """Names whose CAA record does not allow the CA."""
    host = urllib.parse.urlsplit(directory_url).hostname or ""
    ca = next((said for end, said in CAS.items() if host == end or host.endswith(f".{end}")), "")
    for name in names if ca else ():
        parts = name.split(".")
        # The nearest record counts (RFC 8659).
        asked: Iterator[list[str]] = (resolver.records(".".join(parts[at:]), "CAA") for at in range(len(parts)))
        records = next(filter(None, asked), [])
        allowed = [record.split(None, 2)[2].strip('"').partition(";")[0].strip() for record in records if record.split()[1] == "issue"]
        if allowed and ca not in allowed:
            yield Seen("dns-caa", f"{name}: CAA {'; '.join(records)}", {"names": name, "ca": ca})


def outside(path: RequestPath) -> str:
    """What the controller saw when it came to the ports as a visitor does."""
    ports = path.outside.get("ports")
    if not ports:
        return "nobody looked: this is asked from the controller (ansible-playbook slipway.vps.doctor)"
    closed = {port: said for port, said in ports.items() if said != "open"}
    listening = path.listening()
    for port, said in closed.items():
        if int(port) in listening:
            raise BrokenHopError(f"port {port} from the controller: {said}", "port-unreachable", port=port)
    return f"{', '.join(port for port in ports if port not in closed) or 'none'} reached from the controller"


def ports(path: RequestPath) -> str:
    """Ports 80 and 443 are nginx's."""
    held = path.listening()
    for port in (80, 443):
        if (who := held.get(port)) and "nginx" not in who:
            named = ", ".join(sorted(who))
            raise BrokenHopError(f"port {port}: {named}", "port-taken", port=port, who=named, unit=path.unit_at(port))
    return "80 and 443 are nginx's"
