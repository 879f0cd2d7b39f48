# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""A version of a git repository, with its submodules and what Git LFS holds, as a tree on this host."""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.slipway.vps.plugins.module_utils.git_ssh import DEPLOY_KEY, KNOWN_HOSTS, has_key, is_known, server, ssh_command
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core.run import CommandError, execute, tail
from ansible_collections.slipway.vps.plugins.module_utils.source import without_secrets
from ansible_collections.slipway.vps.plugins.module_utils.source_tree import SourceError, require_whole, subfolder, wants_lfs

_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
#: Give up on a server that sends less than 1000 bytes/s for so many seconds.
_STALLED = 60


@dataclass(frozen=True)
class Tree:
    """What was checked out. ``identity`` is the same for the same content of the release."""

    folder: Path
    commit: str
    identity: str


class LfsMissingError(SourceError):
    """The repository keeps files with Git LFS, and this host has no git-lfs."""


class Clone:
    """The clone of a repository, kept from one deploy to the next."""

    def __init__(self, folder: Path, repo: str, config_dir: Path) -> None:
        """
        :arg folder: where it is; nobody but root may look into it, because git keeps the address in it, and that may hold a token.
        :arg config_dir: of the app: its deploy key and the servers that are known.
        """
        self.folder, self.repo, self.config_dir = folder, repo, config_dir

    def check_out(self, version: str, subdirectory: str = "") -> Tree:
        """Fetch ``version`` and all that belongs to it. CommandError when that is not to be had, without secrets."""
        self.prepare()
        commit = self.fetch(version)
        # What Git LFS holds is fetched below, when it is known whether the program is there.
        self.git("checkout", "--quiet", "--force", "--detach", commit)
        self.git("clean", "--quiet", "-ffdx")
        if (self.folder / ".gitmodules").exists():
            self.git("submodule", "--quiet", "sync", "--recursive")
            self.git("submodule", "--quiet", "update", "--init", "--recursive", "--force")
        if wants_lfs(self.folder):
            self.fetch_lfs()
        require_whole(self.folder, subdirectory, "Is it in the repository, and may this host fetch it?")
        # In a repository of several projects a commit may change none of what is deployed.
        identity = self.git("rev-parse", f"{commit}:{subdirectory}").strip() if subdirectory else commit
        return Tree(subfolder(self.folder, subdirectory), commit, identity)

    def prepare(self) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder.chmod(0o700)
        if not (self.folder / ".git").is_dir():
            self.git("init", "--quiet")
        # A killed run leaves it, and git then refuses to work.
        (self.folder / ".git/index.lock").unlink(missing_ok=True)
        # Submodules with a relative address follow it, with its token.
        self.git("config", "remote.origin.url", self.repo)

    def fetch(self, version: str) -> str:
        """The commit that ``version`` means at the remote: a branch, a tag, a full reference or a commit, in this order."""
        if _COMMIT.fullmatch(version) and self.has(version):
            return version
        everything = ("+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*")
        self.git("fetch", "--quiet", "--prune", "--no-tags", "--recurse-submodules=no", "origin", *everything)
        for name in (f"refs/remotes/origin/{version}", f"refs/tags/{version}"):
            if self.has(name):
                return self.git("rev-parse", f"{name}^{{commit}}").strip()
        if re.fullmatch(r"[0-9a-f]{4,64}", version) and self.has(version):
            return self.git("rev-parse", f"{version}^{{commit}}").strip()
        # HEAD, refs/pull/7/head, or a commit that no branch leads to.
        self.git("fetch", "--quiet", "--force", "--recurse-submodules=no", "origin", version)
        return self.git("rev-parse", "FETCH_HEAD^{commit}").strip()

    def has(self, name: str) -> bool:
        try:
            self.git("rev-parse", "--quiet", "--verify", f"{name}^{{commit}}")
        except CommandError:
            return False
        return True

    def fetch_lfs(self) -> None:
        """Replace the pointers by the files, in submodules too."""
        if not shutil.which("git-lfs"):
            raise LfsMissingError("the repository keeps files with Git LFS, and this host has no git-lfs")
        here = "git lfs install --local --skip-smudge >/dev/null && git lfs pull"
        self.git("lfs", "install", "--local", "--skip-smudge")
        self.git("lfs", "pull")
        if (self.folder / ".gitmodules").exists():
            self.git("submodule", "--quiet", "foreach", "--recursive", here)

    def git(self, *words: str) -> str:
        known = self.config_dir / KNOWN_HOSTS
        name = server(self.repo)
        text = known.read_text(errors="replace") if known.exists() else ""
        key = str(self.config_dir / DEPLOY_KEY) if has_key(self.config_dir) else ""
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("GIT_")},
            "LC_ALL": "C.UTF-8",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_LFS_SKIP_SMUDGE": "1",
            "GIT_SSH_COMMAND": ssh_command(key, self.config_dir, bool(name) and not is_known(name, text), "~/.ssh/known_hosts"),
            "HOME": os.environ.get("HOME", "/root"),
        }
        settings = ("-c", "http.lowSpeedLimit=1000", "-c", f"http.lowSpeedTime={_STALLED}", "-c", "advice.detachedHead=false")
        result = execute(["git", *settings, "-C", str(self.folder), *words], environment=environment, umask=0o022)
        if result.status != 0:
            said = tail(without_secrets((result.errors or result.output).strip()), 8)
            raise CommandError(said or f"git {words[0]} exited {result.status}", result.status)
        return result.output
