"""A version of a repository arrives whole, or is refused by name; the deploy key reaches whoever fetches, and a token nobody."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from ansible_collections.slipway.vps.plugins.module_utils import checkout as module
from ansible_collections.slipway.vps.plugins.module_utils.checkout import Clone, LfsMissingError
from ansible_collections.slipway.vps.plugins.module_utils.git_ssh import build_properties, is_known, server, ssh_command
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core.run import CommandError, Result
from ansible_collections.slipway.vps.plugins.module_utils.source import without_secrets
from ansible_collections.slipway.vps.plugins.module_utils.source_tree import SourceError

from .conftest import ROOT
from .repositories import POINTER, committed, git, plain

CANARY = "c4n4ry-t0ken"


@pytest.fixture(autouse=True)
def config(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """/etc/blog"""
    plain(monkeypatch, tmp_path)
    (tmp_path / "etc").mkdir()
    return tmp_path / "etc"


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    """A repository of two projects."""
    committed(tmp_path / "origin", {"README": "one", "web/blog.py": "app = 1\n", "docs/index.md": "x"})
    return tmp_path / "origin"


@pytest.fixture
def clone(tmp_path: Path, origin: Path, config: Path) -> Clone:
    return Clone(tmp_path / "srv/source", f"file://{origin}", config)


def test_what_a_version_can_be(clone: Clone, origin: Path) -> None:
    """[A10] A branch, a tag, an annotated tag, a full commit, a short one, HEAD, and a commit that no branch leads to."""
    first = git(origin, "rev-parse", "HEAD")
    git(origin, "tag", "v1")
    git(origin, "tag", "--annotate", "--message", "x", "v1-annotated")
    second = committed(origin, {"README": "two"})
    git(origin, "update-ref", "refs/pull/7/head", second)
    git(origin, "reset", "--quiet", "--hard", first)
    third = committed(origin, {"README": "three"})
    git(origin, "config", "uploadpack.allowAnySHA1InWant", "true")
    wanted = {"main": third, "v1": first, "v1-annotated": first, third: third, third[:10]: third, "HEAD": third}
    for version, commit in {**wanted, "refs/pull/7/head": second, second: second}.items():
        tree = clone.check_out(version)
        assert (tree.commit, tree.identity, tree.folder) == (commit, commit, clone.folder), version
        assert git(clone.folder, "rev-parse", "HEAD") == commit and git(clone.folder, "status", "--porcelain") == ""


def test_a_tag_that_moved_and_one_that_went(clone: Clone, origin: Path) -> None:
    """[A10] The clone is a cache: what the remote says holds, also after the address has changed."""
    git(origin, "tag", "v1")
    clone.check_out("v1")
    moved = committed(origin, {"README": "two"})
    git(origin, "tag", "--force", "v1")
    assert clone.check_out("v1").commit == moved
    git(origin, "tag", "--delete", "v1")
    with pytest.raises(CommandError, match="v1"):
        clone.check_out("v1")


def test_what_is_left_of_another_version_goes(clone: Clone, origin: Path) -> None:
    """[F4] A file that nobody tracks would become part of the release."""
    clone.check_out("main")
    (clone.folder / "left.py").write_text("x")
    (clone.folder / "README").write_text("changed")
    (clone.folder / ".git/index.lock").write_text("")
    clone.check_out("main")
    assert sorted(path.name for path in clone.folder.iterdir()) == [".git", "README", "docs", "web"]
    assert (clone.folder / "README").read_text() == "one"


def test_one_folder_of_a_repository(clone: Clone, origin: Path) -> None:
    """[F4] What another project of the repository changes is no new release; what this one changes is."""
    first = clone.check_out("main", "web")
    assert first.folder == clone.folder / "web"
    committed(origin, {"docs/index.md": "y"})
    second = clone.check_out("main", "web")
    assert second.commit != first.commit and second.identity == first.identity
    committed(origin, {"web/blog.py": "app = 2\n"})
    assert clone.check_out("main", "web").identity != first.identity


@pytest.mark.parametrize("name", ["wbe", "README", "link", "web/nowhere"])
def test_a_folder_that_is_not_there(clone: Clone, origin: Path, name: str) -> None:
    """[F4] The message names those that are; a link out of the repository is none."""
    (origin / "link").symlink_to("/etc")
    committed(origin, {})
    with pytest.raises(SourceError, match=rf"no folder '{name}'\. There are: docs, web"):
        clone.check_out("main", name)


def test_submodules_come_along(clone: Clone, origin: Path, tmp_path: Path) -> None:
    """[F4] Theirs too; each at the commit that is pinned, and gone with the version that had them."""
    committed(tmp_path / "inner", {"deep.txt": "deep"})
    committed(tmp_path / "theme", {"theme.css": "x"})
    git(tmp_path / "theme", "submodule", "--quiet", "add", f"file://{tmp_path}/inner", "inner")
    committed(tmp_path / "theme", {})
    # As most are written: relative to the repository's own address.
    git(origin, "remote", "add", "origin", f"file://{origin}")
    git(origin, "submodule", "--quiet", "add", "../theme", "web/theme")
    committed(origin, {})
    git(origin, "tag", "with")
    tree = clone.check_out("with", "web")
    assert (tree.folder / "theme/theme.css").exists() and (tree.folder / "theme/inner/deep.txt").read_text() == "deep"
    committed(tmp_path / "theme", {"theme.css": "newer"})
    assert (clone.check_out("with").folder / "web/theme/theme.css").read_text() == "x"
    git(origin, "rm", "--quiet", "--force", "web/theme")
    committed(origin, {})
    clone.check_out("main")
    assert not (clone.folder / "web/theme").exists()


def test_a_submodule_that_cannot_be_had(clone: Clone, origin: Path, tmp_path: Path) -> None:
    """[F4] Named, with git's reason."""
    committed(tmp_path / "theme", {"theme.css": "x"})
    git(origin, "submodule", "--quiet", "add", f"file://{tmp_path}/theme", "theme")
    committed(origin, {})
    (tmp_path / "theme").rename(tmp_path / "gone")
    with pytest.raises(CommandError, match="theme"):
        clone.check_out("main")


def test_git_lfs_is_asked_for_where_it_is_needed(clone: Clone, origin: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """[F4] Only when a .gitattributes says so; and what it leaves as a pointer never goes live."""
    monkeypatch.setattr(shutil, "which", lambda program: None)
    committed(origin, {".gitattributes": "# *.x filter=lfs\n*.txt text\n"})
    clone.check_out("main")
    committed(origin, {"web/.gitattributes": "*.png filter=lfs diff=lfs merge=lfs -text\n", "web/logo.png": POINTER})
    with pytest.raises(LfsMissingError):
        clone.check_out("main")
    asked: list[tuple[str, ...]] = []
    monkeypatch.setattr(shutil, "which", lambda program: "/usr/bin/git-lfs")
    run = Clone.git

    def lfs(self: Clone, *words: str) -> str:
        if words[0] == "lfs":
            asked.append(words)
            return ""
        return run(self, *words)

    monkeypatch.setattr(Clone, "git", lfs)
    with pytest.raises(SourceError, match=r"Git LFS has not fetched these files: logo\.png"):
        clone.check_out("main", "web")
    assert asked == [("lfs", "install", "--local", "--skip-smudge"), ("lfs", "pull")]
    assert clone.check_out("main", "docs").folder.name == "docs", "a pointer of another project does not matter"


# --- Secrets --------------------------------------------------------------------------------------


def test_the_clone_is_for_root_alone(clone: Clone) -> None:
    """[A11] git keeps the address in it, with its token."""
    clone.folder.mkdir(parents=True)
    clone.folder.chmod(0o755)
    clone.check_out("main")
    assert clone.folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    "repo",
    [
        f"https://{CANARY}@127.0.0.1:1/blog.git",
        f"https://oauth2:{CANARY}@127.0.0.1:1/blog.git",
        f"https://127.0.0.1:1/blog.git?private_token={CANARY}",
    ],
)
def test_a_token_in_the_address_is_in_no_output(tmp_path: Path, config: Path, repo: str) -> None:
    """[A11] Neither in what git says nor in the module's own arguments, which -vvv prints."""
    clone = Clone(tmp_path / "clone", repo, config)
    with pytest.raises(CommandError) as failure:
        clone.check_out("main")
    assert CANARY not in str(failure.value) and "127.0.0.1" in str(failure.value)
    shown = {"repo": without_secrets(repo), "repo_encoded": base64.b64encode(repo.encode()).decode()}
    arguments = {**shown, "version": "main", "dest": str(tmp_path / "other"), "config_dir": str(config)}
    code = (
        "import sys, json; from ansible.plugins.loader import init_plugin_loader; init_plugin_loader([sys.argv[1]])\n"
        "from ansible.module_utils import basic; from ansible.module_utils.testing import patch_module_args\n"
        "from ansible_collections.slipway.vps.plugins.modules import checkout\n"
        "with patch_module_args(json.loads(sys.argv[2])): checkout.main()"
    )
    words = [sys.executable, "-c", code, str(ROOT / "collections"), json.dumps(arguments)]
    said = subprocess.run(words, capture_output=True, text=True, check=False)
    assert json.loads(said.stdout)["failed"] and "invocation" in said.stdout, said
    assert CANARY not in said.stdout + said.stderr and shown["repo_encoded"] not in said.stdout


# --- SSH ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("repo", "name"),
    [
        ("git@GitHub.com:ada/blog.git", "github.com"),
        ("ssh://git@git.example.com/ada/blog.git", "git.example.com"),
        ("ssh://git@git.example.com:22/ada/blog.git", "git.example.com"),
        ("ssh://git@git.example.com:2222/ada/blog.git", "[git.example.com]:2222"),
        ("ssh://git@[2001:db8::1]/blog.git", "2001:db8::1"),
        ("git+ssh://git@git.example.com/ada/blog.git", "git.example.com"),
        *((repo, "") for repo in ("https://git.example.com/blog.git", "file:///srv/blog.git", "/srv/blog.git", "https://a:b@c/d")),
    ],
)
def test_the_server_of_an_address(repo: str, name: str) -> None:
    """As known_hosts spells it."""
    assert server(repo) == name


def test_a_server_is_known_by_its_line() -> None:
    lines = "# servers\ngithub.com,140.82.121.4 ssh-ed25519 AAAA\n[git.example.com]:2222 ssh-ed25519 AAAA\n\n"
    assert [is_known(name, lines) for name in ("github.com", "[git.example.com]:2222", "git.example.com", "#")] == [
        True,
        True,
        False,
        False,
    ]


def test_servers_are_verified(tmp_path: Path, config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """[A11] One that has a line must match it; another is taken when it is first seen, in a clone and never in a build."""
    seen: list[dict[str, str]] = []

    def execute(argv: list[str], environment: dict[str, str], **more: object) -> Result:
        seen.append(environment)
        return Result(0, "", "")

    monkeypatch.setattr(module, "execute", execute)
    (config / "known_hosts").write_text("github.com ssh-ed25519 AAAA\n")
    (config / "deploy_key").write_text("KEY")
    for repo, checking in (("git@github.com:a/b.git", "yes"), ("git@git.example.com:a/b.git", "accept-new"), ("https://x/y.git", "yes")):
        Clone(tmp_path, repo, config).git("fetch")
        command = seen[-1]["GIT_SSH_COMMAND"]
        assert f"StrictHostKeyChecking={checking} " in command and f"GlobalKnownHostsFile={config}/known_hosts " in command
        assert f"-i {config}/deploy_key -o IdentitiesOnly=yes" in command and "BatchMode=yes" in command
    assert "StrictHostKeyChecking=yes" in build_properties(config, Path("/k"))[1]
    # ssh itself reads it so.
    command = f"{ssh_command('', config, True, '~/.ssh/known_hosts')} -G github.com"
    options = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert options.returncode == 0 and "stricthostkeychecking accept-new" in options.stdout, options.stderr
    assert re.search(rf"userknownhostsfile {config}/known_hosts\.seen /\S+/\.ssh/known_hosts", options.stdout)


def test_a_build_is_told_where_its_key_is(config: Path) -> None:
    """[F4] `git+ssh://` dependencies are fetched with the key of the clone."""
    key = Path("/run/blog-build/deploy_key")
    without = build_properties(config, key)
    assert not [line for line in without if "deploy_key" in line]
    (config / "deploy_key").write_text("")
    assert build_properties(config, key) == without, "an empty file says that there is no key"
    (config / "deploy_key").write_text("KEY")
    _, command = build_properties(config, key)
    # systemd takes quotes away.
    assert command.startswith(f'Environment="GIT_SSH_COMMAND=ssh -i {key} ') and command.count('"') == 2
    assert "KEY" not in command and "'" not in command and os.sep in command
