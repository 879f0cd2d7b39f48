"""Archives of a source."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ansible_collections.slipway.vps.plugins.module_utils.deploy_steps import StepError

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
def test_an_archive_is_unpacked_without_its_single_top_folder(deploy: Make, tmp_path: Path, names: list[str], found: list[str]) -> None:
    """[A10] With one or without, with or without ./, compressed or not."""
    folder = tmp_path / "unpacked"
    folder.mkdir()
    packed = archive(tmp_path / "source.tar", *names)
    os.utime(packed, (0, 0))
    deploy().builder.unpack(packed, folder)
    assert sorted(str(path.relative_to(folder)) for path in folder.rglob("*")) == found
    # nginx builds its ETag from the time: the archive's own may be the same for all versions.
    assert all(path.stat().st_mtime > 1e9 for path in folder.rglob("*") if path.is_file())


def test_an_archive_that_cannot_be_read_is_a_failure_of_its_step(deploy: Make, root: Path) -> None:
    """[A10] With what tar says."""
    (root / "broken.tar").write_bytes(b"no tar at all" * 100)
    with pytest.raises(StepError, match="tar"):
        deploy(tree=None, archive=str(root / "broken.tar")).do("prepare")
    refused(root, NEW, "source", "tar")
