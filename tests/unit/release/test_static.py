"""What the build makes of bytecode and of static files."""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path

import pytest
from ansible_collections.slipway.vps.plugins.module_utils.deploy_build import own_code
from ansible_collections.slipway.vps.plugins.module_utils.deploy_steps import StepError
from ansible_collections.slipway.vps.plugins.module_utils.releases import BUILDING, READY, Release
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core.run import CommandError

from .fakes import NEW, OLD, Existing, Host, Make, listed, meanwhile, state


def test_bytecode_of_the_same_files_is_taken_over(deploy: Make, existing: Existing, root: Path, serving: Release) -> None:
    """[S1] Linked like the files themselves: compiling takes longer than all the rest of a build."""
    existing(NEW, BUILDING)
    old, new = (root / "srv/releases" / name / ".venv/lib/pkg" for name in (OLD, NEW))
    for folder in (old, new):
        (folder / "__pycache__").mkdir(parents=True)
        (folder / "changed.py").write_text(folder.parts[-4])
    for name in ("same", "there", "changed"):
        (old / f"{name}.py").touch()
        (old / f"__pycache__/{name}.cpython-313.pyc").write_text(f"old {name}")
    for name in ("same", "there"):
        (new / f"{name}.py").hardlink_to(old / f"{name}.py")
    (new / "__pycache__/there.cpython-313.pyc").write_text("its own")
    (old / "deep/__pycache__").mkdir(parents=True)
    (old / "deep/a.py").write_text("a")
    (old / "deep/__pycache__/a.cpython-313.opt-1.pyc").write_text("a")
    (new / "deep").mkdir()
    (new / "deep/a.py").hardlink_to(old / "deep/a.py")
    deploy().builder.inherit_bytecode(root / "srv/releases" / NEW)
    found = {str(path.relative_to(new)): path.read_text() for path in new.rglob("*.pyc")}
    assert found == {
        **{"__pycache__/same.cpython-313.pyc": "old same", "__pycache__/there.cpython-313.pyc": "its own"},
        **{"deep/__pycache__/a.cpython-313.opt-1.pyc": "a"},
    }
    assert (new / "__pycache__/same.cpython-313.pyc").samefile(old / "__pycache__/same.cpython-313.pyc")


def test_the_first_release_has_no_bytecode_to_take_over(deploy: Make, existing: Existing, root: Path) -> None:
    existing(NEW, BUILDING)
    (root / "srv/releases" / NEW / ".venv/a.py").write_text("")
    deploy().builder.inherit_bytecode(root / "srv/releases" / NEW)
    assert list((root / "srv").rglob("*.pyc")) == []


def test_a_build_takes_bytecode_over_before_it_compiles(deploy: Make, root: Path, host: Host, serving: Release) -> None:
    """[S1] After the packages are there, so that only what is new is left to compile."""
    old, new = (root / "srv/releases" / name / ".venv/pkg" for name in (OLD, NEW))
    (old / "__pycache__").mkdir(parents=True)
    (old / "a.py").touch()
    (old / "__pycache__/a.cpython-313.pyc").touch()
    there: list[bool] = []

    def install(line: str) -> None:
        new.mkdir()
        (new / "a.py").hardlink_to(old / "a.py")

    meanwhile(host, "--requirement", install)
    meanwhile(host, "compileall", lambda line: there.append((new / "__pycache__/a.cpython-313.pyc").exists()))
    deploy().do("prepare")
    assert there[0] is True


def test_bytecode_is_not_linked_out_of_the_release(deploy: Make, existing: Existing, root: Path, serving: Release) -> None:
    """[A5] A link of that name, left by code that the build ran: root would put the app's bytecode where it points."""
    existing(NEW, BUILDING)
    outside = root / "outside"
    outside.mkdir()
    old, new = (root / "srv/releases" / name / ".venv/pkg" for name in (OLD, NEW))
    (old / "__pycache__").mkdir(parents=True)
    new.mkdir()
    (old / "a.py").touch()
    (old / "__pycache__/a.cpython-313.pyc").write_text("bytecode")
    (new / "a.py").hardlink_to(old / "a.py")
    (new / "__pycache__").symlink_to(outside)
    deploy().builder.inherit_bytecode(root / "srv/releases" / NEW)
    assert listed(outside) == []


def test_a_package_with_a_file_that_does_not_compile_can_be_deployed(deploy: Make, root: Path, host: Host) -> None:
    """[A10] Packages ship templates and files for other Pythons; pip and uv pass over them, and so did a build before."""

    def compiled(line: str) -> None:
        if "compileall" in line and "-x" not in line.split():
            raise CommandError("Error compiling './.venv/lib/python3.13/site-packages/template.py'")

    meanwhile(host, "", compiled)
    deploy().do("prepare")
    assert state(root, NEW) == READY


def test_static_folders_are_linked_at_their_prefix(deploy: Make, root: Path) -> None:
    """[E6] `.static/<prefix>` in every release, relative: nginx looks for one path in several releases, also in a moved copy."""
    (root / "tree/blog/static/app").mkdir(parents=True)
    (root / "tree/blog/static/app/a.css").write_text("a")
    (root / "tree/docs").mkdir()
    (root / "tree/docs/b.html").write_text("b")
    deploy(static={"/static/": "blog/static", "/a/b/docs/": "docs/"}).do("prepare")
    folder = root / "srv/releases" / NEW
    assert {str(path.relative_to(folder)): str(path.readlink()) for path in folder.rglob("*") if path.is_symlink()} == {
        **{".static/static": "../blog/static", ".static/a/b/docs": "../../../docs"},
    }
    moved = folder.rename(root / "elsewhere")
    assert (moved / ".static/static/app/a.css").read_text() == "a" and (moved / ".static/a/b/docs/b.html").read_text() == "b"


def test_static_files_are_compressed_by_the_build(deploy: Make, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """[E7] Inside the release only, in its own folders only, and not at all where that is not wanted."""
    # Not every machine has brotli; what it writes is another test's matter.
    monkeypatch.setattr(shutil, "which", lambda program: None)
    text, outside = "a { color: red }\n" * 200, root / "outside"
    for folder in (root / "tree/blog/static", root / "tree/.venv/static", outside):
        folder.mkdir(parents=True)
        (folder / "a.css").write_text(text)
    (root / "tree/linked").symlink_to(outside)
    static = {"/static/": "blog/static", "/linked/": "linked", "/package/": ".venv/static"}
    deploy(static=static).do("prepare")
    folder = root / "srv/releases" / NEW
    assert gzip.decompress((folder / "blog/static/a.css.gz").read_bytes()).decode() == text
    assert listed(outside) == ["a.css"] and not list(folder.glob(".venv/static/*.gz"))


def test_static_files_may_be_left_as_they_are(deploy: Make, root: Path) -> None:
    """[E7]"""
    (root / "tree/blog/static").mkdir(parents=True)
    (root / "tree/blog/static/a.css").write_text("a { color: red }\n" * 200)
    deploy(static={"/static/": "blog/static"}, precompress=False).do("prepare")
    assert listed(root / "srv/releases" / NEW / "blog/static") == ["a.css"]


@pytest.mark.parametrize("first", ["/static/", "/static/admin/"])
def test_a_prefix_within_another_is_linked_or_refused(deploy: Make, root: Path, first: str) -> None:
    """[E6] Whichever comes first in the inventory; never a link in the app's own folders, which nothing would lead to."""
    for name in ("static", "pkg/admin/static"):
        (root / "tree" / name).mkdir(parents=True)
        (root / "tree" / name / "x.css").write_text(name)
    static = {"/static/": "static", "/static/admin/": "pkg/admin/static"}
    try:
        deploy(static=dict(sorted(static.items(), key=lambda pair: pair[0] != first))).do("prepare")
    except StepError as failure:
        assert failure.step == "source"
        return
    folder = root / "srv/releases" / NEW
    assert (folder / ".static/static/x.css").read_text() == "static"
    assert (folder / ".static/static/admin/x.css").read_text() == "pkg/admin/static"
    assert listed(folder / "static") == ["x.css"]


def test_a_source_cannot_lead_the_links_elsewhere(deploy: Make, root: Path) -> None:
    """[A5] A link of that name in the source: root would write where it points."""
    outside = root / "outside"
    outside.mkdir()
    (root / "tree/.static").symlink_to(outside)
    (root / "tree/blog/static").mkdir(parents=True)
    deploy(static={"/static/": "blog/static"}).do("prepare")
    assert listed(outside) == []
    assert str((root / "srv/releases" / NEW / ".static/static").readlink()) == "../blog/static"


def test_the_apps_own_code_is_compiled_and_nothing_else(deploy: Make, root: Path, host: Host) -> None:
    """[S1] Not the environment a second time, not what is linked into the release and outlives it; and where there is no code, nothing."""
    for name in ("blog", "node_modules/x", "-odd"):
        (root / "tree" / name).mkdir(parents=True, exist_ok=True)
        (root / "tree" / name / "a.py").touch()
    (root / "tree/linked").symlink_to("blog")
    (root / "tree/blog.py").touch()
    deploy(shared_paths=["instance/"]).do("prepare")
    (line,) = (line for line in host.did if "compileall" in line and "-x" in line.split())
    assert line.partition(" -- ")[2].split() == ["-odd", "blog", "blog.py"]
    empty = root / "empty"
    empty.mkdir()
    (empty / "requirements.txt").touch()
    assert own_code(empty) == []
