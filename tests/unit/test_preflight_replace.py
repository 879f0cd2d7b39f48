"""What the operator answered with replace gives way: units, files of units, rules; and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest
from ansible_collections.slipway.vps.plugins.module_utils.preflight.gather.host import Host
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core.errors import SlipwayError
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core.files import free_name
from ansible_collections.slipway.vps.plugins.modules.preflight_replace import Replacement

Make = Callable[..., tuple[Replacement, list[str]]]
TCP = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
#: What changes something.
CHANGING = ("systemctl disable", "systemctl stop", "systemctl daemon-reload", "iptables --wait", "ip6tables --wait")


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """A host in a folder, commands to what they say, and a list of those that change something."""

    def build(
        files: Mapping[str, str], commands: Mapping[str, tuple[int, str]] | None = None, check: bool = False
    ) -> tuple[Replacement, list[str]]:
        did: list[str] = []
        for name, text in files.items():
            path = tmp_path / name.lstrip("/")
            path.parent.mkdir(parents=True, exist_ok=True)
            if text.startswith("-> "):
                path.symlink_to(text[3:])
            else:
                path.write_text(text)

        def run(words: Sequence[str]) -> tuple[int, str]:
            line = " ".join(words)
            if line.startswith(CHANGING):
                did.append(line)
            return next((said for begin, said in (commands or {}).items() if line.startswith(begin)), (0, ""))

        return Replacement(Host(tmp_path, run, lambda name: True), check), did

    return build


def listening(port: int, process: str, unit: str, pid: int = 81) -> dict[str, str]:
    """Files of /proc of a server."""
    return {
        "/proc/net/tcp": TCP + f"   0: 00000000:{port:04X} 00000000:0000 0A 0:0 00:0 0 0 0 77 1 0 100\n",
        f"/proc/{pid}/fd/3": "-> socket:[77]",
        f"/proc/{pid}/comm": f"{process}\n",
        f"/proc/{pid}/cgroup": f"0::/system.slice/{unit}\n",
    }


def test_the_holder_of_a_port_is_stopped_with_its_sockets(make: Make) -> None:
    """[F3] The socket first: it would start the service again."""
    triggers = {"systemctl show --property=TriggeredBy": (0, "apache.socket\n")}
    replacement, did = make(listening(80, "apache2", "apache2.service"), triggers)
    replacement.free([80, 443], ["nginx.service"])
    assert did == ["systemctl disable --now apache.socket", "systemctl disable --now apache2.service"]
    assert replacement.replaced == ["apache.socket is stopped and disabled", "apache2.service is stopped and disabled"]


def test_ours_keeps_its_port(make: Make) -> None:
    """[F3] A second run changes nothing."""
    replacement, did = make(listening(80, "nginx", "nginx.service"))
    replacement.free([80, 443], ["nginx.service"])
    assert did == replacement.replaced == []
    free, did = make({"/proc/net/tcp": TCP})
    free.free([80, 443], [])
    assert did == []


@pytest.mark.parametrize(
    ("process", "unit"),
    [("sshd", "ssh.service"), ("python3", "session-3.scope"), ("docker-proxy", "docker.service"), ("node", "user@1000.service")],
)
def test_who_may_not_be_stopped_is_not(make: Make, process: str, unit: str) -> None:
    """[F3] It came after preflight had looked."""
    replacement, did = make(listening(443, process, unit))
    with pytest.raises(SlipwayError, match=rf"port 443 is held by {process}"):
        replacement.free([443], [])
    assert did == []


@pytest.mark.parametrize(
    ("state", "stopped"),
    [
        ("LoadState=loaded\nActiveState=active\nUnitFileState=enabled\n", True),
        ("LoadState=loaded\nActiveState=inactive\nUnitFileState=enabled\n", True),
        ("LoadState=loaded\nActiveState=active\nUnitFileState=disabled\n", True),
        ("LoadState=loaded\nActiveState=inactive\nUnitFileState=disabled\n", False),
        ("LoadState=not-found\nActiveState=inactive\nUnitFileState=\n", False),
        ("LoadState=masked\nActiveState=inactive\nUnitFileState=masked\n", False),
        ("", False),
    ],
)
def test_units_are_stopped_where_they_are(make: Make, state: str, stopped: bool) -> None:
    """[F3] apt has removed netfilter-persistent by then."""
    replacement, did = make({}, {"systemctl show --property=LoadState": (0, state)})
    replacement.stop_where_they_are(["nftables.service"])
    assert did == (["systemctl disable --now nftables.service"] if stopped else [])


def test_units_of_others_are_set_aside(make: Make, tmp_path: Path) -> None:
    """[F3] Stopped, and renamed so that systemd does not read them; ours and the distribution's stay."""
    system = tmp_path / "etc/systemd/system"
    files = {
        "/etc/systemd/system/blog.service": "[Service]\n",
        "/etc/systemd/system/blog.service.replaced": "older\n",
        "/etc/systemd/system/blog-worker@.service": "[Service]\n",
        "/etc/systemd/system/blog-tls.timer": "# slipway:tls\n",
        "/etc/systemd/system/blog-backup.service": "-> /dev/null",
        "/etc/systemd/system/blog-rehearsal.service.d/a.conf": "[Service]\n",
        "/usr/lib/systemd/system/blog-rehearsal.service": "[Service]\n",
    }
    replacement, did = make(files, {"dpkg-query": (1, "")})
    replacement.set_aside(["blog", "blog-worker", "blog-tls", "blog-backup", "blog-rehearsal"])
    assert did == [
        "systemctl disable --now blog.service",
        "systemctl stop blog-worker@*.service",
        "systemctl stop blog-backup.service",
        "systemctl daemon-reload",
    ]
    assert (system / "blog.service.replaced").read_text() == "older\n" and (system / "blog.service.replaced.1").read_text() == "[Service]\n"
    assert not (system / "blog.service").exists() and (system / "blog-tls.timer").exists() and len(replacement.replaced) == 4
    assert (system / "blog-rehearsal.service.d.replaced/a.conf").exists()
    replacement, did = make({}, {"dpkg-query": (1, "")})
    replacement.set_aside(["blog", "blog-worker", "blog-tls", "blog-backup"])
    assert did == replacement.replaced == []


def test_a_unit_of_a_package_is_not_set_aside(make: Make) -> None:
    """dpkg would put it back."""
    replacement, did = make({"/etc/systemd/system/blog.service": "x"}, {"dpkg-query": (0, "blogd: /etc/systemd/system/blog.service\n")})
    with pytest.raises(SlipwayError, match="belongs to the package blogd"):
        replacement.set_aside(["blog"])
    assert did == []


def test_rules_before_ufw_are_removed(make: Make) -> None:
    """[F3] The one that refuses, in the words in which it was given; no other."""
    saved = (
        '*filter\n-A INPUT -p icmp -j ACCEPT\n-A INPUT -m comment --comment "no one" -j REJECT --reject-with icmp-host-prohibited\nCOMMIT\n'
    )
    replacement, did = make({}, {"iptables-save": (0, saved), "ip6tables-save": (127, "")})
    replacement.open([80, 443])
    assert did == ["iptables --wait -D INPUT -m comment --comment no one -j REJECT --reject-with icmp-host-prohibited"]
    assert replacement.replaced == [
        "iptables -A INPUT -m comment --comment 'no one' -j REJECT --reject-with icmp-host-prohibited is removed"
    ]
    replacement.open([])
    assert len(did) == 1


def test_check_mode_says_what_would_go(make: Make, tmp_path: Path) -> None:
    """[F3] And changes nothing."""
    files = {**listening(80, "apache2", "apache2.service"), "/etc/systemd/system/blog.service": "[Service]\n"}
    replacement, did = make(files, {"dpkg-query": (1, ""), "iptables-save": (0, "*filter\n-A INPUT -j DROP\n")}, check=True)
    replacement.free([80], [])
    replacement.set_aside(["blog"])
    replacement.open([80])
    assert did == [] and len(replacement.replaced) == 3 and (tmp_path / "etc/systemd/system/blog.service").exists()


def test_what_cannot_be_stopped_stops_the_run_in_words(make: Make) -> None:
    """[F8]"""
    replacement, _ = make(listening(80, "apache2", "apache2.service"), {"systemctl disable": (1, "Failed to disable unit\n")})
    with pytest.raises(SlipwayError, match=r"systemctl disable --now apache2.service exited 1: Failed to disable unit"):
        replacement.free([80], [])


def test_a_free_name(tmp_path: Path) -> None:
    assert free_name(tmp_path / "a") == tmp_path / "a"
    (tmp_path / "a").touch()
    (tmp_path / "a.1").symlink_to("nowhere")
    assert free_name(tmp_path / "a") == tmp_path / "a.2"
