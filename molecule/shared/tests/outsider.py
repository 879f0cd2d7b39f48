"""Somebody outside: a network namespace whose only way to the host is a wire, through the firewall."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from helpers import must

#: The host's end of the wire, and the network that is never trusted (molecule/shared/group_vars).
HERE = "10.213.61.1"
NETWORK = "10.213.61.0/24"


@dataclass(frozen=True)
class Outsider:
    """One that asks from an address of its own; fail2ban remembers those of the last run."""

    host: Any
    address: str

    def run(self, command: str) -> Any:
        return self.host.run(f"ip netns exec slipway-outsider {command}")

    def reaches(self, port: int) -> bool:
        return bool(self.run(f"timeout 2 bash -c '</dev/tcp/{HERE}/{port}'").rc == 0)

    def another(self) -> Outsider:
        """A second one on the same wire."""
        address = f"10.213.61.{random.randint(2, 254)}"
        self.host.run(f"ip -n slipway-outsider address add {address}/24 dev eth0")
        return Outsider(self.host, address)

    def statuses(self, domain: str, *requests: tuple[str, str]) -> list[int]:
        """Method and path of each request, to what HTTPS answers; 0 for no connection."""
        script = (
            "import http.client,socket,ssl,sys\n"
            "c=ssl._create_unverified_context()\n"
            f"for word in {[' '.join(request) for request in requests]!r}:\n"
            " method,path=word.split()\n"
            " try:\n"
            f"  s=socket.create_connection(('{HERE}',443),3,('{self.address}',0))\n"
            f"  h=http.client.HTTPSConnection('{domain}',context=c);h.sock=c.wrap_socket(s,server_hostname='{domain}')\n"
            "  h.request(method,path);print(h.getresponse().status)\n"
            " except OSError: print(0)\n"
        )
        path = "/tmp/slipway-outsider.py"
        must(self.host, f"cat > {path} <<'END'\n{script}END")
        said = self.run(f"python3 {path}")
        assert said.rc == 0, said.stderr
        return [int(line) for line in said.stdout.split()]


@contextmanager
def outside(host: Any) -> Iterator[Outsider]:
    """The wire, for as long as it is needed."""
    host.run("ip netns del slipway-outsider; ip link del slipway-wire")
    must(host, "ip netns add slipway-outsider")
    address = f"10.213.61.{random.randint(2, 254)}"
    try:
        must(host, "ip link add slipway-wire type veth peer name eth0 netns slipway-outsider")
        must(host, f"ip address add {HERE}/24 dev slipway-wire && ip link set slipway-wire up")
        must(host, f"ip -n slipway-outsider address add {address}/24 dev eth0 && ip -n slipway-outsider link set eth0 up")
        must(host, "ip -n slipway-outsider link set lo up")
        yield Outsider(host, address)
    finally:
        host.run("ip netns del slipway-outsider; ip link del slipway-wire")
