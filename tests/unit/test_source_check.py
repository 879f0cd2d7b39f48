"""What the controller sees of a source before any host changes: refused by name with what to write, or noted where it cannot be known."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.slipway.vps.plugins.module_utils import source_check
from ansible_collections.slipway.vps.plugins.module_utils.source_check import Findings, heads, last_line, look, references
from ansible_collections.slipway.vps.plugins.module_utils.source_tree import SourceError

from .conftest import ROOT, Tool
from .inventory import SECRET, Inventory
from .repositories import POINTER, committed, plain

CANARY = "c4n4ry-t0ken"


@pytest.fixture(autouse=True)
def plain_git(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    plain(monkeypatch, tmp_path)


def tree(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(POINTER if name.endswith(".lfs") else "x")
    return folder


def seen(folder: Path, wsgi: str = "blog:app", **said: Any) -> Findings:
    """Of a folder as a source."""
    return look({"app_source": {"type": "path", "path": str(folder), **said.pop("source", {})}, "app_wsgi": wsgi, **said})


def only(found: Findings, variable: str, what: str, fix: str) -> None:
    assert [problem.variable for problem in found.problems] == [variable], found
    assert what in found.problems[0].what and fix in found.problems[0].fix, found


# --- Folders and archives -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "wsgi"),
    [
        (("requirements.txt", "blog.py"), "blog:app"),
        (("uv.lock", "blog/__init__.py"), "blog:create_app()"),
        (("poetry.lock", "src/blog/__init__.py", "src/blog/web.py"), "blog.web:create_app('x')"),
        (("requirements-prod.txt", "blog/wsgi.py"), "blog.wsgi:application"),
        (("Pipfile.lock", "blog/fast.pyx", "blog/__init__.py"), "blog.fast:app"),
        (("pylock.toml", "blog/fast.cpython-313-x86_64-linux-gnu.so", "blog/__init__.py"), "blog.fast:app"),
        (("setup.py", "namespace/blog/web.py"), "namespace.blog.web:app"),
        (("pyproject.toml", "blog/web/wsgi/__init__.py"), "blog.web.wsgi:app"),
    ],
)
def test_ordinary_sources_pass(tmp_path: Path, names: tuple[str, ...], wsgi: str) -> None:
    """[F5] Flat, src and package layouts, each list of dependencies."""
    assert seen(tree(tmp_path / "app", *names), wsgi) == Findings()


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    """[F8] Known in the first second, not after 207."""
    only(seen(tmp_path / "nowhere"), "app_source", f"path: {tmp_path}/nowhere is not a folder", "relative one begins at the inventory")


def test_a_folder_without_a_list_of_dependencies(tmp_path: Path) -> None:
    """[F4] Where one of its folders has one, that is what was meant."""
    app = tree(tmp_path / "app", "blog.py", "docs/index.md")
    only(seen(app), "app_source", "no file that says what the app needs", "requirements.txt")
    tree(app, "services/blog/pyproject.toml", "services/blog/blog.py")
    only(seen(app), "app_source", "no file that says", "subdirectory: services/blog")
    assert seen(app, source={"subdirectory": "services/blog"}) == Findings()
    only(seen(app, source={"subdirectory": "service"}), "app_source", "subdirectory: the source has no folder 'service'", "docs, services")


def test_a_lock_file_that_is_named_is_there(tmp_path: Path) -> None:
    """[F5]"""
    app = tree(tmp_path / "app", "blog.py", "requirements.txt", "requirements/prod.txt")
    assert seen(app, app_lock_file="requirements/prod.txt") == Findings()
    only(seen(app, app_lock_file="requirements/dev.txt"), "app_lock_file", "'requirements/dev.txt', which is not in", "requirements.txt")


def test_an_entry_point_whose_package_is_there_and_which_is_not(tmp_path: Path) -> None:
    """[F8] Refused with what is meant; or with what there is."""
    app = tree(tmp_path / "app", "requirements.txt", "blog/__init__.py", "blog/wsgi.py", "src/shop/app.py")
    only(seen(app, "blog.wsgy:app"), "app_wsgi", "the module 'blog.wsgy', which is not in the source", "did you mean blog.wsgi?")
    only(seen(app, "blog.server:app"), "app_wsgi", "which is not in the source", "name one of: blog, blog.wsgi")
    only(seen(app, "shop.web:app"), "app_wsgi", "which is not in the source", "shop.app")


def test_an_entry_point_that_cannot_be_known_is_noted(tmp_path: Path) -> None:
    """[F8] A package that the app needs may bring it, and PYTHONPATH may lead to it: no refusal."""
    app = tree(tmp_path / "app", "requirements.txt", "lib/blog/wsgi.py")
    found = seen(app, "ihatemoney.wsgi:application")
    assert not found.problems and "a package that the app needs has to bring it" in found.notes[0]
    found = seen(app, "blog.wsgi:app")
    assert not found.problems and "neither" not in found.notes[0] and "lib/blog/wsgi.py" in found.notes[0]


def test_a_static_folder_that_is_not_in_the_release(tmp_path: Path) -> None:
    """[F4] Every static file would answer 404; what git ignores is not in the release either."""
    app = tree(tmp_path / "app", "requirements.txt", "blog.py", "blog/static/app.css", ".gitignore")
    (app / ".gitignore").write_text("/build/\n")
    tree(app, "build/app.css")
    committed(app, {})
    assert seen(app, app_static={"/static/": "blog/static", "/a/": "blog/static/"}) == Findings()
    only(
        seen(app, app_static={"/static/": "static"}),
        "app_static",
        "names 'static' for /static/, which is not in",
        "name one that is: blog/static",
    )
    only(seen(app, app_static={"/s/": "build"}), "app_static", "git ignores it", "blog/static")
    found = seen(app, app_static={"/s/": "build"}, app_build_commands=["npm run build"])
    assert not found.problems and "app_build_commands has to make it" in found.notes[0]
    assert seen(app, app_static={"/s/": ".venv/lib/python3.13/site-packages/admin/static"}) == Findings(), "seen when it is built"
    (app / "static").symlink_to("blog/static")
    assert seen(app, app_static={"/static/": "static"}) == Findings(), "a link leads to it"


def test_what_cannot_be_packed_is_refused_here(tmp_path: Path) -> None:
    """[F4] [F8] Git LFS, submodules and names that are not UTF-8 (tests/unit/test_pack.py), with the fix as such."""
    app = tree(tmp_path / "app", "requirements.txt", "blog.py", "static/big.lfs")
    only(seen(app), "app_source", "path: Git LFS has not fetched these files: static/big.lfs", "lfs pull")
    (app / "static/big.lfs").unlink()
    Path(os.fsdecode(os.fsencode(app) + b"/caf\xe9.txt")).write_text("x")
    only(seen(app), "app_source", r"file names that are not UTF-8: caf\xe9.txt", "Rename")


def archived(path: Path, *names: str) -> dict[str, Any]:
    folder = tree(path.parent / f"{path.name}.d", *names)
    with tarfile.open(path, "w:gz") as packed:
        packed.add(folder, arcname="blog-1.4")
    return {"app_source": {"type": "archive", "file": str(path)}, "app_wsgi": "blog:app", "app_static": {"/static/": "static"}}


def test_an_archive_on_the_controller(tmp_path: Path) -> None:
    """[F4] The same, without its top folder."""
    assert look(archived(tmp_path / "good.tar.gz", "requirements.txt", "blog.py", "static/app.css")) == Findings()
    only(look(archived(tmp_path / "none.tar.gz", "blog.py", "static/app.css")), "app_source", "no file that says", "requirements.txt")
    pointers = look(archived(tmp_path / "lfs.tar.gz", "requirements.txt", "blog.py", "static/a.lfs"))
    only(pointers, "app_source", "file: Git LFS has not fetched these files: static/a.lfs", "git lfs pull")
    nowhere = {"app_source": {"type": "archive", "file": str(tmp_path / "nowhere.tar")}}
    only(look(nowhere), "app_source", "nowhere.tar is not a file on the controller", "relative one begins at the inventory")
    (tmp_path / "odd.tar.zst").write_bytes(b"\x28\xb5\x2f\xfd" + b"x" * 2000)
    found = look({"app_source": {"type": "archive", "file": str(tmp_path / "odd.tar.zst")}})
    assert not found.problems and "was not looked into" in found.notes[0], "the host's tar may know it"


def test_what_only_the_host_has_is_not_looked_at() -> None:
    for source in (
        {"type": "package", "requirement": "blog==1.4.0"},
        {"type": "archive", "url": "https://127.0.0.1:1/blog.tar.gz", "checksum": "x"},
        {"type": "git", "repo": "file:///opt/blog.git", "version": "v1"},
        {"type": "git", "repo": "/opt/blog.git", "version": "v1"},
    ):
        assert look({"app_source": source, "app_wsgi": "blog:app", "app_static": {"/s/": "s"}}) == Findings(), source


# --- Repositories ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "fix"),
    [
        *((version, "") for version in ("main", "v1.4.0", "feature/x", "HEAD", "refs/pull/7/head", "4f2a9c10", "4f2a9c10" * 5)),
        ("v1.4.1", "did you mean v1.4.0? Or push it: git push origin v1.4.1"),
        ("release", "push it: git push origin release"),
        ("refs/heads/nowhere", "push it"),
    ],
)
def test_a_version_that_the_repository_does_not_have(monkeypatch: pytest.MonkeyPatch, version: str, fix: str) -> None:
    """[F4] A tag that nobody pushed: the remote is asked, and a commit may be there without a name."""
    names = {"HEAD", "refs/heads/main", "refs/heads/feature/x", "refs/tags/v1.4.0", "refs/pull/7/head"}
    monkeypatch.setattr(source_check, "references", lambda repo, key: names)
    found = look({"app_source": {"type": "git", "repo": f"https://{CANARY}@git.example.com/blog.git", "version": version}})
    assert CANARY not in str(found)
    if fix:
        only(found, "app_source", f"version {version!r} is neither a branch nor a tag of https://***@git.example.com/blog.git", fix)
    else:
        assert found == Findings()


def test_a_repository_that_does_not_answer_is_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    """[F8] The host may be allowed what the controller is not. Quick, and without its token."""
    monkeypatch.setattr(source_check, "PATIENCE", 120)
    found = look({"app_source": {"type": "git", "repo": f"https://{CANARY}@127.0.0.1:1/blog.git", "version": "v1"}})
    assert not found.problems and "whether https://***@127.0.0.1:1/blog.git has 'v1' is seen on the host: fatal" in found.notes[0]
    assert CANARY not in str(found)
    monkeypatch.setenv("PATH", "/nowhere")
    assert "git cannot be run here" in look({"app_source": {"type": "git", "repo": "https://x/y.git", "version": "v"}}).notes[0]


def test_the_remote_is_asked_for_its_references(tmp_path: Path) -> None:
    """What git itself says, with an annotated tag; and why not."""
    committed(tmp_path / "origin", {"a": "x"})
    assert references(str(tmp_path / "origin"), "") == {"HEAD", "refs/heads/main"}
    with pytest.raises(SourceError, match="fatal"):
        references(str(tmp_path / "nowhere"), "KEY")
    assert set(heads(["1\trefs/tags/v1", "2\trefs/tags/v1^{}"])) == {"refs/tags/v1"}
    assert last_line("Warning: added\nERROR: Repository not found.\nfatal: Could not read\n") == "ERROR: Repository not found."


# --- The inventory, and ansible-playbook ----------------------------------------------------------


def test_a_path_is_relative_to_the_inventory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """[F8] As docs/contract.md shows it; `~` is the operator's home. What lay beside the playbook is still found, with a warning."""
    inventory = Inventory(tmp_path / "project/inventory", {"blog": {"app_source": {"type": "path", "path": "../blog"}}})
    app = tree(tmp_path / "project/blog", "requirements.txt", "blog/__init__.py")
    assert inventory.secrets("blog")["source"]["path"] == str(app)
    assert inventory.app("blog")["source"]["path"] == "../blog", "a manifest keeps what the operator said"
    assert not inventory.app("blog", part="source").get("warnings")
    (tmp_path / "project/playbooks").mkdir()
    inventory.loader.set_basedir(str(tmp_path / "project/playbooks"))
    app.rename(tmp_path / "project/elsewhere")
    message = inventory.refusal("blog", part="source")
    assert f"app_source path: {app} is not a folder" in message and f"{tmp_path}/project/inventory/host_vars/blog.yml:" in message, message
    inventory.loader.set_basedir(str(tmp_path / "playbooks/deep"))
    former = tree(tmp_path / "playbooks/blog", "requirements.txt", "blog/__init__.py")
    (warning,) = inventory.app("blog", part="source")["warnings"]
    assert f"{former} is used, which is deprecated" in warning and inventory.secrets("blog")["source"]["path"] == str(former)
    monkeypatch.setenv("HOME", str(tmp_path / "project"))
    home = Inventory(tmp_path / "home", {"blog": {"app_source": {"type": "archive", "file": "~/blog.tar"}}})
    assert home.secrets("blog")["source"]["file"] == f"{tmp_path}/project/blog.tar"


def test_every_problem_has_its_line_and_fix(tmp_path: Path) -> None:
    """[F8] As of any other input."""
    inventory = Inventory(tmp_path, {"blog": {"app_source": {"type": "path", "path": "app"}, "app_static": {"/static/": "static"}}})
    tree(tmp_path / "app", "blog/static/a.css", "blog/__init__.py")
    message = inventory.refusal("blog", part="source")
    assert message.startswith("Nothing was changed") and message.count("  fix:  ") == 2, message
    assert "- app_source has no file that says" in message and "- app_static names 'static'" in message, message


SHOW = "- hosts: app_servers\n  gather_facts: false\n  tasks: [{ansible.builtin.debug: {msg: 'changes {{ app.name }}'}}]\n"


def test_a_play_that_deploys_looks_once_and_first(tool: Tool, tmp_path: Path) -> None:
    """[F8] Before any host changes; not where nothing is deployed, not for another layer's tag, not twice in a run."""
    where = {"ansible_host": "203.0.113.10", "ansible_connection": "local", "app_machine": "m"}
    Inventory(tmp_path, {"blog": {"app_source": {"type": "path", "path": "app"}}}, {"app_secrets": {"SECRET_KEY": SECRET}}, blog=where)
    (tmp_path / "contract.yml").write_text((ROOT / "playbooks/contract.yml").read_text())
    deploys = "- import_playbook: contract.yml\n  vars: {deploys: true}\n"
    (tmp_path / "deploy.yml").write_text(deploys + SHOW + deploys)
    (tmp_path / "list.yml").write_text("- import_playbook: contract.yml\n" + SHOW)
    words = ("-i", str(tmp_path / "hosts.yml"))
    refused = tool("ansible-playbook", *words, str(tmp_path / "deploy.yml"))
    assert refused.returncode != 0 and "app_source path:" in refused.stdout and "changes blog" not in refused.stdout, refused.stdout
    for listed in ((str(tmp_path / "list.yml"),), (str(tmp_path / "deploy.yml"), "--tags", "edge")):
        passed = tool("ansible-playbook", *words, *listed)
        assert passed.returncode == 0, passed.stdout
    tree(tmp_path / "app", "requirements.txt", "blog/__init__.py")
    passed = tool("ansible-playbook", *words, str(tmp_path / "deploy.yml"))
    assert passed.returncode == 0 and "changes blog" in passed.stdout, passed.stdout
    assert passed.stdout.count("TASK [slipway.vps.app : source | Look") == 1, passed.stdout


def test_whoever_deploys_says_so() -> None:
    """[F8] site.yml before its first layer, serve.yml for the rest."""
    for name in ("site.yml", "serve.yml"):
        first = yaml.safe_load((ROOT / "playbooks" / name).read_text())[0]
        assert (first["ansible.builtin.import_playbook"], first["vars"]) == ("contract.yml", {"deploys": True}), name
