"""Machines as people rent them or bring them, as facts: each with the finding that must come of it, and of it alone."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from ansible_collections.slipway.vps.plugins.module_utils.preflight.facts import (
    Account,
    Busy,
    Certificate,
    Cluster,
    Disk,
    Facts,
    File,
    Firewall,
    Folder,
    Group,
    Listener,
    Nginx,
    Packages,
    Redis,
    Site,
    System,
)

GIB = 2**30
DEBIAN = System(
    name="Debian GNU/Linux 13 (trixie)",
    kernel="6.12.48+deb13-amd64",
    systemd=257,
    memory=2 * GIB,
    swap=GIB,
    clock_ahead=0.4,
    hostname="web1",
)
#: A machine as a provider hands it over.
CLEAN = Facts(system=DEBIAN, disks=[Disk("/", "/", 18 * GIB, 20 * GIB, 1_000_000, 1_200_000, ["rw"])], packages=Packages(sources=2))
NGINX = Nginx(installed=True)
WELCOME = Site("nginx", "/etc/nginx/sites-enabled/default", 21, ["_"], [80], [80], packaged=True)
OURS = Site("nginx", "/etc/nginx/sites-enabled/blog.conf", 30, ["blog.example.com"], [80, 443], ours=True)


@dataclass(frozen=True)
class Situation:
    """One thing that is on the machine."""

    name: str
    id: str
    #: What differs from a clean machine.
    facts: dict[str, Any]
    choices: set[str] = field(default_factory=set)
    #: Words of the evidence.
    seen: tuple[str, ...] = ()
    #: Words of what to do instead.
    fix: str = ""
    refuses: bool = True

    @property
    def there(self) -> Facts:
        return replace(CLEAN, **self.facts)


def system(**differs: Any) -> dict[str, Any]:
    return {"system": replace(DEBIAN, **differs)}


def account(**differs: Any) -> dict[str, Any]:
    usual = {"uid": 997, "gid": 997, "home": "/var/lib/blog", "shell": "/usr/sbin/nologin"}
    return {"accounts": [Account("blog", **{**usual, **differs})]}


def disk(**differs: Any) -> dict[str, Any]:
    return {"disks": [replace(CLEAN.disks[0], **differs)]}


def filters(**there: Any) -> dict[str, Any]:
    return {"firewall": Firewall(**there)}


def nginx(*sites: Site, **more: Any) -> dict[str, Any]:
    return {"nginx": NGINX, "sites": [WELCOME, *sites], **more}


def cluster(**differs: Any) -> dict[str, Any]:
    usual: dict[str, Any] = {"databases": {"postgres": "postgres"}, "roles": ["postgres"], "superusers": ["postgres"]}
    return {"clusters": [Cluster("17", "main", 5432, **{**usual, **differs})]}


APACHE = Listener(80, "::", "apache2", 812, "apache2.service")
NGINX_80 = Listener(80, "0.0.0.0", "nginx", 700, "nginx.service")
OTHERS = {"databases": {"postgres": "postgres", "crm": "crm"}, "roles": ["postgres", "crm"]}
REJECT = "iptables -A INPUT -j REJECT --reject-with icmp-host-prohibited"
ANSWER: dict[str, Any] = {"choices": {"leave"}}
NOTE: dict[str, Any] = {"choices": {"leave"}, "refuses": False}

SITUATIONS = (
    # --- Ports ---
    Situation(
        "Apache serves sites, one of them ours",
        "port:80",
        {
            "listeners": [APACHE, replace(APACHE, port=443)],
            "sites": [Site("apache2", "/etc/apache2/sites-enabled/b.conf", names=["blog.example.com"], ports=[80])],
        },
        {"replace"},
        ("apache2 (pid 812, apache2.service)", "[::]:80, [::]:443", "blog.example.com (/etc/apache2/sites-enabled/b.conf)"),
    ),
    Situation(
        "Caddy has 443 alone",
        "port:443",
        {"listeners": [Listener(443, "::", "caddy", 9, "caddy.service")]},
        {"replace"},
        ("caddy.service",),
    ),
    Situation(
        "something was started by hand",
        "port:80",
        {"listeners": [Listener(80, "0.0.0.0", "python3", 4711, "session-3.scope")]},
        seen=("python3 (pid 4711, session-3.scope)",),
        fix="stop it",
    ),
    Situation(
        "a container is published",
        "port:80",
        {"listeners": [Listener(80, "0.0.0.0", "docker-proxy", 900, "docker.service", True)]},
        fix="docker ps --filter publish=80",
    ),
    Situation(
        "Docker publishes without a proxy",
        "port:443",
        filters(published=["443/tcp to 172.17.0.2:443"]),
        seen=("172.17.0.2:443",),
        fix="container",
    ),
    Situation(
        "SSH listens on 443, to get through a firewall",
        "port:443",
        {"listeners": [Listener(443, "0.0.0.0", "sshd", 600, "ssh.service")]},
        fix="lock you out",
    ),
    Situation(
        "cockpit's socket has 80",
        "port:80",
        {"listeners": [Listener(80, "::", "systemd", 1, "cockpit.socket")]},
        {"replace"},
        ("cockpit.socket",),
    ),
    Situation(
        "nginx serves other sites",
        "port:80",
        nginx(Site("nginx", "/etc/nginx/conf.d/wiki.conf", 3, ["wiki.example.org"], [80]), listeners=[NGINX_80]),
        {"adopt"},
        ("nginx (pid 700, nginx.service) on 0.0.0.0:80", "wiki.example.org (/etc/nginx/conf.d/wiki.conf)"),
    ),
    Situation(
        "a program of a supervisor",
        "port:80",
        {"listeners": [Listener(80, "0.0.0.0", "gunicorn", 50, "supervisor.service", others=["celery", "supervisord"])]},
        {"replace"},
        ("supervisor.service also runs celery, supervisord",),
    ),
    Situation(
        "a VPN listens on 443",
        "port:443",
        {"listeners": [Listener(443, "0.0.0.0", "openvpn", 50, "openvpn@server.service", tunnel=True)]},
        seen=("openvpn",),
        fix="lock you out",
    ),
    Situation(
        "certbot has a certificate for our domain",
        "certificate:blog.example.com",
        {"certificates": [Certificate("old", "blog.example.com", "/etc/letsencrypt/renewal/old.conf", "apache")]},
        seen=("/etc/letsencrypt/renewal/old.conf (apache)",),
        fix="certbot delete --cert-name old",
        **NOTE,
    ),
    # --- Sites ---
    Situation(
        "an older site for our domain sorts first",
        "site:blog.example.com",
        nginx(Site("nginx", "/etc/nginx/sites-enabled/a-blog", 4, ["blog.example.com", "b.example.com"], [80, 443])),
        {"replace"},
        ("/etc/nginx/sites-enabled/a-blog:4",),
    ),
    Situation(
        "a wildcard of ours is another's",
        "site:*.example.net",
        nginx(Site("nginx", "/etc/nginx/conf.d/all.conf", 1, ["*.example.net"], [443])),
        {"replace"},
    ),
    Situation(
        "a dot stands for the domain and all below it",
        "site:*.example.net",
        nginx(Site("nginx", "/etc/nginx/conf.d/all.conf", 1, [".example.net"], [443])),
        {"replace"},
    ),
    Situation(
        "an app of ours that the inventory has no more",
        "site:blog.example.com",
        nginx(replace(OURS, file="/etc/nginx/sites-enabled/weblog.conf")),
        {"replace"},
    ),
    Situation(
        "our domain stands in nginx.conf itself",
        "site:shop.example.com",
        nginx(Site("nginx", "/etc/nginx/nginx.conf", 60, ["shop.example.com"], [80])),
        fix="take that server out of /etc/nginx/nginx.conf",
    ),
    Situation(
        "another default_server",
        "site:default",
        nginx(Site("nginx", "/etc/nginx/conf.d/catch.conf", 2, ["_"], [80], [80])),
        {"replace"},
        ("catch.conf:2",),
    ),
    Situation(
        "the welcome site was edited",
        "site:default",
        nginx(Site("nginx", "/etc/nginx/sites-enabled/default", 21, ["wiki.example.org"], [80])),
        {"replace", "leave"},
    ),
    Situation("nginx of another origin", "nginx:layout", {"nginx": Nginx(installed=True, reads_sites=False)}, fix="apt purge nginx"),
    # --- PostgreSQL ---
    Situation(
        "PostgreSQL serves others",
        "port:5432",
        cluster(**OTHERS, clients={"crm@crm": 3}),
        {"adopt"},
        ("17/main", "databases crm", "roles crm", "3 connections now (crm@crm)"),
        "pg_createcluster --start -p 5433 17 slipway",
    ),
    Situation(
        "PostgreSQL has a role of somebody's and no database",
        "port:5432",
        cluster(roles=["postgres", "admin"]),
        {"adopt"},
        ("roles admin",),
    ),
    Situation(
        "PostgreSQL does not let its superuser in", "port:5432", cluster(readable=False), {"adopt"}, ("does not let its superuser in",)
    ),
    Situation("PostgreSQL is down", "port:5432", cluster(running=False), {"adopt"}, ("is down",)),
    Situation("PostgreSQL was adopted, and the answer is gone", "port:5432", cluster(**OTHERS, ours=True, adopted=True), {"adopt"}),
    Situation(
        "PostgreSQL runs in a container on our port",
        "port:5432",
        {"listeners": [Listener(5432, "127.0.0.1", "docker-proxy", 33, "docker.service", True)]},
        seen=("docker-proxy",),
        fix="port=5433",
    ),
    Situation(
        "PostgreSQL serves others from the database postgres",
        "port:5432",
        cluster(used=["listens on *", "tables in postgres: 3"]),
        {"adopt"},
        ("listens on *; tables in postgres: 3",),
    ),
    Situation(
        "PostgreSQL is a standby",
        "port:5432",
        cluster(used=["a standby of another server"], standby=True),
        seen=("a standby",),
        fix="pg_createcluster",
    ),
    Situation(
        "the only cluster has another port",
        "port:5432",
        {"clusters": [Cluster("15", "main", 5433)]},
        seen=("15/main has 5433",),
        fix="app_database_url: postgresql:///<database>?host=/run/postgresql&port=5433",
    ),
    Situation(
        "a database of our name, made by hand in a cluster of ours",
        "database:shop",
        cluster(ours=True, databases={"shop": "ada"}, roles=["postgres", "ada"]),
        seen=("owner ada",),
        fix="app_database",
    ),
    Situation(
        "a role of our name", "role:blog", cluster(roles=["postgres", "blog"], superusers=["blog", "postgres"]), {"adopt"}, fix="app_user"
    ),
    # --- Redis ---
    Situation("Redis holds keys", "port:6379", {"redis": Redis(True, True, 12, 0)}, {"leave", "replace"}, ("12 keys, 0 clients",)),
    Situation("Redis has clients", "port:6379", {"redis": Redis(True, True, 0, 2)}, {"leave", "replace"}, ("2 clients connected now",)),
    Situation("Redis wants a password", "port:6379", {"redis": Redis(True, True)}, {"leave", "replace"}, ("does not say",)),
    Situation(
        "Redis is stopped, with data", "port:6379", {"redis": Redis(False, True, size=90_000)}, {"leave", "replace"}, ("90000 bytes",)
    ),
    Situation(
        "another program at Redis's port",
        "port:6379",
        {"listeners": [Listener(6379, "127.0.0.1", "docker-proxy", 5, "docker.service", True)]},
        seen=("docker-proxy (pid 5",),
        **NOTE,
    ),
    # --- Firewalls ---
    Situation("firewalld", "firewall:firewalld", filters(firewalld=True), {"replace", "leave"}),
    Situation(
        "rules of nftables.service", "firewall:nftables", filters(nftables=["inet filter"]), {"replace", "leave"}, ("table inet filter",)
    ),
    Situation(
        "a chain of nftables without a service",
        "firewall:nftables",
        filters(beside_ufw=["table inet guard, chain in: 80, 443"]),
        {"leave"},
        ("inet guard",),
        "veto",
    ),
    Situation(
        "netfilter-persistent, as Oracle's images have it",
        "firewall:netfilter-persistent",
        filters(persistent=["/etc/iptables/rules.v4"], before_ufw=[REJECT]),
        {"replace", "leave"},
        ("/etc/iptables/rules.v4", REJECT),
    ),
    Situation("a REJECT of a cloud agent before ufw", "firewall:input", filters(before_ufw=[REJECT]), {"replace", "leave"}, (REJECT,)),
    Situation(
        "ufw refuses 80",
        "firewall:ufw",
        filters(ufw=True, ufw_rules=2, ufw_refuses=["deny tcp 80 from 0.0.0.0/0"]),
        {"leave"},
        ("deny tcp 80",),
        "ufw delete",
    ),
    Situation("ufw has rules by hand", "firewall:ufw", filters(ufw=True, ufw_rules=3), seen=("3 rules",), **NOTE),
    Situation(
        "Docker publishes a port",
        "firewall:docker",
        filters(published=["8080/tcp to 172.17.0.2:80"]),
        seen=("8080/tcp",),
        fix="127.0.0.1",
        **NOTE,
    ),
    # --- Names ---
    Situation(
        "a person",
        "user:blog",
        account(uid=1000, shell="/bin/bash", home="/home/blog"),
        seen=("uid 1000", "/bin/bash"),
        fix="app_user: blog-app",
    ),
    Situation("the operator himself", "user:blog", account(connected=True), seen=("this run logged in as it",), fix="app_user: blog-app"),
    Situation("a person without a shell", "user:blog", account(uid=1001), seen=("uid 1001",), fix="another app_name"),
    Situation("a service user with a key", "user:blog", account(keys=2), seen=("2 keys",), fix="another app_name"),
    Situation("a service user with a shell", "user:blog", account(shell="/bin/sh"), seen=("/bin/sh",), fix="another app_name"),
    Situation("a user of a package", "user:blog", account(package="blogd"), seen=("made by blogd",), fix="another app_name"),
    Situation("a service user by hand", "user:blog", account(), {"adopt"}, ("uid 997",), "app_user: blog-app"),
    Situation("a service user at work", "user:blog", account(processes=2), seen=("2 processes",), fix="ps -u blog"),
    Situation(
        "a service user who may become root",
        "user:blog",
        account(rights=["/etc/sudoers.d/blog"], groups=["docker"]),
        seen=("groups docker", "/etc/sudoers.d/blog"),
        fix="remove what gives it rights",
    ),
    Situation(
        "rules of sudo for a user who is gone",
        "user:blog",
        account(uid=-1, rights=["/etc/sudoers.d/blog"]),
        seen=("/etc/sudoers.d/blog",),
        fix="app_user: blog-app",
    ),
    Situation("a group with members", "group:blog", {"groups": [Group("blog", 998, ["ada"])]}, seen=("members ada",), fix="app_group"),
    Situation("a group of the system", "group:blog", {"groups": [Group("blog", 44)]}, seen=("gid 44",), fix="app_group"),
    Situation("an empty group by hand", "group:blog", {"groups": [Group("blog", 1001)]}, {"adopt"}),
    Situation(
        "a folder by hand",
        "path:/srv/blog",
        {"folders": [Folder("/srv/blog", "ada", 7, ["app.py", "git", "run"])]},
        {"adopt"},
        ("7 entries (app.py, git, run), owner ada",),
    ),
    Situation(
        "an empty folder of somebody",
        "path:/var/log/blog",
        {"folders": [Folder("/var/log/blog", "ada")]},
        {"adopt"},
        ("empty, owner ada",),
    ),
    Situation(
        "a file where a folder must be",
        "path:/srv/blog",
        {"folders": [Folder("/srv/blog", "root", is_folder=False)]},
        seen=("no folder, owner root",),
        fix="move it away",
    ),
    Situation(
        "a link into somebody's home",
        "path:/srv/blog",
        {"folders": [Folder("/srv/blog", "ada", target="/home/ada/blog")]},
        seen=("it leads to /home/ada/blog",),
        fix="move it to another place",
    ),
    Situation(
        "a folder of a package", "path:/etc/blog", {"folders": [Folder("/etc/blog", "root", 1, ["x"], "blogd")]}, fix="app_config_dir"
    ),
    Situation(
        "a unit by hand",
        "unit:blog",
        {"units": [File("/etc/systemd/system/blog.service", stem="blog", active=True)]},
        {"replace"},
        ("blog.service (running)",),
    ),
    Situation(
        "a unit of the distribution",
        "unit:shop",
        {"units": [File("/usr/lib/systemd/system/shop.timer", "shop-tools", stem="shop")]},
        seen=("shop.timer",),
        fix="app_name",
    ),
    Situation(
        "a rule of logrotate by hand",
        "file:/etc/logrotate.d/blog",
        {"files": [File("/etc/logrotate.d/blog", size=80, changed="2025-03-01")]},
        {"replace"},
        ("80 bytes, changed on 2025-03-01",),
    ),
    Situation(
        "a rule of logrotate of a package",
        "file:/etc/logrotate.d/blog",
        {"files": [File("/etc/logrotate.d/blog", "blogd")]},
        fix="app_name",
    ),
    # --- Kernel and provider ---
    Situation("no IPv6", "kernel:ipv6", system(ipv6=False), fix="ipv6.disable", **NOTE),
    Situation("control groups of version 1", "kernel:cgroup", system(cgroup=1), fix="unified", **NOTE),
    Situation("both control groups", "kernel:cgroup", system(cgroup=0), fix="unified", **NOTE),
    Situation(
        "LXC without nesting",
        "kernel:namespaces",
        system(container="lxc", mount_namespaces="unshare: Permission denied"),
        seen=("lxc",),
        fix="nesting=1",
    ),
    Situation(
        "OpenVZ with an old kernel",
        "kernel:version",
        system(container="openvz", kernel="3.10.0-1160.el7"),
        seen=("3.10.0-1160.el7, in a container (openvz)",),
        fix="KVM",
    ),
    Situation(
        "no users of their own", "kernel:users", system(user_namespaces="unshare: No space left"), seen=("No space",), fix="sysctl", **NOTE
    ),
    Situation(
        "a read-only /proc/sys", "kernel:somaxconn", system(somaxconn=128, sysctl_writable=False), fix="nginx_somaxconn: 128", **ANSWER
    ),
    Situation("another processor", "system:architecture", system(architecture="riscv64"), seen=("riscv64",), **NOTE),
    Situation("SELinux", "system:selinux", system(selinux=True), fix="permissive", **ANSWER),
    Situation(
        "Rocky Linux", "system:distribution", system(debian=False, name="Rocky Linux 9.4"), seen=("Rocky Linux 9.4",), fix="Debian 12"
    ),
    Situation(
        "Debian 11",
        "system:systemd",
        system(systemd=247, name="Debian GNU/Linux 11 (bullseye)"),
        seen=("systemd 247 of Debian GNU/Linux 11",),
        fix="Debian 12",
    ),
    Situation("sysvinit", "system:systemd", system(init="init"), seen=("process 1 is init",), fix="systemd"),
    # --- Room and time ---
    Situation("too little memory", "system:memory", system(memory=256 * 2**20, swap=0), seen=("256 MiB",), fix="swap", **ANSWER),
    Situation("no swap", "system:swap", system(memory=512 * 2**20, swap=0), seen=("no swap",), fix="swap", **NOTE),
    Situation("a full disk", "disk:/", disk(free=200 * 2**20), seen=("200 MiB of 20480 MiB",), fix="room", **ANSWER),
    Situation("a disk that is read-only", "disk:/", disk(options=["ro"]), seen=("with ro",), fix="remount,rw"),
    Situation("no inodes", "inodes:/", disk(inodes_free=12), seen=("12 of 1200000",), fix="du --inodes", **ANSWER),
    Situation(
        "noexec on /srv",
        "noexec:/srv/blog",
        {"disks": [*CLEAN.disks, Disk("/srv/blog", "/srv", 9 * GIB, 9 * GIB, options=["rw", "noexec"])]},
        fix="remount,exec /srv",
        **ANSWER,
    ),
    Situation(
        "noexec on /tmp",
        "noexec:/tmp",
        {"disks": [*CLEAN.disks, Disk("/tmp", "/tmp", 9 * GIB, 9 * GIB, options=["noexec"])]},
        fix="remount,exec /tmp",
        **NOTE,
    ),
    Situation(
        "a clock two hours behind",
        "system:clock",
        system(clock_ahead=-7214.2),
        seen=("7,214 s behind the controller", "not synchronised"),
        fix="timedatectl",
        **ANSWER,
    ),
    Situation(
        "a clock ahead",
        "system:clock",
        system(clock_ahead=301.0, clock_synchronised=True),
        seen=("301 s ahead", "it is synchronised"),
        fix="timedatectl",
        **ANSWER,
    ),
    Situation(
        "no name servers", "system:dns", system(unresolved="deb.example.org"), seen=("deb.example.org",), fix="resolv.conf", **ANSWER
    ),
    Situation("a host name that nobody knows", "system:hostname", system(hostname_known=False), fix="127.0.1.1 web1", **NOTE),
    Situation("a restart is due", "system:reboot", system(reboot=["linux-base"]), seen=("linux-base",), fix="reboot", **NOTE),
    Situation(
        "failed units",
        "system:failed",
        system(failed_units=["blog-tls.service", "motd-news.service"]),
        seen=("motd-news.service",),
        fix="systemctl status",
        **NOTE,
    ),
    # --- Packages ---
    Situation(
        "the package manager is held",
        "apt:lock",
        {"busy": [Busy("apt:lock", "the package manager is at work", "apt-get (pid 812)")]},
        seen=("pid 812",),
        fix="let it end",
    ),
    Situation(
        "an interrupted installation",
        "apt:interrupted",
        {"packages": Packages(["nginx (half-configured)"], 2)},
        seen=("nginx (half-configured)",),
        fix="dpkg --configure -a",
    ),
    Situation("no package sources", "apt:sources", {"packages": Packages(sources=0)}, fix="sources.list.d"),
    Situation(
        "cloud-init at work",
        "system:cloud-init",
        {"busy": [Busy("system:cloud-init", "cloud-init still sets the machine up", "stage modules-final")]},
        fix="cloud-init status",
        **ANSWER,
    ),
)
