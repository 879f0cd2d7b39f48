# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""A Content-Security-Policy as a browser reads it: what of a page it would refuse."""

from __future__ import annotations

import base64
import hashlib
import re
import urllib.parse
from collections.abc import Iterable, Sequence

#: Where a kind of content looks when its own directive is absent.
FALLBACK = {
    "script-src-elem": ("script-src", "default-src"),
    "script-src-attr": ("script-src", "default-src"),
    "style-src-elem": ("style-src", "default-src"),
    "style-src-attr": ("style-src", "default-src"),
    "frame-src": ("child-src", "default-src"),
    "form-action": (),
}
_HASH = re.compile(r"'sha(256|384|512)-([A-Za-z0-9+/_=-]+)'")


class Policy:
    """One or more policies, all of which have to allow what a page wants."""

    def __init__(self, texts: Iterable[str]) -> None:
        self.policies: list[dict[str, list[str]]] = []
        for text in (part for whole in texts for part in whole.split(",")):
            found: dict[str, list[str]] = {}
            for directive in text.split(";"):
                name, *sources = directive.split() or [""]
                if name:
                    # The first of a name counts.
                    found.setdefault(name.lower(), sources)
            if found:
                self.policies.append(found)

    def __bool__(self) -> bool:
        return bool(self.policies)

    @property
    def upgrades(self) -> bool:
        """http:// within a page is asked for over HTTPS."""
        return any("upgrade-insecure-requests" in policy for policy in self.policies)

    @staticmethod
    def _sources(policy: dict[str, list[str]], kind: str) -> list[str] | None:
        for name in (kind, *FALLBACK.get(kind, ("default-src",))):
            if name in policy:
                return policy[name]
        return None

    def allows_inline(self, kind: str, text: str, nonce: str = "") -> bool:
        """Whether an element (``…-elem``) with this content, or an attribute (``…-attr``), would take effect."""
        for policy in self.policies:
            sources = self._sources(policy, kind)
            if sources is None:
                continue
            low = [source.lower() for source in sources]
            hashes = [match for source in sources if (match := _HASH.fullmatch(source))]
            exact = bool(hashes) or any(source.startswith("'nonce-") for source in low) or "'strict-dynamic'" in low
            if "'unsafe-inline'" in low and not exact:
                continue
            if kind.endswith("-elem") and nonce and f"'nonce-{nonce}'" in sources:
                continue
            if (kind.endswith("-elem") or "'unsafe-hashes'" in low) and any(
                _digest(match[1], text) == _plain(match[2]) for match in hashes
            ):
                continue
            return False
        return True

    def allows(self, kind: str, url: str, domain: str, nonce: str = "") -> bool:
        """Whether something of this kind may come from ``url``, on a page of ``domain``."""
        for policy in self.policies:
            sources = self._sources(policy, kind)
            if sources is None or (nonce and f"'nonce-{nonce}'" in sources):
                continue
            if kind == "script-src-elem" and "'strict-dynamic'" in sources:
                return False
            if not any(_matches(source, url, domain) for source in sources):
                return False
        return True


def hash_source(text: str) -> str:
    """What a policy has to name for this inline content."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _plain(digest: str) -> str:
    return digest.replace("-", "+").replace("_", "/")


def _digest(bits: str, text: str) -> str:
    return base64.b64encode(hashlib.new(f"sha{bits}", text.encode()).digest()).decode()


def _matches(source: str, url: str, domain: str) -> bool:
    """One source expression against one absolute URL."""
    parts = urllib.parse.urlsplit(url)
    host = (parts.hostname or "").lower()
    low = source.lower()
    if low == "'self'":
        return host == domain and parts.scheme in ("https", "wss") and parts.port in (None, 443)
    if low == "*":
        return parts.scheme in ("http", "https", "ws", "wss")
    if low.startswith("'"):
        return False
    if re.fullmatch(r"[a-z][a-z0-9+.-]*:", low):
        return parts.scheme == low[:-1] or (low == "http:" and parts.scheme == "https")
    wanted = urllib.parse.urlsplit(low if "://" in low else f"//{low}")
    if wanted.scheme and wanted.scheme != parts.scheme and (wanted.scheme, parts.scheme) != ("http", "https"):
        return False
    name = wanted.netloc.rpartition(":")[0] if re.search(r":(\d+|\*)$", wanted.netloc) else wanted.netloc
    if name.startswith("*."):
        if not host.endswith(name[1:]):
            return False
    elif host != name:
        return False
    # Paths are compared as they are written.
    path = urllib.parse.urlsplit(source if "://" in source else f"//{source}").path
    return not path or (parts.path.startswith(path) if path.endswith("/") else parts.path == path)


def features_refused(policy: str) -> Sequence[str]:
    """Features that a Permissions-Policy allows to nobody, the page itself included."""
    return [name.strip() for name, _, allowed in (entry.partition("=") for entry in policy.split(",")) if allowed.strip() == "()"]
