# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""Text for people: tables, and what of a text they may see."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

#: What stands for a secret.
MASK = "***"
_USERINFO = re.compile(r"([\w+.-]+)://([^/\s]*)@")
_QUERY = re.compile(r"(://[^\s?#]*)\?[^\s#]*")
SECRET = r"passw|passphrase|requirepass|masterauth|secret|token|api_?-?key|private_?-?key|credential|authorization|cookie"
#: A name that says that a secret follows, up to the end of the line; not before yes or no, a path or a variable.
_NAMED = re.compile(
    rf"(?im)([\w.-]*(?:{SECRET})[\w.-]*[\"']?(?:\s*[=:]\s*|\s+))"
    r"(?!(?:yes|no|on|off|true|false|none|\$[a-z]\w*|/(?:etc|run|srv|usr|var)/[\w./@-]*)[;,]?\s*$)\S.*"
)


def table(rows: Sequence[Mapping[str, str]]) -> str:
    """Rows as lines under their headings; of a text with several lines the first."""
    columns = list(rows[0])
    grid = [columns, *([str(row[column]).split("\n")[0] for column in columns] for row in rows)]
    widths = [max(len(line[index]) for line in grid) for index in range(len(columns))]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in grid)


def without_secrets(text: str) -> str:
    """``text`` with the userinfo and the query of each URL in it replaced by `MASK`: either may be a token.

    The user name alone of an SSH address stays; it is no secret.
    """

    def masked(found: re.Match[str]) -> str:
        scheme, userinfo = found.groups()
        return found[0] if scheme.endswith("ssh") and ":" not in userinfo else f"{scheme}://{MASK}@"

    return _QUERY.sub(rf"\1?{MASK}", _USERINFO.sub(masked, text))


def redacted(text: str) -> str:
    """The same of a line that somebody wrote by hand: a command, a configuration. What follows a name like password is hidden, too."""
    return _NAMED.sub(rf"\1{MASK}", without_secrets(text))
