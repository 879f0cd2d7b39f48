"""Swap and the kernel's settings: what this machine can have, and what it already has from others."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core import run
from ansible_collections.slipway.vps.plugins.module_utils.swap import GIB, MIB, Host, parsed, plan
from ansible_collections.slipway.vps.plugins.module_utils.sysctl import Kernel, names
from ansible_collections.slipway.vps.plugins.modules import swap as swap_module
from ansible_collections.slipway.vps.plugins.modules import sysctl as sysctl_module

from .module_call import call_module

Call = Callable[..., dict[str, Any]]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch) -> Call:
    """Run a module with its arguments."""

    def run_module(module: Any, check: bool = False, **words: Any) -> dict[str, Any]:
        return call_module(module, monkeypatch, {**words}, check)

    return run_module


# --- Swap ---------------------------------------------------------------------------------------------------------

VPS = Host(GIB, 20 * GIB, "ext4", "", ())


@pytest.mark.parametrize(
    ("memory", "size"),
    [(512 * MIB, GIB), (GIB, 2 * GIB), (2 * GIB, 4 * GIB), (4 * GIB, 4 * GIB), (8 * GIB, 4 * GIB), (64 * GIB, 4 * GIB)],
)
def test_swap_by_memory(memory: int, size: int) -> None:
    """[A3] Red Hat's table, four gigabytes at most."""
    assert plan(VPS._replace(memory=memory, free=100 * GIB), "auto") == (size, "")


@pytest.mark.parametrize(
    ("host", "wanted", "size", "why"),
    [
        # A kernel gives itself some of the memory: 2 GB are 1.9.
        (VPS._replace(memory=int(1.9 * GIB)), "auto", 3891 * MIB, ""),
        (VPS._replace(free=4 * GIB), "auto", GIB, ""),
        (VPS._replace(free=900 * MIB), "auto", 0, "too much"),
        (VPS._replace(free=900 * MIB), "512M", 0, "too much"),
        (VPS, "512M", 512 * MIB, ""),
        (VPS, "none", 0, "base_swap is none"),
        (VPS._replace(container="lxc"), "2G", 0, "container (lxc)"),
        (VPS._replace(others=("/dev/sda2",)), "auto", 0, "there is swap already: /dev/sda2"),
        *((VPS._replace(file_system=name), "auto", 0, f"on {name} cannot") for name in ("btrfs", "zfs", "overlay")),
    ],
)
def test_where_there_is_none_it_is_said(host: Host, wanted: str, size: int, why: str) -> None:
    """[F3] [F8] A container, other swap, a file system that takes none, a disk that is full."""
    found = plan(host, wanted)
    assert found.size == size and why in found.why and bool(found.why) != bool(found.size)


@pytest.mark.parametrize("text", ["2", "2g", "0G", "2 GB", "-1M", ""])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="is no size"):
        parsed(text)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine: /proc as it has it, and programs that note what they are told."""
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/meminfo").write_text("MemTotal:        1000000 kB\nMemFree: 1 kB\n")
    (tmp_path / "proc/swaps").write_text("Filename\t\t\t\tType\t\tSize\n")
    (tmp_path / "proc/mounts").write_text(f"/dev/sda1 / ext4 rw 0 0\ntmpfs /run tmpfs rw 0 0\n/dev/sdb1 {tmp_path} xfs rw 0 0\n")
    (tmp_path / "units").mkdir()
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, text in {"mkswap": "exit 0", "systemctl": "exit 0", "systemd-detect-virt": "echo none; exit 1"}.items():
        (programs / name).write_text(f'#!/bin/sh\necho "{name} $*" >> {tmp_path}/log\n{text}\n')
        (programs / name).chmod(0o755)
    monkeypatch.setattr(run, "PATH", f"{programs}:{run.PATH}")
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    real = swap_module.Swap
    monkeypatch.setattr(swap_module, "Swap", lambda path: real(path, tmp_path / "units", tmp_path / "proc"))
    monkeypatch.setattr(os, "posix_fallocate", lambda handle, start, size: os.ftruncate(handle, size))
    return tmp_path


def unit_of(path: Path) -> str:
    return str(path).strip("/").replace("-", "\\x2d").replace("/", "-") + ".swap"


def test_a_swap_file_is_made_once(machine: Path, call: Call) -> None:
    """[A3] For its owner alone, with a unit of its own name; a dry run says so; a second run changes nothing."""
    file = machine / "swapfile"
    assert call(swap_module, check=True, path=str(file), size="300M")["changed"] and not file.exists()
    said = call(swap_module, path=str(file), size="300M")
    assert (said["changed"], said["size"]) == (True, 300 * MIB)
    assert oct(file.stat().st_mode)[-3:] == "600" and file.stat().st_size == 300 * MIB
    unit = machine / "units" / unit_of(file)
    assert f"What={file}\n" in unit.read_text() and "WantedBy=swap.target" in unit.read_text()
    log = (machine / "log").read_text()
    assert f"systemctl enable --now {unit.name}" in log and "mkswap" in log
    # Active now. Another size changes nothing: what is in it would have to go to memory first.
    (machine / "proc/swaps").write_text(f"Filename\n{file} file 1\n")
    assert call(swap_module, path=str(file), size="1G") == {"changed": False, "size": 300 * MIB, "why": ""}


def test_a_kernel_that_takes_none(machine: Path, call: Call) -> None:
    """[F3] Nothing is left of it, and it is no failure."""
    systemctl = machine / "bin/systemctl"
    systemctl.write_text('#!/bin/sh\ncase "$1" in enable) echo "swapon failed: Operation not permitted"; exit 1;; esac\n')
    said = call(swap_module, path=str(machine / "swapfile"), size="300M")
    assert (said["changed"], said["size"]) == (False, 0) and "Operation not permitted" in said["why"]
    assert not (machine / "swapfile").exists() and not list((machine / "units").iterdir()) and not list(machine.glob(".partial*"))


def test_somebody_elses_file_is_left_alone(machine: Path, call: Call) -> None:
    """[F3] In use or not."""
    file = machine / "swapfile"
    file.write_text("mine")
    assert "which is not in use" in call(swap_module, path=str(file))["why"]
    (machine / "proc/swaps").write_text(f"Filename\n{file} file 1\n")
    assert "there is swap already" in call(swap_module, path=str(file))["why"]
    assert file.read_text() == "mine"


# --- The kernel's settings ------------------------------------------------------------------------------------------


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A kernel with a few settings, and the files of a host."""
    for name, value in {"kernel/kptr_restrict": "0", "net/ipv4/tcp_rfc1337": "0", "kernel/tainted": "1\t2", "vm/swappiness": "60"}.items():
        path = tmp_path / "proc/sys" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{value}\n")
    (tmp_path / "etc/sysctl.d").mkdir(parents=True)
    monkeypatch.setattr(sysctl_module, "Kernel", lambda: Kernel(tmp_path))
    monkeypatch.setattr(sysctl_module, "attempt", lambda words: (1, "none\n"))
    return tmp_path


def wanted(**settings: str) -> list[dict[str, str]]:
    return [{"name": name.replace("__", "."), "value": value, "why": f"why {name}"} for name, value in settings.items()]


def test_what_differs_is_set(kernel: Path, call: Call) -> None:
    """[F3] What this kernel lacks is left out; a dry run says so; a second run changes nothing."""
    file = kernel / "etc/sysctl.d/60-slipway-base.conf"
    settings = wanted(kernel__kptr_restrict="2", kernel__tainted="1 2", net__ipv4__tcp_rfc1337="1", kernel__nothing="1")
    words = {"path": str(file), "settings": settings, "head": ["Ansible managed", "slipway:base"]}
    said = call(sysctl_module, check=True, **words)
    assert said["changed"] and said["set"] == ["kernel.kptr_restrict", "net.ipv4.tcp_rfc1337"] and not file.exists()
    said = call(sysctl_module, **words)
    assert said["changed"] and said["absent"] == ["kernel.nothing"] and (kernel / "proc/sys/kernel/kptr_restrict").read_text() == "2\n"
    text = file.read_text()
    assert text.startswith("# Ansible managed\n# slipway:base\n") and "# why net__ipv4__tcp_rfc1337\nnet.ipv4.tcp_rfc1337 = 1\n" in text
    assert "nothing" not in text and not call(sysctl_module, **words)["changed"]
    # Changed by hand, it comes back.
    (kernel / "proc/sys/kernel/kptr_restrict").write_text("1\n")
    assert call(sysctl_module, **words)["set"] == ["kernel.kptr_restrict"]


@pytest.mark.parametrize("place", ["etc/sysctl.conf", "etc/sysctl.d/99-mine.conf", "etc/sysctl.d/10-mine.conf"])
def test_what_an_operator_has_decided_stays(place: str, kernel: Path, call: Call) -> None:
    """[F3] By which file ever: two that say it would take turns at each boot and each run."""
    (kernel / place).write_text("# mine\n vm.swappiness=100\n")
    said = call(sysctl_module, path=str(kernel / "etc/sysctl.d/60-slipway-base.conf"), settings=wanted(vm__swappiness="10"))
    assert said["theirs"] == {"vm.swappiness": f"/{place}"} and said["set"] == []
    assert (kernel / "proc/sys/vm/swappiness").read_text() == "60\n"


def test_a_kernel_that_is_not_ours_to_change(kernel: Path, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """[F3] A container: said, no failure, and no change that comes again each run."""
    real = Path.write_text

    def write(path: Path, text: str, **options: Any) -> int:
        if "proc/sys" in str(path):
            raise OSError(30, "Read-only file system")
        return real(path, text, **options)

    monkeypatch.setattr(Path, "write_text", write)
    words = {"path": str(kernel / "etc/sysctl.d/60-slipway-base.conf"), "settings": wanted(vm__swappiness="10")}
    said = call(sysctl_module, **words)
    assert said["refused"] == {"vm.swappiness": "Read-only file system"} and said["set"] == []
    assert not call(sysctl_module, **words)["changed"]


def test_a_container_leaves_the_kernel_alone(kernel: Path, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """[F3] Also one that may write to it: it is the kernel of others. Its network is its own, where it may (LXC; Docker lets it not)."""
    monkeypatch.setattr(sysctl_module, "attempt", lambda words: (0, "lxc\n"))
    settings = wanted(vm__swappiness="10", net__ipv4__tcp_rfc1337="1")
    words = {"path": str(kernel / "etc/sysctl.d/60-slipway-base.conf"), "settings": settings}
    said = call(sysctl_module, **words)
    assert said["refused"] == {"vm.swappiness": "this is a container (lxc)"} and (kernel / "proc/sys/vm/swappiness").read_text() == "60\n"
    assert said["set"] == ["net.ipv4.tcp_rfc1337"] and (kernel / "proc/sys/net/ipv4/tcp_rfc1337").read_text() == "1\n"
    assert not call(sysctl_module, **words)["changed"] and not call(sysctl_module, check=True, **words)["changed"]
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    (kernel / "proc/sys/net/ipv4/tcp_rfc1337").write_text("0\n")
    assert len(call(sysctl_module, **words)["refused"]) == 2


def test_files_of_this_project_are_not_the_operators(kernel: Path) -> None:
    """[F1] nginx's queue is the role nginx's; it is not in this list either."""
    (kernel / "etc/sysctl.d/60-slipway-nginx.conf").write_text("# slipway:nginx\nvm.swappiness = 1\n")
    assert Kernel(kernel).look({"vm.swappiness": "10"}, kernel / "x").theirs == {}


def test_names_of_settings() -> None:
    """Comments, blanks, and a dash before what may fail."""
    text = "# a.b = 1\n; c.d=1\nnet.ipv4.conf.all.rp_filter=2\n - net/ipv4/conf/eth0.100/forwarding = 1\nnonsense\n"
    assert [*names(text)] == ["net.ipv4.conf.all.rp_filter", "net/ipv4/conf/eth0.100/forwarding"]
