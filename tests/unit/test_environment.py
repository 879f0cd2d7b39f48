"""The environment file: what is written is what systemd reads, and what the release module reads back."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path

import pytest
from ansible_collections.slipway.vps.plugins.module_utils.environment import environment_file, parse_environment

NASTY = [
    *("", " ", "  two  ", "plain", "it's", 'say "hi"', '"', "\\", "\\\\", '\\"', "ends with \\", "$HOME", "${HOME}", "$$", "`id`"),
    *(
        "a\nb",
        "\n",
        'line\nFAKE="1"\n',
        "tab\there",
        "\r\n",
        "# no comment",
        "; no comment",
        "ünï¢ødé 🚢",
        "%n %%",
        "a=b",
        "\\n",
        "\x1b[0m",
    ),
    *("'", "''", "$(id)", "!history", "*", "~", "\\\n", '\\$"`', "postgresql://u:p%40ss@h/db?host=/run/postgresql"),
]


def as_systemd_reads(text: str) -> dict[str, str]:
    """A reference parser of EnvironmentFile=, for the spellings in systemd.exec(5): an assignment per line, its value in double quotes.

    "within double quotes, a backslash followed by one of \\"\\\\`$ is that character, one followed by a newline is nothing,
    any other is kept"; a newline within the quotes belongs to the value.
    """
    found: dict[str, str] = {}
    position = 0
    while position < len(text):
        name, _, rest = text[position:].partition("=")
        assert name.replace("_", "a").isalnum() and not name[0].isdigit(), f"{name!r} is not a name"
        assert rest.startswith('"'), f"{name} is not quoted"
        position += len(name) + 2
        value = ""
        while text[position] != '"':
            if text[position] == "\\":
                position += 1
                value += text[position] if text[position] in '"\\`$' else "" if text[position] == "\n" else "\\" + text[position]
            else:
                value += text[position]
            position += 1
        assert text[position + 1] == "\n", f"something follows the value of {name}"
        found[name] = value
        position += 2
    return found


@pytest.mark.parametrize("value", NASTY)
def test_a_value_survives(value: str) -> None:
    """[A11] For systemd, and for the release module, with a neighbour on each side."""
    values = {"A": "before", "B_1": value, "C": "after"}
    text = environment_file(values)
    assert as_systemd_reads(text) == values
    assert parse_environment(text) == values


def test_random_values_survive() -> None:
    """[A11] A thousand dictionaries made of what is hard to quote."""
    chance = random.Random(20261120)
    letters = list("\"'\\$`\n\t =#;%{}()AZ09_é🚢")
    for _ in range(1000):
        values = {f"V{index}": "".join(chance.choices(letters, k=chance.randrange(12))) for index in range(chance.randrange(1, 4))}
        text = environment_file(values)
        assert as_systemd_reads(text) == values, repr(values)
        assert parse_environment(text) == values, repr(values)


def test_a_shell_reads_the_same(tmp_path: Path) -> None:
    """[K7] An operator sources the file to run a command of the app by hand; nothing in it may be executed."""
    values = {f"SLIPWAY_{index}": value for index, value in enumerate(NASTY)}
    file = tmp_path / "environment"
    file.write_bytes(environment_file(values).encode())
    output = subprocess.run(["sh", "-c", f"set -a; . '{file}'; exec env -0"], env={}, capture_output=True, check=True).stdout.decode()
    found = dict(entry.split("=", 1) for entry in output.split("\0") if entry.startswith("SLIPWAY_"))
    assert found == values


def test_booleans_and_numbers_become_text() -> None:
    """[A11] `true` is what most apps parse; `True` is what Python would print."""
    assert environment_file({"A": True, "B": False, "C": 25, "D": 0.5}) == 'A="true"\nB="false"\nC="25"\nD="0.5"\n'


def test_the_order_is_fixed() -> None:
    """[S1] The file's content asks for a new release when it changes, so it must not change by itself."""
    assert environment_file({"B": 1, "A": 2}) == environment_file({"A": 2, "B": 1}) == 'A="2"\nB="1"\n'


def test_nothing_is_nothing() -> None:
    assert environment_file({}) == ""
    assert parse_environment("") == {}


def test_other_lines_are_left_alone() -> None:
    """What is no assignment of ours is not read: comments, other spellings."""
    assert parse_environment('# A="1"\nB=2\n C="3"\nD="4" # x\nE="5"\n') == {"E": "5"}


def test_the_last_assignment_wins() -> None:
    """Secrets come after the environment: systemd takes the last one."""
    assert parse_environment('A="1"\nA="2"\n') == {"A": "2"}
