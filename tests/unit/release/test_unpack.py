"""Archives of a source."""

from __future__ import annotations

import io
import os
import re
import tarfile
import zipfile
from pathlib import Path

import pytest
from ansible_collections.slipway.vps.plugins.module_utils.archive import listing, unpack
from ansible_collections.slipway.vps.plugins.module_utils.deploy_steps import StepError
from ansible_collections.slipway.vps.plugins.module_utils.source_tree import LFS_POINTER, SourceError

from .fakes import NEW, Make, archive, refused


@pytest.mark.parametrize(
    ("names", "found"),
    [
        # As GitHub and `git archive --prefix` pack.
        (["blog-1.4/", "blog-1.4/blog.py", "blog-1.4/pkg/a.py"], ["blog.py", "pkg", "pkg/a.py"]),
        (["blog-1.4/blog.py", "blog-1.4/pkg/a.py"], ["blog.py", "pkg", "pkg/a.py"]),
        # As `tar -C blog .` and the collection's own pack pack.
        (["./", "./blog.py", "./pkg/", "./pkg/a.py"], ["blog.py", "pkg", "pkg/a.py"]),
        (["blog.py", "pkg/a.py"], ["blog.py", "pkg", "pkg/a.py"]),
        (["blog.py"], ["blog.py"]),
        (["a/x.py", "b/y.py"], ["a", "a/x.py", "b", "b/y.py"]),
        # As `tar -cf x.tar ./blog` packs.
        (["./blog-1.4/", "./blog-1.4/blog.py", "./blog-1.4/pkg/a.py"], ["blog.py", "pkg", "pkg/a.py"]),
    ],
)
def test_an_archive_is_unpacked_without_its_single_top_folder(tmp_path: Path, names: list[str], found: list[str]) -> None:
    """[A10] With one or without, with or without ./, compressed or not."""
    folder = tmp_path / "unpacked"
    folder.mkdir()
    packed = archive(tmp_path / "source.tar", *names)
    os.utime(packed, (0, 0))
    unpack(packed, folder)
    assert sorted(str(path.relative_to(folder)) for path in folder.rglob("*")) == found
    # nginx builds its ETag from the time: the archive's own may be the same for all versions.
    assert all(path.stat().st_mtime > 1e9 for path in folder.rglob("*") if path.is_file())


def test_an_archive_that_cannot_be_read_is_a_failure_of_its_step(deploy: Make, root: Path) -> None:
    """[A10] With what tar says."""
    (root / "broken.tar").write_bytes(b"no tar at all" * 100)
    with pytest.raises(StepError, match="tar"):
        deploy(tree=None, archive=str(root / "broken.tar")).do("prepare")
    refused(root, NEW, "source", "tar")


def zipped(path: Path, members: dict[str, str], **modes: int) -> Path:
    """A zip file; ``modes`` are the members' as Unix has them, by name without its suffix."""
    with zipfile.ZipFile(path, "w") as packed:
        for name, text in members.items():
            entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            entry.external_attr = modes.get(Path(name).stem, 0o100644) << 16
            packed.writestr(entry, text)
    return path


def test_a_zip_archive_is_a_source_too(tmp_path: Path) -> None:
    """[A10] Without its top folder; links and the executable bit stay, times are today's."""
    members = {"blog-1.4/": "", "blog-1.4/blog.py": "x", "blog-1.4/run.sh": "x", "blog-1.4/link": "blog.py"}
    packed = zipped(tmp_path / "source", members, run=0o100755, link=0o120777)
    folder = tmp_path / "unpacked"
    folder.mkdir()
    unpack(packed, folder)
    assert sorted(path.name for path in folder.iterdir()) == ["blog.py", "link", "run.sh"]
    assert (folder / "link").readlink() == Path("blog.py")
    assert [(folder / name).stat().st_mode & 0o777 for name in ("run.sh", "blog.py")] == [0o755, 0o644]
    assert (folder / "blog.py").stat().st_mtime > 1e9


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"../evil.py": "x"}, "'../evil.py' would be written outside"),
        ({"a/../../evil.py": "x"}, "would be written outside"),
        ({"/etc/evil.py": "x"}, "would be written outside"),
        ({"..\\evil.py": "x"}, "would be written outside"),
        ({"link": "/tmp", "link2": "x", "link/link3": "y"}, "lies behind a link"),
        ({"fifo": ""}, "neither a file nor a folder nor a link"),
    ],
)
def test_a_zip_archive_writes_nowhere_else(tmp_path: Path, members: dict[str, str], reason: str) -> None:
    """[A5] As tar refuses it: root unpacks."""
    folder = tmp_path / "unpacked"
    folder.mkdir()
    kinds = {"link": 0o120777, "link2": 0o120777, "link3": 0o120777, "fifo": 0o010644}
    with pytest.raises(SourceError, match=re.escape(reason)):
        unpack(zipped(tmp_path / "source.zip", members, **kinds), folder)
    assert not (tmp_path / "evil.py").exists() and not Path("/tmp/link3").exists()


def test_a_zip_archive_that_cannot_be_read(deploy: Make, root: Path) -> None:
    """[F8] A failure of its step, and no traceback."""
    (root / "broken.zip").write_bytes(b"PK\x03\x04" + b"no zip at all" * 100)
    with pytest.raises(StepError, match="zip archive cannot be read"):
        deploy(tree=None, archive=str(root / "broken.zip")).do("prepare")
    refused(root, NEW, "source", "zip")


@pytest.mark.parametrize("prefix", ["", "monorepo-1.0/"])
def test_the_release_is_one_folder_of_an_archive(deploy: Make, root: Path, prefix: str) -> None:
    """[F4] `app_source.subdirectory`, seen from the archive's own top folder."""
    names = [f"{prefix}{name}" for name in ("README", "web/blog.py", "web/requirements.txt", "docs/index.md")]
    packed = archive(root / "source.tar", *names)
    assert listing(packed, "web") == ({"blog.py", "requirements.txt"}, [])
    deploy(tree=None, archive=str(packed), subdirectory="web").do("prepare")
    folder = root / "srv/releases" / NEW
    assert {"blog.py", "requirements.txt"} <= {path.name for path in folder.iterdir()}
    assert not {"README", "web", "docs", ".unpacking"} & {path.name for path in folder.iterdir()}


def test_a_folder_that_the_archive_does_not_have(deploy: Make, root: Path) -> None:
    """[F4] The message names those that it has; on the controller too, where the archive is there."""
    packed = archive(root / "source.tar", "README", "web/blog.py", "docs/index.md")
    reason = r"app_source\.subdirectory: the source has no folder 'wbe'\. There are: docs, web"
    with pytest.raises(SourceError, match=reason):
        listing(packed, "wbe")
    with pytest.raises(StepError, match=reason):
        deploy(tree=None, archive=str(packed), subdirectory="wbe").do("prepare")


def test_an_archive_that_lacks_what_git_lfs_holds(deploy: Make, root: Path) -> None:
    """[F4] As hosting services make them: they would go live as pointer text."""
    for name, packed in (("tar", root / "source.tar"), ("zip", root / "source.zip")):
        pointer = f"{LFS_POINTER.decode()}oid sha256:{'0' * 64}\nsize 12345\n"
        members = {"blog.py": "x", "static/logo.png": pointer, "static/big.bin": "x" * 2000}
        if name == "zip":
            zipped(packed, members)
        else:
            with tarfile.open(packed, "w") as made:
                for member, text in members.items():
                    entry = tarfile.TarInfo(member)
                    entry.size = len(text)
                    made.addfile(entry, io.BytesIO(text.encode()))
        assert listing(packed) == (set(members), ["static/logo.png"])
        with pytest.raises(StepError, match=r"Git LFS has not fetched these files: static/logo\.png\. Make the archive from a clone"):
            deploy(tree=None, archive=str(packed)).do("prepare")


def test_an_archive_that_lacks_its_submodules(tmp_path: Path) -> None:
    """[F4] Their folders are there, and empty; one of another part of the repository does not matter."""
    members = {
        ".gitmodules": '[submodule "theme"]\n\tpath = web/theme\n\turl = ../theme.git\n',
        "web/theme/": "",
        "web/a.py": "x",
        "docs/b": "x",
    }
    packed = zipped(tmp_path / "source.zip", members)
    folder = tmp_path / "unpacked"
    folder.mkdir()
    with pytest.raises(SourceError, match=r"git submodules are not in the source: web/theme\. Make the archive"):
        unpack(packed, folder, "web")
    unpack(packed, folder, "docs")
    assert [path.name for path in folder.iterdir()] == ["b"]
