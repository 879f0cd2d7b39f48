# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""Look at an app and write an inventory for it."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: init
short_description: Look at an app and write an inventory for it
version_added: 0.1.0
description:
  - Reads the files of an app (Procfile, .flaskenv, manage.py, pyproject.toml, locks, its Python as a syntax tree) and runs nothing of it.
  - Writes hosts.yml, app.yml and vault.yml, each value with the place it comes from. What nobody can guess (domain, e-mail address, host)
    stands as a placeholder, which P(slipway.vps.contract#module) refuses until it is filled in.
  - An inventory that is there is never written to; the difference is shown instead.
author:
  - The Slipway authors
options:
  app:
    description: Folder of the app, or the address of a git repository.
    type: str
    required: true
  name:
    description: Name of the app and of its inventory. The folder's or repository's name, made to fit, unless it is said.
    type: str
    default: ''
  base:
    description: Folder that relative paths begin at, and that holds C(inventories).
    type: path
    required: true
attributes:
  check_mode:
    description: It says what it would write, and writes nothing.
    support: full
"""

EXAMPLES = r"""
- name: An inventory for the app next door
  slipway.vps.init:
    app: ../blog
    base: /home/ada/slipway
"""

RETURN = r"""
report:
  description: What was written and what is left to do, a line each; of an inventory that is there the difference.
  type: list
  elements: str
  returned: success
inventory:
  description: Folder of the inventory.
  type: str
  returned: success
"""

import os
import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.slipway.vps.plugins.module_utils.discover import discover
from ansible_collections.slipway.vps.plugins.module_utils.discover.findings import Findings, Note
from ansible_collections.slipway.vps.plugins.module_utils.discover.inventory import VAULT, answers, changes, files
from ansible_collections.slipway.vps.plugins.module_utils.rules.app import RESERVED_NAMES, bad_name
from ansible_collections.slipway.vps.plugins.module_utils.source import without_secrets

URL = re.compile(r"(https?|ssh|git|file)://\S+|[\w.-]+@[\w.-]+:\S+")
#: Folder names that say nothing of the app.
PLAIN = frozenset({"app", "apps", "src", "code", "backend", "web", "server", "site", "project", "repo", "www"})
#: A clone asks nobody, runs no program that an address names, and brings no large files.
CLONE = {"GIT_TERMINAL_PROMPT": "0", "GIT_ALLOW_PROTOCOL": "https:http:ssh:git:file", "GIT_LFS_SKIP_SMUDGE": "1"}
CLONE_SECONDS = 300


class InitError(Exception):
    """Why nothing can be looked at, with what to do."""


def app_name(app: str, wanted: str) -> str:
    """The app's name: what is said, or the last part of its address, made to fit as user, unit and database."""
    if not wanted:
        parts = re.split(r"[/:\\]", app.rstrip("/").removesuffix(".git"))
        last = next((part for part in reversed(parts) if part and part.lower() not in PLAIN), "app")
        wanted = re.sub(r"[^a-z0-9]+", "-", last.lower()).strip("-")
        wanted = (wanted if wanted[:1].isalpha() else f"app-{wanted}")[:31].rstrip("-")
        if wanted in RESERVED_NAMES or len(wanted) < 2:
            wanted = f"{wanted}-app"
    for problem in bad_name({"app_name": wanted}):
        raise InitError(f"name (NAME=) {problem.what}: {problem.fix}")
    return wanted


def clone(url: str, folder: Path) -> str:
    """A repository's newest commit; returns its branch."""
    words = ["git", "clone", "--quiet", "--depth", "1", "--", url, str(folder)]
    try:
        done = subprocess.run(words, env={**os.environ, **CLONE}, capture_output=True, text=True, timeout=CLONE_SECONDS, check=False)
    except FileNotFoundError:
        raise InitError("git is not installed here: install it, or say a folder instead of an address") from None
    except subprocess.TimeoutExpired:
        raise InitError(f"{without_secrets(url)} did not answer within {CLONE_SECONDS} s") from None
    if done.returncode:
        why = without_secrets(done.stderr.strip())
        raise InitError(f"{without_secrets(url)} cannot be cloned: {why}. For a private one: clone it yourself, then APP=<folder>")
    named = subprocess.run(["git", "-C", str(folder), "branch", "--show-current"], capture_output=True, text=True, check=False)
    return named.stdout.strip() or "main"


def look(app: str, base: Path, inventory: Path) -> tuple[Findings, dict[str, Any], str]:
    """What is found in an app, its `app_source`, and what was looked at in words."""
    if URL.fullmatch(app):
        with tempfile.TemporaryDirectory(prefix="slipway-init-") as folder:
            branch = clone(app, Path(folder) / "app")
            found = discover(Path(folder) / "app")
        public = re.sub(r"^(https?://)[^/@]*@", r"\1", app)
        if public != app:
            found.add(
                [Note("the address holds a password or a token, which is left out here: app_source takes a deploy_key, from the vault")]
            )
        return found, {"type": "git", "repo": public, "version": branch}, public
    place = Path(app).expanduser()
    top = (place if place.is_absolute() else base / place).resolve()
    if not top.is_dir():
        raise InitError(f"{top} is no folder: say the folder of the app, or the address of its git repository (APP=../blog)")
    found = discover(top)
    path = os.path.relpath(top, inventory)
    return found, {"type": "path", "path": f"{{{{ inventory_dir }}}}/{path}"}, app


def report(found: Findings, inventory: str, playbook: str, left: list[str]) -> list[str]:
    """What is left to do."""
    lines = [f"Mend first: {note.text}" for note in found.notes if note.stops]
    lines += [f"Note: {note.text}" for note in found.notes if not note.stops]
    lines += ["Fill in (CHANGE-ME):", *left]
    if any(one.variable == "app_secrets" for one in found.values):
        lines.append(f"Encrypt: ansible-vault encrypt {inventory}/{VAULT}   (then add --ask-vault-pass)")
    return [*lines, f"Then: ansible-playbook -i {inventory} {playbook}"]


def main() -> None:
    module = AnsibleModule(
        argument_spec={"app": {"required": True}, "name": {"default": ""}, "base": {"type": "path", "required": True}},
        supports_check_mode=True,
    )
    base = Path(module.params["base"])
    try:
        name = app_name(module.params["app"], module.params["name"])
        inventory = base / "inventories" / name
        found, source, title = look(module.params["app"], base, inventory)
    except InitError as error:
        module.fail_json(msg=f"Nothing was written: {error}")
        return
    there = {str(path.relative_to(inventory)): path.read_text(errors="replace") for path in sorted(inventory.rglob("*")) if path.is_file()}
    texts = files(name, title, source, found, answers(there))
    shown = os.path.relpath(inventory, base)
    playbook = "site.yml" if (base / "site.yml").exists() else "slipway.vps.site"
    if there:
        difference = changes(there, texts)
        lines = [f"{shown} is there, and stays as it is."]
        lines += ["What init would write now differs:", *difference.splitlines()] if difference else ["init would write the same now."]
        lines += ["Copy over what you want, or move the folder away and run init again."] if difference else []
        module.exit_json(changed=False, report=lines, inventory=str(inventory))
        return
    if not module.check_mode:
        write(inventory, texts)
    verb = "Would write" if module.check_mode else "Wrote"
    lines = [f"{verb} {shown}/{path}" for path in texts]
    module.exit_json(changed=True, report=[*lines, *report(found, shown, playbook, left(shown, found))], inventory=str(inventory))


def left(shown: str, found: Findings) -> list[str]:
    """Each placeholder, with its file."""
    app, vault = f"{shown}/group_vars/app_servers/app.yml", f"{shown}/{VAULT}"
    lines = [f"  {shown}/hosts.yml: ansible_host", f"  {app}: app_domains, acme_email"]
    for one in found.questions:
        lines.append(f"  {vault if 'secrets' in one.variable else app}: {one.variable}{f'.{one.key}' if one.key else ''}: {one.ask}")
    return lines


def write(inventory: Path, texts: dict[str, str]) -> None:
    for path, text in texts.items():
        place = inventory / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.touch(0o600 if path == VAULT else 0o644, exist_ok=False)
        place.write_text(text)


if __name__ == "__main__":
    main()
