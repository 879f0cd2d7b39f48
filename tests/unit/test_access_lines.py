# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""The log of requests: a line is there at once when visitors are few, and many lines are one write."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import ModuleType

import pytest

FILES = Path(__file__).parents[2] / "roles/server/files"


@pytest.fixture
def access(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(FILES))
    import slipway_access

    return slipway_access


@pytest.fixture
def writes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was written to standard output, a write each."""
    found: list[str] = []

    def write(number: int, data: bytes) -> int:
        assert number == 1
        found.append(data.decode())
        return len(data)

    monkeypatch.setattr(os, "write", write)
    return found


def test_a_single_line_is_written_at_once(access: ModuleType, writes: list[str]) -> None:
    """[K1] Who follows the log of a quiet site waits for nothing."""
    access.Lines().add("one")
    assert writes == ["one\n"]


def test_many_lines_are_few_writes_and_in_order(access: ModuleType, writes: list[str]) -> None:
    """[K1 A4] A write wakes the journal: 200 lines of four threads are not 200."""
    lines = access.Lines()
    threads = [
        threading.Thread(target=lambda number=number: [lines.add(f"{number} {count}") for count in range(50)]) for number in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    until = time.monotonic() + 5
    while len("".join(writes).splitlines()) < 200 and time.monotonic() < until:
        time.sleep(0.01)
    said = "".join(writes).splitlines()
    assert len(writes) < 40
    assert sorted(said) == sorted(f"{number} {count}" for number in range(4) for count in range(50))
    for number in range(4):
        assert [line for line in said if line.startswith(f"{number} ")] == [f"{number} {count}" for count in range(50)]


def test_a_write_that_took_a_part_goes_on(access: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """[K1] A pipe that is full takes less than it is given."""
    found = bytearray()

    def write(number: int, data: bytes) -> int:
        found.extend(data[:3])
        return min(3, len(data))

    monkeypatch.setattr(os, "write", write)
    access.Lines().add("a long line")
    assert found == b"a long line\n"


def test_without_another_thread_lines_are_written_all_the_same(
    access: ModuleType, writes: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """[K1] A unit has a limit for its threads."""

    def refused(timer: threading.Timer) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Timer, "start", refused)
    lines = access.Lines()
    lines.add("one")
    lines.add("two")
    assert writes == ["one\n", "two\n"]


def test_a_worker_that_ends_leaves_no_line_behind() -> None:
    """[K1] Those that wait are written when it exits."""
    program = "from slipway_access import Lines; lines = Lines(); [lines.add(str(number)) for number in range(5)]; raise SystemExit(0)"
    done = subprocess.run([sys.executable, "-c", program], env={"PYTHONPATH": str(FILES)}, text=True, capture_output=True, check=True)
    assert done.stdout.splitlines() == ["0", "1", "2", "3", "4"]


def test_a_line_of_a_request_is_one_line(access: ModuleType) -> None:
    """[K1] Whatever a visitor asks for."""
    text = access.line("gunicorn", ("4f2a", "192.0.2.7"), "GET", "/a\nb", 200, 1, 2)
    assert "\n" not in text and json.loads(text)["path"] == "/a\nb"
