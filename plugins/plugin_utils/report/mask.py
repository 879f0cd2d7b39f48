# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""Secrets that this run knows, taken out of whatever text the page is about to show.

The fields of the page are chosen (`document`); their texts are what programs say, and a program may say a password when it fails.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

from ansible_collections.slipway.vps.plugins.module_utils.slipway.core.text import MASK, without_secrets

#: What the contract registers; the variable has parts that are no secret.
KNOWN = "app_secret"
#: Variables that hold a secret, whoever reads them.
_SECRET = re.compile(r"^vault_|_(password|passphrase|secret|token|credentials|private_key|api_key|access_key)$")
#: Shorter ones are words, too: to hide "app" would hide it everywhere.
SHORTEST = 6
#: Within a key, a certificate or another text that is secret: words that somebody made up, and no words of a language.
_MADE_UP = re.compile(r"(?=[^\s\"'<>=:,;{}()\[\]]*\d)(?=[^\s\"'<>=:,;{}()\[\]]*[A-Za-z])[^\s\"'<>=:,;{}()\[\]]{12,}")
#: Parts of a source that are known to everybody.
_PUBLIC = ("type", "version", "path", "file", "subdirectory", "checksum")


def secrets(variables: Mapping[str, Any]) -> set[str]:
    """What must not be seen, of the variables of one host at the end of its run.

    :arg variables: with ``app_secret``, as the contract returns it, where the run got so far.
    """
    known = variables.get(KNOWN)
    found: list[Any] = []
    if isinstance(known, Mapping):
        found = [known.get(part) for part in ("environment", "database_url", "database_password", "files", "build")]
        found += [value for name, value in dict(known.get("source") or {}).items() if name not in _PUBLIC]
    found += [value for name, value in variables.items() if name != KNOWN and _SECRET.search(str(name))]
    return {text for value in _leaves(found) for text in _forms(value)}


def _leaves(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for one in value.values():
            yield from _leaves(one)
    elif isinstance(value, (list, tuple, set)):
        for one in value:
            yield from _leaves(one)
    elif isinstance(value, str):
        yield str(value)


def _forms(text: str) -> Iterator[str]:
    """A secret, and what of it may stand alone: the password of a URL, the words of a key or a file."""
    # An expression is none; what it becomes is in `app_secret`.
    if "{{" in text:
        return
    parts = _passwords(text) if "://" in text else [text.strip()]
    yield from (part for part in parts if len(part) >= SHORTEST)
    if re.search(r"[\s\"']", text.strip()):
        yield from _MADE_UP.findall(text)


def _passwords(url: str) -> list[str]:
    """Of a URL the password alone: its host and its scheme are no secret. Without one all of it: nobody knows where the token stands."""
    try:
        password = urlsplit(url.strip()).password
    except ValueError:
        password = None
    return [password, unquote(password)] if password else [url.strip()]


class Mask:
    """Takes secrets out of texts."""

    def __init__(self, known: Iterable[str]) -> None:
        # The longest first: one may be part of another.
        words = sorted(set(known), key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, words))) if words else None

    def __call__(self, value: Any) -> Any:
        """The same value, with each text in it masked; the names of a dictionary, too."""
        if isinstance(value, Mapping):
            return {self(name): self(one) for name, one in value.items()}
        if isinstance(value, (list, tuple)):
            return [self(one) for one in value]
        if isinstance(value, str):
            return self._text(str(value))
        return value

    def _text(self, text: str) -> str:
        known = self._known.sub(MASK, text) if self._known else text
        return without_secrets(known)
