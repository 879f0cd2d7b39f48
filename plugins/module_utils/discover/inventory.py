# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""Findings as an inventory: hosts.yml, app.yml and vault.yml, each value with its source; and what is left for the operator."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import yaml
from ansible_collections.slipway.vps.plugins.module_utils.discover.findings import LISTS, Findings, Value, question
from ansible_collections.slipway.vps.plugins.module_utils.rules.placeholder import PLACEHOLDER

HOSTS = "hosts.yml"
APP = "group_vars/app_servers/app.yml"
VAULT = "group_vars/app_servers/vault.yml"
#: Variables in the order of the file, with what each is; those that hold secrets stand in the vault.
ORDER = {
    "app_name": "The user, units, socket, database, site and log files are named after it.",
    "app_domains": "The first is canonical, the others redirect to it. Each must point at the host (A, and AAAA where it has IPv6).",
    "acme_email": "The account for the certificate authority (Let's Encrypt).",
    "app_source": "Where a release comes from: git, path (a folder here), archive or package.",
    "app_wsgi": "module:callable, or module:factory().",
    "app_url_prefix": "The path below which the app is served.",
    "server_worker_class": "The server.",
    "server_workers": "",
    "server_threads": "",
    "server_timeout": "",
    "app_python": "The build.",
    "app_lock_file": "What the build installs.",
    "app_extras": "",
    "app_groups": "",
    "app_build_commands": "Run in the new release before it becomes read-only.",
    "app_build_env": "The environment of the build; no secret belongs here.",
    "app_build_packages": "Packages of the system that the app is built or run with.",
    "app_services": "What the app uses of this machine.",
    "app_migrate_command": "Run from the new release before it takes traffic.",
    "app_health_ready": "Path that answers 200 when the app can serve.",
    "app_health_live": "Path that answers 200 while the process lives.",
    "app_env": "The environment of the app. Set for you, and not to be repeated: docs/contract.md, What your app may rely on.",
    "app_required_env": "Checked before anything changes: each must be in app_env or in app_secrets.",
    "app_processes": "Commands that run beside the server, of the same release.",
    "app_static": "URL prefix: folder of the release, served by nginx.",
    "app_uploads": "URL prefix: folder of shared/, which outlives releases.",
    "nginx_locations": "Paths with rules of their own: here a connection may become a WebSocket.",
    "app_shared_paths": "Folders of the release that outlive it.",
    "app_sqlite": "SQLite files below shared/: backups hold a consistent copy.",
    "app_sandbox_allow": "Openings of the sandbox.",
    "app_secrets": "The secret part of the environment. Names as the app reads them.",
    "app_build_secrets": "Secrets of the build alone.",
}
SECRET = ("app_secrets", "app_build_secrets")
#: Longest list in one line.
WIDTH = 100


def asked(name: str) -> list[Value]:
    """What nobody can guess."""
    return [
        Value("app_name", name, ""),
        question("app_domains", "the app's domain names", ""),
        question("acme_email", "your e-mail address, for the certificate authority", ""),
    ]


def files(name: str, title: str, source: Mapping[str, Any], found: Findings, answers: Mapping[str, Any]) -> dict[str, str]:
    """The files of an inventory by their path in it.

    :arg title: what was looked at, in words.
    :arg source: `app_source`.
    :arg answers: what the operator has answered already, by variable.
    """
    values = [*asked(name), *(Value("app_source", value, "", key) for key, value in source.items()), *found.values]
    host = answers.get("ansible_host") or PLACEHOLDER
    texts = {
        HOSTS: _hosts(name, str(host), str(answers.get("ansible_user") or "root")),
        APP: _head(title, found) + "".join(_blocks([one for one in values if one.variable not in SECRET], answers)),
    }
    secret = [one for one in values if one.variable in SECRET]
    if secret:
        texts[VAULT] = _VAULT_HEAD.format(path=f"inventories/{name}/{VAULT}") + "".join(_blocks(secret, answers))
    return texts


_VAULT_HEAD = """\
---
# Secrets. Encrypt the file before it goes anywhere: ansible-vault encrypt {path}
# (and add --ask-vault-pass, or a password file, to ansible-playbook).
"""


def _hosts(name: str, host: str, user: str) -> str:
    return f"""\
---
app_servers:
  hosts:
    {name}:
      # The address or name you log in to. With `ansible_connection: local` instead, run the playbook on the VPS itself.
      ansible_host: {scalar(host)}
      # root, or a user who may use sudo.
      ansible_user: {scalar(user)}
"""


def _head(title: str, found: Findings) -> str:
    lines = [f"Written by init, which looked at {title}. Each value says where it comes from; replace what says {PLACEHOLDER}."]
    lines.append("What else can be said of the app: docs/contract.md, docs/your-app.md; a test of your own after each deploy: app_smoke.")
    lines += [f"{'MEND FIRST' if note.stops else 'Note'}: {note.text}" for note in sorted(found.notes, key=lambda note: not note.stops)]
    return "---\n" + "".join(f"# {_words(line)}\n" for line in lines)


def _blocks(values: list[Value], answers: Mapping[str, Any]) -> Iterator[str]:
    """Each variable with what it is, in the order of the file."""
    for variable, about in ORDER.items():
        here = [one for one in values if one.variable == variable]
        if here:
            yield "\n" + (f"# {about}\n" if about else "") + "".join(_variable(variable, here, answers.get(variable)))


def _variable(variable: str, here: list[Value], answer: Any) -> Iterator[str]:
    first = here[0]
    if variable in LISTS:
        items = [one.value for one in here if one.value is not None]
        yield from (f"# from {_words(source)}\n" for source in dict.fromkeys(one.source for one in here))
        yield from _list(variable, items)
    elif first.key:
        yield f"{variable}:\n"
        known = answer if isinstance(answer, Mapping) else {}
        for one in here:
            yield from (f"  # {line}\n" for line in _about(one))
            value = known.get(one.key, one.value) if one.ask else one.value
            yield from _pair(one.key, value)
    else:
        yield from (f"# {line}\n" for line in _about(first))
        value = answer if first.ask and answer not in (None, PLACEHOLDER, [PLACEHOLDER]) else first.value
        value = [value] if variable == "app_domains" and isinstance(value, str) else value
        yield from _list(variable, value) if isinstance(value, list) else [f"{variable}: {scalar(value)}\n"]


def _about(one: Value) -> Iterator[str]:
    if one.ask:
        yield f"{PLACEHOLDER}: {_words(one.ask)}"
    if one.source:
        yield f"{'generated; ' if one.variable == 'app_secrets' and not one.ask else ''}from {_words(one.source)}"


def _pair(key: str, value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        yield f"  {scalar(key)}:\n"
        yield from (f"    {scalar(inner)}: {scalar(item)}\n" for inner, item in value.items())
    else:
        yield f"  {scalar(key)}: {scalar(value)}\n"


def _list(variable: str, items: list[Any]) -> Iterator[str]:
    line = f"{variable}: [{', '.join(map(scalar, items))}]\n"
    if len(line) < WIDTH and not any(re.search(r"[,\[\]{}]", str(item)) for item in items):
        yield line
    else:
        yield f"{variable}:\n"
        yield from (f"  - {scalar(item)}\n" for item in items)


def scalar(value: Any) -> str:
    """One value as YAML: bare where it reads back as the same text, else in quotes."""
    if not isinstance(value, str):
        return json.dumps(value)
    if re.fullmatch(r"[\w/.][\w ./:()@+=-]*", value) and not re.search(r": |:$| $", value) and yaml.safe_load(value) == value:
        return value
    return json.dumps(value, ensure_ascii=True)


def _words(text: str) -> str:
    """One line of a comment: what an app's files hold may not end it."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


# --- A run on what is there -----------------------------------------------------------------------


def answers(texts: Mapping[str, str]) -> dict[str, Any]:
    """What the files that are there say, by variable, and of the host."""
    found: dict[str, Any] = {}
    for path, text in texts.items():
        if text.startswith("$ANSIBLE_VAULT"):
            continue
        try:
            read = yaml.load(text, _Loader)
        except yaml.YAMLError:
            continue
        if path == HOSTS and isinstance(read, Mapping):
            hosts = (read.get("app_servers") or {}).get("hosts") or {}
            found.update(next((dict(said) for said in hosts.values() if isinstance(said, Mapping)), {}))
        elif isinstance(read, Mapping):
            found.update(read)
    return found


class _Loader(yaml.SafeLoader):
    """Tags of Ansible (`!vault`, `!unsafe`) stand for their text."""


_Loader.add_multi_constructor("!", lambda loader, suffix, node: str(node.value))


def changes(before: Mapping[str, str], after: Mapping[str, str]) -> str:
    """What would be written now, against what is there. Of the vault only the names that are new."""
    lines: list[str] = []
    for path, text in after.items():
        if path == VAULT:
            lines += _new_secrets(before.get(VAULT, ""), text)
        else:
            lines += difflib.unified_diff(before.get(path, "").splitlines(), text.splitlines(), path, f"{path} (init)", lineterm="", n=2)
    return "\n".join(lines)


def _new_secrets(before: str, after: str) -> list[str]:
    if before.startswith("$ANSIBLE_VAULT"):
        names = sorted(name for said in answers({VAULT: after}).values() for name in said)
        return [f"{VAULT} is encrypted; the app reads {', '.join(names)}"]
    there, wanted = answers({VAULT: before}), answers({VAULT: after})
    return [
        f"{VAULT} has no {variable}.{name}" for variable, said in wanted.items() for name in said if name not in (there.get(variable) or {})
    ]
