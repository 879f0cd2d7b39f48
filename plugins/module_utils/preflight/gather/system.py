# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""The machine itself: distribution, kernel, memory, disks, clock, and what is still at work after its first start."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterable, Iterator

from ..facts import Busy, Disk, System
from . import packages
from .host import Host

_SOMAXCONN = "/proc/sys/net/core/somaxconn"
_CLOUD_INIT = "/run/cloud-init"


def gather(host: Host, now: float | None) -> System:
    """
    :arg now: the controller's clock, in seconds since 1970.
    """
    # First: what follows takes time.
    ahead = None if now is None else time.time() - now
    memory = dict(re.findall(r"^(\w+):\s+(\d+) kB", host.text("/proc/meminfo"), re.MULTILINE))
    systemd = re.match(r"systemd (\d+)", host.output("systemctl", "--version"))
    name = re.search(r'^PRETTY_NAME="?([^"\n]*)', host.text("/etc/os-release"), re.MULTILINE)
    hostname = host.text("/proc/sys/kernel/hostname").strip()
    somaxconn = host.text(_SOMAXCONN).strip()
    return System(
        name=name[1] if name else "an unknown system",
        debian=host.exists("/etc/debian_version") and host.exists("/usr/bin/apt-get"),
        architecture=host.output("dpkg", "--print-architecture").strip() or "unknown",
        kernel=host.text("/proc/sys/kernel/osrelease").strip(),
        init=host.text("/proc/1/comm").strip() or "unknown",
        systemd=int(systemd[1]) if systemd else 0,
        container=_container(host),
        cgroup=_cgroup(host),
        mount_namespaces=_namespaces(host, "--mount"),
        user_namespaces=_namespaces(host, "--user"),
        ipv6=host.exists("/proc/net/if_inet6"),
        somaxconn=int(somaxconn) if somaxconn.isdigit() else 4096,
        sysctl_writable=os.access(host.path(_SOMAXCONN), os.W_OK),
        selinux=host.text("/sys/fs/selinux/enforce").strip() == "1",
        memory=int(memory.get("MemTotal", 0)) * 1024,
        swap=int(memory.get("SwapTotal", 0)) * 1024,
        clock_ahead=ahead,
        clock_synchronised=host.exists("/run/systemd/timesync/synchronized"),
        failed_units=[line.split()[0] for line in _failed(host).splitlines() if line.split()],
        reboot=_reboot(host),
        hostname=hostname,
        hostname_known=not hostname or _in_hosts(host, hostname) or host.resolve(hostname) is not False,
        unresolved=packages.unresolved(host),
    )


def _container(host: Host) -> str:
    """What kind of container this machine is; empty: none."""
    if host.exists("/proc/vz") and not host.exists("/proc/bc"):
        return "openvz"
    return host.text("/run/systemd/container").strip()


def _cgroup(host: Host) -> int:
    if host.exists("/sys/fs/cgroup/cgroup.controllers"):
        return 2
    return 0 if host.exists("/sys/fs/cgroup/unified/cgroup.controllers") else 1


def _namespaces(host: Host, kind: str) -> str:
    """Why systemd could not give a unit a namespace of its own; empty: it can. Tried in a process that ends at once."""
    status, said = host.run("unshare", kind, "true")
    return "" if status in (0, 127) else said.strip().splitlines()[-1] if said.strip() else f"unshare exited {status}"


def _failed(host: Host) -> str:
    return host.output("systemctl", "list-units", "--state=failed", "--plain", "--no-legend", "--full")


def _reboot(host: Host) -> list[str]:
    """Packages that wait for a restart of the machine."""
    if not host.exists("/run/reboot-required"):
        return []
    return sorted(set(host.text("/run/reboot-required.pkgs").split())) or ["unknown"]


def _in_hosts(host: Host, name: str) -> bool:
    return any(name in line.split("#")[0].split()[1:] for line in host.text("/etc/hosts").splitlines())


def disks(host: Host, paths: Iterable[str]) -> list[Disk]:
    """The file systems of these paths, or of what is above them."""
    mounts = _mounts(host.text("/proc/self/mountinfo"))
    found = []
    for path in paths:
        real = host.real(path)
        mount, options = max((one for one in mounts if _below(real, one[0])), key=lambda one: len(one[0]), default=("/", []))
        try:
            there = os.statvfs(host.path(path if host.path(path).exists() else mount))
        except OSError as error:
            host.unknown.append(f"the disk of {path}: {error.strerror}")
            continue
        found.append(
            Disk(path, mount, there.f_bavail * there.f_frsize, there.f_blocks * there.f_frsize, there.f_favail, there.f_files, options)
        )
    return found


def _mounts(text: str) -> list[tuple[str, list[str]]]:
    """Where something is mounted, and its options; the last one at a place is the one that is seen."""
    rows = [line.split() for line in text.splitlines()]
    return [(row[4].replace("\\040", " "), row[5].split(",")) for row in reversed(rows) if len(row) > 5]


def _below(path: str, mount: str) -> bool:
    return mount == "/" or path == mount or path.startswith(f"{mount}/")


def first_start(host: Host) -> Iterator[Busy]:
    """cloud-init, while it still sets the machine up: it installs packages, makes users and writes configuration."""
    if not host.exists(f"{_CLOUD_INIT}/enabled") or host.exists(f"{_CLOUD_INIT}/result.json"):
        return
    try:
        stage = json.loads(host.text(f"{_CLOUD_INIT}/status.json") or "{}").get("v1", {}).get("stage")
    except (ValueError, AttributeError):
        stage = None
    yield Busy(
        "system:cloud-init",
        "cloud-init still sets the machine up",
        f"stage {stage or 'unknown'}; {_CLOUD_INIT}/result.json is not there yet",
    )
