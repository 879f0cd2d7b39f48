# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""What of a file's content may be kept and shown: of files that everybody on the host may read anyway."""

from __future__ import annotations

import difflib
import hashlib
import stat
from pathlib import Path

from ..core.text import redacted

#: Bytes of a file whose text is kept; of most that roles write it is a tenth.
LIMIT = 32 * 1024
#: Lines of a difference that are shown.
SHOWN = 40


def public_text(path: Path) -> str | None:
    """The text of a small file that every user of this host may read; None of any other."""
    try:
        path = path.resolve(strict=True)
        found = path.stat()
        if not stat.S_ISREG(found.st_mode) or not found.st_mode & stat.S_IROTH or found.st_size > LIMIT:
            return None
        if not all(map(_open_to_all, path.parents)):
            return None
        text = path.read_bytes().decode("utf-8")
    except (OSError, RuntimeError, ValueError):
        return None
    return None if "\0" in text else text


def _open_to_all(folder: Path) -> bool:
    return bool(folder.stat().st_mode & stat.S_IXOTH)


def sha256_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def changed_lines(before: str, now: str) -> list[str]:
    """The lines that went and came; what looks like a secret is hidden in them all the same."""
    lines = list(difflib.unified_diff(redacted(before).splitlines(), redacted(now).splitlines(), lineterm="", n=0))[2:]
    rest = len(lines) - SHOWN
    return [*lines[:SHOWN], *([f"({rest} more lines)"] if rest > 0 else [])]
