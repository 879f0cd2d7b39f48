# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""What every error of the program is."""

from __future__ import annotations


class SlipwayError(Exception):
    """Something an operator has to know; the text says what and, where possible, what to do."""
