#!/usr/bin/env python3
"""The page of requirements (docs/requirements.md): its tables say what is required, this program fills in which tests carry it.

    requirements.py            write the last column of the tables anew
    requirements.py --check    fail when it is stale, when a test names an id that is in no table, or a requirement of wave 1 has no test

A test carries a requirement by its id in brackets in the docstring: [A5], [S1 A13].
"""

from __future__ import annotations

import argparse
import ast
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs/requirements.md"
TESTS = ("tests/*/test_*.py", "molecule/*/tests/test_*.py", "examples/*/tests/test_*.py")
#: A row: its id, what stands between, its wave, the tests.
ROW = re.compile(r"^\| (?P<id>[A-Z]\d+) \|(?P<text>.*)\| (?P<wave>[^|]+) \|(?P<tests>[^|]*)\|$", re.MULTILINE)
TAG = re.compile(r"\[([A-Z]\d+(?:[ ,]+[A-Z]\d+)*)\]")


def named(path: Path) -> Iterator[str]:
    """The ids in the docstrings of a file's tests."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            for tag in TAG.findall(ast.get_docstring(node) or ""):
                yield from re.findall(r"\w+", tag)


def carriers(root: Path = ROOT) -> dict[str, list[Path]]:
    """For each id the files whose tests name it."""
    found: defaultdict[str, list[Path]] = defaultdict(list)
    for path in sorted(path for pattern in TESTS for path in root.glob(pattern)):
        for name in sorted(set(named(path))):
            found[name].append(path.relative_to(root))
    return found


def link(path: Path) -> str:
    """`edge/01_pages` for molecule/edge/tests/test_01_pages.py."""
    folder = path.parent.parent if path.parts[0] != "tests" else path.parent
    return f"[{folder.name}/{path.stem.removeprefix('test_')}](../{path.as_posix()})"


def rendered(page: str, tests: dict[str, list[Path]]) -> str:
    """The page with the last column of its tables as the tests are."""

    def row(found: re.Match[str]) -> str:
        names = ", ".join(map(link, tests.get(found["id"], []))) or "none yet"
        return f"| {found['id']} |{found['text']}| {found['wave']} | {names} |"

    return ROW.sub(row, page)


def faults(page: str, tests: dict[str, list[Path]]) -> list[str]:
    """What is wrong with the page, or with the tests, in sentences."""
    rows = {found["id"]: found["wave"] for found in ROW.finditer(page)}
    wrong = [f"no test names {name}, which is of wave 1" for name, wave in rows.items() if wave.startswith("1") and name not in tests]
    wrong += [f"{name}, which {', '.join(map(str, tests[name]))} names, is in no table" for name in sorted(set(tests) - set(rows))]
    return wrong + (["it is stale: run tools/requirements.py"] if rendered(page, tests) != page else [])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    page, tests = PAGE.read_text(), carriers()
    if not parser.parse_args().check:
        PAGE.write_text(rendered(page, tests))
        return 0
    wrong = faults(page, tests)
    print("\n".join(f"docs/requirements.md: {fault}" for fault in wrong), file=sys.stderr, end="\n" if wrong else "")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
