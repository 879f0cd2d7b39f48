# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""What a release finds while it is tried before it serves, and what it means when the database refuses it something.

It is tried on the database of the visitors. An app that migrates itself when it is imported would change the schema there, without restore
point and without lock_timeout, under the release that serves; so the rehearsal is told what it is, and reads only.
"""

from __future__ import annotations

import re

#: How apps and their jobs know.
TOLD = {"SLIPWAY_REHEARSAL": "1"}
#: libpq's, which every driver on top of it reads. What the app says of PGOPTIONS itself comes after it, and wins.
READ_ONLY = {"PGOPTIONS": "-c default_transaction_read_only=on"}
#: PostgreSQL's message, and psycopg's name for it where the server speaks another language.
_REFUSED = (re.compile(r"cannot execute ([A-Z]+(?: [A-Z]+)*) in a read-only transaction"), re.compile("ReadOnlySqlTransaction()"))
_SCHEMA = ("CREATE", "ALTER", "DROP", "COMMENT", "TRUNCATE")
HINT = "(While a release is tried it cannot write to the database, unless app_rehearsal_writes is true.)"


def explanation(evidence: str) -> str:
    """What to do about a write that was refused in a rehearsal; empty where none was."""
    found = next(filter(None, (sign.search(evidence) for sign in _REFUSED)), None)
    if not found:
        return ""
    statement = found[1]
    if statement.startswith(_SCHEMA):
        return (
            f"The app changes the schema when it starts ({statement}), and was kept from it: it is not live yet, and the database is the"
            " visitors'. Let app_migrate_command do that (for example flask db upgrade): it takes a restore point first, and makes"
            " no visitor wait behind a lock. Or say app_rehearsal_writes: true."
        )
    return (
        f"The app writes to the database when it starts or is asked for a page{f' ({statement})' if statement else ''}, and a release that"
        " is tried may not: it is not live yet, and the database is the visitors'. If it has to, say app_rehearsal_writes: true. (It can"
        " also see that it is tried: SLIPWAY_REHEARSAL=1.)"
    )
