# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""Commands of the operator: words, with quotes as a shell has them, and nothing else of a shell's syntax.

All of them are taken apart in the same way, and run without a shell: `app_migrate_command`, `app_processes`, `app_timers`.
"""

from __future__ import annotations

import re
import shlex

#: What a shell reads as more than text: outside of quotes, and inside of double ones.
_PLAIN = re.compile(r"&&|\|\||>>|<<|[|&;<>()*?\[`\n]|\$[A-Za-z_0-9{(@*#?$!-]")
_IN_DOUBLE = re.compile(r"`|\$[A-Za-z_0-9{(@*#?$!-]")
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")


def words(command: str) -> list[str]:
    """The words of a command. ValueError where a quote is not closed."""
    return shlex.split(command)


def shell_syntax(command: str) -> str:
    """The first thing in a command that only a shell would understand, for example ``&&`` or ``$HOME``; empty when there is none."""
    text = command.strip()
    if found := _ASSIGNMENT.match(text):
        return found[0]
    quote, begins, at = "", True, 0
    while at < len(text):
        letter = text[at]
        if letter == "\\" and quote != "'":
            at += 2
            begins = False
            continue
        if letter in "'\"" and quote in ("", letter):
            quote = "" if quote else letter
        elif quote != "'":
            if begins and not quote and letter in "~#":
                return letter
            if found := (_IN_DOUBLE if quote else _PLAIN).match(text, at):
                return {"\n": "a line break"}.get(found[0], _whole(text, at, found[0]))
        begins = letter.isspace() and not quote
        at += 1
    return ""


def _whole(text: str, at: int, found: str) -> str:
    """A variable with its whole name."""
    name = re.compile(r"\$(\w+|\{[^}]*\})").match(text, at)
    return name[0] if name else found
