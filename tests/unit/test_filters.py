"""The text filters: each spells a value so that the reader of the file gets the value back."""

from __future__ import annotations

import ast
import re
from typing import Any

import pytest
from ansible.template import trust_as_template
from ansible_collections.slipway.vps.plugins.filter.text import FilterModule, python_literal, systemd_quote, table

NASTY = [
    *(
        "",
        "celery -A blog worker",
        "it's",
        'say "hi"',
        "back\\slash",
        "ends with \\",
        "100%",
        "%n %i %%",
        "$HOME ${HOME} $$",
        "a\nb",
        "a\r\nb",
    ),
    *("`id` $(id)", "ünï¢ødé 🚢", "; rm -rf /", "# no comment", "tab\there", "\\n", "\\x41", "%%$$\\\\"),
]


def as_systemd_reads(line: str) -> str:
    """A reference reader of one quoted argument of ExecStart= (systemd.service(5), systemd.syntax(7))."""
    # read_line() ends a line at either character.
    assert "\n" not in line and "\r" not in line, "the value ends the line"
    body = re.fullmatch(r'"((?:[^"\\]|\\.)*)"', line)
    assert body, f"{line} is not one quoted argument"
    escapes = {"n": "\n", "r": "\r", "t": "\t", "\\": "\\", '"': '"'}
    text = re.sub(r"\\(.)", lambda found: escapes[found[1]], body[1])
    # Specifiers (%i) and variables ($HOME) would be replaced: each has to be doubled.
    assert not re.search(r"%", text.replace("%%", "")), f"{line} has a specifier"
    assert not re.search(r"\$", text.replace("$$", "")), f"{line} has a variable"
    return text.replace("%%", "%").replace("$$", "$")


@pytest.mark.parametrize("text", NASTY)
def test_systemd_reads_one_argument(text: str) -> None:
    """[A15] A process's command reaches the shell as it was written."""
    assert as_systemd_reads(systemd_quote(text)) == text


@pytest.mark.parametrize("value", [*NASTY, True, False, None, 0, 1.5, [], ["a", 'b"', True, 3], [["x"], []]])
def test_python_reads_the_literal(value: Any) -> None:
    """[A2] Gunicorn's configuration is Python: `true` there would be a NameError."""
    assert ast.literal_eval(python_literal(value)) == value


def test_python_reads_ansibles_own_strings() -> None:
    """[A2] Values from templates are subclasses of str; what is written must be a plain literal."""
    assert python_literal(trust_as_template("it's")) == '"it\'s"'
    assert python_literal([trust_as_template("/healthz"), True]) == "['/healthz', True]"

    class Tagged(str):
        def __repr__(self) -> str:
            return "<tagged>"

    assert python_literal(Tagged("a")) == "'a'"
    assert python_literal([Tagged("a")]) == "['a']"


def test_a_table_has_aligned_columns() -> None:
    """[K8] Headings, a line per row, the first line of a longer text, nothing for what is absent."""
    rows: list[dict[str, Any]] = [{"hop": "nginx", "result": "ok", "more": 1}, {"hop": "tls", "result": "failed\nbecause"}, {"result": 3}]
    assert table(rows, ["hop", "result"]).splitlines() == [
        *("hop    result", "nginx  ok", "tls    failed", "       3"),
    ]
    assert table([], ["hop"]) == "hop"


def test_the_filters_have_their_names() -> None:
    assert set(FilterModule().filters()) == {"environment_file", "python_literal", "systemd_quote", "table"}
