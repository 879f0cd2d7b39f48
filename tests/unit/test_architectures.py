"""Nothing assumes one architecture: packages are Debian's own, uv comes from the package index, images are built for this machine."""

from __future__ import annotations

import re
from pathlib import Path

from ansible_collections.slipway.vps.plugins.module_utils.build_advice import advised

from .conftest import ROOT

NAMES = re.compile(r"\b(amd64|x86[_-]64|i[36]86|aarch64|arm64|armhf)\b", re.IGNORECASE)
#: File to why it may name one.
EXCEPTIONS = {
    "tools/bench_backup.py": "the user agent of a made-up visitor",
    "plugins/module_utils/preflight/facts.py": "how the machine calls its own",
    "plugins/module_utils/preflight/findings/system.py": "those that are known to work",
}
FOLDERS = ("roles", "plugins", "playbooks", "tools", "molecule", ".config/molecule", ".ci")


def files() -> list[Path]:
    found = (path for folder in FOLDERS for path in (ROOT / folder).rglob("*"))
    return sorted(
        path for path in found if path.is_file() and path.suffix not in (".pyc", ".png", ".gz") and "__pycache__" not in path.parts
    )


def test_no_file_of_the_product_names_an_architecture() -> None:
    """[F3] A path of a library, a package with a suffix, an image for one kind of machine would do so."""
    found = {
        f"{path.relative_to(ROOT)}: {line.strip()[:80]}"
        for path in files()
        for line in path.read_text(errors="replace").splitlines()
        if NAMES.search(line) and str(path.relative_to(ROOT)) not in EXCEPTIONS
    }
    assert not found, "\n".join(sorted(found))
    assert len(files()) > 200, "a scan of nothing finds nothing"


def test_every_exception_is_needed() -> None:
    for name in EXCEPTIONS:
        assert NAMES.search((ROOT / name).read_text())


def test_a_compiler_that_is_missing_is_known_by_any_name() -> None:
    """[F5] Python asks for the compiler by the name of the machine's own architecture."""
    for compiler in ("x86_64-linux-gnu-gcc", "aarch64-linux-gnu-gcc", "arm-linux-gnueabihf-gcc", "cc"):
        assert "build-essential" in advised(f"error: command '{compiler}' failed: No such file or directory"), compiler
