"""How `make test` counts, what lint looks at, and what the clone of a fresh machine holds."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import fresh
import pytest
import run
import testhost

REPORT = """<testsuites><testsuite name="pytest" errors="1" failures="1" skipped="1" tests="5">
<testcase classname="unit.a" name="test_a"/><testcase classname="unit.a" name="test_b"/>
<testcase classname="unit.a" name="test_c"><failure message="assert 1
 == 2">…</failure></testcase>
<testcase classname="unit.a" name="test_d"><error message="no fixture">…</error></testcase>
<testcase classname="unit.a" name="test_e"><skipped message="there is no program x"/></testcase>
</testsuite></testsuites>"""


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with one commit, in place of ours."""
    folder = tmp_path / "clone"
    folder.mkdir()
    for module in (fresh, run):
        monkeypatch.setattr(module, "ROOT", folder)
    (folder / "site.yml").write_text("---\n")
    who = ("-c", "user.name=a", "-c", "user.email=a@b")
    for words in (["init", "--quiet", "--initial-branch=main"], ["add", "."], [*who, "commit", "--quiet", "-m", "first"]):
        subprocess.run(["git", *words], cwd=folder, check=True)
    return folder


def test_reports_are_counted_with_their_reasons(tmp_path: Path) -> None:
    """Also those in a folder, which a fresh machine leaves. A skipped test says why."""
    (tmp_path / "unit.xml").write_text(REPORT)
    for given in (tmp_path, tmp_path / "unit.xml"):
        found = run.counts((given, tmp_path / "absent.xml"))
        assert (found.passed, found.failed, found.skipped) == (2, 2, 1)
        assert found.reasons == [
            "FAILED unit.a::test_c: assert 1 == 2",
            "FAILED unit.a::test_d: no fixture",
            "SKIPPED unit.a::test_e: there is no program x",
        ]


@pytest.mark.parametrize(
    ("command", "report", "wanted", "recorded"),
    [
        ("true", False, (1, 0), [None]),
        ("false", False, (0, 1), ["ended with 1, see its output above"]),
        ("false", True, (2, 2), []),
    ],
)
def test_a_command_is_a_check(
    command: str, report: bool, wanted: tuple[int, int], recorded: list[str | None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It counts once, unless its tests have failed already; and it stands in a report of its own."""
    monkeypatch.setattr(run, "REPORTS", tmp_path)
    if report:
        (tmp_path / "unit.xml").write_text(REPORT)
    checks = ElementTree.Element("testsuite")
    _, found, _ = run.run(run.Step("a step", [command], tmp_path, (tmp_path / "unit.xml",)), checks)
    assert (found.passed, found.failed) == wanted
    faults = [case.find("failure") for case in checks]
    assert [None if fault is None else fault.get("message") for fault in faults] == recorded


def test_scenarios_run_beside_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """Each waits for the other here. Lines say whose they are; what has no label runs alone, before and after."""
    monkeypatch.setattr(run, "REPORTS", tmp_path)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    steps = [
        run.Step("first", ["echo", "first"]),
        run.Step("left", ["sh", "-c", f"echo left > {pipe}; exit 3"], label="left"),
        run.Step("right", ["cat", str(pipe)], label="right"),
        run.Step("last", ["echo", "last"]),
    ]
    checks = ElementTree.Element("testsuite")
    found = {step.name: (count.passed, count.failed) for step, count, _ in run.execute_all(steps, checks)}
    assert found == {"first": (1, 0), "left": (0, 1), "right": (1, 0), "last": (1, 0)} and len(checks) == 4
    printed = [line for line in capfd.readouterr().out.splitlines() if line and not line.startswith("===")]
    assert printed == ["first", "right | left", "last"]


def test_lint_leaves_an_operators_own_files_alone(clone: Path) -> None:
    """An inventory in the clone that git does not know."""
    (clone / "inventories/mine").mkdir(parents=True)
    (clone / "inventories/mine/hosts.yml").write_text("a:   [b")
    assert run.tracked("*.yml") == ["site.yml"]
    assert "a fresh machine" in [step.name for step in run.PARTS["fresh"]()]


def test_the_clone_of_a_fresh_machine(clone: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The last commit, or tracked files as they are now; of what git does not know it is said that it is not there."""
    fresh.source(tmp_path / "first")
    (clone / "site.yml").write_text("--- # changed\n")
    (clone / "mine.yml").touch()
    fresh.source(tmp_path / "second")
    for name, text in (("first", "---\n"), ("second", "--- # changed\n")):
        testhost.run("git", "clone", "--quiet", str(tmp_path / name), str(tmp_path / f"{name}-clone"))
        assert (tmp_path / f"{name}-clone/site.yml").read_text() == text
        assert not (tmp_path / f"{name}-clone/mine.yml").exists()
    assert "mine.yml" in capsys.readouterr().out
    assert (clone / "site.yml").read_text() == "--- # changed\n"
