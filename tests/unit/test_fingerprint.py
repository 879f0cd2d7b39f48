"""The fingerprint of a release: the same for the same, and another for whatever differs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.slipway.vps.plugins.module_utils.releases import fingerprint


def test_the_fingerprint_sees_each_part_and_each_file(tmp_path: Path) -> None:
    """[S1] Whatever decides how a release behaves changes it; nothing else does."""
    file, folder = tmp_path / "gunicorn.conf.py", tmp_path / "files"
    (folder / "deep").mkdir(parents=True)
    file.write_text("workers = 2")
    (folder / "b.ini").write_text("b")
    (folder / "deep/a.ini").write_bytes(b"\xff")
    seen = {}

    def look(what: str, *parts: str) -> None:
        seen[what] = fingerprint(parts or ("commit", "wsgi"), [file, folder])

    look("first")
    look("again")
    os.utime(file, (0, 0))
    look("touched")
    assert len(set(seen.values())) == 1, "time alone changed it"

    look("other part", "commit", "other")
    look("parts shifted", "commitwsgi", "")
    look("part more", "commit", "wsgi", "")
    file.write_text("workers = 3")
    look("file changed")
    file.write_text("")
    look("file empty")
    file.unlink()
    look("file absent")
    (folder / "deep/a.ini").write_bytes(b"\xfe")
    look("nested file changed")
    (folder / "deep/a.ini").rename(folder / "deep/c.ini")
    look("nested file renamed")
    (folder / "deep/c.ini").unlink()
    look("nested file absent")
    (folder / "b.ini").unlink()
    look("folder empty")
    assert len(set(seen.values())) == len(seen) - 2, seen
    # No content can pass for two parts.
    assert fingerprint(["a", "b"], []) != fingerprint(["apart\0b"], [])


def test_the_fingerprint_does_not_depend_on_the_order_of_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """[S1] Another file system lists the same files in another order."""
    for name in "cab":
        (tmp_path / name).write_text(name)
    before = fingerprint([], [tmp_path])
    listed = Path.rglob

    def backwards(self: Path, pattern: str) -> Iterator[Path]:
        return iter(sorted(listed(self, pattern), reverse=True))

    monkeypatch.setattr(Path, "rglob", backwards)
    assert fingerprint([], [tmp_path]) == before
