# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""`file.gz` and `file.br` beside a static file: compressed once, as well as can be, instead of at every request."""

from __future__ import annotations

import filecmp
import os
import shutil
import zlib
from collections.abc import Iterator
from pathlib import Path

from ansible_collections.slipway.vps.plugins.module_utils.slipway.core.run import command

#: What gains by it; pictures, fonts in woff2 and archives are compressed already.
SUFFIXES = frozenset(
    {
        *(".atom", ".css", ".csv", ".eot", ".htm", ".html", ".ico", ".js", ".json", ".map"),
        *(".md", ".mjs", ".otf", ".rss", ".svg", ".ttf", ".txt", ".wasm", ".webmanifest", ".xml"),
    }
)
#: Smaller files fit into one packet either way.
SMALLEST = 1024
#: A compressed file must save a tenth at least.
WORTH = 0.9


def candidates(folder: Path) -> Iterator[Path]:
    """Files below ``folder`` that may gain; links lead elsewhere and are left alone."""
    for place, _, names in os.walk(folder):
        for name in sorted(names):
            path = Path(place, name)
            if path.suffix.lower() in SUFFIXES and not path.is_symlink() and path.stat().st_size >= SMALLEST:
                yield path


def precompress(folder: Path, former: Path | None = None) -> int:
    """Compress what is below ``folder`` and not compressed yet; how many files that made.

    :arg former: the same folder of the release before: what is the same there is taken over with its compressed files.
    """
    brotli = shutil.which("brotli")
    made, late = 0, []
    for path in list(candidates(folder)):
        old = former / path.relative_to(folder) if former else None
        known = old if old and old.is_file() and filecmp.cmp(path, old, shallow=False) else None
        for suffix in (".gz", ".br"):
            target = path.with_name(path.name + suffix)
            if target.exists() or target.is_symlink():
                continue
            if known and (source := known.with_name(known.name + suffix)).is_file():
                shutil.copyfile(source, target)
            elif suffix == ".gz":
                target.write_bytes(gzipped(path.read_bytes()))
            elif brotli:
                late.append(path)
                continue
            else:
                continue
            made += keep(path, target)
    # One process for many files: starting it takes longer than most of them.
    for start in range(0, len(late), 100):
        batch = late[start : start + 100]
        command(str(brotli), "--quality=11", "--keep", "--force", "--", *map(str, batch))
        made += sum(keep(path, path.with_name(path.name + ".br")) for path in batch)
    return made


def gzipped(content: bytes) -> bytes:
    """The same bytes for the same content: neither name nor time in it."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    return packer.compress(content) + packer.flush()


def keep(path: Path, target: Path) -> bool:
    """Keep ``target`` with the time and mode of ``path`` if it is worth its place."""
    facts = path.stat()
    if target.stat().st_size > facts.st_size * WORTH:
        target.unlink()
        return False
    target.chmod(facts.st_mode & 0o777)
    os.utime(target, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    return True
