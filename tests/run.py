#!/usr/bin/env python3
"""What `make test` runs: lint, unit and render tests, then the molecule scenarios; a summary line closes it.

run.py [lint] [unit] [molecule]: only these parts. Each tool counts as one check, each test of pytest as one.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[1]
CACHE = ROOT / ".cache"
REPORTS = CACHE / "reports"
BIN = Path(sys.executable).parent
#: The scenarios of `make test`. Others are run by name: molecule test -s NAME.
SCENARIOS = ("default", "tls", "edge", "data", "broken", "deploy", "backup")
PYTHON_FILES = ["plugins", "molecule", "tests", *(str(p.relative_to(ROOT)) for p in ROOT.glob("roles/*/files/**/*.py"))]


@dataclass
class Step:
    """A command to run; ``report`` is where its pytest leaves the counts."""

    name: str
    command: list[str]
    folder: Path = ROOT
    report: Path | None = None


@dataclass
class Count:
    """Results so far."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0
    #: Each failed test with the first line of its reason, for the end: a long log is often cut off at its front.
    reasons: list[str] = field(default_factory=list)

    def add(self, other: Count) -> None:
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped
        self.reasons += other.reasons


def lint() -> Iterator[Step]:
    """Whatever reads the project without running it."""
    yield Step("yamllint", ["yamllint", "--strict", "-c", ".config/yamllint.yml", "."])
    yield Step("ruff check", ["ruff", "check", "--config", ".config/ruff.toml", "plugins", "molecule", "tests", "roles"])
    yield Step("ruff format", ["ruff", "format", "--check", "--config", ".config/ruff.toml", "plugins", "molecule", "tests", "roles"])
    yield Step("mypy", ["mypy", "--config-file", ".config/mypy.ini", *PYTHON_FILES])
    yield Step("ansible-lint", ["ansible-lint", "--offline", "-c", ".config/ansible-lint.yml"])


def unit() -> Iterator[Step]:
    """Tests that need no host."""
    report = REPORTS / "unit.xml"
    yield Step(
        "unit and render tests",
        ["pytest", "-c", ".config/pytest.ini", f"--junitxml={report}", "tests/unit", "tests/templates"],
        report=report,
    )
    example, report = ROOT / "examples/flask-app", REPORTS / "example.xml"
    runner = ["uv", "run", "--quiet", "--no-project", "--with-requirements", "requirements.txt", "--with", "pytest", "--with", "fakeredis"]
    yield Step("tests of the example app", [*runner, "pytest", "-q", f"--junitxml={report}"], folder=example, report=report)


def molecule() -> Iterator[Step]:
    """The scenarios, each from bare hosts."""
    yield Step("images of the test hosts", [sys.executable, "molecule/shared/testhost.py", "images"])
    for scenario in SCENARIOS:
        report = REPORTS / f"molecule-{scenario}.xml"
        yield Step(f"molecule: {scenario}", ["molecule", "test", "--scenario-name", scenario], report=report)


PARTS = {"lint": lint, "unit": unit, "molecule": molecule}


def run(step: Step) -> Count:
    """Run one step, its output as it comes, and count what it found."""
    print(f"\n=== {step.name}", flush=True)
    if step.report:
        step.report.parent.mkdir(parents=True, exist_ok=True)
        step.report.unlink(missing_ok=True)
    environment = {
        **os.environ,
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "PYTHONDONTWRITEBYTECODE": "1",
        "MOLECULE_GLOB": "molecule/*/molecule.yml",
        # Molecule frames what it shows: wide enough for Ansible's lines.
        "COLUMNS": os.environ.get("COLUMNS", "170"),
        # Of a scenario pytest runs inside molecule, which passes no report's name on.
        **({"PYTEST_ADDOPTS": f"--junitxml={step.report}"} if step.report and step.command[0] == "molecule" else {}),
    }
    started = time.monotonic()
    status = subprocess.run(step.command, cwd=step.folder, env=environment, check=False).returncode
    found = counts(step.report)
    # The command itself is a check: a lint, or the steps of a scenario around its tests.
    if status == 0:
        found.add(Count(passed=1))
    elif not found.failed:
        found.add(Count(failed=1, reasons=[f"{step.name}: ended with {status}, see its output above"]))
    print(f"=== {step.name}: {'passed' if status == 0 else 'FAILED'} in {time.monotonic() - started:.0f} s", flush=True)
    return found


def counts(report: Path | None) -> Count:
    """What a JUnit report says."""
    if report is None or not report.exists():
        return Count()
    found = Count()
    for suite in ElementTree.parse(report).getroot().iter("testsuite"):
        failed = int(suite.get("failures", 0)) + int(suite.get("errors", 0))
        skipped = int(suite.get("skipped", 0))
        found.add(Count(int(suite.get("tests", 0)) - failed - skipped, failed, skipped, [*reasons(suite)]))
    return found


def reasons(suite: ElementTree.Element) -> Iterator[str]:
    """Each failed test of a suite, and how its message begins."""
    for case in suite.iter("testcase"):
        for fault in (*case.iter("failure"), *case.iter("error")):
            why = " ".join((fault.get("message") or "no message").split())
            yield f"{case.get('classname')}::{case.get('name')}: {why[:400]}"


def main() -> int:
    parts = sys.argv[1:] or list(PARTS)
    if unknown := set(parts) - set(PARTS):
        print(f"run.py: unknown part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}", file=sys.stderr)
        return 2
    total, slow = Count(), []
    shutil.rmtree(REPORTS, ignore_errors=True)
    for part in parts:
        if part == "molecule" and total.failed:
            print("\n=== the scenarios are left out: what failed above is quicker to mend", flush=True)
            break
        for step in PARTS[part]():
            started = time.monotonic()
            found = run(step)
            total.add(found)
            slow.append(f"{time.monotonic() - started:6.0f} s  {'FAILED' if found.failed else 'ok':6}  {step.name}")
    print("\n" + "\n".join(slow))
    for reason in total.reasons:
        print(f"FAILED {reason}")
    print(f"slipway: {total.passed} passed, {total.failed} failed, {total.skipped} skipped")
    return 1 if total.failed else 0


if __name__ == "__main__":
    sys.exit(main())
