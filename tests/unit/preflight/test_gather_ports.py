"""Who listens, and the package manager, asked against files and answers as they are on a machine."""

from __future__ import annotations

import fcntl
import hashlib
import subprocess
import sys
from pathlib import Path

import pytest
from ansible_collections.slipway.vps.plugins.module_utils.preflight.facts import Listener
from ansible_collections.slipway.vps.plugins.module_utils.preflight.gather import (
    packages,
    sockets,
)

from .conftest import Fake

TCP = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
STATUS = """Package: a
Status: install ok installed

Package: b
Status: install ok half-configured

Package: c
Status: deinstall ok config-files
"""
LIST = """# deb http://x.example a b
deb cdrom:[Debian]/ trixie main
deb-src http://y.example c d
deb [arch=amd64 signed-by=/k] http://one.example trixie main
"""
STANZAS = """Types: deb deb-src
URIs: http://two.example/debian
 https://three.example
Suites: trixie

Enabled: no
Types: deb
URIs: http://off.example
"""


def row(address: str, port: int, inode: int, state: str = "0A") -> str:
    return (
        f"   0: {address}:{port:04X} 00000000:0000 {state} 00000000:00000000 00:00000000 00000000     0        0 {inode} 1 0 100 0 0 10 0\n"
    )


# --- Ports ---------------------------------------------------------------------------------------------


def test_what_else_stops_with_it(fake: Fake) -> None:
    """[K3] Other programs of its unit; and whether it is a VPN, by which the operator may have come in."""
    host = fake(
        {
            "/proc/net/tcp": TCP + row("00000000", 443, 11),
            "/proc/50/fd/3": "-> socket:[11]",
            "/proc/50/fd/4": "-> /dev/net/tun",
            **{f"/proc/{pid}/comm": f"{name}\n" for pid, name in ((50, "gunicorn"), (51, "gunicorn"), (52, "celery"), (53, "sshd"))},
            **{f"/proc/{pid}/cgroup": "0::/system.slice/supervisor.service\n" for pid in (50, 51, 52)},
            "/proc/53/cgroup": "0::/system.slice/ssh.service\n",
        }
    )
    (found,) = sockets.listeners(host, [443])
    assert (found.unit, found.others, found.tunnel) == ("supervisor.service", ["celery"], True)


def test_who_listens(fake: Fake) -> None:
    """[F3] The process, its master before its workers, and the unit that started it, in both versions of control groups."""
    host = fake(
        {
            "/proc/net/tcp": TCP
            + row("00000000", 80, 11)
            + row("0100007F", 5432, 12)
            + row("0100007F", 443, 13, "01")
            + row("00000000", 22, 14),
            "/proc/net/tcp6": TCP + row("0" * 32, 443, 15) + row("00000000000000000000000001000000", 80, 16),
            **{f"/proc/{pid}/fd/3": "-> socket:[11]" for pid in (900, 81, 1000)},
            "/proc/81/fd/4": "-> socket:[15]",
            "/proc/81/comm": "apache2\n",
            "/proc/81/cgroup": "0::/system.slice/apache2.service\n",
            "/proc/70/fd/0": "-> socket:[12]",
            "/proc/70/comm": "postgres\n",
            "/proc/70/cgroup": "2:cpu:/\n1:name=systemd:/system.slice/system-postgresql.slice/postgresql@15-main.service\n",
            "/proc/self/fd/0": "-> socket:[16]",
        }
    )
    assert sockets.listeners(host, (80, 443, 5432)) == [
        Listener(80, "0.0.0.0", "apache2", 81, "apache2.service"),
        Listener(5432, "127.0.0.1", "postgres", 70, "postgresql@15-main.service"),
        Listener(443, "::", "apache2", 81, "apache2.service"),
        # Of a process that cannot be seen.
        Listener(80, "::1"),
    ]
    assert sockets.listeners(host, (25,)) == []


@pytest.mark.parametrize(
    ("cgroup", "first", "unit", "container"),
    [
        ("0::/system.slice/docker-" + "a" * 64 + ".scope\n", "0::/init.scope\n", "docker-" + "a" * 64 + ".scope", True),
        ("1:name=systemd:/docker/" + "b" * 64 + "\n", "1:name=systemd:/\n", "", True),
        # This machine is itself a container.
        (
            "1:name=systemd:/docker/" + "b" * 64 + "/system.slice/x.service\n",
            "1:name=systemd:/docker/" + "b" * 64 + "/init.scope\n",
            "x.service",
            False,
        ),
        ("0::/user.slice/user-1000.slice/session-3.scope\n", "0::/init.scope\n", "session-3.scope", False),
        ("0::/machine.slice/libpod-" + "c" * 64 + ".scope/container\n", "0::/init.scope\n", "libpod-" + "c" * 64 + ".scope", True),
        ("", "", "", False),
    ],
)
def test_units_and_containers(fake: Fake, cgroup: str, first: str, unit: str, container: bool) -> None:
    assert sockets.unit_of(fake({"/proc/5/cgroup": cgroup, "/proc/1/cgroup": first}), 5) == (unit, container)


def test_a_port_that_systemd_holds_for_a_service(fake: Fake) -> None:
    """[F3] The process is 1, and the unit is the socket's."""
    files = {"/proc/net/tcp6": TCP + row("0" * 32, 80, 9), "/proc/1/fd/40": "-> socket:[9]", "/proc/1/comm": "systemd\n"}
    said = "/run/dbus/x dbus.socket dbus.service\n[::]:9090 other.socket other.service\n[::]:80 cockpit.socket cockpit.service\n"
    assert sockets.listeners(fake(files, {"systemctl list-sockets": said}), (80,)) == [Listener(80, "::", "systemd", 1, "cockpit.socket")]


# --- Packages ------------------------------------------------------------------------------------------


def test_who_holds_the_package_manager(fake: Fake, tmp_path: Path) -> None:
    """[F3] Its process and its unit; asking takes no lock, and a lock that is free is none."""
    host = fake({"/var/lib/dpkg/lock-frontend": "", "/var/lib/dpkg/lock": ""})
    assert list(packages.locks(host)) == []
    lock = tmp_path / "var/lib/dpkg/lock-frontend"
    script = f"import fcntl,time; f=open({str(lock)!r},'w'); fcntl.lockf(f, fcntl.LOCK_EX); print(1, flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdout and holder.stdout.readline() == "1\n"
            cmdline = f"/proc/{holder.pid}/cmdline"
            host = fake(
                {
                    cmdline: "/usr/bin/python3\0/usr/bin/unattended-upgrade\0",
                    f"/proc/{holder.pid}/cgroup": "0::/system.slice/apt-daily-upgrade.service\n",
                }
            )
            (busy,) = packages.locks(host)
            who = f"/usr/bin/python3 /usr/bin/unattended-upgrade (pid {holder.pid}, apt-daily-upgrade.service)"
            assert busy.id == "apt:lock" and busy.evidence == f"{who} holds /var/lib/dpkg/lock-frontend"
        finally:
            holder.kill()
    with lock.open("w") as mine:
        fcntl.lockf(mine, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_what_an_installation_left(fake: Fake) -> None:
    """[F3] Removed packages with their configuration are whole."""
    assert packages.state(fake({"/var/lib/dpkg/status": STATUS})).interrupted == ["b (half-configured)"]


def test_sources_of_both_kinds(fake: Fake) -> None:
    """[F3] Those that are switched off, of source code, or on a disc are none."""
    host = fake(
        {
            "/etc/apt/sources.list": LIST,
            "/etc/apt/sources.list.d/two.sources": STANZAS,
            "/etc/apt/sources.list.d/old.list.disabled": "deb http://off.example a b\n",
        }
    )
    assert list(packages.sources(host)) == ["http://one.example", "http://two.example/debian", "https://three.example"]
    assert packages.state(host).sources == 3
    assert packages.state(fake({"/etc/apt/sources.list": "", "/etc/apt/sources.list.d/two.sources": ""})).sources == 0


def test_names_of_package_servers(fake: Fake) -> None:
    """[F3] A proxy resolves them itself; no answer in time is no answer."""
    files = {"/etc/apt/sources.list": "deb http://one.example a b\ndeb file:/mirror a b\n"}
    assert packages.unresolved(fake(files, resolve=lambda name: False)) == "one.example"
    assert packages.unresolved(fake(files, resolve=lambda name: None)) == ""
    assert packages.unresolved(fake(files, {"apt-config dump": 'Acquire::http::Proxy "http://proxy:3128";\n'}, lambda name: False)) == ""
    assert packages.unresolved(fake(files, {"apt-config dump": 'Acquire::http "";\n'}, lambda name: False)) == "one.example"


def test_whose_a_file_is(fake: Fake) -> None:
    """Also where packages still say /lib; what no package has is said by dpkg on the way."""
    said = (
        "dpkg-query: no path found matching pattern /etc/x\ncron, x: /etc/logrotate.d/blog\nshop:amd64: /lib/systemd/system/shop.service\n"
    )
    host = fake(commands={"dpkg-query --search": (1, said)})
    wanted = ["/etc/x", "/etc/logrotate.d/blog", "/usr/lib/systemd/system/shop.service"]
    assert packages.owners(host, wanted) == {"/etc/logrotate.d/blog": "cron", "/usr/lib/systemd/system/shop.service": "shop"}
    assert packages.owners(host, []) == {}


def test_a_configuration_as_its_package_brought_it(fake: Fake) -> None:
    text = "server { listen 80; }\n"
    digest = hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
    path = "/etc/nginx/sites-available/default"
    host = fake(
        {
            path: text,
            "/etc/x": text,
            "/var/lib/dpkg/status": f"Package: nginx-common\nConffiles:\n {path} {digest}\n /etc/x {digest[::-1]}\n",
        }
    )
    assert packages.unchanged(host, path)
    assert not packages.unchanged(host, "/etc/x") and not packages.unchanged(host, "/etc/none")


def test_the_package_that_makes_a_user(fake: Fake) -> None:
    """[F3] Asked of the packages that are installed: no list of names."""
    host = fake(
        {
            "/var/lib/dpkg/info/redis-server.postinst": 'USER="redis"\nadduser --system "$USER"\n',
            "/var/lib/dpkg/info/blogd:amd64.preinst": "useradd -r blog\n",
            "/var/lib/dpkg/info/other.postinst": "echo blog\n",
            "/usr/lib/sysusers.d/shop.conf": 'u shop - "x"\n# u wiki\n',
        }
    )
    assert packages.makers(host, ["redis", "blog", "shop", "wiki", "red"]) == {
        "redis": "redis-server",
        "blog": "blogd",
        "shop": "sysusers.d/shop.conf",
    }
