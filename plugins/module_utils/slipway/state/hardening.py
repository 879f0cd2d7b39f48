# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""Figures of how hard a machine is to break: what listens, what TLS is spoken, what its units may do."""

from __future__ import annotations

import ipaddress
import re
import socket
import ssl
import warnings
from collections.abc import Iterable
from typing import Any

from ..core.http import ADDRESS, unverified
from ..core.run import attempt, command
from ..core.units import instances

#: Of the machine, and the templates of its engines: what a visitor's request passes besides the app's own units.
NGINX, ENGINES = "nginx.service", ("postgresql", "redis-server")
VERSIONS = {"TLSv1": "TLSv1", "TLSv1.1": "TLSv1_1", "TLSv1.2": "TLSv1_2", "TLSv1.3": "TLSv1_3"}
#: `nginx.service   5.9 MEDIUM   😐`: 0 is a unit that may do nothing, 10 one that may do all.
EXPOSURE = re.compile(r"^(\S+\.service)\s+(\d+\.\d)\s+([A-Z]+)", re.MULTILINE)
PROCESS = re.compile(r'\(\("([^"]+)"')


def exposure(units: Iterable[str]) -> dict[str, float]:
    """What systemd thinks of each unit's sandbox, from 0 to 10; less is better. Units that are not there are left out."""
    engines = [unit for template in ENGINES for unit in instances(template)]
    # Of a single unit it would tell every detail instead: one is named twice.
    status, said = attempt(["systemd-analyze", "security", "--no-pager", NGINX, NGINX, *engines, *units], 10)
    found = {unit: float(value) for unit, value, _ in EXPOSURE.findall(said)}
    if status != 0 and not found:
        raise ValueError(said.strip().split("\n")[0])
    return found


def ports() -> list[dict[str, Any]]:
    """What listens for others than this machine itself; whether they come through is the firewall's matter."""
    found: dict[tuple[str, int], str] = {}
    for line in command("ss", "--no-header", "--listening", "--numeric", "--tcp", "--udp", "--processes").splitlines():
        words = line.split()
        if len(words) < 5:
            continue
        address, _, port = words[4].rpartition(":")
        if not port.isdigit() or _own(address):
            continue
        process = PROCESS.search(line)
        # An address of its own for IPv6 is the same port.
        found.setdefault((words[0], int(port)), process[1] if process else "")
    return [{"protocol": protocol, "port": port, "process": process} for (protocol, port), process in sorted(found.items())]


def _own(address: str) -> bool:
    try:
        return ipaddress.ip_address(address.strip("[]").partition("%")[0]).is_loopback
    except ValueError:
        return False


def protocols(domain: str, port: int = 443, timeout: float = 1) -> list[str] | None:
    """The versions of TLS that nginx speaks with a visitor of ``domain``; None where nothing answers."""
    found = []
    for name, version in VERSIONS.items():
        context = unverified()
        with warnings.catch_warnings():
            # Python warns of old versions; here they are asked for to see them refused.
            warnings.simplefilter("ignore", DeprecationWarning)
            context.set_ciphers("ALL:@SECLEVEL=0")
            context.minimum_version = context.maximum_version = ssl.TLSVersion[version]
        try:
            plain = socket.create_connection((ADDRESS, port), timeout)
        except OSError:
            return None
        try:
            with plain, context.wrap_socket(plain, server_hostname=domain):
                found.append(name)
        except TimeoutError:
            return None
        except (OSError, ValueError):
            continue
    return found
