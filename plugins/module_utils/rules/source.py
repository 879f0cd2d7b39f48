# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""What an operator may say of the app's source (`app_source`)."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Mapping
from typing import Any

from ansible_collections.slipway.vps.plugins.module_utils.rules.problem import Problem, Values, kind
from ansible_collections.slipway.vps.plugins.module_utils.source import without_secrets

_CHECKSUM = re.compile(r"sha256:[0-9a-f]{64}")
_PINNED = re.compile(r"[A-Za-z0-9][\w.-]*(\[[\w,.-]+\])?\s*(===?\s*[\w.!+-]+|@\s*\S+)")
_PUBLIC_KEY = re.compile(r"\s*(ssh|ecdsa|sk)-\S+ ")
#: How OpenSSH's own format of a private key begins; then the length of a name, and the name of its cipher.
_OPENSSH = b"openssh-key-v1\0\0\0\0\x04"

#: The key that fetches, and the servers that it is shown to: for the source and for dependencies (`git+ssh://`).
_SSH = frozenset({"deploy_key", "known_hosts"})
#: What each kind of source needs and may have beside `type`.
_KEYS: dict[str, tuple[frozenset[str], frozenset[str]]] = {
    "git": (frozenset({"repo", "version"}), frozenset({"subdirectory"}) | _SSH),
    "path": (frozenset({"path"}), frozenset({"subdirectory"}) | _SSH),
    "archive": (frozenset(), frozenset({"url", "file", "checksum", "subdirectory"}) | _SSH),
    "package": (frozenset({"requirement"}), _SSH),
}


def bad_source(values: Values) -> Iterator[Problem]:
    """Each kind of source has its own keys; one that would be ignored is refused."""
    source = values["app_source"]
    wrong = [key for key, value in source.items() if not isinstance(key, str) or not isinstance(value, str)]
    for key in wrong:
        # YAML reads version: 1.10 as the number 1.1.
        yield Problem("app_source", f"{key} must be text, and is {kind(source[key])}", f"put it in quotes, for example {key}: 'v1.10'")
    if wrong:
        return
    sort = source.get("type")
    if sort not in _KEYS:
        yield Problem("app_source", f"type {sort!r} is unknown", f"use one of {', '.join(_KEYS)}")
        return
    required, optional = _KEYS[sort]
    for key in sorted(set(source) - required - optional - {"type"}):
        allowed = ", ".join(sorted(required | optional))
        yield Problem("app_source", f"key {key!r} means nothing for type {sort}", f"type {sort} takes {allowed}")
    for key in sorted(k for k in required if not source.get(k)):
        yield Problem("app_source", f"type {sort} needs {key!r}", f"add {key}: …")
    if sort == "archive":
        yield from _bad_archive(source)
    if sort == "package" and source.get("requirement") and not _PINNED.fullmatch(source["requirement"]):
        what = f"requirement {without_secrets(source['requirement'])!r} does not say which version goes live"
        yield Problem("app_source", what, "pin it: name==version, or name @ url")


def _bad_archive(source: Mapping[str, Any]) -> Iterator[Problem]:
    if bool(source.get("url")) == bool(source.get("file")):
        yield Problem("app_source", "type archive needs either url or file", "add one of them")
    if source.get("url") and not source.get("checksum"):
        yield Problem("app_source", "type archive with url needs checksum", "add checksum: sha256:<hex> (sha256sum FILE)")
    if source.get("checksum") and not _CHECKSUM.fullmatch(str(source["checksum"])):
        yield Problem("app_source", f"checksum {source['checksum']!r} is not sha256:<64 hex digits>", "write sha256:<hex> (sha256sum FILE)")


def bad_subdirectory(values: Values) -> Iterator[Problem]:
    """The folder of the source that is the release stays inside of it, and has one spelling."""
    subdirectory = values["app_source"].get("subdirectory")
    if isinstance(subdirectory, str) and any(part in ("", ".", "..") for part in subdirectory.split("/")):
        what = f"subdirectory {subdirectory!r} is no folder inside the source"
        yield Problem("app_source", what, "write its path from the top of the source: subdirectory: services/blog")


def bad_key(values: Values) -> Iterator[Problem]:
    """A key that ssh could only refuse, minutes later. What it is never shows."""
    key = values["app_source"].get("deploy_key")
    if not isinstance(key, str):
        return
    if _PUBLIC_KEY.match(key):
        fix = "give the other file of the pair, which begins with -----BEGIN; the public one belongs to the server of the repository"
        yield Problem("app_source", "deploy_key is a public key", fix)
    elif _has_passphrase(key):
        fix = "make one without: ssh-keygen -t ed25519 -N '' -f deploy_key"
        yield Problem("app_source", "deploy_key has a passphrase, which nobody could type", fix)


def _has_passphrase(key: str) -> bool:
    """As OpenSSH writes it (any cipher but none), and as older programs do."""
    body = "".join(line for line in key.splitlines() if not line.startswith("-----"))
    try:
        # The name of the cipher is within the first bytes.
        head = base64.b64decode("".join(body.split())[:40], validate=True)
    except (binascii.Error, ValueError):
        head = b""
    if head.startswith(_OPENSSH[:15]):
        return not head.startswith(_OPENSSH + b"none")
    return "Proc-Type: 4,ENCRYPTED" in key or "BEGIN ENCRYPTED PRIVATE KEY" in key


RULES = (
    (bad_source, ("app_source",)),
    (bad_subdirectory, ("app_source",)),
    (bad_key, ("app_source",)),
)
