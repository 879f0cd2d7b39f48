# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""What the machine is and has: distribution, kernel, memory, disks, clock, names."""

from __future__ import annotations

from collections.abc import Iterator

from ..facts import Disk, Facts
from ..finding import LEAVE, Finding, count, some
from ..needs import Needs

#: Ubuntu 22.04's; what our units use is in it.
SYSTEMD = 249
#: systemd's own minimum for what our units rely on.
KERNEL = (4, 15)
ARCHITECTURES = ("amd64", "arm64")
#: Gunicorn's queue of connections (roles/server); a shorter one of the kernel would cut it down.
QUEUE = 2048
#: MiB below which a build needs swap.
SMALL = 900
_MIB = 2**20
_ON = {LEAVE: "go on all the same"}
_SILENT = {LEAVE: "this is not said again"}


def findings(facts: Facts, needs: Needs) -> Iterator[Finding]:
    yield from _distribution(facts)
    yield from _kernel(facts)
    yield from _memory(facts, needs)
    for disk in facts.disks:
        yield from _disk(disk, facts, needs)
    yield from _clock(facts, needs)
    yield from _network(facts)
    yield from _state(facts, needs)


def _distribution(facts: Facts) -> Iterator[Finding]:
    here = facts.system
    if not here.debian:
        fix = "use a machine with Debian 12 or 13, or Ubuntu 22.04 or 24.04"
        yield Finding("system:distribution", "this is neither Debian nor a system made of it: there is no apt", here.name, fix=fix)
        return
    if here.init != "systemd":
        fix = "use a machine that systemd starts (in a container: one that runs /sbin/init)"
        yield Finding("system:systemd", "the first process of this machine is not systemd", f"process 1 is {here.init}", fix=fix)
    elif here.systemd < SYSTEMD:
        what, fix = f"systemd is too old: {SYSTEMD} is the least", "use Debian 12 or 13, or Ubuntu 22.04 or 24.04"
        yield Finding("system:systemd", what, f"systemd {here.systemd} of {here.name}", fix=fix)
    if here.architecture not in ARCHITECTURES:
        what = f"Slipway has never run on {here.architecture}; it is made for {' and '.join(ARCHITECTURES)}"
        yield Finding("system:architecture", what, f"dpkg --print-architecture: {here.architecture}", _SILENT, refuses=False)
    if here.selinux:
        what = "SELinux is enforcing, and nothing of Slipway has labels for it: nginx may not reach the app's socket"
        yield Finding(
            "system:selinux", what, "/sys/fs/selinux/enforce is 1", _ON, "set SELINUX=permissive in /etc/selinux/config, and restart"
        )


def _kernel(facts: Facts) -> Iterator[Finding]:
    here = facts.system
    numbers = [int(part) for part in here.kernel.split("-")[0].split(".")[:2] if part.isdigit()]
    where = f", in a container ({here.container})" if here.container else ""
    if len(numbers) == 2 and tuple(numbers) < KERNEL:
        what = "the kernel is too old for what keeps services apart" + (
            ", and the provider's: you cannot change it" if here.container else ""
        )
        fix = "use a machine with a kernel of its own (KVM)"
        yield Finding("kernel:version", what, f"Linux {here.kernel}{where}; {'.'.join(map(str, KERNEL))} is the least", fix=fix)
    if here.mount_namespaces:
        what = "systemd cannot give a service a view of the file system of its own (ProtectSystem): none of ours would start"
        fix = "allow nesting for this container (LXC, Proxmox: features: nesting=1), or use a machine with a kernel of its own (KVM)"
        yield Finding("kernel:namespaces", what, f"unshare --mount: {here.mount_namespaces}{where}", fix=fix)
    if here.user_namespaces:
        what = "systemd cannot give a service users of its own (PrivateUsers): one that asks for that does not start"
        fix = "sysctl user.max_user_namespaces=15000, where the kernel is yours"
        yield Finding("kernel:users", what, f"unshare --user: {here.user_namespaces}{where}", _SILENT, fix, refuses=False)
    if here.cgroup != 2:
        kind = "both versions of control groups at once (hybrid)" if here.cgroup == 0 else "control groups of version 1"
        what = f"the kernel has {kind}: limits of memory hold less exactly, and systemd 258 does not start with them"
        fix = "boot with systemd.unified_cgroup_hierarchy=1, where the kernel is yours"
        yield Finding("kernel:cgroup", what, "/sys/fs/cgroup/cgroup.controllers is not there", _SILENT, fix, refuses=False)
    if not here.ipv6:
        what = "the kernel has no IPv6: nginx listens on IPv4 alone. A domain with an AAAA record would lead nowhere"
        yield Finding(
            "kernel:ipv6", what, "/proc/net/if_inet6 is not there", _SILENT, "remove ipv6.disable=1 from the kernel's command line", False
        )
    if here.somaxconn < QUEUE and not here.sysctl_writable:
        what = "the kernel's queues of connections are short, and this machine may not change that (a container's /proc/sys is read-only)"
        fix = f"let the provider raise it, or write nginx_somaxconn: {here.somaxconn} and nginx_backlog: {here.somaxconn}, too"
        yield Finding("kernel:somaxconn", what, f"net.core.somaxconn is {here.somaxconn}", _ON, fix)


def _memory(facts: Facts, needs: Needs) -> Iterator[Finding]:
    here = facts.system
    least, memory = needs.limits.memory, here.memory // _MIB
    if 0 < memory + here.swap // _MIB < least:
        what = f"there is too little memory for nginx, PostgreSQL, Redis and an app: {least} MiB is the least (preflight_memory_min)"
        fix = "take a larger machine, or add swap"
        yield Finding("system:memory", what, f"{memory} MiB, {here.swap // _MIB} MiB of swap", _ON, fix, refuses=not facts.ours)
    elif 0 < memory < SMALL and not here.swap:
        what = "memory is small and there is no swap: the build of a release may be killed"
        yield Finding("system:swap", what, f"{memory} MiB, no swap", _SILENT, "add swap, 1 GB for example", refuses=False)


def _disk(disk: Disk, facts: Facts, needs: Needs) -> Iterator[Finding]:
    least, free = needs.limits.disk, disk.free // _MIB
    # A file system is said once, under the first of its paths.
    first = next(one.path for one in facts.disks if one.mount == disk.mount)
    room = disk.path in needs.rooms and disk.path == first
    if room and "ro" in disk.options:
        what, fix = f"nothing can be written to {disk.path} (read-only)", f"look at why (dmesg), then mount -o remount,rw {disk.mount}"
        yield Finding(f"disk:{disk.path}", what, f"mounted at {disk.mount} with ro", fix=fix)
    if room and free < least:
        what = f"the disk of {disk.path} is almost full: {least} MiB is the least for packages, releases and data (preflight_disk_min)"
        evidence = f"{free} MiB of {disk.size // _MIB} MiB free (mounted at {disk.mount})"
        yield Finding(f"disk:{disk.path}", what, evidence, _ON, "make room, or enlarge it", refuses=not facts.ours)
    if room and disk.inodes > 0 and disk.inodes_free < needs.limits.inodes:
        what = f"the disk of {disk.path} has almost no room for more files (preflight_inodes_min)"
        evidence = f"{disk.inodes_free} of {disk.inodes} inodes free (mounted at {disk.mount})"
        yield Finding(
            f"inodes:{disk.path}", what, evidence, _ON, "find the many small files: du --inodes -x / | sort -n", refuses=not facts.ours
        )
    runs = next((one.path for one in facts.disks if one.mount == disk.mount and one.path in needs.run_from), "")
    if disk.path == runs and "noexec" in disk.options:
        never = disk.path != "/tmp"
        what = f"nothing may be run from {disk.path} (noexec): " + (
            "releases and maintainer scripts of packages are" if never else "what a build compiles may have to be"
        )
        fix = f"mount -o remount,exec {disk.mount}, and take noexec out of /etc/fstab"
        yield Finding(f"noexec:{disk.path}", what, f"mounted at {disk.mount} with noexec", _ON, fix, refuses=never)


def _clock(facts: Facts, needs: Needs) -> Iterator[Finding]:
    ahead = facts.system.clock_ahead
    if ahead is None or abs(ahead) <= needs.limits.clock:
        return
    evidence = f"this machine is {abs(ahead):,.0f} s {'ahead of' if ahead > 0 else 'behind'} the controller"
    synchronised = "it says that it is synchronised" if facts.system.clock_synchronised else "it is not synchronised"
    what = "one of the two clocks is wrong: certificates look expired or not yet valid, and the CA refuses to answer (preflight_clock_max)"
    fix = "timedatectl set-ntp true, and look at timedatectl; when the controller is the wrong one, there"
    yield Finding("system:clock", what, f"{evidence}; {synchronised}", _ON, fix)


def _network(facts: Facts) -> Iterator[Finding]:
    here = facts.system
    if here.unresolved:
        what = "names cannot be resolved: no package could be fetched, and no certificate"
        fix = "look at /etc/resolv.conf (resolvectl status)"
        yield Finding("system:dns", what, f"{here.unresolved} has no address", _ON, fix, refuses=not facts.ours)
    if not here.hostname_known:
        what = "this machine does not know its own name: each sudo waits for an answer first"
        fix = f"add to /etc/hosts: 127.0.1.1 {here.hostname}"
        yield Finding("system:hostname", what, f"{here.hostname} is neither in /etc/hosts nor in DNS", _SILENT, fix, refuses=False)


def _state(facts: Facts, needs: Needs) -> Iterator[Finding]:
    here = facts.system
    if here.reboot:
        what = "the machine waits for a restart, for packages that were upgraded"
        yield Finding("system:reboot", what, some(here.reboot), _SILENT, "restart it when it suits: reboot", refuses=False)
    stems = tuple(stem for app in needs.apps for stem in app.units)
    # Ours are verify's to judge.
    failed = [unit for unit in here.failed_units if unit.split("@")[0].split(".")[0] not in stems]
    if failed:
        what = f"{count(len(failed), 'unit has', 'units have')} failed on this machine"
        yield Finding("system:failed", what, some(failed), _SILENT, "systemctl status <unit>; systemctl reset-failed <unit>", refuses=False)
