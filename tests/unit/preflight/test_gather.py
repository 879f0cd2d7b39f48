"""The machine itself, and all sources together: what is missing has its default, and nothing is changed."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path

import pytest
from ansible_collections.slipway.vps.plugins.module_utils.preflight.facts import Facts
from ansible_collections.slipway.vps.plugins.module_utils.preflight.findings import judge
from ansible_collections.slipway.vps.plugins.module_utils.preflight.gather import (
    gather,
    sockets,
    system,
)
from ansible_collections.slipway.vps.plugins.module_utils.preflight.gather.host import Host
from ansible_collections.slipway.vps.plugins.module_utils.preflight.needs import Needs

from .conftest import Fake

# --- The machine ---------------------------------------------------------------------------------------

MACHINE = {
    "/etc/os-release": 'NAME="Debian"\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n',
    "/etc/debian_version": "12.9\n",
    "/usr/bin/apt-get": "",
    "/proc/meminfo": "MemTotal:        2014052 kB\nMemFree: 1 kB\nSwapTotal:        524284 kB\n",
    "/proc/sys/kernel/hostname": "web1\n",
    "/proc/sys/kernel/osrelease": "6.1.0-40-amd64\n",
    "/proc/sys/net/core/somaxconn": "4096\n",
    "/proc/net/if_inet6": "",
    "/proc/1/comm": "systemd\n",
    "/sys/fs/cgroup/cgroup.controllers": "cpu memory\n",
    "/etc/hosts": "127.0.0.1 localhost\n127.0.1.1 web1.example.com web1 # me\n",
}
PROGRAMS = {
    "systemctl --version": "systemd 252 (252.39-1~deb12u1)\n+PAM\n",
    "dpkg --print-architecture": "arm64\n",
    "unshare": "",
}


def test_the_machine(fake: Fake) -> None:
    host = fake(MACHINE, {**PROGRAMS, "systemctl list-units --state=failed": "x.service loaded failed failed X\n"})
    found = system.gather(host, time.time() - 100)
    assert (found.name, found.debian, found.architecture, found.systemd) == ("Debian GNU/Linux 12 (bookworm)", True, "arm64", 252)
    assert (found.kernel, found.init, found.cgroup, found.ipv6, found.container) == ("6.1.0-40-amd64", "systemd", 2, True, "")
    assert (found.memory, found.swap, found.hostname_known) == (2014052 * 1024, 524284 * 1024, True)
    assert found.clock_ahead is not None and 100 <= found.clock_ahead < 110
    assert found.failed_units == ["x.service"] and found.mount_namespaces == "" and found.reboot == []
    assert not found.selinux


def test_a_machine_that_lacks_much(fake: Fake) -> None:
    """[F3] LXC without nesting on a host of control groups of both versions, IPv6 off, a restart due, a name that nobody knows."""
    host = fake(
        {
            "/proc/sys/kernel/hostname": "lost",
            "/run/systemd/container": "lxc",
            "/sys/fs/cgroup/unified/cgroup.controllers": "",
            "/sys/fs/selinux/enforce": "1",
            "/run/reboot-required": "*** System restart required ***\n",
            "/run/reboot-required.pkgs": "libc6\nlinux-image\nlibc6\n",
        },
        {"unshare": (1, "unshare: cannot change root filesystem propagation: Permission denied\n")},
        lambda name: False,
    )
    found = system.gather(host, None)
    assert (found.container, found.cgroup, found.ipv6, found.selinux, found.debian) == ("lxc", 0, False, True, False)
    assert (found.mount_namespaces, found.reboot) == (
        "unshare: cannot change root filesystem propagation: Permission denied",
        ["libc6", "linux-image"],
    )
    assert (found.hostname_known, found.clock_ahead, found.systemd) == (False, None, 0)


@pytest.mark.parametrize(("files", "container"), [({"/proc/vz/x": ""}, "openvz"), ({"/proc/vz/x": "", "/proc/bc/x": ""}, "")])
def test_openvz(fake: Fake, files: dict[str, str], container: str) -> None:
    """Its host has /proc/bc."""
    assert system.gather(fake(files), None).container == container


def test_disks_and_how_they_are_mounted(fake: Fake) -> None:
    """The longest mount point that is above a path; the last one at a place."""
    mounts = (
        "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"
        "30 22 8:2 / /srv rw,relatime - ext4 /dev/sdb rw\n"
        "31 22 8:3 / /srv rw,noexec,relatime - xfs /dev/sdc rw\n"
        "32 22 8:4 / /var/my\\040data ro - xfs /dev/sdd rw\n"
    )
    found = {
        disk.path: disk
        for disk in system.disks(fake({"/proc/self/mountinfo": mounts, "/srv/x": "", "/var/x": ""}), ["/", "/srv", "/var", "/srvx"])
    }
    assert {path: disk.mount for path, disk in found.items()} == {"/": "/", "/srv": "/srv", "/var": "/", "/srvx": "/"}
    assert "noexec" in found["/srv"].options and found["/"].size > 0 and found["/"].free > 0


@pytest.mark.parametrize(
    ("files", "busy"),
    [
        ({}, 0),
        ({"/run/cloud-init/enabled": "", "/run/cloud-init/status.json": '{"v1": {"stage": "modules-final"}}'}, 1),
        ({"/run/cloud-init/enabled": "", "/run/cloud-init/status.json": "{"}, 1),
        ({"/run/cloud-init/enabled": "", "/run/cloud-init/status.json": "[]"}, 1),
        ({"/run/cloud-init/enabled": "", "/run/cloud-init/result.json": "{}"}, 0),
        ({"/run/cloud-init/disabled": ""}, 0),
    ],
)
def test_the_first_start(fake: Fake, files: dict[str, str], busy: int) -> None:
    """[F3] cloud-init installs packages and writes configuration while it is at work."""
    assert len(list(system.first_start(fake(files)))) == busy


# --- All of it -----------------------------------------------------------------------------------------


def test_an_empty_host_answers_nothing_and_nothing_breaks(fake: Fake, needs: Needs) -> None:
    """[F8] Whatever is missing has its default; JSON holds it all."""
    facts = gather(needs, fake())
    assert json.loads(json.dumps(asdict(facts)))["system"]["debian"] is False
    assert [finding.id for finding in judge(facts, needs)] == ["system:distribution"]


def test_a_clean_machine_from_end_to_end(fake: Fake, needs: Needs) -> None:
    """[F3] As a provider hands it over."""
    files = {
        **MACHINE,
        "/etc/apt/sources.list": "deb http://deb.example.org trixie main\n",
        "/var/lib/dpkg/status": "Package: a\nStatus: install ok installed\n",
    }
    facts = gather(needs, fake(files, {**PROGRAMS, "getent": (2, "")}), time.time())
    found = [finding for finding in judge(facts, needs) if not finding.id.startswith(("disk:", "inodes:", "noexec:"))]
    assert found == [] and facts.unknown == []


def test_a_source_that_fails_hides_no_other(fake: Fake, needs: Needs, monkeypatch: pytest.MonkeyPatch) -> None:
    """[F8] It is said, by name."""
    monkeypatch.setattr(sockets, "listeners", lambda *words: 1 / 0)
    files = {**MACHINE, "/run/cloud-init/enabled": ""}
    facts = gather(needs, fake(files, PROGRAMS))
    assert facts.unknown == ["ports: ZeroDivisionError: division by zero"]
    assert facts.listeners == [] and [busy.id for busy in facts.busy] == ["system:cloud-init"]


def test_looking_changes_nothing(fake: Fake, needs: Needs, tmp_path: Path) -> None:
    """[F3] No file is made, changed or removed, and no command is run that could."""
    ran: list[str] = []
    made = fake(MACHINE)

    def run(words: tuple[str, ...]) -> tuple[int, str]:
        ran.append(" ".join(words))
        return made.run(*words)

    before = {str(path): path.stat() for path in tmp_path.rglob("*")}
    gather(needs, Host(tmp_path, run, lambda name: True))  # type: ignore[arg-type]
    after = {str(path): path.stat() for path in tmp_path.rglob("*")}
    assert {name: (one.st_mtime_ns, one.st_size, one.st_mode) for name, one in before.items()} == {
        name: (one.st_mtime_ns, one.st_size, one.st_mode) for name, one in after.items()
    }
    allowed = (
        *("systemctl --version", "systemctl show", "systemctl list-units", "systemctl list-sockets", "dpkg --print-architecture"),
        *(
            "dpkg-query --search",
            "getent ",
            "iptables-save",
            "ip6tables-save",
            "nft list ruleset",
            "pg_lsclusters -j",
            "redis-cli",
            "runuser",
        ),
        *("apt-config dump", "unshare --mount true", "unshare --user true"),
    )
    assert ran and all(line.startswith(allowed) for line in ran), ran


def test_this_machine(needs: Needs) -> None:
    """[F3] Whatever this one is: no source fails, and it is quick."""
    began = time.monotonic()
    facts = gather(needs, Host(), time.time())
    assert isinstance(facts, Facts) and not [one for one in facts.unknown if "Error" in one]
    assert time.monotonic() - began < 15
