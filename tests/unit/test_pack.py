"""Packing the app: the same content gives the same checksum, and what git ignores stays on the controller."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

import pytest
from ansible_collections.slipway.vps.plugins.module_utils.source_tree import SourceError
from ansible_collections.slipway.vps.plugins.module_utils.work_tree import commit, pack, release_folder

from .repositories import POINTER, committed, git, plain


@pytest.fixture(autouse=True)
def plain_git(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    plain(monkeypatch, tmp_path)


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """A small app, without git."""
    folder = tmp_path / "app"
    (folder / "blog").mkdir(parents=True)
    (folder / "blog/__init__.py").write_text("app = None\n")
    (folder / "requirements.txt").write_text("flask\n")
    (folder / "manage.sh").write_text("#!/bin/sh\n")
    (folder / "manage.sh").chmod(0o755)
    return folder


@pytest.fixture
def repository(app: Path) -> Path:
    """The same in a git work tree, committed."""
    (app / ".gitignore").write_text("*.log\n/instance/\n")
    git(app, "init", "--quiet")
    git(app, "add", ".")
    git(app, "commit", "--quiet", "--message", "first")
    return app


def packed(folder: Path, dest: Path) -> tuple[list[str], str]:
    """The names in the archive, and its checksum."""
    dest.mkdir(exist_ok=True)
    file, checksum = pack(folder, dest)
    assert file == dest / f"{checksum}.tar" and [path.name for path in dest.glob(".*")] == []
    with tarfile.open(file) as archive:
        return archive.getnames(), checksum


def test_the_checksum_depends_on_content_only(app: Path, tmp_path: Path) -> None:
    """[A10] Neither times, nor modes beyond the executable bit, nor the folder's own place; a second checkout is the same release."""
    _, first = packed(app, tmp_path / "out")
    for path in app.rglob("*"):
        os.utime(path, (1, 1))
    (app / "requirements.txt").chmod(0o600)
    (app / "manage.sh").chmod(0o700)
    moved = app.rename(tmp_path / "elsewhere")
    assert packed(moved, tmp_path / "out")[1] == first


def test_the_checksum_sees_every_change(app: Path, tmp_path: Path) -> None:
    """[A10] Content, name, executable bit."""
    seen = [packed(app, tmp_path / "out")[1]]
    (app / "blog/__init__.py").write_text("app = 1\n")
    seen.append(packed(app, tmp_path / "out")[1])
    (app / "blog/__init__.py").rename(app / "blog/web.py")
    seen.append(packed(app, tmp_path / "out")[1])
    (app / "requirements.txt").chmod(0o755)
    seen.append(packed(app, tmp_path / "out")[1])
    (app / "empty").write_text("")
    seen.append(packed(app, tmp_path / "out")[1])
    assert len(set(seen)) == 5


def test_names_are_sorted_and_nobodys(repository: Path, tmp_path: Path) -> None:
    """[A10] The controller's user and group do not travel."""
    names, checksum = packed(repository, tmp_path / "out")
    assert names == sorted(names) == [".gitignore", "blog/__init__.py", "manage.sh", "requirements.txt"]
    with tarfile.open(tmp_path / f"out/{checksum}.tar") as archive:
        assert {(entry.uid, entry.gid, entry.uname, entry.gname, entry.mtime) for entry in archive} == {(0, 0, "", "", 0)}
        modes = {entry.name: entry.mode for entry in archive}
    assert (modes["manage.sh"], modes["requirements.txt"]) == (0o755, 0o644)


def test_what_git_ignores_stays_behind(repository: Path, tmp_path: Path) -> None:
    """[A11] A local database or a key below instance/ is nobody else's business; what is merely new belongs to the app."""
    (repository / "instance").mkdir()
    (repository / "instance/secret.key").write_text("x")
    (repository / "debug.log").write_text("x")
    (repository / "blog/new.py").write_text("x")
    names, _ = packed(repository, tmp_path / "out")
    assert "blog/new.py" in names
    assert not {"instance/secret.key", "debug.log"} & set(names)
    assert not [name for name in names if name.startswith(".git/")]


def test_a_file_that_was_deleted_is_left_out(repository: Path, tmp_path: Path) -> None:
    """[A10] git still lists it."""
    (repository / "manage.sh").unlink()
    assert "manage.sh" not in packed(repository, tmp_path / "out")[0]


def test_a_folder_of_a_repository_is_packed_alone(repository: Path, tmp_path: Path) -> None:
    """[A10] With names seen from that folder."""
    assert packed(repository / "blog", tmp_path / "out")[0] == ["__init__.py"]


def test_names_that_are_hard_to_quote(repository: Path, tmp_path: Path) -> None:
    """[A10] git quotes them unless told otherwise."""
    for name in ("ünï.py", 'a "b".txt', "new\nline", " space "):
        (repository / name).write_text("x")
    assert {"ünï.py", 'a "b".txt', "new\nline", " space "} <= set(packed(repository, tmp_path / "out")[0])


def test_without_git_caches_and_environments_stay_behind(app: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """[A10] In a folder that is no work tree, and where there is no git at all."""
    for name in (".venv/bin/python", "venv/x", "node_modules/x", "blog/__pycache__/x.pyc", "blog/old.pyc", ".pytest_cache/x"):
        path = app / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    expected = ["blog/__init__.py", "manage.sh", "requirements.txt"]
    assert packed(app, tmp_path / "out")[0] == expected
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    assert packed(app, tmp_path / "out")[0] == expected


@pytest.mark.parametrize("with_git", [True, False])
@pytest.mark.parametrize("target", ["blog/__init__.py", "blog", "nowhere"])
def test_links_stay_links(app: Path, tmp_path: Path, with_git: bool, target: str) -> None:
    """[A10] To a file, to a folder, to nothing: what git would check out is what arrives."""
    (app / "link").symlink_to(target)
    if with_git:
        git(app, "init", "--quiet")
        git(app, "add", ".")
    names, checksum = packed(app, tmp_path / "out")
    assert names.count("link") == 1 and not [name for name in names if name.startswith("link/")]
    with tarfile.open(tmp_path / f"out/{checksum}.tar") as archive:
        entry = archive.getmember("link")
        assert entry.issym() and entry.linkname == target


def test_the_commit_says_when_it_is_not_all(repository: Path) -> None:
    """[F4] `-dirty` for a change, a new file, or a deletion; a plain commit otherwise."""
    head = git(repository, "rev-parse", "HEAD")
    assert commit(repository) == head
    (repository / "debug.log").write_text("ignored")
    assert commit(repository) == head
    (repository / "new.py").write_text("x")
    assert commit(repository) == f"{head}-dirty"
    git(repository, "add", "new.py")
    assert commit(repository) == f"{head}-dirty"
    git(repository, "commit", "--quiet", "--message", "second")
    assert commit(repository) == git(repository, "rev-parse", "HEAD") != head
    (repository / "new.py").unlink()
    assert commit(repository).endswith("-dirty")


def test_changes_elsewhere_in_the_repository_do_not_count(repository: Path) -> None:
    """[F4] The app may be one folder of many."""
    (repository / "README.md").write_text("x")
    assert commit(repository / "blog") == git(repository, "rev-parse", "HEAD")


def test_without_git_there_is_no_commit(app: Path) -> None:
    """[F4] Neither in a plain folder nor before the first commit."""
    assert commit(app) == ""
    git(app, "init", "--quiet")
    assert commit(app) == ""


# --- What is not complete -------------------------------------------------------------------------


@pytest.fixture
def theme(repository: Path, tmp_path: Path) -> Path:
    """The app, with a submodule that has one of its own."""
    committed(tmp_path / "inner", {"deep.txt": "deep"})
    committed(tmp_path / "theme", {"theme.css": "x", ".gitignore": "*.log\n"})
    git(tmp_path / "theme", "submodule", "--quiet", "add", f"file://{tmp_path}/inner", "inner")
    committed(tmp_path / "theme", {})
    git(repository, "submodule", "--quiet", "add", f"file://{tmp_path}/theme", "blog/theme")
    git(repository, "submodule", "--quiet", "update", "--init", "--recursive")
    committed(repository, {})
    return repository


def test_submodules_come_along(theme: Path, tmp_path: Path) -> None:
    """[F4] git lists their folder alone; what they ignore stays behind, what they have changed is a change."""
    (theme / "blog/theme/debug.log").write_text("x")
    names, checksum = packed(theme, tmp_path / "out")
    assert {"blog/theme/theme.css", "blog/theme/inner/deep.txt"} <= set(names)
    assert "blog/theme/debug.log" not in names and not [name for name in names if name.endswith("/.git")]
    (theme / "blog/theme/theme.css").write_text("y")
    assert packed(theme, tmp_path / "out")[1] != checksum


def test_a_submodule_that_nobody_fetched_is_refused(theme: Path, tmp_path: Path) -> None:
    """[F4] By name, with the command that fetches it; an inner one too."""
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "--quiet", str(theme), str(clone))
    with pytest.raises(SourceError, match=rf"submodule blog/theme\. Run: git -C {clone} submodule update --init --recursive"):
        packed(clone, tmp_path / "out")
    git(clone, "submodule", "--quiet", "update", "--init")
    with pytest.raises(SourceError, match=r"submodule inner\. Run"):
        packed(clone, tmp_path / "out")


def test_submodules_of_a_downloaded_archive_are_refused(app: Path, tmp_path: Path) -> None:
    """[F4] Hosting services pack their folders, and nothing in them."""
    (app / ".gitmodules").write_text('[submodule "theme"]\n\tpath = blog/theme\n\turl = ../theme.git\n')
    packed(app, tmp_path / "out")
    (app / "blog/theme").mkdir()
    with pytest.raises(SourceError, match=r"submodules are not in .*: blog/theme\. Clone it with --recurse-submodules"):
        packed(app, tmp_path / "out")


@pytest.mark.parametrize("with_git", [True, False])
def test_a_file_that_git_lfs_has_not_fetched_is_refused(app: Path, tmp_path: Path, with_git: bool) -> None:
    """[F4] It would go live as the text of a pointer. One that only speaks of pointers is a file like any other."""
    for number in range(7):
        (app / f"blog/{number}.png").write_text(POINTER)
    (app / "blog/about.txt").write_text("see " + POINTER)
    if with_git:
        committed(app, {})
    with pytest.raises(SourceError, match=rf"blog/0\.png, .*, blog/4\.png and 2 more\. Run: git -C {app} lfs pull"):
        packed(app, tmp_path / "out")
    for number in range(7):
        (app / f"blog/{number}.png").unlink()
    assert "blog/about.txt" in packed(app, tmp_path / "out")[0]


@pytest.mark.parametrize("with_git", [True, False])
def test_a_name_that_is_not_utf8_is_refused(app: Path, tmp_path: Path, with_git: bool) -> None:
    """[F8] By name, without a traceback."""
    Path(os.fsdecode(os.fsencode(app) + b"/blog/caf\xe9.txt")).write_text("x")
    if with_git:
        committed(app, {})
    with pytest.raises(SourceError, match=r"not UTF-8: blog/caf\\xe9\.txt \(in .*\)\. Rename them"):
        packed(app, tmp_path / "out")


def test_the_folder_that_is_the_release(repository: Path) -> None:
    """[F4] All of the path, or its subdirectory; what is not there is refused, with what is."""
    assert release_folder(repository) == repository
    assert release_folder(repository, "blog") == repository / "blog"
    with pytest.raises(SourceError, match=r"app_source\.subdirectory: the source has no folder 'web'\. There are: blog"):
        release_folder(repository, "web")
    with pytest.raises(SourceError, match=r"app_source\.path: .*/nowhere is not a folder on the controller"):
        release_folder(repository / "nowhere")
