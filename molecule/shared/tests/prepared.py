"""Machines that somebody used before: each is a bare test host (Debian 13), a few lines of shell, and the finding that must come of it.
Some are many of them at once.

Of packages they install only what the test images have in apt's cache (tools/testhost.py). A service that is not there is played by a unit.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

INSTALL = "apt-get install -y --no-install-recommends {} >/dev/null 2>&1"
NGINX, POSTGRES, REDIS = (INSTALL.format(name) for name in ("nginx", "postgresql", "redis-server"))
SQL = "runuser -u postgres -- psql -Xq -d postgres -c"
#: A unit of somebody else's: name, command.
UNIT = """cat >/etc/systemd/system/{0}.service <<'END'
[Service]
ExecStart={1}
[Install]
WantedBy=multi-user.target
END
systemctl daemon-reload
systemctl enable --now {0} 2>/dev/null"""
#: One that ran at boot and is done.
LOADED = """cat >/etc/systemd/system/{0}.service <<'END'
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/true
[Install]
WantedBy=multi-user.target
END
systemctl daemon-reload
systemctl enable --now {0} 2>/dev/null"""
WEB = "/usr/bin/python3 -m http.server {}"
#: What Oracle's images have.
REJECT = """{0} -A INPUT -m state --state RELATED,ESTABLISHED -j ACCEPT
{0} -A INPUT -i lo -j ACCEPT
{0} -A INPUT -p tcp -m tcp --dport 22 -j ACCEPT
{0} -A INPUT -j REJECT"""


@dataclass(frozen=True)
class Prepared:
    """One machine."""

    name: str
    id: str
    #: As root.
    shell: str
    #: What the evidence says.
    seen: str = ""
    #: What the operator says beside the usual.
    variables: dict[str, Any] = field(default_factory=dict)
    #: It is only said, and the run goes on.
    warns: bool = False


HOSTS = (
    # --- Ports and sites ---
    Prepared("another web server", "port:80", UNIT.format("oldsite", WEB.format(80)), "oldsite.service"),
    Prepared("a server by hand", "port:443", f"setsid {WEB.format(443)} >/dev/null 2>&1 &\nsleep 1", "no unit"),
    Prepared(
        "nginx with another site",
        "port:80",
        f"{NGINX}\necho 'server {{ listen 80; server_name wiki.example.org; }}' >/etc/nginx/conf.d/wiki.conf\nsystemctl restart nginx",
        "wiki.example.org",
    ),
    Prepared(
        "an older site for our domain",
        "site:demo.slipway.test",
        f"{NGINX}\ncd /etc/nginx\necho 'server {{ listen 80; server_name demo.slipway.test; }}' >sites-available/old\n"
        "ln -s ../sites-available/old sites-enabled/a-old",
        "/etc/nginx/sites-enabled/a-old:1",
    ),
    Prepared(
        "the welcome site edited",
        "site:default",
        f"{NGINX}\nsed -i 's,/var/www/html,/srv/mine,' /etc/nginx/sites-available/default",
        "default:",
    ),
    Prepared(
        "nginx of another origin", "nginx:layout", f"{NGINX}\nsed -i '/sites-enabled/d' /etc/nginx/nginx.conf", "includes no sites-enabled"
    ),
    Prepared(
        "a program of a supervisor",
        "port:80",
        UNIT.format("supervisor", f"/bin/sh -c 'sleep infinity & exec {WEB.format(80)}'"),
        "supervisor.service also runs sleep",
    ),
    Prepared(
        "a certificate of certbot's",
        "certificate:demo.slipway.test",
        "mkdir -p /etc/letsencrypt/renewal\necho 'authenticator = apache' >/etc/letsencrypt/renewal/demo.slipway.test.conf",
        "(apache)",
        warns=True,
    ),
    # --- Databases ---
    Prepared(
        "PostgreSQL of others",
        "port:5432",
        f"{POSTGRES}\n{SQL} 'CREATE ROLE crm LOGIN' -c 'CREATE DATABASE crm OWNER crm'",
        "databases crm",
    ),
    Prepared(
        "PostgreSQL with somebody connected",
        "port:5432",
        f"{POSTGRES}\nuseradd --system crm\n{SQL} 'CREATE ROLE crm LOGIN'\n"
        "setsid runuser -u crm -- psql -Xd postgres -c 'SELECT pg_sleep(600)' >/dev/null 2>&1 &\nsleep 2",
        "1 connection now (crm@postgres)",
    ),
    Prepared(
        "PostgreSQL that is down",
        "port:5432",
        f"{POSTGRES}\nsystemctl disable --now postgresql >/dev/null 2>&1\nsystemctl stop 'postgresql@*'",
        "is down",
    ),
    Prepared(
        "PostgreSQL that lets nobody in",
        "port:5432",
        f"{POSTGRES}\nsed -i 's/peer$/scram-sha-256/' /etc/postgresql/*/main/pg_hba.conf\nsystemctl restart 'postgresql@*'",
        "does not let its superuser in",
    ),
    Prepared(
        "PostgreSQL at another port",
        "port:5432",
        f"{POSTGRES}\nsed -i 's/^port = .*/port = 5433/' /etc/postgresql/*/main/postgresql.conf\nsystemctl restart 'postgresql@*'",
        "has 5433",
    ),
    Prepared(
        "PostgreSQL that serves from its first database",
        "port:5432",
        f"{POSTGRES}\n{SQL} 'CREATE TABLE customers (id int)'",
        "tables in postgres: 1",
    ),
    Prepared("something else at PostgreSQL's port", "port:5432", UNIT.format("tunnel", WEB.format(5432)), "tunnel.service"),
    Prepared("a database of our name", "database:demo", f"{POSTGRES}\n{SQL} 'CREATE DATABASE demo'", "owner postgres"),
    Prepared("a role of our name", "role:demo", f"{POSTGRES}\n{SQL} 'CREATE ROLE demo SUPERUSER LOGIN'"),
    Prepared("Redis with keys", "port:6379", f"{REDIS}\nredis-cli set a 1 >/dev/null", "1 key"),
    Prepared(
        "Redis with a password",
        "port:6379",
        f"{REDIS}\necho 'requirepass x' >>/etc/redis/redis.conf\nsystemctl restart redis-server",
        "does not say",
    ),
    Prepared("something else at Redis's port", "port:6379", UNIT.format("valkey", WEB.format(6379)), "valkey.service", warns=True),
    # --- Firewalls ---
    Prepared("firewalld", "firewall:firewalld", LOADED.format("firewalld")),
    Prepared(
        "rules of nftables.service",
        "firewall:nftables",
        LOADED.format("nftables")
        + "\necho 'table inet mine { chain in { type filter hook input priority 0; policy drop; } }' >/etc/nftables.conf",
        "table inet mine",
    ),
    Prepared(
        "netfilter-persistent",
        "firewall:netfilter-persistent",
        LOADED.format("netfilter-persistent")
        + "\nmkdir -p /etc/iptables\nprintf '*filter\\n-A INPUT -j DROP\\nCOMMIT\\n' >/etc/iptables/rules.v4",
        "/etc/iptables/rules.v4",
    ),
    Prepared("rules before ufw's", "firewall:input", INSTALL.format("iptables") + "\n" + REJECT.format("iptables"), "-j REJECT"),
    Prepared("ufw refuses 80", "firewall:ufw", INSTALL.format("ufw") + "\nufw deny 80/tcp >/dev/null", "deny tcp 80"),
    Prepared(
        "a port of Docker's",
        "firewall:docker",
        INSTALL.format("iptables") + "\niptables -t nat -N DOCKER\niptables -t nat -A DOCKER ! -i docker0 -p tcp -m tcp --dport 8080"
        " -j DNAT --to-destination 172.17.0.2:80",
        "8080/tcp",
        warns=True,
    ),
    # --- Names ---
    Prepared("a person of our name", "user:demo", "useradd -m -s /bin/bash demo", "/bin/bash"),
    Prepared(
        "a service user with a key",
        "user:demo",
        "useradd --system -m -d /home/demo -s /usr/sbin/nologin demo\nmkdir /home/demo/.ssh\n"
        "echo 'ssh-ed25519 AAAA x' >/home/demo/.ssh/authorized_keys",
        "1 key",
    ),
    Prepared(
        "rules for a user who is gone",
        "user:demo",
        "echo 'demo ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/demo",
        "/etc/sudoers.d/demo",
    ),
    Prepared("a group with members", "group:demo", "groupadd --system demo\nusermod -aG demo admin", "members admin"),
    Prepared("a folder in use", "path:/srv/demo", "mkdir -p /srv/demo\ntouch /srv/demo/app.py", "app.py"),
    Prepared("a folder of logs", "path:/var/log/demo", "mkdir /var/log/demo\ntouch /var/log/demo/x.log", "x.log"),
    Prepared("a folder of somebody's", "path:/var/log/demo", "install -d -o admin /var/log/demo", "empty, owner admin"),
    Prepared("a file for a folder", "path:/srv/demo", "touch /srv/demo", "no folder"),
    Prepared(
        "a link into a home", "path:/srv/demo", "install -d -o admin /home/admin/demo\nln -s /home/admin/demo /srv/demo", "/home/admin/demo"
    ),
    Prepared(
        "drop-ins for a unit of ours",
        "unit:demo",
        "mkdir /etc/systemd/system/demo.service.d\nprintf '[Service]\\nUser=root\\n' >/etc/systemd/system/demo.service.d/a.conf",
        "demo.service.d",
    ),
    Prepared("a unit by hand", "unit:demo", UNIT.format("demo", "/bin/sleep infinity"), "demo.service (running)"),
    Prepared(
        "a unit of the distribution", "unit:demo-tls", "echo '[Timer]' >/usr/lib/systemd/system/demo-tls.timer", "/usr/lib/systemd/system"
    ),
    Prepared("a rule of logrotate", "file:/etc/logrotate.d/demo", "echo '/x { daily }' >/etc/logrotate.d/demo"),
    Prepared("a schedule", "file:/etc/cron.d/demo-backup", "mkdir -p /etc/cron.d\necho '0 3 * * * root true' >/etc/cron.d/demo-backup"),
    # --- Packages and the first start ---
    Prepared(
        "the package manager held",
        "apt:lock",
        """setsid python3 -c 'import fcntl, time
f = open("/var/lib/dpkg/lock-frontend", "w")
fcntl.lockf(f, fcntl.LOCK_EX)
time.sleep(600)' >/dev/null 2>&1 &
sleep 1""",
        "/var/lib/dpkg/lock-frontend",
        {"preflight_wait": 3},
    ),
    Prepared(
        "an installation interrupted",
        "apt:interrupted",
        "sed -i '0,/ok installed/s//ok half-configured/' /var/lib/dpkg/status",
        "half-configured",
    ),
    Prepared("no package sources", "apt:sources", "rm -rf /etc/apt/sources.list /etc/apt/sources.list.d/*"),
    Prepared(
        "cloud-init at work", "system:cloud-init", "mkdir /run/cloud-init\ntouch /run/cloud-init/enabled", "stage", {"preflight_wait": 3}
    ),
    # --- The machine ---
    Prepared("noexec on /srv", "noexec:/srv/demo", "mount -t tmpfs -o noexec tmpfs /srv", "mounted at /srv"),
    Prepared("no name server", "system:dns", "echo 'nameserver 127.0.0.1' >/etc/resolv.conf", "has no address"),
    Prepared("a clock that differs", "system:clock", "true", "the controller", {"preflight_clock_max": -1}),
    Prepared("little memory", "system:memory", "true", "MiB", {"preflight_memory_min": 99_999_999}),
    Prepared("little room", "disk:/", "true", "MiB free", {"preflight_disk_min": 99_999_999}),
    Prepared(
        "a restart is due",
        "system:reboot",
        "echo linux-base >/run/reboot-required.pkgs\ntouch /run/reboot-required",
        "linux-base",
        warns=True,
    ),
    Prepared(
        "a unit that failed", "system:failed", "systemd-run --quiet --unit=broken false || true\nsleep 1", "broken.service", warns=True
    ),
)

#: Machines with many of these at once, by name. The packages that some install come before what breaks apt.
CROWDS = (
    (
        *("another web server", "PostgreSQL of others", "a role of our name", "Redis with keys", "rules before ufw's"),
        *("a service user with a key", "a folder in use", "a folder of somebody's", "a unit by hand", "a schedule"),
    ),
    (
        *("nginx with another site", "an older site for our domain", "the welcome site edited", "a database of our name"),
        *("ufw refuses 80", "a group with members", "a file for a folder", "drop-ins for a unit of ours"),
        *("a unit of the distribution", "a rule of logrotate", "no name server", "an installation interrupted"),
    ),
    (
        *("a server by hand", "PostgreSQL that is down", "rules of nftables.service", "firewalld", "a person of our name"),
        *("a folder of logs", "noexec on /srv", "a clock that differs", "little memory", "little room"),
        *("no package sources", "the package manager held"),
    ),
    ("a certificate of certbot's", "something else at Redis's port", "a port of Docker's", "a restart is due", "a unit that failed"),
)
