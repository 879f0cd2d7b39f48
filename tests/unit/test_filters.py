"""The text filters: each spells a value so that the reader of the file gets the value back."""

from __future__ import annotations

import ast
import re
from datetime import datetime, timezone
from typing import Any

import pytest
from ansible.template import trust_as_template
from ansible_collections.slipway.vps.plugins.filter.text import (
    FilterModule,
    human_age,
    human_size,
    python_literal,
    release_rows,
    systemd_quote,
    table,
)
from ansible_collections.slipway.vps.plugins.module_utils.slipway.releases import code_of

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


@pytest.mark.parametrize(
    ("stamp", "age"),
    [
        *(("2026-11-20T07:22:01+00:00", "0s"), ("2026-11-20T07:21:21+00:00", "40s"), ("2026-11-20T07:21:02+00:00", "59s")),
        *(("2026-11-20T07:21:01+00:00", "1m"), ("2026-11-20T07:19:00+00:00", "3m"), ("2026-11-20T06:22:02+00:00", "59m")),
        *(("2026-11-20T05:22:01+00:00", "2h"), ("2026-11-19T07:22:02+00:00", "23h"), ("2026-11-15T07:22:01+00:00", "5d")),
        # Two years are 730 days; another zone, and none, which is UTC.
        *(("2024-11-20T07:22:01+00:00", "730d"), ("2026-11-20T07:22:01+02:00", "2h"), ("2026-11-20T05:22:01", "2h")),
        # A clock that went back, and what is no time.
        *(("2026-11-21T07:22:01+00:00", "0s"), ("", ""), (None, ""), ("yesterday", "")),
    ],
)
def test_an_age_is_short(stamp: str | None, age: str) -> None:
    """[K8] In its largest unit."""
    assert human_age(stamp, datetime(2026, 11, 20, 7, 22, 1, tzinfo=timezone.utc)) == age


def test_an_age_is_counted_from_now() -> None:
    assert human_age(datetime.now(timezone.utc).isoformat()) in ("0s", "1s")
    assert human_age("2020-01-01T00:00:00+00:00").endswith("d")


@pytest.mark.parametrize(
    ("size", "text"),
    [
        *((0, "0 B"), (7, "7 B"), (999, "999 B"), (1000, "1.0 kB"), (1400, "1.4 kB"), (9949, "9.9 kB"), (9950, "10 kB"), (23_456, "23 kB")),
        *((999_499, "999 kB"), (999_500, "1.0 MB"), (23_400_000, "23 MB"), (1_234_000_000, "1.2 GB"), (5e12, "5.0 TB"), (2e16, "20000 TB")),
        *(("1400", "1.4 kB"), (None, ""), ("", ""), ("unknown", "")),
    ],
)
def test_a_size_is_short(size: Any, text: str) -> None:
    """[K8] Two digits are enough to see what fills the disk."""
    assert human_size(size) == text


def test_the_table_of_releases() -> None:
    """[K8] Newest first, a star at the live one, whatever its state says; what a manifest does not know stays empty."""
    manifests: list[dict[str, Any]] = [
        {
            **{"id": "20261118T072201-deadbeef", "state": "retired", "created_at": "2026-11-18T07:22:01+00:00", "created_by": "ada"},
            **{"source": {"commit": "deadbeef" + "0" * 32}, "schema_before": "0001", "schema_after": "0002", "size_bytes": 23_400_000},
            "restore_point": "/var/backups/blog/20261118T072201-restore-point",
            "asked": {"type": "git", "repo": "https://git.example.com/blog.git", "version": "v1.4.0"},
        },
        {"id": "20261120T072201-4f2a9c10", "state": "failed", "created_at": "2026-11-20T07:19:01+00:00", "source": {"commit": ""}},
        {"id": "20261119T072201-0ddba110", "state": "live", "schema_before": "0002", "schema_after": None, "restore_point": None},
    ]
    rows = release_rows(manifests, "20261119T072201-0ddba110", datetime(2026, 11, 20, 7, 22, 1, tzinfo=timezone.utc))
    assert table(rows, list(rows[0])).splitlines() == [
        "release                   state    age  version  commit    who  schema  size   restore point",
        "20261120T072201-4f2a9c10  failed   3m",
        "20261119T072201-0ddba110  live *                                0002",
        "20261118T072201-deadbeef  retired  2d   v1.4.0   deadbeef  ada  0002    23 MB  20261118T072201-restore-point",
    ]
    assert release_rows([], "") == []
    assert [row["state"] for row in release_rows(manifests)] == ["failed", "live", "retired"]


@pytest.mark.parametrize(
    ("asked", "version"),
    [
        *(({}, ""), (None, ""), ({"type": "path", "path": "/home/ada/blog"}, ""), ({"version": "v1.4.0", "repo": "r"}, "v1.4.0")),
        *(({"requirement": "blog==1.4"}, "blog==1.4"), ({"file": "/tmp/blog-1.4.tar.gz"}, "blog-1.4.tar.gz")),
        ({"url": "https://example.com/dl/blog-1.4.tar.gz?***"}, "blog-1.4.tar.gz"),
    ],
)
def test_the_version_is_what_the_operator_calls_it(asked: Any, version: str) -> None:
    """[K8] A manifest that was kept before there was such a field has none."""
    (row,) = release_rows([{"id": "20261118T072201-deadbeef", "state": "live", "asked": asked}])
    assert row["version"] == version


@pytest.mark.parametrize(
    ("manifest", "version", "commit", "code"),
    [
        (
            {"source": {"commit": "", "identity": "blog==7.2", "requirement": "blog==7.2"}, "asked": {"requirement": "blog==7.2"}},
            *("blog==7.2", "", "blog==7.2"),
        ),
        # Of an address with a token the digest is compared.
        (
            {"source": {"identity": "ab" * 32, "requirement": "blog @ https://***@x/y"}},
            "blog @ https://***@x/y",
            "",
            "blog @ https://***@x/y",
        ),
        # Before there was `asked`, and before there was `source.requirement`.
        ({"source": {"identity": "blog==7.2", "requirement": "blog==7.2"}}, "blog==7.2", "", "blog==7.2"),
        ({"source": {"identity": "ab" * 32}, "asked": {"file": "blog-1.4.tar.gz"}}, "blog-1.4.tar.gz", "abababab", "abababababab"),
        ({"source": {"identity": "ab" * 32}, "asked": {"type": "path", "path": "../blog"}}, "", "abababab", "abababababab"),
        ({"source": {"commit": "cd" * 20, "identity": "ab" * 20}, "asked": {"version": "v1"}}, "v1", "cdcdcdcd", "cdcdcdcdcdcd"),
    ],
)
def test_every_kind_of_source_can_be_told_apart(manifest: dict[str, Any], version: str, commit: str, code: str) -> None:
    """[K8] A package by its requirement: a plan said `ihatemoney[d -> ihatemoney[d`."""
    (row,) = release_rows([{"id": "20261118T072201-deadbeef", "state": "live", **manifest}])
    assert (row["version"], row["commit"], code_of(manifest)) == (version, commit, code)


def test_the_filters_have_their_names() -> None:
    assert set(FilterModule().filters()) == {
        *("environment_file", "human_age", "human_size", "python_literal", "release_rows", "systemd_quote", "systemd_words", "table"),
    }
