# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""Pure: names, retention, and what a dump says about itself. Nothing here touches the host."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

from ..core.errors import SlipwayError

NAME = re.compile(r"(?P<time>\d{8}T\d{6}Z)(-(?P<label>[a-z0-9][a-z0-9-]{0,39}))?")
LABEL = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
#: Since this version pg_dump writes zstd by itself; before, a dump folder is compressed with gzip or not at all.
ZSTD_SINCE = 16


class BackupError(SlipwayError):
    """Something about the backups that an operator has to know."""


# --- Names and retention ----------------------------------------------------------------------------


def backup_name(now: datetime, label: str = "") -> str:
    """The folder name of a backup taken ``now``; names sort by time."""
    if label and not LABEL.fullmatch(label):
        raise BackupError(f"label {label!r}: use lower-case letters, digits and dashes, at most 40, not a dash first")
    stamp = now.astimezone(timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    return f"{stamp}-{label}" if label else stamp


def taken_at(name: str) -> datetime | None:
    """When the backup called ``name`` was taken; None when it is not a backup's name."""
    match = NAME.fullmatch(name)
    if not match:
        return None
    try:
        return datetime.strptime(match["time"], "%Y%m%dT%H%M%SZ").replace(tzinfo=timezone.utc)
    except ValueError:
        return None


@dataclass(frozen=True)
class Copy:
    """What retention knows of a backup: its name, whether it holds everything, and whether a restore has proven it."""

    name: str
    whole: bool = True
    proven: bool = True


def expired(copies: Iterable[Copy], now: datetime, keep_days: int, keep_count: int) -> list[str]:
    """Which backups may go: older than ``keep_days``, and replaced by a newer one that is proven.

    The newest ``keep_count`` of the proven stay whatever their age. One that is not proven counts for nothing: it
    neither replaces an older one nor fills a place among those that are kept.
    """
    dated = sorted((when, copy.name, copy.whole and copy.proven) for copy in copies if (when := taken_at(copy.name)))
    proven = [(when, name) for when, name, good in dated if good]
    kept = {name for _, name in proven[-max(keep_count, 1) :]}
    newest = proven[-1] if proven else None
    return [
        name for when, name, _ in dated if newest and (when, name) < newest and name not in kept and now - when > timedelta(days=keep_days)
    ]


def space_needed(previous: int | None, upper_bound: int, reserve: int) -> int:
    """Bytes that must be free: half as much again as the last backup, or all there is to back up, plus a reserve."""
    return (upper_bound if previous is None else previous * 3 // 2) + reserve


# --- Manifests ----------------------------------------------------------------------------------------


def sealed(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest with a checksum of itself: it says what the files must be, so it has to be right."""
    content = {key: value for key, value in manifest.items() if key != "digest"}
    text = json.dumps(content, sort_keys=True, ensure_ascii=True)
    return {**content, "digest": hashlib.sha256(text.encode()).hexdigest()}


def is_whole(manifest: Mapping[str, Any]) -> bool:
    """Whether the backup holds the uploads and the configuration, too (manifests of format 1 do not say so in a word)."""
    return bool(manifest.get("kind", "whole" if manifest.get("paths") else "database") == "whole")


def contents(manifest: Mapping[str, Any]) -> tuple[int, int]:
    """How many tables and rows a backup holds, of PostgreSQL and of SQLite."""
    files = [entry["rows"] for entry in manifest.get("sqlite", {}).values()]
    rows = [manifest.get("rows", {}), *files]
    return int(manifest["tables"]) + sum(map(len, files)), sum(sum(counts.values()) for counts in rows)


def differences(noted: Mapping[str, int], found: Mapping[str, int]) -> list[str]:
    """What is not as it was: a line for each table that is missing, new, or has another number of rows."""
    lines = []
    for table in sorted({*noted, *found}):
        if table not in found:
            lines.append(f"{table} is missing")
        elif table not in noted:
            lines.append(f"{table} was not there")
        elif noted[table] != found[table]:
            lines.append(f"{table} has {found[table]} rows instead of {noted[table]}")
    return lines


# --- What a dump says about itself ----------------------------------------------------------------------


def compression(wanted: str, version: int) -> str:
    """What ``pg_dump --compress`` gets: the operator's choice, or the best that this version has."""
    if wanted != "auto":
        return wanted
    # zstd 3: smaller than gzip 6 in a fraction of its time. gzip 1: a fifth larger than 6, in less than half of its time.
    return "zstd:3" if version >= ZSTD_SINCE else "1"


def major(version: str) -> int:
    """17 of ``pg_dump (PostgreSQL) 17.6 (Debian 17.6-0+deb13u1)``."""
    match = re.search(r"\b(\d+)(\.\d+|devel|beta|rc)", version)
    if not match:
        raise BackupError(f"{version.strip()!r} names no version of PostgreSQL")
    return int(match[1])


def toc_entries(listing: str) -> list[str]:
    """The entries of ``pg_restore --list``, without its comments."""
    return [line for line in listing.splitlines() if line.strip() and not line.startswith(";")]


def _described(entry: str) -> str:
    """``TABLE public note demo`` of ``219; 1259 16391 TABLE public note demo``."""
    parts = entry.split(maxsplit=3)
    return parts[3] if len(parts) == 4 else ""


def table_count(listing: str) -> int:
    """How many tables the dump defines."""
    return sum(bool(re.match(r"TABLE (?!DATA |ATTACH )", _described(entry))) for entry in toc_entries(listing))


def extensions(listing: str) -> set[str]:
    """Names of the extensions that the dump creates."""
    found = (re.match(r"EXTENSION - (\S+)", _described(entry)) for entry in toc_entries(listing))
    return {match[1] for match in found if match}


def restore_passes(listing: str, privileged: set[str]) -> list[tuple[str, bool]]:
    """How to restore the dump: lists for ``pg_restore --use-list``, each with whether it runs as the superuser.

    Everything belongs to the app's role; only extensions that an ordinary role may not create are made by the
    superuser, after the schemas they may live in. An empty list stands for the whole dump.
    """
    if not privileged:
        return [("", False)]
    schemas: list[str] = []
    special: list[str] = []
    rest: list[str] = []
    for entry in toc_entries(listing):
        what = _described(entry)
        match = re.match(r"(?:EXTENSION -|COMMENT - EXTENSION) (\S+)", what)
        target = special if match and match[1] in privileged else schemas if what.startswith("SCHEMA - ") else rest
        target.append(entry)
    return [("\n".join(part) + "\n", superuser) for part, superuser in ((schemas, False), (special, True), (rest, False)) if part]


def property_entries(listing: str) -> str:
    """The entries that say what is set and granted on the database itself: a list for ``pg_restore --create --use-list``."""
    return "".join(f"{entry}\n" for entry in toc_entries(listing) if re.match(r"DATABASE PROPERTIES |ACL - DATABASE ", _described(entry)))


def statements(sql: str) -> str:
    r"""What pg_restore writes of a database's properties, without comments, psql's own commands (``\restrict``) and its making."""
    passed_over = ("--", "\\", "SET ", "SELECT ", "CREATE DATABASE ")
    return "".join(f"{line}\n" for line in sql.splitlines() if line.strip() and not line.startswith(passed_over))


def refusal(dumped: int, live: int, before: int) -> str | None:
    """Why a dump with ``dumped`` tables is no backup of a database that has ``live`` and had ``before`` tables.

    A database that never had a table is fine (an app that keeps nothing there): its uploads still want a backup.
    """
    if dumped == 0 and live > 0:
        return f"the dump holds no table, the database has {live}"
    if dumped == 0 and before > 0:
        return f"the database has no table any more; the backup before this one holds {before}"
    return None


def copied_rows(sql: str) -> list[str]:
    """Rows of the COPY blocks in a plain-text dump."""
    rows: list[str] = []
    inside = False
    for line in sql.splitlines():
        if inside and line == "\\.":
            inside = False
        elif inside:
            rows.append(line)
        elif line.startswith("COPY ") and line.endswith("FROM stdin;"):
            inside = True
    return sorted(rows)


def counted(lines: Sequence[str]) -> dict[str, int]:
    """Rows of each table, from lines that are a JSON list of its name and their number."""
    try:
        return {str(table): int(rows) for table, rows in map(json.loads, lines)}
    except (ValueError, TypeError) as error:
        raise BackupError(f"the tables could not be counted: {error}") from error


def quote(identifier: str) -> str:
    """An SQL identifier; app names have dashes."""
    return '"' + identifier.replace('"', '""') + '"'


def conninfo(text: str) -> str:
    """A value in one of libpq's connection strings."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def literal(text: str) -> str:
    """An SQL string."""
    return "'" + text.replace("'", "''") + "'"


def human(size: int) -> str:
    """A size for people."""
    value = float(size)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"
