# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""Who waits at which TCP port: the kernel's tables, the process that holds the socket, and the unit that started it."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Iterator

from ..facts import Listener
from .host import Host

#: State of a socket that waits for connections.
_LISTENS = "0A"
_UNIT = re.compile(r"/([^/]+\.(?:service|scope|socket))(?=/|$)")
#: What every VPN in user space holds.
_TUNNEL = "/dev/net/tun"
_CONTAINER = re.compile(r"(?:docker|libpod|crio|containerd|lxc)[-/.]([0-9a-f]{12,64})")


def listeners(host: Host, ports: Collection[int]) -> list[Listener]:
    """Everybody at one of these ports."""
    held = [socket for table in ("/proc/net/tcp", "/proc/net/tcp6") for socket in _sockets(host.text(table)) if socket[0] in ports]
    if not held:
        return []
    owners = _owners(host, {inode for _, _, inode in held})
    return [_listener(host, port, address, owners.get(inode, 0)) for port, address, inode in held]


def _sockets(table: str) -> Iterator[tuple[int, str, str]]:
    """Port, address and inode of each socket that waits."""
    for line in table.splitlines()[1:]:
        fields = line.split()
        if len(fields) > 9 and fields[3] == _LISTENS:
            address, _, port = fields[1].partition(":")
            yield int(port, 16), _address(address), fields[9]


def _address(written: str) -> str:
    """The kernel writes each four bytes as a number of the machine, which has the lowest first."""
    packed = b"".join(bytes.fromhex(written[at : at + 8])[::-1] for at in range(0, len(written), 8))
    return str(ipaddress.ip_address(packed))


def _owners(host: Host, inodes: Collection[str]) -> dict[str, int]:
    """Inode to the first process that holds it: a server's workers come after their master."""
    wanted = {f"socket:[{inode}]": inode for inode in inodes}
    found: dict[str, int] = {}
    for pid in sorted(host.processes(), key=int):
        for name in host.names(f"/proc/{pid}/fd"):
            inode = wanted.get(host.link(f"/proc/{pid}/fd/{name}"))
            if inode:
                found.setdefault(inode, int(pid))
        if len(found) == len(wanted):
            break
    return found


def _listener(host: Host, port: int, address: str, pid: int) -> Listener:
    name = host.text(f"/proc/{pid}/comm").strip() if pid else ""
    if pid == 1:
        # systemd holds the port for a service that it starts with the first connection.
        return Listener(port, address, name, pid, _socket_unit(host, port))
    unit, container = unit_of(host, pid) if pid else ("", False)
    tunnel = any(host.link(f"/proc/{pid}/fd/{one}") == _TUNNEL for one in host.names(f"/proc/{pid}/fd"))
    others = _others(host, name, unit) if unit.endswith(".service") else []
    return Listener(port, address, name, pid, unit, container or name == "docker-proxy", others, tunnel)


def _others(host: Host, name: str, unit: str) -> list[str]:
    """Other programs of the same unit: of a supervisor's, for example."""
    inside = (pid for pid in host.processes() if re.search(rf"/{re.escape(unit)}(/|$)", host.text(f"/proc/{pid}/cgroup"), re.MULTILINE))
    return sorted({host.text(f"/proc/{pid}/comm").strip() for pid in inside} - {name, ""})


def unit_of(host: Host, pid: int) -> tuple[str, bool]:
    """The unit that a process belongs to, and whether it runs in a container that this machine holds."""
    text = host.text(f"/proc/{pid}/cgroup")
    path = next((line.split(":", 2)[2] for line in text.splitlines() if re.match(r"\d+:(name=systemd)?:", line)), "")
    here = _CONTAINER.findall(host.text("/proc/1/cgroup"))
    inside = any(one not in here for one in _CONTAINER.findall(path))
    units = _UNIT.findall(path)
    return (units[-1] if units else ""), inside


def _socket_unit(host: Host, port: int) -> str:
    for line in host.output("systemctl", "list-sockets", "--all", "--no-legend", "--plain", "--full").splitlines():
        words = line.split()
        if len(words) >= 2 and words[0].rpartition(":")[2] == str(port):
            return words[1]
    return ""
