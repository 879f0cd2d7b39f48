"""What confines the commands of a deploy: their sandbox, their limits, and what is said when one of them met those."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.slipway.vps.plugins.module_utils import confinement
from ansible_collections.slipway.vps.plugins.module_utils.confinement import Confinement, barred, makes_code, starved
from ansible_collections.slipway.vps.plugins.module_utils.deploy_steps import StepError
from ansible_collections.slipway.vps.plugins.module_utils.releases import READY
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core import units

from .fakes import MIB, NEW, Existing, Host, Make

OOM = "Started blog-build-step.service.\nblog-build-step.service: Failed with result 'oom-kill'.\n"


def said(words: tuple[str, ...]) -> list[str]:
    return [word.removeprefix("--property=") for word in words if word.startswith("--property=")]


def test_a_build_is_confined_as_one(host: Host, deploy: Make) -> None:
    """[A9] Compilers and node get what they need, and the app's openings are no business of a build's."""
    deploy(build_commands=["npm ci"], confinement={"slice": "slipway-blog.slice", "sandbox": {"devices": ["/dev/video0"]}}).prepare()
    for words in host.transients:
        given = said(words)
        assert {"ProtectSystem=strict", "NoNewPrivileges=yes", "CapabilityBoundingSet=", "Slice=slipway-blog.slice", "UMask=0022"} <= {
            *given
        }
        assert not [one for one in given if one.startswith(("MemoryDenyWriteExecute", "DeviceAllow"))]
        assert {"MemoryMax=872M", "OOMPolicy=kill", "OOMScoreAdjust=900"} <= {*given}


def test_a_migration_is_confined_as_the_app(host: Host, deploy: Make, waiting: None) -> None:
    """[A9] [A13] With the app's openings: what works in its service works there."""
    host.revision, host.upgrades_to = "0001", "0002"
    deploy(release=NEW, migrate_command="flask db upgrade", confinement={"sandbox": {"netlink": True}}).do("migrate")
    given = said(next(words for words in host.transients if "--unit=blog-migrate-step.service" in words))
    assert "MemoryDenyWriteExecute=yes" in given and "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK" in given


@pytest.mark.parametrize(("available", "limit"), [(1000, "872M"), (300, "256M"), (20, "256M")])
def test_a_build_leaves_room_for_what_serves(monkeypatch: pytest.MonkeyPatch, available: int, limit: str) -> None:
    """[A9] What is available, less a reserve; where there is next to nothing it is the first to go."""
    monkeypatch.setattr(confinement, "memory_available", lambda slice_unit: available * MIB)
    assert Confinement.of({"secrets_file": "/x"}).memory_max() == limit
    assert Confinement.of({"secrets_file": "/x", "build_memory": "40%"}).memory_max() == "40%"


@pytest.mark.parametrize(
    ("journal", "output", "memory"),
    [
        (OOM, "", True),
        ("", "sh: line 1: 4711 Killed  node build.js", True),
        # cgroup v1: systemd sees a signal.
        ("Main process exited, code=killed, status=9/KILL\nFailed with result 'signal'.", "(systemd-run exited 1)", True),
        # An older run's.
        (OOM + "Failed with result 'exit-code'.", "error: no such file", False),
        ("Main process exited, code=killed, status=15/TERM\nFailed with result 'signal'.", "", False),
        ("", "killed the old one", False),
    ],
)
def test_want_of_memory_is_told_from_other_failures(monkeypatch: pytest.MonkeyPatch, journal: str, output: str, memory: bool) -> None:
    """[A9] [K8] The limit, and the variable that sets it."""
    monkeypatch.setattr(confinement, "journal", lambda unit, lines: journal)
    told = starved("blog-build-step.service", output, "872M")
    assert ("The build ran out of memory: its limit was 872M (release_build_memory)" in told) is memory


def test_a_build_that_ran_out_of_memory_says_so(host: Host, deploy: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """[A9] [K8]"""
    monkeypatch.setattr(confinement, "journal", lambda unit, lines: OOM)
    host.fails["npm ci"] = "npm said nothing"
    with pytest.raises(StepError, match=r"npm said nothing\n(.|\n)*its limit was 872M"):
        deploy(build_commands=["npm ci"]).prepare()


@pytest.mark.parametrize(
    ("limit", "usage", "stat", "left"),
    [
        ("memory.max", "memory.current", "active_file {0}\ninactive_file {0}\nanon 5", 700),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "active_file 1\ntotal_active_file {0}\ntotal_inactive_file {0}", 700),
    ],
)
def test_room_within_a_slice(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, limit: str, usage: str, stat: str, left: int) -> None:
    """[A7] Of both versions of cgroups; files in memory are given back when somebody wants it."""
    group = tmp_path / "slipway.slice/slipway-blog.slice"
    group.mkdir(parents=True)
    (group / limit).write_text(f"{1000 * MIB}\n")
    (group / usage).write_text(f"{500 * MIB}\n")
    (group / "memory.stat").write_text(stat.format(100 * MIB))
    monkeypatch.setattr(units, "attempt", lambda words: (0, "/slipway.slice/slipway-blog.slice\n"))
    monkeypatch.setattr(units, "CGROUPS", [(str(tmp_path), limit, usage)])
    assert units.headroom("slipway-blog.slice") == left * MIB
    assert 0 < units.memory_available("slipway-blog.slice") <= left * MIB
    (group / limit).write_text("max\n" if limit == "memory.max" else f"{2**63 - 4096}\n")
    assert units.headroom("slipway-blog.slice") is None


def test_a_slice_that_is_not_there_limits_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """[A7] Before the first start in it."""
    monkeypatch.setattr(units, "attempt", lambda words: (0, "\n"))
    assert units.headroom("slipway-blog.slice") is None and units.memory_available("slipway-blog.slice") > 0


def test_an_app_that_makes_machine_code_is_told_of_the_opening(host: Host, deploy: Make) -> None:
    """[F6] [K8] After the build by what it brings, and after a rehearsal that failed by how it died."""
    host.brings = ["numba-0.62.dist-info", "flask-3.1.dist-info"]
    (warning,) = (told for told in deploy().prepare()["warnings"] if "jit" in told)
    assert warning.startswith("numba may make machine code") and "app_sandbox_allow: [jit]" in warning
    for told in (
        "MemoryError: Cannot allocate write+execute memory for ffi.callback(). You might be running on a system that prevents this.",
        "PermissionError: [Errno 13] cannot allocate executable memory. This may be due to security restrictions",
        "# Fatal error in , line 0\n# Check failed: 12 == (*__errno_location ()).",
    ):
        assert "jit" in barred(told)
    assert not barred("MemoryError") and not barred("ImportError: no module named x")


def test_an_app_that_may_make_machine_code_is_not_warned(tmp_path: Path, host: Host, deploy: Make) -> None:
    """[F6]"""
    host.brings = ["numba-0.62.dist-info"]
    assert "warnings" not in deploy(confinement={"sandbox": {"jit": True}}).prepare()
    assert makes_code(tmp_path) == []


def test_a_rehearsal_says_which_opening_is_missing(deploy: Make, existing: Existing) -> None:
    """[F6] [K8]"""
    with pytest.raises(StepError, match=r"app_sandbox_allow: \[jit\]"), deploy(release=NEW).app.trying(existing(NEW, READY)):
        raise StepError("start", "LLVM ERROR: Unable to allocate section memory!")
