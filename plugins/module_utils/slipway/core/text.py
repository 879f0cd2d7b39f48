# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""Text for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def table(rows: Sequence[Mapping[str, str]]) -> str:
    """Rows as lines under their headings; of a text with several lines the first."""
    columns = list(rows[0])
    grid = [columns, *([str(row[column]).split("\n")[0] for column in columns] for row in rows)]
    widths = [max(len(line[index]) for line in grid) for index in range(len(columns))]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in grid)
