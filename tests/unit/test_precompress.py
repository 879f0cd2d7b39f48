"""Static files are compressed when a release is built: those that gain, once, and nothing outside the release."""

from __future__ import annotations

import gzip
import os
import random
import shutil
import subprocess
from pathlib import Path

import pytest
from ansible_collections.slipway.vps.plugins.module_utils.precompress import precompress

TEXT = "a { color: red; padding: 1rem }\n" * 200


@pytest.fixture
def static(tmp_path: Path) -> Path:
    folder = tmp_path / "static"
    (folder / "css").mkdir(parents=True)
    (folder / "css/a.css").write_text(TEXT)
    os.utime(folder / "css/a.css", (1_000_000_000, 1_000_000_000))
    return folder


@pytest.fixture(autouse=True)
def brotli(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A program that stands for brotli (this machine may have none): writes half of each file, and notes that it was asked."""
    program = tmp_path / "brotli"
    program.write_text(
        f'#!/bin/sh\nfor f in "$@"; do case $f in --*) ;; *) head -c 500 "$f" >"$f.br"; echo "$f" >>{tmp_path}/asked;; esac; done\n'
    )
    program.chmod(0o755)
    monkeypatch.setattr(shutil, "which", lambda _: str(program))
    return program


def test_both_beside_the_file(static: Path) -> None:
    """[E6] [E7] The whole content, smaller; time and mode of the file, which nginx puts into the ETag."""
    assert precompress(static) == 2
    packed = static / "css/a.css.gz"
    assert gzip.decompress(packed.read_bytes()).decode() == TEXT and packed.stat().st_size < len(TEXT) / 10
    for path in (packed, static / "css/a.css.br"):
        assert path.stat().st_mtime == 1_000_000_000 and path.stat().st_mode == (static / "css/a.css").stat().st_mode
    assert precompress(static) == 0, "a second time there is nothing to do"


def test_only_what_gains(static: Path) -> None:
    """[E7] Neither small files, nor other kinds, nor what does not become smaller, nor what the source compressed itself."""
    (static / "small.css").write_text("a{}")
    (static / "picture.png").write_text(TEXT)
    (static / "noise.txt").write_bytes(random.Random(1).randbytes(5000))
    (static / "own.js").write_text(TEXT)
    (static / "own.js.gz").write_text("its own")
    precompress(static)
    assert (static / "own.js.gz").read_text() == "its own" and (static / "own.js.br").exists()
    made = {path.name for path in static.rglob("*") if path.suffix in (".gz", ".br")}
    # The stand-in for brotli makes everything small.
    assert made == {"a.css.gz", "a.css.br", "own.js.gz", "own.js.br", "noise.txt.br"}


def test_links_are_left_alone(static: Path, tmp_path: Path) -> None:
    """[A2] What root writes here stays in the release."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/b.css").write_text(TEXT)
    (static / "link.css").symlink_to(tmp_path / "outside/b.css")
    (static / "folder").symlink_to(tmp_path / "outside")
    (static / "css/a.css.gz").symlink_to(tmp_path / "outside/target")
    precompress(static)
    assert sorted(path.name for path in (tmp_path / "outside").iterdir()) == ["b.css"]
    assert not (static / "link.css.gz").exists() and (static / "css/a.css.gz").is_symlink()


def test_what_the_release_before_had_is_taken_over(static: Path, tmp_path: Path) -> None:
    """[S1] brotli is slow: only what changed is compressed again."""
    former = tmp_path / "former"
    shutil.copytree(static, former)
    (former / "css/b.css").write_text("former " + TEXT)
    (static / "css/b.css").write_text("newer! " + TEXT)
    assert precompress(former) == 4
    (tmp_path / "asked").unlink()
    assert precompress(static, former) == 4
    assert (tmp_path / "asked").read_text().split() == [str(static / "css/b.css")]
    assert gzip.decompress((static / "css/b.css.gz").read_bytes()).decode().startswith("newer!")


def test_without_brotli(static: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """[E7] gzip alone."""
    monkeypatch.setattr(shutil, "which", lambda _: None)
    assert precompress(static) == 1 and not (static / "css/a.css.br").exists()


@pytest.mark.skipif(not shutil.which("brotli"), reason="the program brotli is not on this machine")
def test_with_brotli_itself(static: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """[E7] Its options are understood."""
    monkeypatch.undo()
    precompress(static)
    said = subprocess.run(["brotli", "--decompress", "--stdout", static / "css/a.css.br"], capture_output=True, text=True, check=True)
    assert said.stdout == TEXT
