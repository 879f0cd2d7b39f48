# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""Filters that spell a value for the file it is written to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible_collections.slipway.vps.plugins.module_utils.environment import environment_file


def systemd_quote(text: str) -> str:
    """``text`` as one argument of ExecStart= (systemd.service(5), "Command lines"): quoted, specifiers and variables literal."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$").replace("\r", "\\r").replace("\n", "\\n")
    return f'"{escaped}"'


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


class FilterModule:
    """The collection's text filters."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"environment_file": environment_file, "python_literal": python_literal, "systemd_quote": systemd_quote, "table": table}
