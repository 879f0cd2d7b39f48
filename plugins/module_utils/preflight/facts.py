# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""What was found on a machine, as data: `gather/` gathers it, `findings/` judges it, tests write it down.

Nothing here is a judgement. A fact that could not be asked for has its default, and a line in `Facts.unknown`.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Listener:
    """A process that waits at a TCP port."""

    port: int
    address: str = "0.0.0.0"
    process: str = ""
    pid: int = 0
    #: Empty: it was started by hand.
    unit: str = ""
    #: It runs in a container of Docker or its like.
    container: bool = False
    #: Other programs of the same unit: they stop with it.
    others: list[str] = field(default_factory=list)
    #: It is a VPN (it holds /dev/net/tun).
    tunnel: bool = False


@dataclass(frozen=True)
class Account:
    """A user of the system; one that is not there, and has rights waiting for it, has a negative uid."""

    name: str
    uid: int
    gid: int = 0
    comment: str = ""
    home: str = ""
    shell: str = ""
    #: Public keys that open it, whether it has a password, and whether this very run logged in as it.
    keys: int = 0
    password: bool = False
    connected: bool = False
    processes: int = 0
    #: Its other groups, and files that let it do or start something: rules of sudo, a crontab.
    groups: list[str] = field(default_factory=list)
    rights: list[str] = field(default_factory=list)
    #: The package that made it, as far as it says so.
    package: str = ""
    ours: bool = False


@dataclass(frozen=True)
class Group:
    """A group of the system."""

    name: str
    gid: int
    members: list[str] = field(default_factory=list)
    #: Users whose own group it is.
    users: list[str] = field(default_factory=list)
    package: str = ""
    ours: bool = False


@dataclass(frozen=True)
class Folder:
    """A path that one of our folders would have, and something is there."""

    path: str
    owner: str = ""
    #: How much is in it, and the first names.
    entries: int = 0
    sample: list[str] = field(default_factory=list)
    package: str = ""
    ours: bool = False
    #: Where it is in truth, when it or a folder above it is a link.
    target: str = ""
    #: False: a file, or a link to nothing.
    is_folder: bool = True


@dataclass(frozen=True)
class File:
    """A file that one of ours would have the name of."""

    path: str
    package: str = ""
    ours: bool = False
    #: Bytes, and the day of its last change.
    size: int = 0
    changed: str = ""
    #: What it would be of ours: the stem of a unit.
    stem: str = ""
    active: bool = False


@dataclass(frozen=True)
class Site:
    """A server in the configuration of a web server."""

    server: str
    file: str
    line: int = 0
    names: list[str] = field(default_factory=list)
    ports: list[int] = field(default_factory=list)
    #: Ports where it answers for every name that no other has.
    default: list[int] = field(default_factory=list)
    ours: bool = False
    #: The file is the package's own, unchanged.
    packaged: bool = False


@dataclass(frozen=True)
class Nginx:
    """nginx, where it is."""

    installed: bool = False
    ours: bool = False
    #: Its nginx.conf includes sites-enabled, as the distribution's does.
    reads_sites: bool = True


@dataclass(frozen=True)
class Cluster:
    """A PostgreSQL cluster."""

    version: str
    name: str
    port: int
    running: bool = True
    #: Slipway configures it, and beside others (the answer adopt).
    ours: bool = False
    adopted: bool = False
    #: Its superuser gets in over the socket without a password.
    readable: bool = True
    #: Database to owner.
    databases: dict[str, str] = field(default_factory=dict)
    roles: list[str] = field(default_factory=list)
    superusers: list[str] = field(default_factory=list)
    #: Connections now, `role@database`, to how many.
    clients: dict[str, int] = field(default_factory=dict)
    #: What else somebody has set up: tables in `postgres`, addresses, replication.
    used: list[str] = field(default_factory=list)
    standby: bool = False


@dataclass(frozen=True)
class Certificate:
    """A certificate of one of our domains that certbot renews for somebody else."""

    name: str
    domain: str
    #: Certbot's file, and how it asks the CA: apache, nginx, webroot, standalone.
    file: str
    authenticator: str = ""


@dataclass(frozen=True)
class Redis:
    """The Redis of the distribution's redis-server.service."""

    active: bool = False
    enabled: bool = False
    #: It answered; None: it wants a password, or says nothing.
    keys: int | None = None
    clients: int | None = None
    #: Bytes on the disk.
    size: int = 0


@dataclass(frozen=True)
class Firewall:
    """Whoever filters packets."""

    firewalld: bool = False
    #: Tables of /etc/nftables.conf, which nftables.service loads at boot.
    nftables: list[str] = field(default_factory=list)
    #: Files of rules that netfilter-persistent.service loads at boot.
    persistent: list[str] = field(default_factory=list)
    #: Rules of the kernel's INPUT chains that refuse our ports before ufw is asked, as `iptables -A …`.
    before_ufw: list[str] = field(default_factory=list)
    #: Tables of nftables that refuse our ports beside ufw.
    beside_ufw: list[str] = field(default_factory=list)
    ufw: bool = False
    #: Rules of ufw that refuse our ports, as `deny tcp 80 any`; and how many it has.
    ufw_refuses: list[str] = field(default_factory=list)
    ufw_rules: int = 0
    #: Ports that containers publish to everybody: `8080/tcp to 172.17.0.2:80`.
    published: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class System:
    """The machine and its operating system."""

    #: As /etc/os-release names it, and whether dpkg and apt are there.
    name: str = ""
    debian: bool = True
    #: Of the distribution's packages: amd64, arm64.
    architecture: str = "amd64"
    kernel: str = ""
    init: str = "systemd"
    systemd: int = 0
    #: lxc, openvz, docker; empty: none.
    container: str = ""
    #: 2; 1; or 0 for both at once (hybrid).
    cgroup: int = 2
    #: systemd can give a unit a view of the file system of its own; else why not.
    mount_namespaces: str = ""
    #: The same for users of its own.
    user_namespaces: str = ""
    ipv6: bool = True
    #: net.core.somaxconn, and whether it can be changed.
    somaxconn: int = 4096
    sysctl_writable: bool = True
    selinux: bool = False
    #: Bytes.
    memory: int = 0
    swap: int = 0
    #: Seconds that this clock is ahead of the controller's; None: nobody said the controller's.
    clock_ahead: float | None = None
    clock_synchronised: bool = False
    failed_units: list[str] = field(default_factory=list)
    reboot: list[str] = field(default_factory=list)
    hostname: str = ""
    hostname_known: bool = True
    #: A server of the package sources whose name cannot be resolved.
    unresolved: str = ""


@dataclass(frozen=True)
class Disk:
    """The file system below a path."""

    path: str
    mount: str
    free: int
    size: int
    #: Both 0: it has no limit of them.
    inodes_free: int = 0
    inodes: int = 0
    options: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Packages:
    """The package manager's state."""

    #: Packages whose installation was interrupted.
    interrupted: list[str] = field(default_factory=list)
    #: How many sources packages can come from; -1: nobody knows.
    sources: int = -1


@dataclass(frozen=True)
class Busy:
    """What is at work and ends by itself."""

    id: str
    what: str
    evidence: str = ""


@dataclass(frozen=True)
class Facts:
    """A machine before it is touched."""

    #: Slipway has been here.
    ours: bool = False
    #: Apps that it has made here before.
    apps: list[str] = field(default_factory=list)
    listeners: list[Listener] = field(default_factory=list)
    accounts: list[Account] = field(default_factory=list)
    groups: list[Group] = field(default_factory=list)
    folders: list[Folder] = field(default_factory=list)
    units: list[File] = field(default_factory=list)
    files: list[File] = field(default_factory=list)
    sites: list[Site] = field(default_factory=list)
    nginx: Nginx = field(default_factory=Nginx)
    clusters: list[Cluster] = field(default_factory=list)
    redis: Redis = field(default_factory=Redis)
    certificates: list[Certificate] = field(default_factory=list)
    firewall: Firewall = field(default_factory=Firewall)
    system: System = field(default_factory=System)
    disks: list[Disk] = field(default_factory=list)
    packages: Packages = field(default_factory=Packages)
    busy: list[Busy] = field(default_factory=list)
    #: What could not be asked for, in words.
    unknown: list[str] = field(default_factory=list)
