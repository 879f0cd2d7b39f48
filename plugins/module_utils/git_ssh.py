# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""The deploy key: for the clone, for its submodules, and for a build's `git+ssh://` dependencies. Servers are verified in each."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

#: Below the app's configuration folder: the key (empty: there is none), the servers that are known, and those seen first by a clone.
DEPLOY_KEY, KNOWN_HOSTS, SEEN_HOSTS = "deploy_key", "known_hosts", "known_hosts.seen"
_ADDRESS = re.compile(r"(?:(?:git\+)?ssh://(?:[^@/]*@)?(?P<url>\[[^\]]+\]|[^:/]+)(?::(?P<port>\d+))?/)|(?:[^@/:]+@(?P<scp>[^:/]+):)")


def server(repo: str) -> str:
    """The SSH server of an address, as `known_hosts` spells it; empty where git would not use SSH."""
    found = _ADDRESS.match(repo)
    if not found:
        return ""
    host = (found["url"] or found["scp"]).strip("[]").lower()
    return f"[{host}]:{found['port']}" if found["port"] not in (None, "22") else host


def is_known(name: str, known_hosts: str) -> bool:
    """Whether a server has a line of its own in ``known_hosts`` (hashed names are not looked into)."""
    return any(name in line.split()[0].lower().split(",") for line in known_hosts.splitlines() if line.strip() and line[0] not in "#@")


def has_key(config_dir: Path) -> bool:
    """Whether the operator gave a deploy key."""
    try:
        return (config_dir / DEPLOY_KEY).stat().st_size > 0
    except OSError:
        return False


def ssh_command(key: str, config_dir: Path, first_use: bool = False, more_hosts: str = "") -> str:
    """What git runs for `ssh`: it asks nobody, and shows the key to servers that are known.

    :arg key: path of the key, as a shell reads it; empty for none.
    :arg first_use: the key of a server that nobody knows is taken, and kept for the next time. A changed one is refused always.
    :arg more_hosts: another file of known servers.
    """
    hosts = " ".join(filter(None, (str(config_dir / SEEN_HOSTS), more_hosts)))
    words = [f"-i {key} -o IdentitiesOnly=yes"] if key else []
    words += ["-o BatchMode=yes -o ConnectTimeout=15", f"-o StrictHostKeyChecking={'accept-new' if first_use else 'yes'}"]
    words += [f"-o GlobalKnownHostsFile={config_dir / KNOWN_HOSTS}", "-o " + shlex.quote(f"UserKnownHostsFile={hosts}")]
    return " ".join(["ssh", *words])


def build_properties(config_dir: Path, key: Path) -> tuple[str, ...]:
    """Properties of the unit of a build, whose dependencies may lie behind SSH.

    Not LoadCredential=: in a container whose mounts are private systemd leaves the unit without the file, and says nothing.

    :arg key: where the builder finds the deploy key while it runs.
    """
    # Nobody is there to be asked for a password.
    silent = "Environment=GIT_TERMINAL_PROMPT=0"
    if not has_key(config_dir):
        return (silent,)
    return (silent, f'Environment="GIT_SSH_COMMAND={ssh_command(str(key), config_dir)}"')
