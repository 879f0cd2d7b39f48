# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""The addresses of a name, as name servers say them."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .config import Config

TYPES = ("A", "AAAA")
NXDOMAIN = "NXDOMAIN (there is no such name)"


def name_servers(resolv_conf: str) -> list[str]:
    """Whom the host asks."""
    return re.findall(r"^nameserver\s+(\S+)", resolv_conf, flags=re.MULTILINE)


class Resolver:
    """Asks name servers, not the host's own list of names: /etc/hosts often has the domain at 127.0.1.1.

    dnspython speaks DNS (UDP, TCP for long answers, one server after the other); python3-dnspython on Debian.
    """

    def __init__(self, servers: Sequence[str], timeout: float = 5, port: int = 53) -> None:
        # Here, and not above: Ansible's modules import this package where there is no dnspython.
        import dns.resolver

        self.dns = dns.resolver
        self.servers = servers
        self.asker: Any = dns.resolver.Resolver(configure=False)
        self.asker.nameservers = list(servers)
        self.asker.port = port
        self.asker.timeout, self.asker.lifetime = timeout, timeout * 2 * max(len(servers), 1)

    @classmethod
    def of(cls, config: Config) -> Resolver:
        """The servers that the operator named, or those of the host (behind systemd-resolved, which answers from /etc/hosts, too)."""
        if config.resolvers:
            return cls(config.resolvers)
        for path in (Path("/run/systemd/resolve/resolv.conf"), Path("/etc/resolv.conf")):
            with contextlib.suppress(OSError):
                if servers := name_servers(path.read_text(encoding="utf-8")):
                    return cls(servers)
        return cls(["127.0.0.1"])

    def addresses(self, name: str) -> tuple[list[str], str]:
        """All addresses of a name, IPv4 first, and why there are none."""
        found: list[str] = []
        problem = ""
        for kind in TYPES:
            addresses, error = self._ask(name, kind)
            found += [address for address in addresses if address not in found]
            problem = problem or error
        # Without an A record but with an AAAA there is no problem; a server that fails for one of them is one for the CA, too.
        return found, "" if found and problem == NXDOMAIN else problem

    def records(self, name: str, kind: str) -> list[str]:
        """The records of a name, as a zone file has them; none where nobody answers."""
        return self._ask(name, kind)[0]

    def _ask(self, name: str, kind: str) -> tuple[list[str], str]:
        try:
            answer = self.asker.resolve(f"{name.rstrip('.')}.", kind, raise_on_no_answer=False, search=False)
        except self.dns.NXDOMAIN:
            return [], NXDOMAIN
        except (self.dns.NoNameservers, self.dns.LifetimeTimeout) as error:
            return [], self._reason(error)
        # A name that cannot be one in DNS: a label of 64 letters, two dots in a row.
        except Exception as error:
            return [], str(error) or type(error).__name__
        return sorted(str(record) for record in answer.rrset or []), ""

    def _reason(self, error: Any) -> str:
        """What each server did: it gave a code (SERVFAIL: the zone may be broken, DNSSEC too), or none."""
        said = []
        for attempt in error.kwargs.get("errors") or []:
            # Since dnspython 2.4 a server is "Do53:192.0.2.53@53".
            server, what = re.sub(r"^\w+:(.+)@\d+$", r"\1", str(attempt[0])), str(attempt[3])
            words = f"answers {what}" if what.isupper() else f"does not answer: {what.rstrip('.')}"
            hint = " (the zone may be broken, DNSSEC too)" if what == "SERVFAIL" else ""
            said.append(f"the name server {server} {words}{hint}")
        return "; ".join(dict.fromkeys(said)) or "no name server answers"
