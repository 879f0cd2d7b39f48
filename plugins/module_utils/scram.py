# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""SCRAM-SHA-256 verifiers as PostgreSQL keeps them: a password need not travel to the server, nor into its log, to be set."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import stringprep
import unicodedata
from base64 import b64decode, b64encode

#: PostgreSQL's own (SCRAM_SHA_256_DEFAULT_ITERATIONS), and its length of salt.
ITERATIONS = 4096
SALT = 16
_VERIFIER = re.compile(r"SCRAM-SHA-256\$(\d+):([A-Za-z0-9+/=]+)\$([A-Za-z0-9+/=]+):([A-Za-z0-9+/=]+)")


def verifier(password: str, salt: bytes | None = None, iterations: int = ITERATIONS) -> str:
    """What PostgreSQL stores for ``password`` (RFC 5802, section 3)."""
    salt = secrets.token_bytes(SALT) if salt is None else salt
    salted = hashlib.pbkdf2_hmac("sha256", prepared(password).encode(), salt, iterations)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    salt64, stored64, server64 = (b64encode(part).decode() for part in (salt, stored, server))
    return f"SCRAM-SHA-256${iterations}:{salt64}${stored64}:{server64}"


def matches(stored: str, password: str) -> bool:
    """Whether ``stored`` is a verifier of ``password``."""
    found = _VERIFIER.fullmatch(stored or "")
    if not found:
        return False
    return hmac.compare_digest(stored, verifier(password, b64decode(found[2]), int(found[1])))


def prepared(password: str) -> str:
    """SASLprep (RFC 4013), so far as PostgreSQL and its clients apply it; a password that it forbids stays as it is."""
    mapped = "".join(" " if stringprep.in_table_c12(letter) else letter for letter in password if not stringprep.in_table_b1(letter))
    plain = unicodedata.ucd_3_2_0.normalize("NFKC", mapped)
    forbidden = (
        *(stringprep.in_table_c12, stringprep.in_table_c21_c22, stringprep.in_table_c3, stringprep.in_table_c4, stringprep.in_table_c5),
        *(stringprep.in_table_c6, stringprep.in_table_c7, stringprep.in_table_c8, stringprep.in_table_c9, stringprep.in_table_a1),
    )
    return password if not plain or any(table(letter) for letter in plain for table in forbidden) else plain
