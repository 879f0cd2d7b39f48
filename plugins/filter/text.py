# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""Filters that spell a value for the file it is written to, or for the operator who reads it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import PurePath
from typing import Any

from ansible_collections.slipway.vps.plugins.module_utils.commands import words
from ansible_collections.slipway.vps.plugins.module_utils.environment import environment_file
from ansible_collections.slipway.vps.plugins.module_utils.slipway.releases import digest_of, version_of


def systemd_quote(text: str) -> str:
    """``text`` as one argument of ExecStart= (systemd.service(5), "Command lines"): quoted, specifiers and variables literal."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$").replace("\r", "\\r").replace("\n", "\\n")
    return f'"{escaped}"'


def systemd_words(command: str) -> str:
    """The words of a command of the operator (module_utils/commands.py), each as one argument of ExecStart=."""
    return " ".join(map(systemd_quote, words(str(command))))


def python_literal(value: Any) -> str:
    """``value`` as Python source: True rather than true, quotes and escapes right."""
    if isinstance(value, list):
        return "[" + ", ".join(python_literal(item) for item in value) + "]"
    # str() first: Ansible's tagged strings have a repr of their own.
    return repr(str(value) if isinstance(value, str) else value)


def table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """``rows`` as text: the headings, then a line per row; of a text with several lines the first."""
    grid = [list(columns), *([str(row.get(column, "")).split("\n")[0] for column in columns] for row in rows)]
    widths = [max(len(line[index]) for line in grid) for index in range(len(columns))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in grid)


def human_age(stamp: str | None, at: datetime | None = None) -> str:
    """How long ago an ISO 8601 time was, in its largest unit: 40s, 3m, 2h, 5d; nothing for no time."""
    try:
        then = datetime.fromisoformat(str(stamp))
    except ValueError:
        return ""
    # Without a zone it is UTC: all times in manifests are.
    passed = (at or datetime.now(timezone.utc)) - (then if then.tzinfo else then.replace(tzinfo=timezone.utc))
    seconds = max(0, int(passed.total_seconds()))
    return next(
        f"{seconds // size}{unit}" for size, unit in ((86400, "d"), (3600, "h"), (60, "m"), (1, "s")) if seconds >= size or size == 1
    )


def human_size(size: Any) -> str:
    """Bytes in the largest unit that leaves at least 1, in steps of 1000: 0 B, 1.4 kB, 23 MB; nothing for no number."""
    try:
        number = float(size)
    except (TypeError, ValueError):
        return ""
    units = ["B", "kB", "MB", "GB", "TB"]
    # 999.5 would be shown as 1000.
    while number >= 999.5 and len(units) > 1:
        number, units = number / 1000, units[1:]
    return f"{number:.1f} {units[0]}" if number < 9.95 and units[0] != "B" else f"{number:.0f} {units[0]}"


def release_rows(manifests: Sequence[Mapping[str, Any]], live: str = "", at: datetime | None = None) -> list[dict[str, str]]:
    """A row of the table of releases for each manifest, newest first; ``live`` is the id that `current` points at."""
    return [
        {
            "release": manifest["id"],
            "state": f"{manifest['state']} *" if manifest["id"] == live else manifest["state"],
            "age": human_age(manifest.get("created_at"), at),
            "version": version_of(manifest),
            "commit": digest_of(manifest),
            "who": manifest.get("created_by") or "",
            "schema": manifest.get("schema_after") or manifest.get("schema_before") or "",
            "size": human_size(manifest.get("size_bytes")),
            "restore point": PurePath(str(manifest.get("restore_point") or "")).name,
        }
        for manifest in sorted(manifests, key=lambda found: str(found["id"]), reverse=True)
    ]


class FilterModule:
    """The collection's text filters."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {
            "environment_file": environment_file,
            "human_age": human_age,
            "human_size": human_size,
            "python_literal": python_literal,
            "release_rows": release_rows,
            "systemd_quote": systemd_quote,
            "systemd_words": systemd_words,
            "table": table,
        }
