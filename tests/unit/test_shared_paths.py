"""Files and folders of a release that outlive it."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.slipway.vps.plugins.module_utils.shared_paths import share
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core.run import CommandError, command


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "shared").mkdir()
    return tmp_path


def release(root: Path, name: str, **files: str) -> Path:
    """A release with files, by their path with __ for a slash."""
    folder = root / "releases" / name
    folder.mkdir(parents=True)
    for path, text in files.items():
        place = folder / path.replace("__", "/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    return folder


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_the_release_brings_is_taken_the_first_time(root: Path) -> None:
    """[F6] Later it is the app's: a release that brings something else changes nothing."""
    one = release(root, "1", instance__config="first", instance__deep__x="x")
    share(one, root / "shared", ["instance/"], command)
    assert (one / "instance").readlink() == Path("../../shared/instance")
    assert (one / "instance/config").read_text() == "first" and (root / "shared/instance/deep/x").read_text() == "x"
    (one / "instance/config").write_text("the app's")
    two = release(root, "2", instance__config="second")
    share(two, root / "shared", ["instance/"], command)
    assert (two / "instance/config").read_text() == "the app's" and names(root / "shared") == ["instance"]


def test_what_the_release_does_not_bring_is_made(root: Path) -> None:
    """[F6] A folder by its slash; a file is written through its link, when the app writes it."""
    one = release(root, "1", app="x")
    share(one, root / "shared", ["logs/", "var/run/celerybeat-schedule"], command)
    assert (root / "shared/logs").is_dir() and (one / "logs").resolve() == root / "shared/logs"
    assert (one / "var/run/celerybeat-schedule").readlink() == Path("../../../../shared/var/run/celerybeat-schedule")
    (one / "var/run/celerybeat-schedule").write_text("tick")
    assert (root / "shared/var/run/celerybeat-schedule").read_text() == "tick"


def test_a_folder_of_the_release_needs_no_slash(root: Path) -> None:
    """[F6] The release says what it is; a file is taken as one."""
    one = release(root, "1", data__x="1", settings="file")
    share(one, root / "shared", ["data", "settings"], command)
    assert (root / "shared/data/x").read_text() == "1" and (root / "shared/settings").read_text() == "file"


def test_the_mode_is_kept_and_links_are_not_followed(root: Path) -> None:
    """[F6]"""
    one = release(root, "1", instance__run="x")
    (one / "instance/run").chmod(0o750)
    (one / "instance/link").symlink_to("/etc/hostname")
    share(one, root / "shared", ["instance/"], command)
    assert (root / "shared/instance/run").stat().st_mode & 0o777 == 0o750 and (root / "shared/instance/link").is_symlink()


def test_a_copy_that_was_cut_off_counts_for_nothing(root: Path) -> None:
    """[S1] [F6] It is made anew."""
    (root / "shared/.partial-instance").mkdir()
    (root / "shared/.partial-instance/half").touch()
    one = release(root, "1", instance__x="1")
    share(one, root / "shared", ["instance/"], command)
    assert names(root / "shared") == ["instance"] and names(root / "shared/instance") == ["x"]


@pytest.mark.parametrize("linked", ["instance", "sub"])
def test_a_link_of_the_source_is_refused(root: Path, linked: str) -> None:
    """[A5] [F8] It could lead what root removes and links elsewhere."""
    one = release(root, "1", app="x")
    (root / "elsewhere").mkdir()
    (one / linked).symlink_to(root / "elsewhere")
    with pytest.raises(CommandError, match=r"app_shared_paths: .* a link of the source"):
        share(one, root / "shared", ["instance/" if linked == "instance" else "sub/instance/"], command)
    assert names(root / "elsewhere") == []


@pytest.mark.parametrize(("path", "there"), [("instance/", "file"), ("instance", "folder")])
def test_a_file_and_a_folder_do_not_meet(root: Path, path: str, there: str) -> None:
    """[F8] What is kept is never replaced: the variable and both places are named."""
    (root / "shared/instance").mkdir() if there == "folder" else (root / "shared/instance").write_text("data")
    one = release(root, "1", **({"instance": "x"} if there == "folder" else {"instance__x": "1"}))
    with pytest.raises(CommandError, match=f"app_shared_paths: {path} is a .* is a {there}"):
        share(one, root / "shared", [path], command)


def test_whoever_makes_something_in_shared_is_the_app(root: Path) -> None:
    """[A5] The app writes there too: its links lead root nowhere."""
    did: list[str] = []

    def run(*words: str) -> str:
        did.append(words[0])
        return command(*words)

    share(release(root, "1", instance__x="1"), root / "shared", ["instance/", "logs/"], run)
    assert did == ["mkdir", "rm", "cp", "mv", "mkdir", "mkdir"]
