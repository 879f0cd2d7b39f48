"""How the program comes to a host: a folder per version, a link, and what is removed."""

from __future__ import annotations

import ast
import base64
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from ansible_collections.slipway.vps.plugins.action import program as action
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core.errors import SlipwayError
from ansible_collections.slipway.vps.plugins.modules import program as module

FILES = action.files()
ARCHIVE = base64.b64decode(action.packed(FILES))


@pytest.fixture
def host(tmp_path: Path) -> module.Program:
    return module.Program(tmp_path / "lib", tmp_path / "bin/slipway", tmp_path)


def say(host: module.Program, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([host.launcher, *words], env={**os.environ, **environment}, capture_output=True, text=True, check=False)


def test_the_package_is_whole_by_itself() -> None:
    """On the host there is no Ansible and no collection: relative imports, the standard library, Debian's packages."""
    for name, content in FILES.items():
        for node in ast.walk(ast.parse(content)):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [str(node.module)] if isinstance(node, ast.ImportFrom) and not node.level else []
            for found in names:
                assert found.split(".")[0] in {*sys.stdlib_module_names, "dns", "acme", "certbot"}, f"{name} imports {found}"


def test_a_version_is_its_content() -> None:
    """The same files are the same version and the same bytes; a changed letter is another."""
    assert action.packed(FILES) == action.packed(dict(reversed(FILES.items())))
    first = action.version(FILES, "0.1.0")
    assert first.startswith("0.1.0-") and action.version(FILES, "0.1.0") == first
    assert action.version({**FILES, "slipway/cli.py": FILES["slipway/cli.py"] + b"#"}, "0.1.0") != first
    assert action.collection_version() == "0.1.0"


def test_the_version_of_an_installed_collection(tmp_path: Path) -> None:
    """`ansible-galaxy collection install` leaves no galaxy.yml."""
    (tmp_path / "MANIFEST.json").write_text('{"collection_info": {"version": "1.2.3"}}')
    assert action.collection_version(tmp_path) == "1.2.3"


def test_installed_and_called(host: module.Program, tmp_path: Path) -> None:
    """By its link, with nothing of the caller's environment or folder."""
    assert not host.complete("1")
    host.install("1", ARCHIVE)
    assert host.complete("1") and not list(host.library.glob(".partial*"))
    assert str(host.current.readlink()) == "1"
    (tmp_path / "slipway").mkdir()
    called = say(host, "blog", "tls", "--config", str(tmp_path / "none.json"), "check", PYTHONPATH=str(tmp_path))
    assert called.returncode == 2 and "there is no " in called.stderr, called.stderr
    assert (host.library / "1/slipway/cli.py").stat().st_mode & 0o777 == 0o644
    assert list((host.library / "1/slipway/__pycache__").glob("cli.*.pyc")), "the unit may not write there"


def test_the_next_version_leaves_the_one_that_runs(host: module.Program) -> None:
    """[D3] A backup that is under way imports the rest of its own version; the third version takes the first one's place."""
    for version in ("1", "2"):
        host.install(version, ARCHIVE)
        os.utime(host.library / version, (int(version), int(version)))
    assert host.outdated("2", keep=2) == [] and (host.library / "1/slipway/cli.py").exists() and host.complete("2")
    host.install("3", ARCHIVE)
    assert host.outdated("3", keep=2) == [host.library / "1"]
    assert not host.complete("2")


def test_what_this_python_cannot_read_changes_nothing(host: module.Program, tmp_path: Path) -> None:
    """[S1] The link moves after the program was tried."""
    host.install("1", ARCHIVE)
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as archive:
        for name, content in FILES.items():
            archive.writestr(name, content + (b"\nmatch = = 1\n" if name == "slipway/tls/keeper.py" else b""))
    with pytest.raises(SlipwayError, match="nothing was changed"):
        host.install("2", (tmp_path / "bad.zip").read_bytes())
    assert host.complete("1") and sorted(path.name for path in host.library.iterdir()) == ["1", "current"]


def test_an_interrupted_installation_is_finished(host: module.Program) -> None:
    """The folder came, the link did not; or half a folder came."""
    host.install("1", ARCHIVE)
    host.launcher.unlink()
    host.current.unlink()
    assert not host.complete("1")
    host.install("1", ARCHIVE)
    assert host.complete("1")
    (host.library / "1/bin/slipway").unlink()
    host.install("1", ARCHIVE)
    assert host.complete("1") and say(host, "--help").returncode == 0


def test_former_programs_go_when_nobody_names_them(host: module.Program, tmp_path: Path) -> None:
    """A host of an earlier collection, with two apps: cron of the one that has not been run yet goes on calling its program."""
    host.install("1", ARCHIVE)
    (host.library / "slipway_backup").mkdir()
    for name in ("backup.py", "certificate.py"):
        (host.library / name).touch()
    cron = tmp_path / "etc/cron.d"
    cron.mkdir(parents=True)
    (cron / "blog-backup").write_text("30 3 * * * root /usr/local/bin/slipway blog backup nightly\n")
    (cron / "shop-backup").write_text("30 3 * * * root /usr/local/lib/slipway/backup.py --config /etc/shop/backup.json nightly\n")
    assert host.outdated("1", 2) == [host.library / "certificate.py"]
    (cron / "shop-backup").unlink()
    assert {path.name for path in host.outdated("1", 2)} == {"backup.py", "certificate.py", "slipway_backup"}
