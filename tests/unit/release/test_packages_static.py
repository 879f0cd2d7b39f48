"""Static files of an installed package: found, linked, and nginx may read them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core.run import CommandError
from ansible_collections.slipway.vps.plugins.module_utils.static_files import installed, open_packages

from .fakes import Host, Make

SITE = ".venv/lib/python3.13/site-packages"


@pytest.fixture
def release(tmp_path: Path) -> Path:
    for folder in ("own/static", f"{SITE}/wiki/static/css", f"{SITE}/own/static", ".static"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / f"{SITE}/wiki/static/css/a.css").touch(0o640)
    (tmp_path / f"{SITE}/wiki/secret.py").touch(0o640)
    for path in [*tmp_path.glob(f"{SITE}/**/*"), *[tmp_path / place for place in (".venv", ".venv/lib", ".venv/lib/python3.13", SITE)]]:
        path.chmod(0o750 if path.is_dir() else 0o640)
    return tmp_path


def run(folder: Path, *words: str) -> None:
    subprocess.run(words, cwd=folder, check=True)


def mode(path: Path) -> str:
    return f"{path.stat().st_mode & 0o777:o}"


def test_a_folder_of_a_package(release: Path) -> None:
    """[E6] field case 48: named as the package has it; others may pass, and read nothing else."""
    (release / ".static/static").symlink_to("../wiki/static")
    open_packages(release, {"/static/": "wiki/static"}, run)
    assert (release / ".static/static/css/a.css").is_file()
    assert mode(release / ".static/static/css/a.css") == "644" and mode(release / f"{SITE}/wiki/static/css") == "755"
    assert [mode(release / place) for place in (".venv", ".venv/lib", SITE, f"{SITE}/wiki")] == ["751"] * 4
    assert mode(release / f"{SITE}/wiki/secret.py") == "640" and mode(release / f"{SITE}/own") == "750"


def test_the_release_own_folder_comes_first(release: Path) -> None:
    """[E6] A path that leads into the virtual environment is a package's, too."""
    assert installed(release, "own/static") is None and installed(release, "absent") is None
    spelled = ("wiki/static", "site-packages/wiki/static", f"{SITE}/wiki/static")
    assert [installed(release, named) for named in spelled] == 3 * [release / SITE / "wiki/static"]
    open_packages(release, {"/static/": "own/static"}, run)
    assert mode(release / ".venv") == "750" and not (release / ".static/static").exists()


def test_a_folder_that_is_nowhere_is_refused(release: Path) -> None:
    """[E6 F8] nginx would answer 404 to each of its files, with every hop well."""
    with pytest.raises(CommandError, match=r"app_static: /x/: the folder wiki/absent is neither in the release nor in a package"):
        open_packages(release, {"/x/": "wiki/absent"}, run)


def test_the_builder_opens_it(deploy: Make, root: Path, host: Host) -> None:
    """[A5] In the sandbox of the build, as the app's user: root would follow where the build's links lead."""
    host.brings = ["wiki/static"]
    deploy(static={"/static/": "wiki/static"}).do("prepare")
    done = [line for line in host.did if line.startswith("chmod")]
    assert done == [f"chmod o+x .venv .venv/lib .venv/lib/python3.13 {SITE} {SITE}/wiki", f"chmod -R o+rX {SITE}/wiki/static"]
