# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""What a unit may not do: one set of directives (systemd.exec(5)) for every unit, and for each kind of unit its exceptions, with a reason.

The one source for unit files and drop-ins (filter `slipway.vps.sandbox`), for the transient units of a deploy, and for `slipway <app> run`.
It is data in Python rather than a template: a template of the collection is in no role's search path once the collection is installed, and
the transient units could not read it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

#: How much of it holds on a machine (`base_sandbox`): all, or what needs no namespaces, which some containers do not grant.
FULL, BASIC = "full", "basic"
#: Whom a unit may talk to: anybody, this host, or nobody but by Unix sockets.
ANY, LOCAL, NONE = "any", "local", "none"

#: The strictest that there is, for a unit that asks for nothing. What is said twice or more is a list, whose entries add up.
STRICT: dict[str, tuple[str, ...]] = {
    "NoNewPrivileges": ("yes",),
    "CapabilityBoundingSet": ("",),
    "AmbientCapabilities": ("",),
    "ProtectSystem": ("strict",),
    "ProtectHome": ("yes",),
    "PrivateTmp": ("yes",),
    "PrivateDevices": ("yes",),
    "DevicePolicy": ("closed",),
    "PrivateMounts": ("yes",),
    "PrivateUsers": ("yes",),
    "ProtectClock": ("yes",),
    "ProtectHostname": ("yes",),
    "ProtectKernelTunables": ("yes",),
    "ProtectKernelModules": ("yes",),
    "ProtectKernelLogs": ("yes",),
    "ProtectControlGroups": ("yes",),
    "ProtectProc": ("invisible",),
    "ProcSubset": ("pid",),
    "KeyringMode": ("private",),
    "RemoveIPC": ("yes",),
    "LockPersonality": ("yes",),
    "MemoryDenyWriteExecute": ("yes",),
    "RestrictNamespaces": ("yes",),
    "RestrictRealtime": ("yes",),
    "RestrictSUIDSGID": ("yes",),
    "RestrictAddressFamilies": ("AF_UNIX AF_INET AF_INET6",),
    "SystemCallArchitectures": ("native",),
    "SystemCallFilter": ("@system-service", "~@privileged @resources"),
    # The call fails; the process lives.
    "SystemCallErrorNumber": ("EPERM",),
    "UMask": ("0077",),
}

#: What needs a namespace, and how it is when it is off. Where the kernel or the container refuses one, systemd passes over most of them by
#: itself, and does not start the unit for others: 226/NAMESPACE (AppArmor forbids to mount, as in LXC without nesting), 217/USER.
NAMESPACES = {
    "ProtectSystem": "no",
    "ProtectHome": "no",
    "PrivateTmp": "no",
    "PrivateDevices": "no",
    "PrivateMounts": "no",
    "PrivateUsers": "no",
    "PrivateNetwork": "no",
    "ProtectHostname": "no",
    "ProtectKernelTunables": "no",
    "ProtectKernelModules": "no",
    "ProtectKernelLogs": "no",
    "ProtectControlGroups": "no",
    "ProtectProc": "default",
    "ProcSubset": "all",
    "ReadWritePaths": "",
    "NoExecPaths": "",
    "ExecPaths": "",
}
#: What filters system calls: with any of it systemd bars programs from taking other rights (NoNewPrivileges).
FILTERS = (
    *("ProtectClock", "ProtectHostname", "ProtectKernelTunables", "ProtectKernelModules", "ProtectKernelLogs", "PrivateDevices"),
    *("LockPersonality", "MemoryDenyWriteExecute", "RestrictNamespaces", "RestrictRealtime", "RestrictSUIDSGID"),
    *("RestrictAddressFamilies", "SystemCallArchitectures", "SystemCallFilter", "SystemCallErrorNumber"),
)
#: Lists: a drop-in empties them first, so that what the distribution's unit says does not add up with ours.
LISTS = ("CapabilityBoundingSet", "RestrictAddressFamilies", "SystemCallFilter", "ReadWritePaths", "IPAddressDeny", "IPAddressAllow")


@dataclass(frozen=True)
class Line:
    """A directive with its values; none: it is left to systemd's default. ``why``: the reason, where it is not the strictest."""

    name: str
    values: tuple[str, ...]
    why: str = ""


def _only(name: str, *values: str, why: str) -> Line:
    return Line(name, values, why)


_JIT_WHY = "what makes machine code at run time needs memory that is writable and executable"

#: Of whatever runs the app's code: Gunicorn, its rehearsal, processes, timers, the migration, `slipway <app> run`.
APP = (
    _only("ProcSubset", why="psutil and its like read /proc/meminfo; the processes of other users stay hidden (ProtectProc)"),
    _only(
        "SystemCallFilter", "@system-service", "~@privileged", why="numerical libraries pin their threads, and jobs are niced (@resources)"
    ),
    _only("UMask", "0027", why="nginx reads uploads by way of their group"),
)
_COMPILERS = "compilers and node count processors and memory in /proc"
_BUILT = "what a build makes is read by the app and by nginx"
_OTHERS = "it writes its log into the app's folder, and copies into one that may be somebody else's"
_AS_USER = "it is root, for the release's folder and uv's Pythons, and becomes the app's user for the rest"
KINDS: dict[str, tuple[Line, ...]] = {
    "app": APP,
    "build": (
        _only("ProcSubset", why=_COMPILERS),
        _only("MemoryDenyWriteExecute", why="node, as other compilers: " + _JIT_WHY),
        _only("RestrictAddressFamilies", "AF_UNIX AF_INET AF_INET6 AF_NETLINK", why="node asks the kernel for its network interfaces"),
        _only("SystemCallFilter", "@system-service", "~@privileged", "@chown", why="installers give what they copy to whom it belonged"),
        _only("UMask", "0022", why=_BUILT),
    ),
    # `slipway <app> rebuild`: packages alone, without the app's own build.
    "rebuild": (
        _only("CapabilityBoundingSet", "CAP_CHOWN CAP_DAC_OVERRIDE CAP_FOWNER CAP_SETGID CAP_SETUID", why=_AS_USER),
        _only("SystemCallFilter", "@system-service", "~@privileged @resources", "@chown @setuid capset", why=_AS_USER),
        _only("PrivateUsers", why=_AS_USER),
        _only("ProcSubset", why=_COMPILERS),
        _only("UMask", "0022", why=_BUILT),
    ),
    # Root's unit that tells systemd to start the live release, and nothing else.
    "starter": (),
    "nginx": (
        _only(
            "CapabilityBoundingSet",
            "CAP_NET_BIND_SERVICE CAP_SETGID CAP_SETUID CAP_DAC_OVERRIDE",
            why="ports 80 and 443; its workers are www-data, so it can read keys that they cannot; its logs belong to www-data",
        ),
        _only("SystemCallFilter", "@system-service", "~@privileged @resources", "@setuid", why="its workers become www-data"),
        _only("PrivateUsers", why="it is root, and needs the rights above on the host itself"),
    ),
    "postgres": (
        _only("PrivateUsers", why="who connects over the socket is known by the name of their system user (peer authentication)"),
        _only("ProtectSystem", "full", why="tablespaces and archives are where somebody puts them; there the owner of a folder decides"),
        _only("RemoveIPC", "no", why="another cluster, or the nightly proof, has shared memory of the same user"),
        _only("ProcSubset", why="it reads the size of huge pages in /proc/meminfo"),
        _only("UMask", "0027", why="the group adm reads its log"),
    ),
    "redis": (),
    "tls": (
        _only(
            "SystemCallFilter",
            "@system-service",
            "~@privileged @resources",
            "@chown",
            why="certbot gives a new key to the group of the one before",
        ),
        _only("ProtectHome", "read-only", why="certbot's plugins for DNS may have their credentials below /root"),
        _only("ProcSubset", why="certbot's plugins are programs of others"),
        _only("UMask", "0022", why="nginx's workers read the challenges; keys have a mode of their own"),
    ),
    "backup": (
        _only(
            "CapabilityBoundingSet",
            "CAP_CHOWN CAP_DAC_OVERRIDE CAP_KILL CAP_SETGID CAP_SETUID",
            why="it reads whatever the app has written, and runs PostgreSQL's programs as postgres, others as the app",
        ),
        _only("SystemCallFilter", "@system-service", why="the same, and what it runs is the last to get processor and disk (ionice)"),
        _only("PrivateUsers", why="it acts for several users of the host"),
        _only("ProtectHome", "read-only", why="backup_paths may name what is there"),
        _only("ProcSubset", why="the proof's server reads the size of huge pages in /proc/meminfo"),
    ),
    "offsite": (
        _only("CapabilityBoundingSet", "CAP_DAC_OVERRIDE", why=_OTHERS),
        _only(
            "SystemCallFilter",
            *STRICT["SystemCallFilter"],
            "capset",
            why="setpriv, which lets no copy outlive its parent, asks for the rights it has",
        ),
        _only("PrivateUsers", why=_OTHERS),
        _only("ProtectHome", "read-only", why="ssh and rclone may have their settings below /root"),
    ),
    "fail2ban": (
        _only("CapabilityBoundingSet", "CAP_NET_ADMIN CAP_NET_RAW", why="it changes the firewall"),
        _only("SupplementaryGroups", "adm", why="logs are this group's; root without its rights reads its own files alone"),
        _only("IPAddressDeny", "any", why="addresses are not looked up (usedns), and the firewall is in the kernel: it speaks to nobody"),
        _only("RestrictAddressFamilies", "AF_UNIX AF_INET AF_INET6 AF_NETLINK", why="the firewall is told by netlink"),
        _only("PrivateUsers", why="it is root, and needs the rights above on the host itself"),
        _only("ProcSubset", why="the firewall's programs read /proc/net and /proc/sys"),
    ),
}


def sandbox(
    kind: str,
    *,
    level: str = FULL,
    openings: Mapping[str, Any] | None = None,
    writable: Iterable[str] = (),
    network: str = ANY,
    jit: bool = False,
) -> list[Line]:
    """The directives of a unit.

    :arg kind: one of `KINDS`.
    :arg openings: ``app_sandbox_allow`` as the model has it (`Sandbox`).
    :arg writable: paths that it may write to; a dash before one that may be absent.
    :arg network: whom it may talk to.
    :arg jit: it makes machine code at run time.
    """
    lines = {name: Line(name, values) for name, values in STRICT.items()}
    for line in (*KINDS[kind], *_network(network), *_openings(openings or {}, jit)):
        lines[line.name] = line
    if paths := " ".join(writable):
        lines["ReadWritePaths"] = Line("ReadWritePaths", (paths,))
    if level == BASIC:
        off = "base_sandbox: basic"
        lines.update({name: _only(name, value, why=off) for name, value in NAMESPACES.items()})
    return list(lines.values())


def _network(network: str) -> Iterable[Line]:
    if network == LOCAL:
        yield _only("IPAddressDeny", "any", why="app_network: local")
        yield _only("IPAddressAllow", "localhost", why="app_network: local")
    elif network == NONE:
        yield Line("RestrictAddressFamilies", ("AF_UNIX",))
        yield Line("PrivateNetwork", ("yes",))
        yield Line("IPAddressDeny", ("any",))


def _openings(openings: Mapping[str, Any], jit: bool) -> Iterable[Line]:
    allow = "app_sandbox_allow: "
    if jit or openings.get("jit"):
        yield _only("MemoryDenyWriteExecute", why=(allow if openings.get("jit") else "") + "jit: " + _JIT_WHY)
    if openings.get("netlink"):
        yield _only("RestrictAddressFamilies", "AF_UNIX AF_INET AF_INET6 AF_NETLINK", why=f"{allow}netlink")
    if devices := openings.get("devices"):
        yield _only("PrivateDevices", why=f"{allow}these devices, and no other but /dev/null and its like")
        yield _only("DeviceAllow", *(f"{device} rw" for device in devices), why=f"{allow}device")
    if openings.get("privileges"):
        why = f"{allow}sendmail. A mail program takes the rights of another user or group, which a filter of system calls would bar"
        yield from (_only(name, why=why) for name in FILTERS)
        yield _only("PrivateUsers", why=why)
        yield _only("NoNewPrivileges", "no", why=why)
        capabilities = "CAP_CHOWN CAP_DAC_OVERRIDE CAP_FOWNER CAP_SETGID CAP_SETUID"
        yield _only("CapabilityBoundingSet", capabilities, why=f"{allow}sendmail. To no more rights than these")


def text(lines: Iterable[Line], drop_in: bool = False) -> str:
    """The lines of a unit's section [Service], each exception below its reason."""
    said: list[str] = []
    reason = ""
    for line in sorted(lines, key=lambda line: bool(line.why)):
        if line.why:
            left = "" if line.values else f"{line.name}= is left out: "
            if left or line.why != reason:
                said.append(f"# {left}{line.why}." if left else f"# {line.why[0].upper()}{line.why[1:]}.")
            reason = "" if left else line.why
        if drop_in and line.name in LISTS and line.values and line.values[0]:
            said.append(f"{line.name}=")
        said += [f"{line.name}={value}" for value in line.values]
    return "\n".join(said)


def properties(lines: Iterable[Line]) -> list[str]:
    """The same for systemd-run: each is the value of a ``--property=``."""
    return [f"{line.name}={value}" for line in lines for value in line.values]
