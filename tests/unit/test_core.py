"""What all subjects of the program share: commands, files, locks, certificates' names, the public endpoint."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core import files, http, lock, run, x509
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core.status import DEGRADED, FAILED, OK, UNKNOWN, Status, worst
from ansible_collections.slipway.vps.plugins.modules import public_endpoint


def test_a_command_that_fails_says_what_it_said() -> None:
    with pytest.raises(run.CommandError, match=r"out\nerr\n\(sh exited 3\)"):
        run.command("sh", "-c", "echo out; echo err >&2; exit 3")
    assert run.command("sh", "-c", "echo out; echo err >&2") == "out\nerr\n"


def test_a_command_gets_nothing_of_our_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """[K5] An operator's shell leads nowhere else."""
    monkeypatch.setenv("PGHOST", "elsewhere")
    assert sorted(run.command("env").splitlines()) == ["LC_ALL=C.UTF-8", f"PATH={run.PATH}"]


def test_the_working_directory_of_another_account_is_the_root_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """[K5] Not /root, where a run over SSH as root begins: psql 15 said that it could not go there, and that was taken for its answer."""
    folders = []

    def start(words: list[str], cwd: object = None, **_: object) -> subprocess.CompletedProcess[bytes]:
        folders.append(cwd)
        return subprocess.CompletedProcess(words, 0, b"", b"")

    monkeypatch.setattr(subprocess, "run", start)
    somebody = run.Account("app", 1234, 1234)
    for words in ({"account": somebody}, {"account": somebody, "cwd": Path("/srv")}, {}):
        run.command("true", **words)
    assert folders == ["/", Path("/srv"), None]


def test_an_attempt_is_never_an_error() -> None:
    assert run.attempt(["/nowhere/program"])[0] == 127
    status, said = run.attempt(["sleep", "5"], timeout=0.1)
    assert status == 124 and "sleep timed out" in said
    assert run.attempt(["cat"], stdin=b"hello") == (0, "hello")


def test_a_file_is_replaced_in_one_step(tmp_path: Path) -> None:
    """A reader meanwhile sees one text or the other; what failed leaves the old one and nothing besides."""
    path = tmp_path / "status.json"
    seen: set[str] = set()
    texts = {letter: letter * 200_000 for letter in "ab"}
    files.write_atomically(path, texts["a"])
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            text = path.read_text()
            seen.add(text[:1] if len(set(text)) == 1 and len(text) == 200_000 else "torn")

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(20):
        for text in texts.values():
            files.write_atomically(path, text, 0o640)
    done.set()
    reader.join()
    assert seen <= {"a", "b"} and path.stat().st_mode & 0o777 == 0o640
    with pytest.raises(UnicodeEncodeError):
        files.write_atomically(path, "\udcff")
    assert [found.name for found in tmp_path.iterdir()] == ["status.json"] and path.read_text() == texts["b"]


def test_a_file_is_not_written_through_a_link(tmp_path: Path) -> None:
    """[K5] Where another user may write, too."""
    (tmp_path / "victim").write_text("safe")
    (tmp_path / "file").symlink_to(tmp_path / "victim")
    files.write_atomically(tmp_path / "file", "new")
    assert (tmp_path / "victim").read_text() == "safe" and not (tmp_path / "file").is_symlink()


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """[S1] The content is on disk before the file takes its place."""
    target = tmp_path / "environment"
    target.write_text("old")

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        files.write_atomically(target, "new", 0o600)
    assert target.read_text() == "old" and list(tmp_path.iterdir()) == [target]


def test_a_file_has_its_mode_before_it_is_visible(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """[A11] No moment in which others could read a secret."""
    modes: list[int] = []
    rename = Path.rename

    def watch(self: Path, target: Path) -> Path:
        modes.append(stat.S_IMODE(self.stat().st_mode))
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", watch)
    files.write_atomically(tmp_path / "secrets", "x", 0o600, (os.getuid(), os.getgid()))
    assert modes == [0o600]


def test_a_lock_is_its_owners_alone_and_holds_on_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """[S1] Who can open a file can lock it; and a run that makes room has to get its lock."""

    def full(handle: int, data: bytes, offset: int) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    path = tmp_path / "lock"
    with lock.locked(path, "run"), pytest.raises(lock.LockedError, match="unknown"), lock.locked(path, "run"):
        pass
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_lock_names_its_holder_and_dies_with_it(tmp_path: Path) -> None:
    """[D3] `kill -9` leaves no lock."""
    path = tmp_path / "lock"
    code = "import fcntl, sys, time; h = open(sys.argv[1], 'a'); fcntl.flock(h, 2); h.write('pid 7'); h.flush(); print(flush=True)"
    holder = subprocess.Popen([sys.executable, "-c", f"{code}; time.sleep(60)", path], stdout=subprocess.PIPE)
    assert holder.stdout and holder.stdout.readline()
    with pytest.raises(lock.LockedError, match=r"another run is under way \(pid 7\)"), lock.locked(path, "run"):
        pass
    holder.kill()
    holder.communicate()
    with lock.locked(path, "run"):
        assert path.read_text().startswith(f"pid {os.getpid()} since ")


@pytest.mark.parametrize(
    ("names", "name", "good"),
    [
        (["a.example.com"], "A.example.com", True),
        (["*.example.com"], "a.example.com", True),
        (["*.example.com"], "*.example.com", True),
        (["*.example.com"], "example.com", False),
        (["*.example.com"], "a.b.example.com", False),
        (["*.example.com"], "*.b.example.com", False),
    ],
)
def test_which_names_a_certificate_is_good_for(names: list[str], name: str, good: bool) -> None:
    """[E2] One rule for the operator's own certificate, the program that renews, and verify."""
    assert x509.covers(names, name) is good
    assert x509.uncovered(names, [name]) == ([] if good else [name])


def test_no_public_endpoint_is_an_answer() -> None:
    answer = http.visit("blog.example.com", "/", timeout=1, port=1)
    assert answer.status == 0 and "refused" in answer.body


def test_the_worst_subject_counts() -> None:
    """[K8] What is not known is worse than what is tried again."""
    ok, degraded, failed, unknown = (Status("x", state, "") for state in (OK, DEGRADED, FAILED, UNKNOWN))
    assert worst([ok, degraded]) == DEGRADED and worst([degraded, unknown]) == UNKNOWN and worst([unknown, failed, ok]) == FAILED
    assert worst([]) == UNKNOWN
    assert Status("certificate", FAILED, "expired", "renew", "2026-11-20T00:00:00Z").data() == {
        **{"subject": "certificate", "state": "failed", "evidence": "expired", "fix": "renew", "since": "2026-11-20T00:00:00Z"}
    }


@pytest.mark.parametrize(
    ("networks", "expected"),
    [([], False), (["192.0.2.0/24", "2001:db8::/32"], False), (["127.0.0.1"], True), (["::1", "127.0.0.9/8"], True), (["0.0.0.0/0"], True)],
)
def test_the_public_endpoint_knows_whether_it_is_let_in(networks: list[str], expected: bool) -> None:
    """[K6] From an address that is let in, what visitors get cannot be seen."""
    assert public_endpoint.let_in(networks) is expected
