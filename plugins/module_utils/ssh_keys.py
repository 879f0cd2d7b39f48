# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""Public keys as authorized_keys has them: what one is, and why one will not do."""

from __future__ import annotations

import base64
import binascii
import re

#: Types of keys that sshd of Debian 12 and later takes, with the numbers of a curve that a key of fixed size has.
TYPES = {
    "ssh-ed25519": 32,
    "sk-ssh-ed25519@openssh.com": 32,
    "ecdsa-sha2-nistp256": 0,
    "ecdsa-sha2-nistp384": 0,
    "ecdsa-sha2-nistp521": 0,
    "sk-ecdsa-sha2-nistp256@openssh.com": 0,
    "ssh-rsa": 0,
}
#: Fewest bits of an RSA key; sshd of Debian 13 refuses less than 1024, and 2048 is what providers give out.
RSA_BITS = 2048
_PRIVATE = re.compile(r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----|PuTTY-User-Key-File")


def wrong(text: str) -> str:
    """Why a line is no public key; empty when it is one. Options before it (`from="…"`) are taken."""
    if _PRIVATE.search(text):
        return "is a private key: it belongs on nobody's host, and is to be replaced now that it stands in a file"
    if "\n" in text.strip():
        return "has several lines"
    found = re.search(rf"(?:^|\s)({'|'.join(map(re.escape, TYPES))}|ssh-dss)\s+(\S+)", text.strip())
    if not found:
        return "names no type of key (ssh-ed25519 AAAA…)"
    kind, encoded = found[1], found[2]
    if kind == "ssh-dss":
        return "is a DSA key, which sshd has not taken since 2015"
    try:
        parts = _parts(base64.b64decode(encoded, validate=True))
    except (binascii.Error, ValueError):
        return "is cut off, or was changed on the way"
    if not parts or parts[0] != kind.encode():
        return f"says {kind} and holds another type of key"
    if TYPES[kind] and (len(parts) < 2 or len(parts[1]) != TYPES[kind]):
        return "is cut off, or was changed on the way"
    if kind == "ssh-rsa" and (len(parts) != 3 or int.from_bytes(parts[2], "big").bit_length() < RSA_BITS):
        return f"is an RSA key of less than {RSA_BITS} bits"
    return ""


def _parts(blob: bytes) -> list[bytes]:
    """The strings that a key is made of, each after its length; ValueError when it ends early."""
    found, at = [], 0
    while at < len(blob):
        size = int.from_bytes(blob[at : at + 4], "big")
        at += 4
        if at + size > len(blob):
            raise ValueError("cut off")
        found.append(blob[at : at + size])
        at += size
    return found
