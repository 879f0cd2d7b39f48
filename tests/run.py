#!/usr/bin/env python3
"""What `make test` runs: lint, unit and render tests on a fresh machine, then the molecule scenarios; a summary line closes it.

run.py [PART...]: only these parts, of lint, unit, check (both), fresh (both in a bare container), molecule, and any scenario by name.
Default: fresh molecule. Each tool counts as one check, each test of pytest as one.
"""

from __future__ import annotations

import compileall
import itertools
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[1]
CACHE = ROOT / ".cache"
REPORTS = CACHE / "reports"
BIN = Path(sys.executable).parent
#: The scenarios of `make test`, the longest first. Others are run by name.
SCENARIOS = ("default", "apps", "broken", "data", "keep", "edge", "deploy", "preflight", "base", "tls", "any")
#: Scenarios that run side by side: one alone leaves half of two cores idle, as it waits for units, clocks and visitors.
BESIDE = 2
#: Seconds for a test of a scenario; the longest takes 332. That of unit tests is in .config/pytest.ini.
LIMIT = 1200
#: Sources that tests build are as their authors write them.
APPS = ":(exclude)tests/apps/*"
PYTHON = ("slipway", "plugins/*.py", "molecule/*.py", "tests/*.py", "tools/*.py", "roles/*.py", APPS)


@dataclass
class Step:
    """A command to run; ``reports`` are the files or folders where it leaves its counts."""

    name: str
    command: list[str]
    folder: Path = ROOT
    reports: tuple[Path, ...] = ()
    #: Lines of a step that runs beside others begin with this; empty: it runs alone.
    label: str = ""


@dataclass
class Count:
    """Results so far."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0
    #: Each failed or skipped test with the first line of its reason, for the end: a long log is often cut off at its front.
    reasons: list[str] = field(default_factory=list)

    def add(self, other: Count) -> None:
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped
        self.reasons += other.reasons


def tracked(*patterns: str) -> list[str]:
    """Files of the repository: what else lies in a clone, an operator's inventory for one, is not the project's."""
    listed = subprocess.run(["git", "ls-files", "-z", "--", *patterns], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def lint() -> Iterator[Step]:
    """Whatever reads the project without running it."""
    python, yaml, roles = tracked(*PYTHON), tracked("*.yml", "*.yaml", APPS), sorted({name.split("/")[1] for name in tracked("roles/*/*")})
    yield Step("yamllint", ["yamllint", "--strict", "-c", ".config/yamllint.yml", *yaml])
    yield Step("ruff check", ["ruff", "check", "--config", ".config/ruff.toml", *python])
    yield Step("ruff format", ["ruff", "format", "--check", "--config", ".config/ruff.toml", *python])
    yield Step("mypy", ["mypy", "--config-file", ".config/mypy.ini", *python])
    # Roles as folders: some rules look at a role as a whole.
    files = [name for name in yaml if not name.startswith("roles/")] + [f"roles/{name}" for name in roles]
    yield Step("ansible-lint", ["ansible-lint", "--offline", "-c", ".config/ansible-lint.yml", *files])


def unit() -> Iterator[Step]:
    """Tests that need no host."""
    report = REPORTS / "unit.xml"
    command = [
        "pytest",
        "-c",
        ".config/pytest.ini",
        "-n",
        "auto",
        "--durations=10",
        f"--junitxml={report}",
        "tests/unit",
        "tests/templates",
    ]
    yield Step("unit and render tests", command, reports=(report,))
    example, report = ROOT / "examples/flask-app", REPORTS / "example.xml"
    runner = ["uv", "run", "--quiet", "--no-project", "--with-requirements", "requirements.txt", "--with", "pytest", "--with", "fakeredis"]
    # Debian's pg_virtualenv makes a PostgreSQL for the time of a command, and tells libpq where it is.
    server = ["pg_virtualenv", "env", "LOGBOOK_TEST_DATABASE_URL=postgresql://"] if shutil.which("pg_virtualenv") else []
    yield Step("tests of the example app", [*server, *runner, "pytest", "-q", f"--junitxml={report}"], folder=example, reports=(report,))


def check() -> Iterator[Step]:
    """Lint beside unit tests: most of it is ansible-lint, which takes one core."""
    for label, steps in (("unit", unit()), ("lint", lint())):
        yield from (replace(step, label=label) for step in steps)


def fresh() -> Iterator[Step]:
    """Lint and unit tests of a clone, where nothing is that the set-up does not bring."""
    folder = REPORTS / "fresh"
    yield Step("a fresh machine", [sys.executable, "tools/fresh.py", str(folder)], reports=(folder,))


def scenario(name: str) -> Iterator[Step]:
    """One scenario, from bare hosts."""
    yield Step(f"molecule: {name}", ["molecule", "test", "--scenario-name", name], reports=(REPORTS / f"molecule-{name}.xml",), label=name)


def molecule(*names: str) -> Iterator[Step]:
    """Scenarios, and the images of their hosts."""
    yield Step("images of the test hosts", [sys.executable, "tools/testhost.py", "images"])
    for name in names:
        yield from scenario(name)


PARTS: dict[str, Callable[[], Iterator[Step]]] = {
    "lint": lint,
    "unit": unit,
    "check": check,
    "fresh": fresh,
    "molecule": partial(molecule, *SCENARIOS),
    **{path.parent.name: partial(molecule, path.parent.name) for path in sorted(ROOT.glob("molecule/*/molecule.yml"))},
}


def run(step: Step, checks: ElementTree.Element) -> tuple[Step, Count, float]:
    """Run one step, its output as it comes: what it found, and its seconds. ``checks`` is the report of the commands themselves."""
    # Each line in one write: two steps print at once.
    print(f"\n=== {step.name}\n", end="", flush=True)
    REPORTS.mkdir(parents=True, exist_ok=True)
    environment = {
        **os.environ,
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "PYTHONDONTWRITEBYTECODE": "1",
        "MOLECULE_GLOB": "molecule/*/molecule.yml",
        # Molecule frames what it shows: wide enough for Ansible's lines.
        "COLUMNS": os.environ.get("COLUMNS", "170"),
        # Of a scenario pytest runs inside molecule, which passes no report's name on. A test that waits for ever says where.
        **({"PYTEST_ADDOPTS": f"--junitxml={step.reports[0]} --timeout={LIMIT}"} if step.command[0] == "molecule" else {}),
    }
    started = time.monotonic()
    status = execute(step, environment)
    found = counts(step.reports)
    if status == 0 or not found.failed:
        # The command itself is a check: a lint, or the steps of a scenario around its tests.
        case = ElementTree.SubElement(checks, "testcase", classname="step", name=step.name)
        if status != 0:
            ElementTree.SubElement(case, "failure", message=f"ended with {status}, see its output above")
        found.add(Count(int(status == 0), int(status != 0), reasons=[*reasons(case)]))
    seconds = time.monotonic() - started
    print(f"=== {step.name}: {'passed' if status == 0 else 'FAILED'} in {seconds:.0f} s\n", end="", flush=True)
    return step, found, seconds


def execute(step: Step, environment: dict[str, str]) -> int:
    """The status of the step's command; its output as it comes."""
    if not step.label:
        return subprocess.run(step.command, cwd=step.folder, env=environment, check=False).returncode
    with subprocess.Popen(
        step.command, cwd=step.folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as process:
        assert process.stdout
        for line in process.stdout:
            # A whole line at a time: two steps print at once.
            print(f"{step.label} | {line}", end="", flush=True)
    return process.returncode


def execute_all(steps: Iterable[Step], checks: ElementTree.Element) -> Iterator[tuple[Step, Count, float]]:
    """Run the steps, those with a label beside each other, and yield each with what it found and its seconds."""

    for together, group in itertools.groupby(steps, key=lambda step: bool(step.label)):
        with ThreadPoolExecutor(BESIDE if together else 1) as pool:
            yield from pool.map(partial(run, checks=checks), group)


def counts(reports: tuple[Path, ...]) -> Count:
    """What JUnit reports say, those in folders among them."""
    found = Count()
    for report in [path for given in reports for path in ([given] if given.is_file() else sorted(given.glob("*.xml")))]:
        for suite in ElementTree.parse(report).getroot().iter("testsuite"):
            failed = int(suite.get("failures", 0)) + int(suite.get("errors", 0))
            skipped = int(suite.get("skipped", 0))
            found.add(Count(int(suite.get("tests", 0)) - failed - skipped, failed, skipped, [*reasons(suite)]))
    return found


def reasons(report: ElementTree.Element) -> Iterator[str]:
    """Each failed or skipped test of a report, and how its message begins."""
    for case in report.iter("testcase"):
        for fault in case:
            if fault.tag in ("failure", "error", "skipped"):
                why = " ".join((fault.get("message") or "no message").split())
                yield f"{'SKIPPED' if fault.tag == 'skipped' else 'FAILED'} {case.get('classname')}::{case.get('name')}: {why[:400]}"


def main() -> int:
    parts = sys.argv[1:] or ["fresh", "molecule"]
    if unknown := set(parts) - set(PARTS):
        print(f"run.py: unknown part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}", file=sys.stderr)
        return 2
    # No step writes bytecode: each run of Ansible would compile the plugins anew.
    compileall.compile_dir(ROOT / "plugins", quiet=1)
    total, slow, checks = Count(), [], ElementTree.Element("testsuite", name="steps")
    shutil.rmtree(REPORTS, ignore_errors=True)
    for part in parts:
        if part == "molecule" and total.failed:
            print("\n=== the scenarios are left out: what failed above is quicker to mend", flush=True)
            break
        for step, found, seconds in execute_all(PARTS[part](), checks):
            total.add(found)
            slow.append(f"{seconds:6.0f} s  {'FAILED' if found.failed else 'ok':6}  {step.name}")
    checks.attrib.update(tests=str(len(checks)), failures=str(len(checks.findall("testcase/failure"))))
    ElementTree.ElementTree(checks).write(REPORTS / "steps.xml")
    print("\n" + "\n".join([*slow, *total.reasons]))
    print(f"slipway: {total.passed} passed, {total.failed} failed, {total.skipped} skipped")
    return 1 if total.failed else 0


if __name__ == "__main__":
    sys.exit(main())
