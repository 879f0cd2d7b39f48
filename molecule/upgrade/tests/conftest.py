"""Fixtures of the scenario: one host, which is another one afterwards."""

from __future__ import annotations

from fixtures import app

__all__ = ["app"]
